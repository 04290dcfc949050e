/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "output.h"

#include <fcntl.h>
#include <stdio.h>

#include "macro.h"
#include "supervisor.h"

#define LINE_MAX_BYTES 8192U
/* Of one stream in one turn of the loop: a process that prints without end does not keep the others waiting. */
#define TURN_BYTES (64U * 1024U)

/* "<4>text" has priority 4, as systemd reads it from a service. */
static const char *line_priority(const char **line, size_t *n) {
        static const char *const numbers[] = { "0", "1", "2", "3", "4", "5", "6", "7" };
        const char *l = *line;

        if (*n >= 3 && l[0] == '<' && l[1] >= '0' && l[1] <= '7' && l[2] == '>') {
                *line += 3;
                *n -= 3;
                return numbers[l[1] - '0'];
        }
        return numbers[6];
}

static void output_line(Output *o, const char *line, size_t n) {
        const char *priority;

        if (n > 0 && line[n - 1] == '\r')
                n--;
        priority = line_priority(&line, &n);
        supervisor_log_line(o->supervisor, o->function, o->execution, o->invocation, priority, line, n);
}

static void output_feed(Output *o, const char *data, size_t n) {
        while (n > 0) {
                const char *end = memchr(data, '\n', n);
                size_t take = end ? (size_t) (end - data) : n;

                if (o->n_line == 0 && end)
                        output_line(o, data, MIN(take, LINE_MAX_BYTES));
                else {
                        size_t fits = MIN(take, LINE_MAX_BYTES - o->n_line);
                        if (!o->line)
                                o->line = malloc(LINE_MAX_BYTES);
                        if (!o->line)
                                return;
                        memcpy(o->line + o->n_line, data, fits);
                        o->n_line += fits;
                        if (end || o->n_line == LINE_MAX_BYTES) {
                                output_line(o, o->line, o->n_line);
                                o->n_line = 0;
                        }
                        if (fits < take) { /* the rest of an overlong line is a line of its own */
                                data += fits;
                                n -= fits;
                                continue;
                        }
                }
                data += take + (end ? 1 : 0);
                n -= take + (end ? 1 : 0);
        }
}

/* > 0: more may be there; 0: end of file. */
static int output_read(Output *o, size_t limit) {
        char buffer[8192];
        size_t total = 0;

        while (total < limit) {
                ssize_t n = read(o->fd, buffer, sizeof(buffer));
                if (n < 0)
                        return errno == EAGAIN || errno == EINTR ? 1 : 0;
                if (n == 0)
                        return 0;
                output_feed(o, buffer, (size_t) n);
                total += (size_t) n;
        }
        return 1;
}

static int on_output(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        Output *o = userdata;

        if (output_read(o, TURN_BYTES) == 0)
                o->source = sd_event_source_disable_unref(o->source);
        return 0;
}

int output_open(Output *o, Supervisor *supervisor, const char *function, int *ret_write_fd) {
        int fds[2], r;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        *o = (Output) { .supervisor = supervisor, .function = function, .fd = fds[0] };
        r = fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
        if (r >= 0)
                r = sd_event_add_io(supervisor->event, &o->source, fds[0], EPOLLIN, on_output, o);
        if (r >= 0)
                r = sd_event_source_set_priority(o->source, HUB_BEHIND_PRIORITY);
        if (r < 0) {
                safe_close(fds[1]);
                output_done(o);
                return r;
        }
        *ret_write_fd = fds[1];
        return 0;
}

void output_drain(Output *o) {
        if (o->fd >= 0)
                (void) output_read(o, 16 * TURN_BYTES);
}

void output_done(Output *o) {
        output_drain(o);
        o->source = sd_event_source_disable_unref(o->source);
        if (o->n_line > 0)
                output_line(o, o->line, o->n_line);
        o->fd = safe_close(o->fd);
        free(o->line);
        o->line = NULL;
        o->n_line = 0;
}
