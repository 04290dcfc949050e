/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sand-worker-exec and sand-call, driven over sd-bus. $SAND_WORKER_DIR holds the programs. */

#include "worker-harness.h"

#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const char *const environment[] = {
        "SAND_APP=photos", "SAND_FUNCTION=sign", "SAND_VERSION=3-abc", "SAND_PAYLOAD_MAX=4194304",
        "SAND_CONTENT_TYPE=text/plain", "HOME=/tmp", NULL,
};

static Worker *program(const char *script) {
        char text[8192];

        (void) snprintf(text, sizeof(text), "#!/bin/sh\nexport PATH=\"$PATH:%s\"\n%s", getenv("SAND_WORKER_DIR"), script);
        scratch_file("program", text, 0755);
        return worker_start("sand-worker-exec", scratch_directory(),
                            (const char *[]) { "./program", "one", "two words", NULL }, environment);
}

static void once(const char *script, const Event *event, Outcome *ret) {
        Worker *w = program(script);
        Instance *i = instance_fork(w);

        instance_handle(i, event, ret);
        instance_stop(i, NULL);
        worker_stop(w);
}

static void assert_result(const char *script, const char *event, const char *result) {
        Outcome o;

        once(script, &(Event) { .data = event, .size = strlen(event), .deadline = 77 }, &o);
        if (o.failed)
                fail_msg("%s: %s", o.error, o.message);
        assert_string_equal(o.data, result);
        assert_string_equal(o.content_type, "text/plain");
        outcome_done(&o);
}

static void test_results(void **state) {
        assert_result("cat", "in and out", "in and out");
        assert_result("true", "unread", "");
        assert_result("exec <&-; echo early", "closed", "early\n");
        assert_result("echo \"$1,$2\"", "", "one,two words\n");
        assert_result("echo $SAND_EXECUTION $SAND_INVOCATION $SAND_DEADLINE $SAND_FUNCTION ${SAND_PAYLOAD_MAX-none} $HOME",
                      "", "0123456789abcdef0123456789abcdef fedcba9876543210fedcba9876543210 77 sign none /tmp\n");
        /* Nothing of the instance's descriptors comes along; ls has its own for the directory. */
        assert_result("ls /proc/self/fd | tr '\\n' ' '", "", "0 1 2 3 ");
        /* Who goes on in the background does not hold up the answer. */
        assert_result("sleep 100 & echo done", "", "done\n");
}

static void test_large(void **state) {
        size_t size = 4 * 1024 * 1024;
        char *data = calloc(1, size);
        Outcome o;

        assert_non_null(data);
        memset(data, 'x', size);
        once("cat; cat /dev/null", &(Event) { .data = data, .size = size, .memfd = true }, &o);
        assert_int_equal(o.size, size);
        assert_memory_equal(o.data, data, size);
        outcome_done(&o);
        free(data);

        /* Both ways at once, and more than a pipe holds on both outputs. */
        once("head -c 300000 /dev/zero >&2; head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2", &(Event) {}, &o);
        assert_int_equal(o.size, 300000);
        outcome_done(&o);

        once("exec yes", &(Event) {}, &o);
        assert_string_equal(o.name, "org.sand.Error.TooLarge");
        outcome_done(&o);
}

static void test_failures(void **state) {
        static const struct {
                const char *script, *error, *message, *cause;
        } cases[] = {
                { "echo why >&2; exit 3", "ExitStatus", "exited with status 3", "why\n" },
                { "echo partial; exit 1", "ExitStatus", "exited with status 1", "" },
                { "kill -SEGV $$", "Signal", "killed by signal SEGV (Segmentation fault)", "" },
                { "printf 'caf\\351' >&2; exit 1", "ExitStatus", "exited with status 1", "caf?" },
        };
        Outcome o;

        for (size_t k = 0; k < ELEMENTSOF(cases); k++) {
                once(cases[k].script, &(Event) {}, &o);
                assert_string_equal(o.name, "org.sand.Error.FunctionFailed");
                assert_string_equal(o.error, cases[k].error);
                assert_memory_equal(o.message, cases[k].message, strlen(cases[k].message));
                assert_string_equal(o.cause, cases[k].cause);
                outcome_done(&o);
        }

        once("seq 1 100000 >&2; exit 1", &(Event) {}, &o);
        assert_int_equal(strlen(o.cause), 4096);
        assert_string_equal(o.cause + 4096 - 13, "99999\n100000\n");
        outcome_done(&o);
}

static void test_log(void **state) {
        Worker *w = program("echo to the log >&2; echo result");
        Instance *i = instance_fork(w);
        Outcome o;

        for (int k = 0; k < 2; k++) {
                instance_handle(i, &(Event) {}, &o);
                assert_string_equal(o.data, "result\n");
                outcome_done(&o);
        }
        assert_string_equal(i->output, "to the log\nto the log\n");
        instance_stop(i, NULL);
        worker_stop(w);
}

