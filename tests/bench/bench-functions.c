/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The functions that tests/bench/local and forks call. In the environment:
 * NEXT        the function that `hop` calls with its event, and whose result becomes its own; without: echo
 * HEAP_MIB    so much memory is there and written to before the first event, as of a program with a big model,
 * HEAP_PIECE  in pieces of so many bytes (1000) */

#include <sand/function.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PAGE 4096U
#define CALLEES_MAX 64U

int hop(sand_context *context, const void *event, size_t size);
int start(sand_context *context, const void *event, size_t size);

static unsigned long number(const char *name, unsigned long otherwise) {
        const char *s = getenv(name);
        return s ? strtoul(s, NULL, 10) : otherwise;
}

static __attribute__((constructor)) void fill_heap(void) {
        size_t piece = number("HEAP_PIECE", 1000);
        static void *last; /* all are reachable: nothing is given back */

        for (size_t n = number("HEAP_MIB", 0) * 1024 * 1024 / piece; n > 0; n--) {
                void **p = malloc(piece - 2 * sizeof(size_t));
                if (!p)
                        return;
                memset(p, 1, piece - 2 * sizeof(size_t));
                *p = last;
                last = p;
        }
}

static uint64_t now_nsec(void) {
        struct timespec ts;
        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000000000U + (uint64_t) ts.tv_nsec;
}

/* Who gets bytes looks at them. */
static void look_at(const void *data, size_t size) {
        for (size_t i = 0; i < size; i += PAGE)
                (void) ((const volatile char *) data)[i];
}

int hop(sand_context *context, const void *event, size_t size) {
        const char *next = getenv("NEXT");
        sand_result *result = NULL;
        int r;

        look_at(event, size);
        if (!next)
                return sand_reply(context, event, size);
        r = sand_call(context, next, event, size, &result);
        if (r >= 0) {
                look_at(sand_result_data(result), sand_result_size(result));
                r = sand_reply(context, sand_result_data(result), sand_result_size(result));
        }
        sand_result_free(result);
        return r;
}

/* The event is "FUNCTION BYTES TIMES": calls the function so often, one after another, with the same bytes. The result
 * is how long that took, in nanoseconds, 8 bytes. */
int start(sand_context *context, const void *event, size_t size) {
        char text[128] = "", target[64];
        unsigned times;
        uint64_t begin, elapsed;
        size_t bytes;
        char *body;
        int r = 0;

        if (size >= sizeof(text))
                return -EINVAL;
        memcpy(text, event, size);
        if (sscanf(text, "%63s %zu %u", target, &bytes, &times) != 3 || times > CALLEES_MAX)
                return -EINVAL;
        body = malloc(bytes + 1);
        if (!body)
                return -ENOMEM;
        memset(body, 'x', bytes);
        if (bytes >= 2) /* of JSON, a string */
                body[0] = body[bytes - 1] = '"';
        begin = now_nsec();
        for (unsigned i = 0; i < times && r >= 0; i++) {
                sand_result *result = NULL;

                r = sand_call(context, target, body, bytes, &result);
                if (r >= 0) {
                        look_at(sand_result_data(result), sand_result_size(result));
                        r = sand_result_size(result) >= bytes ? 0 : -EBADMSG;
                }
                sand_result_free(result);
        }
        elapsed = now_nsec() - begin;
        free(body);
        return r < 0 ? r : sand_reply(context, &elapsed, sizeof(elapsed));
}
