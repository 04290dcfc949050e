/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Events on their way from the log to their functions. A Target is a function that has events; its window is how many of them
 * it is given at a time: as many as it has instances, half as many each time that its queue is full, one more for each
 * window of successes (additive increase, multiplicative decrease: Chiu and Jain, 1989). A machine that is not there is
 * tried again after a while; what was not begun goes back and its attempt does not count.
 *
 * An outcome that cannot be written keeps its place in the window until it can be: a full disk stops what is handed over, and
 * nothing that was done is done again. */

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <systemd/sd-messages.h>

#include "../shared/log.h"
#include "accept.h"
#include "callback.h"
#include "destination.h"
#include "globald.h"
#include "payload.h"
#include "protocol.h"
#include "retry.h"

/* As the gateway's: from a machine that sleeps to its first answer, and for what waits in its queue. */
#define CALL_SLACK_USEC (10 * USEC_PER_SEC)
#define PAUSE_MIN_USEC (50 * USEC_PER_MSEC)
#define PAUSE_MAX_USEC (5 * USEC_PER_SEC)
#define UNFINISHED_RETRY_USEC USEC_PER_SEC
/* What waits is looked at for its age, whether it has room or not. */
#define OVERDUE_USEC USEC_PER_SEC
#define OVERDUE_AGAIN_USEC (10 * USEC_PER_MSEC)
#define OVERDUE_AT_ONCE 256U
#define OVERDUE_BYTES (UINT64_C(4) << 20)
#define WINDOW_UNLIMITED 64U
#define DEAD_MESSAGE_ID "5a8e0c1f7d4b4f0c9b3e6d2a1c7f8e94"

struct Target {
        Globald *globald;
        Target *next;
        char *app, *function;
        double window;
        unsigned in_flight;       /* with what is about to be taken, as are the bytes */
        uint64_t in_flight_bytes;
        unsigned taking_n;
        uint64_t taking_bytes;
        bool taking, asking;
        uint64_t next_due;    /* globald_now(); USEC_INFINITY: nothing is known to wait */
        uint64_t pause_until; /* 0: it is not paused */
        unsigned pauses;      /* in a row */
};

/* One event that is handed over. Owns all that its event points to. */
struct Delivery {
        Globald *globald;
        Target *target;
        Delivery *next;       /* of those whose outcome is not written */
        LogEvent event;
        char **headers;
        PeerCall *call;
        LogFinish finish;
        LogAccept follow[2];
        char *follow_payload[2], *follow_message;
        char follow_app[APP_NAME_MAX + 1], *follow_function;
        char *strings[3];     /* of finish: class, message, cause */
        char *result_type;
        void *result;
};

static void target_look(Globald *g, Target *t);
static void arm(Globald *g, uint64_t at);
static void on_finished(int error, void *userdata);

/* ---- targets ---- */

static Target *target_get(Globald *g, const char *app, const char *function) {
        Target *t;

        for (t = g->targets; t; t = t->next)
                if (streq(t->function, function) && streq(t->app, app))
                        return t;
        t = calloc(1, sizeof(Target));
        if (!t)
                return NULL;
        t->globald = g;
        t->app = strdup(app);
        t->function = strdup(function);
        t->next_due = USEC_INFINITY;
        t->window = WINDOW_UNLIMITED;
        if (!t->app || !t->function) {
                free(t->app);
                free(t->function);
                free(t);
                return NULL;
        }
        t->next = g->targets;
        g->targets = t;
        return t;
}

static const CatalogueFunction *target_spec(Globald *g, const Target *t) {
        const App *a = apps_find(g->apps, t->app);
        return a ? catalogue_find(a->entry, t->function) : NULL;
}

/* Of what all share, an application is given no more than it leaves free: one alone has half of it, and who comes finds
 * room whatever the others have. */
static uint64_t share(uint64_t max, uint64_t used, uint64_t own) {
        return (usec_sub(usec_sub(max, used), own) + 1) / 2;
}

static uint64_t target_share(const Globald *g, const Target *t) {
        unsigned own = 0;

        for (const Target *i = g->targets; i; i = i->next)
                if (streq(i->app, t->app))
                        own += i->in_flight;
        return share(g->settings.in_flight_max, g->n_in_flight, own);
}

