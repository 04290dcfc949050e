/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "catalogue-watch.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/epoll.h>
#include <sys/inotify.h>

#include "catalogue.h"
#include "log.h"

#define WATCH_MASK (IN_MOVED_TO | IN_MOVED_FROM | IN_CLOSE_WRITE | IN_DELETE | IN_ONLYDIR)

struct CatalogueWatch {
        char *dir;
        int dir_fd, inotify_fd;
        sd_event_source *source;
        catalogue_changed_t changed;
        void *userdata;
        bool refreshing;
};

static int watch_scan(CatalogueWatch *w) {
        _cleanup_(strv_freep) char **names = NULL;
        int r;

        r = catalogue_list(w->dir_fd, &names);
        if (r < 0)
                return r;
        w->changed(w->dir_fd, NULL, w->userdata);
        for (char **n = names; n && *n; n++)
                w->changed(w->dir_fd, *n, w->userdata);
        return 0;
}

static void watch_handle(CatalogueWatch *w, const struct inotify_event *e) {
        char name[APP_NAME_MAX + 1];
        const char *dot;

        if (e->mask & IN_Q_OVERFLOW) {
                int r = watch_scan(w);
                if (r < 0)
                        (void) log_warning_errno(r, "Failed to list %s, ignoring: %m", w->dir);
                return;
        }
        dot = e->len > 0 ? strchr(e->name, '.') : NULL;
        if (!dot || !streq(dot, ".json") || (size_t) (dot - e->name) >= sizeof(name))
                return;
        memcpy(name, e->name, (size_t) (dot - e->name));
        name[dot - e->name] = 0;
        if (app_name_is_valid(name))
                w->changed(w->dir_fd, name, w->userdata);
}

int catalogue_watch_refresh(CatalogueWatch *w) {
        _Alignas(struct inotify_event) char buffer[16 * (sizeof(struct inotify_event) + NAME_MAX + 1)];
        int n_changes = 0;
        ssize_t n;

        if (w->refreshing)
                return 0;
        w->refreshing = true;
        while ((n = read(w->inotify_fd, buffer, sizeof(buffer))) > 0)
                for (char *p = buffer; p < buffer + n;) {
                        const struct inotify_event *e = (const struct inotify_event *) p;
                        watch_handle(w, e);
                        p += sizeof(*e) + e->len;
                        n_changes++;
                }
        w->refreshing = false;
        return n < 0 && errno != EAGAIN && errno != EINTR ? -errno : n_changes;
}

static int on_inotify(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        int r = catalogue_watch_refresh(userdata);

        if (r < 0)
                (void) log_warning_errno(r, "Failed to follow the catalogue, ignoring: %m");
        return 0;
}

static int watch_open(CatalogueWatch *w, sd_event *event) {
        int r;

        /* Watched before it is read: nothing falls in between. */
        w->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        if (w->inotify_fd < 0)
                return -errno;
        if (inotify_add_watch(w->inotify_fd, w->dir, WATCH_MASK) < 0)
                return -errno;
        w->dir_fd = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (w->dir_fd < 0)
                return -errno;
        r = sd_event_add_io(event, &w->source, w->inotify_fd, EPOLLIN, on_inotify, w);
        return r < 0 ? r : watch_scan(w);
}

int catalogue_watch_new(sd_event *event, const char *dir, catalogue_changed_t changed, void *userdata, CatalogueWatch **ret) {
        CatalogueWatch *w = calloc(1, sizeof(CatalogueWatch));
        int r;

        if (!w)
                return -ENOMEM;
        *w = (CatalogueWatch) { .dir = strdup(dir), .dir_fd = -EBADF, .inotify_fd = -EBADF, .changed = changed,
                                .userdata = userdata };
        r = w->dir ? watch_open(w, event) : -ENOMEM;
        if (r < 0) {
                catalogue_watch_free(w);
                return r;
        }
        *ret = w;
        return 0;
}

CatalogueWatch *catalogue_watch_free(CatalogueWatch *w) {
        if (!w)
                return NULL;
        sd_event_source_disable_unref(w->source);
        safe_close(w->inotify_fd);
        safe_close(w->dir_fd);
        free(w->dir);
        free(w);
        return NULL;
}
