/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Tells when something below a folder changes: inotify on the folder and all folders in it, new ones
 * included. A burst of changes is one call, 200 ms after its last and at most 2 s after its first. What a bundle
 * leaves out and test events (events/NAME.json) are nobody's change. */

#include <systemd/sd-event.h>

#include "macro.h"

#define WATCH_DIRECTORIES_MAX 8192U

typedef struct Watch Watch;
/* `path`: the last that changed, from the folder on; "": not known. */
typedef void (*watch_handler_t)(const char *path, void *userdata);

/* -ENOSPC: the user's limit of inotify watches, or ours of directories, does not suffice. */
int watch_new(sd_event *event, const char *dir, watch_handler_t handler, void *userdata, Watch **ret);
Watch *watch_free(Watch *w);
DEFINE_POINTER_CLEANUP(Watch *, watch_free);
