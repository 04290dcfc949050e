/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "../../daemons/globald/event-log.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* The engine on a real file: what it promises of order, of one sync for many, and of what is left after a crash. */

#define NOW UINT64_C(1800000000000000)
#define ENGINE (&log_sqlite)
#define OPERATIONS_MAX 64U

typedef struct Fixture {
        sd_event *event;
        Log *log;
        LogConfig config;
        char dir[32], path[64];

        unsigned n_handlers, order[OPERATIONS_MAX];
} Fixture;

/* What a handler heard; strings and payloads are looked at in the handler's copy. */
typedef struct Heard {
        Fixture *f;
        unsigned number;
        bool heard;
        int error;
        size_t n;
        uint64_t count;
        LogEvent events[8];
        char texts[8][12][64]; /* app, function, type, data, source, callback, class, message, cause, result type, result, headers */
        uint32_t unknown[8];
        LogBacklog backlog[8];
} Heard;

static void hear(Heard *h, int error) {
        assert_false(h->heard);
        h->heard = true;
        h->error = error;
        if (h->f->n_handlers < OPERATIONS_MAX)
                h->f->order[h->f->n_handlers] = h->number;
        h->f->n_handlers++;
}

static void on_done(int error, void *userdata) {
        hear(userdata, error);
}

static const char *keep(Heard *h, size_t event, size_t i, const void *data, size_t size) {
        if (!data)
                return NULL;
        size = MIN(size, sizeof(h->texts[0][0]) - 1);
        memcpy(h->texts[event][i], data, size);
        h->texts[event][i][size] = '\0';
        return h->texts[event][i];
}

static const char *keep_text(Heard *h, size_t event, size_t i, const char *s) {
        return keep(h, event, i, s, s ? strlen(s) : 0);
}

static void on_events(int error, LogEvent *events, size_t n, void *userdata) {
        Heard *h = userdata;

        hear(h, error);
        if (error < 0)
                assert_int_equal(n, 0);
        h->n = n;
        for (size_t i = 0; i < MIN(n, ELEMENTSOF(h->events)); i++) {
                LogEvent *e = h->events + i;
                char headers[64] = "";

                *e = events[i];
                e->app = keep_text(h, i, 0, e->app);
                e->function = keep_text(h, i, 1, e->function);
                e->content_type = keep_text(h, i, 2, e->content_type);
                e->data = keep(h, i, 3, e->data, e->size);
                e->source = keep_text(h, i, 4, e->source);
                e->callback = keep_text(h, i, 5, e->callback);
                e->error_class = keep_text(h, i, 6, e->error_class);
                e->message = keep_text(h, i, 7, e->message);
                e->cause = keep_text(h, i, 8, e->cause);
                e->result_type = keep_text(h, i, 9, e->result_type);
                e->result = keep(h, i, 10, e->result, e->result_size);
                for (const char *const *p = e->headers; p && *p; p++) {
                        strncat(headers, *p, sizeof(headers) - strlen(headers) - 2);
                        strcat(headers, ";");
                }
                e->headers = NULL;
                (void) keep_text(h, i, 11, headers);
        }
}

static void on_count(int error, uint64_t n, void *userdata) {
        Heard *h = userdata;

        hear(h, error);
        h->count = n;
}

static void on_keys(int error, const uint32_t *unknown, size_t n, void *userdata) {
        Heard *h = userdata;

        hear(h, error);
        h->n = n;
        for (size_t i = 0; i < MIN(n, ELEMENTSOF(h->unknown)); i++)
                h->unknown[i] = unknown[i];
}

static void on_backlog(int error, const LogBacklog *list, size_t n, void *userdata) {
        Heard *h = userdata;

        hear(h, error);
        h->n = n;
        for (size_t i = 0; i < MIN(n, ELEMENTSOF(h->backlog)); i++) {
                h->backlog[i] = list[i];
                h->backlog[i].app = keep_text(h, i, 0, list[i].app);
                h->backlog[i].function = keep_text(h, i, 1, list[i].function);
        }
}

static void wait_for(Fixture *f, const Heard *h) {
        while (!h->heard)
                assert_true(sd_event_run(f->event, 10 * USEC_PER_SEC) > 0);
}

static int reopen(Fixture *f) {
        f->log = ENGINE->close(f->log);
        return ENGINE->open(f->event, &f->config, &f->log);
}

static int setup(void **state) {
        Fixture *f = calloc(1, sizeof(Fixture));

        assert_non_null(f);
        strcpy(f->dir, "/tmp/test-log-XXXXXX");
        assert_non_null(mkdtemp(f->dir));
        (void) snprintf(f->path, sizeof(f->path), "%s/events", f->dir);
        f->config = (LogConfig) { .path = f->path, .dead_keep_usec = USEC_PER_HOUR };
        assert_true(sd_event_new(&f->event) >= 0);
        assert_int_equal(ENGINE->open(f->event, &f->config, &f->log), 0);
        *state = f;
        return 0;
}