static uint64_t target_share_bytes(const Globald *g, const Target *t) {
        uint64_t own = 0;

        for (const Target *i = g->targets; i; i = i->next)
                if (streq(i->app, t->app))
                        own += i->in_flight_bytes;
        return share(g->settings.in_flight_memory_max, g->in_flight_bytes, own);
}

static unsigned target_room(Globald *g, Target *t) {
        const CatalogueFunction *f = target_spec(g, t);
        unsigned max = f && f->instances_max > 0 ? f->instances_max : WINDOW_UNLIMITED, window, room;

        t->window = MIN(t->window, (double) max);
        window = MAX((unsigned) t->window, 1U);
        if (g->stopping || t->in_flight >= window)
                return 0;
        room = (unsigned) MIN((uint64_t) (window - t->in_flight), target_share(g, t));
        if (room == 0)
                g->starved = true;
        return room;
}

static bool memory_is_left(Globald *g, const Target *t, size_t size) {
        if (g->in_flight_bytes == 0 || size <= target_share_bytes(g, t))
                return true;
        g->starved = true;
        return false;
}

static void in_flight_add(Globald *g, Target *t, unsigned n, uint64_t size) {
        t->in_flight += n;
        t->in_flight_bytes += size;
        g->n_in_flight += n;
        g->in_flight_bytes += size;
}

static void in_flight_sub(Globald *g, Target *t, unsigned n, uint64_t size) {
        assert(t->in_flight >= n && t->in_flight_bytes >= size);
        t->in_flight -= n;
        t->in_flight_bytes -= size;
        g->n_in_flight -= n;
        g->in_flight_bytes -= size;
        if (g->starved && !g->stopping) {
                g->starved = false;
                arm(g, globald_now(g));
        }
}

bool dispatch_reserve(Globald *g, const char *app, const char *function, size_t size) {
        Target *t = target_get(g, app, function);
        uint64_t now = globald_now(g);

        /* What waits longer comes first. */
        if (!t || t->next_due <= now || t->taking || t->asking || t->pause_until > now || !memory_is_left(g, t, size) ||
            target_room(g, t) == 0)
                return false;
        in_flight_add(g, t, 1, size);
        return true;
}

void dispatch_unreserve(Globald *g, const char *app, const char *function, size_t size) {
        Target *t = target_get(g, app, function);

        assert(t);
        in_flight_sub(g, t, 1, size);
        target_look(g, t);
}

static void arm(Globald *g, uint64_t at) {
        uint64_t armed, boottime = g->start_boottime + usec_sub(at, g->start_realtime);

        if (sd_event_source_get_enabled(g->due, NULL) > 0 && sd_event_source_get_time(g->due, &armed) >= 0 &&
            armed <= boottime)
                return;
        (void) sd_event_source_set_time(g->due, boottime);
        (void) sd_event_source_set_enabled(g->due, SD_EVENT_ONESHOT);
}

static int on_due(sd_event_source *source, uint64_t usec, void *userdata) {
        Globald *g = userdata;

        for (Target *t = g->targets; t; t = t->next)
                target_look(g, t);
        return 0;
}

void dispatch_wake(Globald *g, const char *app, const char *function, uint64_t next_usec) {
        Target *t = target_get(g, app, function);

        if (!t)
                return; /* the next look at the whole backlog finds it */
        t->next_due = MIN(t->next_due, next_usec);
        target_look(g, t);
}

/* ---- deliveries ---- */

static Delivery *delivery_free(Delivery *d) {
        if (!d)
                return NULL;
        for (size_t i = 0; i < ELEMENTSOF(d->strings); i++)
                free(d->strings[i]);
        for (size_t i = 0; i < ELEMENTSOF(d->follow_payload); i++)
                free(d->follow_payload[i]);
        free(d->follow_message);
        free(d->follow_function);
        free(d->result_type);
        free(d->result);
        strv_free(d->headers);
        free((char *) d->event.app);
        free((char *) d->event.function);
        free((char *) d->event.content_type);
        free((char *) d->event.source);
        free((char *) d->event.callback);
        free((void *) d->event.data);
        free(d);
        return NULL;
}
DEFINE_POINTER_CLEANUP(Delivery *, delivery_free);

