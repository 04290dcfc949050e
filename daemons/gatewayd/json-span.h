/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* An object's members as they stand in the text: what is only passed on needs no tree, and a number is the same digits
 * afterwards. */

#include "macro.h"

typedef struct JsonSpan {
        const char *p; /* NULL: it is not there */
        size_t n;
} JsonSpan;

typedef struct JsonMembers {
        const char *p, *end;
        bool begun;
} JsonMembers;

#define JSON_MEMBERS(data, size) ((JsonMembers) { .p = (data), .end = (data) + (size) })

/* The next member: its key without quotes, escapes as they were written, and its value. 1; 0: that was the last;
 * -EBADMSG: this is no object. Whether values are well-formed is not looked at beyond where they end. */
int json_members_next(JsonMembers *m, JsonSpan *ret_key, JsonSpan *ret_value);

bool json_span_equals(JsonSpan s, const char *text);
/* The string between the quotes. -EBADMSG: there is none, it has escapes, or does not fit. */
int json_span_string(JsonSpan s, char *ret, size_t size);
int json_span_number(JsonSpan s, uint64_t *ret);
