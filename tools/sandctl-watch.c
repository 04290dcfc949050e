/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sandctl-watch.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/inotify.h>

#define QUIET_USEC (200 * USEC_PER_MSEC)
#define LATEST_USEC (2 * USEC_PER_SEC)
#define DEPTH_MAX 64U

struct Watch {
        sd_event_source *io, *timer;
        int fd;
        char **paths; /* by watch descriptor, which the kernel counts from 1; NULL where there is none */
        size_t n_paths;
        unsigned n_watched;
        size_t n_root;       /* length of the folder's own path */
        uint64_t first_usec; /* of a burst; 0: none */
        char *last;          /* path of its last change */
        watch_handler_t handler;
        void *userdata;
};

/* What tools write beside the sources and a bundle leaves out. */
static bool name_ignored(const char *name) {
        size_t n = strlen(name);

        return streq(name, ".git") || streq(name, "__pycache__") || startswith(name, ".#") ||
               streq(name, "4913") || (n > 1 && name[n - 1] == '~') || (n > 4 && streq(name + n - 4, ".swp"));
}

static int paths_set(Watch *w, int wd, const char *path) {
        size_t needed = (size_t) wd + 1;

        if (needed > w->n_paths) {
                char **grown = reallocarray(w->paths, needed * 2, sizeof(char *));

                if (!grown)
                        return -ENOMEM;
                memset(grown + w->n_paths, 0, (needed * 2 - w->n_paths) * sizeof(char *));
                w->paths = grown;
                w->n_paths = needed * 2;
        }
        return free_and_strdup(w->paths + wd, path);
}

static int watch_add(Watch *w, const char *path, unsigned depth);

static int watch_children(Watch *w, const char *path, unsigned depth) {
        DIR *dir = opendir(path);
        struct dirent *entry;
        int r = 0;

        if (!dir) /* gone again, or not ours to read: nothing to watch */
                return 0;
        while (r >= 0 && (entry = readdir(dir))) {
                _cleanup_(freep) char *child = NULL;

                if (entry->d_type != DT_DIR || streq(entry->d_name, ".") || streq(entry->d_name, "..") ||
                    name_ignored(entry->d_name))
                        continue;
                r = asprintf(&child, "%s/%s", path, entry->d_name) < 0 ? -ENOMEM : watch_add(w, child, depth + 1);
        }
        (void) closedir(dir);
        return r;
}

static int watch_add(Watch *w, const char *path, unsigned depth) {
        int wd, r;

        if (depth > DEPTH_MAX || w->n_watched >= WATCH_DIRECTORIES_MAX)
                return -ENOSPC;
        wd = inotify_add_watch(w->fd, path,
                               IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO |
                               IN_ATTRIB | IN_ONLYDIR | IN_DONT_FOLLOW | IN_EXCL_UNLINK);
        if (wd < 0)
                return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
        w->n_watched++;
        r = paths_set(w, wd, path);
        return r < 0 ? r : watch_children(w, path, depth);
}

static int on_timer(sd_event_source *s, uint64_t usec, void *userdata) {
        Watch *w = userdata;

        w->first_usec = 0;
        w->handler(strempty(w->last), w->userdata);
        return 0;
}

static int watch_defer(Watch *w) {
        uint64_t now = now_usec(), at;

        if (w->first_usec == 0)
                w->first_usec = now;
        at = MIN(now + QUIET_USEC, w->first_usec + LATEST_USEC);
        if (sd_event_source_set_time(w->timer, at) < 0)
                return -ENOMEM;
        return sd_event_source_set_enabled(w->timer, SD_EVENT_ONESHOT);
}

/* A test event is for whoever calls, no part of the code. */
static bool is_test_event(const char *path) {
        const char *name = startswith(path, "events/"), *end = name ? strrchr(name, '.') : NULL;

        return end && !strchr(name, '/') && streq(end, ".json");
}

/* True: the folder's content may be another now. */
static bool watch_event(Watch *w, const struct inotify_event *e) {
        const char *dir = e->wd > 0 && (size_t) e->wd < w->n_paths ? w->paths[e->wd] : NULL;
        _cleanup_(freep) char *path = NULL;

        if (e->mask & IN_IGNORED) {
                if (dir) {
                        (void) free_and_strdup(w->paths + e->wd, NULL);
                        w->n_watched--;
                }
                return false;
        }
        if (e->mask & IN_Q_OVERFLOW)
                return true;
        if (e->len > 0 && name_ignored(e->name))
                return false;
        if (!dir || e->len == 0 || asprintf(&path, "%s/%s", dir, e->name) < 0)
                return true;
        if (is_test_event(path + w->n_root + 1))
                return false;
        (void) free_and_strdup(&w->last, path + w->n_root + 1);
        /* What could not be watched in full is at least reported when its neighbours change. */
        if ((e->mask & IN_ISDIR) && (e->mask & (IN_CREATE | IN_MOVED_TO)))
                (void) watch_add(w, path, 0);
        return true;
}

static int on_inotify(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        char buffer[16 * 1024] __attribute__((aligned(__alignof__(struct inotify_event))));
        Watch *w = userdata;
        bool changed = false;
        ssize_t n;

        n = read(fd, buffer, sizeof(buffer));
        if (n < 0)
                return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        for (const char *p = buffer; p < buffer + n;) {
                const struct inotify_event *e = (const struct inotify_event *) p;

                changed = watch_event(w, e) || changed;
                p += sizeof(*e) + e->len;
        }
        return changed ? watch_defer(w) : 0;
}

int watch_new(sd_event *event, const char *dir, watch_handler_t handler, void *userdata, Watch **ret) {
        _cleanup_(watch_freep) Watch *w = calloc(1, sizeof(Watch));
        int r;

        if (!w)
                return -ENOMEM;
        w->handler = handler;
        w->userdata = userdata;
        w->n_root = strlen(dir);
        w->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        if (w->fd < 0)
                return -errno;
        r = watch_add(w, dir, 0);
        if (r >= 0)
                r = sd_event_add_io(event, &w->io, w->fd, EPOLLIN, on_inotify, w);
        if (r >= 0)
                r = sd_event_add_time(event, &w->timer, CLOCK_MONOTONIC, 0, USEC_PER_MSEC, on_timer, w);
        if (r >= 0)
                r = sd_event_source_set_enabled(w->timer, SD_EVENT_OFF);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(w);
        return 0;
}

Watch *watch_free(Watch *w) {
        if (!w)
                return NULL;
        (void) sd_event_source_disable_unref(w->io);
        (void) sd_event_source_disable_unref(w->timer);
        safe_close(w->fd);
        for (size_t i = 0; i < w->n_paths; i++)
                free(w->paths[i]);
        free(w->paths);
        free(w->last);
        free(w);
        return NULL;
}
