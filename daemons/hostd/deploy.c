/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "deploy.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "fs.h"
#include "intake.h"
#include "log.h"
#include "machine-root.h"
#include "mounts.h"
#include "protocol.h"
#include "remove.h"
#include "secret-operation.h"
#include "settings.h"
#include "unit-files.h"

/* For the machine to load all workers of a version: imports may be slow. */
#define PREPARE_TIMEOUT_USEC (120 * USEC_PER_SEC)
#define RELOAD_TIMEOUT_USEC (30 * USEC_PER_SEC)

static int take_result(Operation *o, const IntakeResult *result) {
        int r;

        if (result->problems)
                return operation_error(o, SAND_ERROR_INVALID_BUNDLE, "%s", result->problems);
        r = free_and_strdup(&o->name, o->requested_name ?: result->name);
        if (r >= 0)
                r = free_and_strdup(&o->hash, result->hash);
        return r;
}

static void on_intake(Task *t, int r, const char *report, void *userdata) {
        _cleanup_(intake_result_done) IntakeResult result = {};
        Operation *o = userdata;

        o->bundle_fd = safe_close(o->bundle_fd);
        if (r == -ETIMEDOUT)
                r = operation_error(o, SAND_ERROR_INVALID_BUNDLE, "Reading the bundle took too long.");
        else if (r >= 0)
                r = intake_parse(report, &result);
        if (r >= 0)
                r = take_result(o, &result);
        else if (r != -ECANCELED)
                r = operation_error_errno(o, r, "unpack the bundle");
        o->task = task_free(o->task); /* and the report with it */
        if (r < 0)
                operation_fail(o, r, NULL);
        else
                operation_continue(o);
}

static int step_intake(Operation *o) {
        char name[] = APP_INCOMING_PREFIX "XXXXXX";
        _cleanup_(freep) char *path = NULL;
        int r;

        /* mkdtemp() knows no directory descriptor; the folder is root's alone. */
        if (asprintf(&path, SAND_APPS_DIR "/%s", name) < 0)
                return -ENOMEM;
        if (!mkdtemp(path))
                return operation_error_errno(o, -errno, "make a directory for the bundle");
        r = free_and_strdup(&o->incoming, strrchr(path, '/') + 1);
        if (r < 0)
                return r;
        o->incoming_fd = openat(o->all->places.apps_fd, o->incoming, O_RDONLY|O_DIRECTORY|O_CLOEXEC);
        if (o->incoming_fd < 0)
                return operation_error_errno(o, -errno, "open the directory for the bundle");
        r = intake_start(o->all->event, o->bundle_fd, o->incoming_fd, on_intake, o, &o->task);
        return r < 0 ? operation_error_errno(o, r, "start reading the bundle") : 1;
}

/* What is there: decides between a first deployment, a new version and the same again. */
static int step_compare(Operation *o) {
        const Places *p = &o->all->places;
        _cleanup_(freep) char *hash = NULL;
        Problems problems = {};
        int r;

        r = manifest_load(o->incoming_fd, false, &problems, &o->manifest);
        problems_done(&problems);
        if (r < 0)
                return operation_error_errno(o, r, "read the manifest that was just checked");
        o->incoming_fd = safe_close(o->incoming_fd);

        r = app_current(p, o->name, &o->previous);
        if (r == -ENOENT) {
                o->first = true;
                o->keep_state = fs_exists(p->state_fd, o->name); /* of an earlier life */
                if (machine_root_check(p->machines_fd, o->name) == -EEXIST)
                        return operation_error(o, SAND_ERROR_INVALID_BUNDLE,
                                               MACHINES_DIR "/%s exists and does not belong to SAND: remove it, or "
                                               "deploy under another name.", o->name);
                return 0;
        }
        if (r < 0)
                return operation_error_errno(o, r, "read which version is current");
        r = app_hash(p, o->name, o->previous, &hash);
        o->unchanged = r >= 0 && streq(hash, o->hash) && app_pending(p, o->name) == PENDING_NONE;
        return 0;
}

static int step_check_mounts(Operation *o) {
        _cleanup_(settings_done) Settings settings = {};
        _cleanup_(freep) char *text = NULL;
        Problems problems = {};
        int r;

        if (o->unchanged || o->manifest->n_mounts == 0)
                return 0;
        r = settings_load(&settings);
        if (r < 0 && r != -EBADMSG)
                return operation_error_errno(o, r, "read hostd.conf");
        r = mounts_check(o->manifest, settings.mounts, &problems);
        text = problems_to_string(&problems);
        problems_done(&problems);
        return r < 0 ? operation_error(o, SAND_ERROR_INVALID_BUNDLE, "%s", strempty(text)) : 0;
}

static int step_store(Operation *o) {
        const Places *p = &o->all->places;
        int r;

        if (o->unchanged)
                return free_and_strdup(&o->version, o->previous);
        o->touched = true;
        r = fs_mkdir(p->apps_fd, o->name, 0755, 0, 0);
        if (r >= 0)
                r = app_set_pending(p, o->name, o->keep_state ? PENDING_DEPLOY_KEEP_STATE : PENDING_DEPLOY);
        if (r >= 0)
                r = app_store(p, o->name, o->incoming, o->hash, &o->version);
        if (r < 0)
                return operation_error_errno(o, r, "store the version");
        free(TAKE_PTR(o->incoming));
        return 0;
}

