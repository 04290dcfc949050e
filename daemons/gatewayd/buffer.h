/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Text that grows. A failure sticks: whoever put all of it looks at `error` at the end. */

#include "macro.h"

typedef struct Buffer {
        char *data;
        size_t size, allocated;
        int error;
} Buffer;

static inline void buffer_done(Buffer *b) {
        free(b->data);
        *b = (Buffer) {};
}

/* Room for `n` bytes more, which the caller then writes and adds to `size`; NULL: none. */
static inline char *buffer_extend(Buffer *b, size_t n) {
        if (b->error == 0 && b->allocated - b->size < n) {
                size_t wanted = MAX(b->size + n, 2 * b->allocated);
                char *grown = realloc(b->data, wanted);

                if (grown) {
                        b->data = grown;
                        b->allocated = wanted;
                } else
                        b->error = -ENOMEM;
        }
        return b->error < 0 ? NULL : b->data + b->size;
}

static inline void buffer_put(Buffer *b, const void *data, size_t n) {
        char *to = n > 0 ? buffer_extend(b, n) : NULL;

        if (to) {
                memcpy(to, data, n);
                b->size += n;
        }
}

static inline void buffer_puts(Buffer *b, const char *s) {
        buffer_put(b, s, strlen(s));
}

static inline void buffer_putc(Buffer *b, char c) {
        buffer_put(b, &c, 1);
}

/* A byte of ISO 8859-1, as UTF-8. */
static inline void buffer_put_latin1(Buffer *b, unsigned char c) {
        if (c < 0x80)
                buffer_putc(b, (char) c);
        else
                buffer_put(b, (const char[]) { (char) (0xC0 | c >> 6), (char) (0x80 | (c & 0x3F)) }, 2);
}
