/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* event.c between two real sd-bus connections: what is read out of a caller's message, what is refused and with
 * which words, what a nested call inherits, and what callers and instances are sent. */

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

#define EXECUTION "0123456789abcdef0123456789abcdef"
#define TRACE "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

typedef struct Pair {
        sd_bus *client, *server;
        sd_bus_message *received; /* by the server */
        sd_bus_message *reply;    /* to the client */
        unsigned n_replies;
} Pair;

DEFINE_POINTER_CLEANUP(Event *, event_free);

static int on_received(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Pair *p = userdata;

        if (!sd_bus_message_is_method_call(m, NULL, NULL))
                return 0;
        sd_bus_message_unref(p->received);
        p->received = sd_bus_message_ref(m);
        return 1;
}

static int on_reply(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Pair *p = userdata;

        sd_bus_message_unref(p->reply);
        p->reply = sd_bus_message_ref(m);
        p->n_replies++;
        return 1;
}

/* Of a call that has its reply already sd-bus shows any more to filters alone. */
static int on_more(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Pair *p = userdata;

        p->n_replies++;
        return 0;
}

/* Whatever there is to do on both sides. */
static void settle(Pair *p) {
        unsigned idle = 0;

        while (idle < 3) {
                int r = sd_bus_process(p->client, NULL), q = sd_bus_process(p->server, NULL);
                idle = r > 0 || q > 0 ? 0 : idle + 1;
        }
}

static int setup(void **state) {
        Pair *p = calloc(1, sizeof(Pair));
        sd_id128_t id;
        int fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        assert_int_equal(sd_id128_randomize(&id), 0);
        sd_bus **buses[] = { &p->client, &p->server };
        for (unsigned i = 0; i < ELEMENTSOF(buses); i++) {
                assert_true(sd_bus_new(buses[i]) >= 0);
                assert_true(sd_bus_set_fd(*buses[i], fds[i], fds[i]) >= 0);
                assert_true(sd_bus_set_anonymous(*buses[i], true) >= 0);
                assert_true(sd_bus_negotiate_fds(*buses[i], true) >= 0);
        }
        assert_true(sd_bus_set_server(p->server, true, id) >= 0);
        assert_true(sd_bus_start(p->server) >= 0);
        assert_true(sd_bus_start(p->client) >= 0);
        assert_true(sd_bus_add_filter(p->server, NULL, on_received, p) >= 0);
        assert_true(sd_bus_add_filter(p->client, NULL, on_more, p) >= 0);
        settle(p);
        *state = p;
        return 0;
}

static int teardown(void **state) {
        Pair *p = *state;

        sd_bus_message_unref(p->received);
        sd_bus_message_unref(p->reply);
        sd_bus_close_unref(p->client);
        sd_bus_close_unref(p->server);
        free(p);
        return 0;
}

static sd_bus_message *call_new(Pair *p) {
        sd_bus_message *m = NULL;

        assert_true(sd_bus_message_new_method_call(p->client, &m, NULL, SAND_APP_PATH, SAND_APP_INTERFACE, "Invoke") >= 0);
        return m;
}

/* Sends it and gives it back as the server sees it, owned by the pair. Takes `m`. */
static sd_bus_message *transfer(Pair *p, sd_bus_message *m) {
        p->received = sd_bus_message_unref(p->received);
        assert_true(sd_bus_call_async(p->client, NULL, m, on_reply, p, UINT64_MAX) >= 0);
        sd_bus_message_unref(m);
        settle(p);
        assert_non_null(p->received);
        return p->received;
}

typedef struct Arguments {
        const char *target, *execution;
        uint64_t deadline;
        const char *headers[5]; /* key, value, ... */
} Arguments;

