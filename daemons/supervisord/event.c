/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "event.h"

#include <assert.h>
#include <sys/random.h>

#include "macro.h"
#include "protocol.h"

void id_make(char ret[static EVENT_ID_LENGTH + 1]) {
        static const char digits[] = "0123456789abcdef";
        static uint8_t pool[2048]; /* one system call for 128 ids */
        static size_t used = sizeof(pool);

        if (used >= sizeof(pool)) {
                size_t have = 0;
                while (have < sizeof(pool)) {
                        ssize_t n = getrandom(pool + have, sizeof(pool) - have, 0);
                        if (n > 0)
                                have += (size_t) n;
                        else
                                assert(n < 0 && errno == EINTR);
                }
                used = 0;
        }
        for (size_t i = 0; i < EVENT_ID_LENGTH / 2; i++, used++) {
                ret[2 * i] = digits[pool[used] >> 4];
                ret[2 * i + 1] = digits[pool[used] & 15];
        }
        ret[EVENT_ID_LENGTH] = 0;
}

bool id_is_valid(const char *s) {
        return strlen(s) == EVENT_ID_LENGTH && strspn(s, "0123456789abcdef") == EVENT_ID_LENGTH;
}

static bool headers_have(char **headers, const char *key) {
        for (char **h = headers; h && h[0]; h += 2)
                if (streq(h[0], key))
                        return true;
        return false;
}

static int headers_read(sd_bus_message *m, char ***ret) {
        _cleanup_(strv_freep) char **headers = NULL;
        size_t n = 0, bytes = 0;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{ss}");
        if (r < 0)
                return r;
        for (;;) {
                const char *key, *value;

                r = sd_bus_message_read(m, "{ss}", &key, &value);
                if (r < 0)
                        return r;
                if (r == 0)
                        break;
                bytes += strlen(key) + strlen(value);
                if (++n > EVENT_HEADERS_MAX || bytes > EVENT_HEADERS_BYTES_MAX)
                        return -E2BIG;
                r = strv_extend(&headers, key);
                if (r >= 0)
                        r = strv_extend(&headers, value);
                if (r < 0)
                        return r;
        }
        r = sd_bus_message_exit_container(m);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(headers);
        return 0;
}

/* What a nested call has of the event that made it. */
static int event_inherit(Event *e, const Event *parent) {
        int r;

        memcpy(e->execution, parent->execution, sizeof(e->execution));
        e->depth = parent->depth + 1;
        if (!e->oneway && parent->deadline > 0)
                e->deadline = e->deadline > 0 ? MIN(e->deadline, parent->deadline) : parent->deadline;
        if (headers_have(e->headers, "traceparent"))
                return 0;
        for (char **h = parent->headers; h && h[0]; h += 2)
                if (streq(h[0], "traceparent")) {
                        r = strv_extend(&e->headers, h[0]);
                        return r < 0 ? r : strv_extend(&e->headers, h[1]);
                }
        return 0;
}

static int refuse(Failure *ret, SandError kind, const char *message, int r) {
        *ret = (Failure) { .kind = kind, .message = message };
        return r;
}

DEFINE_POINTER_CLEANUP(Event *, event_free);

static void caller_wait(Caller *c, Event *e) {
        bool waits = c->calls;

        e->caller = c;
        e->caller_next = c->calls;
        if (e->caller_next)
                e->caller_next->caller_prev = e;
        c->calls = e;
        if (!waits)
                c->changed(c);
}

/* Before the answer: whoever waited for it runs as soon as it is sent. */
static void caller_wake(Event *e) {
        Caller *c = TAKE_PTR(e->caller);

        if (!c)
                return;
        if (e->caller_prev)
                e->caller_prev->caller_next = e->caller_next;
        else
                c->calls = e->caller_next;
        if (e->caller_next)
                e->caller_next->caller_prev = e->caller_prev;
        e->caller_prev = e->caller_next = NULL;
        if (!c->calls)
                c->changed(c);
}

void caller_done(Caller *c) {
        for (Event *e = c->calls, *next; e; e = next) {
                next = e->caller_next;
                e->caller = NULL;
                e->caller_prev = e->caller_next = NULL;
        }
        c->calls = NULL;
        c->event = NULL;
}

