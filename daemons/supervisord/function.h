/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A function's name across its versions: the queue of waiting events, the worker of the running version, how
 * many instances wait ahead of events, and what happens when the code does not load. */

#include "worker.h"

typedef struct Function Function;
struct Function {
        Supervisor *supervisor;
        char *name;
        const FunctionSpec *spec; /* of the running version; NULL: that version has it no more */
        Version *version;
        Function *next, *next_dispatched;
        bool dispatched;          /* at the end of the hub's turn */

        Event *queue, **queue_end;
        unsigned n_queued;
        uint64_t queued_bytes;

        Worker *worker;           /* of the running version; NULL: none yet, or it died */
        unsigned running;         /* events in instances, of all versions */
        uint64_t retry_at;        /* no worker is started before that */
        unsigned failures;        /* of the worker in a row */
        char *load_message, *load_error, *load_cause; /* why the code does not load; NULL: it does */
        sd_event_source *retry;

        unsigned arrivals;        /* since the last look at the pool ... */
        unsigned peak;            /* ... and the most that ran and waited at once */
        unsigned target;          /* instances to have waiting */
        uint64_t pool_usec, arrival_usec;

        uint64_t cpu_usec;        /* that an event takes, a moving average; 0: not known */
        bool is_short;            /* ... few enough for placement.h */

        uint64_t served, failed, refused;
};

int function_new(Supervisor *s, const char *name, Function **ret);
Function *function_free(Function *f);
/* The running version's; `worker` is loaded, or NULL. Older workers are retired. */
void function_adopt(Function *f, Version *v, const FunctionSpec *spec, Worker *worker);
/* The running version has it no more: what waits is still served. */
void function_withdraw(Function *f);

/* Takes ownership; answers at once when it cannot be queued. */
void function_submit(Function *f, Event *e);
/* An event of it was answered. */
void function_learn(Function *f, const Usage *usage);
/* Hands waiting events to waiting instances, and asks for more of them; within a turn of the hub at its end, after
 * the answers: callers then wake while a CPU may be free of what is about to be woken. */
void function_dispatch(Function *f);
void functions_dispatch(Supervisor *s);
/* Its pool is used up faster than it is refilled. */
bool function_is_behind(const Function *f);
/* Refills and trims the pool. True: look again later although nothing happens. */
bool function_housekeeping(Function *f, uint64_t now);
/* Answers waiting events whose time is over; lowers *next to the next one's. */
void function_check_deadlines(Function *f, uint64_t now, uint64_t *next);
json_object *function_state(const Function *f);
