/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/random.h>

#include "event-log.h"
#include "log-sqlite-ops.h"
#include "log.h"

/* The event log in a file of SQLite. One thread has the file. It takes all that waits as one batch and one transaction,
 * so that whoever asks while the disk syncs shares the next sync; then it hands the batch back by an eventfd, and
 * the loop's thread runs the handlers. */

#define QUEUE_MAX 65536U
#define QUEUE_BYTES_MAX (UINT64_C(256) << 20)

typedef struct OpList {
        Op *first, **last;
} OpList;

struct Log {
        sd_event_source *source;
        int fd; /* the eventfd of `done` */

        /* The loop's. */
        uint64_t last_seq;
        uint64_t pool[64];
        size_t n_pool;

        pthread_t thread;
        pthread_mutex_t mutex;
        pthread_cond_t cond;
        /* Under the mutex. */
        OpList queue, done;
        size_t n_waiting; /* operations that are not committed */
        uint64_t bytes_waiting;
        bool closing;
        LogStatistics statistics;

        /* The writer's. */
        OpContext context;
};

static void list_clear(OpList *l) {
        l->first = NULL;
        l->last = &l->first;
}

/* Takes all of it; the list is empty then. */
static Op *list_take(OpList *l) {
        Op *first = l->first;

        list_clear(l);
        return first;
}

static void list_append(OpList *l, Op *first, Op *last) {
        *l->last = first;
        l->last = &last->next;
}

/* ---- ids ---- */

static uint64_t next_random(Log *log) {
        if (log->n_pool == 0) {
                /* Up to 256 bytes come in one piece, whatever interrupts it. */
                while (getrandom(log->pool, 256, 0) != 256)
                        ;
                log->n_pool = 256 / sizeof(uint64_t);
        }
        return log->pool[--log->n_pool];
}

/* RFC 9562, 5.7 and method 3 of 6.2. */
static LogId next_id(Log *log, uint64_t now) {
        uint64_t ms = now / USEC_PER_MSEC, fraction = now % USEC_PER_MSEC * 4096 / USEC_PER_MSEC;
        uint64_t seq = (ms & UINT64_C(0xffffffffffff)) << 16 | UINT64_C(0x7000) | fraction;

        if (seq <= log->last_seq) {
                seq = log->last_seq + 1;
                if ((seq & 0xf000) != 0x7000) /* the fraction's last: the next millisecond */
                        seq = ((log->last_seq >> 16) + 1) << 16 | 0x7000;
        }
        log->last_seq = seq;
        return (LogId) {
                .seq = seq,
                .random = (next_random(log) & UINT64_C(0x3fffffffffffffff)) | UINT64_C(0x8000000000000000),
        };
}

/* ---- the writer ---- */

static size_t complete(Log *log, Op *batch) {
        size_t n = 0;
        Op *last = batch;

        for (Op *op = batch; op; op = op->next) {
                last = op;
                n++;
                log->bytes_waiting -= op->size;
        }
        log->n_waiting -= n;
        log->statistics.n_batches++;
        log->statistics.n_operations += n;
        log->statistics.file_bytes = log->context.file_bytes;
        list_append(&log->done, batch, last);
        return n;
}

static void *writer(void *userdata) {
        Log *log = userdata;

        (void) pthread_mutex_lock(&log->mutex);
        for (;;) {
                Op *batch = list_take(&log->queue);
                if (batch) {
                        (void) pthread_mutex_unlock(&log->mutex);
                        ops_execute(&log->context, batch);
                        (void) pthread_mutex_lock(&log->mutex);
                        (void) complete(log, batch);
                        (void) eventfd_write(log->fd, 1);
                } else if (log->closing)
                        break;
                else
                        (void) pthread_cond_wait(&log->cond, &log->mutex);
        }
        (void) pthread_mutex_unlock(&log->mutex);
        return NULL;
}

static int on_done(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Log *log = userdata;
        eventfd_t count;
        Op *op, *next;

        (void) eventfd_read(fd, &count);
        (void) pthread_mutex_lock(&log->mutex);
        op = list_take(&log->done);
        (void) pthread_mutex_unlock(&log->mutex);
        for (; op; op = next) {
                next = op->next;
                op_answer(op);
                (void) op_free(op);
        }
        return 0;
}

/* Signals are the loop's. */
static int start_writer(Log *log) {
        sigset_t all, before;
        int r;

        (void) sigfillset(&all);
        (void) pthread_sigmask(SIG_SETMASK, &all, &before);
        r = pthread_create(&log->thread, NULL, writer, log);
        (void) pthread_sigmask(SIG_SETMASK, &before, NULL);
        return -r;
}

