/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What people and programs ask of the log. */

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "document.h"
#include "protocol.h"
#include "server.h"

#define LIMIT_DEFAULT 100
#define LIMIT_MAX 10000
#define IDS_MAX 10000U
#define KEYS_MAX 1000000U
#define PREFIX_MIN 4U
#define WAITERS_MAX 10000U

/* Who waits for an event to end. */
struct Waiter {
        Request *request;
        LogId id;
        Waiter *prev, *next;
        sd_event_source *deadline;
};

static bool id_equal(LogId a, LogId b) {
        return a.seq == b.seq && a.random == b.random;
}

/* ---- one event ---- */

static Waiter *waiter_free(Waiter *w) {
        Globald *g = w->request->globald;

        if (w->prev)
                w->prev->next = w->next;
        else
                g->waiters = w->next;
        if (w->next)
                w->next->prev = w->prev;
        g->n_waiters--;
        sd_event_source_disable_unref(w->deadline);
        w->request->gone = NULL;
        free(w);
        return NULL;
}

static int on_waited_long(sd_event_source *source, uint64_t usec, void *userdata) {
        Waiter *w = userdata;
        Request *q = w->request;

        waiter_free(w);
        request_refuse(q, SAND_ERROR_TIMEOUT, "The event has not ended in time; it goes on.");
        return 0;
}

static void on_waiter_gone(Request *q) {
        waiter_free(q->userdata);
        (void) request_free(q);
}

static void wait_for(Request *q, LogId id) {
        Globald *g = q->globald;
        Waiter *w = g->n_waiters < WAITERS_MAX ? calloc(1, sizeof(Waiter)) : NULL;

        if (!w) {
                request_refuse(q, SAND_ERROR_BUSY, "Too many wait for events to end.");
                return;
        }
        w->request = q;
        w->id = id;
        w->next = g->waiters;
        if (w->next)
                w->next->prev = w;
        g->waiters = w;
        g->n_waiters++;
        q->gone = on_waiter_gone;
        q->userdata = w;
        if (q->deadline > 0)
                (void) sd_event_add_time(g->event, &w->deadline, CLOCK_MONOTONIC, q->deadline, USEC_PER_MSEC, on_waited_long, w);
}

static void on_execution(int error, LogEvent *events, size_t n, void *userdata) {
        Request *q = userdata;
        const char *wait = request_header(q, "wait");

        if (!q->conn) /* it went before there was anything to wait for */
                (void) request_free(q);
        else if (error < 0 || n == 0)
                request_fail_log(q, error < 0 ? error : -ENOENT);
        else if (wait && streq(wait, "1") && events->state < LOG_DONE)
                wait_for(q, events->id);
        else
                request_answer_json(q, document_new(events, DOCUMENT_RESULT));
}

static void on_letter(int error, LogEvent *events, size_t n, void *userdata) {
        Request *q = userdata;

        if (error < 0 || n == 0 || events->state != LOG_DEAD)
                request_fail_log(q, error < 0 ? error : -ENOENT);
        else
                request_answer_json(q, document_new(events, DOCUMENT_PAYLOAD));
}

void waiters_wake(Globald *g, LogId id) {
        for (Waiter *w = g->waiters, *next; w; w = next) {
                Request *q = w->request;
                int r;

                next = w->next;
                if (!id_equal(w->id, id))
                        continue;
                waiter_free(w);
                r = g->engine->get(g->log, id, LOG_ID_LENGTH, on_execution, q);
                if (r < 0)
                        request_fail_log(q, r);
        }
}

void waiters_free(Globald *g) {
        while (g->waiters) {
                Request *q = g->waiters->request;

                waiter_free(g->waiters);
                (void) request_free(q);
        }
}

