/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Ranges do not overlap with what others have, and a function's uid stays with its name. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "../../daemons/hostd/uids.h"
#include "protocol.h"

static void test_first_range_is_free(void **state) {
        UidRanges used = {};
        uint32_t base;

        assert_int_equal(uid_ranges_find_free(&used, &base), 0);
        assert_int_equal(base, UID_RANGE_FIRST);
        assert_true(uid_base_is_valid(base));
}

static void test_every_kind_of_overlap_is_seen(void **state) {
        static const UidRange overlapping[] = {
                { UID_RANGE_FIRST, 1 },
                { UID_RANGE_FIRST + UID_RANGE_SIZE - 1, 1 },
                { UID_RANGE_FIRST - 10, 11 },
                { UID_RANGE_FIRST - 10, 2 * UID_RANGE_SIZE - 1 + 10 },
                { UID_RANGE_FIRST + 5, UID_RANGE_SIZE - 5 },
        };

        for (size_t i = 0; i < ELEMENTSOF(overlapping); i++) {
                UidRanges used = {};
                uint32_t base;

                assert_int_equal(uid_ranges_add(&used, overlapping[i].start, overlapping[i].size), 0);
                assert_int_equal(uid_ranges_find_free(&used, &base), 0);
                assert_true(base >= overlapping[i].start + overlapping[i].size);
                assert_true(base <= UID_RANGE_FIRST + 2 * UID_RANGE_SIZE);
                uid_ranges_done(&used);
        }
}

static void test_neighbours_do_not_overlap(void **state) {
        UidRanges used = {};
        uint32_t base;

        assert_int_equal(uid_ranges_add(&used, UID_RANGE_FIRST - 10, 10), 0);
        assert_int_equal(uid_ranges_add(&used, UID_RANGE_FIRST + UID_RANGE_SIZE, UID_RANGE_SIZE), 0);
        assert_int_equal(uid_ranges_add(&used, UID_RANGE_FIRST, 0), 0);
        assert_int_equal(uid_ranges_find_free(&used, &base), 0);
        assert_int_equal(base, UID_RANGE_FIRST);
        uid_ranges_done(&used);
}

static void test_all_taken(void **state) {
        UidRanges used = {};
        uint32_t base;

        assert_int_equal(uid_ranges_add(&used, 0, UINT64_C(1) << 32), 0);
        assert_int_equal(uid_ranges_find_free(&used, &base), -ENOSPC);
        uid_ranges_done(&used);
}

static void test_subids(void **state) {
        UidRanges used = {};

        assert_int_equal(uid_ranges_add_subids(&used, "joe:100000:65536\n"
                                                      "# comment:1:2\n"
                                                      "ann:671088640:65536\n"
                                                      "\n"
                                                      "bad:x:65536\n"
                                                      "bad:-1:65536\n"
                                                      "bad:1\n"
                                                      "bad:1:2:3\n"
                                                      "bad:99999999999:1\n"
                                                      "nobody"), 0);
        assert_int_equal(used.n, 2);
        assert_int_equal(used.items[0].start, 100000);
        assert_int_equal(used.items[1].start, 671088640);
        assert_int_equal(used.items[1].size, 65536);
        uid_ranges_done(&used);
}

static void test_base_parse(void **state) {
        static const char *const bad[] = {
                "", "\n", "-671088640", " 671088640", "671088640 ", "671088640\n\n", "671088641", "65536", "4294967296",
                "1879113728", "0x28000000",
        };
        uint32_t base = 0;

        assert_int_equal(uid_base_parse("671088640\n", &base), 0);
        assert_int_equal(base, 671088640);
        assert_int_equal(uid_base_parse("671154176", &base), 0);
        assert_int_equal(base, 671154176);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_true(uid_base_parse(bad[i], &base) < 0);
        assert_int_equal(base, 671154176);
}

static void update(const char *old, FunctionSpec *functions, size_t n, const char *expected) {
        _cleanup_(freep) char *text = NULL;

        assert_int_equal(function_uids_update(old, &(Manifest) { .functions = functions, .n_functions = n }, &text), 0);
        assert_string_equal(text, expected);
}

static void test_uids_stay_with_names(void **state) {
        FunctionSpec a_b[] = { { .name = (char *) "a" }, { .name = (char *) "b" } };
        FunctionSpec c_a[] = { { .name = (char *) "c" }, { .name = (char *) "a" } };

        update(NULL, a_b, 2, "{\"functions\":{\"a\":1001,\"b\":1002}}\n");
        /* b has left; its number is not given to another, and is there when it comes back */
        update("{\"functions\":{\"a\":1001,\"b\":1002}}", c_a, 2, "{\"functions\":{\"a\":1001,\"b\":1002,\"c\":1003}}\n");
        update("{\"functions\":{\"b\":1002}}", a_b, 2, "{\"functions\":{\"b\":1002,\"a\":1003}}\n");
}

static void test_uids_run_out(void **state) {
        FunctionSpec one[] = { { .name = (char *) "new" } };
        Manifest m = { .functions = one, .n_functions = 1 };
        char old[64], *text = NULL;

        (void) snprintf(old, sizeof(old), "{\"functions\":{\"last\":%u}}", SAND_FUNCTION_UID_LAST);
        assert_int_equal(function_uids_update(old, &m, &text), -ENOSPC);
        assert_null(text);
}

static void test_uids_of_others_are_refused(void **state) {
        static const char *const bad[] = {
                "", "[]", "{}", "{\"functions\":[]}", "{\"functions\":{\"a\":0}}", "{\"functions\":{\"a\":1000}}",
                "{\"functions\":{\"a\":65536}}", "{\"functions\":{\"a\":\"1001\"}}", "{\"functions\":{\"../a\":1001}}",
                "{\"functions\":{\"a:b\":1001}}", "{\"functions\":{\"a\":1001",
        };
        FunctionSpec one[] = { { .name = (char *) "a" } };
        Manifest m = { .functions = one, .n_functions = 1 };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                char *text = NULL;
                assert_int_equal(function_uids_update(bad[i], &m, &text), -EBADMSG);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_first_range_is_free),
                cmocka_unit_test(test_every_kind_of_overlap_is_seen),
                cmocka_unit_test(test_neighbours_do_not_overlap),
                cmocka_unit_test(test_all_taken),
                cmocka_unit_test(test_subids),
                cmocka_unit_test(test_base_parse),
                cmocka_unit_test(test_uids_stay_with_names),
                cmocka_unit_test(test_uids_run_out),
                cmocka_unit_test(test_uids_of_others_are_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
