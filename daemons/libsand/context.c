/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* <sand/function.h>: one event from its Handle message to its reply. Every event is answered exactly once,
 * also when its result is too large or memory runs out, as long as the process lives. */

#include "context.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/uio.h>

#define ERROR_CLASS_MAX 256U
#define ERROR_MESSAGE_MAX (8U * 1024U)
#define ERROR_CAUSE_MAX (64U * 1024U)
#define CONTENT_TYPE_MAX 256U
#define ERROR_PREFIX "org.sand.Error."
/* The supervisor answers a call at its deadline; we wait a little longer before we do it ourselves. */
#define REPLY_GRACE_USEC (200 * USEC_PER_MSEC)

struct sand_context {
        ContextSettings settings;
        Wire *wire;

        /* The event; strings point into its message. */
        const char *execution, *invocation, *content_type;
        uint64_t deadline;
        const char **headers;
        size_t n_headers;

        /* Its result. */
        void *reply;
        size_t reply_size;
        int reply_fd;               /* a large one is a memfd from the beginning */
        char *reply_content_type;
        int reply_error;            /* of the last sand_reply() */
        char *kind, *error, *message, *cause;

        char *last_error;
        uint64_t children_usec;     /* CPU time of the children of earlier events */
};

struct sand_result {
        WireMessage reply;
        WirePayload payload;
        const char *content_type, *kind, *error, *message, *cause;
};

int context_new(const ContextSettings *settings, Wire *wire, sand_context **ret) {
        sand_context *c;

        assert(settings);
        assert(wire);

        c = malloc(sizeof(*c));
        if (!c)
                return -ENOMEM;
        *c = (sand_context) {
                .settings = *settings,
                .wire = wire,
                .execution = "",
                .invocation = "",
                .content_type = "",
                .reply_fd = -EBADF,
        };
        *ret = c;
        return 0;
}

static void forget_failure(sand_context *c) {
        free(c->kind);
        free(c->error);
        free(c->message);
        free(c->cause);
        c->kind = c->error = c->message = c->cause = NULL;
}

static void forget_reply(sand_context *c) {
        free(TAKE_PTR(c->reply));
        c->reply_size = 0;
        c->reply_fd = safe_close(c->reply_fd);
}

/* The event is over: nothing of it stays for the next. */
static void reset(sand_context *c) {
        forget_failure(c);
        forget_reply(c);
        free(TAKE_PTR(c->reply_content_type));
        free(TAKE_PTR(c->headers));
        free(TAKE_PTR(c->last_error));
        c->n_headers = 0;
        c->reply_error = 0;
        c->deadline = 0;
        c->execution = c->invocation = c->content_type = "";
}

sand_context *context_free(sand_context *c) {
        if (!c)
                return NULL;
        reset(c);
        free(c);
        return NULL;
}

/* Results and failures */

int sand_reply(sand_context *c, const void *data, size_t size) {
        void *copy = NULL;
        int fd = -EBADF;

        if (size > c->settings.payload_max)
                return c->reply_error = -EMSGSIZE;
        if (wire_payload_fds(size) > 0) {
                fd = wire_memfd_new(data, size);
                if (fd < 0)
                        return c->reply_error = fd == -EFBIG || fd == -ENOSPC ? -ENOMEM : fd;
        } else if (size > 0) {
                copy = malloc(size);
                if (!copy)
                        return c->reply_error = -ENOMEM;
                memcpy(copy, data, size);
        }
        forget_reply(c);
        c->reply = copy;
        c->reply_size = size;
        c->reply_fd = fd;
        return c->reply_error = 0;
}

int sand_reply_content_type(sand_context *c, const char *content_type) {
        /* It becomes a line of an HTTP header. */
        if (isempty(content_type) || strlen(content_type) > CONTENT_TYPE_MAX)
                return -EINVAL;
        for (const char *p = content_type; *p; p++)
                if (*p < ' ' || *p > '~')
                        return -EINVAL;
        return free_and_strdup(&c->reply_content_type, content_type);
}

static int record_failure(sand_context *c, const char *kind, const char *error, const char *message,
                          const char *cause) {
        forget_failure(c);
        c->kind = strdup(kind);
        c->error = strndup(isempty(error) ? "Error" : error, ERROR_CLASS_MAX);
        c->message = strndup(strempty(message), ERROR_MESSAGE_MAX);
        c->cause = strndup(strempty(cause), ERROR_CAUSE_MAX);
        if (c->kind && c->error && c->message && c->cause)
                return -ECANCELED;
        forget_failure(c);
        return -ENOMEM;
}

