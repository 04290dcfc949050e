/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Send and Emit: an event is checked, written, and answered for when it is on disk. One that is due, of a function that
 * has room, is written as handed over, and is handed over right after. */

#include "accept.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "document.h"
#include "protocol.h"
#include "topic.h"

#define CLOUDEVENT_TYPE "application/cloudevents+json"
#define FAN_OUT_MAX 256U

typedef struct Accepting {
        Request *request;
        LogAccept *events;
        char (*apps)[APP_NAME_MAX + 1];
        char **functions, **keys; /* keys: of what is emitted, each function's own */
        bool *reserved;
        size_t n;
        const char **headers; /* without options; not its strings */
        char *envelope;       /* of a topic's event; its payload */
        bool emitted;
} Accepting;

static Accepting *accepting_free(Accepting *a) {
        if (!a)
                return NULL;
        for (size_t i = 0; a->functions && i < a->n; i++)
                free(a->functions[i]);
        strv_free(a->keys);
        request_free(a->request);
        free(a->functions);
        free(a->events);
        free(a->apps);
        free(a->reserved);
        free(a->headers);
        free(a->envelope);
        free(a);
        return NULL;
}
DEFINE_POINTER_CLEANUP(Accepting *, accepting_free);

int target_parse(const char *s, const char *own, char ret_app[static APP_NAME_MAX + 1], const char **ret_function) {
        const char *slash = strchr(s, '/');
        size_t n = slash ? (size_t) (slash - s) : 0;

        if (slash && n <= APP_NAME_MAX) {
                memcpy(ret_app, s, n);
                ret_app[n] = 0;
        } else if (!slash)
                (void) strcpy(ret_app, own);
        else
                return -EINVAL;
        *ret_function = slash ? slash + 1 : s;
        return app_name_is_valid(ret_app) && function_name_is_valid(*ret_function) ? 0 : -EINVAL;
}

static char *message(const char *format, ...) _printf_(1, 2);
static char *message(const char *format, ...) {
        char *s = NULL;
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&s, format, ap) < 0)
                s = NULL;
        va_end(ap);
        return s;
}

SandError target_find(Globald *g, const char *caller, const char *app, const char *function,
                      const CatalogueFunction **ret, char **ret_message) {
        const App *a = apps_find(g->apps, app);

        if (!a) {
                *ret_message = message("There is no application \"%s\".", app);
                return SAND_ERROR_NOT_FOUND;
        }
        if (!isempty(caller) && !app_allows(a, caller)) {
                *ret_message = message("The application \"%s\" does not let \"%s\" call it: its sand.json has no \"allow\": "
                                       "[\"%s\"].", app, caller, caller);
                return SAND_ERROR_DENIED;
        }
        *ret = catalogue_find(a->entry, function);
        if (!*ret) {
                *ret_message = message("The application \"%s\" has no function \"%s\".", app, function);
                return SAND_ERROR_NOT_FOUND;
        }
        return _SAND_ERROR_INVALID;
}

/* ---- options ---- */

typedef struct Options {
        uint64_t delay_usec, max_age_usec;
        const char *key, *callback, *source;
        bool keep, skip;
} Options;

static bool read_usec(const char *s, uint64_t *ret) {
        char *end;

        if (isempty(s) || strspn(s, "0123456789") != strlen(s))
                return false;
        errno = 0;
        *ret = strtoull(s, &end, 10);
        return errno == 0 && *ret <= 366 * USEC_PER_DAY;
}

