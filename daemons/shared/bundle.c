/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Packing. What is written depends on names, contents, links and the owner's x bit, on nothing else: not on
 * the order of the directory, owners, times, umask or locale. */

#include "bundle.h"

#include <archive.h>
#include <archive_entry.h>
#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "path.h"
#include "text.h"

#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

/* ---- what may be in a bundle ---- */

bool bundle_leaves_out(const char *name) {
        static const char *const names[] = { ".git", ".hg", ".svn", "__pycache__" };
        size_t l = strlen(name);

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (streq(name, names[i]))
                        return true;
        if (l > 1 && name[l - 1] == '~')                        /* emacs, vi, gedit */
                return true;
        if (startswith(name, ".#") || (l > 2 && name[0] == '#' && name[l - 1] == '#')) /* emacs */
                return true;
        return l > 5 && name[0] == '.' && (streq(name + l - 4, ".swp") || streq(name + l - 4, ".swo")); /* vim */
}

const char *bundle_path_problem(const char *path) {
        unsigned depth = 0;

        if (strlen(path) > BUNDLE_PATH_MAX)
                return "a path of more than 1024 bytes";
        if (!utf8_is_valid(path, strlen(path)))
                return "a name that is not UTF-8";
        for (const char *p = path; *p; p++)
                if ((uint8_t) *p < 0x20 || *p == 0x7F)
                        return "a name with control characters";
        for (const char *p = path; *p; depth++) {
                size_t l = strcspn(p, "/");
                if (l > 255)
                        return "a name of more than 255 bytes";
                p += l;
                p += strspn(p, "/");
        }
        return depth > BUNDLE_DEPTH_MAX ? "a path of more than 64 levels" : NULL;
}

bool bundle_link_is_inside(const char *path, const char *target) {
        unsigned depth = 0;
        bool names = false;

        if (!*target || *target == '/')
                return false;
        for (; *path; path++)
                depth += *path == '/';
        while (*target) {
                size_t l = strcspn(target, "/");

                if (l == 2 && target[0] == '.' && target[1] == '.') {
                        if (names || depth == 0)
                                return false;
                        depth--;
                } else if (l != 1 || target[0] != '.')
                        names = true;
                target += l;
                target += strspn(target, "/");
        }
        return true;
}

/* ---- packing ---- */

typedef struct Packer {
        struct archive *archive;
        Problems *problems;
        uint64_t size;
        unsigned entries;
        bool bad, full;
        char path[BUNDLE_PATH_MAX + 1 + 256 + 1]; /* of the entry at hand */
} Packer;

static void closedirp(DIR **d) {
        if (*d)
                (void) closedir(*d);
}

static void archive_entry_freep(struct archive_entry **e) {
        if (*e)
                archive_entry_free(*e);
}

static int refuse(Packer *p, const char *found, const char *expected) {
        p->bad = true;
        return problems_add(p->problems, p->path, NULL, 0, "found %s, expected %s", found, expected);
}

/* The error that our own writer left, or libarchive's. */
static int archive_failure(struct archive *a) {
        int e = archive_errno(a);

        return e > 0 ? -e : -EIO;
}

static int write_header(Packer *p, mode_t type, mode_t mode, uint64_t size, const char *target) {
        _cleanup_(archive_entry_freep) struct archive_entry *e = archive_entry_new();

        if (!e)
                return -ENOMEM;
        archive_entry_set_pathname(e, p->path);
        archive_entry_set_filetype(e, type);
        archive_entry_set_perm(e, mode);
        archive_entry_set_size(e, (int64_t) size);
        archive_entry_set_mtime(e, 0, 0);
        archive_entry_set_uid(e, 0);
        archive_entry_set_gid(e, 0);
        if (target)
                archive_entry_set_symlink(e, target);
        if (archive_write_header(p->archive, e) != ARCHIVE_OK)
                return archive_failure(p->archive);
        return 0;
}

static int copy_data(Packer *p, int fd, uint64_t size) {
        _cleanup_(freep) char *buffer = malloc(256 * 1024);

        if (!buffer)
                return -ENOMEM;
        while (size > 0) {
                ssize_t n = read(fd, buffer, (size_t) MIN(size, (uint64_t) 256 * 1024));
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        return refuse(p, "a file that became shorter while it was read", "one at rest");
                if (archive_write_data(p->archive, buffer, (size_t) n) != n)
                        return archive_failure(p->archive);
                size -= (uint64_t) n;
        }
        return 0;
}

