/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* libmicrohttpd in an sd-event loop: connections, the time that each may take, and answers that come later.
 * Knows nothing of what is asked. */

#include <microhttpd.h>
#include <netinet/in.h>
#include <systemd/sd-event.h>

#include "http-client.h"
#include "macro.h"
#include "metrics.h"
#include "settings.h"
#include "tls.h"

typedef struct Http Http;
typedef struct HttpConnection HttpConnection;

/* What the owner does with a request. The pointer that begin() returns is the request's; free() is called
 * once for each, answered or not. */
typedef struct HttpOps {
        /* The header is there. It may be answered at once; then the connection is closed after the answer,
         * and what follows is not read. NULL closes the connection without an answer. */
        void *(*begin)(HttpConnection *c, const char *path, const char *method, const char *version,
                       void *userdata);
        /* A part of the body. Negative: close the connection. */
        int (*body)(void *request, const char *data, size_t size);
        /* The request is complete: answer, or http_wait() and answer later. */
        int (*complete)(void *request);
        /* The client hung up while the request waited: answer now, nobody will read it. */
        void (*hangup)(void *request);
        /* The server stops, and the request waits: whatever it waits for by choice is to be waited for no longer. */
        void (*stopping)(void *request);
        void (*free)(void *request);
} HttpOps;

/* `settings` may be changed by their owner; header_bytes_max and idle_timeout count from the start only. With `tls` (else
 * NULL) all connections are encrypted; who connects while there is no certificate is turned away. */
int http_new(sd_event *event, const Settings *settings, Tls *tls, const HttpOps *ops, void *userdata, Http **ret);
/* Requests that wait must have been answered. */
Http *http_free(Http *h);
DEFINE_POINTER_CLEANUP(Http *, http_free);

/* Takes connections from a listening socket, which it then owns. */
int http_listen(Http *h, int fd);

/* No new connections; those that are idle are closed, the others after their answer. `done` is called from
 * the loop when none is left. */
void http_stop(Http *h, void (*done)(void *userdata), void *userdata);
bool http_is_stopping(const Http *h);
/* Calls hangup() for all that wait. */
void http_abandon(Http *h);

/* Of a request that is being handled. */
int http_header_each(const HttpConnection *c, MHD_KeyValueIteratorN each, void *userdata);
/* What follows the path's '?', as it was sent; "" if nothing does. */
const char *http_query(const HttpConnection *c);
/* The client's address, as text; 127.0.0.1 for one that came by a unix socket. */
void http_remote(const HttpConnection *c, char ret[static INET6_ADDRSTRLEN]);
bool http_is_tls(const HttpConnection *c);
/* Whether it came by a unix socket. */
bool http_is_unix(const HttpConnection *c);
/* From the first byte of the method to the first behind the header; 0: not known. */
size_t http_header_size(HttpConnection *c);
/* Whose it is, to be asked what it may have. */
HttpClient *http_client(const HttpConnection *c);
/* The answer comes later. */
void http_wait(HttpConnection *c);
/* The answer that follows keeps so much memory until its client has taken it. Where there is too much of that, the
 * connections on which answers have been under way for longest end, those of the same client first. */
void http_hold(HttpConnection *c, uint64_t bytes);
/* Answers, and takes the response; NULL (no memory for one) closes the connection. */
void http_answer(HttpConnection *c, unsigned status, struct MHD_Response *response);
/* Of the last answer; 0: there was none. */
unsigned http_status(const HttpConnection *c);

HttpMetrics *http_metrics(Http *h);
unsigned http_waiting(const Http *h);
