/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "instance.h"

#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "bus.h"
#include "function.h"
#include "log.h"
#include "macro.h"
#include "protocol.h"
#include "sandbox.h"
#include "worker.h"

/* An instance whose socket is closed exits at once; one that does not is killed. */
#define EXIT_GRACE_USEC (200 * USEC_PER_MSEC)

static Supervisor *supervisor_of(Instance *i) {
        return i->worker->supervisor;
}

/* Placement (placement.h). */

static void instance_bind(Instance *i, int cpu) {
        if (i->cpu == cpu || i->child.pid <= 0 || !placement_bind(&supervisor_of(i)->placement, i->child.pid, cpu))
                return;
        i->cpu = cpu;
}

/* It is about to be woken: to where the supervisor is if nothing else computes. */
static void instance_computes(Instance *i) {
        Supervisor *s = supervisor_of(i);
        const Function *f = i->worker->userdata;
        uint64_t now = now_usec();

        instance_bind(i, s->n_computing == 0 && f->is_short ? placement_follow(&s->placement, now) : -1);
        if (i->cpu >= 0)
                supervisor_want_housekeeping(s); /* does it compute for long? */
        i->computing = true;
        i->computing_usec = now;
        s->n_computing++;
}

static void instance_rests(Instance *i) {
        if (!i->computing)
                return;
        i->computing = false;
        supervisor_of(i)->n_computing--;
}

static void on_caller_changed(Caller *c) {
        Instance *i = CONTAINER_OF(c, Instance, caller);

        if (c->calls)
                instance_rests(i);
        else if (i->state == INSTANCE_BUSY && !i->computing)
                instance_computes(i);
}

bool instance_free_long(Instance *i, uint64_t now) {
        if (i->cpu < 0 || !i->computing)
                return false;
        if (now <= i->computing_usec + LONG_RUN_USEC)
                return true;
        instance_bind(i, -1);
        return false;
}

static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Instance *i = userdata;

        if (sd_bus_message_is_method_call(m, SAND_APP_INTERFACE, "Invoke"))
                return bus_handle_invoke(supervisor_of(i), m, i->event ? &i->caller : NULL, false);
        if (sd_bus_message_is_method_call(m, SAND_APP_INTERFACE, "Send"))
                return bus_handle_invoke(supervisor_of(i), m, i->event ? &i->caller : NULL, true);
        if (sd_bus_message_is_signal(m, SAND_INSTANCE_INTERFACE, "Ready")) {
                if (i->state == INSTANCE_STARTING && !i->ready) {
                        i->ready = true;
                        if (i->child.pid > 0) {
                                worker_move(i->worker, i, INSTANCE_WAITING);
                                worker_instance_ready(i->worker);
                        }
                }
                return 1;
        }
        if (sd_bus_message_is_signal(m, "org.freedesktop.DBus.Local", "Disconnected")) {
                if (i->state == INSTANCE_BUSY)
                        child_kill(&i->child); /* its end says what happened */
                else if (i->state != INSTANCE_ENDED)
                        instance_end(i);
                return 1;
        }
        return 0;
}

DEFINE_POINTER_CLEANUP(Instance *, instance_free);

int instance_new(Worker *worker, int cpu, Instance **ret, int *ret_socket, int *ret_log) {
        _cleanup_(instance_freep) Instance *i = NULL;
        _cleanup_(closep) int theirs = -EBADF, log_fd = -EBADF;
        int fds[2], r;

        i = calloc(1, sizeof(Instance));
        if (!i)
                return -ENOMEM;
        i->worker = worker_ref(worker);
        i->output = OUTPUT_NULL;
        i->caller.changed = on_caller_changed;
        i->cpu = cpu; /* binds itself once it is ready */

        r = output_open(&i->output, worker->supervisor, worker->spec->name, &log_fd);
        if (r < 0)
                return r;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
                return -errno;
        theirs = fds[1];
        r = bus_serve(worker->supervisor->event, fds[0], &i->bus);
        if (r < 0)
                return r;
        r = sd_bus_add_filter(i->bus, NULL, on_message, i);
        if (r < 0)
                return r;

        worker_move(worker, i, INSTANCE_STARTING);
        worker->supervisor->n_processes++;
        *ret = TAKE_PTR(i);
        *ret_socket = TAKE_FD(theirs);
        *ret_log = TAKE_FD(log_fd);
        return 0;
}

static void instance_disconnect(Instance *i) {
        if (!i->bus)
                return;
        /* Out of epoll before it is closed: a child's copy would keep a dead entry alive. */
        (void) sd_bus_detach_event(i->bus);
        sd_bus_close(i->bus);
        i->bus = sd_bus_unref(i->bus);
}

Instance *instance_free(Instance *i) {
        Worker *w;

        if (!i)
                return NULL;
        w = i->worker;
        worker_move(w, i, INSTANCE_NEW);
        children_remove(w->supervisor->children, &i->child);
        instance_disconnect(i);
        output_done(&i->output);
        caller_done(&i->caller);
        instance_rests(i);
        event_free(i->event);
        free(i);
        worker_unref(w);
        return NULL;
}