static int furnish(Operation *o, const Manifest *m) {
        _cleanup_(freep) char *text = NULL;
        int r;

        r = app_furnish(&o->all->places, o->name, m, &o->changed, &o->renew, &text);
        if (r == -EEXIST)
                return operation_error(o, SAND_ERROR_INVALID_BUNDLE, "%s", text ?: "A file exists and is not SAND's.");
        if (r < 0 && text)
                return operation_error(o, SAND_ERROR_UNAVAILABLE, "%s", text);
        return r < 0 ? operation_error_errno(o, r, "make the machine") : 0;
}

static int step_furnish(Operation *o) {
        return furnish(o, o->manifest);
}

/* A machine that runs has the network and the mounts that it was started with. It finishes its events; those that come meanwhile
 * wait for the one that is started next. */
static int step_renew_machine(Operation *o) {
        _cleanup_(freep) char *unit = NULL;
        int r;

        if (!o->renew || !o->may_run || o->unchanged)
                return 0;
        unit = unit_service_name(o->name);
        if (!unit)
                return -ENOMEM;
        r = manager_stop(o->all->manager, unit, operation_on_manager, o, &o->request);
        return r < 0 ? r : 1;
}

/* It is told of the machine before that starts; where it is not there yet, it is made. */
static int step_network(Operation *o) {
        int r;

        if (o->unchanged || o->manifest->network == NETWORK_NONE)
                return 0;
        r = manager_reload_or_start(o->all->manager, "sand-network.service", operation_on_manager, o, &o->request);
        return r < 0 ? r : 1;
}

/* What makes its mounts says in the unit's status why it cannot. */
static void on_status_text(int r, const sd_bus_error *error, sd_bus_message *reply, void *userdata) {
        Operation *o = userdata;
        const char *text;

        o->request = NULL;
        if (r >= 0 && sd_bus_message_read(reply, "v", "s", &text) >= 0 && *text)
                (void) operation_error(o, SAND_ERROR_UNAVAILABLE, "The machine does not start: %s", text);
        else
                (void) operation_error(o, SAND_ERROR_UNAVAILABLE, "The machine does not start; see `journalctl -u sand-app@%s`.",
                                       o->name);
        operation_fail(o, -EIO, NULL);
}

static void on_started(int r, const sd_bus_error *error, sd_bus_message *reply, void *userdata) {
        _cleanup_(freep) char *unit = NULL;
        Operation *o = userdata;

        o->request = NULL;
        unit = r < 0 && o->manifest->n_mounts > 0 ? unit_service_name(o->name) : NULL;
        if (!unit || manager_get_status_text(o->all->manager, unit, on_status_text, o, &o->request) < 0)
                operation_on_manager(r, error, reply, o);
}

/* Connecting would start it too, but would not tell why it does not start. */
static int step_start_machine(Operation *o) {
        _cleanup_(freep) char *unit = NULL;
        int r;

        if (o->unchanged)
                return 0;
        unit = unit_service_name(o->name);
        if (!unit)
                return -ENOMEM;
        o->started = !o->was_active;
        r = manager_start(o->all->manager, unit, on_started, o, &o->request);
        return r < 0 ? r : 1;
}

static void on_control(int r, const sd_bus_error *error, const char *text, void *userdata) {
        Operation *o = userdata;

        if (r < 0)
                operation_fail(o, r, error);
        else
                operation_continue(o);
}

/* The connection stays: what Prepare has loaded lives as long as it. */
static int step_prepare(Operation *o) {
        int r = 0;

        if (o->unchanged)
                return 0;
        if (!o->control)
                r = machine_control_new(o->all->event, o->name, &o->control);
        if (r >= 0)
                r = machine_control_call(o->control, "Prepare", o->version, PREPARE_TIMEOUT_USEC, on_control, o);
        return r < 0 ? operation_error_errno(o, r, "reach the machine") : 1;
}

static int step_activate(Operation *o) {
        int r;

        if (o->unchanged)
                r = app_publish(&o->all->places, o->name, o->version, o->manifest);
        else {
                o->activated = true;
                r = app_activate(&o->all->places, o->name, o->version, o->manifest);
        }
        return r < 0 ? operation_error_errno(o, r, "publish the version") : 0;
}

static int step_reload_machine(Operation *o) {
        int r;

        if (o->unchanged)
                return 0;
        r = machine_control_call(o->control, "Reload", NULL, RELOAD_TIMEOUT_USEC, on_control, o);
        return r < 0 ? operation_error_errno(o, r, "reach the machine") : 1;
}

/* What is to wait for its first event warm, or never to end, is to begin now. */
static bool stays(const Manifest *m) {
        for (size_t i = 0; i < m->n_functions; i++)
                if (m->functions[i].warm > 0)
                        return true;
        return m->idle_usec == USEC_INFINITY;
}

