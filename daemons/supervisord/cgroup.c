/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cgroup.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "log.h"
#include "macro.h"

#define CGROUP_ROOT "/sys/fs/cgroup"
#define SUPERVISOR_GROUP "supervisor"
/* Forks that go on meanwhile cannot keep the uppermost group from being emptied for ever: their parents leave it, too. */
#define MOVE_ROUNDS 64U

/* Of an instance: as if it had half of what there is in addition. A worker and the supervisor are left as they are. */
#define OOM_SCORE_ADJUST "500"

enum { CONTROLLER_CPU, CONTROLLER_MEMORY, CONTROLLER_PIDS, _CONTROLLER_MAX };

static const char *const controllers[_CONTROLLER_MAX] = {
        [CONTROLLER_CPU] = "cpu", [CONTROLLER_MEMORY] = "memory", [CONTROLLER_PIDS] = "pids",
};

struct CGroup {
        CGroups *owner;
        unsigned n_ref; /* 0: it could not be removed yet */
        char *name;
        int fd;
        uint64_t oom_kills; /* as those of CGroups */
        CGroup *next;
};

static int read_file(int dir_fd, const char *name, char *text, size_t size) {
        _cleanup_(closep) int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd >= 0 ? read(fd, text, size - 1) : -1;

        if (n < 0)
                return -errno;
        text[n] = 0;
        return 0;
}

static int write_file(int dir_fd, const char *name, const char *text) {
        _cleanup_(closep) int fd = openat(dir_fd, name, O_WRONLY | O_CLOEXEC);

        return fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

static int write_number(int dir_fd, const char *name, uint64_t value) {
        char text[24] = "max";

        if (value != UINT64_MAX)
                (void) snprintf(text, sizeof(text), "%" PRIu64, value);
        return write_file(dir_fd, name, text);
}

static uint64_t number_of(const char *text) {
        return *text >= '0' && *text <= '9' ? strtoull(text, NULL, 10) : UINT64_MAX;
}

/* Of a file of one number, or, with `key`, of lines "KEY NUMBER". */
static uint64_t read_number(int dir_fd, const char *name, const char *key) {
        char text[2048], *save = NULL;

        if (read_file(dir_fd, name, text, sizeof(text)) < 0)
                return UINT64_MAX;
        if (!key)
                return number_of(text);
        for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                const char *value = startswith(line, key);
                if (value && *value == ' ')
                        return number_of(value + 1);
        }
        return UINT64_MAX;
}

