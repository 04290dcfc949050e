/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "execution.h"

#include <stdio.h>

#include "json-span.h"

typedef enum Kind {
        COPIED,
        TIME, /* microseconds, which are told as RFC 3339 has times */
        APP,
        FUNCTION,
} Kind;

/* In the order in which they are told. */
static const struct {
        const char *from, *to;
        Kind kind;
} fields[] = {
        { "id", "id" },
        { "status", "status" },
        { "app", NULL, APP },
        { "function", "function", FUNCTION },
        { "attempts", "attempts" },
        { "accepted_usec", "accepted", TIME },
        { "finished_usec", "finished", TIME },
        { "content_type", "content_type" },
        { "result", "result" },
        { "result_base64", "result_base64" },
        { "error", "error" },
        { "error_class", "error_class" },
        { "message", "message" },
        { "cause", "cause" },
};

static int put_time(Buffer *b, JsonSpan value) {
        uint64_t usec;
        time_t seconds;
        struct tm tm = {};
        char text[96];

        if (json_span_number(value, &usec) < 0)
                return -EBADMSG;
        seconds = (time_t) (usec / USEC_PER_SEC);
        if (!gmtime_r(&seconds, &tm))
                return -EBADMSG;
        (void) snprintf(text, sizeof(text), "\"%04d-%02d-%02dT%02d:%02d:%02d.%06uZ\"", tm.tm_year + 1900, tm.tm_mon + 1,
                        tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (unsigned) (usec % USEC_PER_SEC));
        buffer_puts(b, text);
        return 0;
}

static int put_field(Buffer *b, size_t i, JsonSpan value, const Target *t) {
        if (!fields[i].to || !value.p)
                return 0;
        buffer_puts(b, b->data[b->size - 1] == '{' ? "\"" : ",\"");
        buffer_puts(b, fields[i].to);
        buffer_puts(b, "\":");
        switch (fields[i].kind) {
        case TIME:
                return put_time(b, value);
        case FUNCTION:
                buffer_putc(b, '"');
                buffer_puts(b, t->app);
                buffer_putc(b, '/');
                buffer_puts(b, t->function);
                buffer_putc(b, '"');
                return 0;
        default:
                buffer_put(b, value.p, value.n);
                return 0;
        }
}

int execution_to_json(const char *document, size_t size, Buffer *b, Target *ret_target) {
        JsonMembers members = JSON_MEMBERS(document, size);
        JsonSpan values[ELEMENTSOF(fields)] = {}, key, value;
        Target t = {};
        int r;

        while ((r = json_members_next(&members, &key, &value)) > 0)
                for (size_t i = 0; i < ELEMENTSOF(fields); i++)
                        if (json_span_equals(key, fields[i].from))
                                values[i] = value;
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(fields); i++)
                if (fields[i].kind == APP)
                        r = json_span_string(values[i], t.app, sizeof(t.app));
                else if (fields[i].kind == FUNCTION)
                        r = json_span_string(values[i], t.function, sizeof(t.function));
        if (r < 0 || !app_name_is_valid(t.app) || !function_name_is_valid(t.function))
                return -EBADMSG;
        (void) buffer_extend(b, size + 256); /* mostly enough at once */
        buffer_putc(b, '{');
        for (size_t i = 0; b->error == 0 && i < ELEMENTSOF(fields); i++) {
                r = put_field(b, i, values[i], &t);
                if (r < 0)
                        return r;
        }
        buffer_puts(b, "}\n");
        *ret_target = t;
        return b->error;
}
