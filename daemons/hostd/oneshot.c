/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "oneshot.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <systemd/sd-bus.h>

#include "fs.h"
#include "log.h"
#include "protocol.h"
#include "unit-files.h"

/* Loading a version's workers; systemd's own limit for a reload is TimeoutStartSec=. */
#define RELOAD_TIMEOUT_USEC (150 * USEC_PER_SEC)

/* The first failure costs nothing, then the wait doubles. It ends the count to have been well for a while. */
#define WAIT_FIRST_USEC (250 * USEC_PER_MSEC)
#define WAIT_MAX_USEC (10 * USEC_PER_SEC)
#define WELL_SEC 60

static void bus_closep(sd_bus **bus) {
        sd_bus_flush_close_unref(*bus);
}

static void message_unrefp(sd_bus_message **m) {
        sd_bus_message_unref(*m);
}

/* The agent decides what it is that the machine takes: /etc may have changed. */
int oneshot_reload(const char *app) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(message_unrefp) sd_bus_message *call = NULL, *reply = NULL;
        _cleanup_(bus_closep) sd_bus *bus = NULL;
        const char *version, *outcome;
        int r;

        r = sd_bus_open_system(&bus);
        if (r >= 0)
                r = sd_bus_message_new_method_call(bus, &call, SAND_HOST_NAME, SAND_HOST_PATH, SAND_HOST_INTERFACE, "Reload");
        if (r >= 0)
                r = sd_bus_message_append(call, "s", app);
        if (r >= 0)
                r = sd_bus_call(bus, call, RELOAD_TIMEOUT_USEC, &error, &reply);
        if (r >= 0)
                r = sd_bus_message_read(reply, "ss", &version, &outcome);
        if (r < 0)
                return log_error_errno(r, "Failed to reload %s: %s", app, error.message ?: strerror(-r));
        log_info("%s serves version %s, %s.", app, version, outcome);
        return 0;
}

/* nspawn that was killed could not say goodbye to machined, which keeps the name for as long as the unit lives;
 * with Restart= that is for ever. */
static void unregister(const char *app) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(bus_closep) sd_bus *bus = NULL;
        int r;

        r = sd_bus_open_system(&bus);
        if (r >= 0)
                r = sd_bus_call_method(bus, "org.freedesktop.machine1", "/org/freedesktop/machine1",
                                       "org.freedesktop.machine1.Manager", "UnregisterMachine", &error, NULL, "s",
                                       app);
        if (r < 0 && !sd_bus_error_has_name(&error, "org.freedesktop.machine1.NoSuchMachine"))
                log_warning_errno(r, "Failed to unregister machine %s, ignoring: %s", app,
                                  error.message ?: strerror(-r));
}

/* How often in a row, this one included. */
static unsigned count_failure(const char *app) {
        _cleanup_(freep) char *path = NULL, *old = NULL;
        char text[16];
        unsigned n = 0;
        struct stat st;

        if (asprintf(&path, FAILURES_DIR "/%s", app) < 0 ||
            fs_mkdir(AT_FDCWD, FAILURES_DIR, 0700, 0, 0) < 0)
                return 1;
        if (stat(path, &st) >= 0 && time(NULL) - st.st_mtime < WELL_SEC &&
            fs_read(AT_FDCWD, path, sizeof(text), &old) >= 0)
                n = (unsigned) strtoul(old, NULL, 10);
        n = MIN(n, 1000U) + 1;
        (void) snprintf(text, sizeof(text), "%u\n", n);
        (void) fs_write(AT_FDCWD, path, text, 0600, 0, 0);
        return n;
}

int oneshot_failed(const char *app) {
        uint64_t wait = WAIT_FIRST_USEC;
        unsigned n;

        unregister(app);
        n = count_failure(app);
        if (n <= 1)
                return 0;
        for (unsigned i = 2; i < n && wait < WAIT_MAX_USEC; i++)
                wait *= 2;
        wait = MIN(wait, WAIT_MAX_USEC);
        log_notice("%s has failed %u times in a row, waiting %" PRIu64 " ms before it may start again.", app, n,
                   wait / USEC_PER_MSEC);
        (void) usleep((useconds_t) wait);
        return 0;
}
