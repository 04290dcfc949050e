/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* event.c between the two ends of a wire: what is read out of a caller's message, what is refused and with which words,
 * what a nested call inherits, and what callers and instances are sent. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "../../daemons/supervisord/event.h"
#include "macro.h"
#include "protocol.h"
#include "wire.h"

#define EXECUTION "0123456789abcdef0123456789abcdef"
#define TRACE "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

#define ID "00000000000000000000000000000001"

typedef struct Pair {
        Wire ours, theirs;        /* the supervisor's end and the other one */
        Caller caller;            /* an instance there ... */
        Event parent;             /* and what it handles, by default; */
        Caller outside;           /* or one that handles nothing */
        unsigned n_changed;
} Pair;

DEFINE_POINTER_CLEANUP(Event *, event_free);

/* A call that is answered has no answer yet when this is called. */
static void on_changed(Caller *c) {
        Pair *p = CONTAINER_OF(c, Pair, caller);
        uint8_t byte;

        p->n_changed++;
        assert_true(recv(p->theirs.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0);
        assert_int_equal(errno, EAGAIN);
}

static void on_queued(Wire *w) {
}

static const Event parent = {
        .execution = EXECUTION,
        .invocation = "fedcba9876543210fedcba9876543210",
        .headers = (char *[]) { (char *) "caller", (char *) "outside", (char *) "traceparent", (char *) TRACE, NULL },
        .deadline = 1000,
        .depth = 3,
};

static int setup(void **state) {
        Pair *p = calloc(1, sizeof(Pair));
        int fds[2];

        assert_non_null(p);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        wire_init_server(&p->ours, fds[0], ID, on_queued);
        wire_init(&p->theirs, fds[1]);
        p->parent = parent;
        p->caller = (Caller) { .event = &p->parent, .wire = &p->ours, .changed = on_changed };
        p->outside = (Caller) { .wire = &p->ours };
        *state = p;
        return 0;
}

static int teardown(void **state) {
        Pair *p = *state;

        wire_done(&p->ours);
        wire_done(&p->theirs);
        free(p);
        return 0;
}

typedef struct Arguments {
        const char *target, *execution;
        uint64_t deadline;
        const char *headers[5]; /* key, value, ... */
} Arguments;

static int memfd_of(uint64_t size, int seals) {
        int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, (off_t) size), 0);
        assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
        return fd;
}

#define ALL_SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static void expect_refusal(const Event *e, const Failure *failure, SandError kind, const char *message) {
        assert_null(e);
        assert_int_equal(failure->kind, kind);
        assert_string_equal(failure->message, message);
        assert_null(failure->error);
}

/* The caller's messages. */

static WireMessage receive_at(Wire *w) {
        WireMessage m = {};

        assert_int_equal(wire_receive(w, now_usec() + 10 * USEC_PER_SEC, &m), 1);
        return m;
}

static void nested_begin(Pair *p, WireWriter *out, const char *signature, const Arguments *a, unsigned n_fds) {
        size_t n = 0;

        while (a->headers[n])
                n += 2;
        wire_call(&p->theirs, out, SAND_APP_PATH, SAND_APP_INTERFACE, "Invoke", signature, n_fds);
        wire_put_string(out, a->target ?: "f");
        wire_put_string(out, a->execution);
        wire_put_u64(out, a->deadline);
        wire_put_string(out, "application/json");
        wire_put_headers(out, a->headers, n / 2);
}

static WireMessage nested_end(Pair *p, WireWriter *out) {
        assert_int_equal(wire_send(&p->theirs, out), 0);
        return receive_at(&p->ours);
}

static WireMessage nested(Pair *p, const Arguments *a) {
        WireWriter out;

        nested_begin(p, &out, SAND_INVOKE_FULL_SIGNATURE, a, 0);
        wire_put_payload(&out, "{}", 2);
        return nested_end(p, &out);
}

static WireMessage nested_fd(Pair *p, int fd) {
        WireWriter out;

        nested_begin(p, &out, SAND_INVOKE_FULL_SIGNATURE, &(Arguments) {}, 1);
        wire_put_memfd(&out, fd);
        return nested_end(p, &out);
}

