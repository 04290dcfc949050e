/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pages.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "macro.h"

#ifndef MADV_COLLAPSE /* Linux 6.1 */
#define MADV_COLLAPSE 25
#endif

#define PAGE 4096U
#define HUGE_PAGE (2U * 1024U * 1024U)

/* The first instances are learned from one after another; later one in so many: what events touch may change. */
#define LEARN_FIRST 3U
#define LEARN_EVERY 512U
/* One that gives no answer is given up after so many forks. */
#define LEARN_AGAIN 64U
/* A mapping of which most is empty takes too long to read. */
#define MAPPING_MAX (UINT64_C(4) * 1024 * 1024 * 1024)

/* Of an entry of /proc/PID/pagemap, https://docs.kernel.org/admin-guide/mm/pagemap.html */
#define ENTRY_PRESENT (UINT64_C(1) << 63)
#define ENTRY_FILE (UINT64_C(1) << 61)
#define ENTRY_EXCLUSIVE (UINT64_C(1) << 56)

typedef struct Mapping {
        uint64_t start, end;
        bool readable, writable, shared, anonymous;
} Mapping;

static bool next_mapping(FILE *maps, Mapping *ret) {
        char line[512], permissions[5];
        uint64_t inode;

        for (;;) {
                if (!fgets(line, sizeof(line), maps))
                        return false;
                if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*s %*s %" SCNu64, &ret->start, &ret->end, permissions,
                           &inode) != 4)
                        continue; /* the rest of a long name */
                *ret = (Mapping) {
                        .start = ret->start,
                        .end = ret->end,
                        .readable = permissions[0] == 'r',
                        .writable = permissions[1] == 'w',
                        .shared = permissions[3] == 's',
                        .anonymous = inode == 0 && !strstr(line, "[v"), /* [vdso], [vvar], [vsyscall] */
                };
                return true;
        }
}

