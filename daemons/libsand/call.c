/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* <sand/function.h>: calls to other functions over the instance's connection to the supervisor. */

#include "context-private.h"

#include <stdio.h>

/* The supervisor answers a call at its deadline; we wait a little longer before we do it ourselves. */
#define REPLY_GRACE_USEC (200 * USEC_PER_MSEC)

static int note_error(sand_context *c, const char *error, const char *message) {
        free(TAKE_PTR(c->last_error));
        if (asprintf(&c->last_error, "%s: %s", error, message) < 0)
                c->last_error = NULL;
        return -EREMOTEIO;
}

int context_start(sand_context *c, const ContextCall *call, uint32_t *ret_serial) {
        const char *traceparent = sand_header(c, "traceparent");
        const char *headers[] = { "traceparent", traceparent };
        uint64_t deadline = c->deadline;
        int memfd = call->memfd;
        WireWriter out;

        if (isempty(call->target))
                return -EINVAL;
        if (call->size > c->settings.payload_max)
                return -EMSGSIZE;
        if (call->timeout_usec != UINT64_MAX) {
                uint64_t bound = usec_add(now_usec(), call->timeout_usec);
                deadline = deadline > 0 ? MIN(deadline, bound) : bound;
        }

        if (memfd < 0)
                memfd = context_origin(c, call->data, call->size);
        wire_call(c->wire, &out, SAND_APP_PATH, SAND_APP_INTERFACE, call->member ? call->member : "Invoke",
                  SAND_INVOKE_FULL_SIGNATURE, memfd >= 0 ? 1 : wire_payload_fds(call->size));
        wire_put_string(&out, call->target);
        wire_put_string(&out, ""); /* the execution is inherited */
        wire_put_u64(&out, deadline);
        wire_put_string(&out, call->content_type);
        wire_put_headers(&out, headers, traceparent ? 1 : 0);
        if (memfd >= 0)
                wire_put_memfd(&out, memfd);
        else
                wire_put_payload(&out, call->data, call->size);
        *ret_serial = out.serial;
        return wire_send(c->wire, &out);
}

/* The vocabulary's name for a D-Bus error: sd-bus has names of its own for what it notices itself. */
static const char *error_kind(const char *name) {
        const char *kind = startswith(name, ERROR_PREFIX);

        if (kind)
                return kind;
        if (streq(name, "org.freedesktop.DBus.Error.UnknownMethod"))
                return "NotFound";
        if (streq(name, "org.freedesktop.DBus.Error.InvalidArgs"))
                return "BadRequest";
        return "Unavailable";
}

static int read_failure(const WireMessage *m, sand_result *result) {
        WireReader in;

        result->kind = result->error = error_kind(m->error);
        result->message = m->error;
        wire_reader_init(&in, m);
        if (*m->signature == 's' && wire_read_string(&in, &result->message) < 0)
                return -EBADMSG;
        if (streq(m->signature, SAND_ERROR_FULL_SIGNATURE)) {
                (void) wire_read_string(&in, &result->error);
                return wire_read_string(&in, &result->cause);
        }
        return 0;
}

static int read_success(const WireMessage *m, sand_result *result) {
        WireReader in;
        uint64_t usage;
        int r;

        wire_reader_init(&in, m);
        if (streq(m->signature, "s")) /* of Send and Emit */
                return wire_read_string(&in, &result->id);
        if (!streq(m->signature, SAND_REPLY_FULL_SIGNATURE))
                return -EBADMSG;
        (void) wire_read_string(&in, &result->content_type);
        (void) wire_read_align(&in, 8);
        for (unsigned i = 0; i < 3; i++)
                (void) wire_read_u64(&in, &usage);
        r = wire_read_payload(&in, SAND_PAYLOAD_HARD_MAX, &result->payload);
        return r < 0 ? r : wire_read_end(&in);
}

static sand_result *result_new(sand_context *c) {
        sand_result *result = malloc(sizeof(*result));

        if (!result)
                return NULL;
        *result = (sand_result) {
                .context = c,
                .next = c->results,
                .payload = { .data = "", .fd = -EBADF },
                .content_type = "",
                .id = "",
                .cause = "",
        };
        if (c->results)
                c->results->prev = result;
        return c->results = result;
}

static void result_unlink(sand_result *result) {
        if (!result->context)
                return;
        if (result->prev)
                result->prev->next = result->next;
        else
                result->context->results = result->next;
        if (result->next)
                result->next->prev = result->prev;
        result->context = NULL;
}

void context_release_results(sand_context *c) {
        while (c->results)
                result_unlink(c->results);
}

