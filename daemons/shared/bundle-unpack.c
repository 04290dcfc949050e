/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Unpacking what a stranger sends. libarchive reads the tar; every file is made by us: one component at a time
 * below the directory, through no link, new or not at all, and counted before it is written. */

#include <archive.h>
#include <archive_entry.h>
#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "bundle.h"
#include "path.h"
#include "text.h"

#define REFUSED_MAX 100U /* as many as Problems holds */

typedef struct Unpacker {
        struct archive *archive;
        Problems *problems;
        int fd, dir_fd;
        off_t position; /* in fd, -1 if it has none */
        int error;      /* of reading fd */
        char buffer[64 * 1024];
        uint64_t size;
        unsigned entries, refused;
        bool bad, full; /* full: it is enough, the rest is not looked at */
        char path[BUNDLE_PATH_MAX + 1]; /* of the entry at hand, without "." and doubled slashes */
} Unpacker;

static void archive_read_freep(struct archive **a) {
        if (*a)
                (void) archive_read_free(*a);
}

static int refuse(Unpacker *u, const char *found, const char *expected) {
        u->bad = true;
        if (++u->refused >= REFUSED_MAX)
                u->full = true;
        return problems_add(u->problems, u->path, NULL, 0, "found %s, expected %s", found, expected);
}

/* A descriptor from a client shares its position with the client: where it can be read at a position, it is. */
static la_ssize_t read_input(struct archive *a, void *userdata, const void **ret) {
        Unpacker *u = userdata;
        ssize_t n;

        do
                n = u->position >= 0 ? pread(u->fd, u->buffer, sizeof(u->buffer), u->position)
                                     : read(u->fd, u->buffer, sizeof(u->buffer));
        while (n < 0 && errno == EINTR);
        if (n < 0) {
                u->error = -errno;
                archive_set_error(a, errno, "Cannot read");
                return -1;
        }
        if (u->position >= 0)
                u->position += n;
        *ret = u->buffer;
        return n;
}

/* After an error of libarchive: ours, or a problem of the archive. */
static int archive_failure(Unpacker *u) {
        const char *text = archive_error_string(u->archive);
        int r;

        if (u->error < 0)
                return u->error;
        if (archive_errno(u->archive) == ENOMEM)
                return -ENOMEM;
        u->bad = u->full = true;
        r = problems_add(u->problems, isempty(u->path) ? NULL : u->path, NULL, 0,
                         "cannot read the bundle as a tar archive: %s", text ?: "unknown error");
        return r < 0 ? r : 0;
}

/* ---- where a file goes ---- */

typedef enum PathKind { PATH_GOOD, PATH_SKIP, PATH_REFUSED } PathKind;

/* "./a//b/" becomes "a/b" in u->path. */
static int take_path(Unpacker *u, const char *name, PathKind *ret) {
        size_t n = 0;

        *ret = PATH_REFUSED;
        u->path[0] = '\0';
        if (!name)
                return refuse(u, "an entry without a name that can be read", "UTF-8");
        (void) snprintf(u->path, sizeof(u->path), "%s", name); /* for the messages */
        if (bundle_path_problem(name))
                return refuse(u, bundle_path_problem(name), "another");
        if (!path_is_inside(name))
                return refuse(u, "a path that leaves the bundle", "a relative one without ..");

        for (const char *p = name; *p;) {
                char component[256];
                size_t l = strcspn(p, "/");

                memcpy(component, p, l); /* at most 255: bundle_path_problem() */
                component[l] = '\0';
                p += l;
                p += strspn(p, "/");
                if (l == 0 || streq(component, "."))
                        continue;
                if (bundle_leaves_out(component)) {
                        *ret = PATH_SKIP;
                        return 0;
                }
                if (n > 0)
                        u->path[n++] = '/';
                memcpy(u->path + n, component, l);
                n += l;
        }
        u->path[n] = '\0';
        *ret = n > 0 ? PATH_GOOD : PATH_SKIP;
        return 0;
}

static int count_entry(Unpacker *u) {
        if (++u->entries <= BUNDLE_ENTRIES_MAX)
                return 0;
        u->full = true;
        return refuse(u, "more than 65536 files", "fewer");
}

/* Opens a directory by one component, making it when it is not there. -ENOTDIR: another thing is; -ECANCELED: it
 * would have been one too many, which was said. */