/* ---- open and close ---- */

static Log *log_free(Log *log) {
        (void) sd_event_source_disable_unref(log->source);
        db_close(&log->context.db);
        for (Op *next, *op = list_take(&log->done); op; op = next) {
                next = op->next;
                (void) op_free(op);
        }
        (void) safe_close(log->fd);
        (void) pthread_cond_destroy(&log->cond);
        (void) pthread_mutex_destroy(&log->mutex);
        free(log);
        return NULL;
}
DEFINE_POINTER_CLEANUP(Log *, log_free);

static int sqlite_open(sd_event *event, const LogConfig *config, Log **ret) {
        _cleanup_(log_freep) Log *log = NULL;
        int r;

        assert(event && config && config->path && ret);
        log = calloc(1, sizeof(Log));
        if (!log)
                return log_oom();
        log->fd = -EBADF;
        list_clear(&log->queue);
        list_clear(&log->done);
        (void) pthread_mutex_init(&log->mutex, NULL);
        (void) pthread_cond_init(&log->cond, NULL);
        log->context.dead_keep_usec = config->dead_keep_usec;
        log->context.bytes_max = config->bytes_max;
        r = db_open(&log->context.db, config->path, &log->last_seq);
        if (r < 0)
                return r;
        ops_execute(&log->context, NULL); /* measures */
        log->statistics.file_bytes = log->context.file_bytes;
        log->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        r = log->fd < 0 ? -errno : sd_event_add_io(event, &log->source, log->fd, EPOLLIN, on_done, log);
        if (r >= 0)
                r = start_writer(log);
        if (r < 0)
                return log_error_errno(r, "Failed to start the writer of the event log: %m");
        *ret = TAKE_PTR(log);
        return 0;
}

static Log *sqlite_close(Log *log) {
        if (!log)
                return NULL;
        (void) pthread_mutex_lock(&log->mutex);
        log->closing = true;
        (void) pthread_cond_signal(&log->cond);
        (void) pthread_mutex_unlock(&log->mutex);
        (void) pthread_join(log->thread, NULL);
        return log_free(log);
}

/* ---- what is asked ---- */

static int op_new(OpType type, void *userdata, Op **ret) {
        Op *op = calloc(1, sizeof(Op));

        if (!op)
                return -ENOMEM;
        op->type = type;
        op->userdata = userdata;
        *ret = op;
        return 0;
}

/* Takes the operation, also when it fails. Events alone are refused: what ends makes room. */
static int submit(Log *log, Op *op) {
        bool full;

        (void) pthread_mutex_lock(&log->mutex);
        full = op->type == OP_ACCEPT &&
                (log->n_waiting >= QUEUE_MAX || log->bytes_waiting + op->size > QUEUE_BYTES_MAX);
        if (!full) {
                log->n_waiting++;
                log->bytes_waiting += op->size;
                list_append(&log->queue, op, op);
                (void) pthread_cond_signal(&log->cond);
        }
        (void) pthread_mutex_unlock(&log->mutex);
        if (!full)
                return 0;
        (void) op_free(op);
        return -ENOBUFS;
}

static int op_set_accept(Log *log, Op *op, LogAccept *events, size_t n) {
        op->accept = events;
        op->n_accept = n;
        op->accepted = calloc(MAX(n, (size_t) 1), sizeof(Accepted));
        if (!op->accepted)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                assert(events[i].app && events[i].function && (events[i].data || events[i].size == 0));
                events[i].duplicate = false;
                events[i].id = op->accepted[i].id = next_id(log, events[i].now);
                op->size += events[i].size;
        }
        return 0;
}

static int op_set_ids(Op *op, const LogId *ids, size_t n) {
        op->n = n;
        if (n == 0)
                return 0;
        op->ids = calloc(n, sizeof(LogId));
        if (!op->ids)
                return -ENOMEM;
        memcpy(op->ids, ids, n * sizeof(LogId));
        return 0;
}

static int sqlite_accept(Log *log, LogAccept *events, size_t n, log_done_t done, void *userdata) {
        _cleanup_(op_freep) Op *op = NULL;
        int r = op_new(OP_ACCEPT, userdata, &op);

        if (r >= 0)
                r = op_set_accept(log, op, events, n);
        if (r < 0)
                return r;
        op->done = done;
        return submit(log, TAKE_PTR(op));
}

