/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A request that will not be served is still read to its end, within a bound, so that its client sees the
 * answer and not a reset; where its end cannot be trusted it is answered at once and the connection is
 * closed. */

#include "request.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/random.h>

#include "log.h"
#include "request-private.h"

#define DRAIN_MAX (UINT64_C(16) << 20)
#define BODY_FIRST 4096U
#define CONTENT_TYPE_MAX 256U
/* From a machine that sleeps to its first answer, and for what waits in its queue. */
#define CALL_SLACK_USEC (10 * USEC_PER_SEC)
#define DEADLINE_SLACK_USEC (1 * USEC_PER_SEC)

/* The message has it. Its bytes count until there is an answer: as long as the event waits it is somewhere. */
static void body_sent(Request *q) {
        free(q->body);
        q->body = NULL;
        q->size = 0;
}

static void body_free(Request *q) {
        body_sent(q);
        q->gateway->body_bytes -= q->allocated;
        http_client(q->connection)->body_bytes -= q->allocated;
        if (q->app)
                q->app->body_bytes -= q->allocated;
        q->allocated = 0;
}

void request_refuse(Request *q, SandError kind, unsigned status, const char *format, ...) {
        va_list ap;

        if (q->refused)
                return;
        q->refused = true;
        q->kind = kind;
        q->status = status;
        va_start(ap, format);
        (void) vsnprintf(q->detail, sizeof(q->detail), format, ap);
        va_end(ap);
        body_free(q);
}

/* ---- answers ---- */

Answer request_answer(const Request *q) {
        return (Answer) {
                .execution = q->id,
                .origin = request_origin(q),
                .ret_size = q->access ? &q->access->sent : NULL,
        };
}

void request_answer_problem(Request *q, const Problem9457 *p) {
        char allow[WEB_ALLOW_MAX];
        Answer a = request_answer(q);

        a.challenge = q->challenge;
        if (p->status == MHD_HTTP_METHOD_NOT_ALLOWED) {
                web_allow(q->web.methods, allow);
                a.allow = route_methods(q->route) ?: allow;
        }
        http_answer(q->connection, problem_status(p), answer_problem(&a, p));
}

void request_answer_refused(Request *q) {
        const Problem9457 p = {
                .kind = q->kind,
                .status = q->status,
                .detail = q->detail,
                .execution = q->id,
        };
        request_answer_problem(q, &p);
}

/* It was not called, or the event log was. */
static void request_count(Request *q, int outcome) {
        if (q->logged)
                function_metrics_count_event(q->metrics, outcome);
        else
                function_metrics_count(q->metrics, outcome);
}

/* Of the application, and by no more than what is bounded alike: calls that take long keep no event from being accepted. */
static unsigned *request_counter(Request *q) {
        return q->logged ? &q->app->accepting : &q->app->in_flight;
}

void request_started(Request *q) {
        q->started = now_usec();
        if (q->metrics) {
                (*request_counter(q))++;
                q->metrics->in_flight += !q->logged;
        }
        q->gateway->in_flight++;
        gateway_touch_status(q->gateway);
        body_sent(q);
        if (!q->waits)
                http_wait(q->connection);
        q->waits = true;
}

void request_finish(Request *q, int outcome) {
        if (q->metrics) {
                (*request_counter(q))--;
                q->metrics->in_flight -= !q->logged;
                if (q->logged)
                        request_count(q, outcome);
                else
                        function_metrics_record(q->metrics, outcome, usec_sub(now_usec(), q->started));
        }
        q->gateway->in_flight--;
        q->call = NULL;
        body_free(q);
}

void request_answer_error(Request *q, const PeerReply *reply) {
        const Problem9457 p = {
                .kind = reply->error,
                .detail = reply->message,
                .error = reply->error_class,
                .cause = isempty(reply->cause) ? NULL : reply->cause,
                .execution = q->id,
        };
        request_answer_problem(q, &p);
}

