/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker.h"

#include <assert.h>
#include <limits.h>
#include <stdarg.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "bus.h"
#include "function.h"
#include "log.h"
#include "protocol.h"
#include "vendor.h"

/* Importing a large library from a cold disk takes its time; a loader that hangs is found out all the same. */
#define LOAD_TIMEOUT_USEC (60 * USEC_PER_SEC)
#define FORK_BATCH_MAX 64U
#define DEFAULT_PATH "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"

/* One Fork request under way: its instances, in order. */
typedef struct ForkRequest {
        Worker *worker;
        uint64_t ticket;
        unsigned n;
        Instance *instances[];
} ForkRequest;

static InstanceList *list_of(Worker *w, InstanceState state) {
        switch (state) {
        case INSTANCE_STARTING:
                return &w->starting;
        case INSTANCE_WAITING:
                return &w->waiting;
        case INSTANCE_BUSY:
                return &w->supervisor->busy;
        case INSTANCE_ENDED:
                return &w->supervisor->ended;
        default:
                return NULL;
        }
}

void worker_move(Worker *w, Instance *i, InstanceState state) {
        InstanceList *from = list_of(w, i->state), *to = list_of(w, state);

        if (from) {
                if (i->prev)
                        i->prev->next = i->next;
                else
                        from->first = i->next;
                if (i->next)
                        i->next->prev = i->prev;
                from->n--;
        }
        w->n_busy += (state == INSTANCE_BUSY) - (i->state == INSTANCE_BUSY);
        i->prev = i->next = NULL;
        i->state = state;
        if (to) { /* the newest first: its pages are the warmest */
                i->next = to->first;
                if (i->next)
                        i->next->prev = i;
                to->first = i;
                to->n++;
        }
}

static void worker_disconnect(Worker *w) {
        if (!w->bus)
                return;
        (void) sd_bus_detach_event(w->bus);
        sd_bus_close(w->bus);
        w->bus = sd_bus_unref(w->bus);
}

Worker *worker_ref(Worker *w) {
        w->n_ref++;
        return w;
}

Worker *worker_unref(Worker *w) {
        if (!w || --w->n_ref > 0)
                return NULL;
        worker_disconnect(w);
        output_done(&w->output);
        sd_event_source_disable_unref(w->load_timeout);
        credentials_view_free(w->credentials); /* its names are the version's */
        cgroup_unref(w->cgroup);
        version_unref(w->version);
        free(w);
        return NULL;
}

static void worker_fail(Worker *w, SandError kind, const char *message, const char *error, const char *cause) {
        Failure failure = { .kind = kind, .message = message, .error = error, .cause = cause };

        w->state = WORKER_DEAD;
        w->load_timeout = sd_event_source_disable_unref(w->load_timeout);
        worker_disconnect(w);
        child_kill(&w->child);
        w->handler(w, &failure, w->userdata);
}

static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Worker *w = userdata;
        const char *message, *class, *cause;

        if (sd_bus_message_is_signal(m, SAND_WORKER_INTERFACE, "Loaded")) {
                if (w->state == WORKER_LOADING) {
                        w->state = WORKER_READY;
                        w->load_timeout = sd_event_source_disable_unref(w->load_timeout);
                        w->handler(w, NULL, w->userdata);
                }
                return 1;
        }
        if (sd_bus_message_is_signal(m, SAND_WORKER_INTERFACE, "LoadFailed")) {
                if (sd_bus_message_read(m, "sss", &message, &class, &cause) < 0)
                        message = "malformed LoadFailed", class = cause = "";
                output_drain(&w->output);
                if (w->state == WORKER_LOADING)
                        worker_fail(w, SAND_ERROR_LOAD_FAILED, message, class, cause);
                return 1;
        }
        if (sd_bus_message_is_signal(m, "org.freedesktop.DBus.Local", "Disconnected")) {
                child_kill(&w->child); /* its end says what happened */
                return 1;
        }
        return 0;
}

