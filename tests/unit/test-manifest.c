/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sand.json: what is read, what is refused, and that each refusal says where and why. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "json-text.h"
#include "manifest.h"
#include "protocol.h"

/* ---- texts ---- */

static int parse(const char *text, Problems *problems, Manifest **ret) {
        return manifest_parse("sand.json", text, strlen(text), problems, ret);
}

static const char full[] =
        "{ // an application\n"
        "  \"$schema\": \"/usr/share/sand/sand.schema.json\", \"name\": \"thumbnails\",\n"
        "  \"functions\": {\n"
        "    \"resize\": { \"runtime\": \"native\", \"handler\": \"lib/resize.so:resize\", // \"not\": a key\n"
        "      \"timeout\": \"1min 30s\", \"payload_max\": \"64M\", \"content_type\": \"image/jpeg\",\n"
        "      \"instances\": { \"warm\": 2, \"max\": 4, \"events\": 0 }, \"queue\": { \"max\": 10, \"bytes\": \"1G\" },\n"
        "      \"memory\": \"256M\", \"resources\": { \"TasksMax\": 7, \"MemoryMax\": \"512M\", \"CPUWeight\": 30 },\n"
        "      \"environment\": { \"QUALITY\": \"85\", \"URL\": \"http://x//y\" } },\n"
        "    \"extract\": { \"runtime\": \"python3\", \"handler\": \"pkg.extract.handle\", \"on_success\": \"sign\",\n"
        "      \"on_failure\": \"alarms/mail\", \"retry\": { \"delay\": \"10min\", \"delay_max\": \"1h\", \"backoff\": 1.5 } },\n"
        "    \"sign\": { \"runtime\": \"exec\", \"handler\": [\"bin/sign\", \"--stdin\", \"\"] },\n"
        "    \"cat\": { \"runtime\": \"exec\", \"handler\": \"cat\" }\n"
        "  },\n"
        "  \"environment\": { \"QUALITY\": \"1\", \"LANG\": \"C.UTF-8\" },\n"
        "  \"resources\": { \"MemoryMax\": \"1G\", \"CPUQuota\": \"150%\", \"TasksMax\": 512 },\n"
        "  \"network\": \"none\", \"idle\": \"infinity\", \"receipts\": \"failed\",\n"
        "  \"mounts\": [ { \"host\": \"/srv/in\", \"at\": \"/mnt/in\" },\n"
        "    { \"at\": \"/mnt/out\", \"write\": true,\n"
        "      \"host\": \"/srv/out\" } ],\n"
        "  \"retry\": { \"attempts\": 5, \"timeouts\": false }, \"allow\": [\"shop\"],\n"
        "  \"triggers\": [ { \"event\": \"photo.*\", \"target\": \"cat\" }, { \"http\": \"POST /\", \"target\": \"sign\", \"async\": true },\n"
        "    { \"timer\": \"daily\", \"target\": \"cat\", \"jitter\": \"1min\", \"input\": { \"a\": [1.50, \"/\"] } },\n"
        "    { \"path\": \"/mnt/in/new\", \"target\": \"resize\" }, { \"path\": \"/mnt/out\", \"target\": \"cat\" } ],\n"
        "  \"packages\": [\"python3-pil\", \"fonts-dejavu-core\"], \"build\": [\"make\", \"-j\"]\n"
        "}";

static void assert_strv(char *const *l, const char *const *expected, size_t n) {
        assert_int_equal(strv_length(l), n);
        for (size_t i = 0; i < n; i++)
                assert_string_equal(l[i], expected[i]);
}

static void test_full(void **state) {
        _cleanup_(problems_done) Problems problems = {};
        _cleanup_(manifest_freep) Manifest *m = NULL;
        const FunctionSpec *f;

        assert_int_equal(parse(full, &problems, &m), 0);
        assert_int_equal(problems.n, 0);
        assert_string_equal(m->name, "thumbnails");
        assert_int_equal(m->n_functions, 4);
        assert_int_equal(m->idle_usec, USEC_INFINITY);
        assert_int_equal(m->receipts, RECEIPTS_FAILED);
        assert_strv(m->resources, (const char *const[]) { "MemoryMax=1G", "CPUQuota=150%", "TasksMax=512" }, 3);
        assert_strv(m->packages, (const char *const[]) { "python3-pil", "fonts-dejavu-core" }, 2);
        assert_strv(m->build, (const char *const[]) { "make", "-j" }, 2);
        assert_non_null(m->json);
        assert_int_equal(m->n_mounts, 2);
        assert_string_equal(m->mounts[0].host, "/srv/in");
        assert_string_equal(m->mounts[0].at, "/mnt/in");
        assert_false(m->mounts[0].write);
        assert_string_equal(m->mounts[1].host, "/srv/out");
        assert_true(m->mounts[1].write);
        assert_int_equal(m->mounts[1].line, m->mounts[0].line + 2);

        assert_strv(m->allow, (const char *const[]) { "shop" }, 1);
        assert_int_equal(m->n_triggers, 1);
        assert_true(m->triggers[0].async);
        assert_int_equal(m->triggers[0].index, 1);
        assert_int_equal(m->n_topics, 1);
        assert_string_equal(m->topics[0].pattern, "photo.*");
        assert_int_equal(m->n_timers, 1);
        assert_string_equal(m->timers[0].calendar, "daily");
        assert_string_equal(m->timers[0].input, "{\"a\":[1.50,\"/\"]}");
        assert_int_equal(m->timers[0].jitter_usec, USEC_PER_MINUTE);
        assert_true(m->timers[0].overlap);
        assert_false(m->timers[0].persistent);
        assert_int_equal(m->timers[0].index, 2);
        assert_int_equal(m->n_paths, 2);
        assert_string_equal(m->paths[0].host, "/srv/in/new");
        assert_string_equal(m->paths[0].target, "resize");
        assert_string_equal(m->paths[1].host, "/srv/out");
        assert_int_equal(m->paths[1].index, 4);

        f = manifest_find(m, "extract");
        assert_string_equal(f->on_success, "sign");
        assert_string_equal(f->on_failure, "alarms/mail");
        assert_int_equal(f->retry.attempts, 5);
        assert_false(f->retry.timeouts);
        assert_int_equal(f->retry.delay_usec, 10 * USEC_PER_MINUTE);
        assert_int_equal(f->retry.delay_max_usec, USEC_PER_HOUR);
        assert_true(f->retry.backoff == 1.5);
        assert_int_equal(f->retry.age_max_usec, 6 * USEC_PER_HOUR);

        f = m->functions; /* the file's order */
        assert_string_equal(f->name, "resize");
        assert_int_equal(f->runtime, RUNTIME_NATIVE);
        assert_strv(f->handler, (const char *const[]) { "lib/resize.so:resize" }, 1);
        assert_int_equal(f->timeout_usec, 90 * USEC_PER_SEC);
        assert_int_equal(f->payload_max, SAND_PAYLOAD_HARD_MAX);
        assert_string_equal(f->content_type, "image/jpeg");
        assert_int_equal(f->warm, 2);
        assert_int_equal(f->max, 4);
        assert_int_equal(f->events, 0);
        assert_int_equal(f->queue_max, 10);
        assert_int_equal(f->queue_bytes, 1 << 30);
        assert_int_equal(f->memory, 256 << 20);
        assert_int_equal(f->tasks_max, 7);
        assert_int_equal(f->memory_max, 512 << 20);
        assert_int_equal(f->cpu_weight, 30);
        assert_string_equal(manifest_resource(m, "CPUQuota"), "150%");
        assert_null(manifest_resource(m, "CPUWeight"));
        assert_strv(f->environment, (const char *const[]) { "LANG=C.UTF-8", "QUALITY=85", "URL=http://x//y" }, 3);

        f = manifest_find(m, "sign");
        assert_ptr_equal(f, m->functions + 2);
        assert_strv(f->handler, (const char *const[]) { "bin/sign", "--stdin", "" }, 3);
        assert_strv(f->environment, (const char *const[]) { "QUALITY=1", "LANG=C.UTF-8" }, 2);
        assert_null(manifest_find(m, "nothing"));
}

