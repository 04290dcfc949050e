/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The part of a request to /web/APP/... that is for its trigger: which one it is, and what its function gets. */

#include "header-check.h"
#include "http.h"
#include "web-cors.h"
#include "web-request.h"

typedef struct Web {
        WebTable *table;            /* has the trigger */
        const HttpTrigger *trigger; /* NULL: none was found */
        const char *raw_path, *query;
        WebPath path;
        bool as_get;                /* a HEAD that a route for GET serves */
        bool preflight;             /* it asks whether the trigger's method may be used, and no more */
        bool bodyless;              /* a program sent it on: GET, without the body that was its own */
        unsigned methods;           /* a bit for each WebMethod that has a route for the path */
} Web;

/* `raw_path` begins with '/', and like `query` and `method` must stay. 0; -EINVAL: the path or query is none; -ENOENT: no
 * route has this path; -EOPNOTSUPP: none of them has this method; -ENOMEM. */
int web_begin(Web *w, WebTable *table, const char *raw_path, const char *query, const char *method, const HeaderCheck *h);
void web_done(Web *w);

/* "GET, HEAD, POST": what Allow: says. */
#define WEB_ALLOW_MAX 64U
void web_allow(unsigned methods, char ret[static WEB_ALLOW_MAX]);

/* Whom a request is from. */
typedef struct WebClient {
        char address[INET6_ADDRSTRLEN];
        bool tls;       /* it came to us by TLS, with nobody in between that is known */
        bool forwarded; /* a proxy that is trusted sent it, and said whose it is... */
        bool https;     /* ...and that it came to the proxy by TLS */
} WebClient;

typedef struct WebFacts {
        const WebClient *client;
        bool has_token; /* Authorization is between the client and the gateway */
        const char *app, *method, *execution;
        bool http_1_1;
        bool cgi; /* the variables of CGI, not an event of payload format 2.0 */
        const void *body;
        size_t size;
} WebFacts;

/* Appends what the function gets. -ENOMEM. */
int web_build(const Web *w, const HttpConnection *c, const WebFacts *facts, Buffer *b);