static Event *accept_from(Caller *caller, WireMessage m, bool oneway) {
        Failure failure = {};
        Event *e = NULL;

        if (event_new(caller, &m, oneway, &e, &failure) < 0)
                fail_msg("refused: %s", failure.message);
        assert_null(m.buffer);
        return e;
}

static Event *accept_nested(Pair *p, WireMessage m, bool oneway) {
        return accept_from(&p->caller, m, oneway);
}

static Event *accept_outside(Pair *p, WireMessage m) {
        return accept_from(&p->outside, m, false);
}

/* It has begun to wait for nothing, and the message is there to be answered. */
static void refuse_from(Pair *p, Caller *caller, WireMessage m, SandError kind, const char *message) {
        unsigned n_changed = p->n_changed;
        Failure failure = {};
        Event *e = NULL;

        assert_true(event_new(caller, &m, false, &e, &failure) < 0);
        expect_refusal(e, &failure, kind, message);
        assert_non_null(m.buffer);
        assert_null(caller->calls);
        assert_int_equal(p->n_changed, n_changed);
        wire_message_done(&m);
}

static void refuse_nested(Pair *p, WireMessage m, SandError kind, const char *message) {
        refuse_from(p, &p->caller, m, kind, message);
}

static void test_whole(void **state) {
        uint64_t before = now_usec();
        Pair *p = *state;
        _cleanup_(event_freep) Event *e = accept_outside(
                p, nested(p, &(Arguments) { "resize", EXECUTION, 12345, { "traceparent", TRACE, "caller", "x" } }));

        assert_string_equal(e->target, "resize");
        assert_string_equal(e->execution, EXECUTION);
        assert_true(id_is_valid(e->invocation));
        assert_string_not_equal(e->invocation, EXECUTION);
        assert_int_equal(e->deadline, 12345);
        assert_string_equal(e->content_type, "application/json");
        assert_int_equal(strv_length(e->headers), 4);
        assert_string_equal(e->headers[1], TRACE);
        assert_string_equal(e->headers[2], "caller");
        assert_string_equal(e->headers[3], "x");
        assert_int_equal(e->payload.size, 2);
        assert_memory_equal(e->payload.data, "{}", 2);
        assert_true(e->payload.fd < 0);
        assert_true(e->accepted_usec >= before && e->accepted_usec <= now_usec());
        assert_int_equal(e->depth, 0);
        assert_false(e->oneway);
        assert_ptr_equal(e->caller, &p->outside);
        assert_ptr_equal(p->outside.calls, e);
}

static void test_ids_are_made(void **state) {
        char seen[300][EVENT_ID_LENGTH + 1];

        for (unsigned i = 0; i < ELEMENTSOF(seen); i++) {
                id_make(seen[i]);
                assert_true(id_is_valid(seen[i]));
                for (unsigned j = 0; j < i; j++)
                        assert_string_not_equal(seen[i], seen[j]);
        }
        _cleanup_(event_freep) Event *e = accept_outside(*state, nested(*state, &(Arguments) {}));
        assert_true(id_is_valid(e->execution));
        assert_true(id_is_valid(e->invocation));
        assert_string_not_equal(e->execution, e->invocation);
}

static void test_execution_ids_are_checked(void **state) {
        static const char *const bad[] = {
                "x", "0123456789abcdef0123456789abcde", EXECUTION "0", "0123456789ABCDEF0123456789ABCDEF",
                "0123456789abcdef-123456789abcdef", "../../../../../../../../etc/pass",
        };
        Pair *p = *state;

        for (unsigned i = 0; i < ELEMENTSOF(bad); i++)
                refuse_from(p, &p->outside, nested(p, &(Arguments) { .execution = bad[i] }), SAND_ERROR_BAD_REQUEST,
                            "malformed execution id: expected 32 lower-case hex digits");
}

static const char headers_message[] = "malformed event headers: expected at most 32 pairs of 64 KiB in all";

/* From an instance. */

static void test_nested_calls_inherit(void **state) {
        Pair *p = *state;
        /* What an instance says of its execution is not heard, whatever it is. */
        _cleanup_(event_freep) Event *e = accept_nested(
                p, nested(p, &(Arguments) { .execution = "x", .headers = { "caller", "inside" } }), false);

        assert_string_equal(e->execution, EXECUTION);
        assert_true(id_is_valid(e->invocation));
        assert_string_not_equal(e->invocation, parent.invocation);
        assert_int_equal(e->deadline, 1000);
        assert_int_equal(e->depth, 4);
        /* The trace alone is passed on. */
        assert_int_equal(strv_length(e->headers), 4);
        assert_string_equal(e->headers[1], "inside");
        assert_string_equal(e->headers[2], "traceparent");
        assert_string_equal(e->headers[3], TRACE);
}

