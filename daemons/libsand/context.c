/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* <sand/function.h>: one event from its Handle message to its reply. Every event is answered exactly once,
 * also when its result is too large or memory runs out, as long as the process lives. */

#include "context-private.h"

#include <assert.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/uio.h>

#define ERROR_CLASS_MAX 256U
#define ERROR_MESSAGE_MAX (8U * 1024U)
#define ERROR_CAUSE_MAX (64U * 1024U)
#define CONTENT_TYPE_MAX 256U

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
                .event = { .data = "", .fd = -EBADF },
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
        context_release_results(c);
        free(c);
        return NULL;
}

/* Results and failures */

static bool is_origin(const WirePayload *p, const void *data, size_t size) {
        return p->fd >= 0 && p->data == data && p->size == size;
}

int context_origin(const sand_context *c, const void *data, size_t size) {
        if (wire_payload_fds(size) == 0)
                return -EBADF;
        if (is_origin(&c->event, data, size))
                return c->event.fd;
        for (const sand_result *i = c->results; i; i = i->next)
                if (is_origin(&i->payload, data, size))
                        return i->payload.fd;
        return -EBADF;
}

/* A sealed memfd of ours. */
static int memfd_with(const sand_context *c, const void *data, size_t size) {
        int fd = context_origin(c, data, size);

        if (fd < 0)
                return wire_memfd_new(data, size);
        fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        return fd < 0 ? -errno : fd;
}

int sand_reply(sand_context *c, const void *data, size_t size) {
        void *copy = NULL;
        int fd = -EBADF;

        if (size > c->settings.payload_max)
                return c->reply_error = -EMSGSIZE;
        if (wire_payload_fds(size) > 0) {
                fd = memfd_with(c, data, size);
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
        c->cause = cause ? strndup(cause, ERROR_CAUSE_MAX) : strdup("");
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
        u->cpu = usec_sub(timeval_usec(&self.ru_utime) + timeval_usec(&self.ru_stime), u->cpu) +
                 usec_sub(children_usec, c->children_usec);
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

static int read_event(sand_context *c, const WireMessage *m) {
        WireReader in;
        int r;

        wire_reader_init(&in, m);
        (void) wire_read_string(&in, &c->execution);
        (void) wire_read_string(&in, &c->invocation);
        (void) wire_read_u64(&in, &c->deadline);
        (void) wire_read_string(&in, &c->content_type);
        (void) wire_read_headers(&in, &c->headers, &c->n_headers);
        r = wire_read_payload(&in, SAND_PAYLOAD_HARD_MAX, &c->event);
        return r < 0 ? r : wire_read_end(&in);
}

int context_serve(sand_context *c, const WireMessage *m,
                  int (*handle)(sand_context *context, const void *event, size_t size)) {
        Usage usage = usage_begin();
        int r;

        assert(c);
        assert(m);

        if (!wire_message_is_call(m, SAND_INSTANCE_INTERFACE, "Handle", SAND_HANDLE_FULL_SIGNATURE))
                return wire_refuse(c->wire, m);

        r = read_event(c, m);
        if (r == -ENOMEM)
                (void) context_fail_as(c, "OutOfMemory", "The event does not fit into the function's memory.");
        else if (r < 0)
                (void) context_fail_as(c, "BadRequest", "The event's message is malformed.");
        else
                r = handle(c, c->event.data, c->event.size);
        if (r != 0 || c->reply_error < 0) {
                name_failure(c, r);
                r = -ECANCELED;
        }

        /* What was printed is in the journal before the caller has the answer. */
        (void) fflush(NULL);
        usage_end(c, &usage);
        r = r < 0 ? send_error(c, m, &usage) : send_reply(c, m, &usage);
        wire_payload_done(&c->event);
        reset(c);
        return r;
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

/* In the environment from the worker on, so that an instance writes values only: setenv() never gives up a value that
 * it was given, and it and printf() are a dozen pages that an instance would not touch otherwise. */
static char execution_variable[64] = SAND_ENV_EXECUTION "=", invocation_variable[64] = SAND_ENV_INVOCATION "=",
            deadline_variable[64] = SAND_ENV_DEADLINE "=";

static int put_variable(char *variable) {
        for (char **i = environ; i && *i; i++)
                if (*i == variable)
                        return 0;
        return putenv(variable) != 0 ? -errno : 0;
}

static void write_value(char variable[static 64], const char *value) {
        char *at = strchr(variable, '=') + 1;
        size_t n = strnlen(value, (size_t) (variable + 63 - at));

        memcpy(at, value, n);
        at[n] = 0;
}

static const char *decimal(uint64_t n, char buffer[static 21]) {
        char *p = buffer + 20;

        *p = 0;
        do
                *--p = (char) ('0' + n % 10);
        while ((n /= 10) > 0);
        return p;
}

int context_prepare_export(void) {
        int r = put_variable(execution_variable);

        if (r >= 0)
                r = put_variable(invocation_variable);
        return r < 0 ? r : put_variable(deadline_variable);
}

int context_export(const sand_context *c) {
        char digits[21];
        int r;

        write_value(execution_variable, c->execution);
        write_value(invocation_variable, c->invocation);
        write_value(deadline_variable, decimal(c->deadline, digits));
        r = context_prepare_export(); /* user code may have replaced the environment */
        if (r >= 0 && c->deadline == 0 && unsetenv(SAND_ENV_DEADLINE) < 0)
                r = -errno;
        return r;
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
