/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Events that nobody waits for: given to sand-globald, and asked after later. */

#include <inttypes.h>
#include <stdio.h>

#include "log.h"
#include "protocol.h"
#include "sandctl-events.h"
#include "sandctl-text.h"

/* An event may be tried again for days. Whoever waits has --timeout, or Ctrl-C. */
#define WAIT_TIMEOUT_USEC (365 * 24 * USEC_PER_HOUR)
#define GRACE_USEC USEC_PER_SEC
#define PATIENCE_USEC (30 * USEC_PER_SEC)
#define PAUSE_USEC (200 * USEC_PER_MSEC)
#define OPTIONS_MAX 8

static int fail_connect(int r, const char *failed) {
        const char *path = events_socket();

        if (r == -EACCES || r == -EPERM)
                return fail(SAND_ERROR_DENIED, "%s: access to %s denied: only root and members of the group sand-invoke have it.",
                            failed, path);
        if (r == -ENOENT || r == -ECONNREFUSED)
                return fail(SAND_ERROR_UNAVAILABLE, "%s: nothing listens on %s; is sand-globald.socket started?", failed, path);
        return fail_errno(r, "%s: %s", failed, strerror(-r));
}

/* sand-globald is restarted, or will be by its socket. */
static bool comes_back(int r, const EventsReply *reply) {
        return r < 0 ? r == -ENOENT || r == -ECONNREFUSED
                     : reply->error == SAND_ERROR_CRASHED || reply->error == SAND_ERROR_UNAVAILABLE;
}

static int ask(EventsClient *c, const char *member, const PeerRequest *request, uint64_t patience_usec, const char *failed,
               json_object **ret) {
        uint64_t end = USEC_INFINITY;
        EventsReply reply = {};
        int r;

        r = events_open(c);
        while (r >= 0) {
                uint64_t begin = now_usec();

                r = events_call(c, member, request, &reply);
                if (patience_usec == 0 || !comes_back(r, &reply) || (r < 0 && end == USEC_INFINITY))
                        break; /* what does not listen at first is not here */
                if (end == USEC_INFINITY || now_usec() - begin > USEC_PER_SEC) /* it was there meanwhile */
                        end = now_usec() + patience_usec;
                if (now_usec() >= end || (request->deadline > 0 && now_usec() >= request->deadline))
                        break;
                events_reply_done(&reply);
                (void) usleep(PAUSE_USEC);
                r = 0;
        }
        if (r < 0)
                return fail_connect(r, failed);
        if (reply.error != _SAND_ERROR_INVALID)
                r = fail(reply.error, "%s: %s", failed, isempty(reply.message) ? sand_error_info(reply.error)->name : reply.message);
        else {
                *ret = events_document(&reply);
                r = *ret ? 0 : fail(SAND_ERROR_UNAVAILABLE, "%s: sand-globald's answer is no JSON.", failed);
        }
        events_reply_done(&reply);
        return r;
}

int events_ask(const char *member, const PeerRequest *request, const char *failed, json_object **ret) {
        _cleanup_(events_close) EventsClient c = {};

        return ask(&c, member, request, 0, failed, ret);
}

const char *document_string(json_object *o, const char *key) {
        json_object *value;

        return json_object_object_get_ex(o, key, &value) ? json_object_get_string(value) : NULL;
}

int check_async_options(void) {
        static const struct {
                const char **string;
                const char *name;
        } of_async[] = {
                { &arg_delay, "delay" }, { &arg_max_age, "max-age" }, { &arg_idempotency_key, "idempotency-key" },
                { &arg_callback, "callback" },
        };

        if (arg_async && arg_wait)
                return fail(SAND_ERROR_USAGE, "--async gives an event away, --wait waits for one that was; without both, invoke "
                                              "waits at once.");
        for (size_t i = 0; i < ELEMENTSOF(of_async) && !arg_async; i++)
                if (*of_async[i].string)
                        return fail(SAND_ERROR_USAGE, "--%s= is for events that are kept: give --async.", of_async[i].name);
        if (arg_async && arg_timeout_usec != USEC_INFINITY)
                return fail(SAND_ERROR_USAGE, "--async waits for nothing that --timeout= could end; how long the event is tried says "
                                              "--max-age=.");
        if (arg_wait && (arg_data || arg_file || arg_content_type))
                return fail(SAND_ERROR_USAGE, "--wait takes the id of an event, not another event.");
        return 0;
}

