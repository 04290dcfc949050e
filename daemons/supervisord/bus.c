/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus.h"

#include <assert.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "log.h"
#include "protocol.h"

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

static int method_invoke(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Connection *c = userdata;
        Failure failure;
        Event *e;

        if (event_new(m, &e, &failure) < 0)
                (void) bus_reply_failure(m, &failure, NULL);
        else
                supervisor_submit(c->supervisor, e);
        return 1;
}

static int method_describe(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Connection *c = userdata;
        json_object *o = supervisor_describe(c->supervisor);
        int r;

        r = sd_bus_reply_method_return(m, "s", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
        json_object_put(o);
        return r;
}

static const sd_bus_vtable app_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("Invoke",
                                SD_BUS_ARGS("s", target, "s", execution, "t", deadline, "s", content_type,
                                            "a{ss}", headers, "v", payload),
                                SD_BUS_RESULT("s", content_type, "(ttt)", usage, "v", payload),
                                method_invoke, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Describe", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", json), method_describe,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_SIGNAL("GoAway", "", 0),
        SD_BUS_VTABLE_END,
};

void connection_go_away(Connection *c) {
        int r;

        r = c->kind == CONNECTION_APP
                    ? sd_bus_emit_signal(c->bus, SAND_APP_PATH, SAND_APP_INTERFACE, "GoAway", NULL)
                    : 0;
        if (r < 0)
                connection_free(c);
}

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
        if (c->kind == CONNECTION_CONTROL)
                control_connection_gone(c);
        (void) sd_bus_detach_event(c->bus);
        sd_bus_close(c->bus);
        sd_bus_unref(c->bus);
        free(c);
        return NULL;
}

static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Connection *c = userdata;
        Supervisor *s = c->supervisor;

        if (!sd_bus_message_is_signal(m, "org.freedesktop.DBus.Local", "Disconnected"))
                return 0;
        connection_free(c);
        supervisor_check_stop(s);
        return 1;
}

static int connection_new(Supervisor *s, int fd, ConnectionKind kind) {
        Connection *c;
        int r;

        c = calloc(1, sizeof(Connection));
        if (!c) {
                safe_close(fd);
                return -ENOMEM;
        }
        *c = (Connection) { .supervisor = s, .kind = kind };
        r = bus_serve(s->event, fd, &c->bus);
        if (r < 0) {
                free(c);
                return r;
        }
        c->next = s->connections;
        if (c->next)
                c->next->prev = c;
        s->connections = c;
        s->n_connections++;

        r = sd_bus_add_filter(c->bus, NULL, on_message, c);
        if (r >= 0 && kind == CONNECTION_APP)
                r = sd_bus_add_object_vtable(c->bus, NULL, SAND_APP_PATH, SAND_APP_INTERFACE, app_vtable, c);
        else if (r >= 0)
                r = control_serve(c);
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