/* A whole id, or of root a prefix of one: its missing digits are 0. */
static int read_id(const char *s, bool prefix, LogId *ret, unsigned *ret_digits) {
        char whole[LOG_ID_LENGTH + 1];
        size_t n = strlen(s);

        if (n > LOG_ID_LENGTH || n < (prefix ? PREFIX_MIN : LOG_ID_LENGTH) || strspn(s, "0123456789abcdef") != n)
                return -EINVAL;
        memset(whole, '0', LOG_ID_LENGTH);
        memcpy(whole, s, n);
        whole[LOG_ID_LENGTH] = 0;
        *ret_digits = (unsigned) n;
        *ret = (LogId) {};
        for (size_t i = 0; i < LOG_ID_LENGTH; i++) {
                uint64_t digit = (uint64_t) (whole[i] <= '9' ? whole[i] - '0' : whole[i] - 'a' + 10), *half =
                        i < 16 ? &ret->seq : &ret->random;
                *half = *half << 4 | digit;
        }
        return 0;
}

static void get(Request *q, log_events_t done) {
        unsigned digits;
        LogId id;
        int r;

        if (read_id(q->target, q->root, &id, &digits) < 0) {
                request_refuse(q, SAND_ERROR_BAD_REQUEST, "Found the id \"%.64s\", expected %u lower-case hex digits%s.", q->target,
                               LOG_ID_LENGTH, q->root ? ", or the first 4 of them or more" : "");
                return;
        }
        r = q->globald->engine->get(q->globald->log, id, digits, done, q);
        if (r < 0)
                request_fail_log(q, r);
}

void method_execution(Request *q) {
        get(q, on_execution);
}

void method_dead_letter(Request *q) {
        get(q, on_letter);
}

/* ---- many ---- */

/* The payload's object; NULL: the request was refused. */
static json_object *read_object(Request *q) {
        json_object *o = q->payload.size > 0 ? document_parse(q->payload.data, q->payload.size) : json_object_new_object();

        if (json_object_is_type(o, json_type_object))
                return o;
        json_object_put(o);
        request_refuse(q, SAND_ERROR_BAD_REQUEST, "Found no JSON object in the payload, expected one.");
        return NULL;
}

static const char *member_string(json_object *o, const char *key) {
        json_object *v;

        return json_object_object_get_ex(o, key, &v) && json_object_is_type(v, json_type_string) ? json_object_get_string(v)
                                                                                                 : NULL;
}

static int read_filter(json_object *o, LogFilter *ret) {
        const char *status = member_string(o, "status"), *before = member_string(o, "before");
        json_object *limit;
        unsigned digits;

        *ret = (LogFilter) { .app = member_string(o, "app"), .function = member_string(o, "function"),
                             .state = _LOG_STATE_INVALID, .limit = LIMIT_DEFAULT };
        if (status) {
                ret->state = log_state_from_string(status);
                if (ret->state == _LOG_STATE_INVALID)
                        return -EINVAL;
        }
        if (before && read_id(before, false, &ret->before, &digits) < 0)
                return -EINVAL;
        if (json_object_object_get_ex(o, "limit", &limit)) {
                int64_t n = json_object_get_int64(limit);

                n = MAX(n, (int64_t) 1);
                ret->limit = (unsigned) MIN(n, (int64_t) LIMIT_MAX);
        }
        return 0;
}

/* What an operation points to until its handler has run. */
typedef struct Asked {
        Request *request;
        json_object *object;
        LogFilter filter;
        LogId *ids;
        const char **keys;
        char *app;
        size_t n;
} Asked;

static Asked *asked_free(Asked *a) {
        if (!a)
                return NULL;
        json_object_put(a->object);
        request_free(a->request);
        free(a->ids);
        free(a->keys);
        free(a->app);
        free(a);
        return NULL;
}
DEFINE_POINTER_CLEANUP(Asked *, asked_free);

static void on_list(int error, LogEvent *events, size_t n, void *userdata) {
        _cleanup_(asked_freep) Asked *a = userdata;
        json_object *list;

        if (error < 0) {
                request_fail_log(TAKE_PTR(a->request), error);
                return;
        }
        list = json_object_new_array();
        for (size_t i = 0; i < n; i++)
                json_object_array_add(list, document_new(events + i, 0));
        request_answer_json(TAKE_PTR(a->request), list);
}

