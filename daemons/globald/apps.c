/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "apps.h"

#include <assert.h>
#include <stdio.h>

#include "catalogue-watch.h"
#include "log.h"

#define APPS_MAX 16384U

struct Apps {
        sd_event *event;
        char *dir, *socket_dir;
        CatalogueWatch *watch;
        App **apps; /* sorted by name */
        size_t n_apps;
};

static App *app_free(App *a) {
        if (!a)
                return NULL;
        peer_free(a->peer);
        catalogue_entry_free(a->entry);
        free(a);
        return NULL;
}

/* Where the name is, or (-ENOENT) where it would be. */
static int apps_position(const Apps *a, const char *name, size_t *ret) {
        size_t low = 0, high = a->n_apps;

        while (low < high) {
                size_t middle = (low + high) / 2;
                int c = strcmp(a->apps[middle]->entry->name, name);

                if (c == 0) {
                        *ret = middle;
                        return 0;
                }
                if (c < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        *ret = low;
        return -ENOENT;
}

static int apps_insert(Apps *a, size_t position, CatalogueEntry *entry) {
        App *app, **grown;

        if (a->n_apps >= APPS_MAX)
                return -E2BIG;
        grown = realloc(a->apps, (a->n_apps + 1) * sizeof(App *));
        if (!grown)
                return -ENOMEM;
        a->apps = grown;
        app = calloc(1, sizeof(App));
        if (!app)
                return -ENOMEM;
        app->entry = entry;
        memmove(grown + position + 1, grown + position, (a->n_apps - position) * sizeof(App *));
        grown[position] = app;
        a->n_apps++;
        return 0;
}

static void apps_remove(Apps *a, size_t position) {
        App *app = a->apps[position];

        a->n_apps--;
        memmove(a->apps + position, a->apps + position + 1, (a->n_apps - position) * sizeof(App *));
        app_free(app);
}

/* Makes the list agree with the directory about one name. An entry that does not parse changes nothing. */
static void apps_update(Apps *a, int dir_fd, const char *name) {
        _cleanup_(catalogue_entry_freep) CatalogueEntry *entry = NULL;
        size_t position;
        bool known = apps_position(a, name, &position) >= 0;
        int r;

        r = catalogue_read(dir_fd, name, &entry);
        if (r == -ENOENT) {
                if (known)
                        apps_remove(a, position);
                return;
        }
        if (r >= 0 && known) {
                catalogue_entry_free(a->apps[position]->entry);
                a->apps[position]->entry = TAKE_PTR(entry);
        } else if (r >= 0) {
                r = apps_insert(a, position, entry);
                if (r >= 0)
                        entry = NULL;
        }
        if (r < 0)
                (void) log_warning_errno(r, "Failed to read %s/%s.json, ignoring: %m", a->dir, name);
}

static void on_changed(int dir_fd, const char *name, void *userdata) {
        Apps *a = userdata;

        for (size_t i = name ? 0 : a->n_apps; i-- > 0;) {
                _cleanup_(freep) char *known = strdup(a->apps[i]->entry->name); /* it goes with its entry */
                if (known)
                        apps_update(a, dir_fd, known);
        }
        if (name)
                apps_update(a, dir_fd, name);
}

int apps_new(sd_event *event, const char *catalogue_dir, const char *socket_dir, Apps **ret) {
        Apps *a;
        int r;

        a = calloc(1, sizeof(Apps));
        if (!a)
                return -ENOMEM;
        a->event = sd_event_ref(event);
        a->dir = strdup(catalogue_dir);
        a->socket_dir = strdup(socket_dir);
        r = a->dir && a->socket_dir ? catalogue_watch_new(event, catalogue_dir, on_changed, a, &a->watch) : -ENOMEM;
        if (r < 0) {
                apps_free(a);
                return r;
        }
        *ret = a;
        return 0;
}

Apps *apps_free(Apps *a) {
        if (!a)
                return NULL;
        while (a->n_apps > 0)
                apps_remove(a, a->n_apps - 1);
        free(a->apps);
        catalogue_watch_free(a->watch);
        sd_event_unref(a->event);
        free(a->dir);
        free(a->socket_dir);
        free(a);
        return NULL;
}

App *apps_find(Apps *a, const char *name) {
        size_t position;

        (void) catalogue_watch_refresh(a->watch);
        return apps_position(a, name, &position) >= 0 ? a->apps[position] : NULL;
}

App *apps_find_uid(Apps *a, uint32_t uid) {
        (void) catalogue_watch_refresh(a->watch);
        for (size_t i = 0; i < a->n_apps; i++)
                if (a->apps[i]->entry->uid_base == uid)
                        return a->apps[i];
        return NULL;
}

size_t apps_count(const Apps *a) {
        return a->n_apps;
}

App *apps_at(const Apps *a, size_t i) {
        assert(i < a->n_apps);
        return a->apps[i];
}

int apps_get_peer(Apps *a, App *app, Peer **ret) {
        _cleanup_(freep) char *path = NULL;
        int r;

        if (!app->peer) {
                if (asprintf(&path, "%s/%s.sock", a->socket_dir, app->entry->name) < 0)
                        return -ENOMEM;
                r = peer_new(a->event, path, &app->peer);
                if (r < 0)
                        return r;
        }
        *ret = app->peer;
        return 0;
}

bool app_allows(const App *app, const char *caller) {
        return streq(app->entry->name, caller) || strv_contains(app->entry->allow, caller);
}
