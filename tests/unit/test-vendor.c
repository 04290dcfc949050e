/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a bundle brings along and what it needs, against this host: machine code, Python modules, packages. */

#include <elf.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "config.h"
#include "machine-code.h"
#include "vendor.h"

/* ---- the head of a file ---- */

typedef struct Head {
        uint8_t bytes[64];
} Head;

/* `data` is the order of the two numbers. */
static Head head(uint8_t class, uint8_t data, uint16_t type, uint16_t machine) {
        Head h = { .bytes = { 0x7F, 'E', 'L', 'F', class, data, EV_CURRENT } };
        bool big = data == ELFDATA2MSB;

        h.bytes[16 + big] = (uint8_t) type;
        h.bytes[17 - big] = (uint8_t) (type >> 8);
        h.bytes[18 + big] = (uint8_t) machine;
        h.bytes[19 - big] = (uint8_t) (machine >> 8);
        return h;
}

static void check_name(Head h, const char *expected) {
        MachineCode c;
        char buffer[64];

        assert_true(machine_code_read(h.bytes, sizeof(h.bytes), &c));
        assert_string_equal(machine_code_to_string(c, buffer), expected);
}

static void test_names(void **state) {
        check_name(head(ELFCLASS64, ELFDATA2LSB, ET_DYN, EM_AARCH64), "aarch64");
        check_name(head(ELFCLASS64, ELFDATA2LSB, ET_EXEC, EM_X86_64), "x86_64");
        check_name(head(ELFCLASS32, ELFDATA2LSB, ET_EXEC, EM_X86_64), "x86_64 (x32)");
        check_name(head(ELFCLASS32, ELFDATA2LSB, ET_DYN, EM_386), "i386");
        check_name(head(ELFCLASS64, ELFDATA2MSB, ET_DYN, EM_PPC64), "ppc64");
        check_name(head(ELFCLASS64, ELFDATA2LSB, ET_DYN, EM_PPC64), "ppc64le");
        check_name(head(ELFCLASS64, ELFDATA2MSB, ET_DYN, EM_S390), "s390x");
        check_name(head(ELFCLASS64, ELFDATA2LSB, ET_DYN, 0xFEFE), "ELF machine 65278, 64 bits, little-endian");
        check_name(head(9, ELFDATA2MSB, ET_DYN, EM_X86_64), "ELF machine 62, unknown bits, big-endian");
        check_name(head(ELFCLASS32, 0, ET_DYN, EM_X86_64), "ELF machine 62, 32 bits, of no order");
}

static void test_no_code(void **state) {
        Head h = head(ELFCLASS64, ELFDATA2LSB, ET_DYN, EM_AARCH64), bad = h;
        MachineCode c;

        assert_true(machine_code_read(h.bytes, MACHINE_CODE_HEAD, &c));
        for (size_t n = 0; n < MACHINE_CODE_HEAD; n++)
                assert_false(machine_code_read(h.bytes, n, &c));
        for (size_t i = 0; i < 4; i++) {
                bad = h;
                bad.bytes[i] ^= 1;
                assert_false(machine_code_read(bad.bytes, sizeof(bad.bytes), &c));
        }
        /* what no linker has made a program of, such as a BPF program, is data to the bundle */
        bad = head(ELFCLASS64, ELFDATA2LSB, ET_REL, EM_BPF);
        assert_false(machine_code_read(bad.bytes, sizeof(bad.bytes), &c));
        bad = head(ELFCLASS64, ELFDATA2LSB, ET_CORE, EM_AARCH64);
        assert_false(machine_code_read(bad.bytes, sizeof(bad.bytes), &c));
}

/* The kernel's word for the one that runs us. */
static void test_native(void **state) {
        int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
        MachineCode c;
        Head h;

        assert_int_equal(read(fd, h.bytes, sizeof(h.bytes)), sizeof(h.bytes));
        safe_close(fd);
        assert_true(machine_code_read(h.bytes, sizeof(h.bytes), &c));
        assert_true(machine_code_equal(c, machine_code_native()));
        assert_false(machine_code_equal(c, (MachineCode) { c.machine, c.class, ELFDATA2MSB + ELFDATA2LSB - c.data }));
}

