/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Format: https://prometheus.io/docs/instrumenting/exposition_formats/ */

#include "metrics.h"

#include <assert.h>
#include <inttypes.h>

#include "macro.h"

static const uint64_t bounds[DURATION_BUCKETS] = { /* microseconds */
        500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 1000000, 2500000, 10000000, 60000000,
};

FunctionMetrics *function_metrics_new(void) {
        FunctionMetrics *m = calloc(1, sizeof(FunctionMetrics));
        if (m)
                m->n_ref = 1;
        return m;
}

FunctionMetrics *function_metrics_ref(FunctionMetrics *m) {
        m->n_ref++;
        return m;
}

FunctionMetrics *function_metrics_unref(FunctionMetrics *m) {
        if (m && --m->n_ref == 0)
                free(m);
        return NULL;
}

void function_metrics_count(FunctionMetrics *m, int outcome) {
        assert(outcome >= 0 && outcome < OUTCOMES);
        m->outcomes[outcome]++;
}

void function_metrics_count_event(FunctionMetrics *m, int outcome) {
        assert(outcome >= 0 && outcome < OUTCOMES);
        m->events[outcome]++;
}

void function_metrics_record(FunctionMetrics *m, int outcome, uint64_t duration_usec) {
        size_t i = 0;

        while (i < DURATION_BUCKETS && duration_usec > bounds[i])
                i++;
        function_metrics_count(m, outcome);
        m->buckets[i]++;
        m->duration_sum += duration_usec;
}

static const char *outcome_to_string(int outcome) {
        if (outcome == OUTCOME_OK)
                return "ok";
        if (outcome == OUTCOME_CANCELLED)
                return "Cancelled";
        return sand_error_info((SandError) outcome)->name;
}

static void write_escaped(FILE *f, const char *s) {
        for (; *s; s++)
                if (*s == '\n')
                        (void) fputs("\\n", f);
                else {
                        if (*s == '\\' || *s == '"')
                                (void) fputc('\\', f);
                        (void) fputc(*s, f);
                }
}

/* name{app="A",function="F" -- the caller adds what else there is, and closes. */
static void write_labels(FILE *f, const char *name, const MetricsRow *row) {
        (void) fprintf(f, "%s{app=\"", name);
        write_escaped(f, row->app);
        (void) fputs("\",function=\"", f);
        write_escaped(f, row->function);
        (void) fputc('"', f);
}

static void write_head(FILE *f, const char *name, const char *type, const char *help) {
        (void) fprintf(f, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void write_counts(FILE *f, const char *name, const MetricsRow *row, const uint64_t *counts) {
        for (int o = 0; o < OUTCOMES; o++) {
                /* `ok` is there from the start, so that a rate begins at 0. */
                if (o != OUTCOME_OK && counts[o] == 0)
                        continue;
                write_labels(f, name, row);
                (void) fprintf(f, ",outcome=\"%s\"} %" PRIu64 "\n", outcome_to_string(o), counts[o]);
        }
}

static void write_outcomes(FILE *f, const MetricsRow *rows, size_t n) {
        write_head(f, "sand_invocations_total", "counter", "Invocations that came by HTTP, by outcome.");
        for (size_t i = 0; i < n; i++)
                if (*rows[i].function)
                        write_counts(f, "sand_invocations_total", rows + i, rows[i].metrics->outcomes);
        write_head(f, "sand_events_total", "counter", "Events that came by HTTP to be kept and delivered, by outcome; "
                   "ok: accepted.");
        for (size_t i = 0; i < n; i++)
                write_counts(f, "sand_events_total", rows + i, rows[i].metrics->events);
}

static void write_in_flight(FILE *f, const MetricsRow *rows, size_t n) {
        write_head(f, "sand_invocations_in_flight", "gauge", "Invocations that wait or run.");
        for (size_t i = 0; i < n; i++) {
                if (!*rows[i].function)
                        continue;
                write_labels(f, "sand_invocations_in_flight", rows + i);
                (void) fprintf(f, "} %u\n", rows[i].metrics->in_flight);
        }
}

static void write_duration(FILE *f, const MetricsRow *row) {
        const FunctionMetrics *m = row->metrics;
        uint64_t sum = 0;

        for (size_t i = 0; i <= DURATION_BUCKETS; i++) {
                sum += m->buckets[i];
                write_labels(f, "sand_invocation_duration_seconds_bucket", row);
                if (i < DURATION_BUCKETS)
                        (void) fprintf(f, ",le=\"%g\"} %" PRIu64 "\n", (double) bounds[i] / 1e6, sum);
                else
                        (void) fprintf(f, ",le=\"+Inf\"} %" PRIu64 "\n", sum);
        }
        write_labels(f, "sand_invocation_duration_seconds_sum", row);
        (void) fprintf(f, "} %.6f\n", (double) m->duration_sum / 1e6);
        write_labels(f, "sand_invocation_duration_seconds_count", row);
        (void) fprintf(f, "} %" PRIu64 "\n", sum);
}

static void write_http(FILE *f, const HttpMetrics *h, size_t n_apps) {
        write_head(f, "sand_http_responses_total", "counter", "Answers, by status.");
        for (unsigned i = 0; i < HTTP_STATUS_MAX; i++)
                if (h->answers[i] > 0)
                        (void) fprintf(f, "sand_http_responses_total{code=\"%u\"} %" PRIu64 "\n", i, h->answers[i]);
        write_head(f, "sand_http_connections", "gauge", "Open client connections.");
        (void) fprintf(f, "sand_http_connections %u\n", h->connections);
        write_head(f, "sand_http_connections_total", "counter", "Client connections accepted.");
        (void) fprintf(f, "sand_http_connections_total %" PRIu64 "\n", h->connections_total);
        write_head(f, "sand_http_connections_closed_total", "counter", "Client connections that the gateway ended.");
        (void) fprintf(f, "sand_http_connections_closed_total{reason=\"slow\"} %" PRIu64 "\n"
                       "sand_http_connections_closed_total{reason=\"full\"} %" PRIu64 "\n"
                       "sand_http_connections_closed_total{reason=\"share\"} %" PRIu64 "\n",
                       h->timed_out, h->evicted, h->refused);
        if (h->certificate_expires_usec > 0) {
                write_head(f, "sand_tls_certificate_expiry_seconds", "gauge", "When the certificate expires, Unix time.");
                (void) fprintf(f, "sand_tls_certificate_expiry_seconds %" PRIu64 "\n",
                               h->certificate_expires_usec / USEC_PER_SEC);
        }
        write_head(f, "sand_applications", "gauge", "Applications in the catalogue.");
        (void) fprintf(f, "sand_applications %zu\n", n_apps);
}

void http_metrics_add(HttpMetrics *sum, const HttpMetrics *m) {
        for (unsigned i = 0; i < HTTP_STATUS_MAX; i++)
                sum->answers[i] += m->answers[i];
        sum->connections += m->connections;
        sum->connections_total += m->connections_total;
        sum->timed_out += m->timed_out;
        sum->evicted += m->evicted;
        sum->refused += m->refused;
}

void metrics_write(FILE *f, const MetricsRow *rows, size_t n_rows, const HttpMetrics *http, size_t n_apps) {
        write_outcomes(f, rows, n_rows);
        write_in_flight(f, rows, n_rows);
        write_head(f, "sand_invocation_duration_seconds", "histogram",
                   "Time from the request's last byte to the answer's first.");
        for (size_t i = 0; i < n_rows; i++)
                if (*rows[i].function)
                        write_duration(f, rows + i);
        write_http(f, http, n_apps);
}