static int delivery_new(Globald *g, const LogEvent *e, Delivery **ret) {
        _cleanup_(delivery_freep) Delivery *d = calloc(1, sizeof(Delivery));
        void *data;
        int r = 0;

        if (!d)
                return -ENOMEM;
        d->globald = g;
        d->event = (LogEvent) {
                .id = e->id, .attempt = e->attempt, .size = e->size, .state = LOG_RUNNING,
                .accepted_usec = e->accepted_usec, .expires_usec = e->expires_usec,
                .app = strdup(e->app),
                .function = strdup(e->function),
                .content_type = strdup(strempty(e->content_type)),
                .source = e->source ? strdup(e->source) : NULL,
                .callback = e->callback ? strdup(e->callback) : NULL,
        };
        (void) strcpy(d->event.execution, e->execution);
        if (isempty(d->event.execution))
                log_id_to_string(e->id, d->event.execution);
        for (const char *const *h = e->headers; h && *h && r >= 0; h++)
                r = strv_extend(&d->headers, *h);
        data = malloc(MAX(e->size, (size_t) 1));
        if (data && e->size > 0)
                memcpy(data, e->data, e->size);
        d->event.data = data;
        d->event.headers = (const char *const *) d->headers;
        if (r < 0 || !data || !d->event.app || !d->event.function || !d->event.content_type)
                return -ENOMEM;
        *ret = TAKE_PTR(d);
        return 0;
}

static void delivery_write(Delivery *d) {
        Globald *g = d->globald;
        int r = g->engine->finish(g->log, &d->finish, on_finished, d);

        if (r < 0)
                on_finished(r, d);
}

static void journal_dead(Globald *g, const Delivery *d) {
        const LogFinish *f = &d->finish;
        char id[LOG_ID_LENGTH + 1], message[1024];

        log_id_to_string(d->event.id, id);
        (void) snprintf(message, sizeof(message), "%s/%s: event %s is a dead letter after %u attempt%s: %s: %s", d->event.app,
                        d->event.function, id, d->event.attempt, d->event.attempt == 1 ? "" : "s",
                        sand_error_info(f->error)->name, strempty(f->message));
        const JournalField fields[] = {
                JOURNAL_FIELD("MESSAGE", message),
                JOURNAL_FIELD("MESSAGE_ID", DEAD_MESSAGE_ID),
                JOURNAL_FIELD("PRIORITY", "4"),
                JOURNAL_FIELD("SYSLOG_IDENTIFIER", "sand-globald"),
                JOURNAL_FIELD("SAND_APP", d->event.app),
                JOURNAL_FIELD("SAND_FUNCTION", d->event.function),
                JOURNAL_FIELD("SAND_EXECUTION", d->event.execution),
                JOURNAL_FIELD("SAND_EVENT", id),
        };
        if (g->journal.fd < 0)
                log_warning("%s", message);
        else
                (void) journal_send(&g->journal, fields, ELEMENTSOF(fields));
}

static void count_outcome(Globald *g, const Delivery *d) {
        switch (d->finish.outcome) {
        case LOG_SUCCEEDED:
                g->n_done++;
                break;
        case LOG_RETRY:
                g->n_retried++;
                break;
        case LOG_GIVE_BACK:
                g->n_given_back++;
                break;
        case LOG_DIED:
                g->n_dead++;
                journal_dead(g, d);
        }
}

static void retry_soon(Globald *g) {
        (void) sd_event_source_set_time_relative(g->unfinished_retry, UNFINISHED_RETRY_USEC);
        (void) sd_event_source_set_enabled(g->unfinished_retry, SD_EVENT_ONESHOT);
}

static void look_again(Globald *g) {
        g->look_at_all = true;
        retry_soon(g);
}

static int on_unfinished(sd_event_source *source, uint64_t usec, void *userdata) {
        Globald *g = userdata;
        Delivery *list = TAKE_PTR(g->unfinished);

        for (Delivery *next; list; list = next) {
                next = list->next;
                delivery_write(list);
        }
        if (g->look_at_all) {
                g->look_at_all = false;
                if (dispatch_look_at_all(g) < 0)
                        look_again(g);
        }
        return 0;
}

