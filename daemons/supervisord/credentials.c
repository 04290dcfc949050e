/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "credentials.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "macro.h"
#include "manifest.h"
#include "protocol.h"

#define MACHINE_DIR "/run/credentials" /* /run is closed to all but PID 1 */

struct CredentialView {
        Credentials *credentials;
        CredentialView *next;
        char *const *names;
        uid_t uid;
        char *path;
};

int credentials_init(Credentials *c, bool machine) {
        const char *source = getenv("CREDENTIALS_DIRECTORY");

        *c = (Credentials) { .machine = machine };
        if (isempty(source))
                return 0;
        c->source = realpath(source, NULL);
        return c->source || errno == ENOENT ? 0 : -errno;
}

void credentials_done(Credentials *c) {
        while (c->views)
                credentials_view_free(c->views);
        if (c->dir && !c->machine)
                (void) rmdir(c->dir);
        free(c->dir);
        free(c->source);
        *c = (Credentials) {};
}

static int make_dir(Credentials *c) {
        char path[PATH_MAX];

        if (c->dir)
                return 0;
        if (!c->machine) {
                (void) snprintf(path, sizeof(path), "%s/sand-credentials-XXXXXX", getenv("TMPDIR") ?: "/tmp");
                if (!mkdtemp(path))
                        return -errno;
                return free_and_strdup(&c->dir, path);
        }
        if (mkdir(MACHINE_DIR, 0700) < 0 && errno != EEXIST)
                return -errno;
        if (mount("ramfs", MACHINE_DIR, "ramfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") < 0)
                return -errno;
        if (mkdir(MACHINE_DIR "/set", 0700) < 0)
                return -errno;
        return free_and_strdup(&c->dir, MACHINE_DIR);
}

static int copy_all(int from, int to) {
        off_t offset = 0;
        ssize_t n;

        /* Of a sealed memfd or of a file that nobody writes to: in the kernel, past our own memory. */
        while ((n = sendfile(to, from, &offset, SAND_SECRET_SIZE_MAX + 1)) > 0)
                if (offset > SAND_SECRET_SIZE_MAX)
                        return -EFBIG;
        return n < 0 ? -errno : 0;
}

/* Puts the file into place as a whole, or not at all. */
static int put(const char *dir, const char *name, int value_fd, uid_t uid) {
        _cleanup_(closep) int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = -EBADF;
        static const char temporary[] = ".new"; /* no secret's name begins so */
        int r;

        if (dir_fd < 0)
                return -errno;
        fd = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
        if (fd < 0)
                return -errno;
        r = copy_all(value_fd, fd);
        if (r >= 0 && fchown(fd, uid, 0) < 0)
                r = -errno;
        if (r >= 0 && renameat(dir_fd, temporary, dir_fd, name) < 0)
                r = -errno;
        if (r < 0)
                (void) unlinkat(dir_fd, temporary, 0);
        return r;
}

int credentials_set(Credentials *c, const char *name, int fd) {
        char path[PATH_MAX];
        int r;

        if (!credential_name_is_valid(name))
                return -EINVAL;
        r = make_dir(c);
        if (r < 0)
                return r;
        (void) snprintf(path, sizeof(path), "%s/set", c->dir);
        r = put(path, name, fd, 0);
        for (CredentialView *v = c->views; v && r >= 0; v = v->next)
                if (strv_contains(v->names, name))
                        r = put(v->path, name, fd, v->uid);
        return r;
}

/* What was set since the start, else what we were started with. */
static int open_value(const Credentials *c, const char *name) {
        char path[PATH_MAX];
        int fd;

        (void) snprintf(path, sizeof(path), "%s/set/%s", c->dir, name);
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0 && errno == ENOENT && c->source) {
                (void) snprintf(path, sizeof(path), "%s/%s", c->source, name);
                fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        }
        return fd >= 0 ? fd : errno == ENOENT ? -ENOKEY : -errno;
}

static int view_copy(const CredentialView *v, const char *name) {
        _cleanup_(closep) int fd = open_value(v->credentials, name);

        return fd < 0 ? fd : put(v->path, name, fd, v->uid);
}

static int view_link(const CredentialView *v, const char *name) {
        char target[PATH_MAX], path[PATH_MAX];

        if (!v->credentials->source)
                return -ENOKEY;
        (void) snprintf(target, sizeof(target), "%s/%s", v->credentials->source, name);
        (void) snprintf(path, sizeof(path), "%s/%s", v->path, name);
        if (access(target, F_OK) < 0)
                return -ENOKEY;
        return symlink(target, path) < 0 ? -errno : 0;
}

int credentials_view_new(Credentials *c, char *const *names, uid_t uid, CredentialView **ret, const char **ret_missing) {
        CredentialView *v;
        int r;

        r = make_dir(c);
        if (r < 0)
                return r;
        v = calloc(1, sizeof(CredentialView));
        if (!v)
                return -ENOMEM;
        *v = (CredentialView) { .credentials = c, .names = names, .uid = uid, .next = c->views };
        c->views = v;
        if (asprintf(&v->path, "%s/%u", c->dir, ++c->last) < 0) {
                v->path = NULL;
                r = -ENOMEM;
        } else if (mkdir(v->path, 0700) < 0)
                r = -errno;
        for (char *const *n = names; r >= 0 && *n; n++) {
                r = c->machine ? view_copy(v, *n) : view_link(v, *n);
                if (r == -ENOKEY)
                        *ret_missing = *n;
        }
        if (r >= 0 && c->machine && (chmod(v->path, 0500) < 0 || chown(v->path, uid, 0) < 0))
                r = -errno;
        if (r < 0) {
                credentials_view_free(v);
                return r;
        }
        *ret = v;
        return 0;
}

CredentialView *credentials_view_free(CredentialView *v) {
        char path[PATH_MAX];

        if (!v)
                return NULL;
        for (CredentialView **i = &v->credentials->views; *i; i = &(*i)->next)
                if (*i == v) {
                        *i = v->next;
                        break;
                }
        for (char *const *n = v->names; v->path && *n; n++) {
                (void) snprintf(path, sizeof(path), "%s/%s", v->path, *n);
                (void) unlink(path);
        }
        if (v->path)
                (void) rmdir(v->path);
        free(v->path);
        free(v);
        return NULL;
}

const char *credentials_view_path(const CredentialView *v) {
        return v->path;
}
