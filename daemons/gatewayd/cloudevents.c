/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cloudevents.h"

#include <ctype.h>
#include <gnutls/crypto.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#include "json-write.h"

#define DEPTH_MAX 128
#define ATTRIBUTE_NAME_MAX 64U

static int _printf_(2, 3) complain(CloudEvent *e, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(e->problem, sizeof(e->problem), format, ap);
        va_end(ap);
        return -EBADMSG;
}

void cloud_event_done(CloudEvent *e) {
        free(e->id);
        free(e->source);
        free(e->type);
        *e = (CloudEvent) {};
}

/* ---- types ---- */

static size_t type_length(const char *content_type) {
        return strcspn(content_type, "; \t");
}

static bool type_is(const char *content_type, const char *type) {
        return type_length(content_type) == strlen(type) && strncasecmp(content_type, type, strlen(type)) == 0;
}

CloudEventMode cloud_event_mode(const char *content_type, bool in_header) {
        static const char family[] = "application/cloudevents";

        if (content_type && type_is(content_type, CLOUD_EVENT_CONTENT_TYPE))
                return CLOUD_EVENT_STRUCTURED;
        if (content_type && strncasecmp(content_type, family, strlen(family)) == 0)
                return CLOUD_EVENT_UNSUPPORTED;
        return in_header ? CLOUD_EVENT_BINARY : CLOUD_EVENT_NONE;
}

/* ".../json", "...+json" */
static bool type_is_json(const char *content_type) {
        static const char word[] = "json";
        size_t n = type_length(content_type), l = strlen(word);

        return n > l && strncasecmp(content_type + n - l, word, l) == 0 &&
                (content_type[n - l - 1] == '/' || content_type[n - l - 1] == '+');
}

/* ---- JSON ---- */

/* 0 and *ret, which may be NULL, for `null`; -EBADMSG; -ENOMEM. */
static int parse_json(const char *data, size_t size, json_object **ret) {
        struct json_tokener *tokener = json_tokener_new_ex(DEPTH_MAX);
        enum json_tokener_error error;
        json_object *o;
        bool all;

        if (!tokener)
                return -ENOMEM;
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
        o = json_tokener_parse_ex(tokener, data, (int) size);
        error = json_tokener_get_error(tokener);
        all = error == json_tokener_continue || json_tokener_get_parse_end(tokener) == size;
        if (error == json_tokener_continue) { /* the text's end is a number's */
                o = json_tokener_parse_ex(tokener, "", 1);
                error = json_tokener_get_error(tokener);
        }
        json_tokener_free(tokener);
        if (error != json_tokener_success || !all) {
                (void) json_object_put(o);
                return -EBADMSG;
        }
        *ret = o;
        return 0;
}

/* ---- structured mode ---- */

static int take_string(CloudEvent *e, json_object *o, const char *name, char **ret) {
        json_object *value;
        const char *s;

        if (!json_object_object_get_ex(o, name, &value) || !json_object_is_type(value, json_type_string))
                return complain(e, "The CloudEvent has no \"%s\", or it is no string.", name);
        s = json_object_get_string(value);
        if (!*s || strlen(s) != (size_t) json_object_get_string_len(value))
                return complain(e, "The CloudEvent's \"%s\" is empty, or holds a NUL.", name);
        if (ret)
                *ret = strdup(s);
        return !ret || *ret ? 0 : -ENOMEM;
}

static int take_attributes(CloudEvent *e, json_object *o) {
        json_object *version;
        int r;

        if (!json_object_is_type(o, json_type_object))
                return complain(e, "A CloudEvent is a JSON object.");
        r = take_string(e, o, "specversion", NULL);
        if (r < 0)
                return r;
        (void) json_object_object_get_ex(o, "specversion", &version);
        if (!streq(json_object_get_string(version), "1.0"))
                return complain(e, "The CloudEvent's \"specversion\" is not \"1.0\", the one that is understood.");
        if (json_object_object_get_ex(o, "data", NULL) && json_object_object_get_ex(o, "data_base64", NULL))
                return complain(e, "The CloudEvent has both \"data\" and \"data_base64\".");
        r = take_string(e, o, "id", &e->id);
        if (r >= 0)
                r = take_string(e, o, "source", &e->source);
        if (r >= 0)
                r = take_string(e, o, "type", &e->type);
        return r;
}

int cloud_event_from_json(CloudEvent *e, const void *data, size_t size) {
        json_object *o;
        int r;

        cloud_event_done(e);
        r = parse_json(data, size, &o);
        if (r == -EBADMSG)
                return complain(e, "The body is not JSON, as " CLOUD_EVENT_CONTENT_TYPE " is.");
        if (r < 0)
                return r;
        r = take_attributes(e, o);
        (void) json_object_put(o);
        return r;
}

/* ---- binary mode ---- */

static int hex_digit(char c) {
        return isdigit((unsigned char) c) ? c - '0' : isxdigit((unsigned char) c) ? tolower((unsigned char) c) - 'a' + 10 : -1;
}

/* A quoted string's quotes and escapes go, then percent-encoding, once. In place; what is no encoding stays. */
static void decode_value(char *s) {
        size_t n = strlen(s);
        char *to = s;

        if (n >= 2 && s[0] == '"' && s[n - 1] == '"') {
                s[n - 1] = 0;
                for (char *p = s + 1; *p; p++) {
                        if (*p == '\\' && p[1])
                                p++;
                        *to++ = *p;
                }
                *to = 0;
                to = s;
        }
        for (; *s; s++)
                if (*s == '%' && hex_digit(s[1]) >= 0 && hex_digit(s[2]) >= 0 && (s[1] != '0' || s[2] != '0')) {
                        *to++ = (char) (hex_digit(s[1]) << 4 | hex_digit(s[2]));
                        s += 2;
                } else
                        *to++ = *s;
        *to = 0;
}

