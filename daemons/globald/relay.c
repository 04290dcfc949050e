/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A call from one application to another: asked for by the machine of the one, handed to the machine of the other, and
 * answered as that answers. At most once, as every call. */

#include "accept.h"
#include "protocol.h"

#define CALL_SLACK_USEC (10 * USEC_PER_SEC)
#define DEADLINE_SLACK_USEC USEC_PER_SEC

static void on_reply(PeerCall *call, const PeerReply *reply, void *userdata) {
        Request *q = userdata;
        const Usage usage = { reply->wall_usec, reply->cpu_usec, reply->peak_bytes };

        q->gone = NULL;
        if (reply->error == _SAND_ERROR_INVALID)
                request_answer(q, reply->content_type, &usage, &reply->payload);
        else
                request_fail(q, &(Failure) { .kind = reply->error, .message = reply->message, .error = reply->error_class,
                                             .cause = reply->cause }, &usage);
}

/* Whoever waited for the answer is gone. */
static void on_gone(Request *q) {
        peer_call_cancel(q->userdata);
        (void) request_free(q);
}

static int call(Request *q, App *app, const char *function, uint64_t timeout) {
        const char *headers[2 * 40 + 3];
        size_t n = 0;
        PeerCall *c;
        Peer *peer;
        int r;

        for (size_t i = 0; i < q->n_headers; i++)
                if (!streq(q->headers[2 * i], HEADER_CALLER) && !startswith(q->headers[2 * i], SAND_OPTION_PREFIX)) {
                        headers[n++] = q->headers[2 * i];
                        headers[n++] = q->headers[2 * i + 1];
                }
        headers[n++] = HEADER_CALLER;
        headers[n++] = q->app;
        headers[n] = NULL;
        const PeerRequest request = {
                .target = function,
                .execution = q->execution,
                .content_type = q->content_type,
                .headers = headers,
                .deadline = q->deadline,
                .timeout_usec = timeout,
                .data = q->payload.data,
                .size = q->payload.size,
        };
        r = apps_get_peer(q->globald->apps, app, &peer);
        if (r >= 0)
                r = peer_invoke(peer, &request, on_reply, q, &c);
        if (r < 0)
                return r;
        q->userdata = c;
        q->gone = on_gone;
        return 0;
}

void method_invoke(Request *q) {
        _cleanup_(freep) char *why = NULL;
        const CatalogueFunction *f;
        char app[APP_NAME_MAX + 1];
        const char *function;
        uint64_t timeout, now = now_usec();
        SandError error;
        App *callee;

        if (isempty(q->app)) {
                request_refuse(q, SAND_ERROR_BAD_REQUEST, "Only machines call through here: the host has " SAND_APP_SOCKET_DIR
                               "/APPLICATION.sock.");
                return;
        }
        if (target_parse(q->target, q->app, app, &function) < 0) {
                request_refuse(q, SAND_ERROR_BAD_REQUEST, "Found the target \"%.160s\", expected APPLICATION/FUNCTION.",
                               q->target);
                return;
        }
        error = target_find(q->globald, q->app, app, function, &f, &why);
        if (error != _SAND_ERROR_INVALID) {
                request_refuse(q, error, "%s", strempty(why));
                return;
        }
        if (q->payload.size > f->payload_max) {
                request_refuse(q, SAND_ERROR_TOO_LARGE, "The payload has %zu bytes, \"%s/%s\" takes %llu.", q->payload.size, app,
                               function, (unsigned long long) f->payload_max);
                return;
        }
        timeout = f->timeout_usec > USEC_INFINITY / 4 ? USEC_INFINITY / 4 : 2 * f->timeout_usec + CALL_SLACK_USEC;
        if (q->deadline > 0)
                timeout = MIN(timeout, usec_sub(q->deadline, now) + DEADLINE_SLACK_USEC);
        callee = apps_find(q->globald->apps, app);
        if (!callee || call(q, callee, function, timeout) < 0)
                request_refuse(q, SAND_ERROR_UNAVAILABLE, "The application \"%s\" cannot be reached.", app);
}
