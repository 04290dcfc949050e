/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A client's connection to an application's NAME.sock, or to globald's socket, whose calls have the same arguments and
 * answers (protocol.h): many calls in flight, reconnection for new calls,
 * GoAway honoured. What is promised: a call is sent at most once. A call that was not sent because the
 * machine went away is sent on the next connection; one that was sent and lost its connection without an
 * answer is reported as Crashed. */

#include <systemd/sd-event.h>

#include "error.h"
#include "payload.h"

typedef struct Peer Peer;
typedef struct PeerCall PeerCall;

/* A message, for who keeps what points into it. */
typedef struct PeerMessage PeerMessage;
PeerMessage *peer_message_ref(PeerMessage *m);
PeerMessage *peer_message_unref(PeerMessage *m);

typedef struct PeerReply {
        SandError error;         /* _SAND_ERROR_INVALID: success */
        const char *message;     /* all strings: valid during the callback; NULL unless error */
        const char *error_class; /* the function's own name for it, else the vocabulary's */
        const char *cause;       /* may be empty */
        const char *content_type; /* success only */
        Payload payload;          /* success only; the message's */
        PeerMessage *message_of;  /* NULL: it did not come by one */
        uint64_t wall_usec, cpu_usec, peak_bytes; /* 0: not known */
} PeerReply;

/* Called exactly once a call, from the event loop, never from within peer_invoke(); not after
 * peer_call_cancel(). */
typedef void (*peer_handler_t)(PeerCall *call, const PeerReply *reply, void *userdata);

/* `socket_path` is copied. Nothing is connected before the first call. The loop must outlive the peer. */
int peer_new(sd_event *event, const char *socket_path, Peer **ret);
/* Calls in flight get Unavailable, at once. */
Peer *peer_free(Peer *p);

typedef struct PeerRequest {
        const char *path, *interface, *member;         /* NULL: SAND_APP_PATH, SAND_APP_INTERFACE, "Invoke" */
        const char *target, *execution, *content_type; /* content_type, execution may be NULL */
        const char *const *headers;                    /* key, value, ..., NULL; may be NULL */
        uint64_t deadline;                             /* CLOCK_MONOTONIC usec; 0: none travels */
        uint64_t timeout_usec;                         /* after which the call is given up here; not 0 */
        const void *data;                              /* copied into the message */
        size_t size;
        const Payload *payload;                        /* instead of both; a memfd goes on as it is */
} PeerRequest;

/* Queues a call. The handle is the peer's and valid until the handler has run. -ENOMEM, -EINVAL, or
 * what connecting said (-ENOENT: no such application). */
int peer_invoke(Peer *p, const PeerRequest *request, peer_handler_t handler, void *userdata, PeerCall **ret);
/* The caller no longer wants the answer; its handler will not run. */
void peer_call_cancel(PeerCall *call);

unsigned peer_in_flight(const Peer *p);
