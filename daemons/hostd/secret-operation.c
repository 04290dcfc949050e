/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "secret-operation.h"

#include <fcntl.h>
#include <sys/mman.h>

#include "log.h"
#include "protocol.h"
#include "secret.h"

#define PUSH_TIMEOUT_USEC (30 * USEC_PER_SEC)

/* ---- to a machine that runs ---- */

static void push_next(Operation *o) {
        int r = step_push_secrets(o);

        if (r < 0)
                operation_fail(o, r, NULL);
        else if (r == 0)
                operation_continue(o);
}

static void on_pushed(int r, const sd_bus_error *error, const char *text, void *userdata) {
        Operation *o = userdata;

        o->value_fd = safe_close(o->value_fd);
        if (r < 0 && o->secret)
                (void) operation_error(o, sand_error_from_name(error->name), "The secret is stored, but the machine that "
                                       "runs goes on with what it had: %s", strempty(error->message));
        if (r < 0)
                operation_fail(o, r, error);
        else
                push_next(o);
}

/* Hands over what is in value_fd. */
static int push(Operation *o, const char *secret) {
        int r = 0;

        if (!o->control)
                r = machine_control_new(o->all->event, o->name, &o->control);
        if (r >= 0)
                r = machine_control_set_credential(o->control, secret, o->value_fd, PUSH_TIMEOUT_USEC, on_pushed, o);
        return r < 0 ? operation_error_errno(o, r, "reach the machine") : 1;
}

static int seal(int fd) {
        return fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0 ? -errno : 0;
}

static void on_decrypted(Task *t, int r, const char *report, void *userdata) {
        Operation *o = userdata;
        const char *secret = o->manifest->credentials[o->n_pushed++];

        o->task = task_free(o->task);
        if (r >= 0)
                r = seal(o->value_fd);
        if (r < 0)
                r = operation_error(o, SAND_ERROR_UNAVAILABLE, "The secret \"%s\" of %s cannot be decrypted; set it again, or see "
                                    "`journalctl -u sand-hostd.service`.", secret, o->name);
        else
                r = push(o, secret);
        if (r < 0)
                operation_fail(o, r, NULL);
}

