/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What callers of an application's socket meet, with sd-bus at their end: bus.c, app.c, event.c and hub.c. Of the
 * supervisor there is what they call: an event for `echo` is answered at once, any other waits. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

#include "../../daemons/supervisord/bus.h"
#include "macro.h"
#include "protocol.h"

#define LIMIT_USEC (10 * USEC_PER_SEC)
#define EVENTS_MAX 256U

typedef struct Fixture {
        Supervisor supervisor;
        struct sockaddr_un address;
        Event *waiting[EVENTS_MAX];
        unsigned n_waiting, n_events, n_stop_checks;
        size_t most_queued; /* bytes that the newest caller was answered and not yet sent */
} Fixture;

/* What they call. */

void supervisor_submit(Supervisor *s, Event *e) {
        Fixture *f = CONTAINER_OF(s, Fixture, supervisor);

        f->n_events++;
        if (streq(e->target, "echo")) {
                event_forward(e, e->content_type, &(Usage) { 1, 2, 3 }, &e->payload);
                event_free(e);
                f->most_queued = MAX(f->most_queued, s->connections->wire.queued);
                return;
        }
        assert_true(f->n_waiting < EVENTS_MAX);
        f->waiting[f->n_waiting++] = e;
}

json_object *supervisor_describe(Supervisor *s) {
        return json_object_new_string("described");
}

void supervisor_check_stop(Supervisor *s) {
        CONTAINER_OF(s, Fixture, supervisor)->n_stop_checks++;
}

void supervisor_note_activity(Supervisor *s) {
}

void supervisor_want_housekeeping(Supervisor *s) {
}

int control_serve(Connection *c) {
        return 0;
}

void control_connection_gone(Connection *c) {
}

/* The application's socket, and its callers. */

static int setup(void **state) {
        Fixture *f = calloc(1, sizeof(Fixture));
        int fd;

        assert_non_null(f);
        assert_true(sd_event_new(&f->supervisor.event) >= 0);
        assert_int_equal(hub_new(f->supervisor.event, bus_flush, &f->supervisor, &f->supervisor.hub), 0);
        id_make(f->supervisor.id);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(fd >= 0);
        f->address.sun_family = AF_UNIX;
        (void) snprintf(f->address.sun_path, sizeof(f->address.sun_path), "/tmp/sand-test-bus-%d.sock", (int) getpid());
        (void) unlink(f->address.sun_path);
        assert_int_equal(bind(fd, (struct sockaddr *) &f->address, sizeof(f->address)), 0);
        assert_int_equal(listen(fd, 100), 0);
        assert_int_equal(bus_listen(&f->supervisor, fd, &f->supervisor.listen[0]), 0);
        *state = f;
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;

        for (unsigned i = 0; i < f->n_waiting; i++)
                event_free(f->waiting[i]);
        while (f->supervisor.connections)
                connection_free(f->supervisor.connections);
        sd_event_source_disable_unref(f->supervisor.silent);
        sd_event_source_disable_unref(f->supervisor.listen[0]);
        hub_free(f->supervisor.hub);
        sd_event_unref(f->supervisor.event);
        (void) unlink(f->address.sun_path);
        free(f);
        return 0;
}

static void settle(Fixture *f) {
        while (sd_event_run(f->supervisor.event, 0) > 0)
                ;
}

static sd_bus *client_new(Fixture *f) {
        char address[sizeof(f->address.sun_path) + 16];
        sd_bus *bus;

        (void) snprintf(address, sizeof(address), "unix:path=%s", f->address.sun_path);
        assert_true(sd_bus_new(&bus) >= 0);
        assert_true(sd_bus_set_address(bus, address) >= 0);
        assert_true(sd_bus_start(bus) >= 0);
        for (unsigned i = 0; sd_bus_is_ready(bus) == 0; i++) {
                assert_true(i < 1000);
                settle(f);
                assert_true(sd_bus_process(bus, NULL) >= 0);
        }
        return bus;
}

static sd_bus_message *call_new(sd_bus *bus, const char *path, const char *interface, const char *member) {
        sd_bus_message *m = NULL;

        assert_true(sd_bus_message_new_method_call(bus, &m, NULL, path, interface, member) >= 0);
        return m;
}

static int on_reply(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        *(sd_bus_message **) userdata = sd_bus_message_ref(m);
        return 1;
}