static void test_nested_deadlines_only_shrink(void **state) {
        static const struct {
                uint64_t own, parents;
                bool oneway;
                uint64_t expected;
        } rows[] = {
                { 0, 1000, false, 1000 },  { 500, 1000, false, 500 }, { 2000, 1000, false, 1000 }, { 500, 0, false, 500 },
                { 0, 0, false, 0 },
                /* Nobody waits for what was sent: its time is its own. */
                { 0, 1000, true, 0 },      { 2000, 1000, true, 2000 },
        };
        Pair *p = *state;

        for (unsigned i = 0; i < ELEMENTSOF(rows); i++) {
                Event *e;
                p->parent.deadline = rows[i].parents;
                e = accept_nested(p, nested(p, &(Arguments) { .deadline = rows[i].own }), rows[i].oneway);
                assert_int_equal(e->deadline, rows[i].expected);
                event_free(e);
        }
}

static void test_own_trace_is_kept(void **state) {
        Pair *p = *state;
        _cleanup_(event_freep) Event *e = accept_nested(
                p, nested(p, &(Arguments) { .headers = { "traceparent", "00-1-2-01" } }), false);

        assert_int_equal(strv_length(e->headers), 2);
        assert_string_equal(e->headers[1], "00-1-2-01");
}

static void test_nesting_ends(void **state) {
        Pair *p = *state;
        Event *e;

        p->parent.depth = EVENT_DEPTH_MAX - 1;
        e = accept_nested(p, nested(p, &(Arguments) {}), false);
        assert_int_equal(e->depth, EVENT_DEPTH_MAX);
        event_free(e);
        p->parent.depth = EVENT_DEPTH_MAX;
        refuse_nested(p, nested(p, &(Arguments) {}), SAND_ERROR_BAD_REQUEST, "calls are nested more than 32 deep");
}

static void test_arguments_are_checked(void **state) {
        static const char message[] = "malformed event: expected the arguments sstsa{ss}v";
        Pair *p = *state;
        WireWriter out;
        WireMessage m;

        wire_call(&p->theirs, &out, SAND_APP_PATH, SAND_APP_INTERFACE, "Invoke", "", 0);
        refuse_nested(p, nested_end(p, &out), SAND_ERROR_BAD_REQUEST, message);

        nested_begin(p, &out, "sstsa{ss}vv", &(Arguments) {}, 0);
        wire_put_payload(&out, "", 0);
        refuse_nested(p, nested_end(p, &out), SAND_ERROR_BAD_REQUEST, message);

        /* A second descriptor would be held for nothing. */
        m = nested(p, &(Arguments) {});
        m.fds = calloc(2, sizeof(int));
        m.n_fds = 2;
        m.fds[0] = memfd_of(1, ALL_SEALS);
        m.fds[1] = memfd_of(1, ALL_SEALS);
        refuse_nested(p, m, SAND_ERROR_BAD_REQUEST, message);
}

static WireMessage nested_headers(Pair *p, unsigned n, size_t value_size) {
        _cleanup_(freep) char *value = calloc(1, value_size + 1);
        const char *headers[2 * EVENT_HEADERS_MAX + 2];
        WireWriter out;

        memset(value, 'v', value_size);
        for (unsigned i = 0; i < n; i++) {
                headers[2 * i] = "key";
                headers[2 * i + 1] = value;
        }
        nested_begin(p, &out, SAND_INVOKE_FULL_SIGNATURE, &(Arguments) {}, 0);
        out.size -= 4 + (out.size % 8 == 0 ? 4 : 0); /* its empty array, with the padding behind that */
        wire_put_headers(&out, headers, n);
        wire_put_payload(&out, "", 0);
        return nested_end(p, &out);
}

