/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The process that handles one event (or, where the function asks for it, one after another).
 *
 *   STARTING --pid and Ready--> WAITING --hand-over--> BUSY --reply--> ENDED --reaped--> gone
 *
 * An instance that has answered lingers: it sleeps until housekeeping closes its socket, so that its exit does
 * not run before the caller wakes. From ENDED on it counts no more as one of the function's. */

#include "children.h"
#include "event.h"
#include "hub.h"
#include "output.h"

typedef struct Worker Worker;

typedef enum InstanceState { INSTANCE_NEW, INSTANCE_STARTING, INSTANCE_WAITING, INSTANCE_BUSY, INSTANCE_ENDED } InstanceState;

typedef struct Instance Instance;
struct Instance {
        Worker *worker;
        InstanceState state;
        Child child;
        Output output;
        Wire wire;
        HubSource *io;          /* of the wire; NULL: it is closed */
        uint32_t handle;        /* serial of the Handle that is unanswered; 0: none */
        bool ready;             /* has said so */
        Instance *prev, *next;  /* in the list of its state; NEW: in none */

        Event *event;
        char execution[EVENT_ID_LENGTH + 1], invocation[EVENT_ID_LENGTH + 1]; /* of the last event */
        uint64_t queued_usec, started_usec, deadline;
        Caller caller;          /* of the calls that its event makes */
        bool computing;         /* busy, and not waiting for an answer */
        int where;              /* it may run: a CPU, or as placement.h says */
        uint64_t computing_usec; /* since when */
        bool expired;           /* killed at its deadline */
        uint64_t served;
        uint64_t closed_usec;   /* of ENDED: when the socket was closed; 0: not yet */
        const char *result;     /* of the last event, for its receipt: "ok" or an error's name */
        char *detail;           /* of a failure that it told, likewise */
        Usage usage;
};

/* Makes the channel; the worker then forks. *ret_socket and *ret_log are the process's ends. */
int instance_new(Worker *worker, int cpu, Instance **ret, int *ret_socket, int *ret_log);
/* The worker's answer: a pid, or a negative errno (then the instance is freed). */
void instance_forked(Instance *i, pid_t pid);
/* Hands an event over; takes ownership. */
int instance_handle(Instance *i, Event *e, uint64_t deadline);
/* Of a busy one: kills it if its deadline has passed, else lowers *next to the deadline. */
void instance_check_deadline(Instance *i, uint64_t now, uint64_t *next);
/* Of a busy one: sets it free if it computes for long although it is bound. True: look again soon. */
bool instance_free_long(Instance *i, uint64_t now);
/* No more events for it. */
void instance_end(Instance *i);
/* Of an ended one: closes it; kills it when called again and it did not exit. */
void instance_reclaim(Instance *i, uint64_t now);
Instance *instance_free(Instance *i);