static int on_load_timeout(sd_event_source *source, uint64_t usec, void *userdata) {
        Worker *w = userdata;

        if (w->state == WORKER_LOADING)
                worker_fail(w, SAND_ERROR_LOAD_FAILED, "loading the code took more than 60 s", "LoadTimeout", NULL);
        return 0;
}

/* Instances that were asked for and never named are gone with their worker: their sockets are closed. */
static void drop_unnamed(Worker *w) {
        Instance *lists[] = { w->starting.first, w->supervisor->ended.first };

        for (size_t k = 0; k < ELEMENTSOF(lists); k++)
                for (Instance *i = lists[k], *next; i; i = next) {
                        next = i->next;
                        if (i->worker == w && i->child.pid == 0) {
                                w->supervisor->n_processes--;
                                instance_free(i);
                        }
                }
}

static void on_exit_of_worker(Child *child, int status, const struct rusage *ru) {
        Worker *w = CONTAINER_OF(child, Worker, child);
        char text[256];

        while (w->bus && w->state == WORKER_LOADING && sd_bus_process(w->bus, NULL) > 0)
                ;
        output_drain(&w->output);
        worker_disconnect(w);
        drop_unnamed(w);

        if (w->state != WORKER_DEAD) {
                bool loading = w->state == WORKER_LOADING;
                if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL &&
                    cgroup_was_oom(&w->supervisor->cgroups, w->cgroup, w->n_busy))
                        (void) snprintf(text, sizeof(text), "a memory limit is reached: the worker was killed%s",
                                        loading ? " while it loaded the code" : "");
                else if (WIFSIGNALED(status))
                        (void) snprintf(text, sizeof(text), "the worker was killed by SIG%s%s",
                                        strempty(sigabbrev_np(WTERMSIG(status))), loading ? " while it loaded the code" : "");
                else
                        (void) snprintf(text, sizeof(text), "the worker exited with status %d%s", WEXITSTATUS(status),
                                        loading ? " while it loaded the code" : "");
                worker_fail(w, loading ? SAND_ERROR_LOAD_FAILED : SAND_ERROR_CRASHED, text, NULL, NULL);
        }
        worker_unref(w);
}

static int environment_add(char ***env, const char *key, const char *format, ...) _printf_(3, 4);
static int environment_add(char ***env, const char *key, const char *format, ...) {
        char *value = NULL, *assignment = NULL;
        va_list ap;
        int r;

        va_start(ap, format);
        r = vasprintf(&value, format, ap);
        va_end(ap);
        if (r < 0)
                return -ENOMEM;
        r = asprintf(&assignment, "%s=%s", key, value);
        free(value);
        return r < 0 ? -ENOMEM : strv_consume(env, assignment);
}

/* The function's own variable, or NULL. */
static const char *own_variable(const FunctionSpec *spec, const char *key) {
        size_t l = strlen(key);

        for (char **e = spec->environment; e && *e; e++)
                if (strncmp(*e, key, l) == 0 && (*e)[l] == '=')
                        return *e + l + 1;
        return NULL;
}

/* "/app/vendor/bin", as the function sees it, where the version has such a folder; else NULL. */
static const char *vendor_path(const Worker *w, const char *folder, char buffer[static PATH_MAX]) {
        (void) snprintf(buffer, PATH_MAX, "%s/%s", w->version->path, folder);
        if (access(buffer, F_OK) < 0)
                return NULL;
        if (w->supervisor->sandbox.machine)
                (void) snprintf(buffer, PATH_MAX, "/app/%s", folder);
        return buffer;
}

