/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* org.sand.Host1 on the system bus; org.sand.Host1(5) describes it. */

#include "host.h"

int host_bus_add(Host *h);
/* Drops requests that wait; their callers see us leave the bus. */
void host_bus_done(Host *h);
