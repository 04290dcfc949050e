/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The one object that knows the others: the running version and its functions, connections, children,
 * timers, and how the machine ends. */

#include <systemd/sd-event.h>

#include "cgroup.h"
#include "children.h"
#include "credentials.h"
#include "event.h"
#include "hub.h"
#include "journal.h"
#include "manifest.h"
#include "placement.h"
#include "sandbox.h"

typedef struct Upstream Upstream;
typedef struct Connection Connection;
typedef struct Function Function;
typedef struct Instance Instance;
typedef struct Prepare Prepare;
typedef struct Supervisor Supervisor;
typedef struct Worker Worker;

typedef struct InstanceList {
        Instance *first;
        unsigned n;
} InstanceList;

/* An instance that computes for longer than this is not bound to a CPU (placement.h). */
#define LONG_RUN_USEC (2 * USEC_PER_MSEC)

/* A version of the application, alive as long as a worker of it. */
typedef struct Version {
        struct Version **list, *next; /* of all that somebody holds: code may be loaded from them */
        unsigned n_ref;
        char *id;   /* "3-0f3a...", or with an operator's overrides "3-0f3a...+9c41..." */
        char *path; /* the bundle */
        Manifest *manifest;
} Version;

struct Supervisor {
        sd_event *event;
        Hub *hub;
        Upstream *upstream; /* NULL in developer's mode */
        char id[WIRE_ID_LENGTH + 1]; /* as a D-Bus server */
        Children *children;
        Journal journal;
        Sandbox sandbox;
        Credentials credentials;
        Placement placement;
        CGroups cgroups;
        char *app;
        char *versions_dir; /* NULL with run_dir */
        char *run_dir;      /* developer's mode: the bundle itself */

        Version *version; /* NULL before the first deployment */
        Version *versions; /* all that are loaded */
        Prepare *prepare; /* a version that is being loaded beside it */
        Function *functions, *dispatched; /* the latter have events or instances that this turn brought */
        Connection *connections, *unflushed; /* the latter have answers to be sent */
        unsigned n_connections;
        sd_event_source *listen[2], *silent;

        InstanceList busy;     /* of all workers */
        InstanceList ended;    /* answered; closed by housekeeping, out of the caller's way */
        unsigned n_processes;  /* instances that are not reaped yet */
        unsigned n_running, n_queued; /* events, of all functions */
        unsigned n_computing;  /* of the running ones; the others wait for an answer to a call of theirs */
        bool forks_behind;     /* events come as fast as instances can be made, or faster */
        bool sweep;            /* an event ended: look for what it left behind */
        sd_event_source *housekeeping, *deadline, *idle, *stop;
        uint64_t housekeeping_at;   /* when it is due; USEC_INFINITY: it is not */
        unsigned housekeeping_put_off;
        uint64_t swept_usec;
        uint64_t deadline_at;

        uint64_t started_usec, active_usec;
        uint64_t n_events, n_failed;
        uint64_t receipts_second; /* a bounded sample: of this second ... */
        unsigned receipts_taken;  /* ... so many were written */
        bool stopping;
};

/* `run_dir`: developer's mode, the bundle; NULL: the machine's. */
int supervisor_new(const char *app, const char *run_dir, Supervisor **ret);
Supervisor *supervisor_free(Supervisor *s);
/* Takes over the listening sockets, reads the current version, starts warm functions, says READY. */
int supervisor_start(Supervisor *s, const int *listen_fds, int n_listen_fds);
/* Accepts nothing more, says GoAway, ends the loop once everything is answered. */
void supervisor_stop(Supervisor *s);
/* Takes what was printed and not read yet, and no more. */
void supervisor_end_output(Supervisor *s);
/* Something may have made the end possible. */
void supervisor_check_stop(Supervisor *s);

void supervisor_note_activity(Supervisor *s);
/* Closing, refilling and sweeping happen soon, but not now. */
void supervisor_want_housekeeping(Supervisor *s);
/* A run or a queue wait ends at `usec`. */
void supervisor_want_deadline(Supervisor *s, uint64_t usec);
/* STATUS= for systemctl. */
void supervisor_notify_status(Supervisor *s);

Function *supervisor_find(Supervisor *s, const char *name);
/* The entry: queues the event or answers it. Takes ownership. */
void supervisor_submit(Supervisor *s, Event *e);
/* What State() and Describe() answer; to be put. */
json_object *supervisor_describe(Supervisor *s);
json_object *supervisor_state(Supervisor *s);

/* The version that should run, by `current`. -ENOENT: none. */
int supervisor_current_id(Supervisor *s, char **ret);
/* Makes a loaded version the running one; `workers` belong to its functions, in order, or are NULL: workers
 * start on first use. */
int supervisor_switch(Supervisor *s, Version *v, Worker **workers);

int version_load(Supervisor *s, const char *id, Version **ret, char **ret_problems);
Version *version_ref(Version *v);
Version *version_unref(Version *v);
DEFINE_POINTER_CLEANUP(Version *, version_unref);

/* A line that a function printed; any bytes. */
void supervisor_log_line(Supervisor *s, const char *function, const char *execution, const char *invocation,
                         const char *priority, const char *line, size_t n);
typedef struct Receipt {
        const char *function, *execution, *invocation, *result; /* result: "ok" or the error's name */
        const char *detail;                                     /* of a failure; may be NULL */
        Usage usage;
        uint64_t queued_usec;
} Receipt;
void supervisor_log_receipt(Supervisor *s, const Receipt *receipt);
