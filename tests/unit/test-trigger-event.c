/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../../tools/trigger-event.h"

#include "text.h"

static const char *const *environment;

static char *get(const char *name) {
        for (const char *const *e = environment; e && *e; e += 2)
                if (streq(*e, name))
                        return (char *) e[1];
        return NULL;
}

static void assert_event(json_object *o, const char *expected) {
        assert_non_null(o);
        assert_string_equal(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE), expected);
        (void) json_object_put(o);
}

static void test_names(void **state) {
        static const char *const wrong[] = {
                "", "shop", "shop:", ":f", "Shop:f", "shop:f:", "shop:f:timer-", "shop:f:timer-1x", "shop:f:path-1:2",
                "shop:f:timer-9999999999", "sh/op:f", "shop:../f",
        };
        TriggerName n;

        assert_int_equal(trigger_name_parse("shop:order", &n), 0);
        assert_string_equal(n.app, "shop");
        assert_string_equal(n.function, "order");
        assert_null(n.trigger);
        assert_null(n.source);
        trigger_name_done(&n);
        assert_int_equal(trigger_name_parse("my-shop:order:backup.service", &n), 0); /* a label */
        assert_string_equal(n.function, "order");
        assert_null(n.trigger);
        trigger_name_done(&n);
        n = (TriggerName) {};
        assert_int_equal(trigger_name_parse("my-shop:order:timer-12", &n), 0);
        assert_string_equal(n.source, "sand-trigger-my-shop-12.timer");
        assert_false(n.path);
        trigger_name_done(&n);
        assert_int_equal(trigger_name_parse("shop:f:path-0", &n), 0);
        assert_string_equal(n.trigger, "path-0");
        assert_string_equal(n.source, "sand-trigger-shop-0.path");
        assert_true(n.path);
        trigger_name_done(&n);
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++)
                assert_int_equal(trigger_name_parse(wrong[i], &n), -EINVAL);
}

static void test_units(void **state) {
        environment = NULL;
        assert_event(trigger_unit_event(get), "{}");
        assert_null(trigger_unit(get));
        environment = (const char *const []) { "MONITOR_UNIT", "a.service", "MONITOR_SERVICE_RESULT", "signal", "MONITOR_EXIT_CODE",
                                               "killed", "MONITOR_EXIT_STATUS", "TERM", "TRIGGER_UNIT", "b.path", NULL };
        assert_event(trigger_unit_event(get),
                     "{\"unit\":\"a.service\",\"result\":\"signal\",\"exit_code\":\"killed\",\"exit_status\":\"TERM\"}");
        assert_string_equal(trigger_unit(get), "a.service");
        environment = (const char *const []) { "TRIGGER_UNIT", "b.path", "TRIGGER_PATH", "/srv/in", NULL };
        assert_event(trigger_unit_event(get), "{\"unit\":\"b.path\",\"path\":\"/srv/in\"}");
        assert_string_equal(trigger_unit(get), "b.path");
        environment = (const char *const []) { "TRIGGER_UNIT", "c.timer", "TRIGGER_TIMER_REALTIME_USEC", "1700000000000001", NULL };
        assert_event(trigger_unit_event(get), "{\"unit\":\"c.timer\",\"scheduled_time\":\"2023-11-14T22:13:20.000001Z\"}");
        environment = (const char *const []) { "TRIGGER_TIMER_REALTIME_USEC", "soon", NULL };
        assert_int_equal(trigger_scheduled_usec(get), 0);
        environment = NULL;
}

static void test_timers(void **state) {
        json_object *input = json_object_new_array();

        assert_event(trigger_timer_event(NULL, 0, "t.timer"),
                     "{\"input\":{},\"scheduled_time\":\"1970-01-01T00:00:00Z\",\"trigger\":\"t.timer\"}");
        assert_event(trigger_timer_event(input, 60 * USEC_PER_SEC, "t.timer"),
                     "{\"input\":[],\"scheduled_time\":\"1970-01-01T00:01:00Z\",\"trigger\":\"t.timer\"}");
        (void) json_object_put(input); /* still ours */
}

static void test_files(void **state) {
        struct stat st = { .st_size = 5, .st_mtim = { 1, 2000 } };

        assert_event(trigger_file_event("/mnt/in", "/srv/", "a b", &st),
                     "{\"path\":\"/mnt/in/a b\",\"host_path\":\"/srv/a b\",\"size\":5,\"modified\":\"1970-01-01T00:00:01.000002Z\"}");
}

/* Whatever changes of a file is another key; what a reboot changes is none. */
static void test_keys(void **state) {
        struct stat st = { .st_dev = 1, .st_ino = 2, .st_size = 3, .st_mtim = { 4, 5 } }, other;
        char key[TRIGGER_KEY_SIZE], changed[TRIGGER_KEY_SIZE], name[256];

        trigger_file_key("name", &st, key);
        assert_true(utf8_is_valid(key, strlen(key)));
        trigger_file_key("name2", &st, changed);
        assert_string_not_equal(key, changed);
        for (int i = 0; i < 5; i++) {
                other = st;
                other.st_ino += i == 0;
                other.st_size += i == 1;
                other.st_mtim.tv_sec += i == 2;
                other.st_mtim.tv_nsec += i == 3;
                other.st_dev += i == 4;
                trigger_file_key("name", &other, changed);
                assert_int_equal(streq(key, changed), i == 4);
        }
        (void) memset(name, 'x', 255);
        name[255] = 0;
        st.st_ino = st.st_size = st.st_mtim.tv_sec = INT64_MAX;
        st.st_mtim.tv_nsec = 999999999;
        trigger_file_key(name, &st, key);
        assert_true(strlen(key) <= SAND_IDEMPOTENCY_KEY_MAX);
        name[254] = 'y';
        trigger_file_key(name, &st, changed);
        assert_string_not_equal(key, changed);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_names), cmocka_unit_test(test_units), cmocka_unit_test(test_timers),
                cmocka_unit_test(test_files), cmocka_unit_test(test_keys),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
