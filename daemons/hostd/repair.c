/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repair.h"

#include "log.h"
#include "remove.h"
#include "triggers.h"
#include "unit-files.h"
#include "version.h"

/* No deployment of it has come so far that there is a version. */
static bool is_nothing(const Operation *o) {
        _cleanup_(strv_freep) char **versions = NULL;

        return app_versions(&o->all->places, o->name, &versions) >= 0 && strv_length(versions) == 0;
}

static int step_classify(Operation *o) {
        const Places *p = &o->all->places;
        Pending pending = app_pending(p, o->name);
        int r;

        r = app_current(p, o->name, &o->version);
        /* It is only removed where it is known that it has to be. */
        if (r < 0 && (r != -ENOENT || (pending == PENDING_NONE && !is_nothing(o))))
                return operation_error_errno(o, r, "read which version is the current one");
        if (r < 0 || pending == PENDING_REMOVE || pending == PENDING_REMOVE_KEEP_STATE) {
                log_notice("%s: removing what %s left.", o->name,
                           r < 0 ? "a deployment that did not come to its end" : "an interrupted removal");
                o->keep_state = pending == PENDING_REMOVE_KEEP_STATE || pending == PENDING_DEPLOY_KEEP_STATE;
                o->remove_secrets = pending == PENDING_REMOVE;
                o->steps = remove_steps_of_broken;
                return 0;
        }
        o->first = pending != PENDING_NONE;
        r = app_manifest(p, o->name, o->version, &o->manifest);
        return r < 0 ? operation_error_errno(o, r, "read the current version's manifest") : 0;
}

static int step_done(Operation *o);

/* Of an application whose deployment was not cut off. Whether its socket is to be there is the operator's to say, and for
 * sand.target to do: systemd is asked nothing for each. */
static const OperationStep steps_of_whole[] = { step_reload_manager, step_settle_triggers, step_done, NULL };

static int step_furnish(Operation *o) {
        _cleanup_(freep) char *conflict = NULL;
        int r;

        r = app_furnish(&o->all->places, o->name, o->manifest, &o->changed, &o->renew, &conflict);
        if (r >= 0)
                r = app_publish(&o->all->places, o->name, o->version, o->manifest);
        if (conflict)
                log_error("%s: %s", o->name, conflict);
        if (r >= 0)
                r = triggers_write(o, o->manifest, o->first);
        if (!o->first)
                o->steps = steps_of_whole;
        return r < 0 ? operation_error_errno(o, r, "repair the application") : 0;
}

/* A machine that runs may serve the version before, and may have been started with the network or the mounts of the other
 * one. It finishes its events; the next one finds a machine of this version. */
static int step_stop_machine(Operation *o) {
        _cleanup_(freep) char *unit = NULL;
        int r;

        if (!o->first || !o->was_active)
                return 0;
        unit = unit_service_name(o->name);
        if (!unit)
                return -ENOMEM;
        r = manager_stop(o->all->manager, unit, operation_on_manager, o, &o->request);
        return r < 0 ? r : 1;
}

static int step_done(Operation *o) {
        if (o->first) {
                log_notice("%s: an interrupted deployment is put right, version %s serves.", o->name, o->version);
                (void) version_note_deployed(&o->all->places, o->name, o->version, NULL);
        }
        return app_set_pending(&o->all->places, o->name, PENDING_NONE);
}

/* What the deployment had stored. */
static int step_drop_others(Operation *o) {
        return o->first ? step_remove_outdated(o) : 0;
}

static const OperationStep repair_steps[] = {
        step_lock, step_classify, step_furnish, step_enable, step_reload_manager, step_start_socket, step_ask_active,
        step_stop_machine, step_settle_triggers, step_drop_others, step_done, NULL,
};

static void on_done(Operation *o, void *userdata) {
        if (o->failed)
                log_error("%s: not repaired: %s", o->name, strempty(o->error.message));
}

int repair_all(Operations *all, bool all_pieces) {
        _cleanup_(strv_freep) char **names = NULL;
        int r;

        r = app_list(&all->places, &names);
        for (char **i = names; r >= 0 && i && *i; i++) {
                _cleanup_(freep) char *current = NULL;
                Operation *o;

                if (!all_pieces && app_pending(&all->places, *i) == PENDING_NONE &&
                    app_current(&all->places, *i, &current) >= 0)
                        continue;
                r = operation_new(all, *i, repair_steps, NULL, on_done, NULL, &o);
                if (r >= 0)
                        operation_start(o);
        }
        return r;
}
