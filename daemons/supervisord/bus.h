/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Connections in: on NAME.sock for events, on NAME.control for orders. */

#include "supervisor.h"

typedef enum ConnectionKind { CONNECTION_APP, CONNECTION_CONTROL } ConnectionKind;

struct Connection {
        Supervisor *supervisor;
        ConnectionKind kind;
        uint64_t accepted_usec;
        Connection *prev, *next;

        sd_bus *bus;    /* of CONTROL */

        Wire wire;      /* of APP */
        HubSource *io;
        Caller caller;
        bool unflushed; /* in the list of those that have answers to be sent */
        bool gone_away; /* it was told to send nothing more */
        Connection *next_unflushed;
};

#define CONNECTIONS_MAX 1024U

/* Accepts on `fd`, whose local address says what it is for. Takes the descriptor. */
int bus_listen(Supervisor *s, int fd, sd_event_source **ret);
/* Sends what callers were answered and is not sent yet; for the hub. */
void bus_flush(void *supervisor);
/* Tells a peer to send nothing more, as soon as it can be told. */
void connection_go_away(Connection *c);
Connection *connection_free(Connection *c);

/* sd-bus's server's end of a connected socket, attached to the loop. Takes the descriptor, also on failure. */
int bus_serve(sd_event *event, int fd, sd_bus **ret);
/* What a caller may ask for, in app.c. Takes what it needs of the message. */
void app_handle(Connection *c, WireMessage *m);
/* The control interface, in control.c. */
int control_serve(Connection *c);
void control_connection_gone(Connection *c);
