/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sand-worker-native, and what all workers share, driven over sd-bus. $SAND_WORKER_DIR holds the programs,
 * $SAND_TEST_FUNCTIONS is worker-functions.c as a shared object. */

#include "worker-harness.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#define MEMORY "67108864"

static const char *const environment[] = {
        "SAND_APP=photos", "SAND_FUNCTION=resize", "SAND_VERSION=3-abc", "SAND_PAYLOAD_MAX=4194304",
        "SAND_MEMORY=" MEMORY, "NOTIFY_SOCKET=/none", NULL,
};

static Worker *native(const char *symbol) {
        char handler[4096];

        (void) snprintf(handler, sizeof(handler), "%s:%s", getenv("SAND_TEST_FUNCTIONS"), symbol);
        return worker_start("sand-worker-native", "/", (const char *[]) { handler, NULL }, environment);
}

/* One event in a process of its own. */
static void once(const char *symbol, const Event *event, Outcome *ret) {
        Worker *w = native(symbol);
        Instance *i = instance_fork(w);

        instance_handle(i, event, ret);
        instance_stop(i, NULL);
        worker_stop(w);
}

static void test_echo(void **state) {
        Worker *w = native("echo");
        Instance *i = instance_fork(w);
        Outcome o;

        assert_string_equal(w->signal, "Loaded");
        instance_handle(i, &(Event) { .data = "{\"a\":1}", .size = 7, .content_type = "text/plain" }, &o);
        assert_false(o.failed);
        assert_int_equal(o.size, 7);
        assert_memory_equal(o.data, "{\"a\":1}", 7);
        assert_string_equal(o.content_type, "text/plain");
        assert_true(o.peak > 256 * 1024 && o.wall > 0 && o.wall < USEC_PER_SEC * 10);
        outcome_done(&o);

        /* The same process again: nothing of the first event is left. */
        instance_handle(i, &(Event) {}, &o);
        assert_false(o.failed);
        assert_int_equal(o.size, 0);
        assert_string_equal(o.content_type, "application/json");
        outcome_done(&o);
        instance_stop(i, NULL);
        worker_stop(w);
}

static void test_large(void **state) {
        size_t size = 3 * 1024 * 1024 + 1;
        char *data = malloc(size);
        Worker *w = native("echo");
        Instance *i = instance_fork(w);
        Outcome o;

        assert_non_null(data);
        for (size_t k = 0; k < size; k++)
                data[k] = (char) (k * 31);
        for (int memfd = 0; memfd < 2; memfd++) {
                instance_handle(i, &(Event) { .data = data, .size = size, .memfd = memfd }, &o);
                assert_false(o.failed);
                assert_int_equal(o.size, size);
                assert_true(o.memfd);
                assert_memory_equal(o.data, data, size);
                outcome_done(&o);
        }
        /* Just below the threshold it travels inline. */
        instance_handle(i, &(Event) { .data = data, .size = SAND_MEMFD_THRESHOLD - 1, .memfd = true }, &o);
        assert_int_equal(o.size, SAND_MEMFD_THRESHOLD - 1);
        assert_false(o.memfd);
        assert_memory_equal(o.data, data, o.size);
        outcome_done(&o);
        /* A small memfd and an empty one are payloads as well. */
        instance_handle(i, &(Event) { .data = data, .size = 10, .memfd = true }, &o);
        assert_int_equal(o.size, 10);
        outcome_done(&o);
        instance_handle(i, &(Event) { .memfd = true }, &o);
        assert_false(o.failed);
        assert_int_equal(o.size, 0);
        outcome_done(&o);
        instance_stop(i, NULL);
        worker_stop(w);
        free(data);
}