void pages_settle(void) {
        _cleanup_(freep) Mapping *large = NULL;
        size_t n = 0;
        FILE *maps;
        Mapping m;

        (void) malloc_trim(0);
        maps = fopen("/proc/self/maps", "re");
        if (!maps)
                return;
        large = calloc(PAGES_RANGES_MAX, sizeof(Mapping));
        while (large && n < PAGES_RANGES_MAX && next_mapping(maps, &m))
                if (m.anonymous && m.writable && !m.shared && m.end - m.start >= 2 * HUGE_PAGE)
                        large[n++] = m;
        (void) fclose(maps);

        for (size_t i = 0; i < n; i++) {
                /* Both are hints: an older kernel, or one without huge pages, refuses them. */
                (void) madvise((void *) large[i].start, large[i].end - large[i].start, MADV_HUGEPAGE);
                for (uint64_t a = (large[i].start + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
                     a + HUGE_PAGE <= large[i].end; a += HUGE_PAGE) {
                        uint8_t resident[HUGE_PAGE / PAGE];

                        /* What nobody has touched yet stays free. */
                        if (mincore((void *) a, HUGE_PAGE, resident) >= 0 && memchr(resident, 1, sizeof(resident)))
                                (void) madvise((void *) a, HUGE_PAGE, MADV_COLLAPSE);
                }
        }
}

/* One list, in the order of addresses, with what has no room left out. */
struct PageList {
        PageRange ranges[PAGES_RANGES_MAX];
        size_t n, own, seen;
        _Atomic bool done;
};

static bool list_is_sound(const PageRange *ranges, size_t n) {
        size_t own = 0, seen = 0;

        for (size_t i = 0; i < n; i++) {
                if (ranges[i].start % PAGE != 0 || ranges[i].n == 0 || ranges[i].own > 1 ||
                    ranges[i].n > (ranges[i].own ? PAGES_OWN_MAX : PAGES_SEEN_MAX))
                        return false;
                *(ranges[i].own ? &own : &seen) += ranges[i].n;
        }
        return own <= PAGES_OWN_MAX && seen <= PAGES_SEEN_MAX;
}

static void take_list(Pages *p) {
        size_t n = p->shared->n;
        PageRange *ranges = n > 0 && n <= PAGES_RANGES_MAX ? malloc(n * sizeof(PageRange)) : NULL;

        p->pending = false;
        if (!ranges)
                return;
        memcpy(ranges, p->shared->ranges, n * sizeof(PageRange)); /* its writer may still be there */
        if (!list_is_sound(ranges, n)) {
                free(ranges);
                return;
        }
        free(p->ranges);
        p->ranges = ranges;
        p->n = n;
        p->n_learned++;
}

bool pages_before_fork(Pages *p) {
        if (p->pending && p->shared->done)
                take_list(p);
        p->n_forks++;
        if (p->n_forks < (p->pending ? LEARN_AGAIN : p->n_learned < LEARN_FIRST ? 1 : LEARN_EVERY))
                return false;
        if (!p->shared) {
                p->shared = mmap(NULL, sizeof(PageList), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
                if (p->shared == MAP_FAILED) {
                        p->shared = NULL;
                        return false;
                }
        }
        p->n_forks = 0;
        p->pending = true;
        p->shared->done = false;
        return madvise(p->shared, sizeof(PageList), MADV_DOFORK) >= 0;
}

void pages_after_fork(Pages *p, bool learn) {
        if (learn) /* the others don't have it */
                (void) madvise(p->shared, sizeof(PageList), MADV_DONTFORK);
}

void pages_populate(const Pages *p) {
        for (size_t i = 0; i < p->n; i++)
                (void) madvise((void *) p->ranges[i].start, (size_t) p->ranges[i].n * PAGE,
                               p->ranges[i].own ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
}

static void list_add(PageList *l, uint64_t address, bool own) {
        PageRange *last = l->n > 0 ? l->ranges + l->n - 1 : NULL;
        size_t *count = own ? &l->own : &l->seen;

        if (*count >= (own ? PAGES_OWN_MAX : PAGES_SEEN_MAX))
                return;
        if (last && last->own == own && last->start + (uint64_t) last->n * PAGE == address)
                last->n++;
        else if (l->n < PAGES_RANGES_MAX)
                l->ranges[l->n++] = (PageRange) { address, 1, own };
        else
                return;
        (*count)++;
}

static void list_mapping(PageList *l, int fd, const Mapping *m) {
        uint64_t entries[512];

        for (uint64_t a = m->start; a < m->end; a += sizeof(entries) / sizeof(entries[0]) * PAGE) {
                size_t want = MIN((m->end - a) / PAGE, sizeof(entries) / sizeof(entries[0]));
                ssize_t n = pread(fd, entries, want * sizeof(uint64_t), (off_t) (a / PAGE * sizeof(uint64_t)));

                for (size_t i = 0; n > 0 && i < (size_t) n / sizeof(uint64_t); i++) {
                        uint64_t e = entries[i];

                        if (!(e & ENTRY_PRESENT))
                                continue;
                        /* The worker's memory as it is costs nothing: a fork copies its page tables. */
                        if (e & ENTRY_FILE)
                                list_add(l, a + i * PAGE, false);
                        else if (e & ENTRY_EXCLUSIVE)
                                list_add(l, a + i * PAGE, true);
                }
        }
}

/* What is not dumpable may not read its own page map: it is made so for the time of an open(), in
 * which the function's filter keeps others out as always (no ptrace, no process_vm_*). */
static int open_pagemap(void) {
        int fd;

        if (prctl(PR_SET_DUMPABLE, 1) < 0)
                return -errno;
        fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
        (void) prctl(PR_SET_DUMPABLE, 0);
        return fd;
}

void pages_report(const Pages *p) {
        _cleanup_(closep) int pagemap = open_pagemap();
        FILE *maps = fopen("/proc/self/maps", "re");
        PageList *l = p->shared;
        Mapping m;

        l->n = l->own = l->seen = 0;
        if (maps && pagemap >= 0)
                while (next_mapping(maps, &m))
                        if (m.readable && !m.shared && m.end - m.start <= MAPPING_MAX)
                                list_mapping(l, pagemap, &m);
        if (maps)
                (void) fclose(maps);
        l->done = true;
}
