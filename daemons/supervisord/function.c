/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "function.h"

#include <assert.h>
#include <limits.h>

#include "log.h"

/* A worker that died is started again after this, doubled each time in a row. */
#define RETRY_FIRST_USEC (100 * USEC_PER_MSEC)
#define RETRY_LAST_USEC (30 * USEC_PER_SEC)
/* One that lived this long had no fault of its start. */
#define HEALTHY_USEC (10 * USEC_PER_SEC)
#define FORK_RETRY_USEC (20 * USEC_PER_MSEC)

/* The pool: looked at every POOL_USEC while events arrive, given back after POOL_IDLE_USEC without one. */
#define POOL_USEC (100 * USEC_PER_MSEC)
#define POOL_IDLE_USEC (2 * USEC_PER_SEC)
/* More waiting ones cost more memory than they save time (measured: 512 were slower than 16). */
#define POOL_MAX 64U

int function_new(Supervisor *s, const char *name, Function **ret) {
        Function *f;

        f = calloc(1, sizeof(Function));
        if (!f)
                return -ENOMEM;
        f->supervisor = s;
        f->queue_end = &f->queue;
        f->name = strdup(name);
        if (!f->name) {
                free(f);
                return -ENOMEM;
        }
        *ret = f;
        return 0;
}

static Event *function_pop(Function *f) {
        Event *e = f->queue;

        if (!e)
                return NULL;
        f->queue = e->next;
        if (!f->queue)
                f->queue_end = &f->queue;
        e->next = NULL;
        f->n_queued--;
        f->queued_bytes -= e->payload.size;
        f->supervisor->n_queued--;
        return e;
}

Function *function_free(Function *f) {
        Event *e;

        if (!f)
                return NULL;
        while ((e = function_pop(f)))
                event_free(e);
        if (f->worker)
                worker_retire(f->worker);
        sd_event_source_disable_unref(f->retry);
        version_unref(f->version);
        free(f->load_message);
        free(f->load_error);
        free(f->load_cause);
        free(f->name);
        free(f);
        return NULL;
}

static void refuse(Function *f, Event *e, const Failure *failure) {
        f->refused++;
        f->supervisor->n_failed++;
        event_fail(e, failure, NULL);
        event_free(e);
}

/* Nobody can serve what waits: say why, now, instead of letting it time out. */
static void refuse_queue(Function *f, const Failure *failure) {
        Event *e;

        while ((e = function_pop(f)))
                refuse(f, e, failure);
        supervisor_check_stop(f->supervisor);
}

static Failure load_failure(const Function *f) {
        return (Failure) { .kind = SAND_ERROR_LOAD_FAILED, .message = f->load_message,
                           .error = isempty(f->load_error) ? NULL : f->load_error, .cause = f->load_cause };
}

static void forget_load_failure(Function *f) {
        (void) free_and_strdup(&f->load_message, NULL);
        (void) free_and_strdup(&f->load_error, NULL);
        (void) free_and_strdup(&f->load_cause, NULL);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata) {
        Function *f = userdata;

        f->retry = sd_event_source_disable_unref(f->retry);
        function_dispatch(f);
        return 0;
}

static uint64_t retry_delay(unsigned failures) {
        return failures > 10 ? RETRY_LAST_USEC : MIN(RETRY_FIRST_USEC << failures, RETRY_LAST_USEC);
}

static void on_worker(Worker *w, const Failure *failure, void *userdata) {
        Function *f = userdata;

        assert(f->worker == w || w->retired);
        if (!failure) {
                forget_load_failure(f);
                function_dispatch(f);
                return;
        }
        if (w->retired)
                return;

        if (now_usec() > w->started_usec + HEALTHY_USEC)
                f->failures = 0;
        f->retry_at = now_usec() + retry_delay(f->failures);
        f->failures++;
        f->worker = NULL;
        log_warning("%s: %s%s%s", f->name, strempty(failure->error), isempty(failure->error) ? "" : ": ",
                    failure->message);

        if (failure->kind == SAND_ERROR_LOAD_FAILED) {
                (void) free_and_strdup(&f->load_message, failure->message);
                (void) free_and_strdup(&f->load_error, failure->error);
                (void) free_and_strdup(&f->load_cause, failure->cause);
                refuse_queue(f, failure);
        }
        worker_retire(w);
        function_dispatch(f); /* what waits, waits for the next worker */
}