/* ---- bundles ---- */

typedef struct Bundle {
        char dir[32];
        int fd;
} Bundle;

static int bundle_setup(void **state) {
        Bundle *b = calloc(1, sizeof(Bundle));

        strcpy(b->dir, "/tmp/test-vendor-XXXXXX");
        if (!mkdtemp(b->dir))
                return -1;
        b->fd = open(b->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        *state = b;
        return b->fd < 0 ? -1 : 0;
}

static int bundle_teardown(void **state) {
        Bundle *b = *state;
        char command[64];

        safe_close(b->fd);
        (void) snprintf(command, sizeof(command), "rm -rf %s", b->dir);
        free(b);
        return system(command);
}

/* Makes the folders as well. */
static void put(const Bundle *b, const char *path, const void *data, size_t size) {
        char name[256];
        int fd;

        (void) snprintf(name, sizeof(name), "%s", path);
        for (char *slash = name; (slash = strchr(slash, '/')); *slash++ = '/') {
                *slash = 0;
                assert_true(mkdirat(b->fd, name, 0755) >= 0 || errno == EEXIST);
        }
        fd = openat(b->fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, data, size), size);
        safe_close(fd);
}

static void put_head(const Bundle *b, const char *path, Head h) {
        put(b, path, h.bytes, sizeof(h.bytes));
}

static Head foreign(void) {
        return machine_code_native().machine == EM_AARCH64 ? head(ELFCLASS64, ELFDATA2LSB, ET_DYN, EM_S390)
                                                           : head(ELFCLASS64, ELFDATA2LSB, ET_DYN, EM_AARCH64);
}

static Head native(void) {
        MachineCode c = machine_code_native();

        return head(c.class, c.data, ET_DYN, c.machine);
}

/* `expected` is in the report, or, when NULL, there is no problem. */
static void check_bundle(const Bundle *b, const Manifest *m, const char *expected) {
        Problems problems = {};
        int r = vendor_check(b->fd, m, &problems);
        _cleanup_(freep) char *report = problems_to_string(&problems);

        problems_done(&problems);
        if (!expected) {
                assert_string_equal(report, "");
                assert_int_equal(r, 0);
                return;
        }
        assert_int_equal(r, -EBADMSG);
        if (!strstr(report, expected))
                fail_msg("found '%s', expected '%s'", report, expected);
}

static void test_nothing_vendored(void **state) {
        Bundle *b = *state;

        check_bundle(b, NULL, NULL);
        put(b, "vendor", "a file", 6);
        check_bundle(b, NULL, NULL);
}

static void test_foreign_code(void **state) {
        Bundle *b = *state;

        put_head(b, "vendor/lib/libx.so.1", native());
        put(b, "vendor/bin/script", "#!/bin/sh\n", 10);
        put(b, "vendor/bin/empty", "", 0);
        put_head(b, "elsewhere/data", foreign());
        put_head(b, "vendor/.git/object", foreign()); /* is no part of it */
        check_bundle(b, NULL, NULL);
        put_head(b, "vendor/lib/deep/er/liby.so.1", foreign());
        check_bundle(b, NULL, "vendor/lib/deep/er/liby.so.1: found code for ");
}

static void test_links_are_not_followed(void **state) {
        Bundle *b = *state;

        put_head(b, "elsewhere/data", foreign());
        put(b, "vendor/lib/x", "", 0);
        assert_int_equal(symlinkat("../../elsewhere", b->fd, "vendor/lib/y"), 0);
        assert_int_equal(symlinkat("../../elsewhere/data", b->fd, "vendor/lib/z"), 0);
        assert_int_equal(symlinkat("../lib", b->fd, "vendor/lib/self"), 0);
        assert_int_equal(mkfifoat(b->fd, "vendor/lib/fifo", 0644), 0);
        check_bundle(b, NULL, NULL);
}