static void test_defaults(void **state) {
        _cleanup_(problems_done) Problems problems = {};
        _cleanup_(manifest_freep) Manifest *m = NULL;
        const FunctionSpec *f;

        assert_int_equal(parse("{\"name\":\"a\",\"functions\":{\"f\":{\"runtime\":\"python3\",\"handler\":\"m.f\"}}}",
                               &problems, &m), 0);
        f = m->functions;
        assert_int_equal(f->timeout_usec, 30 * USEC_PER_SEC);
        assert_int_equal(f->payload_max, 16 << 20);
        assert_null(f->content_type);
        assert_int_equal(f->warm, 0);
        assert_int_equal(f->max, 16);
        assert_int_equal(f->events, 1);
        assert_int_equal(f->queue_max, 1000);
        assert_int_equal(f->queue_bytes, 64 << 20);
        assert_int_equal(f->memory, 128 << 20);
        assert_int_equal(f->tasks_max, 64);
        assert_int_equal(f->memory_max, UINT64_MAX);
        assert_int_equal(f->cpu_weight, 0);
        assert_int_equal(strv_length(f->environment), 0);
        assert_int_equal(m->idle_usec, 5 * USEC_PER_MINUTE);
        assert_int_equal(f->retry.attempts, 3);
        assert_int_equal(f->retry.delay_usec, USEC_PER_SEC);
        assert_int_equal(f->retry.delay_max_usec, 5 * USEC_PER_MINUTE);
        assert_true(f->retry.timeouts);
        assert_null(f->on_failure);
        assert_int_equal(m->receipts, RECEIPTS_SAMPLE);
        assert_int_equal(strv_length(m->resources), 0);
        assert_int_equal(strv_length(m->packages), 0);
        assert_null(m->build);
}

static void test_credentials(void **state) {
        static const char text[] =
                "{\"name\":\"a\",\"credentials\":[\"common\",\"more\"],\"functions\":{"
                "\"f\":{\"runtime\":\"python3\",\"handler\":\"m.f\"},"
                "\"g\":{\"runtime\":\"python3\",\"handler\":\"m.f\",\"credentials\":[\"own\",\"more\"]},"
                "\"h\":{\"runtime\":\"python3\",\"handler\":\"m.f\",\"credentials\":[]}}}";
        _cleanup_(problems_done) Problems problems = {};
        _cleanup_(manifest_freep) Manifest *m = NULL;

        assert_int_equal(parse(text, &problems, &m), 0);
        assert_strv(m->functions[0].credentials, (const char *const[]) { "common", "more" }, 2);
        assert_strv(m->functions[1].credentials, (const char *const[]) { "own", "more" }, 2);
        assert_int_equal(strv_length(m->functions[2].credentials), 0);
        assert_strv(m->credentials, (const char *const[]) { "common", "more", "own" }, 3);

        assert_true(credential_name_is_valid("Tls.key-1_"));
        for (const char *const *bad = (const char *const[]) { "", ".", "..", ".a", "-a", "a/b", "a b", "a:b", "a%n", "a\n",
                                                               "\xc3\xa4", NULL }; *bad; bad++)
                assert_false(credential_name_is_valid(*bad));
        assert_false(credential_name_is_valid(NULL));
}

/* What is put into the place of a default, the pointer of its one problem and a part of its text; no pointer: it
 * is good. APP stands in the application, FN in its function "f", and replaces the runtime and handler there. */
typedef struct Case {
        const char *app, *fn, *pointer, *message;
} Case;

