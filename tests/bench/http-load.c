/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* http-load PORT PATH [OPTION...]: an honest client in an open loop.
 *
 *     --rate N       requests a second, evenly spaced; the latency counts from when one was due (500)
 *     --fresh N      each Nth makes a connection of its own, the others use what is open; 0: none does (10)
 *     --source IP    connects from there
 *     --seconds S, --warmup S, --name NAME
 *
 * Prints one row: requests a second, p50, p99, max (microseconds), requests that failed. */

#include <arpa/inet.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "macro.h"
#include "stat.h"

#define FLIGHT_MAX 256U
#define ANSWER_MAX 4096U
#define PATIENCE_NSEC (5 * NSEC_PER_SEC)

typedef struct Connection {
        int fd; /* -EBADF: none */
        bool busy, fresh;
        uint64_t due;
        size_t sent, size;
        char answer[ANSWER_MAX + 1];
} Connection;

static const char *arg_name = "requests", *arg_source = NULL;
static uint64_t arg_rate = 500, arg_fresh = 10, arg_seconds = 5, arg_warmup = 1;

static Connection connections[FLIGHT_MAX];
static struct sockaddr_in to = { .sin_family = AF_INET };
static char request[512];
static Samples samples;
static uint64_t measure_from, n_failed;

static void end(Connection *c) {
        c->fd = safe_close(c->fd);
        c->busy = false;
}

static void finish(Connection *c, bool ok) {
        uint64_t now = now_nsec();

        if (c->due >= measure_from) {
                samples_add(&samples, now - c->due);
                n_failed += !ok;
        }
        c->busy = false;
        if (!ok || c->fresh)
                end(c);
}

static void push(Connection *c) {
        ssize_t n = send(c->fd, request + c->sent, strlen(request) - c->sent, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n > 0)
                c->sent += (size_t) n;
        else if (errno != EAGAIN && errno != ENOTCONN)
                finish(c, false);
}

static bool is_whole(const char *answer) {
        const char *body = strstr(answer, "\r\n\r\n"), *length = strstr(answer, "Content-Length: ");

        return body && length && strlen(body + 4) >= strtoul(length + strlen("Content-Length: "), NULL, 10);
}

static void pull(Connection *c) {
        ssize_t n = recv(c->fd, c->answer + c->size, ANSWER_MAX - c->size, MSG_DONTWAIT);

        if (n < 0 && errno == EAGAIN)
                return;
        if (!c->busy) { /* nobody asked: the end of one that was kept open */
                end(c);
                return;
        }
        if (n <= 0) {
                finish(c, false);
                return;
        }
        c->size += (size_t) n;
        c->answer[c->size] = 0;
        if (is_whole(c->answer))
                finish(c, strncmp(c->answer, "HTTP/1.1 200 ", 13) == 0);
}

