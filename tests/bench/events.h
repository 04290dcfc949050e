/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Producers of events, all in one process: a slot is one that has given an event away and waits to hear that it is
 * on disk. Functions exit with a message when they cannot go on. */

#include "macro.h"
#include "stat.h"

#define SLOTS_MAX 1024U

extern unsigned arg_flight; /* slots */
extern const char *body;
extern size_t body_size;

/* From now on it is timed. */
void events_start(void);
/* False: no more events are to be given away. */
bool event_begin(unsigned slot);
void event_end(unsigned slot, bool accepted);

/* JetStream of a nats-server, HOST:PORT, in a stream that it makes. */
void run_jetstream(const char *address);
