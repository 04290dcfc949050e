/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Connections in: on NAME.sock for events, on NAME.control for orders. */

#include "supervisor.h"

typedef enum ConnectionKind { CONNECTION_APP, CONNECTION_CONTROL } ConnectionKind;

struct Connection {
        Supervisor *supervisor;
        ConnectionKind kind;
        sd_bus *bus;
        Connection *prev, *next;
};

#define CONNECTIONS_MAX 1024U

/* Accepts on `fd`, whose local address says what it is for. Takes the descriptor. */
int bus_listen(Supervisor *s, int fd, sd_event_source **ret);
/* Tells a peer to send nothing more. */
void connection_go_away(Connection *c);
Connection *connection_free(Connection *c);

/* A server's end of a connected socket, attached to the loop. Takes the descriptor, also on failure. */
int bus_serve(sd_event *event, int fd, sd_bus **ret);
/* The control interface, in control.c. */
int control_serve(Connection *c);
void control_connection_gone(Connection *c);
