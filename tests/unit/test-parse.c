/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Time spans, sizes, names, nearest words, UTF-8. The spans' values are those of `systemd-analyze timespan`. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "manifest.h"
#include "path.h"
#include "text.h"

typedef struct Row {
        const char *text;
        int r;
        uint64_t value;
} Row;

static void check_rows(const Row *rows, size_t n, int (*parse)(const char *s, uint64_t *ret)) {
        for (size_t i = 0; i < n; i++) {
                uint64_t value = 4711;
                int r = parse(rows[i].text, &value);

                if (r != rows[i].r || value != (r < 0 ? 4711 : rows[i].value))
                        fail_msg("\"%s\": %d, %llu, expected %d, %llu", rows[i].text, r, (unsigned long long) value,
                                 rows[i].r, (unsigned long long) rows[i].value);
        }
}

static void test_time_span(void **state) {
        static const Row rows[] = {
                { "0", 0, 0 },
                { "1", 0, 1000000 },
                { "90", 0, 90000000 },
                { "+5", 0, 5000000 },
                { "5min 20s", 0, 320000000 },
                { "5min20s", 0, 320000000 },
                { "  3  s  ", 0, 3000000 },
                { "2 h", 0, UINT64_C(7200000000) },
                { "1.5h", 0, UINT64_C(5400000000) },
                { ".5s", 0, 500000 },
                { "0.000001", 0, 1 },
                { "1.9us", 0, 1 },
                { "300ms20s 5day", 0, UINT64_C(432020300000) },
                { "5 6", 0, 11000000 },
                { "12.34s.56", 0, 12900000 },
                { "12.34 .56", 0, 12900000 },
                { "1y 1month 1w 1d 1hr 1minute 1second 1msec 1usec", 0, UINT64_C(34882261001001) },
                { "1M", 0, UINT64_C(2629800000000) },
                { "1m", 0, 60000000 },
                { "7\xc2\xb5s", 0, 7 },
                { "7\xce\xbcs", 0, 7 },
                { "infinity", 0, USEC_INFINITY },
                { " infinity ", 0, USEC_INFINITY },
                { "", -EINVAL },
                { "  ", -EINVAL },
                { "s", -EINVAL },
                { "abc", -EINVAL },
                { "5x", -EINVAL },
                { "5 x", -EINVAL },
                { "3.", -EINVAL },
                { "3.s", -EINVAL },
                { "3. 1", -EINVAL },
                { "12.34.56", -EINVAL },
                { "0.+1", -EINVAL },
                { "infinity 5s", -EINVAL },
                { "infinityx", -EINVAL },
                { "--5", -ERANGE },
                { "-5s", -ERANGE },
                { "18446744073709551615", -ERANGE },
                { "99999999999999999999999", -ERANGE },
                { "18446744073709551615us", -ERANGE },
        };
        check_rows(rows, ELEMENTSOF(rows), parse_time_span);
}

static void test_size(void **state) {
        static const Row rows[] = {
                { "0", 0, 0 },
                { "1", 0, 1 },
                { "1B", 0, 1 },
                { "64K", 0, 65536 },
                { "16M", 0, 16777216 },
                { "1.5G", 0, UINT64_C(1610612736) },
                { "0.5K", 0, 512 },
                { ".5K", 0, 512 },
                { "1.75B", 0, 1 },
                { "1T", 0, UINT64_C(1) << 40 },
                { "1P", 0, UINT64_C(1) << 50 },
                { "1E", 0, UINT64_C(1) << 60 },
                { " 16 M ", 0, 16777216 },
                { "1G 512M", 0, UINT64_C(1610612736) },
                { "1G512M1", 0, UINT64_C(1610612737) },
                { "1.0000000000000000000000001K", 0, 1024 },
                { "", -EINVAL },
                { " ", -EINVAL },
                { "M", -EINVAL },
                { "16m", -EINVAL },
                { "16MB", -EINVAL },
                { "16MiB", -EINVAL },
                { "16 X", -EINVAL },
                { "512M 1G", -EINVAL },
                { "1M 1M", -EINVAL },
                { "1 1M", -EINVAL },
                { "1.", -EINVAL },
                { "1.K", -EINVAL },
                { "0x10", -EINVAL },
                { "infinity", -EINVAL },
                { "-1", -ERANGE },
                { "16E", -ERANGE },
                { "15.999E", 0, UINT64_C(18445591152204944769) },
                { "18446744073709551615", -ERANGE },
                { "18446744073709551616", -ERANGE },
        };
        check_rows(rows, ELEMENTSOF(rows), parse_size);
}

static void test_names(void **state) {
        static const struct {
                const char *name;
                bool app, function;
        } rows[] = {
                { "a", true, true },
                { "thumbnails", true, true },
                { "a-1", true, true },
                { "a-", false, true },
                { "A", false, true },
                { "_x", false, true },
                { "a_b", false, true },
                { "1a", false, false },
                { "-a", false, false },
                { "", false, false },
                { "a.b", false, false },
                { "a/b", false, false },
                { "a b", false, false },
                { "a\n", false, false },
                { "\xc3\xa9", false, false },
                { "abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabc", true, true },    /* 63 */
                { "abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcd", false, true },  /* 64 */
                { "abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcde", false, false }, /* 65 */
        };
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                if (app_name_is_valid(rows[i].name) != rows[i].app)
                        fail_msg("application \"%s\"", rows[i].name);
                if (function_name_is_valid(rows[i].name) != rows[i].function)
                        fail_msg("function \"%s\"", rows[i].name);
        }
        assert_false(app_name_is_valid(NULL));
        assert_false(function_name_is_valid(NULL));
}