static void test_usage(void **state) {
        Outcome o;

        once("dd if=/dev/zero bs=1M count=2000 of=/dev/null 2>/dev/null", &(Event) {}, &o);
        assert_true(o.cpu > 10 * 1000);
        assert_true(o.wall >= 10 * 1000);
        outcome_done(&o);
}

static void test_load_failures(void **state) {
        static const struct {
                const char *handler, *error, *message;
        } cases[] = {
                { "./absent", "NotFound", "There is no file in the bundle with the name ./absent." },
                { "no-such-program-anywhere", "NotFound", "on the PATH" },
                { "./plain", "NotExecutable", "./plain is not executable" },
                { "./folder", "NotExecutable", "./folder is a directory." },
        };
        char folder[4096];

        scratch_file("plain", "echo", 0644);
        (void) snprintf(folder, sizeof(folder), "%s/folder", scratch_directory());
        assert_return_code(mkdir(folder, 0755), errno);
        for (size_t k = 0; k < ELEMENTSOF(cases); k++) {
                Worker *w = worker_start("sand-worker-exec", scratch_directory(),
                                         (const char *[]) { cases[k].handler, NULL }, NULL);

                assert_string_equal(w->signal, "LoadFailed");
                assert_string_equal(w->error, cases[k].error);
                assert_non_null(strstr(w->message, cases[k].message));
                worker_stop(w);
        }
}

static void test_bad_interpreter(void **state) {
        Worker *w;
        Instance *i;
        Outcome o;

        scratch_file("odd", "#!/no/such/interpreter\n", 0755);
        w = worker_start("sand-worker-exec", scratch_directory(), (const char *[]) { "./odd", NULL }, environment);
        i = instance_fork(w);
        instance_handle(i, &(Event) {}, &o);
        assert_string_equal(o.error, "ExecFailed");
        assert_non_null(strstr(o.message, "interpreter is missing"));
        outcome_done(&o);
        instance_stop(i, NULL);
        worker_stop(w);
}

/* A script with one call, and an answer for it. */
static void called(const char *script, const Answer *answer, const char *result, const char *member) {
        Worker *w = program(script);
        Instance *i = instance_fork(w);
        Outcome o;

        i->answer = *answer;
        instance_handle(i, &(Event) { .data = "the event", .size = 9, .deadline = now_usec() + 60 * USEC_PER_SEC }, &o);
        if (o.failed)
                fail_msg("%s: %s", o.error, o.message);
        assert_string_equal(o.data, result);
        if (member) {
                assert_string_equal(i->last_member, member);
                assert_string_equal(i->last_target, "other");
                assert_int_equal(i->last_size, 9);
                assert_memory_equal(i->last_data, "the event", 9);
        } else
                assert_int_equal(i->calls, 0);
        outcome_done(&o);
        instance_stop(i, NULL);
        worker_stop(w);
}

static void test_sand_call(void **state) {
        called("sand-call -c text/x other", &(Answer) { .data = "pong", .size = 4 }, "pong", "Invoke");
        called("sand-call --send other -; echo $?", &(Answer) {}, "0\n", "Send");
        called("sand-call other 2>&1; echo $?", &(Answer) { .error = "org.sand.Error.FunctionFailed" },
               "sand-call: other: FunctionFailed: ItsClass: the text\nits cause\n1\n", "Invoke");
        called("sand-call other 2>/dev/null; echo $?", &(Answer) { .error = "org.sand.Error.NotFound" }, "3\n", "Invoke");
        called("sand-call other 2>/dev/null; echo $?", &(Answer) { .error = "org.sand.Error.Busy" }, "6\n", "Invoke");
        called("sand-call other 2>/dev/null; echo $?", &(Answer) { .error = "org.sand.Error.Timeout" }, "7\n", "Invoke");
        called("sand-call other /no/file 2>&1; echo $?", &(Answer) {},
               "sand-call: Failed to read /no/file: No such file or directory\n2\n", NULL);
        called("head -c 5000000 /dev/zero | sand-call other 2>/dev/null; echo $?", &(Answer) {}, "2\n", NULL);
        called("SAND_BUS= sand-call other 2>&1; echo $?", &(Answer) {},
               "sand-call: $SAND_BUS is not set: sand-call works inside an exec function of SAND. From outside, "
               "use sandctl invoke.\n2\n", NULL);
        called("SAND_BUS=sand/none sand-call other 2>/dev/null; echo $?", &(Answer) {}, "5\n", NULL);
        called("sand-call --timeout=soon other 2>/dev/null; echo $?; sand-call 2>/dev/null; echo $?", &(Answer) {},
               "2\n2\n", NULL);
}

