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

static int header_add(char ***headers, size_t *n, size_t *bytes, const char *key, const char *value) {
        int r;

        *bytes += strlen(key) + strlen(value);
        if (++*n > EVENT_HEADERS_MAX || *bytes > EVENT_HEADERS_BYTES_MAX)
                return -E2BIG;
        r = strv_extend(headers, key);
        return r < 0 ? r : strv_extend(headers, value);
}

static int headers_read(WireReader *in, char ***ret) {
        _cleanup_(strv_freep) char **headers = NULL;
        size_t n = 0, bytes = 0, end;
        int r;

        r = wire_read_array(in, 8, &end);
        while (r >= 0 && in->position < end) {
                const char *key, *value;

                (void) wire_read_align(in, 8);
                (void) wire_read_string(in, &key);
                r = wire_read_string(in, &value);
                if (r >= 0)
                        r = header_add(&headers, &n, &bytes, key, value);
        }
        if (r >= 0 && in->position != end)
                r = -EBADMSG;
        if (r < 0)
                return r;
        *ret = TAKE_PTR(headers);
        return 0;
}

static int refuse(Failure *ret, SandError kind, const char *message, int r) {
        *ret = (Failure) { .kind = kind, .message = message };
        return r;
}

DEFINE_POINTER_CLEANUP(Event *, event_free);

static int refuse_depth(Failure *ret) {
        return refuse(ret, SAND_ERROR_BAD_REQUEST, "calls are nested more than 32 deep", -ELOOP);
}

/* What a nested call has of the event that made it. */
static int event_inherit(Event *e, const Event *parent, Failure *ret_failure) {
        int r = 0;

        memcpy(e->execution, parent->execution, sizeof(e->execution));
        e->depth = parent->depth + 1;
        if (e->depth > EVENT_DEPTH_MAX)
                return refuse_depth(ret_failure);
        if (!e->oneway && parent->deadline > 0)
                e->deadline = e->deadline > 0 ? MIN(e->deadline, parent->deadline) : parent->deadline;
        if (headers_have(e->headers, "traceparent") || strv_length(e->headers) >= 2 * EVENT_HEADERS_MAX)
                return 0; /* as many as may be: those who hand it on count on that */
        for (char **h = parent->headers; h && h[0] && r >= 0; h += 2)
                if (streq(h[0], "traceparent")) {
                        r = strv_extend(&e->headers, h[0]);
                        if (r >= 0)
                                r = strv_extend(&e->headers, h[1]);
                }
        return r < 0 ? refuse(ret_failure, SAND_ERROR_UNAVAILABLE, "out of memory", r) : 0;
}

/* What came by globald says how deep it is. Of anybody else it could only refuse the caller's own event. */
static int event_read_depth(Event *e, Failure *ret_failure) {
        for (char **h = e->headers; h && h[0]; h += 2)
                if (streq(h[0], SAND_HEADER_DEPTH)) {
                        size_t n = strlen(h[1]);

                        if (n < 1 || n > 2 || strspn(h[1], "0123456789") != n)
                                return refuse(ret_failure, SAND_ERROR_BAD_REQUEST,
                                              "malformed header " SAND_HEADER_DEPTH ": expected a number up to 32", -EINVAL);
                        e->depth = (unsigned) strtoul(h[1], NULL, 10);
                        if (e->depth > EVENT_DEPTH_MAX)
                                return refuse_depth(ret_failure);
                }
        return 0;
}

static void caller_wait(Caller *c, Event *e) {
        bool waits = c->calls;

        e->caller = c;
        if (e->oneway) /* acknowledged before anything else happens */
                return;
        e->caller_next = c->calls;
        if (e->caller_next)
                e->caller_next->caller_prev = e;
        c->calls = e;
        if (!waits && c->changed)
                c->changed(c);
}