/* Where programs and libraries are looked for: first in what the bundle brings along. */
static int add_paths(const Worker *w, char ***env) {
        /* sand-call is on the PATH of a machine; in developer's mode it may stand beside this program. */
        const char *beside = w->supervisor->sandbox.program_dir, *own = own_variable(w->spec, "PATH"), *vendor;
        char buffer[PATH_MAX];
        int r;

        vendor = vendor_path(w, VENDOR_BIN, buffer);
        r = environment_add(env, "PATH", "%s%s%s%s%s", strempty(vendor), vendor ? ":" : "", strempty(beside),
                            beside ? ":" : "", own ?: DEFAULT_PATH);
        vendor = r >= 0 ? vendor_path(w, VENDOR_LIB, buffer) : NULL;
        if (vendor)
                r = environment_add(env, "LD_LIBRARY_PATH", "%s", vendor);
        /* The worker for Python does so itself; a program may be Python too. */
        vendor = r >= 0 && w->spec->runtime == RUNTIME_EXEC && !own_variable(w->spec, "PYTHONPATH") ?
                 vendor_path(w, VENDOR_PYTHON, buffer) : NULL;
        if (vendor)
                r = environment_add(env, "PYTHONPATH", "%s", vendor);
        return r;
}

static int worker_environment(const Worker *w, char ***ret) {
        static const char *const defaults[][2] = { { "HOME", "/tmp" }, { "LANG", "C.UTF-8" } };
        _cleanup_(strv_freep) char **env = NULL;
        const FunctionSpec *spec = w->spec;
        int r;

        r = add_paths(w, &env);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(defaults); i++)
                if (!own_variable(spec, defaults[i][0]))
                        r = environment_add(&env, defaults[i][0], "%s", defaults[i][1]);
        /* libc itself is linked lazily: each instance would look up what it calls first. Modules of Python may rely on it. */
        if (r >= 0 && spec->runtime == RUNTIME_NATIVE)
                r = environment_add(&env, "LD_BIND_NOW", "1");
        for (char **e = spec->environment; r >= 0 && e && *e; e++)
                if (!startswith(*e, "PATH="))
                        r = strv_extend(&env, *e);
        if (r >= 0)
                r = environment_add(&env, SAND_ENV_APP, "%s", w->supervisor->app);
        if (r >= 0)
                r = environment_add(&env, SAND_ENV_FUNCTION, "%s", spec->name);
        if (r >= 0)
                r = environment_add(&env, SAND_ENV_VERSION, "%s", w->version->id);
        if (r >= 0 && spec->content_type)
                r = environment_add(&env, SAND_ENV_CONTENT_TYPE, "%s", spec->content_type);
        if (r >= 0)
                r = environment_add(&env, SAND_ENV_PAYLOAD_MAX, "%llu", (unsigned long long) spec->payload_max);
        if (r >= 0 && w->credentials)
                r = environment_add(&env, SAND_ENV_CREDENTIALS, "%s", w->supervisor->sandbox.machine
                                    ? SAND_MACHINE_CREDENTIALS_DIR : credentials_view_path(w->credentials));
        if (r >= 0)
                r = environment_add(&env, SAND_ENV_MEMORY, "%llu",
                                    (unsigned long long) cgroup_data_limit(w->cgroup, spec));
        if (r < 0)
                return r;
        *ret = TAKE_PTR(env);
        return 0;
}

static int worker_spawn(Worker *w, int *ret_fd) {
        _cleanup_(strv_freep) char **env = NULL;
        _cleanup_(closep) int ours = -EBADF, theirs = -EBADF, log_fd = -EBADF;
        int fds[2], r;
        pid_t pid;

        r = worker_environment(w, &env);
        if (r < 0)
                return r;
        r = output_open(&w->output, w->supervisor, w->spec->name, &log_fd);
        if (r < 0)
                return r;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
                return -errno;
        ours = fds[0];
        theirs = fds[1];

        pid = cgroup_fork(w->cgroup);
        if (pid < 0)
                return -errno;
        if (pid == 0) {
                (void) placement_bind(&w->supervisor->placement, 0, PLACEMENT_FREE);
                r = sandbox_exec_worker(&w->supervisor->sandbox, w->spec, w->version->path,
                                        w->credentials ? credentials_view_path(w->credentials) : NULL, env, theirs, log_fd);
                dprintf(log_fd, "<3>Failed to start the worker: %s\n", strerror(-r));
                _exit(EXIT_FAILURE);
        }
        w->pid = pid;
        r = children_add(w->supervisor->children, &w->child, pid, on_exit_of_worker);
        if (r < 0)
                return r;
        worker_ref(w); /* the process's */
        *ret_fd = TAKE_FD(ours);
        return 0;
}