/* More of them at once than are served at once, some of which give up. */
static void test_many_calls(void **state) {
        Worker *w = program("for i in $(seq 40); do echo $i | sand-call other & done\n"
                            "sand-call other & kill -9 $!\nwait\n");
        Instance *i = instance_fork(w);
        Outcome o;

        i->answer = (Answer) { .data = "!", .size = 1 };
        instance_handle(i, &(Event) { .deadline = now_usec() + 60 * USEC_PER_SEC }, &o);
        assert_false(o.failed);
        assert_int_equal(o.size, 40);
        assert_true(i->calls >= 40);
        outcome_done(&o);
        instance_stop(i, NULL);
        worker_stop(w);
}

static void test_large_call(void **state) {
        size_t size = 3 * 1024 * 1024;
        char *data = calloc(1, size);
        Worker *w = program("head -c 2000000 /dev/zero | sand-call other");
        Instance *i = instance_fork(w);
        Outcome o;

        i->answer = (Answer) { .data = data, .size = size };
        instance_handle(i, &(Event) {}, &o);
        assert_int_equal(o.size, size);
        assert_int_equal(i->last_size, 2000000);
        outcome_done(&o);
        instance_stop(i, NULL);
        worker_stop(w);
        free(data);
}

static const char show[] = "echo \"$REQUEST_METHOD|$PATH_INFO|${QUERY_STRING-none}|$HTTP_X_A|${HTTP_PROXY-none}|"
                           "${CONTENT_TYPE-none}|$(cat)\"";

static void handle_cgi(Instance *i, const char *variables, const char *body, const char *result) {
        const char *const headers[] = { variables ? "cgi" : "other", strempty(variables), NULL };
        Outcome o;

        instance_handle(i, &(Event) { .data = body, .size = strlen(body), .headers = headers }, &o);
        if (o.failed)
                fail_msg("%s: %s", o.error, o.message);
        assert_string_equal(o.data, result);
        outcome_done(&o);
}

/* A request's variables are there for it, and for no other, whatever the function's own are. */
static void test_cgi(void **state) {
        static const char *const with[] = {
                "SAND_APP=photos", "SAND_FUNCTION=sign", "SAND_VERSION=3-abc", "CONTENT_TYPE=mine", "HTTP_PROXY=ours", NULL,
        };
        Instance *i;
        Worker *w;

        w = program(show);
        i = instance_fork(w);
        handle_cgi(i, "REQUEST_METHOD=POST\nPATH_INFO=/a b=c\nQUERY_STRING=\nHTTP_X_A=1, 2\nHTTPS=on\nCONTENT_TYPE=text/plain\n",
                   "body", "POST|/a b=c||1, 2|none|text/plain|body\n");
        handle_cgi(i, "REQUEST_METHOD=GET\nPATH_INFO=\n", "", "GET||none||none|none|\n");
        handle_cgi(i, NULL, "event", "||none||none|none|event\n");
        instance_stop(i, NULL);
        worker_stop(w);

        w = worker_start("sand-worker-exec", scratch_directory(), (const char *[]) { "./program", NULL }, with);
        i = instance_fork(w);
        handle_cgi(i, "REQUEST_METHOD=GET\n", "", "GET||none||ours|none|\n");
        handle_cgi(i, NULL, "event", "||none||ours|mine|event\n");
        instance_stop(i, NULL);
        worker_stop(w);
}

/* Nobody sets anything else by them. */
static void test_cgi_that_is_none(void **state) {
        static const char *const bad[] = {
                "LD_PRELOAD=/tmp/x.so\n", "PATH=/tmp\n", "REQUEST_METHOD=GET\nSAND_BUS=x\n", "HTTP_PROXY=http://evil\n",
                "nonsense\n", "=x\n", "REQUEST_METHODS=GET\n",
        };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                const char *const headers[] = { "cgi", bad[i], NULL };
                Outcome o;

                once(show, &(Event) { .data = "", .headers = headers }, &o);
                if (!o.failed || !streq(o.error, "BadRequest"))
                        fail_msg("%s: %s", bad[i], o.failed ? o.error : (char *) o.data);
                outcome_done(&o);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_results),
                cmocka_unit_test(test_large),
                cmocka_unit_test(test_failures),
                cmocka_unit_test(test_log),
                cmocka_unit_test(test_usage),
                cmocka_unit_test(test_load_failures),
                cmocka_unit_test(test_bad_interpreter),
                cmocka_unit_test(test_sand_call),
                cmocka_unit_test(test_many_calls),
                cmocka_unit_test(test_large_call),
                cmocka_unit_test(test_cgi),
                cmocka_unit_test(test_cgi_that_is_none),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
