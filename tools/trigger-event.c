/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "trigger-event.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "manifest.h"

/* "timer-" or "path-" and a number; the unit's suffix. */
static const char *trigger_suffix(const char *s) {
        const char *number = startswith(s, "timer-"), *suffix = "timer";

        if (!number) {
                number = startswith(s, "path-");
                suffix = "path";
        }
        return number && *number && strlen(number) <= 9 && !number[strspn(number, "0123456789")] ? suffix : NULL;
}

/* Any other third part makes the instance one of its own: units that share one are not told apart by systemd, which then says
 * nothing of them. */
static bool is_label(const char *s) {
        return *s && !strchr(s, ':') && !startswith(s, "timer-") && !startswith(s, "path-");
}

static int trigger_set(TriggerName *n, const char *trigger) {
        const char *suffix = trigger_suffix(trigger);

        if (!suffix)
                return is_label(trigger) ? 0 : -EINVAL;
        n->path = streq(suffix, "path");
        n->trigger = strdup(trigger);
        if (!n->trigger || asprintf(&n->source, "sand-trigger-%s-%s.%s", n->app, strchr(trigger, '-') + 1, suffix) < 0)
                return -ENOMEM;
        return 0;
}

int trigger_name_parse(const char *s, TriggerName *ret) {
        _cleanup_(trigger_name_done) TriggerName n = {};
        const char *function = strchr(s, ':'), *end;
        int r;

        if (!function)
                return -EINVAL;
        function++;
        end = function + strcspn(function, ":");
        n.app = strndup(s, (size_t) (function - 1 - s));
        n.function = strndup(function, (size_t) (end - function));
        if (!n.app || !n.function)
                return -ENOMEM;
        if (!app_name_is_valid(n.app) || !function_name_is_valid(n.function))
                return -EINVAL;
        r = *end ? trigger_set(&n, end + 1) : 0;
        if (r < 0)
                return r;
        *ret = n;
        n = (TriggerName) {};
        return 0;
}

void trigger_name_done(TriggerName *n) {
        free(n->app);
        free(n->function);
        free(n->trigger);
        free(n->source);
}

void format_rfc3339(char buf[static RFC3339_SIZE], uint64_t usec) {
        time_t seconds = (time_t) (usec / USEC_PER_SEC);
        struct tm tm;
        size_t n = 0;

        if (gmtime_r(&seconds, &tm))
                n = strftime(buf, RFC3339_SIZE - 9, "%Y-%m-%dT%H:%M:%S", &tm);
        if (usec % USEC_PER_SEC > 0)
                n += (size_t) snprintf(buf + n, RFC3339_SIZE - n, ".%06" PRIu64, usec % USEC_PER_SEC);
        (void) snprintf(buf + n, RFC3339_SIZE - n, "Z");
}

/* Adds a value that is then the object's, also when this fails. */
static int add(json_object *o, const char *key, json_object *value) {
        if (value && json_object_object_add(o, key, value) == 0)
                return 0;
        (void) json_object_put(value);
        return -ENOMEM;
}

static int add_time(json_object *o, const char *key, uint64_t usec) {
        char text[RFC3339_SIZE];

        format_rfc3339(text, usec);
        return add(o, key, json_object_new_string(text));
}

static json_object *checked(json_object *o, int r) {
        if (r >= 0)
                return o;
        (void) json_object_put(o);
        return NULL;
}

static int add_variable(json_object *o, const char *key, environment_t get, const char *variable) {
        const char *value = get(variable);

        return isempty(value) ? 0 : add(o, key, json_object_new_string(value));
}

const char *trigger_unit(environment_t get) {
        const char *monitored = get("MONITOR_UNIT"), *trigger = get("TRIGGER_UNIT");

        return !isempty(monitored) ? monitored : !isempty(trigger) ? trigger : NULL;
}

const char *trigger_invocation_id(environment_t get) {
        const char *id = get("INVOCATION_ID");

        return isempty(id) ? NULL : id;
}