static void test_headers_are_bounded(void **state) {
        Pair *p = *state;
        Event *e;

        e = accept_nested(p, nested_headers(p, EVENT_HEADERS_MAX, 1), false); /* what is inherited has no room */
        assert_int_equal(strv_length(e->headers), 2 * EVENT_HEADERS_MAX);
        event_free(e);

        p->caller.event = NULL;
        e = accept_nested(p, nested_headers(p, EVENT_HEADERS_MAX, 1), false);
        assert_int_equal(strv_length(e->headers), 2 * EVENT_HEADERS_MAX);
        event_free(e);
        refuse_nested(p, nested_headers(p, EVENT_HEADERS_MAX + 1, 1), SAND_ERROR_BAD_REQUEST, headers_message);

        e = accept_nested(p, nested_headers(p, 1, EVENT_HEADERS_BYTES_MAX - strlen("key")), false);
        event_free(e);
        refuse_nested(p, nested_headers(p, 1, EVENT_HEADERS_BYTES_MAX - strlen("key") + 1), SAND_ERROR_BAD_REQUEST,
                      headers_message);
}

static void test_payloads_are_checked(void **state) {
        static const char message[] = "malformed payload: expected a variant of ay, or of h with a sealed memfd";
        static const int lacking[] = { F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE };
        Pair *p = *state;
        WireWriter out;
        int fds[2], fd;

        nested_begin(p, &out, SAND_INVOKE_FULL_SIGNATURE, &(Arguments) {}, 0);
        wire_put_signature(&out, "s");
        wire_put_string(&out, "{}");
        refuse_nested(p, nested_end(p, &out), SAND_ERROR_BAD_REQUEST, message);

        nested_begin(p, &out, SAND_INVOKE_FULL_SIGNATURE, &(Arguments) {}, 0);
        refuse_nested(p, nested_end(p, &out), SAND_ERROR_BAD_REQUEST, message);

        nested_begin(p, &out, SAND_INVOKE_FULL_SIGNATURE, &(Arguments) {}, 0);
        wire_put_signature(&out, "ay");
        wire_put_u32(&out, 0);
        wire_put_byte(&out, 0); /* and more */
        refuse_nested(p, nested_end(p, &out), SAND_ERROR_BAD_REQUEST, message);

        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        refuse_nested(p, nested_fd(p, fds[0]), SAND_ERROR_BAD_REQUEST, message);
        (void) close(fds[0]);
        (void) close(fds[1]);

        for (unsigned i = 0; i < ELEMENTSOF(lacking); i++) {
                fd = memfd_of(10, ALL_SEALS & ~lacking[i]);
                refuse_nested(p, nested_fd(p, fd), SAND_ERROR_BAD_REQUEST, "the payload's memfd is not sealed");
                (void) close(fd);
        }
        fd = memfd_of(SAND_PAYLOAD_HARD_MAX + 1, ALL_SEALS);
        refuse_nested(p, nested_fd(p, fd), SAND_ERROR_TOO_LARGE, "the payload is larger than 64 MiB");
        (void) close(fd);
}

static void test_memfds_are_taken(void **state) {
        int fd = memfd_of(SAND_PAYLOAD_HARD_MAX, ALL_SEALS);
        Pair *p = *state;
        _cleanup_(event_freep) Event *e = accept_nested(p, nested_fd(p, fd), false);

        assert_int_equal(e->payload.size, SAND_PAYLOAD_HARD_MAX);
        assert_true(e->payload.fd >= 0 && e->payload.fd != fd);
        assert_null(e->payload.data);
        (void) close(fd);
}

/* What is sent back. */

/* The caller has got no more than it took. */
static void expect_nothing(Pair *p) {
        WireMessage m;

        assert_int_equal(wire_receive(&p->theirs, now_usec() + USEC_PER_MSEC, &m), -ETIMEDOUT);
}

static void expect_failure(Pair *p, const char *name, const char *message, const char *error, const char *cause,
                                  uint64_t wall) {
        WireMessage m = receive_at(&p->theirs);
        const char *got[3];
        uint64_t usage[3];
        WireReader in;

        assert_int_equal(m.type, WIRE_ERROR);
        assert_int_equal(m.reply_serial, p->theirs.serial);
        assert_string_equal(m.error, name);
        assert_string_equal(m.signature, SAND_ERROR_FULL_SIGNATURE);
        wire_reader_init(&in, &m);
        for (unsigned i = 0; i < 3; i++)
                assert_int_equal(wire_read_string(&in, got + i), 0);
        assert_int_equal(wire_read_align(&in, 8), 0);
        for (unsigned i = 0; i < 3; i++)
                assert_int_equal(wire_read_u64(&in, usage + i), 0);
        assert_int_equal(wire_read_end(&in), 0);
        assert_string_equal(got[0], message);
        assert_string_equal(got[1], error);
        assert_string_equal(got[2], cause);
        assert_int_equal(usage[0], wall);
        wire_message_done(&m);
        expect_nothing(p);
}

