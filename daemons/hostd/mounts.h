/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Directories of the host's that applications are given, "mounts" in sand.json: what the operator grants, and how a
 * machine gets them.
 *
 * A path is opened without following any symbolic link, so that whoever may write to a directory on the way cannot make
 * another one of it. It is shown through a mount with ids of its own: the directory's group is the group that all
 * functions of the application are in, every other id stays what it is. So functions may do what the directory's group
 * may, and what they make there belongs to that group. */

#include <stdbool.h>
#include <sys/types.h>

#include "manifest.h"

/* "PATH", "PATH:ro" or "PATH:rw", as AllowMounts= and --mount= take it. */
bool mount_grant_is_valid(const char *s);
/* Whether one of the grants names the path or what it is in. */
bool mount_is_granted(char *const *grants, const char *path, bool write);

/* Adds what is wrong with a manifest's mounts on this host. */
int mounts_check(const Manifest *m, char *const *grants, Problems *problems);

/* The `gid_map` by which groups `a` and `b` change places and all others stay. */
#define MOUNT_GID_MAP_MAX 256U
void mount_gid_map(gid_t a, gid_t b, char ret[static MOUNT_GID_MAP_MAX]);

/* ExecStart= of a machine with mounts: makes them, in a mount namespace of its own and below SAND_MOUNTS_DIR, numbered,
 * and becomes `command`. `group`: that of the functions. Returns on failure only, which is then logged and the unit's
 * status. */
int mounts_enter(char *const *mounts, gid_t group, char *const *command);
