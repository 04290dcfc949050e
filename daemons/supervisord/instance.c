/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "instance.h"

#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
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
/* Exits that may wait for a CPU that has nothing else to do. */
#define ENDED_MAX 128U

static Supervisor *supervisor_of(Instance *i) {
        return i->worker->supervisor;
}

/* Placement (placement.h). */

static void instance_bind(Instance *i, int where) {
        if (i->where != where && i->child.pid > 0 &&
            placement_bind(&supervisor_of(i)->placement, i->child.pid, where))
                i->where = where;
}

/* It is about to be woken: to where the supervisor is if nothing else computes. */
static void instance_computes(Instance *i) {
        Supervisor *s = supervisor_of(i);
        const Function *f = i->worker->userdata;
        uint64_t now = now_usec();

        instance_bind(i, s->n_computing == 0 && f->is_short && !s->forks_behind ? placement_follow(&s->placement, now) :
                                                                                  PLACEMENT_FREE);
        if (i->where >= 0)
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
        if (i->where < 0 || !i->computing)
                return false;
        if (now <= i->computing_usec + LONG_RUN_USEC)
                return true;
        placement_free_tree(&supervisor_of(i)->placement, i->child.pid);
        i->where = PLACEMENT_FREE;
        return false;
}

/* Its messages. */

static void on_ready(Instance *i) {
        if (i->state != INSTANCE_STARTING || i->ready)
                return;
        i->ready = true;
        if (i->child.pid > 0) {
                worker_move(i->worker, i, INSTANCE_WAITING);
                worker_instance_ready(i->worker);
        }
}

/* "app/function" -> what is after the own application's name, else NULL. */
static const char *own_function(const Supervisor *s, const char *target) {
        const char *rest = s->app ? startswith(target, s->app) : NULL;

        return rest && *rest == '/' ? rest + 1 : NULL;
}

static void on_invoke(Instance *i, WireMessage *m, const char *member) {
        Supervisor *s = supervisor_of(i);
        bool invoke = streq(member, "Invoke"), emit = streq(member, "Emit");
        Failure failure;
        const char *own;
        Event *e;

        /* What globald is to keep is answered when it has it. */
        if (event_new(&i->caller, m, !invoke && !emit && !s->upstream, &e, &failure) < 0) {
                (void) wire_reply_failure(&i->wire, m, &failure, NULL);
                return;
        }
        own = emit ? NULL : own_function(s, e->target);
        if (own)
                e->target = own;
        if (!invoke || strchr(e->target, '/'))
                e->beyond = member;
        supervisor_submit(s, e);
}

static void on_result(Instance *i, const WireMessage *m);

static void on_message(Instance *i, WireMessage *m) {
        bool call = m->type == WIRE_CALL && m->interface && streq(m->interface, SAND_APP_INTERFACE);

        if (i->handle != 0 && (m->type == WIRE_REPLY || m->type == WIRE_ERROR) && m->reply_serial == i->handle)
                on_result(i, m);
        else if (call && streq(m->member, "Invoke"))
                on_invoke(i, m, "Invoke");
        else if (call && streq(m->member, "Send"))
                on_invoke(i, m, "Send");
        else if (call && streq(m->member, "Emit"))
                on_invoke(i, m, "Emit");
        else if (m->type == WIRE_SIGNAL && streq(m->interface, SAND_INSTANCE_INTERFACE) && streq(m->member, "Ready"))
                on_ready(i);
        else
                (void) wire_refuse(&i->wire, m);
}

static void on_end_of_file(Instance *i) {
        i->io = hub_remove(i->io); /* the descriptor is closed with the rest */
        if (i->state == INSTANCE_BUSY)
                child_kill(&i->child); /* its end says what happened */
        else if (i->state != INSTANCE_ENDED)
                instance_end(i);
}

/* What answers its authentication goes with the first event; else something waits for room in the socket. */
static void on_queued(Wire *w) {
        Instance *i = CONTAINER_OF(w, Instance, wire);

        if (i->io && w->blocked)
                hub_want_room(i->io, true);
}

