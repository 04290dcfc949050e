/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Between sand-call and the exec instance that it runs in: an abstract SOCK_SEQPACKET socket, whose name
 * is $SAND_BUS, for processes of the instance's own uid. A connection carries one request and one answer,
 * each one packet: this structure, all zeroes where nothing is said, strings terminated, and at most one
 * sealed memfd with the payload. */

#include <stdint.h>

#define BRIDGE_VERSION 1U
#define BRIDGE_CONNECTIONS_MAX 16U

#define BRIDGE_INVOKE 0U
#define BRIDGE_SEND 1U
#define BRIDGE_EMIT 2U

typedef struct BridgeRequest {
        uint32_t version;
        uint32_t send;          /* BRIDGE_INVOKE, ... */
        uint64_t timeout_usec;  /* UINT64_MAX: none but the event's deadline */
        char target[256];
        char content_type[260];
} BridgeRequest;

typedef struct BridgeAnswer {
        uint32_t version;
        char kind[64];          /* "" is success, then the payload comes along (but for Send) */
        char error[260];
        char content_type[260];
        char message[8 * 1024];
        char cause[32 * 1024];
} BridgeAnswer;
