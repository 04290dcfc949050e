/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>

/* A picture in memory: rows of `width` pixels, three bytes (red, green, blue) or one (grey) each. */
typedef struct Picture {
        unsigned width, height, channels;
        unsigned char *pixels;
} Picture;

/* 0, or -ENOMEM. */
int picture_new(unsigned width, unsigned height, unsigned channels, Picture *ret);
void picture_done(Picture *p);

/* The size that `width` x `height` is scaled to so that its longer side is at most `side`: never larger than
 * it is, never nothing. */
void picture_fit(unsigned width, unsigned height, unsigned side, unsigned *ret_width, unsigned *ret_height);

/* Scales down: each new pixel is the mean of the area of old pixels that it covers. */
int picture_shrink(const Picture *p, unsigned width, unsigned height, Picture *ret);

/* Turns and mirrors the picture as an EXIF orientation from 1 to 8 asks for. */
int picture_orient(const Picture *p, unsigned orientation, Picture *ret);
