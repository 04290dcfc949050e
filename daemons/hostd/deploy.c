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
#include "override.h"
#include "protocol.h"
#include "remove.h"
#include "secret-operation.h"
#include "settings.h"
#include "triggers.h"
#include "unit-files.h"
#include "vendor.h"
#include "version.h"

/* For the machine to load all workers of a version: imports may be slow. */
#define PREPARE_TIMEOUT_USEC (120 * USEC_PER_SEC)
#define RELOAD_TIMEOUT_USEC (30 * USEC_PER_SEC)

static void problemsp(Problems *p) {
        problems_done(p);
}

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

/* The descriptor of a new folder, or an error that was recorded. */
static int make_incoming(Operation *o, char **ret_name) {
        char name[] = APP_INCOMING_PREFIX "XXXXXX";
        _cleanup_(freep) char *path = NULL;
        int fd;

        /* mkdtemp() knows no directory descriptor; the folder is root's alone. */
        if (asprintf(&path, SAND_APPS_DIR "/%s", name) < 0)
                return -ENOMEM;
        if (!mkdtemp(path))
                return operation_error_errno(o, -errno, "make a directory for what comes in");
        if (free_and_strdup(ret_name, strrchr(path, '/') + 1) < 0)
                return -ENOMEM;
        fd = openat(o->all->places.apps_fd, *ret_name, O_RDONLY|O_DIRECTORY|O_CLOEXEC);
        return fd < 0 ? operation_error_errno(o, -errno, "open the directory for what comes in") : fd;
}

static int step_intake(Operation *o) {
        int r;

        o->incoming_fd = make_incoming(o, &o->incoming);
        if (o->incoming_fd < 0)
                return o->incoming_fd;
        r = intake_start(o->all->event, o->bundle_fd, o->incoming_fd, on_intake, o, &o->task);
        return r < 0 ? operation_error_errno(o, r, "start reading the bundle") : 1;
}

/* ---- which version it is to be: a bundle, and the overrides ---- */

static int take_bundle(Operation *o, const char *version) {
        o->bundle = strndup(version, version_bundle_length(version));
        return o->bundle ? 0 : -ENOMEM;
}

/* What is there: decides between a first deployment, a new version and the same again. */
static int step_compare(Operation *o) {
        const Places *p = &o->all->places;
        _cleanup_(freep) char *hash = NULL;
        int r;

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
        return r >= 0 && streq(hash, o->hash) ? take_bundle(o, o->previous) : 0;
}

/* Names what there is instead. */
static int no_such_version(Operation *o, int r) {
        _cleanup_(freep) char *names = NULL;

        (void) version_names(&o->all->places, o->name, &names);
        if (r == -ENOTUNIQ)
                return operation_error(o, SAND_ERROR_BAD_REQUEST, "'%s' begins the names of several versions; %s has %s.", o->wanted,
                                       o->name, strempty(names));
        if (*o->wanted)
                return operation_error(o, SAND_ERROR_NOT_FOUND, "There is no version '%s'; %s has %s.", o->wanted, o->name,
                                       strempty(names));
        return operation_error(o, SAND_ERROR_NOT_FOUND, "There is no earlier version that was not rolled back from; %s has %s.",
                               o->name, strempty(names));
}

/* One that is there already: the one before, the one that is asked for, or the current one with other overrides. */
static int step_choose(Operation *o) {
        const Places *p = &o->all->places;
        int r;

        r = app_current(p, o->name, &o->previous);
        if (r == -ENOENT)
                return operation_error(o, SAND_ERROR_NOT_FOUND, "There is no application '%s'.", o->name);
        if (r >= 0)
                r = !o->wanted ? take_bundle(o, o->previous)
                               : *o->wanted ? version_find(p, o->name, o->wanted, &o->bundle) : version_previous(p, o->name, &o->bundle);
        if (r == -ENOENT || r == -ENOTUNIQ)
                return no_such_version(o, r);
        return r < 0 ? operation_error_errno(o, r, "find the version") : 0;
}

