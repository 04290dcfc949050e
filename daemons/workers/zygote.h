/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the runtimes share: a process that loads one function, tells the supervisor, and forks an
 * instance whenever it is asked to (protocol.h, Worker1 and Instance1). */

#include <sand/function.h>

typedef struct LoadError {
        char *message; /* "cannot import name 'foo' from 'bar' (/app/bar.py)" */
        char *error;   /* class: "ImportError", "MissingSymbol" */
        char *cause;   /* stack trace or the like; may be NULL */
} LoadError;

typedef struct WorkerRuntime {
        /* Loads the function named by the manifest's handler: argv[1...]. Working directory is the bundle.
         * 0, or a negative errno with *error filled in (malloc'ed strings). */
        int (*load)(int argc, char *argv[], LoadError *error);
        /* In each instance, before it says Ready: reseed random generators and the like. May be NULL. */
        int (*start)(void);
        /* One event, in the instance, with the type's contract of <sand/function.h>. */
        int (*handle)(sand_context *context, const void *event, size_t size);
        /* Around a batch of forks, in the worker, and in each instance before start(); what fork() would
         * run as handlers of pthread_atfork(). May be NULL. */
        void (*before_fork)(void);
        void (*after_fork_parent)(void);
        void (*after_fork_child)(void);
} WorkerRuntime;

/* Fills in an error; the strings are copied. Returns `r`. */
int load_error(LoadError *e, int r, const char *error, const char *cause, const char *format, ...)
        __attribute__((__format__(__printf__, 5, 6)));

/* main() of a worker; returns its exit status. */
int worker_main(const WorkerRuntime *runtime, int argc, char *argv[]);