uint64_t trigger_scheduled_usec(environment_t get) {
        const char *s = get("TRIGGER_TIMER_REALTIME_USEC");

        return isempty(s) || strlen(s) > 18 || s[strspn(s, "0123456789")] ? 0 : strtoull(s, NULL, 10);
}

json_object *trigger_unit_event(environment_t get) {
        static const struct {
                const char *key, *variable;
        } of_unit[] = {
                { "unit", "MONITOR_UNIT" }, { "result", "MONITOR_SERVICE_RESULT" }, { "exit_code", "MONITOR_EXIT_CODE" },
                { "exit_status", "MONITOR_EXIT_STATUS" }, { "invocation_id", "MONITOR_INVOCATION_ID" },
        }, of_trigger[] = {
                { "unit", "TRIGGER_UNIT" }, { "path", "TRIGGER_PATH" },
        };
        json_object *o = json_object_new_object();
        bool monitor = !isempty(get("MONITOR_UNIT"));
        int r = o ? 0 : -ENOMEM;

        for (size_t i = 0; r >= 0 && monitor && i < ELEMENTSOF(of_unit); i++)
                r = add_variable(o, of_unit[i].key, get, of_unit[i].variable);
        for (size_t i = 0; r >= 0 && !monitor && i < ELEMENTSOF(of_trigger); i++)
                r = add_variable(o, of_trigger[i].key, get, of_trigger[i].variable);
        if (r >= 0 && !monitor && trigger_scheduled_usec(get) > 0)
                r = add_time(o, "scheduled_time", trigger_scheduled_usec(get));
        return checked(o, r);
}

json_object *trigger_timer_event(json_object *input, uint64_t scheduled_usec, const char *unit) {
        json_object *o = json_object_new_object();
        int r = add(o, "input", input ? json_object_get(input) : json_object_new_object());

        if (r >= 0)
                r = add_time(o, "scheduled_time", scheduled_usec);
        return checked(o, r < 0 ? r : add(o, "trigger", json_object_new_string(unit)));
}

static int add_path(json_object *o, const char *key, const char *dir, const char *name) {
        size_t l = strlen(dir);
        _cleanup_(freep) char *path = NULL;

        if (asprintf(&path, "%s%s%s", dir, l > 0 && dir[l - 1] == '/' ? "" : "/", name) < 0)
                return -ENOMEM;
        return add(o, key, json_object_new_string(path));
}

json_object *trigger_file_event(const char *machine, const char *host, const char *name, const struct stat *st) {
        json_object *o = json_object_new_object();
        int r = add_path(o, "path", machine, name);

        if (r >= 0)
                r = add_path(o, "host_path", host, name);
        if (r >= 0)
                r = add(o, "size", json_object_new_int64(st->st_size));
        if (r >= 0)
                r = add_time(o, "modified", (uint64_t) st->st_mtim.tv_sec * USEC_PER_SEC + (uint64_t) st->st_mtim.tv_nsec / 1000);
        return checked(o, r);
}

/* FNV-1a: for what does not fit of a long name. That it is the same file says the rest of the key. */
static uint64_t hash(const char *s) {
        uint64_t h = UINT64_C(0xcbf29ce484222325);

        for (; *s; s++)
                h = (h ^ (uint8_t) *s) * UINT64_C(0x100000001b3);
        return h;
}

void trigger_file_key(const char *name, const struct stat *st, char ret[static TRIGGER_KEY_SIZE]) {
        char state[96];
        size_t room;
        int n;

        /* Not the device: its number may be another one after a reboot. */
        n = snprintf(state, sizeof(state), ":%" PRIu64 ":%" PRIx64 ".%09ld:%" PRIx64, (uint64_t) st->st_ino,
                     (uint64_t) st->st_mtim.tv_sec, st->st_mtim.tv_nsec, (uint64_t) st->st_size);
        room = SAND_IDEMPOTENCY_KEY_MAX - (size_t) n;
        if (strlen(name) <= room)
                (void) snprintf(ret, TRIGGER_KEY_SIZE, "%s%s", name, state);
        else
                (void) snprintf(ret, TRIGGER_KEY_SIZE, "%016" PRIx64 "%s", hash(name), state);
}
