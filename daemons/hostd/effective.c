/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "effective.h"

#include <assert.h>
#include <stdio.h>

/* What manifest.c takes where nothing is said; test-layers compares the two. */
static const char defaults_of_app[] =
        "{\"network\":\"none\",\"idle\":\"5min\",\"receipts\":\"sample\","
        "\"retry\":{\"attempts\":3,\"delay\":\"1s\",\"backoff\":2,\"delay_max\":\"5min\",\"age_max\":\"6h\",\"timeouts\":true}}";
static const char defaults_of_function[] =
        "{\"timeout\":\"30s\",\"payload_max\":\"16M\",\"instances\":{\"warm\":0,\"max\":16,\"events\":1},"
        "\"queue\":{\"max\":1000,\"bytes\":\"64M\"},\"memory\":\"128M\",\"resources\":{\"TasksMax\":64}}";

static void json_object_putp(json_object **o) {
        (void) json_object_put(*o);
}

/* Where we are in the document. */
typedef struct Walk {
        const Layers *layers;
        json_object *provenance;
        char *pointer;
        size_t length, allocated;
} Walk;

static void walk_done(Walk *w) {
        (void) json_object_put(w->provenance);
        free(w->pointer);
}

/* Appends "/KEY"; the caller sets `length` back. */
static int enter(Walk *w, const char *key) {
        size_t need = w->length + 2 * strlen(key) + 2;

        if (need > w->allocated) {
                char *grown = realloc(w->pointer, need * 2);
                if (!grown)
                        return -ENOMEM;
                w->pointer = grown;
                w->allocated = need * 2;
        }
        w->pointer[w->length++] = '/';
        for (const char *p = key; *p; p++)
                if (*p == '~' || *p == '/') {
                        w->pointer[w->length++] = '~';
                        w->pointer[w->length++] = *p == '~' ? '0' : '1';
                } else
                        w->pointer[w->length++] = *p;
        w->pointer[w->length] = '\0';
        return 0;
}

static int note(Walk *w, const char *file) {
        json_object *s = json_object_new_string(file);

        if (s && json_object_object_add(w->provenance, w->pointer, s) >= 0)
                return 0;
        (void) json_object_put(s);
        return -ENOMEM;
}

static int note_values(Walk *w, json_object *object) {
        int r = 0;

        json_object_object_foreach(object, key, value) {
                size_t length = w->length;

                r = enter(w, key);
                if (r >= 0)
                        r = json_object_is_type(value, json_type_object) ? note_values(w, value)
                                                                         : note(w, layers_source(w->layers, w->pointer)->file);
                w->length = length;
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Adds what is not there of `defaults`, whose values it takes. */
static int add_defaults(Walk *w, json_object *object, json_object *defaults) {
        int r = 0;

        json_object_object_foreach(defaults, key, value) {
                size_t length = w->length;
                json_object *member = NULL;

                r = enter(w, key);
                if (r >= 0 && json_object_is_type(value, json_type_object)) {
                        if (!json_object_object_get_ex(object, key, &member)) {
                                member = json_object_new_object();
                                if (json_object_object_add(object, key, member) < 0)
                                        return -ENOMEM;
                        }
                        r = add_defaults(w, member, value);
                } else if (r >= 0 && !json_object_object_get_ex(object, key, NULL)) {
                        if (json_object_object_add(object, key, json_object_get(value)) < 0)
                                return -ENOMEM;
                        r = note(w, EFFECTIVE_DEFAULT);
                }
                w->length = length;
                if (r < 0)
                        return r;
        }
        return 0;
}

static int add_defaults_text(Walk *w, json_object *object, const char *text) {
        json_object *defaults = json_tokener_parse(text);
        int r = defaults ? add_defaults(w, object, defaults) : -ENOMEM;

        (void) json_object_put(defaults);
        return r;
}

static int add_defaults_of_functions(Walk *w, json_object *document) {
        int r = enter(w, "functions");
        size_t length = w->length;

        json_object_object_foreach(json_object_object_get(document, "functions"), name, function) {
                if (r >= 0)
                        r = enter(w, name);
                if (r >= 0)
                        r = add_defaults_text(w, function, defaults_of_function);
                w->length = length;
        }
        w->length = 0;
        return r;
}

int effective_new(const Layers *l, json_object **ret_document, json_object **ret_provenance) {
        _cleanup_(walk_done) Walk w = { .layers = l, .provenance = json_object_new_object() };
        _cleanup_(json_object_putp) json_object *document = NULL;
        int r;

        assert(l);
        assert(ret_document);
        assert(ret_provenance);

        if (!w.provenance || json_object_deep_copy(l->merged, &document, NULL) < 0)
                return -ENOMEM;
        r = note_values(&w, document);
        if (r >= 0)
                r = add_defaults_text(&w, document, defaults_of_app);
        if (r >= 0)
                r = add_defaults_of_functions(&w, document);
        if (r < 0)
                return r;
        *ret_document = TAKE_PTR(document);
        *ret_provenance = TAKE_PTR(w.provenance);
        return 0;
}
