/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Small things done to files, durably: what returns 0 or more is on disk, and a file is either the old or
 * the new one. Nothing here follows a symlink in a last path component that it writes or removes. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Replaces the file at `path` (relative to dir_fd, or absolute) by rename, unless it has these bytes, mode and
 * owner already. 1: written; 0: nothing to do. uid and gid may be -1 for the caller's. */
int fs_write(int dir_fd, const char *path, const char *text, mode_t mode, uid_t uid, gid_t gid);

/* Reads a regular file of at most `max` bytes into a terminated string. -ENOENT, -EFBIG, -EBADMSG (holds NUL). */
int fs_read(int dir_fd, const char *path, size_t max, char **ret);

/* Makes the symlink, or replaces by rename one that points elsewhere. 1: made; 0: nothing to do. */
int fs_symlink(const char *target, int dir_fd, const char *path);
/* -EINVAL: not a link. */
int fs_readlink(int dir_fd, const char *path, char **ret);

/* Makes a directory, or corrects mode and owner of one that is there. -ENOTDIR: something else is. */
int fs_mkdir(int dir_fd, const char *path, mode_t mode, uid_t uid, gid_t gid);

/* Removes a file, a link or a whole tree; absent is fine. Blocks as long as the tree is large. */
int fs_remove_tree(int dir_fd, const char *path);
/* Removes a file or link. 1: removed; 0: there was none. */
int fs_unlink(int dir_fd, const char *path);

/* Gives a tree of regular files, directories and links to the caller. */
int fs_adopt_tree(int dir_fd);

int fs_sync_dir(int dir_fd);
bool fs_exists(int dir_fd, const char *path);

/* Names of a directory's entries, sorted, without . and ..; caller frees with strv_free(). */
int fs_list(int dir_fd, const char *path, char ***ret);