/* Whether it stopped or not is no matter to the deployment. */
static void on_rests(int r, const sd_bus_error *error, sd_bus_message *reply, void *userdata) {
        Operation *o = userdata;

        o->request = NULL;
        if (r < 0)
                log_warning_errno(r, "%s: the machine goes on, ignoring: %s", o->name, strempty(error ? error->message : NULL));
        operation_continue(o);
}

/* A machine that was started for this alone has nothing to do, and an application without events is no process.
 * An event that has come meanwhile is finished first; one that comes later starts it again. */
static int step_rest(Operation *o) {
        _cleanup_(freep) char *unit = NULL;

        o->control = machine_control_free(o->control);
        if (!o->started || (!o->failed && stays(o->manifest)))
                return 0;
        unit = unit_service_name(o->name);
        return unit && manager_stop(o->all->manager, unit, on_rests, o, &o->request) >= 0 ? 1 : 0;
}

static int step_done(Operation *o) {
        o->control = machine_control_free(o->control);
        (void) app_set_pending(&o->all->places, o->name, PENDING_NONE);
        if (o->unchanged)
                log_info("%s: version %s is deployed already.", o->name, o->version);
        else
                log_info("%s: version %s is deployed%s%s.", o->name, o->version,
                         o->previous ? ", in place of " : "", strempty(o->previous));
        return 0;
}

/* After a failure: as it was before. */

static int step_undo(Operation *o) {
        o->control = machine_control_free(o->control);
        o->incoming_fd = safe_close(o->incoming_fd);
        if (o->touched)
                log_info("%s: not deployed, %s%s.", o->name,
                         o->first ? "removing what was made of it" : "what goes on is ", strempty(o->previous));
        return 0;
}

/* The old manifest's files, and its version as the current one. */
static int step_restore(Operation *o) {
        _cleanup_(manifest_freep) Manifest *old = NULL;
        const Places *p = &o->all->places;
        int r;

        if (!o->touched || o->first)
                return 0;
        r = app_manifest(p, o->name, o->previous, &old);
        if (r >= 0 && o->activated)
                r = app_activate(p, o->name, o->previous, old);
        if (r < 0)
                return r;
        return furnish(o, old);
}

static int step_reload_manager_again(Operation *o) {
        return !o->touched || o->first ? 0 : step_reload_manager(o);
}

/* What was started with the new version's network or mounts. */
static int step_renew_machine_again(Operation *o) {
        return !o->touched || o->first ? 0 : step_renew_machine(o);
}

static int step_start_machine_again(Operation *o) {
        return !o->touched || o->first || !o->renew || !o->may_run ? 0 : step_start_machine(o);
}

/* The machine may have taken the new version already and only its answer was lost. */
static int step_reload_machine_again(Operation *o) {
        int r;

        if (!o->touched || o->first || !o->activated)
                return 0;
        r = machine_control_new(o->all->event, o->name, &o->control);
        if (r >= 0)
                r = machine_control_call(o->control, "Reload", NULL, RELOAD_TIMEOUT_USEC, on_control, o);
        return r < 0 ? r : 1;
}

static int step_rest_again(Operation *o) {
        return o->first ? 0 : step_rest(o);
}

static int step_drop_version(Operation *o) {
        char path[256];

        if (!o->touched || o->first || !o->version)
                return 0;
        (void) snprintf(path, sizeof(path), "%s/%s.sha256", o->name, o->version);
        (void) fs_unlink(o->all->places.apps_fd, path);
        if (!o->undo_failed)
                (void) app_set_pending(&o->all->places, o->name, PENDING_NONE);
        (void) snprintf(path, sizeof(path), "%s/%s", o->name, o->version);
        return remove_tree_later(o, path);
}

static int step_remove_all(Operation *o) {
        static const OperationStep none[] = { NULL };

        o->steps = o->touched && o->first ? remove_steps_of_failed : none;
        return step_remove_incoming(o);
}

static const OperationStep deploy_undo[] = {
        step_undo, step_restore, step_reload_manager_again, step_renew_machine_again, step_start_machine_again,
        step_reload_machine_again, step_rest_again, step_drop_version, step_remove_all, NULL,
};

static const OperationStep deploy_steps[] = {
        step_intake, step_lock, step_compare, step_check_secrets, step_check_mounts, step_store, step_furnish, step_enable, step_reload_manager,
        step_start_socket, step_network, step_ask_active, step_renew_machine, step_start_machine, step_push_secrets, step_prepare,
        step_activate, step_reload_machine,
        step_done, step_rest, step_remove_outdated, step_remove_incoming, NULL,
};

int deploy_new(Operations *all, int bundle_fd, const char *name, operation_done_t done, void *userdata,
               Operation **ret) {
        _cleanup_(closep) int fd = bundle_fd;
        _cleanup_(operation_freep) Operation *o = NULL;
        int r;

        r = operation_new(all, NULL, deploy_steps, deploy_undo, done, userdata, &o);
        if (r < 0)
                return r;
        r = free_and_strdup(&o->requested_name, name);
        if (r < 0)
                return r;
        o->bundle_fd = TAKE_FD(fd);
        *ret = TAKE_PTR(o);
        return 0;
}
