/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The bundle's sand.json: parsed and checked in one pass that reports all problems, each with file,
 * JSON pointer, what was found and what is expected. Whoever holds a Manifest holds a valid one. */

#include <json-c/json.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "web-route.h"

typedef enum Runtime {
        RUNTIME_PYTHON3,
        RUNTIME_EXEC,
        RUNTIME_NATIVE,
        _RUNTIME_MAX,
        _RUNTIME_INVALID = -1,
} Runtime;

const char *runtime_to_string(Runtime r);        /* "python3" */
const char *runtime_worker(Runtime r);           /* "sand-worker-python" */
Runtime runtime_from_string(const char *s);

typedef enum Receipts {
        RECEIPTS_SAMPLE, /* failed, slow, and a bounded sample of the rest */
        RECEIPTS_FAILED,
        RECEIPTS_ALL,
        _RECEIPTS_MAX,
        _RECEIPTS_INVALID = -1,
} Receipts;

typedef enum Network {
        NETWORK_NONE,
        NETWORK_NAT, /* out through the host's addresses */
        _NETWORK_MAX,
        _NETWORK_INVALID = -1,
} Network;

const char *network_to_string(Network n);

#define TASKS_MAX_DEFAULT 64U
#define CPU_WEIGHT_MAX 10000U
#define CPU_WEIGHT_IDLE UINT_MAX

/* A directory of the host's in the machine. Both paths are absolute and normal, and need no quoting in a unit. */
typedef struct MountSpec {
        char *host, *at;
        bool write;
        char *file;    /* where `host` is said, for messages ... */
        unsigned line; /* ... 1...; 0: not known */
} MountSpec;

/* How often an asynchronous event is tried, and when. */
typedef struct RetryPolicy {
        unsigned attempts;       /* in all, at least 1; 3 */
        uint64_t delay_usec;     /* before the second one; 1 s */
        double backoff;          /* its factor from one to the next; 2 */
        uint64_t delay_max_usec; /* 5 min */
        uint64_t age_max_usec;   /* from accept on; then it is dead; 6 h */
        bool timeouts;           /* whether Timeout is tried again; true */
} RetryPolicy;

#define RETRY_ATTEMPTS_MAX 100U
#define RETRY_POLICY_DEFAULT                                                                                       \
        ((RetryPolicy) { .attempts = 3, .delay_usec = USEC_PER_SEC, .backoff = 2,                                   \
                         .delay_max_usec = 5 * USEC_PER_MINUTE, .age_max_usec = 6 * USEC_PER_HOUR, .timeouts = true })

typedef struct FunctionSpec {
        char *name;
        Runtime runtime;
        char **handler;        /* one string, or exec's argv */
        uint64_t timeout_usec; /* of one event's run */
        uint64_t payload_max;  /* bytes, of event and result */
        char *content_type;    /* of results; NULL: application/json */
        unsigned warm, max;    /* instances */
        unsigned events;       /* that one process serves; 0: no limit */
        unsigned queue_max;    /* waiting events */
        uint64_t queue_bytes;  /* of their payloads */
        uint64_t memory;       /* RLIMIT_DATA of one instance, bytes */
        uint64_t tasks_max;    /* processes and threads of worker and instances together; UINT64_MAX: no limit */
        uint64_t memory_max;   /* memory of worker and instances together, bytes; UINT64_MAX: no limit */
        unsigned cpu_weight;   /* beside the application's other functions; 0: as they come; CPU_WEIGHT_IDLE */
        char **environment;    /* "KEY=VALUE", the application's and the function's merged */
        char **credentials;    /* names of the secrets that it may read: its own list, or else the application's */
        RetryPolicy retry;     /* the application's, or its own */
        char *on_success, *on_failure; /* `function` or `app/function` that gets the outcome of asynchronous events; may be NULL */
} FunctionSpec;

typedef struct TimerTrigger {
        char *calendar, *target; /* OnCalendar= */
        char *input;             /* JSON; NULL: {} */
        bool persistent, overlap;
        uint64_t jitter_usec;
        size_t index;            /* in the manifest's triggers */
        char *file;              /* where `calendar` is said, as above */
        unsigned line;
} TimerTrigger;

typedef struct PathTrigger {
        char *path, *target;     /* in the machine, at or below a mount */
        char *host;              /* the same on the host */
        size_t index;
} PathTrigger;

typedef struct TopicTrigger {
        char *pattern, *target;  /* "orders.*": '*' stands for any characters */
        size_t index;
} TopicTrigger;

void topic_triggers_free(TopicTrigger *l, size_t n);

#define ALLOW_MAX 64U

