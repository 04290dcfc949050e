/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "events-client.h"

#include <stdio.h>
#include <sys/mman.h>

#include "protocol.h"

/* An fsync on a busy disk takes its time. */
#define CALL_TIMEOUT_USEC (90 * USEC_PER_SEC)

typedef struct Waiting {
        EventsReply *reply;
        int error;
        bool done;
} Waiting;

const char *events_socket(void) {
        const char *path = getenv("SAND_EVENTS_SOCKET");

        return isempty(path) ? SAND_EVENTS_SOCKET : path;
}

int events_open(EventsClient *c) {
        int r;

        r = sd_event_new(&c->event);
        return r < 0 ? r : peer_new(c->event, events_socket(), &c->peer);
}

void events_close(EventsClient *c) {
        c->peer = peer_free(c->peer);
        c->event = sd_event_unref(c->event);
}

static int copy_payload(const Payload *p, EventsReply *ret) {
        const void *data;
        void *mapping = NULL;
        int r;

        r = payload_map(p, &data, &mapping);
        if (r < 0)
                return r;
        ret->data = malloc(p->size + 1);
        if (ret->data) {
                *(char *) mempcpy(ret->data, data, p->size) = '\0';
                ret->size = p->size;
        }
        if (mapping)
                (void) munmap(mapping, p->size);
        return ret->data ? 0 : -ENOMEM;
}

static int copy_reply(const PeerReply *reply, EventsReply *ret) {
        ret->error = reply->error;
        if (reply->error == _SAND_ERROR_INVALID)
                return copy_payload(&reply->payload, ret);
        ret->message = strdup(strempty(reply->message));
        ret->error_class = strdup(strempty(reply->error_class));
        ret->cause = strdup(strempty(reply->cause));
        return ret->message && ret->error_class && ret->cause ? 0 : -ENOMEM;
}

static void on_reply(PeerCall *call, const PeerReply *reply, void *userdata) {
        Waiting *w = userdata;

        w->error = copy_reply(reply, w->reply);
        w->done = true;
}

int events_call(EventsClient *c, const char *member, const PeerRequest *request, EventsReply *ret) {
        PeerRequest q = *request;
        Waiting w = { .reply = ret };
        PeerCall *call;
        int r;

        *ret = (EventsReply) { .error = _SAND_ERROR_INVALID };
        q.path = SAND_EVENTS_PATH;
        q.interface = SAND_EVENTS_INTERFACE;
        q.member = member;
        q.target = strempty(q.target);
        q.content_type = q.content_type ?: "application/json";
        q.timeout_usec = q.timeout_usec ?: CALL_TIMEOUT_USEC;
        r = peer_invoke(c->peer, &q, on_reply, &w, &call);
        while (r >= 0 && !w.done)
                r = sd_event_run(c->event, UINT64_MAX);
        return r < 0 ? r : w.error;
}

void events_reply_done(EventsReply *r) {
        free(r->message);
        free(r->error_class);
        free(r->cause);
        free(r->data);
        *r = (EventsReply) { .error = _SAND_ERROR_INVALID };
}

json_object *events_document(const EventsReply *r) {
        struct json_tokener *tokener = json_tokener_new_ex(64);
        json_object *o;

        if (!tokener)
                return NULL;
        o = r->size < INT32_MAX ? json_tokener_parse_ex(tokener, r->data, (int) r->size + 1) : NULL;
        json_tokener_free(tokener);
        return o;
}
