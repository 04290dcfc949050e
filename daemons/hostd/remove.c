/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "remove.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>

#include "fs.h"
#include "log.h"
#include "machine-root.h"
#include "settings.h"
#include "token-operation.h"
#include "triggers.h"
#include "unit-files.h"
#include "version.h"

/* State may be large. */
#define TREE_TIMEOUT_USEC USEC_PER_HOUR
#define TREES_MAX 16U

/* Trees that a child deletes: descriptor of a folder, path below it. */
typedef struct Trees {
        size_t n;
        struct {
                int fd;
                char path[256];
        } items[TREES_MAX];
} Trees;

static int trees_main(int report_fd, void *argument) {
        const Trees *trees = argument;
        int result = 0;

        for (size_t i = 0; i < trees->n; i++) {
                int r = fs_remove_tree(trees->items[i].fd, trees->items[i].path);
                if (r < 0)
                        result = log_error_errno(r, "Failed to remove %s: %m", trees->items[i].path);
        }
        return result;
}

static void trees_add(Trees *trees, int fd, const char *path) {
        if (trees->n < TREES_MAX && strlen(path) < sizeof(trees->items[0].path)) {
                trees->items[trees->n].fd = fd;
                strcpy(trees->items[trees->n++].path, path);
        }
}

static int trees_remove(Operation *o, Trees *trees, void (*done)(Task *t, int r, const char *report, void *userdata)) {
        const Places *p = &o->all->places;
        int fds[] = { p->apps_fd, p->state_fd, p->secrets_fd, p->machines_fd };

        return task_new(o->all->event, &(TaskSpec) {
                        .what = "removing trees",
                        .main = trees_main,
                        .argument = trees,
                        .fds = fds,
                        .n_fds = ELEMENTSOF(fds),
                        .timeout_usec = TREE_TIMEOUT_USEC,
                        .done = done,
                        .userdata = o,
                }, &o->task);
}

static void on_removed(Task *t, int r, const char *report, void *userdata) {
        Operation *o = userdata;

        o->task = task_free(o->task);
        if (r < 0)
                operation_fail(o, operation_error_errno(o, r, "remove files"), NULL);
        else
                operation_continue(o);
}

/* What has this name is nobody's: a crash leaves it to the next start. */
static int move_away(Operation *o, const char *path, char *ret_name, size_t size) {
        int apps_fd = o->all->places.apps_fd;

        for (;;) {
                (void) snprintf(ret_name, size, APP_GONE_PREFIX "%s-%u", o->name, o->prunes++);
                if (renameat2(apps_fd, path, apps_fd, ret_name, RENAME_NOREPLACE) >= 0)
                        return 1;
                if (errno == ENOENT)
                        return 0;
                if (errno != EEXIST)
                        return -errno;
        }
}

int remove_tree_later(Operation *o, const char *path) {
        Trees trees = {};
        char gone[128];
        int r;

        r = move_away(o, path, gone, sizeof(gone));
        if (r <= 0)
                return r;
        trees_add(&trees, o->all->places.apps_fd, gone);
        r = trees_remove(o, &trees, on_removed);
        return r < 0 ? r : 1;
}

int step_remove_incoming(Operation *o) {
        char **incoming[] = { &o->incoming, &o->overrides };
        Trees trees = {};
        int r;

        for (size_t i = 0; i < ELEMENTSOF(incoming); i++)
                if (*incoming[i]) {
                        trees_add(&trees, o->all->places.apps_fd, *incoming[i]);
                        free(TAKE_PTR(*incoming[i]));
                }
        if (trees.n == 0)
                return 0;
        r = trees_remove(o, &trees, on_removed);
        return r < 0 ? r : 1;
}

static void on_outdated_removed(Task *t, int r, const char *report, void *userdata) {
        Operation *o = userdata;

        o->task = task_free(o->task);
        operation_continue(o); /* what stays is tried again next time */
}

static unsigned versions_kept(void) {
        _cleanup_(settings_done) Settings s = {};

        (void) settings_load(&s);
        return s.keep_versions > 0 ? s.keep_versions : UINT_MAX; /* that the settings cannot be read costs no version */
}

/* Never fails: what it follows has succeeded. */
int step_remove_outdated(Operation *o) {
        _cleanup_(strv_freep) char **outdated = NULL;
        const Places *p = &o->all->places;
        Trees trees = {};

        if (version_outdated(p, o->name, versions_kept(), o->in_use, &outdated) < 0)
                return 0;
        for (char **i = outdated; i && *i && trees.n < TREES_MAX; i++) {
                char path[256], gone[128];

                (void) snprintf(path, sizeof(path), "%s/%s", o->name, *i);
                if (move_away(o, path, gone, sizeof(gone)) <= 0)
                        continue;
                trees_add(&trees, p->apps_fd, gone);
                (void) snprintf(path, sizeof(path), "%s/%s.sha256", o->name, *i);
                (void) fs_unlink(p->apps_fd, path);
                (void) snprintf(path, sizeof(path), "%s/%s.json", o->name, *i);
                (void) fs_unlink(p->apps_fd, path);
        }
        return trees.n > 0 && trees_remove(o, &trees, on_outdated_removed) >= 0 ? 1 : 0;
}

static int step_find(Operation *o) {
        if (!app_exists(&o->all->places, o->name))
                return operation_error(o, SAND_ERROR_NOT_FOUND, "There is no application '%s'.", o->name);
        return 0;
}