/* NULL, or what was expected. */
static const char *options_take(Options *o, const char *key, const char *value) {
        size_t n = strlen(value);

        if (streq(key, "sand-delay-usec"))
                return read_usec(value, &o->delay_usec) ? NULL : "microseconds, of 366 days at most";
        if (streq(key, "sand-max-age-usec"))
                return read_usec(value, &o->max_age_usec) && o->max_age_usec > 0 ? NULL : "microseconds, of 366 days at most";
        if (streq(key, "sand-idempotency-key")) {
                o->key = value;
                return n > 0 && n <= SAND_IDEMPOTENCY_KEY_MAX ? NULL : "from 1 to 256 bytes";
        }
        if (streq(key, "sand-key-keep")) {
                o->keep = true;
                return streq(value, "1") ? NULL : "1";
        }
        if (streq(key, "sand-overlap")) {
                o->skip = true;
                return streq(value, "skip") ? NULL : "skip";
        }
        if (streq(key, "sand-source")) {
                o->source = value;
                return n > 0 && n <= 256 ? NULL : "from 1 to 256 bytes";
        }
        if (streq(key, "sand-callback")) {
                o->callback = value;
                return n <= 2048 && (startswith(value, "http://") || startswith(value, "https://")) ? NULL
                               : "a URL of http or https with 2048 bytes at most";
        }
        return "no option of this name";
}

/* False: the request was refused. */
static bool accepting_read_options(Accepting *a, Options *ret) {
        Request *q = a->request;
        size_t n = 0;

        *ret = (Options) { .max_age_usec = USEC_INFINITY };
        a->headers = calloc(2 * q->n_headers + 3, sizeof(char *));
        if (!a->headers) {
                request_refuse(TAKE_PTR(a->request), SAND_ERROR_UNAVAILABLE, "Out of memory.");
                return false;
        }
        for (size_t i = 0; i < q->n_headers; i++) {
                const char *key = q->headers[2 * i], *value = q->headers[2 * i + 1], *expected;

                if (streq(key, HEADER_CALLER) && !isempty(q->app))
                        continue;
                if (!startswith(key, SAND_OPTION_PREFIX)) {
                        a->headers[n++] = key;
                        a->headers[n++] = value;
                        continue;
                }
                expected = options_take(ret, key, value);
                if (expected) {
                        request_refuse(TAKE_PTR(a->request), SAND_ERROR_BAD_REQUEST, "%.64s: found \"%.64s\", expected %s.",
                                       key, value, expected);
                        return false;
                }
        }
        if (!isempty(q->app)) { /* nobody passes for another */
                a->headers[n++] = HEADER_CALLER;
                a->headers[n++] = q->app;
        }
        return true;
}

/* ---- accepting ---- */

static int accepting_add(Accepting *a, const char *app, const char *function) {
        size_t n = a->n + 1;
        void *events = realloc(a->events, n * sizeof(*a->events)), *apps, *functions, *reserved;

        if (events)
                a->events = events;
        apps = realloc(a->apps, n * sizeof(*a->apps));
        if (apps)
                a->apps = apps;
        functions = realloc(a->functions, n * sizeof(*a->functions));
        if (functions)
                a->functions = functions;
        reserved = realloc(a->reserved, n * sizeof(*a->reserved));
        if (reserved)
                a->reserved = reserved;
        if (!events || !apps || !functions || !reserved)
                return -ENOMEM;
        (void) strcpy(a->apps[a->n], app);
        a->functions[a->n] = strdup(function);
        a->reserved[a->n] = false;
        a->events[a->n] = (LogAccept) {};
        if (!a->functions[a->n])
                return -ENOMEM;
        a->n = n;
        return 0;
}

static void accepting_answer(Accepting *a) {
        char id[LOG_ID_LENGTH + 1] = "";
        json_object *o = json_object_new_object();

        if (a->n > 0)
                log_id_to_string(a->events[0].id, id);
        json_object_object_add(o, "id", json_object_new_string(id));
        if (a->emitted)
                json_object_object_add(o, "events", json_object_new_int64((int64_t) a->n));
        else
                json_object_object_add(o, "duplicate", json_object_new_boolean(a->events[0].duplicate));
        request_answer_json(TAKE_PTR(a->request), o);
}

