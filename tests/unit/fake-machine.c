/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The other end of peer.c for tests and benchmarks of what talks to a machine: a real sd-bus peer server
 * on a unix socket that speaks org.sand.App1. What it does is said by the call's target:
 *
 *   echo     the payload back, with its content type      empty    nothing
 *   info     execution, deadline, headers as text         count    Invokes answered or dropped so far
 *   delay    echo after the payload's milliseconds        big      a memfd of the payload's bytes
 *   fail     FunctionFailed of class Oops                 error    org.sand.Error.<payload>
 *   garbage  an answer without a payload                 never    no answer
 *   die      the process ends without an answer           hangup   the connection ends without an answer
 *   goaway   GoAway, then echo                           event    the payload, as JSON
 *   answer   the body of the HTTP event, as JSON          vars     info, as a CGI program's answer
 *
 * It also speaks globald's org.sand.Events1, as far as who asks it can tell: Send and Emit remember keys and the event, and
 * Execution says of one what was sent as its result. It has ended if that is waited for, unless it was sent to "never". What
 * is sent to "error", "garbage" and "die" is answered as above, and what is sent to "delay" is not.
 *
 * fake-machine SOCKET [DROP]: the first DROP connections are closed before they can authenticate. */

#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>
#include <systemd/sd-id128.h>

#include "error.h"
#include "macro.h"
#include "payload.h"
#include "protocol.h"

#define KEPT_MAX 1024U

/* What was sent. */
typedef struct Kept {
        char id[33];
        char *app, *target, *key;
        json_object *sent;
} Kept;

typedef struct Machine {
        Kept kept[KEPT_MAX];
        size_t n_kept;
        sd_event *event;
        unsigned drop;
        uint64_t n_invokes;
} Machine;

typedef struct Later {
        sd_bus_message *call;
        Payload payload;
} Later;

static int reply_bytes(sd_bus_message *m, const char *content_type, const void *data, size_t size) {
        sd_bus_message *reply = NULL;
        int r;

        r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = sd_bus_message_append(reply, "s(ttt)", content_type, UINT64_C(1500), UINT64_C(700),
                                          UINT64_C(4096));
        if (r >= 0)
                r = payload_append_bytes(reply, data, size);
        if (r >= 0)
                r = sd_bus_send(NULL, reply, NULL);
        sd_bus_message_unref(reply);
        return r;
}

static int reply_payload(sd_bus_message *m, const char *content_type, const Payload *p) {
        const void *data;
        void *mapping;
        int r;

        r = payload_map(p, &data, &mapping);
        if (r < 0)
                return r;
        return reply_bytes(m, content_type, data, p->size);
}

static int reply_error(sd_bus_message *m, const char *name, const char *message, const char *class) {
        sd_bus_message *reply = NULL;
        sd_bus_error e = SD_BUS_ERROR_MAKE_CONST(name, message);
        int r;

        r = sd_bus_message_new_method_error(m, &reply, &e);
        /* sd-bus put the message there: the body's first string. */
        if (r >= 0)
                r = sd_bus_message_append(reply, "ss(ttt)", class, "a cause", UINT64_C(1), UINT64_C(2),
                                          UINT64_C(3));
        if (r >= 0)
                r = sd_bus_send(NULL, reply, NULL);
        sd_bus_message_unref(reply);
        return r;
}

static int on_later(sd_event_source *s, uint64_t usec, void *userdata) {
        Later *l = userdata;
        (void) reply_payload(l->call, "text/plain", &l->payload);
        sd_bus_message_unref(l->call);
        payload_done(&l->payload);
        free(l);
        sd_event_source_unref(s);
        return 0;
}

static int reply_later(Machine *machine, sd_bus_message *m, Payload *p, uint64_t ms) {
        Later *l = calloc(1, sizeof(Later));
        sd_event_source *s;

        if (!l)
                return -ENOMEM;
        l->call = sd_bus_message_ref(m);
        l->payload = *p;
        *p = PAYLOAD_EMPTY;
        return sd_event_add_time_relative(machine->event, &s, CLOCK_MONOTONIC, ms * USEC_PER_MSEC, 1,
                                          on_later, l);
}

static uint64_t payload_number(const Payload *p) {
        char text[32] = "";
        memcpy(text, p->data, MIN(p->size, sizeof(text) - 1));
        return strtoull(text, NULL, 10);
}

