/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The gateway's pure parts: header checks, routes, problems, metrics. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <json-c/json.h>

#include "../../daemons/gatewayd/header-check.h"
#include "macro.h"
#include "../../daemons/gatewayd/metrics.h"
#include "../../daemons/gatewayd/problem.h"
#include "../../daemons/gatewayd/route.h"

/* Lays a header out as libmicrohttpd leaves it in memory, and checks it: a CR or LF becomes a NUL, and so
 * does the first colon of a line. `text` begins with the version. */
static const char *check(const char *text, HeaderCheck *c) {
        static char buffer[4096];
        size_t n = strlen(text);
        char *line;

        assert_true(n < sizeof(buffer));
        memcpy(buffer, text, n + 1);
        line = strstr(buffer, "\r\n");
        line[0] = line[1] = 0;
        header_check_begin(c, buffer);
        for (line += 2; *line != '\r' && *line != '\n';) {
                char *end = strpbrk(line, "\n"), *colon = strchr(line, ':'), *value = colon + 1;

                *colon = *end = 0;
                if (end[-1] == '\r')
                        end[-1] = 0;
                value += strspn(value, " \t");
                header_check_add(c, line, strlen(line), value, strlen(value));
                line = end + 1;
        }
        header_check_end(c, line + (*line == '\r' ? 2 : 1));
        return c->problem;
}

#define OK "HTTP/1.1\r\nHost: x\r\n"

static void test_header_values(void **state) {
        HeaderCheck c;

        assert_null(check(OK "Content-Length: 42\r\ncontent-TYPE:\ttext/plain\r\nTraceparent: 00-a\r\nEmpty:\r\n"
                          "Sand-Timeout: 5s\r\nPREFER: wait=5; x, Respond-Async\r\nPrefer: x\r\nExpect: 100-continue\r\n\r\n", &c));
        assert_int_equal(c.content_length, 42);
        assert_string_equal(c.content_type, "text/plain");
        assert_string_equal(c.traceparent, "00-a");
        assert_string_equal(c.timeout, "5s");
        assert_true(c.respond_async);
        assert_false(c.cloud_event);
        assert_string_equal(c.expect, "100-continue");
        assert_null(check(OK "Transfer-Encoding: Chunked\r\n\r\n", &c));
        assert_true(c.content_length == UINT64_MAX);
        assert_null(check("HTTP/1.0\r\nPrefer: respond-asynchronously, x=respond-async\r\nCE-SpecVersion: 1.0\r\n"
                          "idempotency-key: k\r\nSand-Delay: 1\r\nSand-Max-Age: 2\r\nSand-Callback: u\r\n\r\n", &c));
        assert_false(c.respond_async);
        assert_true(c.cloud_event);
        assert_string_equal(c.idempotency_key, "k");
        assert_string_equal(c.delay, "1");
        assert_string_equal(c.max_age, "2");
        assert_string_equal(c.callback, "u");
        assert_null(check("HTTP/1.0\r\n\r\n", &c));
        assert_int_equal(c.content_length, 0);
}

static void test_header_smuggling(void **state) {
        static const char *const bad[] = {
                OK "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                OK "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
                OK "Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
                OK "Content-Length: 5\r\ncontent-length: 5\r\n\r\n",
                OK "Content-Length: 5, 5\r\n\r\n",
                OK "Content-Length: +5\r\n\r\n",
                OK "Content-Length: 0x5\r\n\r\n",
                OK "Content-Length:\r\n\r\n",
                OK "Content-Length: 5 \r\n\r\n",
                OK "Content-Length: 9999999999999999999\r\n\r\n",
                OK "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                OK "Transfer-Encoding: gzip, chunked\r\n\r\n",
                OK "Transfer-Encoding: xchunked\r\n\r\n",
                OK "Transfer-Encoding:\r\n\r\n",
                OK "Host: y\r\n\r\n",
                OK "Content-Length : 5\r\n\r\n",
                OK "X Y: 5\r\n\r\n",
                OK "X: a\nY: b\r\n\r\n",
                OK "X: a\x01\r\n\r\n",
                OK "X: a\x7f\r\n\r\n",
                OK ": a\r\n\r\n",
                OK "X: a\r\n\n",
                "HTTP/1.1\r\nX: y\r\n\r\n",
                "HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
                "HTTP/1.2\r\nHost: x\r\n\r\n",
                "HTTP/2.0\r\nHost: x\r\n\r\n",
        };
        HeaderCheck c;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                if (!check(bad[i], &c))
                        fail_msg("accepted: %s", bad[i]);
}

