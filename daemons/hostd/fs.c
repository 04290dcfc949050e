/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fs.h"

#include <dirent.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "macro.h"

#define DEPTH_MAX 256U

static void closedirp(DIR **d) {
        if (*d)
                (void) closedir(*d);
}

/* Opens the directory that `path` lies in. */
static int open_parent(int dir_fd, const char *path) {
        _cleanup_(freep) char *copy = strdup(path);
        int fd;

        if (!copy)
                return -ENOMEM;
        fd = openat(dir_fd, dirname(copy), O_RDONLY|O_DIRECTORY|O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

int fs_sync_dir(int dir_fd) {
        _cleanup_(closep) int fd = openat(dir_fd, ".", O_RDONLY|O_DIRECTORY|O_CLOEXEC);

        if (fd < 0)
                return -errno;
        return fsync(fd) < 0 ? -errno : 0;
}

static int sync_parent(int dir_fd, const char *path) {
        _cleanup_(closep) int fd = open_parent(dir_fd, path);

        if (fd < 0)
                return fd;
        return fsync(fd) < 0 ? -errno : 0;
}

bool fs_exists(int dir_fd, const char *path) {
        struct stat st;
        return fstatat(dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) >= 0;
}

static int read_all(int fd, size_t max, char **ret) {
        _cleanup_(freep) char *text = NULL;
        struct stat st;
        size_t n = 0;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EBADMSG;
        if (st.st_size < 0 || (uint64_t) st.st_size > max)
                return -EFBIG;
        text = malloc((size_t) st.st_size + 1);
        if (!text)
                return -ENOMEM;
        while (n < (size_t) st.st_size) {
                ssize_t k = read(fd, text + n, (size_t) st.st_size - n);
                if (k < 0)
                        return -errno;
                if (k == 0)
                        break;
                n += (size_t) k;
        }
        text[n] = 0;
        if (memchr(text, 0, n))
                return -EBADMSG;
        *ret = TAKE_PTR(text);
        return 0;
}

int fs_read(int dir_fd, const char *path, size_t max, char **ret) {
        _cleanup_(closep) int fd = openat(dir_fd, path, O_RDONLY|O_CLOEXEC|O_NOFOLLOW|O_NONBLOCK);

        if (fd < 0)
                return -errno;
        return read_all(fd, max, ret);
}

/* Whether the file has these bytes, mode and owner already. */
static bool is_same(int dir_fd, const char *path, const char *text, mode_t mode, uid_t uid, gid_t gid) {
        _cleanup_(freep) char *old = NULL;
        _cleanup_(closep) int fd = openat(dir_fd, path, O_RDONLY|O_CLOEXEC|O_NOFOLLOW|O_NONBLOCK);
        struct stat st;

        return fd >= 0 && fstat(fd, &st) >= 0 && (st.st_mode & 07777) == mode &&
                (uid == (uid_t) -1 || st.st_uid == uid) && (gid == (gid_t) -1 || st.st_gid == gid) &&
                read_all(fd, strlen(text), &old) >= 0 && streq(old, text);
}

static int write_all(int fd, const char *text) {
        for (size_t n = 0, size = strlen(text); n < size;) {
                ssize_t k = write(fd, text + n, size - n);
                if (k < 0)
                        return -errno;
                n += (size_t) k;
        }
        return 0;
}

static int fill_file(int fd, const char *text, mode_t mode, uid_t uid, gid_t gid) {
        int r = write_all(fd, text);

        if (r < 0)
                return r;
        if ((uid != (uid_t) -1 || gid != (gid_t) -1) && fchown(fd, uid, gid) < 0)
                return -errno;
        if (fchmod(fd, mode) < 0 || fsync(fd) < 0)
                return -errno;
        return 0;
}

int fs_write(int dir_fd, const char *path, const char *text, mode_t mode, uid_t uid, gid_t gid) {
        _cleanup_(freep) char *temporary = NULL;
        _cleanup_(closep) int fd = -EBADF;
        int r;

        if (is_same(dir_fd, path, text, mode, uid, gid))
                return 0;
        if (asprintf(&temporary, "%s.new", path) < 0)
                return -ENOMEM;
        /* One operation at a time works on an application: a file of that name is a crash's. */
        if (unlinkat(dir_fd, temporary, 0) < 0 && errno != ENOENT)
                return -errno;
        fd = openat(dir_fd, temporary, O_WRONLY|O_CREAT|O_EXCL|O_CLOEXEC|O_NOFOLLOW, 0600);
        if (fd < 0)
                return -errno;
        r = fill_file(fd, text, mode, uid, gid);
        if (r >= 0 && renameat(dir_fd, temporary, dir_fd, path) < 0)
                r = -errno;
        if (r < 0) {
                (void) unlinkat(dir_fd, temporary, 0);
                return r;
        }
        r = sync_parent(dir_fd, path);
        return r < 0 ? r : 1;
}

int fs_readlink(int dir_fd, const char *path, char **ret) {
        char target[PATH_MAX];
        ssize_t n = readlinkat(dir_fd, path, target, sizeof(target) - 1);

        if (n < 0)
                return -errno;
        target[n] = 0;
        *ret = strdup(target);
        return *ret ? 0 : -ENOMEM;
}

int fs_symlink(const char *target, int dir_fd, const char *path) {
        _cleanup_(freep) char *old = NULL, *temporary = NULL;
        int r;

        r = fs_readlink(dir_fd, path, &old);
        if (r >= 0 && streq(old, target))
                return 0;
        if (r < 0 && r != -ENOENT && r != -EINVAL)
                return r;
        if (asprintf(&temporary, "%s.new", path) < 0)
                return -ENOMEM;
        if (unlinkat(dir_fd, temporary, 0) < 0 && errno != ENOENT)
                return -errno;
        if (symlinkat(target, dir_fd, temporary) < 0)
                return -errno;
        if (renameat(dir_fd, temporary, dir_fd, path) < 0) {
                r = -errno;
                (void) unlinkat(dir_fd, temporary, 0);
                return r;
        }
        r = sync_parent(dir_fd, path);
        return r < 0 ? r : 1;
}

int fs_mkdir(int dir_fd, const char *path, mode_t mode, uid_t uid, gid_t gid) {
        _cleanup_(closep) int fd = -EBADF;
        struct stat st;

        if (mkdirat(dir_fd, path, mode) < 0 && errno != EEXIST)
                return -errno;
        fd = openat(dir_fd, path, O_RDONLY|O_DIRECTORY|O_NOFOLLOW|O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if ((st.st_uid != uid || st.st_gid != gid) && fchown(fd, uid, gid) < 0)
                return -errno;
        if ((st.st_mode & 07777) != mode && fchmod(fd, mode) < 0)
                return -errno;
        return 0;
}

int fs_unlink(int dir_fd, const char *path) {
        int r;

        if (unlinkat(dir_fd, path, 0) < 0)
                return errno == ENOENT ? 0 : -errno;
        r = sync_parent(dir_fd, path);
        return r < 0 ? r : 1;
}

typedef int (*visit_t)(int dir_fd, const char *name, bool directory);

/* Calls `visit` for each entry below the directory, children before their parent. */
static int walk(int dir_fd, const char *path, unsigned depth, visit_t visit) {
        _cleanup_(closedirp) DIR *d = NULL;
        int fd, r = 0;

        if (depth > DEPTH_MAX)
                return -ELOOP;
        fd = openat(dir_fd, path, O_RDONLY|O_DIRECTORY|O_NOFOLLOW|O_CLOEXEC);
        if (fd < 0)
                return -errno;
        d = fdopendir(fd);
        if (!d) {
                r = -errno;
                (void) close(fd);
                return r;
        }
        for (;;) {
                bool directory;
                struct stat st;

                errno = 0;
                struct dirent *e = readdir(d);
                if (!e)
                        return -errno;
                if (streq(e->d_name, ".") || streq(e->d_name, ".."))
                        continue;
                if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        return -errno;
                directory = S_ISDIR(st.st_mode);
                if (directory)
                        r = walk(fd, e->d_name, depth + 1, visit);
                if (r >= 0)
                        r = visit(fd, e->d_name, directory);
                if (r < 0)
                        return r;
        }
}

static int visit_remove(int dir_fd, const char *name, bool directory) {
        return unlinkat(dir_fd, name, directory ? AT_REMOVEDIR : 0) < 0 && errno != ENOENT ? -errno : 0;
}

int fs_remove_tree(int dir_fd, const char *path) {
        int r = walk(dir_fd, path, 0, visit_remove);

        if (r == -ENOENT)
                return 0;
        if (r == -ENOTDIR || r == -ELOOP) {
                r = fs_unlink(dir_fd, path);
                return r < 0 ? r : 0;
        }
        if (r < 0)
                return r;
        if (unlinkat(dir_fd, path, AT_REMOVEDIR) < 0 && errno != ENOENT)
                return -errno;
        return sync_parent(dir_fd, path);
}

static int visit_adopt(int dir_fd, const char *name, bool directory) {
        return fchownat(dir_fd, name, getuid(), getgid(), AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

int fs_adopt_tree(int dir_fd) {
        int r = walk(dir_fd, ".", 0, visit_adopt);

        if (r < 0)
                return r;
        return fchown(dir_fd, getuid(), getgid()) < 0 ? -errno : 0;
}

static int compare(const void *a, const void *b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

int fs_list(int dir_fd, const char *path, char ***ret) {
        _cleanup_(closedirp) DIR *d = NULL;
        _cleanup_(strv_freep) char **l = NULL;
        struct dirent *e;
        int fd, r;

        fd = openat(dir_fd, path, O_RDONLY|O_DIRECTORY|O_CLOEXEC);
        if (fd < 0)
                return -errno;
        d = fdopendir(fd);
        if (!d) {
                r = -errno;
                (void) close(fd);
                return r;
        }
        while ((e = readdir(d)))
                if (!streq(e->d_name, ".") && !streq(e->d_name, "..")) {
                        r = strv_extend(&l, e->d_name);
                        if (r < 0)
                                return r;
                }
        if (!l) {
                l = calloc(1, sizeof(char *));
                if (!l)
                        return -ENOMEM;
        }
        qsort(l, strv_length(l), sizeof(char *), compare);
        *ret = TAKE_PTR(l);
        return 0;
}