/* One turn: the messages that are there, in one system call if they are short. Not those that arrive meanwhile:
 * one that never stops talking would have all turns. False: there was none. */
static bool instance_read(Instance *i) {
        bool any = false;

        do {
                WireMessage m;
                int r = wire_receive(&i->wire, USEC_INFINITY, &m);

                if (r == -EAGAIN)
                        break;
                if (r <= 0) {
                        on_end_of_file(i);
                        break;
                }
                any = true;
                on_message(i, &m);
                wire_message_done(&m);
        } while (i->io && wire_has_message(&i->wire));
        return any;
}

static void on_io(uint32_t revents, void *userdata) {
        Instance *i = userdata;

        if (revents & EPOLLOUT && wire_flush(&i->wire) < 0) {
                while (i->io && instance_read(i)) /* what it said before it left */
                        ;
                if (i->io)
                        on_end_of_file(i);
        } else if (revents & ~EPOLLOUT)
                (void) instance_read(i);
        if (i->io && !i->wire.blocked)
                hub_want_room(i->io, false);
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
        i->wire.fd = -EBADF;
        i->caller = (Caller) { .wire = &i->wire, .changed = on_caller_changed };
        i->where = cpu >= 0 ? cpu : worker->where; /* binds itself once it is ready */

        r = output_open(&i->output, worker->supervisor, worker->spec->name, &log_fd);
        if (r < 0)
                return r;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
                return -errno;
        theirs = fds[1];
        wire_init_server(&i->wire, fds[0], worker->supervisor->id, on_queued);
        r = hub_add(worker->supervisor->hub, fds[0], on_io, i, &i->io);
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
        /* Out of epoll before it is closed: a child's copy would keep a dead entry alive. */
        i->io = hub_remove(i->io);
        if (i->wire.fd >= 0)
                wire_done(&i->wire);
        caller_done(&i->caller); /* nobody is there to be answered */
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
        instance_rests(i);
        event_free(i->event);
        free(i->detail);
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
        Supervisor *s = supervisor_of(i);

        if (i->closed_usec == 0) {
                if (i->child.pid > 0)
                        placement_retire(&s->placement, i->child.pid, s->forks_behind && s->ended.n < ENDED_MAX);
                instance_disconnect(i);
                i->closed_usec = now;
        } else if (now > i->closed_usec + EXIT_GRACE_USEC)
                child_kill(&i->child);
}

/* The kernel killed it, or a process of its, for want of memory. */
static bool was_oom(const Instance *i) {
        const Worker *w = i->worker;

        return cgroup_was_oom(&w->supervisor->cgroups, w->cgroup, w->n_busy - (i->state == INSTANCE_BUSY));
}

/* How a process ended that had an event, in the words of the vocabulary. */
static Failure classify_exit(const Instance *i, int status, bool oom, char *text, size_t size) {
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
        if (oom) {
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
                .detail = isempty(detail) ? i->detail : detail,
                .usage = i->usage,
                .queued_usec = i->queued_usec,
        });
        i->result = NULL;
        free(TAKE_PTR(i->detail));
}

