/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* D-Bus from peer to peer, as applications, workers and instances speak it. Who cannot have one says why and exits. */

#include <systemd/sd-bus.h>

/* Connected to a socket in the file system; a descriptor, and a bus of it. */
int connect_to_socket(const char *path);
sd_bus *bus_connect(const char *path);

/* One end of a connection; the descriptor is the bus's from then on. */
sd_bus *bus_client(int fd);
sd_bus *bus_server(int fd);