static void on_reply(PeerCall *call, const PeerReply *reply, void *userdata) {
        Request *q = userdata;

        if (reply->error != _SAND_ERROR_INVALID) {
                request_finish(q, reply->error);
                request_answer_error(q, reply);
                return;
        }
        if (q->route == ROUTE_WEB) {
                request_answer_web(q, reply);
                return;
        }
        request_finish(q, OUTCOME_OK);
        Answer a = request_answer(q);
        a.content_type = reply->content_type;
        a.run_usec = reply->wall_usec;
        http_hold(q->connection, reply->payload.size);
        http_answer(q->connection, MHD_HTTP_OK, answer_payload(&a, reply));
}

/* ---- the header ---- */

static enum MHD_Result on_header(void *userdata, enum MHD_ValueKind kind, const char *name, size_t name_size,
                                 const char *value, size_t value_size) {
        header_check_add(userdata, name, name_size, strempty(value), value_size);
        return MHD_YES;
}

static int make_id(Gateway *g, char ret[static EXECUTION_ID_LENGTH + 1]) {
        static const char digits[] = "0123456789abcdef";

        if (g->n_random < EXECUTION_ID_LENGTH / 2) {
                /* As much as getrandom() gives in one piece, whatever interrupts it. */
                if (getrandom(g->random, sizeof(g->random), 0) != (ssize_t) sizeof(g->random))
                        return -EIO;
                g->n_random = sizeof(g->random);
        }
        for (size_t i = 0; i < EXECUTION_ID_LENGTH / 2; i++) {
                uint8_t byte = g->random[--g->n_random];

                ret[2 * i] = digits[byte >> 4];
                ret[2 * i + 1] = digits[byte & 15];
        }
        ret[EXECUTION_ID_LENGTH] = 0;
        return 0;
}

/* What an event can say of its payload. */
bool content_type_is_valid(const char *s) {
        if (strlen(s) > CONTENT_TYPE_MAX)
                return false;
        for (; *s; s++)
                if (*s < ' ' || *s > '~')
                        return false;
        return true;
}

static void request_take_options(Request *q) {
        const HeaderCheck *h = &q->header;
        uint64_t span;

        request_take_event_options(q);
        if (q->route == ROUTE_INVOKE && h->content_type && !content_type_is_valid(h->content_type))
                request_refuse(q, SAND_ERROR_BAD_REQUEST, 0, "Content-Type is longer than %u bytes or not ASCII.",
                               CONTENT_TYPE_MAX);
        if (h->timeout) {
                if (parse_time_span(h->timeout, &span) < 0 || span == 0)
                        request_refuse(q, SAND_ERROR_BAD_REQUEST, 0, "Sand-Timeout is not a time such as \"5s\" "
                                       "or \"500ms\".");
                else if (span != USEC_INFINITY)
                        q->deadline = now_usec() + MIN(span, q->gateway->settings.invoke_timeout_max);
        }
}

static uint64_t function_call_timeout(const Gateway *g, uint64_t timeout) {
        uint64_t t = timeout > USEC_INFINITY / 2 ? USEC_INFINITY : usec_add(2 * timeout, CALL_SLACK_USEC);
        return MIN(t, g->settings.invoke_timeout_max);
}

void request_set_function(Request *q, App *app, int i) {
        const CatalogueFunction *f = app->entry->functions + i;
        Gateway *g = q->gateway;

        app_ref(app);
        app_unref(q->app);
        q->app = app;
        function_metrics_unref(q->metrics);
        q->metrics = function_metrics_ref(app->metrics[i]);
        q->runtime = f->runtime;
        q->payload_max = MIN(f->payload_max, g->settings.body_bytes_max);
        q->timeout = function_call_timeout(g, f->timeout_usec);
}

static App *request_find_app(Request *q) {
        App *app = apps_find(q->gateway->apps, q->target.app);

        if (!app)
                request_refuse(q, SAND_ERROR_NOT_FOUND, 0, "There is no application \"%s\".", q->target.app);
        return app;
}