/* The caller has its answer, good or bad. */
static void event_done(Instance *i, const char *result) {
        Supervisor *s = supervisor_of(i);
        Function *f = i->worker->userdata;

        i->caller.event = NULL; /* what it still waits for is answered if it serves on */
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
        bool oom = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && !i->expired && was_oom(i);

        /* What it still sent comes first, or a reply is lost. */
        while (i->state == INSTANCE_BUSY && i->io && instance_read(i))
                ;

        i->usage.cpu_usec = (uint64_t) ru->ru_utime.tv_sec * USEC_PER_SEC + (uint64_t) ru->ru_utime.tv_usec +
                            (uint64_t) ru->ru_stime.tv_sec * USEC_PER_SEC + (uint64_t) ru->ru_stime.tv_usec;
        i->usage.peak_bytes = (uint64_t) ru->ru_maxrss * 1024;

        instance_rests(i);
        if (i->state == INSTANCE_BUSY) {
                i->usage.wall_usec = usec_sub(now_usec(), i->started_usec);
                Failure failure = classify_exit(i, status, oom, text, sizeof(text));
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

        r = pid < 0 ? (int) pid : children_add(s->children, &i->child, pid, on_exit_of_instance); /* 0 is no child */
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
        if (w->may_be_killed)
                cgroup_put_first(pid);
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

/* Its words about what it used; its wall time we know better. */
static int read_usage(WireReader *in, Usage *usage) {
        uint64_t wall;

        (void) wire_read_align(in, 8);
        (void) wire_read_u64(in, &wall);
        (void) wire_read_u64(in, &usage->cpu_usec);
        return wire_read_u64(in, &usage->peak_bytes);
}

static const char *forward_error(Instance *i, const WireMessage *m) {
        Failure failure = { .kind = kind_of_error(m->error) };
        Usage usage = i->usage;
        WireReader in;

        wire_reader_init(&in, m);
        if (*m->signature == 's')
                (void) wire_read_string(&in, &failure.message);
        if (streq(m->signature, SAND_ERROR_FULL_SIGNATURE)) {
                (void) wire_read_string(&in, &failure.error);
                (void) wire_read_string(&in, &failure.cause);
                if (read_usage(&in, &usage) >= 0)
                        i->usage = usage;
        }
        if (failure.kind == SAND_ERROR_FUNCTION_FAILED && i->worker->spec->runtime == RUNTIME_EXEC && was_oom(i))
                failure.kind = SAND_ERROR_OUT_OF_MEMORY; /* of the program, not of the instance that started it */
        event_fail(i->event, &failure, &i->usage);
        free(i->detail);
        if (asprintf(&i->detail, "%s%s%s", strempty(failure.error), isempty(failure.error) ? "" : ": ",
                     strempty(failure.message)) < 0)
                i->detail = NULL;
        else
                i->detail[strcspn(i->detail, "\n")] = 0; /* an entry is a line */
        return sand_error_info(failure.kind)->name;
}

static int read_result(const Instance *i, const WireMessage *m, const char **ret_content_type, Usage *usage,
                       Payload *ret) {
        WireReader in;
        int r;

        if (!streq(m->signature, SAND_REPLY_FULL_SIGNATURE))
                return -EBADMSG;
        wire_reader_init(&in, m);
        (void) wire_read_string(&in, ret_content_type);
        (void) read_usage(&in, usage);
        r = wire_read_payload_raw(&in, i->worker->spec->payload_max, &ret->data, &ret->size, &ret->fd);
        return r < 0 ? r : wire_read_end(&in);
}

static const char *forward_result(Instance *i, const WireMessage *m) {
        Payload payload = PAYLOAD_EMPTY;
        const char *content_type = "";
        Usage usage = i->usage;
        Failure failure;
        int r;

        r = read_result(i, m, &content_type, &usage, &payload);
        if (r >= 0) {
                i->usage = usage;
                event_forward(i->event, content_type, &i->usage, &payload);
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

static void on_result(Instance *i, const WireMessage *m) {
        Worker *w = i->worker;
        unsigned events = w->spec->events;
        const char *result;

        i->handle = 0;
        instance_rests(i);
        i->usage = (Usage) { .wall_usec = usec_sub(now_usec(), i->started_usec) };
        result = m->type == WIRE_ERROR ? forward_error(i, m) : forward_result(i, m);
        function_learn(w->userdata, &i->usage);
        event_done(i, result);

        if (events == 1 || (events > 0 && i->served >= events) || w->retired)
                instance_end(i);
        else {
                write_receipt(i, NULL);
                if (i->served == 1 && i->child.pid > 0)
                        placement_stay(&supervisor_of(i)->placement, i->child.pid);
                worker_move(w, i, INSTANCE_WAITING);
        }
        worker_instance_ready(w); /* it can take another one, or there is room for another one */
}

int instance_handle(Instance *i, Event *e, uint64_t deadline) {
        int r;

        assert(i->state == INSTANCE_WAITING);
        instance_computes(i);
        r = event_hand_over(e, &i->wire, deadline, &i->handle);
        if (r < 0) {
                i->handle = 0;
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
        i->started_usec = i->computing_usec;
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
