/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What sets functions off: from the catalogue, which anyone may read; when timers elapse next knows systemd. */

#include <fcntl.h>
#include <stdio.h>

#include "catalogue.h"
#include "protocol.h"
#include "sandctl-bus.h"
#include "sandctl-events.h"
#include "sandctl-text.h"
#include "trigger-event.h"

static const char *catalogue_dir(void) {
        const char *dir = getenv("SAND_CATALOGUE_DIR");

        return isempty(dir) ? SAND_CATALOGUE_DIR : dir;
}

/* ---- list ---- */

static const Column columns[] = {
        { "APPLICATION", .shrinks = true }, { "TRIGGER" }, { "SOURCE", .shrinks = true }, { "FUNCTION" }, { "NEXT" },
};

typedef struct Listing {
        Table *table;
        json_object *json;
        sd_bus *bus;       /* systemd's; NULL: it cannot be asked */
} Listing;

static int listing_add(Listing *l, const char *app, const char *trigger, const char *source, const char *function,
                       uint64_t next_usec) {
        json_object *row = json_object_new_object();
        char next[64] = "-";

        (void) json_object_object_add(row, "application", json_object_new_string(app));
        (void) json_object_object_add(row, "trigger", json_object_new_string(trigger));
        (void) json_object_object_add(row, "source", json_object_new_string(source));
        (void) json_object_object_add(row, "function", json_object_new_string(function));
        (void) json_object_object_add(row, "next_usec", next_usec > 0 ? json_object_new_uint64(next_usec) : NULL);
        (void) json_object_array_add(l->json, row);
        if (next_usec > 0)
                format_time(next, sizeof(next), next_usec);
        return table_add(l->table, COLOR_NONE, (const char *[]) { app, trigger, source, function, next });
}

/* "OnCalendar" of the first expression, and when it elapses. What systemd cannot say is left as it is. */
static void timer_ask(sd_bus *bus, const char *unit, char calendar[static 256], uint64_t *ret_next) {
        static const char interface[] = "org.freedesktop.systemd1.Timer";
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        _cleanup_(freep) char *path = NULL;
        const char *base, *spec;
        uint64_t next;

        if (!bus || sd_bus_path_encode("/org/freedesktop/systemd1/unit", unit, &path) < 0)
                return;
        if (sd_bus_get_property_trivial(bus, "org.freedesktop.systemd1", path, interface, "NextElapseUSecRealtime", NULL, 't',
                                        &next) >= 0 && next != UINT64_MAX)
                *ret_next = next;
        if (sd_bus_get_property(bus, "org.freedesktop.systemd1", path, interface, "TimersCalendar", NULL, &m, "a(sst)") >= 0 &&
            sd_bus_message_enter_container(m, 'a', "(sst)") >= 0 && sd_bus_message_read(m, "(sst)", &base, &spec, &next) > 0)
                (void) snprintf(calendar, 256, "%s", spec);
}

static int list_unit(Listing *l, const char *app, const char *trigger, json_object *description) {
        _cleanup_(trigger_name_done) TriggerName name = {};
        _cleanup_(freep) char *word = NULL;
        const char *target = document_string(description, "target"), *host = document_string(description, "host");
        char calendar[256] = "-";
        uint64_t next = 0;

        if (!target || asprintf(&word, "%s:%s:%s", app, target, trigger) < 0 || trigger_name_parse(word, &name) < 0)
                return 0; /* of a later version */
        if (!name.path)
                timer_ask(l->bus, name.source, calendar, &next);
        return listing_add(l, app, trigger, name.path ? strempty(host) : calendar, target, next);
}

static int list_array(Listing *l, const char *app, const char *trigger, json_object *array, const char *key) {
        int r = 0;

        for (size_t i = 0; r >= 0 && json_object_is_type(array, json_type_array) && i < json_object_array_length(array); i++) {
                json_object *o = json_object_array_get_idx(array, i);

                r = listing_add(l, app, trigger, strempty(document_string(o, key)), strempty(document_string(o, "target")), 0);
        }
        return r;
}

