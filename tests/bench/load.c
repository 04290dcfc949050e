/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* load raw|echo|invoke SOCKET [OPTION...]: one caller with many calls in flight.
 *
 *     raw      packets to the hub of relay.c
 *     echo     Echo(ay) over sd-bus to that hub
 *     invoke   Invoke of an application's socket; --function says of what
 *     --flight N     closed loop: so many calls are always in flight (1)
 *     --rate N       open loop: so many calls a second, evenly spaced; --poisson: at random. The latency counts
 *                    from when a call was due, not from when it could be sent
 *     --seconds S, --warmup S, --bytes N, --cpu N
 *
 * Prints one row: calls a second, p50, p99, max (microseconds), failed calls, and for `invoke` the mean CPU time
 * that the function reported. */

#include <getopt.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-bus.h>

#include "bench-bus.h"
#include "macro.h"
#include "protocol.h"
#include "stat.h"

#define FLIGHT_MAX 4096U
#define ROOM 4000000U
#define DRAIN_NSEC (5 * NSEC_PER_SEC)
#define TIMEOUT_USEC (30 * USEC_PER_SEC)

typedef struct Call {
        uint64_t due;
        struct Call *next; /* of the free ones */
} Call;

static const char *arg_function = "echo", *arg_name = NULL;
static unsigned arg_flight = 1;
static double arg_rate = 0;
static bool arg_poisson = false;
static uint64_t arg_seconds = 3, arg_warmup = 1;
static size_t arg_bytes = 1024;

static int fd = -EBADF;
static sd_bus *bus = NULL;
static char *body, *received;
static Call calls[FLIGHT_MAX], *free_calls;
static Call *order[FLIGHT_MAX]; /* raw: answers come in the order of the calls */
static size_t order_head, n_flight;
static Samples samples;
static uint64_t measure_from, stop_at, n_failed, n_measured, cpu_usec;

static int answered(Call *c, bool ok) {
        uint64_t now = now_nsec();

        if (c->due >= measure_from && c->due < stop_at) {
                samples_add(&samples, now - c->due);
                n_measured += now < stop_at;
                n_failed += !ok;
        }
        c->next = free_calls;
        free_calls = c;
        n_flight--;
        return 0;
}

/* raw */

static int raw_send(Call *c) {
        order[(order_head + n_flight) % FLIGHT_MAX] = c;
        return send(fd, body, arg_bytes, MSG_NOSIGNAL) == (ssize_t) arg_bytes ? 0 : -errno;
}

static int raw_process(void) {
        ssize_t n = recv(fd, received, arg_bytes, MSG_DONTWAIT);

        if (n < 0 && errno == EAGAIN)
                return 0;
        if (n != (ssize_t) arg_bytes)
                return -EPIPE;
        (void) answered(order[order_head], true);
        order_head = (order_head + 1) % FLIGHT_MAX;
        return 1;
}

/* sd-bus */

static int on_echoed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const void *data;
        size_t size;

        return answered(userdata, sd_bus_message_read_array(m, 'y', &data, &size) > 0 && size == arg_bytes);
}

static int echo_send(Call *c) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        r = sd_bus_message_new_method_call(bus, &m, NULL, "/echo", "org.example.Echo", "Echo");
        if (r >= 0)
                r = sd_bus_message_append_array(m, 'y', body, arg_bytes);
        return r < 0 ? r : sd_bus_call_async(bus, NULL, m, on_echoed, c, TIMEOUT_USEC);
}

static int on_invoked(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        uint64_t wall, cpu, peak;
        const char *type;
        int r;

        if (sd_bus_message_is_method_error(m, NULL)) {
                static bool said = false;
                if (!said)
                        fprintf(stderr, "load: %s: %s\n", arg_function, sd_bus_message_get_error(m)->message);
                said = true;
                return answered(userdata, false);
        }
        r = sd_bus_message_read(m, "s(ttt)", &type, &wall, &cpu, &peak);
        if (r >= 0 && now_nsec() >= measure_from)
                cpu_usec += cpu;
        return answered(userdata, r >= 0);
}

static int invoke_send(Call *c) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        r = sd_bus_message_new_method_call(bus, &m, NULL, SAND_APP_PATH, SAND_APP_INTERFACE, "Invoke");
        if (r >= 0)
                r = sd_bus_message_append(m, "sstsa{ss}", arg_function, "", UINT64_C(0), "application/octet-stream", 0);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', "ay");
        if (r >= 0)
                r = sd_bus_message_append_array(m, 'y', body, arg_bytes);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return r < 0 ? r : sd_bus_call_async(bus, NULL, m, on_invoked, c, TIMEOUT_USEC);
}

static int bus_process(void) {
        return sd_bus_process(bus, NULL);
}

static const struct Protocol {
        const char *name;
        int type;
        int (*send)(Call *c);
        int (*process)(void); /* > 0: there may be more */
} protocols[] = {
        { "raw", SOCK_SEQPACKET, raw_send, raw_process },
        { "echo", SOCK_STREAM, echo_send, bus_process },
        { "invoke", SOCK_STREAM, invoke_send, bus_process },
};