static void test_failures_are_told(void **state) {
        static const Failure failure = { SAND_ERROR_FUNCTION_FAILED, "no", "ValueError", "a stack" };
        Pair *p = *state;
        _cleanup_(event_freep) Event *e = accept_outside(p, nested(p, &(Arguments) {}));
        _cleanup_(event_freep) Event *inner = NULL;

        event_fail(e, &failure, &(Usage) { 7, 8, 9 });
        expect_failure(p, "org.sand.Error.FunctionFailed", "no", "ValueError", "a stack", 7);
        inner = accept_nested(p, nested(p, &(Arguments) {}), false);
        event_fail(inner, &failure, &(Usage) { 6, 8, 9 });
        expect_failure(p, "org.sand.Error.FunctionFailed", "no", "ValueError", "a stack", 6);
}

static void test_failures_have_a_class(void **state) {
        static const Failure failure = { .kind = SAND_ERROR_BUSY, .message = "full" };
        Pair *p = *state;
        _cleanup_(event_freep) Event *e = accept_outside(p, nested(p, &(Arguments) {}));

        event_fail(e, &failure, NULL);
        expect_failure(p, "org.sand.Error.Busy", "full", "Busy", "", 0);
}

static void expect_result(Pair *p, const void *data, size_t size, bool memfd) {
        WireMessage m = receive_at(&p->theirs);
        WirePayload found;
        const char *type;
        uint64_t usage[3];
        WireReader in;

        assert_int_equal(m.type, WIRE_REPLY);
        assert_int_equal(m.reply_serial, p->theirs.serial);
        assert_string_equal(m.signature, SAND_REPLY_FULL_SIGNATURE);
        assert_int_equal(m.n_fds, memfd);
        wire_reader_init(&in, &m);
        assert_int_equal(wire_read_string(&in, &type), 0);
        assert_int_equal(wire_read_align(&in, 8), 0);
        for (unsigned i = 0; i < 3; i++) {
                assert_int_equal(wire_read_u64(&in, usage + i), 0);
                assert_int_equal(usage[i], i + 1);
        }
        assert_int_equal(wire_read_payload(&in, SAND_PAYLOAD_HARD_MAX, &found), 0);
        assert_int_equal(wire_read_end(&in), 0);
        assert_string_equal(type, "text/plain");
        assert_int_equal(found.size, size);
        assert_memory_equal(found.data, data, size);
        wire_payload_done(&found);
        wire_message_done(&m);
        expect_nothing(p);
}

/* As bytes and as a memfd; and bytes of which a memfd is to be made. */
static void test_results_are_forwarded(void **state) {
        static const uint8_t large[SAND_MEMFD_THRESHOLD] = { 1, 2, 3 };
        int fd = memfd_new_sealed("result", "sealed", 6);
        const Payload results[] = {
                { .data = "a\0b", .size = 3, .fd = -EBADF },
                { .size = 6, .fd = fd },
                { .data = large, .size = sizeof(large), .fd = -EBADF },
        };
        Pair *p = *state;

        for (unsigned i = 0; i < ELEMENTSOF(results); i++) {
                _cleanup_(event_freep) Event *e = accept_nested(p, nested(p, &(Arguments) {}), false);

                event_forward(e, "text/plain", &(Usage) { 1, 2, 3 }, results + i);
                expect_result(p, i == 1 ? "sealed" : results[i].data, results[i].size, i > 0);
        }
        (void) close(fd);
}