static void test_runtimes(void **state) {
        for (Runtime r = 0; r < _RUNTIME_MAX; r++) {
                assert_int_equal(runtime_from_string(runtime_to_string(r)), r);
                assert_non_null(startswith(runtime_worker(r), "sand-worker-"));
        }
        assert_int_equal(runtime_from_string("python"), _RUNTIME_INVALID);
        assert_int_equal(runtime_from_string(NULL), _RUNTIME_INVALID);
}

static void test_utf8(void **state) {
        static const struct {
                const char *text;
                bool valid;
        } rows[] = {
                { "", true },
                { "plain", true },
                { "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", true },
                { "\xf4\x8f\xbf\xbf", true },      /* U+10FFFF */
                { "\xf4\x90\x80\x80", false },     /* beyond it */
                { "\xc0\x80", false },             /* overlong */
                { "\xe0\x9f\xbf", false },
                { "\xf0\x8f\xbf\xbf", false },
                { "\xed\xa0\x80", false },         /* surrogate */
                { "\x80", false },
                { "\xc3", false },
                { "\xe2\x82", false },
                { "\xe2\x28\xa1", false },
                { "\xff", false },
        };
        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                if (utf8_is_valid(rows[i].text, strlen(rows[i].text)) != rows[i].valid)
                        fail_msg("row %zu", i);
}

static void test_printable(void **state) {
        char text[] = "a\033[2Jb\x7f\xc2\x9b" "1m\xc3\xa9\xffz\n";

        text_make_printable(text);
        assert_string_equal(text, "a?[2Jb???1m\xc3\xa9?z?");
}

static const char *word_at(const void *words, size_t i) {
        return ((const char *const *) words)[i];
}

static void test_nearest(void **state) {
        static const char *const words[] = { "timeout", "payload_max", "queue", "max", "", NULL };
        static const struct {
                const char *word, *nearest;
        } rows[] = {
                { "timeuot", "timeout" }, { "timout", "timeout" },   { "Timeout", "timeout" },
                { "payloadmax", "payload_max" }, { "queu", "queue" }, { "mac", "max" },
                { "zebra", NULL }, { "", NULL }, { "x", NULL }, { "ab", NULL },
        };
        char lengthy[200];

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                const char *nearest = nearest_word(rows[i].word, word_at, words);
                if (!nearest != !rows[i].nearest || (nearest && !streq(nearest, rows[i].nearest)))
                        fail_msg("%s: %s", rows[i].word, nearest ?: "none");
        }
        memset(lengthy, 'a', sizeof(lengthy) - 1);
        lengthy[sizeof(lengthy) - 1] = '\0';
        assert_null(nearest_word(lengthy, word_at, words));
}

static void test_traceback_place(void **state) {
        static const struct {
                const char *trace, *place;
        } rows[] = {
                { "  File \"/app/hello.py\", line 3\n    def f(\n         ^\nSyntaxError: '(' was never closed\n", "hello.py:3" },
                { "Traceback (most recent call last):\n"
                  "  File \"/app/hello.py\", line 7, in handle\n    return g()\n"
                  "  File \"/app/lib/more.py\", line 12, in g\n    json.loads(x)\n"
                  "  File \"/usr/lib/python3.11/json/__init__.py\", line 346, in loads\n    raise\n", "lib/more.py:12" },
                { "  File \"/app/a.py\", line 1, in f\n  File \"/app/vendor/python/b.py\", line 2, in g\n", "a.py:1" },
                { "  File \"/app/a b.py\", line 1, in f", "a b.py:1" },
                { "  File \"/app/\033.py\", line 1, in f", "?.py:1" },
                { "  File \"/application/a.py\", line 1, in f\n", NULL },
                { "  File \"/app/a.py\", line x\n", NULL },
                { "  File \"/app/a.py", NULL },
                { "  File \"/app/a.py\n\", line 1\n", NULL },
                { "  File \"/app/\", line 1\n", NULL },
                { "  File \"<string>\", line 1, in <module>\n", NULL },
                { "the worker exited with status 1", NULL },
                { "", NULL },
        };
        char place[16], small[6];

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                bool found = traceback_place(rows[i].trace, "/app", place, sizeof(place));
                if (found != !!rows[i].place || (found && !streq(place, rows[i].place)))
                        fail_msg("row %zu: %s", i, found ? place : "none");
        }
        assert_true(traceback_place(rows[0].trace, "/app", small, sizeof(small)));
        assert_string_equal(small, "hello");
}

static void test_path_is_inside(void **state) {
        static const char *const inside[] = { "a", "a/b", "./a", "a//b", "..a", "a..", "a/...", "." };
        static const char *const outside[] = { "", "/", "/a", "..", "../a", "a/..", "a/../b", "a//..//b" };

        for (size_t i = 0; i < ELEMENTSOF(inside); i++)
                if (!path_is_inside(inside[i]))
                        fail_msg("%s", inside[i]);
        for (size_t i = 0; i < ELEMENTSOF(outside); i++)
                if (path_is_inside(outside[i]))
                        fail_msg("%s", outside[i]);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_time_span), cmocka_unit_test(test_size),
                cmocka_unit_test(test_names),     cmocka_unit_test(test_runtimes),
                cmocka_unit_test(test_utf8),      cmocka_unit_test(test_printable),
                cmocka_unit_test(test_nearest),   cmocka_unit_test(test_path_is_inside),
                cmocka_unit_test(test_traceback_place),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