typedef struct Manifest {
        char *name;
        FunctionSpec *functions; /* in the file's order */
        size_t n_functions;
        char **resources;        /* "MemoryMax=1G": for the [Service] section of the machine's unit */
        char **credentials;      /* of all functions together */
        char **packages;         /* Debian's, that must be on the host */
        char **build;            /* argv of the command that makes what the bundle is to hold; NULL: none */
        uint64_t idle_usec;      /* USEC_INFINITY: the machine never exits by itself */
        Receipts receipts;
        HttpTrigger *triggers;   /* those of HTTP, in the file's order */
        size_t n_triggers;
        TimerTrigger *timers;
        size_t n_timers;
        PathTrigger *paths;
        size_t n_paths;
        TopicTrigger *topics;
        size_t n_topics;
        char **allow;            /* applications that may call, send and emit to this one */
        Network network;
        MountSpec *mounts;       /* in the file's order */
        size_t n_mounts;
        json_object *json;       /* the document itself */
} Manifest;

typedef struct Problem {
        char *file;     /* relative to the bundle */
        char *pointer;  /* RFC 6901; "" is the document; NULL where there is none (syntax error) */
        unsigned line, column; /* 1...; 0: not known */
        char *message;  /* what was found and what is expected */
} Problem;

typedef struct Problems {
        Problem *items;
        size_t n;
} Problems;

int problems_add(Problems *p, const char *file, const char *pointer, unsigned line,
                 const char *format, ...) _printf_(5, 6);
/* Where there is no value to point at: the place in the text. */
int problems_add_at(Problems *p, const char *file, unsigned line, unsigned column, const char *format, ...) _printf_(5, 6);
/* As compilers write it, for each: "sand.json:12: /functions/resize/timeout: found ..., expected ...\n",
 * "sand.json:3:5: found ..., expected ...\n". Caller frees. */
char *problems_to_string(const Problems *p);
void problems_done(Problems *p);

/* Reads sand.json below the bundle directory `dir_fd`. With `check_files` it also looks whether each
 * handler's file is there, is within the bundle and (exec) may be executed.
 * 0 and *ret, or -EBADMSG with at least one problem, or another negative errno. */
int manifest_load(int dir_fd, bool check_files, Problems *problems, Manifest **ret);
/* The same for a text of `size` bytes; `file` names it in problems. */
int manifest_parse(const char *file, const char *text, size_t size, Problems *problems, Manifest **ret);
/* The same with what an operator overrides: merge patches (RFC 7396), all *.json of the directory `overrides_fd` in the
 * order of their names; -EBADF: none. Problems name them as files of the application `app` in SAND_OVERRIDES_DIR. */
int manifest_load_overridden(int dir_fd, int overrides_fd, const char *app, bool check_files, Problems *problems,
                             Manifest **ret);
/* In two steps, for those who look at the texts: layers.h; files are looked at below files_fd, unless it is -EBADF. */
typedef struct Layers Layers;
int manifest_layers(int dir_fd, int overrides_fd, const char *app, Problems *problems, Layers *ret);
int manifest_from_layers(const Layers *l, int files_fd, Problems *problems, Manifest **ret);
Manifest *manifest_free(Manifest *m);
DEFINE_POINTER_CLEANUP(Manifest *, manifest_free);

const FunctionSpec *manifest_find(const Manifest *m, const char *name);
/* The value of one of the application's resources, "1G"; NULL: it is not set. */
const char *manifest_resource(const Manifest *m, const char *property);

#define APP_NAME_MAX 63U
/* [a-z][a-z0-9-]{0,62}, without a '-' at its end: systemd takes no such machine */
bool app_name_is_valid(const char *s);
/* [A-Za-z_][A-Za-z0-9_-]{0,63} */
bool function_name_is_valid(const char *s);
/* [a-z0-9][a-z0-9+.-]{1,127}, as Debian's policy says; without an architecture */
bool package_name_is_valid(const char *s);

#define OVERRIDES_SUFFIX ".json.d" /* of an application's folder in SAND_OVERRIDES_DIR */
#define OVERRIDE_SUFFIX ".json"
/* "50-memory.json": no dot at its beginning */
bool override_file_is_valid(const char *s);
/* What programs write, [A-Za-z0-9_][A-Za-z0-9_.-]{0,63} that ends so: people may name theirs otherwise. */
bool override_name_is_valid(const char *s);
/* The overrides in a directory, in the order in which they count; NULL for none, else the caller frees. */
int overrides_list(int dir_fd, char ***ret);

/* Of a secret: [A-Za-z0-9_][A-Za-z0-9_.-]{0,63}. systemd takes more; this needs no quoting in a unit or a shell. */
bool credential_name_is_valid(const char *s);

/* systemd.time(7) spans ("5min 20s", "infinity": USEC_INFINITY) and sizes ("16M", base 1024; no "infinity").
 * -EINVAL, -ERANGE. */
int parse_time_span(const char *s, uint64_t *ret_usec);
int parse_size(const char *s, uint64_t *ret_bytes);
