/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the gateway reads and writes of events: CloudEvents, and the event log's documents. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../../daemons/gatewayd/cloudevents.h"
#include "../../daemons/gatewayd/execution.h"
#include "../../daemons/gatewayd/json-span.h"

static void test_modes(void **state) {
        static const struct {
                const char *content_type;
                bool in_header;
                CloudEventMode mode;
        } cases[] = {
                { NULL, false, CLOUD_EVENT_NONE },
                { "application/json", false, CLOUD_EVENT_NONE },
                { NULL, true, CLOUD_EVENT_BINARY },
                { "application/json", true, CLOUD_EVENT_BINARY },
                { "application/cloudevents+json", false, CLOUD_EVENT_STRUCTURED },
                { "Application/CloudEvents+JSON ; charset=utf-8", true, CLOUD_EVENT_STRUCTURED },
                { "application/cloudevents-batch+json", false, CLOUD_EVENT_UNSUPPORTED },
                { "application/cloudevents+xml", true, CLOUD_EVENT_UNSUPPORTED },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                assert_int_equal(cloud_event_mode(cases[i].content_type, cases[i].in_header), cases[i].mode);
}

#define REQUIRED { "specversion", "1.0" }, { "ID", "1" }, { "source", "/s" }, { "type", "t" }
#define ATTRIBUTES "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\""

static void test_from_header(void **state) {
        static const struct {
                CloudEventHeader l[5];
                size_t n;
                const char *content_type, *data, *json; /* json NULL: the word is in the problem */
                const char *problem;
        } cases[] = {
                { { REQUIRED }, 4, NULL, "", ATTRIBUTES "}" },
                { { REQUIRED }, 4, "application/json", " [1, 1e400, 12345678901234567890123] ",
                  ATTRIBUTES ",\"datacontenttype\":\"application/json\",\"data\": [1, 1e400, 12345678901234567890123] }" },
                { { REQUIRED }, 4, "text/json;x=\"y\"", "7", ATTRIBUTES ",\"datacontenttype\":\"text/json;x=\\\"y\\\"\",\"data\":7}" },
                { { REQUIRED }, 4, "a/b+JSON", "null", ATTRIBUTES ",\"datacontenttype\":\"a/b+JSON\",\"data\":null}" },
                { { REQUIRED }, 4, "text/plain", "hello", ATTRIBUTES ",\"datacontenttype\":\"text/plain\",\"data_base64\":\"aGVsbG8=\"}" },
                { { REQUIRED }, 4, "x/ajson", "{", ATTRIBUTES ",\"datacontenttype\":\"x/ajson\",\"data_base64\":\"ew==\"}" },
                { { REQUIRED }, 4, NULL, "{}", ATTRIBUTES ",\"data_base64\":\"e30=\"}" },
                { { REQUIRED, { "Subject", "Euro%20%E2%82%AC %x%00" } }, 5, NULL, "",
                  ATTRIBUTES ",\"subject\":\"Euro \xe2\x82\xac %x%00\"}" },
                { { REQUIRED, { "x1", "\"a \\\"b\\\" %22\"" } }, 5, NULL, "", ATTRIBUTES ",\"x1\":\"a \\\"b\\\" \\\"\"}" },
                { { REQUIRED, { "x", "\"" } }, 5, NULL, "", ATTRIBUTES ",\"x\":\"\\\"\"}" },
                { { REQUIRED, { "x", "%FF" } }, 5, NULL, "", NULL, "not UTF-8" },
                { { REQUIRED, { "x-y", "1" } }, 5, NULL, "", NULL, "\"x-y\" is no name" },
                { { REQUIRED, { "", "1" } }, 5, NULL, "", NULL, "1 to 64 bytes" },
                { { REQUIRED, { "data", "1" } }, 5, NULL, "", NULL, "the body" },
                { { REQUIRED, { "DataContentType", "a/b" } }, 5, NULL, "", NULL, "Content-Type" },
                { { REQUIRED, { "TYPE", "u" } }, 5, NULL, "", NULL, "\"type\" is there twice" },
                { { REQUIRED }, 3, NULL, "", NULL, "ce-type" },
                { { { "specversion", "1.0" }, { "id", "" }, { "source", "/s" }, { "type", "t" } }, 4, NULL, "", NULL, "ce-id" },
                { { { "specversion", "0.3" }, { "id", "1" }, { "source", "/s" }, { "type", "t" } }, 4, NULL, "", NULL, "1.0" },
                { { REQUIRED }, 4, "application/json", "{\"a\":1}}", NULL, "not JSON" },
                { { REQUIRED }, 4, "application/json", "[1", NULL, "not JSON" },
                { { REQUIRED }, 4, "application/json", "\"\xff\"", NULL, "not JSON" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(cloud_event_done) CloudEvent e = {};
                _cleanup_(buffer_done) Buffer b = {};
                int r = cloud_event_from_header(&e, cases[i].l, cases[i].n, cases[i].content_type, cases[i].data,
                                                strlen(cases[i].data), &b);

                if (cases[i].json) {
                        buffer_putc(&b, 0);
                        assert_int_equal(r, 0);
                        assert_string_equal(b.data, cases[i].json);
                        assert_string_equal(e.id, "1");
                        assert_string_equal(e.source, "/s");
                        assert_string_equal(e.type, "t");
                } else {
                        assert_int_equal(r, -EBADMSG);
                        if (!strstr(e.problem, cases[i].problem))
                                fail_msg("%s: %s", cases[i].problem, e.problem);
                }
        }
}

/* A NUL ends what json-c reads, and would end nothing for the next reader. */
static void test_hidden_bytes(void **state) {
        static const CloudEventHeader l[] = { REQUIRED };
        _cleanup_(cloud_event_done) CloudEvent e = {};
        _cleanup_(buffer_done) Buffer b = {};
        static const char data[] = "{}\0,\"type\":\"u\"";

        assert_int_equal(cloud_event_from_header(&e, l, 4, "application/json", data, sizeof(data) - 1, &b), -EBADMSG);
        assert_int_equal(cloud_event_from_json(&e, data, sizeof(data) - 1), -EBADMSG);
}

static void test_too_many(void **state) {
        CloudEventHeader l[CLOUD_EVENT_ATTRIBUTES_MAX + 1] = { REQUIRED };
        char names[CLOUD_EVENT_ATTRIBUTES_MAX + 1][8];
        _cleanup_(cloud_event_done) CloudEvent e = {};
        _cleanup_(buffer_done) Buffer b = {};

        for (size_t i = 4; i < ELEMENTSOF(l); i++) {
                (void) snprintf(names[i], sizeof(names[i]), "x%zu", i);
                l[i] = (CloudEventHeader) { names[i], "" };
        }
        assert_int_equal(cloud_event_from_header(&e, l, ELEMENTSOF(l) - 1, NULL, "", 0, &b), 0);
        assert_int_equal(cloud_event_from_header(&e, l, ELEMENTSOF(l), NULL, "", 0, &b), -EBADMSG);
}

static void test_from_json(void **state) {
        static const struct {
                const char *json, *problem;
        } cases[] = {
                { ATTRIBUTES "}", NULL },
                { " " ATTRIBUTES ",\"data\":{}} \n", NULL },
                { ATTRIBUTES "", "not JSON" },
                { "", "not JSON" },
                { "[]", "JSON object" },
                { "null", "JSON object" },
                { "7", "JSON object" },
                { "{}", "\"specversion\"" },
                { "{\"specversion\":1.0}", "no string" },
                { "{\"specversion\":\"1.1\"}", "not \"1.0\"" },
                { "{\"specversion\":\"1.0\",\"id\":1}", "\"id\"" },
                { "{\"specversion\":\"1.0\",\"id\":\"\"}", "is empty" },
                { "{\"specversion\":\"1.0\",\"id\":\"1\\u0000\"}", "NUL" },
                { "{\"specversion\":\"1.0\",\"id\":\"1\"}", "\"source\"" },
                { "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\",\"type\":null}", "\"type\"" },
                { ATTRIBUTES ",\"data\":1,\"data_base64\":\"\"}", "both" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(cloud_event_done) CloudEvent e = {};
                int r = cloud_event_from_json(&e, cases[i].json, strlen(cases[i].json));

                assert_int_equal(r, cases[i].problem ? -EBADMSG : 0);
                if (cases[i].problem && !strstr(e.problem, cases[i].problem))
                        fail_msg("%s: %s", cases[i].json, e.problem);
                if (!cases[i].problem)
                        assert_string_equal(e.source, "/s");
        }
}

static void test_key(void **state) {
        char a[CLOUD_EVENT_KEY_SIZE], b[CLOUD_EVENT_KEY_SIZE];

        assert_int_equal(cloud_event_key(&(CloudEvent) { .source = (char *) "ab", .id = (char *) "c" }, a), 0);
        assert_int_equal(cloud_event_key(&(CloudEvent) { .source = (char *) "a", .id = (char *) "bc" }, b), 0);
        assert_int_equal(strlen(a), CLOUD_EVENT_KEY_SIZE - 1);
        assert_string_not_equal(a, b);
        assert_int_equal(cloud_event_key(&(CloudEvent) { .source = (char *) "/shop", .id = (char *) "1" }, a), 0);
        assert_string_equal(a, "ce:65638845d47d955900f0f7a140c6e0b0b7e25a0004068ce40e726a696a2c29de"); /* sha256("/shop\0" "1") */
}

static void test_members(void **state) {
        static const char text[] = " { \"a\" : 1 ,\"b\\\"\":\"x,}\\\\\", \"\":[1,{\"c\":\"]\"}] ,\"d\":{}} ";
        static const char *const keys[] = { "a", "b\\\"", "", "d" }, *const values[] = { "1", "\"x,}\\\\\"", "[1,{\"c\":\"]\"}]", "{}" };
        static const char *const bad[] = {
                "", "[", "{", "{\"", "{\"a", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,", "{\"a\":1,}", "{\"a\":}", "{,}", "{}x",
                "{\"a\":\"\\", "{\"a\":[}", "{a:1}", "{\"a\":1 \"b\":2}{",
        };
        JsonMembers m = JSON_MEMBERS(text, strlen(text));
        JsonSpan key, value;
        uint64_t n;
        int r;

        for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
                assert_int_equal(json_members_next(&m, &key, &value), 1);
                assert_true(json_span_equals(key, keys[i]));
                assert_true(json_span_equals(value, values[i]));
        }
        assert_int_equal(json_members_next(&m, &key, &value), 0);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                m = JSON_MEMBERS(bad[i], strlen(bad[i]));
                while ((r = json_members_next(&m, &key, &value)) > 0)
                        ;
                if (r != -EBADMSG)
                        fail_msg("accepted: %s", bad[i]);
        }
        assert_int_equal(json_span_number((JsonSpan) { "18446744073709551615", 20 }, &n), 0);
        assert_true(n == UINT64_MAX);
        assert_int_equal(json_span_number((JsonSpan) { "18446744073709551616", 20 }, &n), -EBADMSG);
        assert_int_equal(json_span_number((JsonSpan) { "-1", 2 }, &n), -EBADMSG);
        assert_int_equal(json_span_number((JsonSpan) {}, &n), -EBADMSG);
}

static void test_execution(void **state) {
        static const char document[] =
                "{\"id\":\"0\",\"execution\":\"1\",\"app\":\"shop\",\"function\":\"pay\",\"status\":\"dead\",\"attempts\":3,"
                "\"accepted_usec\":0,\"next_usec\":5,\"finished_usec\":1709251199999999,\"source\":\"x\",\"content_type\":\"a/b\","
                "\"result\":{\"n\":12345678901234567890123,\"accepted_usec\":1},\"error\":\"Crashed\",\"message\":\"\\\"\"}";
        static const char *const bad[] = {
                "", "{}", "[]", "{\"app\":\"shop\"}", "{\"app\":\"Shop\",\"function\":\"pay\"}", "{\"app\":\"shop\",\"function\":7}",
                "{\"app\":\"shop\",\"function\":\"pay\",\"accepted_usec\":\"x\"}", "{\"app\":\"a\\n\",\"function\":\"pay\"}",
        };
        _cleanup_(buffer_done) Buffer b = {};
        Target t;

        assert_int_equal(execution_to_json(document, strlen(document), &b, &t), 0);
        buffer_putc(&b, 0);
        assert_string_equal(b.data, "{\"id\":\"0\",\"status\":\"dead\",\"function\":\"shop/pay\",\"attempts\":3,"
                            "\"accepted\":\"1970-01-01T00:00:00.000000Z\",\"finished\":\"2024-02-29T23:59:59.999999Z\","
                            "\"content_type\":\"a/b\",\"result\":{\"n\":12345678901234567890123,\"accepted_usec\":1},"
                            "\"error\":\"Crashed\",\"message\":\"\\\"\"}\n");
        assert_string_equal(t.app, "shop");
        assert_string_equal(t.function, "pay");
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                b.size = 0;
                if (execution_to_json(bad[i], strlen(bad[i]), &b, &t) != -EBADMSG)
                        fail_msg("accepted: %s", bad[i]);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_modes),
                cmocka_unit_test(test_from_header),
                cmocka_unit_test(test_hidden_bytes),
                cmocka_unit_test(test_too_many),
                cmocka_unit_test(test_from_json),
                cmocka_unit_test(test_key),
                cmocka_unit_test(test_members),
                cmocka_unit_test(test_execution),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
