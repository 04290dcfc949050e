/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One connection to a machine's control socket, and one call at a time on it (protocol.h). What Prepare loads
 * lives as long as the connection. Connecting starts a machine that does not run. */

#include <stdint.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "macro.h"

typedef struct MachineControl MachineControl;

/* `r` is 0, or a negative errno with *error set to a name of the vocabulary. `text` is the reply's string, or "".
 * The control may be freed within. */
typedef void (*machine_control_handler_t)(int r, const sd_bus_error *error, const char *text, void *userdata);

int machine_control_new(sd_event *event, const char *app, MachineControl **ret);
MachineControl *machine_control_free(MachineControl *c);
DEFINE_POINTER_CLEANUP(MachineControl *, machine_control_free);

/* Calls Prepare (with `argument`), Reload, Drain or State (NULL). -EBUSY: one is in flight. */
int machine_control_call(MachineControl *c, const char *method, const char *argument, uint64_t timeout_usec,
                         machine_control_handler_t handler, void *userdata);

/* Calls SetCredential; `fd` is a sealed memfd, the caller's. */
int machine_control_set_credential(MachineControl *c, const char *name, int fd, uint64_t timeout_usec,
                                   machine_control_handler_t handler, void *userdata);