int event_new(sd_bus_message *request, Caller *caller, bool oneway, Event **ret, Failure *ret_failure) {
        _cleanup_(event_freep) Event *e = NULL;
        const Event *parent = caller ? caller->event : NULL;
        const char *target, *execution;
        int r;

        e = calloc(1, sizeof(Event));
        if (!e)
                return refuse(ret_failure, SAND_ERROR_UNAVAILABLE, "out of memory", -ENOMEM);
        e->payload = PAYLOAD_EMPTY;
        e->oneway = oneway;
        e->accepted_usec = now_usec();
        e->request = sd_bus_message_ref(request);

        r = sd_bus_message_read(request, SAND_INVOKE_SIGNATURE, &target, &execution, &e->deadline, &e->content_type);
        if (r < 0)
                return refuse(ret_failure, SAND_ERROR_BAD_REQUEST,
                              "malformed event: expected the arguments " SAND_INVOKE_FULL_SIGNATURE, r);
        e->target = (char *) target;
        r = headers_read(request, &e->headers);
        if (r < 0)
                return refuse(ret_failure, SAND_ERROR_BAD_REQUEST,
                              "malformed event headers: expected at most 32 pairs of 8 KiB in all", r);
        r = payload_read(request, SAND_PAYLOAD_HARD_MAX, &e->payload);
        if (r == -EMSGSIZE)
                return refuse(ret_failure, SAND_ERROR_TOO_LARGE, "the payload is larger than 64 MiB", r);
        if (r == -EPERM)
                return refuse(ret_failure, SAND_ERROR_BAD_REQUEST, "the payload's memfd is not sealed", r);
        if (r < 0)
                return refuse(ret_failure, SAND_ERROR_BAD_REQUEST,
                              "malformed payload: expected a variant of ay, or of h with a sealed memfd", r);

        if (parent) {
                r = event_inherit(e, parent);
                if (r < 0)
                        return refuse(ret_failure, SAND_ERROR_UNAVAILABLE, "out of memory", r);
                if (e->depth > EVENT_DEPTH_MAX)
                        return refuse(ret_failure, SAND_ERROR_BAD_REQUEST,
                                      "calls are nested more than 32 deep", -ELOOP);
        } else if (isempty(execution))
                id_make(e->execution);
        else if (id_is_valid(execution))
                strcpy(e->execution, execution);
        else
                return refuse(ret_failure, SAND_ERROR_BAD_REQUEST,
                              "malformed execution id: expected 32 lower-case hex digits", -EINVAL);
        id_make(e->invocation);

        if (parent && !oneway)
                caller_wait(caller, e);
        *ret = TAKE_PTR(e);
        return 0;
}

Event *event_free(Event *e) {
        if (!e)
                return NULL;
        caller_wake(e);
        payload_done(&e->payload);
        strv_free(e->headers);
        sd_bus_message_unref(e->request);
        free(e);
        return NULL;
}

bool event_is_abandoned(const Event *e) {
        return !e->oneway && sd_bus_is_open(sd_bus_message_get_bus(e->request)) <= 0;
}

int event_to_handle(const Event *e, sd_bus *bus, uint64_t deadline, sd_bus_message **ret) {
        sd_bus_message *m = NULL;
        int r;

        r = sd_bus_message_new_method_call(bus, &m, NULL, SAND_INSTANCE_PATH, SAND_INSTANCE_INTERFACE, "Handle");
        if (r < 0)
                return r;
        r = sd_bus_message_append(m, SAND_INVOKE_SIGNATURE, e->execution, e->invocation, deadline, e->content_type);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "{ss}");
        for (char **h = e->headers; r >= 0 && h && h[0]; h += 2)
                r = sd_bus_message_append(m, "{ss}", h[0], h[1]);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        if (r >= 0)
                r = payload_append(m, &e->payload);
        if (r < 0) {
                sd_bus_message_unref(m);
                return r;
        }
        *ret = m;
        return 0;
}

int bus_reply_failure(sd_bus_message *call, const Failure *failure, const Usage *usage) {
        const SandErrorInfo *info = sand_error_info(failure->kind);
        const sd_bus_error error = SD_BUS_ERROR_MAKE_CONST(info->dbus_name, strempty(failure->message));
        sd_bus_message *reply = NULL;
        Usage none = {};
        int r;

        if (!usage)
                usage = &none;
        r = sd_bus_message_new_method_error(call, &reply, &error);
        if (r >= 0)
                r = sd_bus_message_append(reply, "ss(ttt)", failure->error ?: info->name, strempty(failure->cause),
                                          usage->wall_usec, usage->cpu_usec, usage->peak_bytes);
        if (r >= 0)
                r = sd_bus_message_send(reply);
        sd_bus_message_unref(reply);
        return r;
}

void event_acknowledge(Event *e) {
        if (!e->oneway || e->answered)
                return;
        (void) sd_bus_reply_method_return(e->request, "s", e->execution);
        e->answered = true;
}

void event_fail(Event *e, const Failure *failure, const Usage *usage) {
        caller_wake(e);
        if (!e->answered)
                (void) bus_reply_failure(e->request, failure, usage);
}

void event_forward(Event *e, sd_bus_message *result, const char *content_type, const Usage *usage,
                   const Payload *payload) {
        sd_bus_message *reply = NULL;
        int r;

        if (e->oneway)
                return;
        caller_wake(e);
        r = sd_bus_message_new_method_return(e->request, &reply);
        if (r >= 0)
                r = sd_bus_message_append(reply, "s(ttt)", content_type, usage->wall_usec, usage->cpu_usec,
                                          usage->peak_bytes);
        if (r >= 0)
                r = payload_append(reply, payload);
        if (r >= 0)
                r = sd_bus_message_send(reply);
        sd_bus_message_unref(reply);
        if (r < 0 && r != -ENOTCONN && r != -ECONNRESET && r != -EPIPE)
                event_fail(e, &(Failure) { .kind = SAND_ERROR_UNAVAILABLE, .message = "cannot pass the result on" },
                           usage);
}
