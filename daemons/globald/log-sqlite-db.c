/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "log-sqlite-db.h"

#include <assert.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>

#include "log.h"

#define APPLICATION_ID 0x53414e44 /* "SAND" */
#define TIME_INFINITY "9223372036854775807"

/* A payload has a table of its own: its event's changes of state do not write it again. The partial indices are as
 * large as what waits, not as what is kept. State: 0 accepted, 1 running, 2 done, 3 dead, see LogState. */
static const char *const migrations[] = {
        "CREATE TABLE event ("
        " seq INTEGER PRIMARY KEY, random INTEGER NOT NULL, app TEXT NOT NULL, function TEXT NOT NULL,"
        " execution TEXT, content_type TEXT, headers BLOB, source TEXT, callback TEXT, size INTEGER NOT NULL,"
        " state INTEGER NOT NULL, attempt INTEGER NOT NULL, accepted_usec INTEGER NOT NULL, next_usec INTEGER NOT NULL,"
        " expires_usec INTEGER NOT NULL, finished_usec INTEGER NOT NULL DEFAULT 0, keep_until INTEGER NOT NULL DEFAULT 0,"
        " error INTEGER NOT NULL DEFAULT -1, error_class TEXT, message TEXT, cause TEXT, result_type TEXT, result BLOB);"
        "CREATE TABLE payload (seq INTEGER PRIMARY KEY, data BLOB NOT NULL);"
        "CREATE INDEX event_due ON event (app, function, next_usec, seq) WHERE state = 0;"
        "CREATE INDEX event_running ON event (state) WHERE state = 1;"
        "CREATE INDEX event_dead ON event (state) WHERE state = 3;"
        "CREATE INDEX event_keep ON event (keep_until) WHERE state >= 2;"
        "CREATE INDEX event_source ON event (source) WHERE state < 2 AND source IS NOT NULL;"
        "CREATE TABLE key ("
        " app TEXT NOT NULL, source TEXT NOT NULL, key TEXT NOT NULL, until INTEGER NOT NULL, seq INTEGER NOT NULL,"
        " random INTEGER NOT NULL, PRIMARY KEY (app, source, key)) WITHOUT ROWID;"
        "CREATE INDEX key_until ON key (until) WHERE until < " TIME_INFINITY ";",
        "CREATE INDEX event_expires ON event (expires_usec) WHERE state = 0;",
};

#define EVENT_COLUMNS \
        "seq, random, execution, app, function, content_type, source, callback, headers, state, attempt, accepted_usec," \
        " next_usec, expires_usec, finished_usec, keep_until, error, error_class, message, cause, size, result_type"
#define DEAD_FILTER \
        "(SELECT seq FROM event WHERE state = 3 AND (?1 IS NULL OR app = ?1) AND (?2 IS NULL OR function = ?2)" \
        " AND seq < ?3 ORDER BY seq DESC LIMIT ?4)"
#define REPLAY_SET \
        "UPDATE event SET state = 0, attempt = 0, next_usec = ?5, expires_usec = ?6, finished_usec = 0, keep_until = 0," \
        " error = -1, error_class = NULL, message = NULL, cause = NULL "
#define EXPIRED "(SELECT seq FROM event WHERE state >= 2 AND keep_until <= ?1 ORDER BY keep_until LIMIT ?2)"