/* What is answered; the caller's. Takes `m`. */
static sd_bus_message *call(Fixture *f, sd_bus *bus, sd_bus_message *m) {
        uint64_t start = now_usec();
        sd_bus_message *reply = NULL;

        assert_true(sd_bus_call_async(bus, NULL, m, on_reply, &reply, LIMIT_USEC) >= 0);
        sd_bus_message_unref(m);
        while (!reply) {
                assert_true(now_usec() < start + LIMIT_USEC);
                settle(f);
                assert_true(sd_bus_process(bus, NULL) >= 0);
        }
        return reply;
}

static void expect_error(Fixture *f, sd_bus *bus, sd_bus_message *m, const char *name) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = call(f, bus, m);

        assert_true(sd_bus_message_is_method_error(reply, NULL));
        assert_string_equal(sd_bus_message_get_error(reply)->name, name);
}

static void expect_text(Fixture *f, sd_bus *bus, sd_bus_message *m, const char *part) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = call(f, bus, m);
        const char *s;

        assert_false(sd_bus_message_is_method_error(reply, NULL));
        assert_true(sd_bus_message_read(reply, "s", &s) > 0);
        if (!strstr(s, part))
                fail_msg("'%s' is not in '%s'", part, s);
}

static sd_bus_message *invoke_new(sd_bus *bus, const char *target, const void *data, size_t size) {
        sd_bus_message *m = call_new(bus, SAND_APP_PATH, SAND_APP_INTERFACE, "Invoke");

        assert_true(sd_bus_message_append(m, "sstsa{ss}", target, "", UINT64_C(0), "text/plain", 1, "caller", "x") >= 0);
        assert_true(payload_append_bytes(m, data, size) >= 0);
        return m;
}

static void test_events_are_answered(void **state) {
        static uint8_t bytes[2 * SAND_MEMFD_THRESHOLD];
        static const size_t sizes[] = { 0, 5, 5000, 40000, SAND_MEMFD_THRESHOLD, sizeof(bytes) };
        Fixture *f = *state;
        sd_bus *bus = client_new(f);

        memset(bytes, 'b', sizeof(bytes));
        for (unsigned i = 0; i < ELEMENTSOF(sizes); i++) {
                _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
                uint64_t usage[3];
                const char *type;
                const void *data;
                void *mapping;
                Payload payload;

                reply = call(f, bus, invoke_new(bus, "echo", bytes, sizes[i]));
                assert_true(sd_bus_message_read(reply, "s(ttt)", &type, usage, usage + 1, usage + 2) > 0);
                assert_string_equal(type, "text/plain");
                assert_int_equal(payload_read(reply, UINT64_MAX, &payload), 0);
                assert_int_equal(payload_map(&payload, &data, &mapping), 0);
                assert_int_equal(payload.size, sizes[i]);
                assert_true(sizes[i] == 0 || memcmp(data, bytes, sizes[i]) == 0);
                if (mapping)
                        (void) munmap(mapping, payload.size);
                payload_done(&payload);
        }
        assert_int_equal(f->n_events, ELEMENTSOF(sizes));
        sd_bus_close_unref(bus);
}

static unsigned n_answered;

static int on_counted(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        assert_false(sd_bus_message_is_method_error(m, NULL));
        n_answered++;
        return 1;
}

static void start_calls(sd_bus *bus, const char *target, unsigned n) {
        for (unsigned i = 0; i < n; i++) {
                sd_bus_message *m = invoke_new(bus, target, "abc", 3);
                assert_true(sd_bus_call_async(bus, NULL, m, on_counted, NULL, LIMIT_USEC) >= 0);
                sd_bus_message_unref(m);
        }
        assert_true(sd_bus_flush(bus) >= 0);
}

/* Of one caller that has said much the other one need not wait for. */
static void test_callers_have_their_turn(void **state) {
        Fixture *f = *state;
        sd_bus *loud = client_new(f), *quiet = client_new(f);
        bool heard = false;

        start_calls(loud, "wait", 200);
        start_calls(quiet, "quiet", 1);
        assert_true(sd_event_run(f->supervisor.event, 0) >= 0);
        for (unsigned i = 0; i < f->n_waiting; i++)
                heard |= streq(f->waiting[i]->target, "quiet");
        assert_true(heard);
        assert_in_range(f->n_waiting, 20, 180);
        settle(f);
        assert_int_equal(f->n_waiting, 201);
        sd_bus_close_unref(loud);
        sd_bus_close_unref(quiet);
}

