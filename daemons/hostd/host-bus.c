/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What waits for an answer is a Request: first for the authorization, then for an operation, systemd or a
 * machine. Each gets exactly one answer. */

#include "host-bus.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>

#include "config.h"
#include "deploy.h"
#include "describe.h"
#include "fs.h"
#include "json-text.h"
#include "log.h"
#include "payload.h"
#include "polkit.h"
#include "protocol.h"
#include "remove.h"
#include "secret.h"
#include "secret-operation.h"
#include "token-operation.h"
#include "unit-files.h"
#include "version.h"

/* A supervisor that does not tell its state in time is stuck; the rest of the status is told without it. */
#define STATE_TIMEOUT_USEC (5 * USEC_PER_SEC)

#define SOURCE_MAX 4096U

struct Request {
        Host *host;
        Request *next;
        sd_bus_message *call;
        int (*perform)(Request *q); /* once it is authorized; negative: fails the request */
        char *name;                 /* of the application */
        uid_t uid;                  /* of the caller, once it is authorized */
        char *source;               /* of a bundle, as the caller says */
        char *version;              /* Rollback */
        char *file, *text;          /* SetOverride */
        char *secret;
        Token token;                /* to be made */
        char *token_prefix;         /* to be revoked */
        int fd;                     /* the bundle, or a secret's value */
        bool keep_state;
        bool name_is_known;         /* to the caller: it is not told */
        char **names;               /* List */
        Authorization *authorization;
        ManagerRequest *manager_request;
        MachineControl *control;
        sd_bus_message *properties; /* Status */
};

static Request *request_free(Request *q) {
        if (!q)
                return NULL;
        for (Request **i = &q->host->requests; *i; i = &(*i)->next)
                if (*i == q) {
                        *i = q->next;
                        q->host->n_requests--;
                        break;
                }
        authorization_free(q->authorization);
        manager_request_free(q->manager_request);
        machine_control_free(q->control);
        sd_bus_message_unref(q->properties);
        sd_bus_message_unref(q->call);
        safe_close(q->fd);
        strv_free(q->names);
        free(q->secret);
        free(q->source);
        free(q->version);
        free(q->file);
        free(q->text);
        free(q->token.name);
        free(q->token_prefix);
        free(q->name);
        free(q);
        return NULL;
}

DEFINE_POINTER_CLEANUP(Request *, request_free);

/* After its answer. */
static void request_end(Request *q) {
        Host *h = q->host;

        request_free(q);
        host_note_activity(h);
}

static void request_refuse(Request *q, const sd_bus_error *error) {
        int r = sd_bus_reply_method_error(q->call, error);

        if (r < 0)
                log_warning_errno(r, "Failed to answer a request, ignoring: %m");
        request_end(q);
}

static void request_fail(Request *q, int r, SandError e, const char *text) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        char reason[128];

        (void) sd_bus_error_setf(&error, sand_error_info(e)->dbus_name, "%s%s%s", text, r < 0 ? ": " : "",
                                 r < 0 ? strerror_r(-r, reason, sizeof(reason)) : "");
        request_refuse(q, &error);
}

/* For a negative result of what reads an application's files. */
static void request_fail_app(Request *q, int r) {
        _cleanup_(freep) char *text = NULL;

        if (r == -ENOENT && asprintf(&text, "There is no application '%s'.", q->name) >= 0)
                request_fail(q, 0, SAND_ERROR_NOT_FOUND, text);
        else
                request_fail(q, r, SAND_ERROR_UNAVAILABLE, "The application cannot be read");
}

static int request_new(Host *h, sd_bus_message *call, int (*perform)(Request *q), Request **ret) {
        Request *q;

        if (h->n_requests >= HOST_REQUESTS_MAX)
                return -ENOBUFS;
        q = calloc(1, sizeof(Request));
        if (!q)
                return -ENOMEM;
        *q = (Request) {
                .host = h, .call = sd_bus_message_ref(call), .perform = perform, .fd = -EBADF,
                .next = h->requests,
        };
        h->requests = q;
        h->n_requests++;
        host_note_activity(h);
        *ret = q;
        return 0;
}

