/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a bundle brings along and what it needs of its host, against the host that we are on. */

#include "manifest.h"

/* Folders of a bundle, for sys.path, the library path and PATH. */
#define VENDOR_DIR "vendor"
#define VENDOR_PYTHON VENDOR_DIR "/python"
#define VENDOR_LIB VENDOR_DIR "/lib"
#define VENDOR_BIN VENDOR_DIR "/bin"

/* Looks at the native code of vendor/ and of the handlers: whether it is for another kind of machine, or, as
 * extension modules of Python, for another Python only. Without a manifest at vendor/ alone.
 * 0, -EBADMSG with problems, or another negative errno. */
int vendor_check(int dir_fd, const Manifest *m, Problems *problems);

#define DPKG_STATUS "/var/lib/dpkg/status"

/* Those of `names` that the file, dpkg's database, does not know as installed for the host's architecture; NULL if it
 * knows all. -ENOENT: no such file, which is no host of dpkg's. */
int packages_absent(const char *status, char *const *names, char ***ret);
/* "apt install A B", for the user's eye. */
char *packages_apt_line(char *const *names);
/* Adds a problem when packages that the manifest names are not on this host; then -EBADMSG. */
int packages_check(const Manifest *m, Problems *problems);
