/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sand-worker-python, driven over sd-bus. $SAND_WORKER_DIR holds the programs. */

#include "worker-harness.h"

#include <json-c/json.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const char *const environment[] = {
        "SAND_APP=photos", "SAND_FUNCTION=extract", "SAND_VERSION=3-abc", "SAND_PAYLOAD_MAX=4194304",
        "SAND_MEMORY=134217728", "SAND_CONTENT_TYPE=image/jpeg", "COLOUR=blue", NULL,
};

static Worker *python_handler(const char *source, const char *handler) {
        static unsigned n;
        char folder[4096], name[64];

        /* A bundle each, lest one is taken for another that was compiled. */
        (void) snprintf(name, sizeof(name), "bundle%u", ++n);
        (void) snprintf(folder, sizeof(folder), "%s/%s", scratch_directory(), name);
        assert_return_code(mkdir(folder, 0755), errno);
        (void) snprintf(name, sizeof(name), "bundle%u/function.py", n);
        scratch_file(name, source, 0644);
        return worker_start("sand-worker-python", folder, (const char *[]) { handler, NULL }, environment);
}

static Worker *python(const char *source) {
        Worker *w = python_handler(source, "function.handle");

        if (streq(w->signal, "LoadFailed"))
                fail_msg("%s: %s", w->error, w->message);
        return w;
}

static void once(const char *source, const Event *event, Outcome *ret) {
        Worker *w = python(source);
        Instance *i = instance_fork(w);

        instance_handle(i, event, ret);
        instance_stop(i, NULL);
        worker_stop(w);
}

static void assert_json(const char *source, const char *content_type, const char *event, const char *result) {
        Outcome o;

        once(source, &(Event) { .content_type = content_type, .data = event, .size = strlen(event) }, &o);
        if (o.failed)
                fail_msg("%s: %s %s", o.error, o.message, o.cause);
        assert_string_equal(o.data, result);
        assert_string_equal(o.content_type, "application/json");
        outcome_done(&o);
}

#define HANDLE "def handle(event, context):\n    return "

static void test_events(void **state) {
        assert_json(HANDLE "event", "application/json", "{\"a\": [1, 2.5, null, true, \"\xc3\xa9\"]}",
                    "{\"a\":[1,2.5,null,true,\"\xc3\xa9\"]}");
        assert_json(HANDLE "event['a']", "", "{\"a\":1}", "1");
        assert_json(HANDLE "event", "application/x-www-form-urlencoded", "[1]", "[1]");
        assert_json(HANDLE "event", "Application/Problem+JSON; charset=utf-8", "[1]", "[1]");
        assert_json(HANDLE "event", "application/json", "", "{}");
        assert_json(HANDLE "str(event)", "text/plain", "{\"a\":1}", "\"b'{\\\"a\\\":1}'\"");
        assert_json(HANDLE "len(event)", "image/jpeg", "", "0");
        assert_json(HANDLE "None", "", "", "null");
}

static void test_bytes(void **state) {
        static const char *const sources[] = {
                HANDLE "event", HANDLE "bytearray(event)", HANDLE "memoryview(event)",
        };
        size_t size = 1024 * 1024;
        char *data = malloc(size);
        Outcome o;

        assert_non_null(data);
        for (size_t k = 0; k < size; k++)
                data[k] = (char) (k * 7);
        for (size_t k = 0; k < ELEMENTSOF(sources); k++) {
                once(sources[k], &(Event) { .content_type = "image/jpeg", .data = data, .size = size, .memfd = true }, &o);
                assert_false(o.failed);
                assert_int_equal(o.size, size);
                assert_memory_equal(o.data, data, size);
                assert_string_equal(o.content_type, "application/octet-stream");
                outcome_done(&o);
        }
        free(data);
}

