/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is asked of the SQLite engine, as it waits, is executed within a batch, and is answered. The writer's thread has
 * an operation between its queueing and its completion; the loop's thread before and after. */

#include "log-sqlite-db.h"

typedef enum OpType {
        OP_ACCEPT,
        OP_TAKE,
        OP_FINISH,
        OP_BACKLOG,
        OP_GET,
        OP_LIST,
        OP_REPLAY,
        OP_DROP,
        OP_COMPARE,
        OP_EXPIRE,
        _OP_TYPE_MAX,
} OpType;

typedef struct Piece Piece;

/* Of an event that is to be accepted, until its LogAccept may be altered. */
typedef struct Accepted {
        LogId id;
        bool duplicate;
} Accepted;

typedef struct Op {
        struct Op *next;
        OpType type;
        size_t size; /* of its payloads */
        int error;

        /* What is asked. */
        LogAccept *accept; /* of OP_FINISH, what follows */
        size_t n_accept;
        LogFinish *finish;
        const char *app, *function; /* of OP_COMPARE, the source */
        LogFilter filter;
        LogId *ids;        /* owned */
        size_t n;          /* ids, keys, events at most */
        const char *const *keys;
        unsigned prefix_digits;
        uint64_t bytes, now, expires_usec;

        /* The answer. */
        Accepted *accepted; /* owned, n_accept */
        LogEvent *events;
        uint32_t *unknown;
        LogBacklog *backlog;
        size_t n_found;
        uint64_t n_altered;
        Piece *pieces;      /* what the answer is made of */

        union {
                log_done_t done;
                log_events_t on_events;
                log_count_t on_count;
                log_keys_t on_keys;
                log_backlog_t on_backlog;
        };
        void *userdata;
} Op;

typedef struct OpContext {
        Db db;
        uint64_t dead_keep_usec, bytes_max;
        uint64_t file_bytes; /* as of the last batch */
} OpContext;

Op *op_free(Op *op);
DEFINE_POINTER_CLEANUP(Op *, op_free);

/* Executes the list in one transaction; each operation has its `error` then, and those that come to 0 are on disk. */
void ops_execute(OpContext *c, Op *list);
/* In the loop's thread: tells who asked. */
void op_answer(Op *op);
