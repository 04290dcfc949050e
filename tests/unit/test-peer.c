/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* peer.c against fake-machine: a process of its own behind a real socket. */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "macro.h"
#include "peer.h"
#include "protocol.h"

typedef struct Fixture {
        char dir[32], socket[64];
        sd_event *event;
        Peer *peer;
        pid_t machine;
} Fixture;

typedef struct Outcome {
        bool done;
        SandError error;
        char message[256], error_class[64], cause[64], content_type[64], data[512];
        size_t size;
        bool memfd;
        uint64_t wall_usec;
        Peer *free_peer;        /* freed by the handler */
        PeerCall *cancel;       /* cancelled by the handler */
} Outcome;

static const char *machine_path;

static void machine_start(Fixture *f, const char *drop) {
        char ready[6];
        int out[2];

        assert_int_equal(pipe(out), 0);
        f->machine = fork();
        assert_true(f->machine >= 0);
        if (f->machine == 0) {
                (void) dup2(out[1], STDOUT_FILENO);
                (void) close(out[0]);
                execl(machine_path, machine_path, f->socket, drop, NULL);
                _exit(1);
        }
        (void) close(out[1]);
        assert_int_equal(read(out[0], ready, sizeof(ready)), sizeof(ready));
        (void) close(out[0]);
}

static void machine_stop(Fixture *f) {
        if (f->machine <= 0)
                return;
        (void) kill(f->machine, SIGKILL);
        (void) waitpid(f->machine, NULL, 0);
        f->machine = 0;
}

static int setup(void **state) {
        Fixture *f = calloc(1, sizeof(Fixture));

        strcpy(f->dir, "/tmp/sand-peer-XXXXXX");
        assert_non_null(mkdtemp(f->dir));
        (void) snprintf(f->socket, sizeof(f->socket), "%s/app.sock", f->dir);
        assert_true(sd_event_new(&f->event) >= 0);
        assert_int_equal(peer_new(f->event, f->socket, &f->peer), 0);
        *state = f;
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;

        peer_free(f->peer);
        machine_stop(f);
        sd_event_unref(f->event);
        (void) unlink(f->socket);
        (void) rmdir(f->dir);
        free(f);
        return 0;
}

static void copy(char *to, size_t size, const char *from) {
        (void) snprintf(to, size, "%s", strempty(from));
}

static void on_reply(PeerCall *call, const PeerReply *reply, void *userdata) {
        Outcome *o = userdata;
        const void *data;
        void *mapping;

        assert_false(o->done);
        o->done = true;
        o->error = reply->error;
        o->wall_usec = reply->wall_usec;
        copy(o->message, sizeof(o->message), reply->message);
        copy(o->error_class, sizeof(o->error_class), reply->error_class);
        copy(o->cause, sizeof(o->cause), reply->cause);
        copy(o->content_type, sizeof(o->content_type), reply->content_type);
        if (reply->error == _SAND_ERROR_INVALID) {
                o->size = reply->payload.size;
                o->memfd = reply->payload.fd >= 0;
                assert_int_equal(payload_map(&reply->payload, &data, &mapping), 0);
                memcpy(o->data, data, MIN(o->size, sizeof(o->data) - 1));
        }
        if (o->cancel)
                peer_call_cancel(o->cancel);
        if (o->free_peer)
                peer_free(o->free_peer);
}

static int invoke(Fixture *f, const char *target, const char *data, Outcome *o, PeerCall **ret) {
        const char *headers[] = { "traceparent", "00-1-2-3", NULL };
        PeerRequest q = {
                .target = target,
                .execution = "0123456789abcdef0123456789abcdef",
                .content_type = "text/plain",
                .headers = headers,
                .deadline = 42,
                .timeout_usec = 5 * USEC_PER_SEC,
                .data = data,
                .size = strlen(data),
        };
        memset(o, 0, sizeof(*o));
        return peer_invoke(f->peer, &q, on_reply, o, ret);
}

static void run_until(Fixture *f, const bool *done) {
        uint64_t end = now_usec() + 60 * USEC_PER_SEC;
        while (!*done && now_usec() < end)
                assert_true(sd_event_run(f->event, 100 * USEC_PER_MSEC) >= 0);
        assert_true(*done);
}

static void run_for(Fixture *f, uint64_t usec) {
        uint64_t end = now_usec() + usec;
        while (now_usec() < end)
                assert_true(sd_event_run(f->event, 10 * USEC_PER_MSEC) >= 0);
}

static void call(Fixture *f, const char *target, const char *data, Outcome *o) {
        assert_int_equal(invoke(f, target, data, o, NULL), 0);
        assert_false(o->done);
        run_until(f, &o->done);
}

