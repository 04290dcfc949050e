/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What Describe and Status of org.sand.Host1 say, as JSON texts. */

#include <systemd/sd-bus.h>

#include "app.h"

/* -ENOENT: no such application. Caller frees. */
int describe_app(const Places *p, const char *name, char **ret);

/* `properties` is the reply of manager_get_properties() of the service; `state` the supervisor's State, or NULL
 * when the machine does not run. */
int describe_status(const Places *p, const char *name, sd_bus_message *properties, const char *state, char **ret);
/* Whether the reply says that the machine runs; leaves it as it was. */
bool describe_is_active(sd_bus_message *properties);
