/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The applications that there are, as the catalogue says, and a connection to each that is needed. */

#include <systemd/sd-event.h>

#include "catalogue.h"
#include "peer.h"

typedef struct App {
        CatalogueEntry *entry;
        Peer *peer;
} App;

typedef struct Apps Apps;

int apps_new(sd_event *event, const char *catalogue_dir, const char *socket_dir, Apps **ret);
Apps *apps_free(Apps *a);
/* Knows what was published before the call. Borrowed until the loop runs on. NULL: no such name. */
App *apps_find(Apps *a, const char *name);
/* Whose supervisor is this uid; NULL: nobody's. */
App *apps_find_uid(Apps *a, uint32_t uid);
size_t apps_count(const Apps *a);
App *apps_at(const Apps *a, size_t i);
/* The connection, made now if there is none. Borrowed. */
int apps_get_peer(Apps *a, App *app, Peer **ret);
/* Whether `app` lets the application `caller` call, send and emit to it. */
bool app_allows(const App *app, const char *caller);
