/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Work that blocks (unpacking, hashing, removing trees) in a child process, so that the loop never does. The
 * child has none of the daemon's descriptors but those that it is given, and dies with the task. */

#include <stdint.h>
#include <systemd/sd-event.h>

#include "macro.h"

#define TASK_OUTPUT_MAX (256U * 1024U) /* bytes of a report; what is beyond is cut off */

typedef struct Task Task;

typedef struct TaskSpec {
        const char *what;               /* for the log; not copied, a literal */
        int (*main)(int report_fd, void *argument); /* in the child; 0 or a negative errno */
        void *argument;                 /* the child has a copy of it as it was when the task was made */
        const int *fds;                 /* kept open in the child */
        size_t n_fds;
        uint64_t timeout_usec;
        /* Once, from the loop, unless the task is freed before: main()'s result (-ETIMEDOUT, -EPIPE when it
         * was killed) and what it wrote to report_fd, terminated. The task may be freed within. */
        void (*done)(Task *t, int r, const char *report, void *userdata);
        void *userdata;
} TaskSpec;

int task_new(sd_event *event, const TaskSpec *spec, Task **ret);
Task *task_free(Task *t);
DEFINE_POINTER_CLEANUP(Task *, task_free);