static void test_handlers(void **state) {
        Bundle *b = *state;
        char *native_handler[] = { (char *) "a:b/f.so:handle", NULL }, *program[] = { (char *) "bin/p", (char *) "-v", NULL },
             *on_path[] = { (char *) "cat", NULL }, *module[] = { (char *) "m.handle", NULL };
        FunctionSpec functions[] = {
                { .runtime = RUNTIME_NATIVE, .handler = native_handler }, { .runtime = RUNTIME_EXEC, .handler = program },
                { .runtime = RUNTIME_EXEC, .handler = on_path }, { .runtime = RUNTIME_PYTHON3, .handler = module },
        };
        Manifest m = { .functions = functions, .n_functions = ELEMENTSOF(functions) };

        put_head(b, "a:b/f.so", native());
        put(b, "bin/p", "#!/bin/sh\n", 10);
        put_head(b, "cat", foreign());      /* another one is meant */
        put_head(b, "m.handle", foreign());
        check_bundle(b, &m, NULL);
        put_head(b, "a:b/f.so", foreign());
        check_bundle(b, &m, "a:b/f.so: found code for ");
        put_head(b, "a:b/f.so", native());
        put_head(b, "bin/p", foreign());
        check_bundle(b, &m, "bin/p: found code for ");
        check_bundle(b, NULL, NULL);
}

static void test_python_modules(void **state) {
        static const char other[] = "vendor/python/p/_x.cpython-27-x86_64-linux-gnu.so";
        static const char *const alternatives[] = { "." PYTHON_ABI ".so", ".abi3.so", ".so", ".py" };
        Bundle *b = *state;

        put_head(b, "vendor/python/p/_own." PYTHON_ABI ".so", native());
        put_head(b, "vendor/python/p/_stable.abi3.so", native());
        put_head(b, "vendor/python/p/lib.so.1", native());
        put_head(b, "vendor/python/p/numpy.libs/libblas-cpython-27.so", native());
        put_head(b, "vendor/lib/_x.cpython-27-x86_64-linux-gnu.so", native()); /* Python does not look there */
        check_bundle(b, NULL, NULL);

        put_head(b, other, foreign());
        check_bundle(b, NULL, "vendor/python/p/_x.cpython-27-x86_64-linux-gnu.so: found a Python module for "
                              "cpython-27-x86_64-linux-gnu, expected one for " PYTHON_ABI);
        for (size_t i = 0; i < ELEMENTSOF(alternatives); i++) {
                char path[128];

                (void) snprintf(path, sizeof(path), "vendor/python/p/_x%s", alternatives[i]);
                put_head(b, path, native());
                check_bundle(b, NULL, NULL);
                assert_int_equal(unlinkat(b->fd, path, 0), 0);
        }
        check_bundle(b, NULL, "found a Python module");
        assert_int_equal(unlinkat(b->fd, other, 0), 0);

        put_head(b, "vendor/python/_y.pypy39-pp73-x86_64-linux-gnu.so", native());
        check_bundle(b, NULL, "found a Python module for pypy39-pp73-x86_64-linux-gnu");
        assert_int_equal(unlinkat(b->fd, "vendor/python/_y.pypy39-pp73-x86_64-linux-gnu.so", 0), 0);
        put_head(b, "vendor/python/_z." PYTHON_ABI ".so", foreign());
        check_bundle(b, NULL, "vendor/python/_z." PYTHON_ABI ".so: found code for ");
}