static void function_start_worker(Function *f) {
        Failure failure;
        int r;

        if (f->worker || !f->spec)
                return;
        if (now_usec() < f->retry_at) {
                if (!f->retry) /* without it, what waits would wait for the next event */
                        (void) sd_event_add_time(f->supervisor->event, &f->retry, CLOCK_MONOTONIC, f->retry_at,
                                                 USEC_PER_MSEC, on_retry, f);
                return;
        }
        r = worker_new(f->supervisor, f->version, f->spec, on_worker, f, &f->worker);
        if (r < 0) {
                log_error_errno(r, "%s: Failed to start a worker: %m", f->name);
                failure = worker_start_failure(f->spec, r);
                f->retry_at = now_usec() + USEC_PER_SEC;
                refuse_queue(f, &failure);
        }
}

void function_adopt(Function *f, Version *v, const FunctionSpec *spec, Worker *worker) {
        if (f->worker)
                worker_retire(TAKE_PTR(f->worker));
        version_ref(v);
        version_unref(f->version);
        f->version = v;
        f->spec = spec;
        f->retry_at = 0;
        f->failures = 0;
        forget_load_failure(f);
        f->target = spec->warm;
        if (worker) {
                worker->handler = on_worker;
                worker->userdata = f;
                f->worker = worker;
        } else if (spec->warm > 0)
                function_start_worker(f);
        function_dispatch(f);
        supervisor_want_housekeeping(f->supervisor);
}

void function_withdraw(Function *f) {
        static const Failure gone = { .kind = SAND_ERROR_NOT_FOUND,
                                      .message = "this version of the application has the function no more" };

        if (!f->spec)
                return;
        /* The old worker serves what it has; what waits meets the version that has no such function. */
        f->spec = NULL;
        refuse_queue(f, &gone);
        if (f->worker)
                worker_retire(TAKE_PTR(f->worker));
}

void function_submit(Function *f, Event *e) {
        Supervisor *s = f->supervisor;
        const FunctionSpec *spec = f->spec;

        assert(spec);
        if (e->payload.size > spec->payload_max) {
                refuse(f, e, &(Failure) { .kind = SAND_ERROR_TOO_LARGE,
                                          .message = "the payload is larger than the function's payload_max" });
                return;
        }
        if (f->load_message && now_usec() < f->retry_at) {
                Failure failure = load_failure(f);
                refuse(f, e, &failure);
                return;
        }
        if (f->n_queued >= spec->queue_max || f->queued_bytes + e->payload.size > spec->queue_bytes) {
                refuse(f, e, &(Failure) { .kind = SAND_ERROR_BUSY, .message = "the function's queue is full" });
                return;
        }
        if (e->deadline == 0) /* nobody waits in the queue for longer than the function may run */
                supervisor_want_deadline(s, usec_add(e->accepted_usec, spec->timeout_usec));
        else
                supervisor_want_deadline(s, e->deadline);

        *f->queue_end = e;
        f->queue_end = &e->next;
        f->n_queued++;
        f->queued_bytes += e->payload.size;
        s->n_queued++;
        f->arrivals++;
        f->arrival_usec = e->accepted_usec;
        f->peak = MAX(f->peak, f->n_queued + f->running);
        event_acknowledge(e);
        function_dispatch(f);
}

void function_learn(Function *f, const Usage *usage) {
        uint64_t cpu = MAX(usage->cpu_usec, UINT64_C(1));

        cpu = MIN(cpu, USEC_PER_SEC); /* it is the instance that says so */
        f->cpu_usec = f->cpu_usec > 0 ? (7 * f->cpu_usec + cpu) / 8 : cpu;
        f->is_short = f->cpu_usec <= PLACEMENT_SHORT_USEC;
}

static uint64_t queue_deadline(const Function *f, const Event *e) {
        uint64_t timeout = f->spec ? f->spec->timeout_usec : 0;
        return e->deadline > 0 ? e->deadline : usec_add(e->accepted_usec, timeout);
}