/* What cannot be sent is answered all the same: this type is longer than a message's head may be. */
static void test_results_that_cannot_pass(void **state) {
        _cleanup_(freep) char *type = calloc(1, WIRE_HEADER_MAX + 1);
        Payload result = PAYLOAD_EMPTY;
        Pair *p = *state;
        _cleanup_(event_freep) Event *e = accept_nested(p, nested(p, &(Arguments) {}), false);

        memset(type, 't', WIRE_HEADER_MAX);
        result.data = "";
        event_forward(e, type, &(Usage) { 1, 2, 3 }, &result);
        expect_failure(p, "org.sand.Error.Unavailable", "cannot pass the result on", "Unavailable", "", 1);
}

/* Nor is a failure lost whose words are as long. */
static void test_failures_that_cannot_pass(void **state) {
        _cleanup_(freep) char *text = calloc(1, WIRE_HEADER_MAX + 1);
        Pair *p = *state;
        _cleanup_(event_freep) Event *e = accept_nested(p, nested(p, &(Arguments) {}), false);

        memset(text, 't', WIRE_HEADER_MAX);
        event_fail(e, &(Failure) { SAND_ERROR_FUNCTION_FAILED, "no", "ValueError", text }, &(Usage) { 7, 8, 9 });
        expect_failure(p, "org.sand.Error.FunctionFailed", "the error's text is too long to be passed on",
                              "FunctionFailed", "", 7);
}

static void test_sends_are_answered_once(void **state) {
        Pair *p = *state;
        _cleanup_(event_freep) Event *e = accept_nested(p, nested(p, &(Arguments) {}), true);
        Payload result = PAYLOAD_EMPTY;
        const char *execution;
        WireMessage m;
        WireReader in;

        event_acknowledge(e);
        event_acknowledge(e);
        event_forward(e, "", &(Usage) {}, &result);
        event_fail(e, &(Failure) { .kind = SAND_ERROR_TIMEOUT, .message = "late" }, NULL);

        m = receive_at(&p->theirs);
        assert_int_equal(m.type, WIRE_REPLY);
        assert_int_equal(m.reply_serial, p->theirs.serial);
        assert_string_equal(m.signature, "s");
        wire_reader_init(&in, &m);
        assert_int_equal(wire_read_string(&in, &execution), 0);
        assert_string_equal(execution, EXECUTION);
        wire_message_done(&m);
        expect_nothing(p);
        assert_int_equal(p->n_changed, 0);
}

/* One that is never queued: its sender is told. */
static void test_sends_can_fail(void **state) {
        Pair *p = *state;
        _cleanup_(event_freep) Event *e = accept_nested(p, nested(p, &(Arguments) {}), true);

        event_fail(e, &(Failure) { .kind = SAND_ERROR_NOT_FOUND, .message = "none" }, NULL);
        expect_failure(p, "org.sand.Error.NotFound", "none", "NotFound", "", 0);
        assert_int_equal(p->n_changed, 0);
}

static void test_calls_are_not_acknowledged(void **state) {
        Pair *p = *state;
        _cleanup_(event_freep) Event *e = accept_outside(p, nested(p, &(Arguments) {}));
        _cleanup_(event_freep) Event *inner = accept_nested(p, nested(p, &(Arguments) {}), false);

        event_acknowledge(e);
        event_acknowledge(inner);
        expect_nothing(p);
        assert_ptr_equal(e->caller, &p->outside);
        assert_ptr_equal(inner->caller, &p->caller);
}

/* Whoever wants no answer gets none, of any kind. */
static void test_silence_is_kept(void **state) {
        Payload result = { .data = "", .fd = -EBADF };
        Pair *p = *state;

        for (unsigned i = 0; i < 3; i++) {
                WireMessage m = nested(p, &(Arguments) {});
                Event *e;

                m.no_reply = true;
                e = accept_nested(p, m, i == 0);
                if (i == 0)
                        event_acknowledge(e);
                else if (i == 1)
                        event_forward(e, "", &(Usage) {}, &result);
                else
                        event_fail(e, &(Failure) { .kind = SAND_ERROR_BUSY, .message = "full" }, NULL);
                expect_nothing(p);
                event_free(e);
        }
        assert_null(p->caller.calls);
}

