/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "children.h"

#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "hub.h"
#include "log.h"
#include "macro.h"

#define BUCKETS 256U
#define STRANGERS_MAX 1024U
#define FORKS_MAX 4096U
#define LIST_MAX 16384

typedef struct Stranger {
        pid_t pid;
        uint64_t seen; /* newest fork ticket when it was first seen */
} Stranger;

struct Children {
        Child *table[BUCKETS];
        sd_event_source *sigchld;
        int list_fd; /* /proc/self/task/TID/children */
        uint64_t last_ticket;
        uint64_t open[FORKS_MAX]; /* unanswered tickets, in no order */
        size_t n_open;
        Stranger strangers[STRANGERS_MAX];
        size_t n_strangers;
};

static Child **bucket(Children *c, pid_t pid) {
        return c->table + (unsigned) pid % BUCKETS;
}

static Child *children_find(Children *c, pid_t pid) {
        for (Child *i = *bucket(c, pid); i; i = i->next)
                if (i->pid == pid)
                        return i;
        return NULL;
}

static int on_sigchld(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata) {
        Children *c = userdata;

        for (;;) {
                struct rusage usage;
                int status;
                pid_t pid = wait4(-1, &status, WNOHANG, &usage);
                if (pid <= 0)
                        return 0;
                Child *child = children_find(c, pid);
                if (child) {
                        children_remove(c, child);
                        child->handler(child, status, &usage);
                }
        }
}

static int open_list(void) {
        char path[64];
        int fd;

        (void) snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int) gettid());
        fd = open(path, O_RDONLY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

int children_new(sd_event *event, Children **ret) {
        Children *c;
        sigset_t mask;
        int r;

        c = calloc(1, sizeof(Children));
        if (!c)
                return -ENOMEM;
        c->list_fd = r = open_list();
        if (r < 0) {
                children_free(c);
                return r;
        }
        sigemptyset(&mask);
        sigaddset(&mask, SIGCHLD);
        (void) sigprocmask(SIG_BLOCK, &mask, NULL);
        r = sd_event_add_signal(event, &c->sigchld, SIGCHLD, on_sigchld, c);
        if (r >= 0) /* after the connections: what a process sent comes before its end */
                r = sd_event_source_set_priority(c->sigchld, HUB_BEHIND_PRIORITY);
        if (r < 0) {
                children_free(c);
                return r;
        }
        *ret = c;
        return 0;
}

Children *children_free(Children *c) {
        if (!c)
                return NULL;
        sd_event_source_disable_unref(c->sigchld);
        safe_close(c->list_fd);
        free(c);
        return NULL;
}

int children_add(Children *c, Child *child, pid_t pid, child_handler_t handler) {
        siginfo_t si = {};

        assert(child->pid == 0);
        if (pid <= 1 || waitid(P_PID, (id_t) pid, &si, WEXITED | WNOHANG | WNOWAIT) < 0)
                return -ECHILD;
        if (children_find(c, pid))
                return -EEXIST;
        child->pid = pid;
        child->handler = handler;
        child->next = *bucket(c, pid);
        *bucket(c, pid) = child;
        return 0;
}

void children_remove(Children *c, Child *child) {
        if (child->pid == 0)
                return;
        for (Child **i = bucket(c, child->pid); *i; i = &(*i)->next)
                if (*i == child) {
                        *i = child->next;
                        break;
                }
        child->pid = 0;
        child->next = NULL;
}

static void kill_pid(pid_t pid) {
        _cleanup_(closep) int fd = pidfd_open(pid, 0);
        if (fd >= 0)
                (void) pidfd_send_signal(fd, SIGKILL, NULL, 0);
}

void child_kill(const Child *child) {
        if (child->pid > 0)
                kill_pid(child->pid);
}

uint64_t children_fork_begin(Children *c) {
        if (c->n_open >= FORKS_MAX)
                return 0;
        return c->open[c->n_open++] = ++c->last_ticket;
}

void children_fork_end(Children *c, uint64_t ticket) {
        for (size_t i = 0; i < c->n_open; i++)
                if (c->open[i] == ticket) {
                        c->open[i] = c->open[--c->n_open];
                        return;
                }
}

static uint64_t oldest_open(const Children *c) {
        uint64_t oldest = UINT64_MAX;
        for (size_t i = 0; i < c->n_open; i++)
                oldest = MIN(oldest, c->open[i]);
        return oldest;
}

/* When a stranger that is seen now was first seen; it is remembered from now on. */
static uint64_t stranger_seen(Children *c, pid_t pid, const Stranger *before, size_t n_before) {
        uint64_t seen = c->last_ticket;
        for (size_t i = 0; i < n_before; i++)
                if (before[i].pid == pid)
                        seen = before[i].seen;
        if (c->n_strangers < STRANGERS_MAX)
                c->strangers[c->n_strangers++] = (Stranger) { pid, seen };
        return seen;
}

static bool is_zombie(pid_t pid) {
        siginfo_t si = {};
        return waitid(P_PID, (id_t) pid, &si, WEXITED | WNOHANG | WNOWAIT) >= 0 && si.si_pid == pid;
}

/* The list is complete as far as it goes: what does not fit is met by the next look. False: there is none. */
static bool read_list(int fd, char text[static LIST_MAX]) {
        ssize_t n = pread(fd, text, LIST_MAX - 1, 0);

        if (n <= 0)
                return false;
        text[n] = 0;
        if (n == LIST_MAX - 1) /* the last number may be cut */
                *strrchr(text, ' ') = 0;
        return true;
}

bool children_sweep(Children *c) {
        Stranger before[STRANGERS_MAX];
        size_t n_before = c->n_strangers;
        char text[LIST_MAX];
        uint64_t oldest;

        if (!read_list(c->list_fd, text)) {
                c->n_strangers = 0;
                return false;
        }

        memcpy(before, c->strangers, n_before * sizeof(Stranger));
        c->n_strangers = 0;
        oldest = oldest_open(c);

        for (char *save = NULL, *t = strtok_r(text, " \n", &save); t; t = strtok_r(NULL, " \n", &save)) {
                pid_t pid = (pid_t) strtol(t, NULL, 10);
                if (pid <= 1 || children_find(c, pid) || is_zombie(pid))
                        continue;
                if (stranger_seen(c, pid, before, n_before) < oldest)
                        kill_pid(pid);
        }
        return c->n_strangers > 0;
}

void children_end(void) {
        _cleanup_(closep) int fd = open_list();
        char text[LIST_MAX];

        while (read_list(fd, text)) {
                for (char *save = NULL, *t = strtok_r(text, " \n", &save); t; t = strtok_r(NULL, " \n", &save))
                        (void) kill((pid_t) strtol(t, NULL, 10), SIGKILL); /* not reaped: the number is its own */
                /* One at least ends, and leaves its own children to us. */
                if (waitpid(-1, NULL, 0) < 0 && errno != EINTR)
                        return;
                while (waitpid(-1, NULL, WNOHANG) > 0)
                        ;
        }
}