static int collect_failed(Operation *o, int r, const char *file) {
        const char *why = r == -EISDIR ? "found no regular file, expected one"
                : r == -EFBIG ? "found a file that is too large, expected at most 1 MiB"
                : r == -EBADMSG ? "found a NUL byte, expected JSON"
                : r == -E2BIG ? "found too many files, expected at most 64" : NULL;

        if (!why)
                return operation_error_errno(o, r, "read the overrides");
        return operation_error(o, SAND_ERROR_INVALID_BUNDLE, SAND_OVERRIDES_DIR "/%s" OVERRIDES_SUFFIX "%s%s: %s\n", o->name,
                               file ? "/" : "", strempty(file), why);
}

/* A folder of those that are to hold, if there are any; and the end of the version's name. */
static int collect_overrides(Operation *o, int *ret_fd, char suffix[static OVERRIDES_HASH_LENGTH + 2]) {
        _cleanup_(freep) char *file = NULL;
        _cleanup_(closep) int fd = -EBADF;
        char hash[BUNDLE_HASH_LENGTH + 1];
        int r;

        if (!o->override_file && !overrides_exist(o->name))
                return 0;
        fd = make_incoming(o, &o->overrides);
        if (fd < 0)
                return fd;
        r = overrides_collect(o->name, o->override_file, o->override_text, fd, &file);
        if (r < 0)
                return collect_failed(o, r, file);
        if (r == 0)
                return 0;
        if (fchmod(fd, 0755) < 0) /* the machine's root is to read it */
                return -errno;
        r = bundle_hash(fd, hash);
        if (r < 0)
                return operation_error_errno(o, r, "read the overrides");
        (void) snprintf(suffix, OVERRIDES_HASH_LENGTH + 2, "+%.*s", OVERRIDES_HASH_LENGTH, hash);
        *ret_fd = TAKE_FD(fd);
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

/* As strictly as the bundle alone. */
static int load_manifest(Operation *o, int overrides_fd) {
        _cleanup_(problemsp) Problems problems = {};
        _cleanup_(freep) char *text = NULL;
        int r;

        if (o->bundle) {
                safe_close(o->incoming_fd);
                o->incoming_fd = app_open_bundle(&o->all->places, o->name, o->bundle);
        }
        r = o->incoming_fd;
        if (r >= 0)
                r = manifest_load_overridden(o->incoming_fd, overrides_fd, o->name, true, &problems, &o->manifest);
        if (r >= 0)
                r = packages_check(o->manifest, &problems);
        o->incoming_fd = safe_close(o->incoming_fd);
        if (r == -EBADMSG) {
                text = problems_to_string(&problems);
                return operation_error(o, SAND_ERROR_INVALID_BUNDLE, "%s", text ?: "The version is not valid.");
        }
        return r < 0 ? operation_error_errno(o, r, "read the manifest") : 0;
}

static int step_override(Operation *o) {
        char suffix[OVERRIDES_HASH_LENGTH + 2] = "";
        _cleanup_(closep) int overrides_fd = -EBADF;
        int r;

        r = collect_overrides(o, &overrides_fd, suffix);
        if (r >= 0)
                r = load_manifest(o, overrides_fd);
        if (r >= 0 && !o->bundle)
                r = app_next_version(&o->all->places, o->name, o->hash, &o->version);
        if (r == -ENOENT) /* nothing of the application is there yet */
                r = asprintf(&o->version, "1-%.*s", VERSION_HASH_LENGTH, o->hash) < 0 ? -ENOMEM : 0;
        if (r >= 0 && (o->bundle || *suffix)) {
                _cleanup_(freep) char *bundle = o->bundle ? strdup(o->bundle) : TAKE_PTR(o->version);

                if (!bundle || asprintf(&o->version, "%s%s", bundle, suffix) < 0)
                        r = -ENOMEM;
        }
        if (r < 0)
                return r;
        o->unchanged = o->previous && streq(o->version, o->previous) && app_pending(&o->all->places, o->name) == PENDING_NONE;
        return 0;
}

/* It has a record before it is there: what has one, and has never served, is a deployment's that was cut off. */
static int store_bundle(Operation *o) {
        const Places *p = &o->all->places;
        int r;

        r = take_bundle(o, o->version);
        if (r >= 0)
                r = version_record_new(p, o->name, o->bundle, o->uid, o->source);
        if (r >= 0)
                r = app_store(p, o->name, o->incoming, o->hash, o->bundle);
        if (r >= 0)
                free(TAKE_PTR(o->incoming));
        return r;
}

static int step_store(Operation *o) {
        const Places *p = &o->all->places;
        int r;

        if (o->unchanged)
                return 0;
        o->touched = true;
        r = fs_mkdir(p->apps_fd, o->name, 0755, 0, 0);
        if (r >= 0)
                r = app_set_pending(p, o->name, o->keep_state ? PENDING_DEPLOY_KEEP_STATE : PENDING_DEPLOY);
        if (r >= 0 && !o->bundle)
                r = store_bundle(o);
        if (r >= 0 && o->version[version_bundle_length(o->version)]) {
                r = app_store_overrides(p, o->name, o->overrides, o->version);
                if (r >= 0)
                        free(TAKE_PTR(o->overrides));
                else if (r == -EEXIST) /* the same, of before */
                        r = 0;
        }
        return r < 0 ? operation_error_errno(o, r, "store the version") : 0;
}

/* ---- the machine ---- */

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
        if (o->reloading) /* by a job of systemd's, which stopping the machine would cancel */
                return operation_error(o, SAND_ERROR_BAD_REQUEST, "What is overridden needs a machine that is started anew: "
                                       "`sandctl edit %s --apply` does so.", o->name);
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

        /* What is being reloaded runs, and a job to start it would wait for the one that may be waiting for us. */
        if (o->unchanged || o->reloading)
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

/* Once it is known to be good, and before it holds: the next deployment finds what this one had. */
static int step_write_override(Operation *o) {
        int r;

        if (!o->override_file)
                return 0;
        r = override_write(o->name, o->override_file, o->override_text, &o->override_old);
        if (r < 0)
                return operation_error_errno(o, r, "write the override");
        o->override_written = true;
        return 0;
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

static void on_state(int r, const sd_bus_error *error, const char *text, void *userdata) {
        Operation *o = userdata;

        if (r >= 0)
                (void) version_in_use(text, &o->in_use);
        operation_continue(o);
}

/* The events that the old version has may take long, and its files are theirs. */
static int step_ask_in_use(Operation *o) {
        if (!o->control)
                return 0;
        return machine_control_call(o->control, "State", NULL, RELOAD_TIMEOUT_USEC, on_state, o) < 0 ? 0 : 1;
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
        const Places *p = &o->all->places;
        int r;

        o->control = machine_control_free(o->control);
        r = o->unchanged ? 0 : version_note_deployed(p, o->name, o->version, o->previous);
        if (r < 0)
                log_warning_errno(r, "%s: failed to note that version %s serves, ignoring: %m", o->name, o->version);
        if (o->unchanged)
                log_info("%s: version %s is deployed already.", o->name, o->version);
        else
                log_info("%s: version %s is deployed%s%s, for user %u.", o->name, o->version,
                         o->previous ? ", in place of " : "", strempty(o->previous), o->uid);
        return 0;
}

/* Nothing of it is left over that a repair would have to remove. */
static int step_settle(Operation *o) {
        (void) app_set_pending(&o->all->places, o->name, PENDING_NONE);
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
        _cleanup_(freep) char *written = NULL;
        int r;

        if (o->override_written) {
                r = override_write(o->name, o->override_file, strempty(o->override_old), &written);
                if (r < 0)
                        log_error_errno(r, "%s: failed to restore %s, ignoring: %m", o->name, o->override_file);
        }
        if (!o->touched || o->first)
                return 0;
        r = app_manifest(p, o->name, o->previous, &old);
        if (r >= 0 && o->activated)
                r = app_activate(p, o->name, o->previous, old);
        if (r >= 0 && o->activated)
                r = triggers_write(o, old, true);
        return r < 0 ? r : furnish(o, old);
}

static int step_reload_manager_again(Operation *o) {
        return !o->touched || o->first ? 0 : step_reload_manager(o);
}

static int step_settle_triggers_again(Operation *o) {
        return !o->touched || o->first || !o->activated ? 0 : step_settle_triggers(o);
}

/* What was started with the new version's network or mounts. */
static int step_renew_machine_again(Operation *o) {
        return !o->touched || o->first || o->reloading ? 0 : step_renew_machine(o);
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

/* As the version has never served, it goes with those that are outdated. */
static int step_drop_version(Operation *o) {
        return !o->touched || o->first ? 0 : step_remove_outdated(o);
}

static int step_settle_again(Operation *o) {
        return !o->touched || o->first || o->undo_failed ? 0 : step_settle(o);
}

static int step_remove_all(Operation *o) {
        static const OperationStep none[] = { NULL };

        o->steps = o->touched && o->first ? remove_steps_of_failed : none;
        return step_remove_incoming(o);
}

static const OperationStep deploy_undo[] = {
        step_undo, step_restore, step_reload_manager_again, step_renew_machine_again, step_start_machine_again,
        step_reload_machine_again, step_settle_triggers_again, step_rest_again, step_drop_version, step_settle_again, step_remove_all, NULL,
};

/* To read all units anew takes systemd the longer the more applications there are. */
static int step_reload_of_loaded(Operation *o) {
        return o->first ? 0 : step_reload_manager(o);
}

static const OperationStep deploy_steps[] = {
        step_intake, step_lock, step_compare, step_override, step_check_secrets, step_check_mounts, step_check_timers, step_store,
        step_furnish, step_enable, step_reload_of_loaded, step_start_socket, step_see_units, step_reload_manager, step_network,
        step_ask_active, step_renew_machine, step_start_machine, step_push_secrets, step_prepare, step_write_override,
        step_activate, step_reload_machine, step_write_triggers, step_reload_manager, step_settle_triggers, step_ask_in_use,
        step_done, step_rest, step_remove_outdated, step_settle, step_remove_incoming, NULL,
};

/* The same, with what is there already. */
static const OperationStep redeploy_steps[] = {
        step_lock, step_choose, step_override, step_check_secrets, step_check_mounts, step_check_timers, step_store, step_furnish,
        step_enable, step_reload_manager, step_start_socket, step_network, step_ask_active, step_renew_machine, step_start_machine,
        step_push_secrets, step_prepare, step_write_override, step_activate, step_reload_machine, step_write_triggers,
        step_reload_manager, step_settle_triggers, step_ask_in_use,
        step_done, step_rest, step_remove_outdated, step_settle, step_remove_incoming, NULL,
};

int deploy_new(Operations *all, int bundle_fd, const char *name, const char *source, uid_t uid, operation_done_t done,
               void *userdata, Operation **ret) {
        _cleanup_(closep) int fd = bundle_fd;
        _cleanup_(operation_freep) Operation *o = NULL;
        int r;

        r = operation_new(all, NULL, deploy_steps, deploy_undo, done, userdata, &o);
        if (r >= 0)
                r = free_and_strdup(&o->requested_name, name);
        if (r >= 0)
                r = free_and_strdup(&o->source, source);
        if (r < 0)
                return r;
        o->uid = uid;
        o->bundle_fd = TAKE_FD(fd);
        *ret = TAKE_PTR(o);
        return 0;
}

int rollback_new(Operations *all, const char *name, const char *version, uid_t uid, operation_done_t done, void *userdata,
                 Operation **ret) {
        _cleanup_(operation_freep) Operation *o = NULL;
        int r;

        r = operation_new(all, name, redeploy_steps, deploy_undo, done, userdata, &o);
        if (r >= 0)
                r = free_and_strdup(&o->wanted, version);
        if (r < 0)
                return r;
        o->uid = uid;
        *ret = TAKE_PTR(o);
        return 0;
}

int override_new(Operations *all, const char *name, const char *file, const char *text, uid_t uid, operation_done_t done,
                 void *userdata, Operation **ret) {
        _cleanup_(operation_freep) Operation *o = NULL;
        int r;

        r = operation_new(all, name, redeploy_steps, deploy_undo, done, userdata, &o);
        if (r >= 0)
                r = free_and_strdup(&o->override_file, file);
        if (r >= 0)
                r = free_and_strdup(&o->override_text, file ? strempty(text) : NULL);
        if (r < 0)
                return r;
        o->uid = uid;
        *ret = TAKE_PTR(o);
        return 0;
}
