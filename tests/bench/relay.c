/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* relay raw|sdbus SOCKET [--hub-cpu N] [--callee-cpu N]
 *
 * A hub between one caller, which connects to SOCKET, and a callee that echoes: what any supervisor between two
 * processes costs. Both do nothing else, and drain their sockets before they sleep. `raw`: a message is a
 * packet. `sdbus`: Echo(ay) -> (ay) of /echo, sd-bus at all three ends. Ends with the caller's connection. */

#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-bus.h>

#include "macro.h"
#include "stat.h"

#define PACKET_MAX (128U * 1024U)

static int arg_hub_cpu = -1, arg_callee_cpu = -1;

static int accept_one(const char *path, int type) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        int fd, client;

        (void) snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
        (void) unlink(path);
        fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
        if (fd < 0 || bind(fd, (struct sockaddr *) &sa, sizeof(sa)) < 0 || listen(fd, 1) < 0)
                die(path, errno);
        client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        if (client < 0)
                die("accept", errno);
        (void) close(fd);
        return client;
}

static int start_callee(int type, void (*serve)(int fd)) {
        int fds[2];
        pid_t pid;

        if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds) < 0)
                die("socketpair", errno);
        pid = fork();
        if (pid < 0)
                die("fork", errno);
        if (pid == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                (void) close(fds[0]);
                pin(arg_callee_cpu);
                serve(fds[1]);
                _exit(EXIT_SUCCESS);
        }
        (void) close(fds[1]);
        return fds[0];
}

/* raw */

static char packet[PACKET_MAX];

static void raw_callee(int fd) {
        ssize_t n;

        while ((n = recv(fd, packet, sizeof(packet), 0)) > 0)
                if (send(fd, packet, (size_t) n, MSG_NOSIGNAL) != n)
                        return;
}

/* All that is there, from one side to the other. False at the end. */
static bool raw_drain(int from, int to) {
        for (;;) {
                ssize_t n = recv(from, packet, sizeof(packet), MSG_DONTWAIT);
                if (n < 0 && errno == EAGAIN)
                        return true;
                if (n <= 0 || send(to, packet, (size_t) n, MSG_NOSIGNAL) != n)
                        return false;
        }
}

static void raw_hub(int caller, int callee) {
        struct pollfd p[] = { { .fd = caller, .events = POLLIN }, { .fd = callee, .events = POLLIN } };

        for (;;) {
                if (poll(p, ELEMENTSOF(p), -1) < 0)
                        die("poll", errno);
                if ((p[0].revents && !raw_drain(caller, callee)) || (p[1].revents && !raw_drain(callee, caller)))
                        return;
        }
}

/* sd-bus */

static sd_bus *bus_open(int fd, bool server) {
        sd_bus *bus = NULL;
        int r;

        r = sd_bus_new(&bus);
        if (r >= 0)
                r = sd_bus_set_fd(bus, fd, fd);
        if (r >= 0 && server)
                r = sd_bus_set_server(bus, true, SD_ID128_NULL);
        if (r >= 0)
                r = sd_bus_set_anonymous(bus, true);
        if (r >= 0)
                r = sd_bus_start(bus);
        if (r < 0)
                die("sd-bus", r);
        return bus;
}

static int reply_with(sd_bus_message *call, sd_bus_message *body) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const void *data;
        size_t size;
        int r;

        r = sd_bus_message_read_array(body, 'y', &data, &size);
        if (r >= 0)
                r = sd_bus_message_new_method_return(call, &reply);
        if (r >= 0)
                r = sd_bus_message_append_array(reply, 'y', data, size);
        return r < 0 ? r : sd_bus_message_send(reply);
}

static int on_echo(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        int r = reply_with(m, m);
        return r < 0 ? r : 1;
}

static int on_callee_reply(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        sd_bus_message *call = userdata;
        int r = reply_with(call, m);

        sd_bus_message_unref(call);
        return r;
}

static int on_relay(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *call = NULL;
        sd_bus *callee = userdata;
        const void *data;
        size_t size;
        int r;

        r = sd_bus_message_read_array(m, 'y', &data, &size);
        if (r >= 0)
                r = sd_bus_message_new_method_call(callee, &call, NULL, "/echo", "org.example.Echo", "Echo");
        if (r >= 0)
                r = sd_bus_message_append_array(call, 'y', data, size);
        if (r >= 0)
                r = sd_bus_call_async(callee, NULL, call, on_callee_reply, m, 0);
        if (r < 0)
                return r;
        sd_bus_message_ref(m);
        return 1;
}

/* Until it has nothing more. False at the end. */
static bool bus_drain(sd_bus *bus) {
        int r;

        while ((r = sd_bus_process(bus, NULL)) > 0)
                ;
        return r == 0;
}

static void sdbus_callee(int fd) {
        sd_bus *bus = bus_open(fd, true);

        if (sd_bus_add_object(bus, NULL, "/echo", on_echo, NULL) < 0)
                die("sd-bus", ENOMEM);
        while (bus_drain(bus))
                (void) sd_bus_wait(bus, UINT64_MAX);
}

static void sdbus_hub(int caller_fd, int callee_fd) {
        sd_bus *caller = bus_open(caller_fd, true), *callee = bus_open(callee_fd, false);
        struct pollfd p[] = { { .fd = caller_fd }, { .fd = callee_fd } };

        if (sd_bus_add_object(caller, NULL, "/echo", on_relay, callee) < 0)
                die("sd-bus", ENOMEM);
        while (bus_drain(caller) && bus_drain(callee)) {
                p[0].events = (short) sd_bus_get_events(caller);
                p[1].events = (short) sd_bus_get_events(callee);
                (void) poll(p, ELEMENTSOF(p), -1);
        }
}

static const struct Kind {
        const char *name;
        int type;
        void (*callee)(int fd);
        void (*hub)(int caller, int callee);
} kinds[] = {
        { "raw", SOCK_SEQPACKET, raw_callee, raw_hub },
        { "sdbus", SOCK_STREAM, sdbus_callee, sdbus_hub },
};

static void parse(int argc, char *argv[]) {
        static const struct option options[] = {
                { "hub-cpu", required_argument, NULL, 'h' }, { "callee-cpu", required_argument, NULL, 'c' }, {},
        };
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                if (c == 'h')
                        arg_hub_cpu = (int) parse_number("--hub-cpu", optarg, 0, 4095);
                else if (c == 'c')
                        arg_callee_cpu = (int) parse_number("--callee-cpu", optarg, 0, 4095);
                else
                        exit(EXIT_FAILURE);
}

int main(int argc, char *argv[]) {
        parse(argc, argv);
        for (size_t i = 0; i < ELEMENTSOF(kinds) && argc == optind + 2; i++) {
                const struct Kind *k = kinds + i;
                int caller, callee;

                if (!streq(argv[optind], k->name))
                        continue;
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                caller = accept_one(argv[optind + 1], k->type);
                callee = start_callee(k->type, k->callee);
                pin(arg_hub_cpu);
                k->hub(caller, callee);
                return EXIT_SUCCESS;
        }
        fprintf(stderr, "usage: relay raw|sdbus SOCKET [--hub-cpu N] [--callee-cpu N]\n");
        return EXIT_FAILURE;
}