static const char *const statement_sql[_STATEMENT_MAX] = {
        [STATEMENT_KEY_FIND] = "SELECT seq, random FROM key WHERE app = ? AND source = ? AND key = ? AND until > ?",
        [STATEMENT_KEY_ADD] = "REPLACE INTO key (app, source, key, until, seq, random) VALUES (?, ?, ?, ?, ?, ?)",
        [STATEMENT_SOURCE_BUSY] = "SELECT 1 FROM event WHERE source = ? AND app = ? AND state < 2 LIMIT 1",
        [STATEMENT_EVENT_ADD] =
                "INSERT INTO event (seq, random, app, function, execution, content_type, headers, source, callback, size,"
                " state, attempt, accepted_usec, next_usec, expires_usec, finished_usec, keep_until, error, message)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [STATEMENT_PAYLOAD_ADD] = "INSERT INTO payload (seq, data) VALUES (?, ?)",
        [STATEMENT_PAYLOAD_GET] = "SELECT data FROM payload WHERE seq = ?",
        [STATEMENT_PAYLOAD_REMOVE] = "DELETE FROM payload WHERE seq = ?",
        [STATEMENT_DUE] = "SELECT " EVENT_COLUMNS " FROM event WHERE app = ? AND function = ? AND state = 0"
                          " AND next_usec <= ? ORDER BY next_usec, seq LIMIT ?",
        [STATEMENT_OVERDUE] = "SELECT " EVENT_COLUMNS " FROM event WHERE state = 0 AND expires_usec <= ?"
                              " ORDER BY expires_usec LIMIT ?",
        [STATEMENT_BEGIN_ATTEMPT] = "UPDATE event SET state = 1, attempt = ?2 WHERE seq = ?1",
        [STATEMENT_SUCCEEDED] =
                "UPDATE event SET state = 2, finished_usec = ?3, keep_until = ?4, result_type = ?5, result = ?6, error = -1,"
                " error_class = NULL, message = NULL, cause = NULL WHERE seq = ?1 AND random = ?2 AND state = 1",
        [STATEMENT_FAILED] =
                "UPDATE event SET state = ?3, next_usec = ?4, finished_usec = ?5, keep_until = ?6, error = ?7,"
                " error_class = ?8, message = ?9, cause = ?10 WHERE seq = ?1 AND random = ?2 AND state = 1",
        [STATEMENT_GIVE_BACK] = "UPDATE event SET state = 0, attempt = max(attempt - 1, 0), next_usec = ?3"
                                " WHERE seq = ?1 AND random = ?2 AND state = 1",
        [STATEMENT_BACKLOG] =
                "SELECT ?1, ?2, count(*), min(next_usec) FROM (SELECT next_usec FROM event WHERE app = ?1 AND function = ?2"
                " AND state = 0 ORDER BY next_usec LIMIT ?3) HAVING count(*) > 0",
        [STATEMENT_BACKLOG_ALL] =
                "SELECT app, function, count(*), min(next_usec) FROM event WHERE state = 0 GROUP BY app, function",
        [STATEMENT_GET] = "SELECT " EVENT_COLUMNS ", result FROM event WHERE seq = ?",
        [STATEMENT_PREFIX] = "SELECT seq, random FROM event WHERE seq BETWEEN ? AND ? LIMIT 2",
        [STATEMENT_LIST] =
                "SELECT " EVENT_COLUMNS " FROM event WHERE seq < ? AND (?2 IS NULL OR app = ?2) AND"
                " (?3 IS NULL OR function = ?3) AND (?4 < 0 OR state = ?4) ORDER BY seq DESC LIMIT ?5",
        [STATEMENT_LIST_DEAD] = /* the index is used where the query says "state = 3" */
                "SELECT " EVENT_COLUMNS " FROM event WHERE state = 3 AND seq < ? AND (?2 IS NULL OR app = ?2) AND"
                " (?3 IS NULL OR function = ?3) AND (?4 < 0 OR state = ?4) ORDER BY seq DESC LIMIT ?5",
        [STATEMENT_REPLAY] = REPLAY_SET "WHERE seq = ?1 AND random = ?2 AND state = 3",
        [STATEMENT_REPLAY_FILTER] = REPLAY_SET "WHERE seq IN " DEAD_FILTER,
        [STATEMENT_DROP_PAYLOAD] =
                "DELETE FROM payload WHERE seq = (SELECT seq FROM event WHERE seq = ?1 AND random = ?2 AND state = 3)",
        [STATEMENT_DROP] = "DELETE FROM event WHERE seq = ?1 AND random = ?2 AND state = 3",
        [STATEMENT_DROP_PAYLOAD_FILTER] = "DELETE FROM payload WHERE seq IN " DEAD_FILTER,
        [STATEMENT_DROP_FILTER] = "DELETE FROM event WHERE seq IN " DEAD_FILTER,
        [STATEMENT_WANTED_CLEAR] = "DELETE FROM temp.wanted",
        [STATEMENT_WANTED_ADD] = "INSERT OR IGNORE INTO temp.wanted (key) VALUES (?)",
        [STATEMENT_KEY_KEPT] =
                "SELECT 1 FROM key WHERE app = ? AND source = ? AND key = ? AND until = " TIME_INFINITY,
        [STATEMENT_KEY_FORGET] = "DELETE FROM key WHERE app = ? AND source = ? AND until = " TIME_INFINITY
                                 " AND key NOT IN (SELECT key FROM temp.wanted)",
        [STATEMENT_EXPIRE_PAYLOAD] = "DELETE FROM payload WHERE seq IN " EXPIRED,
        [STATEMENT_EXPIRE] = "DELETE FROM event WHERE seq IN " EXPIRED,
        [STATEMENT_EXPIRE_KEYS] =
                "DELETE FROM key WHERE (app, source, key) IN (SELECT app, source, key FROM key WHERE until <= ?1"
                " AND until < " TIME_INFINITY " ORDER BY until LIMIT ?2)",
        [STATEMENT_SIZE] = "SELECT page_size, page_count, freelist_count"
                           " FROM pragma_page_size, pragma_page_count, pragma_freelist_count",
};

