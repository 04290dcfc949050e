/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* forks WORKER HANDLER [COUNT]: what one instance after another costs that gets no event: the Fork call of a real
 * worker, until the instance says that it is ready; then its channel is closed, until it is reaped. The worker's
 * working directory and environment are ours.
 *
 * Prints one row, microseconds and MiB: fork (the worker's answer), ready, exit, total, each the median; cpu and faults
 * of an instance (means); the worker's resident memory and what of it is in huge pages. */

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "bench-bus.h"
#include "protocol.h"
#include "stat.h"

#define WARM_UP 50U

typedef struct Cost {
        Samples fork, ready, exit, total;
        uint64_t cpu_usec, faults;
} Cost;

static void socket_pair(int fds[2]) {
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
                die("socketpair", errno);
}

static sd_bus *start_worker(const char *worker, const char *handler, pid_t *ret_pid) {
        int fds[2];
        pid_t pid;

        socket_pair(fds);
        pid = fork();
        if (pid < 0)
                die("fork", errno);
        if (pid == 0) {
                if (fds[1] == SAND_CHANNEL_FD ? fcntl(fds[1], F_SETFD, 0) < 0 : dup2(fds[1], SAND_CHANNEL_FD) < 0)
                        die("dup2", errno);
                execl(worker, worker, handler, NULL);
                die(worker, errno);
        }
        (void) close(fds[1]);
        *ret_pid = pid;
        return bus_server(fds[0]);
}

static void wait_for_signal(sd_bus *bus, const char *interface, const char *member) {
        for (;;) {
                sd_bus_message *m = NULL;
                int r = sd_bus_process(bus, &m);
                bool there = m && sd_bus_message_is_signal(m, interface, member);

                if (r >= 0 && m && !there && sd_bus_message_is_signal(m, NULL, NULL))
                        die(sd_bus_message_get_member(m), EPROTO);
                sd_bus_message_unref(m);
                if (there)
                        return;
                if (r == 0)
                        r = sd_bus_wait(bus, 60 * USEC_PER_SEC);
                if (r < 0)
                        die(member, r);
        }
}

static pid_t call_fork(sd_bus *worker, int socket, int log) {
        sd_bus_message *m = NULL, *reply = NULL;
        const void *pids = NULL;
        size_t size = 0;
        int32_t pid;
        int r;

        r = sd_bus_message_new_method_call(worker, &m, NULL, SAND_WORKER_PATH, SAND_WORKER_INTERFACE, "Fork");
        if (r >= 0)
                r = sd_bus_message_append(m, "ia(hh)", -1, 1, socket, log);
        if (r >= 0)
                r = sd_bus_call(worker, m, 60 * USEC_PER_SEC, NULL, &reply);
        if (r >= 0)
                r = sd_bus_message_read_array(reply, 'i', &pids, &size);
        if (r < 0 || size != sizeof(pid))
                die("Fork", r);
        memcpy(&pid, pids, sizeof(pid));
        sd_bus_message_unref(m);
        sd_bus_message_unref(reply);
        if (pid < 0)
                die("Fork", pid);
        return pid;
}

static void one(sd_bus *worker, Cost *cost) {
        uint64_t begin, forked, ready, closed;
        struct rusage ru;
        sd_bus *instance;
        int fds[2];
        pid_t pid;

        socket_pair(fds);
        instance = bus_server(fds[0]);
        begin = now_nsec();
        pid = call_fork(worker, fds[1], STDERR_FILENO);
        forked = now_nsec();
        (void) close(fds[1]);
        wait_for_signal(instance, SAND_INSTANCE_INTERFACE, "Ready");
        ready = now_nsec();
        sd_bus_close(instance);
        sd_bus_unref(instance);
        if (wait4(pid, NULL, 0, &ru) < 0)
                die("wait4", errno);
        closed = now_nsec();
        if (!cost)
                return;
        samples_add(&cost->fork, forked - begin);
        samples_add(&cost->ready, ready - begin);
        samples_add(&cost->exit, closed - ready);
        samples_add(&cost->total, closed - begin);
        cost->cpu_usec += (uint64_t) (ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * USEC_PER_SEC +
                          (uint64_t) (ru.ru_utime.tv_usec + ru.ru_stime.tv_usec);
        cost->faults += (uint64_t) ru.ru_minflt;
}

/* Of /proc/PID/smaps_rollup, MiB. */
static double memory_of(pid_t pid, const char *key) {
        char path[64], line[256];
        double kib = 0;
        FILE *f;

        (void) snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int) pid);
        f = fopen(path, "re");
        if (!f)
                die(path, errno);
        while (fgets(line, sizeof(line), f))
                if (startswith(line, key))
                        kib = strtod(line + strlen(key), NULL);
        (void) fclose(f);
        return kib / 1024;
}

int main(int argc, char *argv[]) {
        unsigned n = 500;
        sd_bus *worker;
        Cost cost = {};
        pid_t pid;

        if (argc < 3 || argc > 4) {
                fprintf(stderr, "usage: forks WORKER HANDLER [COUNT]\n");
                return EXIT_FAILURE;
        }
        if (argc == 4)
                n = (unsigned) parse_number("COUNT", argv[3], 10, 1000000);
        samples_init(&cost.fork, n);
        samples_init(&cost.ready, n);
        samples_init(&cost.exit, n);
        samples_init(&cost.total, n);
        worker = start_worker(argv[1], argv[2], &pid);
        wait_for_signal(worker, SAND_WORKER_INTERFACE, "Loaded");
        for (unsigned i = 0; i < n + WARM_UP; i++)
                one(worker, i < WARM_UP ? NULL : &cost);

        row_begin(argv[2]);
        row_number("fork", samples_quantile(&cost.fork, 0.5));
        row_number("ready", samples_quantile(&cost.ready, 0.5));
        row_number("exit", samples_quantile(&cost.exit, 0.5));
        row_number("total", samples_quantile(&cost.total, 0.5));
        row_number("p99", samples_quantile(&cost.total, 0.99));
        row_number("cpu", (double) cost.cpu_usec / n);
        row_number("faults", (double) cost.faults / n);
        row_number("resident_mib", memory_of(pid, "Rss:"));
        row_number("huge_mib", memory_of(pid, "AnonHugePages:"));
        row_end();
        sd_bus_close(worker);
        sd_bus_unref(worker);
        (void) waitpid(pid, NULL, 0);
        return EXIT_SUCCESS;
}
