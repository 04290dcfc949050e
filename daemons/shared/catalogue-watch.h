/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The catalogue's directory, followed by inotify. */

#include <systemd/sd-event.h>

typedef struct CatalogueWatch CatalogueWatch;

/* The entry `name` of the directory may have come, changed or gone: catalogue_read() says. NULL: any of those that are known
 * may have; those that are there now are named after that. */
typedef void (*catalogue_changed_t)(int dir_fd, const char *name, void *userdata);

/* Names all that is there before it returns: what is published meanwhile is named later. `dir` is copied. */
int catalogue_watch_new(sd_event *event, const char *dir, catalogue_changed_t changed, void *userdata, CatalogueWatch **ret);
CatalogueWatch *catalogue_watch_free(CatalogueWatch *w);
/* Names what was published before the call, whether or not the loop ran since; nothing from within `changed`. The number of
 * changes, or a negative errno. */
int catalogue_watch_refresh(CatalogueWatch *w);