static const Case cases[] = {
        /* names, keys */
        { "\"nmae\": 1", NULL, "/nmae", "expected perhaps \"name\"" },
        { "\"\": 1", NULL, "/", "unknown key" },
        { "\"zzzzzzz\": 1", NULL, "/zzzzzzz", "found an unknown key" },
        { "\"a/b~c\": 1", NULL, "/a~1b~0c", "unknown key" },
        { "\"$schema\": 1", NULL, "/$schema", "found the number 1, expected a string" },
        { NULL, "\"timeuot\": \"1s\"", "/functions/f/timeuot", "expected perhaps \"timeout\"" },
        /* known, not served */
        { "\"workflows\": {}", NULL, "/workflows", "\"workflows\", which is not served by this version of SAND" },
        { "\"network\": \"host\"", NULL, "/network", "found \"host\", expected \"none\" or \"nat\"" },
        { "\"network\": true", NULL, "/network", "found true, expected \"none\" or \"nat\"" },
        { NULL, "\"resources\": {\"CPUQuota\": \"50%\"}", "/functions/f/resources/CPUQuota", "not served" },
        /* asynchronous events */
        { "\"allow\": []" },
        { "\"allow\": [\"a\", \"b-2\"]" },
        { "\"allow\": [\"b\", \"b\"]", NULL, "/allow/1", "found \"b\" a second time" },
        { "\"allow\": [\"*\"]", NULL, "/allow/0", "found \"*\", expected an application's name" },
        { "\"allow\": \"b\"", NULL, "/allow", "found \"b\", expected an array of at most 64" },
        { NULL, "\"retry\": {}" },
        { "\"retry\": 3", NULL, "/retry", "found the number 3, expected an object" },
        { "\"retry\": {\"attempts\": 0}", NULL, "/retry/attempts", "from 1 to 100" },
        { NULL, "\"retry\": {\"attempts\": 101}", "/functions/f/retry/attempts", "from 1 to 100" },
        { NULL, "\"retry\": {\"atempts\": 1}", "/functions/f/retry/atempts", "expected perhaps \"attempts\"" },
        { NULL, "\"retry\": {\"backoff\": 0.5}", "/functions/f/retry/backoff", "from 1 to 100" },
        { NULL, "\"retry\": {\"backoff\": \"2\"}", "/functions/f/retry/backoff", "found \"2\"" },
        { NULL, "\"retry\": {\"delay\": 1}", "/functions/f/retry/delay", "a time span" },
        { NULL, "\"retry\": {\"age_max\": \"infinity\"}", "/functions/f/retry/age_max", "to \"30d\"" },
        { NULL, "\"retry\": {\"timeouts\": 1}", "/functions/f/retry/timeouts", "expected true or false" },
        { NULL, "\"retry\": {\"delay\": \"10s\", \"delay_max\": \"9s\"}", "/functions/f/retry/delay", "longer span than delay_max" },
        { NULL, "\"retry\": {\"delay\": \"6min\"}", "/functions/f/retry/delay", "longer span than delay_max, which is 5min" },
        { "\"retry\": {\"delay_max\": \"6min\"}", "\"retry\": {\"delay\": \"6min\"}" },
        { NULL, "\"on_failure\": \"other/f\"" },
        { NULL, "\"on_success\": \"f\"", "/functions/f/on_success", "found the function itself" },
        { NULL, "\"on_failure\": \"g\"", "/functions/f/on_failure", "found \"g\", expected the name of a function" },
        { NULL, "\"on_failure\": \"A/g\"", "/functions/f/on_failure", "or \"app/function\"" },
        { NULL, "\"on_failure\": \"a/b/c\"", "/functions/f/on_failure", "or \"app/function\"" },
        { NULL, "\"on_failure\": [\"a/b\"]", "/functions/f/on_failure", "found an array" },
        /* numbers, sizes, times */
        { NULL, "\"timeout\": 30", "/functions/f/timeout", "found the number 30, expected a time span" },
        { NULL, "\"timeout\": \"30 parsecs\"", "/functions/f/timeout", "found \"30 parsecs\"" },
        { NULL, "\"timeout\": \"0\"", "/functions/f/timeout", "from \"1ms\" to \"24h\"" },
        { NULL, "\"timeout\": \"infinity\"", "/functions/f/timeout", "from \"1ms\" to \"24h\"" },
        { NULL, "\"timeout\": \"24h\"" },
        { NULL, "\"timeout\": \"24h 1us\"", "/functions/f/timeout", "from \"1ms\" to \"24h\"" },
        { NULL, "\"payload_max\": \"65M\"", "/functions/f/payload_max", "to \"64M\"" },
        { NULL, "\"payload_max\": \"0\"", "/functions/f/payload_max", "from \"1\"" },
        { NULL, "\"payload_max\": null", "/functions/f/payload_max", "found null" },
        { NULL, "\"memory\": \"1\"", "/functions/f/memory", "from \"1M\"" },
        { NULL, "\"instances\": {\"warm\": 16}" },
        { NULL, "\"instances\": {\"warm\": 17}", "/functions/f/instances", "17 warm instances, expected no more than max, 16" },
        { NULL, "\"instances\": {\"max\": 4096}" },
        { NULL, "\"instances\": {\"max\": 4097}", "/functions/f/instances/max", "from 1 to 4096" },
        { NULL, "\"instances\": {\"max\": 1e2}" },
        { NULL, "\"instances\": {\"max\": 1.5}", "/functions/f/instances/max", "found the number 1.5" },
        { NULL, "\"instances\": {\"max\": -1}", "/functions/f/instances/max", "found the number -1" },
        { NULL, "\"instances\": {\"max\": \"4\"}", "/functions/f/instances/max", "found \"4\"" },
        { NULL, "\"instances\": {\"max\": 4294967297}", "/functions/f/instances/max", "from 1 to 4096" },
        { NULL, "\"instances\": {\"max\": 18446744073709551617}", "/functions/f/instances/max", "from 1 to 4096" },
        { NULL, "\"instances\": {\"max\": 1e999}", "/functions/f/instances/max", "from 1 to 4096" },
        { NULL, "\"instances\": 5", "/functions/f/instances", "found the number 5, expected an object" },
        { NULL, "\"instances\": {\"min\": 5}", "/functions/f/instances/min", "unknown key" },
        { NULL, "\"queue\": {\"max\": 0}", "/functions/f/queue/max", "from 1 to 1000000" },
        { NULL, "\"queue\": {\"bytes\": 64}", "/functions/f/queue/bytes", "found the number 64" },
        { NULL, "\"queue\": []", "/functions/f/queue", "found an array, expected an object" },
        { NULL, "\"resources\": {\"TasksMax\": 0}", "/functions/f/resources/TasksMax", "from 1 to" },
        { NULL, "\"resources\": {\"TasksMax\": \"infinity\", \"CPUWeight\": \"idle\", \"MemoryMax\": \"infinity\"}" },
        { NULL, "\"resources\": {\"TasksMax\": \"64\"}", "/functions/f/resources/TasksMax", "or \"infinity\"" },
        { NULL, "\"resources\": {\"CPUWeight\": 0}", "/functions/f/resources/CPUWeight", "from 1 to 10000, or \"idle\"" },
        { NULL, "\"resources\": {\"CPUWeight\": 10000}" },
        { NULL, "\"resources\": {\"CPUWeight\": 10001}", "/functions/f/resources/CPUWeight", "from 1 to 10000" },
        { NULL, "\"resources\": {\"CPUWeight\": \"100\"}", "/functions/f/resources/CPUWeight", "found \"100\"" },
        { NULL, "\"resources\": {\"MemoryMax\": \"1G\"}" },
        { NULL, "\"resources\": {\"MemoryMax\": \"50%\"}", "/functions/f/resources/MemoryMax", "a size from \"1M\"" },
        { NULL, "\"resources\": {\"MemoryMax\": \"1023K\"}", "/functions/f/resources/MemoryMax", "from \"1M\"" },
        { NULL, "\"resources\": {\"MemoryMax\": 1073741824}", "/functions/f/resources/MemoryMax", "a size from" },
        { "\"resources\": {\"MemoryMax\": \"1G\"}", "\"resources\": {\"MemoryMax\": \"1G\"}" },
        { "\"resources\": {\"MemoryMax\": \"1G\"}", "\"resources\": {\"MemoryMax\": \"1025M\"}",
          "/functions/f/resources/MemoryMax", "found 1074790400 bytes, expected no more than the application's MemoryMax, 1G" },
        { "\"resources\": {\"MemoryMax\": \"10%\"}", "\"resources\": {\"MemoryMax\": \"1G\"}" },
        { NULL, "\"resources\": {\"TasksMx\": 1}", "/functions/f/resources/TasksMx", "\"TasksMax\"" },
        { "\"idle\": \"1ms\"", NULL, "/idle", "at least \"10ms\"" },
        { "\"idle\": \"never\"", NULL, "/idle", "found \"never\"" },
        { "\"receipts\": \"some\"", NULL, "/receipts", "expected \"sample\", \"failed\" or \"all\"" },
        { "\"receipts\": \"all\"", NULL },
        /* content types: they go into HTTP headers */
        { NULL, "\"content_type\": \"text/plain; charset=utf-8\"" },
        { NULL, "\"content_type\": \"text\"", "/functions/f/content_type", "a media type" },
        { NULL, "\"content_type\": \"/plain\"", "/functions/f/content_type", "a media type" },
        { NULL, "\"content_type\": \"text/\"", "/functions/f/content_type", "a media type" },
        { NULL, "\"content_type\": \"text/plain\\r\\nX: y\"", "/functions/f/content_type", "a media type" },
        { NULL, "\"content_type\": \"text/plain; a=\\u00e9\"", "/functions/f/content_type", "a media type" },
        { NULL, "\"content_type\": \"\"", "/functions/f/content_type", "a media type" },
        /* environments */
        { "\"environment\": []", NULL, "/environment", "found an array, expected an object of variables" },
        { "\"environment\": {\"A\": 1}", NULL, "/environment/A", "found the number 1, expected a string" },
        { "\"environment\": {\"\": \"\"}", NULL, "/environment/", "a name of letters" },
        { "\"environment\": {\"1A\": \"\"}", NULL, "/environment/1A", "a name of letters" },
        { "\"environment\": {\"A=B\": \"\"}", NULL, "/environment/A=B", "a name of letters" },
        { "\"environment\": {\"SAND_APP\": \"\"}", NULL, "/environment/SAND_APP", "SAND's own" },
        { "\"environment\": {\"SANDY\": \"a\\tb\", \"LDAP\": \"=\"}", NULL },
        { "\"environment\": {\"A\": \"a\\nb\"}", NULL, "/environment/A", "without control characters" },
        { "\"environment\": {\"A\": \"a\\u007f\"}", NULL, "/environment/A", "without control characters" },
        { NULL, "\"environment\": {\"LD_PRELOAD\": \"x.so\"}", "/functions/f/environment/LD_PRELOAD", "dynamic linker" },
        /* secrets: their names go into a unit file, and into paths */
        { "\"credentials\": [\"a\"]", "\"credentials\": []" },
        { "\"credentials\": {}", NULL, "/credentials", "found an object, expected an array of at most 64 names" },
        { NULL, "\"credentials\": \"a\"", "/functions/f/credentials", "expected an array" },
        { NULL, "\"credentials\": [\"a\", 1]", "/functions/f/credentials/1", "found the number 1, expected a secret's name" },
        { NULL, "\"credentials\": [\"a\", \"b\", \"a\"]", "/functions/f/credentials/2", "found \"a\" a second time" },
        { NULL, "\"credentials\": [\"..\"]", "/functions/f/credentials/0", "the first no . or -" },
        { NULL, "\"credentials\": [\"a b\"]", "/functions/f/credentials/0", "letters, digits" },
        { NULL, "\"credentials\": [\"a:/etc/shadow\"]", "/functions/f/credentials/0", "letters, digits" },
        { NULL, "\"environment\": {\"CREDENTIALS_DIRECTORY\": \"/\"}", "/functions/f/environment/CREDENTIALS_DIRECTORY",
          "where a function's secrets are" },
        /* resources: they go into a unit file */
        { "\"resources\": null", NULL, "/resources", "found null, expected an object of properties" },
        { "\"resources\": {\"MemoryMx\": 1}", NULL, "/resources/MemoryMx", "expected perhaps \"MemoryMax\"" },
        { "\"resources\": {\"ExecStart\": \"/bin/sh\"}", NULL, "/resources/ExecStart", "systemd.resource-control(5)" },
        { "\"resources\": {\"MemoryMax\": \"1G\\nExecStart=/bin/sh\"}", NULL, "/resources/MemoryMax", "a size" },
        { "\"resources\": {\"MemoryMax\": \"1G\\n\"}", NULL, "/resources/MemoryMax", "a size" },
        { "\"resources\": {\"MemoryMax\": 1073741824, \"MemoryHigh\": \"50%\", \"MemoryLow\": \"0\", \"MemoryMin\": \"12.5%\","
          "\"MemorySwapMax\": \"infinity\"}", NULL },
        { "\"resources\": {\"MemoryMax\": \"101%\"}", NULL, "/resources/MemoryMax", "a size" },
        { "\"resources\": {\"MemoryMax\": -1}", NULL, "/resources/MemoryMax", "a size" },
        { "\"resources\": {\"MemoryMax\": 0}", NULL, "/resources/MemoryMax", "above 0" },
        { "\"resources\": {\"MemoryHigh\": \"0.00%\"}", NULL, "/resources/MemoryHigh", "above 0" },
        { "\"resources\": {\"MemoryMax\": \"100.01%\"}", NULL, "/resources/MemoryMax", "a size" },
        { "\"resources\": {\"MemoryMax\": \"100.00%\", \"MemoryMin\": \"0%\"}", NULL },
        { "\"resources\": {\"TasksMax\": \"0%\"}", NULL, "/resources/TasksMax", "a number above 0" },
        { "\"resources\": {\"MemoryMax\": {}}", NULL, "/resources/MemoryMax", "found an object" },
        { "\"resources\": {\"CPUQuota\": \"0.5%\", \"CPUWeight\": \"idle\", \"CPUQuotaPeriodSec\": \"10ms\"}", NULL },
        { "\"resources\": {\"CPUQuota\": \"0%\"}", NULL, "/resources/CPUQuota", "above 0%" },
        { "\"resources\": {\"CPUQuota\": \"0.0%\"}", NULL, "/resources/CPUQuota", "above 0%" },
        { "\"resources\": {\"CPUQuota\": 150}", NULL, "/resources/CPUQuota", "found the number 150" },
        { "\"resources\": {\"CPUQuota\": \"150\"}", NULL, "/resources/CPUQuota", "above 0%" },
        { "\"resources\": {\"CPUWeight\": 0}", NULL, "/resources/CPUWeight", "from 1 to 10000" },
        { "\"resources\": {\"IOWeight\": 10001}", NULL, "/resources/IOWeight", "from 1 to 10000" },
        { "\"resources\": {\"IOWeight\": \"idle\"}", NULL, "/resources/IOWeight", "from 1 to 10000" },
        { "\"resources\": {\"CPUQuotaPeriodSec\": \"2s\"}", NULL, "/resources/CPUQuotaPeriodSec", "to \"1s\"" },
        { "\"resources\": {\"TasksMax\": \"10%\"}", NULL },
        { "\"resources\": {\"TasksMax\": 0}", NULL, "/resources/TasksMax", "a number above 0" },
        { "\"resources\": {\"AllowedCPUs\": \"0-3,8 9\", \"AllowedMemoryNodes\": 0}", NULL },
        { "\"resources\": {\"AllowedCPUs\": \"3-0\"}", NULL, "/resources/AllowedCPUs", "ranges" },
        { "\"resources\": {\"AllowedCPUs\": \"0-1-2\"}", NULL, "/resources/AllowedCPUs", "ranges" },
        { "\"resources\": {\"AllowedCPUs\": \"0,\"}", NULL, "/resources/AllowedCPUs", "ranges" },
        { "\"resources\": {\"AllowedCPUs\": \"\"}", NULL, "/resources/AllowedCPUs", "ranges" },
        { "\"resources\": {\"AllowedCPUs\": \"99999999999\"}", NULL, "/resources/AllowedCPUs", "ranges" },
        /* mounts; what their paths may be is in manifests/ */
        { "\"mounts\": {}", NULL, "/mounts", "found an object, expected an array of mounts" },
        { "\"mounts\": [{\"host\": \"/srv\"}]", NULL, "/mounts/0", "\"at\" is missing" },
        { "\"mounts\": [{\"host\": \"srv\", \"at\": \"/a\"}]", NULL, "/mounts/0/host", "found \"srv\", expected an absolute path" },
        { "\"mounts\": [{\"host\": \"/\", \"at\": \"/a\"}]", NULL, "/mounts/0/host", "found \"/\", expected an absolute path" },
        { "\"mounts\": [{\"host\": \"/var\", \"at\": \"/a\"}]", NULL, "/mounts/0/host", "neither is nor hides /var/lib/machines" },
        { "\"mounts\": [{\"host\": \"/srv\", \"at\": \"/a\"}, {\"host\": \"/srv\", \"at\": \"/app/b\"}]", NULL, "/mounts/1/at",
          "found \"/app/b\", expected a path that neither is nor hides /app, which is the machine's own" },
        { "\"mounts\": [{\"host\": \"/srv\", \"at\": \"/a/b\"}, {\"host\": \"/srv\", \"at\": \"/a\"}]", NULL, "/mounts/1/at",
          "found \"/a\", which is or is within \"/a/b\" at /mounts/0/at" },
        { "\"mounts\": [{\"host\": \"/srv\", \"at\": \"/a\"}, {\"host\": \"/srv\", \"at\": \"/ab\"}]", NULL },
        { "\"mounts\": [{\"host\": \"/srv\", \"at\": \"/a\", \"write\": 1}]", NULL, "/mounts/0/write", "expected true or false" },
        /* packages, the build command */
        { "\"packages\": []", NULL },
        { "\"packages\": [\"python3-pil\", \"g++\", \"libc6.1\", \"0ad\"]", NULL },
        { "\"packages\": \"python3-pil\"", NULL, "/packages", "found \"python3-pil\", expected an array of Debian" },
        { "\"packages\": [\"a1\", \"b1\", \"a1\"]", NULL, "/packages/2", "found \"a1\" a second time" },
        { "\"packages\": [\"a1\", 1]", NULL, "/packages/1", "found the number 1, expected a Debian package's name" },
        { "\"packages\": [\"\"]", NULL, "/packages/0", "a Debian package's name" },
        { "\"packages\": [\"a\"]", NULL, "/packages/0", "a Debian package's name" },
        { "\"packages\": [\"Python3\"]", NULL, "/packages/0", "a Debian package's name" },
        { "\"packages\": [\"-y\"]", NULL, "/packages/0", "a Debian package's name" },
        { "\"packages\": [\"libc6:i386\"]", NULL, "/packages/0", "a Debian package's name" },
        { "\"packages\": [\"a1; reboot\"]", NULL, "/packages/0", "a Debian package's name" },
        { "\"build\": [\"make\", \"-C\", \"src\", \"\"]", NULL },
        { "\"build\": [\"../tools/build\"]", NULL },
        { "\"build\": \"make\"", NULL, "/build", "found \"make\", expected an array of a program" },
        { "\"build\": []", NULL, "/build", "found an empty array, expected a program" },
        { "\"build\": [\"\"]", NULL, "/build/0", "found \"\", expected a program" },
        { "\"build\": [[\"make\"]]", NULL, "/build/0", "found an array, expected a string" },
        { "\"build\": [\"sh\", \"-c\", \"a\\nb\"]", NULL, "/build/2", "control characters" },
        /* handlers */
        { NULL, "\"runtime\": \"python\", \"handler\": \"m.f\"", "/functions/f/runtime", "found \"python\"" },
        { NULL, "\"runtime\": 3, \"handler\": \"m.f\"", "/functions/f/runtime", "found the number 3" },
        { NULL, "\"runtime\": \"python3\"", "/functions/f", "the key \"handler\" is missing" },
        { NULL, "\"handler\": \"m.f\"", "/functions/f", "the key \"runtime\" is missing" },
        { NULL, "\"runtime\": \"python3\", \"handler\": \"f\"", "/functions/f/handler", "\"module.function\"" },
        { NULL, "\"runtime\": \"python3\", \"handler\": \"a..f\"", "/functions/f/handler", "\"module.function\"" },
        { NULL, "\"runtime\": \"python3\", \"handler\": \"../m.f\"", "/functions/f/handler", "\"module.function\"" },
        { NULL, "\"runtime\": \"python3\", \"handler\": \"m.1f\"", "/functions/f/handler", "\"module.function\"" },
        { NULL, "\"runtime\": \"python3\", \"handler\": [\"m.f\"]", "/functions/f/handler", "found an array" },
        { NULL, "\"handler\": \"a/b.so:x_1\", \"runtime\": \"native\"" },
        { NULL, "\"runtime\": \"native\", \"handler\": \"a.so\"", "/functions/f/handler", "\"path.so:symbol\"" },
        { NULL, "\"runtime\": \"native\", \"handler\": \"a.so:\"", "/functions/f/handler", "\"path.so:symbol\"" },
        { NULL, "\"runtime\": \"native\", \"handler\": \"a.so:1x\"", "/functions/f/handler", "\"path.so:symbol\"" },
        { NULL, "\"runtime\": \"native\", \"handler\": \".so:x\"", "/functions/f/handler", "\"path.so:symbol\"" },
        { NULL, "\"runtime\": \"native\", \"handler\": \"a.txt:x\"", "/functions/f/handler", "\"path.so:symbol\"" },
        { NULL, "\"runtime\": \"native\", \"handler\": \"/a.so:x\"", "/functions/f/handler", "a path within the bundle" },
        { NULL, "\"runtime\": \"native\", \"handler\": \"../a.so:x\"", "/functions/f/handler", "a path within the bundle" },
        { NULL, "\"runtime\": \"exec\", \"handler\": \"/bin/sh\"", "/functions/f/handler", "a path within the bundle" },
        { NULL, "\"runtime\": \"exec\", \"handler\": [\"a/../../b\"]", "/functions/f/handler/0", "a path within the bundle" },
        { NULL, "\"runtime\": \"exec\", \"handler\": []", "/functions/f/handler", "an array of 0 elements" },
        { NULL, "\"runtime\": \"exec\", \"handler\": [\"\"]", "/functions/f/handler/0", "found \"\", expected a program" },
        { NULL, "\"runtime\": \"exec\", \"handler\": [\"a\", 1]", "/functions/f/handler/1", "found the number 1" },
        { NULL, "\"runtime\": \"exec\", \"handler\": [\"a\", \"\\n\"]", "/functions/f/handler/1", "control characters" },
        { NULL, "\"runtime\": \"exec\", \"handler\": {}", "/functions/f/handler", "found an object" },
        { NULL, "\"runtime\": \"exec\", \"handler\": \"..\"", "/functions/f/handler", "a program" },
        /* triggers */
        { "\"triggers\": []" },
        { "\"triggers\": {}", NULL, "/triggers",
          "found an object, expected an array of triggers" },
        { "\"triggers\": [7]", NULL, "/triggers/0",
          "found the number 7, expected an object" },
        { "\"triggers\": [{\"target\": \"f\"}]", NULL, "/triggers/0",
          "found a trigger of no kind" },
        { "\"triggers\": [{\"http\": \"GET /a\"}]", NULL, "/triggers/0",
          "the key \"target\" is missing" },
        { "\"triggers\": [{\"http\": 5, \"target\": \"f\"}]", NULL, "/triggers/0/http",
          "found the number 5, expected ANY, DELETE" },
        { "\"triggers\": [{\"http\": \"get /a\", \"target\": \"f\"}]", NULL, "/triggers/0/http",
          "expected ANY, DELETE" },
        { "\"triggers\": [{\"http\": \"GET /{a}b\", \"target\": \"f\"}]", NULL, "/triggers/0/http",
          "a whole segment" },
        { "\"triggers\": [{\"http\": \"GET /{a+}/b\", \"target\": \"f\"}]", NULL, "/triggers/0/http",
          "as the last segment only" },
        { "\"triggers\": [{\"http\": \"GET /a/../b\", \"target\": \"f\"}]", NULL, "/triggers/0/http",
          "no segment . or .." },
        { "\"triggers\": [{\"http\": \"GET /a\", \"target\": \"g\"}]", NULL, "/triggers/0/target",
          "found \"g\", expected the name of a function" },
        { "\"triggers\": [{\"http\": \"GET /a\", \"target\": []}]", NULL, "/triggers/0/target",
          "found an array" },
        { "\"triggers\": [{\"http\": \"GET /a\", \"target\": \"f\", \"async\": false}]" },
        { "\"triggers\": [{\"http\": \"GET /a\", \"target\": \"f\", \"async\": true}]" },
        { "\"triggers\": [{\"http\": \"GET /a\", \"target\": \"f\", \"async\": 1}]", NULL, "/triggers/0/async",
          "expected true or false" },
        { "\"triggers\": [{\"http\": \"GET /a\", \"target\": \"f\", \"methd\": 1}]", NULL, "/triggers/0/methd",
          "unknown key" },
        { "\"triggers\": [{\"http\": \"GET /a\", \"timer\": \"daily\", \"target\": \"f\"}]", NULL, "/triggers/0/timer",
          "unknown key" },
        { "\"triggers\": [{\"timer\": \"*:0/5\", \"target\": \"f\", \"jitter\": \"30s\", \"input\": null, \"overlap\": false, \"persistent\": true}]" },
        { "\"triggers\": [{\"timer\": \"Mon..Fri *-02~01 08:00:00.5 Europe/Berlin\", \"target\": \"f\"}]" },
        { "\"triggers\": [{\"timer\": \"daily\\nUnit=x\", \"target\": \"f\"}]", NULL, "/triggers/0/timer", "a calendar expression" },
        { "\"triggers\": [{\"timer\": \"\", \"target\": \"f\"}]", NULL, "/triggers/0/timer", "a calendar expression" },
        { "\"triggers\": [{\"timer\": \"%i\", \"target\": \"f\"}]", NULL, "/triggers/0/timer", "a calendar expression" },
        { "\"triggers\": [{\"timer\": \"daily\\\\\", \"target\": \"f\"}]", NULL, "/triggers/0/timer", "a calendar expression" },
        { "\"triggers\": [{\"timer\": \"daily\", \"target\": \"g\"}]", NULL, "/triggers/0/target", "the name of a function" },
        { "\"triggers\": [{\"timer\": \"daily\", \"target\": \"f\", \"jitter\": \"25h\"}]", NULL, "/triggers/0/jitter", "to \"24h\"" },
        { "\"triggers\": [{\"timer\": \"daily\", \"target\": \"f\", \"overlap\": \"no\"}]", NULL, "/triggers/0/overlap", "true or false" },
        { "\"triggers\": [{\"timer\": \"daily\", \"target\": \"f\", \"input\": \"abc\"}]", "\"payload_max\": \"4\"",
          "/triggers/0/input", "found 5 bytes, expected no more than the function's payload_max, 4" },
        { "\"mounts\": [{\"host\": \"/srv\", \"at\": \"/mnt\"}], \"triggers\": [{\"path\": \"/mnt\", \"target\": \"f\"}, {\"path\": \"/mnt/a\", \"target\": \"f\"}]" },
        { "\"mounts\": [{\"host\": \"/srv\", \"at\": \"/mnt\"}], \"triggers\": [{\"path\": \"/mnt2\", \"target\": \"f\"}]", NULL, "/triggers/0/path",
          "found \"/mnt2\", expected a path at or below \"at\" of one of the mounts" },
        { "\"triggers\": [{\"path\": \"mnt\", \"target\": \"f\"}]", NULL, "/triggers/0/path", "expected an absolute path" },
        { "\"triggers\": [{\"event\": \"a.*\", \"target\": \"f\"}]" },
        { "\"triggers\": [{\"event\": \"a b\", \"target\": \"f\"}]", NULL, "/triggers/0/event", "such as \"orders.*\"" },
        { "\"triggers\": [{\"event\": \"a.*\", \"target\": \"h\"}]", NULL, "/triggers/0/target", "the name of a function" },
        { "\"triggers\": [{\"event\": \"a\", \"target\": \"f\"}, {\"http\": \"GET /a\", \"target\": \"f\"}, {\"http\": \"GET /a\", \"target\": \"f\"}]",
          NULL, "/triggers/2/http", "overlaps with \"GET /a\" at /triggers/1/http" },
        { "\"triggers\": [{\"http\": \"GET /a\", \"target\": \"f\"}, {\"http\": \"GET /a\", \"target\": \"f\"}]", NULL, "/triggers/1/http",
          "overlaps with \"GET /a\" at /triggers/0/http" },
        { "\"triggers\": [{\"http\": \"GET /a\", \"target\": \"f\"}, {\"http\": \"ANY /a\", \"target\": \"f\"}, {\"http\": \"GET /{x}\", \"target\": \"f\"}]" },
        { "\"triggers\": [{\"http\": \"GET /a\", \"target\": \"f\"}, {\"http\": \"PUT /b/{x}\", \"target\": \"f\"}, {\"http\": \"ANY /{y}/c\", \"target\": \"f\"}]", NULL, "/triggers/2/http",
          "overlaps with \"PUT /b/{x}\" at /triggers/1/http" },
        { "\"triggers\": [{\"http\": \"GET /a\", \"target\": \"f\", \"cors\": {}}]", NULL, "/triggers/0/cors",
          "the key \"origins\" is missing" },
        { "\"triggers\": [{\"http\": \"GET /a\", \"target\": \"f\", \"cors\": {\"origins\": []}}]", NULL, "/triggers/0/cors/origins",
          "found 0 strings, expected from 1 to 64" },
        { "\"triggers\": [{\"http\": \"GET /a\", \"target\": \"f\", \"cors\": {\"origins\": [\"*\", \"https://a/\"]}}]", NULL, "/triggers/0/cors/origins/1",
          "found \"https://a/\"" },
        { "\"triggers\": [{\"http\": \"GET /a\", \"target\": \"f\", \"cors\": {\"origins\": [\"*\"], \"headers\": [\"a b\"]}}]", NULL, "/triggers/0/cors/headers/0",
          "the name of a method or header" },
        { "\"triggers\": [{\"http\": \"GET /a\", \"target\": \"f\", \"cors\": {\"origins\": [\"*\"], \"max_age\": 5}}]", NULL, "/triggers/0/cors/max_age",
          "found the number 5" },
        { "\"triggers\": [{\"http\": \"GET /a\", \"target\": \"f\", \"cors\": {\"origins\": [\"*\"], \"credentials\": true}}]", NULL, "/triggers/0/cors/credentials",
          "browsers take no" },
        { "\"triggers\": [{\"http\": \"GET /a\", \"target\": \"f\", \"cors\": {\"origins\": [\"https://a\"], \"expose_headers\": [\"*\"], \"credentials\": true}}]", NULL, "/triggers/0/cors/credentials",
          "among the expose_headers" },
};