/* False: the instance is not usable. */
static bool hand_over(Function *f, Instance *i, Event *e) {
        uint64_t deadline = usec_add(now_usec(), f->spec->timeout_usec);
        int r;

        if (e->deadline > 0)
                deadline = MIN(deadline, e->deadline);
        r = instance_handle(i, e, deadline);
        if (r >= 0)
                return true;
        if (r == -ENOTCONN || r == -ECONNRESET || r == -EPIPE) { /* it died while it waited; another one takes it */
                instance_end(i);
                return false;
        }
        log_warning_errno(r, "%s: Failed to hand an event over: %m", f->name);
        refuse(f, e, &(Failure) { .kind = SAND_ERROR_UNAVAILABLE, .message = "the event cannot be handed over" });
        return true;
}

/* Where new instances wait: where they will run, if things go on as they are. */
static int pool_cpu(const Function *f) {
        const Supervisor *s = f->supervisor;

        return f->is_short && s->n_computing <= 1 && !s->forks_behind ? s->placement.cpu : PLACEMENT_FREE;
}

/* How many more instances what waits in the queue wants. */
static unsigned shortage(const Function *f, const Worker *w) {
        unsigned have = worker_instances(w), coming = w->starting.n + w->waiting.n;
        unsigned want = f->n_queued > coming ? f->n_queued - coming : 0;

        return have < f->spec->max ? MIN(want, f->spec->max - have) : 0;
}

static void dispatch_now(Function *f) {
        unsigned n;

        if (!f->spec || f->n_queued == 0)
                return;
        if (!f->worker)
                function_start_worker(f);
        if (!f->worker || f->worker->state != WORKER_READY)
                return;

        while (f->queue && f->worker && f->worker->waiting.first) {
                Event *e = function_pop(f);
                if (event_is_abandoned(e)) {
                        event_free(e);
                        continue;
                }
                if (queue_deadline(f, e) <= now_usec()) {
                        refuse(f, e, &(Failure) { .kind = SAND_ERROR_TIMEOUT,
                                                  .message = "the deadline passed while the event waited" });
                        continue;
                }
                while (f->worker->waiting.first && !hand_over(f, f->worker->waiting.first, e))
                        if (!f->worker->waiting.first) { /* back to the head of the queue */
                                e->next = f->queue;
                                f->queue = e;
                                if (!e->next)
                                        f->queue_end = &e->next;
                                f->n_queued++;
                                f->queued_bytes += e->payload.size;
                                f->supervisor->n_queued++;
                                break;
                        }
        }

        /* One request at a time: what comes while the worker forks makes the next, larger one. */
        n = f->worker && f->worker->n_forking == 0 ? shortage(f, f->worker) : 0;
        if (n > 0 && now_usec() > f->worker->fork_failed_usec + FORK_RETRY_USEC) {
                int r = worker_fork(f->worker, n, pool_cpu(f));
                if (r < 0) {
                        f->worker->fork_failed_usec = now_usec();
                        supervisor_want_housekeeping(f->supervisor);
                }
        } else if (n > 0)
                supervisor_want_housekeeping(f->supervisor);
}

void function_dispatch(Function *f) {
        Supervisor *s = f->supervisor;

        if (!*hub_turns(s->hub))
                dispatch_now(f);
        else if (!f->dispatched) {
                f->dispatched = true;
                f->next_dispatched = s->dispatched;
                s->dispatched = f;
        }
}

void functions_dispatch(Supervisor *s) {
        while (s->dispatched) {
                Function *f = s->dispatched;

                s->dispatched = f->next_dispatched;
                f->dispatched = false;
                dispatch_now(f);
        }
}

/* Wait for as many as ran at once lately, and for what arrives while a fork takes its time. */
static void pool_aim(Function *f, uint64_t now) {
        unsigned target;

        if (now < f->pool_usec + POOL_USEC)
                return;
        if (f->arrivals > 0) {
                unsigned per_fork = (unsigned) (f->arrivals * 4 * USEC_PER_MSEC / (now - f->pool_usec));
                target = MAX(f->peak, per_fork) + 1;
                target = MIN(target, f->spec->max);
                target = MIN(target, POOL_MAX);
                target = MAX(target, f->target - f->target / 8); /* shrinks slowly */
                f->target = MAX(target, f->spec->warm);
        } else if (now > f->arrival_usec + POOL_IDLE_USEC)
                f->target = f->spec->warm;
        f->arrivals = 0;
        f->peak = f->running;
        f->pool_usec = now;
}