static void deliver(Globald *g, Accepting *a, size_t i) {
        const LogAccept *l = a->events + i;
        LogEvent e = {
                .id = l->id,
                .app = l->app,
                .function = l->function,
                .content_type = l->content_type,
                .source = l->source,
                .callback = l->callback,
                .headers = l->headers,
                .data = l->data,
                .size = l->size,
                .state = LOG_RUNNING,
                .attempt = 1,
                .accepted_usec = l->now,
                .expires_usec = l->expires_usec,
                .error = _SAND_ERROR_INVALID,
        };

        if (l->execution)
                (void) strcpy(e.execution, l->execution);
        else
                log_id_to_string(l->id, e.execution);
        dispatch_deliver(g, &e);
}

static void on_accepted(int error, void *userdata) {
        _cleanup_(accepting_freep) Accepting *a = userdata;
        Globald *g = a->request->globald;

        g->n_accepting--;
        g->accepting_bytes -= a->request->payload.size;
        if (error != -EBUSY)
                (void) globald_note_disk(g, error);
        for (size_t i = 0; i < a->n; i++) {
                LogAccept *l = a->events + i;

                if (error >= 0 && l->duplicate)
                        g->n_duplicates++;
                else if (error >= 0)
                        g->n_accepted++;
                if (a->reserved[i] && (error < 0 || l->duplicate))
                        dispatch_unreserve(g, l->app, l->function, l->size);
                else if (a->reserved[i])
                        deliver(g, a, i);
                else if (error >= 0 && !l->duplicate)
                        dispatch_wake(g, l->app, l->function, l->next_usec);
        }
        if (error < 0)
                request_fail_log(TAKE_PTR(a->request), error);
        else
                accepting_answer(a);
        globald_check_stop(g);
}

static void accepting_fill(Accepting *a, size_t i, const Options *o, uint64_t age_max, uint64_t now) {
        Request *q = a->request;
        LogAccept *l = a->events + i;

        *l = (LogAccept) {
                .app = a->apps[i],
                .function = a->functions[i],
                .execution = isempty(q->execution) ? NULL : q->execution,
                .content_type = a->envelope ? CLOUDEVENT_TYPE : q->content_type,
                .headers = a->headers,
                .source = o->source,
                .callback = o->callback,
                .key = o->key,
                .key_until = o->keep ? USEC_INFINITY : usec_add(now, q->globald->settings.idempotency_window),
                .data = a->envelope ? a->envelope : q->payload.data,
                .size = a->envelope ? strlen(a->envelope) : q->payload.size,
                .now = now,
                .next_usec = now + o->delay_usec,
                .expires_usec = now + o->delay_usec + MIN(age_max, o->max_age_usec),
                .skip = o->skip,
                .error = _SAND_ERROR_INVALID,
        };
        if (o->delay_usec == 0)
                a->reserved[i] = l->take = dispatch_reserve(q->globald, l->app, l->function, l->size);
}

/* Takes it. */
static void accepting_write(Accepting *a) {
        Globald *g = a->request->globald;
        int r;

        g->n_accepting++;
        g->accepting_bytes += a->request->payload.size;
        r = g->engine->accept(g->log, a->events, a->n, on_accepted, a);
        if (r < 0)
                on_accepted(r, a);
}

static bool accepting_may(Accepting *a) {
        Request *q = a->request;
        Globald *g = q->globald;
        LogId id;

        if (!isempty(q->execution) && log_id_from_string(q->execution, &id) < 0 &&
            (strlen(q->execution) != LOG_ID_LENGTH || strspn(q->execution, "0123456789abcdef") != LOG_ID_LENGTH))
                request_refuse(TAKE_PTR(a->request), SAND_ERROR_BAD_REQUEST,
                               "Malformed execution id: expected 32 lower-case hex digits.");
        else if (g->stopping)
                request_refuse(TAKE_PTR(a->request), SAND_ERROR_UNAVAILABLE, "The event log is about to be restarted.");
        else if (g->accepting_bytes + q->payload.size > MAX(g->settings.accept_memory_max, (uint64_t) q->payload.size))
                request_refuse(TAKE_PTR(a->request), SAND_ERROR_BUSY, "Too many large events wait for the disk.");
        return a->request;
}

