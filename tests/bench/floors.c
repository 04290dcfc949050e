/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* floors BYTES COUNT: what a call between processes costs at least, with so many bytes each way: a socketpair's round
 * trip, a relay of three processes over raw sockets (what any supervisor between two processes costs), an sd-bus peer
 * call.
 *
 * floors BYTES COUNT HOPS: one payload's way through a chain of so many processes and back, made by hand: inline over
 * socketpairs, or in a sealed memfd that is made once and passed on, in small pages and (where the kernel has any)
 * in huge ones. Each process looks at a byte of each page.
 *
 * Prints a row each; as does every program here that bench.py starts. */

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>

#include "stat.h"

#define HOPS_MAX 64U
#define PAGE 4096U
#define HUGE_PAGE (2U * 1024U * 1024U)
#define WARM_UP 20U
#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static size_t size; /* of the payload */
static unsigned count;

static void socket_pair(int fds[2]) {
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
                die("socketpair", errno);
}

/* A process that dies with us. */
static pid_t child_new(void) {
        pid_t pid = fork();

        if (pid < 0)
                die("fork", errno);
        if (pid == 0)
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        return pid;
}

static void children_end(void) {
        while (wait(NULL) > 0)
                ;
}

/* Bytes; an empty payload is one, so that somebody wakes. */

static bool put(int fd, const char *buffer) {
        size_t n = MAX(size, (size_t) 1);

        for (size_t done = 0; done < n;) {
                ssize_t k = send(fd, buffer + done, n - done, MSG_NOSIGNAL);
                if (k <= 0)
                        return false;
                done += (size_t) k;
        }
        return true;
}

static bool get(int fd, char *buffer) {
        size_t n = MAX(size, (size_t) 1);

        return recv(fd, buffer, n, MSG_WAITALL) == (ssize_t) n;
}

static char *buffer_new(void) {
        char *buffer = malloc(size + 1);

        if (!buffer)
                die("malloc", ENOMEM);
        memset(buffer, 'x', size + 1);
        return buffer;
}

static void look_at(const void *data) {
        for (size_t i = 0; i < size; i += PAGE)
                (void) ((const volatile char *) data)[i];
}

static void round_trips(const char *name, int fd, int cpu) {
        char *buffer = buffer_new();
        Samples samples;

        samples_init(&samples, count);
        for (unsigned i = 0; i < count + WARM_UP; i++) {
                uint64_t begin = now_nsec();
                if (!put(fd, buffer) || !get(fd, buffer))
                        die(name, EPIPE);
                look_at(buffer);
                if (i >= WARM_UP)
                        samples_add(&samples, now_nsec() - begin);
        }
        row_samples(name, &samples);
        samples_done(&samples);
        free(buffer);
}

/* From `left` to `right` and back, until the end of either; without a `right`, back at once. */
static _noreturn_ void pass_on(int left, int right) {
        char *buffer = buffer_new();

        for (;;) {
                if (!get(left, buffer))
                        _exit(0);
                look_at(buffer);
                if (right >= 0 && (!put(right, buffer) || !get(right, buffer)))
                        _exit(0);
                if (!put(left, buffer))
                        _exit(0);
        }
}

/* `hops` processes in a row, each with the next; the first one's socket. */
static int chain_new(unsigned hops, _noreturn_ void (*serve)(int left, int right)) {
        int right = -EBADF;

        for (unsigned i = 0; i < hops; i++) {
                int fds[2];
                socket_pair(fds);
                if (child_new() == 0) {
                        (void) close(fds[0]);
                        serve(fds[1], right);
                }
                (void) close(fds[1]);
                (void) safe_close(right);
                right = fds[0];
        }
        return right;
}

static void floor_inline(const char *name, unsigned hops, int cpu) {
        int fd;

        pin(cpu);
        fd = chain_new(hops, pass_on);
        round_trips(name, fd, cpu);
        (void) close(fd);
        children_end();
        pin(-1);
}

/* sd-bus */

static int on_echo(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        sd_bus_message *reply = NULL;
        const void *data;
        size_t n;
        int r;

        r = sd_bus_message_read_array(m, 'y', &data, &n);
        if (r >= 0)
                r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = sd_bus_message_append_array(reply, 'y', data, n);
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
                _exit(EXIT_FAILURE);
        sd_bus_set_exit_on_disconnect(bus, true);
        (void) sd_event_loop(event);
        _exit(EXIT_SUCCESS);
}

static int echo_once(sd_bus *bus, const char *body) {
        sd_bus_message *m = NULL, *reply = NULL;
        int r;

        r = sd_bus_message_new_method_call(bus, &m, NULL, "/echo", "org.example.Echo", "Echo");
        if (r >= 0)
                r = sd_bus_message_append_array(m, 'y', body, size);
        if (r >= 0)
                r = sd_bus_call(bus, m, 0, NULL, &reply);
        sd_bus_message_unref(m);
        sd_bus_message_unref(reply);
        return r;
}

static void floor_sdbus(const char *name) {
        _cleanup_(freep) char *body = buffer_new();
        sd_bus *bus = NULL;
        Samples samples;
        int fds[2], r;

        samples_init(&samples, count);
        pin(0);
        socket_pair(fds);
        if (child_new() == 0) {
                (void) close(fds[0]);
                serve_echo(fds[1]);
        }
        (void) close(fds[1]);
        if (sd_bus_new(&bus) < 0 || sd_bus_set_fd(bus, fds[0], fds[0]) < 0 || sd_bus_set_anonymous(bus, 1) < 0 ||
            sd_bus_start(bus) < 0)
                die(name, EIO);
        for (unsigned i = 0; i < count + WARM_UP; i++) {
                uint64_t begin = now_nsec();
                r = echo_once(bus, body);
                if (r < 0)
                        die(name, r);
                if (i >= WARM_UP)
                        samples_add(&samples, now_nsec() - begin);
        }
        row_samples(name, &samples);
        samples_done(&samples);
        sd_bus_close(bus);
        sd_bus_unref(bus);
        children_end();
        pin(-1);
}