/* sqlite3_system_errno() does not tell of writes to the WAL: that file has it. */
static int system_errno(sqlite3 *sqlite) {
        sqlite3_file *wal = NULL;
        int e = sqlite3_system_errno(sqlite);

        if (e == 0 && sqlite3_file_control(sqlite, NULL, SQLITE_FCNTL_JOURNAL_POINTER, &wal) == SQLITE_OK && wal &&
            wal->pMethods)
                (void) wal->pMethods->xFileControl(wal, SQLITE_FCNTL_LAST_ERRNO, &e);
        if (e == 0)
                (void) sqlite3_file_control(sqlite, NULL, SQLITE_FCNTL_LAST_ERRNO, &e);
        return e;
}

static int errno_from_sqlite(sqlite3 *sqlite, int code) {
        bool of_system = (code & 0xff) == SQLITE_IOERR || (code & 0xff) == SQLITE_CANTOPEN;
        int system = sqlite && of_system ? system_errno(sqlite) : 0;

        switch (code & 0xff) {
        case SQLITE_OK:
        case SQLITE_ROW:
        case SQLITE_DONE:
                return 0;
        case SQLITE_NOMEM:
                return -ENOMEM;
        case SQLITE_FULL:
                return -ENOSPC;
        case SQLITE_READONLY:
                return -EROFS;
        case SQLITE_PERM:
        case SQLITE_AUTH:
                return -EACCES;
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
                return -EBUSY;
        case SQLITE_TOOBIG:
                return -E2BIG;
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
        case SQLITE_CONSTRAINT:
        case SQLITE_MISMATCH:
                return -EUCLEAN;
        case SQLITE_CANTOPEN:
                return system == EROFS ? -EROFS : system > 0 ? -system : -EIO;
        default: /* A limit of files' sizes and a quota are full disks, too. */
                return system == EFBIG || system == EDQUOT || system == ENOSPC ? -ENOSPC : system == EROFS ? -EROFS : -EIO;
        }
}

int db_fail(Db *db, int error) {
        assert(error < 0);
        if (db->failed == 0)
                db->failed = error;
        return error;
}

static int db_check(Db *db, int code) {
        int r = errno_from_sqlite(db->sqlite, code);

        return r < 0 ? db_fail(db, r) : 0;
}

int db_execute(Db *db, const char *sql) {
        return db_check(db, sqlite3_exec(db->sqlite, sql, NULL, NULL, NULL));
}

int db_begin(Db *db, bool write) {
        db->failed = 0;
        return db_execute(db, write ? "BEGIN IMMEDIATE" : "BEGIN");
}

