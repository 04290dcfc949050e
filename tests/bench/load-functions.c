/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The functions that the load of tests/bench/throughput, http and memory goes to. In the environment:
 * HEAP_MIB   so much memory in small pieces is there before the first event, as of a program with a big model
 * COMPUTE    microseconds of CPU time that `compute` takes
 * NEXT       the function that `compute` calls then, if any */

#include <sand/function.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PIECE 1000U

int echo(sand_context *context, const void *event, size_t size);
int compute(sand_context *context, const void *event, size_t size);

static unsigned long number(const char *name) {
        const char *s = getenv(name);
        return s ? strtoul(s, NULL, 10) : 0;
}

static __attribute__((constructor)) void fill_heap(void) {
        static void *last; /* all are reachable: nothing is given back */

        for (size_t n = number("HEAP_MIB") * 1024 * 1024 / PIECE; n > 0; n--) {
                void **piece = malloc(PIECE - 2 * sizeof(size_t));
                if (!piece)
                        return;
                memset(piece, 1, PIECE - 2 * sizeof(size_t));
                *piece = last;
                last = piece;
        }
}

int echo(sand_context *context, const void *event, size_t size) {
        return sand_reply(context, event, size);
}

static unsigned long cpu_usec(void) {
        struct timespec ts;

        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
        return (unsigned long) ts.tv_sec * 1000000UL + (unsigned long) ts.tv_nsec / 1000;
}

static void burn(unsigned long usec) {
        unsigned long end = cpu_usec() + usec;
        volatile unsigned x = 0;

        while (cpu_usec() < end)
                for (unsigned i = 0; i < 1000; i++)
                        x += i;
}

int compute(sand_context *context, const void *event, size_t size) {
        const char *next = getenv("NEXT");
        sand_result *result = NULL;
        int r = 0;

        burn(number("COMPUTE"));
        if (next)
                r = sand_call(context, next, event, size, &result);
        sand_result_free(result);
        return r < 0 ? r : sand_reply(context, event, size);
}