static int reply_body_of(sd_bus_message *m, const Payload *p) {
        struct json_tokener *tokener = json_tokener_new();
        const void *data;
        json_object *o, *body;
        void *mapping;
        int r;

        r = payload_map(p, &data, &mapping);
        if (r < 0)
                return r;
        o = json_tokener_parse_ex(tokener, data, (int) p->size);
        json_tokener_free(tokener);
        body = json_object_object_get(o, "body");
        r = reply_bytes(m, "application/json", json_object_get_string(body), (size_t) json_object_get_string_len(body));
        json_object_put(o);
        return r;
}

static int reply_info(sd_bus_message *m, const char *info) {
        _cleanup_(freep) char *text = NULL;

        if (asprintf(&text, "Content-Type: text/plain\r\n\r\n%s", info) < 0)
                return -ENOMEM;
        return reply_bytes(m, "text/plain", text, strlen(text));
}

static int answer(Machine *machine, sd_bus_message *m, const char *target, const char *content_type,
                  const char *info, Payload *p) {
        sd_bus *bus = sd_bus_message_get_bus(m);
        char text[64];

        if (streq(target, "echo"))
                return reply_payload(m, content_type, p);
        if (streq(target, "event"))
                return reply_payload(m, "application/json", p);
        if (streq(target, "answer"))
                return reply_body_of(m, p);
        if (streq(target, "vars"))
                return reply_info(m, info);
        if (streq(target, "empty"))
                return reply_bytes(m, "application/json", NULL, 0);
        if (streq(target, "info"))
                return reply_bytes(m, "text/plain", info, strlen(info));
        if (streq(target, "count")) {
                (void) snprintf(text, sizeof(text), "%llu", (unsigned long long) machine->n_invokes);
                return reply_bytes(m, "text/plain", text, strlen(text));
        }
        if (streq(target, "delay"))
                return reply_later(machine, m, p, payload_number(p));
        if (streq(target, "big")) {
                size_t n = payload_number(p);
                _cleanup_(freep) char *bytes = malloc(n);
                if (!bytes)
                        return -ENOMEM;
                memset(bytes, 'x', n);
                return reply_bytes(m, "image/jpeg", bytes, n);
        }
        if (streq(target, "fail"))
                return reply_error(m, SAND_ERROR_PREFIX "FunctionFailed", "it \"failed\"", "Oops");
        if (streq(target, "error")) {
                (void) snprintf(text, sizeof(text), SAND_ERROR_PREFIX "%.*s", (int) MIN(p->size, 32U),
                                (const char *) p->data);
                return reply_error(m, text, "as asked", "");
        }
        if (streq(target, "garbage"))
                return sd_bus_reply_method_return(m, SAND_REPLY_FULL_SIGNATURE, "", UINT64_C(0), UINT64_C(0),
                                                  UINT64_C(0), "u", 7U);
        if (streq(target, "die"))
                _exit(0);
        if (streq(target, "hangup")) {
                sd_bus_close(bus);
                return 1;
        }
        if (streq(target, "goaway")) {
                (void) sd_bus_emit_signal(bus, SAND_APP_PATH, SAND_APP_INTERFACE, "GoAway", NULL);
                return reply_payload(m, content_type, p);
        }
        if (streq(target, "never"))
                return 1;
        return sd_bus_reply_method_errorf(m, SAND_ERROR_PREFIX "NotFound", "no function %s", target);
}

static int on_invoke(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        Machine *machine = userdata;
        const char *target, *execution, *content_type, *key, *value;
        Payload p = PAYLOAD_EMPTY;
        uint64_t deadline;
        char info[80 * 1024];
        int r, n;

        r = sd_bus_message_read(m, SAND_INVOKE_SIGNATURE, &target, &execution, &deadline, &content_type);
        if (r < 0)
                return r;
        n = snprintf(info, sizeof(info), "%s %s %llu\n", execution, content_type,
                     (unsigned long long) deadline);
        r = sd_bus_message_enter_container(m, 'a', "{ss}");
        while (r >= 0 && (r = sd_bus_message_read(m, "{ss}", &key, &value)) > 0)
                n += snprintf(info + n, sizeof(info) - (size_t) n, "%s=%s\n", key, value);
        if (r < 0 || (r = sd_bus_message_exit_container(m)) < 0)
                return r;
        r = payload_read(m, UINT64_MAX, &p);
        if (r < 0)
                return sd_bus_reply_method_errorf(m, SAND_ERROR_PREFIX "BadRequest", "no payload");
        machine->n_invokes++;
        r = answer(machine, m, target, content_type, info, &p);
        payload_done(&p);
        return r < 0 ? r : 1;
}

/* ---- the event log ---- */