int context_fail(sand_context *c, const char *error, const char *message, const char *cause) {
        return record_failure(c, "FunctionFailed", error, message, cause);
}

int context_fail_as(sand_context *c, const char *sand_error, const char *message) {
        return record_failure(c, sand_error, sand_error, message, NULL);
}

int sand_fail(sand_context *c, const char *error, const char *format, ...) {
        _cleanup_(freep) char *message = NULL;
        va_list ap;
        int n;

        va_start(ap, format);
        n = vasprintf(&message, format, ap);
        va_end(ap);
        if (n < 0) {
                message = NULL;
                return -ENOMEM;
        }
        return context_fail(c, error, message, NULL);
}

/* Gives a failure that the function left without one its name and text. */
static void name_failure(sand_context *c, int r) {
        char text[256];

        if (c->reply_error == -EMSGSIZE && (r == 0 || r == -EMSGSIZE)) {
                (void) snprintf(text, sizeof(text), "The result is larger than the function's payload_max, "
                                "%llu bytes.", (unsigned long long) c->settings.payload_max);
                (void) context_fail_as(c, "TooLarge", text);
        } else if (c->reply_error < 0 && r == 0)
                name_failure(c, c->reply_error);
        else if (c->kind)
                return;
        else if (r == -ENOMEM)
                (void) context_fail_as(c, "OutOfMemory", "The function ran out of memory.");
        else if (r > 0) {
                (void) snprintf(text, sizeof(text), "The function returned %d, where 0 or a negative errno "
                                "is expected.", r);
                (void) context_fail(c, "BadReturnValue", text, NULL);
        } else
                (void) context_fail(c, strerrorname_np(-r), strerrordesc_np(-r), NULL);
}

/* What the event cost */

typedef struct Usage {
        uint64_t wall, cpu, peak;
} Usage;

static uint64_t cpu_usec(void) {
        struct timespec ts;

        if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts) < 0)
                return 0;
        return (uint64_t) ts.tv_sec * USEC_PER_SEC + (uint64_t) ts.tv_nsec / 1000;
}

static uint64_t timeval_usec(const struct timeval *tv) {
        return (uint64_t) tv->tv_sec * USEC_PER_SEC + (uint64_t) tv->tv_usec;
}

static Usage usage_begin(void) {
        return (Usage) { .wall = now_usec(), .cpu = cpu_usec() };
}

static void usage_end(sand_context *c, Usage *u) {
        struct rusage self = {}, children = {};
        uint64_t children_usec;

        (void) getrusage(RUSAGE_SELF, &self);
        (void) getrusage(RUSAGE_CHILDREN, &children);
        children_usec = timeval_usec(&children.ru_utime) + timeval_usec(&children.ru_stime);
        u->wall = usec_sub(now_usec(), u->wall);
        u->cpu = usec_sub(cpu_usec(), u->cpu) + usec_sub(children_usec, c->children_usec);
        u->peak = (uint64_t) MAX(self.ru_maxrss, children.ru_maxrss) * 1024;
        c->children_usec = children_usec;
}

/* Serving */

static int send_error(sand_context *c, const WireMessage *m, const Usage *u) {
        char name[128];
        WireWriter out;

        /* Without memory even for the failure's text, that is the failure. */
        (void) snprintf(name, sizeof(name), ERROR_PREFIX "%s", c->kind ?: "OutOfMemory");
        wire_error(c->wire, &out, m, name, SAND_ERROR_FULL_SIGNATURE);
        wire_put_string(&out, c->message ?: "The function ran out of memory.");
        wire_put_string(&out, c->error ?: "OutOfMemory");
        wire_put_string(&out, c->cause);
        wire_put_usage(&out, u->wall, u->cpu, u->peak);
        return wire_send(c->wire, &out);
}

