/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "triggers.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>

#include "fs.h"
#include "log.h"
#include "unit-files.h"

#define CALENDAR_TIMEOUT_USEC USEC_PER_MINUTE
#define COUNT_SIZE_MAX 32U

/* ---- what systemd takes ---- */

static int spawn_analyze(const char *calendar, pid_t *ret) {
        char *argv[] = { (char *) "systemd-analyze", (char *) "calendar", (char *) "--", (char *) calendar, NULL };
        posix_spawn_file_actions_t actions;
        int r;

        r = posix_spawn_file_actions_init(&actions);
        if (r != 0)
                return -r;
        r = posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
        if (r == 0)
                r = posix_spawnp(ret, argv[0], &actions, NULL, argv, environ);
        (void) posix_spawn_file_actions_destroy(&actions);
        return -r;
}

/* In a child: reports the number of each that is refused, a line each. */
static int check_calendars(int report_fd, void *argument) {
        const Manifest *m = argument;

        (void) unsetenv("NOTIFY_SOCKET"); /* programs of systemd tell it of their failure */
        for (size_t i = 0; i < m->n_timers; i++) {
                int r, status = 0;
                pid_t pid;

                r = spawn_analyze(m->timers[i].calendar, &pid);
                if (r < 0)
                        return log_error_errno(r, "Failed to start systemd-analyze: %m");
                if (waitpid(pid, &status, 0) < 0)
                        return -errno;
                if (!WIFEXITED(status) || WEXITSTATUS(status) == 127)
                        return -EIO;
                if (WEXITSTATUS(status) != 0 && dprintf(report_fd, "%zu\n", i) < 0)
                        return -errno;
        }
        return 0;
}

static int refuse_calendars(Operation *o, const char *report) {
        _cleanup_(freep) char *text = NULL;
        Problems problems = {};
        int r = 0;

        for (const char *line = report; r >= 0 && *line; line += strcspn(line, "\n") + 1) {
                const TimerTrigger *t = o->manifest->timers + strtoul(line, NULL, 10);
                char pointer[64];

                (void) snprintf(pointer, sizeof(pointer), "/triggers/%zu/timer", t->index);
                r = problems_add(&problems, t->file, pointer, t->line, "found \"%s\", which systemd does not take, expected a calendar "
                                 "expression, see systemd.time(7)", t->calendar);
        }
        text = problems_to_string(&problems);
        problems_done(&problems);
        return r < 0 ? r : operation_error(o, SAND_ERROR_INVALID_BUNDLE, "%s", strempty(text));
}

static void on_checked(Task *t, int r, const char *report, void *userdata) {
        Operation *o = userdata;

        if (r < 0)
                r = operation_error_errno(o, r, "check the timers");
        else if (*report)
                r = refuse_calendars(o, report);
        o->task = task_free(o->task); /* and the report with it */
        if (r < 0)
                operation_fail(o, r, NULL);
        else
                operation_continue(o);
}

int step_check_timers(Operation *o) {
        int r;

        if (o->unchanged || o->manifest->n_timers == 0)
                return 0;
        r = task_new(o->all->event, &(TaskSpec) {
                        .what = "checking timers",
                        .main = check_calendars,
                        .argument = o->manifest,
                        .timeout_usec = CALENDAR_TIMEOUT_USEC,
                        .done = on_checked,
                        .userdata = o,
                }, &o->task);
        return r < 0 ? operation_error_errno(o, r, "check the timers") : 1;
}

/* ---- files ---- */

/* How far numbers of units may go that the application has or had: noted before the first of them is written. */
static size_t read_count(Operation *o) {
        _cleanup_(freep) char *text = NULL;
        char path[256];

        (void) snprintf(path, sizeof(path), "%s/triggers", o->name);
        if (fs_read(o->all->places.apps_fd, path, COUNT_SIZE_MAX, &text) < 0)
                return 0;
        return MIN(strtoul(text, NULL, 10), (unsigned long) WEB_TRIGGERS_MAX);
}

static int write_count(Operation *o, size_t n) {
        char path[256], text[COUNT_SIZE_MAX];

        (void) snprintf(path, sizeof(path), "%s/triggers", o->name);
        if (n == 0)
                return fs_unlink(o->all->places.apps_fd, path);
        (void) snprintf(text, sizeof(text), "%zu\n", n);
        return fs_write(o->all->places.apps_fd, path, text, 0644, 0, 0);
}

/* Allocates: where the unit is, or where sand.target's link to it is. */
static char *path_of(const char *unit, bool link) {
        char *s;

        return asprintf(&s, UNIT_DIR "/%s%s", link ? "sand.target.wants/" : "", unit) < 0 ? NULL : s;
}