static int teardown(void **state) {
        static const char *const suffixes[] = { "", "-wal", "-shm", "-journal" };
        Fixture *f = *state;

        f->log = ENGINE->close(f->log);
        for (size_t i = 0; i < ELEMENTSOF(suffixes); i++) {
                char path[80];
                (void) snprintf(path, sizeof(path), "%s%s", f->path, suffixes[i]);
                (void) unlink(path);
        }
        assert_int_equal(rmdir(f->dir), 0);
        sd_event_unref(f->event);
        free(f);
        return 0;
}

/* ---- the calls, each waited for ---- */

static LogAccept event_of(const char *function, const char *data) {
        return (LogAccept) {
                .app = "shop", .function = function, .content_type = "text/plain", .data = data, .size = strlen(data),
                .now = NOW, .next_usec = NOW, .expires_usec = NOW + USEC_PER_HOUR, .error = _SAND_ERROR_INVALID,
        };
}

static int do_accept(Fixture *f, LogAccept *events, size_t n) {
        Heard h = { .f = f };
        int r = ENGINE->accept(f->log, events, n, on_done, &h);

        if (r < 0)
                return r;
        assert_false(h.heard);
        wait_for(f, &h);
        return h.error;
}

static void do_take(Fixture *f, const char *function, unsigned n, uint64_t bytes, uint64_t now, Heard *h) {
        *h = (Heard) { .f = f };
        assert_int_equal(ENGINE->take(f->log, "shop", function, n, bytes, now, on_events, h), 0);
        wait_for(f, h);
}

static int do_finish(Fixture *f, LogFinish *finish) {
        Heard h = { .f = f };

        assert_int_equal(ENGINE->finish(f->log, finish, on_done, &h), 0);
        wait_for(f, &h);
        return h.error;
}

static void do_get(Fixture *f, LogId id, unsigned digits, Heard *h) {
        *h = (Heard) { .f = f };
        assert_int_equal(ENGINE->get(f->log, id, digits, on_events, h), 0);
        wait_for(f, h);
}

static size_t do_list(Fixture *f, LogState state) {
        Heard h = { .f = f };
        const LogFilter filter = { .state = state, .limit = 1000 };

        assert_int_equal(ENGINE->list(f->log, &filter, on_events, &h), 0);
        wait_for(f, &h);
        assert_int_equal(h.error, 0);
        return h.n;
}

static uint64_t do_expire(Fixture *f, uint64_t now, unsigned max) {
        Heard h = { .f = f };

        assert_int_equal(ENGINE->expire(f->log, now, max, on_count, &h), 0);
        wait_for(f, &h);
        assert_int_equal(h.error, 0);
        return h.count;
}

/* ---- ids ---- */

static void test_id(void **state) {
        const LogId id = { .seq = UINT64_C(0x0123456789ab7def), .random = UINT64_C(0x8000000000000001) };
        char s[LOG_ID_LENGTH + 1];
        LogId back;

        log_id_to_string(id, s);
        assert_string_equal(s, "0123456789ab7def8000000000000001");
        assert_int_equal(log_id_from_string(s, &back), 0);
        assert_true(back.seq == id.seq && back.random == id.random);
        assert_int_equal(log_id_from_string("", &back), -EINVAL);
        assert_int_equal(log_id_from_string(NULL, &back), -EINVAL);
        assert_int_equal(log_id_from_string("0123456789ab7def800000000000000", &back), -EINVAL);
        assert_int_equal(log_id_from_string("0123456789ab7def80000000000000012", &back), -EINVAL);
        assert_int_equal(log_id_from_string("0123456789AB7def8000000000000001", &back), -EINVAL);
        for (int i = 0; i < _LOG_STATE_MAX; i++)
                assert_int_equal(log_state_from_string(log_state_to_string(i)), i);
        assert_int_equal(log_state_from_string("x"), _LOG_STATE_INVALID);
        assert_null(log_state_to_string(_LOG_STATE_INVALID));
}

static void test_ids_increase(void **state) {
        Fixture *f = *state;
        static LogAccept events[9000];
        uint64_t last;

        for (size_t i = 0; i < ELEMENTSOF(events); i++) {
                events[i] = event_of("f", "");
                events[i].now = i < 8500 ? NOW : NOW - USEC_PER_HOUR; /* and the clock is set back */
        }
        assert_int_equal(do_accept(f, events, ELEMENTSOF(events)), 0);
        assert_int_equal(events[0].id.seq >> 16, NOW / USEC_PER_MSEC);
        for (size_t i = 0; i < ELEMENTSOF(events); i++) {
                assert_int_equal(events[i].id.seq >> 12 & 0xf, 7);
                assert_int_equal(events[i].id.random >> 62, 2);
                assert_true(i == 0 || events[i].id.seq > events[i - 1].id.seq);
        }
        last = events[ELEMENTSOF(events) - 1].id.seq;
        assert_int_equal(reopen(f), 0);
        events[0] = event_of("f", "");
        assert_int_equal(do_accept(f, events, 1), 0);
        assert_true(events[0].id.seq > last);
}