static void test_echo(void **state) {
        Fixture *f = *state;
        Outcome o;

        machine_start(f, NULL);
        call(f, "echo", "hello", &o);
        assert_int_equal(o.error, _SAND_ERROR_INVALID);
        assert_string_equal(o.data, "hello");
        assert_string_equal(o.content_type, "text/plain");
        assert_int_equal(o.wall_usec, 1500);
        call(f, "empty", "", &o);
        assert_int_equal(o.error, _SAND_ERROR_INVALID);
        assert_int_equal(o.size, 0);
        call(f, "info", "", &o);
        assert_string_equal(o.data, "0123456789abcdef0123456789abcdef text/plain 42\ntraceparent=00-1-2-3\n");
        assert_int_equal(peer_in_flight(f->peer), 0);
}

static void test_memfd_both_ways(void **state) {
        Fixture *f = *state;
        size_t n = SAND_PAYLOAD_HARD_MAX;
        _cleanup_(freep) char *bytes = malloc(n + 1);
        Outcome o;

        memset(bytes, 'y', n);
        bytes[n] = 0;
        machine_start(f, NULL);
        call(f, "echo", bytes, &o);
        assert_int_equal(o.error, _SAND_ERROR_INVALID);
        assert_int_equal(o.size, n);
        assert_true(o.memfd);
        assert_int_equal(o.data[100], 'y');
}

static void test_errors_keep_their_name(void **state) {
        Fixture *f = *state;
        Outcome o;

        machine_start(f, NULL);
        call(f, "fail", "", &o);
        assert_int_equal(o.error, SAND_ERROR_FUNCTION_FAILED);
        assert_string_equal(o.message, "it \"failed\"");
        assert_string_equal(o.error_class, "Oops");
        assert_string_equal(o.cause, "a cause");
        for (SandError e = 0; e < _SAND_ERROR_MAX; e++) {
                call(f, "error", sand_error_info(e)->name, &o);
                assert_int_equal(o.error, e);
                assert_string_equal(o.error_class, sand_error_info(e)->name);
        }
        call(f, "error", "Strange", &o);
        assert_int_equal(o.error, SAND_ERROR_UNAVAILABLE);
        call(f, "garbage", "", &o);
        assert_int_equal(o.error, SAND_ERROR_CRASHED);
}

static void test_many_in_flight(void **state) {
        Fixture *f = *state;
        Outcome o[500], slow;

        machine_start(f, NULL);
        assert_int_equal(invoke(f, "delay", "1500", &slow, NULL), 0);
        for (size_t i = 0; i < ELEMENTSOF(o); i++)
                assert_int_equal(invoke(f, "echo", "x", o + i, NULL), 0);
        assert_int_equal(peer_in_flight(f->peer), ELEMENTSOF(o) + 1);
        for (size_t i = 0; i < ELEMENTSOF(o); i++) {
                run_until(f, &o[i].done);
                assert_string_equal(o[i].data, "x");
        }
        assert_false(slow.done);
        run_until(f, &slow.done);
}

static void test_timeout(void **state) {
        Fixture *f = *state;
        PeerRequest q = { .target = "never", .timeout_usec = 50 * USEC_PER_MSEC };
        Outcome o = {};

        machine_start(f, NULL);
        assert_int_equal(peer_invoke(f->peer, &q, on_reply, &o, NULL), 0);
        run_until(f, &o.done);
        assert_int_equal(o.error, SAND_ERROR_TIMEOUT);
        call(f, "echo", "still there", &o);
        assert_string_equal(o.data, "still there");
}

/* Nobody accepts: as a machine that never starts behind systemd's socket. */
static void test_expires_while_waiting(void **state) {
        Fixture *f = *state;
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        PeerRequest q = { .target = "echo", .timeout_usec = 2 * USEC_PER_SEC };
        Outcome late = {}, soon = {};
        int fd;

        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        strcpy(sa.sun_path, f->socket);
        assert_int_equal(bind(fd, (struct sockaddr *) &sa, sizeof(sa)), 0);
        assert_int_equal(listen(fd, 5), 0);
        assert_int_equal(peer_invoke(f->peer, &q, on_reply, &late, NULL), 0);
        q.timeout_usec = 50 * USEC_PER_MSEC;
        assert_int_equal(peer_invoke(f->peer, &q, on_reply, &soon, NULL), 0);
        run_until(f, &soon.done);
        assert_int_equal(soon.error, SAND_ERROR_UNAVAILABLE);
        assert_false(late.done);
        run_until(f, &late.done);
        assert_int_equal(late.error, SAND_ERROR_UNAVAILABLE);
        (void) close(fd);
}

