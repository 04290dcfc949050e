/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* CloudEvents 1.0 as HTTP carries them: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
 * In binary mode the attributes are header fields that begin with "ce-" and the data is the body; it is made into the other
 * form, structured mode, where all of it is one JSON object, .../formats/json-format.md. */

#include "buffer.h"

#define CLOUD_EVENT_CONTENT_TYPE "application/cloudevents+json"
#define CLOUD_EVENT_HEADER_PREFIX "ce-"
#define CLOUD_EVENT_ATTRIBUTES_MAX 64U
#define CLOUD_EVENT_KEY_SIZE (3U + 64U + 1U)

typedef struct CloudEvent {
        char *id, *source, *type;
        char problem[192]; /* what is wrong with it, a sentence */
} CloudEvent;

typedef struct CloudEventHeader {
        const char *name, *value; /* the name without its prefix */
} CloudEventHeader;

typedef enum CloudEventMode {
        CLOUD_EVENT_NONE,
        CLOUD_EVENT_BINARY,
        CLOUD_EVENT_STRUCTURED,
        CLOUD_EVENT_UNSUPPORTED, /* several in one body, or a format other than JSON */
} CloudEventMode;

/* `in_header`: there is a field ce-specversion. */
CloudEventMode cloud_event_mode(const char *content_type, bool in_header);

/* Both: 0; -EBADMSG with `problem`; -ENOMEM. The first appends the event in structured mode. */
int cloud_event_from_header(CloudEvent *e, const CloudEventHeader *l, size_t n, const char *content_type, const void *data,
                            size_t size, Buffer *b);
int cloud_event_from_json(CloudEvent *e, const void *data, size_t size);
void cloud_event_done(CloudEvent *e);

/* What makes it the same event when it is delivered again: its source and id. */
int cloud_event_key(const CloudEvent *e, char ret[static CLOUD_EVENT_KEY_SIZE]);