/* ---- accept ---- */

static void test_accept(void **state) {
        static const char *const headers[] = { "a", "1", "b", "", NULL };
        Fixture *f = *state;
        LogAccept a = event_of("f", "hello");
        Heard h;
        struct stat st;
        char own[LOG_ID_LENGTH + 1];

        a.headers = headers;
        a.source = "timer";
        a.callback = "https://x";
        a.expires_usec = USEC_INFINITY;
        assert_int_equal(do_accept(f, &a, 1), 0);
        assert_false(a.duplicate);
        do_get(f, a.id, 32, &h);
        assert_int_equal(h.error, 0);
        assert_int_equal(h.n, 1);
        log_id_to_string(a.id, own);
        assert_string_equal(h.events[0].execution, own);
        assert_string_equal(h.events[0].app, "shop");
        assert_string_equal(h.events[0].function, "f");
        assert_string_equal(h.events[0].content_type, "text/plain");
        assert_string_equal(h.events[0].data, "hello");
        assert_string_equal(h.events[0].source, "timer");
        assert_string_equal(h.events[0].callback, "https://x");
        assert_string_equal(h.texts[0][11], "a;1;b;;");
        assert_int_equal(h.events[0].state, LOG_ACCEPTED);
        assert_int_equal(h.events[0].attempt, 0);
        assert_int_equal(h.events[0].accepted_usec, NOW);
        assert_true(h.events[0].expires_usec == USEC_INFINITY);
        assert_int_equal(h.events[0].error, _SAND_ERROR_INVALID);
        assert_null(h.events[0].result);
        assert_int_equal(stat(f->path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);

        a = event_of("f", "");
        a.execution = "0123456789abcdef0123456789abcdef";
        a.take = true;
        assert_int_equal(do_accept(f, &a, 1), 0);
        do_get(f, a.id, 32, &h);
        assert_string_equal(h.events[0].execution, a.execution);
        assert_int_equal(h.events[0].state, LOG_RUNNING);
        assert_int_equal(h.events[0].attempt, 1);
        assert_int_equal(h.events[0].size, 0);

        a = event_of("f", "x");
        a.dead = true;
        a.error = SAND_ERROR_NOT_FOUND;
        a.message = "no such function";
        assert_int_equal(do_accept(f, &a, 1), 0);
        do_get(f, a.id, 32, &h);
        assert_int_equal(h.events[0].state, LOG_DEAD);
        assert_int_equal(h.events[0].error, SAND_ERROR_NOT_FOUND);
        assert_string_equal(h.events[0].message, "no such function");
        assert_int_equal(h.events[0].keep_until, NOW + USEC_PER_HOUR);
}

static void test_prefix(void **state) {
        Fixture *f = *state;
        LogAccept a[2] = { event_of("f", "one"), event_of("f", "two") };
        Heard h;
        LogId id;

        assert_int_equal(do_accept(f, a, 2), 0);
        do_get(f, a[1].id, 16, &h);
        assert_int_equal(h.error, 0);
        assert_string_equal(h.events[0].data, "two");
        do_get(f, (LogId) { .seq = a[1].id.seq, .random = a[1].id.random & ~UINT64_C(0xf) }, 31, &h);
        assert_int_equal(h.error, 0);
        do_get(f, a[0].id, 8, &h);
        assert_int_equal(h.error, -EEXIST);
        id = a[0].id;
        id.random ^= 1;
        do_get(f, id, 32, &h);
        assert_int_equal(h.error, -ENOENT);
        do_get(f, id, 31, &h);
        assert_int_equal(h.error, 0);
        do_get(f, (LogId) { .seq = UINT64_MAX }, 32, &h);
        assert_int_equal(h.error, -ENOENT);
}

static void test_duplicate(void **state) {
        Fixture *f = *state;
        LogAccept first = event_of("f", "1"), a[2];

        first.key = "k";
        first.key_until = NOW + USEC_PER_SEC;
        assert_int_equal(do_accept(f, &first, 1), 0);
        a[0] = first;
        a[1] = first;
        a[1].source = "other"; /* another scope */
        assert_int_equal(do_accept(f, a, 2), 0);
        assert_true(a[0].duplicate);
        assert_true(a[0].id.seq == first.id.seq && a[0].id.random == first.id.random);
        assert_false(a[1].duplicate);
        assert_int_equal(do_list(f, _LOG_STATE_INVALID), 2);

        /* Over a restart, and until its time. */
        assert_int_equal(reopen(f), 0);
        assert_int_equal(do_accept(f, a, 1), 0);
        assert_true(a[0].duplicate);
        a[0].now += USEC_PER_SEC;
        assert_int_equal(do_accept(f, a, 1), 0);
        assert_false(a[0].duplicate);

        /* Two in one call. */
        a[0] = a[1] = event_of("f", "2");
        a[0].key = a[1].key = "twice";
        a[0].key_until = a[1].key_until = USEC_INFINITY;
        assert_int_equal(do_accept(f, a, 2), 0);
        assert_false(a[0].duplicate);
        assert_true(a[1].duplicate);
        assert_true(a[1].id.seq == a[0].id.seq);
}

static void test_skip(void **state) {
        Fixture *f = *state;
        LogAccept a = event_of("f", "1"), both[2];
        LogFinish finish;
        Heard h;

        a.skip = true;
        a.source = "nightly";
        a.take = true;
        assert_int_equal(do_accept(f, &a, 1), 0);
        both[0] = event_of("f", "2");
        both[0].key = "with it";
        both[0].key_until = USEC_INFINITY;
        both[1] = a;
        assert_int_equal(do_accept(f, both, 2), -EBUSY); /* none of both */
        assert_int_equal(do_list(f, _LOG_STATE_INVALID), 1);
        assert_int_equal(do_accept(f, both, 1), 0);
        assert_false(both[0].duplicate);

        both[1].app = "other";
        assert_int_equal(do_accept(f, both + 1, 1), 0);

        finish = (LogFinish) { .id = a.id, .outcome = LOG_SUCCEEDED, .now = NOW, .keep_until = NOW + 1 };
        assert_int_equal(do_finish(f, &finish), 0);
        assert_int_equal(do_accept(f, &a, 1), 0);
        do_get(f, a.id, 32, &h);
        assert_int_equal(h.error, 0);
}

/* Handed in without a turn of the loop in between: in order, and in a batch or two. */
static void test_group_commit(void **state) {
        enum { N = 1000 };
        Fixture *f = *state;
        LogAccept *a = test_calloc(N, sizeof(LogAccept));
        Heard *h = test_calloc(N, sizeof(Heard));
        LogStatistics before, after;

        ENGINE->statistics(f->log, &before);
        for (size_t i = 0; i < N; i++) {
                a[i] = event_of("f", "payload");
                h[i] = (Heard) { .f = f, .number = (unsigned) i };
                assert_int_equal(ENGINE->accept(f->log, a + i, 1, on_done, h + i), 0);
        }
        wait_for(f, h + N - 1);
        for (size_t i = 0; i < N; i++) {
                assert_true(h[i].heard);
                assert_int_equal(h[i].error, 0);
                if (i < OPERATIONS_MAX)
                        assert_int_equal(f->order[i], i);
        }
        ENGINE->statistics(f->log, &after);
        assert_int_equal(after.n_operations - before.n_operations, N);
        assert_true(after.n_batches - before.n_batches < N / 4);
        assert_true(after.file_bytes > before.file_bytes);
        test_free(h);
        test_free(a);
}

static void test_queue_full(void **state) {
        Fixture *f = *state;
        LogAccept a = event_of("f", "");
        _cleanup_(freep) void *large = calloc(1, (256 << 20) + 1);
        Heard h = { .f = f };

        assert_non_null(large);
        a.data = large;
        a.size = (256 << 20) + 1;
        assert_int_equal(ENGINE->accept(f->log, &a, 1, on_done, &h), -ENOBUFS);
        a = event_of("f", "");
        assert_int_equal(do_accept(f, &a, 1), 0);
        assert_false(h.heard);
}

/* ---- take and finish ---- */

static void test_take(void **state) {
        Fixture *f = *state;
        LogAccept a[5];
        Heard h;

        for (size_t i = 0; i < ELEMENTSOF(a); i++) {
                a[i] = event_of(i == 4 ? "g" : "f", "0123456789");
                a[i].next_usec = NOW + 10 - i;
        }
        assert_int_equal(do_accept(f, a, ELEMENTSOF(a)), 0);
        do_take(f, "f", 10, 1000, NOW + 6, &h);
        assert_int_equal(h.n, 0);
        do_take(f, "f", 2, 5, NOW + 10, &h); /* one at least, the one that is due first */
        assert_int_equal(h.n, 1);
        assert_int_equal(h.events[0].id.seq, a[3].id.seq);
        assert_int_equal(h.events[0].attempt, 1);
        assert_int_equal(h.events[0].state, LOG_RUNNING);
        assert_string_equal(h.events[0].data, "0123456789");
        do_take(f, "f", 3, 29, NOW + 10, &h);
        assert_int_equal(h.n, 2);
        assert_int_equal(h.events[0].id.seq, a[2].id.seq);
        assert_int_equal(h.events[1].id.seq, a[1].id.seq);
        do_take(f, "f", 3, 1000, NOW + 10, &h);
        assert_int_equal(h.n, 1);
        do_take(f, "f", 3, 1000, NOW + 10, &h);
        assert_int_equal(h.n, 0);
        do_take(f, "g", 1, 1000, NOW + 10, &h);
        assert_int_equal(h.n, 1);
}

static void test_backlog(void **state) {
        Fixture *f = *state;
        LogAccept a[3] = { event_of("f", "1"), event_of("f", "2"), event_of("g", "3") };
        Heard h = { .f = f };

        assert_int_equal(ENGINE->backlog(f->log, "shop", "f", on_backlog, &h), 0);
        wait_for(f, &h);
        assert_int_equal(h.n, 0);
        a[0].next_usec = NOW + 5;
        a[1].next_usec = NOW + 3;
        assert_int_equal(do_accept(f, a, 3), 0);
        h = (Heard) { .f = f };
        assert_int_equal(ENGINE->backlog(f->log, "shop", "f", on_backlog, &h), 0);
        wait_for(f, &h);
        assert_int_equal(h.n, 1);
        assert_int_equal(h.backlog[0].n, 2);
        assert_int_equal(h.backlog[0].next_usec, NOW + 3);
        h = (Heard) { .f = f };
        assert_int_equal(ENGINE->backlog(f->log, NULL, NULL, on_backlog, &h), 0);
        wait_for(f, &h);
        assert_int_equal(h.n, 2);
        assert_string_equal(h.backlog[0].function, "f");
        assert_string_equal(h.backlog[1].function, "g");
}

static LogId taken(Fixture *f, const char *data) {
        LogAccept a = event_of("f", data);

        a.take = true;
        assert_int_equal(do_accept(f, &a, 1), 0);
        return a.id;
}

static void test_succeeded(void **state) {
        Fixture *f = *state;
        LogAccept follow = event_of("next", "after");
        LogFinish finish = {
                .id = taken(f, "payload"), .outcome = LOG_SUCCEEDED, .now = NOW + 7, .keep_until = NOW + 100,
                .result_type = "application/json", .result = "{}", .result_size = 2, .follow = &follow, .n_follow = 1,
        };
        Heard h;

        assert_int_equal(do_finish(f, &finish), 0);
        do_get(f, finish.id, 32, &h);
        assert_int_equal(h.events[0].state, LOG_DONE);
        assert_null(h.events[0].data);
        assert_int_equal(h.events[0].size, 0);
        assert_string_equal(h.events[0].result, "{}");
        assert_string_equal(h.events[0].result_type, "application/json");
        assert_int_equal(h.events[0].finished_usec, NOW + 7);
        assert_int_equal(h.events[0].keep_until, NOW + 100);
        do_get(f, follow.id, 32, &h);
        assert_string_equal(h.events[0].data, "after");
        assert_int_equal(do_finish(f, &finish), -ENOENT); /* it is not running: nothing follows either */
        assert_int_equal(do_list(f, _LOG_STATE_INVALID), 2);
}

static void test_retry_and_give_back(void **state) {
        Fixture *f = *state;
        LogFinish finish = {
                .id = taken(f, "payload"), .outcome = LOG_RETRY, .now = NOW, .next_usec = NOW + 50,
                .error = SAND_ERROR_TIMEOUT, .error_class = "TimeoutError", .message = "slow", .cause = "[]",
        };
        Heard h;

        assert_int_equal(do_finish(f, &finish), 0);
        do_get(f, finish.id, 32, &h);
        assert_int_equal(h.events[0].state, LOG_ACCEPTED);
        assert_int_equal(h.events[0].attempt, 1);
        assert_int_equal(h.events[0].next_usec, NOW + 50);
        assert_int_equal(h.events[0].error, SAND_ERROR_TIMEOUT);
        assert_string_equal(h.events[0].error_class, "TimeoutError");
        assert_string_equal(h.events[0].message, "slow");
        assert_string_equal(h.events[0].cause, "[]");
        do_take(f, "f", 1, 100, NOW + 50, &h);
        assert_int_equal(h.n, 1);
        assert_int_equal(h.events[0].attempt, 2);
        finish = (LogFinish) { .id = finish.id, .outcome = LOG_GIVE_BACK, .now = NOW, .next_usec = NOW + 60 };
        assert_int_equal(do_finish(f, &finish), 0);
        do_take(f, "f", 1, 100, NOW + 59, &h);
        assert_int_equal(h.n, 0);
        do_take(f, "f", 1, 100, NOW + 60, &h);
        assert_int_equal(h.n, 1);
        assert_int_equal(h.events[0].attempt, 2);
        assert_string_equal(h.events[0].data, "payload");
        finish.id.random ^= 1;
        assert_int_equal(do_finish(f, &finish), -ENOENT);
}

static uint64_t do_dead(Fixture *f, bool replay, const LogId *ids, size_t n, const LogFilter *filter) {
        Heard h = { .f = f };

        if (replay)
                assert_int_equal(ENGINE->replay(f->log, ids, n, filter, NOW + 9, NOW + 99, on_count, &h), 0);
        else
                assert_int_equal(ENGINE->drop(f->log, ids, n, filter, on_count, &h), 0);
        wait_for(f, &h);
        assert_int_equal(h.error, 0);
        return h.count;
}

static void test_dead_letters(void **state) {
        Fixture *f = *state;
        LogFinish finish = { .outcome = LOG_DIED, .now = NOW + 1, .error = SAND_ERROR_CRASHED, .message = "x" };
        const LogFilter all = { .state = _LOG_STATE_INVALID }, other = { .app = "other" };
        LogId ids[3];
        Heard h;

        for (size_t i = 0; i < 3; i++) {
                finish.id = ids[i] = taken(f, "kept");
                assert_int_equal(do_finish(f, &finish), 0);
        }
        do_get(f, ids[0], 32, &h);
        assert_int_equal(h.events[0].state, LOG_DEAD);
        assert_int_equal(h.events[0].error, SAND_ERROR_CRASHED);
        assert_int_equal(h.events[0].keep_until, NOW + 1 + USEC_PER_HOUR);
        assert_string_equal(h.events[0].data, "kept");
        assert_int_equal(do_list(f, LOG_DEAD), 3);

        assert_int_equal(do_dead(f, true, ids, 1, NULL), 1);
        assert_int_equal(do_dead(f, true, ids, 1, NULL), 0);
        do_get(f, ids[0], 32, &h);
        assert_int_equal(h.events[0].state, LOG_ACCEPTED);
        assert_int_equal(h.events[0].attempt, 0);
        assert_int_equal(h.events[0].next_usec, NOW + 9);
        assert_int_equal(h.events[0].expires_usec, NOW + 99);
        assert_int_equal(h.events[0].error, _SAND_ERROR_INVALID);
        assert_int_equal(do_dead(f, false, ids, 1, NULL), 0); /* it is none any more */
        assert_int_equal(do_dead(f, false, ids + 1, 1, NULL), 1);
        do_get(f, ids[1], 32, &h);
        assert_int_equal(h.error, -ENOENT);
        assert_int_equal(do_dead(f, true, NULL, 0, &other), 0);
        assert_int_equal(do_dead(f, true, NULL, 0, &all), 1);
        do_take(f, "f", 8, 100, NOW + 9, &h);
        assert_int_equal(h.n, 2);
        finish.id = ids[2];
        assert_int_equal(do_finish(f, &finish), 0);
        assert_int_equal(do_dead(f, false, NULL, 0, &all), 1);
        assert_int_equal(do_list(f, _LOG_STATE_INVALID), 1);
}

static void test_expire(void **state) {
        Fixture *f = *state;
        LogFinish finish = { .outcome = LOG_SUCCEEDED, .now = NOW, .keep_until = NOW + 10 };
        LogAccept a = event_of("f", "x");

        for (size_t i = 0; i < 3; i++) {
                finish.id = taken(f, "x");
                assert_int_equal(do_finish(f, &finish), 0);
        }
        a.key = "k";
        a.key_until = NOW + 10;
        assert_int_equal(do_accept(f, &a, 1), 0);
        a.key = "forever";
        a.key_until = USEC_INFINITY;
        assert_int_equal(do_accept(f, &a, 1), 0);
        assert_int_equal(do_expire(f, NOW + 9, 10), 0);
        assert_int_equal(do_expire(f, NOW + 10, 2), 2);
        assert_int_equal(do_expire(f, NOW + 10, 2), 2); /* the third, and the key */
        assert_int_equal(do_expire(f, USEC_INFINITY, 2), 0);
        assert_int_equal(do_list(f, _LOG_STATE_INVALID), 2); /* what waits is kept */
        assert_int_equal(do_accept(f, &a, 1), 0);
        assert_true(a.duplicate);
}

static void test_compare(void **state) {
        static const char *const keys[] = { "a", "b", "c" };
        Fixture *f = *state;
        LogAccept a = event_of("f", "x");
        Heard h = { .f = f };

        a.source = "bucket";
        a.key_until = USEC_INFINITY;
        a.key = "b";
        assert_int_equal(do_accept(f, &a, 1), 0);
        a.key = "gone";
        assert_int_equal(do_accept(f, &a, 1), 0);
        a.key = "window";
        a.key_until = NOW + USEC_PER_HOUR;
        assert_int_equal(do_accept(f, &a, 1), 0);
        assert_int_equal(ENGINE->compare(f->log, "shop", "bucket", keys, 3, on_keys, &h), 0);
        wait_for(f, &h);
        assert_int_equal(h.error, 0);
        assert_int_equal(h.n, 2);
        assert_int_equal(h.unknown[0], 0);
        assert_int_equal(h.unknown[1], 2);
        assert_int_equal(do_accept(f, &a, 1), 0);
        assert_true(a.duplicate);
        a.key_until = USEC_INFINITY;
        a.key = "gone";
        assert_int_equal(do_accept(f, &a, 1), 0);
        assert_false(a.duplicate);
        a.key = "b";
        assert_int_equal(do_accept(f, &a, 1), 0);
        assert_true(a.duplicate);
}

static void test_list(void **state) {
        Fixture *f = *state;
        LogAccept a[3] = { event_of("f", "1"), event_of("g", "2"), event_of("f", "3") };
        LogFilter filter = { .app = "shop", .function = "f", .state = _LOG_STATE_INVALID, .limit = 1 };
        Heard h = { .f = f };

        assert_int_equal(do_accept(f, a, 3), 0);
        assert_int_equal(ENGINE->list(f->log, &filter, on_events, &h), 0);
        wait_for(f, &h);
        assert_int_equal(h.n, 1);
        assert_int_equal(h.events[0].id.seq, a[2].id.seq);
        assert_null(h.events[0].data);
        filter.before = h.events[0].id;
        h = (Heard) { .f = f };
        assert_int_equal(ENGINE->list(f->log, &filter, on_events, &h), 0);
        wait_for(f, &h);
        assert_int_equal(h.n, 1);
        assert_int_equal(h.events[0].id.seq, a[0].id.seq);
}

/* ---- what is left ---- */

static void test_recovery(void **state) {
        Fixture *f = *state;
        LogId id = taken(f, "again");
        Log *second = NULL;
        Heard h;

        assert_int_equal(ENGINE->open(f->event, &f->config, &second), -EBUSY);
        assert_int_equal(reopen(f), 0);
        do_take(f, "f", 1, 100, 0, &h);
        assert_int_equal(h.n, 1);
        assert_int_equal(h.events[0].id.seq, id.seq);
        assert_int_equal(h.events[0].attempt, 2);
        assert_string_equal(h.events[0].data, "again");
}

/* What was handed in before close is committed, though nobody hears of it. */
static void test_close(void **state) {
        Fixture *f = *state;
        LogAccept a[10];
        Heard h = { .f = f };

        for (size_t i = 0; i < ELEMENTSOF(a); i++) {
                a[i] = event_of("f", "x");
                assert_int_equal(ENGINE->accept(f->log, a + i, 1, on_done, &h), 0);
        }
        assert_int_equal(reopen(f), 0);
        assert_int_equal(do_list(f, LOG_ACCEPTED), 10);
        assert_false(h.heard);
}

static void count_acknowledged(int error, void *userdata) {
        if (error >= 0)
                (void) !write(*(int *) userdata, "x", 1);
}

static void _noreturn_ accept_until_killed(Fixture *f, int fd) {
        sd_event *event = NULL;
        Log *log = NULL;

        if (sd_event_new(&event) < 0 || ENGINE->open(event, &f->config, &log) < 0)
                _exit(1);
        for (;;) {
                static LogAccept a[8];
                for (size_t i = 0; i < ELEMENTSOF(a); i++) {
                        a[i] = event_of("f", "acknowledged");
                        (void) ENGINE->accept(log, a + i, 1, count_acknowledged, &fd);
                }
                for (uint64_t until = now_usec() + 2000; now_usec() < until;)
                        (void) sd_event_run(event, 1000);
        }
}

static void test_killed(void **state) {
        Fixture *f = *state;

        f->log = ENGINE->close(f->log);
        for (unsigned round = 1; round <= 5; round++) {
                size_t n = 0, before;
                char buffer[4096];
                int fds[2], status;
                pid_t pid;

                assert_int_equal(ENGINE->open(f->event, &f->config, &f->log), 0);
                before = do_list(f, _LOG_STATE_INVALID);
                f->log = ENGINE->close(f->log);
                assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
                pid = fork();
                assert_true(pid >= 0);
                if (pid == 0)
                        accept_until_killed(f, fds[1]);
                (void) close(fds[1]);
                for (ssize_t l; n < 30 * round && (l = read(fds[0], buffer, sizeof(buffer))) > 0;)
                        n += (size_t) l;
                assert_int_equal(kill(pid, SIGKILL), 0);
                assert_int_equal(waitpid(pid, &status, 0), pid);
                assert_true(WIFSIGNALED(status));
                for (ssize_t l; (l = read(fds[0], buffer, sizeof(buffer))) > 0;)
                        n += (size_t) l;
                (void) close(fds[0]);
                assert_int_equal(ENGINE->open(f->event, &f->config, &f->log), 0);
                assert_true(n > 0);
                assert_true(do_list(f, _LOG_STATE_INVALID) >= MIN(before + n, (size_t) 1000));
                f->log = ENGINE->close(f->log);
        }
}

/* Fills it until it is refused; then what was acknowledged is there, and once there is room it goes on. */
static void fill(Fixture *f, void (*make_room)(Fixture *f)) {
        _cleanup_(freep) char *large = malloc(100000);
        size_t n = 0;
        LogAccept a;
        int r;

        assert_non_null(large);
        memset(large, 'x', 100000);
        for (;;) {
                a = event_of("f", "");
                a.data = large;
                a.size = 100000;
                r = do_accept(f, &a, 1);
                if (r < 0)
                        break;
                n++;
                assert_true(n < 1000);
        }
        assert_int_equal(r, -ENOSPC);
        assert_true(n > 5);
        assert_int_equal(do_list(f, _LOG_STATE_INVALID), n);
        make_room(f);
        assert_int_equal(do_accept(f, &a, 1), 0);
        assert_int_equal(reopen(f), 0);
        assert_int_equal(do_list(f, _LOG_STATE_INVALID), n + 1);
}

static void unlimit(Fixture *f) {
        struct rlimit limit;

        assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void remount(Fixture *f) {
        assert_int_equal(mount("none", f->dir, NULL, MS_REMOUNT, "size=16m"), 0);
}

/* Without root a limit of files' sizes has to do. */
static void test_disk_full(void **state) {
        Fixture *f = *state;
        struct rlimit limit;
        bool mounted;

        f->log = ENGINE->close(f->log);
        mounted = mount("none", f->dir, "tmpfs", 0, "size=3m") >= 0;
        assert_int_equal(ENGINE->open(f->event, &f->config, &f->log), 0);
        if (!mounted) {
                assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
                assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
                limit.rlim_cur = 2 << 20;
                assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        }
        fill(f, mounted ? remount : unlimit);
        if (mounted) {
                f->log = ENGINE->close(f->log);
                assert_int_equal(umount2(f->dir, MNT_DETACH), 0);
        }
}

static void raise_limit(Fixture *f) {
        f->config.bytes_max = 0;
        assert_int_equal(reopen(f), 0);
}

static void test_bytes_max(void **state) {
        Fixture *f = *state;

        f->config.bytes_max = 1 << 20;
        assert_int_equal(reopen(f), 0);
        fill(f, raise_limit);
}

static void alter(Fixture *f, const char *sql) {
        sqlite3 *db;

        assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void test_newer_schema(void **state) {
        Fixture *f = *state;

        f->log = ENGINE->close(f->log);
        alter(f, "PRAGMA user_version = 99");
        assert_int_equal(ENGINE->open(f->event, &f->config, &f->log), -EPROTONOSUPPORT);
        assert_null(f->log);
        alter(f, "PRAGMA user_version = 1; PRAGMA application_id = 7");
        assert_int_equal(ENGINE->open(f->event, &f->config, &f->log), -EUCLEAN);
}

static void overwrite(Fixture *f, off_t offset, size_t size) {
        char garbage[4096];
        int fd = open(f->path, O_WRONLY | O_CLOEXEC);

        assert_true(fd >= 0);
        memset(garbage, 0xa5, sizeof(garbage));
        for (size_t i = 0; i < size; i += sizeof(garbage))
                assert_int_equal(pwrite(fd, garbage, sizeof(garbage), offset + (off_t) i), sizeof(garbage));
        (void) close(fd);
}

static off_t page_of(Fixture *f, const char *table) {
        sqlite3_stmt *statement;
        sqlite3 *db;
        off_t page;

        assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
        assert_int_equal(sqlite3_prepare_v2(db, "SELECT rootpage - 1 FROM sqlite_schema WHERE name = ?", -1,
                                            &statement, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_bind_text(statement, 1, table, -1, SQLITE_STATIC), SQLITE_OK);
        assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
        page = sqlite3_column_int(statement, 0);
        sqlite3_finalize(statement);
        sqlite3_close(db);
        return page;
}

static void test_damaged(void **state) {
        Fixture *f = *state;
        LogAccept a = event_of("f", "x");
        Heard h;

        assert_int_equal(do_accept(f, &a, 1), 0);
        f->log = ENGINE->close(f->log);
        overwrite(f, page_of(f, "payload") * 4096, 4096);
        assert_int_equal(ENGINE->open(f->event, &f->config, &f->log), 0); /* it is not read on opening */
        do_get(f, a.id, 32, &h);
        assert_int_equal(h.error, -EUCLEAN);
        assert_int_equal(do_list(f, _LOG_STATE_INVALID), 1); /* and the rest still is */
        f->log = ENGINE->close(f->log);
        overwrite(f, 0, 4096);
        assert_int_equal(ENGINE->open(f->event, &f->config, &f->log), -EUCLEAN);
        assert_null(f->log);
}

static void test_no_directory(void **state) {
        Fixture *f = *state;
        const LogConfig config = { .path = "/nonexistent/events" };
        Log *log = NULL;

        assert_int_equal(ENGINE->open(f->event, &config, &log), -ENOENT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_id),
                TEST(test_ids_increase),
                TEST(test_accept),
                TEST(test_prefix),
                TEST(test_duplicate),
                TEST(test_skip),
                TEST(test_group_commit),
                TEST(test_queue_full),
                TEST(test_take),
                TEST(test_backlog),
                TEST(test_succeeded),
                TEST(test_retry_and_give_back),
                TEST(test_dead_letters),
                TEST(test_expire),
                TEST(test_compare),
                TEST(test_list),
                TEST(test_recovery),
                TEST(test_close),
                TEST(test_killed),
                TEST(test_disk_full),
                TEST(test_bytes_max),
                TEST(test_newer_schema),
                TEST(test_damaged),
                TEST(test_no_directory),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