/* What is answered in one turn comes in one piece, what is answered outside of one comes at once. */
static void test_answers_are_gathered(void **state) {
        Fixture *f = *state;
        sd_bus *bus = client_new(f);
        uint8_t bytes[65536];
        ssize_t n;

        n_answered = 0;
        start_calls(bus, "echo", 10);
        settle(f);
        while (sd_bus_process(bus, NULL) > 0)
                ;
        assert_int_equal(n_answered, 10);
        assert_true(f->most_queued >= 10 * 80);
        assert_null(f->supervisor.unflushed);

        start_calls(bus, "wait", 2);
        settle(f);
        assert_int_equal(f->n_waiting, 2);
        for (unsigned i = 0; i < 2; i++) {
                event_forward(f->waiting[i], "", &(Usage) {}, &(Payload) { .data = "abc", .size = 3, .fd = -EBADF });
                n = recv(sd_bus_get_fd(bus), bytes, sizeof(bytes), MSG_DONTWAIT);
                assert_true(n > 0);
        }
        sd_bus_close_unref(bus);
}

static void test_callers_leave(void **state) {
        Fixture *f = *state;
        sd_bus *bus = client_new(f);

        start_calls(bus, "wait", 3);
        settle(f);
        assert_int_equal(f->n_waiting, 3);
        for (unsigned i = 0; i < 3; i++)
                assert_false(event_is_abandoned(f->waiting[i]));
        sd_bus_close_unref(bus);
        settle(f);
        assert_int_equal(f->supervisor.n_connections, 0);
        assert_true(f->n_stop_checks > 0);
        for (unsigned i = 0; i < 3; i++) {
                assert_true(event_is_abandoned(f->waiting[i]));
                event_fail(f->waiting[i], &(Failure) { .kind = SAND_ERROR_TIMEOUT, .message = "late" }, NULL);
        }
}

static void test_any_peer_may_ask(void **state) {
        static const char peer[] = "org.freedesktop.DBus.Peer", introspectable[] = "org.freedesktop.DBus.Introspectable";
        char id[SD_ID128_STRING_MAX];
        sd_id128_t machine;
        Fixture *f = *state;
        sd_bus *bus = client_new(f);

        sd_bus_message_unref(call(f, bus, call_new(bus, "/", peer, "Ping")));
        if (sd_id128_get_machine(&machine) >= 0)
                expect_text(f, bus, call_new(bus, "/any", peer, "GetMachineId"), sd_id128_to_string(machine, id));
        else
                expect_error(f, bus, call_new(bus, "/any", peer, "GetMachineId"), SD_BUS_ERROR_FAILED);
        expect_text(f, bus, call_new(bus, "/", introspectable, "Introspect"), "<node name=\"org\"/>");
        expect_text(f, bus, call_new(bus, "/org", introspectable, "Introspect"), "<node name=\"sand\"/>");
        expect_text(f, bus, call_new(bus, "/org/sand", introspectable, "Introspect"), "<node name=\"App1\"/>");
        expect_text(f, bus, call_new(bus, SAND_APP_PATH, introspectable, "Introspect"), "<method name=\"Invoke\">");
        expect_error(f, bus, call_new(bus, "/org/san", introspectable, "Introspect"), SD_BUS_ERROR_UNKNOWN_OBJECT);
        expect_error(f, bus, call_new(bus, SAND_APP_PATH "/x", introspectable, "Introspect"), SD_BUS_ERROR_UNKNOWN_OBJECT);
        expect_text(f, bus, call_new(bus, SAND_APP_PATH, NULL, "Describe"), "described");
        sd_bus_close_unref(bus);
}