void method_send(Request *q) {
        _cleanup_(accepting_freep) Accepting *a = calloc(1, sizeof(Accepting));
        _cleanup_(freep) char *why = NULL;
        Globald *g = q->globald;
        const CatalogueFunction *f;
        char app[APP_NAME_MAX + 1];
        const char *function;
        Options options;
        SandError error;

        if (!a) {
                request_refuse(q, SAND_ERROR_UNAVAILABLE, "Out of memory.");
                return;
        }
        a->request = q;
        if (!accepting_read_options(a, &options) || !accepting_may(a))
                return;
        if (target_parse(q->target, q->app, app, &function) < 0) {
                request_refuse(TAKE_PTR(a->request), SAND_ERROR_BAD_REQUEST, "Found the target \"%.160s\", expected "
                               "APPLICATION/FUNCTION.", q->target);
                return;
        }
        error = target_find(g, q->app, app, function, &f, &why);
        if (error != _SAND_ERROR_INVALID) {
                request_refuse(TAKE_PTR(a->request), error, "%s", strempty(why));
                return;
        }
        if (q->payload.size > f->payload_max) {
                request_refuse(TAKE_PTR(a->request), SAND_ERROR_TOO_LARGE, "The payload has %zu bytes, \"%s/%s\" takes %llu.",
                               q->payload.size, app, function, (unsigned long long) f->payload_max);
                return;
        }
        if (accepting_add(a, app, function) < 0) {
                request_refuse(TAKE_PTR(a->request), SAND_ERROR_UNAVAILABLE, "Out of memory.");
                return;
        }
        accepting_fill(a, 0, &options, f->retry.age_max_usec, globald_now(g));
        accepting_write(TAKE_PTR(a));
}

/* ---- topics ---- */

/* A CloudEvent in structured mode: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md */
static char *envelope_new(const Request *q, const char *app, const char *topic) {
        char source[APP_NAME_MAX + 8], time[32];
        json_object *o = json_object_new_object(), *data = NULL;
        sd_id128_t id = SD_ID128_NULL;
        char text[SD_ID128_STRING_MAX], *s;
        bool json = content_type_is_json(q->content_type);

        (void) snprintf(source, sizeof(source), "/apps/%s", app);
        (void) sd_id128_randomize(&id);
        (void) sd_id128_to_string(id, text);
        document_time(globald_now(q->globald), time);
        json_object_object_add(o, "specversion", json_object_new_string("1.0"));
        json_object_object_add(o, "id", json_object_new_string(text));
        json_object_object_add(o, "source", json_object_new_string(source));
        json_object_object_add(o, "type", json_object_new_string(topic));
        json_object_object_add(o, "time", json_object_new_string(time));
        if (json && q->payload.size == 0)
                data = json_object_new_object();
        else if (json)
                data = document_parse(q->payload.data, q->payload.size);
        json_object_object_add(o, "datacontenttype",
                               json_object_new_string(isempty(q->content_type) ? "application/json" : q->content_type));
        if (data)
                json_object_object_add(o, "data", data);
        else
                json_object_object_add(o, "data_base64", document_base64(q->payload.data, q->payload.size));
        s = strdup(strempty(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)));
        json_object_put(o);
        return s;
}

/* One function may have several patterns. */
static bool accepting_has(const Accepting *a, const char *app, const char *function) {
        for (size_t i = 0; i < a->n; i++)
                if (streq(a->apps[i], app) && streq(a->functions[i], function))
                        return true;
        return false;
}

/* The key is of what was emitted; in the log it is of one event. */
static int accepting_set_key(Accepting *a, size_t i) {
        char *key;

        if (!a->events[i].key)
                return 0;
        if (asprintf(&key, "%s\n%s", a->functions[i], a->events[i].key) < 0)
                return -ENOMEM;
        a->events[i].key = key;
        return strv_consume(&a->keys, key);
}