static void test_failures(void **state) {
        static const struct {
                const char *source, *event, *name, *error, *message;
        } cases[] = {
                { "def handle(e, c):\n    raise ValueError('caf\\xe9 \\ud800')", "", "FunctionFailed", "ValueError",
                  "caf\xc3\xa9 \\ud800" },
                { "class Own(Exception): pass\ndef handle(e, c):\n    raise Own(7)", "", "FunctionFailed", "Own", "7" },
                { "import sys\ndef handle(e, c):\n    sys.exit(3)", "", "FunctionFailed", "SystemExit", "3" },
                { "def handle(e, c):\n    return handle(e, c)", "", "FunctionFailed", "RecursionError", NULL },
                { "def handle():\n    pass", "", "FunctionFailed", "TypeError", NULL },
                { HANDLE "{1}", "", "FunctionFailed", "Runtime.MarshalError",
                  "Unable to marshal response: Object of type set is not JSON serializable" },
                { HANDLE "float('nan')", "", "FunctionFailed", "Runtime.MarshalError", NULL },
                { HANDLE "'\\ud800'", "", "FunctionFailed", "Runtime.MarshalError", NULL },
                { HANDLE "b'x' * 5000000", "", "TooLarge", "TooLarge", NULL },
                { HANDLE "bytearray(500000000)", "", "OutOfMemory", "OutOfMemory", NULL },
                { HANDLE "[[0] * 1000 for i in range(1000000)]", "", "OutOfMemory", "OutOfMemory", NULL },
                { HANDLE "1", "\xff\xd8", "BadRequest", "BadRequest", NULL },
                { HANDLE "1", "{\"a\":", "BadRequest", "BadRequest", NULL },
        };

        for (size_t k = 0; k < ELEMENTSOF(cases); k++) {
                char name[64];
                Outcome o;

                once(cases[k].source, &(Event) { .data = cases[k].event, .size = strlen(cases[k].event) }, &o);
                print_message("%s: %s\n", o.error, o.message);
                (void) snprintf(name, sizeof(name), "org.sand.Error.%s", cases[k].name);
                assert_true(o.failed);
                assert_string_equal(o.name, name);
                assert_string_equal(o.error, cases[k].error);
                if (cases[k].message)
                        assert_string_equal(o.message, cases[k].message);
                if (streq(cases[k].name, "BadRequest"))
                        assert_non_null(strstr(o.message, "application/octet-stream"));
                outcome_done(&o);
        }
}

static void test_stack_trace(void **state) {
        json_object *cause, *member;
        Outcome o;

        once("def inner():\n    raise KeyError('x')\ndef handle(e, c):\n    inner()\n", &(Event) {}, &o);
        cause = json_tokener_parse(o.cause);
        assert_non_null(cause);
        assert_true(json_object_object_get_ex(cause, "errorType", &member));
        assert_string_equal(json_object_get_string(member), "KeyError");
        assert_true(json_object_object_get_ex(cause, "errorMessage", &member));
        assert_string_equal(json_object_get_string(member), "'x'");
        assert_true(json_object_object_get_ex(cause, "stackTrace", &member));
        assert_int_equal(json_object_array_length(member), 2);
        assert_non_null(strstr(json_object_get_string(json_object_array_get_idx(member, 1)), "line 2, in inner"));
        json_object_put(cause);
        outcome_done(&o);
}

static void test_context(void **state) {
        static const char source[] =
                "import os\n"
                "def handle(e, c):\n"
                "    return [c.function_name, c.function_version, c.aws_request_id, c.invocation_id, c.execution_id,\n"
                "            c.app_name, c.invoked_function_arn, c.memory_limit_in_mb, c.log_group_name,\n"
                "            c.log_stream_name, c.client_context, c.identity, c.content_type, c.headers,\n"
                "            40000 < c.get_remaining_time_in_millis() <= 50000, sorted(k for k in os.environ)]\n";
        Outcome o;

        once(source, &(Event) {
                .content_type = "application/json",
                .deadline = now_usec() + 50 * USEC_PER_SEC,
                .headers = (const char *[]) { "caller", "shop/pay", NULL },
        }, &o);
        if (o.failed)
                fail_msg("%s: %s", o.error, o.message);
        assert_string_equal(o.data,
                "[\"extract\",\"3-abc\",\"fedcba9876543210fedcba9876543210\",\"fedcba9876543210fedcba9876543210\","
                "\"0123456789abcdef0123456789abcdef\",\"photos\",\"arn:aws:lambda:local:0:function:photos-extract\","
                "\"128\",\"sand-app@photos.service\",\"photos/extract\",null,null,\"application/json\","
                "{\"caller\":\"shop/pay\"},true,[\"COLOUR\",\"LC_CTYPE\",\"SAND_APP\",\"SAND_FUNCTION\",\"SAND_VERSION\"]]");
        outcome_done(&o);
}