void db_rollback(Db *db) {
        if (!sqlite3_get_autocommit(db->sqlite))
                (void) sqlite3_exec(db->sqlite, "ROLLBACK", NULL, NULL, NULL);
}

int db_commit(Db *db) {
        if (db->failed == 0 && sqlite3_get_autocommit(db->sqlite))
                (void) db_fail(db, -EIO); /* rolled back behind our back */
        if (db->failed == 0)
                (void) db_execute(db, "COMMIT");
        if (db->failed < 0)
                db_rollback(db);
        return db->failed;
}

Query query_new(Db *db, Statement statement) {
        return (Query) { .db = db, .statement = db->statements[statement] };
}

void query_done(Query *q) {
        (void) sqlite3_reset(q->statement);
        (void) sqlite3_clear_bindings(q->statement);
}

static void query_bound(Query *q, int code) {
        (void) db_check(q->db, code);
}

void query_int(Query *q, uint64_t v) {
        query_bound(q, sqlite3_bind_int64(q->statement, ++q->n_bound, (int64_t) v));
}

void query_time(Query *q, uint64_t usec) {
        query_int(q, MIN(usec, (uint64_t) INT64_MAX));
}

void query_text(Query *q, const char *s) {
        query_bound(q, sqlite3_bind_text(q->statement, ++q->n_bound, s, -1, SQLITE_STATIC));
}

void query_blob(Query *q, const void *data, size_t size) {
        query_bound(q, sqlite3_bind_blob64(q->statement, ++q->n_bound, data, size, SQLITE_STATIC));
}

int query_step(Query *q) {
        int code;

        if (q->db->failed < 0)
                return q->db->failed;
        code = sqlite3_step(q->statement);
        return code == SQLITE_ROW ? 1 : db_check(q->db, code);
}

int query_run(Query *q) {
        int r;

        do
                r = query_step(q);
        while (r > 0);
        return r < 0 ? r : sqlite3_changes(q->db->sqlite);
}

uint64_t query_column_int(const Query *q, int column) {
        return (uint64_t) sqlite3_column_int64(q->statement, column);
}

uint64_t query_column_time(const Query *q, int column) {
        int64_t v = sqlite3_column_int64(q->statement, column);

        return v == INT64_MAX ? USEC_INFINITY : (uint64_t) MAX(v, (int64_t) 0);
}

static int db_number(Db *db, const char *sql, int64_t *ret) {
        sqlite3_stmt *statement = NULL;
        int code = sqlite3_prepare_v2(db->sqlite, sql, -1, &statement, NULL);

        if (code == SQLITE_OK)
                code = sqlite3_step(statement);
        if (code == SQLITE_ROW)
                *ret = sqlite3_column_int64(statement, 0);
        (void) sqlite3_finalize(statement);
        return code == SQLITE_ROW ? 0 : code == SQLITE_DONE ? db_fail(db, -EUCLEAN) : db_check(db, code);
}

static int log_open_error(int error, const char *path) {
        switch (error) {
        case -EUCLEAN:
                return log_error_errno(error, "The event log %s is damaged, or is none. Save what can be read with "
                                       "\"sqlite3 %s .recover\", move the file and those beside it (-wal) aside, and start "
                                       "again.", path, path);
        case -EBUSY:
                return log_error_errno(error, "The event log %s is in use by another process.", path);
        case -ENOSPC:
                return log_error_errno(error, "There is no room for the event log %s: %m. Make some, and start again.", path);
        default:
                return log_error_errno(error, "Failed to open the event log %s: %m", path);
        }
}

/* Made here for its mode; SQLite gives the file beside it the same. An existing file is not opened: closing it again
 * would drop the locks that this process has on it. */
static int create(const char *path) {
        _cleanup_(freep) char *copy = NULL;
        _cleanup_(closep) int fd = -EBADF, dir = -EBADF;

        fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0)
                return errno != EEXIST || access(path, R_OK | W_OK) < 0 ? -errno : 0; /* SQLite calls -EROFS an I/O error */
        copy = strdup(path);
        if (!copy)
                return -ENOMEM;
        dir = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir < 0 || fsync(fd) < 0 || fsync(dir) < 0)
                return -errno;
        return 0;
}

