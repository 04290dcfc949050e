/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The two sockets: connections in, and the requests that they bring. A request is answered once, at any time; if its
 * connection is gone by then the answer goes nowhere. */

#include "failure.h"
#include "globald.h"
#include "payload.h"

typedef struct Conn Conn;

typedef struct Request {
        Globald *globald;
        Conn *conn;            /* NULL: gone */
        struct Request *prev, *next; /* of the connection's */
        WireMessage call;
        const char *target, *execution, *content_type; /* within the call */
        uint64_t deadline;     /* CLOCK_MONOTONIC; 0: none */
        const char **headers;  /* key, value, ..., NULL */
        size_t n_headers;      /* pairs */
        WirePayload payload;   /* mapped */
        char app[APP_NAME_MAX + 1]; /* whose supervisor asks; "": the host */
        bool root;
        void (*gone)(struct Request *q); /* the connection is gone: nobody reads an answer; may be NULL */
        void *userdata;        /* of `gone` */
} Request;

/* Each answers, and frees the request. */
void request_answer(Request *q, const char *content_type, const Usage *usage, const Payload *payload);
/* Takes the document. */
void request_answer_json(Request *q, json_object *o);
void request_refuse(Request *q, SandError kind, const char *format, ...) _printf_(3, 4);
void request_fail(Request *q, const Failure *failure, const Usage *usage);
/* The error of an operation of the log. */
void request_fail_log(Request *q, int error);
Request *request_free(Request *q);

/* NULL: it has none. */
const char *request_header(const Request *q, const char *key);

int server_new(Globald *g, int fd, bool machines, Server **ret);
Server *server_free(Server *s);
Server *server_next(const Server *s);
/* Nobody is connected. */
bool server_is_idle(const Server *s);
/* Accepts, if that had failed. */
void server_try_again(Server *s);
void server_stop(Server *s);

/* methods.c: takes the request. */
void methods_handle(Request *q, const char *member);
/* accept.c */
void method_send(Request *q);
void method_emit(Request *q);
/* relay.c */
void method_invoke(Request *q);
/* query.c */
void method_execution(Request *q);
void method_executions(Request *q);
void method_dead_letters(Request *q);
void method_dead_letter(Request *q);
void method_replay(Request *q);
void method_drop(Request *q);
void method_compare(Request *q);
void method_state(Request *q);