static void test_deep_folders(void **state) {
        Bundle *b = *state;
        int fd = b->fd;

        assert_int_equal(mkdirat(b->fd, "vendor", 0755), 0);
        for (unsigned i = 0; i < 2000; i++) {
                int next;

                assert_int_equal(mkdirat(fd, i == 0 ? "vendor/d" : "d", 0755), 0);
                next = openat(fd, i == 0 ? "vendor/d" : "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                assert_true(next >= 0);
                if (fd != b->fd)
                        safe_close(fd);
                fd = next;
        }
        safe_close(fd);
        check_bundle(b, NULL, NULL);
}

/* ---- packages ---- */

static const char status[] =
        "Package: dpkg\nEssential: yes\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.21.22\n\n"
        "Package: python3-pil\nStatus: install ok installed\nArchitecture: amd64\n"
        "Description: library\n Package: not-a-package\n Status: install ok installed\n\n"
        "Package: fonts-dejavu-core\nStatus: deinstall ok installed\nArchitecture: all\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nArchitecture: amd64\n\n"
        "Package: half\nStatus: install reinstreq half-installed\nArchitecture: amd64\n\n"
        "Package: due\nStatus: install ok triggers-pending\nArchitecture: amd64\n\n"
        "Package: libforeign\nStatus: install ok installed\nArchitecture: i386\n\n\n"
        "Package: last\nStatus: install ok installed\nArchitecture: all\n";

static void check_absent(const Bundle *b, const char *const *names, const char *expected) {
        _cleanup_(strv_freep) char **absent = NULL;
        _cleanup_(freep) char *line = NULL;
        char path[64];

        (void) snprintf(path, sizeof(path), "%s/status", b->dir);
        assert_int_equal(packages_absent(path, (char *const *) names, &absent), 0);
        if (!expected) {
                assert_null(absent);
                return;
        }
        line = packages_apt_line(absent);
        assert_string_equal(line, expected);
}

static void test_packages(void **state) {
        Bundle *b = *state;
        char **absent = NULL;

        assert_int_equal(packages_absent("/nonexistent/status", (char *[]) { (char *) "x1", NULL }, &absent), -ENOENT);
        assert_int_equal(packages_absent("/nonexistent/status", NULL, &absent), 0);
        assert_null(absent);
        put(b, "status", status, strlen(status));
        check_absent(b, (const char *[]) { "python3-pil", "fonts-dejavu-core", "due", "last", "dpkg", NULL }, NULL);
        check_absent(b, (const char *[]) { "python3-pi", "python3-pil", "python3-pill", NULL },
                     "apt install python3-pi python3-pill");
        check_absent(b, (const char *[]) { "not-a-package", "gone", "half", "libforeign", NULL },
                     "apt install not-a-package gone half libforeign");
        put(b, "status", "", 0);
        check_absent(b, (const char *[]) { "dpkg", NULL }, "apt install dpkg");
        put(b, "status", "garbage\0\n\n\nPackage:\nPackage: \nStatus: \n", 40);
        check_absent(b, (const char *[]) { "dpkg", NULL }, "apt install dpkg");
}

static void test_packages_of_this_host(void **state) {
        char *packages[] = { (char *) "dpkg", (char *) "no-such-package-anywhere", NULL };
        Manifest m = { .packages = packages };
        _cleanup_(freep) char *report = NULL;
        Problems problems = {};

        if (access(DPKG_STATUS, F_OK) < 0)
                skip();
        assert_int_equal(packages_check(&m, &problems), -EBADMSG);
        report = problems_to_string(&problems);
        problems_done(&problems);
        assert_string_equal(report, "sand.json: /packages: found packages that are not installed on this host, "
                                    "expected them there: apt install no-such-package-anywhere\n");
        packages[1] = NULL;
        assert_int_equal(packages_check(&m, &problems), 0);
}

#define FILE_TEST(f) cmocka_unit_test_setup_teardown(f, bundle_setup, bundle_teardown)

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_names),
                cmocka_unit_test(test_no_code),
                cmocka_unit_test(test_native),
                FILE_TEST(test_nothing_vendored),
                FILE_TEST(test_foreign_code),
                FILE_TEST(test_links_are_not_followed),
                FILE_TEST(test_handlers),
                FILE_TEST(test_python_modules),
                FILE_TEST(test_deep_folders),
                FILE_TEST(test_packages),
                cmocka_unit_test(test_packages_of_this_host),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