/* Before the answer: whoever waited for it runs as soon as it is sent. */
static Wire *caller_wake(Event *e) {
        Caller *c = TAKE_PTR(e->caller);

        if (!c)
                return NULL;
        if (e->oneway)
                return c->wire;
        if (e->caller_prev)
                e->caller_prev->caller_next = e->caller_next;
        else
                c->calls = e->caller_next;
        if (e->caller_next)
                e->caller_next->caller_prev = e->caller_prev;
        e->caller_prev = e->caller_next = NULL;
        if (!c->calls && c->changed)
                c->changed(c);
        return c->wire;
}

void caller_done(Caller *c) {
        for (Event *e = c->calls, *next; e; e = next) {
                next = e->caller_next;
                e->caller = NULL;
                e->caller_prev = e->caller_next = NULL;
                if (e->abandoned)
                        e->abandoned(e);
        }
        c->calls = NULL;
        c->event = NULL;
}

static int refuse_headers(Failure *ret, int r) {
        return refuse(ret, SAND_ERROR_BAD_REQUEST, "malformed event headers: expected at most 32 pairs of 64 KiB in all", r);
}

static int refuse_payload(Failure *ret, int r) {
        if (r == -EMSGSIZE)
                return refuse(ret, SAND_ERROR_TOO_LARGE, "the payload is larger than 64 MiB", r);
        if (r == -EPERM)
                return refuse(ret, SAND_ERROR_BAD_REQUEST, "the payload's memfd is not sealed", r);
        return refuse(ret, SAND_ERROR_BAD_REQUEST,
                      "malformed payload: expected a variant of ay, or of h with a sealed memfd", r);
}

static Event *event_allocate(bool oneway) {
        Event *e = calloc(1, sizeof(Event));

        if (e) {
                e->payload = PAYLOAD_EMPTY;
                e->oneway = oneway;
                e->accepted_usec = now_usec();
        }
        return e;
}

static int event_identify(Event *e, const char *execution, Failure *ret_failure) {
        if (isempty(execution))
                id_make(e->execution);
        else if (id_is_valid(execution))
                strcpy(e->execution, execution);
        else
                return refuse(ret_failure, SAND_ERROR_BAD_REQUEST,
                              "malformed execution id: expected 32 lower-case hex digits", -EINVAL);
        id_make(e->invocation);
        return 0;
}

static int event_read_call(Event *e, const char **ret_execution, Failure *ret_failure) {
        WireReader in;
        int r;

        /* More descriptors than the payload's would be held for nothing. */
        if (!streq(e->call.signature, SAND_INVOKE_FULL_SIGNATURE) || e->call.n_fds > 1)
                return refuse(ret_failure, SAND_ERROR_BAD_REQUEST,
                              "malformed event: expected the arguments " SAND_INVOKE_FULL_SIGNATURE, -EBADMSG);
        wire_reader_init(&in, &e->call);
        (void) wire_read_string(&in, &e->target);
        (void) wire_read_string(&in, ret_execution);
        (void) wire_read_u64(&in, &e->deadline);
        r = wire_read_string(&in, &e->content_type);
        if (r >= 0)
                r = headers_read(&in, &e->headers);
        if (r < 0)
                return refuse_headers(ret_failure, r);
        r = wire_read_payload_raw(&in, SAND_PAYLOAD_HARD_MAX, &e->payload.data, &e->payload.size, &e->payload.fd);
        if (r >= 0)
                r = wire_read_end(&in);
        return r < 0 ? refuse_payload(ret_failure, r) : 0;
}

int event_new(Caller *caller, WireMessage *call, bool oneway, Event **ret, Failure *ret_failure) {
        _cleanup_(event_freep) Event *e = event_allocate(oneway);
        const char *execution = "";
        int r;

        if (!e)
                return refuse(ret_failure, SAND_ERROR_UNAVAILABLE, "out of memory", -ENOMEM);
        e->call = *call;
        *call = (WireMessage) {};
        r = event_read_call(e, &execution, ret_failure);
        if (r >= 0)
                r = event_identify(e, caller->event ? NULL : execution, ret_failure);
        if (r >= 0)
                r = caller->event ? event_inherit(e, caller->event, ret_failure) : event_read_depth(e, ret_failure);
        if (r < 0) {
                *call = e->call; /* to be answered */
                e->call = (WireMessage) {};
                return r;
        }
        caller_wait(caller, e);
        *ret = TAKE_PTR(e);
        return 0;
}

