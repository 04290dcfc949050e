/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How long a function waits for another function of its application, a fresh process for each event, beside
 * the floors of the same machine in the same run. Floors: a socketpair's round trip, a relay of three processes
 * over raw sockets (what any supervisor between two processes costs), an sd-bus peer call.
 *
 * The supervisor and the workers are those of the build directory, in developer's mode. The numbers are for
 * reading; nothing here passes or fails. */

#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>

#include "macro.h"
#include "protocol.h"

static unsigned arg_events = 2000, arg_rate = 500;
static size_t arg_size = 1024;
static bool arg_json = false;

typedef struct Sample {
        const char *name;
        double p50, p99; /* microseconds */
} Sample;

static uint64_t now_nsec(void) {
        struct timespec ts;
        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000000000U + (uint64_t) ts.tv_nsec;
}

static int compare(const void *a, const void *b) {
        uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;
        return (x > y) - (x < y);
}

static Sample sample(const char *name, uint64_t *nsec, size_t n) {
        qsort(nsec, n, sizeof(uint64_t), compare);
        return (Sample) { name, (double) nsec[n / 2] / 1000, (double) nsec[n * 99 / 100] / 1000 };
}

static void die(const char *what, int r) {
        fprintf(stderr, "local: %s: %s\n", what, strerror(abs(r)));
        exit(EXIT_FAILURE);
}

static void pin(int cpu) {
        cpu_set_t set;

        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
        (void) sched_setaffinity(0, sizeof(set), &set);
}

static void unpin(void) {
        cpu_set_t set;

        memset(&set, 0xff, sizeof(set));
        (void) sched_setaffinity(0, sizeof(set), &set);
}

/* Passes arg_size bytes on, from one socket to another, until end of file. */
static _noreturn_ void pass_on(int from, int to) {
        char *buffer = malloc(arg_size);

        for (;;) {
                if (recv(from, buffer, arg_size, MSG_WAITALL) != (ssize_t) arg_size ||
                    send(to, buffer, arg_size, MSG_NOSIGNAL) != (ssize_t) arg_size)
                        _exit(0);
        }
}

static void round_trips(int fd, uint64_t *nsec, unsigned n) {
        char *buffer = calloc(1, arg_size);

        for (unsigned i = 0; i < n; i++) {
                uint64_t start = now_nsec();
                if (send(fd, buffer, arg_size, MSG_NOSIGNAL) != (ssize_t) arg_size ||
                    recv(fd, buffer, arg_size, MSG_WAITALL) != (ssize_t) arg_size)
                        die("floor", EPIPE);
                nsec[i] = now_nsec() - start;
        }
        free(buffer);
}

static void pair(int fds[2]) {
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
                die("socketpair", errno);
}

static Sample floor_socketpair(const char *name, uint64_t *nsec) {
        int fds[2];
        pid_t pid;

        pair(fds);
        pid = fork();
        if (pid == 0) {
                close(fds[0]);
                pass_on(fds[1], fds[1]);
        }
        close(fds[1]);
        round_trips(fds[0], nsec, arg_events);
        close(fds[0]);
        (void) waitpid(pid, NULL, 0);
        return sample(name, nsec, arg_events);
}

/* Caller, hub and callee: the hub waits on both sides, as a supervisor does. */
static Sample floor_relay(const char *name, uint64_t *nsec) {
        int a[2], b[2];
        pid_t hub, callee;

        pair(a);
        pair(b);
        callee = fork();
        if (callee == 0) {
                close(a[0]), close(a[1]), close(b[0]);
                pass_on(b[1], b[1]);
        }
        hub = fork();
        if (hub == 0) {
                char *buffer = malloc(arg_size);
                close(a[0]), close(b[1]);
                for (;;)
                        if (recv(a[1], buffer, arg_size, MSG_WAITALL) != (ssize_t) arg_size ||
                            send(b[0], buffer, arg_size, MSG_NOSIGNAL) != (ssize_t) arg_size ||
                            recv(b[0], buffer, arg_size, MSG_WAITALL) != (ssize_t) arg_size ||
                            send(a[1], buffer, arg_size, MSG_NOSIGNAL) != (ssize_t) arg_size)
                                _exit(0);
        }
        close(a[1]), close(b[0]), close(b[1]);
        round_trips(a[0], nsec, arg_events);
        close(a[0]);
        (void) waitpid(hub, NULL, 0);
        (void) waitpid(callee, NULL, 0);
        return sample(name, nsec, arg_events);
}