/* 1: it is new or another one. */
static int write_unit(Operation *o, const char *unit, const char *text) {
        _cleanup_(freep) char *path = path_of(unit, false), *link = path_of(unit, true);
        bool is_there;
        int r, k;

        if (!path || !link)
                return -ENOMEM;
        is_there = fs_exists(AT_FDCWD, path);
        r = app_write_marked(path, text);
        if (r == -EEXIST)
                return operation_error(o, SAND_ERROR_INVALID_BUNDLE, "%s exists and does not belong to SAND.", path);
        if (r < 0)
                return r;
        k = fs_mkdir(AT_FDCWD, UNIT_DIR "/sand.target.wants", 0755, 0, 0);
        if (k >= 0)
                k = fs_symlink(path, AT_FDCWD, link);
        if (k < 0)
                return k;
        if (r > 0 && is_there)
                o->changed = true; /* what is new is read when it is started ... */
        if (k > 0)
                o->all->reload_later = true; /* ... and sand.target is told when there is time */
        return r > 0 || k > 0;
}

static int remove_unit(Operation *o, const char *unit) {
        _cleanup_(freep) char *path = path_of(unit, false), *link = path_of(unit, true), *text = NULL;
        char stamp[320];
        int r;

        if (!path || !link)
                return -ENOMEM;
        if (fs_read(AT_FDCWD, path, UNIT_FILE_SIZE_MAX, &text) < 0 || !startswith(text, UNIT_FILES_MARK))
                return 0;
        r = fs_unlink(AT_FDCWD, link);
        if (r >= 0)
                r = fs_unlink(AT_FDCWD, path);
        if (r <= 0)
                return r;
        o->changed = true;
        (void) snprintf(stamp, sizeof(stamp), "/var/lib/systemd/timers/stamp-%s", unit);
        (void) unlink(stamp); /* when it elapsed last */
        return strv_extend(&o->units_gone, unit);
}

static int write_trigger(Operation *o, bool is_path, size_t index, int made, char *owned, bool all) {
        _cleanup_(freep) char *text = owned, *unit = unit_trigger_name(o->name, is_path, index);
        int r;

        if (made < 0 || !unit)
                return made < 0 ? made : -ENOMEM;
        r = write_unit(o, unit, text);
        return r > 0 || (r == 0 && all) ? strv_extend(&o->units, unit) : r;
}

static bool has_trigger(const Manifest *m, bool is_path, size_t index) {
        for (size_t i = 0; m && i < (is_path ? m->n_paths : m->n_timers); i++)
                if ((is_path ? m->paths[i].index : m->timers[i].index) == index)
                        return true;
        return false;
}

static int remove_others(Operation *o, const Manifest *m, size_t count) {
        int r = 0;

        for (size_t i = 0; r >= 0 && i < 2 * count; i++) {
                _cleanup_(freep) char *unit = NULL;

                if (has_trigger(m, i % 2, i / 2))
                        continue;
                unit = unit_trigger_name(o->name, i % 2, i / 2);
                r = unit ? remove_unit(o, unit) : -ENOMEM;
        }
        return r;
}

int triggers_write(Operation *o, const Manifest *m, bool all) {
        size_t before = read_count(o), count = 0;
        int r = 0;

        strv_free(TAKE_PTR(o->units));
        strv_free(TAKE_PTR(o->units_gone));
        for (size_t i = 0; m && i < m->n_timers; i++)
                count = MAX(count, m->timers[i].index + 1);
        for (size_t i = 0; m && i < m->n_paths; i++)
                count = MAX(count, m->paths[i].index + 1);
        if (count > before)
                r = write_count(o, count);
        for (size_t i = 0; r >= 0 && m && i < m->n_timers; i++) {
                char *text = NULL;
                int k = unit_files_timer(o->name, m->timers + i, &text);
                r = write_trigger(o, false, m->timers[i].index, k, text, all);
        }
        for (size_t i = 0; r >= 0 && m && i < m->n_paths; i++) {
                char *text = NULL;
                int k = unit_files_path(o->name, m->paths + i, &text);
                r = write_trigger(o, true, m->paths[i].index, k, text, all);
        }
        if (r >= 0)
                r = remove_others(o, m, before);
        if (r >= 0 && count < before)
                r = write_count(o, count);
        return r < 0 && r != -ECANCELED ? operation_error_errno(o, r, "write the units of triggers") : MIN(r, 0);
}

int step_write_triggers(Operation *o) {
        return triggers_write(o, o->manifest, true);
}

int step_remove_triggers(Operation *o) {
        return triggers_write(o, NULL, true);
}

/* ---- units ---- */

static int settle_next(Operation *o);

static void on_settled(int r, const sd_bus_error *error, sd_bus_message *reply, void *userdata) {
        Operation *o = userdata;

        o->request = NULL;
        if (r >= 0)
                r = settle_next(o);
        if (r < 0)
                operation_fail(o, r, error);
        else if (r == 0)
                operation_continue(o);
}

static char *take_last(char **l) {
        size_t n = strv_length(l);

        return n > 0 ? TAKE_PTR(l[n - 1]) : NULL;
}

static int settle_next(Operation *o) {
        _cleanup_(freep) char *gone = take_last(o->units_gone), *unit = gone ? NULL : take_last(o->units);
        int r;

        if (!gone && !unit)
                return 0;
        if (gone)
                r = manager_stop(o->all->manager, gone, on_settled, o, &o->request);
        else
                r = manager_start(o->all->manager, unit, on_settled, o, &o->request);
        return r < 0 ? r : 1;
}

int step_settle_triggers(Operation *o) {
        return settle_next(o);
}