static int accepting_add_topics(Accepting *a, const char *from, const char *topic, const Options *o) {
        Globald *g = a->request->globald;
        uint64_t now = globald_now(g);
        int r = 0;

        for (size_t i = 0; i < apps_count(g->apps) && r >= 0; i++) {
                const App *app = apps_at(g->apps, i);

                if (app->entry->n_topics == 0 || !app_allows(app, from))
                        continue;
                for (size_t k = 0; k < app->entry->n_topics && r >= 0; k++)
                        if (topic_matches(app->entry->topics[k].pattern, topic) &&
                            !accepting_has(a, app->entry->name, app->entry->topics[k].target))
                                r = a->n < FAN_OUT_MAX ? accepting_add(a, app->entry->name, app->entry->topics[k].target) : -E2BIG;
        }
        for (size_t i = 0; i < a->n && r >= 0; i++) {
                const App *app = apps_find(g->apps, a->apps[i]);
                const CatalogueFunction *f = app ? catalogue_find(app->entry, a->functions[i]) : NULL;

                accepting_fill(a, i, o, f ? f->retry.age_max_usec : RETRY_POLICY_DEFAULT.age_max_usec, now);
                r = accepting_set_key(a, i);
        }
        return r;
}

void method_emit(Request *q) {
        _cleanup_(accepting_freep) Accepting *a = calloc(1, sizeof(Accepting));
        const char *topic = q->target, *slashes = strstr(q->target, "//");
        char app[APP_NAME_MAX + 1];
        Options options;
        int r;

        if (!a) {
                request_refuse(q, SAND_ERROR_UNAVAILABLE, "Out of memory.");
                return;
        }
        a->request = q;
        a->emitted = true;
        (void) strcpy(app, q->app);
        if (isempty(app) && slashes && slashes - q->target <= (ptrdiff_t) APP_NAME_MAX) {
                (void) snprintf(app, sizeof(app), "%.*s", (int) (slashes - q->target), q->target);
                topic = slashes + 2;
        }
        if (!accepting_read_options(a, &options) || !accepting_may(a))
                return;
        if (!apps_find(q->globald->apps, app)) {
                request_refuse(TAKE_PTR(a->request), SAND_ERROR_NOT_FOUND, "There is no application \"%s\".", app);
                return;
        }
        if (q->payload.size > SAND_EMIT_SIZE_MAX) { /* it is parsed, and kept once for each function */
                request_refuse(TAKE_PTR(a->request), SAND_ERROR_TOO_LARGE, "The payload has %zu bytes, a topic takes %u.",
                               q->payload.size, SAND_EMIT_SIZE_MAX);
                return;
        }
        if (!topic_is_valid(topic)) {
                request_refuse(TAKE_PTR(a->request), SAND_ERROR_BAD_REQUEST, "Found the topic \"%.160s\", expected from 1 to %u "
                               "letters, digits, '.', '_' and '-'.", topic, SAND_TOPIC_SIZE_MAX);
                return;
        }
        if (!streq(q->content_type, CLOUDEVENT_TYPE)) {
                a->envelope = envelope_new(q, app, topic);
                if (!a->envelope) {
                        request_refuse(TAKE_PTR(a->request), SAND_ERROR_UNAVAILABLE, "Out of memory.");
                        return;
                }
        }
        r = accepting_add_topics(a, app, topic, &options);
        if (r < 0) {
                for (size_t i = 0; i < a->n; i++)
                        if (a->reserved[i])
                                dispatch_unreserve(q->globald, a->events[i].app, a->events[i].function, a->events[i].size);
                request_refuse(TAKE_PTR(a->request), SAND_ERROR_BUSY, "The topic reaches more than %u functions.", FAN_OUT_MAX);
                return;
        }
        if (a->n == 0)
                accepting_answer(a); /* nobody listens */
        else
                accepting_write(TAKE_PTR(a));
}