/* Calls from a handler, each with its answer. */
static void called(const char *source, const Answer *answer, const char *result, Instance *ret) {
        Worker *w = python(source);
        Instance *i = instance_fork(w);
        Outcome o;

        i->answer = *answer;
        instance_handle(i, &(Event) { .deadline = now_usec() + 50 * USEC_PER_SEC }, &o);
        if (o.failed)
                fail_msg("%s: %s %s", o.error, o.message, o.cause);
        assert_string_equal(o.data, result);
        outcome_done(&o);
        *ret = *i;
        ret->last_member = strdup(i->last_member);
        ret->last_content_type = strdup(i->last_content_type);
        ret->last_data = strndup(i->last_data, i->last_size);
        instance_stop(i, NULL);
        worker_stop(w);
}

static void instance_forget(Instance *i) {
        free(i->last_member);
        free(i->last_content_type);
        free(i->last_data);
}

static void test_calls(void **state) {
        static const struct {
                const char *source;
                Answer answer;
                const char *result, *member, *payload, *content_type;
        } cases[] = {
                { HANDLE "context.call('other', {'a': 1})['b']",
                  { .data = "{\"b\": 2}", .size = 8, .content_type = "application/json" },
                  "2", "Invoke", "{\"a\":1}", "application/json" },
                { HANDLE "context.call('other', b'raw', timeout=2.5).decode()",
                  { .data = "bin", .size = 3, .content_type = "image/jpeg" },
                  "\"bin\"", "Invoke", "raw", "application/octet-stream" },
                { HANDLE "context.call('other')", { .content_type = "application/json" },
                  "null", "Invoke", "", "application/json" },
                { HANDLE "context.call('other', None)", { .content_type = "application/json" },
                  "null", "Invoke", "null", "application/json" },
                { HANDLE "context.send('other', [1])", {}, "\"0123456789abcdef0123456789abcdef\"", "Send", "[1]",
                  "application/json" },
                { HANDLE "context.emit('orders.paid', [1])", {}, "\"0123456789abcdef0123456789abcdef\"", "Emit", "[1]",
                  "application/json" },
                { "import sand\ndef handle(e, c):\n    try:\n        c.call('other')\n    except sand.FunctionError as x:\n"
                  "        return [x.kind, x.error, x.message, x.cause, x.target, str(x)]",
                  { .error = "org.sand.Error.FunctionFailed" },
                  "[\"FunctionFailed\",\"ItsClass\",\"the text\",\"its cause\",\"other\","
                  "\"other: FunctionFailed: ItsClass: the text\"]", "Invoke", "", "application/json" },
                { "import sand\ndef handle(e, c):\n    try:\n        c.call('other', timeout=0.2)\n"
                  "    except sand.FunctionError as x:\n        return x.kind",
                  { .delay_usec = USEC_PER_SEC }, "\"Timeout\"", "Invoke", "", "application/json" },
                { "import threading\ndef handle(e, c):\n    got = []\n"
                  "    def f():\n        got.append(c.call('other'))\n"
                  "    l = [threading.Thread(target=f) for i in range(8)]\n"
                  "    [t.start() for t in l]\n    [t.join() for t in l]\n    return got",
                  { .data = "1", .size = 1, .content_type = "application/json" },
                  "[1,1,1,1,1,1,1,1]", "Invoke", "", "application/json" },
        };

        for (size_t k = 0; k < ELEMENTSOF(cases); k++) {
                Instance i;

                called(cases[k].source, &cases[k].answer, cases[k].result, &i);
                assert_string_equal(i.last_member, cases[k].member);
                assert_string_equal(i.last_data, cases[k].payload);
                assert_string_equal(i.last_content_type, cases[k].content_type);
                instance_forget(&i);
        }
}