static void connect_to(const char *path, const struct Protocol *p) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };

        (void) snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
        fd = socket(AF_UNIX, p->type | SOCK_CLOEXEC, 0);
        if (fd < 0)
                die("socket", errno);
        /* The hub may be starting. */
        for (unsigned i = 0; connect(fd, (struct sockaddr *) &sa, sizeof(sa)) < 0; i++) {
                if (i >= 200 || (errno != ENOENT && errno != ECONNREFUSED))
                        die(path, errno);
                sleep_until(now_nsec() + NSEC_PER_SEC / 100);
        }
        if (p->type == SOCK_STREAM)
                bus = bus_client(fd);
}

static uint64_t gap(void) {
        double mean = (double) NSEC_PER_SEC / arg_rate;
        return (uint64_t) (arg_poisson ? -log(1 - drand48()) * mean : mean);
}

/* Sends what is due. When the next one is; UINT64_MAX: when an answer has come. */
static uint64_t send_due(const struct Protocol *p, uint64_t next) {
        uint64_t now = now_nsec();

        while (now < stop_at && free_calls && (arg_rate > 0 ? next <= now : n_flight < arg_flight)) {
                Call *c = free_calls;
                int r;

                free_calls = c->next;
                c->due = arg_rate > 0 ? next : now;
                r = p->send(c);
                if (r < 0)
                        die("send", r);
                n_flight++;
                if (arg_rate > 0)
                        next += gap();
                now = now_nsec();
        }
        return next;
}

static void wait_for_more(uint64_t until) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        uint64_t now = now_nsec(), nsec = until > now ? until - now : 0;
        struct timespec ts = { .tv_sec = (time_t) (nsec / NSEC_PER_SEC), .tv_nsec = (long) (nsec % NSEC_PER_SEC) };

        if (bus)
                p.events = (short) sd_bus_get_events(bus);
        (void) ppoll(&p, 1, &ts, NULL);
}

static void run(const struct Protocol *p) {
        uint64_t next = now_nsec(), last;
        int r;

        measure_from = next + arg_warmup * NSEC_PER_SEC;
        stop_at = measure_from + arg_seconds * NSEC_PER_SEC;
        last = stop_at + DRAIN_NSEC;
        for (uint64_t now = next; now < stop_at || (n_flight > 0 && now < last); now = now_nsec()) {
                next = send_due(p, next);
                r = p->process();
                if (r < 0)
                        die("connection", r);
                if (r == 0)
                        wait_for_more(arg_rate > 0 && now < stop_at ? MIN(next, stop_at) : now < stop_at ? stop_at : last);
        }
}

static void print(void) {
        row_begin(arg_name ?: arg_function);
        row_number("per_second", (double) n_measured / (double) arg_seconds);
        row_number("p50", samples_quantile(&samples, 0.5));
        row_number("p99", samples_quantile(&samples, 0.99));
        row_number("max", samples_quantile(&samples, 1));
        row_number("failed", (double) n_failed);
        row_number("lost", (double) n_flight);
        row_number("cpu", samples.n > 0 ? (double) cpu_usec / (double) samples.n : 0);
        row_end();
}

static _noreturn_ void usage(void) {
        fprintf(stderr, "usage: load raw|echo|invoke SOCKET [--function NAME] [--name NAME] [--flight N | --rate N [--poisson]]\n"
                        "            [--seconds S] [--warmup S] [--bytes N] [--cpu N]\n");
        exit(EXIT_FAILURE);
}

static void parse(int argc, char *argv[]) {
        static const struct option options[] = {
                { "function", required_argument, NULL, 'f' }, { "name", required_argument, NULL, 'N' },
                { "flight", required_argument, NULL, 'n' },   { "rate", required_argument, NULL, 'r' },
                { "poisson", no_argument, NULL, 'p' },        { "seconds", required_argument, NULL, 's' },
                { "warmup", required_argument, NULL, 'w' },   { "bytes", required_argument, NULL, 'b' },
                { "cpu", required_argument, NULL, 'c' },      {},
        };
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (c) {
                case 'f': arg_function = optarg; break;
                case 'N': arg_name = optarg; break;
                case 'n': arg_flight = (unsigned) parse_number("--flight", optarg, 1, FLIGHT_MAX); break;
                case 'r': arg_rate = (double) parse_number("--rate", optarg, 1, 10000000); break;
                case 'p': arg_poisson = true; break;
                case 's': arg_seconds = parse_number("--seconds", optarg, 1, 3600); break;
                case 'w': arg_warmup = parse_number("--warmup", optarg, 0, 3600); break;
                case 'b': arg_bytes = (size_t) parse_number("--bytes", optarg, 1, 100000); break;
                case 'c': pin((int) parse_number("--cpu", optarg, 0, 4095)); break;
                default: usage();
                }
        if (argc != optind + 2)
                usage();
}

int main(int argc, char *argv[]) {
        parse(argc, argv);
        for (size_t i = 0; i < ELEMENTSOF(protocols); i++) {
                if (!streq(argv[optind], protocols[i].name))
                        continue;
                body = calloc(1, arg_bytes);
                received = calloc(1, arg_bytes);
                samples_init(&samples, ROOM);
                for (size_t k = 0; k < FLIGHT_MAX; k++) {
                        calls[k].next = free_calls;
                        free_calls = calls + k;
                }
                (void) prctl(PR_SET_TIMERSLACK, 1UL);
                connect_to(argv[optind + 1], protocols + i);
                run(protocols + i);
                print();
                return EXIT_SUCCESS;
        }
        usage();
}
