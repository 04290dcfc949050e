/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus.h"

#include <assert.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "log.h"
#include "protocol.h"

/* A caller that has not authenticated by then is disconnected. */
#define SILENCE_USEC (25 * USEC_PER_SEC)

int bus_serve(sd_event *event, int fd, sd_bus **ret) {
        sd_id128_t id;
        sd_bus *bus = NULL;
        int r;

        r = sd_id128_randomize(&id);
        if (r >= 0)
                r = sd_bus_new(&bus);
        if (r < 0) {
                safe_close(fd);
                return r;
        }
        r = sd_bus_set_fd(bus, fd, fd);
        if (r < 0)
                safe_close(fd);
        /* Whoever holds the other end may use it: the socket's mode or the parent decided. A peer of the
         * host is the overflow uid here, so its identity would say nothing. */
        if (r >= 0)
                r = sd_bus_set_server(bus, 1, id);
        if (r >= 0)
                r = sd_bus_set_anonymous(bus, 1);
        if (r >= 0)
                r = sd_bus_negotiate_fds(bus, 1);
        if (r >= 0)
                r = sd_bus_start(bus);
        if (r >= 0)
                r = sd_bus_attach_event(bus, event, SD_EVENT_PRIORITY_NORMAL);
        if (r < 0) {
                sd_bus_close(bus);
                sd_bus_unref(bus);
                return r;
        }
        *ret = bus;
        return 0;
}

/* Callers */

void connection_go_away(Connection *c) {
        WireWriter out;

        if (c->kind != CONNECTION_APP || !c->wire.answered || c->gone_away)
                return;
        c->gone_away = true;
        wire_signal(&c->wire, &out, SAND_APP_PATH, SAND_APP_INTERFACE, "GoAway", "");
        (void) wire_send(&c->wire, &out); /* one that is gone says so itself */
}

static void caller_gone(Connection *c) {
        Supervisor *s = c->supervisor;

        connection_free(c);
        supervisor_check_stop(s);
}

/* One turn of a caller: what one system call brings. */
static void caller_read(Connection *c) {
        do {
                WireMessage m;
                int r = wire_receive(&c->wire, USEC_INFINITY, &m);

                if (c->supervisor->stopping)
                        connection_go_away(c);
                if (r == -EAGAIN)
                        return;
                if (r <= 0) {
                        caller_gone(c);
                        return;
                }
                app_handle(c, &m);
                wire_message_done(&m);
        } while (wire_has_message(&c->wire));
}

static void on_io(uint32_t revents, void *userdata) {
        Connection *c = userdata;

        if (revents & EPOLLOUT) {
                if (wire_flush(&c->wire) < 0) {
                        caller_gone(c);
                        return;
                }
                hub_want_room(c->io, c->wire.blocked);
        }
        if (revents & ~EPOLLOUT)
                caller_read(c);
}

static void on_queued(Wire *w) {
        Connection *c = CONTAINER_OF(w, Connection, wire);
        Supervisor *s = c->supervisor;

        if (w->blocked)
                hub_want_room(c->io, true);
        else if (!c->unflushed) {
                c->unflushed = true;
                c->next_unflushed = s->unflushed;
                s->unflushed = c;
        }
}

static void forget_unflushed(Connection *c) {
        Connection **i = &c->supervisor->unflushed;

        while (*i != c)
                i = &(*i)->next_unflushed;
        *i = c->next_unflushed;
        c->unflushed = false;
}

void bus_flush(void *supervisor) {
        Supervisor *s = supervisor;

        while (s->unflushed) {
                Connection *c = s->unflushed;

                forget_unflushed(c);
                if (!c->wire.blocked && wire_flush(&c->wire) < 0)
                        caller_gone(c);
        }
}

static int on_silent(sd_event_source *source, uint64_t usec, void *userdata) {
        Supervisor *s = userdata;
        uint64_t now = now_usec(), next = USEC_INFINITY;

        for (Connection *c = s->connections, *following; c; c = following) {
                uint64_t until = c->accepted_usec + SILENCE_USEC;

                following = c->next;
                if (c->kind != CONNECTION_APP || c->wire.answered)
                        continue;
                if (until <= now)
                        connection_free(c);
                else
                        next = MIN(next, until);
        }
        s->silent = sd_event_source_disable_unref(s->silent);
        if (next != USEC_INFINITY)
                (void) sd_event_add_time(s->event, &s->silent, CLOCK_MONOTONIC, next, USEC_PER_SEC, on_silent, s);
        supervisor_check_stop(s);
        return 0;
}

