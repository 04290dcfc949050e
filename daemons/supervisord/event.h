/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The thing that travels: a payload on its way to one function, and the caller that waits for the answer: a peer
 * outside or an instance. An event keeps its caller's message alive and points into it; its bytes are never walked, and
 * large ones copied by nobody but the kernel on their way. */

#include <stdbool.h>
#include <stdint.h>

#include "failure.h"
#include "payload.h"

#define EVENT_ID_LENGTH 32
#define EVENT_HEADERS_MAX 32U
#define EVENT_HEADERS_BYTES_MAX SAND_HEADERS_BYTES_MAX
/* Calls inside calls: a function that calls itself without end is stopped here. */
#define EVENT_DEPTH_MAX 32U

typedef struct Event Event;
typedef struct Caller Caller;

/* Who makes calls: a peer outside, or an instance with its event. `changed` is called when it begins to wait for an
 * answer, and right before the answer that it waited for is sent to it. */
struct Caller {
        const Event *event; /* NULL: it has none; what it calls then is an execution of its own */
        Wire *wire;
        Event *calls;       /* that it waits for */
        void (*changed)(Caller *c); /* may be NULL */
};

struct Event {
        Event *next;             /* in the function's queue */
        WireMessage call;        /* the caller's Invoke or Send */
        const char *target;      /* function's name, within the call */
        const char *content_type;
        char **headers;          /* key, value, ..., NULL; or NULL */
        Payload payload;
        char execution[EVENT_ID_LENGTH + 1], invocation[EVENT_ID_LENGTH + 1];
        uint64_t accepted_usec;
        uint64_t deadline; /* CLOCK_MONOTONIC usec; the queue and the run end here */
        Caller *caller;          /* NULL: answered, or the caller is gone */
        Event *caller_prev, *caller_next;
        unsigned depth;
        bool oneway;             /* Send: nobody waits for the result */
        const char *beyond;      /* globald's method that it goes to (upstream.h); NULL: a function here */
        void (*abandoned)(Event *e); /* its caller is gone; may free it. NULL: nobody needs to know at once */
        void *userdata;
};

/* Reads an Invoke or Send and takes the message over; on failure it stays the caller's, to be answered, and
 * *ret_failure says with what. The event that `caller` handles gives its execution, deadline and trace. */
int event_new(Caller *caller, WireMessage *call, bool oneway, Event **ret, Failure *ret_failure);
Event *event_free(Event *e);

/* The caller waits for no answer any more: its event is over. */
void caller_done(Caller *c);

/* Hands the event to an instance: *ret_serial is its reply's. */
int event_hand_over(const Event *e, Wire *wire, uint64_t deadline, uint32_t *ret_serial);

/* Nobody waits for the answer any more. */
bool event_is_abandoned(const Event *e);

/* Tells the caller of a Send that the event is queued. */
void event_acknowledge(Event *e);
/* Answers a Send or Emit that waited for globald. */
void event_answer_id(Event *e, const char *id);
/* Answers the caller; a caller that is gone is no error. `usage` may be NULL. */
void event_fail(Event *e, const Failure *failure, const Usage *usage);
void event_forward(Event *e, const char *content_type, const Usage *usage, const Payload *payload);

void id_make(char ret[static EVENT_ID_LENGTH + 1]);
bool id_is_valid(const char *s);
