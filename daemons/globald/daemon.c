/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "globald.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>

#include "../shared/log.h"
#include "callback.h"
#include "server.h"

#define STATUS_USEC (5 * USEC_PER_SEC)
/* So many looks at STATUS_USEC without anything to do, and nobody who is connected. */
#define IDLE_LOOKS 6U
#define EXPIRE_USEC USEC_PER_MINUTE
#define EXPIRE_AT_ONCE 1000U
#define EXPIRE_AGAIN_USEC (20 * USEC_PER_MSEC)
/* Less than the unit's TimeoutStopSec=. What has no answer by then runs again after the next start. */
#define STOP_USEC (60 * USEC_PER_SEC)

static uint64_t boottime_usec(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_BOOTTIME, &ts);
        return (uint64_t) ts.tv_sec * USEC_PER_SEC + (uint64_t) ts.tv_nsec / 1000;
}

uint64_t globald_now(const Globald *g) {
        return g->start_realtime + (boottime_usec() - g->start_boottime);
}

int globald_note_disk(Globald *g, int error) {
        if (error == -ENOBUFS || error == -ENOENT || error == -EEXIST)
                return error;
        if (error < 0 && error != g->disk_error)
                (void) log_error_errno(error, "The event log cannot be written, nothing is accepted until it can: %m");
        else if (error >= 0 && g->disk_error < 0)
                log_notice("The event log is written again.");
        g->disk_error = MIN(error, 0);
        return error;
}

/* ---- timers ---- */

static bool is_idle(const Globald *g) {
        for (const Server *s = g->servers; s; s = server_next(s))
                if (!server_is_idle(s))
                        return false;
        return dispatch_is_idle(g);
}

static int on_status(sd_event_source *s, uint64_t usec, void *userdata) {
        Globald *g = userdata;

        for (Server *i = g->servers; i; i = server_next(i))
                server_try_again(i);
        g->n_idle = is_idle(g) ? g->n_idle + 1 : 0;
        if (g->exit_on_idle && !g->stopping && g->n_idle >= IDLE_LOOKS) {
                log_info("Nothing waits, exiting.");
                return sd_event_exit(g->event, 0);
        }

        (void) sd_notifyf(false, "STATUS=%u event%s running%s%s", g->n_in_flight, g->n_in_flight == 1 ? "" : "s",
                          g->disk_error < 0 ? ", the log cannot be written" : "", g->stopping ? ", stopping" : "");
        (void) sd_event_source_set_time_relative(s, STATUS_USEC);
        return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

static void on_expired(int error, uint64_t n, void *userdata) {
        Globald *g = userdata;

        if (g->expire)
                (void) sd_event_source_set_time_relative(g->expire, error >= 0 && n >= EXPIRE_AT_ONCE ? EXPIRE_AGAIN_USEC : EXPIRE_USEC);
        if (g->expire && !g->stopping)
                (void) sd_event_source_set_enabled(g->expire, SD_EVENT_ONESHOT);
}

static int on_expire(sd_event_source *s, uint64_t usec, void *userdata) {
        Globald *g = userdata;
        int r = g->engine->expire(g->log, globald_now(g), EXPIRE_AT_ONCE, on_expired, g);

        if (r < 0)
                on_expired(r, 0, g);
        return 0;
}

/* ---- the end ---- */

void globald_check_stop(Globald *g) {
        if (g->stopping && g->n_in_flight == 0 && g->n_accepting == 0)
                (void) sd_event_exit(g->event, 0);
}

static int on_stop_deadline(sd_event_source *s, uint64_t usec, void *userdata) {
        Globald *g = userdata;

        log_notice("%u events have not ended; they run again after the next start.", g->n_in_flight);
        return sd_event_exit(g->event, 0);
}

static int on_terminate(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata) {
        Globald *g = userdata;
        int r;

        if (g->stopping)
                return 0;
        g->stopping = true;
        (void) sd_notify(false, "STOPPING=1");
        for (Server *i = g->servers; i; i = server_next(i))
                server_stop(i);
        dispatch_stop(g);
        r = sd_event_add_time_relative(g->event, &g->stop_deadline, CLOCK_MONOTONIC, STOP_USEC, 0, on_stop_deadline, g);
        globald_check_stop(g);
        return r;
}

/* ---- life ---- */

static int add_signals(Globald *g) {
        sigset_t mask;
        int r;

        (void) signal(SIGPIPE, SIG_IGN);
        (void) sigemptyset(&mask);
        (void) sigaddset(&mask, SIGTERM);
        (void) sigaddset(&mask, SIGINT);
        if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0) /* before there is a second thread */
                return -errno;
        r = sd_event_add_signal(g->event, &g->sigterm, SIGTERM, on_terminate, g);
        if (r >= 0)
                r = sd_event_add_signal(g->event, &g->sigint, SIGINT, on_terminate, g);
        return r;
}

