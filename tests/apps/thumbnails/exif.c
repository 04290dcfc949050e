/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Finds one tag in a TIFF structure. Offsets and counts come from the file: each is checked against
 * what is there before it is followed. Format: CIPA DC-008 (Exif 2.3), 4.5 and 4.6. */

#include "exif.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define TAG_ORIENTATION 0x0112
#define TYPE_SHORT 3

typedef struct Tiff {
        const unsigned char *data;
        size_t size;
        bool little_endian;
} Tiff;

static unsigned tiff_u16(const Tiff *t, size_t at) {
        const unsigned char *p = t->data + at;

        if (t->size < 2 || at > t->size - 2)
                return 0;
        return t->little_endian ? p[0] | p[1] << 8 : p[0] << 8 | p[1];
}

static uint32_t tiff_u32(const Tiff *t, size_t at) {
        uint32_t a = tiff_u16(t, at), b = tiff_u16(t, at + 2);

        return t->little_endian ? a | b << 16 : a << 16 | b;
}

unsigned exif_orientation(const unsigned char *app1, size_t size) {
        Tiff t;
        size_t ifd;
        unsigned n;

        if (size < 14 || memcmp(app1, "Exif\0\0", 6) != 0)
                return 1;
        t = (Tiff) { .data = app1 + 6, .size = size - 6, .little_endian = app1[6] == 'I' };
        if (tiff_u16(&t, 2) != 42)
                return 1;

        ifd = tiff_u32(&t, 4);
        n = tiff_u16(&t, ifd);
        for (unsigned i = 0; i < n; i++) {
                size_t entry = ifd + 2 + (size_t) i * 12;
                unsigned value;

                if (entry > t.size)
                        break;
                if (tiff_u16(&t, entry) != TAG_ORIENTATION || tiff_u16(&t, entry + 2) != TYPE_SHORT)
                        continue;
                value = tiff_u16(&t, entry + 8);
                return value >= 1 && value <= 8 ? value : 1;
        }
        return 1;
}
