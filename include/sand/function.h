/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SAND_FUNCTION_H
#define SAND_FUNCTION_H

/* Functions in C.
 *
 * A native function is a shared object of the bundle, named in sand.json with the symbol that it exports:
 *
 *         "resize": { "runtime": "native", "handler": "resize.so:resize" }
 *
 *         #include <sand/function.h>
 *
 *         int resize(sand_context *context, const void *event, size_t size) {
 *                 ...
 *                 return sand_reply(context, result, result_size);
 *         }
 *
 * The shared object is loaded once, in the function's worker; constructors run there. Every event is
 * handled in a process of its own, a fork of the worker. Build with `pkg-config --cflags --libs sand`.
 *
 * A context belongs to the event at hand and to the thread that the function was called on. Functions of
 * this header that can fail return 0 or a negative errno and, where said, leave details behind. */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default) /* also where all else is hidden */

typedef struct sand_context sand_context;
typedef struct sand_result sand_result;

/* What the symbol in sand.json must be. `event` is the payload: `size` bytes, read-only, not terminated,
 * valid until the function returns. Return 0 for success (without sand_reply() the result is empty), or a
 * negative errno for a failure; sand_fail() gives that failure a name and a text. */
typedef int (*sand_function)(sand_context *context, const void *event, size_t size);

/* Sets the result, replacing an earlier one. The bytes are copied. -ENOMEM; -EMSGSIZE: larger than the
 * function's payload_max. */
int sand_reply(sand_context *context, const void *data, size_t size);

/* Overrides the result's content type, else the manifest's `content_type`, else application/json. */
int sand_reply_content_type(sand_context *context, const char *content_type);

/* Records why the function fails: `error` is a short class name such as "NoSuchPhoto" (what a caller, and
 * Retry and Catch of a workflow, match), `format` the text. Returns -ECANCELED (or -ENOMEM), to be returned
 * from the function. */
int sand_fail(sand_context *context, const char *error, const char *format, ...)
        __attribute__((__format__(__printf__, 3, 4)));

/* Calls another function of the application, or `app/function` of one that allows it, and waits for its result. The callee's time is bounded by this
 * event's deadline. On success 0 and *ret, to be freed with sand_result_free(). When the callee failed:
 * -EREMOTEIO, and *ret describes the failure. Also -EMSGSIZE, -ENOMEM, -EPIPE (supervisor gone). */
int sand_call(sand_context *context, const char *target, const void *data, size_t size,
              sand_result **ret);

/* Sends an event to a function, or `app/function` of an application that allows it, and does not wait for its result. 0
 * once it is on disk: it is delivered, and retried, even if the machine ends (under `sandctl run` it is kept in memory).
 * -EREMOTEIO when it was refused; then sand_last_error() says why. */
int sand_send(sand_context *context, const char *target, const void *data, size_t size);

/* Emits an event on a topic: to every function whose trigger matches, kept as sand_send() keeps it; errors as there. Under
 * `sandctl run` there are no topics. */
int sand_emit(sand_context *context, const char *topic, const void *data, size_t size);

const void *sand_result_data(const sand_result *result);   /* never NULL; not terminated */
size_t sand_result_size(const sand_result *result);
const char *sand_result_content_type(const sand_result *result);
/* Of a failed call: the vocabulary's or the callee's own name, and the text; NULL of a successful one. */
const char *sand_result_error(const sand_result *result);
const char *sand_result_message(const sand_result *result);
void sand_result_free(sand_result *result);                /* accepts NULL */

/* Text of the last failed sand_call(), sand_send() or sand_emit() of this context, or "". */
const char *sand_last_error(const sand_context *context);

/* About the event. Strings are owned by the context. */
const char *sand_app(const sand_context *context);
const char *sand_function_name(const sand_context *context);
const char *sand_version(const sand_context *context);
const char *sand_execution_id(const sand_context *context);  /* 32 hex digits */
const char *sand_invocation_id(const sand_context *context); /* 32 hex digits */
const char *sand_content_type(const sand_context *context);  /* of the event; "" when not known */
/* The value of a metadata header of the event (lower-case key), or NULL. */
const char *sand_header(const sand_context *context, const char *key);
/* Microseconds until the event's deadline, at which the process is killed; UINT64_MAX: no deadline. */
uint64_t sand_remaining_usec(const sand_context *context);

/* One line to the journal with this event's fields; `priority` as in syslog(3), 0 to 7. What is printed on
 * standard output and error goes there too, with priority 6 unless the line begins with "<N>". */
void sand_log(sand_context *context, int priority, const char *format, ...)
        __attribute__((__format__(__printf__, 3, 4)));

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