static void test_instances_get_all_of_it(void **state) {
        static const char *const names[] = { "traceparent", "caller" };
        Pair *p = *state;
        _cleanup_(event_freep) Event *e = accept_outside(
                p, nested(p, &(Arguments) { "f", EXECUTION, 5, { names[0], TRACE, names[1], "x" } }));
        const char *execution, *invocation, *type, **headers = NULL;
        WirePayload payload;
        uint64_t deadline;
        uint32_t serial;
        WireReader in;
        WireMessage m;
        size_t n;

        assert_int_equal(event_hand_over(e, &p->ours, 99, &serial), 0);
        m = receive_at(&p->theirs);
        assert_true(wire_message_is_call(&m, SAND_INSTANCE_INTERFACE, "Handle", SAND_HANDLE_FULL_SIGNATURE));
        assert_string_equal(m.path, SAND_INSTANCE_PATH);
        assert_int_equal(m.serial, serial);
        wire_reader_init(&in, &m);
        assert_int_equal(wire_read_string(&in, &execution), 0);
        assert_int_equal(wire_read_string(&in, &invocation), 0);
        assert_int_equal(wire_read_u64(&in, &deadline), 0);
        assert_int_equal(wire_read_string(&in, &type), 0);
        assert_int_equal(wire_read_headers(&in, &headers, &n), 0);
        assert_int_equal(wire_read_payload(&in, 100, &payload), 0);
        assert_int_equal(wire_read_end(&in), 0);
        assert_string_equal(execution, EXECUTION);
        assert_string_equal(invocation, e->invocation);
        assert_int_equal(deadline, 99);
        assert_string_equal(type, "application/json");
        assert_int_equal(n, ELEMENTSOF(names));
        for (unsigned i = 0; i < ELEMENTSOF(names); i++) {
                assert_string_equal(headers[2 * i], names[i]);
                assert_string_equal(headers[2 * i + 1], i == 0 ? TRACE : "x");
        }
        assert_int_equal(payload.size, 2);
        assert_memory_equal(payload.data, "{}", 2);
        free(headers);
        wire_payload_done(&payload);
        wire_message_done(&m);
}

static void test_instances_get_memfds(void **state) {
        int fd = memfd_of(10, ALL_SEALS);
        Pair *p = *state;
        _cleanup_(event_freep) Event *outside = accept_outside(p, nested_fd(p, fd));
        _cleanup_(event_freep) Event *inside = accept_nested(p, nested_fd(p, fd), false);
        const Event *events[] = { outside, inside };
        uint32_t serial;
        WireMessage m;
        size_t size;

        (void) close(fd);
        for (unsigned i = 0; i < ELEMENTSOF(events); i++) {
                assert_int_equal(event_hand_over(events[i], &p->ours, 0, &serial), 0);
                m = receive_at(&p->theirs);
                assert_int_equal(m.n_fds, 1);
                assert_int_equal(wire_memfd_check(m.fds[0], &size), 0);
                assert_int_equal(size, 10);
                wire_message_done(&m);
        }
}

static void test_callers_may_leave(void **state) {
        Pair *p = *state;
        _cleanup_(event_freep) Event *call = accept_outside(p, nested(p, &(Arguments) {}));

        assert_false(event_is_abandoned(call));
        caller_done(&p->outside);
        assert_true(event_is_abandoned(call));
        event_fail(call, &(Failure) { .kind = SAND_ERROR_TIMEOUT, .message = "late" }, NULL);
        expect_nothing(p);
}

/* Who waits. */

static void test_waiting_is_told(void **state) {
        static const Failure failure = { .kind = SAND_ERROR_BUSY, .message = "full" };
        Payload result = { .data = "", .fd = -EBADF };
        Pair *p = *state;
        Event *e[4];

        /* When the first call begins, not for the further ones. */
        for (unsigned i = 0; i < ELEMENTSOF(e); i++) {
                e[i] = accept_nested(p, nested(p, &(Arguments) {}), false);
                assert_int_equal(p->n_changed, 1);
                assert_non_null(p->caller.calls);
        }
        /* In any order; the one that is freed without an answer waits no more, either. */
        event_fail(e[1], &failure, NULL);
        event_forward(e[3], "", &(Usage) {}, &result);
        event_free(e[0]);
        assert_int_equal(p->n_changed, 1);
        assert_ptr_equal(p->caller.calls, e[2]);
        for (unsigned i = 0; i < 2; i++) {
                WireMessage m = receive_at(&p->theirs);
                assert_int_equal(m.reply_serial, i == 0 ? 2 : 4);
                wire_message_done(&m);
        }
        /* Right before the last answer: on_changed() sees that it is not there yet. */
        event_forward(e[2], "", &(Usage) {}, &result);
        assert_int_equal(p->n_changed, 2);
        assert_null(p->caller.calls);
        wire_message_done(&(WireMessage[]) { receive_at(&p->theirs) }[0]);

        for (unsigned i = 1; i < ELEMENTSOF(e); i++)
                event_free(e[i]);
        assert_int_equal(p->n_changed, 2);
        expect_nothing(p);

        /* And again. */
        event_free(accept_nested(p, nested(p, &(Arguments) {}), false));
        assert_int_equal(p->n_changed, 4);
}

