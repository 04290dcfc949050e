/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The one object that knows the others. Keeps nothing that outlives it. */

#include "app.h"
#include "http.h"
#include "settings.h"

typedef struct Gateway {
        sd_event *event;
        Settings settings;
        Apps *apps;
        Http *http;
        const char *settings_file;
        uint64_t body_bytes; /* of requests that are being received, or have no answer yet */
        unsigned in_flight;  /* invocations */
        sd_event_source *sigterm, *sigint, *sighup, *status, *deadline;
        char *status_text;   /* as sent last */
        uint8_t random[256]; /* for ids; what is left of it */
        size_t n_random;
        uint64_t complaints_since; /* of answers that are none; CLOCK_MONOTONIC */
        unsigned n_complaints;
} Gateway;

typedef struct GatewayConfig {
        const char *catalogue_dir, *socket_dir;
        char *const *sockets; /* NAME=PATH */
        const char *settings_file; /* in place of gatewayd.conf; NULL: none. Borrowed */
} GatewayConfig;

/* Failures are logged. */
int gateway_new(const GatewayConfig *config, Gateway **ret);
/* Takes the descriptor. */
int gateway_listen(Gateway *g, int fd);
int gateway_run(Gateway *g);
Gateway *gateway_free(Gateway *g);
DEFINE_POINTER_CLEANUP(Gateway *, gateway_free);

/* The number of invocations changed: STATUS= follows, within a second. */
void gateway_touch_status(Gateway *g);
