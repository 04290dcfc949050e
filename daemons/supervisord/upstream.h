/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What instances ask for beyond their application goes to globald: Send and Emit, which it keeps on disk before they
 * are answered, and Invoke of another application. The connection is made when it is first needed. */

#include "supervisor.h"

int upstream_new(Supervisor *s, const char *socket_path, Upstream **ret);
/* Who still waits is not answered. */
Upstream *upstream_free(Upstream *u);

/* Takes the event, whose `beyond` is globald's method, and answers it. What is to be kept goes on even if its caller
 * is gone; an Invoke is given up then. */
void upstream_submit(Upstream *u, Event *e);
unsigned upstream_in_flight(const Upstream *u);
