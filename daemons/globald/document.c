/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "document.h"

#include <stdio.h>
#include <strings.h>
#include <time.h>

#include "text.h"

#define DEPTH_MAX 128

void document_time(uint64_t usec, char ret[static 32]) {
        time_t seconds = (time_t) (usec / USEC_PER_SEC);
        struct tm tm;
        size_t n;

        if (!gmtime_r(&seconds, &tm))
                tm = (struct tm) { .tm_year = 70, .tm_mday = 1 };
        n = strftime(ret, 32, "%Y-%m-%dT%H:%M:%S", &tm);
        (void) snprintf(ret + n, 32 - n, ".%03uZ", (unsigned) (usec / USEC_PER_MSEC % 1000));
}

bool content_type_is_json(const char *s) {
        size_t n = strcspn(strempty(s), "; \t");

        return n == 0 || (n == 16 && strncasecmp(s, "application/json", n) == 0) ||
               (n > 5 && strncasecmp(s + n - 5, "+json", 5) == 0);
}

json_object *document_parse(const void *data, size_t size) {
        json_tokener *t;
        json_object *o = NULL;

        if (size == 0 || size > INT32_MAX || !utf8_is_valid(data, size))
                return NULL;
        t = json_tokener_new_ex(DEPTH_MAX);
        if (!t)
                return NULL;
        json_tokener_set_flags(t, JSON_TOKENER_STRICT);
        o = json_tokener_parse_ex(t, data, (int) size);
        if (json_tokener_get_error(t) == json_tokener_continue) /* a number goes on until something ends it */
                o = json_tokener_parse_ex(t, " ", 1);
        else if (json_tokener_get_parse_end(t) < size) {
                const char *rest = (const char *) data + json_tokener_get_parse_end(t);
                size_t left = size - json_tokener_get_parse_end(t);

                while (left > 0 && strchr(" \t\r\n", *rest) && *rest) {
                        rest++;
                        left--;
                }
                if (left > 0) {
                        json_object_put(o);
                        o = NULL;
                }
        }
        json_tokener_free(t);
        return o;
}

json_object *document_base64(const void *data, size_t size) {
        static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        const uint8_t *p = data;
        char *s = malloc((size + 2) / 3 * 4 + 1), *to = s;
        json_object *o;

        if (!s)
                return NULL;
        for (size_t i = 0; i < size; i += 3) {
                size_t n = MIN(size - i, (size_t) 3);
                uint32_t v = (uint32_t) p[i] << 16 | (n > 1 ? (uint32_t) p[i + 1] << 8 : 0) | (n > 2 ? p[i + 2] : 0U);

                *to++ = digits[v >> 18];
                *to++ = digits[v >> 12 & 63];
                *to++ = n > 1 ? digits[v >> 6 & 63] : '=';
                *to++ = n > 2 ? digits[v & 63] : '=';
        }
        o = json_object_new_string_len(s, (int) (to - s));
        free(s);
        return o;
}

static void add_string(json_object *o, const char *key, const char *value) {
        if (!isempty(value))
                json_object_object_add(o, key, json_object_new_string(value));
}

static void add_usec(json_object *o, const char *key, uint64_t value) {
        if (value > 0)
                json_object_object_add(o, key, json_object_new_uint64(value));
}

/* "KEY", or "KEY_base64" where the bytes are no JSON. */
static void add_bytes(json_object *o, const char *key, const char *content_type, const void *data, size_t size) {
        json_object *value = content_type_is_json(content_type) ? document_parse(data, size) : NULL;
        char name[32];

        if (value || (size == 4 && content_type_is_json(content_type) && memcmp(data, "null", 4) == 0)) {
                json_object_object_add(o, key, value);
                return;
        }
        (void) snprintf(name, sizeof(name), "%s_base64", key);
        json_object_object_add(o, name, document_base64(data, size));
}

static void add_payload(json_object *o, const LogEvent *e) {
        json_object *headers = json_object_new_object();

        add_bytes(o, "payload", e->content_type, e->data, e->size);
        add_string(o, "payload_content_type", e->content_type);
        for (const char *const *h = e->headers; h && h[0]; h += 2)
                json_object_object_add(headers, h[0], json_object_new_string(h[1]));
        json_object_object_add(o, "headers", headers);
}

json_object *document_new(const LogEvent *e, DocumentParts parts) {
        json_object *o = json_object_new_object();
        char id[LOG_ID_LENGTH + 1];

        if (!o)
                return NULL;
        log_id_to_string(e->id, id);
        add_string(o, "id", id);
        add_string(o, "execution", isempty(e->execution) ? id : e->execution);
        add_string(o, "app", e->app);
        add_string(o, "function", e->function);
        add_string(o, "status", log_state_to_string(e->state));
        json_object_object_add(o, "attempts", json_object_new_int64(e->attempt));
        add_usec(o, "accepted_usec", e->accepted_usec);
        if (e->state == LOG_ACCEPTED)
                add_usec(o, "next_usec", e->next_usec);
        add_usec(o, "finished_usec", e->finished_usec);
        add_string(o, "source", e->source);
        if (e->error != _SAND_ERROR_INVALID) {
                add_string(o, "error", sand_error_info(e->error)->name);
                add_string(o, "error_class", e->error_class);
                add_string(o, "message", e->message);
                add_string(o, "cause", e->cause);
        }
        if (parts & DOCUMENT_RESULT && e->state == LOG_DONE && e->result) {
                add_string(o, "content_type", e->result_type);
                add_bytes(o, "result", e->result_type, e->result, e->result_size);
        }
        if (parts & DOCUMENT_PAYLOAD)
                add_payload(o, e);
        return o;
}
