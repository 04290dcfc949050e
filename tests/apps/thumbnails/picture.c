/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Scaling and turning pictures, in fixed point and with each size checked once, where it is made. */

#include "picture.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int picture_new(unsigned width, unsigned height, unsigned channels, Picture *ret) {
        unsigned char *pixels = calloc((size_t) height * channels, width);

        if (!pixels)
                return -ENOMEM;
        *ret = (Picture) { .width = width, .height = height, .channels = channels, .pixels = pixels };
        return 0;
}

void picture_done(Picture *p) {
        free(p->pixels);
        *p = (Picture) {};
}

void picture_fit(unsigned width, unsigned height, unsigned side, unsigned *ret_width, unsigned *ret_height) {
        uint64_t longer = width > height ? width : height;
        uint64_t w = width, h = height;

        if (longer > side) {
                w = (w * side + longer / 2) / longer;
                h = (h * side + longer / 2) / longer;
        }
        *ret_width = w > 0 ? (unsigned) w : 1;
        *ret_height = h > 0 ? (unsigned) h : 1;
}

/* One axis of the scaling: new pixel i covers the old ones from i * from / to to (i + 1) * from / to. The
 * share that it has of old pixel x, in 1/to of a pixel. */
static uint64_t overlap(uint64_t i, uint64_t x, uint64_t from, uint64_t to) {
        uint64_t begin = i * from > x * to ? i * from : x * to;
        uint64_t end = (i + 1) * from < (x + 1) * to ? (i + 1) * from : (x + 1) * to;

        return end > begin ? end - begin : 0;
}

static void shrink_pixel(const Picture *p, const Picture *to, unsigned x, unsigned y) {
        unsigned x0 = (unsigned) ((uint64_t) x * p->width / to->width);
        unsigned x1 = (unsigned) (((uint64_t) (x + 1) * p->width + to->width - 1) / to->width);
        unsigned y0 = (unsigned) ((uint64_t) y * p->height / to->height);
        unsigned y1 = (unsigned) (((uint64_t) (y + 1) * p->height + to->height - 1) / to->height);
        uint64_t area = (uint64_t) p->width * p->height, sum[3] = {};

        for (unsigned v = y0; v < y1; v++) {
                uint64_t share = overlap(y, v, p->height, to->height);
                const unsigned char *from = p->pixels + ((size_t) v * p->width + x0) * p->channels;

                for (unsigned u = x0; u < x1; u++, from += p->channels) {
                        uint64_t weight = share * overlap(x, u, p->width, to->width);

                        for (unsigned c = 0; c < p->channels; c++)
                                sum[c] += weight * from[c];
                }
        }
        for (unsigned c = 0; c < p->channels; c++)
                to->pixels[((size_t) y * to->width + x) * to->channels + c] =
                        (unsigned char) ((sum[c] + area / 2) / area);
}

int picture_shrink(const Picture *p, unsigned width, unsigned height, Picture *ret) {
        int r = picture_new(width, height, p->channels, ret);

        if (r < 0)
                return r;
        for (unsigned y = 0; y < height; y++)
                for (unsigned x = 0; x < width; x++)
                        shrink_pixel(p, ret, x, y);
        return 0;
}

int picture_orient(const Picture *p, unsigned orientation, Picture *ret) {
        int turned = orientation >= 5; /* 5 to 8 lie on their side */
        int mirror_x = orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
        int mirror_y = orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;
        int r = picture_new(turned ? p->height : p->width, turned ? p->width : p->height, p->channels, ret);

        if (r < 0)
                return r;
        for (unsigned y = 0; y < ret->height; y++)
                for (unsigned x = 0; x < ret->width; x++) {
                        unsigned u = mirror_x ? ret->width - 1 - x : x, v = mirror_y ? ret->height - 1 - y : y;
                        size_t from = turned ? (size_t) u * p->width + v : (size_t) v * p->width + u;

                        memcpy(ret->pixels + ((size_t) y * ret->width + x) * p->channels,
                               p->pixels + from * p->channels, p->channels);
                }
        return 0;
}
