/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What there is and how it is configured: list, show. */

#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>

#include "log.h"
#include "protocol.h"
#include "sandctl-agent.h"
#include "sandctl-bus.h"
#include "sandctl-show.h"
#include "sandctl-text.h"

/* A person may have to find a password. */
#define CALL_TIMEOUT_USEC (5 * USEC_PER_MINUTE)

int host_call(sd_bus *bus, const char *method, const char *name, sd_bus_error *error, sd_bus_message **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        r = sd_bus_message_new_method_call(bus, &m, SAND_HOST_NAME, SAND_HOST_PATH, SAND_HOST_INTERFACE, method);
        if (r >= 0 && name)
                r = sd_bus_message_append(m, "s", name);
        return r < 0 ? r : sd_bus_call(bus, m, CALL_TIMEOUT_USEC, error, ret);
}

int host_document(sd_bus *bus, const char *method, const char *name, sd_bus_error *error, json_object **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        json_object *o;
        const char *text;
        int r;

        r = host_call(bus, method, name, error, &reply);
        if (r >= 0)
                r = sd_bus_message_read(reply, "s", &text);
        if (r < 0)
                return r;
        o = json_tokener_parse(text);
        if (!o)
                return -EBADMSG;
        *ret = o;
        return 0;
}

static bool wanted(const char *name, int n_patterns, char *const *patterns) {
        for (int i = 0; i < n_patterns; i++)
                if (fnmatch(patterns[i], name, 0) == 0)
                        return true;
        return n_patterns == 0;
}

static const Column list_columns[] = {
        { "NAME", .shrinks = true },
        { "VERSION", .shrinks = true },
        { "STATE" },
        { "FUNCTIONS", .number = true },
};

int application_table(sd_bus *bus, int n_patterns, char *const *patterns, Table **ret) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(table_freep) Table *t = NULL;
        const char *name, *version, *state, *functions;
        int r;

        r = host_call(bus, "List", NULL, &error, &reply);
        if (r < 0)
                return fail_bus(r, &error, "Failed to list applications");
        r = table_new(list_columns, ELEMENTSOF(list_columns), &t);
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'a', "(ssss)");
        while (r >= 0 && (r = sd_bus_message_read(reply, "(ssss)", &name, &version, &state, &functions)) > 0)
                if (wanted(name, n_patterns, patterns))
                        r = table_add(t, state_color(state), (const char *[]) { name, version, state, functions });
        if (r < 0)
                return fail_errno(r, "Failed to read sand-hostd's list: %s", strerror(-r));
        *ret = TAKE_PTR(t);
        return 0;
}

int verb_list(int argc, char **argv) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(table_freep) Table *t = NULL;
        int r;

        r = bus_open(&bus);
        if (r == 0)
                r = application_table(bus, argc, argv, &t);
        if (r != 0)
                return r;
        if (arg_json != JSON_OFF)
                return table_print_json(t) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        pager_open();
        r = table_print(t, 0, arg_legend && table_rows(t) > 0);
        if (arg_legend && !arg_quiet)
                (void) printf("%s%zu application%s listed.\n", table_rows(t) > 0 ? "\n" : "", table_rows(t),
                              table_rows(t) == 1 ? "" : "s");
        return r < 0 ? fail_errno(r, "Out of memory.") : EXIT_SUCCESS;
}

/* A value as one reads it: keys that end in _usec are spans, what counts bytes is shown so. */
static void value_format(const char *key, json_object *value, char *buf, size_t size) {
        size_t n = strlen(key);
        bool bytes = streq(key, "payload_max") || streq(key, "memory") || streq(key, "queue_bytes");

        if (!value)
                (void) snprintf(buf, size, "-");
        else if (json_object_is_type(value, json_type_int) && n > 5 && streq(key + n - 5, "_usec"))
                format_span(buf, size, json_object_get_uint64(value));
        else if (json_object_is_type(value, json_type_int) && bytes)
                format_bytes(buf, size, json_object_get_uint64(value));
        else if (json_object_is_type(value, json_type_array)) {
                size_t used = 0;

                buf[0] = '\0';
                for (size_t i = 0; i < json_object_array_length(value) && used < size; i++)
                        used += (size_t) snprintf(buf + used, size - used, "%s%s", i > 0 ? " " : "",
                                                  json_object_get_string(json_object_array_get_idx(value, i)));
        } else
                (void) snprintf(buf, size, "%s", strempty(json_object_get_string(value)));
}