static void test_failures(void **state) {
        static const struct {
                const char *symbol, *event, *name, *error, *message;
        } cases[] = {
                { "fails", "", "FunctionFailed", "NoSuchPhoto", "photo 7 is not there" },
                { "fails_plainly", "", "FunctionFailed", "EACCES", "Permission denied" },
                { "returns_three", "", "FunctionFailed", "BadReturnValue",
                  "The function returned 3, where 0 or a negative errno is expected." },
                { "bad_text", "", "FunctionFailed", "Latin", "caf? \xc3\xa9" },
                { "zeroes", "4194305", "TooLarge", "TooLarge", NULL },
                { "too_large", "4194305", "TooLarge", "TooLarge", NULL },
                { "eats_memory", "", "OutOfMemory", "OutOfMemory", NULL },
        };

        for (size_t k = 0; k < ELEMENTSOF(cases); k++) {
                char name[64];
                Outcome o;

                print_message("%s\n", cases[k].symbol);
                once(cases[k].symbol, &(Event) { .data = cases[k].event, .size = strlen(cases[k].event) }, &o);
                (void) snprintf(name, sizeof(name), "org.sand.Error.%s", cases[k].name);
                assert_true(o.failed);
                assert_string_equal(o.name, name);
                assert_string_equal(o.error, cases[k].error);
                if (cases[k].message)
                        assert_string_equal(o.message, cases[k].message);
                assert_true(o.peak > 0);
                outcome_done(&o);
        }
}

static void test_result_sizes(void **state) {
        static const char *const sizes[] = { "0", "1", "65535", "65536", "4194304" };

        for (size_t k = 0; k < ELEMENTSOF(sizes); k++) {
                Outcome o;

                once("zeroes", &(Event) { .data = sizes[k], .size = strlen(sizes[k]) }, &o);
                assert_false(o.failed);
                assert_int_equal(o.size, strtoul(sizes[k], NULL, 10));
                outcome_done(&o);
        }
}

static void test_crash(void **state) {
        Worker *w = native("crashes");
        Instance *i = instance_fork(w), *other = instance_fork(w);
        Outcome o;
        int status;

        instance_handle(i, &(Event) {}, &o);
        assert_true(o.lost);
        outcome_done(&o);
        instance_stop(i, &status);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGABRT);
        /* Its sibling lives. */
        instance_handle(other, &(Event) {}, &o);
        assert_true(o.lost);
        outcome_done(&o);
        instance_stop(other, &status);
        worker_stop(w);
}

static void test_about(void **state) {
        Outcome o;

        once("about", &(Event) {
                .content_type = "image/jpeg",
                .deadline = now_usec() + 50 * USEC_PER_SEC,
                .headers = (const char *[]) { "caller", "shop/pay", "traceparent", "00-1-2-3", NULL },
        }, &o);
        assert_false(o.failed);
        assert_string_equal(o.data, "photos resize 3-abc 0123456789abcdef0123456789abcdef "
                            "fedcba9876543210fedcba9876543210 image/jpeg shop/pay "
                            "0123456789abcdef0123456789abcdef 1 clean none");
        outcome_done(&o);
}

static void test_process(void **state) {
        Outcome o;

        once("process", &(Event) {}, &o);
        assert_string_equal(o.data, "1 1 " MEMORY);
        outcome_done(&o);
        once("fork_handlers", &(Event) {}, &o);
        assert_string_equal(o.data, "1 1");
        outcome_done(&o);
}

/* The functions are linked with libsand.so.0, and get the worker's. */
static void test_one_sdk(void **state) {
        Outcome o;

        once("whose_sdk", &(Event) {}, &o);
        assert_false(o.failed);
        assert_string_equal(o.data, "sand-worker-native 0");
        outcome_done(&o);
}

static void test_output(void **state) {
        Worker *w = native("prints");
        Instance *i = instance_fork(w);
        Outcome o;

        instance_handle(i, &(Event) {}, &o);
        assert_false(o.failed);
        outcome_done(&o);
        /* All of it is there once the answer is. */
        assert_string_equal(i->output, "<3>two\n<3>lines\nunfinished");
        instance_stop(i, NULL);
        worker_stop(w);
}

