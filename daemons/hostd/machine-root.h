/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The root directory of an application's machine: a skeleton with no program in it, mount points, and the few
 * files of /etc that are generated. It belongs to the application's range and is mounted read-only. Making it
 * again repairs it. */

#include <stdbool.h>
#include <stdint.h>

#define MACHINES_DIR "/var/lib/machines"

/* 0: there is none; 1: it is ours; -EEXIST: something of that name is there that is not. */
int machine_root_check(int machines_fd, const char *name);

/* `uids` is the text of uids.json; `etc` lists the host's paths that will be mounted over; with a network,
 * resolv.conf is what the host keeps in SAND_NETWORK_DIR. */
int machine_root_make(int machines_fd, const char *name, uint32_t uid_base, const char *uids,
                      char *const *etc, bool network);

/* A mount point in a root that was made. */
int machine_root_add_directory(int machines_fd, const char *name, uint32_t uid_base, const char *path);

/* The text of etc/passwd: root, the functions as fn-NAME, nobody. Caller frees. */
int machine_root_passwd(const char *uids, char **ret);
