/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the event log serves: events that are accepted now and delivered later, and what became of them. Nobody is told
 * that an event was accepted before the log has said so; where it does not answer, its client hears that it is not known. */

#include "request-private.h"

#include <inttypes.h>
#include <stdio.h>
#include <strings.h>
#include <sys/mman.h>

#include "cloudevents.h"
#include "execution.h"
#include "json-span.h"
#include "log.h"
#include "protocol.h"

/* To be on disk, or to be found. */
#define LOG_TIMEOUT_USEC (30 * USEC_PER_SEC)
#define EVENT_BYTES_MAX (UINT64_C(1) << 20)
#define CALLBACK_MAX 2048U
#define SOURCE_MAX 250 /* of a route; the log takes 256 bytes */
#define DOCUMENT_CONTENT_TYPE "application/json"

#define UNKNOWN "The event log does not answer (sand-globald.service). Whether the event was accepted is not known: send it " \
        "again, with the same Idempotency-Key if it is to be accepted once."
#define NO_EXECUTION "There is no execution with this id, or it is no longer known."

/* ---- what a client asks for ---- */

typedef struct EventOptions {
        char key[SAND_IDEMPOTENCY_KEY_MAX + 1];
        char delay[24], max_age[24];
        const char *callback;
} EventOptions;

static bool is_ascii(const char *s) {
        for (; *s; s++)
                if (*s < ' ' || *s > '~')
                        return false;
        return true;
}

/* https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/: a string of RFC 8941, in quotes; what many
 * clients send has none. */
static int parse_key(const char *s, char ret[static SAND_IDEMPOTENCY_KEY_MAX + 1]) {
        bool quoted = *s == '"';
        size_t n = 0;

        if (!is_ascii(s))
                return -EINVAL;
        for (s += quoted; *s && !(quoted && *s == '"'); s++) {
                if (quoted && *s == '\\' && *++s != '"' && *s != '\\')
                        return -EINVAL;
                if (n == SAND_IDEMPOTENCY_KEY_MAX)
                        return -EINVAL;
                ret[n++] = *s;
        }
        if (n == 0 || (quoted && (s[0] != '"' || s[1])))
                return -EINVAL;
        ret[n] = 0;
        return 0;
}

static int parse_span(const char *s, char ret[static 24]) {
        uint64_t span;

        if (parse_time_span(s, &span) < 0 || span == USEC_INFINITY)
                return -EINVAL;
        (void) snprintf(ret, 24, "%" PRIu64, span);
        return 0;
}

static bool callback_is_valid(const char *s) {
        const char *host = strncasecmp(s, "https://", 8) == 0 ? s + 8 : strncasecmp(s, "http://", 7) == 0 ? s + 7 : NULL;

        return host && strlen(s) <= CALLBACK_MAX && is_ascii(s) && !strpbrk(s, " \"<>\\^`{|}") && strcspn(host, "/?#:") > 0;
}

/* False: it is refused. */
static bool read_options(Request *q, EventOptions *ret) {
        const HeaderCheck *h = &q->header;
        bool web = q->route == ROUTE_WEB; /* its clients are strangers: the other fields are not for us */

        *ret = (EventOptions) {};
        if (h->idempotency_key && q->route == ROUTE_EVENTS)
                request_refuse(q, SAND_ERROR_BAD_REQUEST, 0, "A CloudEvent is accepted once by its source and id; "
                               "Idempotency-Key is for /invoke.");
        else if (h->idempotency_key && parse_key(h->idempotency_key, ret->key) < 0)
                request_refuse(q, SAND_ERROR_BAD_REQUEST, 0, "Idempotency-Key is 1 to %u bytes of ASCII, bare or a quoted string.",
                               SAND_IDEMPOTENCY_KEY_MAX);
        if (h->delay && !web && parse_span(h->delay, ret->delay) < 0)
                request_refuse(q, SAND_ERROR_BAD_REQUEST, 0, "Sand-Delay is not a time such as \"5s\" or \"10min\".");
        if (h->max_age && !web && parse_span(h->max_age, ret->max_age) < 0)
                request_refuse(q, SAND_ERROR_BAD_REQUEST, 0, "Sand-Max-Age is not a time such as \"90s\" or \"1h\".");
        if (h->callback && !web) {
                ret->callback = h->callback;
                if (!callback_is_valid(h->callback))
                        request_refuse(q, SAND_ERROR_BAD_REQUEST, 0, "Sand-Callback is not a URL of http or https of at most %u "
                                       "bytes.", CALLBACK_MAX);
        }
        return !q->refused;
}

