/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The system bus, here or (by ssh, as systemctl does it) on arg_host; and the peer-to-peer sockets. */

#include <systemd/sd-bus.h>

#include "sandctl.h"

/* On failure the complaint is printed, and the result is the exit status; 0 is success. */
int bus_open(sd_bus **ret);

/* What the caller of a failed method is told, after `format`; the result is the exit status. */
int fail_bus(int r, const sd_bus_error *error, const char *format, ...) _printf_(3, 4);

/* A connection to one of a machine's sockets. Negative errno. */
int peer_bus_open(const char *path, sd_bus **ret);

/* What goes over the bus as a descriptor: all that `fd` has to give, in a memfd that nobody can change any more.
 * -EFBIG: it is more than `max` bytes. */
int memfd_copy_sealed(const char *name, int fd, uint64_t max, int *ret_fd);
int memfd_seal(int fd);

/* What systemd says of a unit; one that is not there is "not-found" in `load`. */
typedef struct UnitState {
        char *active, *sub, *load, *status_text; /* status_text: of services; may be NULL */
} UnitState;

int unit_state_read(sd_bus *bus, const char *unit, UnitState *ret);
void unit_state_done(UnitState *u);
