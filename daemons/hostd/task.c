/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "task.h"

#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "log.h"

struct Task {
        TaskSpec spec;
        sd_event_source *child, *output, *timer;
        int fd; /* the report, read end */
        char *report;
        size_t size;
        bool timed_out;
};

static int compare_fds(const void *a, const void *b) {
        return *(const int *) a - *(const int *) b;
}

static void close_all_but(const int *fds, size_t n_fds, int report_fd) {
        int keep[16] = { STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO, report_fd };
        unsigned next = 0;
        size_t n = 4;

        assert(n_fds + n <= ELEMENTSOF(keep));
        for (size_t i = 0; i < n_fds; i++)
                keep[n++] = fds[i];
        qsort(keep, n, sizeof(int), compare_fds);
        for (size_t i = 0; i < n; i++) {
                if ((unsigned) keep[i] > next)
                        (void) syscall(SYS_close_range, next, (unsigned) keep[i] - 1, 0);
                next = (unsigned) keep[i] + 1;
        }
        (void) syscall(SYS_close_range, next, ~0U, 0);
}

static _noreturn_ void run_child(const TaskSpec *spec, int report_fd, pid_t parent) {
        sigset_t none;
        int r;

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
                _exit(EXIT_FAILURE);
        (void) sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
        close_all_but(spec->fds, spec->n_fds, report_fd);
        r = spec->main(report_fd, spec->argument);
        _exit(r < 0 ? MIN(-r, 255) : 0);
}

Task *task_free(Task *t) {
        if (!t)
                return NULL;
        /* The child belongs to its source: it is killed and reaped with it. */
        sd_event_source_disable_unref(t->child);
        sd_event_source_disable_unref(t->output);
        sd_event_source_disable_unref(t->timer);
        safe_close(t->fd);
        free(t->report);
        free(t);
        return NULL;
}

/* Takes what is there; the rest of a report that is too long is read and dropped. */
static int drain(Task *t) {
        for (;;) {
                char scratch[4096];
                size_t room = TASK_OUTPUT_MAX - t->size;
                ssize_t n = read(t->fd, room ? t->report + t->size : scratch, room ?: sizeof(scratch));

                if (n < 0)
                        return errno == EAGAIN ? 1 : -errno;
                if (n == 0)
                        return 0;
                if (room)
                        t->size += (size_t) n;
        }
}

static int on_output(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        Task *t = userdata;

        if (drain(t) <= 0)
                (void) sd_event_source_set_enabled(s, SD_EVENT_OFF);
        return 0;
}

static int on_timeout(sd_event_source *s, uint64_t usec, void *userdata) {
        Task *t = userdata;

        t->timed_out = true;
        (void) sd_event_source_send_child_signal(t->child, SIGKILL, NULL, 0);
        return 0;
}

static int on_exit_child(sd_event_source *s, const siginfo_t *si, void *userdata) {
        Task *t = userdata;
        int r;

        (void) drain(t);
        t->report[t->size] = 0;
        if (si->si_code == CLD_EXITED)
                r = -si->si_status;
        else
                r = t->timed_out ? -ETIMEDOUT : -EPIPE;
        if (si->si_code != CLD_EXITED && !t->timed_out)
                log_error("Task '%s' was killed by signal %i.", t->spec.what, si->si_status);
        t->spec.done(t, r, t->report, t->spec.userdata);
        return 0;
}

static int watch(Task *t, sd_event *event, pid_t pid) {
        int r;

        r = sd_event_add_child(event, &t->child, pid, WEXITED, on_exit_child, t);
        if (r < 0) {
                (void) kill(pid, SIGKILL);
                (void) waitpid(pid, NULL, 0);
                return r;
        }
        r = sd_event_source_set_child_process_own(t->child, true);
        if (r < 0)
                return r;
        r = sd_event_add_io(event, &t->output, t->fd, EPOLLIN, on_output, t);
        if (r < 0)
                return r;
        return sd_event_add_time_relative(event, &t->timer, CLOCK_MONOTONIC, t->spec.timeout_usec, 0,
                                          on_timeout, t);
}

int task_new(sd_event *event, const TaskSpec *spec, Task **ret) {
        _cleanup_(task_freep) Task *t = calloc(1, sizeof(Task));
        _cleanup_(closep) int write_end = -EBADF;
        pid_t pid, self = getpid();
        int pipe_fds[2], r;

        assert(spec->main && spec->done);
        if (!t)
                return -ENOMEM;
        *t = (Task) { .spec = *spec, .fd = -EBADF };
        t->report = malloc(TASK_OUTPUT_MAX + 1);
        if (!t->report)
                return -ENOMEM;
        if (pipe2(pipe_fds, O_CLOEXEC) < 0)
                return -errno;
        t->fd = pipe_fds[0];
        write_end = pipe_fds[1];
        if (fcntl(t->fd, F_SETFL, O_NONBLOCK) < 0)
                return -errno;

        pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0)
                run_child(spec, write_end, self);
        r = watch(t, event, pid);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(t);
        return 0;
}
