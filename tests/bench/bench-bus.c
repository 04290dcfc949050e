/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bench-bus.h"

#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "stat.h"

int connect_to_socket(const char *path) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        int fd;

        if (strlen(path) >= sizeof(sa.sun_path))
                die(path, ENAMETOOLONG);
        (void) strcpy(sa.sun_path, path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *) &sa, sizeof(sa)) < 0)
                die(path, errno);
        return fd;
}

static sd_bus *bus_of(int fd, bool server) {
        sd_id128_t id = {};
        sd_bus *bus;
        int r;

        r = sd_bus_new(&bus);
        if (r >= 0)
                r = sd_bus_set_fd(bus, fd, fd);
        if (r >= 0 && server)
                r = sd_bus_set_server(bus, true, id);
        if (r >= 0)
                r = sd_bus_set_anonymous(bus, true);
        if (r >= 0)
                r = sd_bus_negotiate_fds(bus, true);
        if (r >= 0)
                r = sd_bus_start(bus);
        if (r < 0)
                die("sd-bus", r);
        return bus;
}

sd_bus *bus_client(int fd) {
        return bus_of(fd, false);
}

sd_bus *bus_server(int fd) {
        return bus_of(fd, true);
}

sd_bus *bus_connect(const char *path) {
        return bus_client(connect_to_socket(path));
}