static void request_take_function(Request *q) {
        Gateway *g = q->gateway;
        App *app;
        int i;

        app = request_find_app(q);
        if (!app)
                return;
        i = app_find_function(app, q->target.function);
        if (i < 0 && apps_refresh(g->apps) > 0 && (app = apps_find(g->apps, q->target.app)))
                i = app_find_function(app, q->target.function);
        if (i < 0) {
                request_refuse(q, SAND_ERROR_NOT_FOUND, 0, "The application \"%s\" has no function \"%s\".",
                               q->target.app, q->target.function);
                return;
        }
        request_set_function(q, app, i);
}

static void request_refuse_size(Request *q) {
        request_refuse(q, SAND_ERROR_TOO_LARGE, 0, "The payload is larger than the %llu bytes that \"%s/%s\" takes.",
                       (unsigned long long) q->payload_max, q->target.app, q->target.function);
}

static void request_check(Request *q, const char *path, const char *method) {
        const char *rest;
        App *app;

        q->route = route_parse(path, &q->target, &rest);
        if (q->route == ROUTE_METRICS && http_is_tls(q->connection))
                q->route = ROUTE_NONE; /* they name all applications */
        if (q->route == ROUTE_NONE) {
                request_refuse(q, SAND_ERROR_NOT_FOUND, 0, "Nothing is served at this path. Functions are at "
                               "/invoke/APP/NAME, HTTP triggers at /web/APP/, and events are taken at /events/APP.");
                return;
        }
        if (route_methods(q->route) && !route_allows(q->route, method)) {
                request_refuse(q, SAND_ERROR_BAD_REQUEST, MHD_HTTP_METHOD_NOT_ALLOWED,
                               "This path takes %s.", route_methods(q->route));
                return;
        }
        if (!request_is_allowed(q, rest, method))
                return;
        if (q->route == ROUTE_INVOKE)
                request_take_function(q);
        else if (q->route == ROUTE_WEB && (app = request_find_app(q)))
                request_take_trigger(q, app, rest, http_query(q->connection), method);
        else if (q->route == ROUTE_EVENTS && (app = request_find_app(q)))
                request_take_events(q, app);
        else if (q->route == ROUTE_EXECUTION)
                request_take_execution(q, rest);
        if (q->refused || !q->metrics)
                return;
        request_take_options(q);
        if (q->header.content_length != UINT64_MAX && q->header.content_length > q->payload_max)
                request_refuse_size(q);
}

static void *request_begin(HttpConnection *c, const char *path, const char *method, const char *version,
                           void *userdata) {
        Request *q;
        bool untrusted;

        q = calloc(1, sizeof(Request));
        if (!q || make_id(userdata, q->id) < 0) {
                free(q);
                return NULL;
        }
        q->gateway = userdata;
        q->connection = c;
        q->method = method;
        if (q->gateway->access_log)
                q->access = request_access_new(q, path, method);

        header_check_begin(&q->header, version);
        (void) http_header_each(c, on_header, &q->header);
        header_check_end(&q->header, method + http_header_size(c));
        untrusted = q->header.problem;
        if (untrusted)
                request_refuse(q, SAND_ERROR_BAD_REQUEST, 0, "%s", q->header.problem);
        else
                request_check(q, path, method);

        /* Nobody sends a body after "Expect:" before he is asked to. */
        if (q->refused && (untrusted || q->header.expect ||
                           (q->header.content_length != UINT64_MAX && q->header.content_length > DRAIN_MAX)))
                request_answer_refused(q);
        return q;
}

/* ---- the body ---- */

/* One application's clients leave the other half to everyone else's, and each client of one some to the others. */
static bool body_may_hold(const Request *q, size_t size) {
        const Gateway *g = q->gateway;
        uint64_t max = g->settings.body_memory_max;
        uint64_t all = g->body_bytes - q->allocated, of_app = q->app->body_bytes - q->allocated;
        uint64_t of_client = http_client(q->connection)->body_bytes - q->allocated;

        return http_client_may(of_client, size, MIN(usec_sub(max, all), usec_sub(max / 2, of_app)));
}

