/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Sizes, means and turns of pictures, on pictures small enough to be written down. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "picture.h"

static void assert_fits(unsigned width, unsigned height, unsigned side, unsigned w, unsigned h) {
        unsigned found_w, found_h;

        picture_fit(width, height, side, &found_w, &found_h);
        assert_int_equal(found_w, w);
        assert_int_equal(found_h, h);
}

static void test_fit(void **state) {
        assert_fits(4000, 3000, 320, 320, 240);
        assert_fits(3000, 4000, 320, 240, 320);
        assert_fits(100, 50, 320, 100, 50);
        assert_fits(65500, 1, 320, 320, 1);
        assert_fits(1, 1, 1, 1, 1);
}

static void assert_pixels(const Picture *p, unsigned width, unsigned height, const char *pixels) {
        assert_int_equal(p->width, width);
        assert_int_equal(p->height, height);
        assert_memory_equal(p->pixels, pixels, (size_t) width * height * p->channels);
}

static void test_shrink_is_the_mean_of_the_area(void **state) {
        unsigned char pixels[] = { 0, 100, 200, 40, 60, 80, 10, 10, 10 };
        Picture p = { .width = 3, .height = 3, .channels = 1, .pixels = pixels }, q;

        assert_int_equal(picture_shrink(&p, 1, 1, &q), 0);
        assert_int_equal(q.pixels[0], 57); /* 510 / 9 = 56.7 */
        picture_done(&q);

        /* Two columns of one and a half: (0 + 100 / 2) / 1.5 and (200 + 100 / 2) / 1.5 in the first row. */
        assert_int_equal(picture_shrink(&p, 2, 3, &q), 0);
        assert_int_equal(q.pixels[0], 33);
        assert_int_equal(q.pixels[1], 167);
        picture_done(&q);

        assert_int_equal(picture_shrink(&p, 3, 3, &q), 0);
        assert_memory_equal(q.pixels, pixels, sizeof(pixels));
        picture_done(&q);
}

static void test_shrink_keeps_a_flat_colour(void **state) {
        Picture p, q;

        assert_int_equal(picture_new(997, 613, 3, &p), 0);
        memset(p.pixels, 255, (size_t) 997 * 613 * 3);
        assert_int_equal(picture_shrink(&p, 320, 197, &q), 0);
        for (size_t i = 0; i < (size_t) 320 * 197 * 3; i++)
                assert_int_equal(q.pixels[i], 255);
        picture_done(&p);
        picture_done(&q);
}

/* EXIF 2.3, 4.6.4: where row 0 and column 0 of the stored picture are. */
static void test_orient(void **state) {
        static const struct {
                unsigned width, height;
                const char *pixels;
        } expected[] = {
                { 3, 2, "abcdef" }, { 3, 2, "cbafed" }, { 3, 2, "fedcba" }, { 3, 2, "defabc" },
                { 2, 3, "adbecf" }, { 2, 3, "daebfc" }, { 2, 3, "fcebda" }, { 2, 3, "cfbead" },
        };
        Picture p = { .width = 3, .height = 2, .channels = 1, .pixels = (unsigned char *) "abcdef" }, q;

        for (unsigned i = 0; i < 8; i++) {
                assert_int_equal(picture_orient(&p, i + 1, &q), 0);
                assert_pixels(&q, expected[i].width, expected[i].height, expected[i].pixels);
                picture_done(&q);
        }
}

static void test_orient_moves_whole_pixels(void **state) {
        Picture p = { .width = 2, .height = 1, .channels = 3, .pixels = (unsigned char *) "rgbRGB" }, q;

        assert_int_equal(picture_orient(&p, 8, &q), 0);
        assert_pixels(&q, 1, 2, "RGBrgb");
        picture_done(&q);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_fit),
                cmocka_unit_test(test_shrink_is_the_mean_of_the_area),
                cmocka_unit_test(test_shrink_keeps_a_flat_colour),
                cmocka_unit_test(test_orient),
                cmocka_unit_test(test_orient_moves_whole_pixels),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