static const Column function_columns[] = {
        { "FUNCTION", .shrinks = true }, { "RUNTIME" },  { "HANDLER", .shrinks = true }, { "TIMEOUT", .number = true },
        { "PAYLOAD", .number = true },   { "MEMORY", .number = true }, { "MAX", .number = true },
        { "QUEUE", .number = true },     { "RESULT", .shrinks = true }, { "RESOURCES", .shrinks = true },
};
static const char *const function_keys[] = {
        NULL, "runtime", "handler", "timeout_usec", "payload_max", "memory", "max", "queue_max", "content_type",
        "resources",
};

static int function_table(json_object *functions, Table **ret) {
        _cleanup_(table_freep) Table *t = NULL;
        int r;

        r = table_new(function_columns, ELEMENTSOF(function_columns), &t);
        if (r < 0)
                return r;
        json_object_object_foreach(functions, name, function) {
                char values[ELEMENTSOF(function_keys)][256];
                const char *cells[ELEMENTSOF(function_keys)] = { name };

                for (size_t i = 1; i < ELEMENTSOF(function_keys); i++) {
                        value_format(function_keys[i], json_object_object_get(function, function_keys[i]),
                                     values[i], sizeof(values[i]));
                        cells[i] = values[i];
                }
                r = table_add(t, COLOR_NONE, cells);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(t);
        return 0;
}

void gateway_url(sd_bus *bus, char *buf, size_t size) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *type, *address;

        buf[0] = '\0';
        if (sd_bus_get_property(bus, "org.freedesktop.systemd1",
                                "/org/freedesktop/systemd1/unit/sand_2dgatewayd_2esocket",
                                "org.freedesktop.systemd1.Socket", "Listen", NULL, &reply, "a(ss)") < 0 ||
            sd_bus_message_enter_container(reply, 'a', "(ss)") < 0)
                return;
        while (sd_bus_message_read(reply, "(ss)", &type, &address) > 0)
                if (streq(type, "Stream") && address[0] != '/' && address[0] != '@') {
                        (void) snprintf(buf, size, "http://%s", address);
                        return;
                }
}

static const Column route_columns[] = {
        { "METHOD" }, { "URL", .shrinks = true }, { "TARGET", .shrinks = true }, { "ORIGINS", .shrinks = true },
};

static int add_route(Table *t, const char *url, const char *app, json_object *route) {
        const char *key = strempty(json_object_get_string(json_object_object_get(route, "http")));
        const char *path = strempty(strchr(key, '/'));
        json_object *cors = json_object_object_get(route, "cors");
        _cleanup_(freep) char *full = NULL, *method = NULL;
        char origins[256];

        value_format("origins", json_object_object_get(cors, "origins"), origins, sizeof(origins));
        method = strndup(key, strcspn(key, " "));
        if (!method || asprintf(&full, "%s/web/%s%s", url, app, path) < 0)
                return -ENOMEM;
        return table_add(t, COLOR_NONE, (const char *[]) {
                method, full, strempty(json_object_get_string(json_object_object_get(route, "target"))), origins });
}

int print_routes(sd_bus *bus, const char *app, json_object *routes) {
        _cleanup_(table_freep) Table *t = NULL;
        char url[128];
        int r;

        if (!json_object_is_type(routes, json_type_array) || json_object_array_length(routes) == 0)
                return 0;
        gateway_url(bus, url, sizeof(url));
        r = table_new(route_columns, ELEMENTSOF(route_columns), &t);
        for (size_t i = 0; r >= 0 && i < json_object_array_length(routes); i++)
                r = add_route(t, url, app, json_object_array_get_idx(routes, i));
        if (r < 0)
                return r;
        (void) putchar('\n');
        return table_print(t, 0, arg_legend);
}