/* Options of Send and Emit, which are headers; numbers have their text in `buffers`. */
typedef struct Headers {
        const char *words[2 * OPTIONS_MAX + 1];
        char delay[24], max_age[24];
        size_t n;
} Headers;

static void header_add(Headers *h, const char *key, const char *value) {
        if (value) {
                h->words[h->n++] = key;
                h->words[h->n++] = value;
        }
}

static int header_add_span(Headers *h, const char *key, const char *option, const char *span, char buf[static 24]) {
        uint64_t usec;

        if (!span)
                return 0;
        if (parse_time_span(span, &usec) < 0 || usec == USEC_INFINITY)
                return fail(SAND_ERROR_USAGE, "--%s=%s: expected a time span such as \"30s\" or \"2h\".", option, span);
        (void) snprintf(buf, 24, "%" PRIu64, usec);
        header_add(h, key, buf);
        return 0;
}

static int headers_fill(Headers *h) {
        size_t n = strlen(strempty(arg_idempotency_key));
        int r;

        if (arg_idempotency_key && (n == 0 || n > SAND_IDEMPOTENCY_KEY_MAX))
                return fail(SAND_ERROR_USAGE, "--idempotency-key=: expected 1 to %u bytes.", SAND_IDEMPOTENCY_KEY_MAX);
        header_add(h, "caller", "sandctl");
        header_add(h, SAND_OPTION_PREFIX "source", "sandctl");
        header_add(h, SAND_OPTION_PREFIX "idempotency-key", arg_idempotency_key);
        header_add(h, SAND_OPTION_PREFIX "callback", arg_callback);
        r = header_add_span(h, SAND_OPTION_PREFIX "delay-usec", "delay", arg_delay, h->delay);
        return r ?: header_add_span(h, SAND_OPTION_PREFIX "max-age-usec", "max-age", arg_max_age, h->max_age);
}

static int send(const char *member, const char *target, const char *data, size_t size, json_object **ret) {
        _cleanup_(freep) char *failed = NULL;
        Headers headers = {};
        PeerRequest request = {
                .target = target, .content_type = arg_content_type, .headers = headers.words, .data = data, .size = size,
        };
        int r;

        r = headers_fill(&headers);
        if (r != 0)
                return r;
        if (asprintf(&failed, "Not accepted for %s", target) < 0)
                return fail_errno(-ENOMEM, "Out of memory.");
        return events_ask(member, &request, failed, ret);
}

int print_id(json_object *o) {
        const char *id = document_string(o, "id");

        if (!id)
                return fail(SAND_ERROR_UNAVAILABLE, "sand-globald's answer has no id.");
        if (arg_json != JSON_OFF)
                return json_print(o) < 0 ? fail_errno(-ENOMEM, "Out of memory.") : EXIT_SUCCESS;
        if (*id) /* none, where no function gets an event */
                (void) puts(id);
        if (json_object_get_boolean(json_object_object_get(o, "duplicate")))
                say("An event with this key was accepted before; it was not accepted again.");
        return EXIT_SUCCESS;
}

int invoke_async(const char *app, const char *function, const char *data, size_t size) {
        _cleanup_(freep) char *target = NULL;
        json_object *o = NULL;
        int r;

        if (asprintf(&target, "%s/%s", app, function) < 0)
                return fail_errno(-ENOMEM, "Out of memory.");
        r = send("Send", target, data, size, &o);
        if (r == 0)
                r = print_id(o);
        (void) json_object_put(o);
        return r;
}

