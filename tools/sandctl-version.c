/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Versions of an application: versions, rollback. */

#include <pwd.h>
#include <stdio.h>

#include "log.h"
#include "protocol.h"
#include "sandctl-agent.h"
#include "sandctl-bus.h"
#include "sandctl-show.h"

static const Column columns[] = {
        { "VERSION" }, { "DEPLOYED" }, { "BY", .shrinks = true }, { "FROM", .shrinks = true }, { "STATE" },
};

static const char *get_string(json_object *o, const char *key) {
        return strempty(json_object_get_string(json_object_object_get(o, key)));
}

static bool get_bool(json_object *o, const char *key) {
        return json_object_get_boolean(json_object_object_get(o, key));
}

static void format_time(char *buf, size_t size, json_object *value) {
        time_t seconds = (time_t) (json_object_get_uint64(value) / USEC_PER_SEC);
        struct tm tm;

        if (!value || !localtime_r(&seconds, &tm) || strftime(buf, size, "%a %Y-%m-%d %H:%M:%S %Z", &tm) == 0)
                (void) snprintf(buf, size, "-");
}

static void format_user(char *buf, size_t size, json_object *value) {
        const struct passwd *user = value ? getpwuid((uid_t) json_object_get_uint64(value)) : NULL;

        if (user)
                (void) snprintf(buf, size, "%s", user->pw_name);
        else
                (void) snprintf(buf, size, "%s", value ? json_object_get_string(value) : "-");
}

static int add_version(Table *t, json_object *o) {
        bool current = get_bool(o, "current"), left = json_object_object_get_ex(o, "rolled_back_usec", NULL);
        const char *source = get_string(o, "source");
        char when[64], user[64];

        format_time(when, sizeof(when), json_object_object_get(o, "deployed_usec"));
        format_user(user, sizeof(user), json_object_object_get(o, "uid"));
        return table_add(t, current ? COLOR_GREEN : left ? COLOR_GREY : COLOR_NONE, (const char *[]) {
                get_string(o, "version"), when, user, *source ? source : "-",
                current ? "current" : get_bool(o, "previous") ? "previous" : left ? "rolled back" : "" });
}

static int print_versions(json_object *o) {
        json_object *versions = json_object_object_get(o, "versions");
        _cleanup_(table_freep) Table *t = NULL;
        const char *version = get_string(o, "version");
        int r;

        r = table_new(columns, ELEMENTSOF(columns), &t);
        for (size_t i = 0; r >= 0 && i < json_object_array_length(versions); i++)
                r = add_version(t, json_object_array_get_idx(versions, i));
        if (r < 0)
                return r;
        pager_open();
        r = table_print(t, 0, arg_legend);
        if (arg_legend && !arg_quiet)
                (void) printf("\n%zu version%s listed%s.\n", table_rows(t), table_rows(t) == 1 ? "" : "s",
                              strchr(version, '+') ? "; the current one has overrides, see \"sandctl show\"" : "");
        return r;
}

int verb_versions(int argc, char **argv) {
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
        r = host_document(bus, "ListVersions", argv[0], &error, &o);
        if (r < 0)
                return fail_bus(r, &error, "Failed to list the versions of %s", argv[0]);
        r = arg_json != JSON_OFF ? json_print(o) : print_versions(o);
        (void) json_object_put(o);
        return r < 0 ? fail_errno(r, "Out of memory.") : EXIT_SUCCESS;
}

int verb_rollback(int argc, char **argv) {
        const char *words[] = { argv[0], argc > 1 ? argv[1] : "" };
        int r = check_app_name(argv[0]);

        if (r == 0 && argc > 1 && isempty(argv[1]))
                return fail(SAND_ERROR_USAGE, "The version is empty; leave it out for the one before.");
        return r == 0 ? host_redeploy("Rollback", words, ELEMENTSOF(words), "Not rolled back") : r;
}
