/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Requests to triggers without a server: which route takes one, the event or the variables that it makes, and the
 * answer that is read back. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "../../daemons/gatewayd/json-write.h"
#include "../../daemons/gatewayd/web-answer.h"
#include "../../daemons/gatewayd/web-request.h"
#include "../../daemons/gatewayd/web-table.h"

/* ---- routes ---- */

DEFINE_POINTER_CLEANUP(WebTable *, web_table_unref);

static WebTable *make_table(const char *const *routes) {
        HttpTrigger *triggers = calloc(64, sizeof(HttpTrigger));
        const char *expected;
        WebTable *t = NULL;
        size_t n = 0;

        for (; routes[n]; n++)
                assert_int_equal(web_route_parse(routes[n], &triggers[n].route, &expected), 0);
        for (size_t i = 0; i < n; i++)
                for (size_t k = 0; k < i; k++)
                        if (web_routes_clash(&triggers[i].route, &triggers[k].route))
                                fail_msg("%s and %s clash", routes[i], routes[k]);
        assert_int_equal(web_table_new(triggers, n, &t), 0);
        return t;
}

/* The key of the route that is taken, or NULL. */
static const char *match(const WebTable *t, const char *path, const char *method, unsigned *ret_methods) {
        _cleanup_(web_path_done) WebPath p = {};
        WebMatch m;

        assert_int_equal(web_path_parse(path, &p), 0);
        m = web_table_match(t, &p, web_method_from_string(method));
        if (ret_methods)
                *ret_methods = m.methods;
        return m.trigger ? m.trigger->route.key : NULL;
}

static void test_matching(void **state) {
        static const char *const routes[] = {
                "GET /", "GET /photos", "POST /photos", "GET /photos/{id}", "DELETE /photos/{id}", "GET /photos/latest",
                "ANY /photos/latest", "HEAD /photos/oldest", "GET /photos/oldest", "GET /photos/{id}/", "GET /photos/{id}/{size}",
                "PUT /{a}/{b}/c", "GET /files/{path+}", "GET /files/a/b", "ANY /{rest+}", "GET /a%2Fb", "GET /caf%C3%A9", NULL,
        };
        static const struct {
                const char *method, *path, *route;
        } cases[] = {
                { "GET", "/", "GET /" },
                { "HEAD", "/", "GET /" },
                { "POST", "/", NULL },
                { "GET", "/photos", "GET /photos" },
                { "POST", "/photos", "POST /photos" },
                { "PUT", "/photos", "ANY /{rest+}" },
                { "GET", "/photos/7", "GET /photos/{id}" },
                { "DELETE", "/photos/7", "DELETE /photos/{id}" },
                { "GET", "/photos/latest", "GET /photos/latest" },
                { "DELETE", "/photos/latest", "ANY /photos/latest" },
                { "PROPFIND", "/photos/latest", "ANY /photos/latest" },
                { "HEAD", "/photos/oldest", "HEAD /photos/oldest" },
                { "DELETE", "/photos/oldest", "DELETE /photos/{id}" },
                { "GET", "/photos/latest/", "GET /photos/{id}/" },
                { "GET", "/photos/7/small", "GET /photos/{id}/{size}" },
                { "PUT", "/photos/7/c", "PUT /{a}/{b}/c" },
                { "GET", "/photos/7/small/", "ANY /{rest+}" },
                { "GET", "/photos//", "ANY /{rest+}" },
                { "GET", "/photos/", "ANY /{rest+}" },
                { "GET", "/Photos", "ANY /{rest+}" },
                { "GET", "/files/", "ANY /{rest+}" },
                { "GET", "/files/a", "GET /files/{path+}" },
                { "GET", "/files/a/b", "GET /files/a/b" },
                { "GET", "/files/a%2Fb", "GET /files/{path+}" },
                { "GET", "/files//a", "GET /files/{path+}" },
                { "GET", "/a/b", "ANY /{rest+}" },
                { "GET", "/a%2fb", "GET /a%2Fb" },
                { "GET", "/%63af%c3%a9", "GET /caf%C3%A9" },
                { "GET", "/p%68otos", "GET /photos" },
        };
        _cleanup_(web_table_unrefp) WebTable *t = make_table(routes);
        char deep[256] = "";

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const char *found = match(t, cases[i].path, cases[i].method, NULL);

                if (!found || !cases[i].route ? found != cases[i].route : !streq(found, cases[i].route))
                        fail_msg("%s %s: found %s, expected %s", cases[i].method, cases[i].path, found ?: "nothing",
                                 cases[i].route ?: "nothing");
        }
        for (int i = 0; i < 60; i++)
                strcat(deep, "/a");
        assert_string_equal(match(t, deep, "GET", NULL), "ANY /{rest+}");
}