static int step_note(Operation *o) {
        int r = app_set_pending(&o->all->places, o->name,
                                o->keep_state ? PENDING_REMOVE_KEEP_STATE : PENDING_REMOVE);
        return r < 0 ? operation_error_errno(o, r, "note the removal") : 0;
}

static int step_withdraw(Operation *o) {
        int r = app_withdraw(&o->all->places, o->name);
        return r < 0 ? operation_error_errno(o, r, "withdraw the application") : 0;
}

typedef int (*manager_verb_t)(Manager *m, const char *unit, manager_handler_t handler, void *userdata,
                              ManagerRequest **ret);

static int on_unit(Operation *o, manager_verb_t verb, char *unit) {
        _cleanup_(freep) char *owned = unit;
        int r;

        if (!unit)
                return -ENOMEM;
        r = verb(o->all->manager, unit, operation_on_manager, o, &o->request);
        return r < 0 ? r : 1;
}

static int step_disable(Operation *o) {
        if (!app_is_enabled(o->name))
                return 0;
        o->changed = true;
        return on_unit(o, manager_disable, unit_socket_name(o->name));
}

static int step_stop_socket(Operation *o) {
        return on_unit(o, manager_stop, unit_socket_name(o->name));
}

static int step_stop_machine(Operation *o) {
        return on_unit(o, manager_stop, unit_service_name(o->name));
}

static int step_reset_machine(Operation *o) {
        return on_unit(o, manager_reset_failed, unit_service_name(o->name));
}

static int step_reset_socket(Operation *o) {
        return on_unit(o, manager_reset_failed, unit_socket_name(o->name));
}

static int step_remove_units(Operation *o) {
        char failures[128];
        int r;

        (void) snprintf(failures, sizeof(failures), FAILURES_DIR "/%s", o->name);
        (void) unlink(failures);
        r = app_remove_units(o->name);
        if (r < 0)
                return operation_error_errno(o, r, "remove unit files");
        if (r > 0)
                o->changed = true;
        return 0;
}

/* Without `current` there is no application any more, whatever happens next. */
static int step_remove_files(Operation *o) {
        const Places *p = &o->all->places;
        Trees trees = {};
        char path[256];
        int r;

        (void) snprintf(path, sizeof(path), "%s/current", o->name);
        r = fs_unlink(p->apps_fd, path);
        if (r < 0)
                return operation_error_errno(o, r, "remove the application");
        if (machine_root_check(p->machines_fd, o->name) == 1)
                trees_add(&trees, p->machines_fd, o->name);
        (void) snprintf(path, sizeof(path), ".#sand-%s", o->name);
        trees_add(&trees, p->machines_fd, path);
        if (!o->keep_state)
                trees_add(&trees, p->state_fd, o->name);
        if (o->remove_secrets)
                trees_add(&trees, p->secrets_fd, o->name);
        r = trees_remove(o, &trees, on_removed);
        return r < 0 ? r : 1;
}

static int step_remove_folder(Operation *o) {
        int r = remove_tree_later(o, o->name);
        return r < 0 ? operation_error_errno(o, r, "remove the application's folder") : r;
}

static int step_removed(Operation *o) {
        log_info("%s: removed%s.", o->name, o->keep_state ? ", its state is kept" : "");
        return 0;
}

static const OperationStep remove_steps[] = {
        step_lock, step_find, step_note, step_withdraw, step_remove_triggers, step_settle_triggers, step_remove_tokens, step_disable, step_stop_socket,
        step_stop_machine, step_reset_machine, step_reset_socket, step_remove_units, step_reload_manager, step_remove_files, step_remove_folder,
        step_removed, NULL,
};

const OperationStep remove_steps_of_failed[] = {
        step_note, step_withdraw, step_remove_triggers, step_settle_triggers, step_remove_tokens, step_disable, step_stop_socket, step_stop_machine, step_reset_machine,
        step_reset_socket, step_remove_units, step_reload_manager, step_remove_files, step_remove_folder, NULL,
};

const OperationStep remove_steps_of_broken[] = {
        step_note, step_withdraw, step_remove_triggers, step_settle_triggers, step_remove_tokens, step_disable, step_stop_socket, step_stop_machine, step_reset_machine,
        step_reset_socket, step_remove_units, step_reload_manager, step_remove_files, step_remove_folder, step_removed, NULL,
};

int remove_new(Operations *all, const char *name, bool keep_state, operation_done_t done, void *userdata,
               Operation **ret) {
        int r = operation_new(all, name, remove_steps, NULL, done, userdata, ret);

        if (r >= 0)
                (*ret)->keep_state = keep_state, (*ret)->remove_secrets = !keep_state;
        return r;
}

static const OperationStep no_steps[] = { NULL };

int remove_garbage(Operations *all) {
        _cleanup_(operation_freep) Operation *o = NULL;
        _cleanup_(strv_freep) char **names = NULL;
        Trees trees = {};
        int r;

        r = fs_list(all->places.apps_fd, ".", &names);
        if (r < 0)
                return r;
        for (char **i = names; *i; i++)
                if (startswith(*i, APP_INCOMING_PREFIX) || startswith(*i, APP_GONE_PREFIX))
                        trees_add(&trees, all->places.apps_fd, *i);
        if (trees.n == 0)
                return 0;
        r = operation_new(all, NULL, no_steps, NULL, NULL, NULL, &o);
        if (r < 0)
                return r;
        r = trees_remove(o, &trees, on_outdated_removed);
        if (r < 0)
                return r;
        TAKE_PTR(o); /* ends with its task */
        return 1;
}
