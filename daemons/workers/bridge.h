/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The instance's end of shared/bridge-protocol.h: passes the calls of sand-call on to the supervisor. Payloads
 * travel as descriptors and are not read here. The number of connections is bounded; what is more waits
 * in the kernel's (bounded) queue. */

#include <poll.h>

#include "bridge-protocol.h"
#include "context.h"

#define BRIDGE_POLL_MAX (BRIDGE_CONNECTIONS_MAX + 1)

typedef struct BridgeConnection {
        int fd;
        uint32_t serial;       /* of the call in flight; 0: its request has not come */
} BridgeConnection;

typedef struct Bridge {
        int fd;
        BridgeConnection connections[BRIDGE_CONNECTIONS_MAX];
        size_t n;
} Bridge;

/* Listens, and sets SAND_BUS in the environment. */
int bridge_start(Bridge *b);
/* Fills in what to poll for, at most BRIDGE_POLL_MAX; returns how many. */
size_t bridge_poll(const Bridge *b, struct pollfd *p);
/* Does what poll found. `p` is as bridge_poll() left it, with the results. */
int bridge_process(Bridge *b, sand_context *context, const struct pollfd *p);
/* The supervisor's answer, which is taken over; 0 if no connection waits for it any more. */
int bridge_answer(Bridge *b, sand_context *context, WireMessage *reply);
/* The event is over: whoever still waits gets end of file. */
void bridge_reset(Bridge *b);