static sd_bus_message *call_begin(Pair *p, const Arguments *a) {
        sd_bus_message *m = call_new(p);

        assert_true(sd_bus_message_append(m, SAND_INVOKE_SIGNATURE, a->target ?: "f", strempty(a->execution), a->deadline,
                                          "application/json") >= 0);
        assert_true(sd_bus_message_open_container(m, 'a', "{ss}") >= 0);
        for (unsigned i = 0; a->headers[i]; i += 2)
                assert_true(sd_bus_message_append(m, "{ss}", a->headers[i], a->headers[i + 1]) >= 0);
        assert_true(sd_bus_message_close_container(m) >= 0);
        return m;
}

static sd_bus_message *invoke(Pair *p, const Arguments *a) {
        sd_bus_message *m = call_begin(p, a);

        assert_true(payload_append_bytes(m, "{}", 2) >= 0);
        return transfer(p, m);
}

static sd_bus_message *invoke_fd(Pair *p, int fd) {
        sd_bus_message *m = call_begin(p, &(Arguments) {});

        assert_true(sd_bus_message_append(m, "v", "h", fd) >= 0);
        return transfer(p, m);
}

static int memfd_of(uint64_t size, int seals) {
        int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, (off_t) size), 0);
        assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
        return fd;
}

#define ALL_SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static Event *accept_event(sd_bus_message *m, const Event *parent, bool oneway) {
        Failure failure = {};
        Event *e = NULL;
        int r = event_new(m, parent, oneway, &e, &failure);

        if (r < 0)
                fail_msg("refused: %s", failure.message);
        return e;
}

static void refuse_event(sd_bus_message *m, const Event *parent, SandError kind, const char *message) {
        Failure failure = {};
        Event *e = NULL;

        assert_true(event_new(m, parent, false, &e, &failure) < 0);
        assert_null(e);
        assert_int_equal(failure.kind, kind);
        assert_string_equal(failure.message, message);
        assert_null(failure.error);
}

static void test_whole(void **state) {
        uint64_t before = now_usec();
        _cleanup_(event_freep) Event *e = accept_event(
                invoke(*state, &(Arguments) { "resize", EXECUTION, 12345, { "traceparent", TRACE, "caller", "x" } }), NULL, false);

        assert_string_equal(e->target, "resize");
        assert_string_equal(e->execution, EXECUTION);
        assert_true(id_is_valid(e->invocation));
        assert_string_not_equal(e->invocation, EXECUTION);
        assert_int_equal(e->deadline, 12345);
        assert_string_equal(e->content_type, "application/json");
        assert_int_equal(strv_length(e->headers), 4);
        assert_string_equal(e->headers[1], TRACE);
        assert_string_equal(e->headers[2], "caller");
        assert_int_equal(e->payload.size, 2);
        assert_memory_equal(e->payload.data, "{}", 2);
        assert_true(e->payload.fd < 0);
        assert_true(e->accepted_usec >= before && e->accepted_usec <= now_usec());
        assert_int_equal(e->depth, 0);
        assert_false(e->oneway);
        assert_false(e->answered);
}

static void test_ids_are_made(void **state) {
        char seen[300][EVENT_ID_LENGTH + 1];

        for (unsigned i = 0; i < ELEMENTSOF(seen); i++) {
                id_make(seen[i]);
                assert_true(id_is_valid(seen[i]));
                for (unsigned j = 0; j < i; j++)
                        assert_string_not_equal(seen[i], seen[j]);
        }
        _cleanup_(event_freep) Event *e = accept_event(invoke(*state, &(Arguments) {}), NULL, false);
        assert_true(id_is_valid(e->execution));
        assert_true(id_is_valid(e->invocation));
        assert_string_not_equal(e->execution, e->invocation);
}

static void test_execution_ids_are_checked(void **state) {
        static const char *const bad[] = {
                "x", "0123456789abcdef0123456789abcde", EXECUTION "0", "0123456789ABCDEF0123456789ABCDEF",
                "0123456789abcdef-123456789abcdef", "../../../../../../../../etc/pass",
        };
        for (unsigned i = 0; i < ELEMENTSOF(bad); i++)
                refuse_event(invoke(*state, &(Arguments) { .execution = bad[i] }), NULL, SAND_ERROR_BAD_REQUEST,
                             "malformed execution id: expected 32 lower-case hex digits");
}

