/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "describe.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>

#include "catalogue.h"
#include "effective.h"
#include "macro.h"
#include "protocol.h"
#include "unit-files.h"

static void json_object_putp(json_object **o) {
        if (*o)
                json_object_put(*o);
}

/* Adds a value that was just made; NULL is out of memory, for values and for the object. */
static int add(json_object *o, const char *key, json_object *value) {
        if (!value)
                return -ENOMEM;
        if (json_object_object_add(o, key, value) < 0) {
                json_object_put(value);
                return -ENOMEM;
        }
        return 0;
}

static int add_string(json_object *o, const char *key, const char *value) {
        return add(o, key, json_object_new_string(value));
}

static int add_uint(json_object *o, const char *key, uint64_t value) {
        return add(o, key, json_object_new_uint64(value));
}

static int add_strings(json_object *o, const char *key, char *const *l) {
        json_object *array = json_object_new_array();
        int r = add(o, key, array);

        for (char *const *i = l; r >= 0 && i && *i; i++) {
                json_object *s = json_object_new_string(*i);
                if (!s || json_object_array_add(array, s) < 0)
                        r = -ENOMEM;
        }
        return r;
}

static _printf_(3, 4) int add_format(json_object *o, const char *key, const char *format, ...) {
        _cleanup_(freep) char *s = NULL;
        va_list ap;
        int n;

        va_start(ap, format);
        n = vasprintf(&s, format, ap);
        va_end(ap);
        return n < 0 ? -ENOMEM : add_string(o, key, s);
}

/* What is limited by control groups, as the application's own resources are told. */
static int add_resources(json_object *o, const FunctionSpec *f) {
        char lines[3][64];
        char *list[] = { NULL, NULL, NULL, NULL };
        size_t n = 0;

        if (f->memory_max != UINT64_MAX)
                (void) snprintf(lines[n++], sizeof(lines[0]), "MemoryMax=%" PRIu64, f->memory_max);
        if (f->cpu_weight == CPU_WEIGHT_IDLE)
                (void) snprintf(lines[n++], sizeof(lines[0]), "CPUWeight=idle");
        else if (f->cpu_weight != 0)
                (void) snprintf(lines[n++], sizeof(lines[0]), "CPUWeight=%u", f->cpu_weight);
        if (f->tasks_max == UINT64_MAX)
                (void) snprintf(lines[n++], sizeof(lines[0]), "TasksMax=infinity");
        else if (f->tasks_max != TASKS_MAX_DEFAULT)
                (void) snprintf(lines[n++], sizeof(lines[0]), "TasksMax=%" PRIu64, f->tasks_max);
        for (size_t i = 0; i < n; i++)
                list[i] = lines[i];
        return add_strings(o, "resources", list);
}

static int add_function(json_object *functions, const FunctionSpec *f) {
        const struct {
                const char *key;
                uint64_t value;
        } numbers[] = {
                { "timeout_usec", f->timeout_usec }, { "payload_max", f->payload_max }, { "warm", f->warm },
                { "max", f->max }, { "events", f->events }, { "queue_max", f->queue_max },
                { "queue_bytes", f->queue_bytes }, { "memory", f->memory }, { "tasks_max", f->tasks_max },
        };
        json_object *o = json_object_new_object();
        int r;

        r = add(functions, f->name, o);
        if (r >= 0)
                r = add_string(o, "runtime", runtime_to_string(f->runtime));
        if (r >= 0)
                r = add_strings(o, "handler", f->handler);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(numbers); i++)
                r = add_uint(o, numbers[i].key, numbers[i].value);
        if (r >= 0 && f->tasks_max == UINT64_MAX)
                r = add_string(o, "tasks_max", "infinity");
        if (r >= 0)
                r = add_resources(o, f);
        if (r >= 0 && strv_length(f->credentials) > 0)
                r = add_strings(o, "credentials", f->credentials);
        if (r >= 0 && f->content_type)
                r = add_string(o, "content_type", f->content_type);
        if (r >= 0)
                r = catalogue_add_retry(o, &f->retry);
        if (r >= 0 && f->on_success)
                r = add_string(o, "on_success", f->on_success);
        if (r >= 0 && f->on_failure)
                r = add_string(o, "on_failure", f->on_failure);
        return r;
}

static int add_unit(json_object *array, char *unit) {
        json_object *s = unit ? json_object_new_string(unit) : NULL;

        free(unit);
        if (s && json_object_array_add(array, s) >= 0)
                return 0;
        json_object_put(s);
        return -ENOMEM;
}

/* Units of timers and paths. Absent: there are none. */
static int add_triggers(json_object *o, const char *name, const Manifest *m) {
        json_object *array;
        int r;

        if (m->n_timers + m->n_paths == 0)
                return 0;
        array = json_object_new_array();
        r = add(o, "triggers", array);
        for (size_t i = 0; r >= 0 && i < m->n_timers; i++)
                r = add_unit(array, unit_trigger_name(name, false, m->timers[i].index));
        for (size_t i = 0; r >= 0 && i < m->n_paths; i++)
                r = add_unit(array, unit_trigger_name(name, true, m->paths[i].index));
        return r;
}