static void test_calls(void **state) {
        Worker *w = native("calls");
        Instance *i = instance_fork(w);
        size_t size = 2 * 1024 * 1024;
        char *data = calloc(1, size);
        Outcome o;

        i->answer = (Answer) { .data = "pong", .size = 4, .content_type = "text/plain" };
        instance_handle(i, &(Event) {
                .data = "ping", .size = 4, .deadline = now_usec() + 50 * USEC_PER_SEC,
                .headers = (const char *[]) { "traceparent", "00-1-2-3", NULL },
        }, &o);
        assert_string_equal(o.data, "pong");
        outcome_done(&o);
        assert_string_equal(i->last_member, "Invoke");
        assert_string_equal(i->last_target, "other");
        assert_string_equal(i->last_traceparent, "00-1-2-3");
        assert_true(i->last_deadline > now_usec());
        assert_memory_equal(i->last_data, "ping", 4);

        i->answer = (Answer) { .error = "org.sand.Error.FunctionFailed" };
        instance_handle(i, &(Event) {}, &o);
        assert_string_equal(o.data, "ItsClass|the text|ItsClass: the text");
        outcome_done(&o);

        i->answer = (Answer) { .data = data, .size = size };
        instance_handle(i, &(Event) { .data = data, .size = size, .memfd = true }, &o);
        assert_int_equal(o.size, size);
        assert_int_equal(i->last_size, size);
        assert_int_equal(i->calls, 3);
        outcome_done(&o);
        instance_stop(i, NULL);
        worker_stop(w);
        free(data);
}

/* What is passed on as it came travels in the memfd that it came in; what is not the same bytes does not. */
static void test_pass_on(void **state) {
        size_t size = 2 * 1024 * 1024;
        char *data = calloc(1, size);
        Worker *w = native("echo"), *caller = native("calls"), *part = native("echo_tail");
        Instance *i = instance_fork(w), *c = instance_fork(caller), *p = instance_fork(part);
        Outcome o;

        assert_non_null(data);
        data[size - 1] = 'z';
        for (unsigned k = 0; k < 2; k++) {
                instance_handle(i, &(Event) { .data = data, .size = size, .memfd = true }, &o);
                assert_true(o.event_inode != 0);
                assert_int_equal(o.inode, o.event_inode);
                assert_memory_equal(o.data, data, size);
                outcome_done(&o);
        }

        /* To a callee, and what that answers back to the caller. */
        c->answer = (Answer) { .data = data, .size = size };
        instance_handle(c, &(Event) { .data = data, .size = size, .memfd = true }, &o);
        assert_int_equal(c->last_memfd, o.event_inode);
        assert_int_equal(o.inode, c->answer_memfd);
        assert_int_not_equal(o.inode, o.event_inode);
        assert_memory_equal(o.data, data, size);
        outcome_done(&o);

        instance_handle(p, &(Event) { .data = data, .size = size, .memfd = true }, &o);
        assert_int_not_equal(o.inode, o.event_inode);
        assert_int_equal(o.size, size - 1);
        assert_memory_equal(o.data, data + 1, size - 1);
        outcome_done(&o);
        instance_stop(i, NULL);
        instance_stop(c, NULL);
        instance_stop(p, NULL);
        worker_stop(w);
        worker_stop(caller);
        worker_stop(part);
        free(data);
}

static void test_send(void **state) {
        Worker *w = native("sends");
        Instance *i = instance_fork(w);
        Outcome o;

        instance_handle(i, &(Event) { .data = "x", .size = 1 }, &o);
        assert_false(o.failed);
        assert_string_equal(i->last_member, "Send");
        outcome_done(&o);
        i->answer.error = "org.sand.Error.Busy";
        instance_handle(i, &(Event) {}, &o);
        assert_string_equal(o.error, "NotSent");
        assert_string_equal(o.message, "ItsClass: the text");
        outcome_done(&o);
        instance_stop(i, NULL);
        worker_stop(w);
}

