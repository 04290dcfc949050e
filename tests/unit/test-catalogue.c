/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is published is read back; what is not an entry is not believed. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "catalogue.h"

typedef struct Directory {
        char path[64];
        int fd;
} Directory;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path);
}

static int setup(void **state) {
        Directory *d = calloc(1, sizeof(Directory));

        strcpy(d->path, "/tmp/test-catalogue.XXXXXX");
        if (!mkdtemp(d->path))
                return -1;
        d->fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        *state = d;
        return d->fd < 0 ? -1 : 0;
}

static int teardown(void **state) {
        Directory *d = *state;

        (void) close(d->fd);
        (void) nftw(d->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        free(d);
        return 0;
}

static void write_file(int dir_fd, const char *name, const char *text, size_t size) {
        _cleanup_(closep) int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, size), size);
}

static Manifest *make_manifest(void) {
        static const char text[] =
                "{\"name\": \"photos\", \"functions\": {"
                "\"resize\": {\"runtime\": \"native\", \"handler\": \"r.so:r\", \"content_type\": \"image/jpeg\","
                "             \"timeout\": \"5s\", \"payload_max\": \"1M\", \"environment\": {\"SECRET\": \"hunter2\"}},"
                "\"sign\": {\"runtime\": \"exec\", \"handler\": \"sign\", \"on_success\": \"resize\", \"on_failure\": \"b/f\","
                "           \"instances\": {\"max\": 3}, \"retry\": {\"delay\": \"2s\", \"backoff\": 1.5, \"timeouts\": false}}},"
                "\"retry\": {\"attempts\": 7}, \"allow\": [\"shop\", \"alarms\"],"
                "\"mounts\": [{\"host\": \"/srv/in\", \"at\": \"/mnt\"}],"
                "\"triggers\": [{\"http\": \"GET /photos/{id}\", \"target\": \"resize\", \"cors\": {\"origins\": "
                "[\"https://a.example\"], \"methods\": [\"GET\", \"PUT\"], \"headers\": [\"X-A\"], \"expose_headers\": "
                "[\"ETag\"], \"max_age\": \"10min\", \"credentials\": true}},"
                "{\"http\": \"ANY /{rest+}\", \"target\": \"sign\", \"cors\": {\"origins\": [\"*\"]}},"
                "{\"http\": \"POST /sign\", \"target\": \"sign\", \"async\": true},"
                "{\"event\": \"orders.*\", \"target\": \"sign\"}, {\"path\": \"/mnt/new\", \"target\": \"resize\"},"
                "{\"timer\": \"daily\", \"target\": \"sign\"},"
                "{\"timer\": \"daily\", \"target\": \"sign\", \"input\": null, \"overlap\": false},"
                "{\"timer\": \"daily\", \"target\": \"sign\", \"input\": [[[[[[[[[[[[[[[[[[[[[[[[1.50]]]]]]]]]]]]]]]]]]]]]]]]}]}";
        Problems problems = {};
        Manifest *m = NULL;

        assert_int_equal(manifest_parse("sand.json", text, sizeof(text) - 1, &problems, &m), 0);
        return m;
}

static void test_round_trip(void **state) {
        _cleanup_(catalogue_entry_freep) CatalogueEntry *e = NULL;
        _cleanup_(manifest_freep) Manifest *m = make_manifest();
        const CatalogueFunction *f;
        Directory *d = *state;
        char text[4096] = "";
        struct stat st;

        /* a stage of it has another name; something is left over from a crash; the umask is not ours */
        write_file(d->fd, ".stage.json.new", "{", 1);
        (void) umask(0077);
        assert_int_equal(catalogue_publish(d->fd, m, "stage", "3-abc", "abcdef", 4294901760), 0);
        (void) umask(022);
        assert_int_equal(fstatat(d->fd, "stage.json", &st, 0), 0);
        assert_int_equal(st.st_mode, S_IFREG | 0644);
        assert_int_equal(faccessat(d->fd, ".stage.json.new", F_OK, 0), -1);

        _cleanup_(closep) int fd = openat(d->fd, "stage.json", O_RDONLY | O_CLOEXEC);
        assert_true(read(fd, text, sizeof(text) - 1) > 0);
        assert_null(strstr(text, "hunter2"));

        assert_int_equal(catalogue_read(d->fd, "stage", &e), 0);
        assert_string_equal(e->name, "stage");
        assert_string_equal(e->version, "3-abc");
        assert_string_equal(e->hash, "abcdef");
        assert_int_equal(e->uid_base, 4294901760);
        assert_int_equal(e->n_functions, 2);
        f = catalogue_find(e, "resize");
        assert_non_null(f);
        assert_int_equal(f->runtime, RUNTIME_NATIVE);
        assert_int_equal(f->timeout_usec, 5 * USEC_PER_SEC);
        assert_int_equal(f->payload_max, 1 << 20);
        assert_string_equal(f->content_type, "image/jpeg");
        f = catalogue_find(e, "sign");
        assert_non_null(f);
        assert_null(f->content_type);
        assert_null(catalogue_find(e, "nothing"));
}

