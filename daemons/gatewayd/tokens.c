/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* All hashes are one sorted array. The search may take a time that tells of them: it is a hash that is searched, of which a
 * client does not choose the bytes, and nothing leads from a hash back to its token. */

#include "tokens.h"

#include <dirent.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <limits.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "log.h"
#include "manifest.h"

#define WATCH_MASK (IN_MOVED_TO | IN_MOVED_FROM | IN_CLOSE_WRITE | IN_DELETE | IN_ONLYDIR)
#define SUFFIX ".json"

typedef struct Entry {
        uint8_t hash[TOKEN_HASH_SIZE];
        uint64_t expires_usec; /* CLOCK_REALTIME; 0: never */
        char app[63 + 1];
} Entry;

struct Tokens {
        sd_event *event;
        char *dir;
        int dir_fd, inotify_fd;
        sd_event_source *source;
        Entry *entries; /* sorted by hash */
        size_t n, allocated;
};

static int compare(const void *a, const void *b) {
        return memcmp(((const Entry *) a)->hash, ((const Entry *) b)->hash, TOKEN_HASH_SIZE);
}

static void tokens_sort(Tokens *t) {
        if (t->n > 1)
                qsort(t->entries, t->n, sizeof(Entry), compare);
}

static int tokens_append(Tokens *t, const char *app, const Token *token) {
        if (t->n == t->allocated) {
                size_t wanted = MAX(2 * t->allocated, (size_t) 64);
                Entry *grown = realloc(t->entries, wanted * sizeof(Entry));

                if (!grown)
                        return -ENOMEM;
                t->entries = grown;
                t->allocated = wanted;
        }
        t->entries[t->n] = (Entry) { .expires_usec = token->expires_usec };
        memcpy(t->entries[t->n].hash, token->hash, TOKEN_HASH_SIZE);
        strcpy(t->entries[t->n++].app, app);
        return 0;
}

/* The order of the others stays. */
static void tokens_forget(Tokens *t, const char *app) {
        size_t n = 0;

        for (size_t i = 0; i < t->n; i++)
                if (!streq(t->entries[i].app, app))
                        t->entries[n++] = t->entries[i];
        t->n = n;
}

/* ---- files ---- */

static int read_text(int dir_fd, const char *file, char **ret) {
        _cleanup_(closep) int fd = openat(dir_fd, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        _cleanup_(freep) char *text = NULL;
        size_t size = 0;
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || st.st_size > TOKENS_FILE_MAX)
                return -EBADMSG;
        text = calloc(1, (size_t) st.st_size + 1);
        if (!text)
                return -ENOMEM;
        /* What is published never changes. */
        while (size < (size_t) st.st_size) {
                ssize_t n = read(fd, text + size, (size_t) st.st_size - size);
                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n == 0)
                        return -EBADMSG;
                size += n > 0 ? (size_t) n : 0;
        }
        *ret = TAKE_PTR(text);
        return 0;
}

static int read_tokens(Tokens *t, const char *app, const char *file) {
        _cleanup_(token_list_done) TokenList l = {};
        _cleanup_(freep) char *text = NULL;
        int r;

        r = read_text(t->dir_fd, file, &text);
        if (r == -ENOENT)
                return 0;
        if (r >= 0)
                r = token_list_parse(text, &l);
        for (size_t i = 0; r >= 0 && i < l.n; i++)
                r = tokens_append(t, app, l.items + i);
        return r;
}

/* Tokens that cannot be read are not in force. */
static void tokens_update(Tokens *t, const char *file) {
        char app[63 + 1];
        const char *dot = strchr(file, '.');
        int r;

        if (!dot || !streq(dot, SUFFIX) || (size_t) (dot - file) >= sizeof(app))
                return;
        memcpy(app, file, (size_t) (dot - file));
        app[dot - file] = 0;
        if (!app_name_is_valid(app))
                return;
        tokens_forget(t, app);
        r = read_tokens(t, app, file);
        if (r < 0) {
                (void) log_error_errno(r, "Failed to read %s/%s, so no token of %s is good: %m", t->dir, file, app);
                tokens_forget(t, app);
        }
}