static int reply_json(sd_bus_message *m, json_object *o) {
        const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
        int r = reply_bytes(m, "application/json", text, strlen(text));

        json_object_put(o);
        return r;
}

static void add_string(json_object *o, const char *key, const char *value) {
        json_object_object_add(o, key, json_object_new_string(value));
}

static int read_headers(sd_bus_message *m, json_object *headers) {
        const char *key, *value;
        int r = sd_bus_message_enter_container(m, 'a', "{ss}");

        while (r >= 0 && (r = sd_bus_message_read(m, "{ss}", &key, &value)) > 0)
                add_string(headers, key, value);
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

static Kept *find_kept(Machine *machine, const char *app, const char *key) {
        for (size_t i = 0; key && i < machine->n_kept; i++)
                if (machine->kept[i].key && streq(machine->kept[i].app, app) && streq(machine->kept[i].key, key))
                        return machine->kept + i;
        return NULL;
}

static Kept *keep(Machine *machine, const char *target, json_object *sent, bool *ret_duplicate) {
        _cleanup_(freep) char *app = strndup(target, strcspn(target, "/"));
        json_object *headers = json_object_object_get(sent, "headers");
        const char *key = json_object_get_string(json_object_object_get(headers, "sand-idempotency-key"));
        Kept *k = find_kept(machine, app, key);
        sd_id128_t id;

        *ret_duplicate = k;
        if (k || machine->n_kept == KEPT_MAX || sd_id128_randomize(&id) < 0)
                return k;
        k = machine->kept + machine->n_kept++;
        *k = (Kept) { .app = TAKE_PTR(app), .target = strdup(target), .key = key ? strdup(key) : NULL,
                      .sent = json_object_get(sent) };
        (void) sd_id128_to_string(id, k->id);
        return k;
}

static int accept_event(Machine *machine, sd_bus_message *m, const char *target, json_object *sent, Payload *p) {
        const char *function = strchr(target, '/');
        json_object *o;
        bool duplicate;
        Kept *k;

        function = function ? function + 1 : target;
        if (streq(function, "error") || streq(function, "garbage") || streq(function, "die"))
                return answer(machine, m, function, "", "", p);
        if (streq(function, "delay"))
                return 1; /* no answer */
        if (streq(function, "/nobody")) {
                o = json_object_new_object();
                add_string(o, "id", "");
                json_object_object_add(o, "events", json_object_new_int(0));
                return reply_json(m, o);
        }
        k = keep(machine, target, sent, &duplicate);
        if (!k)
                return -ENOBUFS;
        o = json_object_new_object();
        add_string(o, "id", k->id);
        if (*function == '/')
                json_object_object_add(o, "events", json_object_new_int(2));
        json_object_object_add(o, "duplicate", json_object_new_boolean(duplicate));
        return reply_json(m, o);
}

static int on_deadline(sd_event_source *s, uint64_t usec, void *userdata) {
        sd_bus_message *m = userdata;

        (void) sd_bus_reply_method_errorf(m, SAND_ERROR_PREFIX "Timeout", "not yet");
        sd_bus_message_unref(m);
        sd_event_source_unref(s);
        return 0;
}

static int refuse_later(Machine *machine, sd_bus_message *m, uint64_t deadline) {
        sd_event_source *s;

        return sd_event_add_time(machine->event, &s, CLOCK_MONOTONIC, deadline, 1, on_deadline, sd_bus_message_ref(m));
}

static int show_execution(Machine *machine, sd_bus_message *m, const char *id, bool wait, uint64_t deadline) {
        Kept *k = NULL;
        json_object *o;
        bool done;

        for (size_t i = 0; i < machine->n_kept; i++)
                if (streq(machine->kept[i].id, id))
                        k = machine->kept + i;
        if (!k)
                return sd_bus_reply_method_errorf(m, SAND_ERROR_PREFIX "NotFound", "no execution %s", id);
        done = !strstr(k->target, "/never");
        if (wait && !done)
                return refuse_later(machine, m, deadline);
        o = json_object_new_object();
        add_string(o, "id", id);
        add_string(o, "execution", id);
        add_string(o, "app", k->app);
        add_string(o, "function", k->target[strlen(k->app) + 1] == '/' ? "event" : k->target + strlen(k->app) + 1);
        add_string(o, "status", wait ? "done" : "running");
        json_object_object_add(o, "attempts", json_object_new_int(1));
        json_object_object_add(o, "accepted_usec", json_object_new_uint64(UINT64_C(1764000000000001)));
        if (wait)
                json_object_object_add(o, "finished_usec", json_object_new_uint64(UINT64_C(1764000001500000)));
        json_object_object_add(o, "result", json_object_get(k->sent));
        return reply_json(m, o);
}

static int on_event(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        const char *member = sd_bus_message_get_member(m), *target, *execution, *content_type;
        json_object *sent = json_object_new_object(), *headers = json_object_new_object();
        Machine *machine = userdata;
        Payload p = PAYLOAD_EMPTY;
        const void *data;
        uint64_t deadline;
        void *mapping;
        int r;

        r = sd_bus_message_read(m, SAND_INVOKE_SIGNATURE, &target, &execution, &deadline, &content_type);
        if (r >= 0)
                r = read_headers(m, headers);
        if (r >= 0)
                r = payload_read(m, UINT64_MAX, &p);
        if (r >= 0)
                r = payload_map(&p, &data, &mapping);
        if (r < 0)
                return r;
        if (streq(member, "Execution"))
                r = show_execution(machine, m, target, json_object_object_get(headers, "wait"), deadline);
        else {
                add_string(sent, "member", member);
                add_string(sent, "target", target);
                add_string(sent, "execution", execution);
                add_string(sent, "content_type", content_type);
                json_object_object_add(sent, "headers", json_object_get(headers));
                json_object_object_add(sent, "payload", json_object_new_string_len(data ?: "", (int) p.size));
                r = accept_event(machine, m, target, sent, &p);
        }
        json_object_put(sent);
        json_object_put(headers);
        payload_done(&p);
        return r < 0 ? r : 1;
}

static const sd_bus_vtable events_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Send", SAND_INVOKE_FULL_SIGNATURE, SAND_REPLY_FULL_SIGNATURE, on_event, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Emit", SAND_INVOKE_FULL_SIGNATURE, SAND_REPLY_FULL_SIGNATURE, on_event, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Execution", SAND_INVOKE_FULL_SIGNATURE, SAND_REPLY_FULL_SIGNATURE, on_event, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END
};

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Invoke", SAND_INVOKE_FULL_SIGNATURE, SAND_REPLY_FULL_SIGNATURE, on_invoke,
                      SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END
};

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        sd_bus *bus = sd_bus_message_get_bus(m);
        if (!sd_bus_message_is_signal(m, "org.freedesktop.DBus.Local", "Disconnected"))
                return 0;
        sd_bus_detach_event(bus);
        sd_bus_close_unref(bus);
        return 1;
}

