/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What instances ask for beyond their application: events to be kept, topics, calls to other applications. All of it goes
 * to globald, over one connection that is made when it is first needed. */

#include "supervisor.h"

/* Answers the event's caller, and frees the event. What it is, the event says. */
void upstream_submit(Supervisor *s, Event *e);
void upstream_free(Supervisor *s);
