/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Limits of functions where there are no control groups for them. Where there are: tests/vm/test-20-limits. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../../daemons/supervisord/cgroup.h"
#include "macro.h"

#define MIB (UINT64_C(1) << 20)

static void test_without(void **state) {
        FunctionSpec specs[] = {
                { .name = (char *) "a", .memory = 128 * MIB, .memory_max = UINT64_MAX, .tasks_max = TASKS_MAX_DEFAULT },
                { .name = (char *) "b", .memory = 128 * MIB, .memory_max = 64 * MIB, .tasks_max = TASKS_MAX_DEFAULT },
                { .name = (char *) "c", .memory = 128 * MIB, .memory_max = 256 * MIB, .tasks_max = UINT64_MAX },
        };
        const uint64_t expected[] = { 128 * MIB, 64 * MIB, 128 * MIB };
        Manifest m = { .functions = specs, .n_functions = ELEMENTSOF(specs) };
        CGroups c;

        cgroups_init(&c, false);
        for (size_t i = 0; i < ELEMENTSOF(specs); i++) {
                CGroup *g = (CGroup *) &c;

                assert_int_equal(cgroup_get(&c, &m, "1-0", specs + i, &g), 0);
                assert_null(g);
                assert_int_equal(cgroup_data_limit(g, specs + i), expected[i]);
                assert_false(cgroups_may_kill(&c, &m, specs + i));
                assert_false(cgroup_was_oom(&c, g, 0));
                assert_null(cgroup_unref(g));
        }
        assert_true(c.warned);
        cgroups_done(&c);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_without),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
