/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a message to a person needs: text that is safe to print and to send, and the word that was meant. */

#include <stdbool.h>
#include <stddef.h>

/* Length of the UTF-8 character that begins at `p`, of which `n` bytes may be read; 0: not valid
 * (overlong, surrogate, beyond U+10FFFF, cut off). */
size_t utf8_char_length(const char *p, size_t n) __attribute__((pure));
bool utf8_is_valid(const char *p, size_t n) __attribute__((pure));
/* Replaces, in place, control characters and what is not UTF-8 by '?': what remains moves no cursor. */
void text_make_printable(char *s);

/* The i-th word of a table of any kind, counted from 0; NULL behind the last. */
typedef const char *(*word_at_t)(const void *words, size_t i);

/* The word nearest to `s`, or NULL when none is near enough to have been meant. */
const char *nearest_word(const char *s, word_at_t word_at, const void *words);

/* The last place of a Python traceback that is in the bundle, "hello.py:3": where its author looks first. What is in
 * vendor/ is others' code. False: there is none. */
bool traceback_place(const char *trace, const char *bundle, char *buf, size_t size);