static void test_dies_in_mid_call(void **state) {
        Fixture *f = *state;
        Outcome slow, dead, o;

        machine_start(f, NULL);
        call(f, "echo", "x", &o);
        assert_int_equal(invoke(f, "delay", "3000", &slow, NULL), 0);
        assert_int_equal(invoke(f, "die", "", &dead, NULL), 0);
        run_until(f, &slow.done);
        run_until(f, &dead.done);
        assert_int_equal(slow.error, SAND_ERROR_CRASHED);
        assert_int_equal(dead.error, SAND_ERROR_CRASHED);

        /* The successor serves new calls. */
        machine_stop(f);
        machine_start(f, NULL);
        call(f, "count", "", &o);
        assert_string_equal(o.data, "1");
}

static void test_hangup_then_reconnects(void **state) {
        Fixture *f = *state;
        Outcome o;

        machine_start(f, NULL);
        call(f, "hangup", "", &o);
        assert_int_equal(o.error, SAND_ERROR_CRASHED);
        call(f, "count", "", &o);
        assert_int_equal(o.error, _SAND_ERROR_INVALID);
        assert_string_equal(o.data, "2"); /* the lost call was not sent again */
}

static void test_resent_when_not_taken(void **state) {
        Fixture *f = *state;
        Outcome a, b;

        machine_start(f, "3");
        assert_int_equal(invoke(f, "count", "", &a, NULL), 0);
        assert_int_equal(invoke(f, "count", "", &b, NULL), 0);
        run_until(f, &a.done);
        run_until(f, &b.done);
        assert_string_equal(a.data, "1");
        assert_string_equal(b.data, "2");
}

static void test_tries_are_bounded(void **state) {
        Fixture *f = *state;
        Outcome o;

        machine_start(f, "5");
        call(f, "count", "", &o);
        assert_int_equal(o.error, SAND_ERROR_UNAVAILABLE);
        call(f, "count", "", &o);
        assert_string_equal(o.data, "1");
}

/* What was in the write queue, and only that, is sent again: the socket is full of a call that its machine
 * does not read, then the machine dies. */
static void test_unwritten_is_resent(void **state) {
        Fixture *f = *state;
        static char bytes[SAND_MEMFD_THRESHOLD - 1]; /* inline; together more than sd-bus's 8 MiB of socket buffer */
        static Outcome o[512];
        Outcome first;
        size_t crashed = 0, served = 0;

        memset(bytes, 'z', sizeof(bytes) - 1);
        machine_start(f, NULL);
        call(f, "echo", "x", &first);
        assert_int_equal(kill(f->machine, SIGSTOP), 0);
        for (size_t i = 0; i < ELEMENTSOF(o); i++)
                assert_int_equal(invoke(f, "echo", bytes, o + i, NULL), 0);
        run_for(f, 50 * USEC_PER_MSEC);
        machine_stop(f);
        machine_start(f, NULL);
        for (size_t i = 0; i < ELEMENTSOF(o); i++) {
                run_until(f, &o[i].done);
                if (o[i].error == SAND_ERROR_CRASHED)
                        crashed++;
                else if (o[i].error == _SAND_ERROR_INVALID && o[i].size == sizeof(bytes) - 1)
                        served++;
        }
        assert_int_equal(crashed + served, ELEMENTSOF(o));
        assert_true(crashed > 0);
        assert_true(served > 0);
        call(f, "count", "", &first);
        assert_int_equal(atoi(first.data), (int) served + 1);
}

static void test_go_away(void **state) {
        Fixture *f = *state;
        Outcome slow, o;

        machine_start(f, NULL);
        assert_int_equal(invoke(f, "delay", "500", &slow, NULL), 0);
        call(f, "goaway", "bye", &o);
        assert_string_equal(o.data, "bye");
        assert_false(slow.done);
        call(f, "echo", "on a fresh connection", &o);
        assert_string_equal(o.data, "on a fresh connection");
        run_until(f, &slow.done);
        assert_int_equal(slow.error, _SAND_ERROR_INVALID);
}

static void test_not_there(void **state) {
        Fixture *f = *state;
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        Outcome o;
        int fd;

        assert_int_equal(invoke(f, "echo", "x", &o, NULL), -ENOENT);
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        strcpy(sa.sun_path, f->socket);
        assert_int_equal(bind(fd, (struct sockaddr *) &sa, sizeof(sa)), 0);
        (void) close(fd);
        assert_int_equal(invoke(f, "echo", "x", &o, NULL), -ECONNREFUSED);
        assert_int_equal(peer_in_flight(f->peer), 0);
}

