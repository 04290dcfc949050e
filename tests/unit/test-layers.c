/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What operators override: the merge, whom a problem is said of, where a value came from. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "../../daemons/hostd/effective.h"

#define DOCUMENT \
        "{ \"name\": \"shop\",\n" \
        "  \"environment\": { \"A\": \"1\", \"B\": \"2\" },\n" \
        "  \"functions\": {\n" \
        "    \"f\": { \"runtime\": \"exec\", \"handler\": [\"cat\", \"-n\"],\n" \
        "           \"timeout\": \"10s\", \"instances\": { \"max\": 4 } } } }\n"

static void problemsp(Problems *p) {
        problems_done(p);
}

static void putp(json_object **o) {
        (void) json_object_put(*o);
}

static int add(Layers *l, const char *file, const char *text, Problems *problems) {
        return layers_add(l, file, text, strlen(text), problems);
}

static char *merged(const char *document, const char *patch) {
        _cleanup_(problemsp) Problems problems = {};
        _cleanup_(layers_done) Layers l = {};

        assert_int_equal(add(&l, "document", document, &problems), 0);
        assert_int_equal(add(&l, "patch", patch, &problems), 0);
        return strdup(json_object_to_json_string_ext(l.merged, JSON_C_TO_STRING_PLAIN));
}

/* The examples of RFC 7396, appendix A, whose document and patch are objects. */
static void test_merge(void **state) {
        static const char *const cases[][3] = {
                { "{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}" },
                { "{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}" },
                { "{\"a\":\"b\"}", "{\"a\":null}", "{}" },
                { "{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}" },
                { "{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}" },
                { "{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}" },
                { "{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}" },
                { "{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}" },
                { "{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}" },
                { "{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}" },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                _cleanup_(freep) char *found = merged(cases[i][0], cases[i][1]);
                assert_string_equal(found, cases[i][2]);
        }
}

static void test_patch_is_an_object(void **state) {
        _cleanup_(problemsp) Problems problems = {};
        _cleanup_(layers_done) Layers l = {};

        assert_int_equal(add(&l, "sand.json", DOCUMENT, &problems), 0);
        assert_int_equal(add(&l, "patch", "[1]", &problems), -EBADMSG);
        assert_int_equal(add(&l, "patch", "null", &problems), -EBADMSG);
        assert_int_equal(add(&l, "patch", "{\"a\":1,\"a\":2}", &problems), -EBADMSG);
        assert_int_equal(problems.n, 3);
        assert_int_equal(l.n, 1);
}

static const char *source(const Layers *l, const char *pointer) {
        return layers_source(l, pointer)->file;
}

static void test_source(void **state) {
        _cleanup_(problemsp) Problems problems = {};
        _cleanup_(layers_done) Layers l = {};

        assert_int_equal(add(&l, "one", "{\"a\":{\"b\":1,\"c\":2},\"l\":[1,2],\"x/y\":{\"~\":1}}", &problems), 0);
        assert_int_equal(add(&l, "two", "{\"a\":{\"c\":3},\"x/y\":{\"z\":1}}", &problems), 0);
        assert_int_equal(add(&l, "three", "{\"l\":[7],\"new\":{\"d\":4}}", &problems), 0);
        assert_string_equal(source(&l, "/a/b"), "one");
        assert_string_equal(source(&l, "/a/c"), "two");
        assert_string_equal(source(&l, "/a"), "two");
        assert_string_equal(source(&l, "/a/none"), "two");
        assert_string_equal(source(&l, "/l"), "three");
        assert_string_equal(source(&l, "/l/0"), "three");
        assert_string_equal(source(&l, "/new/d"), "three");
        assert_string_equal(source(&l, "/x~1y/~0"), "one");
        assert_string_equal(source(&l, "/x~1y/z"), "two");
        assert_string_equal(source(&l, ""), "three");
}

/* ---- a bundle and its overrides on disk ---- */

static char directory[] = "/tmp/test-layers-XXXXXX";
static int bundle_fd = -EBADF, overrides_fd = -EBADF;