/* NULL: the request was refused. */
static Asked *asked_new(Request *q) {
        json_object *o = read_object(q);
        Asked *a;

        if (!o)
                return NULL;
        a = calloc(1, sizeof(Asked));
        if (!a) {
                json_object_put(o);
                request_refuse(q, SAND_ERROR_UNAVAILABLE, "Out of memory.");
                return NULL;
        }
        a->request = q;
        a->object = o;
        if (read_filter(o, &a->filter) >= 0)
                return a;
        request_refuse(TAKE_PTR(a->request), SAND_ERROR_BAD_REQUEST, "Found a filter that cannot be, expected \"app\", "
                       "\"function\", \"status\" (accepted, running, done, dead), \"limit\" and \"before\" (an id).");
        return asked_free(a);
}

static void list(Request *q, bool dead) {
        Asked *a = asked_new(q);
        int r;

        if (!a)
                return;
        if (dead)
                a->filter.state = LOG_DEAD;
        r = q->globald->engine->list(q->globald->log, &a->filter, on_list, a);
        if (r < 0)
                on_list(r, NULL, 0, a);
}

void method_executions(Request *q) {
        list(q, false);
}

void method_dead_letters(Request *q) {
        list(q, true);
}

/* ---- replay and drop ---- */

static void on_altered(int error, uint64_t n, void *userdata) {
        _cleanup_(asked_freep) Asked *a = userdata;
        Globald *g = a->request->globald;
        json_object *o;

        if (error < 0) {
                request_fail_log(TAKE_PTR(a->request), error);
                return;
        }
        o = json_object_new_object();
        json_object_object_add(o, "events", json_object_new_uint64(n));
        request_answer_json(TAKE_PTR(a->request), o);
        if (n > 0)
                (void) dispatch_look_at_all(g);
}

/* False: the request was refused. */
static bool read_ids(Asked *a) {
        json_object *ids, *all;
        size_t n;

        a->filter.limit = 0; /* all that it picks */
        if (!json_object_object_get_ex(a->object, "ids", &ids)) {
                if (a->filter.app || (json_object_object_get_ex(a->object, "all", &all) && json_object_get_boolean(all)))
                        return true;
                request_refuse(TAKE_PTR(a->request), SAND_ERROR_BAD_REQUEST, "Expected \"ids\", \"app\" or \"all\": true.");
                return false;
        }
        n = json_object_is_type(ids, json_type_array) ? json_object_array_length(ids) : 0;
        a->ids = calloc(n + 1, sizeof(LogId));
        for (size_t i = 0; a->ids && i < n && n <= IDS_MAX; i++) {
                const char *s = json_object_get_string(json_object_array_get_idx(ids, i));

                if (log_id_from_string(strempty(s), a->ids + i) < 0) {
                        request_refuse(TAKE_PTR(a->request), SAND_ERROR_BAD_REQUEST, "Found \"%.64s\" among the ids, expected 32 "
                                       "lower-case hex digits.", strempty(s));
                        return false;
                }
        }
        if (a->ids && n > 0 && n <= IDS_MAX) {
                a->n = n;
                return true;
        }
        request_refuse(TAKE_PTR(a->request), SAND_ERROR_BAD_REQUEST, "Found %zu ids, expected from 1 to %u.", n, IDS_MAX);
        return false;
}

void method_replay(Request *q) {
        _cleanup_(asked_freep) Asked *a = asked_new(q);
        Globald *g = q->globald;
        uint64_t now;
        int r;

        if (!a || !read_ids(a))
                return;
        a->filter.state = LOG_DEAD;
        now = globald_now(g);
        r = g->engine->replay(g->log, a->ids, a->n, &a->filter, now, now + RETRY_POLICY_DEFAULT.age_max_usec, on_altered, a);
        if (r < 0)
                request_fail_log(TAKE_PTR(a->request), r);
        else
                a = NULL;
}