static void on_finished(int error, void *userdata) {
        _cleanup_(delivery_freep) Delivery *d = userdata;
        Globald *g = d->globald;
        Target *t = d->target;

        if (error < 0 && error != -ENOENT) {
                (void) globald_note_disk(g, error);
                d->next = g->unfinished;
                g->unfinished = TAKE_PTR(d);
                retry_soon(g);
                return;
        }
        if (error >= 0) {
                (void) globald_note_disk(g, 0);
                count_outcome(g, d);
        }
        in_flight_sub(g, t, 1, d->event.size);
        if (d->finish.outcome == LOG_RETRY || d->finish.outcome == LOG_GIVE_BACK)
                t->next_due = MIN(t->next_due, d->finish.next_usec);
        else
                waiters_wake(g, d->event.id);
        for (size_t i = 0; i < d->finish.n_follow; i++)
                if (!d->finish.follow[i].dead)
                        dispatch_wake(g, d->finish.follow[i].app, d->finish.follow[i].function, d->finish.follow[i].next_usec);
        target_look(g, t);
        globald_check_stop(g);
}

static uint32_t random_u32(void) {
        uint32_t v = 0;
        (void) getrandom(&v, sizeof(v), 0);
        return v;
}

/* ---- what follows from an outcome ---- */

static LogAccept *follow_add(Delivery *d, json_object *document) {
        size_t i = d->finish.n_follow;
        LogAccept *l = d->follow + i;

        assert(i < ELEMENTSOF(d->follow));
        if (document)
                d->follow_payload[i] = strdup(strempty(json_object_to_json_string_ext(document, JSON_C_TO_STRING_PLAIN |
                                                                                     JSON_C_TO_STRING_NOSLASHESCAPE)));
        json_object_put(document);
        if (!d->follow_payload[i])
                return NULL;
        *l = (LogAccept) {
                .execution = d->event.execution,
                .content_type = "application/json",
                .data = d->follow_payload[i],
                .size = strlen(d->follow_payload[i]),
                .now = d->finish.now,
                .next_usec = d->finish.now,
                .error = _SAND_ERROR_INVALID,
        };
        d->finish.follow = d->follow;
        d->finish.n_follow++;
        return l;
}

static void follow_destination(Delivery *d, const char *destination) {
        Globald *g = d->globald;
        const CatalogueFunction *f = NULL;
        const char *function;
        SandError error;
        LogAccept *l;

        if (target_parse(destination, d->event.app, d->follow_app, &function) < 0)
                return;
        d->follow_function = strdup(function); /* the catalogue may change before it is written */
        if (!d->follow_function)
                return;
        l = follow_add(d, destination_document(&d->event, &d->finish));
        if (!l)
                return;
        error = target_find(g, d->event.app, d->follow_app, d->follow_function, &f, &d->follow_message);
        l->app = d->follow_app;
        l->function = d->follow_function;
        l->source = d->finish.outcome == LOG_SUCCEEDED ? "on_success" : "on_failure";
        l->dead = error != _SAND_ERROR_INVALID;
        l->error = error;
        l->message = d->follow_message;
        l->expires_usec = l->now + (f ? f->retry.age_max_usec : RETRY_POLICY_DEFAULT.age_max_usec);
}

static void follow_outcome(Delivery *d, const CatalogueFunction *f) {
        const char *destination = !f ? NULL : d->finish.outcome == LOG_SUCCEEDED ? f->on_success : f->on_failure;

        if (destination)
                follow_destination(d, destination);
        if (d->event.callback && !callback_is(d->event.function)) {
                LogAccept *l = follow_add(d, callback_document(&d->event, &d->finish));
                if (!l)
                        return;
                l->app = d->event.app;
                l->function = CALLBACK_FUNCTION;
                l->callback = d->event.callback;
                l->expires_usec = l->now + callback_policy.age_max_usec;
        }
}

/* ---- outcomes ---- */

static void target_pause(Globald *g, Target *t, bool busy) {
        unsigned doublings = MIN(t->pauses, 10U);
        uint64_t delay = MIN(PAUSE_MIN_USEC << doublings, PAUSE_MAX_USEC);

        if (t->pause_until > globald_now(g)) /* the others of the same window */
                return;
        if (busy)
                t->window = MAX(t->window / 2, 1.0);
        t->pauses++;
        t->pause_until = globald_now(g) + delay / 2 + (uint64_t) ((double) (delay / 2) * random_u32() / UINT32_MAX);
}

