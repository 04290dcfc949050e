/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host-bus.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>

#include "config.h"
#include "deploy.h"
#include "describe.h"
#include "fs.h"
#include "host-bus-methods.h"
#include "json-text.h"
#include "log.h"
#include "payload.h"
#include "remove.h"
#include "unit-files.h"
#include "version.h"

/* A supervisor that does not tell its state in time is stuck; the rest of the status is told without it. */
#define STATE_TIMEOUT_USEC (5 * USEC_PER_SEC)

#define SOURCE_MAX 4096U

/* ---- Deploy ---- */

static void on_deployed(Operation *o, void *userdata) {
        const char *outcome = o->unchanged ? "unchanged" : "deployed";
        Request *q = userdata;

        if (o->failed) {
                log_error("%s: not deployed: %s", o->name ?: "a bundle", strempty(o->error.message));
                request_refuse(q, &o->error);
                return;
        }
        if (q->name_is_known)
                (void) sd_bus_reply_method_return(q->call, "ss", o->version, outcome);
        else
                (void) sd_bus_reply_method_return(q->call, "sss", o->name, o->version, outcome);
        if (!o->unchanged)
                (void) sd_bus_emit_signal(q->host->bus, SAND_HOST_PATH, SAND_HOST_INTERFACE, "Deployed", "ss",
                                          o->name, o->version);
        request_end(q);
}

static int perform_deploy(Request *q) {
        Operation *o;
        int r;

        r = deploy_new(&q->host->operations, TAKE_FD(q->fd), q->name, q->source, q->uid, on_deployed, q, &o);
        if (r < 0)
                return r;
        operation_start(o);
        return 0;
}

typedef struct BusOption {
        const char *name;
        char type;
        void *value;
} BusOption;

static int read_option(sd_bus_message *m, const BusOption *known, size_t n, sd_bus_error *error) {
        const char *name;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++)
                if (streq(name, known[i].name))
                        return sd_bus_message_read(m, "v", (const char[]) { known[i].type, 0 }, known[i].value);
        return sd_bus_error_setf(error, sand_error_info(SAND_ERROR_BAD_REQUEST)->dbus_name, "Unknown option '%s'.", name);
}

/* Reads a{sv}; an option that is not known is refused, so that nobody relies on it. */
static int read_options(sd_bus_message *m, const BusOption *known, size_t n, sd_bus_error *error) {
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = read_option(m, known, n, error);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r < 0 ? r : 0;
}

static int method_deploy(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(request_freep) Request *q = NULL;
        const char *name = NULL, *source = NULL;
        const BusOption known[] = { { "name", 's', &name }, { "source", 's', &source } };
        Host *h = userdata;
        size_t size;
        int r, fd;

        r = sd_bus_message_read(m, "h", &fd);
        if (r >= 0)
                r = read_options(m, known, ELEMENTSOF(known), error);
        if (r < 0)
                return r;
        if (name && !app_name_is_valid(name))
                return request_is_bad(error, "The option 'name' is no name of an application, expected "
                                          "[a-z][a-z0-9-]{0,62} that does not end in '-'.");
        if (source && strlen(source) > SOURCE_MAX)
                return request_is_bad(error, "The option 'source' is too long, expected at most 4096 bytes.");
        if (memfd_check_sealed(fd, &size) < 0)
                return request_is_bad(error, "The bundle is expected in a memfd with all its seals.");
        r = request_new(h, m, perform_deploy, &q);
        if (r >= 0)
                r = free_and_strdup(&q->name, name);
        if (r >= 0)
                r = free_and_strdup(&q->source, source);
        if (r >= 0)
                r = request_keep_fd(q, fd);
        if (r < 0)
                return request_refuse_now(m, error, r);
        return request_authorize(TAKE_PTR(q), POLKIT_DEPLOY);
}

/* ---- Remove ---- */

static void on_removed(Operation *o, void *userdata) {
        Request *q = userdata;

        if (o->failed) {
                log_error("%s: not removed: %s", q->name, strempty(o->error.message));
                request_refuse(q, &o->error);
                return;
        }
        (void) sd_bus_reply_method_return(q->call, NULL);
        (void) sd_bus_emit_signal(q->host->bus, SAND_HOST_PATH, SAND_HOST_INTERFACE, "Removed", "s", q->name);
        request_end(q);
}

