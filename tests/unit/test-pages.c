/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Memory of workers and instances (pages.h): what an instance reports is checked and used by the next ones, whatever
 * it is; large memory goes into huge pages, and stays what it is. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "pages.c"

#define N 64U

static uint8_t *mapping_new(size_t size) {
        uint8_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        assert_ptr_not_equal(p, MAP_FAILED);
        return p;
}

/* Its exit status must be 0. */
static void wait_for(pid_t pid) {
        int status;

        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
}

static pid_t child_new(void) {
        pid_t pid = fork();

        assert_return_code(pid, errno);
        return pid;
}

/* A process that is learned from, and claims this. */
static void claim(Pages *p, const PageRange *ranges, size_t n, size_t said) {
        pid_t pid;

        assert_true(pages_before_fork(p));
        pid = child_new();
        if (pid == 0) {
                memcpy(p->shared->list.ranges, ranges, n * sizeof(PageRange));
                p->shared->list.n = said;
                p->shared->done = true;
                _exit(0);
        }
        pages_after_fork(p, true);
        wait_for(pid);
        (void) pages_before_fork(p);
}

static void test_lists_are_checked(void **state) {
        static const struct {
                PageRange ranges[2];
                size_t n; /* as it says */
                bool good;
        } cases[] = {
                { { { 0x10000, 1, 1 }, { 0x20000, 2, 0 } }, 2, true },
                { { { 0x10000, PAGES_OWN_MAX, 1 }, { 0x20000, PAGES_SEEN_MAX, 0 } }, 2, true },
                { { { 0x10001, 1, 1 } }, 1, false },
                { { { 0x10000, 0, 1 } }, 1, false },
                { { { 0x10000, 1, 2 } }, 1, false },
                { { { 0x10000, PAGES_OWN_MAX + 1, 1 } }, 1, false },
                { { { 0x10000, PAGES_OWN_MAX, 1 }, { 0x80000, 1, 1 } }, 2, false },
                { { { 0x10000, PAGES_SEEN_MAX + 1, 0 } }, 1, false },
                { { { 0x10000, PAGES_SEEN_MAX, 0 }, { 0x80000, UINT32_MAX, 0 } }, 2, false },
                { { { 0x10000, 1, 1 } }, 0, false },
                { { { 0x10000, 1, 1 } }, PAGES_RANGES_MAX + 1, false },
                { { { 0x10000, 1, 1 } }, SIZE_MAX, false },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                Pages p = {};

                print_message("list %zu\n", i);
                claim(&p, cases[i].ranges, 2, cases[i].n);
                assert_int_equal(p.n_learned, cases[i].good);
                assert_int_equal(p.n, cases[i].good ? cases[i].n : 0);
                assert_true(!!p.ranges == cases[i].good);
                free(p.ranges);
        }
}

/* A bad list does not replace the good one before it. */
static void test_bad_list_changes_nothing(void **state) {
        static const PageRange good = { 0x10000, 3, 1 }, bad = { 0x10001, 3, 1 };
        Pages p = {};

        claim(&p, &good, 1, 1);
        p.pending = false;
        p.n_forks = LEARN_EVERY;
        claim(&p, &bad, 1, 1);
        assert_int_equal(p.n_learned, 1);
        assert_int_equal(p.n, 1);
        assert_int_equal(p.ranges[0].start, good.start);
        free(p.ranges);
}

/* How many of these pages are this process's alone. */
static unsigned own_pages(const uint8_t *at, unsigned n) {
        uint64_t entries[N];
        unsigned own = 0;
        int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

        if (fd < 0 || n > N ||
            pread(fd, entries, n * sizeof(uint64_t), (off_t) ((uintptr_t) at / PAGE * sizeof(uint64_t))) < 0)
                _exit(100);
        (void) close(fd);
        for (unsigned i = 0; i < n; i++)
                own += (entries[i] & ENTRY_PRESENT) && (entries[i] & ENTRY_EXCLUSIVE);
        return own;
}

