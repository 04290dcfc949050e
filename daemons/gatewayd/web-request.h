/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is known of a request to a trigger, and how functions get it: as an event of AWS Lambda's HTTP payload format
 * 2.0, or, for programs, as the variables of CGI/1.1 (RFC 3875) with the body as it came. */

#include "buffer.h"
#include "web-table.h"

typedef struct WebField {
        const char *name, *value; /* as they were sent, terminated; any bytes but controls in the value */
        size_t position;          /* 0... */
} WebField;

typedef struct WebRequest {
        const char *app;
        const WebRoute *route;
        const WebPath *path;    /* of the application's, without "/web/APP" */
        const char *raw_path;
        const char *query;      /* as it was sent; "" */
        const char *method;     /* GET for a HEAD that a route for GET serves */
        const char *protocol;   /* "HTTP/1.1" */
        const char *remote;     /* the client's address */
        bool https;             /* the client came by TLS */
        const char *execution;
        WebField *fields;       /* sorted by web_fields_sort() */
        size_t n_fields;
        uint64_t now_usec;      /* CLOCK_REALTIME */
        const void *body;
        size_t size;
} WebRequest;

/* By name, fields of one name in the order in which they came. */
void web_fields_sort(WebField *fields, size_t n);
const char *web_field(const WebRequest *q, const char *name);
/* Of Host: the length of the name, and the port, that of the scheme where there is none. */
size_t web_host_length(const char *host);
const char *web_host_port(const char *host, bool https);
/* What is between two neighbours only, in requests and in answers: RFC 9110, 7.6.1. */
bool web_field_is_hop_by_hop(const char *name);

/* Appends the event. -ENOMEM. */
int web_event_build(const WebRequest *q, Buffer *b);

/* Appends the variables, one NAME=value a line, UTF-8. -ENOMEM. */
int web_cgi_build(const WebRequest *q, Buffer *b);
