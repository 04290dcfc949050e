/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The event log: what was accepted, and what became of it. An engine is a struct of functions; the local one is SQLite
 * (log-sqlite.c), and nothing else in globald touches the disk.
 *
 * Asynchronous: an operation is handed in, its handler runs once, later, from the event loop, never from within the
 * call. What is handed in while the disk is busy forms the next batch and is committed together (group commit); when
 * the handler hears 0 it is on disk. Operations take effect in the order in which they were handed in. Strings and
 * bytes of an operation must stay as they are until its handler has run; what a handler is given is valid during it,
 * unless said otherwise.
 *
 * All times are microseconds of CLOCK_REALTIME, given by the caller: an engine reads no clock.
 *
 * Errors: -ENOSPC disk full, -EROFS, -EIO, -EUCLEAN the file is damaged, -ENOENT no such event, -EEXIST ambiguous
 * prefix, -ENOMEM. After a failed commit nothing of the batch happened, and each of its operations says so. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "error.h"
#include "macro.h"

#define LOG_ID_LENGTH 32

/* An event's id: 32 lower-case hex digits, a UUID of version 7 (RFC 9562): 48 bits of milliseconds, 12 bits of their
 * fraction, 62 random ones. The first 64 bits, `seq`, strictly increase within a log, so that an insert is an append. */
typedef struct LogId {
        uint64_t seq, random;
} LogId;

void log_id_to_string(LogId id, char ret[static LOG_ID_LENGTH + 1]);
/* -EINVAL */
int log_id_from_string(const char *s, LogId *ret);

typedef enum LogState {
        LOG_ACCEPTED, /* it waits for `next_usec` and room */
        LOG_RUNNING,  /* it was handed over, or is about to be */
        LOG_DONE,
        LOG_DEAD,
        _LOG_STATE_MAX,
        _LOG_STATE_INVALID = -1,
} LogState;

const char *log_state_to_string(LogState s);
LogState log_state_from_string(const char *s);

/* An event to be accepted. */
typedef struct LogAccept {
        const char *app, *function;
        const char *execution;            /* NULL: its own id */
        const char *content_type;
        const char *const *headers;       /* key, value, ..., NULL; may be NULL */
        const char *source, *callback;    /* may be NULL */
        const char *key;                  /* idempotency key; NULL: none. Its scope is app and source */
        uint64_t key_until;               /* USEC_INFINITY: until log_compare() forgets it */
        const void *data;
        size_t size;
        uint64_t now, next_usec, expires_usec;
        bool take;                        /* it is RUNNING at once, its first attempt: the caller hands it over */
        bool dead;                        /* it is a dead letter at once, for the reason in `error` ... */
        bool skip;                        /* not while another event of its source has not ended: -EBUSY */
        SandError error;
        const char *message;

        LogId id;                         /* set when it is handed in; of a duplicate, when the handler runs: the first one's */
        bool duplicate;                   /* set before the handler runs: nothing was accepted */
} LogAccept;

/* An event as it is in the log. Fields that were not asked for are NULL. */
typedef struct LogEvent {
        LogId id;
        char execution[LOG_ID_LENGTH + 1];
        const char *app, *function, *content_type, *source, *callback;
        const char *const *headers;
        const void *data;
        size_t size;
        LogState state;
        unsigned attempt;                 /* how often it was begun */
        uint64_t accepted_usec, next_usec, expires_usec, finished_usec, keep_until;
        SandError error;                  /* of the last failure; _SAND_ERROR_INVALID: none */
        const char *error_class, *message, *cause;
        const char *result_type;
        const void *result;               /* NULL: none, or not kept */
        size_t result_size;
} LogEvent;

typedef enum LogOutcome {
        LOG_SUCCEEDED,
        LOG_RETRY,     /* it failed, and is tried again at next_usec */
        LOG_GIVE_BACK, /* it was not begun: the attempt does not count */
        LOG_DIED,      /* no more attempts */
} LogOutcome;

typedef struct LogFinish {
        LogId id;
        LogOutcome outcome;
        uint64_t now, next_usec, keep_until; /* keep_until: of DONE, its result and its row */
        SandError error;
        const char *error_class, *message, *cause;
        const char *result_type;
        const void *result;
        size_t result_size;
        LogAccept *follow;                /* events that are accepted with it; may be NULL */
        size_t n_follow;
} LogFinish;