void cgroups_init(CGroups *c, bool machine) {
        struct statfs st;

        *c = (CGroups) { .fd = -EBADF };
        if (!machine || statfs(CGROUP_ROOT, &st) < 0 || st.f_type != CGROUP2_SUPER_MAGIC ||
            access(CGROUP_ROOT "/cgroup.subtree_control", W_OK) < 0)
                return;
        c->fd = open(CGROUP_ROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static CGroup *cgroup_free(CGroup *g) {
        safe_close(g->fd);
        free(g->name);
        free(g);
        return NULL;
}

void cgroups_done(CGroups *c) {
        for (CGroup *g = c->groups, *next; g; g = next) {
                next = g->next;
                cgroup_free(g);
        }
        c->groups = NULL;
        c->fd = safe_close(c->fd);
}

/* Moves every process out of the uppermost group. */
static int empty_root(CGroups *c) {
        _cleanup_(closep) int leaf = -EBADF;
        char text[4096];
        int r = 0;

        if (mkdirat(c->fd, SUPERVISOR_GROUP, 0755) < 0 && errno != EEXIST)
                return -errno;
        leaf = openat(c->fd, SUPERVISOR_GROUP, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (leaf < 0)
                return -errno;
        for (unsigned i = 0; i < MOVE_ROUNDS; i++) {
                char *save = NULL, *pid;

                r = read_file(c->fd, "cgroup.procs", text, sizeof(text));
                pid = r >= 0 ? strtok_r(text, "\n", &save) : NULL;
                if (!pid)
                        return r;
                for (; pid; pid = strtok_r(NULL, "\n", &save)) {
                        r = write_file(leaf, "cgroup.procs", pid);
                        if (r < 0 && r != -ESRCH)
                                return r;
                }
        }
        return -EBUSY;
}

/* Once in a machine's life: it costs a grace period of the kernel's, tens of milliseconds. */
static int cgroups_prepare(CGroups *c) {
        int r;

        if (c->ready || c->fd < 0)
                return 0;
        r = empty_root(c);
        if (r < 0)
                return log_error_errno(r, "Failed to move to a control group below the machine's: %m");
        for (unsigned i = 0; i < _CONTROLLER_MAX; i++) {
                char text[16];

                (void) snprintf(text, sizeof(text), "+%s", controllers[i]);
                if (write_file(c->fd, "cgroup.subtree_control", text) >= 0)
                        c->controllers |= 1U << i;
        }
        /* Who hands events over goes before those who work on them. */
        (void) write_file(c->fd, SUPERVISOR_GROUP "/cpu.weight", "10000");
        c->ready = true;
        return 0;
}

static bool is_limited(const FunctionSpec *spec) {
        return spec->memory_max != UINT64_MAX || spec->cpu_weight != 0 || spec->tasks_max != TASKS_MAX_DEFAULT;
}

static bool any_is_limited(const Manifest *m) {
        for (size_t i = 0; i < m->n_functions; i++)
                if (is_limited(m->functions + i))
                        return true;
        return false;
}

static void warn_once(CGroups *c, const Manifest *m) {
        bool memory = false, cpu = false;

        for (size_t i = 0; i < m->n_functions; i++) {
                memory |= m->functions[i].memory_max != UINT64_MAX && !(c->controllers & (1U << CONTROLLER_MEMORY));
                cpu |= m->functions[i].cpu_weight != 0 && !(c->controllers & (1U << CONTROLLER_CPU));
        }
        if (c->warned || (!memory && !cpu))
                return;
        c->warned = true;
        log_warning("There are no control groups (cgroup version 2) for %s here: %s%s%s",
                    memory && cpu ? "memory and CPU" : memory ? "memory" : "CPU",
                    memory ? "MemoryMax of a function holds for each of its processes, not for all together" : "",
                    memory && cpu ? "; " : "", cpu ? "CPUWeight of a function is not enforced" : "");
}

static int cgroup_limit(const CGroup *g, const FunctionSpec *spec) {
        unsigned have = g->owner->controllers;
        int r = 0;

        if (have & (1U << CONTROLLER_MEMORY)) {
                r = write_number(g->fd, "memory.max", spec->memory_max);
                if (r >= 0 && spec->memory_max != UINT64_MAX) { /* no way around it; absent where nothing is swapped */
                        r = write_number(g->fd, "memory.swap.max", 0);
                        r = r == -ENOENT ? 0 : r;
                }
        }
        if (r >= 0 && have & (1U << CONTROLLER_CPU) && spec->cpu_weight != 0)
                r = spec->cpu_weight == CPU_WEIGHT_IDLE ? write_number(g->fd, "cpu.idle", 1)
                                                        : write_number(g->fd, "cpu.weight", spec->cpu_weight);
        if (r >= 0 && have & (1U << CONTROLLER_PIDS))
                r = write_number(g->fd, "pids.max", spec->tasks_max);
        return r;
}

static uint64_t oom_kills(int fd) {
        uint64_t n = fd >= 0 ? read_number(fd, "memory.events", "oom_kill") : 0;

        return n == UINT64_MAX ? 0 : n;
}

/* Takes a group off the list if nothing is in it any more. */
static void cgroup_remove(CGroup *g) {
        CGroups *c = g->owner;

        (void) write_file(g->fd, "cgroup.kill", "1");
        if (unlinkat(c->fd, g->name, AT_REMOVEDIR) < 0 && errno == EBUSY)
                return; /* what was killed is not gone yet: when the next one is made or goes */
        for (CGroup **i = &c->groups; *i; i = &(*i)->next)
                if (*i == g) {
                        *i = g->next;
                        break;
                }
        cgroup_free(g);
}

static void remove_unused(CGroups *c, const char *except) {
        for (CGroup *g = c->groups, *next; g; g = next) {
                next = g->next;
                if (g->n_ref == 0 && !streq(g->name, except))
                        cgroup_remove(g);
        }
}

static int cgroup_new(CGroups *c, char **name, CGroup **ret) {
        CGroup *g;
        int fd;

        if (mkdirat(c->fd, *name, 0755) < 0 && errno != EEXIST)
                return -errno;
        fd = openat(c->fd, *name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        g = calloc(1, sizeof(CGroup));
        if (!g) {
                safe_close(fd);
                return -ENOMEM;
        }
        *g = (CGroup) { .owner = c, .name = TAKE_PTR(*name), .fd = fd, .oom_kills = oom_kills(fd), .next = c->groups };
        *ret = c->groups = g;
        return 0;
}

int cgroup_get(CGroups *c, const Manifest *m, const char *id, const FunctionSpec *spec, CGroup **ret) {
        _cleanup_(freep) char *name = NULL;
        CGroup *g;
        int r;

        *ret = NULL;
        if (!any_is_limited(m))
                return 0;
        r = cgroups_prepare(c);
        if (r < 0)
                return r;
        warn_once(c, m);
        if (c->controllers == 0)
                return 0;
        if (asprintf(&name, "function-%s@%s", spec->name, id) < 0) {
                name = NULL;
                return -ENOMEM;
        }
        remove_unused(c, name);
        for (g = c->groups; g && !streq(g->name, name); g = g->next)
                ;
        if (!g) {
                r = cgroup_new(c, &name, &g);
                if (r < 0)
                        return log_error_errno(r, "%s: Failed to make a control group: %m", spec->name);
        }
        g->n_ref++;
        r = cgroup_limit(g, spec);
        if (r < 0) {
                cgroup_unref(g);
                return log_error_errno(r, "%s: Failed to set a limit: %m", spec->name);
        }
        *ret = g;
        return 0;
}

CGroup *cgroup_unref(CGroup *g) {
        if (g && --g->n_ref == 0)
                remove_unused(g->owner, "");
        return NULL;
}

pid_t cgroup_fork(const CGroup *g) {
        struct clone_args args = { .exit_signal = SIGCHLD, .flags = CLONE_INTO_CGROUP };

        if (!g)
                return fork();
        args.cgroup = (uint64_t) g->fd;
        return (pid_t) syscall(SYS_clone3, &args, sizeof(args));
}

uint64_t cgroup_data_limit(const CGroup *g, const FunctionSpec *spec) {
        bool holds = g && g->owner->controllers & (1U << CONTROLLER_MEMORY);

        return holds ? spec->memory : MIN(spec->memory, spec->memory_max);
}

bool cgroups_may_kill(const CGroups *c, const Manifest *m, const FunctionSpec *spec) {
        return c->fd >= 0 && (spec->memory_max != UINT64_MAX || manifest_resource(m, "MemoryMax"));
}

void cgroup_put_first(pid_t pid) {
        char path[64];

        (void) snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int) pid);
        (void) write_file(AT_FDCWD, path, OOM_SCORE_ADJUST);
}

bool cgroup_was_oom(CGroups *c, CGroup *g, unsigned others) {
        uint64_t *counted = g ? &g->oom_kills : &c->oom_kills;
        uint64_t n = oom_kills(g ? g->fd : c->fd);

        if (n <= *counted)
                return false;
        /* Also killed are processes that an instance made, of which nobody asks. */
        *counted = MAX(*counted + 1, usec_sub(n, others));
        return true;
}

void cgroup_use(const CGroup *g, CGroupUse *ret) {
        *ret = (CGroupUse) {
                .memory = read_number(g->fd, "memory.current", NULL),
                .tasks = read_number(g->fd, "pids.current", NULL),
                .cpu_usec = read_number(g->fd, "cpu.stat", "usage_usec"),
        };
}