static int on_echo(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const void *data;
        size_t size;
        sd_bus_message *reply = NULL;
        int r;

        r = sd_bus_message_read_array(m, 'y', &data, &size);
        if (r >= 0)
                r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = sd_bus_message_append_array(reply, 'y', data, size);
        if (r >= 0)
                r = sd_bus_message_send(reply);
        sd_bus_message_unref(reply);
        return r < 0 ? r : 1;
}

static _noreturn_ void serve_echo(int fd) {
        sd_event *event = NULL;
        sd_bus *bus = NULL;
        sd_id128_t id = {};

        if (sd_event_default(&event) < 0 || sd_bus_new(&bus) < 0 || sd_bus_set_fd(bus, fd, fd) < 0 ||
            sd_bus_set_server(bus, 1, id) < 0 || sd_bus_set_anonymous(bus, 1) < 0 || sd_bus_start(bus) < 0 ||
            sd_bus_add_object(bus, NULL, "/echo", on_echo, NULL) < 0 || sd_bus_attach_event(bus, event, 0) < 0)
                _exit(1);
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void) sd_event_loop(event);
        _exit(0);
}

static sd_bus *bus_client(int fd, const char *path) {
        char address[PATH_MAX];
        sd_bus *bus;
        int r;

        r = sd_bus_new(&bus);
        if (r >= 0 && path) {
                (void) snprintf(address, sizeof(address), "unix:path=%s", path);
                r = sd_bus_set_address(bus, address);
        } else if (r >= 0)
                r = sd_bus_set_fd(bus, fd, fd);
        if (r >= 0)
                r = sd_bus_set_anonymous(bus, 1);
        if (r >= 0)
                r = sd_bus_negotiate_fds(bus, path != NULL);
        if (r >= 0)
                r = sd_bus_start(bus);
        if (r < 0)
                die("sd-bus", r);
        return bus;
}

static Sample floor_sdbus(const char *name, uint64_t *nsec) {
        char *body = calloc(1, arg_size);
        sd_bus *bus;
        int fds[2], r;
        pid_t pid;

        pair(fds);
        pid = fork();
        if (pid == 0) {
                close(fds[0]);
                serve_echo(fds[1]);
        }
        close(fds[1]);
        bus = bus_client(fds[0], NULL);
        for (unsigned i = 0; i < arg_events; i++) {
                sd_bus_message *m = NULL, *reply = NULL;
                uint64_t start = now_nsec();
                r = sd_bus_message_new_method_call(bus, &m, NULL, "/echo", "org.example.Echo", "Echo");
                if (r >= 0)
                        r = sd_bus_message_append_array(m, 'y', body, arg_size);
                if (r >= 0)
                        r = sd_bus_call(bus, m, 0, NULL, &reply);
                if (r < 0)
                        die("sd-bus floor", r);
                nsec[i] = now_nsec() - start;
                sd_bus_message_unref(m);
                sd_bus_message_unref(reply);
        }
        sd_bus_close(bus);
        sd_bus_unref(bus);
        kill(pid, SIGKILL);
        (void) waitpid(pid, NULL, 0);
        free(body);
        return sample(name, nsec, arg_events);
}

/* The product: a supervisor with a bundle of two functions. */

