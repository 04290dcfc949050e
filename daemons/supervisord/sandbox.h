/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the machine's processes may do: the supervisor's own confinement, and the identity, file system view,
 * limits and filter that a worker is born with and its instances inherit. */

#include <stdbool.h>
#include <sys/types.h>

#include "manifest.h"

typedef struct Sandbox {
        bool machine;                  /* PID 1 of a machine; false: developer's mode, no identities */
        int worker_fds[_RUNTIME_MAX];  /* the worker programs, opened at start; or a negative errno */
        char *program_dir;             /* developer's mode: where this program stands */
        json_object *uids;             /* function name -> uid */
} Sandbox;

/* PID 1's first act after the network, before any user code: no_new_privs, the filter, the bounding set, closed directories. */
int sandbox_confine_supervisor(void);
/* Opens the worker programs beside this one. */
int sandbox_init(Sandbox *s, bool machine);
void sandbox_done(Sandbox *s);
/* Reads which function is who, from uids.json of the versions directory. */
int sandbox_load_uids(Sandbox *s, const char *versions_dir);

/* The function's user in the machine. -ESRCH: it has none. */
int sandbox_uid(const Sandbox *s, const char *name, uid_t *ret);

/* In the child that becomes a worker: everything between fork and exec. Returns only with a negative errno.
 * `credentials`: the directory of its secrets, or NULL. */
int sandbox_exec_worker(const Sandbox *s, const FunctionSpec *spec, const char *bundle, const char *credentials,
                        char *const *environment, int channel_fd, int log_fd);