bool function_is_behind(const Function *f) {
        return f->n_queued > 0 || (f->worker && f->worker->waiting.n < f->target / 4);
}

bool function_housekeeping(Function *f, uint64_t now) {
        Worker *w;
        unsigned have, idle;

        if (!f->spec)
                return false;
        pool_aim(f, now);
        w = f->worker;
        if (!w && f->spec->warm > 0 && !f->supervisor->stopping)
                function_start_worker(f);
        if (!w || w->state != WORKER_READY)
                return false;

        function_dispatch(f);
        w = f->worker;
        if (!w)
                return false;
        have = worker_instances(w);
        idle = w->starting.n + w->waiting.n;
        if (idle < f->target && have < f->spec->max && !f->supervisor->stopping &&
            now > w->fork_failed_usec + FORK_RETRY_USEC)
                (void) worker_fork(w, MIN(f->target - idle, f->spec->max - have), pool_cpu(f));
        else if (f->target == f->spec->warm && idle > f->target && now > f->arrival_usec + POOL_IDLE_USEC)
                worker_trim(w, MIN(w->waiting.n, idle - f->target)); /* while events arrive they are used */
        return f->target > f->spec->warm || f->n_queued > 0;
}

void function_check_deadlines(Function *f, uint64_t now, uint64_t *next) {
        static const Failure late = { .kind = SAND_ERROR_TIMEOUT,
                                      .message = "the deadline passed while the event waited in the queue" };
        Event **i = &f->queue;

        while (*i) {
                Event *e = *i;
                uint64_t deadline = queue_deadline(f, e);
                if (deadline > now) {
                        *next = MIN(*next, deadline);
                        i = &e->next;
                        continue;
                }
                *i = e->next;
                if (!*i)
                        f->queue_end = i;
                f->n_queued--;
                f->queued_bytes -= e->payload.size;
                f->supervisor->n_queued--;
                refuse(f, e, &late);
        }
}

static void add_use(json_object *o, const CGroup *cgroup) {
        CGroupUse use;

        cgroup_use(cgroup, &use);
        const struct {
                const char *key;
                uint64_t value;
        } numbers[] = { { "memory", use.memory }, { "tasks", use.tasks }, { "cpu_usec", use.cpu_usec } };

        for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
                if (numbers[i].value != UINT64_MAX)
                        json_object_object_add(o, numbers[i].key, json_object_new_uint64(numbers[i].value));
}

json_object *function_state(const Function *f) {
        json_object *o = json_object_new_object(), *workers = json_object_new_array();
        static const char *const states[] = {
                [WORKER_LOADING] = "loading", [WORKER_READY] = "ready", [WORKER_DEAD] = "dead",
        };
        const Worker *w = f->worker;

        json_object_object_add(o, "name", json_object_new_string(f->name));
        json_object_object_add(o, "runtime", json_object_new_string(runtime_to_string(f->spec->runtime)));
        json_object_object_add(o, "state", json_object_new_string(f->load_message ? "failed" : w ? states[w->state]
                                                                                                : "idle"));
        if (f->load_message)
                json_object_object_add(o, "reason", json_object_new_string(f->load_message));
        json_object_object_add(o, "queued", json_object_new_int64(f->n_queued));
        json_object_object_add(o, "running", json_object_new_int64(f->running));
        json_object_object_add(o, "waiting", json_object_new_int64(w ? w->waiting.n : 0));
        json_object_object_add(o, "served", json_object_new_int64((int64_t) f->served));
        json_object_object_add(o, "failed", json_object_new_int64((int64_t) f->failed));
        json_object_object_add(o, "refused", json_object_new_int64((int64_t) f->refused));
        if (w && w->cgroup)
                add_use(o, w->cgroup);
        if (w) {
                json_object *row = json_object_new_object();
                json_object_object_add(row, "pid", json_object_new_int64(w->pid));
                json_object_object_add(row, "version", json_object_new_string(w->version->id));
                json_object_object_add(row, "state", json_object_new_string(states[w->state]));
                json_object_array_add(workers, row);
        }
        json_object_object_add(o, "workers", workers);
        return o;
}