static int check_name(CloudEvent *e, const CloudEventHeader *l, size_t n, char ret[static ATTRIBUTE_NAME_MAX + 1]) {
        size_t size = strlen(l[n].name);

        if (size > ATTRIBUTE_NAME_MAX || size == 0)
                return complain(e, "The name of a CloudEvent's attribute is 1 to %u bytes.", ATTRIBUTE_NAME_MAX);
        for (size_t i = 0; i <= size; i++)
                ret[i] = (char) tolower((unsigned char) l[n].name[i]);
        if (ret[strspn(ret, "abcdefghijklmnopqrstuvwxyz0123456789")])
                return complain(e, "\"%s\" is no name of a CloudEvent's attribute: lower-case letters and digits.", ret);
        if (streq(ret, "data") || streq(ret, "datacontenttype"))
                return complain(e, "\"%s\" is no header of a CloudEvent: data is the body, its type Content-Type.", ret);
        for (size_t i = 0; i < n; i++)
                if (strcasecmp(l[i].name, ret) == 0)
                        return complain(e, "The CloudEvent's attribute \"%s\" is there twice.", ret);
        return 0;
}

static int put_attribute(CloudEvent *e, Buffer *b, const char *name, const char *value) {
        buffer_puts(b, b->data[b->size - 1] == '{' ? "\"" : ",\"");
        buffer_puts(b, name);
        buffer_puts(b, "\":\"");
        if (json_put_utf8(b, value, strlen(value)) < 0)
                return complain(e, "The CloudEvent's attribute \"%s\" is not UTF-8.", name);
        buffer_putc(b, '"');
        return 0;
}

static int take_header(CloudEvent *e, const CloudEventHeader *l, size_t i, Buffer *b) {
        _cleanup_(freep) char *value = strdup(l[i].value);
        char name[ATTRIBUTE_NAME_MAX + 1];
        char **kept;
        int r;

        if (!value)
                return -ENOMEM;
        r = check_name(e, l, i, name);
        if (r < 0)
                return r;
        decode_value(value);
        r = put_attribute(e, b, name, value);
        if (r < 0)
                return r;
        if (streq(name, "specversion") && !streq(value, "1.0"))
                return complain(e, "The CloudEvent's \"specversion\" is not \"1.0\", the one that is understood.");
        kept = streq(name, "id") ? &e->id : streq(name, "source") ? &e->source : streq(name, "type") ? &e->type : NULL;
        if (kept)
                *kept = TAKE_PTR(value);
        return 0;
}

static int check_required(CloudEvent *e) {
        const struct {
                const char *name, *value;
        } required[] = { { "id", e->id }, { "source", e->source }, { "type", e->type } };

        for (size_t i = 0; i < ELEMENTSOF(required); i++)
                if (isempty(required[i].value))
                        return complain(e, "The CloudEvent has no header " CLOUD_EVENT_HEADER_PREFIX "%s, or it is empty.",
                                        required[i].name);
        return 0;
}

static int put_data(CloudEvent *e, Buffer *b, const char *content_type, const void *data, size_t size) {
        const gnutls_datum_t bytes = { .data = (void *) data, .size = (unsigned) size };
        gnutls_datum_t text;
        json_object *o;
        int r;

        if (size == 0)
                return 0;
        if (content_type && type_is_json(content_type)) {
                r = parse_json(data, size, &o);
                if (r == -EBADMSG)
                        return complain(e, "The body is not JSON, as its Content-Type says that it is.");
                if (r < 0)
                        return r;
                (void) json_object_put(o);
                buffer_puts(b, ",\"data\":");
                buffer_put(b, data, size);
                return 0;
        }
        if (gnutls_base64_encode2(&bytes, &text) < 0)
                return -ENOMEM;
        buffer_puts(b, ",\"data_base64\":\"");
        buffer_put(b, text.data, text.size);
        buffer_putc(b, '"');
        gnutls_free(text.data);
        return 0;
}

int cloud_event_from_header(CloudEvent *e, const CloudEventHeader *l, size_t n, const char *content_type, const void *data,
                            size_t size, Buffer *b) {
        int r = 0;

        cloud_event_done(e);
        if (n > CLOUD_EVENT_ATTRIBUTES_MAX)
                return complain(e, "The CloudEvent has more than %u attributes.", CLOUD_EVENT_ATTRIBUTES_MAX);
        buffer_putc(b, '{');
        for (size_t i = 0; r >= 0 && b->error == 0 && i < n; i++)
                r = take_header(e, l, i, b);
        if (r >= 0)
                r = check_required(e);
        if (r >= 0 && b->error == 0 && content_type)
                r = put_attribute(e, b, "datacontenttype", content_type);
        if (r >= 0)
                r = put_data(e, b, content_type, data, size);
        if (r < 0)
                return r;
        buffer_putc(b, '}');
        return b->error;
}

/* ---- */

int cloud_event_key(const CloudEvent *e, char ret[static CLOUD_EVENT_KEY_SIZE]) {
        uint8_t digest[32];
        gnutls_hash_hd_t hash;
        char *to;

        if (gnutls_hash_init(&hash, GNUTLS_DIG_SHA256) < 0)
                return -ENOMEM;
        (void) gnutls_hash(hash, e->source, strlen(e->source) + 1); /* with its NUL: where the one ends and the other begins */
        (void) gnutls_hash(hash, e->id, strlen(e->id));
        gnutls_hash_deinit(hash, digest);
        to = stpcpy(ret, "ce:");
        for (size_t i = 0; i < sizeof(digest); i++)
                to += snprintf(to, 3, "%02x", digest[i]);
        return 0;
}
