/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Whose connections they are: those of one address, of IPv6 of one /64, or of one user behind a unix socket. Of what
 * there is a bounded amount of, a client gets more while it holds less than what is free. So the first one gets half,
 * the next one half of the rest, and there is always some left for whoever comes next. */

#include <stdbool.h>
#include <stdint.h>

struct sockaddr;

typedef struct ConnectionList {
        struct HttpConnection *head, *tail;
        unsigned n;
} ConnectionList;

typedef struct HttpClientKey {
        uint32_t family;
        uint8_t address[8];
} HttpClientKey;

typedef struct HttpClient {
        HttpClientKey key;
        unsigned n_ref;
        unsigned n_connections; /* those that are being closed do not count */
        ConnectionList quiet;   /* those without a request, in the order in which they became so */
        uint64_t body_bytes;    /* of its requests, until they are answered */
        uint64_t answer_bytes;  /* of answers that it has not taken yet */
} HttpClient;

/* A tree of tsearch(); NULL: nobody is there. */
typedef void *HttpClients;

/* Of an accepted socket. NULL: out of memory. */
HttpClient *http_client_get(HttpClients *clients, int fd, const struct sockaddr *sa);
HttpClient *http_client_put(HttpClients *clients, HttpClient *c);

/* May who holds so much have so much more, if so much is free? The first of it is had by all. */
static inline bool http_client_may(uint64_t holds, uint64_t more, uint64_t free) {
        return more <= free && (holds == 0 || holds <= free - more);
}
