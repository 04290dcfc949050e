/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "machine-code.h"

#include <elf.h>
#include <link.h>
#include <stdio.h>

#include "macro.h"

_Static_assert(offsetof(Elf64_Ehdr, e_machine) + sizeof(Elf64_Half) == MACHINE_CODE_HEAD &&
               offsetof(Elf32_Ehdr, e_machine) + sizeof(Elf32_Half) == MACHINE_CODE_HEAD,
               "up to e_machine both classes are alike");

/* The header of the program that we are part of; the linker's. */
extern const ElfW(Ehdr) __ehdr_start __attribute__((visibility("hidden")));

static uint16_t half(const uint8_t *p, uint8_t data) {
        return data == ELFDATA2MSB ? (uint16_t) (p[0] << 8 | p[1]) : (uint16_t) (p[0] | p[1] << 8);
}

bool machine_code_read(const void *head, size_t size, MachineCode *ret) {
        const uint8_t *p = head;
        MachineCode c;
        uint16_t type;

        if (size < MACHINE_CODE_HEAD || memcmp(p, ELFMAG, SELFMAG) != 0)
                return false;
        c = (MachineCode) { .class = p[EI_CLASS], .data = p[EI_DATA] };
        type = half(p + offsetof(Elf64_Ehdr, e_type), c.data);
        if (type != ET_EXEC && type != ET_DYN)
                return false;
        c.machine = half(p + offsetof(Elf64_Ehdr, e_machine), c.data);
        *ret = c;
        return true;
}

MachineCode machine_code_native(void) {
        return (MachineCode) {
                .machine = __ehdr_start.e_machine,
                .class = __ehdr_start.e_ident[EI_CLASS],
                .data = __ehdr_start.e_ident[EI_DATA],
        };
}

bool machine_code_equal(MachineCode a, MachineCode b) {
        return a.machine == b.machine && a.class == b.class && a.data == b.data;
}

const char *machine_code_to_string(MachineCode c, char buffer[static 64]) {
        static const struct {
                MachineCode code;
                const char *name;
        } names[] = {
                { { EM_386, ELFCLASS32, ELFDATA2LSB }, "i386" },
                { { EM_X86_64, ELFCLASS64, ELFDATA2LSB }, "x86_64" },
                { { EM_X86_64, ELFCLASS32, ELFDATA2LSB }, "x86_64 (x32)" },
                { { EM_ARM, ELFCLASS32, ELFDATA2LSB }, "arm" },
                { { EM_AARCH64, ELFCLASS64, ELFDATA2LSB }, "aarch64" },
                { { EM_RISCV, ELFCLASS64, ELFDATA2LSB }, "riscv64" },
                { { EM_PPC64, ELFCLASS64, ELFDATA2LSB }, "ppc64le" },
                { { EM_PPC64, ELFCLASS64, ELFDATA2MSB }, "ppc64" },
                { { EM_S390, ELFCLASS64, ELFDATA2MSB }, "s390x" },
                { { EM_MIPS, ELFCLASS64, ELFDATA2LSB }, "mips64el" },
                { { EM_MIPS, ELFCLASS32, ELFDATA2LSB }, "mipsel" },
                { { EM_LOONGARCH, ELFCLASS64, ELFDATA2LSB }, "loongarch64" },
        };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (machine_code_equal(c, names[i].code))
                        return names[i].name;
        (void) snprintf(buffer, 64, "ELF machine %u, %s bits, %s", c.machine,
                        c.class == ELFCLASS64 ? "64" : c.class == ELFCLASS32 ? "32" : "unknown",
                        c.data == ELFDATA2LSB ? "little-endian" : c.data == ELFDATA2MSB ? "big-endian" : "of no order");
        return buffer;
}
