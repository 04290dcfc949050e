/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* JSON as people write it into a bundle: RFC 8259 and `//` comments, nothing else, and the way back from
 * a value to the line that it stands on. json-c makes the tree; it takes more than JSON even in its
 * strict mode, and keeps the last of two equal keys, so a scanner goes over the text before it. */

#include <json-c/json.h>

#include "manifest.h"

#define JSON_TEXT_SIZE_MAX (1024U * 1024U)
#define JSON_TEXT_DEPTH_MAX 32U
#define JSON_TEXT_VALUES_MAX 65536U

typedef struct JsonText JsonText;

/* 0 and *ret; -EBADMSG with a problem: syntax (line and column), size, depth, equal keys (all of
 * them). `file` names the text in problems. */
int json_text_parse(const char *file, const char *text, size_t size, Problems *problems, JsonText **ret);
JsonText *json_text_free(JsonText *t);
DEFINE_POINTER_CLEANUP(JsonText *, json_text_free);

/* The document; owned by the text. NULL is a document that is `null`. */
json_object *json_text_root(const JsonText *t);
/* The line, from 1, of the value at an RFC 6901 pointer, of its key if it has one. What is not there
 * has the line of the nearest that is. */
unsigned json_text_line(const JsonText *t, const char *pointer);
bool json_text_has(const JsonText *t, const char *pointer);