static int body_grow(Request *q, size_t needed) {
        uint64_t limit = MIN(q->header.content_length, q->payload_max);
        size_t wanted, more;
        char *grown;

        if (needed <= q->allocated)
                return 0;
        wanted = MAX(2 * q->allocated, (size_t) BODY_FIRST);
        wanted = MIN(wanted, (size_t) limit);
        wanted = MAX(wanted, needed);
        if (!body_may_hold(q, wanted))
                return -ENOBUFS;
        grown = realloc(q->body, wanted);
        if (!grown)
                return -ENOMEM;
        more = wanted - q->allocated;
        q->body = grown;
        q->allocated = wanted;
        q->gateway->body_bytes += more;
        q->app->body_bytes += more;
        http_client(q->connection)->body_bytes += more;
        return 0;
}

static int request_drain(Request *q, size_t size) {
        q->drained += size;
        return q->drained > DRAIN_MAX ? -EMSGSIZE : 0;
}

static int request_body(void *request, const char *data, size_t size) {
        Request *q = request;

        if (q->access)
                q->access->received += size;
        if (q->refused || !q->metrics)
                return request_drain(q, size);
        if (size > q->payload_max - q->size) {
                request_refuse_size(q);
                return request_drain(q, size);
        }
        if (body_grow(q, q->size + size) < 0) {
                request_refuse(q, SAND_ERROR_BUSY, 0, "Too many large requests are being received.");
                return request_drain(q, size);
        }
        memcpy(q->body + q->size, data, size);
        q->size += size;
        return 0;
}

/* ---- the invocation ---- */

/* https://www.w3.org/TR/trace-context/: one that does not parse is as if it were not there. */
static bool traceparent_is_valid(const char *s) {
        if (!s || strlen(s) != TRACEPARENT_LENGTH)
                return false;
        for (size_t i = 0; i < TRACEPARENT_LENGTH; i++)
                if (i == 2 || i == 35 || i == 52 ? s[i] != '-' : !strchr("0123456789abcdef", s[i]))
                        return false;
        return true;
}

static void request_refuse_connection(Request *q, int error) {
        if (q->refused)
                return;
        errno = -error;
        switch (error) {
        case -ENOBUFS:
                request_refuse(q, SAND_ERROR_BUSY, 0, "Too many events of \"%s\" wait for an answer.",
                               q->target.app);
                return;
        case -ENOENT:
                request_refuse(q, SAND_ERROR_UNAVAILABLE, 0, "The application \"%s\" has no socket: "
                               "sand-app@%s.socket does not run.", q->target.app, q->target.app);
                return;
        case -ECONNREFUSED:
                request_refuse(q, SAND_ERROR_UNAVAILABLE, 0, "Nobody listens on the socket of the application "
                               "\"%s\": sand-app@%s.socket stopped or failed.", q->target.app, q->target.app);
                return;
        default:
                request_refuse(q, SAND_ERROR_UNAVAILABLE, 0, "The application \"%s\" cannot be reached: %m",
                               q->target.app);
                (void) log_warning_errno(error, "Failed to invoke %s/%s: %m", q->target.app, q->target.function);
        }
}

static int request_call(Request *q) {
        _cleanup_(buffer_done) Buffer event = {};
        const char *headers[2 * (2 + EVENT_OPTIONS_MAX) + 1] = {}, **next = headers;
        uint64_t now = now_usec();
        PeerRequest call = {
                .target = q->target.function,
                .execution = q->id,
                .content_type = q->web.bodyless ? NULL : q->header.content_type,
                .headers = headers,
                .deadline = q->deadline,
                .timeout_usec = q->timeout,
                .data = q->body,
                .size = q->size,
        };
        Peer *peer;
        int r;

        if (traceparent_is_valid(q->header.traceparent)) {
                *next++ = "traceparent";
                *next++ = q->header.traceparent;
        }
        r = q->route == ROUTE_WEB ? request_build_event(q, &call, next, &event) :
            q->route == ROUTE_INVOKE ? request_build_cloud_event(q, &call, &event) : 0;
        if (r < 0)
                return r;
        if (q->deadline > 0)
                call.timeout_usec = MIN(q->timeout, usec_sub(q->deadline, now) + DEADLINE_SLACK_USEC);
        if (q->logged)
                return request_log_event(q, &call, *next ? next + 2 : next);
        r = apps_get_peer(q->gateway->apps, q->app, &peer);
        if (r < 0)
                return r;
        return peer_invoke(peer, &call, on_reply, q, &q->call);
}