static void write_bundle(const char *dir, const char *build) {
        char path[PATH_MAX], command[PATH_MAX * 3];
        FILE *f;

        (void) snprintf(command, sizeof(command), "cp '%s/bench-functions.so' '%s/'", build, dir);
        if (system(command) != 0)
                die("cannot copy bench-functions.so", EIO);
        (void) snprintf(path, sizeof(path), "%s/sand.json", dir);
        f = fopen(path, "we");
        if (!f)
                die(path, errno);
        fputs("{ \"name\": \"bench\", \"functions\": {\n"
              "  \"echo\":  { \"runtime\": \"native\", \"handler\": \"bench-functions.so:echo\" },\n"
              "  \"chain\": { \"runtime\": \"native\", \"handler\": \"bench-functions.so:chain\" } } }\n", f);
        fclose(f);
}

static pid_t start_supervisor(const char *dir, const char *build, const char *socket_path) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        char program[PATH_MAX + 64], pid_text[16];
        int fd;
        pid_t pid;

        (void) snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", socket_path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || bind(fd, (struct sockaddr *) &sa, sizeof(sa)) < 0 || listen(fd, 128) < 0)
                die(socket_path, errno);
        (void) snprintf(program, sizeof(program), "%s/../../sand-supervisord", build);
        pid = fork();
        if (pid == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                (void) snprintf(pid_text, sizeof(pid_text), "%d", (int) getpid());
                setenv("LISTEN_PID", pid_text, true);
                setenv("LISTEN_FDS", "1", true);
                setenv("SAND_LOG_LEVEL", "warning", true);
                if (fd == 3)
                        (void) fcntl(fd, F_SETFD, 0);
                else if (dup2(fd, 3) < 0)
                        _exit(1);
                execl(program, "sand-supervisord", "--run", dir, NULL);
                die(program, errno);
        }
        close(fd);
        return pid;
}

static uint64_t invoke(sd_bus *bus, const char *function, const void *body, size_t size) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *m = NULL, *reply = NULL;
        const void *data = NULL;
        uint64_t value = 0;
        size_t n = 0;
        int r;

        r = sd_bus_message_new_method_call(bus, &m, NULL, SAND_APP_PATH, SAND_APP_INTERFACE, "Invoke");
        if (r >= 0)
                r = sd_bus_message_append(m, "sstsa{ss}", function, "", UINT64_C(0), "", 0);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', "ay");
        if (r >= 0)
                r = sd_bus_message_append_array(m, 'y', body, size);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        if (r >= 0)
                r = sd_bus_call(bus, m, 60 * USEC_PER_SEC, &error, &reply);
        if (r >= 0)
                r = sd_bus_message_skip(reply, "s(ttt)");
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'v', "ay");
        if (r >= 0)
                r = sd_bus_message_read_array(reply, 'y', &data, &n);
        if (r < 0) {
                fprintf(stderr, "local: %s: %s\n", function, error.message ?: strerror(-r));
                exit(EXIT_FAILURE);
        }
        if (n == sizeof(value))
                memcpy(&value, data, n);
        sd_bus_message_unref(m);
        sd_bus_message_unref(reply);
        return value;
}

static Sample product(const char *name, sd_bus *bus, uint64_t *nsec) {
        uint64_t next = now_nsec(), period = 1000000000U / arg_rate;
        char *body = calloc(1, arg_size);

        for (unsigned i = 0; i < arg_events; i++) {
                while (now_nsec() < next) {
                        struct timespec ts = { .tv_nsec = (long) (next - now_nsec()) };
                        if (ts.tv_nsec > 0 && ts.tv_nsec < 1000000000)
                                nanosleep(&ts, NULL);
                }
                next += period;
                nsec[i] = invoke(bus, "chain", body, arg_size);
        }
        free(body);
        return sample(name, nsec, arg_events);
}