static int on_accept(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        Machine *machine = userdata;
        sd_id128_t id;
        sd_bus *bus;
        int client;

        client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (client < 0)
                return 0;
        if (machine->drop > 0) {
                machine->drop--;
                (void) close(client);
                return 0;
        }
        if (sd_id128_randomize(&id) < 0 || sd_bus_new(&bus) < 0 || sd_bus_set_fd(bus, client, client) < 0 ||
            sd_bus_set_server(bus, true, id) < 0 || sd_bus_set_anonymous(bus, true) < 0 ||
            sd_bus_negotiate_fds(bus, true) < 0 ||
            sd_bus_add_object_vtable(bus, NULL, SAND_APP_PATH, SAND_APP_INTERFACE, vtable, machine) < 0 ||
            sd_bus_add_object_vtable(bus, NULL, SAND_EVENTS_PATH, SAND_EVENTS_INTERFACE, events_vtable, machine) < 0 ||
            sd_bus_add_filter(bus, NULL, on_disconnected, NULL) < 0 || sd_bus_start(bus) < 0 ||
            sd_bus_attach_event(bus, machine->event, 0) < 0)
                return -EIO;
        return 0;
}

int main(int argc, char *argv[]) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        static Machine machine;
        int fd;

        machine.drop = argc > 2 ? (unsigned) atoi(argv[2]) : 0;
        if (argc < 2 || strlen(argv[1]) >= sizeof(sa.sun_path))
                return 2;
        strcpy(sa.sun_path, argv[1]);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void) unlink(argv[1]);
        if (fd < 0 || bind(fd, (struct sockaddr *) &sa, sizeof(sa)) < 0 || listen(fd, 128) < 0) {
                perror("fake-machine");
                return 1;
        }
        if (sd_event_new(&machine.event) < 0 ||
            sd_event_add_io(machine.event, NULL, fd, EPOLLIN, on_accept, &machine) < 0)
                return 1;
        if (write(STDOUT_FILENO, "ready\n", 6) < 0)
                return 1;
        return sd_event_loop(machine.event) < 0;
}