static void test_methods(void **state) {
        static const char *const routes[] = { "GET /a", "POST /a", "PUT /{x}", "DELETE /b", NULL };
        _cleanup_(web_table_unrefp) WebTable *t = make_table(routes);
        unsigned methods;

        assert_null(match(t, "/a", "DELETE", &methods));
        assert_int_equal(methods, 1U << WEB_GET | 1U << WEB_POST | 1U << WEB_PUT);
        assert_null(match(t, "/c", "GET", &methods));
        assert_int_equal(methods, 1U << WEB_PUT);
        assert_null(match(t, "/c/d", "GET", &methods));
        assert_int_equal(methods, 0);
}

static void test_no_routes(void **state) {
        static const char *const routes[] = { NULL };
        _cleanup_(web_table_unrefp) WebTable *t = make_table(routes);

        assert_null(match(t, "/", "GET", NULL));
}

static void test_bad_paths(void **state) {
        static const char *const bad[] = {
                "/.", "/..", "/a/../b", "/a/%2e%2e/b", "/%2e", "/a/..", "/%", "/%1", "/%zz", "/%00", "/a%0ab", "/%7f", "/%ff",
                "/%c3/%a9", "/%ed%a0%80",
        };
        WebPath p;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                if (web_path_parse(bad[i], &p) != -EINVAL)
                        fail_msg("accepted: %s", bad[i]);
}

/* ---- events ---- */

typedef struct Sent {
        const char *route, *path, *query;
        WebField fields[12];
        const void *body;
        size_t size;
} Sent;

static char *build(const Sent *s, int (*what)(const WebRequest *q, Buffer *b)) {
        _cleanup_(web_route_done) WebRoute route = {};
        _cleanup_(web_path_done) WebPath path = {};
        WebField fields[ELEMENTSOF(s->fields)];
        const char *expected;
        Buffer b = {};
        size_t n = 0;

        assert_int_equal(web_route_parse(s->route, &route, &expected), 0);
        assert_int_equal(web_path_parse(s->path, &path), 0);
        for (; n < ELEMENTSOF(fields) && s->fields[n].name; n++) {
                fields[n] = s->fields[n];
                fields[n].position = n;
        }
        web_fields_sort(fields, n);
        const WebRequest q = {
                .app = "demo", .route = &route, .path = &path, .raw_path = s->path, .query = strempty(s->query),
                .method = "POST", .protocol = "HTTP/1.1", .remote = "192.0.2.7", .fields = fields, .n_fields = n,
                .execution = "0123456789abcdef0123456789abcdef", .now_usec = UINT64_C(1583348638390000),
                .body = s->body, .size = s->size,
        };
        assert_int_equal(what(&q, &b), 0);
        buffer_putc(&b, 0);
        assert_int_equal(b.error, 0);
        return b.data;
}

static json_object *build_event(const Sent *s) {
        _cleanup_(freep) char *text = build(s, web_event_build);
        json_object *o = json_tokener_parse(text);

        if (!o)
                fail_msg("no JSON: %s", text);
        return o;
}

/* What an event has at a path of keys; "" if nothing. */
static const char *at(json_object *o, const char *pointer) {
        json_object *found = NULL;

        if (json_pointer_get(o, pointer, &found) < 0 || !found)
                return "";
        return json_object_get_string(found);
}

