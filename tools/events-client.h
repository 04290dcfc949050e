/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Calls of sand-globald, one after the other (protocol.h, SAND_EVENTS_SOCKET). */

#include <json-c/json.h>

#include "macro.h"
#include "peer.h"

typedef struct EventsClient {
        sd_event *event;
        Peer *peer;
} EventsClient;

typedef struct EventsReply {
        SandError error; /* _SAND_ERROR_INVALID: success */
        char *message, *error_class, *cause;
        char *data;      /* ends with a 0, which `size` does not count */
        size_t size;
} EventsReply;

/* $SAND_EVENTS_SOCKET, or where it is. */
const char *events_socket(void) __attribute__((pure));

/* Nothing is connected yet. Negative errno. */
int events_open(EventsClient *c);
void events_close(EventsClient *c);

/* Calls `member` and waits for the answer. What the request leaves out has a default here. 0, also when the answer is an
 * error; or what connecting said. */
int events_call(EventsClient *c, const char *member, const PeerRequest *request, EventsReply *ret);
void events_reply_done(EventsReply *r);

/* The document of a successful answer; NULL: it is none. Caller puts it. */
json_object *events_document(const EventsReply *r);
