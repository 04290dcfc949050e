/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What users type at sandctl, and how it shows numbers. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "../../tools/sandctl-text.h"

static void check_target(const char *s, const char *app, const char *dir, const char *function) {
        _cleanup_(target_done) Target t = {};
        const char *message = NULL;

        assert_int_equal(target_parse(s, &t, &message), 0);
        assert_string_equal(strempty(t.app), strempty(app));
        assert_string_equal(strempty(t.dir), strempty(dir));
        assert_string_equal(t.function, function);
}

static void test_targets(void **state) {
        check_target("thumbnails/resize", "thumbnails", NULL, "resize");
        check_target("a-1/_x-Y", "a-1", NULL, "_x-Y");
        check_target("./hello/greet", NULL, "./hello", "greet");
        check_target("./greet", NULL, ".", "greet");
        check_target("../x/y/greet", NULL, "../x/y", "greet");
        check_target("/srv/apps/hello/greet", NULL, "/srv/apps/hello", "greet");
        check_target("./with space/greet", NULL, "./with space", "greet");
}

static void test_bad_targets(void **state) {
        static const char *const bad[] = {
                "", "thumbnails", "/", "/greet", "app/", "./", "App/greet", "a/b/c", "app/1x", "app/gr eet",
                "app/greet@2", "-app/greet", "app//greet", "hello.d/greet",
        };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                const char *message = NULL;
                Target t = { .function = (char *) "untouched" };

                if (target_parse(bad[i], &t, &message) != -EINVAL)
                        fail_msg("\"%s\" was taken for a target", bad[i]);
                assert_non_null(message);
                assert_string_equal(t.function, "untouched");
        }
}

static void test_suggested_names(void **state) {
        static const struct {
                const char *typed, *suggested;
        } rows[] = {
                { "My_App", "my-app" }, { "my app 2", "my-app-2" }, { "2nd", "nd" }, { "--x--", "x" }, { "a__b", "a-b" },
                { "caf\xc3\xa9", "caf" }, { "\xc3\xa9", "app" }, { "", "app" }, { "123", "app" }, { "..", "app" },
                { "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-Zz",
                  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" },
        };
        char name[APP_NAME_MAX + 1];

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                app_name_suggest(rows[i].typed, name);
                assert_string_equal(name, rows[i].suggested);
                assert_true(app_name_is_valid(name));
        }
}

static void test_listen_addresses(void **state) {
        static const char *const bad[] = { "", ":", ":80", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:+1", "x:80",
                                           "127.0.0.1:8080x", "[::1:80", "[]:80", "::1:80", "-1", "127.1:80" };
        static const char *const off_loopback[] = { "0.0.0.0:80", "192.168.1.1:80", "[::]:80", "[2001:db8::1]:80" };
        ListenAddress a;

        assert_int_equal(listen_address_parse("127.0.0.1:9000", &a), 0);
        assert_int_equal(a.family, AF_INET);
        assert_string_equal(a.host, "127.0.0.1");
        assert_int_equal(a.port, 9000);
        assert_int_equal(listen_address_parse("8081", &a), 0);
        assert_string_equal(a.host, "127.0.0.1");
        assert_int_equal(a.port, 8081);
        assert_int_equal(listen_address_parse("localhost:0", &a), 0);
        assert_string_equal(a.host, "127.0.0.1");
        assert_int_equal(a.port, 0);
        assert_int_equal(listen_address_parse("[::1]:65535", &a), 0);
        assert_int_equal(a.family, AF_INET6);
        assert_string_equal(a.host, "::1");
        assert_int_equal(a.port, 65535);

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                if (listen_address_parse(bad[i], &a) != -EINVAL)
                        fail_msg("\"%s\" was taken for an address", bad[i]);
        for (size_t i = 0; i < ELEMENTSOF(off_loopback); i++)
                assert_int_equal(listen_address_parse(off_loopback[i], &a), -EACCES);
}

static void test_spans(void **state) {
        static const struct {
                uint64_t usec;
                const char *text;
        } cases[] = {
                { 0, "0" },
                { 7, "7us" },
                { 1500, "1.5ms" },
                { 230 * USEC_PER_MSEC, "230ms" },
                { 1500 * USEC_PER_MSEC, "1.5s" },
                { 30 * USEC_PER_SEC, "30s" },
                { 5 * USEC_PER_MINUTE, "5min" },
                { 5 * USEC_PER_MINUTE + 20 * USEC_PER_SEC, "5min 20s" },
                { 26 * USEC_PER_HOUR, "1d 2h" },
                { USEC_INFINITY, "infinity" },
        };
        char buf[64], small[4];

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                format_span(buf, sizeof(buf), cases[i].usec);
                assert_string_equal(buf, cases[i].text);
        }
        format_span(small, sizeof(small), USEC_INFINITY);
        assert_string_equal(small, "inf");
        format_ago(buf, sizeof(buf), 2 * USEC_PER_MINUTE + 3500 * USEC_PER_MSEC);
        assert_string_equal(buf, "2min 3s ago");
        format_ago(buf, sizeof(buf), 5 * USEC_PER_MSEC);
        assert_string_equal(buf, "5ms ago");
        format_ago(buf, sizeof(buf), 0);
        assert_string_equal(buf, "just now");
}

