/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Any text is a manifest, or refused with at least one problem that says where. */

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(manifest_freep) Manifest *m = NULL;
        _cleanup_(freep) char *report = NULL;
        Problems problems = {};
        int r;

        r = manifest_parse("sand.json", (const char *) data, size, &problems, &m);
        report = problems_to_string(&problems);
        if (!report || (r == -EBADMSG) != (problems.n > 0) || (r >= 0) != !!m)
                abort();
        for (size_t i = 0; m && i < m->n_functions; i++)
                if (manifest_find(m, m->functions[i].name) != &m->functions[i])
                        abort();
        problems_done(&problems);
        return 0;
}
