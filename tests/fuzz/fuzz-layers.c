/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Whatever overrides whatever: what holds is a manifest or refused with a problem; with its defaults written out it is the
 * same; and each value of it is in the text that it is said to be from. Texts are parted by a byte that no JSON has. */

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "../../daemons/hostd/effective.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_provenance(const Layers *l, json_object *document, json_object *provenance) {
        json_object_object_foreach(provenance, pointer, file) {
                const char *name = json_object_get_string(file);
                const Layer *source = layers_source(l, pointer);

                if (json_pointer_get(document, pointer, NULL) < 0)
                        abort();
                if (strcmp(name, EFFECTIVE_DEFAULT) != 0 && (strcmp(name, source->file) != 0 || !json_text_has(source->text, pointer)))
                        abort();
        }
}

static void check_effective(const Layers *l, const Manifest *m) {
        json_object *document, *provenance;
        Problems problems = {};
        Manifest *again = NULL;
        const char *text;

        if (effective_new(l, &document, &provenance) < 0)
                abort();
        check_provenance(l, document, provenance);
        text = json_object_to_json_string(document);
        if (manifest_parse("effective", text, strlen(text), &problems, &again) < 0 || again->n_functions != m->n_functions)
                abort();
        for (size_t i = 0; i < m->n_functions; i++)
                if (again->functions[i].timeout_usec != m->functions[i].timeout_usec ||
                    again->functions[i].memory != m->functions[i].memory || again->functions[i].max != m->functions[i].max)
                        abort();
        manifest_free(again);
        problems_done(&problems);
        json_object_put(document);
        json_object_put(provenance);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const char *const files[] = { "sand.json", "one", "two", "three" };
        _cleanup_(manifest_freep) Manifest *m = NULL;
        _cleanup_(layers_done) Layers l = {};
        Problems problems = {};
        int r = 0;

        for (size_t i = 0; r >= 0 && i < sizeof(files) / sizeof(files[0]); i++) {
                const uint8_t *end = size > 0 ? memchr(data, 0xFF, size) : NULL;
                size_t n = end ? (size_t) (end - data) : size;

                r = layers_add(&l, files[i], (const char *) data, n, &problems);
                if (!end)
                        break;
                data += n + 1;
                size -= n + 1;
        }
        if (r >= 0)
                r = manifest_from_layers(&l, -EBADF, &problems, &m);
        if ((r == -EBADMSG) != (problems.n > 0) || (r >= 0) != !!m)
                abort();
        if (m)
                check_effective(&l, m);
        problems_done(&problems);
        return 0;
}