static void test_routes(void **state) {
        _cleanup_(catalogue_entry_freep) CatalogueEntry *e = NULL;
        _cleanup_(manifest_freep) Manifest *m = make_manifest();
        Directory *d = *state;
        const WebCors *c;

        assert_int_equal(catalogue_publish(d->fd, m, "photos", "1-a", "a", 1), 0);
        assert_int_equal(catalogue_read(d->fd, "photos", &e), 0);
        assert_int_equal(e->n_routes, 3);
        assert_string_equal(e->routes[0].route.key, "GET /photos/{id}");
        assert_int_equal(e->routes[0].route.method, WEB_GET);
        assert_string_equal(e->routes[0].target, "resize");
        c = e->routes[0].cors;
        assert_int_equal(strv_length(c->origins), 1);
        assert_string_equal(c->origins[0], "https://a.example");
        assert_int_equal(strv_length(c->methods), 2);
        assert_string_equal(c->methods[1], "PUT");
        assert_string_equal(c->headers[0], "X-A");
        assert_string_equal(c->expose_headers[0], "ETag");
        assert_int_equal(c->max_age_usec, 10 * USEC_PER_MINUTE);
        assert_true(c->credentials);
        c = e->routes[1].cors;
        assert_string_equal(c->origins[0], "*");
        assert_null(c->methods);
        assert_int_equal(c->max_age_usec, 0);
        assert_false(c->credentials);
        assert_string_equal(e->routes[2].target, "sign");
        assert_null(e->routes[2].cors);
}

static void test_async(void **state) {
        static const char *const published[] = {
                "\"triggers\":{\"timer-5\":{\"target\":\"sign\",\"overlap\":true,\"input\":{}},"
                "\"timer-6\":{\"target\":\"sign\",\"overlap\":false,\"input\":null},\"timer-7\":", "[1.50]",
                "\"path-4\":{\"target\":\"resize\",\"path\":\"/mnt/new\",\"host\":\"/srv/in/new\"}",
        };
        _cleanup_(catalogue_entry_freep) CatalogueEntry *e = NULL;
        _cleanup_(manifest_freep) Manifest *m = make_manifest();
        _cleanup_(closep) int fd = -EBADF;
        Directory *d = *state;
        const CatalogueFunction *f;
        char text[8192] = "";

        assert_int_equal(catalogue_publish(d->fd, m, "stage", "1-a", "a", 1), 0);
        assert_int_equal(catalogue_read(d->fd, "stage", &e), 0);
        f = catalogue_find(e, "sign");
        assert_int_equal(f->instances_max, 3);
        assert_string_equal(f->on_success, "stage/resize"); /* as it is deployed */
        assert_string_equal(f->on_failure, "b/f");
        assert_int_equal(f->retry.attempts, 7);
        assert_int_equal(f->retry.delay_usec, 2 * USEC_PER_SEC);
        assert_true(f->retry.backoff == 1.5);
        assert_int_equal(f->retry.delay_max_usec, 5 * USEC_PER_MINUTE);
        assert_int_equal(f->retry.age_max_usec, 6 * USEC_PER_HOUR);
        assert_false(f->retry.timeouts);
        f = catalogue_find(e, "resize");
        assert_int_equal(f->instances_max, 16);
        assert_null(f->on_success);
        assert_true(f->retry.timeouts);
        assert_false(e->routes[0].async);
        assert_true(e->routes[2].async);
        assert_int_equal(e->n_topics, 1);
        assert_string_equal(e->topics[0].pattern, "orders.*");
        assert_string_equal(e->topics[0].target, "sign");
        assert_int_equal(strv_length(e->allow), 2);
        assert_string_equal(e->allow[1], "alarms");

        fd = openat(d->fd, "stage.json", O_RDONLY | O_CLOEXEC);
        assert_true(read(fd, text, sizeof(text) - 1) > 0);
        for (size_t i = 0; i < ELEMENTSOF(published); i++)
                assert_non_null(strstr(text, published[i]));
}