static void test_event(void **state) {
        static const Sent sent = {
                .route = "POST /photos/{id}/{rest+}",
                .path = "/photos/a%20b/c%2Fd/e",
                .query = "x=1&y=a+b%26c&x=2&z&=v&&%e9=1&p=100%",
                .fields = {
                        { "Host", "api.example.org:8080" }, { "X-B", "1" }, { "Cookie", "a=1; b=2;" }, { "x-b", "2" },
                        { "User-Agent", "agent \"1\"" }, { "Content-Type", "text/plain; charset=utf-8" },
                        { "cookie", " c=3" }, { "X-Latin", "caf\xe9" }, { "Transfer-Encoding", "chunked" }, { "X-A", "" },
                },
                .body = "caf\xc3\xa9\n\"\\\x01", .size = 9,
        };
        static const char *const expected[][2] = {
                { "/version", "2.0" },
                { "/routeKey", "POST /photos/{id}/{rest+}" },
                { "/rawPath", "/photos/a%20b/c%2Fd/e" },
                { "/rawQueryString", "x=1&y=a+b%26c&x=2&z&=v&&%e9=1&p=100%" },
                { "/cookies", "[ \"a=1\", \"b=2\", \"c=3\" ]" },
                { "/headers/host", "api.example.org:8080" },
                { "/headers/x-b", "1,2" },
                { "/headers/x-latin", "caf\xc3\xa9" },
                { "/headers/user-agent", "agent \"1\"" },
                { "/headers/cookie", "" },
                { "/headers/transfer-encoding", "" },
                { "/queryStringParameters/x", "1,2" },
                { "/queryStringParameters/y", "a b&c" },
                { "/queryStringParameters/\xc3\xa9", "1" },
                { "/queryStringParameters/p", "100%" },
                { "/pathParameters/id", "a b" },
                { "/pathParameters/rest", "c/d/e" },
                { "/requestContext/accountId", "anonymous" },
                { "/requestContext/apiId", "demo" },
                { "/requestContext/domainName", "api.example.org" },
                { "/requestContext/domainPrefix", "api" },
                { "/requestContext/requestId", "0123456789abcdef0123456789abcdef" },
                { "/requestContext/routeKey", "POST /photos/{id}/{rest+}" },
                { "/requestContext/stage", "$default" },
                { "/requestContext/time", "04/Mar/2020:19:03:58 +0000" },
                { "/requestContext/timeEpoch", "1583348638390" },
                { "/requestContext/http/method", "POST" },
                { "/requestContext/http/path", "/photos/a%20b/c%2Fd/e" },
                { "/requestContext/http/protocol", "HTTP/1.1" },
                { "/requestContext/http/sourceIp", "192.0.2.7" },
                { "/requestContext/http/userAgent", "agent \"1\"" },
                { "/body", "caf\xc3\xa9\n\"\\\x01" },
                { "/isBase64Encoded", "false" },
        };
        json_object *o = build_event(&sent), *z = NULL;

        for (size_t i = 0; i < ELEMENTSOF(expected); i++)
                if (!streq(at(o, expected[i][0]), expected[i][1]))
                        fail_msg("%s: found \"%s\", expected \"%s\"", expected[i][0], at(o, expected[i][0]), expected[i][1]);
        assert_int_equal(json_pointer_get(o, "/queryStringParameters/z", &z), 0);
        assert_int_equal(json_object_object_length(json_object_object_get(o, "queryStringParameters")), 5);
        json_object_put(o);
}

/* What is not there has no key, as AWS has it. */
static void test_event_of_little(void **state) {
        static const Sent sent = { .route = "GET /", .path = "/", .fields = { { "Host", "localhost" } } };
        static const char *const absent[] = { "cookies", "queryStringParameters", "pathParameters", "body", "stageVariables" };
        json_object *o = build_event(&sent);

        for (size_t i = 0; i < ELEMENTSOF(absent); i++)
                assert_false(json_object_object_get_ex(o, absent[i], NULL));
        assert_string_equal(at(o, "/isBase64Encoded"), "false");
        assert_string_equal(at(o, "/rawQueryString"), "");
        assert_string_equal(at(o, "/rawPath"), "/");
        json_object_put(o);
}

