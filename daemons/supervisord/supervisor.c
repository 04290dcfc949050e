/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "supervisor.h"

#include <assert.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#include "bus.h"
#include "function.h"
#include "log.h"
#include "protocol.h"
#include "text.h"
#include "upstream.h"

/* After an answer the caller runs first; then what it left behind is put away, but not in the middle of the next event
 * if that is over soon: forks take the supervisor's time. */
#define HOUSEKEEPING_USEC USEC_PER_MSEC
#define PUT_OFF_USEC (USEC_PER_MSEC / 5)
#define PUT_OFF_MAX 5U
#define HOUSEKEEPING_SLOW_USEC (100 * USEC_PER_MSEC)
#define SWEEP_USEC (5 * USEC_PER_MSEC)
/* A peer that does not close its connection after GoAway does not hold the machine. */
#define GO_AWAY_USEC (5 * USEC_PER_SEC)
#define RECEIPTS_PER_SECOND 10U
#define SLOW_USEC USEC_PER_SEC

static int on_housekeeping(sd_event_source *source, uint64_t usec, void *userdata);
static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata);
static int on_idle(sd_event_source *source, uint64_t usec, void *userdata);

/* A timer of our own that is off. */
static int timer_new(Supervisor *s, sd_event_time_handler_t handler, int64_t priority, uint64_t accuracy,
                     sd_event_source **ret) {
        int r;

        r = sd_event_add_time(s->event, ret, CLOCK_MONOTONIC, 0, accuracy, handler, s);
        if (r >= 0)
                r = sd_event_source_set_priority(*ret, priority);
        if (r >= 0)
                r = sd_event_source_set_enabled(*ret, SD_EVENT_OFF);
        return r;
}

