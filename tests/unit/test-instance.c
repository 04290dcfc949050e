/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* instance.c with a wire and a process at its other end that do what instances should not. Of the supervisor, the
 * worker and the function there is what an instance calls. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "../../daemons/supervisord/function.h"
#include "../../daemons/supervisord/sandbox.h"
#include "macro.h"
#include "protocol.h"

#define LIMIT_USEC (10 * USEC_PER_SEC)

typedef struct Fixture {
        Supervisor supervisor;
        Function function;
        FunctionSpec spec;
        Worker worker;
        Instance *instance; /* NULL: freed */
        Wire wire;          /* its other end */
        int log_fd;
        pid_t pid;          /* a process that sleeps */
        const char *result; /* that its receipt names */
} Fixture;

/* What instance.c calls. */

void worker_move(Worker *w, Instance *i, InstanceState state) {
        i->state = state;
        if (state == INSTANCE_NEW)
                CONTAINER_OF(w, Fixture, worker)->instance = NULL;
}

Worker *worker_ref(Worker *w) {
        w->n_ref++;
        return w;
}

Worker *worker_unref(Worker *w) {
        w->n_ref--;
        return NULL;
}

void worker_instance_ready(Worker *w) {
}

void function_learn(Function *f, const Usage *usage) {
}

void supervisor_want_housekeeping(Supervisor *s) {
}

void supervisor_want_deadline(Supervisor *s, uint64_t usec) {
}

void supervisor_note_activity(Supervisor *s) {
}

void supervisor_check_stop(Supervisor *s) {
}

void supervisor_log_line(Supervisor *s, const char *function, const char *execution, const char *invocation,
                         const char *priority, const char *line, size_t n) {
}

void supervisor_log_receipt(Supervisor *s, const Receipt *receipt) {
        CONTAINER_OF(s, Fixture, supervisor)->result = receipt->result;
}

/* Each call is answered at once, at some length. */
void supervisor_submit(Supervisor *s, Event *e) {
        static const uint8_t bytes[1000];
        const Payload payload = { .data = bytes, .size = sizeof(bytes), .fd = -EBADF };

        event_forward(e, "", &(Usage) {}, &payload);
        event_free(e);
}

static void settle(Fixture *f) {
        while (sd_event_run(f->supervisor.event, 0) > 0)
                ;
}

static void after_turn(void *userdata) {
}

/* A worker without instances. */
static int setup_nothing(void **state) {
        Fixture *f = calloc(1, sizeof(Fixture));

        assert_non_null(f);
        assert_true(sd_event_new(&f->supervisor.event) >= 0);
        assert_int_equal(hub_new(f->supervisor.event, after_turn, NULL, &f->supervisor.hub), 0);
        id_make(f->supervisor.id);
        assert_int_equal(children_new(f->supervisor.event, &f->supervisor.children), 0);
        f->supervisor.placement = PLACEMENT_NULL;
        f->supervisor.cgroups.fd = -EBADF;
        f->spec = (FunctionSpec) { .name = (char *) "f", .events = 1, .payload_max = 1024 * 1024 };
        f->worker = (Worker) { .supervisor = &f->supervisor, .spec = &f->spec, .userdata = &f->function,
                               .where = PLACEMENT_FREE };
        *state = f;
        return 0;
}

static int setup(void **state) {
        const int least = 1;
        WireWriter out;
        Fixture *f;
        pid_t pid;
        int fd;

        pid = fork(); /* first, so that it holds no copies of the sockets */
        assert_true(pid >= 0);
        if (pid == 0)
                for (;;)
                        (void) pause();
        (void) setup_nothing(state);
        f = *state;
        f->pid = pid;
        assert_int_equal(instance_new(&f->worker, -1, &f->instance, &fd, &f->log_fd), 0);
        assert_int_equal(setsockopt(f->instance->wire.fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof(least)), 0);
        wire_init(&f->wire, fd);
        instance_forked(f->instance, f->pid);
        wire_signal(&f->wire, &out, SAND_INSTANCE_PATH, SAND_INSTANCE_INTERFACE, "Ready", "");
        assert_int_equal(wire_send(&f->wire, &out), 0);
        settle(f);
        assert_int_equal(f->instance->state, INSTANCE_WAITING);
        return 0;
}

static int teardown_nothing(void **state) {
        Fixture *f = *state;

        assert_int_equal(f->worker.n_ref, 0);
        assert_int_equal(f->supervisor.n_computing, 0);
        children_free(f->supervisor.children);
        hub_free(f->supervisor.hub);
        sd_event_unref(f->supervisor.event);
        free(f);
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;

        if (f->instance) {
                instance_free(f->instance);
                (void) kill(f->pid, SIGKILL);
                assert_int_equal(waitpid(f->pid, NULL, 0), f->pid);
        }
        wire_done(&f->wire);
        (void) close(f->log_fd);
        return teardown_nothing(state);
}

/* The instance gets an event; *ret is its Handle. */
static void hand_over(Fixture *f, WireMessage *ret) {
        Event *e = calloc(1, sizeof(Event));

        assert_non_null(e);
        e->payload = PAYLOAD_EMPTY;
        e->payload.data = "";
        e->oneway = true;
        assert_int_equal(instance_handle(f->instance, e, USEC_INFINITY), 0);
        assert_int_equal(f->instance->state, INSTANCE_BUSY);
        assert_int_equal(wire_receive(&f->wire, now_usec() + LIMIT_USEC, ret), 1);
}

