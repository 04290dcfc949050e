/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a process prints, line by line, with the fields of the event that it handled at that time. */

#include <systemd/sd-event.h>

typedef struct Supervisor Supervisor;

typedef struct Output {
        Supervisor *supervisor;
        const char *function;   /* name; the function outlives the output */
        const char *execution, *invocation; /* of the event at hand, or NULL; set by the owner */
        sd_event_source *source;
        int fd;
        char *line; /* the incomplete last one */
        size_t n_line;
} Output;

#define OUTPUT_NULL ((Output) { .fd = -EBADF })

/* Makes the pipe; *ret_write_fd is the process's end. */
int output_open(Output *o, Supervisor *supervisor, const char *function, int *ret_write_fd);
/* Takes what is there without waiting for more. */
void output_drain(Output *o);
/* Drains, writes an incomplete line, closes. */
void output_done(Output *o);
