/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* An application's routes as a tree of segments: a request is matched by walking down it once, in a time that the
 * path's length and the routes bound. */

#include "web-route.h"

/* A request's path, decoded segment by segment: a %2F is a part of one. */
typedef struct WebPath {
        char *decoded;
        size_t size;
        size_t n_segments; /* of which the first WEB_SEGMENTS_MAX + 1 are known */
        size_t starts[WEB_SEGMENTS_MAX + 1], ends[WEB_SEGMENTS_MAX + 1]; /* in `decoded` */
} WebPath;

/* `path` begins with '/'. -EINVAL: not a path that anything could match: see web_path_decode(), or it has a segment
 * "." or "..", which clients resolve themselves. */
int web_path_parse(const char *path, WebPath *ret);
void web_path_done(WebPath *p);

typedef struct WebTable WebTable;

/* Takes the triggers, also when this fails. */
int web_table_new(HttpTrigger *triggers, size_t n, WebTable **ret);
WebTable *web_table_ref(WebTable *t);
WebTable *web_table_unref(WebTable *t);

typedef struct WebMatch {
        const HttpTrigger *trigger; /* the table's; NULL: none */
        unsigned methods;           /* a bit for each WebMethod that has a route for this path */
} WebMatch;

/* `method` is the request's, _WEB_METHOD_INVALID where it has none of the names. */
WebMatch web_table_match(const WebTable *t, const WebPath *p, WebMethod method);