static void check_case(const Case *c) {
        static const char base[] = "\"runtime\": \"python3\", \"handler\": \"m.f\"";
        _cleanup_(freep) char *text = NULL, *report = NULL;
        _cleanup_(problems_done) Problems problems = {};
        _cleanup_(manifest_freep) Manifest *m = NULL;
        bool own = c->fn && (strstr(c->fn, "\"runtime\"") || strstr(c->fn, "\"handler\""));
        int r;

        assert_true(asprintf(&text, "{\n \"name\": \"a\",\n \"functions\": {\"f\": {\n%s%s%s}}\n%s%s\n}",
                             own ? "" : base, c->fn && !own ? ", " : "", strempty(c->fn), c->app ? ", " : "",
                             strempty(c->app)) > 0);
        r = parse(text, &problems, &m);
        report = problems_to_string(&problems);
        if (!c->pointer) {
                if (r != 0)
                        fail_msg("%s: refused: %s", text, report);
                return;
        }
        if (r != -EBADMSG || m || problems.n != 1)
                fail_msg("%s: %d, %zu problems, expected one:\n%s", text, r, problems.n, report);
        if (!streq(problems.items->pointer, c->pointer) || !strstr(problems.items->message, c->message))
                fail_msg("%s: expected %s: %s, found %s", text, c->pointer, c->message, report);
        /* a whole function's problem is on its key's line, 3; an application's line is 5, a function's key's 4 */
        if (problems.items->line != (streq(c->pointer, "/functions/f") ? 3U : startswith(c->pointer, "/functions/f/") ? 4U : 5U))
                fail_msg("%s: line %u", text, problems.items->line);
        assert_string_equal(problems.items->file, "sand.json");
}