int step_push_secrets(Operation *o) {
        const char *secret;
        int r;

        if (o->unchanged || !o->may_run || o->n_pushed >= strv_length(o->manifest->credentials))
                return 0;
        secret = o->manifest->credentials[o->n_pushed];
        o->value_fd = memfd_create("sand-secret", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (o->value_fd < 0)
                return -errno;
        r = secret_decrypt(o->all->event, o->all->places.secrets_fd, o->name, secret, o->value_fd, on_decrypted, o,
                           &o->task);
        return r < 0 ? operation_error_errno(o, r, "read a secret") : 1;
}

/* ---- deployment ---- */

/* What to do about those that are not set, a line for each; NULL: all are. */
static int describe_missing(Operation *o, char **ret) {
        _cleanup_(freep) char *text = NULL;

        for (char **c = o->manifest->credentials; c && *c; c++) {
                char *longer;

                if (secret_exists(o->all->places.secrets_fd, o->name, *c))
                        continue;
                if (asprintf(&longer, "%s\n  sandctl secret set %s %s", strempty(text), o->name, *c) < 0)
                        return -ENOMEM;
                free(text);
                text = longer;
        }
        *ret = TAKE_PTR(text);
        return 0;
}

int step_check_secrets(Operation *o) {
        _cleanup_(freep) char *missing = NULL;
        int secrets_fd = o->all->places.secrets_fd, r;

        if (o->unchanged)
                return 0;
        r = describe_missing(o, &missing);
        if (r < 0)
                return r;
        if (missing)
                return operation_error(o, SAND_ERROR_INVALID_BUNDLE,
                                       "Functions read secrets that are not set. Set them first, values come from standard input:%s",
                                       missing);
        if (!secrets_fit(secrets_fd, o->name, o->manifest->credentials, NULL))
                return operation_error(o, SAND_ERROR_INVALID_BUNDLE,
                                       "The secrets of the functions are larger than 1 MiB together, which systemd gives to no service.");
        return 0;
}

/* ---- set ---- */

static void on_encrypted(Task *t, int r, const char *report, void *userdata) {
        Operation *o = userdata;

        o->task = task_free(o->task);
        if (r < 0)
                operation_fail(o, operation_error(o, SAND_ERROR_UNAVAILABLE, "systemd-creds does not encrypt the value; see "
                                                  "`journalctl -u sand-hostd.service`."), NULL);
        else
                operation_continue(o);
}

static int step_encrypt(Operation *o) {
        int r = secret_encrypt(o->all->event, o->all->places.secrets_fd, o->name, o->secret, o->value_fd, on_encrypted,
                               o, &o->task);
        return r < 0 ? operation_error_errno(o, r, "encrypt the secret") : 1;
}

/* Whether the version that is deployed has a function that reads the secret; o->manifest is that version's. */
static bool is_used(Operation *o) {
        _cleanup_(freep) char *version = NULL;
        const Places *p = &o->all->places;

        if (!o->manifest && (app_current(p, o->name, &version) < 0 ||
                             app_manifest(p, o->name, version, &o->manifest) < 0))
                return false;
        return strv_contains(o->manifest->credentials, o->secret);
}

static int step_commit(Operation *o) {
        int secrets_fd = o->all->places.secrets_fd, r;

        if (is_used(o) && !secrets_fit(secrets_fd, o->name, o->manifest->credentials, o->secret))
                return operation_error(o, SAND_ERROR_TOO_LARGE,
                                       "With this value the secrets of %s were larger than 1 MiB together, which systemd gives to no "
                                       "service.", o->name);
        r = secret_commit(secrets_fd, o->name, o->secret);
        return r < 0 ? operation_error_errno(o, r, "store the secret") : 0;
}

/* Only from here on: what starts later has read the new value. */
static int step_ask_machine(Operation *o) {
        return is_used(o) ? step_ask_active(o) : 0;
}

static int step_push_value(Operation *o) {
        if (!o->may_run)
                return 0;
        o->n_pushed = strv_length(o->manifest->credentials); /* this one is all */
        return push(o, o->secret);
}

static int step_set_done(Operation *o) {
        log_info("%s: secret %s is set%s.", o->name, o->secret, o->may_run ? ", and the machine has it" : "");
        return 0;
}

static int step_discard(Operation *o) {
        int r = secret_discard(o->all->places.secrets_fd, o->name, o->secret);

        return r < 0 ? r : 0;
}

static const OperationStep set_undo[] = { step_discard, NULL };

static const OperationStep set_steps[] = {
        step_lock, step_encrypt, step_commit, step_ask_machine, step_push_value, step_set_done, NULL,
};

static int new_operation(Operations *all, const char *app, const char *secret, const OperationStep *steps,
                         const OperationStep *undo, operation_done_t done, void *userdata, Operation **ret) {
        _cleanup_(operation_freep) Operation *o = NULL;
        int r;

        r = operation_new(all, app, steps, undo, done, userdata, &o);
        if (r >= 0)
                r = free_and_strdup(&o->secret, secret);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(o);
        return 0;
}

int secret_set_new(Operations *all, const char *app, const char *secret, int value_fd, operation_done_t done,
                   void *userdata, Operation **ret) {
        _cleanup_(closep) int fd = value_fd;
        int r = new_operation(all, app, secret, set_steps, set_undo, done, userdata, ret);

        if (r >= 0)
                (*ret)->value_fd = TAKE_FD(fd);
        return r;
}

/* ---- remove ---- */

static int step_remove_secret(Operation *o) {
        int r;

        if (is_used(o))
                return operation_error(o, SAND_ERROR_BAD_REQUEST,
                                       "The deployed version of %s uses the secret \"%s\". Deploy one that does not, or set another value.",
                                       o->name, o->secret);
        r = secret_remove(o->all->places.secrets_fd, o->name, o->secret);
        if (r == 0)
                return operation_error(o, SAND_ERROR_NOT_FOUND, "%s has no secret \"%s\".", o->name, o->secret);
        if (r < 0)
                return operation_error_errno(o, r, "remove the secret");
        log_info("%s: secret %s is removed.", o->name, o->secret);
        return 0;
}

static const OperationStep remove_secret_steps[] = { step_lock, step_remove_secret, NULL };

int secret_remove_new(Operations *all, const char *app, const char *secret, operation_done_t done, void *userdata,
                      Operation **ret) {
        return new_operation(all, app, secret, remove_secret_steps, NULL, done, userdata, ret);
}