static void test_arguments_are_checked(void **state) {
        static const char message[] = "malformed event: expected the arguments sstsa{ss}v";
        sd_bus_message *m = call_new(*state);

        refuse_event(transfer(*state, m), NULL, SAND_ERROR_BAD_REQUEST, message);

        m = call_new(*state);
        assert_true(sd_bus_message_append(m, "sst", "f", "", UINT64_C(0)) >= 0);
        refuse_event(transfer(*state, m), NULL, SAND_ERROR_BAD_REQUEST, message);

        m = call_new(*state);
        assert_true(sd_bus_message_append(m, "ssus", "f", "", 0U, "") >= 0);
        refuse_event(transfer(*state, m), NULL, SAND_ERROR_BAD_REQUEST, message);
}

static const char headers_message[] = "malformed event headers: expected at most 32 pairs of 8 KiB in all";

static sd_bus_message *invoke_headers(Pair *p, unsigned n, size_t value_size) {
        _cleanup_(freep) char *value = calloc(1, value_size + 1);
        sd_bus_message *m = call_new(p);

        memset(value, 'v', value_size);
        assert_true(sd_bus_message_append(m, SAND_INVOKE_SIGNATURE, "f", "", UINT64_C(0), "") >= 0);
        assert_true(sd_bus_message_open_container(m, 'a', "{ss}") >= 0);
        for (unsigned i = 0; i < n; i++)
                assert_true(sd_bus_message_append(m, "{ss}", "key", value) >= 0);
        assert_true(sd_bus_message_close_container(m) >= 0);
        assert_true(payload_append_bytes(m, "", 0) >= 0);
        return transfer(p, m);
}

static void test_headers_are_bounded(void **state) {
        Event *e;

        e = accept_event(invoke_headers(*state, EVENT_HEADERS_MAX, 1), NULL, false);
        assert_int_equal(strv_length(e->headers), 2 * EVENT_HEADERS_MAX);
        event_free(e);
        refuse_event(invoke_headers(*state, EVENT_HEADERS_MAX + 1, 1), NULL, SAND_ERROR_BAD_REQUEST, headers_message);

        e = accept_event(invoke_headers(*state, 1, EVENT_HEADERS_BYTES_MAX - strlen("key")), NULL, false);
        event_free(e);
        refuse_event(invoke_headers(*state, 1, EVENT_HEADERS_BYTES_MAX - strlen("key") + 1), NULL, SAND_ERROR_BAD_REQUEST,
                     headers_message);
}

static void test_headers_are_pairs(void **state) {
        sd_bus_message *m = call_new(*state);

        assert_true(sd_bus_message_append(m, SAND_INVOKE_SIGNATURE "as", "f", "", UINT64_C(0), "", 1, "key") >= 0);
        assert_true(payload_append_bytes(m, "", 0) >= 0);
        refuse_event(transfer(*state, m), NULL, SAND_ERROR_BAD_REQUEST, headers_message);
}

static void test_payloads_are_bytes_or_descriptors(void **state) {
        static const char message[] = "malformed payload: expected a variant of ay, or of h with a sealed memfd";
        sd_bus_message *m;
        int fds[2];

        m = call_begin(*state, &(Arguments) {});
        assert_true(sd_bus_message_append(m, "v", "s", "{}") >= 0);
        refuse_event(transfer(*state, m), NULL, SAND_ERROR_BAD_REQUEST, message);

        m = call_begin(*state, &(Arguments) {});
        assert_true(sd_bus_message_append_array(m, 'y', "{}", 2) >= 0);
        refuse_event(transfer(*state, m), NULL, SAND_ERROR_BAD_REQUEST, message);

        m = call_begin(*state, &(Arguments) {});
        refuse_event(transfer(*state, m), NULL, SAND_ERROR_BAD_REQUEST, message);

        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        refuse_event(invoke_fd(*state, fds[0]), NULL, SAND_ERROR_BAD_REQUEST, message);
        (void) close(fds[0]);
        (void) close(fds[1]);
}