void instance_end(Instance *i) {
        if (i->state == INSTANCE_ENDED)
                return;
        worker_move(i->worker, i, INSTANCE_ENDED);
        supervisor_want_housekeeping(supervisor_of(i));
}

void instance_reclaim(Instance *i, uint64_t now) {
        if (i->closed_usec == 0) {
                instance_bind(i, -1); /* its exit is in nobody's way */
                instance_disconnect(i);
                i->closed_usec = now;
        } else if (now > i->closed_usec + EXIT_GRACE_USEC)
                child_kill(&i->child);
}

/* How a process ended that had an event, in the words of the vocabulary. */
static Failure classify_exit(const Instance *i, int status, char *text, size_t size) {
        const char *name = i->worker->spec->name;

        if (i->expired) {
                (void) snprintf(text, size, "%s ran past its deadline after %.3g s and was killed", name,
                                (double) i->usage.wall_usec / USEC_PER_SEC);
                return (Failure) { .kind = SAND_ERROR_TIMEOUT, .message = text };
        }
        if (WIFEXITED(status)) {
                (void) snprintf(text, size, "%s exited with status %d before it answered", name,
                                WEXITSTATUS(status));
                return (Failure) { .kind = SAND_ERROR_CRASHED, .message = text, .error = "ExitStatus" };
        }
        int sig = WTERMSIG(status);
        if (sig == SIGKILL && sandbox_oom_kills() > i->oom_kills) {
                (void) snprintf(text, size, "%s was killed: a memory limit is reached", name);
                return (Failure) { .kind = SAND_ERROR_OUT_OF_MEMORY, .message = text };
        }
        (void) snprintf(text, size, "%s was killed by SIG%s (%s)", name, strempty(sigabbrev_np(sig)),
                        strempty(sigdescr_np(sig)));
        return (Failure) { .kind = SAND_ERROR_CRASHED, .message = text, .error = "Signal" };
}

static void write_receipt(Instance *i, const char *detail) {
        supervisor_log_receipt(supervisor_of(i), &(Receipt) {
                .function = i->worker->spec->name,
                .execution = i->execution,
                .invocation = i->invocation,
                .result = i->result,
                .detail = detail,
                .usage = i->usage,
                .queued_usec = i->queued_usec,
        });
        i->result = NULL;
}

/* The caller has its answer, good or bad. */
static void event_done(Instance *i, const char *result) {
        Supervisor *s = supervisor_of(i);
        Function *f = i->worker->userdata;

        caller_done(&i->caller);
        f->running--;
        s->n_running--;
        i->event = event_free(i->event);
        i->result = result;
        i->served++;
        if (streq(result, "ok"))
                f->served++;
        else {
                f->failed++;
                s->n_failed++;
        }
        supervisor_note_activity(s);
}

static void on_exit_of_instance(Child *child, int status, const struct rusage *ru) {
        Instance *i = CONTAINER_OF(child, Instance, child);
        Worker *w = i->worker;
        Supervisor *s = w->supervisor;
        char text[256] = "";

        /* What it still sent comes first, or a reply is lost. */
        while (i->state == INSTANCE_BUSY && i->bus && sd_bus_process(i->bus, NULL) > 0)
                ;

        i->usage.cpu_usec = (uint64_t) ru->ru_utime.tv_sec * USEC_PER_SEC + (uint64_t) ru->ru_utime.tv_usec +
                            (uint64_t) ru->ru_stime.tv_sec * USEC_PER_SEC + (uint64_t) ru->ru_stime.tv_usec;
        i->usage.peak_bytes = (uint64_t) ru->ru_maxrss * 1024;

        instance_rests(i);
        if (i->state == INSTANCE_BUSY) {
                i->usage.wall_usec = usec_sub(now_usec(), i->started_usec);
                Failure failure = classify_exit(i, status, text, sizeof(text));
                output_drain(&i->output);
                event_fail(i->event, &failure, &i->usage);
                event_done(i, sand_error_info(failure.kind)->name);
        }
        if (i->result) {
                output_drain(&i->output); /* its words before its receipt */
                write_receipt(i, text);
        }
        s->sweep = true;
        s->n_processes--;
        supervisor_want_housekeeping(s);
        worker_ref(w);
        instance_free(i);
        worker_instance_ready(w);
        worker_unref(w);
        supervisor_check_stop(s);
}

void instance_forked(Instance *i, pid_t pid) {
        Worker *w = i->worker;
        Supervisor *s = w->supervisor;
        int r;

        r = pid > 0 ? children_add(s->children, &i->child, pid, on_exit_of_instance) : (int) pid;
        if (r < 0) {
                if (w->fork_failed_usec == 0)
                        log_warning_errno(r, "%s: no instance could be made: %m", w->spec->name);
                w->fork_failed_usec = now_usec();
                s->n_processes--;
                instance_free(i);
                supervisor_want_housekeeping(s); /* tries again */
                return;
        }
        w->fork_failed_usec = 0;
        if (i->state == INSTANCE_STARTING && i->ready) {
                worker_move(w, i, INSTANCE_WAITING);
                worker_instance_ready(w);
        }
}

