/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host-bus-methods.h"

#include "fs.h"
#include "log.h"
#include "payload.h"
#include "secret.h"
#include "secret-operation.h"

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
                return request_is_bad(error, REQUEST_NO_APP_NAME);
        if (!credential_name_is_valid(secret))
                return request_is_bad(error, "This is no name of a secret, expected [A-Za-z0-9_][A-Za-z0-9_.-]{0,63}.");
        return 0;
}

/* Before the caller is asked for a password. What is said of the value is its size. */
static int check_secret_value(int fd, sd_bus_error *error) {
        size_t size;

        if (memfd_check_sealed(fd, &size) < 0)
                return request_is_bad(error, "The value is expected in a memfd with all its seals.");
        if (size == 0)
                return request_is_bad(error, "The value is empty.");
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
                return request_refuse_now(m, error, r);
        return request_authorize(TAKE_PTR(q), POLKIT_SECRETS);
}

int method_set_secret(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return change_secret(m, userdata, true, error);
}

int method_remove_secret(sd_bus_message *m, void *userdata, sd_bus_error *error) {
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
        return request_reply_list(q, "(sstas)", append_secrets, append_secrets_of_all);
}

int method_list_secrets(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return request_list(m, userdata, perform_list_secrets, error);
}