/* The machine goes for good while calls wait for the next connection. */
static void test_gone_while_waiting(void **state) {
        Fixture *f = *state;
        Outcome o;

        machine_start(f, "1");
        assert_int_equal(invoke(f, "echo", "x", &o, NULL), 0);
        run_for(f, 2 * USEC_PER_MSEC);
        machine_stop(f);
        run_until(f, &o.done);
        assert_true(o.error == SAND_ERROR_UNAVAILABLE);
}

static void test_cancel(void **state) {
        Fixture *f = *state;
        Outcome waiting, sent, o;
        PeerCall *a, *b;

        machine_start(f, NULL);
        assert_int_equal(invoke(f, "echo", "never arrives", &waiting, &a), 0);
        peer_call_cancel(a);
        call(f, "echo", "x", &o);
        assert_int_equal(invoke(f, "delay", "50", &sent, &b), 0);
        run_for(f, 10 * USEC_PER_MSEC);
        peer_call_cancel(b);
        run_for(f, 100 * USEC_PER_MSEC);
        assert_false(waiting.done);
        assert_false(sent.done);
        assert_int_equal(peer_in_flight(f->peer), 0);

        /* From another's handler, of a call that fails in the same loop. */
        assert_int_equal(invoke(f, "die", "", &o, NULL), 0);
        assert_int_equal(invoke(f, "delay", "1000", &sent, &b), 0);
        o.cancel = b;
        run_until(f, &o.done);
        run_for(f, 20 * USEC_PER_MSEC);
        assert_false(sent.done);
}

static void test_freed(void **state) {
        Fixture *f = *state;
        Outcome a, b, o;

        machine_start(f, NULL);
        call(f, "echo", "x", &o);
        assert_int_equal(invoke(f, "never", "", &a, NULL), 0);
        f->peer = peer_free(f->peer);
        assert_true(a.done);
        assert_int_equal(a.error, SAND_ERROR_UNAVAILABLE);

        /* From within a handler, with others in flight: of an answer, of a lost connection. */
        static const char *const targets[] = { "echo", "die" };
        for (size_t i = 0; i < ELEMENTSOF(targets); i++) {
                assert_int_equal(peer_new(f->event, f->socket, &f->peer), 0);
                assert_int_equal(invoke(f, targets[i], "x", &a, NULL), 0);
                assert_int_equal(invoke(f, "never", "", &b, NULL), 0);
                a.free_peer = TAKE_PTR(f->peer);
                run_until(f, &a.done);
                assert_true(b.done);
                assert_int_equal(b.error, SAND_ERROR_UNAVAILABLE);
                run_for(f, 20 * USEC_PER_MSEC);
        }
        /* And while the next connection is being tried. */
        machine_stop(f);
        machine_start(f, "100");
        assert_int_equal(peer_new(f->event, f->socket, &f->peer), 0);
        assert_int_equal(invoke(f, "echo", "x", &a, NULL), 0);
        assert_int_equal(invoke(f, "echo", "x", &b, NULL), 0);
        a.free_peer = TAKE_PTR(f->peer);
        run_until(f, &a.done);
        assert_true(b.done);
        run_for(f, 20 * USEC_PER_MSEC);
}

int main(int argc, char *argv[]) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_echo, setup, teardown),
                cmocka_unit_test_setup_teardown(test_memfd_both_ways, setup, teardown),
                cmocka_unit_test_setup_teardown(test_errors_keep_their_name, setup, teardown),
                cmocka_unit_test_setup_teardown(test_many_in_flight, setup, teardown),
                cmocka_unit_test_setup_teardown(test_timeout, setup, teardown),
                cmocka_unit_test_setup_teardown(test_expires_while_waiting, setup, teardown),
                cmocka_unit_test_setup_teardown(test_dies_in_mid_call, setup, teardown),
                cmocka_unit_test_setup_teardown(test_hangup_then_reconnects, setup, teardown),
                cmocka_unit_test_setup_teardown(test_resent_when_not_taken, setup, teardown),
                cmocka_unit_test_setup_teardown(test_tries_are_bounded, setup, teardown),
                cmocka_unit_test_setup_teardown(test_unwritten_is_resent, setup, teardown),
                cmocka_unit_test_setup_teardown(test_go_away, setup, teardown),
                cmocka_unit_test_setup_teardown(test_not_there, setup, teardown),
                cmocka_unit_test_setup_teardown(test_gone_while_waiting, setup, teardown),
                cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
                cmocka_unit_test_setup_teardown(test_freed, setup, teardown),
        };

        machine_path = argc > 1 ? argv[1] : getenv("SAND_FAKE_MACHINE");
        if (!machine_path) {
                fprintf(stderr, "usage: test-peer FAKE-MACHINE\n");
                return 2;
        }
        (void) signal(SIGPIPE, SIG_IGN);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
