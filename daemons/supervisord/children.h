/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Every process that is a child of the supervisor: its own (workers, instances), reaped with their
 * resource usage, and those that it did not make. The latter are what an ended event left behind and was
 * reparented here; they are killed until none is left. */

#include <stdbool.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

typedef struct Child Child;
/* The child is reaped; `child` is out of the table and its pid 0. */
typedef void (*child_handler_t)(Child *child, int status, const struct rusage *usage);

struct Child {
        pid_t pid; /* 0: none */
        child_handler_t handler;
        Child *next;
};

typedef struct Children Children;

/* Takes over SIGCHLD of the loop. */
int children_new(sd_event *event, Children **ret);
Children *children_free(Children *c);

/* Enters a process. -EEXIST: known already; -ECHILD: no child of ours. */
int children_add(Children *c, Child *child, pid_t pid, child_handler_t handler);
void children_remove(Children *c, Child *child);

/* SIGKILL through a pidfd; the process is reaped later. */
void child_kill(const Child *child);

/* A worker is asked for a child, and has answered. While a request is open an unknown child may be its
 * answer, and is left alone. */
uint64_t children_fork_begin(Children *c);
void children_fork_end(Children *c, uint64_t ticket);

/* At the end of a supervisor that is not PID 1: kills and reaps all children, and theirs that come here then. Nobody
 * learns of it, so there must be nobody left who knows a child. */
void children_end(void);

/* Kills the children that nobody made. True while some are left or undecided: sweep again soon. */
bool children_sweep(Children *c);