static int connect_out(void) {
        struct sockaddr_in from = { .sin_family = AF_INET };
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;

        if (fd < 0)
                die("socket", errno);
        (void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if (arg_source && (inet_pton(AF_INET, arg_source, &from.sin_addr) != 1 ||
                           bind(fd, (struct sockaddr *) &from, sizeof(from)) < 0))
                die("bind", errno);
        if (connect(fd, (struct sockaddr *) &to, sizeof(to)) < 0 && errno != EINPROGRESS)
                die("connect", errno);
        return fd;
}

static void start(uint64_t due, bool fresh) {
        Connection *c = NULL;

        for (size_t i = 0; i < FLIGHT_MAX; i++) /* one that is open, or a place for one */
                if (!connections[i].busy && (!fresh || connections[i].fd < 0) &&
                    (!c || (c->fd < 0 && connections[i].fd >= 0)))
                        c = connections + i;
        if (!c) {
                n_failed += due >= measure_from;
                return;
        }
        if (c->fd < 0)
                c->fd = connect_out();
        c->busy = true;
        c->fresh = fresh;
        c->due = due;
        c->sent = c->size = 0;
        push(c);
}

static void look(uint64_t until) {
        struct pollfd fds[FLIGHT_MAX];
        uint64_t now = now_nsec(), left = until > now ? until - now : 0;
        const struct timespec ts = { (time_t) (left / NSEC_PER_SEC), (long) (left % NSEC_PER_SEC) };

        for (size_t i = 0; i < FLIGHT_MAX; i++) {
                const Connection *c = connections + i;
                bool writes = c->busy && c->sent < strlen(request);
                fds[i] = (struct pollfd) { .fd = c->fd, .events = (short) (POLLIN | (writes ? POLLOUT : 0)) };
        }
        if (ppoll(fds, FLIGHT_MAX, &ts, NULL) <= 0)
                return;
        for (size_t i = 0; i < FLIGHT_MAX; i++) {
                if (fds[i].revents & POLLOUT)
                        push(connections + i);
                if (fds[i].revents & (POLLIN | POLLHUP | POLLERR) && connections[i].fd >= 0)
                        pull(connections + i);
        }
}

static void run(void) {
        uint64_t begin = now_nsec(), stop = begin + (arg_warmup + arg_seconds) * NSEC_PER_SEC, n = 0, due;
        bool left = true;

        measure_from = begin + arg_warmup * NSEC_PER_SEC;
        while ((due = begin + n * NSEC_PER_SEC / arg_rate) < stop) {
                if (now_nsec() < due) {
                        look(due);
                        continue;
                }
                n++;
                start(due, arg_fresh > 0 && n % arg_fresh == 0);
        }
        while (left && now_nsec() < stop + PATIENCE_NSEC) {
                look(now_nsec() + NSEC_PER_SEC / 100);
                left = false;
                for (size_t i = 0; i < FLIGHT_MAX; i++)
                        left |= connections[i].busy;
        }
        for (size_t i = 0; i < FLIGHT_MAX; i++)
                if (connections[i].busy)
                        finish(connections + i, false);
}

int main(int argc, char *argv[]) {
        static const struct option options[] = {
                { "rate", required_argument, NULL, 'r' },   { "fresh", required_argument, NULL, 'f' },
                { "source", required_argument, NULL, 'S' }, { "seconds", required_argument, NULL, 's' },
                { "warmup", required_argument, NULL, 'w' }, { "name", required_argument, NULL, 'N' }, {},
        };
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (c) {
                case 'r': arg_rate = parse_number("--rate", optarg, 1, 1000000); break;
                case 'f': arg_fresh = parse_number("--fresh", optarg, 0, 1000000); break;
                case 'S': arg_source = optarg; break;
                case 's': arg_seconds = parse_number("--seconds", optarg, 1, 3600); break;
                case 'w': arg_warmup = parse_number("--warmup", optarg, 0, 3600); break;
                case 'N': arg_name = optarg; break;
                default: return EXIT_FAILURE;
                }
        if (argc != optind + 2) {
                fprintf(stderr, "usage: http-load PORT PATH [--rate N] [--fresh N] [--source IP] [--seconds S] [--warmup S]\n");
                return EXIT_FAILURE;
        }
        to.sin_port = htons((uint16_t) parse_number("PORT", argv[optind], 1, UINT16_MAX));
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        (void) snprintf(request, sizeof(request), "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", argv[optind + 1]);
        for (size_t i = 0; i < FLIGHT_MAX; i++)
                connections[i].fd = -EBADF;
        samples_init(&samples, arg_rate * (arg_seconds + 1));
        (void) prctl(PR_SET_TIMERSLACK, 1UL);
        run();

        row_begin(arg_name);
        row_number("per_second", (double) samples.n / (double) arg_seconds);
        row_number("p50", samples_quantile(&samples, 0.5));
        row_number("p99", samples_quantile(&samples, 0.99));
        row_number("max", samples_quantile(&samples, 1));
        row_number("failed", (double) n_failed);
        row_end();
        return EXIT_SUCCESS;
}
