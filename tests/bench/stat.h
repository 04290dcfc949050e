/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the benchmarks' C programs share: the clock, percentiles, CPUs, and their output, which is one JSON object
 * a line. The Python beside them makes tables of it. A benchmark that cannot go on says why and exits. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "macro.h"

#define NSEC_PER_SEC UINT64_C(1000000000)

uint64_t now_nsec(void);
/* Until that time of now_nsec(). */
void sleep_until(uint64_t nsec);

/* Durations, nanoseconds. What is more than there is room for is counted, and not kept. */
typedef struct Samples {
        uint64_t *nsec;
        size_t n, room;
        bool sorted;
} Samples;

void samples_init(Samples *s, size_t room);
void samples_add(Samples *s, uint64_t nsec);
void samples_done(Samples *s);
/* Microseconds; q from 0 to 1. */
double samples_quantile(Samples *s, double q);

/* Prints {"name": NAME, then what follows, one number at a time. */
void row_begin(const char *name);
void row_number(const char *key, double value);
void row_end(void);
/* A whole row: p50, p99 and max of the samples, in microseconds. */
void row_samples(const char *name, Samples *s);

/* Binds this process to a CPU; a negative one: to none. */
void pin(int cpu);
_noreturn_ void die(const char *what, int error);
/* The value of an option; exits with a message when it is no number from `least` to `most`. */
uint64_t parse_number(const char *what, const char *text, uint64_t least, uint64_t most);
