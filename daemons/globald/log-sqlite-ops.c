/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "log-sqlite-ops.h"

#include <assert.h>

/* An operation that fails by itself (-ENOENT, -EBUSY, -EEXIST, -ENOSPC of `bytes_max`) has altered nothing, and the
 * batch goes on. What fails in SQLite or for memory is noted in Db.failed, and is the end of the whole batch. */

#define BACKLOG_COUNT_MAX 10000U /* of one function: who asks for it wants to know the next time */

struct Piece {
        Piece *next;
        max_align_t data[];
};

static void op_clear_answer(Op *op) {
        for (Piece *next, *p = op->pieces; p; p = next) {
                next = p->next;
                free(p);
        }
        op->pieces = NULL;
        op->events = NULL;
        op->unknown = NULL;
        op->backlog = NULL;
        op->n_found = 0;
        op->n_altered = 0;
}

Op *op_free(Op *op) {
        if (!op)
                return NULL;
        op_clear_answer(op);
        free(op->accepted);
        free(op->ids);
        free(op);
        return NULL;
}

/* ---- memory of an answer ---- */

static void *op_allocate(OpContext *c, Op *op, size_t size) {
        Piece *p = calloc(1, sizeof(Piece) + MAX(size, (size_t) 1));

        if (!p) {
                (void) db_fail(&c->db, -ENOMEM);
                return NULL;
        }
        p->next = op->pieces;
        op->pieces = p;
        return p->data;
}

/* NULL for a column that is NULL, and without memory. */
static void *op_column(OpContext *c, Op *op, const Query *q, int column, size_t *ret_size) {
        const void *data;
        size_t size;
        char *copy;

        if (sqlite3_column_type(q->statement, column) == SQLITE_NULL) {
                if (ret_size)
                        *ret_size = 0;
                return NULL;
        }
        data = sqlite3_column_blob(q->statement, column);
        size = (size_t) sqlite3_column_bytes(q->statement, column);
        if (!data && size > 0) {
                (void) db_fail(&c->db, -ENOMEM);
                return NULL;
        }
        copy = op_allocate(c, op, size + 1);
        if (!copy)
                return NULL;
        if (size > 0)
                memcpy(copy, data, size);
        if (ret_size)
                *ret_size = size;
        return copy;
}

/* Grows the list in steps of two; what it leaves behind is freed with the answer. */
static void *op_extend(OpContext *c, Op *op, void *list, size_t item) {
        size_t n = op->n_found;
        void *grown;

        if (n > 0 && (n & (n - 1)) != 0)
                return list;
        grown = op_allocate(c, op, MAX(2 * n, (size_t) 1) * item);
        if (grown && n > 0)
                memcpy(grown, list, n * item);
        return grown;
}

/* ---- headers: key\0value\0... ---- */

static void *headers_pack(OpContext *c, Op *op, const char *const *headers, size_t *ret_size) {
        size_t size = 0;
        char *packed, *p;

        *ret_size = 0;
        if (!headers || !*headers)
                return NULL;
        for (const char *const *h = headers; *h; h++)
                size += strlen(*h) + 1;
        p = packed = op_allocate(c, op, size);
        if (!packed)
                return NULL;
        for (const char *const *h = headers; *h; h++)
                p = stpcpy(p, *h) + 1;
        *ret_size = size;
        return packed;
}

static const char *const *headers_unpack(OpContext *c, Op *op, const Query *q, int column) {
        size_t size, n = 0, i = 0;
        const char *packed = op_column(c, op, q, column, &size), **headers;

        if (!packed)
                return NULL;
        for (size_t k = 0; k < size; k++)
                n += packed[k] == '\0';
        if (size == 0 || packed[size - 1] != '\0' || n % 2 != 0) {
                (void) db_fail(&c->db, -EUCLEAN);
                return NULL;
        }
        headers = op_allocate(c, op, (n + 1) * sizeof(char *));
        if (!headers)
                return NULL;
        for (const char *p = packed; p < packed + size; p += strlen(p) + 1)
                headers[i++] = p;
        return headers;
}

/* ---- events that are read ---- */