static void test_replace_and_withdraw(void **state) {
        _cleanup_(catalogue_entry_freep) CatalogueEntry *e = NULL;
        _cleanup_(manifest_freep) Manifest *m = make_manifest();
        Directory *d = *state;

        assert_int_equal(catalogue_publish(d->fd, m, "photos", "1-a", "a", 1), 0);
        assert_int_equal(catalogue_publish(d->fd, m, "photos", "2-b", "b", 1), 0);
        assert_int_equal(catalogue_read(d->fd, "photos", &e), 0);
        assert_string_equal(e->version, "2-b");
        assert_int_equal(catalogue_withdraw(d->fd, "photos"), 0);
        assert_int_equal(catalogue_withdraw(d->fd, "photos"), -ENOENT);
        assert_int_equal(catalogue_read(d->fd, "photos", &e), -ENOENT);
}

static void test_names(void **state) {
        static const char *const names[] = { "../x", "", ".", "a/b", "A", "a-", "x.json" };
        _cleanup_(manifest_freep) Manifest *m = make_manifest();
        CatalogueEntry *e = NULL;
        Directory *d = *state;

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                assert_int_equal(catalogue_publish(d->fd, m, names[i], "1", "a", 1), -EINVAL);
                assert_int_equal(catalogue_read(d->fd, names[i], &e), -ENOENT);
                assert_int_equal(catalogue_withdraw(d->fd, names[i]), -ENOENT);
        }
}

static void test_list(void **state) {
        _cleanup_(strv_freep) char **names = NULL, **none = NULL;
        _cleanup_(manifest_freep) Manifest *m = make_manifest();
        Directory *d = *state;

        assert_int_equal(catalogue_list(d->fd, &none), 0);
        assert_non_null(none);
        assert_null(none[0]);
        assert_int_equal(catalogue_publish(d->fd, m, "zoo", "1", "a", 1), 0);
        assert_int_equal(catalogue_publish(d->fd, m, "ape", "1", "a", 1), 0);
        assert_int_equal(catalogue_publish(d->fd, m, "bee", "1", "a", 1), 0);
        write_file(d->fd, ".new.json.new", "", 0);
        write_file(d->fd, "README", "", 0);
        write_file(d->fd, "Upper.json", "", 0);
        write_file(d->fd, ".json", "", 0);
        assert_int_equal(catalogue_list(d->fd, &names), 0);
        assert_int_equal(strv_length(names), 3);
        assert_string_equal(names[0], "ape");
        assert_string_equal(names[1], "bee");
        assert_string_equal(names[2], "zoo");
}

#define HEAD "{\"name\":\"a\",\"version\":\"1\",\"hash\":\"h\",\"uid_base\":5,\"functions\":"
#define FUNCTION(x) HEAD "{\"f\":{" x "}}}"
#define ROUTES(x) HEAD "{\"f\":{\"runtime\":\"exec\",\"timeout_usec\":1,\"payload_max\":1}},\"routes\":" x "}"
#define TOPICS(x) HEAD "{\"f\":{\"runtime\":\"exec\",\"timeout_usec\":1,\"payload_max\":1}},\"topics\":" x "}"
#define ASYNC(x) FUNCTION("\"runtime\":\"exec\",\"timeout_usec\":1,\"payload_max\":1," x)
#define CORS(x) ROUTES("[{\"http\":\"GET /\",\"target\":\"f\",\"cors\":" x "}]")

