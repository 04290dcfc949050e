/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* JSON strings written straight into a buffer: an event's body is large, and a tree of it would be a second one. */

#include "buffer.h"

/* The characters of a string, without its quotes. -EILSEQ: not UTF-8, and nothing was put. */
int json_put_utf8(Buffer *b, const char *s, size_t n);
/* The same, in which bytes that are not UTF-8 as a whole are taken for ISO 8859-1, as HTTP's were. */
void json_put(Buffer *b, const char *s, size_t n);
/* With quotes. */
void json_put_string(Buffer *b, const char *s);
/* ,"key":"value" or, behind an opening bracket, without the comma. */
void json_put_member(Buffer *b, const char *key, const char *value);