typedef struct LogFilter {
        const char *app, *function;       /* NULL: any */
        LogState state;                   /* _LOG_STATE_INVALID: any */
        LogId before;                     /* seq 0: from the newest on */
        unsigned limit;
} LogFilter;

/* What waits for a function. */
typedef struct LogBacklog {
        const char *app, *function;
        uint64_t n;
        uint64_t next_usec;               /* the earliest */
} LogBacklog;

typedef struct Log Log;
typedef void (*log_done_t)(int error, void *userdata);
/* `n` events; n may be 0. `error` negative: there are none. */
typedef void (*log_events_t)(int error, LogEvent *events, size_t n, void *userdata);
/* `n`: what was altered, or the unknown keys' indices are in `list`. */
typedef void (*log_count_t)(int error, uint64_t n, void *userdata);
typedef void (*log_keys_t)(int error, const uint32_t *unknown, size_t n, void *userdata);
typedef void (*log_backlog_t)(int error, const LogBacklog *list, size_t n, void *userdata);

typedef struct LogConfig {
        const char *path;                 /* of the local engine: the file */
        uint64_t dead_keep_usec;          /* dead letters are kept so long */
        uint64_t bytes_max;               /* of the file: accepting more is -ENOSPC; 0: the disk decides */
} LogConfig;

typedef struct LogStatistics {
        uint64_t n_batches, n_operations; /* since the start */
        uint64_t file_bytes;
} LogStatistics;

typedef struct LogEngine {
        const char *name;                 /* "local" */
        /* Opens or makes the log, migrates it forward, and makes what was RUNNING ACCEPTED again, due at once. Blocks. Logs why
         * it fails, with what to do about it. */
        int (*open)(sd_event *event, const LogConfig *config, Log **ret);
        /* Commits what was handed in, runs no more handlers, frees. */
        Log *(*close)(Log *log);

        /* All `n` or none. -ENOBUFS, at once: too much waits for the disk. */
        int (*accept)(Log *log, LogAccept *events, size_t n, log_done_t done, void *userdata);
        /* Makes up to `n` events of a function that are due by `now` RUNNING, `bytes` of payload at most but at least one;
         * oldest next_usec first. app NULL: those of all functions that are too old by `now`, oldest expires_usec first;
         * that is no attempt. */
        int (*take)(Log *log, const char *app, const char *function, unsigned n, uint64_t bytes, uint64_t now,
                    log_events_t done, void *userdata);
        int (*finish)(Log *log, LogFinish *finish, log_done_t done, void *userdata);
        /* When something of the function is next due: a list of at most one. app NULL: of all functions. */
        int (*backlog)(Log *log, const char *app, const char *function, log_backlog_t done, void *userdata);

        /* One event with all that is known of it, payload and result. `prefix_digits` of the id count, 32: all. */
        int (*get)(Log *log, LogId id, unsigned prefix_digits, log_events_t done, void *userdata);
        int (*list)(Log *log, const LogFilter *filter, log_events_t done, void *userdata); /* without payloads and results */
        /* Dead letters: the ids, or with n 0 what the filter picks. Replayed ones are due at `now`, die at `expires_usec` and
         * have no attempts yet. */
        int (*replay)(Log *log, const LogId *ids, size_t n, const LogFilter *filter, uint64_t now, uint64_t expires_usec,
                      log_count_t done, void *userdata);
        int (*drop)(Log *log, const LogId *ids, size_t n, const LogFilter *filter, log_count_t done, void *userdata);
        /* See Compare in protocol.h; the scope of keys is app and source. */
        int (*compare)(Log *log, const char *app, const char *source, const char *const *keys, size_t n,
                       log_keys_t done, void *userdata);
        /* Removes what is past its time, a bounded number; the handler hears how many: call again while it is that number. */
        int (*expire)(Log *log, uint64_t now, unsigned max, log_count_t done, void *userdata);
        void (*statistics)(Log *log, LogStatistics *ret);
} LogEngine;

extern const LogEngine log_sqlite;
