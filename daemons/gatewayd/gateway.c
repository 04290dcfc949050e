/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway.h"

#include <signal.h>
#include <stdio.h>
#include <systemd/sd-daemon.h>

#include "log.h"
#include "request.h"

#define STOP_USEC (30 * USEC_PER_SEC)
#define STATUS_USEC (1 * USEC_PER_SEC)

static void gateway_send_status(Gateway *g) {
        _cleanup_(freep) char *text = NULL;
        size_t n = apps_count(g->apps);

        if (asprintf(&text, "%zu application%s, %u request%s in flight%s", n, n == 1 ? "" : "s", g->in_flight,
                     g->in_flight == 1 ? "" : "s", http_is_stopping(g->http) ? ", stopping" : "") < 0)
                return;
        if (g->status_text && streq(text, g->status_text))
                return;
        (void) sd_notifyf(false, "STATUS=%s", text);
        free(g->status_text);
        g->status_text = TAKE_PTR(text);
}

static int on_status(sd_event_source *s, uint64_t usec, void *userdata) {
        Gateway *g = userdata;

        gateway_send_status(g);
        if (g->in_flight > 0)
                gateway_touch_status(g);
        return 0;
}

void gateway_touch_status(Gateway *g) {
        if (sd_event_source_get_enabled(g->status, NULL) > 0)
                return;
        if (sd_event_source_set_time_relative(g->status, STATUS_USEC) >= 0)
                (void) sd_event_source_set_enabled(g->status, SD_EVENT_ONESHOT);
}

static void on_stopped(void *userdata) {
        Gateway *g = userdata;
        (void) sd_event_exit(g->event, 0);
}

static int on_stop_deadline(sd_event_source *s, uint64_t usec, void *userdata) {
        Gateway *g = userdata;

        log_warning("Giving up on %u requests that did not end in time.", g->in_flight);
        return sd_event_exit(g->event, 0);
}

static int on_terminate(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata) {
        Gateway *g = userdata;

        if (http_is_stopping(g->http))
                return 0;
        (void) sd_notify(false, "STOPPING=1");
        http_stop(g->http, on_stopped, g);
        gateway_send_status(g);
        return sd_event_add_time_relative(g->event, &g->deadline, CLOCK_MONOTONIC, STOP_USEC, 0, on_stop_deadline, g);
}

static int on_reload(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata) {
        Gateway *g = userdata;
        int r;

        (void) sd_notify(false, "RELOADING=1");
        r = settings_load(g->settings_file, &g->settings);
        if (r < 0 && r != -EBADMSG)
                (void) log_warning_errno(r, "Failed to read the configuration, keeping the old one: %m");
        r = apps_refresh(g->apps);
        if (r < 0)
                (void) log_warning_errno(r, "Failed to read the catalogue, ignoring: %m");
        (void) sd_notify(false, "READY=1");
        return 0;
}

static int gateway_add_signals(Gateway *g) {
        sigset_t mask;
        int r;

        (void) signal(SIGPIPE, SIG_IGN);
        (void) sigemptyset(&mask);
        (void) sigaddset(&mask, SIGTERM);
        (void) sigaddset(&mask, SIGINT);
        (void) sigaddset(&mask, SIGHUP);
        if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
                return -errno;
        r = sd_event_add_signal(g->event, &g->sigterm, SIGTERM, on_terminate, g);
        if (r >= 0)
                r = sd_event_add_signal(g->event, &g->sigint, SIGINT, on_terminate, g);
        if (r >= 0)
                r = sd_event_add_signal(g->event, &g->sighup, SIGHUP, on_reload, g);
        return r;
}

static int gateway_add_status(Gateway *g) {
        int r;

        r = sd_event_add_time_relative(g->event, &g->status, CLOCK_MONOTONIC, STATUS_USEC, STATUS_USEC, on_status, g);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(g->status, SD_EVENT_OFF);
}

int gateway_new(const GatewayConfig *config, Gateway **ret) {
        _cleanup_(gateway_freep) Gateway *g = NULL;
        int r;

        g = calloc(1, sizeof(Gateway));
        if (!g)
                return log_oom();
        g->settings_file = config->settings_file;
        r = settings_load(g->settings_file, &g->settings);
        if (r < 0 && r != -EBADMSG)
                return log_error_errno(r, "Failed to read gatewayd.conf: %m");
        r = sd_event_new(&g->event);
        if (r < 0)
                return log_error_errno(r, "Failed to make an event loop: %m");
        r = sd_event_set_watchdog(g->event, true);
        if (r < 0)
                return log_error_errno(r, "Failed to serve the watchdog: %m");
        r = gateway_add_signals(g);
        if (r < 0)
                return log_error_errno(r, "Failed to handle signals: %m");
        r = gateway_add_status(g);
        if (r < 0)
                return log_error_errno(r, "Failed to make a timer: %m");
        r = apps_new(g->event, config->catalogue_dir, config->socket_dir, config->sockets, &g->apps);
        if (r < 0)
                return log_error_errno(r, "Failed to read the catalogue in %s: %m", config->catalogue_dir);
        r = http_new(g->event, &g->settings, &request_ops, g, &g->http);
        if (r < 0)
                return log_error_errno(r, "Failed to start the HTTP server: %m");
        *ret = TAKE_PTR(g);
        return 0;
}

int gateway_listen(Gateway *g, int fd) {
        return http_listen(g->http, fd);
}

int gateway_run(Gateway *g) {
        gateway_send_status(g);
        (void) sd_notify(false, "READY=1");
        return sd_event_loop(g->event);
}

Gateway *gateway_free(Gateway *g) {
        if (!g)
                return NULL;
        if (g->http)
                http_abandon(g->http);
        http_free(g->http);
        apps_free(g->apps);
        sd_event_source_disable_unref(g->sigterm);
        sd_event_source_disable_unref(g->sigint);
        sd_event_source_disable_unref(g->sighup);
        sd_event_source_disable_unref(g->status);
        sd_event_source_disable_unref(g->deadline);
        sd_event_unref(g->event);
        free(g->status_text);
        free(g);
        return NULL;
}