int verb_emit(int argc, char **argv) {
        _cleanup_(freep) char *target = NULL, *data = NULL;
        json_object *o = NULL, *n;
        size_t size = 0;
        int fd, r;

        r = check_app_name(argv[0]);
        if (r == 0 && (!argv[1][0] || strlen(argv[1]) > SAND_TOPIC_SIZE_MAX || argv[1][strspn(argv[1], SAND_TOPIC_CHARACTERS)]))
                r = fail(SAND_ERROR_USAGE, "\"%s\" is not a topic: expected 1 to %u letters, digits, ., _ and -.", argv[1],
                         SAND_TOPIC_SIZE_MAX);
        if (r == 0)
                r = event_open(argc - 2, argv + 2, &fd);
        if (r != 0)
                return r;
        if (arg_host)
                return event_remote("emit", 2, argv, fd);
        r = event_read(fd, &data, &size);
        if (fd > STDERR_FILENO)
                (void) close(fd);
        if (r != 0)
                return r;
        if (asprintf(&target, "%s//%s", argv[0], argv[1]) < 0)
                return fail_errno(-ENOMEM, "Out of memory.");
        r = send("Emit", target, data, size, &o);
        if (r == 0)
                r = print_id(o);
        if (r == 0 && arg_json == JSON_OFF && json_object_object_get_ex(o, "events", &n) && json_object_get_int64(n) == 0)
                say("No function's trigger matches \"%s\".", argv[1]);
        (void) json_object_put(o);
        return r;
}

/* ---- wait ---- */

static int print_document_result(json_object *o) {
        const char *base64 = document_string(o, "result_base64"), *text;
        _cleanup_(freep) void *data = NULL;
        json_object *result;
        size_t size;

        if (base64) {
                int r = base64_decode(base64, &data, &size);
                return r < 0 ? fail_errno(r, "Failed to read the result: %s", strerror(-r)) : print_bytes(data, size);
        }
        if (!json_object_object_get_ex(o, "result", &result))
                return EXIT_SUCCESS;
        text = json_object_to_json_string_ext(result, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
        return text ? print_bytes(text, strlen(text)) : fail_errno(-ENOMEM, "Out of memory.");
}

static int print_outcome(json_object *o, const char *id) {
        const char *status = strempty(document_string(o, "status"));
        SandError e;

        if (streq(status, "done"))
                return print_document_result(o);
        if (!streq(status, "dead"))
                return fail(SAND_ERROR_TIMEOUT, "The event %s has not ended yet: it is %s.", id, status);
        e = sand_error_from_name(strempty(document_string(o, "error")));
        return print_error(e == _SAND_ERROR_INVALID ? SAND_ERROR_FUNCTION_FAILED : e, document_string(o, "error_class"),
                           document_string(o, "message"), document_string(o, "cause"), "/app");
}

/* Also while sand-globald is restarted: the event is not lost by that, nor is who waits for it. */
int invoke_wait(const char *id) {
        _cleanup_(events_close) EventsClient c = {};
        static const char *const headers[] = { "wait", "1", NULL };
        bool bounded = arg_timeout_usec != USEC_INFINITY;
        PeerRequest request = {
                .target = id,
                .headers = headers,
                .deadline = bounded ? usec_add(now_usec(), arg_timeout_usec) : 0,
                .timeout_usec = bounded ? usec_add(arg_timeout_usec, GRACE_USEC) : WAIT_TIMEOUT_USEC,
        };
        json_object *o = NULL;
        int r;

        r = check_event_id(id);
        if (r == 0)
                r = ask(&c, "Execution", &request, PATIENCE_USEC, id, &o);
        if (r == 0)
                r = print_outcome(o, id);
        (void) json_object_put(o);
        return r;
}