static void test_properties_are_refused(void **state) {
        static const char properties[] = "org.freedesktop.DBus.Properties";
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        Fixture *f = *state;
        sd_bus *bus = client_new(f);
        sd_bus_message *m;

        m = call_new(bus, SAND_APP_PATH, properties, "Get");
        assert_true(sd_bus_message_append(m, "ss", SAND_APP_INTERFACE, "X") >= 0);
        expect_error(f, bus, m, SD_BUS_ERROR_UNKNOWN_PROPERTY);
        m = call_new(bus, SAND_APP_PATH, properties, "Set");
        assert_true(sd_bus_message_append(m, "ssv", SAND_APP_INTERFACE, "X", "s", "v") >= 0);
        expect_error(f, bus, m, SD_BUS_ERROR_UNKNOWN_PROPERTY);
        m = call_new(bus, SAND_APP_PATH, properties, "GetAll");
        assert_true(sd_bus_message_append(m, "s", "org.example.Other") >= 0);
        expect_error(f, bus, m, SD_BUS_ERROR_UNKNOWN_INTERFACE);
        expect_error(f, bus, call_new(bus, SAND_APP_PATH, properties, "GetAll"), SD_BUS_ERROR_INVALID_ARGS);
        m = call_new(bus, SAND_APP_PATH, properties, "GetAll");
        assert_true(sd_bus_message_append(m, "s", SAND_APP_INTERFACE) >= 0);
        reply = call(f, bus, m);
        assert_true(sd_bus_message_enter_container(reply, 'a', "{sv}") >= 0);
        assert_int_equal(sd_bus_message_at_end(reply, false), 1);
        sd_bus_close_unref(bus);
}

static void test_what_is_not_there(void **state) {
        Fixture *f = *state;
        sd_bus *bus = client_new(f);
        sd_bus_message *m;

        expect_error(f, bus, call_new(bus, SAND_APP_PATH, SAND_APP_INTERFACE, "Nothing"), SD_BUS_ERROR_UNKNOWN_METHOD);
        /* From instances alone. */
        expect_error(f, bus, call_new(bus, SAND_APP_PATH, SAND_APP_INTERFACE, "Send"), SD_BUS_ERROR_UNKNOWN_METHOD);
        expect_error(f, bus, call_new(bus, SAND_APP_PATH, "org.example.Other", "Describe"), SD_BUS_ERROR_UNKNOWN_INTERFACE);
        expect_error(f, bus, call_new(bus, "/other", SAND_APP_INTERFACE, "Describe"), SD_BUS_ERROR_UNKNOWN_OBJECT);
        m = call_new(bus, SAND_APP_PATH, SAND_APP_INTERFACE, "Describe");
        assert_true(sd_bus_message_append(m, "s", "x") >= 0);
        expect_error(f, bus, m, SD_BUS_ERROR_INVALID_ARGS);
        m = call_new(bus, SAND_APP_PATH, SAND_APP_INTERFACE, "Invoke");
        assert_true(sd_bus_message_append(m, "s", "echo") >= 0);
        expect_error(f, bus, m, "org.sand.Error.BadRequest");
        assert_int_equal(f->n_events, 0);
        expect_text(f, bus, call_new(bus, SAND_APP_PATH, SAND_APP_INTERFACE, "Describe"), "described");
        sd_bus_close_unref(bus);
}

static int on_go_away(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        *(unsigned *) userdata += sd_bus_message_is_signal(m, SAND_APP_INTERFACE, "GoAway") > 0;
        return 0;
}

/* Those who are there are told at once, once; who is not through with its authentication when it is. */
static void test_go_away(void **state) {
        unsigned n_early = 0, n_late = 0;
        Fixture *f = *state;
        sd_bus *early = client_new(f), *late;
        char address[128];

        assert_true(sd_bus_add_filter(early, NULL, on_go_away, &n_early) >= 0);
        (void) snprintf(address, sizeof(address), "unix:path=%s", f->address.sun_path);
        assert_true(sd_bus_new(&late) >= 0);
        assert_true(sd_bus_set_address(late, address) >= 0);
        assert_true(sd_bus_add_filter(late, NULL, on_go_away, &n_late) >= 0);
        settle(f);
        f->supervisor.stopping = true;
        start_calls(early, "wait", 1);
        settle(f);
        for (Connection *c = f->supervisor.connections; c; c = c->next)
                connection_go_away(c);
        assert_true(sd_bus_start(late) >= 0);
        for (unsigned i = 0; i < 100; i++) {
                settle(f);
                assert_true(sd_bus_process(early, NULL) >= 0);
                assert_true(sd_bus_process(late, NULL) >= 0);
        }
        assert_int_equal(n_early, 1);
        assert_int_equal(n_late, 1);
        /* What was under way is answered. */
        n_answered = 0;
        event_forward(f->waiting[0], "", &(Usage) {}, &(Payload) { .data = "", .fd = -EBADF });
        while (sd_bus_process(early, NULL) > 0)
                ;
        assert_int_equal(n_answered, 1);
        sd_bus_close_unref(early);
        sd_bus_close_unref(late);
}