static void timer_at(sd_event_source *source, uint64_t usec) {
        (void) sd_event_source_set_time(source, usec);
        (void) sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static void after_turn(void *userdata) {
        Supervisor *s = userdata;

        bus_flush(s);
        functions_dispatch(s);
}

int supervisor_new(const char *app, const char *run_dir, Supervisor **ret) {
        Supervisor *s;
        int r;

        s = calloc(1, sizeof(Supervisor));
        if (!s)
                return -ENOMEM;
        s->journal = JOURNAL_NULL;
        placement_init(&s->placement);
        cgroups_init(&s->cgroups, !run_dir);
        s->started_usec = s->active_usec = now_usec();
        s->deadline_at = s->housekeeping_at = USEC_INFINITY;
        id_make(s->id);

        s->app = strdup(app);
        if (run_dir)
                s->run_dir = strdup(run_dir);
        else
                s->versions_dir = strdup(SAND_MACHINE_VERSIONS_DIR);
        r = s->app && (s->run_dir || s->versions_dir) ? 0 : -ENOMEM;
        if (r >= 0)
                r = sd_event_default(&s->event);
        if (r >= 0)
                r = hub_new(s->event, after_turn, s, &s->hub);
        if (r >= 0)
                r = children_new(s->event, &s->children);
        if (r >= 0 && !run_dir)
                r = upstream_new(s, SAND_MACHINE_EVENTS_SOCKET, &s->upstream);
        if (r >= 0)
                r = sandbox_init(&s->sandbox, !run_dir);
        if (r >= 0)
                r = credentials_init(&s->credentials, !run_dir);
        if (r >= 0)
                r = timer_new(s, on_housekeeping, HUB_BEHIND_PRIORITY, 1, &s->housekeeping);
        if (r >= 0)
                r = timer_new(s, on_deadline, SD_EVENT_PRIORITY_NORMAL - 10, USEC_PER_MSEC, &s->deadline);
        if (r >= 0)
                r = timer_new(s, on_idle, SD_EVENT_PRIORITY_IDLE, USEC_PER_SEC / 4, &s->idle);
        if (r < 0) {
                supervisor_free(s);
                return r;
        }
        *ret = s;
        return 0;
}

Supervisor *supervisor_free(Supervisor *s) {
        if (!s)
                return NULL;
        while (s->connections)
                connection_free(s->connections);
        for (Function *f = s->functions, *next; f; f = next) {
                next = f->next;
                function_free(f);
        }
        upstream_free(s->upstream);
        for (size_t i = 0; i < ELEMENTSOF(s->listen); i++)
                sd_event_source_disable_unref(s->listen[i]);
        sd_event_source_disable_unref(s->housekeeping);
        sd_event_source_disable_unref(s->deadline);
        sd_event_source_disable_unref(s->idle);
        sd_event_source_disable_unref(s->stop);
        sd_event_source_disable_unref(s->silent);
        version_unref(s->version);
        sandbox_done(&s->sandbox);
        credentials_done(&s->credentials);
        placement_done(&s->placement);
        cgroups_done(&s->cgroups);
        children_free(s->children);
        hub_free(s->hub);
        journal_done(&s->journal);
        sd_event_unref(s->event);
        free(s->app);
        free(s->run_dir);
        free(s->versions_dir);
        free(s);
        return NULL;
}

Version *version_ref(Version *v) {
        if (v)
                v->n_ref++;
        return v;
}

Version *version_unref(Version *v) {
        if (!v || --v->n_ref > 0)
                return NULL;
        for (Version **i = v->list; i && *i; i = &(*i)->next)
                if (*i == v) {
                        *i = v->next;
                        break;
                }
        manifest_free(v->manifest);
        free(v->path);
        free(v->id);
        free(v);
        return NULL;
}

static bool version_id_is_valid(const char *id) {
        return !isempty(id) && id[0] != '.' && !strchr(id, '/') && strlen(id) < NAME_MAX;
}

/* "3-0f3a...+9c41...": the bundle 3-0f3a..., as the overrides in the folder of the whole name change it. -EBADF: none. */
static int open_overrides(const Supervisor *s, const char *id) {
        _cleanup_(freep) char *path = NULL;
        int fd;

        if (s->run_dir || !strchr(id, '+'))
                return -EBADF;
        if (asprintf(&path, "%s/%s", s->versions_dir, id) < 0)
                return -ENOMEM;
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

int version_load(Supervisor *s, const char *id, Version **ret, char **ret_problems) {
        _cleanup_(closep) int dir_fd = -EBADF, overrides_fd = -EBADF;
        _cleanup_(version_unrefp) Version *v = NULL;
        Problems problems = {};
        int r;

        if (!version_id_is_valid(id))
                return -EINVAL;
        v = calloc(1, sizeof(Version));
        if (!v)
                return -ENOMEM;
        v->n_ref = 1;
        v->id = strdup(id);
        if (s->run_dir)
                v->path = strdup(s->run_dir);
        else if (asprintf(&v->path, "%s/%.*s", s->versions_dir, (int) strcspn(id, "+"), id) < 0)
                v->path = NULL;
        if (!v->id || !v->path)
                return -ENOMEM;

        dir_fd = open(v->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir_fd < 0)
                return -errno;
        overrides_fd = open_overrides(s, id);
        if (overrides_fd < 0 && overrides_fd != -EBADF)
                return overrides_fd;
        r = manifest_load_overridden(dir_fd, overrides_fd, s->app, false, &problems, &v->manifest);
        if (r < 0 && ret_problems)
                *ret_problems = problems_to_string(&problems);
        problems_done(&problems);
        if (r < 0)
                return r;
        if (s->sandbox.machine) {
                r = sandbox_load_uids(&s->sandbox, s->versions_dir);
                if (r < 0)
                        return r;
        }
        v->list = &s->versions;
        v->next = s->versions;
        s->versions = v;
        *ret = TAKE_PTR(v);
        return 0;
}

int supervisor_current_id(Supervisor *s, char **ret) {
        char path[PATH_MAX], target[NAME_MAX + 1];
        ssize_t n;

        if (s->run_dir) {
                *ret = strdup("dev");
                return *ret ? 0 : -ENOMEM;
        }
        (void) snprintf(path, sizeof(path), "%s/current", s->versions_dir);
        n = readlink(path, target, sizeof(target) - 1);
        if (n < 0)
                return -errno;
        target[n] = 0;
        if (!version_id_is_valid(target))
                return -EBADMSG;
        *ret = strdup(target);
        return *ret ? 0 : -ENOMEM;
}

Function *supervisor_find(Supervisor *s, const char *name) {
        for (Function *f = s->functions; f; f = f->next)
                if (streq(f->name, name))
                        return f;
        return NULL;
}

int supervisor_switch(Supervisor *s, Version *v, Worker **workers) {
        const Manifest *m = v->manifest;
        int r;

        /* All that can fail comes first. */
        for (size_t i = 0; i < m->n_functions; i++)
                if (!supervisor_find(s, m->functions[i].name)) {
                        Function *f;
                        r = function_new(s, m->functions[i].name, &f);
                        if (r < 0)
                                return r;
                        f->next = s->functions;
                        s->functions = f;
                }

        version_ref(v);
        version_unref(s->version);
        s->version = v;
        for (size_t i = 0; i < m->n_functions; i++)
                function_adopt(supervisor_find(s, m->functions[i].name), v, m->functions + i,
                               workers ? workers[i] : NULL);
        for (Function *f = s->functions; f; f = f->next)
                if (f->version != v)
                        function_withdraw(f);
        supervisor_note_activity(s);
        supervisor_notify_status(s);
        log_info("Version %s is running, %zu function%s", v->id, m->n_functions, m->n_functions == 1 ? "" : "s");
        return 0;
}

static int start_version(Supervisor *s) {
        _cleanup_(version_unrefp) Version *v = NULL;
        _cleanup_(freep) char *id = NULL, *problems = NULL;
        int r;

        r = supervisor_current_id(s, &id);
        if (r == -ENOENT) {
                log_info("No version is deployed yet, waiting for one");
                return 0;
        }
        if (r < 0)
                return log_error_errno(r, "Failed to read which version is current: %m");
        r = version_load(s, id, &v, &problems);
        if (r < 0)
                return log_error_errno(r, "Failed to load version %s: %m%s%s", id, problems ? "\n" : "",
                                       strempty(problems));
        return supervisor_switch(s, v, NULL);
}

int supervisor_start(Supervisor *s, const int *listen_fds, int n_listen_fds) {
        int r;

        if (s->sandbox.machine) {
                r = journal_open(SAND_MACHINE_JOURNAL_SOCKET, &s->journal);
                if (r < 0)
                        log_warning_errno(r, "No journal, functions' output goes to the console: %m");
        }
        r = start_version(s);
        if (r < 0)
                return r;
        for (int i = 0; i < n_listen_fds && i < (int) ELEMENTSOF(s->listen); i++) {
                r = bus_listen(s, listen_fds[i], &s->listen[i]);
                if (r < 0)
                        return log_error_errno(r, "Failed to listen on descriptor %d: %m", listen_fds[i]);
        }
        r = sd_event_set_watchdog(s->event, true);
        if (r < 0)
                return log_error_errno(r, "Failed to enable the watchdog: %m");
        (void) sd_notify(false, "READY=1");
        supervisor_notify_status(s);
        supervisor_note_activity(s);
        if (s->run_dir) /* who started it ends it */
                return 0;
        if (s->version && s->version->manifest->idle_usec != USEC_INFINITY)
                timer_at(s->idle, usec_add(now_usec(), s->version->manifest->idle_usec));
        else if (!s->version)
                timer_at(s->idle, usec_add(now_usec(), USEC_PER_MINUTE));
        return 0;
}

void supervisor_notify_status(Supervisor *s) {
        size_t n = s->version ? s->version->manifest->n_functions : 0;

        if (s->stopping)
                (void) sd_notifyf(false, "STOPPING=1\nSTATUS=Finishing %u events", s->n_running + s->n_queued);
        else
                (void) sd_notifyf(false, "STATUS=Version %s, %zu function%s", s->version ? s->version->id : "none", n,
                                  n == 1 ? "" : "s");
}

static bool is_emit(const Event *e) {
        return e->beyond && streq(e->beyond, "Emit");
}

void supervisor_submit(Supervisor *s, Event *e) {
        Function *f = supervisor_find(s, e->target);
        Failure failure;

        supervisor_note_activity(s);
        s->n_events++;
        if (e->beyond && s->upstream) {
                upstream_submit(s->upstream, e);
                return;
        }
        if (f && f->spec && !is_emit(e)) {
                function_submit(f, e);
                return;
        }
        if (!s->version)
                failure = (Failure) { .kind = SAND_ERROR_UNAVAILABLE,
                                      .message = "no version of the application is deployed" };
        else if (is_emit(e))
                failure = (Failure) { .kind = SAND_ERROR_UNAVAILABLE, .message = "topics need sand-globald" };
        else if (e->beyond && strchr(e->target, '/'))
                failure = (Failure) { .kind = SAND_ERROR_UNAVAILABLE,
                                      .message = "other applications need sand-globald" };
        else
                failure = (Failure) { .kind = SAND_ERROR_NOT_FOUND, .message = "the application has no such function" };
        s->n_failed++;
        event_fail(e, &failure, NULL);
        event_free(e);
}

/* Timers. */

void supervisor_note_activity(Supervisor *s) {
        s->active_usec = now_usec();
}

static void housekeeping_by(Supervisor *s, uint64_t usec) {
        if (usec >= s->housekeeping_at)
                return;
        s->housekeeping_at = usec;
        timer_at(s->housekeeping, usec);
}

void supervisor_want_housekeeping(Supervisor *s) {
        housekeeping_by(s, usec_add(now_usec(), HOUSEKEEPING_USEC));
}

static int on_housekeeping(sd_event_source *source, uint64_t usec, void *userdata) {
        Supervisor *s = userdata;
        uint64_t now = now_usec(), again = USEC_INFINITY;

        s->housekeeping_at = USEC_INFINITY;
        if (s->n_running > 0 && !s->forks_behind && s->housekeeping_put_off < PUT_OFF_MAX) {
                s->housekeeping_put_off++;
                housekeeping_by(s, now + PUT_OFF_USEC);
                return 0;
        }
        s->housekeeping_put_off = 0;
        for (Instance *i = s->busy.first; i; i = i->next)
                if (instance_free_long(i, now))
                        again = LONG_RUN_USEC;
        if (placement_housekeeping(&s->placement, now > s->active_usec + HOUSEKEEPING_SLOW_USEC, now))
                again = MIN(again, HOUSEKEEPING_SLOW_USEC);
        s->forks_behind = false;
        for (Function *f = s->functions; f; f = f->next)
                s->forks_behind |= function_is_behind(f);
        for (Function *f = s->functions; f; f = f->next)
                if (function_housekeeping(f, now))
                        again = MIN(again, HOUSEKEEPING_SLOW_USEC);
        for (Instance *i = s->ended.first; i; i = i->next) {
                instance_reclaim(i, now);
                again = MIN(again, HOUSEKEEPING_SLOW_USEC);
        }
        if (s->sweep && now >= usec_add(s->swept_usec, SWEEP_USEC)) {
                s->sweep = children_sweep(s->children);
                s->swept_usec = now;
        }
        if (s->sweep)
                again = MIN(again, SWEEP_USEC);
        for (size_t i = 0; i < ELEMENTSOF(s->listen); i++)
                if (s->listen[i] && s->n_connections < CONNECTIONS_MAX)
                        (void) sd_event_source_set_enabled(s->listen[i], SD_EVENT_ON);

        if (again != USEC_INFINITY)
                housekeeping_by(s, usec_add(now, again));
        supervisor_check_stop(s);
        return 0;
}

void supervisor_want_deadline(Supervisor *s, uint64_t usec) {
        if (usec >= s->deadline_at)
                return;
        s->deadline_at = usec;
        timer_at(s->deadline, usec);
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
        Supervisor *s = userdata;
        uint64_t now = now_usec(), next = USEC_INFINITY;

        for (Function *f = s->functions; f; f = f->next)
                function_check_deadlines(f, now, &next);
        for (Instance *i = s->busy.first; i; i = i->next)
                instance_check_deadline(i, now, &next);
        s->deadline_at = next;
        if (next != USEC_INFINITY)
                timer_at(s->deadline, next);
        supervisor_check_stop(s);
        return 0;
}

static bool supervisor_has_events(const Supervisor *s) {
        return s->n_running + s->n_queued > 0 || (s->upstream && upstream_in_flight(s->upstream) > 0);
}

static int on_idle(sd_event_source *source, uint64_t usec, void *userdata) {
        Supervisor *s = userdata;
        uint64_t idle = s->version ? s->version->manifest->idle_usec : USEC_PER_MINUTE, at;

        if (idle == USEC_INFINITY)
                return 0;
        if (supervisor_has_events(s) || s->prepare)
                supervisor_note_activity(s);
        at = usec_add(s->active_usec, idle);
        if (at > now_usec())
                timer_at(s->idle, at);
        else {
                log_info("Idle, exiting");
                supervisor_stop(s);
        }
        return 0;
}

/* The end. */

static int on_stop_timeout(sd_event_source *source, uint64_t usec, void *userdata) {
        Supervisor *s = userdata;

        s->stop = sd_event_source_disable_unref(s->stop);
        if (supervisor_has_events(s)) { /* they have their own deadlines */
                (void) sd_event_add_time_relative(s->event, &s->stop, CLOCK_MONOTONIC, GO_AWAY_USEC, 0,
                                                  on_stop_timeout, s);
                return 0;
        }
        log_warning("%u connections were not closed after GoAway, closing them", s->n_connections);
        while (s->connections)
                connection_free(s->connections);
        supervisor_check_stop(s);
        return 0;
}

void supervisor_stop(Supervisor *s) {
        if (s->stopping)
                return;
        s->stopping = true;
        supervisor_notify_status(s);

        /* systemd holds the sockets: who connects from now on meets the next machine. */
        for (size_t i = 0; i < ELEMENTSOF(s->listen); i++)
                s->listen[i] = sd_event_source_disable_unref(s->listen[i]);
        for (Connection *c = s->connections, *next; c; c = next) {
                next = c->next;
                connection_go_away(c);
        }
        (void) sd_event_add_time_relative(s->event, &s->stop, CLOCK_MONOTONIC, GO_AWAY_USEC, 0, on_stop_timeout, s);
        supervisor_check_stop(s);
}

void supervisor_end_output(Supervisor *s) {
        for (Function *f = s->functions; f; f = f->next)
                if (f->worker)
                        output_done(&f->worker->output);
        for (Instance *i = s->busy.first; i; i = i->next)
                output_done(&i->output);
        for (Instance *i = s->ended.first; i; i = i->next)
                output_done(&i->output);
}

/* Connections for control hold nothing: their callers learn the end by the end of file. */
static bool connections_are_done(const Supervisor *s) {
        for (const Connection *c = s->connections; c; c = c->next)
                if (c->kind == CONNECTION_APP)
                        return false;
        return true;
}

void supervisor_check_stop(Supervisor *s) {
        if (s->stopping && !supervisor_has_events(s) && connections_are_done(s))
                (void) sd_event_exit(s->event, 0);
}

/* What is told. */

json_object *supervisor_describe(Supervisor *s) {
        json_object *o = json_object_new_object(), *functions = json_object_new_object();

        json_object_object_add(o, "name", json_object_new_string(s->app));
        json_object_object_add(o, "version", s->version ? json_object_new_string(s->version->id) : NULL);
        for (size_t i = 0; s->version && i < s->version->manifest->n_functions; i++) {
                const FunctionSpec *f = s->version->manifest->functions + i;
                json_object *row = json_object_new_object();
                json_object_object_add(row, "runtime", json_object_new_string(runtime_to_string(f->runtime)));
                json_object_object_add(row, "timeout_usec", json_object_new_int64((int64_t) f->timeout_usec));
                json_object_object_add(row, "payload_max", json_object_new_int64((int64_t) f->payload_max));
                json_object_object_add(functions, f->name, row);
        }
        json_object_object_add(o, "functions", functions);
        return o;
}

json_object *supervisor_state(Supervisor *s) {
        json_object *o = json_object_new_object(), *functions = json_object_new_array(), *versions = json_object_new_array();

        json_object_object_add(o, "version", s->version ? json_object_new_string(s->version->id) : NULL);
        for (Version *v = s->versions; v; v = v->next)
                json_object_array_add(versions, json_object_new_string(v->id));
        json_object_object_add(o, "versions", versions);
        json_object_object_add(o, "uptime_usec", json_object_new_int64((int64_t) (now_usec() - s->started_usec)));
        json_object_object_add(o, "stopping", json_object_new_boolean(s->stopping));
        json_object_object_add(o, "connections", json_object_new_int64(s->n_connections));
        json_object_object_add(o, "processes", json_object_new_int64(s->n_processes));
        json_object_object_add(o, "events", json_object_new_int64((int64_t) s->n_events));
        json_object_object_add(o, "failed", json_object_new_int64((int64_t) s->n_failed));
        json_object_object_add(o, "journal_dropped", json_object_new_int64((int64_t) s->journal.dropped));
        for (Function *f = s->functions; f; f = f->next)
                if (f->spec)
                        json_object_array_add(functions, function_state(f));
        json_object_object_add(o, "functions", functions);
        return o;
}

void supervisor_log_line(Supervisor *s, const char *function, const char *execution, const char *invocation,
                         const char *priority, const char *line, size_t n) {
        char identifier[160];

        if (s->journal.fd < 0) {
                (void) dprintf(STDERR_FILENO, "%s: %.*s\n", function, (int) n, line);
                return;
        }
        (void) snprintf(identifier, sizeof(identifier), "%s/%s", s->app, function);
        JournalField fields[] = {
                { "MESSAGE", line, n },
                JOURNAL_FIELD("PRIORITY", priority),
                JOURNAL_FIELD("SYSLOG_IDENTIFIER", identifier),
                JOURNAL_FIELD("SAND_APP", s->app),
                JOURNAL_FIELD("SAND_FUNCTION", function),
                JOURNAL_FIELD("SAND_EXECUTION", execution),
                JOURNAL_FIELD("SAND_INVOCATION", invocation),
        };
        (void) journal_send(&s->journal, fields, ELEMENTSOF(fields));
}

static bool receipt_is_wanted(Supervisor *s, const Receipt *r) {
        Receipts mode = s->version ? s->version->manifest->receipts : RECEIPTS_SAMPLE;
        uint64_t second = now_usec() / USEC_PER_SEC;

        if (mode == RECEIPTS_ALL || !streq(r->result, "ok"))
                return true;
        if (mode == RECEIPTS_FAILED)
                return false;
        if (r->usage.wall_usec >= SLOW_USEC)
                return true;
        if (second != s->receipts_second) {
                s->receipts_second = second;
                s->receipts_taken = 0;
        }
        return s->receipts_taken++ < RECEIPTS_PER_SECOND;
}

void supervisor_log_receipt(Supervisor *s, const Receipt *r) {
        char message[512], identifier[160], wall[32], cpu[32], peak[32], queued[32];
        bool ok = streq(r->result, "ok");

        if (s->journal.fd < 0 || !receipt_is_wanted(s, r))
                return;
        (void) snprintf(identifier, sizeof(identifier), "%s/%s", s->app, r->function);
        (void) snprintf(message, sizeof(message), "%s: %.3f ms, CPU %.3f ms, peak %.1f MiB%s%s", r->result,
                        (double) r->usage.wall_usec / 1000, (double) r->usage.cpu_usec / 1000,
                        (double) r->usage.peak_bytes / (1024 * 1024), isempty(r->detail) ? "" : ": ", strempty(r->detail));
        text_make_printable(message); /* it may have been cut within a character */
        (void) snprintf(wall, sizeof(wall), "%llu", (unsigned long long) r->usage.wall_usec);
        (void) snprintf(cpu, sizeof(cpu), "%llu", (unsigned long long) r->usage.cpu_usec);
        (void) snprintf(peak, sizeof(peak), "%llu", (unsigned long long) r->usage.peak_bytes);
        (void) snprintf(queued, sizeof(queued), "%llu", (unsigned long long) r->queued_usec);
        JournalField fields[] = {
                JOURNAL_FIELD("MESSAGE", message),
                JOURNAL_FIELD("PRIORITY", ok ? "6" : "4"),
                JOURNAL_FIELD("SYSLOG_IDENTIFIER", identifier),
                JOURNAL_FIELD("SAND_APP", s->app),
                JOURNAL_FIELD("SAND_FUNCTION", r->function),
                JOURNAL_FIELD("SAND_EXECUTION", r->execution),
                JOURNAL_FIELD("SAND_INVOCATION", r->invocation),
                JOURNAL_FIELD("SAND_RESULT", r->result),
                JOURNAL_FIELD("SAND_WALL_USEC", wall),
                JOURNAL_FIELD("SAND_CPU_USEC", cpu),
                JOURNAL_FIELD("SAND_PEAK_BYTES", peak),
                JOURNAL_FIELD("SAND_QUEUED_USEC", queued),
        };
        (void) journal_send(&s->journal, fields, ELEMENTSOF(fields));
}
