/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The other end of sandctl's and sand-trigger's calls: a real sd-bus peer server that answers what a test has laid ready.
 *
 * fake-globald SOCKET DIR: a call of MEMBER is answered with the file DIR/MEMBER, its content the payload; or, if it begins
 * with "!", "!Error class message", as that error. Without such a file Send and Emit accept ("id": 32 digits), Compare
 * knows the keys that Send was to keep, of whatever source, and the others are NotFound. Each call is a line of DIR/log, as
 * JSON. */

#include <json-c/json.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>
#include <systemd/sd-id128.h>

#include "error.h"
#include "macro.h"
#include "payload.h"
#include "protocol.h"

typedef struct Globald {
        sd_event *event;
        const char *dir;
        json_object *kept; /* keys */
} Globald;

static int reply_bytes(sd_bus_message *m, const void *data, size_t size) {
        sd_bus_message *reply = NULL;
        int r;

        r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = sd_bus_message_append(reply, "s(ttt)", "application/json", UINT64_C(0), UINT64_C(0), UINT64_C(0));
        if (r >= 0)
                r = payload_append_bytes(reply, data, size);
        if (r >= 0)
                r = sd_bus_send(NULL, reply, NULL);
        sd_bus_message_unref(reply);
        return r;
}

static int reply_error(sd_bus_message *m, const char *name, const char *class, const char *message) {
        char dbus_name[128];
        sd_bus_message *reply = NULL;
        sd_bus_error e = SD_BUS_ERROR_MAKE_CONST(dbus_name, message);
        int r;

        (void) snprintf(dbus_name, sizeof(dbus_name), SAND_ERROR_PREFIX "%s", name);
        r = sd_bus_message_new_method_error(m, &reply, &e);
        if (r >= 0)
                r = sd_bus_message_append(reply, "ss(ttt)", class, "", UINT64_C(0), UINT64_C(0), UINT64_C(0));
        if (r >= 0)
                r = sd_bus_send(NULL, reply, NULL);
        sd_bus_message_unref(reply);
        return r;
}

static FILE *open_in(const Globald *g, const char *name, const char *mode) {
        char path[512];

        (void) snprintf(path, sizeof(path), "%s/%s", g->dir, name);
        return fopen(path, mode);
}

static int compare(Globald *g, sd_bus_message *m, const char *text) {
        json_object *keys = json_tokener_parse(text), *unknown = json_object_new_array(), *kept = json_object_new_object();
        int r;

        for (size_t i = 0; json_object_is_type(keys, json_type_array) && i < json_object_array_length(keys); i++) {
                json_object *key = json_object_array_get_idx(keys, i);

                if (json_object_object_get_ex(g->kept, json_object_get_string(key), NULL))
                        json_object_object_add(kept, json_object_get_string(key), NULL);
                else
                        json_object_array_add(unknown, json_object_get(key));
        }
        json_object_put(g->kept);
        g->kept = kept;
        text = json_object_to_json_string(unknown);
        r = reply_bytes(m, text, strlen(text));
        json_object_put(unknown);
        json_object_put(keys);
        return r;
}

static int answer(Globald *g, sd_bus_message *m, json_object *headers, const char *data) {
        const char *member = sd_bus_message_get_member(m);
        static char text[1024 * 1024];
        char error[64], class[64];
        FILE *f = open_in(g, member, "re");
        int offset = 0;
        size_t n;

        if (!f && streq(member, "Compare"))
                return compare(g, m, data);
        if (!f && (streq(member, "Send") || streq(member, "Emit"))) {
                json_object *key = json_object_object_get(headers, SAND_OPTION_PREFIX "idempotency-key");
                const char *accepted = "{\"id\":\"0123456789abcdef0123456789abcdef\",\"duplicate\":false,\"events\":1}";

                if (json_object_object_get_ex(headers, SAND_OPTION_PREFIX "key-keep", NULL))
                        json_object_object_add(g->kept, json_object_get_string(key), NULL);
                return reply_bytes(m, accepted, strlen(accepted));
        }
        if (!f)
                return reply_error(m, "NotFound", "NotFound", "nothing is laid ready");
        n = fread(text, 1, sizeof(text) - 1, f);
        text[n] = '\0';
        (void) fclose(f);
        if (sscanf(text, "!%63s %63s %n", error, class, &offset) == 2)
                return reply_error(m, error, class, text + offset);
        return reply_bytes(m, text, n);
}