static int perform_remove(Request *q) {
        Operation *o;
        int r;

        r = remove_new(&q->host->operations, q->name, q->keep_state, on_removed, q, &o);
        if (r < 0)
                return r;
        operation_start(o);
        return 0;
}

static int method_remove(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(request_freep) Request *q = NULL;
        int keep_state = false, r;
        const BusOption known = { "keep-state", 'b', &keep_state };
        const char *name;

        r = request_read_name(m, &name, error);
        if (r >= 0)
                r = read_options(m, &known, 1, error);
        if (r < 0)
                return r;
        r = request_new(userdata, m, perform_remove, &q);
        if (r >= 0)
                r = free_and_strdup(&q->name, name);
        if (r < 0)
                return request_refuse_now(m, error, r);
        q->keep_state = keep_state;
        return request_authorize(TAKE_PTR(q), POLKIT_REMOVE);
}

/* ---- Rollback, SetOverride, Reload ---- */

static int perform_rollback(Request *q) {
        Operation *o;
        int r = rollback_new(&q->host->operations, q->name, q->version, q->uid, on_deployed, q, &o);

        if (r >= 0)
                operation_start(o);
        return r;
}

static int perform_override(Request *q) {
        Operation *o;
        int r = override_new(&q->host->operations, q->name, q->file, q->text, q->uid, on_deployed, q, &o);

        if (r >= 0)
                operation_start(o);
        return r;
}

/* Of something that is deployed; with the strings, which may be NULL, that go with it. */
static int redeploy(sd_bus_message *m, Host *h, const char *action, int (*perform)(Request *q), const char *name,
                    const char *version, const char *file, const char *text, sd_bus_error *error) {
        _cleanup_(request_freep) Request *q = NULL;
        int r;

        r = request_new(h, m, perform, &q);
        if (r >= 0)
                r = free_and_strdup(&q->name, name);
        if (r >= 0)
                r = free_and_strdup(&q->version, version);
        if (r >= 0)
                r = free_and_strdup(&q->file, file);
        if (r >= 0)
                r = free_and_strdup(&q->text, text);
        if (r < 0)
                return request_refuse_now(m, error, r);
        q->name_is_known = true;
        return request_authorize(TAKE_PTR(q), action);
}

static int method_rollback(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name, *version;
        int r;

        r = request_read_name(m, &name, error);
        if (r >= 0)
                r = sd_bus_message_read(m, "s", &version);
        return r < 0 ? r : redeploy(m, userdata, POLKIT_DEPLOY, perform_rollback, name, version, NULL, NULL, error);
}

static int method_set_override(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name, *file, *text;
        int r;

        r = request_read_name(m, &name, error);
        if (r >= 0)
                r = sd_bus_message_read(m, "ss", &file, &text);
        if (r < 0)
                return r;
        if (!override_name_is_valid(file))
                return request_is_bad(error, "This is no name of an override, expected [A-Za-z0-9_][A-Za-z0-9_.-]{0,63} that ends in "
                                          "\".json\".");
        if (strlen(text) > JSON_TEXT_SIZE_MAX)
                return request_is_bad(error, "The override is too large, expected at most 1 MiB.");
        return redeploy(m, userdata, POLKIT_OVERRIDE, perform_override, name, NULL, file, text, error);
}

static int method_reload(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name;
        int r = request_read_name(m, &name, error);

        return r < 0 ? r : redeploy(m, userdata, POLKIT_OVERRIDE, perform_override, name, NULL, NULL, NULL, error);
}

/* ---- List ---- */

static int append_listed(Request *q, sd_bus_message *reply, const char *name, const char *active) {
        _cleanup_(manifest_freep) Manifest *manifest = NULL;
        _cleanup_(freep) char *version = NULL;
        char functions[32];

        /* One that is being deployed or removed is not in the list. */
        if (app_current(&q->host->operations.places, name, &version) < 0 ||
            app_manifest(&q->host->operations.places, name, version, &manifest) < 0)
                return 0;
        (void) snprintf(functions, sizeof(functions), "%zu", manifest->n_functions);
        return sd_bus_message_append(reply, "(ssss)", name, version, active, functions);
}