static int pack_file(Packer *p, int dir_fd, const char *name) {
        _cleanup_(closep) int fd = -EBADF;
        struct stat st;
        int r;

        fd = open_beneath(dir_fd, name, O_RDONLY, 0, RESOLVE_NO_SYMLINKS);
        if (fd == -EACCES)
                return refuse(p, "a file that may not be read", "one that may");
        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return refuse(p, "another file than a moment before", "one at rest");
        if (st.st_mode & (S_ISUID | S_ISGID))
                return refuse(p, "a set-user-ID or set-group-ID bit", "none: chmod ug-s");
        if ((uint64_t) st.st_size > BUNDLE_SIZE_MAX - p->size) {
                p->full = true;
                return refuse(p, "that this file makes the bundle larger than 1 GiB", "a smaller one");
        }
        p->size += (uint64_t) st.st_size;
        if (p->bad)
                return 0;
        r = write_header(p, AE_IFREG, st.st_mode & S_IXUSR ? 0755 : 0644, (uint64_t) st.st_size, NULL);
        if (r < 0)
                return r;
        return copy_data(p, fd, (uint64_t) st.st_size);
}

static int pack_link(Packer *p, int dir_fd, const char *name) {
        char target[BUNDLE_PATH_MAX + 1];
        ssize_t n;

        n = readlinkat(dir_fd, name, target, sizeof(target));
        if (n < 0)
                return -errno;
        if ((size_t) n >= sizeof(target))
                return refuse(p, "a link's target of more than 1024 bytes", "a shorter one");
        target[n] = '\0';
        if (!bundle_link_is_inside(p->path, target))
                return refuse(p, "a link that may leave the bundle", "a relative one that stays inside, with .. only "
                                 "at its beginning");
        if (bundle_path_problem(target))
                return refuse(p, bundle_path_problem(target), "another target of the link");
        return p->bad ? 0 : write_header(p, AE_IFLNK, 0777, 0, target);
}

static int pack_directory(Packer *p, int dir_fd);

static int pack_entry(Packer *p, int dir_fd, const char *name) {
        _cleanup_(closep) int fd = -EBADF;
        struct stat st;
        int r;

        if (++p->entries > BUNDLE_ENTRIES_MAX) {
                p->full = true;
                return refuse(p, "more than 65536 files", "fewer");
        }
        if (bundle_path_problem(p->path))
                return refuse(p, bundle_path_problem(p->path), "another");
        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        if (S_ISREG(st.st_mode))
                return pack_file(p, dir_fd, name);
        if (S_ISLNK(st.st_mode))
                return pack_link(p, dir_fd, name);
        if (!S_ISDIR(st.st_mode))
                return refuse(p, "a device, socket or FIFO", "files, directories and links alone");

        fd = open_beneath(dir_fd, name, O_RDONLY | O_DIRECTORY, 0, RESOLVE_NO_SYMLINKS);
        if (fd == -EACCES)
                return refuse(p, "a directory that may not be read", "one that may");
        if (fd < 0)
                return fd;
        r = p->bad ? 0 : write_header(p, AE_IFDIR, 0755, 0, NULL);
        return r < 0 ? r : pack_directory(p, fd);
}

static int compare_names(const void *a, const void *b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

static int append_name(char ***names, size_t *n, size_t *allocated, const char *name) {
        if (*n + 2 > *allocated) {
                size_t more = MAX(*allocated * 2, (size_t) 32);
                char **grown = realloc(*names, more * sizeof(char *));
                if (!grown)
                        return -ENOMEM;
                *names = grown;
                *allocated = more;
        }
        (*names)[*n] = strdup(name);
        (*names)[*n + 1] = NULL;
        return (*names)[(*n)++] ? 0 : -ENOMEM;
}

/* The names that are part of the bundle, in the order of their bytes. */
static int read_names(int dir_fd, char ***ret, size_t *ret_n) {
        _cleanup_(closedirp) DIR *d = NULL;
        _cleanup_(strv_freep) char **names = NULL;
        size_t n = 0, allocated = 0;
        struct dirent *e;
        int fd;

        fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        d = fdopendir(fd);
        if (!d) {
                int r = -errno;
                (void) safe_close(fd);
                return r;
        }
        for (errno = 0; (e = readdir(d)); errno = 0) {
                if (streq(e->d_name, ".") || streq(e->d_name, "..") || bundle_leaves_out(e->d_name))
                        continue;
                if (append_name(&names, &n, &allocated, e->d_name) < 0)
                        return -ENOMEM;
                if (n > BUNDLE_ENTRIES_MAX) /* one too many is enough for the refusal */
                        break;
        }
        if (errno > 0)
                return -errno;
        if (n > 1)
                qsort(names, n, sizeof(char *), compare_names);
        *ret = TAKE_PTR(names);
        *ret_n = n;
        return 0;
}

static int pack_directory(Packer *p, int dir_fd) {
        _cleanup_(strv_freep) char **names = NULL;
        size_t l = strlen(p->path), n;
        int r;

        r = read_names(dir_fd, &names, &n);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n && !p->full; i++) {
                (void) snprintf(p->path + l, sizeof(p->path) - l, "%s%s", l > 0 ? "/" : "", names[i]);
                r = pack_entry(p, dir_fd, names[i]);
                p->path[l] = '\0';
                if (r < 0)
                        return r;
        }
        return 0;
}