static void test_bodies(void **state) {
        static const struct {
                const char *content_type;
                bool text;
        } cases[] = {
                { "text/plain", true }, { "TEXT/html; charset=iso-8859-1", true }, { "application/json", true },
                { "Application/JSON;charset=utf-8", true }, { "application/xml", true }, { "application/javascript", true },
                { "application/x-www-form-urlencoded", false }, { "application/octet-stream", false }, { "image/png", false },
                { "application/problem+json", false }, { "text", false }, { "text/", false }, { "", false }, { NULL, false },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Sent sent = { .route = "POST /", .path = "/", .body = "hello", .size = 5,
                              .fields = { { cases[i].content_type ? "Content-Type" : "X", strempty(cases[i].content_type) } } };
                json_object *o = build_event(&sent);

                if (!streq(at(o, "/isBase64Encoded"), cases[i].text ? "false" : "true") ||
                    !streq(at(o, "/body"), cases[i].text ? "hello" : "aGVsbG8="))
                        fail_msg("%s: %s", cases[i].content_type ?: "none", json_object_to_json_string(o));
                json_object_put(o);
        }
}

/* What says that it is text and is not comes as it was sent all the same. */
static void test_body_that_is_not_utf8(void **state) {
        char bytes[256], text[sizeof(bytes) * 2] = "";
        Sent sent = { .route = "POST /", .path = "/", .body = bytes, .size = sizeof(bytes),
                      .fields = { { "Content-Type", "text/plain" } } };
        json_object *o;
        WebAnswer a;

        for (size_t i = 0; i < sizeof(bytes); i++)
                bytes[i] = (char) i;
        o = build_event(&sent);
        assert_string_equal(at(o, "/isBase64Encoded"), "true");
        (void) snprintf(text, sizeof(text), "{\"statusCode\":200,\"body\":\"%s\",\"isBase64Encoded\":true}", at(o, "/body"));
        assert_int_equal(web_answer_parse(text, strlen(text), "application/json", &a), 0);
        assert_int_equal(a.size, sizeof(bytes));
        assert_memory_equal(a.body, bytes, sizeof(bytes));
        web_answer_done(&a);
        json_object_put(o);
}

static void test_many_fields(void **state) {
        _cleanup_(web_route_done) WebRoute route = {};
        _cleanup_(web_path_done) WebPath path = {};
        _cleanup_(buffer_done) Buffer b = {};
        WebField fields[300];
        char names[300][8];
        const char *expected;
        json_object *o;

        assert_int_equal(web_route_parse("GET /", &route, &expected), 0);
        assert_int_equal(web_path_parse("/", &path), 0);
        for (size_t i = 0; i < ELEMENTSOF(fields); i++) {
                (void) snprintf(names[i], sizeof(names[i]), "X-%zu", i % 100);
                fields[i] = (WebField) { names[i], i < 100 ? "a" : i < 200 ? "b" : "c", i };
        }
        web_fields_sort(fields, ELEMENTSOF(fields));
        const WebRequest q = { .app = "a", .route = &route, .path = &path, .raw_path = "/", .query = "", .method = "GET",
                               .protocol = "HTTP/1.1", .remote = "::1", .execution = "0", .fields = fields,
                               .n_fields = ELEMENTSOF(fields) };
        assert_int_equal(web_event_build(&q, &b), 0);
        buffer_putc(&b, 0);
        o = json_tokener_parse(b.data);
        assert_int_equal(json_object_object_length(json_object_object_get(o, "headers")), 100);
        assert_string_equal(at(o, "/headers/x-42"), "a,b,c");
        json_object_put(o);
}

/* ---- CGI ---- */

static void has_line(const char *text, const char *line) {
        const char *found = text;

        while ((found = strstr(found, line))) {
                if ((found == text || found[-1] == '\n') && found[strlen(line)] == '\n')
                        return;
                found++;
        }
        fail_msg("no line \"%s\" in:\n%s", line, text);
}