static void test_bytes(void **state) {
        static const struct {
                uint64_t bytes;
                const char *text;
        } cases[] = {
                { 0, "0B" }, { 1023, "1023B" }, { 1024, "1K" }, { 16 << 20, "16M" }, { 1536, "1.5K" },
                { UINT64_C(1) << 60, "1E" }, { UINT64_MAX, "infinity" },
        };
        char buf[32];

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                format_bytes(buf, sizeof(buf), cases[i].bytes);
                assert_string_equal(buf, cases[i].text);
        }
}

static void check_ellipsis(const char *s, size_t width, const char *expected) {
        _cleanup_(freep) char *t = text_ellipsize(s, width);

        assert_non_null(t);
        assert_string_equal(t, expected);
        if (width > 0)
                assert_true(text_width(t) <= width);
}

static void test_ellipses(void **state) {
        check_ellipsis("short", 8, "short");
        check_ellipsis("exactly8", 8, "exactly8");
        check_ellipsis("thumbnails", 8, "thumbna\xe2\x80\xa6");
        check_ellipsis("x", 0, "x");
        check_ellipsis("\xc3\xa4\xc3\xb6\xc3\xbc\xc3\x9f", 3, "\xc3\xa4\xc3\xb6\xe2\x80\xa6");
        check_ellipsis("abc", 1, "\xe2\x80\xa6");
        assert_int_equal(text_width("\xe2\x97\x8f app"), 5);
}

/* What another host's shell makes of a word is the word: asked of a real shell. */
static void test_quotes(void **state) {
        static const char *const words[] = { "", "plain", "--data={\"a\": 1}", "it's", "a b", "$(id)", "`id`", "*",
                                             "\\", "''", "!x", "new\nline", "-e", ";", "~", "\"" };

        for (size_t i = 0; i < ELEMENTSOF(words); i++) {
                _cleanup_(freep) char *quoted = shell_quote(words[i]), *command = NULL;
                char answer[128];
                size_t n;
                FILE *f;

                assert_non_null(quoted);
                assert_true(asprintf(&command, "printf %%s %s", quoted) > 0);
                f = popen(command, "r");
                assert_non_null(f);
                n = fread(answer, 1, sizeof(answer) - 1, f);
                answer[n] = '\0';
                assert_int_equal(pclose(f), 0);
                assert_string_equal(answer, words[i]);
        }
}

static void test_base64(void **state) {
        static const struct {
                const char *text, *data;
                size_t size;
        } good[] = {
                { "", "", 0 }, { "AA==", "\0", 1 }, { "YWI=", "ab", 2 }, { "YWJj", "abc", 3 }, { "+/+/", "\xfb\xff\xbf", 3 },
                { "YWJjZA==", "abcd", 4 },
        };
        static const char *const bad[] = { "A", "AB", "ABC", "AB C", "A===", "====", "AB=C", "YWJj\n" };
        size_t size;

        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                _cleanup_(freep) void *data = NULL;

                assert_int_equal(base64_decode(good[i].text, &data, &size), 0);
                assert_int_equal(size, good[i].size);
                assert_memory_equal(data, good[i].data, size + 1);
        }
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                _cleanup_(freep) void *data = NULL;

                assert_int_equal(base64_decode(bad[i], &data, &size), -EBADMSG);
        }
}

static void test_event_ids(void **state) {
        assert_true(event_id_is_valid("0123"));
        assert_true(event_id_is_valid("0123456789abcdef0123456789abcdef"));
        assert_false(event_id_is_valid("012"));
        assert_false(event_id_is_valid("0123456789abcdef0123456789abcdef0"));
        assert_false(event_id_is_valid("0123ABCD"));
        assert_false(event_id_is_valid("cafe/"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_targets),
                cmocka_unit_test(test_bad_targets),
                cmocka_unit_test(test_suggested_names), cmocka_unit_test(test_listen_addresses),
                cmocka_unit_test(test_spans),
                cmocka_unit_test(test_bytes),
                cmocka_unit_test(test_ellipses),
                cmocka_unit_test(test_quotes),
                cmocka_unit_test(test_base64),
                cmocka_unit_test(test_event_ids),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
