/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sandctl status: what an application, or the host, is doing now. An idle machine stays idle. */

#include <inttypes.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>

#include "log.h"
#include "protocol.h"
#include "sandctl-agent.h"
#include "sandctl-bus.h"
#include "sandctl-show.h"
#include "sandctl-text.h"

#define LOG_LINES "10"

/* hostd passes on what systemd says of the unit; what it does not know is absent. */
static const char *text_of(json_object *o, const char *key) {
        return strempty(json_object_get_string(json_object_object_get(o, key)));
}

static uint64_t number_of(json_object *o, const char *key) {
        return json_object_get_uint64(json_object_object_get(o, key));
}

static void print_since(uint64_t since_usec) {
        char when[64] = "", ago[48];
        time_t seconds = (time_t) (since_usec / USEC_PER_SEC);
        struct tm tm;

        if (since_usec == 0)
                return;
        if (localtime_r(&seconds, &tm))
                (void) strftime(when, sizeof(when), "%a %Y-%m-%d %H:%M:%S %Z", &tm);
        format_ago(ago, sizeof(ago),
                   usec_sub((uint64_t) time(NULL) * USEC_PER_SEC, (uint64_t) seconds * USEC_PER_SEC));
        (void) printf(" since %s; %s", when, ago);
}

static void print_active(json_object *o) {
        const char *active = text_of(o, "active_state"), *sub = text_of(o, "sub_state"),
                   *result = text_of(o, "result");
        Color c = state_color(active);

        (void) printf("     Active: %s%s", color_begin(STDOUT_FILENO, c), active);
        if (*sub)
                (void) printf(" (%s)", sub);
        (void) fputs(c == COLOR_NONE ? "" : color_end(STDOUT_FILENO), stdout);
        if (*result && !streq(result, "success"))
                (void) printf(" (Result: %s)", result);
        print_since(number_of(o, "since_usec"));
        (void) putchar('\n');
}

/* What the socket is tells an idle application from one that is out of service. */
static void print_socket(sd_bus *bus, const char *app) {
        _cleanup_(unit_state_done) UnitState u = {};
        char name[128];

        (void) snprintf(name, sizeof(name), "sand-app@%s.socket", app);
        if (unit_state_read(bus, name, &u) >= 0)
                (void) printf("     Socket: %s%s%s%s\n", u.active, isempty(u.sub) ? "" : " (", strempty(u.sub),
                              isempty(u.sub) ? "" : ")");
}

static void print_network(json_object *o) {
        const char *network = text_of(o, "network");

        if (streq(network, "nat"))
                (void) printf("    Network: %s %s %s\n", network, text_of(o, "address"), text_of(o, "address6"));
}

static void print_unit(sd_bus *bus, const char *app, json_object *o) {
        char text[32];

        (void) printf("    Version: %s\n", text_of(o, "version"));
        print_active(o);
        print_socket(bus, app);
        print_network(o);
        if (number_of(o, "main_pid") == 0)
                return;
        (void) printf("   Main PID: %" PRIu64 "\n", number_of(o, "main_pid"));
        if (*text_of(o, "status_text"))
                (void) printf("     Status: \"%s\"\n", text_of(o, "status_text"));
        if (number_of(o, "tasks") > 0)
                (void) printf("      Tasks: %" PRIu64 "\n", number_of(o, "tasks"));
        if (number_of(o, "memory") > 0) {
                format_bytes(text, sizeof(text), number_of(o, "memory"));
                (void) printf("     Memory: %s\n", text);
        }
        if (number_of(o, "cpu_nsec") > 0) {
                format_span(text, sizeof(text), number_of(o, "cpu_nsec") / 1000);
                (void) printf("        CPU: %s\n", text);
        }
        if (number_of(o, "restarts") > 0)
                (void) printf("   Restarts: %" PRIu64 "\n", number_of(o, "restarts"));
}

static const Column function_columns[] = {
        { "FUNCTION", .shrinks = true }, { "RUNTIME" }, { "STATE" },     { "WORKERS", .number = true },
        { "QUEUED", .number = true },    { "RUNNING", .number = true }, { "WAITING", .number = true },
        { "SERVED", .number = true },    { "FAILED", .number = true },  { "MEMORY", .number = true },
        { "TASKS", .number = true },
};
static const char *const function_keys[] = {
        "name", "runtime", "state", "workers", "queued", "running", "waiting", "served", "failed",
        "memory", "tasks",
};
/* Those at the end are known of functions in control groups. */
#define CGROUP_COLUMNS 2U

static bool any_has(json_object *functions, const char *key) {
        for (size_t i = 0; i < json_object_array_length(functions); i++)
                if (json_object_object_get_ex(json_object_array_get_idx(functions, i), key, NULL))
                        return true;
        return false;
}

static Color function_color(const char *state) {
        return streq(state, "failed") ? COLOR_RED : COLOR_NONE;
}

static int add_function(Table *t, json_object *function) {
        const char *cells[ELEMENTSOF(function_keys)];
        char workers[16], memory[32];

        for (size_t i = 0; i < ELEMENTSOF(function_keys); i++) {
                json_object *value = json_object_object_get(function, function_keys[i]);

                if (json_object_is_type(value, json_type_array)) {
                        (void) snprintf(workers, sizeof(workers), "%zu", json_object_array_length(value));
                        cells[i] = workers;
                } else if (value && streq(function_keys[i], "memory")) {
                        format_bytes(memory, sizeof(memory), json_object_get_uint64(value));
                        cells[i] = memory;
                } else
                        cells[i] = value ? json_object_get_string(value) : "-";
        }
        return table_add(t, function_color(cells[2]), cells);
}

