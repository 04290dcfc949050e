/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* on_success and on_failure: what the function that they name is told. The document is that of AWS Lambda's destinations,
 * https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html, with the function's name in place of
 * its ARN. */

#include <json-c/json.h>

#include "event-log.h"

/* `f` is the outcome of the attempt that ended the event. NULL: out of memory. */
json_object *destination_document(const LogEvent *e, const LogFinish *f);