static void test_memfds_are_sealed(void **state) {
        static const int lacking[] = { F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE };
        Event *e;
        int fd;

        for (unsigned i = 0; i < ELEMENTSOF(lacking); i++) {
                fd = memfd_of(10, ALL_SEALS & ~lacking[i]);
                refuse_event(invoke_fd(*state, fd), NULL, SAND_ERROR_BAD_REQUEST, "the payload's memfd is not sealed");
                (void) close(fd);
        }
        fd = memfd_of(10, ALL_SEALS);
        e = accept_event(invoke_fd(*state, fd), NULL, false);
        assert_int_equal(e->payload.size, 10);
        assert_true(e->payload.fd >= 0 && e->payload.fd != fd);
        event_free(e);
        (void) close(fd);
}

static void test_payloads_are_bounded(void **state) {
        int fd = memfd_of(SAND_PAYLOAD_HARD_MAX + 1, ALL_SEALS);
        Event *e;

        refuse_event(invoke_fd(*state, fd), NULL, SAND_ERROR_TOO_LARGE, "the payload is larger than 64 MiB");
        (void) close(fd);
        fd = memfd_of(SAND_PAYLOAD_HARD_MAX, ALL_SEALS);
        e = accept_event(invoke_fd(*state, fd), NULL, false);
        assert_int_equal(e->payload.size, SAND_PAYLOAD_HARD_MAX);
        event_free(e);
        (void) close(fd);
}

static const Event parent = {
        .execution = EXECUTION,
        .invocation = "fedcba9876543210fedcba9876543210",
        .headers = (char *[]) { (char *) "caller", (char *) "outside", (char *) "traceparent", (char *) TRACE, NULL },
        .deadline = 1000,
        .depth = 3,
};

static void test_nested_calls_inherit(void **state) {
        /* What an instance says of its execution is not heard, whatever it is. */
        _cleanup_(event_freep) Event *e = accept_event(
                invoke(*state, &(Arguments) { .execution = "x", .headers = { "caller", "inside" } }), &parent, false);

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
        for (unsigned i = 0; i < ELEMENTSOF(rows); i++) {
                Event p = parent, *e;
                p.deadline = rows[i].parents;
                e = accept_event(invoke(*state, &(Arguments) { .deadline = rows[i].own }), &p, rows[i].oneway);
                assert_int_equal(e->deadline, rows[i].expected);
                event_free(e);
        }
}

static void test_own_trace_is_kept(void **state) {
        _cleanup_(event_freep) Event *e = accept_event(
                invoke(*state, &(Arguments) { .headers = { "traceparent", "00-1-2-01" } }), &parent, false);

        assert_int_equal(strv_length(e->headers), 2);
        assert_string_equal(e->headers[1], "00-1-2-01");
}

static void test_nesting_ends(void **state) {
        Event p = parent, *e;

        p.depth = EVENT_DEPTH_MAX - 1;
        e = accept_event(invoke(*state, &(Arguments) {}), &p, false);
        assert_int_equal(e->depth, EVENT_DEPTH_MAX);
        event_free(e);
        p.depth = EVENT_DEPTH_MAX;
        refuse_event(invoke(*state, &(Arguments) {}), &p, SAND_ERROR_BAD_REQUEST, "calls are nested more than 32 deep");
}

static void expect_failure(Pair *p, const char *name, const char *message, const char *error, const char *cause,
                           uint64_t wall) {
        const char *m, *e, *c;
        uint64_t w, cpu, peak;

        settle(p);
        assert_int_equal(p->n_replies, 1);
        assert_true(sd_bus_message_is_method_error(p->reply, name));
        assert_true(sd_bus_message_read(p->reply, SAND_ERROR_FULL_SIGNATURE, &m, &e, &c, &w, &cpu, &peak) > 0);
        assert_string_equal(m, message);
        assert_string_equal(e, error);
        assert_string_equal(c, cause);
        assert_int_equal(w, wall);
}