static void test_output(void **state) {
        static const char source[] =
                "import logging, sys\n"
                "log = logging.getLogger('x')\n"
                "print('loaded')\n"
                "def handle(e, c):\n"
                "    print('printed \\ud800')\n"
                "    print('no newline', end='')\n"
                "    sys.stdout.flush()\n"
                "    print()\n"
                "    log.error('two\\nlines')\n"
                "    log.warning('%s', 'w')\n"
                "    log.debug('not at this level')\n"
                "    try:\n        1/0\n    except ZeroDivisionError:\n        log.exception('caught')\n";
        Worker *w = python(source);
        Instance *i = instance_fork(w);
        Outcome o;

        instance_handle(i, &(Event) {}, &o);
        assert_false(o.failed);
        outcome_done(&o);
        assert_non_null(startswith(i->output, "printed \\ud800\nno newline\n<3>two\n<3>lines\n<4>w\n<3>caught\n"
                                   "<3>Traceback "));
        assert_non_null(strstr(i->output, "\n<3>ZeroDivisionError: division by zero\n"));
        instance_stop(i, NULL);
        worker_stop(w);
}

static void test_load_failures(void **state) {
        static const struct {
                const char *source, *handler, *error, *message, *cause;
        } cases[] = {
                { "import no_such_module_here\n", "function.handle", "ModuleNotFoundError",
                  "No module named 'no_such_module_here'", "function.py\", line 1" },
                { "def f(:\n", "function.handle", "SyntaxError", "invalid syntax (function.py, line 1)", "def f(:" },
                { "1/0\n", "function.handle", "ZeroDivisionError", "division by zero", "1/0" },
                { "import sys\nsys.exit(3)\n", "function.handle", "SystemExit", "3", "" },
                { "x = 1\n", "function.handle", "HandlerNotFound", "Module function has no function \"handle\".", "" },
                { "x = 1\n", "function.x", "HandlerNotFound", "Module function has no function \"x\".", "" },
                { "x = 1\n", "absent.x", "ModuleNotFoundError", "No module named 'absent'", "" },
                { "x = 1\n", "nodot", "LoadError", "The handler is \"nodot\", expected \"MODULE.FUNCTION\".", "" },
        };

        for (size_t k = 0; k < ELEMENTSOF(cases); k++) {
                Worker *w = python_handler(cases[k].source, cases[k].handler);

                assert_string_equal(w->signal, "LoadFailed");
                assert_string_equal(w->error, cases[k].error);
                assert_string_equal(w->message, cases[k].message);
                assert_non_null(strstr(w->cause, cases[k].cause));
                worker_stop(w);
        }
}

/* Two instances of one worker: what was loaded is the same, chance is not. */
static void test_instances(void **state) {
        Worker *w = python("import random, uuid, os\nloaded = random.gauss(0, 1)\nn = 0\n"
                           "def handle(e, c):\n    global n\n    n += 1\n"
                           "    return [loaded, n, random.gauss(0, 1), random.random(), str(uuid.uuid4()), os.getpid()]\n");
        Instance *a = instance_fork(w), *b = instance_fork(w);
        Outcome first, second, again;
        double first_gauss;
        char *rest;
        size_t l;

        instance_handle(a, &(Event) {}, &first);
        instance_handle(b, &(Event) {}, &second);
        instance_handle(b, &(Event) {}, &again);
        assert_false(first.failed || second.failed);
        l = (size_t) (strchr(first.data, ',') - (char *) first.data);
        assert_memory_equal(first.data, second.data, l);
        assert_memory_equal((char *) first.data + l, ",1,", 3);
        assert_memory_equal((char *) second.data + l, ",1,", 3);
        assert_memory_equal((char *) again.data + l, ",2,", 3);
        first_gauss = strtod((char *) first.data + l + 3, &rest);
        assert_true(first_gauss != strtod((char *) second.data + l + 3, NULL));
        assert_true(strtod(rest + 1, NULL) != strtod(strchr((char *) second.data + l + 3, ',') + 1, NULL));
        outcome_done(&first);
        outcome_done(&second);
        outcome_done(&again);
        instance_stop(a, NULL);
        instance_stop(b, NULL);
        worker_stop(w);
}

static void test_async(void **state) {
        assert_json("import asyncio\nasync def handle(e, c):\n    await asyncio.sleep(0.01)\n    return e['a']",
                    "", "{\"a\":5}", "5");
        assert_json("async def later(e):\n    return e\ndef handle(e, c):\n    return later(e)", "", "[1]", "[1]");
}

