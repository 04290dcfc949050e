/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "app.h"

#include <assert.h>
#include <stdio.h>

#include "catalogue-watch.h"
#include "log.h"

#define APPS_MAX 16384U

struct Apps {
        sd_event *event;
        char *dir, *socket_dir;
        char **sockets; /* NAME=PATH */
        CatalogueWatch *watch;
        App **apps; /* sorted by name */
        size_t n_apps;
};

App *app_ref(App *a) {
        a->n_ref++;
        return a;
}

static void metrics_list_free(FunctionMetrics **l, size_t n) {
        for (size_t i = 0; l && i < n; i++)
                function_metrics_unref(l[i]);
        free(l);
}

App *app_unref(App *a) {
        if (!a || --a->n_ref > 0)
                return NULL;
        peer_free(a->peer);
        if (a->entry)
                metrics_list_free(a->metrics, a->entry->n_functions);
        catalogue_entry_free(a->entry);
        function_metrics_unref(a->emitted);
        web_table_unref(a->web);
        free(a->name);
        free(a);
        return NULL;
}
DEFINE_POINTER_CLEANUP(App *, app_unref);

int app_find_function(const App *a, const char *function) {
        const CatalogueFunction *f = catalogue_find(a->entry, function);
        return f ? (int) (f - a->entry->functions) : -ENOENT;
}

/* Takes the entry. Functions that stay keep their counters. */
static int app_set_entry(App *a, CatalogueEntry *entry) {
        FunctionMetrics **metrics;
        WebTable *web;

        metrics = calloc(MAX(entry->n_functions, (size_t) 1), sizeof(FunctionMetrics *));
        for (size_t i = 0; metrics && i < entry->n_functions; i++) {
                int k = a->entry ? app_find_function(a, entry->functions[i].name) : -ENOENT;

                metrics[i] = k >= 0 ? function_metrics_ref(a->metrics[k]) : function_metrics_new();
                if (!metrics[i]) {
                        metrics_list_free(metrics, entry->n_functions);
                        metrics = NULL;
                }
        }
        if (!metrics || web_table_new(TAKE_PTR(entry->routes), entry->n_routes, &web) < 0) {
                metrics_list_free(metrics, entry->n_functions);
                catalogue_entry_free(entry);
                return -ENOMEM;
        }
        entry->n_routes = 0;
        if (a->entry)
                metrics_list_free(a->metrics, a->entry->n_functions);
        catalogue_entry_free(a->entry);
        web_table_unref(a->web);
        a->entry = entry;
        a->metrics = metrics;
        a->web = web;
        return 0;
}

/* Where the name is, or (-ENOENT) where it would be. */
static int apps_position(const Apps *a, const char *name, size_t *ret) {
        size_t low = 0, high = a->n_apps;

        while (low < high) {
                size_t middle = (low + high) / 2;
                int c = strcmp(a->apps[middle]->name, name);

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

static int apps_insert(Apps *a, size_t position, const char *name, CatalogueEntry *entry) {
        _cleanup_(app_unrefp) App *app = NULL;
        App **grown;
        int r;

        app = calloc(1, sizeof(App));
        if (!app) {
                catalogue_entry_free(entry);
                return -ENOMEM;
        }
        app->n_ref = 1;
        r = app_set_entry(app, entry);
        if (r < 0)
                return r;
        app->name = strdup(name);
        app->emitted = function_metrics_new();
        if (!app->name || !app->emitted)
                return -ENOMEM;
        if (a->n_apps >= APPS_MAX)
                return -E2BIG;
        grown = realloc(a->apps, (a->n_apps + 1) * sizeof(App *));
        if (!grown)
                return -ENOMEM;
        a->apps = grown;
        memmove(grown + position + 1, grown + position, (a->n_apps - position) * sizeof(App *));
        grown[position] = TAKE_PTR(app);
        a->n_apps++;
        return 0;
}

static void apps_remove(Apps *a, size_t position) {
        app_unref(a->apps[position]);
        a->n_apps--;
        memmove(a->apps + position, a->apps + position + 1, (a->n_apps - position) * sizeof(App *));
}

/* Makes the list agree with the directory about one name. An entry that does not parse changes nothing. */
static void apps_update(Apps *a, int dir_fd, const char *name) {
        CatalogueEntry *entry;
        size_t position;
        bool known;
        int r;

        known = apps_position(a, name, &position) >= 0;
        r = catalogue_read(dir_fd, name, &entry);
        if (r == -ENOENT) {
                if (known)
                        apps_remove(a, position);
                return;
        }
        if (r >= 0)
                r = known ? app_set_entry(a->apps[position], entry) : apps_insert(a, position, name, entry);
        if (r < 0)
                (void) log_warning_errno(r, "Failed to read %s/%s.json, ignoring: %m", a->dir, name);
}

static void on_changed(int dir_fd, const char *name, void *userdata) {
        Apps *a = userdata;

        if (name)
                apps_update(a, dir_fd, name);
        else
                for (size_t i = a->n_apps; i-- > 0;)
                        apps_update(a, dir_fd, a->apps[i]->name);
}

int apps_refresh(Apps *a) {
        return catalogue_watch_refresh(a->watch);
}

int apps_new(sd_event *event, const char *catalogue_dir, const char *socket_dir, char *const *sockets,
             Apps **ret) {
        _cleanup_(apps_freep) Apps *a = NULL;
        int r;

        a = calloc(1, sizeof(Apps));
        if (!a)
                return -ENOMEM;
        a->event = sd_event_ref(event);
        a->dir = strdup(catalogue_dir);
        a->socket_dir = strdup(socket_dir);
        if (!a->dir || !a->socket_dir)
                return -ENOMEM;
        for (; sockets && *sockets; sockets++) {
                r = strv_extend(&a->sockets, *sockets);
                if (r < 0)
                        return r;
        }
        r = catalogue_watch_new(event, catalogue_dir, on_changed, a, &a->watch);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(a);
        return 0;
}

Apps *apps_free(Apps *a) {
        if (!a)
                return NULL;
        while (a->n_apps > 0)
                apps_remove(a, a->n_apps - 1);
        free(a->apps);
        catalogue_watch_free(a->watch);
        strv_free(a->sockets);
        free(a->dir);
        free(a->socket_dir);
        sd_event_unref(a->event);
        free(a);
        return NULL;
}

App *apps_find(Apps *a, const char *name) {
        size_t position;

        if (apps_position(a, name, &position) >= 0)
                return a->apps[position];
        if (apps_refresh(a) > 0 && apps_position(a, name, &position) >= 0)
                return a->apps[position];
        return NULL;
}

static const char *apps_socket_override(const Apps *a, const char *name) {
        for (char **s = a->sockets; s && *s; s++) {
                const char *rest = startswith(*s, name);
                if (rest && *rest == '=')
                        return rest + 1;
        }
        return NULL;
}

int apps_get_peer(Apps *a, App *app, Peer **ret) {
        _cleanup_(freep) char *path = NULL;
        const char *override;
        int r;

        if (!app->peer) {
                override = apps_socket_override(a, app->name);
                if ((override ? asprintf(&path, "%s", override)
                              : asprintf(&path, "%s/%s.sock", a->socket_dir, app->name)) < 0)
                        return -ENOMEM;
                r = peer_new(a->event, path, &app->peer);
                if (r < 0)
                        return r;
        }
        *ret = app->peer;
        return 0;
}

size_t apps_count(const Apps *a) {
        return a->n_apps;
}

App *apps_at(const Apps *a, size_t i) {
        assert(i < a->n_apps);
        return a->apps[i];
}
