/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway.h"

#include <signal.h>
#include <stdio.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#include "log.h"
#include "request.h"

#define STOP_USEC (30 * USEC_PER_SEC)
#define STATUS_USEC (1 * USEC_PER_SEC)

/* Whoever renews certificates does so earlier. */
#define EXPIRY_WARNING_USEC (14 * 24 * USEC_PER_HOUR)
#define EXPIRY_CHECK_USEC (24 * USEC_PER_HOUR)

/* Days until the certificate expires, if that is soon; else -1. */
static int gateway_days_left(const Gateway *g) {
        uint64_t left;

        if (!gateway_has_certificate(g))
                return -1;
        left = usec_sub(tls_expires_usec(g->tls), (uint64_t) time(NULL) * USEC_PER_SEC);
        return left > EXPIRY_WARNING_USEC ? -1 : (int) (left / (24 * USEC_PER_HOUR));
}

static void gateway_send_status(Gateway *g) {
        _cleanup_(freep) char *text = NULL;
        size_t n = apps_count(g->apps);
        int days = gateway_days_left(g);
        char certificate[64] = "";

        if (g->https && !gateway_has_certificate(g))
                (void) strcpy(certificate, ", no certificate for clients from outside");
        else if (days >= 0)
                (void) snprintf(certificate, sizeof(certificate), ", the certificate expires in %d days", days);
        if (asprintf(&text, "%zu application%s, %u request%s in flight%s%s", n, n == 1 ? "" : "s", g->in_flight,
                     g->in_flight == 1 ? "" : "s", certificate, http_is_stopping(g->http) ? ", stopping" : "") < 0)
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

        if (--g->n_stopping == 0)
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
        g->n_stopping = g->https ? 2 : 1;
        http_stop(g->http, on_stopped, g);
        if (g->https)
                http_stop(g->https, on_stopped, g);
        gateway_send_status(g);
        return sd_event_add_time_relative(g->event, &g->deadline, CLOCK_MONOTONIC, STOP_USEC, 0, on_stop_deadline, g);
}

/* ---- what comes from outside ---- */

bool gateway_has_certificate(const Gateway *g) {
        return g->tls && tls_is_ready(g->tls);
}

static void gateway_check_expiry(Gateway *g) {
        int days = gateway_days_left(g);

        if (days >= 0)
                log_warning("The certificate in %s expires in %d days.", settings_tls_certificate(&g->settings), days);
}

static int on_expiry(sd_event_source *s, uint64_t usec, void *userdata) {
        Gateway *g = userdata;

        gateway_check_expiry(g);
        gateway_send_status(g);
        (void) sd_event_source_set_time_relative(s, EXPIRY_CHECK_USEC);
        return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

static void gateway_load_certificate(Gateway *g) {
        _cleanup_(freep) char *problem = NULL;
        const char *file = settings_tls_certificate(&g->settings);
        bool ready = gateway_has_certificate(g);

        if (tls_load(g->tls, file, settings_tls_key(&g->settings), &problem) < 0) {
                log_error("%s: %s", ready ? "The old certificate stays in use" : "Nobody is served from outside",
                          problem ?: "out of memory");
                return;
        }
        log_info("%s the certificate in %s.", ready ? "Using anew" : "Using", file);
        gateway_check_expiry(g);
}

/* Tokens are looked at only where somebody has to show one. */
static void gateway_open_tokens(Gateway *g) {
        int r;

        if (g->tokens || (!g->https && !g->settings.require_tokens))
                return;
        r = tokens_new(g->event, g->tokens_dir, &g->tokens);
        if (r < 0)
                (void) log_error_errno(r, "Failed to read the tokens in %s, so none is good: %m", g->tokens_dir);
}

int gateway_open_outside(Gateway *g) {
        int r;

        if (g->https)
                return 0;
        r = tls_new(&g->tls);
        if (r >= 0)
                r = http_new(g->event, &g->settings, g->tls, &request_ops, g, &g->https);
        if (r >= 0)
                r = sd_event_add_time_relative(g->event, &g->expiry, CLOCK_MONOTONIC, EXPIRY_CHECK_USEC, USEC_PER_HOUR,
                                               on_expiry, g);
        if (r < 0)
                return log_error_errno(r, "Failed to start the HTTPS server: %m");
        gateway_load_certificate(g);
        gateway_open_tokens(g);
        return 0;
}

int gateway_listen_outside(Gateway *g, int fd) {
        _cleanup_(closep) int owned = fd;
        int r = gateway_open_outside(g);

        return r < 0 ? r : http_listen(g->https, TAKE_FD(owned));
}

/* ---- life ---- */

static void gateway_set_access_log(Gateway *g) {
        int r;

        g->access_log = access_log_free(g->access_log); /* the journal may have another socket */
        if (g->settings.access_log) {
                r = access_log_new(&g->access_log);
                if (r < 0)
                        (void) log_error_errno(r, "Failed to open the journal for the access log, going on without: %m");
        }
}

static int on_reload(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata) {
        Gateway *g = userdata;
        int r;

        (void) sd_notify(false, "RELOADING=1");
        r = settings_load(g->settings_file, &g->settings);
        if (r < 0 && r != -EBADMSG)
                (void) log_warning_errno(r, "Failed to read the configuration, keeping the old one: %m");
        if (g->https)
                gateway_load_certificate(g);
        gateway_open_tokens(g);
        gateway_set_access_log(g);
        r = apps_refresh(g->apps);
        if (r < 0)
                (void) log_warning_errno(r, "Failed to read the catalogue, ignoring: %m");
        gateway_send_status(g);
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
        g->tokens_dir = strdup(config->tokens_dir);
        if (!g->tokens_dir)
                return log_oom();
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
        r = peer_new(g->event, config->events_socket, &g->events);
        if (r < 0)
                return log_error_errno(r, "Failed to use the event log's socket %s: %m", config->events_socket);
        r = http_new(g->event, &g->settings, NULL, &request_ops, g, &g->http);
        if (r < 0)
                return log_error_errno(r, "Failed to start the HTTP server: %m");
        gateway_open_tokens(g);
        gateway_set_access_log(g);
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
        if (g->https)
                http_abandon(g->https);
        http_free(g->http);
        http_free(g->https);
        tls_free(g->tls);
        tokens_free(g->tokens);
        access_log_free(g->access_log);
        apps_free(g->apps);
        peer_free(g->events);
        sd_event_source_disable_unref(g->sigterm);
        sd_event_source_disable_unref(g->sigint);
        sd_event_source_disable_unref(g->sighup);
        sd_event_source_disable_unref(g->status);
        sd_event_source_disable_unref(g->deadline);
        sd_event_source_disable_unref(g->expiry);
        sd_event_unref(g->event);
        settings_done(&g->settings);
        free(g->status_text);
        free(g->tokens_dir);
        free(g);
        return NULL;
}