Event *event_free(Event *e) {
        if (!e)
                return NULL;
        (void) caller_wake(e);
        payload_done(&e->payload);
        strv_free(e->headers);
        wire_message_done(&e->call);
        free(e);
        return NULL;
}

bool event_is_abandoned(const Event *e) {
        return !e->oneway && !e->caller;
}

static void put_payload(WireWriter *out, const Payload *payload) {
        if (payload->fd >= 0)
                wire_put_memfd(out, payload->fd);
        else
                wire_put_payload(out, payload->data, payload->size);
}

static unsigned payload_fds(const Payload *payload) {
        return payload->fd >= 0 ? 1 : wire_payload_fds(payload->size);
}

int event_hand_over(const Event *e, Wire *wire, uint64_t deadline, uint32_t *ret_serial) {
        WireWriter out;
        int r;

        wire_call(wire, &out, SAND_INSTANCE_PATH, SAND_INSTANCE_INTERFACE, "Handle", SAND_HANDLE_FULL_SIGNATURE,
                  payload_fds(&e->payload));
        wire_put_string(&out, e->execution);
        wire_put_string(&out, e->invocation);
        wire_put_u64(&out, deadline);
        wire_put_string(&out, e->content_type);
        wire_put_headers(&out, (const char *const *) e->headers, strv_length(e->headers) / 2);
        put_payload(&out, &e->payload);
        *ret_serial = out.serial;
        r = wire_send(wire, &out);
        return r;
}

void event_acknowledge(Event *e) {
        WireWriter out;
        Wire *wire;

        if (!e->oneway)
                return;
        wire = caller_wake(e);
        if (!wire || e->call.no_reply)
                return;
        wire_reply(wire, &out, &e->call, "s", 0);
        wire_put_string(&out, e->execution);
        (void) wire_send(wire, &out);
}

void event_answer_id(Event *e, const char *id) {
        Wire *wire = caller_wake(e);
        WireWriter out;

        if (!wire || e->call.no_reply)
                return;
        wire_reply(wire, &out, &e->call, "s", 0);
        wire_put_string(&out, id);
        (void) wire_send(wire, &out);
}

void event_fail(Event *e, const Failure *failure, const Usage *usage) {
        const Failure brief = { .kind = failure->kind, .message = "the error's text is too long to be passed on" };
        Wire *wire = caller_wake(e);

        if (wire && wire_reply_failure(wire, &e->call, failure, usage) == -EMSGSIZE)
                (void) wire_reply_failure(wire, &e->call, &brief, usage);
}

static int forward(Event *e, Wire *wire, const char *content_type, const Usage *usage, const Payload *payload) {
        WireWriter out;

        wire_reply(wire, &out, &e->call, SAND_REPLY_FULL_SIGNATURE, payload_fds(payload));
        wire_put_string(&out, content_type);
        wire_put_usage(&out, usage->wall_usec, usage->cpu_usec, usage->peak_bytes);
        put_payload(&out, payload);
        return wire_send(wire, &out);
}

void event_forward(Event *e, const char *content_type, const Usage *usage, const Payload *payload) {
        static const Failure failure = { .kind = SAND_ERROR_UNAVAILABLE, .message = "cannot pass the result on" };
        Wire *wire = caller_wake(e);
        int r;

        if (!wire || e->oneway || e->call.no_reply)
                return;
        r = forward(e, wire, content_type, usage, payload);
        if (r < 0 && r != -ENOTCONN && r != -ECONNRESET && r != -EPIPE)
                (void) wire_reply_failure(wire, &e->call, &failure, usage);
}