static int add_manifest(json_object *o, const Manifest *m) {
        static const char *const receipts[] = {
                [RECEIPTS_SAMPLE] = "sample", [RECEIPTS_FAILED] = "failed", [RECEIPTS_ALL] = "all",
        };
        json_object *functions = json_object_new_object();
        int r;

        if (m->idle_usec != USEC_INFINITY)
                r = add_uint(o, "idle_usec", m->idle_usec);
        else
                r = add_string(o, "idle_usec", "infinity");
        if (r >= 0)
                r = add_string(o, "receipts", receipts[m->receipts]);
        if (r >= 0)
                r = add_strings(o, "resources", m->resources);
        if (r >= 0 && m->allow)
                r = add_strings(o, "allow", m->allow);
        if (r >= 0)
                r = add(o, "functions", functions);
        else
                json_object_put(functions);
        for (size_t i = 0; r >= 0 && i < m->n_functions; i++)
                r = add_function(functions, m->functions + i);
        return r < 0 ? r : catalogue_add_routes(o, m);
}

/* Absent: it has none, or the network was never up. */
static int add_address(json_object *o, const Places *p, const char *name) {
        char four[INET_ADDRSTRLEN], six[INET6_ADDRSTRLEN];
        NetworkIdentity id;
        int r;

        if (app_network_identity(p, name, &id) < 0)
                return 0;
        r = add_string(o, "address", inet_ntop(AF_INET, &id.address4, four, sizeof(four)));
        if (r >= 0)
                r = add_string(o, "address6", inet_ntop(AF_INET6, &id.address6, six, sizeof(six)));
        return r;
}

static int add_network(json_object *o, const Places *p, const char *name, const Manifest *m) {
        int r = add_string(o, "network", network_to_string(m->network));

        return r < 0 || m->network == NETWORK_NONE ? r : add_address(o, p, name);
}

/* Absent: it has none. */
static int add_mounts(json_object *o, const Manifest *m) {
        json_object *mounts;
        int r;

        if (m->n_mounts == 0)
                return 0;
        mounts = json_object_new_array();
        r = add(o, "mounts", mounts);
        for (size_t i = 0; r >= 0 && i < m->n_mounts; i++) {
                json_object *mount = json_object_new_object();

                if (!mount || json_object_array_add(mounts, mount) < 0) {
                        json_object_put(mount);
                        return -ENOMEM;
                }
                r = add_string(mount, "host", m->mounts[i].host);
                if (r >= 0)
                        r = add_string(mount, "at", m->mounts[i].at);
                if (r >= 0)
                        r = add(mount, "write", json_object_new_boolean(m->mounts[i].write));
        }
        return r;
}

static int add_places(json_object *o, const char *name, const char *version) {
        int r;

        r = add_format(o, "bundle", SAND_APPS_DIR "/%s/%.*s", name, (int) version_bundle_length(version), version);
        if (r >= 0)
                r = add_format(o, "state", SAND_APP_STATE_DIR "/%s", name);
        if (r >= 0)
                r = add_format(o, "machine", "/var/lib/machines/%s", name);
        if (r >= 0)
                r = add_format(o, "socket", SAND_APP_SOCKET_DIR "/%s.sock", name);
        if (r >= 0)
                r = add_format(o, "unit", "sand-app@%s.service", name);
        return r;
}

static int to_text(json_object *o, char **ret) {
        const char *s = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN|JSON_C_TO_STRING_NOSLASHESCAPE);

        *ret = s ? strdup(s) : NULL;
        return *ret ? 0 : -ENOMEM;
}

/* The files that the current version's values come from, beside the bundle's own. */
static int add_overrides(json_object *o, const Layers *l) {
        json_object *array = json_object_new_array();
        int r = add(o, "overrides", array);

        for (size_t i = 1; r >= 0 && i < l->n; i++) {
                json_object *s = json_object_new_string(l->items[i].file);
                if (!s || json_object_array_add(array, s) < 0) {
                        (void) json_object_put(s);
                        r = -ENOMEM;
                }
        }
        return r;
}

static int add_effective(json_object *o, const Places *p, const char *name, const char *version) {
        json_object *document = NULL, *provenance = NULL;
        _cleanup_(layers_done) Layers l = {};
        int r;

        r = app_layers(p, name, version, &l);
        if (r >= 0)
                r = add_overrides(o, &l);
        if (r >= 0)
                r = effective_new(&l, &document, &provenance);
        if (r < 0)
                return r;
        r = add(o, "manifest", document);
        if (r < 0)
                json_object_put(provenance);
        return r < 0 ? r : add(o, "provenance", provenance);
}