void request_invoke(Request *q) {
        int r;

        if (*request_counter(q) >= q->gateway->settings.invocations_per_app_max)
                r = -ENOBUFS;
        else
                r = request_call(q);
        if (r < 0) {
                if (q->logged)
                        request_refuse_log(q, r);
                else
                        request_refuse_connection(q, r);
                request_count(q, q->kind);
                request_answer_refused(q);
                return;
        }
        request_started(q);
}

static struct MHD_Response *answer_metrics(const Answer *a, Gateway *g) {
        _cleanup_(freep) MetricsRow *rows = NULL;
        size_t n = 0, size = 0;
        HttpMetrics total;
        char *text = NULL;
        FILE *f;

        for (size_t i = 0; i < apps_count(g->apps); i++)
                n += apps_at(g->apps, i)->entry->n_functions + 1;
        rows = calloc(MAX(n, (size_t) 1), sizeof(MetricsRow));
        f = rows ? open_memstream(&text, &size) : NULL;
        if (!f)
                return NULL;
        n = 0;
        for (size_t i = 0; i < apps_count(g->apps); i++) {
                const App *app = apps_at(g->apps, i);

                rows[n++] = (MetricsRow) { app->name, "", app->emitted };
                for (size_t k = 0; k < app->entry->n_functions; k++)
                        rows[n++] = (MetricsRow) { app->name, app->entry->functions[k].name, app->metrics[k] };
        }
        total = *http_metrics(g->http);
        if (g->https)
                http_metrics_add(&total, http_metrics(g->https));
        if (g->tls)
                total.certificate_expires_usec = tls_expires_usec(g->tls);
        metrics_write(f, rows, n, &total, apps_count(g->apps));
        if (fclose(f) != 0) {
                free(text);
                return NULL;
        }
        return answer_text(a, text, size);
}

static int request_complete(void *request) {
        Request *q = request;
        Answer a = request_answer(q);

        if (q->refused) {
                if (q->metrics)
                        request_count(q, q->kind);
                request_answer_refused(q);
        } else if (q->metrics)
                request_invoke(q);
        else if (q->route == ROUTE_WEB)
                request_answer_preflight(q);
        else if (q->route == ROUTE_EXECUTION)
                request_ask_execution(q);
        else if (q->route == ROUTE_HEALTHZ) {
                a.content_type = "application/json";
                http_answer(q->connection, MHD_HTTP_OK, answer_static(&a, "{\"status\":\"ok\"}\n"));
        } else {
                a.content_type = "text/plain; version=0.0.4; charset=utf-8";
                http_answer(q->connection, MHD_HTTP_OK, answer_metrics(&a, q->gateway));
        }
        return 0;
}

static void request_hangup(void *request) {
        Request *q = request;

        peer_call_cancel(TAKE_PTR(q->call));
        request_finish(q, OUTCOME_CANCELLED);
        if (http_is_stopping(q->gateway->http))
                request_refuse(q, SAND_ERROR_UNAVAILABLE, 0, "The gateway stops.");
        else
                request_refuse(q, SAND_ERROR_BAD_REQUEST, CLIENT_CLOSED, "The client closed its connection.");
        request_answer_refused(q);
}

static void request_stopping(void *request) {
        Request *q = request;

        if (q->wait > 0)
                request_end_wait(q);
}

static void request_free(void *request) {
        Request *q = request;

        if (q->call) {
                peer_call_cancel(TAKE_PTR(q->call));
                request_finish(q, OUTCOME_CANCELLED);
        }
        if (q->access)
                request_log(q);
        request_access_free(q->access);
        body_free(q);
        web_done(&q->web);
        free(q->redirect);
        function_metrics_unref(q->metrics);
        app_unref(q->app);
        free(q);
}

const HttpOps request_ops = {
        .begin = request_begin,
        .body = request_body,
        .complete = request_complete,
        .hangup = request_hangup,
        .stopping = request_stopping,
        .free = request_free,
};
