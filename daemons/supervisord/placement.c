/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "placement.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "macro.h"

/* The supervisor looks that often whether it waits for its CPU ... */
#define LOOK_USEC (250 * USEC_PER_MSEC)
/* ... and does not want to for more than that part of the time. */
#define DELAY_PART 2U
/* Then it leaves itself to the scheduler for so long. */
#define FREE_USEC (50 * USEC_PER_MSEC)

void placement_init(Placement *p) {
        const char *mode = getenv("SAND_PLACEMENT");
        cpu_set_t before, all;

        *p = PLACEMENT_NULL;
        if (sched_getaffinity(0, sizeof(before), &before) < 0 || (mode && streq(mode, "free")))
                return;
        /* An affinity that somebody has set is kept. Where none is set, "all" follows the cgroup's CPUs when they
         * change, as the bare list of today's would not. */
        memset(&all, 0xff, sizeof(all));
        if (sched_setaffinity(0, sizeof(all), &all) < 0 || sched_getaffinity(0, sizeof(p->home), &p->home) < 0)
                return;
        if (CPU_EQUAL(&p->home, &before))
                p->home = all;
        else {
                p->home = before;
                (void) sched_setaffinity(0, sizeof(before), &before);
        }
        p->enabled = CPU_COUNT(&before) > 1;
        p->schedstat_fd = open("/proc/self/schedstat", O_RDONLY | O_CLOEXEC);
}

void placement_done(Placement *p) {
        p->schedstat_fd = safe_close(p->schedstat_fd);
}

bool placement_bind(const Placement *p, pid_t pid, int where) {
        cpu_set_t set = p->home;

        if (where >= 0) {
                CPU_ZERO(&set);
                CPU_SET(where, &set);
        } else if (where == PLACEMENT_AWAY && p->cpu >= 0)
                CPU_CLR(p->cpu, &set);
        return sched_setaffinity(pid, sizeof(set), &set) >= 0;
}

/* What a bound process can have made in the two milliseconds after which it is set free. */
#define TREE_MAX 256U

typedef struct Tree {
        pid_t pids[TREE_MAX];
        size_t n;
} Tree;

static void tree_add_children(Tree *t, pid_t pid, const char *tid) {
        char path[64], text[4096];
        ssize_t n;
        int fd;

        (void) snprintf(path, sizeof(path), "/proc/%d/task/%.16s/children", (int) pid, tid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : 0;
        (void) safe_close(fd);
        text[MAX(n, 0)] = 0;
        for (char *save = NULL, *s = strtok_r(text, " ", &save); s && t->n < TREE_MAX; s = strtok_r(NULL, " ", &save))
                t->pids[t->n++] = (pid_t) strtol(s, NULL, 10);
}

void placement_free_tree(const Placement *p, pid_t pid) {
        Tree t = { .pids = { pid }, .n = 1 };

        for (size_t i = 0; i < t.n; i++) {
                char path[32];
                struct dirent *e;
                DIR *tasks;

                (void) snprintf(path, sizeof(path), "/proc/%d/task", (int) t.pids[i]);
                tasks = opendir(path);
                while (tasks && (e = readdir(tasks))) /* threads first, so that what they make from now on is free */
                        if (e->d_name[0] != '.' && placement_bind(p, (pid_t) strtol(e->d_name, NULL, 10), PLACEMENT_FREE))
                                tree_add_children(&t, t.pids[i], e->d_name);
                if (tasks)
                        (void) closedir(tasks);
        }
}

void placement_stay(const Placement *p, pid_t pid) {
        const struct sched_param none = {};

        if (p->enabled)
                (void) sched_setscheduler(pid, SCHED_BATCH, &none);
}

void placement_retire(const Placement *p, pid_t pid, bool behind) {
        const struct sched_param none = {};

        if (!p->enabled)
                return;
        (void) placement_bind(p, pid, behind ? PLACEMENT_FREE : placement_aside(p));
        if (behind)
                (void) sched_setscheduler(pid, SCHED_IDLE, &none);
}

/* Nanoseconds that this process could have run and did not, since its start. */
static uint64_t run_delay(const Placement *p) {
        char text[64];
        ssize_t n = p->schedstat_fd >= 0 ? pread(p->schedstat_fd, text, sizeof(text) - 1, 0) : -1;
        const char *second;

        if (n <= 0)
                return 0; /* a kernel that does not count */
        text[n] = 0;
        second = strchr(text, ' ');
        return second ? strtoull(second, NULL, 10) : 0;
}

int placement_follow(Placement *p, uint64_t now) {
        int cpu;

        if (!p->enabled || p->cpu >= 0)
                return p->cpu;
        if (now < p->free_until_usec)
                return -1;
        cpu = sched_getcpu();
        if (cpu < 0 || !placement_bind(p, 0, cpu))
                return -1;
        p->cpu = cpu;
        p->looked_usec = now;
        p->delay_nsec = run_delay(p);
        return cpu;
}

bool placement_housekeeping(Placement *p, bool idle, uint64_t now) {
        uint64_t delay, elapsed = usec_sub(now, p->looked_usec);

        if (p->cpu < 0)
                return false;
        if (elapsed < LOOK_USEC)
                return true;
        delay = run_delay(p);
        if (!idle && (delay - p->delay_nsec) / 1000 < elapsed / DELAY_PART) {
                p->looked_usec = now;
                p->delay_nsec = delay;
                return true;
        }
        (void) placement_bind(p, 0, -1);
        p->cpu = -1;
        if (!idle) /* until then the scheduler moves it as it likes */
                p->free_until_usec = usec_add(now, FREE_USEC);
        return false;
}
