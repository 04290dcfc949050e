/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sandctl-bus.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>

#include "log.h"
#include "protocol.h"

/* The connection to another host's bus ended: ssh has said why. */
static bool ssh_failed(int r) {
        return arg_host && (r == -ENOTCONN || r == -ECONNRESET || r == -EPIPE);
}

int bus_open(sd_bus **ret) {
        int r = arg_host ? sd_bus_open_system_remote(ret, arg_host) : sd_bus_open_system(ret);

        if (ssh_failed(r))
                return fail(SAND_ERROR_UNAVAILABLE, "Failed to connect to the bus: ssh to %s failed.", arg_host);
        if (r < 0 && arg_host)
                return fail(SAND_ERROR_UNAVAILABLE, "Failed to connect to the bus of %s: %s", arg_host,
                            strerror(-r));
        if (r < 0)
                return fail(SAND_ERROR_UNAVAILABLE, "Failed to connect to the system bus: %s", strerror(-r));
        (void) sd_bus_set_allow_interactive_authorization(*ret, true);
        return 0;
}

/* sd-bus gives local failures names of the specification's; those that mean "sand-hostd cannot be had"
 * deserve the next step, not the name. */
static const char *bus_hint(const char *name) {
        if (streq(name, "org.freedesktop.DBus.Error.ServiceUnknown") ||
            streq(name, "org.freedesktop.DBus.Error.NameHasNoOwner"))
                return "\nIs the package sand installed on this host?";
        if (startswith(name, "org.freedesktop.DBus.Error.Spawn") || startswith(name, "org.freedesktop.systemd1."))
                return "\n\"systemctl status sand-hostd.service\" says why.";
        if (streq(name, "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"))
                return "\nRun it as root, or where polkit can ask.";
        return "";
}

int fail_bus(int r, const sd_bus_error *error, const char *format, ...) {
        _cleanup_(freep) char *text = NULL;
        SandError e;
        va_list ap;
        int n;

        va_start(ap, format);
        n = vasprintf(&text, format, ap);
        va_end(ap);
        if (n < 0)
                return fail_errno(-ENOMEM, "Out of memory.");
        if (ssh_failed(r))
                return fail(SAND_ERROR_UNAVAILABLE, "%s: ssh to %s failed.", text, arg_host);
        if (!error || !sd_bus_error_is_set(error))
                return fail_errno(r, "%s: %s", text, strerror(abs(r)));

        e = sand_error_from_name(error->name);
        if (e == SAND_ERROR_CRASHED && startswith(error->name, "org.freedesktop."))
                e = SAND_ERROR_UNAVAILABLE; /* the service went away; no function did */
        if (e == _SAND_ERROR_INVALID)
                e = startswith(error->name, "org.freedesktop.DBus.Error.Spawn") ||
                    startswith(error->name, "org.freedesktop.systemd1.")
                        ? SAND_ERROR_UNAVAILABLE
                        : sand_error_from_errno(sd_bus_error_get_errno(error));
        return fail(e, "%s: %s%s", text, error->message ?: error->name, bus_hint(error->name));
}

int peer_bus_open(const char *path, sd_bus **ret) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(freep) char *address = NULL;
        int r;

        if (asprintf(&address, "unix:path=%s", path) < 0)
                return -ENOMEM;
        r = sd_bus_new(&bus);
        if (r >= 0)
                r = sd_bus_set_address(bus, address);
        if (r >= 0)
                r = sd_bus_negotiate_fds(bus, true);
        if (r >= 0)
                r = sd_bus_start(bus);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(bus);
        return 0;
}

int memfd_seal(int fd) {
        return fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0 ? -errno : 0;
}

static int copy(int from, int to, uint64_t max, uint8_t *buffer, size_t size) {
        uint64_t total = 0;
        ssize_t n;

        while ((n = read(from, buffer, size)) != 0) {
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                total += (uint64_t) n;
                if (total > max)
                        return -EFBIG;
                for (ssize_t done = 0, w; done < n; done += w) {
                        w = write(to, buffer + done, (size_t) (n - done));
                        if (w < 0)
                                return -errno;
                }
        }
        return 0;
}

int memfd_copy_sealed(const char *name, int fd, uint64_t max, int *ret_fd) {
        _cleanup_(closep) int memfd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
        uint8_t buffer[64 * 1024];
        int r;

        if (memfd < 0)
                return -errno;
        r = copy(fd, memfd, max, buffer, sizeof(buffer));
        explicit_bzero(buffer, sizeof(buffer)); /* it may have been a secret */
        if (r >= 0)
                r = memfd_seal(memfd);
        if (r < 0)
                return r;
        *ret_fd = TAKE_FD(memfd);
        return 0;
}

void unit_state_done(UnitState *u) {
        free(u->active);
        free(u->sub);
        free(u->load);
        free(u->status_text);
        *u = (UnitState) {};
}

static int read_string(sd_bus *bus, const char *path, const char *interface, const char *property, char **ret) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;

        return sd_bus_get_property_string(bus, "org.freedesktop.systemd1", path, interface, property, &error,
                                          ret);
}

int unit_state_read(sd_bus *bus, const char *unit, UnitState *ret) {
        static const char interface[] = "org.freedesktop.systemd1.Unit";
        _cleanup_(unit_state_done) UnitState u = {};
        _cleanup_(freep) char *path = NULL;
        int r;

        r = sd_bus_path_encode("/org/freedesktop/systemd1/unit", unit, &path);
        if (r >= 0)
                r = read_string(bus, path, interface, "ActiveState", &u.active);
        if (r >= 0)
                r = read_string(bus, path, interface, "SubState", &u.sub);
        if (r >= 0)
                r = read_string(bus, path, interface, "LoadState", &u.load);
        if (r < 0)
                return r;
        (void) read_string(bus, path, "org.freedesktop.systemd1.Service", "StatusText", &u.status_text);
        *ret = u;
        u = (UnitState) {};
        return 0;
}