static int stranger_new(Fixture *f) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_true(fd >= 0);
        assert_int_equal(connect(fd, (struct sockaddr *) &f->address, sizeof(f->address)), 0);
        settle(f);
        return fd;
}

/* Who does not say who it is, is not waited for without end; who has said so may be silent. */
static void test_strangers_are_not_kept(void **state) {
        Fixture *f = *state;
        int old = stranger_new(f), young = stranger_new(f);
        sd_bus *bus = client_new(f);

        assert_int_equal(f->supervisor.n_connections, 3);
        assert_non_null(f->supervisor.silent);
        for (Connection *c = f->supervisor.connections; c; c = c->next)
                if (!c->next || c->wire.answered) /* the first that came, and the client */
                        c->accepted_usec -= 25 * USEC_PER_SEC;
        assert_true(sd_event_source_set_time(f->supervisor.silent, 0) >= 0);
        settle(f);
        assert_int_equal(f->supervisor.n_connections, 2);
        assert_int_equal(recv(old, &(char) { 0 }, 1, MSG_DONTWAIT), 0);
        assert_true(recv(young, &(char) { 0 }, 1, MSG_DONTWAIT) < 0);
        assert_non_null(f->supervisor.silent); /* for the young one */
        expect_text(f, bus, call_new(bus, SAND_APP_PATH, SAND_APP_INTERFACE, "Describe"), "described");

        /* Nonsense is not waited for at all. */
        assert_int_equal(send(young, "GET / HTTP/1.1\r\n", 16, 0), 16);
        settle(f);
        assert_int_equal(f->supervisor.n_connections, 1);
        (void) close(old);
        (void) close(young);
        sd_bus_close_unref(bus);
}

/* One that does not read its answers gets them once it does, and one that never does loses its connection. */
static void test_callers_that_do_not_read(void **state) {
        static uint8_t bytes[SAND_MEMFD_THRESHOLD - 1];
        Fixture *f = *state;
        int fd = stranger_new(f);
        WireMessage m;
        WireWriter out;
        Wire wire;
        unsigned n = 0;

        wire_init(&wire, fd);
        for (; f->supervisor.n_connections == 1 && n < 700; n++) {
                wire_call(&wire, &out, SAND_APP_PATH, SAND_APP_INTERFACE, "Invoke", SAND_INVOKE_FULL_SIGNATURE, 0);
                wire_put_string(&out, "echo");
                wire_put_string(&out, "");
                wire_put_u64(&out, 0);
                wire_put_string(&out, "");
                wire_put_headers(&out, NULL, 0);
                wire_put_payload(&out, bytes, sizeof(bytes));
                assert_int_equal(wire_send(&wire, &out), 0);
                settle(f);
                if (n == 100)
                        for (unsigned i = 0; i <= n; i++) {
                                settle(f);
                                assert_int_equal(wire_receive(&wire, now_usec() + LIMIT_USEC, &m), 1);
                                assert_int_equal(m.reply_serial, i + 1);
                                wire_message_done(&m);
                        }
        }
        assert_int_equal(f->n_events, n);
        assert_int_equal(n, 700);
        assert_true(f->supervisor.connections->wire.lost < 0);
        for (unsigned i = 0; i < 20 && f->supervisor.n_connections > 0; i++) {
                if (wire_receive(&wire, now_usec() + LIMIT_USEC, &m) == 1)
                        wire_message_done(&m);
                settle(f);
        }
        assert_int_equal(f->supervisor.n_connections, 0);
        wire_done(&wire);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_events_are_answered, setup, teardown),
                cmocka_unit_test_setup_teardown(test_callers_have_their_turn, setup, teardown),
                cmocka_unit_test_setup_teardown(test_answers_are_gathered, setup, teardown),
                cmocka_unit_test_setup_teardown(test_callers_leave, setup, teardown),
                cmocka_unit_test_setup_teardown(test_any_peer_may_ask, setup, teardown),
                cmocka_unit_test_setup_teardown(test_properties_are_refused, setup, teardown),
                cmocka_unit_test_setup_teardown(test_what_is_not_there, setup, teardown),
                cmocka_unit_test_setup_teardown(test_go_away, setup, teardown),
                cmocka_unit_test_setup_teardown(test_strangers_are_not_kept, setup, teardown),
                cmocka_unit_test_setup_teardown(test_callers_that_do_not_read, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