static void call(Fixture *f) {
        WireWriter out;

        wire_call(&f->wire, &out, SAND_APP_PATH, SAND_APP_INTERFACE, "Invoke", SAND_INVOKE_FULL_SIGNATURE, 0);
        wire_put_string(&out, "f");
        wire_put_string(&out, "");
        wire_put_u64(&out, 0);
        wire_put_string(&out, "");
        wire_put_headers(&out, NULL, 0);
        wire_put_payload(&out, "", 0);
        assert_int_equal(wire_send(&f->wire, &out), 0);
}

static void answer(Fixture *f, const WireMessage *handle) {
        WireWriter out;

        wire_reply(&f->wire, &out, handle, SAND_REPLY_FULL_SIGNATURE, 0);
        wire_put_string(&out, "");
        wire_put_usage(&out, 1, 2, 3);
        wire_put_payload(&out, "", 0);
        assert_int_equal(wire_send(&f->wire, &out), 0);
}

/* Its process ends. */
static void expect_result(Fixture *f, const char *result) {
        uint64_t start = now_usec();

        (void) kill(f->pid, SIGKILL);
        while (f->instance && now_usec() < start + LIMIT_USEC)
                assert_true(sd_event_run(f->supervisor.event, LIMIT_USEC) >= 0);
        assert_null(f->instance);
        assert_non_null(f->result);
        assert_string_equal(f->result, result);
}

/* Calls without reading the answers until some of them wait for room. */
static void make_queue(Fixture *f) {
        for (unsigned i = 0; f->instance->wire.queued == 0; i++) {
                assert_true(i < 10000);
                call(f);
                settle(f);
        }
        call(f);
        settle(f);
}

static void test_queued_answers_arrive(void **state) {
        Fixture *f = *state;
        WireMessage handle, m;
        uint32_t last, serial = 0;

        hand_over(f, &handle);
        make_queue(f);
        last = f->wire.serial;
        while (serial != last) {
                settle(f);
                assert_int_equal(wire_receive(&f->wire, now_usec() + LIMIT_USEC, &m), 1);
                assert_true(m.reply_serial > serial);
                serial = m.reply_serial;
                wire_message_done(&m);
        }
        assert_int_equal(f->instance->wire.queued, 0);
        answer(f, &handle);
        settle(f);
        assert_int_equal(f->instance->state, INSTANCE_ENDED);
        expect_result(f, "ok");
        wire_message_done(&handle);
}

/* It does not care for its answers, gives its result and closes: the result counts. */
static void test_result_before_the_end(void **state) {
        Fixture *f = *state;
        WireMessage handle;

        hand_over(f, &handle);
        make_queue(f);
        answer(f, &handle);
        wire_done(&f->wire);
        settle(f);
        expect_result(f, "ok");
        wire_message_done(&handle);
}

static void test_end_without_a_result(void **state) {
        Fixture *f = *state;
        WireMessage handle;

        hand_over(f, &handle);
        make_queue(f);
        wire_done(&f->wire);
        expect_result(f, "Crashed");
        wire_message_done(&handle);
}

/* One that never stops talking does not keep the loop from its other sources. */
static void test_others_have_their_turn(void **state) {
        static const uint8_t message[24] = { 'l', 5, 0, 1, [8] = 1, [12] = 5, [16] = 200, 1, 'y', 0, 1 };
        Fixture *f = *state;
        uint64_t start;
        pid_t pid;

        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                uint8_t many[100 * sizeof(message)];

                for (size_t i = 0; i < sizeof(many); i += sizeof(message))
                        memcpy(many + i, message, sizeof(message));
                (void) alarm(4);
                for (;;)
                        (void) send(f->wire.fd, many, sizeof(many), MSG_NOSIGNAL);
        }
        start = now_usec();
        for (unsigned i = 0; i < 5; i++)
                assert_true(sd_event_run(f->supervisor.event, 2 * USEC_PER_SEC) > 0);
        assert_true(now_usec() - start < 2 * USEC_PER_SEC);
        assert_int_equal(f->instance->state, INSTANCE_WAITING);
        (void) kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* A worker's word is not taken for it: without a process there is no instance. */
static void test_process_must_be_there(void **state) {
        const pid_t pids[] = { 0, 1, -EAGAIN, getpid() };

        for (unsigned i = 0; i < ELEMENTSOF(pids); i++) {
                Fixture *f = *state;
                int fd, log_fd;

                assert_int_equal(instance_new(&f->worker, -1, &f->instance, &fd, &log_fd), 0);
                (void) close(fd);
                (void) close(log_fd);
                instance_forked(f->instance, pids[i]);
                assert_null(f->instance);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_queued_answers_arrive, setup, teardown),
                cmocka_unit_test_setup_teardown(test_result_before_the_end, setup, teardown),
                cmocka_unit_test_setup_teardown(test_end_without_a_result, setup, teardown),
                cmocka_unit_test_setup_teardown(test_others_have_their_turn, setup, teardown),
                cmocka_unit_test_setup_teardown(test_process_must_be_there, setup_nothing, teardown_nothing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