static void finish_error(Delivery *d, const CatalogueFunction *f, SandError error, const char *class, const char *message,
                         const char *cause) {
        Globald *g = d->globald;
        const RetryPolicy policy = callback_is(d->event.function) ? callback_policy : f ? f->retry : RETRY_POLICY_DEFAULT;
        RetryVerdict verdict = retry_decide(&policy, error, d->event.attempt);
        LogFinish *o = &d->finish;

        o->outcome = verdict == RETRY_LATER ? LOG_RETRY : verdict == RETRY_GIVE_BACK ? LOG_GIVE_BACK : LOG_DIED;
        o->error = error;
        o->error_class = d->strings[0] = strdup(strempty(class));
        o->message = d->strings[1] = strdup(strempty(message));
        o->cause = d->strings[2] = strdup(strempty(cause));
        if (verdict == RETRY_GIVE_BACK) {
                target_pause(g, d->target, error == SAND_ERROR_BUSY);
                o->next_usec = d->target->pause_until;
        } else
                o->next_usec = o->now + retry_delay(&policy, d->event.attempt, random_u32());
        if (o->outcome != LOG_DIED && o->next_usec >= d->event.expires_usec)
                o->outcome = LOG_DIED;
        if (o->outcome == LOG_DIED)
                follow_outcome(d, f);
}

static int finish_success(Delivery *d, const CatalogueFunction *f, const char *content_type, const Payload *payload) {
        LogFinish *o = &d->finish;
        void *mapping = NULL;
        const void *data = "";

        o->outcome = LOG_SUCCEEDED;
        o->error = _SAND_ERROR_INVALID;
        o->keep_until = o->now + d->globald->settings.result_retention;
        if (payload->size > SAND_PAYLOAD_HARD_MAX) /* no supervisor sends it, and a log that cannot hold it would be stuck */
                return -E2BIG;
        if (payload->size > 0 && payload_map(payload, &data, &mapping) < 0)
                return -ENOMEM;
        d->result = malloc(MAX(payload->size, (size_t) 1));
        if (d->result)
                memcpy(d->result, data, payload->size);
        if (mapping)
                (void) munmap(mapping, payload->size);
        d->result_type = strdup(strempty(content_type));
        if (!d->result || !d->result_type)
                return -ENOMEM;
        o->result = d->result;
        o->result_size = payload->size;
        o->result_type = d->result_type;
        follow_outcome(d, f);
        return 0;
}

static void finish_begin(Delivery *d) {
        d->finish = (LogFinish) { .id = d->event.id, .now = globald_now(d->globald), .error = _SAND_ERROR_INVALID };
}

static void delivery_failed(Delivery *d, SandError error, const char *message) {
        finish_begin(d);
        finish_error(d, target_spec(d->globald, d->target), error, sand_error_info(error)->name, message, NULL);
        delivery_write(d);
}

static void on_reply(PeerCall *call, const PeerReply *reply, void *userdata) {
        Delivery *d = userdata;
        const CatalogueFunction *f;
        Target *t = d->target;

        d->call = NULL;
        if (d->globald->closing) { /* it stays RUNNING in the log: it may have run, and runs again after the next start */
                delivery_free(d);
                return;
        }
        f = target_spec(d->globald, t);
        finish_begin(d);
        if (reply->error == _SAND_ERROR_INVALID) {
                t->pauses = 0;
                t->window += 1 / MAX(t->window, 1.0);
                if (finish_success(d, f, reply->content_type, &reply->payload) < 0) {
                        d->finish.result = NULL; /* it was done: that much is written */
                        d->finish.result_size = 0;
                }
        } else
                finish_error(d, f, reply->error, reply->error_class, reply->message, reply->cause);
        delivery_write(d);
}

static void on_called_back(SandError error, const char *message, void *userdata) {
        static const Payload empty = { .fd = -EBADF };
        Delivery *d = userdata;

        finish_begin(d);
        if (error == _SAND_ERROR_INVALID)
                (void) finish_success(d, NULL, "", &empty);
        else
                finish_error(d, NULL, error, sand_error_info(error)->name, message, NULL);
        delivery_write(d);
}