/* A folded line: libmicrohttpd has made a copy of the name, elsewhere. */
static void test_header_moved(void **state) {
        static const char memory[32] = "HTTP/1.1\0\0Host\0 x\0\0X\0 a\0\0";
        HeaderCheck c;

        header_check_begin(&c, memory);
        header_check_add(&c, memory + 10, 4, memory + 16, 1);
        header_check_add(&c, memory + 19, 1, memory + 22, 1);
        assert_null(c.problem);
        header_check_end(&c, memory + 27);
        assert_null(c.problem);
        header_check_end(&c, memory + 28);
        assert_non_null(c.problem);

        header_check_begin(&c, memory);
        header_check_add(&c, memory + 10, 4, memory + 16, 1);
        header_check_add(&c, "Xb", 2, memory + 22, 1);
        assert_non_null(c.problem);
        /* The first problem stays. */
        header_check_end(&c, memory);
        assert_non_null(strstr(c.problem, "folded"));
}

static void test_routes(void **state) {
        static const char *const nothing[] = {
                "", "/", "/invoke", "/invoke/", "/invoke/a", "/invoke/a/", "/invoke//f", "/invoke/A/f",
                "/invoke/a/f/", "/invoke/a/f/g", "/invoke/../f", "/invoke/a/..", "/invoke/a/f%6f", "/invoke/a/f ",
                "/invoke/-a/f", "/invoke/a/-f", "/healthz/", "/Healthz", "healthz", "http://x/healthz",
                "/invoke/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/f",
                "/invoke/a/fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
                "/web", "/web/", "/web//a", "/web/A/a", "/web/../a", "/web/a%61/b", "/Web/a/b",
                "/events", "/events/", "/events/a/", "/events/a/b", "/events/A", "/executions/", "/executions/0123",
                "/executions/0123456789abcdef0123456789abcdeF", "/executions/0123456789abcdef0123456789abcdef/",
        };
        const char *rest;
        Target t;

        for (size_t i = 0; i < ELEMENTSOF(nothing); i++)
                if (route_parse(nothing[i], &t, &rest) != ROUTE_NONE)
                        fail_msg("accepted: %s", nothing[i]);
        assert_int_equal(route_parse("/invoke/my-app/my_Function-1", &t, &rest), ROUTE_INVOKE);
        assert_string_equal(t.app, "my-app");
        assert_string_equal(t.function, "my_Function-1");
        assert_int_equal(route_parse("/web/my-app/a//b/", &t, &rest), ROUTE_WEB);
        assert_string_equal(t.app, "my-app");
        assert_string_equal(rest, "/a//b/");
        assert_int_equal(route_parse("/web/a", &t, &rest), ROUTE_WEB);
        assert_string_equal(rest, "/");
        assert_null(route_methods(ROUTE_WEB));
        assert_int_equal(route_parse("/events/my-app", &t, &rest), ROUTE_EVENTS);
        assert_string_equal(t.app, "my-app");
        assert_int_equal(route_parse("/executions/0123456789abcdef0123456789abcdef", &t, &rest), ROUTE_EXECUTION);
        assert_string_equal(rest, "0123456789abcdef0123456789abcdef");
        assert_int_equal(route_parse("/healthz", &t, &rest), ROUTE_HEALTHZ);
        assert_int_equal(route_parse("/metrics", &t, &rest), ROUTE_METRICS);
        assert_true(route_allows(ROUTE_INVOKE, "POST"));
        assert_false(route_allows(ROUTE_INVOKE, "GET"));
        assert_false(route_allows(ROUTE_INVOKE, "post"));
        assert_true(route_allows(ROUTE_EVENTS, "POST"));
        assert_false(route_allows(ROUTE_EVENTS, "GET"));
        assert_true(route_allows(ROUTE_EXECUTION, "HEAD"));
        assert_false(route_allows(ROUTE_EXECUTION, "POST"));
        assert_true(route_allows(ROUTE_METRICS, "HEAD"));
        assert_false(route_allows(ROUTE_HEALTHZ, "POST"));
        assert_false(route_allows(ROUTE_NONE, "GET"));
}