static int migrate(Db *db, const char *path) {
        char sql[96];
        int64_t version, id, n;
        int r;

        r = db_number(db, "PRAGMA user_version", &version);
        if (r >= 0)
                r = db_number(db, "PRAGMA application_id", &id);
        if (r >= 0)
                r = db_number(db, "SELECT count(*) FROM sqlite_schema", &n);
        if (r < 0)
                return log_open_error(r, path);
        if (version < 0 || id != (n > 0 ? APPLICATION_ID : 0))
                return log_open_error(-EUCLEAN, path);
        if (version > (int64_t) ELEMENTSOF(migrations))
                return log_error_errno(-EPROTONOSUPPORT, "The event log %s has version %lld, and this program knows those up to "
                                       "%zu. Install the newer program again, or move the file aside.", path,
                                       (long long) version, ELEMENTSOF(migrations));
        for (size_t i = (size_t) version; i < ELEMENTSOF(migrations) && r >= 0; i++)
                r = db_execute(db, migrations[i]);
        (void) snprintf(sql, sizeof(sql), "PRAGMA application_id = %d; PRAGMA user_version = %zu", APPLICATION_ID,
                        ELEMENTSOF(migrations));
        if (r >= 0 && version < (int64_t) ELEMENTSOF(migrations))
                r = db_execute(db, sql);
        return r < 0 ? log_open_error(r, path) : 0;
}

static int prepare(Db *db) {
        int r = db_execute(db, "CREATE TEMP TABLE wanted (key TEXT PRIMARY KEY) WITHOUT ROWID");

        for (size_t i = 0; i < ELEMENTSOF(statement_sql) && r >= 0; i++)
                r = db_check(db, sqlite3_prepare_v3(db->sqlite, statement_sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                                                    db->statements + i, NULL));
        return r;
}

/* The lock is taken by the first transaction and kept: without a second process the index of the WAL is our memory. */
static int configure(Db *db) {
        (void) sqlite3_extended_result_codes(db->sqlite, 1);
        return db_execute(db,
                          "PRAGMA locking_mode = EXCLUSIVE;"
                          "PRAGMA temp_store = MEMORY;"
                          "PRAGMA cache_size = -4096;"
                          "PRAGMA mmap_size = 0;"
                          "PRAGMA trusted_schema = OFF;"
                          "PRAGMA journal_mode = WAL;"
                          "PRAGMA synchronous = FULL;"
                          "PRAGMA wal_autocheckpoint = 4000;"
                          "PRAGMA journal_size_limit = 67108864;");
}

int db_open(Db *db, const char *path, uint64_t *ret_seq) {
        int64_t seq;
        int r;

        *db = (Db) {};
        r = create(path);
        if (r >= 0)
                r = db_check(db, sqlite3_open_v2(path, &db->sqlite, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX |
                                                 SQLITE_OPEN_PRIVATECACHE, NULL));
        if (r >= 0)
                r = configure(db);
        if (r >= 0)
                r = db_begin(db, true);
        if (r < 0) {
                db_close(db);
                return log_open_error(r, path);
        }
        r = migrate(db, path);
        if (r < 0) {
                db_rollback(db);
                db_close(db);
                return r;
        }
        r = prepare(db);
        if (r >= 0)
                r = db_execute(db, "UPDATE event SET state = 0, next_usec = 0 WHERE state = 1");
        if (r >= 0)
                r = db_number(db, "SELECT coalesce(max(seq), 0) FROM event", &seq);
        if (r >= 0)
                r = db_commit(db);
        if (r < 0) {
                db_rollback(db);
                db_close(db);
                return log_open_error(r, path);
        }
        *ret_seq = (uint64_t) seq;
        return 0;
}

void db_close(Db *db) {
        for (size_t i = 0; i < ELEMENTSOF(db->statements); i++) {
                (void) sqlite3_finalize(db->statements[i]);
                db->statements[i] = NULL;
        }
        (void) sqlite3_close(db->sqlite);
        db->sqlite = NULL;
}
