/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Whether the sender of a method call may do what it asks for. Root may; polkit decides about all others, and
 * asks the user if the call allows interaction. Where there is no polkit, only root may. */

#include <systemd/sd-bus.h>

#include "macro.h"

#define POLKIT_DEPLOY "org.sand.host1.deploy"
#define POLKIT_REMOVE "org.sand.host1.remove"
#define POLKIT_INSPECT "org.sand.host1.inspect"
#define POLKIT_SECRETS "org.sand.host1.secrets"
#define POLKIT_OVERRIDE "org.sand.host1.override"
#define POLKIT_TOKENS "org.sand.host1.tokens"

typedef struct Authorization Authorization;

/* `r` is 0 (yes, to the user `uid`), or a negative errno with *error set. The authorization is gone by then. */
typedef void (*authorization_handler_t)(int r, uid_t uid, const sd_bus_error *error, void *userdata);

/* `app` (may be NULL) is what polkit's rules see as the detail "app". */
int authorization_new(sd_bus_message *call, const char *action, const char *app,
                      authorization_handler_t handler, void *userdata, Authorization **ret);
Authorization *authorization_free(Authorization *a);
DEFINE_POINTER_CLEANUP(Authorization *, authorization_free);
