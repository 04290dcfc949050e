/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server.h"

#include <assert.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "../shared/log.h"
#include "protocol.h"

#define CONNS_MAX 4096U
/* Of one machine: its supervisor needs one, and one more while the other is given up. */
#define CONNS_PER_MACHINE_MAX 8U
/* What one connection may wait for at a time: further ones stay in its socket. */
#define REQUESTS_PER_CONN_MAX 1024U
#define HEADERS_MAX 40U

struct Conn {
        Server *server;
        Conn *prev, *next;
        Wire wire;
        sd_event_source *io, *flush;
        bool gather, paused;
        Request *requests;
        unsigned n_requests;
        char app[APP_NAME_MAX + 1];
        bool root;
};

struct Server {
        Globald *globald;
        Server *next;
        bool machines;
        sd_event_source *listen;
        Conn *conns;
        unsigned n_conns;
        char id[WIRE_ID_LENGTH + 1];
};

/* ---- requests ---- */

Request *request_free(Request *q) {
        Conn *c;

        if (!q)
                return NULL;
        c = q->conn;
        if (c) {
                if (q->prev)
                        q->prev->next = q->next;
                else
                        c->requests = q->next;
                if (q->next)
                        q->next->prev = q->prev;
                c->n_requests--;
                if (c->paused && c->n_requests < REQUESTS_PER_CONN_MAX) {
                        c->paused = false;
                        (void) sd_event_source_set_enabled(c->flush, SD_EVENT_ONESHOT); /* reads on, too */
                }
        }
        free(q->headers);
        wire_payload_done(&q->payload);
        wire_message_done(&q->call);
        free(q);
        return NULL;
}

void request_answer(Request *q, const char *content_type, const Usage *usage, const Payload *payload) {
        static const Usage none = {};
        WireWriter out;

        if (!usage)
                usage = &none;
        if (q->conn && !q->call.no_reply) {
                Wire *w = &q->conn->wire;

                wire_reply(w, &out, &q->call, SAND_REPLY_FULL_SIGNATURE,
                           payload->fd >= 0 ? 1 : wire_payload_fds(payload->size));
                wire_put_string(&out, strempty(content_type));
                wire_put_usage(&out, usage->wall_usec, usage->cpu_usec, usage->peak_bytes);
                if (payload->fd >= 0)
                        wire_put_memfd(&out, payload->fd);
                else
                        wire_put_payload(&out, payload->data, payload->size);
                (void) wire_send(w, &out);
        }
        (void) request_free(q);
}

void request_answer_json(Request *q, json_object *o) {
        Payload payload = PAYLOAD_EMPTY;

        payload.data = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
        if (!payload.data)
                request_refuse(q, SAND_ERROR_UNAVAILABLE, "Out of memory.");
        else {
                payload.size = strlen(payload.data);
                request_answer(q, "application/json", NULL, &payload);
        }
        json_object_put(o);
}

void request_fail(Request *q, const Failure *failure, const Usage *usage) {
        if (q->conn)
                (void) wire_reply_failure(&q->conn->wire, &q->call, failure, usage);
        (void) request_free(q);
}

void request_refuse(Request *q, SandError kind, const char *format, ...) {
        char message[512];
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(message, sizeof(message), format, ap);
        va_end(ap);
        request_fail(q, &(Failure) { .kind = kind, .message = message }, NULL);
}

void request_fail_log(Request *q, int error) {
        errno = -error;
        switch (error) {
        case -ENOENT:
                request_refuse(q, SAND_ERROR_NOT_FOUND, "There is no such event.");
                break;
        case -EEXIST:
                request_refuse(q, SAND_ERROR_BAD_REQUEST, "More than one event's id begins with these digits.");
                break;
        case -EBUSY:
                request_refuse(q, SAND_ERROR_BUSY, "Another event of this source has not ended.");
                break;
        case -ENOBUFS:
                request_refuse(q, SAND_ERROR_BUSY, "Too many events wait for the disk.");
                break;
        case -ENOSPC:
                request_refuse(q, SAND_ERROR_UNAVAILABLE, "The disk of the event log is full: nothing is accepted.");
                break;
        default:
                request_refuse(q, SAND_ERROR_UNAVAILABLE, "The event log cannot be used: %m");
        }
}

const char *request_header(const Request *q, const char *key) {
        for (size_t i = 0; i < q->n_headers; i++)
                if (streq(q->headers[2 * i], key))
                        return q->headers[2 * i + 1];
        return NULL;
}