static int open_directory(Unpacker *u, int parent, const char *name) {
        int fd, r;

        fd = open_beneath(parent, name, O_RDONLY | O_DIRECTORY, 0, RESOLVE_NO_SYMLINKS);
        if (fd == -ELOOP)
                return -ENOTDIR;
        if (fd != -ENOENT)
                return fd;
        r = count_entry(u);
        if (r < 0 || u->full)
                return r < 0 ? r : -ECANCELED;
        if (mkdirat(parent, name, 0755) < 0)
                return -errno;
        fd = open_beneath(parent, name, O_RDONLY | O_DIRECTORY, 0, RESOLVE_NO_SYMLINKS);
        if (fd >= 0 && fchmod(fd, 0755) < 0) { /* whatever the umask */
                r = -errno;
                (void) safe_close(fd);
                return r;
        }
        return fd;
}

/* The directory that u->path is in, and its last component. */
static int open_parent(Unpacker *u, const char **ret_name) {
        _cleanup_(closep) int fd = -EBADF;
        const char *p = u->path, *slash;

        fd = fcntl(u->dir_fd, F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
                return -errno;
        for (; (slash = strchr(p, '/')); p = slash + 1) {
                char component[256];
                int child;

                memcpy(component, p, (size_t) (slash - p));
                component[slash - p] = '\0';
                child = open_directory(u, fd, component);
                if (child < 0)
                        return child;
                (void) safe_close(fd);
                fd = child;
        }
        *ret_name = p;
        return TAKE_FD(fd);
}

/* ---- the entries ---- */

static int write_at(int fd, const char *data, size_t size, off_t offset) {
        while (size > 0) {
                ssize_t n = pwrite(fd, data, size, offset);
                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n > 0) {
                        data += n;
                        offset += n;
                        size -= (size_t) n;
                }
        }
        return 0;
}

/* The header's size was counted; data that goes beyond it is refused. */
static int write_data(Unpacker *u, int fd, uint64_t size) {
        for (;;) {
                const void *data;
                int64_t offset;
                size_t n;
                int r;

                r = archive_read_data_block(u->archive, &data, &n, &offset);
                if (r == ARCHIVE_EOF)
                        break;
                if (r < ARCHIVE_WARN)
                        return archive_failure(u);
                if (n == 0)
                        continue;
                if (offset < 0 || (uint64_t) offset > size || n > size - (uint64_t) offset)
                        return refuse(u, "more bytes than the entry says", "a sound archive");
                r = write_at(fd, data, n, offset);
                if (r < 0)
                        return r;
        }
        return ftruncate(fd, (off_t) size) < 0 ? -errno : 0; /* it may end in a hole */
}

static int count_size(Unpacker *u, int64_t size) {
        if (size >= 0 && (uint64_t) size <= BUNDLE_SIZE_MAX - u->size) {
                u->size += (uint64_t) size;
                return 0;
        }
        u->full = true;
        return refuse(u, "that this file makes the bundle larger than 1 GiB", "a smaller one");
}

static int unpack_file(Unpacker *u, int parent, const char *name, struct archive_entry *e) {
        _cleanup_(closep) int fd = -EBADF;
        int64_t size = archive_entry_size(e);
        int r;

        if (archive_entry_perm(e) & (S_ISUID | S_ISGID))
                return refuse(u, "a set-user-ID or set-group-ID bit", "none");
        r = count_size(u, size);
        if (r < 0 || u->full)
                return r;

        fd = open_beneath(parent, name, O_WRONLY | O_CREAT | O_EXCL, 0600, RESOLVE_NO_SYMLINKS);
        if (fd == -EEXIST || fd == -ELOOP)
                return refuse(u, "this name a second time", "it once");
        if (fd < 0)
                return fd;
        if (fchmod(fd, archive_entry_perm(e) & S_IXUSR ? 0755 : 0644) < 0)
                return -errno;
        return write_data(u, fd, (uint64_t) size);
}