/* The columns of EVENT_COLUMNS. */
static int read_event(OpContext *c, Op *op, const Query *q) {
        const char *execution;
        LogEvent *e;
        int i = 0;

        op->events = op_extend(c, op, op->events, sizeof(LogEvent));
        if (!op->events)
                return c->db.failed;
        e = op->events + op->n_found;
        e->id = (LogId) { .seq = query_column_int(q, 0), .random = query_column_int(q, 1) };
        i = 2;
        execution = (const char *) sqlite3_column_text(q->statement, i++);
        if (execution)
                (void) stpncpy(e->execution, execution, LOG_ID_LENGTH);
        else
                log_id_to_string(e->id, e->execution);
        e->app = op_column(c, op, q, i++, NULL);
        e->function = op_column(c, op, q, i++, NULL);
        e->content_type = op_column(c, op, q, i++, NULL);
        e->source = op_column(c, op, q, i++, NULL);
        e->callback = op_column(c, op, q, i++, NULL);
        e->headers = headers_unpack(c, op, q, i++);
        e->state = (LogState) sqlite3_column_int(q->statement, i++);
        e->attempt = (unsigned) sqlite3_column_int(q->statement, i++);
        e->accepted_usec = query_column_time(q, i++);
        e->next_usec = query_column_time(q, i++);
        e->expires_usec = query_column_time(q, i++);
        e->finished_usec = query_column_time(q, i++);
        e->keep_until = query_column_time(q, i++);
        e->error = (SandError) sqlite3_column_int(q->statement, i++);
        e->error_class = op_column(c, op, q, i++, NULL);
        e->message = op_column(c, op, q, i++, NULL);
        e->cause = op_column(c, op, q, i++, NULL);
        e->size = (size_t) query_column_int(q, i++);
        e->result_type = op_column(c, op, q, i++, NULL);
        if (!e->app || !e->function || e->state < 0 || e->state >= _LOG_STATE_MAX || e->error < _SAND_ERROR_INVALID ||
            e->error >= _SAND_ERROR_MAX)
                return c->db.failed < 0 ? c->db.failed : db_fail(&c->db, -EUCLEAN);
        op->n_found++;
        return c->db.failed;
}

/* One that has ended well has none any more. */
static int read_payload(OpContext *c, Op *op, LogEvent *e) {
        _cleanup_(query_done) Query q = query_new(&c->db, STATEMENT_PAYLOAD_GET);
        int r;

        query_int(&q, e->id.seq);
        r = query_step(&q);
        if (r < 0)
                return r;
        e->size = 0;
        if (r > 0)
                e->data = op_column(c, op, &q, 0, &e->size);
        else if (e->state != LOG_DONE)
                return db_fail(&c->db, -EUCLEAN);
        return c->db.failed;
}

/* ---- accept ---- */

/* 1: the key was seen, and `ret` is its first event. */
static int find_key(OpContext *c, const LogAccept *a, LogId *ret) {
        _cleanup_(query_done) Query q = query_new(&c->db, STATEMENT_KEY_FIND);
        int r;

        if (!a->key)
                return 0;
        query_text(&q, a->app);
        query_text(&q, strempty(a->source));
        query_text(&q, a->key);
        query_time(&q, a->now);
        r = query_step(&q);
        if (r > 0)
                *ret = (LogId) { .seq = query_column_int(&q, 0), .random = query_column_int(&q, 1) };
        return r;
}

static int add_key(OpContext *c, const LogAccept *a, LogId id) {
        _cleanup_(query_done) Query q = query_new(&c->db, STATEMENT_KEY_ADD);

        if (!a->key)
                return 0;
        query_text(&q, a->app);
        query_text(&q, strempty(a->source));
        query_text(&q, a->key);
        query_time(&q, a->key_until);
        query_int(&q, id.seq);
        query_int(&q, id.random);
        return query_run(&q);
}

static int source_is_busy(OpContext *c, const LogAccept *a) {
        _cleanup_(query_done) Query q = query_new(&c->db, STATEMENT_SOURCE_BUSY);

        if (!a->skip || !a->source)
                return 0;
        query_text(&q, a->source);
        query_text(&q, a->app);
        return query_step(&q);
}

static int add_payload(OpContext *c, const LogAccept *a, LogId id) {
        _cleanup_(query_done) Query q = query_new(&c->db, STATEMENT_PAYLOAD_ADD);

        query_int(&q, id.seq);
        query_blob(&q, a->size > 0 ? a->data : "", a->size);
        return query_run(&q);
}

