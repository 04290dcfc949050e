/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "upstream.h"

#include <json-c/json.h>
#include <stdio.h>

#include "peer.h"
#include "protocol.h"

/* Of all functions together, on their way to the disk or to other applications. */
#define IN_FLIGHT_MAX 1024U
/* An answer is what one commit takes, and what waits before it. */
#define SEND_TIMEOUT_USEC (30 * USEC_PER_SEC)
#define CALL_TIMEOUT_USEC USEC_PER_HOUR
#define DEADLINE_SLACK_USEC USEC_PER_SEC

static void refuse(Supervisor *s, Event *e, SandError kind, const char *message) {
        s->n_failed++;
        event_fail(e, &(Failure) { .kind = kind, .message = message }, NULL);
        event_free(e);
}

/* {"id": "0197..."} */
static int read_id(const Payload *payload, char ret[static EVENT_ID_LENGTH + 1]) {
        json_tokener *t;
        json_object *o, *id;
        int r = -EBADMSG;

        if (!payload->data || payload->size > 4096)
                return r;
        t = json_tokener_new();
        if (!t)
                return -ENOMEM;
        o = json_tokener_parse_ex(t, payload->data, (int) payload->size);
        if (json_object_is_type(o, json_type_object) && json_object_object_get_ex(o, "id", &id) &&
            json_object_is_type(id, json_type_string) && (id_is_valid(json_object_get_string(id)) ||
                                                         json_object_get_string_len(id) == 0)) {
                (void) strcpy(ret, json_object_get_string(id));
                r = 0;
        }
        json_object_put(o);
        json_tokener_free(t);
        return r;
}

static void on_reply(PeerCall *call, const PeerReply *reply, void *userdata) {
        Event *e = userdata;
        Supervisor *s = e->supervisor;
        const Usage usage = { reply->wall_usec, reply->cpu_usec, reply->peak_bytes };
        char id[EVENT_ID_LENGTH + 1];

        s->n_upstream--;
        if (reply->error != _SAND_ERROR_INVALID) {
                s->n_failed++;
                event_fail(e, &(Failure) { .kind = reply->error, .message = reply->message, .error = reply->error_class,
                                           .cause = reply->cause }, &usage);
        } else if (e->kind == EVENT_CALL)
                event_forward(e, reply->content_type, &usage, &reply->payload);
        else if (read_id(&reply->payload, id) >= 0)
                event_acknowledge(e, id);
        else
                event_fail(e, &(Failure) { .kind = SAND_ERROR_UNAVAILABLE,
                                           .message = "the event log sent an answer that does not parse" }, NULL);
        event_free(e);
        supervisor_check_stop(s);
}

static int connect_upstream(Supervisor *s) {
        return s->upstream ? 0 : peer_new(s->event, SAND_MACHINE_EVENTS_SOCKET, &s->upstream);
}

void upstream_submit(Supervisor *s, Event *e) {
        static const char *const members[] = { [EVENT_CALL] = "Invoke", [EVENT_SEND] = "Send", [EVENT_EMIT] = "Emit" };
        const char *headers[2 * EVENT_HEADERS_MAX + 3];
        uint64_t now = now_usec();
        char depth[16];
        size_t n = 0;
        int r;

        if (s->n_upstream >= IN_FLIGHT_MAX) {
                refuse(s, e, SAND_ERROR_BUSY, "too many events are on their way out of the application");
                return;
        }
        for (char **h = e->headers; h && h[0]; h += 2)
                if (!streq(h[0], EVENT_HEADER_DEPTH)) {
                        headers[n++] = h[0];
                        headers[n++] = h[1];
                }
        if (e->kind == EVENT_CALL) {
                (void) snprintf(depth, sizeof(depth), "%u", e->depth);
                headers[n++] = EVENT_HEADER_DEPTH;
                headers[n++] = depth;
        }
        headers[n] = NULL;
        const PeerRequest q = {
                .path = SAND_EVENTS_PATH,
                .interface = SAND_EVENTS_INTERFACE,
                .member = members[e->kind],
                .target = e->target,
                .execution = e->execution,
                .content_type = e->content_type,
                .headers = headers,
                .deadline = e->kind == EVENT_CALL ? e->deadline : 0,
                .timeout_usec = e->kind != EVENT_CALL ? SEND_TIMEOUT_USEC :
                        e->deadline > 0 ? usec_sub(e->deadline, now) + DEADLINE_SLACK_USEC : CALL_TIMEOUT_USEC,
                .data = e->payload.data,
                .size = e->payload.size,
                .memfd = e->payload.fd >= 0 ? &e->payload.fd : NULL,
        };
        e->supervisor = s;
        r = connect_upstream(s);
        if (r >= 0)
                r = peer_invoke(s->upstream, &q, on_reply, e, NULL);
        if (r >= 0)
                s->n_upstream++;
        else if (r == -ENOENT || r == -ECONNREFUSED)
                refuse(s, e, SAND_ERROR_UNAVAILABLE, "the event log cannot be reached: sand-globald.socket does not listen");
        else
                refuse(s, e, r == -ENOBUFS ? SAND_ERROR_BUSY : SAND_ERROR_UNAVAILABLE, "the event log cannot be reached");
}

void upstream_free(Supervisor *s) {
        s->upstream = peer_free(s->upstream);
}
