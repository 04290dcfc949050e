/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Files of a tenant are opened below a directory that we hold, never by a path of their own. */

#include <linux/openat2.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* openat2() with RESOLVE_BENEATH and RESOLVE_NO_MAGICLINKS, and `resolve` on top; O_CLOEXEC, O_NOCTTY
 * and O_NONBLOCK (a FIFO must not hold us up) are added. A descriptor or a negative errno; -EXDEV: the path leaves
 * the directory. */
int open_beneath(int dir_fd, const char *path, int flags, mode_t mode, uint64_t resolve);

/* Relative, not empty, without a ".." anywhere: what a manifest may call a path of the bundle. */
bool path_is_inside(const char *path);
