/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "override.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "fs.h"
#include "json-text.h"
#include "protocol.h"

static int open_overrides(const char *name) {
        _cleanup_(freep) char *path = NULL;
        int fd;

        if (asprintf(&path, SAND_OVERRIDES_DIR "/%s" OVERRIDES_SUFFIX, name) < 0)
                return -ENOMEM;
        fd = open(path, O_RDONLY|O_DIRECTORY|O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

bool overrides_exist(const char *name) {
        _cleanup_(closep) int fd = open_overrides(name);

        return fd != -ENOENT;
}

/* An operator's file may be a link to where such files are kept. A FIFO must not hold us up. */
static int read_file(int dir_fd, const char *file, char **ret) {
        _cleanup_(closep) int fd = openat(dir_fd, file, O_RDONLY|O_NONBLOCK|O_NOCTTY|O_CLOEXEC);
        _cleanup_(freep) char *text = NULL;
        struct stat st;
        ssize_t n;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EISDIR;
        if (st.st_size > JSON_TEXT_SIZE_MAX)
                return -EFBIG;
        text = malloc((size_t) st.st_size + 1);
        if (!text)
                return -ENOMEM;
        n = read(fd, text, (size_t) st.st_size);
        if (n < 0)
                return -errno;
        text[n] = '\0';
        if (strlen(text) != (size_t) n)
                return -EBADMSG;
        *ret = TAKE_PTR(text);
        return 0;
}

static int copy_file(int from_fd, const char *file, int to_fd) {
        _cleanup_(freep) char *text = NULL;
        int r = read_file(from_fd, file, &text);

        return r < 0 ? r : fs_write(to_fd, file, text, 0644, 0, 0);
}

static int copy_files(int from_fd, const char *except, int to_fd, char **ret_file) {
        _cleanup_(strv_freep) char **files = NULL;
        int r, n = 0;

        r = overrides_list(from_fd, &files);
        if (r < 0)
                return r;
        for (char **f = files; f && *f; f++) {
                if (except && streq(*f, except))
                        continue;
                if (n >= (int) OVERRIDES_MAX)
                        return -E2BIG;
                r = copy_file(from_fd, *f, to_fd);
                if (r < 0) {
                        *ret_file = strdup(*f);
                        return r;
                }
                n++;
        }
        return n;
}

int overrides_collect(const char *name, const char *file, const char *text, int to_fd, char **ret_file) {
        _cleanup_(closep) int from_fd = open_overrides(name);
        int r, n = 0;

        assert(!file || text);

        if (from_fd < 0 && from_fd != -ENOENT)
                return from_fd;
        if (from_fd >= 0)
                n = copy_files(from_fd, file, to_fd, ret_file);
        if (n < 0 || isempty(text))
                return n;
        if (n >= (int) OVERRIDES_MAX)
                return -E2BIG;
        r = fs_write(to_fd, file, text, 0644, 0, 0);
        return r < 0 ? r : n + 1;
}

static int make_folder(const char *name) {
        _cleanup_(freep) char *path = NULL;
        int r;

        if (asprintf(&path, SAND_OVERRIDES_DIR "/%s" OVERRIDES_SUFFIX, name) < 0)
                return -ENOMEM;
        r = mkdir(SAND_OVERRIDES_DIR, 0755) < 0 && errno != EEXIST ? -errno : 0;
        if (r >= 0 && mkdir(path, 0755) < 0 && errno != EEXIST)
                r = -errno;
        return r;
}

int override_write(const char *name, const char *file, const char *text, char **ret_old) {
        _cleanup_(closep) int dir_fd = -EBADF;
        _cleanup_(freep) char *old = NULL;
        int r = 0;

        if (*text)
                r = make_folder(name);
        if (r < 0)
                return r;
        dir_fd = open_overrides(name);
        if (dir_fd < 0)
                return dir_fd == -ENOENT ? 0 : dir_fd;
        r = read_file(dir_fd, file, &old);
        if (r < 0 && r != -ENOENT)
                return r;
        r = *text ? fs_write(dir_fd, file, text, 0644, 0, 0) : fs_unlink(dir_fd, file);
        if (r < 0)
                return r;
        *ret_old = TAKE_PTR(old);
        return 0;
}
