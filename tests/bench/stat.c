/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stat.h"

#include <sched.h>
#include <stdio.h>

uint64_t now_nsec(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * NSEC_PER_SEC + (uint64_t) ts.tv_nsec;
}

void sleep_until(uint64_t nsec) {
        struct timespec ts = { .tv_sec = (time_t) (nsec / NSEC_PER_SEC), .tv_nsec = (long) (nsec % NSEC_PER_SEC) };

        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
                ;
}

void samples_init(Samples *s, size_t room) {
        *s = (Samples) { .nsec = calloc(room, sizeof(uint64_t)), .room = room };
        if (!s->nsec)
                die("samples", ENOMEM);
}

void samples_add(Samples *s, uint64_t nsec) {
        if (s->n < s->room)
                s->nsec[s->n] = nsec;
        s->n++;
        s->sorted = false;
}

void samples_done(Samples *s) {
        free(s->nsec);
        *s = (Samples) {};
}

static int compare(const void *a, const void *b) {
        uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;
        return (x > y) - (x < y);
}

double samples_quantile(Samples *s, double q) {
        size_t n = MIN(s->n, s->room), i;

        if (n == 0)
                return 0;
        if (!s->sorted)
                qsort(s->nsec, n, sizeof(uint64_t), compare);
        s->sorted = true;
        i = (size_t) ((double) n * q);
        return (double) s->nsec[MIN(i, n - 1)] / 1000;
}

void row_begin(const char *name) {
        printf("{\"name\": \"%s\"", name);
}

void row_number(const char *key, double value) {
        printf(", \"%s\": %.2f", key, value);
}

void row_end(void) {
        puts("}");
        (void) fflush(stdout);
}

void row_samples(const char *name, Samples *s) {
        row_begin(name);
        row_number("p50", samples_quantile(s, 0.5));
        row_number("p99", samples_quantile(s, 0.99));
        row_number("max", samples_quantile(s, 1));
        row_end();
}

void pin(int cpu) {
        cpu_set_t set;

        if (cpu < 0)
                memset(&set, 0xff, sizeof(set));
        else {
                CPU_ZERO(&set);
                CPU_SET(cpu, &set);
        }
        if (sched_setaffinity(0, sizeof(set), &set) < 0)
                die("sched_setaffinity", errno);
}

void die(const char *what, int error) {
        fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(abs(error)));
        exit(EXIT_FAILURE);
}

uint64_t parse_number(const char *what, const char *text, uint64_t least, uint64_t most) {
        unsigned long long n;
        char *end;

        errno = 0;
        n = strtoull(text, &end, 10);
        if (errno != 0 || end == text || *end || *text == '-' || n < least || n > most) {
                fprintf(stderr, "%s: expected for %s a number from %llu to %llu, not \"%s\"\n",
                        program_invocation_short_name, what, (unsigned long long) least, (unsigned long long) most, text);
                exit(EXIT_FAILURE);
        }
        return n;
}