static void request_perform(Request *q) {
        int r = q->perform(q);

        if (r < 0)
                request_fail(q, r, r == -ENOMEM ? SAND_ERROR_UNAVAILABLE : sand_error_from_errno(r),
                             "The request failed");
}

static void on_authorized(int r, uid_t uid, const sd_bus_error *error, void *userdata) {
        Request *q = userdata;

        q->authorization = NULL;
        q->uid = uid;
        if (r < 0)
                request_refuse(q, error);
        else
                request_perform(q);
}

/* The request, which is consumed, is answered later. */
static int request_authorize(Request *q, const char *action) {
        int r = authorization_new(q->call, action, q->name, on_authorized, q, &q->authorization);

        if (r < 0)
                request_fail(q, r, SAND_ERROR_DENIED, "The caller cannot be looked at");
        return 1;
}

static int refuse_now(sd_bus_message *m, sd_bus_error *error, int r) {
        if (r == -ENOBUFS)
                return sd_bus_error_set(error, sand_error_info(SAND_ERROR_BUSY)->dbus_name,
                                        "Too many requests are under way.");
        return r;
}

static int bad_request(sd_bus_error *error, const char *text) {
        return sd_bus_error_set(error, sand_error_info(SAND_ERROR_BAD_REQUEST)->dbus_name, text);
}

/* The message owns its descriptor. */
static int request_keep_fd(Request *q, int fd) {
        q->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        return q->fd < 0 ? -errno : 0;
}

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
                return bad_request(error, "The option 'name' is no name of an application, expected "
                                          "[a-z][a-z0-9-]{0,62} that does not end in '-'.");
        if (source && strlen(source) > SOURCE_MAX)
                return bad_request(error, "The option 'source' is too long, expected at most 4096 bytes.");
        if (memfd_check_sealed(fd, &size) < 0)
                return bad_request(error, "The bundle is expected in a memfd with all its seals.");
        r = request_new(h, m, perform_deploy, &q);
        if (r >= 0)
                r = free_and_strdup(&q->name, name);
        if (r >= 0)
                r = free_and_strdup(&q->source, source);
        if (r >= 0)
                r = request_keep_fd(q, fd);
        if (r < 0)
                return refuse_now(m, error, r);
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

static int read_name(sd_bus_message *m, const char **ret, sd_bus_error *error) {
        int r = sd_bus_message_read(m, "s", ret);

        if (r < 0)
                return r;
        /* What cannot be a name is the name of nothing. */
        if (!app_name_is_valid(*ret))
                return sd_bus_error_setf(error, sand_error_info(SAND_ERROR_NOT_FOUND)->dbus_name,
                                         "There is no application '%s'.", *ret);
        return 0;
}

static int method_remove(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(request_freep) Request *q = NULL;
        int keep_state = false, r;
        const BusOption known = { "keep-state", 'b', &keep_state };
        const char *name;

        r = read_name(m, &name, error);
        if (r >= 0)
                r = read_options(m, &known, 1, error);
        if (r < 0)
                return r;
        r = request_new(userdata, m, perform_remove, &q);
        if (r >= 0)
                r = free_and_strdup(&q->name, name);
        if (r < 0)
                return refuse_now(m, error, r);
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
                return refuse_now(m, error, r);
        q->name_is_known = true;
        return request_authorize(TAKE_PTR(q), action);
}

static int method_rollback(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name, *version;
        int r;

        r = read_name(m, &name, error);
        if (r >= 0)
                r = sd_bus_message_read(m, "s", &version);
        return r < 0 ? r : redeploy(m, userdata, POLKIT_DEPLOY, perform_rollback, name, version, NULL, NULL, error);
}