/* An instance speaks for its function only: of the vocabulary it may use these. */
static SandError kind_of_error(const char *dbus_name) {
        SandError e = sand_error_from_name(dbus_name);

        switch (e) {
        case SAND_ERROR_BAD_REQUEST:
        case SAND_ERROR_TOO_LARGE:
        case SAND_ERROR_OUT_OF_MEMORY:
                return e;
        default:
                return SAND_ERROR_FUNCTION_FAILED;
        }
}

static const char *forward_error(Instance *i, sd_bus_message *m) {
        Failure failure = {
                .kind = kind_of_error(sd_bus_message_get_error(m)->name),
                .message = sd_bus_message_get_error(m)->message,
        };
        uint64_t wall;

        if (sd_bus_message_read(m, "sss(ttt)", &failure.message, &failure.error, &failure.cause, &wall,
                                &i->usage.cpu_usec, &i->usage.peak_bytes) < 0)
                failure.error = failure.cause = NULL;
        event_fail(i->event, &failure, &i->usage);
        return sand_error_info(failure.kind)->name;
}

static const char *forward_result(Instance *i, sd_bus_message *m) {
        Payload payload = PAYLOAD_EMPTY;
        const char *content_type;
        Failure failure;
        uint64_t wall;
        int r;

        r = sd_bus_message_read(m, "s(ttt)", &content_type, &wall, &i->usage.cpu_usec, &i->usage.peak_bytes);
        if (r >= 0)
                r = payload_read(m, i->worker->spec->payload_max, &payload);
        if (r >= 0) {
                event_forward(i->event, m, content_type, &i->usage, &payload);
                payload_done(&payload);
                return "ok";
        }
        if (r == -EMSGSIZE)
                failure = (Failure) { .kind = SAND_ERROR_TOO_LARGE,
                                      .message = "the result is larger than the function's payload_max" };
        else
                failure = (Failure) { .kind = SAND_ERROR_CRASHED, .message = "the instance sent a malformed result" };
        event_fail(i->event, &failure, &i->usage);
        return sand_error_info(failure.kind)->name;
}

static int on_result(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Instance *i = userdata;
        Worker *w = i->worker;
        unsigned events = w->spec->events;
        const char *result;

        /* sd-bus says this of a connection that ended: the process's own end says more. */
        if (sd_bus_message_is_method_error(m, SD_BUS_ERROR_NO_REPLY)) {
                child_kill(&i->child);
                return 1;
        }
        instance_rests(i);
        i->usage = (Usage) { .wall_usec = usec_sub(now_usec(), i->started_usec) };
        result = sd_bus_message_is_method_error(m, NULL) ? forward_error(i, m) : forward_result(i, m);
        function_learn(w->userdata, &i->usage);
        event_done(i, result);

        if (events == 1 || (events > 0 && i->served >= events) || w->retired)
                instance_end(i);
        else {
                write_receipt(i, NULL);
                worker_move(w, i, INSTANCE_WAITING);
                worker_instance_ready(w);
                return 1;
        }
        worker_instance_ready(w); /* there is room for another one */
        return 1;
}

int instance_handle(Instance *i, Event *e, uint64_t deadline) {
        sd_bus_message *m = NULL;
        int r;

        assert(i->state == INSTANCE_WAITING);
        instance_computes(i);
        r = event_to_handle(e, i->bus, deadline, &m);
        if (r >= 0)
                r = sd_bus_call_async(i->bus, NULL, m, on_result, i, UINT64_MAX);
        sd_bus_message_unref(m);
        if (r < 0) {
                instance_rests(i);
                return r;
        }

        supervisor_of(i)->n_running++;
        ((Function *) i->worker->userdata)->running++;
        i->event = e;
        i->caller.event = e;
        memcpy(i->execution, e->execution, sizeof(i->execution));
        memcpy(i->invocation, e->invocation, sizeof(i->invocation));
        i->output.execution = i->execution;
        i->output.invocation = i->invocation;
        i->started_usec = now_usec();
        i->queued_usec = usec_sub(i->started_usec, e->accepted_usec);
        i->deadline = deadline;
        worker_move(i->worker, i, INSTANCE_BUSY);
        supervisor_want_deadline(supervisor_of(i), deadline);
        return 0;
}

void instance_check_deadline(Instance *i, uint64_t now, uint64_t *next) {
        if (i->deadline > now) {
                *next = MIN(*next, i->deadline);
                return;
        }
        if (!i->expired) {
                i->expired = true;
                i->usage.wall_usec = usec_sub(now, i->started_usec);
                child_kill(&i->child);
        }
}
