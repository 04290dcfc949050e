/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The file of the event log: its schema, its prepared statements, and SQLite's errors as errnos. */

#include <sqlite3.h>

#include "event-log.h"

typedef enum Statement {
        STATEMENT_KEY_FIND,
        STATEMENT_KEY_ADD,
        STATEMENT_SOURCE_BUSY,
        STATEMENT_EVENT_ADD,
        STATEMENT_PAYLOAD_ADD,
        STATEMENT_PAYLOAD_GET,
        STATEMENT_PAYLOAD_REMOVE,
        STATEMENT_DUE,
        STATEMENT_OVERDUE,
        STATEMENT_BEGIN_ATTEMPT,
        STATEMENT_SUCCEEDED,
        STATEMENT_FAILED,
        STATEMENT_GIVE_BACK,
        STATEMENT_BACKLOG,
        STATEMENT_BACKLOG_ALL,
        STATEMENT_GET,
        STATEMENT_PREFIX,
        STATEMENT_LIST,
        STATEMENT_LIST_DEAD,
        STATEMENT_REPLAY,
        STATEMENT_REPLAY_FILTER,
        STATEMENT_DROP_PAYLOAD,
        STATEMENT_DROP,
        STATEMENT_DROP_PAYLOAD_FILTER,
        STATEMENT_DROP_FILTER,
        STATEMENT_WANTED_CLEAR,
        STATEMENT_WANTED_ADD,
        STATEMENT_KEY_KEPT,
        STATEMENT_KEY_FORGET,
        STATEMENT_EXPIRE_PAYLOAD,
        STATEMENT_EXPIRE,
        STATEMENT_EXPIRE_KEYS,
        STATEMENT_SIZE,
        _STATEMENT_MAX,
} Statement;

typedef struct Db {
        sqlite3 *sqlite;
        sqlite3_stmt *statements[_STATEMENT_MAX];
        int failed; /* why the transaction cannot be committed; 0: it can */
} Db;

/* Blocks, logs why it fails. `ret_seq`: the newest event's. */
int db_open(Db *db, const char *path, uint64_t *ret_seq);
void db_close(Db *db);

int db_begin(Db *db, bool write);
/* Rolls back where it cannot commit. */
int db_commit(Db *db);
void db_rollback(Db *db);
int db_execute(Db *db, const char *sql);
/* Notes the first reason for which the transaction fails. Returns `error`. */
int db_fail(Db *db, int error);

/* One run of a statement. What is bound is not copied and must outlive it; after an error nothing more is done. */
typedef struct Query {
        Db *db;
        sqlite3_stmt *statement;
        int n_bound;
} Query;

Query query_new(Db *db, Statement statement);
void query_done(Query *q);
/* Integers, also those of 64 bits that are not times. */
void query_int(Query *q, uint64_t v);
void query_time(Query *q, uint64_t usec);
/* NULL is NULL. */
void query_text(Query *q, const char *s);
void query_blob(Query *q, const void *data, size_t size);
/* 1: a row, 0: no more, negative: the transaction failed. */
int query_step(Query *q);
/* Runs it to its end. The number of rows that it altered, or negative. */
int query_run(Query *q);
uint64_t query_column_time(const Query *q, int column);
uint64_t query_column_int(const Query *q, int column);