static void test_not_an_entry(void **state) {
        static const char *const texts[] = {
                "", "{", "null", "[]", "{}", "{} x", "{\"name\":\"a\"}",
                "{\"name\":\"b\",\"version\":\"1\",\"hash\":\"h\",\"uid_base\":5,\"functions\":{}}", /* another's */
                "{\"name\":\"a\",\"version\":1,\"hash\":\"h\",\"uid_base\":5,\"functions\":{}}",
                "{\"name\":\"a\",\"version\":\"\",\"hash\":\"h\",\"uid_base\":5,\"functions\":{}}",
                "{\"name\":\"a\",\"version\":\"1\\u0000\",\"hash\":\"h\",\"uid_base\":5,\"functions\":{}}",
                "{\"name\":\"a\",\"version\":\"1\",\"hash\":\"h\",\"uid_base\":-5,\"functions\":{}}",
                "{\"name\":\"a\",\"version\":\"1\",\"hash\":\"h\",\"uid_base\":4294967296,\"functions\":{}}",
                "{\"name\":\"a\",\"version\":\"1\",\"hash\":\"h\",\"uid_base\":\"5\",\"functions\":{}}",
                HEAD "[]}", HEAD "{\"f\":1}}", HEAD "{\"1f\":{}}}",
                FUNCTION(""),
                FUNCTION("\"runtime\":\"ruby\",\"timeout_usec\":1,\"payload_max\":1"),
                FUNCTION("\"runtime\":\"exec\",\"timeout_usec\":-1,\"payload_max\":1"),
                FUNCTION("\"runtime\":\"exec\",\"timeout_usec\":1.5,\"payload_max\":1"),
                FUNCTION("\"runtime\":\"exec\",\"timeout_usec\":1,\"payload_max\":67108865"),
                FUNCTION("\"runtime\":\"exec\",\"timeout_usec\":1"),
                FUNCTION("\"runtime\":\"exec\",\"timeout_usec\":1,\"payload_max\":1,\"content_type\":5"),
                ROUTES("{}"), ROUTES("[1]"), ROUTES("[{}]"), ROUTES("[{\"http\":\"GET /\"}]"),
                ROUTES("[{\"target\":\"f\"}]"), ROUTES("[{\"http\":\"GET /\",\"target\":\"g\"}]"),
                ROUTES("[{\"http\":\"GET\",\"target\":\"f\"}]"), ROUTES("[{\"http\":5,\"target\":\"f\"}]"),
                TOPICS("{}"), TOPICS("[5]"), TOPICS("[{\"event\":\"a\"}]"), TOPICS("[{\"event\":\"a\",\"target\":\"g\"}]"),
                TOPICS("[],\"allow\":{}"), TOPICS("[],\"allow\":[5]"),
                ASYNC("\"retry\":5"), ASYNC("\"retry\":{\"attempts\":0}"), ASYNC("\"retry\":{\"attempts\":101}"),
                ASYNC("\"retry\":{\"backoff\":0.5}"), ASYNC("\"retry\":{\"delay_usec\":\"1\"}"), ASYNC("\"instances_max\":-1"),
                ASYNC("\"on_success\":5"),
                CORS("5"), CORS("{\"origins\":5}"), CORS("{\"origins\":[5]}"), CORS("{\"max_age_usec\":-1}"),
        };
        _cleanup_(catalogue_entry_freep) CatalogueEntry *good = NULL;
        Directory *d = *state;
        static const char sound[] = FUNCTION("\"runtime\":\"exec\",\"timeout_usec\":1,\"payload_max\":1,\"later\":{}");

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                CatalogueEntry *e = NULL;

                write_file(d->fd, "a.json", texts[i], strlen(texts[i]));
                if (catalogue_read(d->fd, "a", &e) != -EBADMSG || e)
                        fail_msg("%s", texts[i]);
        }
        /* but a key of a later version is no reason */
        write_file(d->fd, "a.json", sound, sizeof(sound) - 1);
        assert_int_equal(catalogue_read(d->fd, "a", &good), 0);
        /* nor is what an earlier one did not have */
        assert_int_equal(good->n_routes, 0);
        assert_int_equal(good->n_topics, 0);
        assert_null(good->allow);
        assert_int_equal(good->functions[0].instances_max, 16);
        assert_int_equal(good->functions[0].retry.attempts, 3);
        assert_true(good->functions[0].retry.timeouts);
}

static void test_not_a_file(void **state) {
        CatalogueEntry *e = NULL;
        Directory *d = *state;

        assert_int_equal(symlinkat("/etc/passwd", d->fd, "link.json"), 0);
        assert_int_equal(catalogue_read(d->fd, "link", &e), -EBADMSG);
        assert_int_equal(mkfifoat(d->fd, "fifo.json", 0644), 0);
        assert_int_equal(catalogue_read(d->fd, "fifo", &e), -EBADMSG);
        _cleanup_(closep) int fd = openat(d->fd, "large.json", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        assert_int_equal(ftruncate(fd, 5 << 20), 0);
        assert_int_equal(catalogue_read(d->fd, "large", &e), -EBADMSG);
        assert_null(e);
}

#define DIRECTORY_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        static const struct CMUnitTest tests[] = {
                DIRECTORY_TEST(test_round_trip), DIRECTORY_TEST(test_replace_and_withdraw),
                DIRECTORY_TEST(test_routes), DIRECTORY_TEST(test_async),
                DIRECTORY_TEST(test_names),      DIRECTORY_TEST(test_list),
                DIRECTORY_TEST(test_not_an_entry), DIRECTORY_TEST(test_not_a_file),
        };
        (void) umask(022);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