static bool list_has(const Pages *p, const uint8_t *at, unsigned n) {
        for (size_t i = 0; i < p->n; i++)
                if (p->ranges[i].start == (uintptr_t) at && p->ranges[i].n == n && p->ranges[i].own)
                        return true;
        return false;
}

/* An event writes to pages 3 to 10. */
static void learn(Pages *p, uint8_t *memory) {
        pid_t pid;

        assert_true(pages_before_fork(p));
        pid = child_new();
        if (pid == 0) {
                memset(memory + 3 * PAGE, 2, 8 * PAGE);
                pages_report(p);
                _exit(0);
        }
        pages_after_fork(p, true);
        wait_for(pid);
        (void) pages_before_fork(p);
}

static void test_learned_pages_are_populated(void **state) {
        uint8_t *memory = mapping_new(N * PAGE);
        Pages p = {};
        pid_t pid;

        (void) madvise(memory, N * PAGE, MADV_NOHUGEPAGE);
        memset(memory, 1, N * PAGE);
        learn(&p, memory);
        assert_int_equal(p.n_learned, 1);
        assert_true(list_has(&p, memory + 3 * PAGE, 8));

        pid = child_new();
        if (pid == 0) {
                if (own_pages(memory, N) != 0)
                        _exit(1);
                pages_populate(&p);
                if (own_pages(memory + 3 * PAGE, 8) != 8)
                        _exit(2);
                if (own_pages(memory, N) != 8)
                        _exit(3);
                _exit(memory[3 * PAGE] == 1 ? 0 : 4); /* what is in them is the worker's */
        }
        wait_for(pid);

        /* What is no longer there is passed over. */
        assert_return_code(munmap(memory, N * PAGE), errno);
        pid = child_new();
        if (pid == 0) {
                pages_populate(&p);
                _exit(0);
        }
        wait_for(pid);
        free(p.ranges);
}

/* As libraries are mapped: side by side, in pieces smaller than what the kernel maps around a fault, which begin within
 * such a window. */
static void read_pieces(const volatile uint8_t *memory) {
        for (size_t i = 0; i < N; i += 3)
                (void) memory[i * PAGE];
}

static void test_learned_file_pages_are_mapped(void **state) {
        static const unsigned ends[] = { 5, 9, 11, 40, N };
        uint8_t *memory = mapping_new((N + 32) * PAGE), *aligned, zeros[PAGE] = {};
        int fd = memfd_create("library", MFD_CLOEXEC);
        unsigned start = 0;
        Pages p = {};
        pid_t pid;

        aligned = (uint8_t *) (((uintptr_t) memory + FAULT_AROUND - 1) / FAULT_AROUND * FAULT_AROUND) + 3 * PAGE;
        assert_return_code(fd, errno);
        for (size_t i = 0; i < N; i++)
                assert_int_equal(write(fd, zeros, sizeof(zeros)), sizeof(zeros));
        for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); start = ends[i++])
                assert_ptr_not_equal(mmap(aligned + start * PAGE, (ends[i] - start) * PAGE,
                                          PROT_READ | (i % 2 ? PROT_EXEC : 0), MAP_PRIVATE | MAP_FIXED, fd,
                                          (off_t) (start * PAGE)),
                                     MAP_FAILED);

        assert_true(pages_before_fork(&p));
        pid = child_new();
        if (pid == 0) {
                read_pieces(aligned);
                pages_report(&p);
                _exit(0);
        }
        pages_after_fork(&p, true);
        wait_for(pid);
        (void) pages_before_fork(&p);
        assert_int_equal(p.n_learned, 1);

        pid = child_new();
        if (pid == 0) {
                struct rusage before, after;

                pages_populate(&p);
                (void) getrusage(RUSAGE_SELF, &after); /* its own code and stack */
                (void) getrusage(RUSAGE_SELF, &before);
                read_pieces(aligned);
                (void) getrusage(RUSAGE_SELF, &after);
                _exit((int) (after.ru_minflt - before.ru_minflt));
        }
        wait_for(pid);
        free(p.ranges);
        assert_return_code(munmap(memory, (N + 32) * PAGE), errno);
        (void) close(fd);
}

