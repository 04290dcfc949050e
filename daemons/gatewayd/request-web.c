/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "request-private.h"

#include <assert.h>
#include <stdio.h>
#include <sys/mman.h>

#include "log.h"
#include "protocol.h"
#include "text.h"

/* A program may send a request on to another, and that one back. */
#define REDIRECTS_MAX 8U
/* What libmicrohttpd keeps of each line of a request's header beside its bytes, and of an answer's header besides its
 * author's lines: those of CORS are the larger part. */
#define LINE_COST 80U
#define ANSWER_HEADER_COST 4096U
/* Answers that are none: so many are told of in so long a time. */
#define COMPLAINTS_USEC (10 * USEC_PER_SEC)
#define COMPLAINTS_MAX 20U

WebOrigin request_origin(const Request *q) {
        const HttpTrigger *t = q->web.trigger;
        return (WebOrigin) { .cors = t ? t->cors : NULL, .origin = q->header.origin };
}

static bool request_is_cgi(const Request *q) {
        return q->route == ROUTE_WEB && q->runtime == RUNTIME_EXEC;
}

/* ---- which trigger ---- */

static void request_refuse_route(Request *q, const char *path, const char *method, int error) {
        switch (error) {
        case -EINVAL:
                request_refuse(q, SAND_ERROR_BAD_REQUEST, 0, "The path or the query is not what a URL may hold: printable "
                               "ASCII, %% before two digits, UTF-8 without control characters, no segment . or ..");
                return;
        case -ENOENT:
                request_refuse(q, SAND_ERROR_NOT_FOUND, 0, "The application \"%s\" has no route for the path %.128s.",
                               q->target.app, path);
                return;
        case -EOPNOTSUPP:
                request_refuse(q, SAND_ERROR_BAD_REQUEST, MHD_HTTP_METHOD_NOT_ALLOWED, "The application \"%s\" has no "
                               "route for the method %.32s at the path %.128s.", q->target.app, method, path);
                return;
        default:
                request_refuse(q, SAND_ERROR_UNAVAILABLE, 0, "The gateway is out of memory.");
        }
}

void request_take_trigger(Request *q, App *app, const char *path, const char *query, const char *method) {
        int r;

        r = web_begin(&q->web, app->web, path, query, method, &q->header);
        if ((r == -ENOENT || r == -EOPNOTSUPP) && apps_refresh(q->gateway->apps) > 0 &&
            (app = apps_find(q->gateway->apps, q->target.app)))
                r = web_begin(&q->web, app->web, path, query, method, &q->header);
        if (r < 0) {
                request_refuse_route(q, path, method, r);
                return;
        }
        if (q->web.preflight)
                return;
        strcpy(q->target.function, q->web.trigger->target); /* a function's name */
        r = app_find_function(app, q->target.function);
        assert(r >= 0);
        request_set_function(q, app, r);
        q->logged = q->web.trigger->async;
}

/* ---- what its function gets ---- */

int request_build_event(Request *q, PeerRequest *call, const char **headers, Buffer *b) {
        WebClient client;
        const WebFacts facts = {
                .client = &client,
                .has_token = *q->token,
                .app = q->target.app,
                .method = q->web.bodyless ? "GET" : q->method,
                .execution = q->id,
                .http_1_1 = q->header.http_1_1,
                .cgi = request_is_cgi(q),
                .body = q->body,
                .size = q->size,
        };
        int r;

        request_client(q, &client);
        r = web_build(&q->web, q->connection, &facts, b);
        if (r < 0)
                return r;
        if (facts.cgi) {
                buffer_putc(b, 0);
                if (b->size > SAND_HEADERS_BYTES_MAX - 2 * TRACEPARENT_LENGTH) {
                        request_refuse(q, SAND_ERROR_TOO_LARGE, MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE, "The header is "
                                       "larger than %u bytes as variables of CGI.", SAND_HEADERS_BYTES_MAX);
                        return -EMSGSIZE;
                }
                headers[0] = SAND_HEADER_CGI;
                headers[1] = b->data;
                if (call->content_type && !content_type_is_valid(call->content_type))
                        call->content_type = NULL;
                return b->error;
        }
        if (b->size > q->payload_max) {
                request_refuse(q, SAND_ERROR_TOO_LARGE, 0, "The request makes an event of %zu bytes, more than the %llu that "
                               "\"%s/%s\" takes.", b->size, (unsigned long long) q->payload_max, q->target.app,
                               q->target.function);
                return -EMSGSIZE;
        }
        call->content_type = "application/json";
        call->data = b->data;
        call->size = b->size;
        return 0;
}

