/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Between request.c, what all requests have in common, request-web.c, those to HTTP triggers, and request-event.c, those that
 * the event log serves. */

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
        bool waits;        /* the connection does */

        /* Of a trigger's. */
        Web web;
        char *redirect; /* path and query, of the last one */
        unsigned n_redirects;

        /* Of what the event log serves. */
        bool logged;     /* the event is accepted, and called later */
        char asked[EXECUTION_ID_LENGTH + 1];
        uint64_t wait;   /* for the end of the execution that is asked for */

        char *body;
        size_t size, allocated;
        uint64_t drained;
        RequestAccess *access; /* NULL: there is no log of it */

        /* Who asks. */
        char token[TOKEN_ID_LENGTH + 1]; /* the id of the one that was shown; "": none */
        char token_app[sizeof(((Target *) 0)->app)];
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
void request_answer_error(Request *q, const PeerReply *reply);
/* The call is under way; once it is over, and counted. */
void request_started(Request *q);
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
/* Whether it may know of something of that application. */
bool request_may_see(const Request *q, const char *app);
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

/* request-event.c */
/* Whether the event log is to have it, and whether what its header says of that is understood; or refuses. */
void request_take_event_options(Request *q);
/* Events for whoever in the application wants them. */
void request_take_events(Request *q, App *app);
void request_take_execution(Request *q, const char *id);
/* What a CloudEvent's function gets in place of its body; as request_build_event() otherwise. */
int request_build_cloud_event(Request *q, PeerRequest *call, Buffer *b);
/* Sends the call to the event log, with the options of an event in the header: EVENT_OPTIONS_MAX at `next`. */
#define EVENT_OPTIONS_MAX 5U
int request_log_event(Request *q, PeerRequest *call, const char **next);
/* That had this error. */
void request_refuse_log(Request *q, int error);
void request_ask_execution(Request *q);
/* It is answered as it is. */
void request_end_wait(Request *q);