static void test_failures_are_told(void **state) {
        _cleanup_(event_freep) Event *e = accept_event(invoke(*state, &(Arguments) {}), NULL, false);

        event_fail(e, &(Failure) { SAND_ERROR_FUNCTION_FAILED, "no", "ValueError", "a stack" }, &(Usage) { 7, 8, 9 });
        expect_failure(*state, "org.sand.Error.FunctionFailed", "no", "ValueError", "a stack", 7);
}

static void test_failures_have_a_class(void **state) {
        _cleanup_(event_freep) Event *e = accept_event(invoke(*state, &(Arguments) {}), NULL, false);

        event_fail(e, &(Failure) { .kind = SAND_ERROR_BUSY, .message = "full" }, NULL);
        expect_failure(*state, "org.sand.Error.Busy", "full", "Busy", "", 0);
}

static void test_results_are_forwarded(void **state) {
        _cleanup_(event_freep) Event *e = accept_event(invoke(*state, &(Arguments) {}), NULL, false);
        Pair *p = *state;
        Payload result = { .data = "a\0b", .size = 3, .fd = -EBADF }, found;
        const char *type;
        uint64_t wall, cpu, peak;

        event_forward(e, NULL, "text/plain", &(Usage) { 1, 2, 3 }, &result);
        settle(p);
        assert_int_equal(p->n_replies, 1);
        assert_string_equal(sd_bus_message_get_signature(p->reply, true), SAND_REPLY_FULL_SIGNATURE);
        assert_true(sd_bus_message_read(p->reply, "s(ttt)", &type, &wall, &cpu, &peak) > 0);
        assert_string_equal(type, "text/plain");
        assert_true(wall == 1 && cpu == 2 && peak == 3);
        assert_int_equal(payload_read(p->reply, 3, &found), 0);
        assert_int_equal(found.size, 3);
        assert_memory_equal(found.data, "a\0b", 3);
        payload_done(&found);
}

static void test_sends_are_answered_once(void **state) {
        _cleanup_(event_freep) Event *e = accept_event(invoke(*state, &(Arguments) { .execution = EXECUTION }), NULL, true);
        Payload result = PAYLOAD_EMPTY;
        Pair *p = *state;
        const char *execution;

        event_acknowledge(e);
        event_acknowledge(e);
        event_forward(e, NULL, "", &(Usage) {}, &result);
        event_fail(e, &(Failure) { .kind = SAND_ERROR_TIMEOUT, .message = "late" }, NULL);
        settle(p);
        assert_int_equal(p->n_replies, 1);
        assert_true(sd_bus_message_read(p->reply, "s", &execution) > 0);
        assert_string_equal(execution, EXECUTION);
}

/* One that is never queued: its sender is told. */
static void test_sends_can_fail(void **state) {
        _cleanup_(event_freep) Event *e = accept_event(invoke(*state, &(Arguments) {}), NULL, true);

        event_fail(e, &(Failure) { .kind = SAND_ERROR_NOT_FOUND, .message = "none" }, NULL);
        expect_failure(*state, "org.sand.Error.NotFound", "none", "NotFound", "", 0);
}

static void test_calls_are_not_acknowledged(void **state) {
        _cleanup_(event_freep) Event *e = accept_event(invoke(*state, &(Arguments) {}), NULL, false);
        Pair *p = *state;

        event_acknowledge(e);
        settle(p);
        assert_int_equal(p->n_replies, 0);
}