static int sqlite_take(Log *log, const char *app, const char *function, unsigned n, uint64_t bytes, uint64_t now,
                       log_events_t done, void *userdata) {
        Op *op;
        int r = op_new(OP_TAKE, userdata, &op);

        if (r < 0)
                return r;
        op->app = app;
        op->function = function;
        op->n = n;
        op->bytes = bytes;
        op->now = now;
        op->on_events = done;
        return submit(log, op);
}

static int sqlite_finish(Log *log, LogFinish *finish, log_done_t done, void *userdata) {
        _cleanup_(op_freep) Op *op = NULL;
        int r = op_new(OP_FINISH, userdata, &op);

        if (r >= 0)
                r = op_set_accept(log, op, finish->follow, finish->n_follow);
        if (r < 0)
                return r;
        op->finish = finish;
        op->size += finish->result_size;
        op->done = done;
        return submit(log, TAKE_PTR(op));
}

static int sqlite_backlog(Log *log, const char *app, const char *function, log_backlog_t done, void *userdata) {
        Op *op;
        int r = op_new(OP_BACKLOG, userdata, &op);

        if (r < 0)
                return r;
        op->app = app;
        op->function = function;
        op->on_backlog = done;
        return submit(log, op);
}

static int sqlite_get(Log *log, LogId id, unsigned prefix_digits, log_events_t done, void *userdata) {
        _cleanup_(op_freep) Op *op = NULL;
        int r = op_new(OP_GET, userdata, &op);

        if (r >= 0)
                r = op_set_ids(op, &id, 1);
        if (r < 0)
                return r;
        op->prefix_digits = prefix_digits;
        op->on_events = done;
        return submit(log, TAKE_PTR(op));
}

static int sqlite_list(Log *log, const LogFilter *filter, log_events_t done, void *userdata) {
        Op *op;
        int r = op_new(OP_LIST, userdata, &op);

        if (r < 0)
                return r;
        op->filter = *filter;
        op->on_events = done;
        return submit(log, op);
}

static int submit_dead(Log *log, OpType type, const LogId *ids, size_t n, const LogFilter *filter, uint64_t now,
                       uint64_t expires_usec, log_count_t done, void *userdata) {
        _cleanup_(op_freep) Op *op = NULL;
        int r = op_new(type, userdata, &op);

        assert(n > 0 || filter);
        if (r >= 0)
                r = op_set_ids(op, ids, n);
        if (r < 0)
                return r;
        if (filter)
                op->filter = *filter;
        op->now = now;
        op->expires_usec = expires_usec;
        op->on_count = done;
        return submit(log, TAKE_PTR(op));
}

static int sqlite_replay(Log *log, const LogId *ids, size_t n, const LogFilter *filter, uint64_t now,
                         uint64_t expires_usec, log_count_t done, void *userdata) {
        return submit_dead(log, OP_REPLAY, ids, n, filter, now, expires_usec, done, userdata);
}

static int sqlite_drop(Log *log, const LogId *ids, size_t n, const LogFilter *filter, log_count_t done, void *userdata) {
        return submit_dead(log, OP_DROP, ids, n, filter, 0, 0, done, userdata);
}

static int sqlite_compare(Log *log, const char *app, const char *source, const char *const *keys, size_t n,
                          log_keys_t done, void *userdata) {
        Op *op;
        int r = op_new(OP_COMPARE, userdata, &op);

        if (r < 0)
                return r;
        op->app = app;
        op->function = strempty(source);
        op->keys = keys;
        op->n = n;
        op->on_keys = done;
        return submit(log, op);
}

static int sqlite_expire(Log *log, uint64_t now, unsigned max, log_count_t done, void *userdata) {
        Op *op;
        int r = op_new(OP_EXPIRE, userdata, &op);

        if (r < 0)
                return r;
        op->now = now;
        op->n = max;
        op->on_count = done;
        return submit(log, op);
}

static void sqlite_statistics(Log *log, LogStatistics *ret) {
        (void) pthread_mutex_lock(&log->mutex);
        *ret = log->statistics;
        (void) pthread_mutex_unlock(&log->mutex);
}

const LogEngine log_sqlite = {
        .name = "local",
        .open = sqlite_open,
        .close = sqlite_close,
        .accept = sqlite_accept,
        .take = sqlite_take,
        .finish = sqlite_finish,
        .backlog = sqlite_backlog,
        .get = sqlite_get,
        .list = sqlite_list,
        .replay = sqlite_replay,
        .drop = sqlite_drop,
        .compare = sqlite_compare,
        .expire = sqlite_expire,
        .statistics = sqlite_statistics,
};
