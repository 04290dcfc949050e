/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Between context.c, the event and its result, and call.c, calls to other functions. */

#include "context.h"

#define ERROR_PREFIX "org.sand.Error."

struct sand_context {
        ContextSettings settings;
        Wire *wire;

        /* The event; strings point into its message. */
        const char *execution, *invocation, *content_type;
        uint64_t deadline;
        const char **headers;
        size_t n_headers;
        WirePayload event;
        sand_result *results;       /* that were not yet freed */

        /* Its result. */
        void *reply;
        size_t reply_size;
        int reply_fd;               /* a large one is a memfd from the beginning */
        char *reply_content_type;
        int reply_error;            /* of the last sand_reply() */
        char *kind, *error, *message, *cause;

        char *last_error;
        uint64_t children_usec;     /* CPU time of the children of earlier events */
};

struct sand_result {
        sand_context *context;      /* NULL once that is over */
        sand_result *prev, *next;
        WireMessage reply;
        WirePayload payload;
        const char *content_type, *id, *kind, *error, *message, *cause;
};

/* The sealed memfd that these very bytes came in, or -EBADF: what is passed on as it came is not copied. */
int context_origin(const sand_context *c, const void *data, size_t size);
/* Forgets the results that the function did not free. */
void context_release_results(sand_context *c);