static void print_reasons(json_object *functions) {
        for (size_t i = 0; i < json_object_array_length(functions); i++) {
                json_object *f = json_object_array_get_idx(functions, i), *reason;

                if (json_object_object_get_ex(f, "reason", &reason))
                        (void) printf("%s%s: %s%s\n", color_begin(STDOUT_FILENO, COLOR_RED),
                                      strempty(json_object_get_string(json_object_object_get(f, "name"))),
                                      strempty(json_object_get_string(reason)), color_end(STDOUT_FILENO));
        }
}

static int print_functions(json_object *supervisor) {
        json_object *functions = json_object_object_get(supervisor, "functions");
        _cleanup_(table_freep) Table *t = NULL;
        int r;

        if (!json_object_is_type(functions, json_type_array))
                return 0;
        r = table_new(function_columns,
                      ELEMENTSOF(function_columns) - (any_has(functions, "tasks") ? 0 : CGROUP_COLUMNS), &t);
        for (size_t i = 0; r >= 0 && i < json_object_array_length(functions); i++)
                r = add_function(t, json_object_array_get_idx(functions, i));
        if (r < 0)
                return r;
        (void) putchar('\n');
        r = table_print(t, 0, arg_legend);
        print_reasons(functions);
        return r;
}

static void print_log(const char *app) {
        _cleanup_(freep) char *unit = NULL, *lines = NULL;
        pid_t pid;

        if (arg_lines && streq(arg_lines, "0"))
                return;
        if (asprintf(&unit, "--unit=sand-app@%s.service", app) < 0 ||
            asprintf(&lines, "--lines=%s", arg_lines ?: LOG_LINES) < 0)
                return;
        (void) putchar('\n');
        (void) fflush(stdout);
        pid = fork();
        if (pid == 0) {
                (void) setenv("SYSTEMD_COLORS", colors_enabled(STDOUT_FILENO) ? "1" : "0", 1);
                (void) execlp("journalctl", "journalctl", "--quiet", "--no-pager", unit, lines, NULL);
                _exit(EXIT_FAILURE);
        }
        while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
                ;
}

static int print_status(sd_bus *bus, const char *app, json_object *o) {
        const char *active = text_of(o, "active_state");
        json_object *supervisor;
        int r;

        (void) printf("%s%s%s %s - SAND Application\n", color_begin(STDOUT_FILENO, state_color(active)),
                      state_dot(active), color_end(STDOUT_FILENO), app);
        print_unit(bus, app, o);
        r = json_object_object_get_ex(o, "supervisor", &supervisor) ? print_functions(supervisor) : 0;
        if (r >= 0)
                r = print_routes(bus, app, json_object_object_get(o, "routes"));
        if (r < 0)
                return fail_errno(r, "Out of memory.");
        print_log(app);
        return 0;
}

static int status_app(sd_bus *bus, const char *app) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        json_object *o = NULL;
        int r;

        r = check_app_name(app);
        if (r != 0)
                return r;
        r = host_document(bus, "Status", app, &error, &o);
        if (r < 0)
                return fail_bus(r, &error, "Failed to read the status of %s", app);
        if (arg_json != JSON_OFF)
                r = json_print(o) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        else {
                pager_open(); /* not earlier: a password may have been asked for */
                r = print_status(bus, app, o);
        }
        (void) json_object_put(o);
        return r;
}

static const Column host_columns[] = { { "UNIT" }, { "ACTIVE" }, { "SUB" }, { "STATUS", .shrinks = true } };

static int host_table(sd_bus *bus, Table **ret) {
        static const char *const units[] = {
                "sand.target", "sand-hostd.service", "sand-gatewayd.socket", "sand-gatewayd.service",
        };
        _cleanup_(table_freep) Table *t = NULL;
        int r;

        r = table_new(host_columns, ELEMENTSOF(host_columns), &t);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(units); i++) {
                _cleanup_(unit_state_done) UnitState u = {};

                r = unit_state_read(bus, units[i], &u);
                if (r >= 0)
                        r = table_add(t, state_color(u.active),
                                      (const char *[]) { units[i], streq(u.load, "not-found") ? u.load : u.active,
                                                         u.sub, strempty(u.status_text) });
        }
        if (r < 0)
                return fail_errno(r, "Failed to ask systemd about SAND's units: %s", strerror(-r));
        *ret = TAKE_PTR(t);
        return 0;
}

static int status_host(sd_bus *bus) {
        _cleanup_(table_freep) Table *host = NULL, *applications = NULL;
        int r;

        r = application_table(bus, 0, NULL, &applications);
        if (r != 0)
                return r;
        if (arg_json != JSON_OFF)
                return table_print_json(applications) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        r = host_table(bus, &host);
        if (r != 0)
                return r;
        pager_open();
        r = table_print(host, 0, arg_legend);
        (void) putchar('\n');
        if (r >= 0)
                r = table_print(applications, 0, arg_legend && table_rows(applications) > 0);
        if (arg_legend && !arg_quiet)
                (void) printf("%s%zu application%s deployed.\n", table_rows(applications) > 0 ? "\n" : "",
                              table_rows(applications), table_rows(applications) == 1 ? "" : "s");
        return r < 0 ? fail_errno(r, "Out of memory.") : EXIT_SUCCESS;
}

int verb_status(int argc, char **argv) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        int status = 0, r;

        r = bus_open(&bus);
        if (r != 0)
                return r;
        if (argc == 0)
                return status_host(bus);
        agent_open();
        for (int i = 0; i < argc; i++) {
                if (i > 0 && arg_json == JSON_OFF)
                        (void) putchar('\n');
                r = status_app(bus, argv[i]);
                status = status ?: r;
        }
        return status;
}
