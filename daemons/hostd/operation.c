/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "operation.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "log.h"
#include "unit-files.h"

static void run(Operation *o);

int operation_new(Operations *all, const char *name, const OperationStep *steps, const OperationStep *undo,
                  operation_done_t done, void *userdata, Operation **ret) {
        _cleanup_(operation_freep) Operation *o = NULL;

        o = calloc(1, sizeof(Operation));
        if (!o)
                return -ENOMEM;
        *o = (Operation) {
                .steps = steps, .undo = undo, .done = done, .userdata = userdata,
                .error = SD_BUS_ERROR_NULL, .bundle_fd = -EBADF, .incoming_fd = -EBADF, .value_fd = -EBADF,
        };
        if (free_and_strdup(&o->name, name) < 0)
                return -ENOMEM;
        o->all = all;
        o->next = all->list;
        all->list = o;
        all->n++;
        *ret = TAKE_PTR(o);
        return 0;
}

static void unlink_operation(Operation *o) {
        if (!o->all)
                return;
        for (Operation **i = &o->all->list; *i; i = &(*i)->next)
                if (*i == o) {
                        *i = o->next;
                        o->all->n--;
                        break;
                }
        o->all = NULL;
}

Operation *operation_free(Operation *o) {
        if (!o)
                return NULL;
        unlink_operation(o);
        task_free(o->task);
        manager_request_free(o->request);
        machine_control_free(o->control);
        manifest_free(o->manifest);
        sd_bus_error_free(&o->error);
        safe_close(o->bundle_fd);
        safe_close(o->incoming_fd);
        safe_close(o->value_fd);
        free(o->secret);
        free(o->token.name);
        free(o->token_prefix);
        free(o->name);
        free(o->requested_name);
        free(o->incoming);
        free(o->hash);
        free(o->bundle);
        free(o->version);
        free(o->previous);
        free(o->wanted);
        free(o->overrides);
        free(o->override_file);
        free(o->override_text);
        free(o->override_old);
        free(o->source);
        strv_free(o->in_use);
        strv_free(o->units);
        strv_free(o->units_gone);
        free(o);
        return NULL;
}

void operations_done(Operations *all) {
        while (all->list)
                operation_free(all->list);
        all->reload = manager_request_free(all->reload);
}

int operation_error(Operation *o, SandError e, const char *format, ...) {
        _cleanup_(freep) char *text = NULL;
        va_list ap;
        int n;

        va_start(ap, format);
        n = vasprintf(&text, format, ap);
        va_end(ap);
        if (n < 0)
                return -ENOMEM;
        if (!sd_bus_error_is_set(&o->error))
                (void) sd_bus_error_set(&o->error, sand_error_info(e)->dbus_name, text);
        return -ECANCELED;
}

int operation_error_errno(Operation *o, int r, const char *what) {
        char reason[128];
        const char *text = strerror_r(abs(r), reason, sizeof(reason));

        log_error_errno(r, "%s: failed to %s: %m", o->name ?: "a bundle", what);
        return operation_error(o, SAND_ERROR_UNAVAILABLE, "The host failed to %s: %s", what, text);
}

static void fail(Operation *o, int r, const sd_bus_error *error) {
        if (o->undoing) {
                /* There is no way back from the way back: what stays is left to the next start's repair. */
                o->undo_failed = true;
                log_error_errno(r, "%s: failed to clean up, ignoring: %s", o->name ?: "a bundle",
                                error && error->message ? error->message : strerror(abs(r)));
                return;
        }
        o->failed = true;
        if (!sd_bus_error_is_set(&o->error)) {
                if (error && sd_bus_error_is_set(error) && startswith(error->name, SAND_ERROR_PREFIX))
                        (void) sd_bus_error_copy(&o->error, error);
                else
                        (void) operation_error(o, SAND_ERROR_UNAVAILABLE, "%s", error && error->message ?
                                               error->message : strerror(abs(r)));
        }
        o->undoing = true;
        o->steps = o->undo;
}

void operation_fail(Operation *o, int r, const sd_bus_error *error) {
        fail(o, r, error);
        run(o);
}

/* Lets the operation in that has waited longest: the list has the newest first. */
static void hand_on_lock(Operations *all, const char *name) {
        Operation *first = NULL;

        for (Operation *i = all->list; i; i = i->next)
                if (i->waits_lock && streq(i->name, name))
                        first = i;
        if (first) {
                first->waits_lock = false;
                first->locked = true;
                run(first);
        }
}

static void finish(Operation *o) {
        _cleanup_(freep) char *name = o->locked ? TAKE_PTR(o->name) : NULL;
        Operations *all = o->all;

        if (name)
                (void) free_and_strdup(&o->name, name);
        unlink_operation(o);
        if (o->done)
                o->done(o, o->userdata);
        operation_free(o);
        if (name)
                hand_on_lock(all, name);
        if (all->n == 0 && all->emptied)
                all->emptied(all->userdata);
}

static void run(Operation *o) {
        while (o->steps && *o->steps) {
                OperationStep step = *o->steps++;
                int r = step(o);

                if (r > 0)
                        return;
                if (r < 0)
                        fail(o, r, NULL);
        }
        finish(o);
}

void operation_start(Operation *o) {
        run(o);
}

void operation_continue(Operation *o) {
        run(o);
}

void operation_on_manager(int r, const sd_bus_error *error, sd_bus_message *reply, void *userdata) {
        Operation *o = userdata;

        o->request = NULL; /* gone when its handler runs */
        if (r < 0)
                operation_fail(o, r, error);
        else
                operation_continue(o);
}

int step_lock(Operation *o) {
        assert(o->name);
        for (Operation *i = o->all->list; i; i = i->next)
                if (i->locked && streq(i->name, o->name)) {
                        o->waits_lock = true;
                        return 1;
                }
        o->locked = true;
        return 0;
}