static void write_file(int dir_fd, const char *file, const char *text) {
        int fd = openat(dir_fd, file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
        (void) close(fd);
}

static int set_up(void **state) {
        int fd;

        if (!mkdtemp(directory))
                return -1;
        fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || mkdirat(fd, "bundle", 0755) < 0 || mkdirat(fd, "overrides", 0755) < 0)
                return -1;
        bundle_fd = openat(fd, "bundle", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        overrides_fd = openat(fd, "overrides", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        (void) close(fd);
        write_file(bundle_fd, "sand.json", DOCUMENT);
        return bundle_fd < 0 || overrides_fd < 0 ? -1 : 0;
}

static void clear_overrides(void) {
        static const char *const files[] = { "10-a.json", "20-b.json", ".hidden.json", "50-c.json~", "README" };

        for (size_t i = 0; i < ELEMENTSOF(files); i++)
                (void) unlinkat(overrides_fd, files[i], 0);
}

static int tear_down(void **state) {
        char path[64];

        clear_overrides();
        (void) unlinkat(bundle_fd, "sand.json", 0);
        (void) snprintf(path, sizeof(path), "%s/bundle", directory);
        (void) rmdir(path);
        (void) snprintf(path, sizeof(path), "%s/overrides", directory);
        (void) rmdir(path);
        safe_close(bundle_fd);
        safe_close(overrides_fd);
        return rmdir(directory);
}

static int load(Problems *problems, Manifest **ret) {
        return manifest_load_overridden(bundle_fd, overrides_fd, "shop", true, problems, ret);
}

static void test_in_order_of_names(void **state) {
        _cleanup_(problemsp) Problems problems = {};
        _cleanup_(manifest_freep) Manifest *m = NULL;

        clear_overrides();
        write_file(overrides_fd, "20-b.json", "// the last word\n{ \"functions\": { \"f\": { \"timeout\": \"2s\" } } }");
        write_file(overrides_fd, "10-a.json", "{ \"functions\": { \"f\": { \"timeout\": \"1s\", \"memory\": \"32M\" } },"
                                              " \"environment\": { \"A\": null, \"C\": \"3\" } }");
        write_file(overrides_fd, ".hidden.json", "{");
        write_file(overrides_fd, "50-c.json~", "{");
        write_file(overrides_fd, "README", "{");
        assert_int_equal(load(&problems, &m), 0);
        assert_int_equal(m->functions[0].timeout_usec, 2 * USEC_PER_SEC);
        assert_int_equal(m->functions[0].memory, 32 << 20);
        assert_int_equal(m->functions[0].max, 4);
        assert_int_equal(strv_length(m->functions[0].environment), 2);
        assert_true(strv_contains(m->functions[0].environment, "B=2"));
        assert_true(strv_contains(m->functions[0].environment, "C=3"));
}

static void problems_are(const char *override, const char *expected) {
        _cleanup_(problemsp) Problems problems = {};
        _cleanup_(manifest_freep) Manifest *m = NULL;
        _cleanup_(freep) char *text = NULL;

        clear_overrides();
        write_file(overrides_fd, "10-a.json", override);
        assert_int_equal(load(&problems, &m), -EBADMSG);
        text = problems_to_string(&problems);
        assert_string_equal(text, expected);
}

#define FILE_A "/etc/sand/apps/shop.json.d/10-a.json"

static void test_problems_name_the_override(void **state) {
        problems_are("{\n\"functions\": { \"f\": {\n\"timeout\": 5 } } }",
                        FILE_A ":3: /functions/f/timeout: found the number 5, expected a time span from \"1ms\" to \"24h\", such "
                        "as \"30s\"\n");
        problems_are("{ \"functions\": { \"f\": {\n \"handler\": null } } }",
                        FILE_A ":1: /functions/f: the key \"handler\" is missing, expected \"module.function\" (python3), "
                        "\"path.so:symbol\" (native) or [\"program\", ...] (exec)\n");
        problems_are("{\n \"functions\": { \"f\": { \"instances\": {\n \"warm\": 5 } } } }",
                        FILE_A ":2: /functions/f/instances: found 5 warm instances, expected no more than max, 4\n");
        problems_are("{ \"functions\": { \"f\": { \"handler\": [\"bin/none\"] } } }",
                        FILE_A ":1: /functions/f/handler/0: found no file bin/none in the bundle, expected the handler's code "
                        "there\n");
        problems_are("{ \"idel\": \"1s\" }", FILE_A ":1: /idel: found an unknown key, expected perhaps \"idle\"\n");
        problems_are("{\n  \"idle\": 1s }", FILE_A ":2:12: found 's', expected ',' or '}'\n");
        problems_are("{ \"build\": [\"make\"],\n \"name\": \"other\" }",
                        FILE_A ":2: /name: found \"name\", which an override cannot change, expected no such key\n"
                        FILE_A ":1: /build: found \"build\", which an override cannot change, expected no such key\n");
}

/* ---- what holds ---- */

static void value_is(json_object *o, const char *pointer, const char *expected) {
        json_object *value = NULL;

        assert_int_equal(json_pointer_get(o, pointer, &value), 0);
        assert_string_equal(json_object_get_string(value), expected);
}

static const char *origin(json_object *provenance, const char *pointer) {
        return strempty(json_object_get_string(json_object_object_get(provenance, pointer)));
}

static void test_effective(void **state) {
        _cleanup_(putp) json_object *document = NULL, *provenance = NULL;
        _cleanup_(problemsp) Problems problems = {};
        _cleanup_(layers_done) Layers l = {};

        clear_overrides();
        write_file(overrides_fd, "10-a.json", "{ \"functions\": { \"f\": { \"memory\": \"32M\", \"timeout\": null } } }");
        assert_int_equal(manifest_layers(bundle_fd, overrides_fd, "shop", &problems, &l), 0);
        assert_int_equal(effective_new(&l, &document, &provenance), 0);
        value_is(document, "/functions/f/memory", "32M");
        value_is(document, "/functions/f/timeout", "30s");
        value_is(document, "/functions/f/instances/max", "4");
        value_is(document, "/functions/f/instances/events", "1");
        value_is(document, "/idle", "5min");
        assert_string_equal(origin(provenance, "/functions/f/memory"), FILE_A);
        assert_string_equal(origin(provenance, "/functions/f/timeout"), "default");
        assert_string_equal(origin(provenance, "/functions/f/instances/max"), "sand.json");
        assert_string_equal(origin(provenance, "/functions/f/instances/events"), "default");
        assert_string_equal(origin(provenance, "/functions/f/handler"), "sand.json");
        assert_string_equal(origin(provenance, "/environment/A"), "sand.json");
        assert_string_equal(origin(provenance, "/idle"), "default");
        assert_false(json_object_object_get_ex(provenance, "/functions/f", NULL));
        assert_false(json_object_object_get_ex(provenance, "/functions/f/handler/0", NULL));
        /* what was merged is as it was */
        assert_false(json_object_object_get_ex(l.merged, "idle", NULL));
}

/* The defaults that are shown are those that the parser takes. */
static void test_defaults(void **state) {
        static const char least[] = "{\"name\":\"a\",\"functions\":{\"f\":{\"runtime\":\"exec\",\"handler\":\"cat\"}}}";
        _cleanup_(putp) json_object *document = NULL, *provenance = NULL;
        _cleanup_(manifest_freep) Manifest *a = NULL, *b = NULL;
        _cleanup_(problemsp) Problems problems = {};
        _cleanup_(layers_done) Layers l = {};
        const FunctionSpec *f, *g;
        const char *full;

        assert_int_equal(add(&l, "sand.json", least, &problems), 0);
        assert_int_equal(manifest_from_layers(&l, -EBADF, &problems, &a), 0);
        assert_int_equal(effective_new(&l, &document, &provenance), 0);
        full = json_object_to_json_string(document);
        assert_int_equal(manifest_parse("full", full, strlen(full), &problems, &b), 0);
        f = a->functions;
        g = b->functions;
        assert_int_equal(a->idle_usec, b->idle_usec);
        assert_int_equal(a->receipts, b->receipts);
        assert_int_equal(a->network, b->network);
        assert_int_equal(f->timeout_usec, g->timeout_usec);
        assert_int_equal(f->payload_max, g->payload_max);
        assert_int_equal(f->warm, g->warm);
        assert_int_equal(f->max, g->max);
        assert_int_equal(f->events, g->events);
        assert_int_equal(f->queue_max, g->queue_max);
        assert_int_equal(f->queue_bytes, g->queue_bytes);
        assert_int_equal(f->memory, g->memory);
        assert_int_equal(f->tasks_max, g->tasks_max);
        assert_int_equal(f->retry.attempts, g->retry.attempts);
        assert_int_equal(f->retry.delay_usec, g->retry.delay_usec);
        assert_true(f->retry.backoff == g->retry.backoff);
        assert_int_equal(f->retry.delay_max_usec, g->retry.delay_max_usec);
        assert_int_equal(f->retry.age_max_usec, g->retry.age_max_usec);
        assert_int_equal(f->retry.timeouts, g->retry.timeouts);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_merge),
                cmocka_unit_test(test_patch_is_an_object),
                cmocka_unit_test(test_source),
                cmocka_unit_test(test_in_order_of_names),
                cmocka_unit_test(test_problems_name_the_override),
                cmocka_unit_test(test_effective),
                cmocka_unit_test(test_defaults),
        };

        return cmocka_run_group_tests(tests, set_up, tear_down);
}