static int add_timers(Globald *g) {
        int r;

        r = sd_event_add_time_relative(g->event, &g->expire, CLOCK_MONOTONIC, USEC_PER_SEC, USEC_PER_SEC, on_expire, g);
        if (r >= 0)
                r = sd_event_add_time_relative(g->event, &g->status, CLOCK_MONOTONIC, STATUS_USEC, USEC_PER_SEC, on_status, g);
        return r;
}

static int open_log(Globald *g, const char *state_dir) {
        _cleanup_(freep) char *path = NULL;
        int r;

        if (asprintf(&path, "%s/events.db", state_dir) < 0)
                return log_oom();
        const LogConfig config = {
                .path = path,
                .dead_keep_usec = g->settings.dead_retention,
                .bytes_max = g->settings.bytes_max,
        };
        r = g->engine->open(g->event, &config, &g->log);
        if (r < 0)
                return log_error_errno(r, "Failed to open the event log %s: %m", path);
        return 0;
}

int globald_new(const GlobaldConfig *config, Globald **ret) {
        _cleanup_(globald_freep) Globald *g = calloc(1, sizeof(Globald));
        int r;

        if (!g)
                return log_oom();
        g->journal = JOURNAL_NULL;
        g->engine = &log_sqlite;
        g->start_realtime = now_realtime_usec();
        g->start_boottime = boottime_usec();
        r = settings_load(config->settings_file, &g->settings);
        if (r < 0 && r != -EBADMSG)
                return log_error_errno(r, "Failed to read globald.conf: %m");
        r = sd_event_new(&g->event);
        if (r < 0)
                return log_error_errno(r, "Failed to make an event loop: %m");
        r = sd_event_set_watchdog(g->event, true);
        if (r < 0)
                return log_error_errno(r, "Failed to serve the watchdog: %m");
        r = add_signals(g);
        if (r < 0)
                return log_error_errno(r, "Failed to handle signals: %m");
        if (getenv("JOURNAL_STREAM"))
                (void) journal_open("/run/systemd/journal/socket", &g->journal);
        r = apps_new(g->event, config->catalogue_dir, config->socket_dir, &g->apps);
        if (r < 0)
                return log_error_errno(r, "Failed to read the catalogue in %s: %m", config->catalogue_dir);
        r = callbacks_new(g, &g->callbacks);
        if (r < 0)
                return log_error_errno(r, "Failed to start the HTTP client: %m");
        r = open_log(g, config->state_dir);
        if (r < 0)
                return r;
        r = dispatch_start(g);
        if (r >= 0)
                r = add_timers(g);
        if (r < 0)
                return log_error_errno(r, "Failed to start: %m");
        *ret = TAKE_PTR(g);
        return 0;
}

int globald_listen(Globald *g, int fd, bool machines) {
        Server *s;

        return server_new(g, fd, machines, &s);
}

int globald_run(Globald *g) {
        (void) sd_notify(false, "READY=1");
        return sd_event_loop(g->event);
}

Globald *globald_free(Globald *g) {
        if (!g)
                return NULL;
        waiters_free(g);
        for (Server *s = g->servers, *next; s; s = next) {
                next = server_next(s);
                server_free(s);
        }
        g->closing = true;
        callbacks_free(g->callbacks);
        apps_free(g->apps); /* deliveries without an answer stay RUNNING in the log: they are due after the next start */
        if (g->log)
                g->engine->close(g->log);
        dispatch_free(g);
        sd_event_source_disable_unref(g->expire);
        sd_event_source_disable_unref(g->status);
        sd_event_source_disable_unref(g->sigterm);
        sd_event_source_disable_unref(g->sigint);
        sd_event_source_disable_unref(g->stop_deadline);
        sd_event_unref(g->event);
        journal_done(&g->journal);
        settings_done(&g->settings);
        free(g);
        return NULL;
}