static void delivery_invoke(Delivery *d) {
        Globald *g = d->globald;
        App *app = apps_find(g->apps, d->event.app);
        const CatalogueFunction *f = app ? catalogue_find(app->entry, d->event.function) : NULL;
        PeerRequest q = {
                .target = d->event.function,
                .execution = d->event.execution,
                .content_type = d->event.content_type,
                .headers = d->event.headers,
                .data = d->event.data,
                .size = d->event.size,
        };
        Peer *peer;
        int r;

        if (!f) {
                delivery_failed(d, SAND_ERROR_NOT_FOUND, app ? "The application has no such function any more."
                                                             : "The application was removed.");
                return;
        }
        q.timeout_usec = f->timeout_usec > USEC_INFINITY / 4 ? USEC_INFINITY / 4 : 2 * f->timeout_usec + CALL_SLACK_USEC;
        r = apps_get_peer(g->apps, app, &peer);
        if (r >= 0)
                r = peer_invoke(peer, &q, on_reply, d, &d->call);
        if (r < 0)
                delivery_failed(d, r == -ENOBUFS ? SAND_ERROR_BUSY : SAND_ERROR_UNAVAILABLE,
                                "The application's machine cannot be reached.");
}

void dispatch_deliver(Globald *g, const LogEvent *e) {
        Target *t = target_get(g, e->app, e->function);
        Delivery *d;

        assert(t);
        if (delivery_new(g, e, &d) < 0) {
                /* It stays RUNNING in the log, and is due again when we are started anew. */
                log_error("Out of memory: an event of %s/%s waits until the next start of the event log.", e->app, e->function);
                in_flight_sub(g, t, 1, e->size);
                return;
        }
        d->target = t;
        if (globald_now(g) >= e->expires_usec)
                delivery_failed(d, SAND_ERROR_TIMEOUT, "The event is older than its function's retry.age_max.");
        else if (callback_is(e->function))
                callback_post(g, &d->event, on_called_back, d);
        else
                delivery_invoke(d);
}

/* ---- what waits ---- */

static void on_backlog(int error, const LogBacklog *list, size_t n, void *userdata) {
        Target *t = userdata;
        Globald *g = t->globald;

        t->asking = false;
        if (error < 0)
                t->next_due = globald_now(g) + USEC_PER_SEC; /* then again */
        else
                t->next_due = n > 0 ? list->next_usec : USEC_INFINITY;
        target_look(g, t);
        globald_check_stop(g);
}

static void target_ask(Globald *g, Target *t) {
        t->next_due = globald_now(g) + USEC_PER_SEC;
        t->asking = g->engine->backlog(g->log, t->app, t->function, on_backlog, t) >= 0;
}

static void on_taken(int error, LogEvent *events, size_t n, void *userdata) {
        Target *t = userdata;
        Globald *g = t->globald;

        t->taking = false;
        in_flight_sub(g, t, t->taking_n, t->taking_bytes);
        for (size_t i = 0; error >= 0 && i < n; i++) {
                in_flight_add(g, t, 1, events[i].size);
                dispatch_deliver(g, events + i);
        }
        if (error < 0) {
                (void) globald_note_disk(g, error);
                t->next_due = globald_now(g) + USEC_PER_SEC; /* then again */
        } else if (n == 0)
                target_ask(g, t); /* when is the next one due? */
        target_look(g, t);
        globald_check_stop(g);
}

static void target_take(Globald *g, Target *t, unsigned room, uint64_t now) {
        t->taking_n = room;
        t->taking_bytes = MIN(target_share_bytes(g, t), g->settings.in_flight_memory_max / 8);
        t->taking = g->engine->take(g->log, t->app, t->function, room, t->taking_bytes, now, on_taken, t) >= 0;
        if (t->taking)
                in_flight_add(g, t, t->taking_n, t->taking_bytes);
        else
                arm(g, now + USEC_PER_SEC);
}

/* ---- what has waited too long ---- */

static void arm_overdue(Globald *g, uint64_t delay) {
        if (g->stopping || g->taking_overdue || sd_event_source_get_enabled(g->overdue, NULL) > 0)
                return;
        (void) sd_event_source_set_time_relative(g->overdue, delay);
        (void) sd_event_source_set_enabled(g->overdue, SD_EVENT_ONESHOT);
}

