/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a function says to a request of a trigger: JSON of payload format 2.0, or the output of a CGI program. Its body
 * is pointed to where it is, and its headers are checked: what passes here makes the answer that it says, and no other. */

#include <json-c/json.h>

#include "macro.h"

#define WEB_ANSWER_HEADERS_MAX 128U
#define WEB_ANSWER_HEADER_BYTES_MAX (10U * 1024U) /* as API Gateway has it */

typedef struct WebHeader {
        char *name, *value;
} WebHeader;

typedef struct WebAnswer {
        unsigned status;    /* 0: the program wants the request to go on at `location` */
        char *content_type; /* NULL: it says none */
        char *location;     /* path and query of this server, with status 0 only */
        WebHeader *headers; /* the others: neither hop-by-hop nor Content-Length */
        size_t n_headers, header_bytes;
        const void *body;
        size_t size;

        json_object *text;  /* what the body points into, unless that is the function's result */
        void *decoded;      /* likewise; gnutls_free() */
        char problem[160];  /* what is wrong with it */
} WebAnswer;

/* `data` is the function's result, and stays. Without a `statusCode` it is the body, of that type: the answer is 200.
 * 0; -EBADMSG with `problem`; -ENOMEM. */
int web_answer_parse(const char *data, size_t size, const char *content_type, WebAnswer *ret);
/* RFC 3875, 6. A Location that begins with `local`, and no status, is one where the request is to go on; another path of
 * this server is left to the client. */
int web_cgi_parse(const char *data, size_t size, const char *local, WebAnswer *ret);
void web_answer_done(WebAnswer *a);
