/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Any file's beginning is code of some machine, which has a name, or is none. */

#include <stdint.h>
#include <stdlib.h>

#include "machine-code.h"
#include "macro.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(freep) uint8_t *copy = malloc(size ?: 1); /* of exactly this size: what reads beyond is found */
        char buffer[64];
        MachineCode c;

        if (!copy)
                return 0;
        memcpy(copy, data, size);
        if (machine_code_read(copy, size, &c) && (size < MACHINE_CODE_HEAD || !*machine_code_to_string(c, buffer)))
                abort();
        return 0;
}