int context_result(sand_context *c, WireMessage *reply, sand_result **ret) {
        sand_result *result = result_new(c);
        int r;

        if (!result) {
                wire_message_done(reply);
                return -ENOMEM;
        }
        result->reply = *reply;
        *reply = (WireMessage) {};
        r = result->reply.type == WIRE_ERROR ? read_failure(&result->reply, result) :
                read_success(&result->reply, result);
        if (r < 0) {
                sand_result_free(result);
                return r;
        }
        *ret = result;
        return result->kind ? note_error(c, result->error, result->message) : 0;
}

/* A failure that never came as a message. */
static int local_failure(sand_context *c, const char *kind, const char *message, sand_result **ret) {
        sand_result *result = result_new(c);

        if (!result)
                return -ENOMEM;
        result->kind = result->error = kind;
        result->message = message;
        *ret = result;
        return note_error(c, kind, message);
}

static int wait_result(sand_context *c, uint32_t serial, uint64_t deadline, sand_result **ret) {
        for (;;) {
                WireMessage m;
                int r;

                r = wire_receive(c->wire, deadline, &m);
                if (r == 0)
                        return -EPIPE;
                if (r == -ETIMEDOUT)
                        return local_failure(c, "Timeout", "The call was not answered in time.", ret);
                if (r < 0)
                        return r;
                if ((m.type == WIRE_REPLY || m.type == WIRE_ERROR) && m.reply_serial == serial)
                        return context_result(c, &m, ret);
                /* The late answer of a call that was given up, or a signal. */
                r = wire_refuse(c->wire, &m);
                wire_message_done(&m);
                if (r < 0)
                        return r;
        }
}

static int call_and_wait(sand_context *c, const ContextCall *call, sand_result **ret) {
        uint64_t until = USEC_INFINITY;
        sand_result *result = NULL;
        uint32_t serial;
        int r;

        r = context_start(c, call, &serial);
        if (r < 0) {
                (void) note_error(c, strempty(strerrorname_np(-r)), strempty(strerrordesc_np(-r)));
                return r == -ECONNRESET ? -EPIPE : r;
        }
        if (call->timeout_usec != UINT64_MAX)
                until = usec_add(usec_add(now_usec(), call->timeout_usec), REPLY_GRACE_USEC);

        r = wait_result(c, serial, until, &result);
        if (r < 0 && !result)
                (void) note_error(c, strempty(strerrorname_np(-r)), strempty(strerrordesc_np(-r)));
        if (ret)
                *ret = result;
        else
                sand_result_free(result);
        return r;
}

int context_call(sand_context *c, const char *target, const char *content_type, const void *data, size_t size,
                 uint64_t timeout_usec, sand_result **ret) {
        const ContextCall call = {
                .target = target,
                .content_type = content_type,
                .data = data,
                .size = size,
                .memfd = -EBADF,
                .timeout_usec = timeout_usec,
        };

        return call_and_wait(c, &call, ret);
}

int context_send(sand_context *c, const char *member, const char *target, const char *content_type, const void *data,
                 size_t size, char **ret_id) {
        const ContextCall call = {
                .member = member,
                .target = target,
                .content_type = content_type,
                .data = data,
                .size = size,
                .memfd = -EBADF,
                .timeout_usec = UINT64_MAX,
        };

        sand_result *result = NULL;
        int r;

        r = call_and_wait(c, &call, &result);
        if (r >= 0 && ret_id) {
                *ret_id = strdup(result->id);
                if (!*ret_id)
                        r = -ENOMEM;
        }
        sand_result_free(result);
        return r;
}

int sand_call(sand_context *c, const char *target, const void *data, size_t size, sand_result **ret) {
        return context_call(c, target, NULL, data, size, UINT64_MAX, ret);
}

int sand_send(sand_context *c, const char *target, const void *data, size_t size) {
        return context_send(c, "Send", target, NULL, data, size, NULL);
}

int sand_emit(sand_context *c, const char *topic, const void *data, size_t size) {
        return context_send(c, "Emit", topic, NULL, data, size, NULL);
}

const void *sand_result_data(const sand_result *result) {
        return result->payload.data;
}

size_t sand_result_size(const sand_result *result) {
        return result->payload.size;
}

const char *sand_result_content_type(const sand_result *result) {
        return result->content_type;
}

const char *sand_result_error(const sand_result *result) {
        return result->error;
}

const char *sand_result_message(const sand_result *result) {
        return result->message;
}

const char *sand_result_cause(const sand_result *result) {
        return result->cause;
}

const char *sand_result_kind(const sand_result *result) {
        return result->kind;
}

void sand_result_free(sand_result *result) {
        if (!result)
                return;
        result_unlink(result);
        wire_payload_done(&result->payload);
        wire_message_done(&result->reply);
        free(result);
}