static void archive_write_freep(struct archive **a) {
        if (*a)
                (void) archive_write_free(*a);
}

/* Where the bytes go. */
typedef struct Sink {
        int fd; /* or -EBADF: into the hash */
        gnutls_hash_hd_t hash;
        bool discard;
} Sink;

static la_ssize_t sink_write(struct archive *a, void *userdata, const void *data, size_t size) {
        Sink *sink = userdata;
        ssize_t n;

        if (sink->discard)
                return (la_ssize_t) size;
        if (sink->fd < 0) {
                if (gnutls_hash(sink->hash, data, size) >= 0)
                        return (la_ssize_t) size;
                archive_set_error(a, EIO, "Cannot hash the bundle");
                return -1;
        }
        do
                n = write(sink->fd, data, size);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                archive_set_error(a, errno, "Cannot write the bundle");
        return n;
}

static int pack(int dir_fd, Problems *problems, Sink *sink) {
        _cleanup_(archive_write_freep) struct archive *a = archive_write_new();
        Packer p = { .archive = a, .problems = problems };
        int r;

        if (!a)
                return -ENOMEM;
        /* BINARY: names are bytes, whatever the locale of the one who packs */
        if (archive_write_set_format_pax_restricted(a) != ARCHIVE_OK ||
            archive_write_set_options(a, "hdrcharset=BINARY") != ARCHIVE_OK ||
            archive_write_set_bytes_per_block(a, 64 * 1024) != ARCHIVE_OK ||
            archive_write_set_bytes_in_last_block(a, 1) != ARCHIVE_OK ||
            archive_write_open(a, sink, NULL, sink_write, NULL) != ARCHIVE_OK)
                return archive_failure(a);
        r = pack_directory(&p, dir_fd);
        if (r < 0 || p.bad) {
                sink->discard = true; /* freeing it fills up the entry at hand; archive_write_fail() would leak */
                return r < 0 ? r : -EBADMSG;
        }
        return archive_write_close(a) == ARCHIVE_OK ? 0 : archive_failure(a);
}

int bundle_pack(int dir_fd, Problems *problems, int *ret_fd) {
        _cleanup_(closep) int fd = -EBADF;
        int r;

        assert(dir_fd >= 0);
        assert(problems);
        assert(ret_fd);

        fd = memfd_create("sand-bundle", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0)
                return -errno;
        r = pack(dir_fd, problems, &(Sink) { .fd = fd });
        if (r < 0)
                return r;
        if (lseek(fd, 0, SEEK_SET) < 0 || fcntl(fd, F_ADD_SEALS, SEALS) < 0)
                return -errno;
        *ret_fd = TAKE_FD(fd);
        return 0;
}

int bundle_hash(int dir_fd, char ret[static BUNDLE_HASH_LENGTH + 1]) {
        uint8_t digest[BUNDLE_HASH_LENGTH / 2];
        Sink sink = { .fd = -EBADF };
        Problems problems = {};
        int r;

        assert(dir_fd >= 0);
        assert(ret);

        if (gnutls_hash_init(&sink.hash, GNUTLS_DIG_SHA256) < 0)
                return -EIO;
        r = pack(dir_fd, &problems, &sink);
        problems_done(&problems);
        gnutls_hash_deinit(sink.hash, digest);
        if (r < 0)
                return r;
        for (size_t i = 0; i < sizeof(digest); i++)
                (void) snprintf(ret + 2 * i, 3, "%02x", digest[i]);
        return 0;
}
