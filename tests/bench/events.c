/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* events sqlite|write FILE, jetstream HOST:PORT, globald SOCKET [OPTION...]: how many events a second somebody takes
 * in, each answered when it is on disk, or what its server means by that.
 *
 *     sqlite     bare group commit: one thread, WAL, synchronous=FULL, one transaction for all events in flight
 *     write      bare write + fdatasync of them, over and over the same 4 MiB: nothing can be on disk in less
 *     globald    Send, for --function APP/NAME
 *     --flight N     so many producers, each with one event in flight (1)
 *     --count N      until so many are accepted; else --seconds S behind --warmup S
 *     --delay S      globald: they are not to be delivered before
 *     --bytes N, --name NAME
 *
 * Prints one row: events a second, p50, p99, max (microseconds), refused events. */

#include <fcntl.h>
#include <getopt.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/stat.h>

#include "../../daemons/shared/peer.h"
#include "events.h"
#include "protocol.h"

#define ROOM 4000000U
#define RING ((off_t) 4 * 1024 * 1024)
#define CONNECTIONS 4U
#define TIMEOUT_USEC (30 * USEC_PER_SEC)

unsigned arg_flight = 1;
const char *body;
size_t body_size = 1024;
static const char *arg_name = NULL, *arg_function = "events/echo", *arg_delay = NULL;
static uint64_t arg_seconds = 3, arg_warmup = 1, arg_count = 0;

static uint64_t begun[SLOTS_MAX], started, measure_from, stop_at, n_begun, n_accepted, n_measured, n_refused;
static Samples samples;

void events_start(void) {
        started = now_nsec();
        measure_from = started + (arg_count > 0 ? 0 : arg_warmup) * NSEC_PER_SEC;
        stop_at = arg_count > 0 ? UINT64_MAX : measure_from + arg_seconds * NSEC_PER_SEC;
}

bool event_begin(unsigned slot) {
        begun[slot] = now_nsec();
        if (arg_count > 0 ? n_begun >= arg_count : begun[slot] >= stop_at)
                return false;
        n_begun++;
        return true;
}

void event_end(unsigned slot, bool accepted) {
        uint64_t now = now_nsec();

        n_accepted += accepted;
        n_refused += !accepted;
        if (begun[slot] < measure_from || now >= stop_at)
                return;
        n_measured += accepted;
        samples_add(&samples, now - begun[slot]);
}

/* The floors: whoever is in flight is in one batch. */

static bool batch_begin(void) {
        bool more = true;

        for (unsigned slot = 0; slot < arg_flight; slot++)
                more = event_begin(slot) && more;
        return more;
}

static void batch_end(void) {
        for (unsigned slot = 0; slot < arg_flight; slot++)
                event_end(slot, true);
}

static void run_write(const char *path) {
        size_t size = arg_flight * body_size;
        _cleanup_(freep) char *batch = malloc(size);
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        off_t at = 0;

        if (fd < 0 || !batch)
                die(path, errno);
        memset(batch, 'x', size);
        for (off_t end = 0; end < RING; end += (off_t) size)
                if (pwrite(fd, batch, size, end) != (ssize_t) size)
                        die(path, errno);
        if (fsync(fd) < 0)
                die(path, errno);
        for (events_start(); batch_begin(); batch_end()) {
                if (pwrite(fd, batch, size, at) != (ssize_t) size || fdatasync(fd) < 0)
                        die(path, errno);
                at = at + 2 * (off_t) size > RING ? 0 : at + (off_t) size;
        }
        (void) close(fd);
}

static void check_sqlite(sqlite3 *db, int r) {
        if (r == SQLITE_OK || r == SQLITE_DONE)
                return;
        fprintf(stderr, "events: sqlite: %s\n", sqlite3_errmsg(db));
        exit(EXIT_FAILURE);
}

static void run_sqlite(const char *path) {
        static const char *const texts[] = { "BEGIN", "INSERT INTO events(data) VALUES(?)", "COMMIT" };
        sqlite3_stmt *statements[ELEMENTSOF(texts)];
        sqlite3 *db;

        if (sqlite3_open(path, &db) != SQLITE_OK)
                die(path, EIO);
        check_sqlite(db, sqlite3_exec(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                                          "CREATE TABLE events(id INTEGER PRIMARY KEY, data BLOB)", NULL, NULL, NULL));
        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                check_sqlite(db, sqlite3_prepare_v2(db, texts[i], -1, statements + i, NULL));
        check_sqlite(db, sqlite3_bind_blob(statements[1], 1, body, (int) body_size, SQLITE_STATIC));
        for (events_start(); batch_begin(); batch_end())
                for (unsigned i = 0; i < arg_flight + 2; i++) {
                        sqlite3_stmt *s = statements[i == 0 ? 0 : i <= arg_flight ? 1 : 2];
                        check_sqlite(db, sqlite3_step(s));
                        check_sqlite(db, sqlite3_reset(s));
                }
        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                (void) sqlite3_finalize(statements[i]);
        check_sqlite(db, sqlite3_close(db));
}

/* globald, by the client that the gateway has: a few connections, with many calls in flight on each. */