static void test_cases(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                check_case(cases + i);
}

static const struct {
        const char *text, *report;
} syntax[] = {
        { "", "sand.json:1:1: found the end of the file, expected a value" },
        { "{", "sand.json:1:2: found the end of the file, expected a key" },
        { "{\"a\": [1,,2]}", "sand.json:1:10: found ',', expected a value" },
        { "{\"a\": 1,}", "sand.json:1:9: found '}', expected a key in double quotes" },
        { "{\"a\": [1,]}", "sand.json:1:10: found ']', expected a value" },
        { "{'a': 1}", "sand.json:1:2: found ''', expected a key in double quotes" },
        { "{a: 1}", "sand.json:1:2: found 'a', expected a key in double quotes" },
        { "{\"a\": 'b'}", "sand.json:1:7: found ''', expected a value" },
        { "{\"a\": NaN}", ":7: found 'N', expected a value" },
        { "{\"a\": Infinity}", ":7: found 'I', expected a value" },
        { "{\"a\": True}", ":7: found 'T', expected a value" },
        { "{\"a\": tru}", ":7: found 't', expected a value" },
        { "{\"a\": +1}", ":7: found '+', expected a value" },
        { "{\"a\": 01}", ":8: found '1', expected no digit after a leading 0" },
        { "{\"a\": 1.}", ":9: found '}', expected a digit" },
        { "{\"a\": .5}", ":7: found '.', expected a value" },
        { "{\"a\": 1e}", ":9: found '}', expected a digit" },
        { "{\"a\": -}", ":8: found '}', expected a digit" },
        { "{\"a\": 0x1}", ":8: found 'x', expected ',' or '}'" },
        { "{\"a\" 1}", ":6: found '1', expected ':'" },
        { "{\"a\": 1 \"b\": 2}", ":9: found '\"', expected ',' or '}'" },
        { "{\"\xc3\xa9\": x}", ":7: found 'x', expected a value" }, /* columns count characters */
        { "{}\n{}", "sand.json:2:1: found '{', expected nothing after the document" },
        { "/* x */ {}", ":1: found '/', expected a value" },
        { "# x\n{}", ":1: found '#', expected a value" },
        { "{\"a\": \"b\n\"}", ":9: found the end of the line, expected the closing quote" },
        { "{\"a\": \"\\x\"}", ":9: found 'x', expected one of" },
        { "{\"a\": \"\\u12g4\"}", ":12: found 'g', expected four hexadecimal digits" },
        { "{\"a\": \"\\u0000\"}", ":8: found '\\', expected no \\u0000" },
        { "{\"a\\u0000\": 1}", "expected no \\u0000" },
        { "{\"a\": \"\xff\"}", ":8: found byte 0xff, expected UTF-8" },
        { "\xef\xbb\xbf{}", ":1: found" },
        { "{\"a\": \"b", ":9: found the end of the file, expected the closing quote" },
        { "{\"a\": \"b\\", "the end of the file" },
        { "{\"a\":\n\n  // x\n  }", "sand.json:4:3: found '}', expected a value" },
        { "{\"a\": 1, // c\n \"a\": 2}", "sand.json:2: found the key \"a\" a second time, expected it once: it is on line 1 already" },
        { "{\"name\": 1, \"n\\u0061me\": 2}", "found the key \"name\" a second time" },
        { "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]", "no more than 32 levels" },
};

