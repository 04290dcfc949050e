/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "layers.h"

#include <assert.h>

static int add_copy(json_object *target, const char *key, json_object *value) {
        json_object *copy = NULL;

        if (json_object_deep_copy(value, &copy, NULL) < 0)
                return -ENOMEM;
        if (json_object_object_add(target, key, copy) < 0) {
                (void) json_object_put(copy);
                return -ENOMEM;
        }
        return 0;
}

/* MergePatch() of RFC 7396 for two objects. */
static int merge(json_object *target, json_object *patch) {
        int r = 0;

        json_object_object_foreach(patch, key, value) {
                json_object *member = NULL;

                if (!value)
                        json_object_object_del(target, key);
                else if (!json_object_is_type(value, json_type_object))
                        r = add_copy(target, key, value);
                else {
                        if (!json_object_object_get_ex(target, key, &member) || !json_object_is_type(member, json_type_object)) {
                                member = json_object_new_object();
                                if (!member || json_object_object_add(target, key, member) < 0) {
                                        (void) json_object_put(member);
                                        return -ENOMEM;
                                }
                        }
                        r = merge(member, value);
                }
                if (r < 0)
                        return r;
        }
        return 0;
}

/* The texts keep their own trees: what is merged is a copy. */
static int merge_layer(Layers *l, json_object *patch) {
        json_object *copy = NULL;

        if (l->n == 0) {
                l->merged = json_object_get(patch);
                return 0;
        }
        if (l->n == 1) {
                if (json_object_deep_copy(l->merged, &copy, NULL) < 0)
                        return -ENOMEM;
                (void) json_object_put(l->merged);
                l->merged = copy;
        }
        return merge(l->merged, patch);
}

int layers_add(Layers *l, const char *file, const char *text, size_t size, Problems *problems) {
        _cleanup_(json_text_freep) JsonText *t = NULL;
        _cleanup_(freep) char *name = strdup(file);
        Layer *grown;
        int r;

        assert(l);

        r = json_text_parse(file, text, size, problems, &t);
        if (r < 0)
                return r;
        if (l->n > 0 && !json_object_is_type(json_text_root(t), json_type_object)) {
                r = problems_add(problems, file, "", 1, "found no object, expected the keys that are to be changed");
                return r < 0 ? r : -EBADMSG;
        }
        grown = reallocarray(l->items, l->n + 1, sizeof(Layer));
        if (!name || !grown) {
                l->items = grown ?: l->items;
                return -ENOMEM;
        }
        l->items = grown;
        if (l->n == 0 || json_object_is_type(l->merged, json_type_object)) {
                r = merge_layer(l, json_text_root(t));
                if (r < 0)
                        return r;
        }
        l->items[l->n++] = (Layer) { .file = TAKE_PTR(name), .text = TAKE_PTR(t) };
        return 0;
}

void layers_done(Layers *l) {
        for (size_t i = 0; i < l->n; i++) {
                free(l->items[i].file);
                json_text_free(l->items[i].text);
        }
        free(l->items);
        (void) json_object_put(l->merged);
        *l = (Layers) {};
}

/* A value of the result is in the last text that has one at its place: had a later one taken it away, it would not be in
 * the result, and had it put an object or another value above it, that would hold the place. */
const Layer *layers_source(const Layers *l, const char *pointer) {
        _cleanup_(freep) char *above = NULL;
        char *slash;

        assert(l->n > 0);

        for (size_t i = l->n; i-- > 0;)
                if (json_text_has(l->items[i].text, pointer))
                        return l->items + i;
        above = strdup(pointer);
        slash = above ? strrchr(above, '/') : NULL;
        if (!slash)
                return l->items;
        *slash = '\0';
        return layers_source(l, above);
}