static int request_read(Request *q) {
        const char **headers;
        WireReader in;
        size_t n = 0;

        if (!streq(q->call.signature, SAND_INVOKE_FULL_SIGNATURE) || q->call.n_fds > 1)
                return -EBADMSG;
        wire_reader_init(&in, &q->call);
        (void) wire_read_string(&in, &q->target);
        (void) wire_read_string(&in, &q->execution);
        (void) wire_read_u64(&in, &q->deadline);
        (void) wire_read_string(&in, &q->content_type);
        if (wire_read_headers(&in, &headers, &n) < 0)
                return -EBADMSG;
        q->headers = realloc(headers, (2 * n + 1) * sizeof(char *));
        if (!q->headers) {
                free(headers);
                return -ENOMEM;
        }
        q->headers[2 * n] = NULL;
        q->n_headers = n;
        if (n > HEADERS_MAX)
                return -E2BIG;
        (void) wire_read_payload(&in, SAND_PAYLOAD_HARD_MAX, &q->payload);
        return in.error ?: wire_read_end(&in);
}

/* Takes the message. */
static void request_begin(Conn *c, WireMessage *m) {
        Request *q = calloc(1, sizeof(Request));
        int r;

        if (!q)
                return; /* the caller's timeout */
        q->globald = c->server->globald;
        q->call = *m;
        *m = (WireMessage) {};
        memcpy(q->app, c->app, sizeof(q->app));
        q->root = c->root;
        q->conn = c;
        q->next = c->requests;
        if (q->next)
                q->next->prev = q;
        c->requests = q;
        c->n_requests++;
        r = request_read(q);
        if (r == -EMSGSIZE)
                request_refuse(q, SAND_ERROR_TOO_LARGE, "The payload is larger than 64 MiB.");
        else if (r < 0)
                request_refuse(q, SAND_ERROR_BAD_REQUEST, "Malformed call: expected the arguments "
                               SAND_INVOKE_FULL_SIGNATURE " with at most %u headers, and a payload in ay or a sealed memfd.",
                               HEADERS_MAX);
        else
                methods_handle(q, q->call.member);
}

/* ---- connections ---- */

static void conn_free(Conn *c) {
        Server *s = c->server;

        for (Request *q = c->requests, *next; q; q = next) {
                next = q->next;
                q->conn = NULL;
                q->prev = q->next = NULL;
                if (q->gone)
                        q->gone(q);
        }
        if (c->prev)
                c->prev->next = c->next;
        else
                s->conns = c->next;
        if (c->next)
                c->next->prev = c->prev;
        s->n_conns--;
        (void) wire_flush(&c->wire); /* at our end, answers wait here that say what is on disk */
        sd_event_source_disable_unref(c->io);
        sd_event_source_disable_unref(c->flush);
        wire_done(&c->wire);
        free(c);
        if (s->listen)
                (void) sd_event_source_set_enabled(s->listen, SD_EVENT_ON);
}

static void conn_watch(Conn *c) {
        (void) sd_event_source_set_io_events(c->io, (c->paused ? 0U : EPOLLIN) | (c->wire.blocked ? EPOLLOUT : 0U));
}

/* 0: there is no more now; negative: the connection is over. */
static int conn_read(Conn *c) {
        do {
                WireMessage m;
                int r;

                if (c->n_requests >= REQUESTS_PER_CONN_MAX) {
                        c->paused = true;
                        return 0;
                }
                r = wire_receive(&c->wire, USEC_INFINITY, &m);
                if (r == -EAGAIN)
                        return 0;
                if (r <= 0)
                        return r < 0 ? r : -ECONNRESET;
                if (m.type == WIRE_CALL && m.interface && streq(m.interface, SAND_EVENTS_INTERFACE) &&
                    streq(m.path, SAND_EVENTS_PATH))
                        request_begin(c, &m);
                else
                        (void) wire_refuse(&c->wire, &m);
                wire_message_done(&m);
        } while (wire_has_message(&c->wire));
        return 0;
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Conn *c = userdata;
        int r = 0;

        if (revents & EPOLLOUT)
                r = wire_flush(&c->wire);
        if (r >= 0 && revents & ~EPOLLOUT)
                r = c->paused && revents & (EPOLLHUP | EPOLLERR) ? -ECONNRESET : conn_read(c);
        if (r < 0)
                conn_free(c);
        else
                conn_watch(c);
        return 0;
}

