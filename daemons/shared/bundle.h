/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A bundle on the wire and on disk: a POSIX tar of its files, regular files, directories and relative
 * links that stay inside, nothing else. Packing is deterministic: sorted, owner 0, time 0, mode 0644 or
 * 0755; so the same content has the same bytes and the same hash, whoever packs it. */

#include "manifest.h"

#define BUNDLE_SIZE_MAX (UINT64_C(1) * 1024 * 1024 * 1024) /* unpacked bytes */
#define BUNDLE_ENTRIES_MAX 65536U
#define BUNDLE_HASH_LENGTH 64 /* hex digits of SHA-256 */

/* Packs the directory into a sealed memfd. Version control (.git), editors' backups and __pycache__ are left
 * out. Problems name files that cannot be part of a bundle (-EBADMSG). */
int bundle_pack(int dir_fd, Problems *problems, int *ret_fd);

/* Unpacks a tar (plain or compressed with zstd, gzip, xz) read from `fd` into the empty directory `dir_fd`,
 * with no path that leaves it, no device, no set-id bit, within the limits above; files are 0644/0755
 * and owned by the caller. -EBADMSG with problems when refused; the directory's content is then undefined. */
int bundle_unpack(int fd, int dir_fd, Problems *problems);

/* SHA-256 of the directory's canonical packing, as hex. */
int bundle_hash(int dir_fd, char ret[static BUNDLE_HASH_LENGTH + 1]);

/* What packing and unpacking agree on; `name` is one component, `path` is relative to the bundle. */
#define BUNDLE_PATH_MAX 1024U
#define BUNDLE_DEPTH_MAX 64U

/* Version control, editors' backups, __pycache__: no part of any bundle, and not of its hash. */
bool bundle_leaves_out(const char *name);
/* What is wrong with a path as a phrase, or NULL. */
const char *bundle_path_problem(const char *path);
/* Whether a link at `path` with this target stays in the bundle. ".." may only begin the target: there it is
 * counted from real directories, behind a name it could come from a link to elsewhere. */
bool bundle_link_is_inside(const char *path, const char *target);