static void on_overdue_taken(int error, LogEvent *events, size_t n, void *userdata) {
        Globald *g = userdata;

        g->taking_overdue = false;
        for (size_t i = 0; error >= 0 && i < n; i++) {
                Target *t = target_get(g, events[i].app, events[i].function);

                if (!t) /* as of dispatch_deliver() */
                        continue;
                in_flight_add(g, t, 1, events[i].size);
                dispatch_deliver(g, events + i);
        }
        if (error < 0)
                (void) globald_note_disk(g, error);
        else if (n > 0)
                arm_overdue(g, OVERDUE_AGAIN_USEC);
        for (const Target *t = g->targets; t; t = t->next)
                if (t->next_due <= globald_now(g)) {
                        arm_overdue(g, OVERDUE_USEC);
                        break;
                }
        globald_check_stop(g);
}

static int on_overdue(sd_event_source *source, uint64_t usec, void *userdata) {
        Globald *g = userdata;

        g->taking_overdue = g->engine->take(g->log, NULL, NULL, OVERDUE_AT_ONCE, OVERDUE_BYTES, globald_now(g),
                                            on_overdue_taken, g) >= 0;
        if (!g->taking_overdue)
                arm_overdue(g, OVERDUE_USEC);
        return 0;
}

/* Takes what is due and has room, or sees to it that this is done in time. */
static void target_look(Globald *g, Target *t) {
        uint64_t now = globald_now(g), at = MAX(t->next_due, t->pause_until);
        unsigned room;

        if (t->taking || t->asking || g->stopping || t->next_due == USEC_INFINITY)
                return;
        if (t->next_due <= now)
                arm_overdue(g, OVERDUE_USEC);
        if (at > now) {
                arm(g, at);
                return;
        }
        room = target_room(g, t);
        if (room == 0)
                return; /* whoever gives it back looks again */
        if (!memory_is_left(g, t, 1))
                return;
        target_take(g, t, room, now);
}

static void on_all_backlog(int error, const LogBacklog *list, size_t n, void *userdata) {
        Globald *g = userdata;
        uint64_t total = 0;

        if (error < 0) {
                (void) log_error_errno(error, "Failed to look for events that wait, trying again: %m");
                look_again(g);
                return;
        }
        for (size_t i = 0; i < n; i++) {
                total += list[i].n;
                dispatch_wake(g, list[i].app, list[i].function, list[i].next_usec);
        }
        if (total > 0)
                log_info("%" PRIu64 " events wait, of %zu functions.", total, n);
}

int dispatch_look_at_all(Globald *g) {
        return g->engine->backlog(g->log, NULL, NULL, on_all_backlog, g);
}

int dispatch_start(Globald *g) {
        int r;

        r = sd_event_add_time(g->event, &g->due, CLOCK_BOOTTIME, 0, USEC_PER_MSEC, on_due, g);
        if (r >= 0)
                r = sd_event_source_set_enabled(g->due, SD_EVENT_OFF);
        if (r >= 0)
                r = sd_event_add_time_relative(g->event, &g->overdue, CLOCK_MONOTONIC, 0, USEC_PER_MSEC, on_overdue, g);
        if (r >= 0)
                r = sd_event_source_set_enabled(g->overdue, SD_EVENT_OFF);
        if (r >= 0)
                r = sd_event_add_time_relative(g->event, &g->unfinished_retry, CLOCK_MONOTONIC, 0, USEC_PER_MSEC,
                                               on_unfinished, g);
        if (r >= 0)
                r = sd_event_source_set_enabled(g->unfinished_retry, SD_EVENT_OFF);
        return r < 0 ? r : dispatch_look_at_all(g);
}

bool dispatch_is_idle(const Globald *g) {
        for (const Target *t = g->targets; t; t = t->next)
                if (t->next_due != USEC_INFINITY || t->taking || t->asking)
                        return false;
        return g->n_in_flight == 0 && g->n_accepting == 0 && !g->unfinished && !g->look_at_all && !g->taking_overdue;
}

void dispatch_stop(Globald *g) {
        (void) sd_event_source_set_enabled(g->due, SD_EVENT_OFF);
        (void) sd_event_source_set_enabled(g->overdue, SD_EVENT_OFF);
}

void dispatch_free(Globald *g) {
        sd_event_source_disable_unref(g->due);
        sd_event_source_disable_unref(g->overdue);
        sd_event_source_disable_unref(g->unfinished_retry);
        for (Delivery *d = g->unfinished, *next; d; d = next) {
                next = d->next;
                delivery_free(d);
        }
        for (Target *t = g->targets, *next; t; t = next) {
                next = t->next;
                free(t->app);
                free(t->function);
                free(t);
        }
}
