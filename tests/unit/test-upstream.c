/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* upstream.c between an instance's wire and a process that stands in for globald. */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "../../daemons/supervisord/upstream.h"
#include "../../daemons/supervisord/event.h"
#include "macro.h"
#include "protocol.h"
#include "wire.h"

#define EXECUTION "0123456789abcdef0123456789abcdef"
#define ID "00000000000000000000000000000001"

void supervisor_note_activity(Supervisor *s) {
}

void supervisor_check_stop(Supervisor *s) {
}

static void on_queued(Wire *w) {
}

/* Answers one call by its target; "die" is the end of it. */
static bool serve(Wire *w, const WireMessage *m) {
        const char *target, *execution, *text = "{\"id\": \"" ID "\", \"duplicate\": false}";
        char seen[256];
        uint64_t deadline;
        WireWriter out;
        WireReader in;

        wire_reader_init(&in, m);
        (void) wire_read_string(&in, &target);
        (void) wire_read_string(&in, &execution);
        (void) wire_read_u64(&in, &deadline);
        if (streq(target, "die"))
                return false;
        if (streq(target, "never"))
                return true;
        if (streq(target, "refuse"))
                return wire_reply_failure(w, m, &(Failure) { .kind = SAND_ERROR_BUSY, .message = "full", .error = "Full",
                                                             .cause = "why" }, NULL) >= 0;
        if (streq(target, "odd"))
                text = "[]";
        if (streq(m->member, "Invoke")) {
                (void) snprintf(seen, sizeof(seen), "%s %s %s %s", m->path, m->interface, target, execution);
                text = seen;
        }
        wire_reply(w, &out, m, SAND_REPLY_FULL_SIGNATURE, 0);
        wire_put_string(&out, "application/json");
        wire_put_usage(&out, 1, 2, 3);
        wire_put_payload(&out, text, strlen(text));
        return wire_send(w, &out) >= 0;
}

__attribute__((__noreturn__)) static void globald(int fd) {
        for (;;) {
                int connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
                bool on = true;
                Wire w;

                wire_init_server(&w, connection, ID, on_queued);
                while (on) {
                        WireMessage m;
                        int r = wire_receive(&w, USEC_INFINITY, &m);

                        if (r == -EAGAIN) {
                                (void) wire_flush(&w);
                                (void) usleep(1000);
                                continue;
                        }
                        if (r <= 0)
                                break;
                        if (m.type == WIRE_CALL)
                                on = serve(&w, &m);
                        wire_message_done(&m);
                }
                wire_done(&w);
        }
}

typedef struct Fixture {
        Supervisor s;
        Wire ours, theirs;
        Event parent;
        Caller caller;
        pid_t pid;
        char path[64];
} Fixture;

static int setup(void **state) {
        Fixture *f = calloc(1, sizeof(Fixture));
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fds[2], fd;

        assert_non_null(f);
        (void) snprintf(f->path, sizeof(f->path), "/tmp/sand-test-upstream-%d", getpid());
        strcpy(address.sun_path, f->path);
        (void) unlink(f->path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(fd, (struct sockaddr *) &address, sizeof(address)), 0);
        assert_int_equal(listen(fd, 8), 0);
        f->pid = fork();
        if (f->pid == 0)
                globald(fd);
        close(fd);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        wire_init_server(&f->ours, fds[0], ID, on_queued);
        wire_init(&f->theirs, fds[1]);
        f->parent = (Event) { .execution = EXECUTION, .deadline = now_usec() + 10 * USEC_PER_SEC };
        f->caller = (Caller) { .event = &f->parent, .wire = &f->ours };
        assert_return_code(sd_event_new(&f->s.event), 0);
        assert_return_code(upstream_new(&f->s, f->path, &f->s.upstream), 0);
        *state = f;
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;

        caller_done(&f->caller);
        f->s.upstream = upstream_free(f->s.upstream);
        sd_event_unref(f->s.event);
        (void) kill(f->pid, SIGKILL);
        (void) waitpid(f->pid, NULL, 0);
        (void) unlink(f->path);
        wire_done(&f->ours);
        wire_done(&f->theirs);
        free(f);
        return 0;
}

static void submit(Fixture *f, const char *member, const char *target) {
        WireMessage m = {};
        Failure failure;
        WireWriter out;
        Event *e;

        wire_call(&f->theirs, &out, SAND_APP_PATH, SAND_APP_INTERFACE, member, SAND_INVOKE_FULL_SIGNATURE, 0);
        wire_put_string(&out, target);
        wire_put_string(&out, "");
        wire_put_u64(&out, 0);
        wire_put_string(&out, "application/json");
        wire_put_headers(&out, NULL, 0);
        wire_put_payload(&out, "{}", 2);
        assert_int_equal(wire_send(&f->theirs, &out), 0);
        assert_int_equal(wire_receive(&f->ours, now_usec() + USEC_PER_SEC, &m), 1);
        assert_int_equal(event_new(&f->caller, &m, false, &e, &failure), 0);
        e->beyond = member;
        upstream_submit(f->s.upstream, e);
}

static void finish(Fixture *f) {
        uint64_t until = now_usec() + 10 * USEC_PER_SEC;

        while (upstream_in_flight(f->s.upstream) > 0 && now_usec() < until)
                (void) sd_event_run(f->s.event, 100 * USEC_PER_MSEC);
        assert_int_equal(upstream_in_flight(f->s.upstream), 0);
}

static void expect(Fixture *f, const char *error, const char *text) {
        const char *got;
        WireMessage m;
        WireReader in;

        finish(f);
        assert_int_equal(wire_receive(&f->theirs, now_usec() + USEC_PER_SEC, &m), 1);
        assert_int_equal(m.type, error ? WIRE_ERROR : WIRE_REPLY);
        if (error)
                assert_string_equal(m.error, error);
        wire_reader_init(&in, &m);
        assert_return_code(wire_read_string(&in, &got), 0);
        if (text)
                assert_string_equal(got, text);
        wire_message_done(&m);
}

static void test_kept(void **state) {
        submit(*state, "Send", "f");
        expect(*state, NULL, ID);
        submit(*state, "Emit", "orders.paid");
        expect(*state, NULL, ID);
}

static void test_invoke(void **state) {
        submit(*state, "Invoke", "shop/pay");
        expect(*state, NULL, "application/json");
}

static void test_failures(void **state) {
        submit(*state, "Send", "refuse");
        expect(*state, "org.sand.Error.Busy", "full");
        submit(*state, "Send", "odd");
        expect(*state, "org.sand.Error.Unavailable", "sand-globald's answer is malformed");
        submit(*state, "Invoke", "die");
        expect(*state, "org.sand.Error.Crashed", NULL);
        submit(*state, "Send", "f"); /* on a new connection */
        expect(*state, NULL, ID);
}

/* What is to be kept goes on without its caller, a call does not. */
static void test_caller_gone(void **state) {
        Fixture *f = *state;

        submit(f, "Invoke", "never");
        submit(f, "Send", "f");
        assert_int_equal(upstream_in_flight(f->s.upstream), 2);
        caller_done(&f->caller);
        assert_int_equal(upstream_in_flight(f->s.upstream), 1);
        finish(f);
        assert_int_equal(f->s.n_failed, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_kept, setup, teardown),
                cmocka_unit_test_setup_teardown(test_invoke, setup, teardown),
                cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
                cmocka_unit_test_setup_teardown(test_caller_gone, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
