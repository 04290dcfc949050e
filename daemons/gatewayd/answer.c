/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "answer.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

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

static struct MHD_Response *finish(const Answer *a, struct MHD_Response *r) {
        if (!r)
                return NULL;
        if (!add_content_type(r, a->content_type) || !add(r, "Sand-Execution", a->execution) ||
            !add_timing(r, a->run_usec) || (a->allow && !add(r, MHD_HTTP_HEADER_ALLOW, a->allow))) {
                MHD_destroy_response(r);
                return NULL;
        }
        return r;
}

static void message_unref(void *message) {
        sd_bus_message_unref(message);
}

struct MHD_Response *answer_payload(const Answer *a, const Payload *p) {
        struct MHD_Response *r;
        int fd;

        if (p->size == 0)
                return answer_static(a, "");
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
                p->size, (void *) p->data, message_unref, sd_bus_message_ref(p->message));
        if (!r)
                sd_bus_message_unref(p->message);
        return finish(a, r);
}

struct MHD_Response *answer_text(const Answer *a, char *text, size_t size) {
        struct MHD_Response *r;

        r = MHD_create_response_from_buffer(size, text, MHD_RESPMEM_MUST_FREE);
        if (!r)
                free(text);
        return finish(a, r);
}

struct MHD_Response *answer_static(const Answer *a, const char *text) {
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