static int method_set_override(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name, *file, *text;
        int r;

        r = read_name(m, &name, error);
        if (r >= 0)
                r = sd_bus_message_read(m, "ss", &file, &text);
        if (r < 0)
                return r;
        if (!override_name_is_valid(file))
                return bad_request(error, "This is no name of an override, expected [A-Za-z0-9_][A-Za-z0-9_.-]{0,63} that ends in "
                                          "\".json\".");
        if (strlen(text) > JSON_TEXT_SIZE_MAX)
                return bad_request(error, "The override is too large, expected at most 1 MiB.");
        return redeploy(m, userdata, POLKIT_OVERRIDE, perform_override, name, NULL, file, text, error);
}

static int method_reload(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name;
        int r = read_name(m, &name, error);

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
                return refuse_now(m, error, r);
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

        r = read_name(m, &name, error);
        if (r < 0)
                return r;
        r = request_new(h, m, perform, &q);
        if (r >= 0)
                r = free_and_strdup(&q->name, name);
        if (r < 0)
                return refuse_now(m, error, r);
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

/* ---- Secrets ---- */

static void on_secret(Operation *o, void *userdata) {
        Request *q = userdata;

        if (o->failed) {
                log_error("%s: secret %s: %s", q->name, q->secret, strempty(o->error.message));
                request_refuse(q, &o->error);
                return;
        }
        (void) sd_bus_reply_method_return(q->call, NULL);
        request_end(q);
}

static int perform_set_secret(Request *q) {
        Operation *o;
        int r;

        r = secret_set_new(&q->host->operations, q->name, q->secret, TAKE_FD(q->fd), on_secret, q, &o);
        if (r < 0)
                return r;
        operation_start(o);
        return 0;
}

static int perform_remove_secret(Request *q) {
        Operation *o;
        int r;

        r = secret_remove_new(&q->host->operations, q->name, q->secret, on_secret, q, &o);
        if (r < 0)
                return r;
        operation_start(o);
        return 0;
}

static int check_secret_name(const char *name, const char *secret, sd_bus_error *error) {
        if (!app_name_is_valid(name))
                return bad_request(error, "This is no name of an application, expected [a-z][a-z0-9-]{0,62} that does "
                                          "not end in '-'.");
        if (!credential_name_is_valid(secret))
                return bad_request(error, "This is no name of a secret, expected [A-Za-z0-9_][A-Za-z0-9_.-]{0,63}.");
        return 0;
}

/* Before the caller is asked for a password. What is said of the value is its size. */
static int check_secret_value(int fd, sd_bus_error *error) {
        size_t size;

        if (memfd_check_sealed(fd, &size) < 0)
                return bad_request(error, "The value is expected in a memfd with all its seals.");
        if (size == 0)
                return bad_request(error, "The value is empty.");
        if (size > SAND_SECRET_SIZE_MAX)
                return sd_bus_error_setf(error, sand_error_info(SAND_ERROR_TOO_LARGE)->dbus_name,
                                         "The value has %zu bytes, expected at most %u.", size, SAND_SECRET_SIZE_MAX);
        return 0;
}

static int change_secret(sd_bus_message *m, Host *h, bool set, sd_bus_error *error) {
        _cleanup_(request_freep) Request *q = NULL;
        const char *name, *secret;
        int fd = -EBADF, r;

        r = set ? sd_bus_message_read(m, "ssh", &name, &secret, &fd) : sd_bus_message_read(m, "ss", &name, &secret);
        if (r >= 0)
                r = check_secret_name(name, secret, error);
        if (r >= 0 && set)
                r = check_secret_value(fd, error);
        if (r < 0)
                return r;
        r = request_new(h, m, set ? perform_set_secret : perform_remove_secret, &q);
        if (r >= 0)
                r = free_and_strdup(&q->name, name);
        if (r >= 0)
                r = free_and_strdup(&q->secret, secret);
        if (r >= 0 && set)
                r = request_keep_fd(q, fd);
        if (r < 0)
                return refuse_now(m, error, r);
        return request_authorize(TAKE_PTR(q), POLKIT_SECRETS);
}

static int method_set_secret(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return change_secret(m, userdata, true, error);
}

static int method_remove_secret(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return change_secret(m, userdata, false, error);
}

/* The functions of the deployed version that read it. */
static int append_users(sd_bus_message *reply, const Manifest *m, const char *secret) {
        int r = sd_bus_message_open_container(reply, 'a', "s");

        for (size_t i = 0; r >= 0 && m && i < m->n_functions; i++)
                if (strv_contains(m->functions[i].credentials, secret))
                        r = sd_bus_message_append(reply, "s", m->functions[i].name);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int append_secrets(const Places *p, sd_bus_message *reply, const char *name) {
        _cleanup_(manifest_freep) Manifest *manifest = NULL;
        _cleanup_(strv_freep) char **secrets = NULL;
        _cleanup_(freep) char *version = NULL;
        int r;

        r = secret_list(p->secrets_fd, name, &secrets);
        if (r >= 0 && app_current(p, name, &version) >= 0)
                (void) app_manifest(p, name, version, &manifest);
        for (char **i = secrets; r >= 0 && *i; i++) {
                uint64_t usec;

                if (secret_set_usec(p->secrets_fd, name, *i, &usec) < 0)
                        continue;
                r = sd_bus_message_open_container(reply, 'r', "sstas");
                if (r >= 0)
                        r = sd_bus_message_append(reply, "sst", name, *i, usec);
                if (r >= 0)
                        r = append_users(reply, manifest, *i);
                if (r >= 0)
                        r = sd_bus_message_close_container(reply);
        }
        return r;
}

static int append_secrets_of_all(const Places *p, sd_bus_message *reply) {
        _cleanup_(strv_freep) char **names = NULL;
        int r = fs_list(p->secrets_fd, ".", &names);

        for (char **i = names; r >= 0 && *i; i++)
                if (app_name_is_valid(*i))
                        r = append_secrets(p, reply, *i);
        return r;
}

static int perform_list_secrets(Request *q) {
        const Places *p = &q->host->operations.places;
        sd_bus_message *reply = NULL;
        int r;

        r = sd_bus_message_new_method_return(q->call, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(sstas)");
        if (r >= 0)
                r = q->name ? append_secrets(p, reply, q->name) : append_secrets_of_all(p, reply);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        if (r >= 0)
                r = sd_bus_send(q->host->bus, reply, NULL);
        sd_bus_message_unref(reply);
        if (r >= 0)
                request_end(q);
        return r;
}

/* Of one application, or, with the empty name, of all. */
static int list_of_application(sd_bus_message *m, Host *h, int (*perform)(Request *q), sd_bus_error *error) {
        _cleanup_(request_freep) Request *q = NULL;
        const char *name;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r >= 0 && *name && !app_name_is_valid(name))
                r = check_secret_name(name, "", error);
        if (r < 0)
                return r;
        r = request_new(h, m, perform, &q);
        if (r >= 0 && *name)
                r = free_and_strdup(&q->name, name);
        if (r < 0)
                return refuse_now(m, error, r);
        return request_authorize(TAKE_PTR(q), POLKIT_INSPECT);
}

static int method_list_secrets(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return list_of_application(m, userdata, perform_list_secrets, error);
}

/* ---- Tokens ---- */

static void on_token(Operation *o, void *userdata) {
        Request *q = userdata;
        char id[TOKEN_ID_LENGTH + 1];

        if (o->failed) {
                log_error("%s: token: %s", q->name, strempty(o->error.message));
                request_refuse(q, &o->error);
                return;
        }
        token_id(o->token.hash, id);
        (void) sd_bus_reply_method_return(q->call, "s", id);
        request_end(q);
}

static int perform_create_token(Request *q) {
        Operation *o;
        int r;

        r = token_create_new(&q->host->operations, q->name, &q->token, on_token, q, &o);
        if (r < 0)
                return r;
        operation_start(o);
        return 0;
}

static int perform_revoke_token(Request *q) {
        Operation *o;
        int r;

        r = token_revoke_new(&q->host->operations, q->name, q->token_prefix, on_token, q, &o);
        if (r < 0)
                return r;
        operation_start(o);
        return 0;
}

static uint64_t now_realtime_usec(void) {
        struct timespec ts = {};

        (void) clock_gettime(CLOCK_REALTIME, &ts);
        return (uint64_t) ts.tv_sec * USEC_PER_SEC + (uint64_t) ts.tv_nsec / 1000;
}

static int method_create_token(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(request_freep) Request *q = NULL;
        const char *name, *label;
        Token token = { .created_usec = now_realtime_usec() };
        const void *hash;
        size_t size;
        int r;

        r = read_name(m, &name, error);
        if (r >= 0)
                r = sd_bus_message_read_array(m, 'y', &hash, &size);
        if (r >= 0)
                r = sd_bus_message_read(m, "st", &label, &token.expires_usec);
        if (r < 0)
                return r;
        if (size != TOKEN_HASH_SIZE)
                return bad_request(error, "The hash of a token is expected, 32 bytes.");
        if (*label && !token_name_is_valid(label))
                return bad_request(error, "The label has more than 64 bytes, or control characters.");
        if (token.expires_usec > INT64_MAX || (token.expires_usec > 0 && token.expires_usec <= token.created_usec))
                return bad_request(error, "The time at which the token expires has passed.");
        memcpy(token.hash, hash, size);
        r = request_new(userdata, m, perform_create_token, &q);
        if (r >= 0)
                r = free_and_strdup(&q->name, name);
        if (r < 0)
                return refuse_now(m, error, r);
        q->token = token;
        if (*label && free_and_strdup(&q->token.name, label) < 0)
                return -ENOMEM;
        return request_authorize(TAKE_PTR(q), POLKIT_TOKENS);
}

static int method_revoke_token(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(request_freep) Request *q = NULL;
        const char *name, *id;
        int r;

        r = read_name(m, &name, error);
        if (r >= 0)
                r = sd_bus_message_read(m, "s", &id);
        if (r < 0)
                return r;
        if (!*id || strlen(id) > TOKEN_ID_LENGTH || id[strspn(id, "0123456789abcdef")])
                return bad_request(error, "The beginning of a token's id is expected, up to 12 hexadecimal digits.");
        r = request_new(userdata, m, perform_revoke_token, &q);
        if (r >= 0)
                r = free_and_strdup(&q->name, name);
        if (r >= 0)
                r = free_and_strdup(&q->token_prefix, id);
        if (r < 0)
                return refuse_now(m, error, r);
        return request_authorize(TAKE_PTR(q), POLKIT_TOKENS);
}

static int append_tokens(const Places *p, sd_bus_message *reply, const char *name) {
        _cleanup_(token_list_done) TokenList l = {};
        int r = tokens_read(p, name, &l);

        for (size_t i = 0; r >= 0 && i < l.n; i++) {
                const Token *t = l.items + i;
                char id[TOKEN_ID_LENGTH + 1];

                token_id(t->hash, id);
                r = sd_bus_message_append(reply, "(ssstt)", name, id, strempty(t->name), t->created_usec, t->expires_usec);
        }
        return r;
}

static int append_tokens_of_all(const Places *p, sd_bus_message *reply) {
        _cleanup_(strv_freep) char **files = NULL;
        int r = fs_list(p->tokens_fd, ".", &files);

        for (char **i = files; r >= 0 && *i; i++) {
                char *dot = strchr(*i, '.');

                if (!dot || !streq(dot, ".json"))
                        continue;
                *dot = 0;
                r = append_tokens(p, reply, *i);
        }
        return r;
}

static int perform_list_tokens(Request *q) {
        const Places *p = &q->host->operations.places;
        sd_bus_message *reply = NULL;
        int r;

        r = sd_bus_message_new_method_return(q->call, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(ssstt)");
        if (r >= 0)
                r = q->name ? append_tokens(p, reply, q->name) : append_tokens_of_all(p, reply);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        if (r >= 0)
                r = sd_bus_send(q->host->bus, reply, NULL);
        sd_bus_message_unref(reply);
        if (r >= 0)
                request_end(q);
        return r;
}

static int method_list_tokens(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return list_of_application(m, userdata, perform_list_tokens, error);
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
