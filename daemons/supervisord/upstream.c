/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "upstream.h"

#include <json-c/json.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "peer.h"
#include "protocol.h"

/* Of one machine, at once. */
#define IN_FLIGHT_MAX 256U
/* For globald to have an event on disk; it may be restarting. */
#define KEEP_USEC (20 * USEC_PER_SEC)
/* globald answers at the deadline; this is for one that does not. */
#define GRACE_USEC (USEC_PER_SEC / 2)

struct Upstream {
        Supervisor *supervisor;
        Peer *peer;
        unsigned n_calls;
};

typedef struct UpstreamCall {
        Upstream *upstream;
        Event *event;
        PeerCall *call;
} UpstreamCall;

static bool is_invoke(const Event *e) {
        return streq(e->beyond, "Invoke");
}

int upstream_new(Supervisor *s, const char *socket_path, Upstream **ret) {
        Upstream *u = calloc(1, sizeof(Upstream));
        int r;

        if (!u)
                return -ENOMEM;
        u->supervisor = s;
        r = peer_new(s->event, socket_path, &u->peer);
        if (r < 0) {
                free(u);
                return r;
        }
        *ret = u;
        return 0;
}

Upstream *upstream_free(Upstream *u) {
        if (!u)
                return NULL;
        peer_free(u->peer);
        free(u);
        return NULL;
}

unsigned upstream_in_flight(const Upstream *u) {
        return u->n_calls;
}

static void refuse(Supervisor *s, Event *e, SandError kind, const char *message) {
        s->n_failed++;
        event_fail(e, &(Failure) { .kind = kind, .message = message }, NULL);
        event_free(e);
}

/* {"id": ID, ...}: what globald says of what it keeps. */
static void answer_kept(Supervisor *s, Event *e, const Payload *payload) {
        json_tokener *tokener = json_tokener_new();
        json_object *o = NULL, *id;

        if (tokener && payload->fd < 0 && payload->size <= INT_MAX)
                o = json_tokener_parse_ex(tokener, payload->data, (int) payload->size);
        if (json_object_object_get_ex(o, "id", &id) && json_object_is_type(id, json_type_string))
                event_answer_id(e, json_object_get_string(id));
        else {
                s->n_failed++;
                event_fail(e, &(Failure) { .kind = SAND_ERROR_UNAVAILABLE, .message = "sand-globald's answer is malformed" },
                           NULL);
        }
        json_object_put(o);
        if (tokener)
                json_tokener_free(tokener);
}

static Event *call_free(UpstreamCall *c) {
        Event *e = c->event;

        c->upstream->n_calls--;
        e->abandoned = NULL;
        e->userdata = NULL;
        free(c);
        return e;
}

static void on_answer(PeerCall *call, const PeerReply *reply, void *userdata) {
        UpstreamCall *c = userdata;
        Supervisor *s = c->upstream->supervisor;
        const Usage usage = { reply->wall_usec, reply->cpu_usec, reply->peak_bytes };
        Event *e = call_free(c);

        if (reply->error != _SAND_ERROR_INVALID) {
                s->n_failed++;
                event_fail(e, &(Failure) { .kind = reply->error, .message = reply->message, .error = reply->error_class,
                                           .cause = reply->cause }, &usage);
        } else if (is_invoke(e))
                event_forward(e, reply->content_type, &usage, &reply->payload);
        else
                answer_kept(s, e, &reply->payload);
        event_free(e);
        supervisor_note_activity(s);
        supervisor_check_stop(s);
}

static void on_abandoned(Event *e) {
        UpstreamCall *c = e->userdata;
        Supervisor *s = c->upstream->supervisor;

        peer_call_cancel(c->call);
        event_free(call_free(c));
        supervisor_check_stop(s);
}

/* The event's headers and how deep it is: ours, whatever the instance said. */
static size_t headers_with_depth(const Event *e, const char *depth, const char **ret) {
        size_t n = 0;

        for (char **h = e->headers; h && h[0]; h += 2)
                if (!streq(h[0], SAND_HEADER_DEPTH)) {
                        ret[n++] = h[0];
                        ret[n++] = h[1];
                }
        ret[n++] = SAND_HEADER_DEPTH;
        ret[n++] = depth;
        ret[n] = NULL;
        return n / 2;
}

static int call_start(UpstreamCall *c) {
        const char *headers[2 * EVENT_HEADERS_MAX + 5]; /* the traceparent that was inherited may be one more */
        Event *e = c->event;
        char depth[16];

        (void) snprintf(depth, sizeof(depth), "%u", e->depth);
        if (headers_with_depth(e, depth, headers) > EVENT_HEADERS_MAX)
                return -E2BIG;
        return peer_invoke(c->upstream->peer, &(PeerRequest) {
                .path = SAND_EVENTS_PATH,
                .interface = SAND_EVENTS_INTERFACE,
                .member = e->beyond,
                .target = e->target,
                .execution = e->execution,
                .content_type = e->content_type,
                .headers = headers,
                .deadline = is_invoke(e) ? e->deadline : 0,
                .timeout_usec = !is_invoke(e) ? KEEP_USEC :
                                e->deadline > 0 ? usec_add(usec_sub(e->deadline, now_usec()), GRACE_USEC) : USEC_INFINITY,
                .payload = &e->payload,
        }, on_answer, c, &c->call);
}

void upstream_submit(Upstream *u, Event *e) {
        UpstreamCall *c;
        int r;

        if (u->n_calls >= IN_FLIGHT_MAX) {
                refuse(u->supervisor, e, SAND_ERROR_BUSY, "the application has 256 calls to sand-globald in flight");
                return;
        }
        c = malloc(sizeof(UpstreamCall));
        if (!c) {
                refuse(u->supervisor, e, SAND_ERROR_UNAVAILABLE, "out of memory");
                return;
        }
        *c = (UpstreamCall) { .upstream = u, .event = e };
        u->n_calls++;
        r = call_start(c);
        if (r >= 0) {
                e->userdata = c;
                if (is_invoke(e))
                        e->abandoned = on_abandoned;
                return;
        }
        (void) call_free(c);
        if (r == -E2BIG)
                refuse(u->supervisor, e, SAND_ERROR_BAD_REQUEST, "the event has more than 31 headers");
        else if (r == -ENOBUFS)
                refuse(u->supervisor, e, SAND_ERROR_BUSY, "too many calls to sand-globald are in flight");
        else
                refuse(u->supervisor, e, SAND_ERROR_UNAVAILABLE, "sand-globald does not answer");
}