int describe_app(const Places *p, const char *name, char **ret) {
        _cleanup_(json_object_putp) json_object *o = json_object_new_object();
        _cleanup_(freep) char *version = NULL, *hash = NULL;
        _cleanup_(manifest_freep) Manifest *m = NULL;
        _cleanup_(strv_freep) char **versions = NULL;
        uint32_t base;
        int r;

        r = app_current(p, name, &version);
        if (r >= 0)
                r = app_hash(p, name, version, &hash);
        if (r >= 0)
                r = app_uid_base(p, name, &base);
        if (r >= 0)
                r = app_versions(p, name, &versions);
        if (r >= 0)
                r = app_manifest(p, name, version, &m);
        if (r < 0)
                return r;
        r = o ? add_string(o, "name", name) : -ENOMEM;
        if (r >= 0)
                r = add_string(o, "version", version);
        if (r >= 0)
                r = add_string(o, "hash", hash);
        if (r >= 0)
                r = add_strings(o, "versions", versions);
        if (r >= 0)
                r = add_uint(o, "uid_base", base);
        if (r >= 0)
                r = add_places(o, name, version);
        if (r >= 0)
                r = add_network(o, p, name, m);
        if (r >= 0)
                r = add_mounts(o, m);
        if (r >= 0)
                r = add_triggers(o, name, m);
        if (r >= 0)
                r = add_manifest(o, m);
        if (r >= 0)
                r = add_effective(o, p, name, version);
        return r < 0 ? r : to_text(o, ret);
}

/* The unit's properties that are told on, under our names. */
static const struct {
        const char *property, *key;
        char type;
} facts[] = {
        { "ActiveState", "active_state", 's' },
        { "SubState", "sub_state", 's' },
        { "Result", "result", 's' },
        { "StatusText", "status_text", 's' },
        { "MainPID", "main_pid", 'u' },
        { "NRestarts", "restarts", 'u' },
        { "StateChangeTimestamp", "since_usec", 't' },
        { "MemoryCurrent", "memory", 't' },
        { "CPUUsageNSec", "cpu_nsec", 't' },
        { "TasksCurrent", "tasks", 't' },
};

/* A number that systemd does not know is all ones. */
static int add_fact(json_object *o, sd_bus_message *m, const char *key, char type) {
        char contents[] = { type, 0 };
        const char *s;
        uint32_t u;
        uint64_t t;
        int r;

        r = sd_bus_message_enter_container(m, 'v', contents);
        if (r < 0)
                return r;
        r = sd_bus_message_read_basic(m, type, type == 's' ? (void *) &s : type == 'u' ? (void *) &u : (void *) &t);
        if (r < 0)
                return r;
        if (type == 's')
                r = *s ? add_string(o, key, s) : 0;
        else if (type == 'u')
                r = add_uint(o, key, u);
        else
                r = t != UINT64_MAX ? add_uint(o, key, t) : 0;
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int add_facts(json_object *o, sd_bus_message *m) {
        int r;

        r = sd_bus_message_rewind(m, true);
        if (r >= 0)
                r = sd_bus_message_enter_container(m, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                const char *property;
                size_t i = 0;

                r = sd_bus_message_read(m, "s", &property);
                if (r < 0)
                        return r;
                while (i < ELEMENTSOF(facts) && !streq(facts[i].property, property))
                        i++;
                r = i < ELEMENTSOF(facts) ? add_fact(o, m, facts[i].key, facts[i].type)
                                          : sd_bus_message_skip(m, "v");
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r < 0 ? r : 0;
}

bool describe_is_active(sd_bus_message *properties) {
        _cleanup_(json_object_putp) json_object *o = json_object_new_object();
        json_object *active;

        return o && add_facts(o, properties) >= 0 && json_object_object_get_ex(o, "active_state", &active) &&
                streq(json_object_get_string(active), "active");
}

int describe_status(const Places *p, const char *name, sd_bus_message *properties, const char *state, char **ret) {
        _cleanup_(json_object_putp) json_object *o = json_object_new_object();
        _cleanup_(manifest_freep) Manifest *m = NULL;
        _cleanup_(freep) char *version = NULL;
        int r;

        r = app_current(p, name, &version);
        if (r >= 0)
                r = app_manifest(p, name, version, &m);
        if (r < 0)
                return r;
        r = o ? add_string(o, "name", name) : -ENOMEM;
        if (r >= 0)
                r = add_string(o, "version", version);
        if (r >= 0)
                r = add_format(o, "unit", "sand-app@%s.service", name);
        if (r >= 0 && app_manifest(p, name, version, &m) >= 0)
                r = catalogue_add_routes(o, m);
        if (r >= 0)
                r = add_network(o, p, name, m);
        if (r >= 0)
                r = add_facts(o, properties);
        if (r >= 0 && state) {
                json_object *supervisor = json_tokener_parse(state);
                if (supervisor)
                        r = add(o, "supervisor", supervisor);
        }
        return r < 0 ? r : to_text(o, ret);
}
