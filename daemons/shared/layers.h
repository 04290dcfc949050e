/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A JSON document and what changes it: each further text is a merge patch (RFC 7396) of what the ones before it
 * make. Of every value of the result it is known which text it came from. */

#include "json-text.h"

typedef struct Layer {
        char *file; /* names it in problems */
        JsonText *text;
} Layer;

struct Layers { /* Layers: manifest.h */
        Layer *items;
        size_t n;
        json_object *merged;
};

/* The first is the document, those after it must be objects. -EBADMSG with problems, as json_text_parse(). */
int layers_add(Layers *l, const char *file, const char *text, size_t size, Problems *problems);
void layers_done(Layers *l);

/* The text that the value at an RFC 6901 pointer into the result came from; of an object, the last one that has touched
 * it; of what is not there, that of the nearest value above it. */
const Layer *layers_source(const Layers *l, const char *pointer);
