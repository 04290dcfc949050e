/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Orientation from well-formed and from hostile EXIF blocks. Each lies at the end of its own allocation, so
 * that AddressSanitizer sees the first byte too many. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "exif.h"

#define HEAD "Exif\0\0"

static unsigned orientation(const char *bytes, size_t size) {
        unsigned char *copy = malloc(size > 0 ? size : 1);
        unsigned value;

        assert_non_null(copy);
        if (size > 0)
                memcpy(copy, bytes, size);
        value = exif_orientation(copy, size);
        free(copy);
        return value;
}
#define ORIENTATION(literal) orientation(literal, sizeof(literal) - 1)

static void test_both_byte_orders(void **state) {
        assert_int_equal(ORIENTATION(HEAD "II*\0\10\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0"), 6);
        assert_int_equal(ORIENTATION(HEAD "MM\0*\0\0\0\10\0\1\1\x12\0\3\0\0\0\1\0\3\0\0"), 3);
}

static void test_second_entry(void **state) {
        assert_int_equal(ORIENTATION(HEAD "II*\0\10\0\0\0\2\0\x0f\1\2\0\1\0\0\0\0\0\0\0\x12\1\3\0\1\0\0\0\10\0\0\0"), 8);
}

static void test_nonsense_is_upright(void **state) {
        assert_int_equal(ORIENTATION(""), 1);
        assert_int_equal(ORIENTATION("Exif"), 1);
        assert_int_equal(ORIENTATION("JFIF\0\0II*\0\10\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0"), 1);
        /* no TIFF; a value of 9; a value of 0; a LONG instead of a SHORT */
        assert_int_equal(ORIENTATION(HEAD "II+\0\10\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0"), 1);
        assert_int_equal(ORIENTATION(HEAD "II*\0\10\0\0\0\1\0\x12\1\3\0\1\0\0\0\x09\0\0\0"), 1);
        assert_int_equal(ORIENTATION(HEAD "II*\0\10\0\0\0\1\0\x12\1\3\0\1\0\0\0\0\0\0\0"), 1);
        assert_int_equal(ORIENTATION(HEAD "II*\0\10\0\0\0\1\0\x12\1\4\0\1\0\0\0\6\0\0\0"), 1);
}

static void test_offsets_beyond_the_end(void **state) {
        assert_int_equal(ORIENTATION(HEAD "II*\0\377\377\377\377"), 1);
        assert_int_equal(ORIENTATION(HEAD "II*\0\376\377\377\377\1\0"), 1);
        assert_int_equal(ORIENTATION(HEAD "MM\0*\177\377\377\377\0\1"), 1);
        /* 65535 entries are announced, one and a half are there. */
        assert_int_equal(ORIENTATION(HEAD "II*\0\10\0\0\0\377\377\x0f\1\3\0\1\0\0\0\6\0\0\0\x12\1\3"), 1);
}

static void test_every_truncation(void **state) {
        static const char whole[] = HEAD "II*\0\10\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0";

        for (size_t size = 0; size < sizeof(whole) - 1; size++) {
                unsigned value = orientation(whole, size);
                assert_true(value == 1 || (size >= sizeof(whole) - 3 && value == 6));
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_both_byte_orders),
                cmocka_unit_test(test_second_entry),
                cmocka_unit_test(test_nonsense_is_upright),
                cmocka_unit_test(test_offsets_beyond_the_end),
                cmocka_unit_test(test_every_truncation),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
