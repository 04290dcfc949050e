/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Counters, and their Prometheus text. A series exists for what the catalogue names and for nothing that a
 * client can invent; it goes with the application. */

#include <stdint.h>
#include <stdio.h>

#include "error.h"

/* An invocation's outcome: a SandError, or one of these. */
#define OUTCOME_OK _SAND_ERROR_MAX
#define OUTCOME_CANCELLED (_SAND_ERROR_MAX + 1) /* the client hung up */
#define OUTCOMES (_SAND_ERROR_MAX + 2)
#define DURATION_BUCKETS 13U /* and +Inf */
#define HTTP_STATUS_MAX 600U

typedef struct FunctionMetrics {
        unsigned n_ref;
        unsigned in_flight;
        uint64_t outcomes[OUTCOMES];
        uint64_t buckets[DURATION_BUCKETS + 1]; /* not cumulated */
        uint64_t duration_sum;                  /* microseconds */
        uint64_t events[OUTCOMES];              /* of those that the event log was asked to keep */
} FunctionMetrics;

FunctionMetrics *function_metrics_new(void);
FunctionMetrics *function_metrics_ref(FunctionMetrics *m);
FunctionMetrics *function_metrics_unref(FunctionMetrics *m);
/* One that was refused before it ran counts without a duration. */
void function_metrics_count(FunctionMetrics *m, int outcome);
void function_metrics_count_event(FunctionMetrics *m, int outcome);
void function_metrics_record(FunctionMetrics *m, int outcome, uint64_t duration_usec);

typedef struct HttpMetrics {
        uint64_t answers[HTTP_STATUS_MAX];
        uint64_t connections_total, evicted, timed_out, refused;
        unsigned connections;
        uint64_t certificate_expires_usec; /* CLOCK_REALTIME; 0: there is none */
} HttpMetrics;

typedef struct MetricsRow {
        const char *app, *function; /* function "": events for whoever wants them */
        const FunctionMetrics *metrics;
} MetricsRow;

/* Those of another server beside this one. */
void http_metrics_add(HttpMetrics *sum, const HttpMetrics *m);
void metrics_write(FILE *f, const MetricsRow *rows, size_t n_rows, const HttpMetrics *http, size_t n_apps);