/* A memfd through a chain. */

static bool put_fd(int socket, int fd) {
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control = {};
        struct iovec iov = { (void *) "", 1 };
        struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };

        control.header = (struct cmsghdr) {
                .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
        };
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(int));
        return sendmsg(socket, &mh, MSG_NOSIGNAL) == 1;
}

static int get_fd(int socket) {
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control = {};
        char byte;
        struct iovec iov = { &byte, 1 };
        struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
        int fd;

        if (recvmsg(socket, &mh, MSG_CMSG_CLOEXEC) != 1 || control.header.cmsg_len != CMSG_LEN(sizeof(int)))
                return -EPIPE;
        memcpy(&fd, CMSG_DATA(&control.header), sizeof(int));
        return fd;
}

static void look_into(int fd) {
        void *p;

        if ((fcntl(fd, F_GET_SEALS) & SEALS) != SEALS)
                die("the memfd is not sealed", EPERM);
        p = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
        if (p == MAP_FAILED)
                die("mmap", errno);
        look_at(p);
        (void) munmap(p, size);
}

static _noreturn_ void pass_memfd_on(int left, int right) {
        for (;;) {
                int fd = get_fd(left);

                if (fd < 0)
                        _exit(0);
                look_into(fd);
                if (right >= 0) {
                        if (!put_fd(right, fd))
                                _exit(0);
                        (void) close(fd);
                        fd = get_fd(right);
                        if (fd < 0)
                                _exit(0);
                        look_into(fd);
                }
                if (!put_fd(left, fd))
                        _exit(0);
                (void) close(fd);
        }
}

static int memfd_write(int fd, const char *body) {
        for (size_t done = 0; done < size;) {
                ssize_t n = write(fd, body + done, size - done);
                if (n <= 0)
                        return -errno;
                done += (size_t) n;
        }
        return 0;
}

/* Memory of hugetlbfs is not written to, but mapped. */
static int memfd_map(int fd, const char *body) {
        size_t rounded = (size + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
        void *p;

        if (ftruncate(fd, (off_t) rounded) < 0)
                return -errno;
        p = mmap(NULL, rounded, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED)
                return -errno;
        memcpy(p, body, size);
        return munmap(p, rounded) < 0 ? -errno : 0;
}

static int memfd_new(const char *body, bool huge) {
        int fd = memfd_create("floor", MFD_CLOEXEC | MFD_ALLOW_SEALING | (huge ? MFD_HUGETLB : 0)), r;

        if (fd < 0)
                return -errno;
        r = huge ? memfd_map(fd, body) : memfd_write(fd, body);
        if (r >= 0 && fcntl(fd, F_ADD_SEALS, SEALS) < 0)
                r = -errno;
        if (r < 0) {
                (void) close(fd);
                return r;
        }
        return fd;
}

/* One payload, made anew, there and back. False: there are no such memfds here. */
static bool memfd_once(int chain, const char *body, bool huge) {
        int fd = memfd_new(body, huge);

        if (fd < 0)
                return false;
        if (!put_fd(chain, fd))
                die("memfd", EPIPE);
        (void) close(fd);
        fd = get_fd(chain);
        if (fd < 0)
                die("memfd", EPIPE);
        look_into(fd);
        (void) close(fd);
        return true;
}

static void floor_memfd(const char *name, unsigned hops, bool huge) {
        _cleanup_(freep) char *body = buffer_new();
        bool there = true;
        Samples samples;
        int chain;

        samples_init(&samples, count);
        pin(0);
        chain = chain_new(hops, pass_memfd_on);
        for (unsigned i = 0; i < count + WARM_UP && there; i++) {
                uint64_t begin = now_nsec();
                there = memfd_once(chain, body, huge);
                if (i >= WARM_UP)
                        samples_add(&samples, now_nsec() - begin);
        }
        if (there)
                row_samples(name, &samples);
        samples_done(&samples);
        (void) close(chain);
        children_end();
        pin(-1);
}

int main(int argc, char *argv[]) {
        unsigned hops;

        if (argc < 3 || argc > 4) {
                fprintf(stderr, "usage: floors BYTES COUNT [HOPS]\n");
                return EXIT_FAILURE;
        }
        size = parse_number("BYTES", argv[1], 0, 64 * 1024 * 1024);
        count = (unsigned) parse_number("COUNT", argv[2], 1, 1000000);
        if (argc == 3) {
                floor_inline("socketpair round trip, one CPU", 1, 0);
                floor_inline("raw three-party relay, one CPU", 2, 0);
                floor_inline("raw three-party relay, free", 2, -1);
                floor_sdbus("sd-bus peer call, one CPU");
                return EXIT_SUCCESS;
        }
        hops = (unsigned) parse_number("HOPS", argv[3], 1, HOPS_MAX);
        floor_inline("inline", hops, 0);
        if (size > 0) {
                floor_memfd("sealed memfd", hops, false);
                floor_memfd("sealed memfd, hugetlb", hops, true);
        }
        return EXIT_SUCCESS;
}
