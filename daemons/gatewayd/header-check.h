/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Is this header what every other HTTP parser takes it for? libmicrohttpd forgives much, and what two
 * parsers read differently smuggles a request past one of them (RFC 9112, 11.2). So a header passes only
 * if nothing had to be forgiven: one length, one encoding, one host, names that are tokens, and every
 * line where it must be. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct HeaderCheck {
        const char *next;    /* where the next name must begin */
        const char *problem; /* what is wrong, a sentence; NULL: nothing */
        bool http_1_1;
        unsigned n_lines, n_host, n_length, n_encoding;

        /* Values that the request needs, in the connection's memory; NULL: not there. */
        const char *content_type, *traceparent, *timeout, *expect;
        const char *idempotency_key, *delay, *max_age, *callback;
        const char *origin, *cors_method, *cors_headers;
        bool respond_async;  /* a preference, RFC 7240 */
        bool cloud_event;    /* its attributes are in the header */
        uint64_t content_length; /* UINT64_MAX: chunked; 0: none */
} HeaderCheck;

/* `version` is the request line's, in the connection's memory, where the first name follows it: in place of
 * each line's CRLF libmicrohttpd put two NULs. */
void header_check_begin(HeaderCheck *c, const char *version);
void header_check_add(HeaderCheck *c, const char *name, size_t name_size, const char *value,
                      size_t value_size);
/* `end` is where the body begins. libmicrohttpd takes a line with an empty name for the header's end. */
void header_check_end(HeaderCheck *c, const char *end);
