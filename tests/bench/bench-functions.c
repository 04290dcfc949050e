/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The functions that the benchmarks call. */

#include <sand/function.h>
#include <stdint.h>
#include <time.h>

int echo(sand_context *context, const void *event, size_t size);
int chain(sand_context *context, const void *event, size_t size);

int echo(sand_context *context, const void *event, size_t size) {
        return sand_reply(context, event, size);
}

static uint64_t now_nsec(void) {
        struct timespec ts;
        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000000000U + (uint64_t) ts.tv_nsec;
}

/* Calls echo with its own event; the result is how long the caller waited, in nanoseconds, 8 bytes. */
int chain(sand_context *context, const void *event, size_t size) {
        sand_result *result = NULL;
        uint64_t start = now_nsec(), elapsed;
        int r;

        r = sand_call(context, "echo", event, size, &result);
        elapsed = now_nsec() - start;
        sand_result_free(result);
        return r < 0 ? r : sand_reply(context, &elapsed, sizeof(elapsed));
}