void method_drop(Request *q) {
        _cleanup_(asked_freep) Asked *a = asked_new(q);
        Globald *g = q->globald;
        int r;

        if (!a || !read_ids(a))
                return;
        a->filter.state = LOG_DEAD;
        r = g->engine->drop(g->log, a->ids, a->n, &a->filter, on_altered, a);
        if (r < 0)
                request_fail_log(TAKE_PTR(a->request), r);
        else
                a = NULL;
}

/* ---- compare ---- */

static void on_compared(int error, const uint32_t *unknown, size_t n, void *userdata) {
        _cleanup_(asked_freep) Asked *a = userdata;
        json_object *o;

        if (error < 0) {
                request_fail_log(TAKE_PTR(a->request), error);
                return;
        }
        o = json_object_new_array();
        for (size_t i = 0; i < n; i++)
                json_object_array_add(o, json_object_new_string(a->keys[unknown[i]]));
        request_answer_json(TAKE_PTR(a->request), o);
}

/* The target is "APPLICATION//SOURCE": keys are an application's. */
void method_compare(Request *q) {
        _cleanup_(asked_freep) Asked *a = calloc(1, sizeof(Asked));
        const char *slashes = strstr(q->target, "//");
        int r = -EINVAL;

        if (!a) {
                request_refuse(q, SAND_ERROR_UNAVAILABLE, "Out of memory.");
                return;
        }
        a->request = q;
        a->object = document_parse(q->payload.data, q->payload.size);
        if (slashes && json_object_is_type(a->object, json_type_array) &&
            json_object_array_length(a->object) <= KEYS_MAX) {
                a->n = json_object_array_length(a->object);
                a->keys = calloc(a->n + 1, sizeof(char *));
                a->app = strndup(q->target, (size_t) (slashes - q->target));
                r = a->keys && a->app ? 0 : -ENOMEM;
        }
        for (size_t i = 0; r >= 0 && i < a->n; i++) {
                a->keys[i] = json_object_get_string(json_object_array_get_idx(a->object, i));
                if (isempty(a->keys[i]))
                        r = -EINVAL;
        }
        if (r >= 0) {
                r = q->globald->engine->compare(q->globald->log, a->app, slashes + 2, a->keys, a->n, on_compared, a);
        }
        if (r == -EINVAL)
                request_refuse(TAKE_PTR(a->request), SAND_ERROR_BAD_REQUEST, "Expected the target APPLICATION//SOURCE and an array "
                               "of at most %u keys.", KEYS_MAX);
        else if (r < 0)
                request_fail_log(TAKE_PTR(a->request), r);
        else
                a = NULL;
}

/* ---- state ---- */

void method_state(Request *q) {
        Globald *g = q->globald;
        json_object *o = json_object_new_object();
        LogStatistics s = {};
        const struct { const char *key; uint64_t value; } counters[] = {
                { "accepted", g->n_accepted }, { "duplicates", g->n_duplicates }, { "done", g->n_done },
                { "retried", g->n_retried }, { "given_back", g->n_given_back }, { "dead", g->n_dead },
                { "in_flight", g->n_in_flight }, { "in_flight_bytes", g->in_flight_bytes },
        };

        g->engine->statistics(g->log, &s);
        json_object_object_add(o, "engine", json_object_new_string(g->engine->name));
        for (size_t i = 0; i < ELEMENTSOF(counters); i++)
                json_object_object_add(o, counters[i].key, json_object_new_uint64(counters[i].value));
        json_object_object_add(o, "batches", json_object_new_uint64(s.n_batches));
        json_object_object_add(o, "operations", json_object_new_uint64(s.n_operations));
        json_object_object_add(o, "file_bytes", json_object_new_uint64(s.file_bytes));
        request_answer_json(q, o);
}
