/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Results that are posted to a URL. A callback is an event of its own in the log, of the function "@callback", written in the
 * transaction that ends the event that asked for it, and so retried as any other. */

#include <json-c/json.h>

#include "globald.h"

#define CALLBACK_FUNCTION "@callback"

extern const RetryPolicy callback_policy;

bool callback_is(const char *function);
/* What is posted: the execution, with its result. NULL: out of memory. */
json_object *callback_document(const LogEvent *e, const LogFinish *f);

/* _SAND_ERROR_INVALID: the other side said 2xx. */
typedef void (*callback_done_t)(SandError error, const char *message, void *userdata);
/* Posts the event's payload to its `callback`. The event must stay until `done` has run, from the loop or from within. */
void callback_post(Globald *g, const LogEvent *e, callback_done_t done, void *userdata);

int callbacks_new(Globald *g, Callbacks **ret);
Callbacks *callbacks_free(Callbacks *c);