static int worker_see_credentials(Worker *w) {
        Supervisor *s = w->supervisor;
        const char *missing = NULL;
        uid_t uid = (uid_t) -1;
        int r = 0;

        if (strv_length(w->spec->credentials) == 0)
                return 0;
        if (s->sandbox.machine)
                r = sandbox_uid(&s->sandbox, w->spec->name, &uid);
        if (r >= 0)
                r = credentials_view_new(&s->credentials, w->spec->credentials, uid, &w->credentials, &missing);
        if (r < 0)
                log_error_errno(r, "%s: secret %s: %m", w->spec->name, strempty(missing));
        return r;
}

int worker_new(Supervisor *s, Version *v, const FunctionSpec *spec, worker_handler_t handler, void *userdata,
               Worker **ret) {
        Worker *w;
        int fd = -EBADF, r;

        if (s->sandbox.worker_fds[spec->runtime] < 0)
                return -ENOPKG;
        w = calloc(1, sizeof(Worker));
        if (!w)
                return -ENOMEM;
        *w = (Worker) {
                .supervisor = s,
                .version = version_ref(v),
                .spec = spec,
                .handler = handler,
                .userdata = userdata,
                .output = OUTPUT_NULL,
                .n_ref = 1,
                .where = PLACEMENT_FREE,
                .may_be_killed = cgroups_may_kill(&s->cgroups, v->manifest, spec),
                .started_usec = now_usec(),
        };
        r = worker_see_credentials(w);
        if (r >= 0)
                r = cgroup_get(&s->cgroups, v->manifest, v->id, spec, &w->cgroup);
        if (r >= 0)
                r = worker_spawn(w, &fd);
        if (r >= 0)
                r = bus_serve(s->event, fd, &w->bus);
        if (r >= 0)
                r = sd_bus_add_filter(w->bus, NULL, on_message, w);
        if (r >= 0)
                r = sd_event_add_time_relative(s->event, &w->load_timeout, CLOCK_MONOTONIC, LOAD_TIMEOUT_USEC,
                                               USEC_PER_SEC, on_load_timeout, w);
        if (r < 0) {
                w->state = WORKER_DEAD;
                child_kill(&w->child);
                worker_unref(w);
                return r;
        }
        *ret = w;
        return 0;
}

Failure worker_start_failure(const FunctionSpec *spec, int r) {
        static const char *const packages[_RUNTIME_MAX] = {
                [RUNTIME_PYTHON3] = "the runtime python3 is not installed on the host: apt install sand-python3",
                [RUNTIME_EXEC] = "the runtime exec is not installed on the host: apt install sand",
                [RUNTIME_NATIVE] = "the runtime native is not installed on the host: apt install sand",
        };
        if (r == -ENOPKG)
                return (Failure) { .kind = SAND_ERROR_LOAD_FAILED, .message = packages[spec->runtime] };
        if (r == -ENOKEY)
                return (Failure) { .kind = SAND_ERROR_LOAD_FAILED, .message = "a secret of the function is not set" };
        return (Failure) { .kind = SAND_ERROR_UNAVAILABLE, .message = "the supervisor cannot start a worker" };
}

