/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Routes of HTTP triggers: what is one, and which two cannot stand beside each other. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "web-route.h"

static WebRoute parse(const char *s) {
        const char *expected = NULL;
        WebRoute r = {};

        if (web_route_parse(s, &r, &expected) < 0)
                fail_msg("\"%s\" is refused: expected %s", s, expected);
        return r;
}

static void test_parts(void **state) {
        _cleanup_(web_route_done) WebRoute r = parse("PUT /caf%C3%A9/{id}/a+b/{rest+}");

        assert_string_equal(r.key, "PUT /caf%C3%A9/{id}/a+b/{rest+}");
        assert_int_equal(r.method, WEB_PUT);
        assert_int_equal(r.n_segments, 4);
        assert_int_equal(r.segments[0].kind, WEB_LITERAL);
        assert_string_equal(r.segments[0].text, "caf\xc3\xa9");
        assert_int_equal(r.segments[1].kind, WEB_NAME);
        assert_string_equal(r.segments[1].text, "id");
        assert_string_equal(r.segments[2].text, "a+b");
        assert_int_equal(r.segments[3].kind, WEB_REST);
        assert_string_equal(r.segments[3].text, "rest");
}

static void test_good(void **state) {
        static const char *const good[] = {
                "ANY /", "GET /a", "GET /a/", "DELETE /{a}", "HEAD /{a+}", "OPTIONS /a%2Fb", "PATCH /~$&'()*,;=:@!-._",
                "POST /{_a.b-c1}", "GET /{a}/",
                "GET /1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/19/20/21/22/23/24/25/26/27/28/29/30/31/32",
        };

        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                _cleanup_(web_route_done) WebRoute r = parse(good[i]);
                assert_string_equal(r.key, good[i]);
        }
}

static void test_bad(void **state) {
        static const char *const bad[] = {
                "", "/", "GET", "GET ", "GET/", "GET  /", " GET /", "get /", "FOO /", "GET a", "GET a/b", "* /", "CONNECT /",
                "$default", "GET //", "GET //a", "GET /a//b", "GET /a?b", "GET /a#b", "GET /a b", "GET /a\tb", "GET /\"",
                "GET /caf\xc3\xa9", "GET /%", "GET /%4", "GET /%4g", "GET /%00", "GET /%0a", "GET /%7f", "GET /%ff",
                "GET /{}", "GET /{+}", "GET /{a", "GET /a}", "GET /{a}b", "GET /b{a}", "GET /{a}{b}", "GET /{a+}/b",
                "GET /{a+}/", "GET /{1a}", "GET /{a b}", "GET /{a/b}", "GET /{a}/{a}", "GET /{a}/{a+}", "GET /{a++}",
                "GET /{aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}",
                "GET /.", "GET /..", "GET /a/../b", "GET /%2e%2E", "GET /a/.",
                "GET /1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/19/20/21/22/23/24/25/26/27/28/29/30/31/32/33",
                "GETTTTTTTTTTTTTTTTTTTTTTTTT /",
        };
        char large[WEB_ROUTE_SIZE_MAX + 2];
        const char *expected;
        WebRoute r;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                expected = NULL;
                if (web_route_parse(bad[i], &r, &expected) != -EINVAL)
                        fail_msg("accepted: %s", bad[i]);
                assert_non_null(expected);
        }
        memset(large, 'a', sizeof(large));
        memcpy(large, "GET /", 5);
        large[WEB_ROUTE_SIZE_MAX + 1] = 0;
        assert_int_equal(web_route_parse(large, &r, &expected), -EINVAL);
        large[WEB_ROUTE_SIZE_MAX] = 0;
        r = parse(large);
        web_route_done(&r);
}

static void check(const char *a, const char *b, bool clash) {
        _cleanup_(web_route_done) WebRoute x = parse(a), y = parse(b);

        if (web_routes_clash(&x, &y) != clash || web_routes_clash(&y, &x) != clash)
                fail_msg("%s and %s: expected %s", a, b, clash ? "a clash" : "peace");
}

static void test_clashes(void **state) {
        static const char *const clashes[][2] = {
                { "GET /a", "GET /a" },
                { "GET /a", "GET /%61" },
                { "GET /{a}", "GET /{b}" },
                { "ANY /{a+}", "ANY /{b+}" },
                { "GET /a/{x}", "GET /{y}/b" },
                { "GET /a/{x}", "ANY /{y}/b" },
                { "GET /a/{x}", "HEAD /{y}/b" },
                { "ANY /{x}/b", "POST /a/{r+}" },
                { "GET /{x}/{y}/c", "GET /{x}/b/{y}" },
                { "GET /{x}/c", "GET /a/{r+}" },
        };
        static const char *const peace[][2] = {
                { "GET /a", "POST /a" },
                { "GET /a", "ANY /a" },
                { "GET /a", "HEAD /a" },
                { "GET /a", "GET /b" },
                { "GET /a", "GET /a/" },
                { "GET /a", "GET /{x}" },
                { "GET /a", "ANY /{x}" },
                { "ANY /a", "GET /{x}" },
                { "GET /{x}", "POST /{y}" },
                { "GET /{x}", "GET /{x}/{y}" },
                { "GET /{x}/", "GET /{x}/{y}" },
                { "GET /{x}", "GET /{r+}" },
                { "GET /{x}/{y}", "GET /{r+}" },
                { "GET /a/{r+}", "GET /{r+}" },
                { "GET /a/b", "GET /a/{r+}" },
                { "GET /a", "GET /a/{r+}" },
                { "GET /a/", "GET /a/{r+}" },
                { "GET /a/{x}", "POST /{y}/b" },
                { "GET /a/{x}/c", "GET /b/{r+}" },
                { "GET /a/b/{x}", "GET /a/{y}/{z}" },
                { "GET /", "GET /{x}" },
                { "GET /", "GET /{r+}" },
        };

        for (size_t i = 0; i < ELEMENTSOF(clashes); i++)
                check(clashes[i][0], clashes[i][1], true);
        for (size_t i = 0; i < ELEMENTSOF(peace); i++)
                check(peace[i][0], peace[i][1], false);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_parts),
                cmocka_unit_test(test_good),
                cmocka_unit_test(test_bad),
                cmocka_unit_test(test_clashes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
