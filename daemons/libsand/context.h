/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The private half of <sand/function.h>, for the runtimes. Not installed, but exported by libsand.so
 * for the workers of the same package. */

#include <sand/function.h>

/* Like sand_fail(), with the cause that the function's author needs (stack trace; may be NULL). */
int context_fail(sand_context *context, const char *error, const char *message, const char *cause);
/* Names the failure with the vocabulary's own error instead of FunctionFailed: "BadRequest", "TooLarge", ... */
int context_fail_as(sand_context *context, const char *sand_error, const char *message);

/* Like sand_call() and sand_send() with the payload's content type (NULL: not known) and, for a call, a
 * bound of its own (relative microseconds; UINT64_MAX: the event's deadline only). */
int context_call(sand_context *context, const char *target, const char *content_type,
                 const void *data, size_t size, uint64_t timeout_usec, sand_result **ret);
int context_send(sand_context *context, const char *target, const char *content_type,
                 const void *data, size_t size);
const char *sand_result_cause(const sand_result *result); /* "" when there is none */
/* The vocabulary's name of a failed call ("FunctionFailed", "Busy"), NULL of a successful one. */
const char *sand_result_kind(const sand_result *result);
/* The event's deadline, CLOCK_MONOTONIC usec, 0: none. */
uint64_t context_deadline(const sand_context *context);
