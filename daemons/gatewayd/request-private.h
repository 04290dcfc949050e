/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Between request.c, what all requests have in common, and request-web.c, those to HTTP triggers. */

#include "answer.h"
#include "gateway.h"
#include "route.h"
#include "web.h"

#define TRACEPARENT_LENGTH 55U

/* Of a request whose client closed the connection before its answer; nobody reads it but the log. */
#define CLIENT_CLOSED 499U

/* What the access log needs, in memory of our own: the connection's is given back before the request. */
typedef struct RequestAccess {
        char *method, *path, *user_agent;
        char client[INET6_ADDRSTRLEN];
        uint64_t began;          /* CLOCK_MONOTONIC */
        uint64_t received, sent; /* bytes of the bodies */
} RequestAccess;

typedef struct Request {
        Gateway *gateway;
        HttpConnection *connection;
        char id[EXECUTION_ID_LENGTH + 1];
        Route route;
        const char *method; /* libmicrohttpd's */
        HeaderCheck header;
        uint64_t deadline; /* 0: none asked for */

        /* Of an invocation. */
        Target target;
        App *app;
        FunctionMetrics *metrics; /* NULL: no function is asked for */
        Runtime runtime;
        uint64_t payload_max, timeout;
        uint64_t started;
        PeerCall *call;

        /* Of a trigger's. */
        Web web;
        char *redirect; /* path and query, of the last one */
        unsigned n_redirects;

        char *body;
        size_t size, allocated;
        uint64_t drained;
        RequestAccess *access; /* NULL: there is no log of it */

        /* Who asks. */
        char token[TOKEN_ID_LENGTH + 1]; /* the id of the one that was shown; "": none */
        const char *challenge;           /* what 401 says in WWW-Authenticate; a literal */

        /* Why it is not served. */
        bool refused;
        SandError kind;
        unsigned status; /* 0: the kind's */
        char detail[256];
} Request;

/* The first reason stays; what was received of the body goes. */
void request_refuse(Request *q, SandError kind, unsigned status, const char *format, ...) _printf_(4, 5);
/* What all answers to it have. */
Answer request_answer(const Request *q);
void request_answer_problem(Request *q, const Problem9457 *p);
void request_answer_refused(Request *q);
/* The invocation is over, and counted. */
void request_finish(Request *q, int outcome);
/* The function to be called is this one of the application's entry. */
void request_set_function(Request *q, App *app, int i);
/* Calls it, or answers why not. */
void request_invoke(Request *q);
/* What an event can say of its payload. */
bool content_type_is_valid(const char *s);

/* request-auth.c */
/* Whether the client may ask for the route's application at all; if not the request is refused. `rest` is as
 * route_parse() has it. */
bool request_is_allowed(Request *q, const char *rest, const char *method);
/* Whom it is from: of a proxy that is trusted, its client. */
void request_client(const Request *q, WebClient *ret);
/* NULL: out of memory. */
RequestAccess *request_access_new(const Request *q, const char *path, const char *method);
RequestAccess *request_access_free(RequestAccess *a);
DEFINE_POINTER_CLEANUP(RequestAccess *, request_access_free);
/* It has an `access`. */
void request_log(const Request *q);

/* request-web.c */
/* Finds the trigger for a path of the application, and its function; or refuses. */
void request_take_trigger(Request *q, App *app, const char *path, const char *query, const char *method);
/* What the trigger's function gets in place of the body alone: into the call, and at `headers` at most one. 0, -ENOMEM, or
 * -EMSGSIZE: the request is refused. What it points to is the buffer's. */
int request_build_event(Request *q, PeerRequest *call, const char **headers, Buffer *b);
void request_answer_web(Request *q, const PeerReply *reply);
void request_answer_preflight(Request *q);
/* Who may read the answer. */
WebOrigin request_origin(const Request *q);
