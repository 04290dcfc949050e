/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The body of every answer that is no success: application/problem+json, RFC 9457. */

#include "error.h"

#define PROBLEM_CONTENT_TYPE "application/problem+json"

typedef struct Problem9457 {
        SandError kind;
        unsigned status;       /* 0: the kind's */
        const char *detail;    /* a sentence for the reader; NULL: none */
        const char *error;     /* the function's own name for it; NULL: the kind's name */
        const char *cause;     /* NULL: none */
        const char *execution; /* 32 hex digits; NULL: none */
} Problem9457;

unsigned problem_status(const Problem9457 *p);
/* JSON and a newline; what is not UTF-8 is replaced. Caller frees; NULL: out of memory. */
char *problem_to_json(const Problem9457 *p);