static void test_syntax(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(syntax); i++) {
                _cleanup_(problems_done) Problems problems = {};
                _cleanup_(freep) char *report = NULL;
                Manifest *m = NULL;
                int r = parse(syntax[i].text, &problems, &m);

                report = problems_to_string(&problems);
                if (r != -EBADMSG || m || problems.n != 1 || !strstr(report, syntax[i].report))
                        fail_msg("%s: %d, %s; expected %s", syntax[i].text, r, report, syntax[i].report);
                assert_null(problems.items->pointer);
        }
}

static void test_not_an_object(void **state) {
        static const char *const texts[] = { "null", "1", "\"x\"", "[]", "true" };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_(problems_done) Problems problems = {};
                Manifest *m = NULL;

                assert_int_equal(parse(texts[i], &problems, &m), -EBADMSG);
                assert_int_equal(problems.n, 1);
                assert_string_equal(problems.items->pointer, "");
                assert_non_null(strstr(problems.items->message, "expected an object"));
        }
}

static void test_nul(void **state) {
        static const char text[] = "{\"name\": \"a\"}\0{}";
        _cleanup_(problems_done) Problems problems = {};
        Manifest *m = NULL;

        assert_int_equal(manifest_parse("sand.json", text, sizeof(text) - 1, &problems, &m), -EBADMSG);
        assert_non_null(strstr(problems.items->message, "control character 0x00"));
}