static void test_load_failures(void **state) {
        static const struct {
                const char *handler, *error, *message;
        } cases[] = {
                { "absent.so:f", "LoadError", "./absent.so: cannot open shared object file" },
                { "text.so:f", "LoadError", "invalid ELF header" },
                { "no-colon", "LoadError", "expected \"FILE.so:SYMBOL\"" },
        };

        scratch_file("text.so", "This is no library, however long it is, and whatever it is called.\n", 0644);
        for (size_t k = 0; k < ELEMENTSOF(cases); k++) {
                Worker *w = worker_start("sand-worker-native", scratch_directory(),
                                         (const char *[]) { cases[k].handler, NULL }, NULL);

                assert_string_equal(w->signal, "LoadFailed");
                assert_string_equal(w->error, cases[k].error);
                assert_non_null(strstr(w->message, cases[k].message));
                worker_stop(w);
        }

        Worker *w = native("no_such_symbol");
        assert_string_equal(w->error, "MissingSymbol");
        assert_non_null(strstr(w->message, "exports no function \"no_such_symbol\""));
        worker_stop(w);
}

static void test_protocol(void **state) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        Worker *w = native("echo");
        Instance *i = instance_fork(w);
        Outcome o;

        /* What nobody knows is refused, and the connection goes on. */
        assert_int_equal(sd_bus_call_method(w->bus, NULL, SAND_WORKER_PATH, SAND_WORKER_INTERFACE, "Spoon",
                                            &error, NULL, "u", 1), -EBADR);
        assert_string_equal(error.name, SD_BUS_ERROR_UNKNOWN_METHOD);
        sd_bus_error_free(&error);
        assert_true(sd_bus_call_method(i->bus, NULL, SAND_INSTANCE_PATH, SAND_INSTANCE_INTERFACE, "Handle",
                                       &error, NULL, "s", "not enough") < 0);
        assert_string_equal(error.name, SD_BUS_ERROR_UNKNOWN_METHOD);
        instance_handle(i, &(Event) { .data = "on", .size = 2 }, &o);
        assert_string_equal(o.data, "on");
        outcome_done(&o);

        /* An instance outlives its worker. */
        worker_stop(w);
        instance_handle(i, &(Event) { .data = "still", .size = 5 }, &o);
        assert_string_equal(o.data, "still");
        outcome_done(&o);
        instance_stop(i, NULL);
}

static void test_unsealed(void **state) {
        Worker *w = native("echo");
        Instance *i = instance_fork(w);
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        FILE *f = tmpfile();

        assert_non_null(f);
        assert_true(sd_bus_call_method(i->bus, NULL, SAND_INSTANCE_PATH, SAND_INSTANCE_INTERFACE, "Handle", &error,
                                       NULL, "sstsa{ss}v", "a", "b", UINT64_C(0), "", 0, "h", fileno(f)) < 0);
        assert_string_equal(error.name, "org.sand.Error.BadRequest");
        (void) fclose(f);
        instance_stop(i, NULL);
        worker_stop(w);
}

static void test_not_started_by_hand(void **state) {
        char command[4096];
        int status;

        (void) snprintf(command, sizeof(command), "exec %s/sand-worker-native a.so:b 3</dev/null 2>/dev/null",
                        getenv("SAND_WORKER_DIR"));
        status = system(command);
        assert_int_equal(WEXITSTATUS(status), 2);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_echo),
                cmocka_unit_test(test_large),
                cmocka_unit_test(test_failures),
                cmocka_unit_test(test_result_sizes),
                cmocka_unit_test(test_crash),
                cmocka_unit_test(test_about),
                cmocka_unit_test(test_process),
                cmocka_unit_test(test_one_sdk),
                cmocka_unit_test(test_output),
                cmocka_unit_test(test_calls),
                cmocka_unit_test(test_pass_on),
                cmocka_unit_test(test_send),
                cmocka_unit_test(test_load_failures),
                cmocka_unit_test(test_protocol),
                cmocka_unit_test(test_unsealed),
                cmocka_unit_test(test_not_started_by_hand),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