static void test_cgi_variables(void **state) {
        static const Sent sent = {
                .route = "ANY /git/{rest+}", .path = "/git/a%20b/c", .query = "service=x&y=%20",
                .fields = {
                        { "Host", "example.org:8080" }, { "Content-Type", "text/plain" }, { "Content-Length", "5" },
                        { "Proxy", "http://evil" }, { "X_Y", "no" }, { "X-Y", "1" }, { "x-y", "2" }, { "Cookie", "a=1" },
                        { "Cookie", "b=2" }, { "Latin", "caf\xe9" }, { "Connection", "close" }, { "Authorization", "Bearer t" },
                },
                .body = "hello", .size = 5,
        };
        static const char *const lines[] = {
                "GATEWAY_INTERFACE=CGI/1.1", "REQUEST_METHOD=POST", "QUERY_STRING=service=x&y=%20",
                "SCRIPT_NAME=/web/demo/git", "PATH_INFO=/a b/c", "REQUEST_URI=/web/demo/git/a%20b/c?service=x&y=%20",
                "SERVER_NAME=example.org", "SERVER_PORT=8080", "SERVER_PROTOCOL=HTTP/1.1", "REMOTE_ADDR=192.0.2.7",
                "CONTENT_LENGTH=5", "CONTENT_TYPE=text/plain", "HTTP_HOST=example.org:8080", "HTTP_X_Y=1, 2",
                "HTTP_COOKIE=a=1; b=2", "HTTP_LATIN=caf\xc3\xa9", "HTTP_AUTHORIZATION=Bearer t",
        };
        static const char *const absent[] = { "PROXY", "evil", "HTTP_CONTENT", "HTTP_CONNECTION", "no\n" };
        _cleanup_(freep) char *text = build(&sent, web_cgi_build);

        for (size_t i = 0; i < ELEMENTSOF(lines); i++)
                has_line(text, lines[i]);
        for (size_t i = 0; i < ELEMENTSOF(absent); i++)
                assert_null(strstr(text, absent[i]));
        assert_int_equal(text[strlen(text) - 1], '\n');
}