static void on_reloaded(int r, const sd_bus_error *error, sd_bus_message *reply, void *userdata);

/* One Reload serves all that had written their files before it was sent. */
static int reload_for_waiting(Operations *all) {
        int r = manager_reload(all->manager, on_reloaded, all, &all->reload);

        if (r >= 0) {
                all->reloading = true;
                all->reload_later = false;
        }
        return r;
}

/* Takes an operation out that waited for the Reload that has just ended, or NULL. */
static Operation *next_reloaded(Operations *all) {
        for (Operation *i = all->list; i; i = i->next)
                if (i->waits_reload && i->changed) {
                        i->waits_reload = i->changed = false;
                        return i;
                }
        return NULL;
}

static void on_reloaded(int r, const sd_bus_error *error, sd_bus_message *reply, void *userdata) {
        Operations *all = userdata;
        Operation *o;
        int k = 0;

        all->reload = NULL;
        while ((o = next_reloaded(all))) {
                if (r < 0)
                        operation_fail(o, r, error);
                else
                        operation_continue(o);
        }
        all->reloading = false;
        /* Those that came meanwhile need one of their own. */
        bool more = false;
        for (Operation *i = all->list; i; i = i->next)
                if (i->waits_reload)
                        more = i->changed = true;
        if (more)
                k = reload_for_waiting(all);
        if (k < 0)
                while ((o = next_reloaded(all)))
                        operation_fail(o, k, NULL);
        if (!all->reloading && all->n == 0 && all->emptied)
                all->emptied(all->userdata);
}

int operations_settle(Operations *all) {
        int r;

        if (!all->reload_later || all->reloading)
                return 0;
        r = reload_for_waiting(all);
        return r < 0 ? r : 1;
}

/* An operation that waits for the Reload in flight is `changed`; one that came too late for it is not. */
int step_reload_manager(Operation *o) {
        if (!o->changed)
                return 0;
        if (!o->all->reloading) {
                int r = reload_for_waiting(o->all);
                if (r < 0)
                        return r;
        } else
                o->changed = false;
        o->waits_reload = true;
        return 1;
}

/* Of a reply with all properties: whether the unit's drop-in is ours, as it is on disk. */
static int read_seen(sd_bus_message *m, const char *dropin, bool *ret) {
        bool there = false, old = true;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                _cleanup_(strv_freep) char **paths = NULL;
                const char *property;
                int need = true;

                r = sd_bus_message_read(m, "s", &property);
                if (r < 0)
                        return r;
                if (streq(property, "DropInPaths")) {
                        r = sd_bus_message_enter_container(m, 'v', "as");
                        if (r >= 0)
                                r = sd_bus_message_read_strv(m, &paths);
                        if (r >= 0)
                                r = sd_bus_message_exit_container(m);
                        there = strv_contains(paths, dropin);
                } else if (streq(property, "NeedDaemonReload")) {
                        r = sd_bus_message_read(m, "v", "b", &need);
                        old = need;
                } else
                        r = sd_bus_message_skip(m, "v");
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        *ret = there && !old;
        return r < 0 ? r : 0;
}

static void on_seen(int r, const sd_bus_error *error, sd_bus_message *reply, void *userdata) {
        _cleanup_(freep) char *dropin = NULL;
        Operation *o = userdata;
        bool seen = false;

        dropin = unit_dropin_path(o->name);
        if (r >= 0 && dropin && read_seen(reply, dropin, &seen) >= 0 && seen) {
                o->changed = false;
                o->all->reload_later = true;
        }
        operation_on_manager(0, NULL, NULL, o);
}

int step_see_units(Operation *o) {
        _cleanup_(freep) char *unit = NULL;
        int r;

        if (!o->first || !o->changed)
                return 0;
        unit = unit_service_name(o->name);
        if (!unit)
                return -ENOMEM;
        r = manager_get_properties(o->all->manager, unit, on_seen, o, &o->request);
        return r < 0 ? r : 1;
}

int step_enable(Operation *o) {
        _cleanup_(freep) char *unit = NULL;
        int r;

        if (app_is_enabled(o->name))
                return 0;
        unit = unit_socket_name(o->name);
        if (!unit)
                return -ENOMEM;
        r = manager_enable(o->all->manager, unit, operation_on_manager, o, &o->request);
        if (r < 0)
                return r;
        o->changed = true;
        return 1;
}

int step_start_socket(Operation *o) {
        _cleanup_(freep) char *unit = unit_socket_name(o->name);
        int r;

        if (!unit)
                return -ENOMEM;
        r = manager_start(o->all->manager, unit, operation_on_manager, o, &o->request);
        return r < 0 ? r : 1;
}

static void on_units(int r, const sd_bus_error *error, sd_bus_message *reply, void *userdata) {
        Operation *o = userdata;
        const char *active = "";

        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'a', "(ssssssouso)");
        if (r >= 0)
                r = sd_bus_message_read(reply, "(ssssssouso)", NULL, NULL, NULL, &active, NULL, NULL, NULL, NULL, NULL,
                                        NULL);
        o->was_active = streq(active, "active");
        o->reloading = streq(active, "reloading");
        o->may_run = o->was_active || o->reloading || streq(active, "activating");
        operation_on_manager(r < 0 ? r : 0, error, reply, o);
}

int step_ask_active(Operation *o) {
        _cleanup_(freep) char *unit = unit_service_name(o->name);
        int r;

        if (!unit)
                return -ENOMEM;
        r = manager_list_units(o->all->manager, (char *[]) { unit, NULL }, on_units, o, &o->request);
        return r < 0 ? r : 1;
}