void request_take_event_options(Request *q) {
        const HeaderCheck *h = &q->header;
        EventOptions options;

        if (q->route == ROUTE_INVOKE)
                q->logged = h->respond_async;
        if (q->logged)
                (void) read_options(q, &options);
        else if (q->route == ROUTE_INVOKE && (h->idempotency_key || h->delay || h->max_age || h->callback))
                request_refuse(q, SAND_ERROR_BAD_REQUEST, 0, "%s is for events that are answered before they are worked off: "
                               "send \"Prefer: respond-async\" with it, or leave it out.",
                               h->idempotency_key ? "Idempotency-Key" : h->delay ? "Sand-Delay" :
                               h->max_age ? "Sand-Max-Age" : "Sand-Callback");
}

void request_take_events(Request *q, App *app) {
        CloudEventMode mode;

        q->logged = true;
        q->app = app_ref(app);
        q->metrics = function_metrics_ref(app->emitted);
        q->payload_max = MIN(EVENT_BYTES_MAX, q->gateway->settings.body_bytes_max);
        q->timeout = LOG_TIMEOUT_USEC;
        mode = cloud_event_mode(q->header.content_type, q->header.cloud_event);
        if (mode == CLOUD_EVENT_NONE)
                request_refuse(q, SAND_ERROR_BAD_REQUEST, 0, "A CloudEvent is expected: its attributes as headers, of which "
                               "ce-specversion is missing, or a body of the type " CLOUD_EVENT_CONTENT_TYPE ".");
        if (mode == CLOUD_EVENT_UNSUPPORTED)
                request_refuse(q, SAND_ERROR_BAD_REQUEST, MHD_HTTP_UNSUPPORTED_MEDIA_TYPE, "One CloudEvent a request is taken, in "
                               "binary mode or as " CLOUD_EVENT_CONTENT_TYPE "; batches and other formats are not.");
}

void request_take_execution(Request *q, const char *id) {
        const char *query = http_query(q->connection), *value = NULL;
        _cleanup_(freep) char *text = NULL;
        uint64_t wait;

        strcpy(q->asked, id);
        for (const char *s = query; s && *s; s = strchr(s, '&') ? strchr(s, '&') + 1 : NULL)
                value = startswith(s, "wait=") ?: value;
        if (!value)
                return;
        text = strndup(value, strcspn(value, "&"));
        if (!text || parse_time_span(text, &wait) < 0)
                request_refuse(q, SAND_ERROR_BAD_REQUEST, 0, "\"wait\" is not a time such as \"30s\".");
        else if (!http_is_stopping(q->gateway->http))
                q->wait = MIN(wait, q->gateway->settings.invoke_timeout_max);
}

/* ---- CloudEvents ---- */

typedef struct Attributes {
        CloudEventHeader l[CLOUD_EVENT_ATTRIBUTES_MAX + 1];
        size_t n;
} Attributes;

static enum MHD_Result on_attribute(void *userdata, enum MHD_ValueKind kind, const char *name, size_t name_size,
                                    const char *value, size_t value_size) {
        static const char prefix[] = CLOUD_EVENT_HEADER_PREFIX;
        Attributes *a = userdata;

        if (strncasecmp(name, prefix, strlen(prefix)) == 0 && a->n < ELEMENTSOF(a->l))
                a->l[a->n++] = (CloudEventHeader) { name + strlen(prefix), strempty(value) };
        return MHD_YES;
}