static Peer *connections[CONNECTIONS];
static sd_event *loop;
static unsigned n_flight;

static void on_accepted(PeerCall *call, const PeerReply *reply, void *userdata);

static void globald_send(unsigned slot) {
        const char *const headers[] = { "sand-delay-usec", arg_delay, NULL };
        const PeerRequest request = {
                .path = SAND_EVENTS_PATH, .interface = SAND_EVENTS_INTERFACE, .member = "Send",
                .target = arg_function, .content_type = "application/octet-stream", .headers = arg_delay ? headers : NULL,
                .timeout_usec = TIMEOUT_USEC, .data = body, .size = body_size,
        };
        PeerCall *call;
        int r;

        if (!event_begin(slot)) {
                if (n_flight == 0)
                        (void) sd_event_exit(loop, 0);
                return;
        }
        r = peer_invoke(connections[slot % CONNECTIONS], &request, on_accepted, begun + slot, &call);
        if (r < 0)
                die("globald", r);
        n_flight++;
}

static void on_accepted(PeerCall *call, const PeerReply *reply, void *userdata) {
        unsigned slot = (unsigned) ((uint64_t *) userdata - begun);
        bool accepted = reply->error == _SAND_ERROR_INVALID;

        if (!accepted && n_refused == 0)
                fprintf(stderr, "events: globald: %s\n", reply->message);
        n_flight--;
        event_end(slot, accepted);
        globald_send(slot);
}

static void run_globald(const char *path) {
        int r = sd_event_default(&loop);

        for (size_t i = 0; i < CONNECTIONS && r >= 0; i++)
                r = peer_new(loop, path, connections + i);
        if (r < 0)
                die(path, r);
        events_start();
        for (unsigned slot = 0; slot < arg_flight; slot++)
                globald_send(slot);
        r = sd_event_loop(loop);
        if (r < 0)
                die(path, r);
        for (size_t i = 0; i < CONNECTIONS; i++)
                (void) peer_free(connections[i]);
        (void) sd_event_unref(loop);
}

static const struct {
        const char *name, *address;
        void (*run)(const char *address);
} kinds[] = {
        { "sqlite", "FILE", run_sqlite },
        { "write", "FILE", run_write },
        { "jetstream", "HOST:PORT", run_jetstream },
        { "globald", "SOCKET", run_globald },
};

static void print(const char *kind) {
        double seconds = arg_count > 0 ? (double) (now_nsec() - started) / (double) NSEC_PER_SEC : (double) arg_seconds;

        row_begin(arg_name ?: kind);
        row_number("per_second", (double) n_measured / seconds);
        row_number("p50", samples_quantile(&samples, 0.5));
        row_number("p99", samples_quantile(&samples, 0.99));
        row_number("max", samples_quantile(&samples, 1));
        row_number("accepted", (double) n_accepted);
        row_number("refused", (double) n_refused);
        row_end();
}

static _noreturn_ void usage(void) {
        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                fprintf(stderr, "%s events %s %s [OPTION...]\n", i == 0 ? "usage:" : "      ", kinds[i].name, kinds[i].address);
        fprintf(stderr, "options: --function APP/NAME --name NAME --flight N --count N --seconds S --warmup S --bytes N --delay S\n");
        exit(EXIT_FAILURE);
}

static void parse(int argc, char *argv[]) {
        static const struct option options[] = {
                { "function", required_argument, NULL, 'f' }, { "name", required_argument, NULL, 'N' },
                { "flight", required_argument, NULL, 'n' },   { "count", required_argument, NULL, 'c' },
                { "seconds", required_argument, NULL, 's' },  { "warmup", required_argument, NULL, 'w' },
                { "bytes", required_argument, NULL, 'b' },    { "delay", required_argument, NULL, 'd' },
                {},
        };
        static char delay[32];
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (c) {
                case 'f': arg_function = optarg; break;
                case 'N': arg_name = optarg; break;
                case 'n': arg_flight = (unsigned) parse_number("--flight", optarg, 1, SLOTS_MAX); break;
                case 'c': arg_count = parse_number("--count", optarg, 1, UINT32_MAX); break;
                case 's': arg_seconds = parse_number("--seconds", optarg, 1, 3600); break;
                case 'w': arg_warmup = parse_number("--warmup", optarg, 0, 3600); break;
                case 'b': body_size = (size_t) parse_number("--bytes", optarg, 1, 100000); break;
                case 'd':
                        (void) snprintf(delay, sizeof(delay), "%" PRIu64,
                                        parse_number("--delay", optarg, 0, 86400 * 365) * USEC_PER_SEC);
                        arg_delay = delay;
                        break;
                default: usage();
                }
        if (argc != optind + 2)
                usage();
}

int main(int argc, char *argv[]) {
        char *text;

        parse(argc, argv);
        text = malloc(body_size);
        if (!text)
                die("body", ENOMEM);
        body = memset(text, 'x', body_size);
        samples_init(&samples, ROOM);
        for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
                if (!streq(argv[optind], kinds[i].name))
                        continue;
                kinds[i].run(argv[optind + 1]);
                print(kinds[i].name);
                return EXIT_SUCCESS;
        }
        usage();
}