static int caller_serve(Connection *c, int fd) {
        Supervisor *s = c->supervisor;

        wire_init_server(&c->wire, fd, s->id, on_queued);
        c->wire.gather = hub_turns(s->hub);
        c->caller.wire = &c->wire;
        if (!s->silent) {
                int r = sd_event_add_time(s->event, &s->silent, CLOCK_MONOTONIC, c->accepted_usec + SILENCE_USEC,
                                          USEC_PER_SEC, on_silent, s);
                if (r < 0)
                        return r;
        }
        return hub_add(s->hub, fd, on_io, c, &c->io);
}

/* Connections */

Connection *connection_free(Connection *c) {
        Supervisor *s;

        if (!c)
                return NULL;
        s = c->supervisor;
        if (c->prev)
                c->prev->next = c->next;
        else if (s->connections == c)
                s->connections = c->next;
        if (c->next)
                c->next->prev = c->prev;
        s->n_connections--;
        if (c->kind == CONNECTION_CONTROL) {
                control_connection_gone(c);
                (void) sd_bus_detach_event(c->bus);
                sd_bus_close(c->bus);
                sd_bus_unref(c->bus);
        } else {
                if (c->unflushed)
                        forget_unflushed(c);
                (void) hub_remove(c->io);
                caller_done(&c->caller);
                wire_done(&c->wire);
        }
        free(c);
        return NULL;
}

static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Connection *c = userdata;

        if (!sd_bus_message_is_signal(m, "org.freedesktop.DBus.Local", "Disconnected"))
                return 0;
        connection_free(c);
        return 1;
}

static int host_serve(Connection *c, int fd) {
        int r;

        r = bus_serve(c->supervisor->event, fd, &c->bus);
        if (r >= 0)
                r = sd_bus_add_filter(c->bus, NULL, on_message, c);
        return r < 0 ? r : control_serve(c);
}

static int connection_new(Supervisor *s, int fd, ConnectionKind kind) {
        Connection *c;
        int r;

        c = calloc(1, sizeof(Connection));
        if (!c) {
                safe_close(fd);
                return -ENOMEM;
        }
        *c = (Connection) { .supervisor = s, .kind = kind, .accepted_usec = now_usec(), .wire.fd = -EBADF };
        c->next = s->connections;
        if (c->next)
                c->next->prev = c;
        s->connections = c;
        s->n_connections++;

        r = kind == CONNECTION_APP ? caller_serve(c, fd) : host_serve(c, fd);
        if (r < 0)
                connection_free(c);
        return r;
}

static ConnectionKind kind_of_socket(int fd) {
        struct sockaddr_un sa = {};
        socklen_t length = sizeof(sa) - 1;
        size_t n;

        /* nspawn drops the descriptors' names, so the address says what the socket is for. */
        if (getsockname(fd, (struct sockaddr *) &sa, &length) < 0 || sa.sun_family != AF_UNIX)
                return CONNECTION_APP;
        n = strlen(sa.sun_path);
        return n > 8 && streq(sa.sun_path + n - 8, ".control") ? CONNECTION_CONTROL : CONNECTION_APP;
}

static int on_accept(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Supervisor *s = userdata;
        ConnectionKind kind = kind_of_socket(fd);

        for (unsigned i = 0; i < 32; i++) { /* then the others have their turn */
                int r, connection;

                if (s->n_connections >= CONNECTIONS_MAX && kind == CONNECTION_APP)
                        return sd_event_source_set_enabled(source, SD_EVENT_OFF); /* housekeeping turns it on */
                connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
                if (connection < 0) {
                        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
                                log_warning_errno(errno, "Failed to accept a connection: %m");
                                supervisor_want_housekeeping(s);
                                return sd_event_source_set_enabled(source, SD_EVENT_OFF);
                        }
                        return 0;
                }
                r = connection_new(s, connection, kind);
                if (r < 0)
                        log_warning_errno(r, "Failed to serve a connection: %m");
                supervisor_note_activity(s);
        }
        return 0;
}

int bus_listen(Supervisor *s, int fd, sd_event_source **ret) {
        sd_event_source *source;
        int r;

        (void) fcntl(fd, F_SETFD, FD_CLOEXEC);
        r = fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
        if (r < 0)
                return -errno;
        r = sd_event_add_io(s->event, &source, fd, EPOLLIN, on_accept, s);
        if (r < 0)
                return r;
        (void) sd_event_source_set_io_fd_own(source, true);
        *ret = source;
        return 0;
}
