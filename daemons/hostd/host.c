/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host.h"

#include <fcntl.h>
#include <signal.h>
#include <systemd/sd-daemon.h>

#include "config.h"
#include "fs.h"
#include "host-bus.h"
#include "log.h"
#include "protocol.h"
#include "remove.h"
#include "repair.h"

/* Says which version of us has looked at all applications since the host was booted. */
#define CHECKED_FILE SAND_RUN_DIR "/checked"

static bool is_busy(const Host *h) {
        return h->operations.n > 0 || h->n_requests > 0;
}

void host_note_activity(Host *h) {
        if (!h->idle || h->stopping)
                return;
        (void) sd_event_source_set_time_relative(h->idle, HOST_IDLE_USEC);
        (void) sd_event_source_set_enabled(h->idle, is_busy(h) ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
}

static void on_emptied(void *userdata) {
        host_note_activity(userdata);
}

/* What the bus has sent us before it gave the name away is queued here, and is served; what is sent later starts
 * another of us when this one has ended. */
static int stop(Host *h) {
        int r;

        if (h->stopping)
                return 0;
        h->stopping = true;
        (void) sd_notify(false, "STOPPING=1\nSTATUS=Finishing what is under way");
        r = sd_bus_release_name(h->bus, SAND_HOST_NAME);
        return r < 0 ? log_error_errno(r, "Failed to give up the name " SAND_HOST_NAME ": %m") : 0;
}

static int on_idle(sd_event_source *s, uint64_t usec, void *userdata) {
        Host *h = userdata;

        /* If it does something, there is another idle time behind it. */
        return operations_settle(&h->operations) > 0 ? 0 : stop(h);
}

static int on_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata) {
        return stop(userdata);
}

static int add_signals(Host *h) {
        static const int signals[] = { SIGTERM, SIGINT };
        sigset_t mask;
        int r;

        sigemptyset(&mask);
        sigaddset(&mask, SIGTERM);
        sigaddset(&mask, SIGINT);
        sigaddset(&mask, SIGCHLD); /* sd_event_add_child() asks for it */
        if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
                return -errno;
        for (size_t i = 0; i < ELEMENTSOF(signals); i++) {
                r = sd_event_add_signal(h->event, NULL, signals[i], on_signal, h);
                if (r < 0)
                        return r;
        }
        return 0;
}

int host_new(Host **ret) {
        _cleanup_(host_freep) Host *h = calloc(1, sizeof(Host));
        int r;

        if (!h)
                return log_oom();
        h->operations.places = PLACES_EMPTY;
        r = sd_event_default(&h->event);
        if (r < 0)
                return log_error_errno(r, "Failed to make an event loop: %m");
        r = add_signals(h);
        if (r < 0)
                return log_error_errno(r, "Failed to watch for signals: %m");
        r = sd_event_set_watchdog(h->event, true);
        if (r < 0)
                return log_error_errno(r, "Failed to serve the watchdog: %m");
        r = places_open(&h->operations.places);
        if (r < 0)
                return log_error_errno(r, "Failed to open the directories of applications: %m");
        r = sd_bus_open_system(&h->bus);
        if (r < 0)
                return log_error_errno(r, "Failed to connect to the system bus: %m");
        r = sd_bus_attach_event(h->bus, h->event, SD_EVENT_PRIORITY_NORMAL);
        if (r < 0)
                return log_error_errno(r, "Failed to attach the bus: %m");
        /* A connection that is lost ends us: systemd and the bus start us again. */
        r = sd_bus_set_exit_on_disconnect(h->bus, true);
        if (r >= 0)
                r = manager_new(h->bus, &h->manager);
        if (r < 0)
                return log_error_errno(r, "Failed to listen to systemd: %m");
        h->operations.event = h->event;
        h->operations.manager = h->manager;
        h->operations.emptied = on_emptied;
        h->operations.userdata = h;
        *ret = TAKE_PTR(h);
        return 0;
}

/* All pieces of all applications once a boot and version of us, for they name files of the host and follow our
 * release; after that what a crash may have left. */
static int start_repair(Host *h) {
        _cleanup_(freep) char *checked = NULL;
        bool all;
        int r;

        all = fs_read(AT_FDCWD, CHECKED_FILE, 256, &checked) < 0 || !streq(checked, SAND_VERSION);
        r = remove_garbage(&h->operations);
        if (r >= 0)
                r = repair_all(&h->operations, all);
        if (r < 0)
                return log_error_errno(r, "Failed to look for what needs repair: %m");
        if (all) {
                r = fs_write(AT_FDCWD, CHECKED_FILE, SAND_VERSION, 0644, 0, 0);
                if (r < 0)
                        log_warning_errno(r, "Failed to note that applications were checked, ignoring: %m");
        }
        return 0;
}

int host_start(Host *h) {
        int r;

        r = sd_event_add_time_relative(h->event, &h->idle, CLOCK_MONOTONIC, HOST_IDLE_USEC, 0, on_idle, h);
        if (r < 0)
                return log_error_errno(r, "Failed to make a timer: %m");
        r = host_bus_add(h);
        if (r < 0)
                return log_error_errno(r, "Failed to add " SAND_HOST_PATH " to the bus: %m");
        /* Repairs hold the locks of their applications before a request can ask for them. */
        r = start_repair(h);
        if (r < 0)
                return r;
        host_note_activity(h);
        r = sd_bus_request_name(h->bus, SAND_HOST_NAME, 0);
        if (r < 0)
                return log_error_errno(r, "Failed to take the name " SAND_HOST_NAME ": %m");
        return 0;
}

int host_run(Host *h) {
        int r;

        for (;;) {
                if (h->stopping && !is_busy(h) && !h->operations.reloading && operations_settle(&h->operations) <= 0) {
                        r = sd_bus_process(h->bus, NULL);
                        if (r < 0)
                                return log_error_errno(r, "Failed to process the bus: %m");
                        if (r == 0)
                                return 0;
                        continue;
                }
                r = sd_event_run(h->event, UINT64_MAX);
                if (r < 0)
                        return log_error_errno(r, "The event loop failed: %m");
                if (sd_event_get_state(h->event) == SD_EVENT_FINISHED)
                        return log_error_errno(ECONNRESET, "The connection to the system bus is lost");
        }
}

Host *host_free(Host *h) {
        if (!h)
                return NULL;
        host_bus_done(h);
        operations_done(&h->operations);
        manager_free(h->manager);
        sd_bus_slot_unref(h->vtable);
        if (h->bus)
                sd_bus_flush_close_unref(h->bus);
        sd_event_source_disable_unref(h->idle);
        places_done(&h->operations.places);
        sd_event_unref(h->event);
        free(h);
        return NULL;
}