static void print(const Sample *samples, size_t n, const Sample *floor) {
        if (arg_json)
                printf("{\"bench\":\"local\",\"bytes\":%zu,\"events\":%u,\"per_second\":%u,\"rows\":[", arg_size, arg_events,
                       arg_rate);
        else
                printf("%zu bytes, %u events, %u chains/s; microseconds\n\n%-52s %8s %8s  %s\n", arg_size, arg_events,
                       arg_rate, "", "p50", "p99", "p50 / relay on one CPU");
        for (size_t i = 0; i < n; i++)
                if (arg_json)
                        printf("%s{\"name\":\"%s\",\"p50_usec\":%.1f,\"p99_usec\":%.1f,\"ratio\":%.2f}", i ? "," : "",
                               samples[i].name, samples[i].p50, samples[i].p99, samples[i].p50 / floor->p50);
                else
                        printf("%-52s %8.1f %8.1f  %.2f\n", samples[i].name, samples[i].p50, samples[i].p99,
                               samples[i].p50 / floor->p50);
        if (arg_json)
                puts("]}");
}

static void parse(int argc, char *argv[]) {
        static const struct option options[] = {
                { "help", no_argument, NULL, 'h' },          { "json", no_argument, NULL, 'j' },
                { "events", required_argument, NULL, 'n' },  { "rate", required_argument, NULL, 'r' },
                { "size", required_argument, NULL, 's' },    {},
        };
        int c;

        while ((c = getopt_long(argc, argv, "hjn:r:s:", options, NULL)) >= 0)
                switch (c) {
                case 'j':
                        arg_json = true;
                        break;
                case 'n':
                        arg_events = (unsigned) atoi(optarg);
                        break;
                case 'r':
                        arg_rate = (unsigned) atoi(optarg);
                        break;
                case 's':
                        arg_size = (size_t) atol(optarg);
                        break;
                default:
                        puts("local [--events N] [--rate PER_SECOND] [--size BYTES] [--json]\n"
                             "Latency of a call between two functions of one application, beside its floors.");
                        exit(c == 'h' ? 0 : EXIT_FAILURE);
                }
        if (arg_events < 100 || arg_rate < 1 || arg_size < 1 || arg_size > 100000) {
                fprintf(stderr, "local: expected at least 100 events, a rate of at least 1, 1 to 100000 bytes\n");
                exit(EXIT_FAILURE);
        }
}

int main(int argc, char *argv[]) {
        char dir[] = "/tmp/sand-bench-XXXXXX", build[PATH_MAX], socket_path[64], command[64];
        Sample rows[7];
        size_t n = 0;
        uint64_t *nsec;
        sd_bus *bus;
        ssize_t l;
        pid_t pid;

        parse(argc, argv);
        l = readlink("/proc/self/exe", build, sizeof(build) - 1);
        if (l < 0 || !mkdtemp(dir))
                die("start", errno);
        build[l] = 0;
        *strrchr(build, '/') = 0;
        nsec = calloc(arg_events, sizeof(uint64_t));

        pin(0);
        rows[n++] = floor_socketpair("socketpair round trip, one CPU", nsec);
        rows[n++] = floor_relay("raw three-party relay, one CPU", nsec);
        rows[n++] = floor_sdbus("sd-bus peer call, one CPU", nsec);
        unpin();
        rows[n++] = floor_relay("raw three-party relay, scheduler decides", nsec);

        write_bundle(dir, build);
        (void) snprintf(socket_path, sizeof(socket_path), "%s/bench.sock", dir);
        pid = start_supervisor(dir, build, socket_path);
        bus = bus_client(-EBADF, socket_path);
        for (unsigned i = 0; i < 50; i++)
                (void) invoke(bus, "chain", "x", 1);
        rows[n++] = product("function calls function, fresh process each event", bus, nsec);
        print(rows, n, rows + 1);

        sd_bus_close(bus);
        sd_bus_unref(bus);
        kill(pid, SIGTERM);
        (void) waitpid(pid, NULL, 0);
        free(nsec);
        (void) snprintf(command, sizeof(command), "rm -rf %s", dir);
        return system(command) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