static void test_cgi_paths(void **state) {
        static const struct {
                const char *route, *path, *script, *info;
        } cases[] = {
                { "GET /", "/", "SCRIPT_NAME=/web/demo/", "PATH_INFO=" },
                { "GET /hello", "/hello", "SCRIPT_NAME=/web/demo/hello", "PATH_INFO=" },
                { "GET /photos/{id}", "/photos/7", "SCRIPT_NAME=/web/demo/photos", "PATH_INFO=/7" },
                { "GET /{a}/b/{c}", "/x/b/y%2Fz", "SCRIPT_NAME=/web/demo", "PATH_INFO=/x/b/y/z" },
                { "GET /{rest+}", "/x/", "SCRIPT_NAME=/web/demo", "PATH_INFO=/x/" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Sent sent = { .route = cases[i].route, .path = cases[i].path };
                _cleanup_(freep) char *text = build(&sent, web_cgi_build);

                has_line(text, cases[i].script);
                has_line(text, cases[i].info);
                has_line(text, "SERVER_NAME=localhost");
                has_line(text, "SERVER_PORT=80");
                assert_null(strstr(text, "CONTENT_"));
        }
}

/* ---- answers ---- */

static const char *header(const WebAnswer *a, const char *name) {
        for (size_t i = 0; i < a->n_headers; i++)
                if (strcasecmp(a->headers[i].name, name) == 0)
                        return a->headers[i].value;
        return NULL;
}

static void body_is(const WebAnswer *a, const char *expected) {
        assert_int_equal(a->size, strlen(expected));
        assert_memory_equal(a->body, expected, a->size);
}

static void test_answer(void **state) {
        static const char text[] =
                " {\"statusCode\": 201, \"headers\": {\"Content-Type\": \"text/html\", \"X-A\": \"  1\\t2 \", \"x-n\": 7,"
                " \"X-T\": true, \"X-Null\": null, \"X-Empty\": \"\", \"Content-Length\": \"9\", \"Connection\": \"x\","
                " \"Sand-Execution\": \"x\"}, \"cookies\": [\"a=1\", \"b=2; Path=/\"], \"body\": \"caf\xc3\xa9\","
                " \"multiValueHeaders\": {\"a\": [\"]}\\\"\"]}, \"isBase64Encoded\": false, \"other\": [1, {}]} \n";
        WebAnswer a;

        assert_int_equal(web_answer_parse(text, sizeof(text) - 1, "application/json", &a), 0);
        assert_int_equal(a.status, 201);
        assert_string_equal(a.content_type, "text/html");
        assert_string_equal(header(&a, "X-A"), "1 2");
        assert_string_equal(header(&a, "X-N"), "7");
        assert_string_equal(header(&a, "X-T"), "true");
        assert_int_equal(a.n_headers, 5);
        assert_string_equal(a.headers[3].name, "Set-Cookie");
        assert_string_equal(a.headers[3].value, "a=1");
        assert_string_equal(a.headers[4].value, "b=2; Path=/");
        body_is(&a, "caf\xc3\xa9");
        /* it is where it was */
        assert_ptr_equal(a.body, strstr(text, "caf"));
        web_answer_done(&a);
}

static void test_good_answers(void **state) {
        static const struct {
                const char *text, *content_type;
                unsigned status;
                const char *body, *answer_type;
        } cases[] = {
                { "{\"statusCode\":204}", "application/json", 204, "", "application/json" },
                { "{\"statusCode\":\"404\",\"body\":null,\"headers\":null,\"cookies\":null}", "application/json", 404, "",
                  "application/json" },
                { "{\"statusCode\":200,\"body\":\"a\\n\\u00e9\\\"\"}", "application/json", 200, "a\n\xc3\xa9\"", "application/json" },
                { "{\"statusCode\":200,\"body\":\"aGk=\",\"isBase64Encoded\":true}", "application/json", 200, "hi",
                  "application/json" },
                { "{\"statusCode\":200,\"body\":\"\",\"isBase64Encoded\":true}", "application/json", 200, "", "application/json" },
                { "{\"statusCode\":500,\"statusCode\":200}", "application/json; charset=utf-8", 200, "",
                  "application/json" },
                /* without a statusCode it is the body */
                { "{\"message\": \"hi\"}", "application/json", 200, "{\"message\": \"hi\"}", "application/json" },
                { "{}", "application/json", 200, "{}", "application/json" },
                { "{\"a\":{\"statusCode\":500}}", "application/json", 200, "{\"a\":{\"statusCode\":500}}", "application/json" },
                { "\"hi\"", "application/json", 200, "\"hi\"", "application/json" },
                { "[{\"statusCode\":500}]", "application/json", 200, "[{\"statusCode\":500}]", "application/json" },
                { "hi", "application/json", 200, "hi", "application/json" },
                { "", "application/json", 200, "", "application/json" },
                { "{\"statusCode\":500}", "text/plain", 200, "{\"statusCode\":500}", "text/plain" },
                { "{", "image/jpeg", 200, "{", "image/jpeg" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                WebAnswer a;

                if (web_answer_parse(cases[i].text, strlen(cases[i].text), cases[i].content_type, &a) < 0)
                        fail_msg("%s: %s", cases[i].text, a.problem);
                assert_int_equal(a.status, cases[i].status);
                body_is(&a, cases[i].body);
                assert_string_equal(a.content_type, cases[i].answer_type);
                web_answer_done(&a);
        }
}

static void test_bad_answers(void **state) {
        static const char *const cases[][2] = {
                { "{", "none" }, { "{]", "none" }, { "{\"statusCode\"", "none" }, { "{\"statusCode\":", "none" },
                { "{\"statusCode\":}", "none" }, { "{\"statusCode\":200", "none" }, { "{\"statusCode\":200,", "none" },
                { "{\"statusCode\":200,}", "none" }, { "{\"statusCode\":200}x", "none" }, { "{\"a\":\"", "none" },
                { "{\"a\":\"\\\"}", "none" }, { "{\"a\":[}", "none" }, { "{\"a\" 1}", "none" }, { "{a:1}", "none" },
                { "{\"statusCode\":200 \"body\":\"\"}", "none" },
                { "{\"statusCode\":99}", "statusCode" }, { "{\"statusCode\":100}", "statusCode" },
                { "{\"statusCode\":600}", "statusCode" }, { "{\"statusCode\":2000}", "statusCode" },
                { "{\"statusCode\":20}", "statusCode" }, { "{\"statusCode\":-20}", "statusCode" },
                { "{\"statusCode\":null}", "statusCode" }, { "{\"statusCode\":\"OK\"}", "statusCode" },
                { "{\"statusCode\":[200]}", "statusCode" }, { "{\"statusCode\":2e2}", "statusCode" },
                { "{\"statusCode\":200,\"body\":{}}", "body" }, { "{\"statusCode\":200,\"body\":7}", "body" },
                { "{\"statusCode\":200,\"body\":\"\\x\"}", "body" },
                { "{\"statusCode\":200,\"body\":\"*\",\"isBase64Encoded\":true}", "base64" },
                { "{\"statusCode\":200,\"body\":\"aGk\",\"isBase64Encoded\":true}", "base64" },
                { "{\"statusCode\":200,\"isBase64Encoded\":\"true\"}", "isBase64Encoded" },
                { "{\"statusCode\":200,\"headers\":[]}", "headers" }, { "{\"statusCode\":200,\"headers\":\"x\"}", "headers" },
                { "{\"statusCode\":200,\"headers\":{\"a\":[]}}", "header" },
                { "{\"statusCode\":200,\"headers\":{\"a\":{}}}", "header" },
                { "{\"statusCode\":200,\"headers\":{\"a\":,}}", "headers" },
                { "{\"statusCode\":200,\"headers\":{\"a\":\"b\\r\\nc: d\"}}", "control" },
                { "{\"statusCode\":200,\"headers\":{\"a\":\"b\\nc\"}}", "control" },
                { "{\"statusCode\":200,\"headers\":{\"a\":\"b\\u0000c\"}}", "control" },
                { "{\"statusCode\":200,\"headers\":{\"content-type\":\"b\\nc\"}}", "control" },
                { "{\"statusCode\":200,\"headers\":{\"a b\":\"c\"}}", "token" },
                { "{\"statusCode\":200,\"headers\":{\"a\\r\\nb\":\"c\"}}", "token" },
                { "{\"statusCode\":200,\"headers\":{\"\":\"c\"}}", "token" },
                { "{\"statusCode\":200,\"headers\":{\"a:\":\"c\"}}", "token" },
                { "{\"statusCode\":200,\"cookies\":\"a=1\"}", "cookies" }, { "{\"statusCode\":200,\"cookies\":[1]}", "cookies" },
                { "{\"statusCode\":200,\"cookies\":[\"a=1\\r\\nX: y\"]}", "control" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                WebAnswer a;

                if (web_answer_parse(cases[i][0], strlen(cases[i][0]), "application/json", &a) != -EBADMSG)
                        fail_msg("accepted: %s", cases[i][0]);
                if (!strstr(a.problem, cases[i][1]))
                        fail_msg("%s: the problem is \"%s\"", cases[i][0], a.problem);
                web_answer_done(&a);
        }
}

static void test_answer_bounds(void **state) {
        _cleanup_(buffer_done) Buffer many = {}, large = {};
        WebAnswer a;

        buffer_puts(&many, "{\"statusCode\":200,\"headers\":{\"a\":1");
        for (unsigned i = 0; i < WEB_ANSWER_HEADERS_MAX; i++) {
                char text[32];

                (void) snprintf(text, sizeof(text), ",\"a%u\":1", i);
                buffer_puts(&many, text);
        }
        buffer_puts(&many, "}}");
        assert_int_equal(web_answer_parse(many.data, many.size, "application/json", &a), -EBADMSG);
        assert_non_null(strstr(a.problem, "headers"));
        web_answer_done(&a);

        buffer_puts(&large, "{\"statusCode\":200,\"headers\":{\"a\":\"");
        for (unsigned i = 0; i < WEB_ANSWER_HEADER_BYTES_MAX; i++)
                buffer_putc(&large, 'x');
        buffer_puts(&large, "\"}}");
        assert_int_equal(web_answer_parse(large.data, large.size, "application/json", &a), -EBADMSG);
        web_answer_done(&a);
}

static void test_cgi_answers(void **state) {
        static const struct {
                const char *text;
                unsigned status;
                const char *content_type, *name, *value, *body;
        } cases[] = {
                { "Content-Type: text/plain\n\nhi", 200, "text/plain", NULL, NULL, "hi" },
                { "Content-Type: text/plain\r\n\r\nhi\n\n", 200, "text/plain", NULL, NULL, "hi\n\n" },
                { "content-type:text/plain\nSTATUS: 404 Not Found\nX-A:  b \n\n", 404, "text/plain", "X-A", "b", "" },
                { "Status: 204\n\n", 204, NULL, NULL, NULL, "" },
                { "Location: https://example.org/x\n\n", 302, NULL, "Location", "https://example.org/x", "" },
                { "Location: /elsewhere\n\n", 302, NULL, "Location", "/elsewhere", "" },
                { "Location: //example.org/x\n\n", 302, NULL, "Location", "//example.org/x", "" },
                { "Location: /web/demo/a\nStatus: 303\n\n", 303, NULL, "Location", "/web/demo/a", "" },
                { "Status: 301 Moved\nLocation: /b\nContent-Type: text/html\n\n<a>", 301, "text/html", "Location", "/b", "<a>" },
                { "Set-Cookie: a=1\nSet-Cookie: b=2\n\n", 200, NULL, "Set-Cookie", "a=1", "" },
                { "X-A: b\nContent-Length: 100\nTransfer-Encoding: chunked\n\nhi", 200, NULL, "X-A", "b", "hi" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                WebAnswer a;

                if (web_cgi_parse(cases[i].text, strlen(cases[i].text), "/web/demo/", &a) < 0)
                        fail_msg("%s: %s", cases[i].text, a.problem);
                assert_int_equal(a.status, cases[i].status);
                body_is(&a, cases[i].body);
                assert_null(a.location);
                if (cases[i].content_type)
                        assert_string_equal(a.content_type, cases[i].content_type);
                else
                        assert_null(a.content_type);
                if (cases[i].name)
                        assert_string_equal(header(&a, cases[i].name), cases[i].value);
                assert_null(header(&a, "Content-Length"));
                web_answer_done(&a);
        }
}

static void test_cgi_local_redirect(void **state) {
        static const char text[] = "Location: /web/demo/a?b=c\n\n";
        WebAnswer a;

        assert_int_equal(web_cgi_parse(text, sizeof(text) - 1, "/web/demo/", &a), 0);
        assert_int_equal(a.status, 0);
        assert_string_equal(a.location, "/web/demo/a?b=c");
        web_answer_done(&a);
}

static void test_bad_cgi_answers(void **state) {
        static const char *const cases[] = {
                "", "hi", "\n", "\r\n\r\nhi", "\nhi", "Content-Type: text/plain", "Content-Type: text/plain\n",
                "Content-Type: text/plain\nhi", "Content-Type: text/plain\n hi\n\n", ": x\n\n", "a b: x\n\n", "a : x\n\n",
                "Status: \n\n", "Status: 99\n\n", "Status: 100\n\n", "Status: 600\n\n", "Status: 2000\n\n", "Status: 200x\n\n",
                "Status: OK\n\n", "X-A: a\rb\n\n", "Location: /\x01\n\n", "<html>\n\n", "Content-Length: 3\n\nabc", "X-A:\n\n",
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                WebAnswer a;

                if (web_cgi_parse(cases[i], strlen(cases[i]), "/web/demo/", &a) != -EBADMSG)
                        fail_msg("accepted: %s", cases[i]);
                assert_true(*a.problem);
                web_answer_done(&a);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_matching),
                cmocka_unit_test(test_methods),
                cmocka_unit_test(test_no_routes),
                cmocka_unit_test(test_bad_paths),
                cmocka_unit_test(test_event),
                cmocka_unit_test(test_event_of_little),
                cmocka_unit_test(test_bodies),
                cmocka_unit_test(test_body_that_is_not_utf8),
                cmocka_unit_test(test_many_fields),
                cmocka_unit_test(test_cgi_variables),
                cmocka_unit_test(test_cgi_paths),
                cmocka_unit_test(test_answer),
                cmocka_unit_test(test_good_answers),
                cmocka_unit_test(test_bad_answers),
                cmocka_unit_test(test_answer_bounds),
                cmocka_unit_test(test_cgi_answers),
                cmocka_unit_test(test_cgi_local_redirect),
                cmocka_unit_test(test_bad_cgi_answers),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