/* The instance is gone, with its wire, while others work for it. */
static void test_answers_to_nobody(void **state) {
        static const Failure failure = { .kind = SAND_ERROR_BUSY, .message = "full" };
        Payload result = { .data = "", .fd = -EBADF };
        Pair *p = *state;
        Event *e[4];

        for (unsigned i = 0; i < ELEMENTSOF(e); i++)
                e[i] = accept_nested(p, nested(p, &(Arguments) {}), i == 3);
        event_acknowledge(e[3]);
        wire_message_done(&(WireMessage[]) { receive_at(&p->theirs) }[0]);
        for (unsigned i = 0; i < ELEMENTSOF(e); i++)
                assert_false(event_is_abandoned(e[i]));

        caller_done(&p->caller);
        assert_null(p->caller.calls);
        assert_null(p->caller.event);
        p->caller.wire = NULL; /* would be seen */
        for (unsigned i = 0; i < ELEMENTSOF(e); i++)
                assert_true(event_is_abandoned(e[i]) == (i != 3)); /* what was sent is served all the same */
        event_fail(e[1], &failure, NULL);
        event_forward(e[0], "", &(Usage) {}, &result);
        event_forward(e[3], "", &(Usage) {}, &result);
        for (unsigned i = 0; i < ELEMENTSOF(e); i++)
                event_free(e[i]);
        expect_nothing(p);
        assert_int_equal(p->n_changed, 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_whole, setup, teardown),
                cmocka_unit_test_setup_teardown(test_ids_are_made, setup, teardown),
                cmocka_unit_test_setup_teardown(test_execution_ids_are_checked, setup, teardown),
                cmocka_unit_test_setup_teardown(test_nested_calls_inherit, setup, teardown),
                cmocka_unit_test_setup_teardown(test_nested_deadlines_only_shrink, setup, teardown),
                cmocka_unit_test_setup_teardown(test_own_trace_is_kept, setup, teardown),
                cmocka_unit_test_setup_teardown(test_nesting_ends, setup, teardown),
                cmocka_unit_test_setup_teardown(test_arguments_are_checked, setup, teardown),
                cmocka_unit_test_setup_teardown(test_headers_are_bounded, setup, teardown),
                cmocka_unit_test_setup_teardown(test_payloads_are_checked, setup, teardown),
                cmocka_unit_test_setup_teardown(test_memfds_are_taken, setup, teardown),
                cmocka_unit_test_setup_teardown(test_failures_are_told, setup, teardown),
                cmocka_unit_test_setup_teardown(test_failures_have_a_class, setup, teardown),
                cmocka_unit_test_setup_teardown(test_results_are_forwarded, setup, teardown),
                cmocka_unit_test_setup_teardown(test_results_that_cannot_pass, setup, teardown),
                cmocka_unit_test_setup_teardown(test_failures_that_cannot_pass, setup, teardown),
                cmocka_unit_test_setup_teardown(test_sends_are_answered_once, setup, teardown),
                cmocka_unit_test_setup_teardown(test_sends_can_fail, setup, teardown),
                cmocka_unit_test_setup_teardown(test_calls_are_not_acknowledged, setup, teardown),
                cmocka_unit_test_setup_teardown(test_silence_is_kept, setup, teardown),
                cmocka_unit_test_setup_teardown(test_instances_get_all_of_it, setup, teardown),
                cmocka_unit_test_setup_teardown(test_instances_get_memfds, setup, teardown),
                cmocka_unit_test_setup_teardown(test_callers_may_leave, setup, teardown),
                cmocka_unit_test_setup_teardown(test_waiting_is_told, setup, teardown),
                cmocka_unit_test_setup_teardown(test_answers_to_nobody, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
