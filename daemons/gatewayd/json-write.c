/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "json-write.h"

#include "text.h"

static bool is_plain(char c) {
        return (unsigned char) c >= ' ' && (unsigned char) c < 0x80 && c != '"' && c != '\\';
}

static void put_escape(Buffer *b, char c) {
        static const char digits[] = "0123456789abcdef";
        char text[] = { '\\', 'u', '0', '0', digits[(c >> 4) & 15], digits[c & 15] };

        switch (c) {
        case '"':
        case '\\':
                text[1] = c;
                break;
        case '\n':
                text[1] = 'n';
                break;
        case '\r':
                text[1] = 'r';
                break;
        case '\t':
                text[1] = 't';
                break;
        default:
                break;
        }
        buffer_put(b, text, text[1] == 'u' ? sizeof(text) : 2);
}

int json_put_utf8(Buffer *b, const char *s, size_t n) {
        size_t begin = b->size;

        for (size_t i = 0, run = 0, l; i < n; i = run) {
                while (run < n && is_plain(s[run]))
                        run++;
                while (run < n && (unsigned char) s[run] >= 0x80) {
                        l = utf8_char_length(s + run, n - run);
                        if (l == 0) {
                                b->size = begin;
                                return -EILSEQ;
                        }
                        run += l;
                }
                buffer_put(b, s + i, run - i);
                if (run < n && (unsigned char) s[run] < 0x80 && !is_plain(s[run]))
                        put_escape(b, s[run++]);
        }
        return 0;
}

void json_put(Buffer *b, const char *s, size_t n) {
        if (json_put_utf8(b, s, n) >= 0)
                return;
        for (size_t i = 0; i < n; i++)
                if ((unsigned char) s[i] >= 0x80 || is_plain(s[i]))
                        buffer_put_latin1(b, (unsigned char) s[i]);
                else
                        put_escape(b, s[i]);
}

void json_put_string(Buffer *b, const char *s) {
        buffer_putc(b, '"');
        json_put(b, s, strlen(s));
        buffer_putc(b, '"');
}

void json_put_member(Buffer *b, const char *key, const char *value) {
        if (b->size > 0 && b->data[b->size - 1] != '{')
                buffer_putc(b, ',');
        json_put_string(b, key);
        buffer_putc(b, ':');
        json_put_string(b, value);
}