/* The application's entry. Caller puts it. */
static json_object *entry_read(int dir_fd, const char *app) {
        char file[APP_NAME_MAX + sizeof(".json")];
        _cleanup_(closep) int fd = -EBADF;

        (void) snprintf(file, sizeof(file), "%s.json", app);
        fd = openat(dir_fd, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        return fd < 0 ? NULL : json_object_from_fd(fd);
}

static int list_application(Listing *l, int dir_fd, const char *app, bool must_be) {
        json_object *o = entry_read(dir_fd, app), *units;
        int r;

        if (!o) /* or removed since */
                return must_be ? -ENOENT : 0;
        r = list_array(l, app, "http", json_object_object_get(o, "routes"), "http");
        units = json_object_object_get(o, "triggers");
        if (r >= 0 && json_object_is_type(units, json_type_object)) {
                json_object_object_foreach(units, trigger, description)
                        r = r < 0 ? r : list_unit(l, app, trigger, description);
        }
        if (r >= 0)
                r = list_array(l, app, "topic", json_object_object_get(o, "topics"), "event");
        (void) json_object_put(o);
        return r;
}

static int listing_print(const Listing *l) {
        size_t n = table_rows(l->table);
        int r;

        if (arg_json != JSON_OFF)
                return json_print(l->json);
        pager_open();
        r = table_print(l->table, 0, arg_legend && n > 0);
        if (arg_legend && !arg_quiet)
                (void) printf("%s%zu trigger%s listed.\n", n > 0 ? "\n" : "", n, n == 1 ? "" : "s");
        return r;
}

static int list(int argc, char **argv) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(table_freep) Table *table = NULL;
        _cleanup_(strv_freep) char **apps = NULL;
        _cleanup_(closep) int dir_fd = -EBADF;
        Listing l = {};
        int r;

        r = argc > 0 ? check_app_name(argv[0]) : 0;
        if (r != 0)
                return r;
        dir_fd = open(catalogue_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir_fd < 0)
                return fail_errno(-errno, "%s: %m", catalogue_dir());
        r = argc > 0 ? strv_extend(&apps, argv[0]) : catalogue_list(dir_fd, &apps);
        if (r >= 0)
                r = table_new(columns, ELEMENTSOF(columns), &table);
        if (r < 0)
                return fail_errno(r, "%s: %s", catalogue_dir(), strerror(-r));
        (void) sd_bus_open_system(&bus);
        l = (Listing) { table, json_object_new_array(), bus };
        for (char **app = apps; r >= 0 && *app; app++)
                r = list_application(&l, dir_fd, *app, argc > 0);
        if (r >= 0)
                r = listing_print(&l);
        (void) json_object_put(l.json);
        if (r == -ENOENT)
                return fail(SAND_ERROR_NOT_FOUND, "No application \"%s\" here. \"sandctl list\" shows those that there are.", argv[0]);
        return r < 0 ? fail_errno(r, "Failed to list triggers: %s", strerror(-r)) : EXIT_SUCCESS;
}

/* ---- fire ---- */

static int fire_timer(const char *app, const char *trigger, json_object *description) {
        const char *function = strempty(document_string(description, "target")), *text;
        _cleanup_(freep) char *word = NULL, *target = NULL;
        _cleanup_(trigger_name_done) TriggerName name = {};
        json_object *event = NULL, *o = NULL;
        PeerRequest request = {};
        int r;

        if (asprintf(&word, "%s:%s:%s", app, function, trigger) < 0 || asprintf(&target, "%s/%s", app, function) < 0)
                return fail_errno(-ENOMEM, "Out of memory.");
        r = trigger_name_parse(word, &name);
        if (r < 0)
                return fail_errno(r, "%s: %s", trigger, strerror(-r));
        event = trigger_timer_event(json_object_object_get(description, "input"), now_realtime_usec(), name.source);
        text = event ? json_object_to_json_string_ext(event, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE) : NULL;
        request = (PeerRequest) {
                .target = target,
                .headers = (const char *const []) { "caller", "sandctl", SAND_OPTION_PREFIX "source", name.source, NULL },
                .data = text,
                .size = text ? strlen(text) : 0,
        };
        r = text ? events_ask("Send", &request, "Not accepted", &o) : fail_errno(-ENOMEM, "Out of memory.");
        if (r == 0)
                r = print_id(o);
        (void) json_object_put(event);
        (void) json_object_put(o);
        return r;
}

static int fire(int argc, char **argv) {
        _cleanup_(closep) int dir_fd = -EBADF;
        json_object *o, *description;
        int r;

        r = check_app_name(argv[0]);
        if (r != 0)
                return r;
        if (!startswith(argv[1], "timer-"))
                return fail(SAND_ERROR_USAGE, "\"%s\": only timers can be set off by hand, \"timer-0\"; \"sandctl trigger list %s\" shows "
                                              "them. Other functions get events by invoke and emit.", argv[1], argv[0]);
        dir_fd = open(catalogue_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        o = dir_fd < 0 ? NULL : entry_read(dir_fd, argv[0]);
        description = json_object_object_get(json_object_object_get(o, "triggers"), argv[1]);
        r = description ? fire_timer(argv[0], argv[1], description)
                        : fail(SAND_ERROR_NOT_FOUND, "No trigger %s of an application \"%s\" here.", argv[1], argv[0]);
        (void) json_object_put(o);
        return r;
}

int verb_trigger(int argc, char **argv) {
        static const NounVerb verbs[] = {
                { "list", "[APP]", 0, 1, list },
                { "fire", "APP TRIGGER", 2, 2, fire },
        };

        return noun_run("trigger", verbs, ELEMENTSOF(verbs), argc, argv);
}
