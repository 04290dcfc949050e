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
} WorkerRuntime;

/* main() of a worker; returns its exit status. */
int worker_main(const WorkerRuntime *runtime, int argc, char *argv[]);