static int send_reply(sand_context *c, const WireMessage *m, const Usage *u) {
        WireWriter out;

        wire_reply(c->wire, &out, m, SAND_REPLY_FULL_SIGNATURE, c->reply_fd >= 0 ? 1 : 0);
        wire_put_string(&out, c->reply_content_type ?: c->settings.content_type ?: "application/json");
        wire_put_usage(&out, u->wall, u->cpu, u->peak);
        if (c->reply_fd >= 0)
                wire_put_memfd(&out, c->reply_fd);
        else
                wire_put_payload(&out, c->reply, c->reply_size);
        return wire_send(c->wire, &out);
}

static int read_event(sand_context *c, const WireMessage *m, WirePayload *payload) {
        WireReader in;
        int r;

        wire_reader_init(&in, m);
        (void) wire_read_string(&in, &c->execution);
        (void) wire_read_string(&in, &c->invocation);
        (void) wire_read_u64(&in, &c->deadline);
        (void) wire_read_string(&in, &c->content_type);
        (void) wire_read_headers(&in, &c->headers, &c->n_headers);
        r = wire_read_payload(&in, SAND_PAYLOAD_HARD_MAX, payload);
        return r < 0 ? r : wire_read_end(&in);
}

int context_serve(sand_context *c, const WireMessage *m,
                  int (*handle)(sand_context *context, const void *event, size_t size)) {
        WirePayload payload = { .data = "" };
        Usage usage = usage_begin();
        int r;

        assert(c);
        assert(m);

        if (!wire_message_is_call(m, SAND_INSTANCE_INTERFACE, "Handle", SAND_HANDLE_FULL_SIGNATURE))
                return wire_refuse(c->wire, m);

        r = read_event(c, m, &payload);
        if (r == -ENOMEM)
                (void) context_fail_as(c, "OutOfMemory", "The event does not fit into the function's memory.");
        else if (r < 0)
                (void) context_fail_as(c, "BadRequest", "The event's message is malformed.");
        else
                r = handle(c, payload.data, payload.size);
        if (r != 0 || c->reply_error < 0) {
                name_failure(c, r);
                r = -ECANCELED;
        }

        /* What was printed is in the journal before the caller has the answer. */
        (void) fflush(NULL);
        usage_end(c, &usage);
        r = r < 0 ? send_error(c, m, &usage) : send_reply(c, m, &usage);
        wire_payload_done(&payload);
        reset(c);
        return r;
}

/* Calls */

static int note_error(sand_context *c, const char *error, const char *message) {
        free(TAKE_PTR(c->last_error));
        if (asprintf(&c->last_error, "%s: %s", error, message) < 0)
                c->last_error = NULL;
        return -EREMOTEIO;
}

int context_start(sand_context *c, const ContextCall *call, uint32_t *ret_serial) {
        const char *traceparent = sand_header(c, "traceparent");
        const char *headers[] = { "traceparent", traceparent };
        uint64_t deadline = c->deadline;
        WireWriter out;

        if (isempty(call->target))
                return -EINVAL;
        if (call->size > c->settings.payload_max)
                return -EMSGSIZE;
        if (call->timeout_usec != UINT64_MAX) {
                uint64_t bound = usec_add(now_usec(), call->timeout_usec);
                deadline = deadline > 0 ? MIN(deadline, bound) : bound;
        }

        wire_call(c->wire, &out, SAND_APP_PATH, SAND_APP_INTERFACE, call->send ? "Send" : "Invoke",
                  SAND_INVOKE_FULL_SIGNATURE, call->memfd >= 0 ? 1 : wire_payload_fds(call->size));
        wire_put_string(&out, call->target);
        wire_put_string(&out, ""); /* the execution is inherited */
        wire_put_u64(&out, deadline);
        wire_put_string(&out, call->content_type);
        wire_put_headers(&out, headers, traceparent ? 1 : 0);
        if (call->memfd >= 0)
                wire_put_memfd(&out, call->memfd);
        else
                wire_put_payload(&out, call->data, call->size);
        *ret_serial = out.serial;
        return wire_send(c->wire, &out);
}

/* The vocabulary's name for a D-Bus error: sd-bus has names of its own for what it notices itself. */
static const char *error_kind(const char *name) {
        const char *kind = startswith(name, ERROR_PREFIX);

        if (kind)
                return kind;
        if (streq(name, "org.freedesktop.DBus.Error.UnknownMethod"))
                return "NotFound";
        if (streq(name, "org.freedesktop.DBus.Error.InvalidArgs"))
                return "BadRequest";
        return "Unavailable";
}

