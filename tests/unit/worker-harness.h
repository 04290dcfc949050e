/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Drives a real worker binary over real sd-bus, as a supervisor would. Failures end the test through
 * cmocka's assertions. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <sys/types.h>
#include <systemd/sd-bus.h>

#include "macro.h"
#include "protocol.h"

#define WAIT_USEC (20 * USEC_PER_SEC)

typedef struct Worker {
        pid_t pid;
        sd_bus *bus;
        int log;
        char *output;          /* what it printed so far */
        size_t output_size;
        char *signal;          /* "Loaded" or "LoadFailed" */
        char *message, *error, *cause;
} Worker;

/* What a nested Invoke or Send of an instance is answered with. */
typedef struct Answer {
        const char *error;     /* NULL: success */
        const char *content_type;
        const void *data;
        size_t size;
        uint64_t delay_usec;
} Answer;

typedef struct Instance {
        pid_t pid;
        sd_bus *bus;
        int log;
        char *output;          /* what it printed so far */
        size_t output_size;
        bool ready;
        Answer answer;
        unsigned calls;        /* of Invoke and Send that came */
        char *last_member, *last_target, *last_content_type, *last_traceparent;
        uint64_t last_deadline;
        void *last_data;
        size_t last_size;
        uint64_t last_memfd;   /* the inode of the one that it came in, 0: inline */
        uint64_t answer_memfd; /* and of the one that the answer was sent in */
} Instance;

typedef struct Outcome {
        bool failed, lost;     /* `lost`: the connection ended without an answer */
        char *name, *message, *error, *cause; /* failed */
        char *content_type;                   /* not failed */
        void *data;
        size_t size;
        bool memfd;
        uint64_t inode;        /* the memfd's */
        uint64_t event_inode;  /* of the memfd that the event was sent in */
        uint64_t wall, cpu, peak;
} Outcome;

typedef struct Event {
        const char *content_type;
        const void *data;
        size_t size;
        uint64_t deadline;
        const char *const *headers; /* key, value, NULL */
        bool memfd;
} Event;

/* `program` is below $SAND_WORKER_DIR; `environment` is added to it. Returns when it has said that it is
 * loaded, or not. */
Worker *worker_start(const char *program, const char *directory, const char *const *handler,
                     const char *const *environment);
Worker *worker_stop(Worker *w);
/* Takes what is in the worker's log now. */
void worker_drain(Worker *w);
Instance *instance_fork(Worker *w);
Instance *instance_stop(Instance *i, int *ret_status);
void instance_handle(Instance *i, const Event *event, Outcome *ret);
void outcome_done(Outcome *o);

/* A scratch directory with files in it, removed at exit. */
const char *scratch_directory(void);
void scratch_file(const char *name, const char *content, mode_t mode);
