/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "retry.h"

RetryVerdict retry_decide(const RetryPolicy *p, SandError error, unsigned attempt) {
        if (error == SAND_ERROR_BUSY || error == SAND_ERROR_UNAVAILABLE)
                return RETRY_GIVE_BACK;
        if (error == SAND_ERROR_TIMEOUT ? !p->timeouts : !sand_error_info(error)->retried)
                return RETRY_NEVER;
        return attempt < p->attempts ? RETRY_LATER : RETRY_NEVER;
}

uint64_t retry_delay(const RetryPolicy *p, unsigned attempt, uint32_t random) {
        double delay = (double) p->delay_usec;
        uint64_t half;

        for (unsigned i = 1; i < attempt && delay < (double) p->delay_max_usec; i++)
                delay *= p->backoff;
        half = (uint64_t) MIN(delay, (double) p->delay_max_usec) / 2;
        return half + (uint64_t) ((double) half * random / UINT32_MAX);
}