static void test_all_problems_in_one_go(void **state) {
        static const char *const pointers[] = {
                "", "/nam", "/functions/f/runtime", "/functions/f/timeout", "/functions/g", "/functions/9",
                "/triggers", "/idle",
        };
        _cleanup_(problems_done) Problems problems = {};
        Manifest *m = NULL;

        assert_int_equal(parse("{\"nam\": \"a\", \"functions\": {\"f\": {\"runtime\": \"x\", \"handler\": \"m.f\", \"timeout\": 1},"
                               "\"g\": {\"handler\": [\"a\", 1]}, \"9\": 5}, \"triggers\": 5, \"idle\": 0}", &problems, &m),
                         -EBADMSG);
        for (size_t i = 0; i < ELEMENTSOF(pointers); i++) {
                bool found = false;
                for (size_t j = 0; j < problems.n; j++)
                        found = found || streq(problems.items[j].pointer, pointers[i]);
                if (!found)
                        fail_msg("no problem at %s", pointers[i]);
        }
        /* "9" has a wrong name and a wrong type; without a runtime g's handler says nothing */
        assert_int_equal(problems.n, ELEMENTSOF(pointers) + 1);
}

static void test_bounds(void **state) {
        _cleanup_(problems_done) Problems problems = {};
        _cleanup_(freep) char *text = malloc(JSON_TEXT_SIZE_MAX + 2);
        Manifest *m = NULL;
        size_t n = 0;

        memset(text, ' ', JSON_TEXT_SIZE_MAX + 1);
        assert_int_equal(manifest_parse("sand.json", text, JSON_TEXT_SIZE_MAX + 1, &problems, &m), -EBADMSG);
        assert_non_null(strstr(problems.items->message, "expected at most 1048576"));
        problems_done(&problems);

        /* more mistakes than anyone wants to read */
        n += (size_t) sprintf(text + n, "{\"name\": \"a\", \"functions\": {");
        for (unsigned i = 0; i < 200; i++)
                n += (size_t) sprintf(text + n, "%s\"f%u\": 1", i > 0 ? "," : "", i);
        n += (size_t) sprintf(text + n, "}}");
        assert_int_equal(manifest_parse("sand.json", text, n, &problems, &m), -EBADMSG);
        assert_int_equal(problems.n, 100);
        assert_non_null(strstr(problems.items[99].message, "there are more problems"));
        problems_done(&problems);

        n = (size_t) sprintf(text, "{\"name\": \"a\", \"functions\": {");
        for (unsigned i = 0; i < 257; i++)
                n += (size_t) sprintf(text + n, "%s\"f%u\": {}", i > 0 ? "," : "", i);
        n += (size_t) sprintf(text + n, "}}");
        assert_int_equal(manifest_parse("sand.json", text, n, &problems, &m), -EBADMSG);
        assert_int_equal(problems.n, 1);
        assert_string_equal(problems.items->message, "found 257 functions, expected from 1 to 256");
        problems_done(&problems);

        n = 0;
        text[n++] = '[';
        for (unsigned i = 0; i < 70000; i++)
                n += (size_t) sprintf(text + n, "%s1", i > 0 ? "," : "");
        text[n++] = ']';
        assert_int_equal(manifest_parse("sand.json", text, n, &problems, &m), -EBADMSG);
        assert_non_null(strstr(problems.items->message, "no more than 65536 values"));
        problems_done(&problems);

        /* a merged environment is bounded like any other */
        n = (size_t) sprintf(text, "{\"name\": \"a\", \"functions\": {\"f\": {\"runtime\": \"python3\", \"handler\": \"m.f\","
                                   "\"environment\": {");
        for (unsigned i = 0; i < 100; i++)
                n += (size_t) sprintf(text + n, "%s\"F%u\": \"\"", i > 0 ? "," : "", i);
        n += (size_t) sprintf(text + n, "}}}, \"environment\": {");
        for (unsigned i = 0; i < 100; i++)
                n += (size_t) sprintf(text + n, "%s\"A%u\": \"\"", i > 0 ? "," : "", i);
        n += (size_t) sprintf(text + n, "}}");
        assert_int_equal(manifest_parse("sand.json", text, n, &problems, &m), -EBADMSG);
        assert_int_equal(problems.n, 1);
        assert_string_equal(problems.items->message, "found 200 variables, expected at most 128");
        assert_string_equal(problems.items->pointer, "/functions/f/environment");
}

static void test_report(void **state) {
        _cleanup_(problems_done) Problems problems = {};
        _cleanup_(freep) char *text = NULL;

        assert_int_equal(problems_add(&problems, "sand.json", "/a", 12, "found %d", 5), 0);
        assert_int_equal(problems_add(&problems, "sand.json", "", 0, "x"), 0);
        assert_int_equal(problems_add(&problems, "a\033b", NULL, 0, "%s", "\xff\n"), 0);
        assert_int_equal(problems_add(&problems, NULL, NULL, 0, "y"), 0);
        text = problems_to_string(&problems);
        assert_string_equal(text, "sand.json:12: /a: found 5\nsand.json: x\na?b: ??\ny\n");
}

static void test_lines(void **state) {
        static const char text[] = "{\n\"a\": [1,\n2, {\n\"b/~\": 3}],\n\"\\u0063\":\n4}";
        _cleanup_(problems_done) Problems problems = {};
        _cleanup_(json_text_freep) JsonText *t = NULL;

        assert_int_equal(json_text_parse("x", text, sizeof(text) - 1, &problems, &t), 0);
        assert_int_equal(json_text_line(t, ""), 1);
        assert_int_equal(json_text_line(t, "/a"), 2);
        assert_int_equal(json_text_line(t, "/a/0"), 2);
        assert_int_equal(json_text_line(t, "/a/1"), 3);
        assert_int_equal(json_text_line(t, "/a/2/b~1~0"), 4);
        assert_int_equal(json_text_line(t, "/a/2/x"), 3);
        assert_int_equal(json_text_line(t, "/a/7"), 2);
        assert_int_equal(json_text_line(t, "/c"), 5);
        assert_int_equal(json_text_line(t, "/d"), 1);
}