static void test_problems(void **state) {
        for (SandError e = 0; e < _SAND_ERROR_MAX; e++) {
                const Problem9457 p = { .kind = e, .detail = "a \"quoted\"\nbyte \xff", .cause = "", .execution = "0" };
                _cleanup_(freep) char *text = problem_to_json(&p);
                json_object *o = json_tokener_parse(text), *v;

                assert_non_null(o);
                assert_true(json_object_object_get_ex(o, "type", &v));
                assert_non_null(strstr(json_object_get_string(v), sand_error_info(e)->name));
                assert_true(json_object_object_get_ex(o, "title", &v) && json_object_get_string_len(v) > 0);
                assert_true(json_object_object_get_ex(o, "status", &v));
                assert_in_range(json_object_get_int(v), 400, 599);
                assert_true(json_object_object_get_ex(o, "detail", &v));
                assert_string_equal(json_object_get_string(v), "a \"quoted\"\nbyte ?");
                assert_true(json_object_object_get_ex(o, "error", &v));
                assert_string_equal(json_object_get_string(v), sand_error_info(e)->name);
                json_object_put(o);
        }
}

static void test_metrics(void **state) {
        FunctionMetrics *m = function_metrics_new();
        const MetricsRow row = { "shop", "pay\"\\\n", m };
        HttpMetrics http = { .answers = { [200] = 3, [404] = 1 }, .connections = 2 };
        char *text = NULL;
        size_t size = 0;
        FILE *f = open_memstream(&text, &size);

        function_metrics_record(m, OUTCOME_OK, 500);         /* the bound itself */
        function_metrics_record(m, OUTCOME_OK, 501);
        function_metrics_record(m, SAND_ERROR_TIMEOUT, UINT64_C(3600) * USEC_PER_SEC);
        function_metrics_count(m, SAND_ERROR_BUSY);
        m->in_flight = 7;
        metrics_write(f, &row, 1, &http, 1);
        (void) fclose(f);

#define LABELS "{app=\"shop\",function=\"pay\\\"\\\\\\n\""
        assert_non_null(strstr(text, "\nsand_invocations_total" LABELS ",outcome=\"ok\"} 2\n"));
        assert_non_null(strstr(text, "\nsand_invocations_total" LABELS ",outcome=\"Timeout\"} 1\n"));
        assert_non_null(strstr(text, "\nsand_invocations_total" LABELS ",outcome=\"Busy\"} 1\n"));
        assert_null(strstr(text, "Crashed"));
        assert_non_null(strstr(text, "\nsand_invocations_in_flight" LABELS "} 7\n"));
        assert_non_null(strstr(text, "_bucket" LABELS ",le=\"0.0005\"} 1\n"));
        assert_non_null(strstr(text, "_bucket" LABELS ",le=\"0.001\"} 2\n"));
        assert_non_null(strstr(text, "_bucket" LABELS ",le=\"60\"} 2\n"));
        assert_non_null(strstr(text, "_bucket" LABELS ",le=\"+Inf\"} 3\n"));
        assert_non_null(strstr(text, "_sum" LABELS "} 3600.001001\n"));
        assert_non_null(strstr(text, "_count" LABELS "} 3\n"));
        assert_non_null(strstr(text, "\nsand_http_responses_total{code=\"404\"} 1\n"));
        assert_null(strstr(text, "code=\"500\""));
        free(text);
        function_metrics_unref(m);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_header_values),
                cmocka_unit_test(test_header_smuggling),
                cmocka_unit_test(test_header_moved),
                cmocka_unit_test(test_routes),
                cmocka_unit_test(test_problems),
                cmocka_unit_test(test_metrics),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
