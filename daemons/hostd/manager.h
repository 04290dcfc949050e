/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* systemd's Manager, asynchronously: each request calls back exactly once, from the loop, when what it asked
 * for has come about, not only when it was queued: a start or stop waits for its job. */

#include <systemd/sd-bus.h>

#include "macro.h"

typedef struct Manager Manager;
typedef struct ManagerRequest ManagerRequest;

/* `r` is 0, or a negative errno with *error set: a text for the caller. `reply` may be NULL. */
typedef void (*manager_handler_t)(int r, const sd_bus_error *error, sd_bus_message *reply, void *userdata);

/* Uses the connection, which must outlive it. */
int manager_new(sd_bus *bus, Manager **ret);
Manager *manager_free(Manager *m);
DEFINE_POINTER_CLEANUP(Manager *, manager_free);

int manager_reload(Manager *m, manager_handler_t handler, void *userdata, ManagerRequest **ret);
int manager_start(Manager *m, const char *unit, manager_handler_t handler, void *userdata,
                  ManagerRequest **ret);
int manager_reload_or_start(Manager *m, const char *unit, manager_handler_t handler, void *userdata,
                            ManagerRequest **ret);
/* A unit that is not loaded is stopped. */
int manager_stop(Manager *m, const char *unit, manager_handler_t handler, void *userdata,
                 ManagerRequest **ret);
int manager_enable(Manager *m, const char *unit, manager_handler_t handler, void *userdata,
                   ManagerRequest **ret);
int manager_disable(Manager *m, const char *unit, manager_handler_t handler, void *userdata,
                    ManagerRequest **ret);
/* Forgets that a unit has failed; one that has not is fine. */
int manager_reset_failed(Manager *m, const char *unit, manager_handler_t handler, void *userdata,
                         ManagerRequest **ret);
/* Reply: a(ssssssouso), as ListUnits() of org.freedesktop.systemd1(5). Units that are not loaded are in it. */
int manager_list_units(Manager *m, char *const *units, manager_handler_t handler, void *userdata,
                       ManagerRequest **ret);
/* Reply: v of s, what a service has said last about itself. */
int manager_get_status_text(Manager *m, const char *unit, manager_handler_t handler, void *userdata,
                            ManagerRequest **ret);
/* Reply: a{sv}, all properties of all the unit's interfaces. */
int manager_get_properties(Manager *m, const char *unit, manager_handler_t handler, void *userdata,
                           ManagerRequest **ret);

/* Forgets the request; its handler will not run. What it asked for happens all the same. */
ManagerRequest *manager_request_free(ManagerRequest *q);
