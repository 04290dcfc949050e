/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Responses for libmicrohttpd, with the headers that every answer has. Payloads are not copied: a memfd is
 * sent from its descriptor, inline bytes from the message that they came in. */

#include <microhttpd.h>

#include "payload.h"
#include "problem.h"

#define EXECUTION_ID_LENGTH 32U

typedef struct Answer {
        const char *execution;    /* Sand-Execution */
        const char *content_type; /* of a problem: not needed */
        const char *allow;        /* of 405, else NULL */
        uint64_t run_usec;        /* Server-Timing; 0: not known */
} Answer;

/* All return NULL when out of memory. */
struct MHD_Response *answer_payload(const Answer *a, const Payload *payload);
struct MHD_Response *answer_problem(const Answer *a, const Problem9457 *p);
/* Takes the text, which malloc() made, also when this fails. */
struct MHD_Response *answer_text(const Answer *a, char *text, size_t size);
struct MHD_Response *answer_static(const Answer *a, const char *text);
