/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Responses for libmicrohttpd, with the headers that every answer has. Payloads are not copied: a memfd is
 * sent from its descriptor, inline bytes from the message that they came in. */

#include <microhttpd.h>

#include "peer.h"
#include "problem.h"
#include "web-answer.h"
#include "web-cors.h"

typedef struct Answer {
        const char *execution;    /* Sand-Execution */
        const char *content_type; /* of a problem: not needed */
        const char *allow;        /* of 405, else NULL */
        WebOrigin origin;         /* of a request to a trigger */
        uint64_t run_usec;        /* Server-Timing; 0: not known */
        const char *challenge;    /* of 401, else NULL */
        const char *const *headers; /* others: name, value, ..., NULL; may be NULL */
        uint64_t *ret_size;       /* of the body, once it is known; may be NULL */
} Answer;

/* All return NULL when out of memory. */
struct MHD_Response *answer_payload(const Answer *a, const PeerReply *reply);
struct MHD_Response *answer_problem(const Answer *a, const Problem9457 *p);
/* Takes the text, which malloc() made, also when this fails. */
struct MHD_Response *answer_text(const Answer *a, char *text, size_t size);
struct MHD_Response *answer_static(const Answer *a, const char *text);
/* What a function said, of which this takes what the body needs; `reply` is what it was read from, and `mapping`, which
 * is then the answer's, what payload_map() gave of it. */
struct MHD_Response *answer_web(const Answer *a, WebAnswer *w, const PeerReply *reply, void *mapping);
/* To the question whether that method and those headers (NULL: none) may be sent. */
struct MHD_Response *answer_preflight(const Answer *a, const char *method, const char *headers);