static void test_silent_child(void **state) {
        uint8_t *memory = mapping_new(N * PAGE);
        Pages p = {};
        pid_t pid;

        memset(memory, 1, N * PAGE);
        assert_true(pages_before_fork(&p));
        pid = child_new();
        if (pid == 0)
                _exit(0);
        pages_after_fork(&p, true);
        wait_for(pid);

        for (unsigned i = 1; i < LEARN_AGAIN; i++)
                assert_false(pages_before_fork(&p));
        learn(&p, memory);
        assert_int_equal(p.n_learned, 1);
        assert_true(list_has(&p, memory + 3 * PAGE, 8));
        free(p.ranges);
        assert_return_code(munmap(memory, N * PAGE), errno);
}

/* Resident KiB of the mapping at `at`, and those in huge pages. */
static void resident(const uint8_t *at, unsigned long *ret_rss, unsigned long *ret_huge) {
        FILE *f = fopen("/proc/self/smaps", "re");
        bool inside = false;
        char line[512];
        uint64_t start, end;

        assert_non_null(f);
        *ret_rss = *ret_huge = 0;
        while (fgets(line, sizeof(line), f)) {
                if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &start, &end) == 2)
                        inside = start <= (uintptr_t) at && (uintptr_t) at < end;
                if (inside)
                        (void) (sscanf(line, "Rss: %lu", ret_rss) + sscanf(line, "AnonHugePages: %lu", ret_huge));
        }
        (void) fclose(f);
}

static bool huge_pages_are_off(void) {
        char text[64] = "";
        FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "re");
        bool off = !f || !fgets(text, sizeof(text), f) || strstr(text, "[never]");

        if (f)
                (void) fclose(f);
        return off;
}

static void test_settle(void **state) {
        size_t size = 8 * HUGE_PAGE;
        unsigned long rss, huge;
        uint8_t *memory;

        if (huge_pages_are_off())
                skip();
        memory = mapping_new(size);
        for (size_t i = 0; i < size / 2; i += PAGE)
                memory[i] = (uint8_t) (i / PAGE);
        pages_settle();
        resident(memory, &rss, &huge);
        assert_true(huge >= (size / 2 - 2 * HUGE_PAGE) / 1024);
        assert_true(rss <= (size / 2 + HUGE_PAGE) / 1024); /* what nobody touched is not there */
        for (size_t i = 0; i < size / 2; i += PAGE)
                assert_int_equal(memory[i], (uint8_t) (i / PAGE));
        assert_return_code(munmap(memory, size), errno);
}

static size_t read_only_mappings(void) {
        static char text[MAPS_MAX];
        size_t n = 0;

        read_maps(text, sizeof(text));
        for (const char *line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
                char permissions[5], path[256] = "";

                assert_true(sscanf(line, "%*s %4s %*s %*s %*s %255[^\n]", permissions, path) >= 1);
                n += permissions[1] == '-' && strstr(path, "/libc.so.6") != NULL;
        }
        return n;
}

/* What is written to stays as it is protected, and the rest is one: constants, code, constants, and then what was
 * relocated. */
static void test_code_is_joined(void **state) {
        size_t before = read_only_mappings();

        pages_settle();
        assert_in_range(before, 3, 10);
        assert_int_equal(read_only_mappings(), 2);
        assert_int_equal(strtol("42", NULL, 10), 42);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_lists_are_checked),
                cmocka_unit_test(test_bad_list_changes_nothing),
                cmocka_unit_test(test_learned_pages_are_populated),
                cmocka_unit_test(test_learned_file_pages_are_mapped),
                cmocka_unit_test(test_silent_child),
                cmocka_unit_test(test_code_is_joined),
                cmocka_unit_test(test_settle),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
