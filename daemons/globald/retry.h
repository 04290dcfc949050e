/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Whether an event that failed is tried again, and when. Pure. */

#include "error.h"
#include "manifest.h"

typedef enum RetryVerdict {
        RETRY_LATER,     /* the attempt failed, there are more */
        RETRY_GIVE_BACK, /* it was not begun: the attempt does not count */
        RETRY_NEVER,     /* of an error that another attempt does not mend, or it was the last one */
} RetryVerdict;

/* `attempt` counts from 1 and is the one that failed. */
RetryVerdict retry_decide(const RetryPolicy *p, SandError error, unsigned attempt);
/* Usec from now to the next attempt: delay * backoff^(attempt - 1), at most delay_max, of which a random half is left out
 * so that what failed together does not come again together. `random` is any 32 bits. ("Equal jitter" of "Exponential Backoff
 * And Jitter", AWS Architecture Blog, 2015.) */
uint64_t retry_delay(const RetryPolicy *p, unsigned attempt, uint32_t random);
