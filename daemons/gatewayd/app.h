/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The applications that there are: the catalogue's directory, read once and followed by inotify, and for
 * each application one connection to its machine, made when it is first needed. */

#include <systemd/sd-event.h>

#include "catalogue.h"
#include "metrics.h"
#include "peer.h"
#include "web-table.h"

/* Lives as long as it is listed or a request refers to it. */
typedef struct App {
        unsigned n_ref;
        char *name;
        CatalogueEntry *entry;
        FunctionMetrics **metrics; /* beside entry->functions */
        FunctionMetrics *emitted;  /* of events for whoever wants them */
        WebTable *web;             /* has the entry's routes */
        Peer *peer;
        uint64_t body_bytes;       /* of requests that have no answer yet */
        unsigned in_flight;        /* invocations */
        unsigned accepting;        /* events that the event log has not answered yet */
} App;

App *app_ref(App *a);
App *app_unref(App *a);
/* Index of the function in the entry, or -ENOENT. */
int app_find_function(const App *a, const char *function);

typedef struct Apps Apps;

/* `sockets` holds NAME=PATH for applications whose socket is not SOCKET_DIR/NAME.sock; may be NULL.
 * The strings are copied. */
int apps_new(sd_event *event, const char *catalogue_dir, const char *socket_dir, char *const *sockets,
             Apps **ret);
Apps *apps_free(Apps *a);
DEFINE_POINTER_CLEANUP(Apps *, apps_free);

/* Knows what was published before the call, whether or not the loop ran since. NULL: no such name. */
App *apps_find(Apps *a, const char *name);
/* As above, for a function that an entry read earlier did not have. */
int apps_refresh(Apps *a);
/* The connection, made now if there is none. Borrowed. */
int apps_get_peer(Apps *a, App *app, Peer **ret);

size_t apps_count(const Apps *a);
App *apps_at(const Apps *a, size_t i);
