/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which other origins a browser may let read an answer (https://fetch.spec.whatwg.org/#http-cors-protocol). The gateway
 * says it in the function's stead, to preflights as well. */

#include <microhttpd.h>

#include "web-route.h"

typedef struct WebOrigin {
        const WebCors *cors; /* NULL: the trigger says nothing of other origins */
        const char *origin;  /* Origin of the request; NULL: none */
} WebOrigin;

/* Whether a header of a function's answer is ours to say. */
bool web_cors_owns(const WebOrigin *o, const char *name);
/* Adds the headers of an answer. False: out of memory. */
bool web_cors_add(const WebOrigin *o, struct MHD_Response *r);
/* Adds, besides, those of the answer to a preflight that asks for a method and perhaps headers. */
bool web_cors_add_preflight(const WebOrigin *o, const char *method, const char *headers, struct MHD_Response *r);