/* Of any form; what is to be said of it is then in the call. */
static int take_cloud_event(Request *q, CloudEvent *e, PeerRequest *call, Buffer *b) {
        Attributes a = {};
        int r;

        if (cloud_event_mode(q->header.content_type, q->header.cloud_event) == CLOUD_EVENT_BINARY) {
                (void) http_header_each(q->connection, on_attribute, &a);
                r = cloud_event_from_header(e, a.l, a.n, q->header.content_type, q->body, q->size, b);
                call->data = b->data;
                call->size = b->size;
        } else
                r = cloud_event_from_json(e, q->body, q->size);
        if (r == -EBADMSG)
                request_refuse(q, SAND_ERROR_BAD_REQUEST, 0, "%s", e->problem);
        else if (r >= 0 && call->size > q->payload_max) {
                request_refuse(q, SAND_ERROR_TOO_LARGE, 0, "The request makes an event of %zu bytes, more than the %" PRIu64
                               " that are taken.", call->size, q->payload_max);
                return -EMSGSIZE;
        }
        call->content_type = CLOUD_EVENT_CONTENT_TYPE;
        return r;
}

int request_build_cloud_event(Request *q, PeerRequest *call, Buffer *b) {
        _cleanup_(cloud_event_done) CloudEvent e = {};

        if (cloud_event_mode(q->header.content_type, q->header.cloud_event) != CLOUD_EVENT_BINARY)
                return 0;
        return take_cloud_event(q, &e, call, b);
}

static bool is_topic(const char *s) {
        size_t n = strspn(s, SAND_TOPIC_CHARACTERS);
        return n > 0 && n <= SAND_TOPIC_SIZE_MAX && !s[n];
}

/* ---- accepting ---- */

static void request_answer_unknown(Request *q, const char *detail) {
        const Problem9457 p = { .kind = SAND_ERROR_UNAVAILABLE, .detail = detail, .execution = q->id };
        request_answer_problem(q, &p);
}

/* The peer's own word is no more than that there is no answer. */
static SandError reply_error(const PeerReply *reply) {
        return reply->error != _SAND_ERROR_INVALID && !reply->message_of ? SAND_ERROR_UNAVAILABLE : reply->error;
}

typedef struct Accepted {
        JsonSpan id;
        uint64_t n_events; /* of a topic's; 0: nobody waits for it, and there is no id */
        bool duplicate;
} Accepted;

static int read_accepted(Request *q, const PeerReply *reply, Accepted *ret) {
        JsonMembers members = JSON_MEMBERS((const char *) reply->payload.data, reply->payload.size);
        JsonSpan key, value, events = {};
        Accepted a = {};
        char id[EXECUTION_ID_LENGTH + 1];
        int r;

        if (!reply->payload.data)
                return -EBADMSG;
        while ((r = json_members_next(&members, &key, &value)) > 0)
                if (json_span_equals(key, "id"))
                        a.id = value;
                else if (json_span_equals(key, "duplicate"))
                        a.duplicate = json_span_equals(value, "true");
                else if (json_span_equals(key, "events"))
                        events = value;
        if (r < 0 || (q->route == ROUTE_EVENTS && json_span_number(events, &a.n_events) < 0))
                return -EBADMSG;
        if (q->route != ROUTE_EVENTS || a.n_events > 0) {
                if (json_span_string(a.id, id, sizeof(id)) < 0 || !execution_id_is_valid(id))
                        return -EBADMSG;
                strcpy(q->id, id);
        }
        *ret = a;
        return 0;
}

