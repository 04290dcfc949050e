/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The one object that knows the others. Keeps nothing that outlives it. */

#include "access-log.h"
#include "app.h"
#include "http.h"
#include "settings.h"
#include "tokens.h"

typedef struct Gateway {
        sd_event *event;
        Settings settings;
        Apps *apps;
        Http *http;
        Http *https;         /* for who comes from outside; NULL: nobody can */
        Tls *tls;            /* its certificate */
        Tokens *tokens;      /* NULL: not needed yet, or not to be read: none is good */
        AccessLog *access_log; /* NULL: off */
        char *tokens_dir;
        Peer *events;        /* the event log's */
        const char *settings_file;
        unsigned n_stopping; /* of the two above */
        uint64_t body_bytes; /* of requests that are being received, or have no answer yet */
        unsigned in_flight;  /* invocations */
        sd_event_source *sigterm, *sigint, *sighup, *status, *deadline, *expiry;
        char *status_text;   /* as sent last */
        uint8_t random[256]; /* for ids; what is left of it */
        size_t n_random;
        uint64_t complaints_since; /* of answers that are none; CLOCK_MONOTONIC */
        unsigned n_complaints;
} Gateway;

typedef struct GatewayConfig {
        const char *catalogue_dir, *socket_dir;
        char *const *sockets; /* NAME=PATH */
        const char *tokens_dir;
        const char *events_socket;
        const char *settings_file; /* in place of gatewayd.conf; NULL: none. Borrowed */
} GatewayConfig;

/* Failures are logged. */
int gateway_new(const GatewayConfig *config, Gateway **ret);
/* Takes the descriptor. */
int gateway_listen(Gateway *g, int fd);
/* The same for one that other hosts reach: nothing but TLS, and nobody without a token. While there is no certificate, who
 * connects is turned away. */
int gateway_listen_outside(Gateway *g, int fd);
/* What such a socket needs. That there is no good certificate is logged, and no failure. */
int gateway_open_outside(Gateway *g);
bool gateway_has_certificate(const Gateway *g);
int gateway_run(Gateway *g);
Gateway *gateway_free(Gateway *g);
DEFINE_POINTER_CLEANUP(Gateway *, gateway_free);

/* The number of invocations changed: STATUS= follows, within a second. */
void gateway_touch_status(Gateway *g);
