/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pages.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <link.h>
#include <malloc.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "macro.h"

#ifndef MADV_COLLAPSE /* Linux 6.1 */
#define MADV_COLLAPSE 25
#endif

#define PAGE 4096U
/* What the kernel maps of a file around a page that is read, if it is cached (fault_around_bytes). */
#define FAULT_AROUND (64U * 1024U)
#define HUGE_PAGE (2U * 1024U * 1024U)

/* An instance of each of the first batches is learned from; later of one in so many: what events touch may change. */
#define LEARN_FIRST 3U
#define LEARN_EVERY 512U
/* One that gives no answer is given up after so many batches. */
#define LEARN_AGAIN 64U
/* /proc/self/maps beyond this is not looked at: a thousand mappings. */
#define MAPS_MAX (128U * 1024U)
#define MAPPINGS_MAX 1024U
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

/* All of /proc/self/maps as a string, cut where `size` ends. */
static void read_maps(char *text, size_t size) {
        int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
        size_t n = 0;
        ssize_t l;

        while (fd >= 0 && n < size - 1 && (l = read(fd, text + n, size - 1 - n)) > 0)
                n += (size_t) l;
        text[n] = 0;
        (void) safe_close(fd);
}

/* Takes one line of that. */
static bool next_mapping(const char **text, Mapping *ret) {
        const char *line = *text, *end = strchr(line, '\n');
        char permissions[5];
        uint64_t inode;

        if (!end || sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*s %*s %" SCNu64, &ret->start, &ret->end, permissions,
                           &inode) != 4)
                return false;
        ret->readable = permissions[0] == 'r';
        ret->writable = permissions[1] == 'w';
        ret->shared = permissions[3] == 's';
        ret->anonymous = inode == 0 && !memmem(line, (size_t) (end - line), "[v", 2); /* [vdso], [vvar] */
        *text = end + 1;
        return true;
}

static void into_huge_pages(const Mapping *m) {
        /* Both are hints: an older kernel, or one without huge pages, refuses them. */
        (void) madvise((void *) m->start, m->end - m->start, MADV_HUGEPAGE);
        for (uint64_t a = (m->start + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE; a + HUGE_PAGE <= m->end; a += HUGE_PAGE) {
                uint8_t resident[HUGE_PAGE / PAGE];

                /* What nobody has touched yet stays free. */
                if (mincore((void *) a, HUGE_PAGE, resident) >= 0 && memchr(resident, 1, sizeof(resident)))
                        (void) madvise((void *) a, HUGE_PAGE, MADV_COLLAPSE);
        }
}

/* Most libraries have their constants before and behind their code, as mappings of their own. With the same
 * protection the three are one again, as they are of a library that is linked with -z noseparate-code. */
static int join_object(struct dl_phdr_info *info, size_t size, void *userdata) {
        uint64_t begin = 0, end = 0, delta = 0;
        unsigned n = 0;

        for (size_t i = 0; i < info->dlpi_phnum; i++) {
                const ElfW(Phdr) *h = info->dlpi_phdr + i;
                uint64_t start = (info->dlpi_addr + h->p_vaddr) / PAGE * PAGE;

                if (h->p_type != PT_LOAD)
                        continue;
                if (h->p_flags & PF_W)
                        break;
                if (n > 0 && (start != end || h->p_vaddr - h->p_offset != delta))
                        break;
                begin = n++ > 0 ? begin : start;
                delta = h->p_vaddr - h->p_offset;
                end = (info->dlpi_addr + h->p_vaddr + h->p_filesz + PAGE - 1) / PAGE * PAGE;
        }
        if (n > 1)
                (void) mprotect((void *) begin, end - begin, PROT_READ | PROT_EXEC);
        return 0;
}

void pages_settle(void) {
        _cleanup_(freep) char *text = malloc(MAPS_MAX);
        const char *p = text;
        Mapping m;

        (void) malloc_trim(0);
        (void) dl_iterate_phdr(join_object, NULL);
        if (!text)
                return;
        read_maps(text, MAPS_MAX);
        while (next_mapping(&p, &m))
                if (m.anonymous && m.writable && !m.shared && m.end - m.start >= 2 * HUGE_PAGE)
                        into_huge_pages(&m);
}

/* Pages in the order of their addresses; what has no room is left out. */
typedef struct PageList {
        PageRange ranges[PAGES_RANGES_MAX];
        size_t n, own, seen;
        uint64_t around; /* where what the last fault maps of a file ends */
} PageList;

/* With all that looking needs, so that it does not touch the memory that it looks at. The mappings are the worker's:
 * what an instance maps beyond them the next ones don't have. */
struct PageShared {
        PageList list;
        _Atomic bool done;
        Mapping mappings[MAPPINGS_MAX];
        size_t n_mappings;
        char maps[MAPS_MAX];
};

static void find_mappings(PageShared *s) {
        const char *text = s->maps;
        Mapping m;

        s->n_mappings = 0;
        read_maps(s->maps, sizeof(s->maps));
        while (s->n_mappings < MAPPINGS_MAX && next_mapping(&text, &m))
                if (m.readable && !m.shared && m.end - m.start <= MAPPING_MAX)
                        s->mappings[s->n_mappings++] = m;
}

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
        size_t n = p->shared->list.n;
        PageRange *ranges = n > 0 && n <= PAGES_RANGES_MAX ? malloc(n * sizeof(PageRange)) : NULL;

        p->pending = false;
        if (!ranges)
                return;
        memcpy(ranges, p->shared->list.ranges, n * sizeof(PageRange)); /* its writer may still be there */
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
                p->shared = mmap(NULL, sizeof(PageShared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
                if (p->shared == MAP_FAILED) {
                        p->shared = NULL;
                        return false;
                }
        }
        p->n_forks = 0;
        p->pending = true;
        p->shared->done = false;
        find_mappings(p->shared);
        return madvise(p->shared, sizeof(PageShared), MADV_DOFORK) >= 0;
}

void pages_after_fork(Pages *p, bool learn) {
        if (learn) /* the others don't have it */
                (void) madvise(p->shared, sizeof(PageShared), MADV_DONTFORK);
}

void pages_populate(const Pages *p) {
        for (size_t i = 0; i < p->n; i++)
                (void) madvise((void *) p->ranges[i].start, (size_t) p->ranges[i].n * PAGE,
                               p->ranges[i].own ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
}

static void list_add(PageList *l, const Mapping *m, uint64_t address, bool own) {
        PageRange *last = l->n > 0 ? l->ranges + l->n - 1 : NULL;
        size_t *count = own ? &l->own : &l->seen;

        if (!own) {
                /* The fault of one page maps its neighbours, too: from where the window begins, or the mapping if
                 * that is later, up to the window's size, the end of the mapping or of the page table. */
                if (address < l->around)
                        return;
                l->around = MAX(address / FAULT_AROUND * FAULT_AROUND, m->start) + FAULT_AROUND;
                l->around = MIN(l->around, (address / HUGE_PAGE + 1) * HUGE_PAGE);
                l->around = MIN(l->around, m->end);
        }
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
                                list_add(l, m, a + i * PAGE, false);
                        else if (e & ENTRY_EXCLUSIVE)
                                list_add(l, m, a + i * PAGE, true);
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
        PageList *l = &p->shared->list;

        l->n = l->own = l->seen = l->around = 0;
        for (size_t i = 0; pagemap >= 0 && i < MIN(p->shared->n_mappings, (size_t) MAPPINGS_MAX); i++)
                list_mapping(l, pagemap, p->shared->mappings + i);
        p->shared->done = true;
}