static int add_event(OpContext *c, Op *op, const LogAccept *a, LogId id) {
        _cleanup_(query_done) Query q = query_new(&c->db, STATEMENT_EVENT_ADD);
        char own[LOG_ID_LENGTH + 1];
        size_t headers_size;
        const void *headers = headers_pack(c, op, a->headers, &headers_size);

        log_id_to_string(id, own);
        query_int(&q, id.seq);
        query_int(&q, id.random);
        query_text(&q, a->app);
        query_text(&q, a->function);
        query_text(&q, a->execution && !streq(a->execution, own) ? a->execution : NULL);
        query_text(&q, a->content_type);
        query_blob(&q, headers, headers_size);
        query_text(&q, a->source);
        query_text(&q, a->callback);
        query_int(&q, a->size);
        query_int(&q, a->dead ? LOG_DEAD : a->take ? LOG_RUNNING : LOG_ACCEPTED);
        query_int(&q, a->take && !a->dead);
        query_time(&q, a->now);
        query_time(&q, a->next_usec);
        query_time(&q, a->expires_usec);
        query_time(&q, a->dead ? a->now : 0);
        query_time(&q, a->dead ? usec_add(a->now, c->dead_keep_usec) : 0);
        query_int(&q, (uint64_t) (int64_t) (a->dead ? a->error : _SAND_ERROR_INVALID));
        query_text(&q, a->dead ? a->message : NULL);
        return query_run(&q);
}

static int accept_one(OpContext *c, Op *op, const LogAccept *a, Accepted *accepted) {
        int r = find_key(c, a, &accepted->id);

        if (r != 0) {
                accepted->duplicate = r > 0;
                return r;
        }
        r = source_is_busy(c, a);
        if (r != 0)
                return r < 0 ? r : -EBUSY;
        r = add_event(c, op, a, accepted->id);
        if (r >= 0)
                r = add_payload(c, a, accepted->id);
        if (r >= 0)
                r = add_key(c, a, accepted->id);
        return r;
}