static void test_instances_get_all_of_it(void **state) {
        static const char *const names[] = { "traceparent", "caller" };
        _cleanup_(event_freep) Event *e = accept_event(
                invoke(*state, &(Arguments) { "f", EXECUTION, 5, { names[0], TRACE, names[1], "x" } }), NULL, false);
        const char *execution, *invocation, *type, *key, *value;
        Pair *p = *state;
        sd_bus_message *m;
        uint64_t deadline;
        Payload payload;

        assert_true(event_to_handle(e, p->client, 99, &m) >= 0);
        m = transfer(p, m);
        assert_true(sd_bus_message_is_method_call(m, SAND_INSTANCE_INTERFACE, "Handle"));
        assert_string_equal(sd_bus_message_get_signature(m, true), SAND_HANDLE_FULL_SIGNATURE);
        assert_true(sd_bus_message_read(m, "ssts", &execution, &invocation, &deadline, &type) > 0);
        assert_string_equal(execution, EXECUTION);
        assert_string_equal(invocation, e->invocation);
        assert_int_equal(deadline, 99);
        assert_string_equal(type, "application/json");
        assert_true(sd_bus_message_enter_container(m, 'a', "{ss}") > 0);
        for (unsigned i = 0; i < ELEMENTSOF(names); i++) {
                assert_true(sd_bus_message_read(m, "{ss}", &key, &value) > 0);
                assert_string_equal(key, names[i]);
                assert_string_equal(value, i == 0 ? TRACE : "x");
        }
        assert_true(sd_bus_message_exit_container(m) >= 0);
        assert_int_equal(payload_read(m, 100, &payload), 0);
        assert_int_equal(payload.size, 2);
        payload_done(&payload);
}

static void test_callers_may_leave(void **state) {
        Pair *p = *state;
        _cleanup_(event_freep) Event *call = accept_event(invoke(p, &(Arguments) {}), NULL, false);
        _cleanup_(event_freep) Event *sent = accept_event(invoke(p, &(Arguments) {}), NULL, true);

        assert_false(event_is_abandoned(call));
        sd_bus_close(p->client);
        for (unsigned i = 0; i < 10; i++)
                (void) sd_bus_process(p->server, NULL);
        assert_true(event_is_abandoned(call));
        assert_false(event_is_abandoned(sent));
        event_fail(call, &(Failure) { .kind = SAND_ERROR_TIMEOUT, .message = "late" }, NULL);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_whole, setup, teardown),
                cmocka_unit_test_setup_teardown(test_ids_are_made, setup, teardown),
                cmocka_unit_test_setup_teardown(test_execution_ids_are_checked, setup, teardown),
                cmocka_unit_test_setup_teardown(test_arguments_are_checked, setup, teardown),
                cmocka_unit_test_setup_teardown(test_headers_are_bounded, setup, teardown),
                cmocka_unit_test_setup_teardown(test_headers_are_pairs, setup, teardown),
                cmocka_unit_test_setup_teardown(test_payloads_are_bytes_or_descriptors, setup, teardown),
                cmocka_unit_test_setup_teardown(test_memfds_are_sealed, setup, teardown),
                cmocka_unit_test_setup_teardown(test_payloads_are_bounded, setup, teardown),
                cmocka_unit_test_setup_teardown(test_nested_calls_inherit, setup, teardown),
                cmocka_unit_test_setup_teardown(test_nested_deadlines_only_shrink, setup, teardown),
                cmocka_unit_test_setup_teardown(test_own_trace_is_kept, setup, teardown),
                cmocka_unit_test_setup_teardown(test_nesting_ends, setup, teardown),
                cmocka_unit_test_setup_teardown(test_failures_are_told, setup, teardown),
                cmocka_unit_test_setup_teardown(test_failures_have_a_class, setup, teardown),
                cmocka_unit_test_setup_teardown(test_results_are_forwarded, setup, teardown),
                cmocka_unit_test_setup_teardown(test_sends_are_answered_once, setup, teardown),
                cmocka_unit_test_setup_teardown(test_sends_can_fail, setup, teardown),
                cmocka_unit_test_setup_teardown(test_calls_are_not_acknowledged, setup, teardown),
                cmocka_unit_test_setup_teardown(test_instances_get_all_of_it, setup, teardown),
                cmocka_unit_test_setup_teardown(test_callers_may_leave, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
