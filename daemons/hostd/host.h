/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The one object that knows the others. It lives until it has been idle for a while: no operation, no request
 * that waits for something. */

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "operation.h"

#define HOST_IDLE_USEC (30 * USEC_PER_SEC)
#define HOST_REQUESTS_MAX 256U

typedef struct Request Request;

typedef struct Host {
        sd_event *event;
        sd_bus *bus;
        sd_bus_slot *vtable;
        Manager *manager;
        Operations operations;
        Request *requests; /* host-bus.c */
        unsigned n_requests;
        sd_event_source *idle;
        bool stopping; /* the name on the bus is given up */
} Host;

int host_new(Host **ret);
/* Takes the name on the bus and begins to repair. */
int host_start(Host *h);
/* Runs until idle or told to stop; accepts nothing more, finishes what is there. */
int host_run(Host *h);
Host *host_free(Host *h);
DEFINE_POINTER_CLEANUP(Host *, host_free);

/* Something has begun or ended. */
void host_note_activity(Host *h);