static int on_call(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        const char *target, *execution, *content_type, *key, *value;
        json_object *line, *headers, *payload;
        Payload p = PAYLOAD_EMPTY;
        Globald *g = userdata;
        void *mapping = NULL;
        const void *data;
        uint64_t deadline;
        FILE *f;
        int r;

        if (sd_bus_message_is_signal(m, "org.freedesktop.DBus.Local", "Disconnected")) {
                sd_bus *bus = sd_bus_message_get_bus(m);
                sd_bus_detach_event(bus);
                sd_bus_close_unref(bus);
                return 1;
        }
        if (!sd_bus_message_is_method_call(m, SAND_EVENTS_INTERFACE, NULL) || !streq(sd_bus_message_get_path(m), SAND_EVENTS_PATH))
                return 0;
        line = json_object_new_object();
        headers = json_object_new_object();
        r = sd_bus_message_read(m, SAND_INVOKE_SIGNATURE, &target, &execution, &deadline, &content_type);
        if (r >= 0)
                r = sd_bus_message_enter_container(m, 'a', "{ss}");
        while (r >= 0 && (r = sd_bus_message_read(m, "{ss}", &key, &value)) > 0)
                json_object_object_add(headers, key, json_object_new_string(value));
        if (r >= 0)
                r = sd_bus_message_exit_container(m);
        if (r >= 0)
                r = payload_read(m, UINT64_MAX, &p);
        if (r >= 0)
                r = payload_map(&p, &data, &mapping);
        f = r >= 0 ? open_in(g, "log", "ae") : NULL;
        if (!f)
                return reply_error(m, "BadRequest", "BadRequest", "not Invoke's arguments");
        json_object_object_add(line, "member", json_object_new_string(sd_bus_message_get_member(m)));
        json_object_object_add(line, "target", json_object_new_string(target));
        json_object_object_add(line, "content_type", json_object_new_string(content_type));
        json_object_object_add(line, "deadline", json_object_new_boolean(deadline > 0));
        json_object_object_add(line, "headers", headers);
        payload = json_object_new_string_len(data, (int) p.size);
        json_object_object_add(line, "payload", payload);
        (void) fprintf(f, "%s\n", json_object_to_json_string_ext(line, JSON_C_TO_STRING_PLAIN));
        (void) fclose(f);
        r = answer(g, m, headers, json_object_get_string(payload));
        json_object_put(line);
        if (mapping)
                (void) munmap(mapping, p.size);
        payload_done(&p);
        return r < 0 ? r : 1;
}

static int on_accept(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        Globald *g = userdata;
        sd_id128_t id;
        sd_bus *bus;
        int client;

        client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (client < 0)
                return 0;
        if (sd_id128_randomize(&id) < 0 || sd_bus_new(&bus) < 0 || sd_bus_set_fd(bus, client, client) < 0 ||
            sd_bus_set_server(bus, true, id) < 0 || sd_bus_set_anonymous(bus, true) < 0 ||
            sd_bus_negotiate_fds(bus, true) < 0 || sd_bus_add_filter(bus, NULL, on_call, g) < 0 || sd_bus_start(bus) < 0 ||
            sd_bus_attach_event(bus, g->event, 0) < 0)
                return -EIO;
        return 0;
}

int main(int argc, char *argv[]) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        Globald g = {};
        int fd;

        if (argc != 3 || strlen(argv[1]) >= sizeof(sa.sun_path))
                return 2;
        g.dir = argv[2];
        g.kept = json_object_new_object();
        strcpy(sa.sun_path, argv[1]);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void) unlink(argv[1]);
        if (fd < 0 || bind(fd, (struct sockaddr *) &sa, sizeof(sa)) < 0 || listen(fd, 128) < 0) {
                perror("fake-globald");
                return 1;
        }
        if (sd_event_new(&g.event) < 0 || sd_event_add_io(g.event, NULL, fd, EPOLLIN, on_accept, &g) < 0)
                return 1;
        if (write(STDOUT_FILENO, "ready\n", 6) < 0)
                return 1;
        return sd_event_loop(g.event) < 0;
}
