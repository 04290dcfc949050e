/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The thing that travels: a payload on its way to one function, and the caller that waits for the answer. An
 * event keeps its caller's message alive and points into it; its bytes are never walked nor copied
 * before they go into the message for the instance. */

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-bus.h>

#include "error.h"
#include "payload.h"

#define EVENT_ID_LENGTH 32
#define EVENT_HEADERS_MAX 32U
#define EVENT_HEADERS_BYTES_MAX 8192U
/* Calls inside calls: a function that calls itself without end is stopped here. */
#define EVENT_DEPTH_MAX 32U

typedef struct Usage {
        uint64_t wall_usec, cpu_usec, peak_bytes;
} Usage;

typedef struct Failure {
        SandError kind;
        const char *message;
        const char *error; /* class; NULL: the kind's name */
        const char *cause; /* may be NULL */
} Failure;

typedef struct Event Event;
typedef struct Caller Caller;

/* Who makes nested calls: an instance with its event. `changed` is called when it begins to wait for an answer, and
 * right before the answer that it waited for is sent to it. */
struct Caller {
        const Event *event;
        Event *calls; /* unanswered ones, oneway ones apart */
        void (*changed)(Caller *c);
};

struct Event {
        Event *next;             /* in the function's queue */
        sd_bus_message *request; /* the caller's Invoke or Send */
        char *target;            /* function's name, within `request` */
        const char *content_type;
        char **headers;          /* key, value, ..., NULL; or NULL */
        Payload payload;
        char execution[EVENT_ID_LENGTH + 1], invocation[EVENT_ID_LENGTH + 1];
        uint64_t accepted_usec;
        uint64_t deadline; /* CLOCK_MONOTONIC usec; the queue and the run end here */
        Caller *caller;          /* of a nested call; NULL: from outside, answered, or the caller is gone */
        Event *caller_prev, *caller_next;
        unsigned depth;
        bool oneway;   /* Send: nobody waits for the result ... */
        bool answered; /* ... and the caller knows that it is queued */
};

/* Reads an Invoke or Send. The event that `caller` handles gives its execution, deadline and trace; NULL: a
 * caller from outside. On failure *ret_failure says what to answer. */
int event_new(sd_bus_message *request, Caller *caller, bool oneway, Event **ret, Failure *ret_failure);
Event *event_free(Event *e);

/* The caller waits for no answer any more: its event is over. */
void caller_done(Caller *c);

/* The message that hands the event to an instance. */
int event_to_handle(const Event *e, sd_bus *bus, uint64_t deadline, sd_bus_message **ret);

/* Nobody waits for the answer any more. */
bool event_is_abandoned(const Event *e);

/* Tells the caller of a Send that the event is queued. */
void event_acknowledge(Event *e);
/* Answers the caller; a caller that is gone is no error. `usage` may be NULL. */
void event_fail(Event *e, const Failure *failure, const Usage *usage);
void event_forward(Event *e, sd_bus_message *result, const char *content_type, const Usage *usage,
                   const Payload *payload);

/* Answers any method call with an error of the vocabulary. */
int bus_reply_failure(sd_bus_message *call, const Failure *failure, const Usage *usage);

void id_make(char ret[static EVENT_ID_LENGTH + 1]);
bool id_is_valid(const char *s);