static void test_modules(void **state) {
        Outcome o;

        /* Debian's packages are there, a home directory's are not; subprocesses and threads work. */
        assert_json("import sys, site, subprocess, threading\ndef handle(e, c):\n"
                    "    t = threading.Thread(target=lambda: None); t.start(); t.join()\n"
                    "    return ['/usr/lib/python3/dist-packages' in sys.path, site.ENABLE_USER_SITE, sys.executable,\n"
                    "            subprocess.run(['echo', 'x'], capture_output=True, text=True).stdout]",
                    "", "", "[true,false,\"/usr/bin/python3\",\"x\\n\"]");

        /* What dies without an exception is the supervisor's matter. */
        Worker *w = python("import os\ndef handle(e, c):\n    os._exit(9)");
        Instance *i = instance_fork(w);
        int status;

        instance_handle(i, &(Event) {}, &o);
        assert_true(o.lost);
        outcome_done(&o);
        instance_stop(i, &status);
        assert_int_equal(WEXITSTATUS(status), 9);
        worker_stop(w);
}

/* Threads of the import do not live in the instance, and that is said. */
static void test_threads_at_import(void **state) {
        Worker *w = python("import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
                           "def handle(e, c):\n    return threading.active_count()");
        Instance *i = instance_fork(w);
        Outcome o;

        instance_handle(i, &(Event) {}, &o);
        assert_string_equal(o.data, "1");
        outcome_done(&o);
        instance_stop(i, NULL);
        worker_drain(w);
        assert_non_null(strstr(w->output, "<4>Loading function extract started 1 threads."));
        worker_stop(w);
}

/* What Python's library does after a fork for threads that are gone is not done where there were none: a thread that
 * was made at import can be started in an instance, unlike in a child of os.fork(). */
static void test_thread_made_at_import(void **state) {
        Worker *w = python("import threading, time, os\nt = threading.Thread(target=time.sleep, args=(60,), daemon=True)\n"
                           "def handle(e, c):\n    t.start()\n    return [t.is_alive(), threading.active_count()]");
        Instance *i = instance_fork(w);
        Outcome o;

        instance_handle(i, &(Event) {}, &o);
        assert_string_equal(o.data, "[true,2]");
        outcome_done(&o);
        instance_stop(i, NULL);
        worker_stop(w);
}

/* Where there were some, it is: a lock that one of them held is free. */
static void test_locks_of_threads_at_import(void **state) {
        Worker *w = python("import logging, sys, threading, time\nh = logging.StreamHandler(sys.stdout)\n"
                           "logging.getLogger().addHandler(h)\nheld = threading.Event()\n"
                           "def hold():\n    h.acquire()\n    held.set()\n    time.sleep(60)\n"
                           "threading.Thread(target=hold, daemon=True).start()\nheld.wait()\n"
                           "def handle(e, c):\n    logging.error('written')\n    return h.lock.acquire(blocking=False)");
        Instance *i = instance_fork(w);
        Outcome o;

        instance_handle(i, &(Event) {}, &o);
        assert_string_equal(o.data, "true");
        outcome_done(&o);
        instance_stop(i, NULL);
        worker_stop(w);
}

/* Hooks of os.register_at_fork() run around the worker's forks in the order that Python gives them; and all of them, the
 * library's too, around an os.fork() in an instance. */
