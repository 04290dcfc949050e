/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "text.h"

#include <stdint.h>
#include <stdio.h>
#include <strings.h>

#include "macro.h"

#define WORD_MAX 64U /* longer words are not compared: the tables are of short ones */

size_t utf8_char_length(const char *p, size_t n) {
        const uint8_t *b = (const uint8_t *) p;
        uint32_t c;
        size_t l;

        if (n == 0)
                return 0;
        if (b[0] < 0x80)
                return 1;
        l = b[0] >= 0xF0 ? 4 : b[0] >= 0xE0 ? 3 : 2;
        if (b[0] < 0xC2 || b[0] > 0xF4 || n < l)
                return 0;

        c = b[0] & (0xFFU >> (l + 1));
        for (size_t i = 1; i < l; i++) {
                if ((b[i] & 0xC0) != 0x80)
                        return 0;
                c = c << 6 | (b[i] & 0x3F);
        }
        if ((l == 3 && c < 0x800) || (l == 4 && c < 0x10000) || c > 0x10FFFF)
                return 0;
        return c >= 0xD800 && c <= 0xDFFF ? 0 : l;
}

bool utf8_is_valid(const char *p, size_t n) {
        for (size_t i = 0, l; i < n; i += l) {
                l = utf8_char_length(p + i, n - i);
                if (l == 0)
                        return false;
        }
        return true;
}

void text_make_printable(char *s) {
        size_t n = strlen(s);

        for (size_t i = 0; i < n;) {
                size_t l = utf8_char_length(s + i, n - i);
                uint8_t first = (uint8_t) s[i], second = (uint8_t) s[i + 1];
                bool control = first < 0x20 || first == 0x7F || (first == 0xC2 && second < 0xA0);

                if (l == 0 || control)
                        memset(s + i, '?', l ?: 1);
                i += l ?: 1;
        }
}

/* Levenshtein's distance in which swapping two neighbours counts as one, by the usual table of which
 * the last three rows are kept. */
static unsigned distance(const char *a, const char *b) {
        unsigned rows[3][WORD_MAX + 1];
        size_t la = strlen(a), lb = strlen(b);

        for (size_t j = 0; j <= lb; j++)
                rows[0][j] = (unsigned) j;
        for (size_t i = 1; i <= la; i++) {
                unsigned *row = rows[i % 3], *above = rows[(i + 2) % 3], *two_above = rows[(i + 1) % 3];

                row[0] = (unsigned) i;
                for (size_t j = 1; j <= lb; j++) {
                        unsigned d = above[j - 1] + (a[i - 1] != b[j - 1]);

                        d = MIN(d, above[j] + 1);
                        d = MIN(d, row[j - 1] + 1);
                        if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                                d = MIN(d, two_above[j - 2] + 1);
                        row[j] = d;
                }
        }
        return rows[la % 3][lb];
}

const char *nearest_word(const char *s, word_at_t word_at, const void *words) {
        const char *word, *best = NULL;
        unsigned best_distance;
        size_t l = strlen(s);

        if (l == 0 || l > WORD_MAX)
                return NULL;
        best_distance = (unsigned) l / 4 + 2; /* one more than is near enough */
        for (size_t i = 0; (word = word_at(words, i)); i++) {
                unsigned d;

                if (strlen(word) > WORD_MAX)
                        continue;
                d = strcasecmp(s, word) == 0 ? 0 : distance(s, word);
                if (d < best_distance && d < l) {
                        best = word;
                        best_distance = d;
                }
        }
        return best;
}

/* A line of a traceback, `  File "/app/hello.py", line 3, in handle`: the path and the number. */
static bool traceback_line(const char *s, const char **ret_path, size_t *ret_length, unsigned long *ret_line) {
        const char *path, *end, *number;
        char *after;

        path = startswith(s + strspn(s, " "), "File \"");
        if (!path)
                return false;
        end = path + strcspn(path, "\"\n");
        number = startswith(end, "\", line ");
        if (!number)
                return false;
        *ret_line = strtoul(number, &after, 10);
        *ret_path = path;
        *ret_length = (size_t) (end - path);
        return after > number;
}

bool traceback_place(const char *trace, const char *bundle, char *buf, size_t size) {
        size_t n = strlen(bundle), length;
        unsigned long line;
        bool found = false;
        const char *path;

        for (const char *s = trace; s; s = strchr(s, '\n')) {
                s += *s == '\n';
                if (!traceback_line(s, &path, &length, &line) || length <= n + 1 ||
                    strncmp(path, bundle, n) != 0 || path[n] != '/' || startswith(path + n + 1, "vendor/"))
                        continue;
                (void) snprintf(buf, size, "%.*s:%lu", (int) (length - n - 1), path + n + 1, line);
                text_make_printable(buf);
                found = true;
        }
        return found;
}
