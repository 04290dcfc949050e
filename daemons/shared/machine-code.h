/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What kind of machine a file's code is for, by the first bytes of its ELF header (elf(5)). */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MACHINE_CODE_HEAD 20U /* bytes of a file that say it */

typedef struct MachineCode {
        uint16_t machine;    /* EM_* */
        uint8_t class, data; /* 32 or 64 bits, and their order: ELFCLASS*, ELFDATA* */
} MachineCode;

/* Whether the file that begins with these bytes is a program or a shared object; object files, core dumps and all
 * that is no ELF are not. */
bool machine_code_read(const void *head, size_t size, MachineCode *ret);
/* This program's own. */
MachineCode machine_code_native(void);
bool machine_code_equal(MachineCode a, MachineCode b) __attribute__((const));
/* As uname -m calls it, "aarch64"; what has no name here by its numbers. */
const char *machine_code_to_string(MachineCode c, char buffer[static 64]);