/* ---- what it answers ---- */

/* The function's author must learn of it, and of no more than the journal can hold. */
static void request_log_bad_answer(Request *q, const char *problem) {
        Gateway *g = q->gateway;
        uint64_t now = now_usec();

        if (now - g->complaints_since > COMPLAINTS_USEC) {
                g->complaints_since = now;
                g->n_complaints = 0;
        }
        if (g->n_complaints++ < COMPLAINTS_MAX)
                log_warning("The answer of %s/%s in execution %s is refused: %s.", q->target.app, q->target.function,
                            q->id, problem);
}

static void request_answer_bad_answer(Request *q, char *problem) {
        char detail[256];
        const Problem9457 p = {
                .kind = SAND_ERROR_FUNCTION_FAILED,
                .status = MHD_HTTP_BAD_GATEWAY,
                .detail = detail,
                .error = "BadAnswer",
                .execution = q->id,
        };

        text_make_printable(problem);
        request_log_bad_answer(q, problem);
        (void) snprintf(detail, sizeof(detail), "What the function answered is no HTTP answer: %s.", problem);
        request_answer_problem(q, &p);
}

static int web_parse(Request *q, const PeerReply *reply, const void *data, WebAnswer *ret) {
        char local[sizeof("/web/") + sizeof(q->target.app) + 1];

        if (!request_is_cgi(q))
                return web_answer_parse(data, reply->payload.size, reply->content_type, ret);
        (void) snprintf(local, sizeof(local), "/web/%s/", q->target.app);
        return web_cgi_parse(data, reply->payload.size, local, ret);
}

/* The headers of request and answer share a connection's memory; where they do not fit it would be closed. */
static int web_check_room(Request *q, WebAnswer *w) {
        size_t used = http_header_size(q->connection) + q->header.n_lines * LINE_COST + ANSWER_HEADER_COST;

        for (const char *s = http_query(q->connection); *s; s++)
                used += *s == '&' ? LINE_COST : 0;
        if (used + w->header_bytes <= q->gateway->settings.header_bytes_max)
                return 0;
        (void) snprintf(w->problem, sizeof(w->problem), "its headers of %zu bytes are too many beside the request's",
                        w->header_bytes);
        return -EBADMSG;
}

/* A program's answer to a request is that of another path: RFC 3875, 6.2.2. Takes the location. */
static void request_redirect(Request *q, char *location) {
        char *query = strchr(location, '?'), too_many[] = "it goes round in redirects";
        const char *rest;
        Target target;

        free(q->redirect);
        q->redirect = location;
        if (++q->n_redirects > REDIRECTS_MAX) {
                request_answer_bad_answer(q, too_many);
                return;
        }
        if (query)
                *query++ = 0;
        location[strcspn(location, "#")] = 0;
        if (route_parse(location, &target, &rest) == ROUTE_WEB)
                request_take_trigger(q, q->app, rest, strempty(query), "GET");
        else
                request_refuse_route(q, location, "GET", -ENOENT);
        if (q->refused) {
                request_answer_refused(q);
                return;
        }
        q->web.bodyless = true;
        request_invoke(q);
}

void request_answer_web(Request *q, const PeerReply *reply) {
        _cleanup_(web_answer_done) WebAnswer w = {};
        Answer a = request_answer(q);
        void *mapping = NULL;
        const void *data;
        int r;

        a.run_usec = reply->wall_usec;
        r = payload_map(&reply->payload, &data, &mapping);
        if (r >= 0)
                r = web_parse(q, reply, data ?: "", &w);
        if (r >= 0)
                r = web_check_room(q, &w);
        request_finish(q, r == -EBADMSG ? SAND_ERROR_FUNCTION_FAILED : OUTCOME_OK);
        if (r >= 0 && w.status > 0) {
                http_hold(q->connection, reply->payload.size);
                http_answer(q->connection, w.status, answer_web(&a, &w, reply, mapping));
                return;
        }
        if (mapping)
                (void) munmap(mapping, reply->payload.size);
        if (r >= 0)
                request_redirect(q, TAKE_PTR(w.location));
        else if (r == -EBADMSG)
                request_answer_bad_answer(q, w.problem);
        else
                http_answer(q->connection, MHD_HTTP_INTERNAL_SERVER_ERROR, NULL);
}

void request_answer_preflight(Request *q) {
        const Answer a = request_answer(q);

        http_answer(q->connection, MHD_HTTP_NO_CONTENT,
                    answer_preflight(&a, q->header.cors_method, q->header.cors_headers));
}
