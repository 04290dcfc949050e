/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The process that has loaded one version of one function and forks its instances: a zygote.
 *
 *   LOADING --Loaded--> READY --dies, or retired--> DEAD
 *      \--LoadFailed, dies, too slow--> DEAD
 *
 * A retired worker forks no more and ends with its last event. It is counted by references: its owner's, its
 * process's, one an instance, one a fork that is under way. */

#include "instance.h"
#include "supervisor.h"

typedef enum WorkerState { WORKER_LOADING, WORKER_READY, WORKER_DEAD } WorkerState;

/* The worker is loaded (failure NULL), could not be, or died later. Strings are valid during the call. The
 * owner may drop the worker. */
typedef void (*worker_handler_t)(Worker *w, const Failure *failure, void *userdata);

struct Worker {
        Supervisor *supervisor;
        Version *version;
        const FunctionSpec *spec;
        WorkerState state;
        Child child;
        pid_t pid; /* for show, also when it is gone */
        sd_bus *bus;
        Output output;
        CredentialView *credentials; /* NULL: it declares none */
        CGroup *cgroup;              /* that it and its instances are in; NULL: they have none of their own */
        sd_event_source *load_timeout;
        worker_handler_t handler;
        void *userdata; /* a Function, or a Prepare before that */
        bool may_be_killed;             /* its instances, for want of memory: cgroup.h */
        int where, away_from;           /* placement.h; the CPU of AWAY */
        InstanceList starting, waiting; /* busy and ended ones are in the supervisor's lists */
        unsigned n_busy;
        unsigned n_forking;        /* Fork requests that are not answered yet */
        uint64_t started_usec;
        bool retired;
        uint64_t fork_failed_usec; /* when the process could not fork last; 0: it could */
        unsigned n_ref;
};

/* Starts the process; the handler says how it went. -ENOPKG: the runtime's program is not installed. */
int worker_new(Supervisor *s, Version *v, const FunctionSpec *spec, worker_handler_t handler, void *userdata,
               Worker **ret);
/* What to answer when it did not start: `r` of worker_new(). */
Failure worker_start_failure(const FunctionSpec *spec, int r);
/* Asks for `n` more instances, which wait bound to `cpu` (PLACEMENT_FREE: to none). */
int worker_fork(Worker *w, unsigned n, int cpu);
/* Gives the owner's reference up: no new events, those at hand are finished. */
void worker_retire(Worker *w);
Worker *worker_ref(Worker *w);
Worker *worker_unref(Worker *w);
/* Ends up to `n` waiting instances. */
void worker_trim(Worker *w, unsigned n);
static inline unsigned worker_instances(const Worker *w) {
        return w->starting.n + w->waiting.n + w->n_busy;
}

/* For instance.c. */
void worker_move(Worker *w, Instance *i, InstanceState state);
/* One can take an event, or there is room for another one. */
void worker_instance_ready(Worker *w);
