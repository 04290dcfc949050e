/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The private half of <sand/function.h>, for the runtimes: each worker has a copy of it. Not installed, and not
 * visible to functions. */

#include <sand/function.h>

#include "wire.h"

/* Like sand_fail(), with the cause that the function's author needs (stack trace; may be NULL). */
int context_fail(sand_context *context, const char *error, const char *message, const char *cause);
/* Names the failure with the vocabulary's own error instead of FunctionFailed: "BadRequest", "TooLarge", ... */
int context_fail_as(sand_context *context, const char *sand_error, const char *message);

/* Like sand_call() and sand_send() with the payload's content type (NULL: not known) and, for a call, a
 * bound of its own (relative microseconds; UINT64_MAX: the event's deadline only). */
int context_call(sand_context *context, const char *target, const char *content_type,
                 const void *data, size_t size, uint64_t timeout_usec, sand_result **ret);
/* `member` is "Send" or "Emit"; *ret_id, which may be NULL, is to be freed. */
int context_send(sand_context *context, const char *member, const char *target, const char *content_type,
                 const void *data, size_t size, char **ret_id);
const char *sand_result_cause(const sand_result *result); /* "" when there is none */
/* The vocabulary's name of a failed call ("FunctionFailed", "Busy"), NULL of a successful one. */
const char *sand_result_kind(const sand_result *result);
/* The event's deadline, CLOCK_MONOTONIC usec, 0: none. */
uint64_t context_deadline(const sand_context *context);
/* Bytes that a result or a call's payload may have. */
uint64_t context_payload_max(const sand_context *context);
/* The event's headers, keys and values in turn. */
size_t context_headers(const sand_context *context, const char *const **ret);

/* Calls for a runtime with an event loop of its own: context_start() sends, context_result() makes a
 * result of the reply (or error) with that serial, which it takes over. Either returns a negative errno;
 * context_result() also -EREMOTEIO with *ret, as sand_call() does. */
typedef struct ContextCall {
        const char *member;        /* "Send", "Emit"; NULL: Invoke */
        const char *target, *content_type;
        const void *data;
        size_t size;
        int memfd;                 /* borrowed; instead of `data`, unless negative; `size` is its size */
        uint64_t timeout_usec;
} ContextCall;

int context_start(sand_context *context, const ContextCall *call, uint32_t *ret_serial);
int context_result(sand_context *context, WireMessage *reply, sand_result **ret);
Wire *context_wire(sand_context *context);

/* Sets SAND_EXECUTION, SAND_INVOCATION and SAND_DEADLINE in this process's environment. */
int context_export(const sand_context *context);
/* In the worker: makes that cheap. */
int context_prepare_export(void);

/* What a worker knows from its environment; the strings must outlive the context. */
typedef struct ContextSettings {
        const char *app, *function, *version;
        const char *content_type;  /* of results; NULL: application/json */
        uint64_t payload_max;
} ContextSettings;

int context_new(const ContextSettings *settings, Wire *wire, sand_context **ret);
sand_context *context_free(sand_context *context);
DEFINE_POINTER_CLEANUP(sand_context *, context_free);

/* Serves one message: runs `handle` for Handle and answers it, refuses what is not known. A negative
 * errno means that the connection is of no more use. */
int context_serve(sand_context *context, const WireMessage *message,
                  int (*handle)(sand_context *context, const void *event, size_t size));