static void request_answer_accepted(Request *q, const Accepted *accepted) {
        const char *headers[7] = {}, **next = headers;
        char location[sizeof("/executions/") + EXECUTION_ID_LENGTH];
        Answer a = request_answer(q);
        char *text = NULL;
        int n;

        (void) snprintf(location, sizeof(location), "/executions/%s", q->id);
        if (q->route != ROUTE_EVENTS) {
                *next++ = MHD_HTTP_HEADER_LOCATION;
                *next++ = location;
        }
        if (q->route == ROUTE_INVOKE) {
                *next++ = "Preference-Applied";
                *next++ = "respond-async";
        }
        if (accepted->duplicate) {
                *next++ = "Sand-Duplicate";
                *next++ = "true";
        }
        a.headers = headers;
        a.content_type = DOCUMENT_CONTENT_TYPE;
        if (q->route == ROUTE_EVENTS && accepted->n_events == 0)
                n = asprintf(&text, "{\"events\":0}\n");
        else if (q->route == ROUTE_EVENTS)
                n = asprintf(&text, "{\"id\":\"%s\",\"events\":%" PRIu64 "}\n", q->id, accepted->n_events);
        else
                n = asprintf(&text, "{\"id\":\"%s\"}\n", q->id);
        http_answer(q->connection, MHD_HTTP_ACCEPTED, n < 0 ? NULL : answer_text(&a, text, (size_t) n));
}

static void on_accepted(PeerCall *call, const PeerReply *reply, void *userdata) {
        SandError error = reply_error(reply);
        Request *q = userdata;
        Accepted accepted;

        if (error == _SAND_ERROR_INVALID && read_accepted(q, reply, &accepted) < 0) {
                log_warning("The event log's answer to an event of %s is not understood.", q->target.app);
                request_finish(q, SAND_ERROR_UNAVAILABLE);
                request_answer_unknown(q, UNKNOWN);
        } else if (error == _SAND_ERROR_INVALID) {
                request_finish(q, OUTCOME_OK);
                request_answer_accepted(q, &accepted);
        } else {
                request_finish(q, error);
                if (reply->message_of)
                        request_answer_error(q, reply);
                else
                        request_answer_unknown(q, UNKNOWN);
        }
}

static void add_option(const char ***next, const char *name, const char *value) {
        if (isempty(value))
                return;
        *(*next)++ = name;
        *(*next)++ = value;
}

#define TARGET_SIZE (sizeof(((Target *) 0)->app) + 2U + SAND_TOPIC_SIZE_MAX)

/* What the body is, and whom it is for. */
static int take_emitted(Request *q, PeerRequest *call, Buffer *b, char target[static TARGET_SIZE],
                        char key[static CLOUD_EVENT_KEY_SIZE]) {
        _cleanup_(cloud_event_done) CloudEvent e = {};
        int r;

        r = take_cloud_event(q, &e, call, b);
        if (r < 0)
                return r;
        if (!is_topic(e.type)) {
                request_refuse(q, SAND_ERROR_BAD_REQUEST, 0, "The CloudEvent's type is not one that a trigger can wait for: 1 to "
                               "%u letters, digits, '.', '_' and '-'.", SAND_TOPIC_SIZE_MAX);
                return -EBADMSG;
        }
        (void) snprintf(target, TARGET_SIZE, "%s//%s", q->target.app, e.type);
        return cloud_event_key(&e, key);
}

int request_log_event(Request *q, PeerRequest *call, const char **next) {
        char target[TARGET_SIZE], key[CLOUD_EVENT_KEY_SIZE] = "";
        _cleanup_(buffer_done) Buffer event = {};
        _cleanup_(freep) char *source = NULL;
        bool emitted = q->route == ROUTE_EVENTS;
        EventOptions options;
        int r;

        if (!read_options(q, &options))
                return -EBADMSG;
        (void) snprintf(target, sizeof(target), "%s/%s", q->target.app, q->target.function);
        r = emitted ? take_emitted(q, call, &event, target, key) : 0;
        if (r < 0)
                return r;
        if (q->route == ROUTE_WEB && asprintf(&source, "http:%.*s", SOURCE_MAX, q->web.trigger->route.key) < 0)
                return -ENOMEM;
        call->path = SAND_EVENTS_PATH;
        call->interface = SAND_EVENTS_INTERFACE;
        call->member = emitted ? "Emit" : "Send";
        call->target = target;
        call->execution = NULL; /* it is one of its own */
        call->timeout_usec = MIN(call->timeout_usec, LOG_TIMEOUT_USEC);
        add_option(&next, SAND_OPTION_PREFIX "source", source);
        add_option(&next, SAND_OPTION_PREFIX "idempotency-key", emitted ? key : options.key);
        add_option(&next, SAND_OPTION_PREFIX "delay-usec", options.delay);
        add_option(&next, SAND_OPTION_PREFIX "max-age-usec", options.max_age);
        add_option(&next, SAND_OPTION_PREFIX "callback", options.callback);
        return peer_invoke(q->gateway->events, call, on_accepted, q, &q->call);
}