/* ---- files ---- */

typedef struct Bundle {
        char path[64];
        int fd;
} Bundle;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path);
}

static int bundle_setup(void **state) {
        Bundle *b = calloc(1, sizeof(Bundle));

        strcpy(b->path, "/tmp/test-manifest.XXXXXX");
        if (!mkdtemp(b->path))
                return -1;
        b->fd = open(b->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        *state = b;
        return b->fd < 0 ? -1 : 0;
}

static int bundle_teardown(void **state) {
        Bundle *b = *state;

        (void) close(b->fd);
        (void) nftw(b->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        free(b);
        return 0;
}

static void write_file(Bundle *b, const char *name, const char *text, mode_t mode) {
        _cleanup_(closep) int fd = openat(b->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
        assert_int_equal(fchmod(fd, mode), 0);
}

/* One function with this runtime and handler. */
static void write_manifest(Bundle *b, const char *runtime, const char *handler) {
        _cleanup_(freep) char *text = NULL;

        assert_true(asprintf(&text, "{\"name\": \"a\", \"functions\": {\"f\": {\"runtime\": \"%s\", \"handler\": %s}}}",
                             runtime, handler) > 0);
        write_file(b, "sand.json", text, 0644);
}

/* NULL: it is good */
static void check_load(Bundle *b, bool check_files, const char *expected) {
        _cleanup_(problems_done) Problems problems = {};
        _cleanup_(manifest_freep) Manifest *m = NULL;
        _cleanup_(freep) char *report = NULL;
        int r = manifest_load(b->fd, check_files, &problems, &m);

        report = problems_to_string(&problems);
        if (!expected) {
                if (r != 0)
                        fail_msg("%d: %s", r, report);
                return;
        }
        if (r != -EBADMSG || problems.n != 1 || !strstr(report, expected))
                fail_msg("%d: %s; expected %s", r, report, expected);
}

static void test_load_nothing(void **state) {
        check_load(*state, true, "sand.json: found no such file");
}

static void test_load_no_file(void **state) {
        Bundle *b = *state;

        assert_int_equal(mkdirat(b->fd, "sand.json", 0755), 0);
        check_load(b, true, "found no regular file");
        assert_int_equal(unlinkat(b->fd, "sand.json", AT_REMOVEDIR), 0);
        assert_int_equal(mkfifoat(b->fd, "sand.json", 0644), 0);
        check_load(b, true, "found no regular file");
        assert_int_equal(unlinkat(b->fd, "sand.json", 0), 0);
        assert_int_equal(symlinkat("/etc/passwd", b->fd, "sand.json"), 0);
        check_load(b, true, "found a link out of the bundle");
        assert_int_equal(unlinkat(b->fd, "sand.json", 0), 0);
        assert_int_equal(symlinkat("sand.json", b->fd, "sand.json"), 0);
        check_load(b, true, "found a link to itself");
}

static void test_load_large(void **state) {
        Bundle *b = *state;

        write_manifest(b, "python3", "\"m.f\"");
        check_load(b, false, NULL);
        _cleanup_(closep) int fd = openat(b->fd, "sand.json", O_WRONLY | O_CLOEXEC);
        assert_int_equal(ftruncate(fd, 2 * JSON_TEXT_SIZE_MAX), 0);
        check_load(b, false, "expected at most 1048576");
}

static void test_load_python(void **state) {
        Bundle *b = *state;

        write_manifest(b, "python3", "\"m.f\"");
        check_load(b, false, NULL);
        check_load(b, true, "sand.json:1: /functions/f/handler: found no file m.py in the bundle");
        write_file(b, "m.py", "", 0644);
        check_load(b, true, NULL);

        write_manifest(b, "python3", "\"p.q.f\"");
        check_load(b, true, "found no file p/q.py");
        assert_int_equal(mkdirat(b->fd, "p", 0755), 0);
        assert_int_equal(mkdirat(b->fd, "p/q", 0755), 0);
        check_load(b, true, "found no file p/q.py");
        write_file(b, "p/q/__init__.py", "", 0644);
        check_load(b, true, NULL);

        assert_int_equal(symlinkat("/etc/passwd", b->fd, "evil.py"), 0);
        write_manifest(b, "python3", "\"evil.f\"");
        check_load(b, true, "evil.py is a link out of the bundle");
        assert_int_equal(symlinkat("m.py", b->fd, "good.py"), 0);
        write_manifest(b, "python3", "\"good.f\"");
        check_load(b, true, NULL);
}

static void test_load_native(void **state) {
        Bundle *b = *state;

        write_manifest(b, "native", "\"x.so:f\"");
        check_load(b, true, "found no file x.so");
        assert_int_equal(mkdirat(b->fd, "x.so", 0755), 0);
        check_load(b, true, "x.so is no regular file");
        assert_int_equal(unlinkat(b->fd, "x.so", AT_REMOVEDIR), 0);
        write_file(b, "x.so", "", 0644);
        check_load(b, true, NULL);
        assert_int_equal(symlinkat("..", b->fd, "up"), 0);
        write_manifest(b, "native", "\"up/x.so:f\"");
        check_load(b, true, "is a link out of the bundle");
}

static void test_load_exec(void **state) {
        Bundle *b = *state;

        write_manifest(b, "exec", "[\"bin/x\", \"-v\"]");
        check_load(b, true, "/functions/f/handler/0: found no file bin/x");
        assert_int_equal(mkdirat(b->fd, "bin", 0755), 0);
        write_file(b, "bin/x", "#!/bin/sh\n", 0644);
        check_load(b, true, "bin/x may not be executed");
        write_file(b, "bin/x", "#!/bin/sh\n", 0755);
        check_load(b, true, NULL);

        write_manifest(b, "exec", "\"cat\"");
        check_load(b, true, NULL);
        write_file(b, "cat", "", 0755); /* PATH has one: no doubt */
        check_load(b, true, NULL);
        write_file(b, "sand-test-handler", "", 0755);
        write_manifest(b, "exec", "\"sand-test-handler\"");
        check_load(b, true, "expected \"./sand-test-handler\"");
        write_manifest(b, "exec", "\"./sand-test-handler\"");
        check_load(b, true, NULL);
        /* vendor/bin is on the PATH */
        assert_int_equal(mkdirat(b->fd, "vendor", 0755), 0);
        assert_int_equal(mkdirat(b->fd, "vendor/bin", 0755), 0);
        write_file(b, "vendor/bin/sand-test-handler", "", 0755);
        write_manifest(b, "exec", "\"sand-test-handler\"");
        check_load(b, true, NULL);
}

#define FILE_TEST(f) cmocka_unit_test_setup_teardown(f, bundle_setup, bundle_teardown)

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_full),
                cmocka_unit_test(test_defaults),
                cmocka_unit_test(test_credentials),
                cmocka_unit_test(test_cases),
                cmocka_unit_test(test_syntax),
                cmocka_unit_test(test_not_an_object),
                cmocka_unit_test(test_nul),
                cmocka_unit_test(test_all_problems_in_one_go),
                cmocka_unit_test(test_bounds),
                cmocka_unit_test(test_report),
                cmocka_unit_test(test_lines),
                FILE_TEST(test_load_nothing),
                FILE_TEST(test_load_no_file),
                FILE_TEST(test_load_large),
                FILE_TEST(test_load_python),
                FILE_TEST(test_load_native),
                FILE_TEST(test_load_exec),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
