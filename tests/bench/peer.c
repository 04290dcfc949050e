/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* peer [--cpu N] [--events N] [--bytes N] [--name NAME] KIND ADDRESS...
 *
 * Asks through a running server of that kind, one request at a time, and prints p50, p99 and max of the round trips,
 * in microseconds. With --cpu both ends are on that CPU. */

#include "peer.h"

#include <getopt.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static unsigned arg_events = 5000;
static size_t arg_bytes = 1024;
static const char *arg_name = NULL;

static int ready_fd = -EBADF;

void ready(void) {
        if (write(ready_fd, "", 1) != 1)
                die("pipe", errno);
}

/* No server at all: a program that is started and waited for. */

static char **command;

static void spawn_open(char **argv) {
        command = argv;
}

static void spawn_request(const char *body, size_t size) {
        int r, status;
        pid_t pid;

        r = posix_spawnp(&pid, command[0], NULL, NULL, command, environ);
        if (r != 0)
                die(command[0], r);
        if (waitpid(pid, &status, 0) < 0 || status != 0)
                die(command[0], EPROTO);
}

const Peer peer_spawn = { "spawn", "COMMAND...", NULL, spawn_open, spawn_request };

static const Peer *const peers[] = { &peer_nats, &peer_redis, &peer_dbus, &peer_http, &peer_spawn };

static void start_server(const Peer *p, char **address) {
        int fds[2];
        char byte;
        pid_t pid;

        if (!p->serve)
                return;
        if (pipe(fds) < 0)
                die("pipe", errno);
        pid = fork();
        if (pid < 0)
                die("fork", errno);
        if (pid == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                ready_fd = fds[1];
                p->serve(address);
                _exit(EXIT_FAILURE);
        }
        (void) close(fds[1]);
        if (read(fds[0], &byte, 1) != 1)
                die("the answering end did not start", EPIPE);
        (void) close(fds[0]);
}

static void measure(const Peer *p) {
        char *body = malloc(arg_bytes);
        Samples samples;

        if (!body)
                die("body", ENOMEM);
        memset(body, 'x', arg_bytes);
        samples_init(&samples, arg_events);
        for (unsigned i = 0; i < arg_events / 10; i++)
                p->request(body, arg_bytes);
        for (unsigned i = 0; i < arg_events; i++) {
                uint64_t start = now_nsec();
                p->request(body, arg_bytes);
                samples_add(&samples, now_nsec() - start);
        }
        row_samples(arg_name ?: p->name, &samples);
}

static void parse(int argc, char *argv[]) {
        static const struct option options[] = {
                { "cpu", required_argument, NULL, 'c' },   { "events", required_argument, NULL, 'e' },
                { "bytes", required_argument, NULL, 'b' }, { "name", required_argument, NULL, 'n' }, {},
        };
        int c;

        while ((c = getopt_long(argc, argv, "+", options, NULL)) >= 0)
                switch (c) {
                case 'c': pin((int) parse_number("--cpu", optarg, 0, 4095)); break;
                case 'e': arg_events = (unsigned) parse_number("--events", optarg, 10, 10000000); break;
                case 'b': arg_bytes = (size_t) parse_number("--bytes", optarg, 1, 100000); break;
                case 'n': arg_name = optarg; break;
                default: exit(EXIT_FAILURE);
                }
}

int main(int argc, char *argv[]) {
        parse(argc, argv);
        for (size_t i = 0; i < ELEMENTSOF(peers) && argc >= optind + 2; i++) {
                if (!streq(argv[optind], peers[i]->name))
                        continue;
                start_server(peers[i], argv + optind + 1);
                peers[i]->open(argv + optind + 1);
                measure(peers[i]);
                return EXIT_SUCCESS;
        }
        for (size_t i = 0; i < ELEMENTSOF(peers); i++)
                fprintf(stderr, "usage: peer [OPTION...] %s %s\n", peers[i]->name, peers[i]->usage);
        return EXIT_FAILURE;
}
