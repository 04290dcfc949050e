/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "manifest-reader.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "text.h"

static int place_write(const Place *at, FILE *f) {
        int r;

        if (!at->parent)
                return 0;
        r = place_write(at->parent, f);
        if (r < 0)
                return r;
        if (!at->key)
                return fprintf(f, "/%zu", at->index);
        if (fputc('/', f) < 0)
                return -ENOMEM;
        for (const char *p = at->key; *p; p++)
                if (*p == '~' || *p == '/')
                        r = fputs(*p == '~' ? "~0" : "~1", f);
                else
                        r = fputc(*p, f);
        return r;
}

/* RFC 6901 */
static char *place_to_pointer(const Place *at) {
        char *text = NULL;
        size_t size;
        FILE *f;

        f = open_memstream(&text, &size);
        if (!f)
                return NULL;
        (void) place_write(at, f);
        if (fclose(f) != 0) {
                free(text);
                return NULL;
        }
        return text;
}

void reader_source(Reader *rd, const Place *at, char **ret_file, unsigned *ret_line) {
        _cleanup_(freep) char *pointer = place_to_pointer(at);
        const Layer *source = pointer ? layers_source(rd->layers, pointer) : NULL;

        if (!source || free_and_strdup(ret_file, source->file) < 0)
                rd->error = -ENOMEM;
        else
                *ret_line = json_text_line(source->text, pointer);
}

void reader_complain(Reader *rd, const Place *at, const char *format, ...) {
        _cleanup_(freep) char *pointer = NULL, *message = NULL;
        const Layer *source;
        va_list ap;
        int r;

        rd->bad = true;
        va_start(ap, format);
        r = vasprintf(&message, format, ap);
        va_end(ap);
        if (r < 0) {
                message = NULL;
                rd->error = -ENOMEM;
                return;
        }
        pointer = place_to_pointer(at);
        source = pointer ? layers_source(rd->layers, pointer) : NULL;
        if (!source || problems_add(rd->problems, source->file, pointer, json_text_line(source->text, pointer), "%s",
                                    message) < 0)
                rd->error = -ENOMEM;
}

/* The first characters of a string, in quotes. */
static void describe_string(json_object *value, char *buffer, size_t size) {
        const char *s = json_object_get_string(value);
        size_t n = strlen(s), shown = 0, max = size - sizeof("\"...\"");

        for (size_t l; shown < n; shown += l) {
                l = utf8_char_length(s + shown, n - shown) ?: 1;
                if (shown + l > max)
                        break;
        }
        (void) snprintf(buffer, size, "\"%.*s%s\"", (int) shown, s, shown < n ? "..." : "");
}

const char *describe_value(json_object *value, char buffer[static 128]) {
        switch (json_object_get_type(value)) {
        case json_type_null:
                return "null";
        case json_type_boolean:
                return json_object_get_boolean(value) ? "true" : "false";
        case json_type_object:
                return "an object";
        case json_type_array:
                return "an array";
        case json_type_string:
                describe_string(value, buffer, 80);
                return buffer;
        default:
                (void) snprintf(buffer, 128, "the number %.80s", json_object_to_json_string(value));
                return buffer;
        }
}

void reader_mismatch(Reader *rd, const Place *at, json_object *value, const char *expected) {
        char buffer[128];

        reader_complain(rd, at, "found %s, expected %s", describe_value(value, buffer), expected);
}

static const char *key_name_at(const void *words, size_t i) {
        return ((const Key *) words)[i].name;
}

static const Key *find_key(const Key *keys, const char *name) {
        for (; keys->name; keys++)
                if (streq(keys->name, name))
                        return keys;
        return NULL;
}

static void complain_unknown_key(Reader *rd, const Place *at, const Key *keys) {
        const char *meant = nearest_word(at->key, key_name_at, keys);

        if (meant)
                reader_complain(rd, at, "found an unknown key, expected perhaps \"%s\"", meant);
        else
                reader_complain(rd, at, "found an unknown key");
}

static void require_keys(Reader *rd, const Place *at, json_object *value, const Key *keys) {
        for (; keys->name; keys++)
                if (keys->required && !json_object_object_get_ex(value, keys->name, NULL))
                        reader_complain(rd, at, "the key \"%s\" is missing, expected %s", keys->name, keys->expected);
}

void read_object(Reader *rd, const Place *at, json_object *value, const Key *keys, void *target) {
        if (!json_object_is_type(value, json_type_object)) {
                reader_mismatch(rd, at, value, "an object");
                return;
        }
        require_keys(rd, at, value, keys);
        json_object_object_foreach(value, name, member) {
                Place place = { .parent = at, .key = name };
                const Key *key = find_key(keys, name);

                if (key)
                        key->read(rd, &place, member, key, target);
                else
                        complain_unknown_key(rd, &place, keys);
        }
}

const char *reader_string(Reader *rd, const Place *at, json_object *value, size_t max, const char *expected) {
        const char *s;

        if (!json_object_is_type(value, json_type_string)) {
                reader_mismatch(rd, at, value, expected);
                return NULL;
        }
        s = json_object_get_string(value);
        if (!*s) {
                reader_mismatch(rd, at, value, expected);
                return NULL;
        }
        if (strlen(s) > max) {
                reader_complain(rd, at, "found a string of %zu bytes, expected at most %zu", strlen(s), max);
                return NULL;
        }
        return s;
}

bool json_get_integer(json_object *value, uint64_t *ret) {
        if (json_object_is_type(value, json_type_int)) {
                if (json_object_get_int64(value) < 0)
                        return false;
                *ret = json_object_get_uint64(value);
                return true;
        }
        if (json_object_is_type(value, json_type_double)) {
                double d = json_object_get_double(value);
                if (!(d >= 0 && d <= 9007199254740992.0 && d == (double) (uint64_t) d))
                        return false;
                *ret = (uint64_t) d;
                return true;
        }
        return false;
}

void read_unsigned(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        uint64_t n;

        assert(key->max <= UINT32_MAX);
        if (!json_get_integer(value, &n) || n < key->min || n > key->max) {
                reader_mismatch(rd, at, value, key->expected);
                return;
        }
        *(unsigned *) ((char *) target + key->offset) = (unsigned) n;
}

static void read_quantity(Reader *rd, const Place *at, json_object *value, const Key *key, void *target,
                          int (*parse)(const char *s, uint64_t *ret)) {
        uint64_t n;

        if (!json_object_is_type(value, json_type_string) ||
            parse(json_object_get_string(value), &n) < 0 || n < key->min || n > key->max) {
                reader_mismatch(rd, at, value, key->expected);
                return;
        }
        *(uint64_t *) ((char *) target + key->offset) = n;
}

void read_size(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        read_quantity(rd, at, value, key, target, parse_size);
}

void read_span(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        read_quantity(rd, at, value, key, target, parse_time_span);
}

void read_boolean(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        if (!json_object_is_type(value, json_type_boolean))
                reader_mismatch(rd, at, value, key->expected);
        else
                *(bool *) ((char *) target + key->offset) = json_object_get_boolean(value);
}

void read_members(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        read_object(rd, at, value, key->keys, target);
}

void read_unserved(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        reader_complain(rd, at, "found \"%s\", which is not served by this version of SAND, expected no such key",
                        key->name);
}

void read_nothing(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
}