/* Units are in the order of the names that were asked for. */
static int append_list(Request *q, sd_bus_message *units, sd_bus_message *reply) {
        int r;

        r = sd_bus_message_open_container(reply, 'a', "(ssss)");
        if (r >= 0 && units)
                r = sd_bus_message_enter_container(units, 'a', "(ssssssouso)");
        for (char **i = q->names; r >= 0 && *i; i++) {
                const char *active = "inactive";

                r = sd_bus_message_read(units, "(ssssssouso)", NULL, NULL, NULL, &active, NULL, NULL, NULL, NULL,
                                        NULL, NULL);
                if (r >= 0)
                        r = append_listed(q, reply, *i, active);
        }
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static void on_units(int r, const sd_bus_error *error, sd_bus_message *units, void *userdata) {
        Request *q = userdata;
        sd_bus_message *reply = NULL;

        q->manager_request = NULL;
        if (r >= 0)
                r = sd_bus_message_new_method_return(q->call, &reply);
        if (r >= 0)
                r = append_list(q, units, reply);
        if (r >= 0)
                r = sd_bus_send(q->host->bus, reply, NULL);
        sd_bus_message_unref(reply);
        if (r < 0)
                request_fail(q, r, SAND_ERROR_UNAVAILABLE, "The list cannot be made");
        else
                request_end(q);
}

static int perform_list(Request *q) {
        _cleanup_(strv_freep) char **units = NULL;
        int r;

        r = app_list(&q->host->operations.places, &q->names);
        if (r < 0)
                return r;
        for (char **i = q->names; *i; i++) {
                r = strv_consume(&units, unit_service_name(*i));
                if (r < 0)
                        return r;
        }
        if (!units) {
                on_units(0, NULL, NULL, q);
                return 0;
        }
        return manager_list_units(q->host->manager, units, on_units, q, &q->manager_request);
}

static int method_list(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Request *q;
        int r = request_new(userdata, m, perform_list, &q);

        if (r < 0)
                return request_refuse_now(m, error, r);
        request_perform(q);
        return 1;
}

/* ---- Describe ---- */

static int perform_describe(Request *q) {
        _cleanup_(freep) char *text = NULL;
        int r;

        r = describe_app(&q->host->operations.places, q->name, &text);
        if (r < 0) {
                request_fail_app(q, r);
                return 0;
        }
        (void) sd_bus_reply_method_return(q->call, "s", text);
        request_end(q);
        return 0;
}

static int inspect(sd_bus_message *m, Host *h, int (*perform)(Request *q), sd_bus_error *error) {
        _cleanup_(request_freep) Request *q = NULL;
        const char *name;
        int r;

        r = request_read_name(m, &name, error);
        if (r < 0)
                return r;
        r = request_new(h, m, perform, &q);
        if (r >= 0)
                r = free_and_strdup(&q->name, name);
        if (r < 0)
                return request_refuse_now(m, error, r);
        return request_authorize(TAKE_PTR(q), POLKIT_INSPECT);
}

static int method_describe(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return inspect(m, userdata, perform_describe, error);
}

/* ---- ListVersions ---- */

static int perform_list_versions(Request *q) {
        _cleanup_(freep) char *text = NULL;
        int r;

        r = version_list(&q->host->operations.places, q->name, &text);
        if (r < 0) {
                request_fail_app(q, r);
                return 0;
        }
        (void) sd_bus_reply_method_return(q->call, "s", text);
        request_end(q);
        return 0;
}

static int method_list_versions(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return inspect(m, userdata, perform_list_versions, error);
}

/* ---- Status ---- */

static void tell_status(Request *q, const char *state) {
        _cleanup_(freep) char *text = NULL;
        int r;

        r = describe_status(&q->host->operations.places, q->name, q->properties, state, &text);
        if (r < 0) {
                request_fail_app(q, r);
                return;
        }
        (void) sd_bus_reply_method_return(q->call, "s", text);
        request_end(q);
}

static void on_state(int r, const sd_bus_error *error, const char *text, void *userdata) {
        tell_status(userdata, r < 0 ? NULL : text);
}

/* Connecting starts a machine that does not run, so only what is active is asked. Should it go idle at this very
 * moment it is started once more; nothing worse comes of it. */
static void on_unit_properties(int r, const sd_bus_error *error, sd_bus_message *reply, void *userdata) {
        Request *q = userdata;

        q->manager_request = NULL;
        if (r < 0) {
                request_fail(q, r, SAND_ERROR_UNAVAILABLE, "systemd does not tell the unit's state");
                return;
        }
        q->properties = sd_bus_message_ref(reply);
        if (describe_is_active(reply) && machine_control_new(q->host->event, q->name, &q->control) >= 0 &&
            machine_control_call(q->control, "State", NULL, STATE_TIMEOUT_USEC, on_state, q) >= 0)
                return;
        tell_status(q, NULL);
}

static int perform_status(Request *q) {
        _cleanup_(freep) char *unit = unit_service_name(q->name), *version = NULL;
        int r;

        if (!unit)
                return -ENOMEM;
        r = app_current(&q->host->operations.places, q->name, &version);
        if (r < 0) {
                request_fail_app(q, r);
                return 0;
        }
        return manager_get_properties(q->host->manager, unit, on_unit_properties, q, &q->manager_request);
}

static int method_status(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return inspect(m, userdata, perform_status, error);
}

static int property_version(sd_bus *bus, const char *path, const char *interface, const char *property,
                            sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        return sd_bus_message_append(reply, "s", SAND_VERSION);
}

static const sd_bus_vtable host_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Version", "s", property_version, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_METHOD_WITH_ARGS("Deploy", SD_BUS_ARGS("h", bundle, "a{sv}", options),
                                SD_BUS_RESULT("s", name, "s", version, "s", outcome), method_deploy,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Remove", SD_BUS_ARGS("s", name, "a{sv}", options), SD_BUS_NO_RESULT,
                                method_remove, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Rollback", SD_BUS_ARGS("s", name, "s", version),
                                SD_BUS_RESULT("s", version, "s", outcome), method_rollback, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("SetOverride", SD_BUS_ARGS("s", name, "s", file, "s", text),
                                SD_BUS_RESULT("s", version, "s", outcome), method_set_override, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Reload", SD_BUS_ARGS("s", name), SD_BUS_RESULT("s", version, "s", outcome),
                                method_reload, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("List", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(ssss)", applications), method_list,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Describe", SD_BUS_ARGS("s", name), SD_BUS_RESULT("s", json), method_describe,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Status", SD_BUS_ARGS("s", name), SD_BUS_RESULT("s", json), method_status,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListVersions", SD_BUS_ARGS("s", name), SD_BUS_RESULT("s", json), method_list_versions,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("SetSecret", SD_BUS_ARGS("s", name, "s", secret, "h", value), SD_BUS_NO_RESULT,
                                method_set_secret, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListSecrets", SD_BUS_ARGS("s", name), SD_BUS_RESULT("a(sstas)", secrets),
                                method_list_secrets, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("RemoveSecret", SD_BUS_ARGS("s", name, "s", secret), SD_BUS_NO_RESULT,
                                method_remove_secret, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("CreateToken", SD_BUS_ARGS("s", name, "ay", hash, "s", label, "t", expires),
                                SD_BUS_RESULT("s", id), method_create_token, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListTokens", SD_BUS_ARGS("s", name), SD_BUS_RESULT("a(ssstt)", tokens),
                                method_list_tokens, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("RevokeToken", SD_BUS_ARGS("s", name, "s", id), SD_BUS_RESULT("s", id),
                                method_revoke_token, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_SIGNAL_WITH_ARGS("Deployed", SD_BUS_ARGS("s", name, "s", version), 0),
        SD_BUS_SIGNAL_WITH_ARGS("Removed", SD_BUS_ARGS("s", name), 0),
        SD_BUS_VTABLE_END,
};

int host_bus_add(Host *h) {
        return sd_bus_add_object_vtable(h->bus, &h->vtable, SAND_HOST_PATH, SAND_HOST_INTERFACE, host_vtable, h);
}

void host_bus_done(Host *h) {
        while (h->requests)
                request_free(h->requests);
}
