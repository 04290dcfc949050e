/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* CloudEvents that strangers send, and documents that are copied member by member. The first byte says which; an event in
 * binary mode is lines, of its content type and attributes, an empty line, and the data. What is made is an event that is
 * read back as the same one. */

#include <assert.h>
#include <json-c/json.h>

#include "../../daemons/gatewayd/cloudevents.h"
#include "../../daemons/gatewayd/execution.h"
#include "../../daemons/gatewayd/json-span.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *next_line(char **rest, char *end) {
        char *line = *rest, *lf = line < end ? memchr(line, '\n', (size_t) (end - line)) : NULL;

        if (!lf)
                return NULL;
        *lf = 0;
        *rest = lf + 1;
        return line;
}

static void check_binary(const char *text, size_t size) {
        _cleanup_(cloud_event_done) CloudEvent e = {}, again = {};
        CloudEventHeader l[CLOUD_EVENT_ATTRIBUTES_MAX + 1];
        char *copy = malloc(size + 1), *rest = copy, *end = copy + size, *type, *line;
        char key[CLOUD_EVENT_KEY_SIZE], key_again[CLOUD_EVENT_KEY_SIZE];
        _cleanup_(buffer_done) Buffer b = {};
        size_t n = 0;
        int r;

        memcpy(copy, text, size);
        *end = 0;
        type = next_line(&rest, end);
        while (n < ELEMENTSOF(l) && (line = next_line(&rest, end)) && *line) {
                char *colon = strchr(line, ':');

                if (colon)
                        *colon++ = 0;
                l[n++] = (CloudEventHeader) { line, colon ?: "" };
        }
        r = cloud_event_from_header(&e, l, n, isempty(type) ? NULL : type, rest, (size_t) (end - rest), &b);
        assert(r == 0 || r == -EBADMSG);
        assert((r < 0) == (*e.problem != 0));
        /* A version is what makes a header one of an event; that of another one was refused. */
        for (size_t i = 0; r == 0 && i < n; i++)
                if (streq(l[i].name, "specversion")) {
                        assert(cloud_event_from_json(&again, b.data, b.size) == 0);
                        assert(cloud_event_key(&e, key) == 0 && cloud_event_key(&again, key_again) == 0);
                        assert(streq(key, key_again) && streq(e.type, again.type));
                }
        free(copy);
}

static void check_document(const char *text, size_t size) {
        JsonMembers members = JSON_MEMBERS(text, size);
        _cleanup_(buffer_done) Buffer b = {};
        JsonSpan key, value;
        Target t;

        while (json_members_next(&members, &key, &value) > 0) {
                assert(key.p > text && key.p + key.n < value.p);
                assert(value.n > 0 && value.p + value.n < text + size);
        }
        if (execution_to_json(text, size, &b, &t) == 0) {
                members = JSON_MEMBERS(b.data, b.size);
                while (json_members_next(&members, &key, &value) > 0)
                        ;
                assert(members.p == members.end);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const char *text = (const char *) data + 1;
        CloudEvent e = {};

        if (size == 0)
                return 0;
        switch (*data) {
        case 'b':
                check_binary(text, size - 1);
                break;
        case 's':
                (void) cloud_event_from_json(&e, text, size - 1);
                cloud_event_done(&e);
                break;
        case 'd':
                check_document(text, size - 1);
                break;
        default:
                break;
        }
        return 0;
}