static int read_failure(const WireMessage *m, sand_result *result) {
        WireReader in;

        result->kind = result->error = error_kind(m->error);
        result->message = m->error;
        wire_reader_init(&in, m);
        if (*m->signature == 's' && wire_read_string(&in, &result->message) < 0)
                return -EBADMSG;
        if (streq(m->signature, SAND_ERROR_FULL_SIGNATURE)) {
                (void) wire_read_string(&in, &result->error);
                return wire_read_string(&in, &result->cause);
        }
        return 0;
}

static int read_success(const WireMessage *m, sand_result *result) {
        WireReader in;
        uint64_t usage;
        int r;

        wire_reader_init(&in, m);
        if (streq(m->signature, "s")) /* of Send */
                return wire_read_string(&in, &result->content_type);
        if (!streq(m->signature, SAND_REPLY_FULL_SIGNATURE))
                return -EBADMSG;
        (void) wire_read_string(&in, &result->content_type);
        (void) wire_read_align(&in, 8);
        for (unsigned i = 0; i < 3; i++)
                (void) wire_read_u64(&in, &usage);
        r = wire_read_payload(&in, SAND_PAYLOAD_HARD_MAX, &result->payload);
        return r < 0 ? r : wire_read_end(&in);
}

static sand_result *result_new(void) {
        sand_result *result = malloc(sizeof(*result));

        if (result)
                *result = (sand_result) { .payload.data = "", .content_type = "", .cause = "" };
        return result;
}

int context_result(sand_context *c, WireMessage *reply, sand_result **ret) {
        sand_result *result = result_new();
        int r;

        if (!result) {
                wire_message_done(reply);
                return -ENOMEM;
        }
        result->reply = *reply;
        *reply = (WireMessage) {};
        r = result->reply.type == WIRE_ERROR ? read_failure(&result->reply, result) :
                read_success(&result->reply, result);
        if (r < 0) {
                sand_result_free(result);
                return r;
        }
        *ret = result;
        return result->kind ? note_error(c, result->error, result->message) : 0;
}

/* A failure that never came as a message. */
static int local_failure(sand_context *c, const char *kind, const char *message, sand_result **ret) {
        sand_result *result = result_new();

        if (!result)
                return -ENOMEM;
        result->kind = result->error = kind;
        result->message = message;
        *ret = result;
        return note_error(c, kind, message);
}

static int wait_result(sand_context *c, uint32_t serial, uint64_t deadline, sand_result **ret) {
        for (;;) {
                WireMessage m;
                int r;

                r = wire_receive(c->wire, deadline, &m);
                if (r == 0)
                        return -EPIPE;
                if (r == -ETIMEDOUT)
                        return local_failure(c, "Timeout", "The call was not answered in time.", ret);
                if (r < 0)
                        return r;
                if ((m.type == WIRE_REPLY || m.type == WIRE_ERROR) && m.reply_serial == serial)
                        return context_result(c, &m, ret);
                /* The late answer of a call that was given up, or a signal. */
                r = wire_refuse(c->wire, &m);
                wire_message_done(&m);
                if (r < 0)
                        return r;
        }
}

static int call_and_wait(sand_context *c, const ContextCall *call, sand_result **ret) {
        uint64_t until = USEC_INFINITY;
        sand_result *result = NULL;
        uint32_t serial;
        int r;

        r = context_start(c, call, &serial);
        if (r < 0) {
                (void) note_error(c, strempty(strerrorname_np(-r)), strempty(strerrordesc_np(-r)));
                return r == -ECONNRESET ? -EPIPE : r;
        }
        if (call->timeout_usec != UINT64_MAX)
                until = usec_add(usec_add(now_usec(), call->timeout_usec), REPLY_GRACE_USEC);

        r = wait_result(c, serial, until, &result);
        if (r < 0 && !result)
                (void) note_error(c, strempty(strerrorname_np(-r)), strempty(strerrordesc_np(-r)));
        if (ret)
                *ret = result;
        else
                sand_result_free(result);
        return r;
}

int context_call(sand_context *c, const char *target, const char *content_type, const void *data, size_t size,
                 uint64_t timeout_usec, sand_result **ret) {
        const ContextCall call = {
                .target = target,
                .content_type = content_type,
                .data = data,
                .size = size,
                .memfd = -EBADF,
                .timeout_usec = timeout_usec,
        };

        return call_and_wait(c, &call, ret);
}