void request_refuse_log(Request *q, int error) {
        if (error == -ENOBUFS) {
                request_refuse(q, SAND_ERROR_BUSY, 0, "Too many events wait to be accepted.");
                return;
        }
        errno = -error;
        request_refuse(q, SAND_ERROR_UNAVAILABLE, 0, "The event log cannot be reached (sand-globald.socket), and nothing was "
                       "accepted: %m");
}

/* ---- what became of them ---- */

static void request_answer_execution(Request *q, const char *document, size_t size) {
        static const char *const headers[] = { MHD_HTTP_HEADER_CACHE_CONTROL, "no-store", NULL };
        _cleanup_(buffer_done) Buffer b = {};
        Problem9457 p = { .kind = SAND_ERROR_NOT_FOUND, .detail = NO_EXECUTION, .execution = q->id };
        Answer a;
        App *app;

        if (execution_to_json(document, size, &b, &q->target) < 0) {
                request_answer_unknown(q, "What the event log says of the execution is not understood.");
                return;
        }
        if (!request_may_see(q, q->target.app)) {
                request_answer_problem(q, &p);
                return;
        }
        app = apps_find(q->gateway->apps, q->target.app);
        q->app = app ? app_ref(app) : NULL; /* the access log says whose it was */
        strcpy(q->id, q->asked);
        a = request_answer(q);
        a.headers = headers;
        a.content_type = DOCUMENT_CONTENT_TYPE;
        http_hold(q->connection, b.size);
        size = b.size;
        http_answer(q->connection, MHD_HTTP_OK, answer_text(&a, TAKE_PTR(b.data), size));
}

static void on_execution(PeerCall *call, const PeerReply *reply, void *userdata) {
        SandError error = reply_error(reply);
        Request *q = userdata;
        void *mapping = NULL;
        const void *data;

        if (q->wait > 0 && (error == SAND_ERROR_TIMEOUT || error == SAND_ERROR_BUSY)) {
                q->call = NULL;
                request_end_wait(q);
                return;
        }
        request_finish(q, OUTCOME_OK);
        if (error == SAND_ERROR_NOT_FOUND) {
                const Problem9457 p = { .kind = error, .detail = NO_EXECUTION, .execution = q->id };
                request_answer_problem(q, &p);
        } else if (error != _SAND_ERROR_INVALID && reply->message_of)
                request_answer_error(q, reply);
        else if (error != _SAND_ERROR_INVALID || payload_map(&reply->payload, &data, &mapping) < 0)
                request_answer_unknown(q, "The event log does not answer (sand-globald.service).");
        else {
                request_answer_execution(q, data ?: "", reply->payload.size);
                if (mapping)
                        (void) munmap(mapping, reply->payload.size);
        }
}

void request_ask_execution(Request *q) {
        static const char *const wait[] = { "wait", "1", NULL };
        const PeerRequest call = {
                .path = SAND_EVENTS_PATH,
                .interface = SAND_EVENTS_INTERFACE,
                .member = "Execution",
                .target = q->asked,
                .headers = q->wait > 0 ? wait : NULL,
                .deadline = q->wait > 0 ? usec_add(now_usec(), q->wait) : 0,
                .timeout_usec = usec_add(q->wait, LOG_TIMEOUT_USEC),
        };
        int r = peer_invoke(q->gateway->events, &call, on_execution, q, &q->call);

        if (r < 0) {
                request_refuse_log(q, r);
                request_answer_refused(q);
                return;
        }
        request_started(q);
}

void request_end_wait(Request *q) {
        if (q->call)
                peer_call_cancel(TAKE_PTR(q->call));
        q->wait = 0;
        request_finish(q, OUTCOME_OK);
        request_ask_execution(q);
}
