/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Tokens, their hashes, and the file that hostd writes and the gateway reads. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "token.h"

static void test_make(void **state) {
        char one[TOKEN_LENGTH + 1], two[TOKEN_LENGTH + 1];
        unsigned seen[128] = {};
        uint8_t hash[TOKEN_HASH_SIZE];

        for (unsigned i = 0; i < 1000; i++) {
                assert_int_equal(token_make(one), 0);
                assert_int_equal(strlen(one), TOKEN_LENGTH);
                assert_non_null(startswith(one, TOKEN_PREFIX));
                assert_int_equal(token_hash(one, TOKEN_LENGTH, hash), 0);
                for (const char *c = one + strlen(TOKEN_PREFIX); *c; c++)
                        seen[(unsigned char) *c]++;
        }
        /* Each of 62 letters 694 times, more or less. */
        for (char c = 'a'; c <= 'z'; c++)
                assert_in_range(seen[(unsigned char) c], 500, 900);
        for (char c = '0'; c <= '9'; c++)
                assert_in_range(seen[(unsigned char) c], 500, 900);
        assert_int_equal(token_make(two), 0);
        assert_string_not_equal(one, two);
}

static void test_hash(void **state) {
        static const char token[] = "sand_0123456789012345678901234567890123456789abc";
        char id[TOKEN_ID_LENGTH + 1], wrong[sizeof(token)];
        uint8_t hash[TOKEN_HASH_SIZE];

        /* printf %s TOKEN | sha256sum */
        assert_int_equal(token_hash(token, strlen(token), hash), 0);
        token_id(hash, id);
        assert_string_equal(id, "4ac2d046a89f");
        assert_int_equal(token_hash(token, strlen(token) - 1, hash), -EINVAL);
        assert_int_equal(token_hash(token, 0, hash), -EINVAL);
        for (size_t i = 0; i < strlen(token); i++) {
                memcpy(wrong, token, sizeof(token));
                wrong[i] = i % 2 ? '-' : 0;
                assert_int_equal(token_hash(wrong, strlen(token), hash), -EINVAL);
        }
}

static void test_names(void **state) {
        char longest[TOKEN_NAME_MAX + 2] = "";

        memset(longest, 'a', TOKEN_NAME_MAX);
        assert_true(token_name_is_valid("partner A"));
        assert_true(token_name_is_valid("Büro \"2\""));
        assert_true(token_name_is_valid(longest));
        longest[TOKEN_NAME_MAX] = 'a';
        assert_false(token_name_is_valid(longest));
        assert_false(token_name_is_valid(""));
        assert_false(token_name_is_valid("a\nb"));
        assert_false(token_name_is_valid("a\x7f"));
        assert_false(token_name_is_valid("\xff"));
}

static void test_list(void **state) {
        _cleanup_(token_list_done) TokenList l = {}, back = {};
        _cleanup_(freep) char *text = NULL, *again = NULL;
        Token t = { .created_usec = 1790000000000000, .expires_usec = 0, .name = (char *) "a \"name\"" };

        for (unsigned i = 0; i < TOKENS_PER_APP_MAX; i++) {
                memset(t.hash, (int) i, sizeof(t.hash));
                assert_int_equal(token_list_add(&l, &t), 0);
                t.name = NULL;
                t.expires_usec++;
        }
        assert_int_equal(token_list_add(&l, &t), -E2BIG);
        assert_int_equal(token_list_format(&l, &text), 0);
        assert_true(strlen(text) < TOKENS_FILE_MAX);
        assert_int_equal(token_list_parse(text, &back), 0);
        assert_int_equal(back.n, TOKENS_PER_APP_MAX);
        assert_string_equal(back.items[0].name, "a \"name\"");
        assert_null(back.items[1].name);
        assert_memory_equal(back.items[200].hash, l.items[200].hash, TOKEN_HASH_SIZE);
        assert_int_equal(back.items[200].expires_usec, 200);
        assert_int_equal(token_list_format(&back, &again), 0);
        assert_string_equal(text, again);
        token_list_remove(&back, 0);
        token_list_remove(&back, 100);
        assert_int_equal(back.n, TOKENS_PER_APP_MAX - 2);
        assert_int_equal(back.items[0].hash[0], 1);
        assert_int_equal(back.items[100].hash[0], 102);
}

static void test_bad_files(void **state) {
#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
        static const char *const bad[] = {
                "", "[]", "{}", "null", "{\"tokens\":{}}", "{\"tokens\":[1]}", "{\"tokens\":[{}]}", "{\"tokens\":[",
                "{\"tokens\":[{\"hash\":\"" HASH "\",\"created_usec\":1}]}",
                "{\"tokens\":[{\"hash\":\"" HASH "\",\"created_usec\":1,\"expires_usec\":-1}]}",
                "{\"tokens\":[{\"hash\":\"" HASH "\",\"created_usec\":1,\"expires_usec\":\"1\"}]}",
                "{\"tokens\":[{\"hash\":\"" HASH "0\",\"created_usec\":1,\"expires_usec\":0}]}",
                "{\"tokens\":[{\"hash\":\"G123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\","
                "\"created_usec\":1,\"expires_usec\":0}]}",
                "{\"tokens\":[{\"hash\":\"" HASH "\",\"created_usec\":1,\"expires_usec\":0,\"name\":1}]}",
                "{\"tokens\":[{\"hash\":\"" HASH "\",\"created_usec\":1,\"expires_usec\":0,\"name\":\"a\\n\"}]}",
                "{\"tokens\":[{\"hash\":\"" HASH "\",\"created_usec\":1,\"expires_usec\":0},{}]}",
        };
        _cleanup_(token_list_done) TokenList l = {};

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                assert_int_equal(token_list_parse(bad[i], &l), -EBADMSG);
                assert_int_equal(l.n, 0);
        }
        assert_int_equal(token_list_parse("{\"tokens\":[{\"hash\":\"" HASH "\",\"created_usec\":1,\"expires_usec\":0}]}", &l), 0);
        assert_int_equal(l.n, 1);
        assert_int_equal(l.items[0].hash[1], 0x23);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_make),
                cmocka_unit_test(test_hash),
                cmocka_unit_test(test_names),
                cmocka_unit_test(test_list),
                cmocka_unit_test(test_bad_files),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
