/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Events as JSON documents, as protocol.h says. */

#include <json-c/json.h>

#include "event-log.h"

typedef enum DocumentParts {
        DOCUMENT_RESULT = 1 << 0,
        DOCUMENT_PAYLOAD = 1 << 1,
} DocumentParts;

/* NULL: out of memory. */
json_object *document_new(const LogEvent *e, DocumentParts parts);
/* RFC 3339, in UTC, to the millisecond. */
void document_time(uint64_t usec, char ret[static 32]);
/* NULL: not JSON, or JSON with something behind it. "null" is NULL as well. */
json_object *document_parse(const void *data, size_t size);
json_object *document_base64(const void *data, size_t size);
/* Of nothing, of application/json, and of +json. */
bool content_type_is_json(const char *s);
