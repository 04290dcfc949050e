/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "answer.h"

#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>

#include "macro.h"

#define UNKNOWN_CONTENT_TYPE "application/octet-stream"

static bool add(struct MHD_Response *r, const char *name, const char *value) {
        return MHD_add_response_header(r, name, value) == MHD_YES;
}

/* A function's content type that is no header value is as none. */
static bool add_content_type(struct MHD_Response *r, const char *value) {
        return (!isempty(value) && add(r, MHD_HTTP_HEADER_CONTENT_TYPE, value)) ||
                add(r, MHD_HTTP_HEADER_CONTENT_TYPE, UNKNOWN_CONTENT_TYPE);
}

static bool add_timing(struct MHD_Response *r, uint64_t usec) {
        char value[64];

        if (usec == 0)
                return true;
        (void) snprintf(value, sizeof(value), "run;dur=%" PRIu64 ".%03u", usec / 1000, (unsigned) (usec % 1000));
        return add(r, "Server-Timing", value);
}

static bool add_headers(struct MHD_Response *r, const char *const *headers) {
        for (; headers && *headers; headers += 2)
                if (!add(r, headers[0], headers[1]))
                        return false;
        return true;
}

static bool add_common(const Answer *a, struct MHD_Response *r) {
        return add_headers(r, a->headers) && add(r, "Sand-Execution", a->execution) && add_timing(r, a->run_usec) &&
                (!a->allow || add(r, MHD_HTTP_HEADER_ALLOW, a->allow)) &&
                (!a->challenge || add(r, MHD_HTTP_HEADER_WWW_AUTHENTICATE, a->challenge)) && web_cors_add(&a->origin, r);
}

static void note_size(const Answer *a, uint64_t size) {
        if (a->ret_size)
                *a->ret_size = size;
}

static struct MHD_Response *finish(const Answer *a, struct MHD_Response *r) {
        if (!r)
                return NULL;
        if (!add_content_type(r, a->content_type) || !add_common(a, r)) {
                MHD_destroy_response(r);
                return NULL;
        }
        return r;
}

static void message_unref(void *message) {
        (void) peer_message_unref(message);
}

struct MHD_Response *answer_payload(const Answer *a, const PeerReply *reply) {
        const Payload *p = &reply->payload;
        struct MHD_Response *r;
        int fd;

        if (p->size == 0)
                return answer_static(a, "");
        note_size(a, p->size);
        if (p->fd >= 0) {
                fd = fcntl(p->fd, F_DUPFD_CLOEXEC, 3);
                if (fd < 0)
                        return NULL;
                r = MHD_create_response_from_fd64(p->size, fd);
                if (!r)
                        (void) close(fd);
                return finish(a, r);
        }
        r = MHD_create_response_from_buffer_with_free_callback_cls(
                p->size, (void *) p->data, message_unref, peer_message_ref(reply->message_of));
        if (!r)
                (void) peer_message_unref(reply->message_of);
        return finish(a, r);
}

struct MHD_Response *answer_text(const Answer *a, char *text, size_t size) {
        struct MHD_Response *r;

        note_size(a, size);
        r = MHD_create_response_from_buffer(size, text, MHD_RESPMEM_MUST_FREE);
        if (!r)
                free(text);
        return finish(a, r);
}

struct MHD_Response *answer_static(const Answer *a, const char *text) {
        note_size(a, strlen(text));
        return finish(a, MHD_create_response_from_buffer(strlen(text), (void *) text, MHD_RESPMEM_PERSISTENT));
}

static const char *retry_after(SandError kind) {
        switch (kind) {
        case SAND_ERROR_BUSY:
                return "1";
        case SAND_ERROR_UNAVAILABLE:
                return "2";
        default:
                return NULL;
        }
}

struct MHD_Response *answer_problem(const Answer *a, const Problem9457 *p) {
        Answer with_type = *a;
        struct MHD_Response *r;
        char *text;

        text = problem_to_json(p);
        if (!text)
                return NULL;
        with_type.content_type = PROBLEM_CONTENT_TYPE;
        r = answer_text(&with_type, text, strlen(text));
        if (r && retry_after(p->kind))
                (void) add(r, MHD_HTTP_HEADER_RETRY_AFTER, retry_after(p->kind));
        return r;
}

/* ---- triggers ---- */

/* What a body points into. */
typedef struct Body {
        PeerMessage *message;
        void *mapping, *decoded;
        size_t size;
        json_object *text;
} Body;

static void body_free(void *body) {
        Body *b = body;

        if (b->mapping)
                (void) munmap(b->mapping, b->size);
        gnutls_free(b->decoded);
        (void) json_object_put(b->text);
        (void) peer_message_unref(b->message);
        free(b);
}

static struct MHD_Response *body_response(WebAnswer *w, const PeerReply *reply, void *mapping) {
        Body *b = calloc(1, sizeof(Body));
        struct MHD_Response *r;

        if (!b) {
                if (mapping)
                        (void) munmap(mapping, reply->payload.size);
                return NULL;
        }
        *b = (Body) {
                .message = peer_message_ref(reply->message_of),
                .mapping = mapping,
                .size = reply->payload.size,
                .decoded = TAKE_PTR(w->decoded),
                .text = TAKE_PTR(w->text),
        };
        r = MHD_create_response_from_buffer_with_free_callback_cls(w->size, (void *) w->body, body_free, b);
        if (!r)
                body_free(b);
        return r;
}

static bool has_body(const WebAnswer *w) {
        return w->size > 0 && w->status != MHD_HTTP_NO_CONTENT && w->status != MHD_HTTP_NOT_MODIFIED;
}

struct MHD_Response *answer_web(const Answer *a, WebAnswer *w, const PeerReply *reply, void *mapping) {
        struct MHD_Response *r;
        bool good;

        if (!has_body(w)) {
                w->body = "";
                w->size = 0;
        }
        note_size(a, w->size);
        r = body_response(w, reply, mapping);
        if (!r)
                return NULL;
        good = add_common(a, r);
        if (good && (has_body(w) || w->content_type))
                good = add_content_type(r, w->content_type);
        for (size_t i = 0; good && i < w->n_headers; i++)
                if (!web_cors_owns(&a->origin, w->headers[i].name))
                        good = add(r, w->headers[i].name, w->headers[i].value);
        if (good)
                return r;
        MHD_destroy_response(r);
        return NULL;
}

struct MHD_Response *answer_preflight(const Answer *a, const char *method, const char *headers) {
        struct MHD_Response *r = MHD_create_response_from_buffer(0, (void *) "", MHD_RESPMEM_PERSISTENT);

        if (r && (!add_common(a, r) || !web_cors_add_preflight(&a->origin, method, headers, r))) {
                MHD_destroy_response(r);
                return NULL;
        }
        return r;
}