/* After all that the turn brought: its answers leave together. */
static int on_flush(sd_event_source *source, void *userdata) {
        Conn *c = userdata;
        int r = c->wire.blocked ? 0 : wire_flush(&c->wire);

        if (r >= 0 && !c->paused && wire_has_message(&c->wire))
                r = conn_read(c);
        if (r < 0)
                conn_free(c);
        else
                conn_watch(c);
        return 0;
}

static void on_queued(Wire *w) {
        Conn *c = CONTAINER_OF(w, Conn, wire);

        (void) sd_event_source_set_enabled(c->flush, SD_EVENT_ONESHOT);
}

static int conn_identify(Conn *c, int fd) {
        struct ucred who;
        socklen_t n = sizeof(who);
        unsigned n_others = 0;
        const App *app;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) < 0)
                return -errno;
        if (!c->server->machines) {
                c->root = who.uid == 0;
                return 0;
        }
        app = apps_find_uid(c->server->globald->apps, who.uid);
        if (!app)
                return -EPERM;
        for (const Conn *other = c->server->conns; other; other = other->next)
                n_others += streq(other->app, app->entry->name);
        if (n_others >= CONNS_PER_MACHINE_MAX)
                return -EUSERS;
        (void) strcpy(c->app, app->entry->name);
        return 0;
}

static int conn_new(Server *s, int fd) {
        sd_event *event = s->globald->event;
        Conn *c;
        int r;

        c = calloc(1, sizeof(Conn));
        if (!c) {
                safe_close(fd);
                return -ENOMEM;
        }
        c->server = s;
        c->next = s->conns;
        if (c->next)
                c->next->prev = c;
        s->conns = c;
        s->n_conns++;
        wire_init_server(&c->wire, fd, s->id, on_queued);
        c->gather = true;
        c->wire.gather = &c->gather;
        r = conn_identify(c, fd);
        if (r >= 0)
                r = sd_event_add_defer(event, &c->flush, on_flush, c);
        if (r >= 0)
                r = sd_event_source_set_enabled(c->flush, SD_EVENT_OFF);
        if (r >= 0)
                r = sd_event_source_set_priority(c->flush, SD_EVENT_PRIORITY_NORMAL + 1);
        if (r >= 0)
                r = sd_event_add_io(event, &c->io, fd, EPOLLIN, on_io, c);
        if (r < 0)
                conn_free(c);
        return r;
}

static int on_accept(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Server *s = userdata;

        for (unsigned i = 0; i < 32; i++) { /* then the others have their turn */
                int connection, r;

                if (s->n_conns >= CONNS_MAX)
                        return sd_event_source_set_enabled(source, SD_EVENT_OFF);
                connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
                if (connection < 0) {
                        if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
                                return 0;
                        (void) log_warning_errno(errno, "Failed to accept a connection, trying again soon: %m");
                        return sd_event_source_set_enabled(source, SD_EVENT_OFF); /* it would be said without end */
                }
                r = conn_new(s, connection);
                if (r == -EPERM)
                        log_notice("Refused a connection to the machines' socket of who is no machine's supervisor.");
                else if (r < 0)
                        (void) log_warning_errno(r, "Failed to serve a connection: %m");
        }
        return 0;
}

int server_new(Globald *g, int fd, bool machines, Server **ret) {
        _cleanup_(closep) int owned = fd;
        sd_id128_t id;
        Server *s;
        int r;

        r = sd_id128_randomize(&id);
        if (r < 0)
                return r;
        if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
                return -errno;
        s = calloc(1, sizeof(Server));
        if (!s)
                return -ENOMEM;
        s->globald = g;
        s->machines = machines;
        (void) sd_id128_to_string(id, s->id);
        r = sd_event_add_io(g->event, &s->listen, fd, EPOLLIN, on_accept, s);
        if (r < 0) {
                free(s);
                return r;
        }
        (void) sd_event_source_set_io_fd_own(s->listen, true);
        owned = -EBADF;
        s->next = g->servers;
        g->servers = s;
        *ret = s;
        return 0;
}

Server *server_next(const Server *s) {
        return s->next;
}

void server_try_again(Server *s) {
        if (s->listen && s->n_conns < CONNS_MAX)
                (void) sd_event_source_set_enabled(s->listen, SD_EVENT_ON);
}

bool server_is_idle(const Server *s) {
        return s->n_conns == 0;
}

void server_stop(Server *s) {
        s->listen = sd_event_source_disable_unref(s->listen);
}

Server *server_free(Server *s) {
        if (!s)
                return NULL;
        server_stop(s);
        while (s->conns)
                conn_free(s->conns);
        free(s);
        return NULL;
}
