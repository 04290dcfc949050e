/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The one object that knows the others. */

#include "apps.h"
#include "event-log.h"
#include "journal.h"
#include "settings.h"

typedef struct Callbacks Callbacks;
typedef struct Delivery Delivery;
typedef struct Server Server;
typedef struct Target Target;
typedef struct Waiter Waiter;

typedef struct Globald {
        sd_event *event;
        Settings settings;
        Apps *apps;
        const LogEngine *engine;
        Log *log;
        Journal journal;
        Server *servers;
        Callbacks *callbacks;

        Target *targets;          /* dispatch.c: functions that have events */
        Delivery *unfinished;     /* whose outcome could not be written yet */
        unsigned n_in_flight;     /* deliveries */
        uint64_t in_flight_bytes; /* of their payloads */
        unsigned n_accepting;     /* requests whose events are on their way to the disk ... */
        uint64_t accepting_bytes; /* ... and their payloads */
        Waiter *waiters;          /* query.c: who waits for an event to end */
        unsigned n_waiters;
        bool starved;             /* dispatch.c: some target waits for others' room */
        bool taking_overdue;
        bool look_at_all;         /* dispatch.c: that failed, again soon */
        sd_event_source *due, *overdue, *unfinished_retry, *expire, *status, *sigterm, *sigint, *stop_deadline;
        uint64_t start_realtime, start_boottime;
        uint64_t n_accepted, n_duplicates, n_done, n_retried, n_given_back, n_dead;
        int disk_error;           /* of the last commit; 0: it went well */
        bool stopping;
        bool closing;             /* the end: answers come from our own side and say nothing */
        bool exit_on_idle;        /* the service manager starts us again for who connects */
        unsigned n_idle;          /* looks in a row at which there was nothing to do */
} Globald;

typedef struct GlobaldConfig {
        const char *catalogue_dir, *socket_dir, *state_dir, *settings_file;
} GlobaldConfig;

int globald_new(const GlobaldConfig *config, Globald **ret);
/* Takes the listening socket. `machines`: its peers are supervisors. */
int globald_listen(Globald *g, int fd, bool machines);
int globald_run(Globald *g);
Globald *globald_free(Globald *g);
DEFINE_POINTER_CLEANUP(Globald *, globald_free);

/* The clock of the log: microseconds since 1970 by the clock at our start, and from there on as time passes. A clock that
 * is set while we run neither holds events back nor lets them grow old. */
uint64_t globald_now(const Globald *g);
/* Says once that the disk does not take events, and once that it does again. Returns `error`. */
int globald_note_disk(Globald *g, int error);
/* Once stopping and nothing is under way. */
void globald_check_stop(Globald *g);

/* dispatch.c */
/* The function has something to do, at `next_usec` of globald_now(). */
void dispatch_wake(Globald *g, const char *app, const char *function, uint64_t next_usec);
/* Whether an event that is due may be handed over as soon as it is accepted; then it counts as in flight. */
bool dispatch_reserve(Globald *g, const char *app, const char *function, size_t size);
void dispatch_unreserve(Globald *g, const char *app, const char *function, size_t size);
/* Hands over an event that is RUNNING in the log, and was reserved. Copies what it needs. */
void dispatch_deliver(Globald *g, const LogEvent *e);
int dispatch_start(Globald *g);
/* Looks for what waits, of all functions. */
int dispatch_look_at_all(Globald *g);
/* Whether nothing waits, and nothing is under way. */
bool dispatch_is_idle(const Globald *g);
/* Hands over nothing more. */
void dispatch_stop(Globald *g);
void dispatch_free(Globald *g);

/* query.c: the event has ended. */
void waiters_wake(Globald *g, LogId id);
void waiters_free(Globald *g);