static int accept_all(OpContext *c, Op *op) {
        for (size_t i = 0; i < op->n_accept; i++) {
                int r = accept_one(c, op, op->accept + i, op->accepted + i);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int op_accept(OpContext *c, Op *op) {
        if (c->bytes_max > 0 && c->file_bytes + op->size > c->bytes_max)
                return -ENOSPC;
        c->file_bytes += op->size;
        return accept_all(c, op);
}

/* ---- take and finish ---- */

static int find_due(OpContext *c, Op *op) {
        _cleanup_(query_done) Query q = query_new(&c->db, op->app ? STATEMENT_DUE : STATEMENT_OVERDUE);
        uint64_t bytes = 0;
        int r;

        if (op->app) {
                query_text(&q, op->app);
                query_text(&q, op->function);
        }
        query_time(&q, op->now);
        query_int(&q, op->n);
        while ((r = query_step(&q)) > 0) {
                r = read_event(c, op, &q);
                if (r < 0)
                        return r;
                bytes = usec_add(bytes, op->events[op->n_found - 1].size);
                if (op->n_found > 1 && bytes > op->bytes) {
                        op->n_found--;
                        return 0;
                }
                if (bytes >= op->bytes)
                        return 0;
        }
        return r;
}

/* One that is too old is only taken to be ended. */
static int begin_attempt(OpContext *c, LogEvent *e, uint64_t now) {
        _cleanup_(query_done) Query q = query_new(&c->db, STATEMENT_BEGIN_ATTEMPT);

        e->state = LOG_RUNNING;
        if (now < e->expires_usec)
                e->attempt++;
        query_int(&q, e->id.seq);
        query_int(&q, e->attempt);
        return query_run(&q);
}

static int op_take(OpContext *c, Op *op) {
        int r = op->n > 0 ? find_due(c, op) : 0;

        for (size_t i = 0; i < op->n_found && r >= 0; i++) {
                r = read_payload(c, op, op->events + i);
                if (r >= 0)
                        r = begin_attempt(c, op->events + i, op->now);
        }
        return r;
}

static int finish_succeeded(OpContext *c, const LogFinish *f) {
        _cleanup_(query_done) Query q = query_new(&c->db, STATEMENT_SUCCEEDED),
                                payload = query_new(&c->db, STATEMENT_PAYLOAD_REMOVE);
        int r;

        query_int(&q, f->id.seq);
        query_int(&q, f->id.random);
        query_time(&q, f->now);
        query_time(&q, f->keep_until);
        query_text(&q, f->result_type);
        query_blob(&q, f->result, f->result_size);
        r = query_run(&q);
        if (r <= 0)
                return r;
        query_int(&payload, f->id.seq);
        r = query_run(&payload);
        return r < 0 ? r : 1;
}

static int finish_failed(OpContext *c, const LogFinish *f, bool dead) {
        _cleanup_(query_done) Query q = query_new(&c->db, STATEMENT_FAILED);

        query_int(&q, f->id.seq);
        query_int(&q, f->id.random);
        query_int(&q, dead ? LOG_DEAD : LOG_ACCEPTED);
        query_time(&q, f->next_usec);
        query_time(&q, dead ? f->now : 0);
        query_time(&q, dead ? usec_add(f->now, c->dead_keep_usec) : 0);
        query_int(&q, (uint64_t) (int64_t) f->error);
        query_text(&q, f->error_class);
        query_text(&q, f->message);
        query_text(&q, f->cause);
        return query_run(&q);
}

static int finish_give_back(OpContext *c, const LogFinish *f) {
        _cleanup_(query_done) Query q = query_new(&c->db, STATEMENT_GIVE_BACK);

        query_int(&q, f->id.seq);
        query_int(&q, f->id.random);
        query_time(&q, f->next_usec);
        return query_run(&q);
}

static int op_finish(OpContext *c, Op *op) {
        const LogFinish *f = op->finish;
        int r = -EINVAL;

        switch (f->outcome) {
        case LOG_SUCCEEDED:
                r = finish_succeeded(c, f);
                break;
        case LOG_RETRY:
        case LOG_DIED:
                r = finish_failed(c, f, f->outcome == LOG_DIED);
                break;
        case LOG_GIVE_BACK:
                r = finish_give_back(c, f);
                break;
        }
        if (r <= 0)
                return r < 0 ? r : -ENOENT;
        return accept_all(c, op);
}

/* ---- questions ---- */

static int op_backlog(OpContext *c, Op *op) {
        _cleanup_(query_done) Query q = query_new(&c->db, op->app ? STATEMENT_BACKLOG : STATEMENT_BACKLOG_ALL);
        int r;

        if (op->app) {
                query_text(&q, op->app);
                query_text(&q, op->function);
                query_int(&q, BACKLOG_COUNT_MAX);
        }
        while ((r = query_step(&q)) > 0) {
                op->backlog = op_extend(c, op, op->backlog, sizeof(LogBacklog));
                if (!op->backlog)
                        return c->db.failed;
                op->backlog[op->n_found++] = (LogBacklog) {
                        .app = op_column(c, op, &q, 0, NULL),
                        .function = op_column(c, op, &q, 1, NULL),
                        .n = query_column_int(&q, 2),
                        .next_usec = query_column_time(&q, 3),
                };
        }
        return r;
}

/* The one event whose id begins with so many digits of `id`. Those after the 16th differ in nothing that counts: there
 * is one event of a `seq`. */
static int resolve_prefix(OpContext *c, LogId id, unsigned digits, LogId *ret) {
        _cleanup_(query_done) Query q = query_new(&c->db, STATEMENT_PREFIX);
        uint64_t rest = digits == 0 ? UINT64_MAX : digits < 16 ? UINT64_MAX >> (4 * digits) : 0;
        uint64_t counts = digits <= 16 ? 0 : digits >= 32 ? UINT64_MAX : UINT64_MAX << (4 * (32 - digits));
        int r;

        if ((id.seq & ~rest) > (uint64_t) INT64_MAX)
                return -ENOENT;
        query_int(&q, id.seq & ~rest);
        query_time(&q, id.seq | rest);
        r = query_step(&q);
        if (r <= 0)
                return r < 0 ? r : -ENOENT;
        *ret = (LogId) { .seq = query_column_int(&q, 0), .random = query_column_int(&q, 1) };
        if (((ret->random ^ id.random) & counts) != 0)
                return -ENOENT;
        r = query_step(&q);
        return r > 0 ? -EEXIST : r;
}

static int op_get(OpContext *c, Op *op) {
        _cleanup_(query_done) Query q = query_new(&c->db, STATEMENT_GET);
        LogEvent *e;
        LogId id;
        int r = resolve_prefix(c, *op->ids, op->prefix_digits, &id);

        if (r < 0)
                return r;
        query_int(&q, id.seq);
        r = query_step(&q);
        if (r <= 0)
                return r < 0 ? r : -ENOENT;
        r = read_event(c, op, &q);
        if (r < 0)
                return r;
        e = op->events;
        e->result = op_column(c, op, &q, sqlite3_column_count(q.statement) - 1, &e->result_size);
        return c->db.failed < 0 ? c->db.failed : read_payload(c, op, e);
}

static uint64_t filter_before(const LogFilter *f) {
        return f->before.seq == 0 ? INT64_MAX : MIN(f->before.seq, (uint64_t) INT64_MAX);
}

static int op_list(OpContext *c, Op *op) {
        const LogFilter *f = &op->filter;
        _cleanup_(query_done) Query q = query_new(&c->db, f->state == LOG_DEAD ? STATEMENT_LIST_DEAD : STATEMENT_LIST);
        int r;

        query_int(&q, filter_before(f));
        query_text(&q, f->app);
        query_text(&q, f->function);
        query_int(&q, (uint64_t) (int64_t) f->state);
        query_int(&q, f->limit);
        while ((r = query_step(&q)) > 0) {
                r = read_event(c, op, &q);
                if (r < 0)
                        return r;
                op->events[op->n_found - 1].size = 0;
        }
        return r;
}

/* ---- dead letters ---- */

/* Parameters 1 to 4 of a statement on dead letters. */
static void query_dead(Query *q, const Op *op, const LogId *id) {
        if (id) {
                query_int(q, id->seq);
                query_int(q, id->random);
                query_text(q, NULL);
                query_text(q, NULL);
                return;
        }
        query_text(q, op->filter.app);
        query_text(q, op->filter.function);
        query_int(q, filter_before(&op->filter));
        query_int(q, op->filter.limit > 0 ? op->filter.limit : UINT64_MAX); /* -1: no limit */
}

static int replay(OpContext *c, Op *op, const LogId *id) {
        _cleanup_(query_done) Query q = query_new(&c->db, id ? STATEMENT_REPLAY : STATEMENT_REPLAY_FILTER);

        query_dead(&q, op, id);
        query_time(&q, op->now);
        query_time(&q, op->expires_usec);
        return query_run(&q);
}

static int drop_part(OpContext *c, Op *op, const LogId *id, Statement statement) {
        _cleanup_(query_done) Query q = query_new(&c->db, statement);

        if (id) {
                query_int(&q, id->seq);
                query_int(&q, id->random);
        } else
                query_dead(&q, op, NULL);
        return query_run(&q);
}

static int drop(OpContext *c, Op *op, const LogId *id) {
        int r = drop_part(c, op, id, id ? STATEMENT_DROP_PAYLOAD : STATEMENT_DROP_PAYLOAD_FILTER);

        return r < 0 ? r : drop_part(c, op, id, id ? STATEMENT_DROP : STATEMENT_DROP_FILTER);
}

static int op_dead(OpContext *c, Op *op) {
        int (*alter)(OpContext *, Op *, const LogId *) = op->type == OP_REPLAY ? replay : drop;
        int r = 0;

        if (op->n == 0) {
                r = alter(c, op, NULL);
                op->n_altered = r < 0 ? 0 : (uint64_t) r;
        }
        for (size_t i = 0; i < op->n && r >= 0; i++) {
                r = alter(c, op, op->ids + i);
                op->n_altered += r < 0 ? 0 : (uint64_t) r;
        }
        return r;
}

/* ---- keys, and what is past its time ---- */

static int want_key(OpContext *c, const char *key) {
        _cleanup_(query_done) Query q = query_new(&c->db, STATEMENT_WANTED_ADD);

        query_text(&q, key);
        return query_run(&q);
}

static int key_is_kept(OpContext *c, const Op *op, const char *key) {
        _cleanup_(query_done) Query q = query_new(&c->db, STATEMENT_KEY_KEPT);

        query_text(&q, op->app);
        query_text(&q, op->function);
        query_text(&q, key);
        return query_step(&q);
}

/* Keys that are kept for a window only are none of its business. Without a change nothing is written. */
static int op_compare(OpContext *c, Op *op) {
        _cleanup_(query_done) Query clear = query_new(&c->db, STATEMENT_WANTED_CLEAR),
                                forget = query_new(&c->db, STATEMENT_KEY_FORGET);
        int r = query_run(&clear);

        for (size_t i = 0; i < op->n && r >= 0; i++) {
                r = want_key(c, op->keys[i]);
                if (r >= 0)
                        r = key_is_kept(c, op, op->keys[i]);
                if (r != 0)
                        continue;
                op->unknown = op_extend(c, op, op->unknown, sizeof(uint32_t));
                if (!op->unknown)
                        return c->db.failed;
                op->unknown[op->n_found++] = (uint32_t) i;
        }
        if (r < 0)
                return r;
        query_text(&forget, op->app);
        query_text(&forget, op->function);
        return query_run(&forget);
}

static int expire_part(OpContext *c, const Op *op, Statement statement, uint64_t max) {
        _cleanup_(query_done) Query q = query_new(&c->db, statement);

        query_time(&q, op->now);
        query_int(&q, max);
        return query_run(&q);
}

static int op_expire(OpContext *c, Op *op) {
        int r = expire_part(c, op, STATEMENT_EXPIRE_PAYLOAD, op->n);

        if (r >= 0)
                r = expire_part(c, op, STATEMENT_EXPIRE, op->n);
        if (r < 0)
                return r;
        op->n_altered = (uint64_t) r;
        r = expire_part(c, op, STATEMENT_EXPIRE_KEYS, op->n - op->n_altered);
        op->n_altered += r < 0 ? 0 : (uint64_t) r;
        return r;
}

/* ---- a batch ---- */

static const struct {
        int (*execute)(OpContext *, Op *);
        bool writes;
} types[_OP_TYPE_MAX] = {
        [OP_ACCEPT]  = { op_accept,  true  },
        [OP_TAKE]    = { op_take,    true  },
        [OP_FINISH]  = { op_finish,  true  },
        [OP_BACKLOG] = { op_backlog, false },
        [OP_GET]     = { op_get,     false },
        [OP_LIST]    = { op_list,    false },
        [OP_REPLAY]  = { op_dead,    true  },
        [OP_DROP]    = { op_dead,    true  },
        [OP_COMPARE] = { op_compare, true  },
        [OP_EXPIRE]  = { op_expire,  true  },
};

/* Whether it may have written when it fails by itself. */
static bool may_be_half_done(const Op *op) {
        if (op->type != OP_FINISH && op->n_accept <= 1)
                return false;
        for (size_t i = 0; i < op->n_accept; i++)
                if (op->accept[i].skip)
                        return true;
        return false;
}

static void execute(OpContext *c, Op *op) {
        bool savepoint = may_be_half_done(op);

        if (savepoint && db_execute(&c->db, "SAVEPOINT op") < 0)
                return;
        op->error = MIN(types[op->type].execute(c, op), 0);
        if (c->db.failed < 0)
                return;
        if (savepoint && op->error < 0)
                (void) db_execute(&c->db, "ROLLBACK TO op");
        if (savepoint && c->db.failed == 0)
                (void) db_execute(&c->db, "RELEASE op");
}

static void measure(OpContext *c) {
        _cleanup_(query_done) Query q = query_new(&c->db, STATEMENT_SIZE);

        if (query_step(&q) > 0)
                c->file_bytes = query_column_int(&q, 0) * (query_column_int(&q, 1) - query_column_int(&q, 2));
}

void ops_execute(OpContext *c, Op *list) {
        bool write = false;

        for (Op *op = list; op; op = op->next)
                write = write || types[op->type].writes;
        if (db_begin(&c->db, write) >= 0)
                measure(c);
        for (Op *op = list; op && c->db.failed == 0; op = op->next)
                execute(c, op);
        if (db_commit(&c->db) >= 0)
                return;
        for (Op *op = list; op; op = op->next)
                op->error = c->db.failed;
}

/* ---- answers ---- */

static void publish_accepted(const Op *op) {
        for (size_t i = 0; op->error >= 0 && i < op->n_accept; i++) {
                op->accept[i].duplicate = op->accepted[i].duplicate;
                op->accept[i].id = op->accepted[i].id;
        }
}

void op_answer(Op *op) {
        if (op->error < 0)
                op_clear_answer(op);
        publish_accepted(op);
        switch (op->type) {
        case OP_ACCEPT:
        case OP_FINISH:
                op->done(op->error, op->userdata);
                break;
        case OP_TAKE:
        case OP_GET:
        case OP_LIST:
                op->on_events(op->error, op->events, op->n_found, op->userdata);
                break;
        case OP_BACKLOG:
                op->on_backlog(op->error, op->backlog, op->n_found, op->userdata);
                break;
        case OP_REPLAY:
        case OP_DROP:
        case OP_EXPIRE:
                op->on_count(op->error, op->n_altered, op->userdata);
                break;
        case OP_COMPARE:
                op->on_keys(op->error, op->unknown, op->n_found, op->userdata);
                break;
        case _OP_TYPE_MAX:
                assert(false);
        }
}