static const Column mount_columns[] = {
        { "MOUNT", .shrinks = true }, { "HOST", .shrinks = true }, { "ACCESS" },
};

static int print_mounts(json_object *mounts) {
        _cleanup_(table_freep) Table *t = NULL;
        int r;

        if (!json_object_is_type(mounts, json_type_array))
                return 0;
        r = table_new(mount_columns, ELEMENTSOF(mount_columns), &t);
        for (size_t i = 0; r >= 0 && i < json_object_array_length(mounts); i++) {
                json_object *mount = json_object_array_get_idx(mounts, i);

                r = table_add(t, COLOR_NONE, (const char *[]) {
                        strempty(json_object_get_string(json_object_object_get(mount, "at"))),
                        strempty(json_object_get_string(json_object_object_get(mount, "host"))),
                        json_object_get_boolean(json_object_object_get(mount, "write")) ? "read, write" : "read" });
        }
        if (r < 0)
                return r;
        (void) putchar('\n');
        return table_print(t, 0, arg_legend);
}

static const Column provenance_columns[] = {
        { "SETTING", .shrinks = true }, { "VALUE", .shrinks = true }, { "FROM", .shrinks = true },
};

/* Each value that holds, as sand.json has it, and the file that says it. */
static int print_provenance(json_object *o) {
        json_object *document = json_object_object_get(o, "manifest"), *provenance = json_object_object_get(o, "provenance");
        _cleanup_(table_freep) Table *t = NULL;
        int r;

        if (!json_object_is_type(provenance, json_type_object))
                return 0;
        r = table_new(provenance_columns, ELEMENTSOF(provenance_columns), &t);
        if (r < 0)
                return r;
        json_object_object_foreach(provenance, pointer, file) {
                json_object *value = NULL;
                const char *text;
                char joined[512];

                if (json_pointer_get(document, pointer, &value) < 0)
                        continue;
                value_format("", value, joined, sizeof(joined));
                text = json_object_is_type(value, json_type_array) && json_object_array_length(value) > 0 &&
                       json_object_is_type(json_object_array_get_idx(value, 0), json_type_object)
                        ? json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE) : joined;
                r = table_add(t, COLOR_NONE, (const char *[]) { pointer, text, strempty(json_object_get_string(file)) });
                if (r < 0)
                        return r;
        }
        (void) putchar('\n');
        return table_print(t, 0, arg_legend);
}

static int print_description(sd_bus *bus, const char *app, json_object *o) {
        json_object *functions = json_object_object_get(o, "functions");
        _cleanup_(table_freep) Table *t = NULL;
        int r = 0;

        json_object_object_foreach(o, key, value) {
                char text[512];

                if (streq(key, "functions") || streq(key, "routes") || streq(key, "mounts") || streq(key, "manifest") ||
                    streq(key, "provenance"))
                        continue;
                value_format(key, value, text, sizeof(text));
                (void) printf("%12s: %s\n", key, text);
        }
        if (json_object_is_type(functions, json_type_object)) {
                r = function_table(functions, &t);
                if (r >= 0) {
                        (void) putchar('\n');
                        r = table_print(t, 0, arg_legend);
                }
        }
        if (r >= 0)
                r = print_mounts(json_object_object_get(o, "mounts"));
        if (r >= 0)
                r = print_routes(bus, app, json_object_object_get(o, "routes"));
        return r < 0 ? r : print_provenance(o);
}

int verb_show(int argc, char **argv) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        json_object *o = NULL;
        int r;

        r = check_app_name(argv[0]);
        if (r == 0)
                r = bus_open(&bus);
        if (r != 0)
                return r;
        agent_open();
        r = host_document(bus, "Describe", argv[0], &error, &o);
        if (r < 0)
                return fail_bus(r, &error, "Failed to show %s", argv[0]);
        if (arg_json != JSON_OFF)
                r = json_print(o);
        else {
                pager_open();
                r = print_description(bus, argv[0], o);
        }
        (void) json_object_put(o);
        return r < 0 ? fail_errno(r, "Out of memory.") : EXIT_SUCCESS;
}