static int unpack_link(Unpacker *u, int parent, const char *name, struct archive_entry *e) {
        const char *target = archive_entry_symlink(e) ?: archive_entry_symlink_utf8(e);

        if (!target || !bundle_link_is_inside(u->path, target))
                return refuse(u, "a link that may leave the bundle", "a relative one that stays inside, with .. only "
                                 "at its beginning");
        if (bundle_path_problem(target))
                return refuse(u, bundle_path_problem(target), "another target of the link");
        if (symlinkat(target, parent, name) >= 0)
                return 0;
        return errno == EEXIST ? refuse(u, "this name a second time", "it once") : -errno;
}

static int unpack_directory(Unpacker *u, int parent, const char *name) {
        _cleanup_(closep) int fd = open_directory(u, parent, name);

        return fd < 0 ? fd : 0;
}

static int unpack_kind(Unpacker *u, struct archive_entry *e) {
        _cleanup_(closep) int parent = -EBADF;
        const char *name;
        int r;

        parent = open_parent(u, &name);
        if (parent < 0)
                return parent;
        if (archive_entry_filetype(e) == AE_IFDIR)
                return unpack_directory(u, parent, name);
        r = count_entry(u);
        if (r < 0 || u->full)
                return r;
        return archive_entry_filetype(e) == AE_IFLNK ? unpack_link(u, parent, name, e)
                                                     : unpack_file(u, parent, name, e);
}

/* What is left out is not written, but it is read: it counts all the same. */
static int skip_entry(Unpacker *u, struct archive_entry *e) {
        int r = count_entry(u);

        return r < 0 || u->full ? r : count_size(u, archive_entry_size(e));
}

static int unpack_entry(Unpacker *u, struct archive_entry *e) {
        PathKind kind;
        int r;

        /* the name's bytes; as UTF-8 where the locale has no characters for what a pax header says */
        r = take_path(u, archive_entry_pathname(e) ?: archive_entry_pathname_utf8(e), &kind);
        if (r < 0 || kind == PATH_REFUSED)
                return r;
        if (kind == PATH_SKIP)
                return skip_entry(u, e);
        if (archive_entry_hardlink(e) || archive_entry_hardlink_utf8(e))
                return refuse(u, "a hard link", "a file of its own, or a symbolic link");
        switch (archive_entry_filetype(e)) {
        case AE_IFREG:
        case AE_IFDIR:
        case AE_IFLNK:
                break;
        default:
                return refuse(u, "a device, socket or FIFO", "files, directories and links alone");
        }
        r = unpack_kind(u, e);
        if (r == -ECANCELED)
                return 0;
        return r == -ENOTDIR ? refuse(u, "that what lies above it is no directory, or that a directory of its name is "
                                         "something else", "a directory") : r;
}

static int unpack_all(Unpacker *u) {
        while (!u->full) {
                struct archive_entry *e;
                int r;

                r = archive_read_next_header(u->archive, &e);
                if (r == ARCHIVE_EOF)
                        break;
                r = r < ARCHIVE_WARN ? archive_failure(u) : unpack_entry(u, e);
                if (r < 0)
                        return r;
        }
        return u->bad ? -EBADMSG : 0;
}

/* A filter that libarchive would run as a program of its own is none for us: it says ARCHIVE_WARN. */
static int open_archive(Unpacker *u) {
        struct archive *a = u->archive;

        if (archive_read_support_format_tar(a) != ARCHIVE_OK || archive_read_support_filter_gzip(a) != ARCHIVE_OK ||
            archive_read_support_filter_xz(a) != ARCHIVE_OK || archive_read_support_filter_zstd(a) != ARCHIVE_OK)
                return -EOPNOTSUPP;
        if (archive_read_open(a, u, NULL, read_input, NULL) != ARCHIVE_OK)
                return archive_failure(u);
        return 0;
}

int bundle_unpack(int fd, int dir_fd, Problems *problems) {
        _cleanup_(freep) Unpacker *u = NULL; /* libarchive points into it: it goes last */
        _cleanup_(archive_read_freep) struct archive *a = NULL;
        int r;

        assert(fd >= 0);
        assert(dir_fd >= 0);
        assert(problems);

        u = calloc(1, sizeof(Unpacker));
        a = archive_read_new();
        if (!u || !a)
                return -ENOMEM;
        u->archive = a;
        u->problems = problems;
        u->fd = fd;
        u->dir_fd = dir_fd;
        u->position = lseek(fd, 0, SEEK_CUR) < 0 ? -1 : 0;

        r = open_archive(u);
        if (r < 0)
                return r;
        return unpack_all(u);
}