int context_send(sand_context *c, const char *target, const char *content_type, const void *data, size_t size) {
        const ContextCall call = {
                .send = true,
                .target = target,
                .content_type = content_type,
                .data = data,
                .size = size,
                .memfd = -EBADF,
                .timeout_usec = UINT64_MAX,
        };

        return call_and_wait(c, &call, NULL);
}

int sand_call(sand_context *c, const char *target, const void *data, size_t size, sand_result **ret) {
        return context_call(c, target, NULL, data, size, UINT64_MAX, ret);
}

int sand_send(sand_context *c, const char *target, const void *data, size_t size) {
        return context_send(c, target, NULL, data, size);
}

const void *sand_result_data(const sand_result *result) {
        return result->payload.data;
}

size_t sand_result_size(const sand_result *result) {
        return result->payload.size;
}

const char *sand_result_content_type(const sand_result *result) {
        return result->content_type;
}

const char *sand_result_error(const sand_result *result) {
        return result->error;
}

const char *sand_result_message(const sand_result *result) {
        return result->message;
}

const char *sand_result_cause(const sand_result *result) {
        return result->cause;
}

const char *sand_result_kind(const sand_result *result) {
        return result->kind;
}

void sand_result_free(sand_result *result) {
        if (!result)
                return;
        wire_payload_done(&result->payload);
        wire_message_done(&result->reply);
        free(result);
}

/* About the event */

const char *sand_last_error(const sand_context *c) {
        return strempty(c->last_error);
}

const char *sand_app(const sand_context *c) {
        return strempty(c->settings.app);
}

const char *sand_function_name(const sand_context *c) {
        return strempty(c->settings.function);
}

const char *sand_version(const sand_context *c) {
        return strempty(c->settings.version);
}

const char *sand_execution_id(const sand_context *c) {
        return c->execution;
}

const char *sand_invocation_id(const sand_context *c) {
        return c->invocation;
}

const char *sand_content_type(const sand_context *c) {
        return c->content_type;
}

const char *sand_header(const sand_context *c, const char *key) {
        for (size_t i = 0; i < c->n_headers; i++)
                if (streq(c->headers[2 * i], key))
                        return c->headers[2 * i + 1];
        return NULL;
}

size_t context_headers(const sand_context *c, const char *const **ret) {
        *ret = c->headers;
        return c->n_headers;
}

uint64_t sand_remaining_usec(const sand_context *c) {
        return c->deadline > 0 ? usec_sub(c->deadline, now_usec()) : UINT64_MAX;
}

uint64_t context_deadline(const sand_context *c) {
        return c->deadline;
}

uint64_t context_payload_max(const sand_context *c) {
        return c->settings.payload_max;
}

Wire *context_wire(sand_context *c) {
        return c->wire;
}

int context_export(const sand_context *c) {
        char deadline[24];

        (void) snprintf(deadline, sizeof(deadline), "%llu", (unsigned long long) c->deadline);
        if (setenv(SAND_ENV_EXECUTION, c->execution, 1) < 0 || setenv(SAND_ENV_INVOCATION, c->invocation, 1) < 0)
                return -errno;
        if (c->deadline == 0)
                return unsetenv(SAND_ENV_DEADLINE) < 0 ? -errno : 0;
        return setenv(SAND_ENV_DEADLINE, deadline, 1) < 0 ? -errno : 0;
}

void sand_log(sand_context *c, int priority, const char *format, ...) {
        _cleanup_(freep) char *text = NULL;
        char prefix[] = { '<', priority < 0 ? '0' : priority > 7 ? '7' : (char) ('0' + priority), '>' };
        va_list ap;
        int n;

        va_start(ap, format);
        n = vasprintf(&text, format, ap);
        va_end(ap);
        if (n < 0) {
                text = NULL;
                return;
        }

        /* The priority holds for each line of it. */
        for (char *line = text; line;) {
                char *end = strchr(line, '\n');
                struct iovec iov[] = {
                        { prefix, sizeof(prefix) },
                        { line, end ? (size_t) (end - line) : strlen(line) },
                        { (char *) "\n", 1 },
                };
                ssize_t ignored _unused_ = writev(STDERR_FILENO, iov, ELEMENTSOF(iov));

                line = end && end[1] ? end + 1 : NULL;
        }
}