static int on_forked(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        ForkRequest *q = userdata;
        const int32_t *pids = NULL;
        size_t size = 0;
        unsigned n;

        children_fork_end(q->worker->supervisor->children, q->ticket);
        if (!sd_bus_message_is_method_error(m, NULL) &&
            sd_bus_message_read_array(m, 'i', (const void **) &pids, &size) < 0)
                size = 0;
        n = (unsigned) (size / sizeof(int32_t));
        for (unsigned i = 0; i < q->n; i++)
                if (q->instances[i])
                        instance_forked(q->instances[i], i < n ? pids[i] : -ECHILD);
        q->worker->n_forking--;
        worker_instance_ready(q->worker); /* what came meanwhile is asked for at once */
        return 1;
}

static void fork_request_destroy(void *userdata) {
        ForkRequest *q = userdata;
        children_fork_end(q->worker->supervisor->children, q->ticket);
        worker_unref(q->worker);
        free(q);
}

static int fork_request_send(Worker *w, ForkRequest *q, int cpu, int (*fds)[2]) {
        sd_bus_message *m = NULL;
        sd_bus_slot *slot = NULL;
        int r;

        r = sd_bus_message_new_method_call(w->bus, &m, NULL, SAND_WORKER_PATH, SAND_WORKER_INTERFACE, "Fork");
        if (r >= 0)
                r = sd_bus_message_append(m, "i", (int32_t) cpu);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "(hh)");
        for (unsigned i = 0; r >= 0 && i < q->n; i++)
                r = sd_bus_message_append(m, "(hh)", fds[i][0], fds[i][1]);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        if (r >= 0)
                r = sd_bus_call_async(w->bus, &slot, m, on_forked, q, UINT64_MAX);
        if (r >= 0) {
                w->n_forking++;
                (void) sd_bus_slot_set_destroy_callback(slot, fork_request_destroy);
                (void) sd_bus_slot_set_floating(slot, true);
        }
        sd_bus_slot_unref(slot);
        sd_bus_message_unref(m);
        return r;
}

/* It forks, and what it forks prepares itself, beside the supervisor's CPU as long as that is enough. */
static void worker_place(Worker *w) {
        const Placement *p = &w->supervisor->placement;
        int where = w->supervisor->forks_behind ? PLACEMENT_FREE : placement_aside(p);

        if (where == w->where && (where == PLACEMENT_FREE || p->cpu == w->away_from))
                return;
        if (placement_bind(p, w->pid, where)) {
                w->where = where;
                w->away_from = p->cpu;
        }
}

int worker_fork(Worker *w, unsigned n, int cpu) {
        int fds[FORK_BATCH_MAX][2], r = 0;
        ForkRequest *q;

        assert(w->state == WORKER_READY);
        worker_place(w);
        n = MIN(n, FORK_BATCH_MAX);
        q = calloc(1, sizeof(ForkRequest) + n * sizeof(Instance *));
        if (!q)
                return -ENOMEM;
        q->worker = worker_ref(w);
        q->ticket = children_fork_begin(w->supervisor->children);
        for (; q->n < n && r >= 0; q->n += r >= 0)
                r = instance_new(w, cpu, &q->instances[q->n], &fds[q->n][0], &fds[q->n][1]);
        if (q->n > 0)
                r = fork_request_send(w, q, cpu, fds);
        for (unsigned i = 0; i < q->n; i++) {
                safe_close(fds[i][0]);
                safe_close(fds[i][1]);
                if (r < 0) {
                        w->supervisor->n_processes--;
                        instance_free(q->instances[i]);
                }
        }
        if (r < 0)
                fork_request_destroy(q);
        return r;
}

void worker_trim(Worker *w, unsigned n) {
        for (; n > 0 && w->waiting.first; n--)
                instance_end(w->waiting.first);
}

/* A retired worker whose last event is done: its process sees the end of file and exits. */
static void worker_finish(Worker *w) {
        worker_trim(w, UINT_MAX);
        if (worker_instances(w) == 0)
                worker_disconnect(w);
}

void worker_retire(Worker *w) {
        w->retired = true;
        worker_finish(w);
        worker_unref(w);
}

void worker_instance_ready(Worker *w) {
        if (w->retired)
                worker_finish(w);
        else
                function_dispatch(w->userdata);
}