static void closedirp(DIR **d) {
        if (*d)
                (void) closedir(*d);
}

static int tokens_rescan(Tokens *t) {
        _cleanup_(closedirp) DIR *d = opendir(t->dir);
        struct dirent *e;

        t->n = 0;
        if (!d)
                return -errno;
        while ((e = readdir(d)))
                tokens_update(t, e->d_name);
        tokens_sort(t);
        return 0;
}

/* ---- changes ---- */

static void tokens_handle(Tokens *t, const struct inotify_event *e) {
        int r;

        if (e->mask & IN_Q_OVERFLOW) {
                r = tokens_rescan(t);
                if (r < 0)
                        (void) log_error_errno(r, "Failed to list %s, so no token is good: %m", t->dir);
        } else if (e->len > 0)
                tokens_update(t, e->name);
}

static int tokens_refresh(Tokens *t) {
        _Alignas(struct inotify_event) char buffer[16 * (sizeof(struct inotify_event) + NAME_MAX + 1)];
        ssize_t n;

        while ((n = read(t->inotify_fd, buffer, sizeof(buffer))) > 0) {
                for (char *p = buffer; p < buffer + n;) {
                        const struct inotify_event *e = (const struct inotify_event *) p;

                        tokens_handle(t, e);
                        p += sizeof(*e) + e->len;
                }
                tokens_sort(t);
        }
        return n < 0 && errno != EAGAIN && errno != EINTR ? -errno : 0;
}

static int on_inotify(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        int r = tokens_refresh(userdata);

        if (r < 0)
                (void) log_warning_errno(r, "Failed to follow the tokens, ignoring: %m");
        return 0;
}

int tokens_new(sd_event *event, const char *dir, Tokens **ret) {
        _cleanup_(tokens_freep) Tokens *t = NULL;
        int r;

        t = calloc(1, sizeof(Tokens));
        if (!t)
                return -ENOMEM;
        t->dir_fd = t->inotify_fd = -EBADF;
        t->event = sd_event_ref(event);
        t->dir = strdup(dir);
        if (!t->dir)
                return -ENOMEM;
        /* Watched before it is read: nothing falls in between. */
        t->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        if (t->inotify_fd < 0 || inotify_add_watch(t->inotify_fd, dir, WATCH_MASK) < 0)
                return -errno;
        t->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (t->dir_fd < 0)
                return -errno;
        r = sd_event_add_io(event, &t->source, t->inotify_fd, EPOLLIN, on_inotify, t);
        if (r >= 0)
                r = tokens_rescan(t);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(t);
        return 0;
}

Tokens *tokens_free(Tokens *t) {
        if (!t)
                return NULL;
        sd_event_source_disable_unref(t->source);
        safe_close(t->inotify_fd);
        safe_close(t->dir_fd);
        sd_event_unref(t->event);
        free(t->entries);
        free(t->dir);
        free(t);
        return NULL;
}

/* ---- use ---- */

int tokens_find(Tokens *t, const char *token, size_t size, TokenMatch *ret) {
        const Entry *e;
        Entry key;

        if (token_hash(token, size, key.hash) < 0)
                return -ENOENT;
        (void) tokens_refresh(t);
        e = t->n > 0 ? bsearch(&key, t->entries, t->n, sizeof(Entry), compare) : NULL;
        if (!e || gnutls_memcmp(e->hash, key.hash, TOKEN_HASH_SIZE) != 0)
                return -ENOENT;
        if (e->expires_usec > 0 && e->expires_usec <= now_realtime_usec())
                return -ENOENT;
        strcpy(ret->app, e->app);
        token_id(e->hash, ret->id);
        return 0;
}