static void test_fork_hooks(void **state) {
        static const char source[] =
                "import logging, os, posix, random, threading\n"
                "ran = []\n"
                "os.register_at_fork(before=lambda: ran.append('before'), after_in_child=lambda: ran.append('child'),\n"
                "                    after_in_parent=lambda: ran.append('parent'))\n"
                "os.register_at_fork(before=lambda: ran.append('first'))\n"
                "loaded = random.getstate()\n"
                "def refused(**hooks):\n"
                "    try:\n        os.register_at_fork(**hooks)\n    except TypeError:\n        return True\n"
                "    return False\n"
                "refusals = refused(), refused(before=1), refused(never=print)\n"
                "def child(pipe):\n"
                "    free = logging._lock.acquire(blocking=False)\n"
                "    os.write(pipe, repr([ran, threading.active_count(), free, random.getstate() == loaded]).encode())\n"
                "    os._exit(0)\n"
                "def handle(e, c):\n"
                "    in_worker = list(ran)\n"
                "    ran.clear()\n"
                "    stop, held = threading.Event(), threading.Event()\n"
                "    t = threading.Thread(target=lambda: (held.set(), stop.wait()))\n"
                "    t.start()\n    held.wait()\n"
                "    r, w = os.pipe()\n"
                "    pid = os.fork()\n"
                "    if pid == 0:\n        child(w)\n"
                "    os.waitpid(pid, 0)\n    stop.set()\n    t.join()\n"
                "    free = logging._lock.acquire(blocking=False)\n"
                "    return [in_worker, ran, os.read(r, 999).decode(), free, random.getstate() == loaded, refusals,\n"
                "            os.register_at_fork is posix.register_at_fork]\n";
        Worker *w = python(source);
        Instance *i = instance_fork(w), *second = instance_fork(w);
        Outcome o;

        instance_handle(i, &(Event) {}, &o);
        if (o.failed)
                fail_msg("%s: %s %s", o.error, o.message, o.cause);
        assert_string_equal(o.data, "[[\"first\",\"before\",\"child\"],[\"first\",\"before\",\"parent\"],"
                            "\"[['first', 'before', 'child'], 1, True, False]\",true,false,[true,true,true],true]");
        outcome_done(&o);
        instance_handle(second, &(Event) {}, &o);
        assert_memory_equal(o.data, "[[\"first\",\"before\",\"parent\",\"first\",\"before\",\"child\"],", 40);
        outcome_done(&o);
        instance_stop(i, NULL);
        instance_stop(second, NULL);
        worker_stop(w);
}

/* How many of 256 pages have to be made the instance's own by an event that writes to them. */
static unsigned faults_of_event(Worker *w, bool touch) {
        Instance *i = instance_fork(w);
        Outcome o;
        unsigned n;

        instance_handle(i, &(Event) { .data = touch ? "true" : "false", .size = touch ? 4 : 5 }, &o);
        assert_false(o.failed);
        n = (unsigned) atoi(o.data);
        outcome_done(&o);
        instance_stop(i, NULL);
        return n;
}

/* Instances get the pages that the newest event to be learned from needed, and no more the ones of those before it: that
 * one got none. */
static void test_learned_pages(void **state) {
        Worker *w = python("import mmap, resource\nbig = mmap.mmap(-1, 1 << 20, mmap.MAP_PRIVATE)\nbig.write(bytes(1 << 20))\n"
                           "def faults():\n    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
                           "def handle(e, c):\n    before = faults()\n"
                           "    for i in range(0, len(big), 4096 if e else len(big)):\n        big[i] = 1\n"
                           "    return faults() - before");

        assert_in_range(faults_of_event(w, true), 256, 1000);
        assert_in_range(faults_of_event(w, false), 0, 100);
        assert_in_range(faults_of_event(w, true), 256, 1000);
        assert_in_range(faults_of_event(w, true), 0, 100);
        worker_stop(w);
}

static void test_context_after_event(void **state) {
        Worker *w = python("kept = []\ndef handle(e, c):\n    kept.append(c)\n"
                           "    return kept[0].function_name if len(kept) < 3 else kept.clear()");
        Instance *i = instance_fork(w);
        Outcome o;

        instance_handle(i, &(Event) {}, &o);
        assert_string_equal(o.data, "\"extract\"");
        outcome_done(&o);
        instance_handle(i, &(Event) {}, &o);
        assert_string_equal(o.error, "RuntimeError");
        assert_string_equal(o.message, "the event of this context is over");
        outcome_done(&o);
        instance_handle(i, &(Event) {}, &o);
        assert_string_equal(o.data, "null");
        outcome_done(&o);
        instance_stop(i, NULL);
        worker_stop(w);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_events),
                cmocka_unit_test(test_bytes),
                cmocka_unit_test(test_failures),
                cmocka_unit_test(test_stack_trace),
                cmocka_unit_test(test_context),
                cmocka_unit_test(test_calls),
                cmocka_unit_test(test_output),
                cmocka_unit_test(test_load_failures),
                cmocka_unit_test(test_instances),
                cmocka_unit_test(test_async),
                cmocka_unit_test(test_modules),
                cmocka_unit_test(test_threads_at_import),
                cmocka_unit_test(test_thread_made_at_import),
                cmocka_unit_test(test_locks_of_threads_at_import),
                cmocka_unit_test(test_fork_hooks),
                cmocka_unit_test(test_learned_pages),
                cmocka_unit_test(test_context_after_event),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
