/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* HTTP triggers: the route "GET /photos/{id}", its target and its CORS rules. Routes are those of API Gateway's HTTP
 * APIs: a method or ANY; a path of segments, of which {name} stands for one that is not empty, and {name+}, the last,
 * for all that is left. Of the routes that match a request the one with the narrower path is taken, then the one with
 * the narrower method; so two routes of which neither is the narrower cannot stand beside each other. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "macro.h"

#define WEB_ROUTE_SIZE_MAX 1024U
#define WEB_SEGMENTS_MAX 32U
#define WEB_TRIGGERS_MAX 512U

/* HEAD is answered by a route for GET as well. */
typedef enum WebMethod {
        WEB_ANY,
        WEB_DELETE,
        WEB_GET,
        WEB_HEAD,
        WEB_OPTIONS,
        WEB_PATCH,
        WEB_POST,
        WEB_PUT,
        _WEB_METHOD_MAX,
        _WEB_METHOD_INVALID = -1,
} WebMethod;

#define WEB_ROUTE_EXPECTED "ANY, DELETE, GET, HEAD, OPTIONS, PATCH, POST or PUT, a blank, and a path such as /photos/{id}"

const char *web_method_to_string(WebMethod m);
WebMethod web_method_from_string(const char *s);

typedef enum WebSegmentKind {
        WEB_LITERAL,
        WEB_NAME, /* {name} */
        WEB_REST, /* {name+} */
} WebSegmentKind;

typedef struct WebSegment {
        WebSegmentKind kind;
        char *text; /* what is matched, decoded, or the variable's name */
} WebSegment;

typedef struct WebRoute {
        char *key; /* as it was written */
        WebMethod method;
        WebSegment *segments; /* at least one; "/" is one that is empty */
        size_t n_segments;
} WebRoute;

/* -EINVAL with *ret_expected, what was expected instead, for a message; -ENOMEM. */
int web_route_parse(const char *s, WebRoute *ret, const char **ret_expected);
void web_route_done(WebRoute *r);
/* Whether there is a request that both match, and nothing that says which of them takes it. */
bool web_routes_clash(const WebRoute *a, const WebRoute *b);

/* What of `s` is percent-encoded, decoded; the length, with a NUL behind it in `to`, which has room for n + 1.
 * -EINVAL: '%' without two digits, control characters, not UTF-8. */
ssize_t web_path_decode(const char *s, size_t n, char *to);

typedef struct WebCors {
        char **origins;                          /* "*" or "https://example.org" */
        char **methods, **headers, **expose_headers; /* names or "*"; may be NULL */
        uint64_t max_age_usec;                   /* 0: not said */
        bool credentials;
} WebCors;

WebCors *web_cors_free(WebCors *c);
DEFINE_POINTER_CLEANUP(WebCors *, web_cors_free);

typedef struct HttpTrigger {
        WebRoute route;
        char *target;
        WebCors *cors; /* NULL: no other origin may */
        bool async;    /* the event is accepted, and answered with 202 */
        size_t index;  /* in the manifest's triggers */
} HttpTrigger;

void http_triggers_free(HttpTrigger *l, size_t n);
