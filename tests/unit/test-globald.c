/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What globald decides without asking anybody: when a failed event comes again, and whom a topic reaches. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../../daemons/globald/retry.h"
#include "../../daemons/globald/topic.h"
#include "macro.h"
#include "protocol.h"

static void test_verdicts(void **state) {
        RetryPolicy p = RETRY_POLICY_DEFAULT;

        assert_int_equal(retry_decide(&p, SAND_ERROR_FUNCTION_FAILED, 1), RETRY_LATER);
        assert_int_equal(retry_decide(&p, SAND_ERROR_FUNCTION_FAILED, 2), RETRY_LATER);
        assert_int_equal(retry_decide(&p, SAND_ERROR_FUNCTION_FAILED, 3), RETRY_NEVER);
        assert_int_equal(retry_decide(&p, SAND_ERROR_CRASHED, 1), RETRY_LATER);
        assert_int_equal(retry_decide(&p, SAND_ERROR_CRASHED, 3), RETRY_NEVER);
        /* What another attempt does not mend. */
        for (SandError e = 0; e < _SAND_ERROR_MAX; e++)
                if (!sand_error_info(e)->retried)
                        assert_int_equal(retry_decide(&p, e, 1), RETRY_NEVER);
        /* What was not begun has no attempts to lose. */
        assert_int_equal(retry_decide(&p, SAND_ERROR_BUSY, 100), RETRY_GIVE_BACK);
        assert_int_equal(retry_decide(&p, SAND_ERROR_UNAVAILABLE, 100), RETRY_GIVE_BACK);
        /* Timeouts, as the manifest says. */
        assert_int_equal(retry_decide(&p, SAND_ERROR_TIMEOUT, 1), RETRY_LATER);
        p.timeouts = false;
        assert_int_equal(retry_decide(&p, SAND_ERROR_TIMEOUT, 1), RETRY_NEVER);
        p.attempts = 1;
        assert_int_equal(retry_decide(&p, SAND_ERROR_FUNCTION_FAILED, 1), RETRY_NEVER);
}

/* All of the delay is between its half and its whole. */
static void check_delay(const RetryPolicy *p, unsigned attempt, uint64_t whole) {
        assert_int_equal(retry_delay(p, attempt, 0), whole / 2);
        assert_in_range(retry_delay(p, attempt, UINT32_MAX / 2), whole / 2, whole / 4 * 3 + 1);
        assert_in_range(retry_delay(p, attempt, UINT32_MAX), usec_sub(whole, 1), whole);
}

static void test_delays(void **state) {
        RetryPolicy p = RETRY_POLICY_DEFAULT;

        check_delay(&p, 1, USEC_PER_SEC);
        check_delay(&p, 2, 2 * USEC_PER_SEC);
        check_delay(&p, 5, 16 * USEC_PER_SEC);
        check_delay(&p, 9, 256 * USEC_PER_SEC);
        check_delay(&p, 10, p.delay_max_usec);
        check_delay(&p, UINT32_MAX, p.delay_max_usec);
        p.backoff = 1;
        check_delay(&p, 7, USEC_PER_SEC);
        p.delay_usec = 0;
        check_delay(&p, 1, 0);
        p = (RetryPolicy) { .delay_usec = 10 * USEC_PER_SEC, .backoff = 2, .delay_max_usec = USEC_PER_SEC };
        check_delay(&p, 1, USEC_PER_SEC);
}

static void test_topics(void **state) {
        char longest[SAND_TOPIC_SIZE_MAX + 2];

        memset(longest, 'a', sizeof(longest));
        longest[SAND_TOPIC_SIZE_MAX + 1] = 0;
        assert_false(topic_is_valid(longest));
        longest[SAND_TOPIC_SIZE_MAX] = 0;
        assert_true(topic_is_valid(longest));
        assert_true(topic_is_valid("orders.new_2-x"));
        assert_false(topic_is_valid(""));
        assert_false(topic_is_valid("orders.*"));
        assert_false(topic_is_valid("a/b"));
        assert_false(topic_is_valid("a b"));
        assert_false(topic_is_valid("\xc3\xa4"));
}

static void test_patterns(void **state) {
        static const struct {
                const char *pattern, *topic;
                bool matches;
        } rows[] = {
                { "orders.new", "orders.new", true },   { "orders.new", "orders.newer", false },
                { "orders.newer", "orders.new", false }, { "orders.*", "orders.new", true },
                { "orders.*", "orders.", true },        { "orders.*", "orders", false },
                { "orders.*", "orders.eu.new", true },  { "*", "a", true },
                { "*.new", "orders.new", true },        { "*.new", "orders.new.new", true },
                { "*.new", "orders.old", false },       { "a*b*c", "aXbYc", true },
                { "a*b*c", "abc", true },               { "a*b*c", "acb", false },
                { "a*b*c", "abcbd", false },            { "a*b*c", "abbcbc", true },
                { "**", "x", true },                    { "a**", "a", true },
                { "Orders.*", "orders.new", false },    { "a.b", "axb", false },
        };
        char pattern[SAND_TOPIC_SIZE_MAX + 1], topic[SAND_TOPIC_SIZE_MAX + 1];

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                if (topic_matches(rows[i].pattern, rows[i].topic) != rows[i].matches)
                        fail_msg("\"%s\" and \"%s\"", rows[i].pattern, rows[i].topic);
        /* The worst of each takes no noticeable time. */
        for (size_t i = 0; i < sizeof(pattern) - 1; i++) {
                pattern[i] = i % 2 ? 'a' : '*';
                topic[i] = 'a';
        }
        pattern[sizeof(pattern) - 1] = topic[sizeof(topic) - 1] = 0;
        pattern[sizeof(pattern) - 2] = 'b';
        assert_false(topic_matches(pattern, topic));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_verdicts),
                cmocka_unit_test(test_delays),
                cmocka_unit_test(test_topics),
                cmocka_unit_test(test_patterns),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
