/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Bundles: the same content has the same bytes, and nothing that is unpacked leaves its directory. Hostile
 * archives are written with libarchive here, as no packer of ours makes them. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <ftw.h>
#include <locale.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "bundle.h"

typedef struct Directory {
        char path[64];
        int from, to; /* two directories below it */
} Directory;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path);
}

static int setup(void **state) {
        Directory *d = calloc(1, sizeof(Directory));
        _cleanup_(closep) int fd = -EBADF;

        strcpy(d->path, "/tmp/test-bundle.XXXXXX");
        if (!mkdtemp(d->path))
                return -1;
        fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (mkdirat(fd, "from", 0755) < 0 || mkdirat(fd, "to", 0755) < 0)
                return -1;
        d->from = openat(fd, "from", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        d->to = openat(fd, "to", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        *state = d;
        return d->from < 0 || d->to < 0 ? -1 : 0;
}

static int teardown(void **state) {
        Directory *d = *state;

        (void) close(d->from);
        (void) close(d->to);
        (void) nftw(d->path, remove_one, 128, FTW_DEPTH | FTW_PHYS);
        free(d);
        return 0;
}

static void write_file(int dir_fd, const char *name, const char *text, mode_t mode) {
        _cleanup_(closep) int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
        assert_int_equal(fchmod(fd, mode), 0);
}

static void assert_file(int dir_fd, const char *name, const char *text, mode_t mode) {
        _cleanup_(closep) int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        char buffer[256] = "";
        struct stat st;

        assert_true(fd >= 0);
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_mode, S_IFREG | mode);
        assert_int_equal(read(fd, buffer, sizeof(buffer) - 1), strlen(text));
        assert_string_equal(buffer, text);
}

static bool exists(int dir_fd, const char *name) {
        struct stat st;
        return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) >= 0;
}

static void write_tree(int fd, mode_t mask) {
        (void) umask(mask);
        assert_int_equal(mkdirat(fd, "lib", 0777), 0);
        assert_int_equal(mkdirat(fd, "empty", 0700), 0);
        (void) umask(022);
        write_file(fd, "sand.json", "{}", 0600);
        write_file(fd, "run", "#!/bin/sh\n", 0711);
        write_file(fd, "lib/\xc3\xa9t\xc3\xa9", "", 0664);
        assert_int_equal(symlinkat("../run", fd, "lib/up"), 0);
        assert_int_equal(symlinkat("missing", fd, "dangling"), 0);
        /* a path beyond ustar's 100 bytes */
        write_file(fd, "lib/a-name-that-is-so-long-that-no-ustar-header-of-any-kind-can-hold-it-and-a-pax-header-is-needed-for-it",
                   "long", 0644);
}

static void test_round_trip(void **state) {
        char hash[BUNDLE_HASH_LENGTH + 1], again[BUNDLE_HASH_LENGTH + 1];
        _cleanup_(problems_done) Problems problems = {};
        _cleanup_(closep) int fd = -EBADF;
        Directory *d = *state;
        char target[16] = "";

        write_tree(d->from, 0);
        assert_int_equal(bundle_pack(d->from, &problems, &fd), 0);
        assert_int_equal(problems.n, 0);
        assert_int_equal(fcntl(fd, F_GET_SEALS), F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);

        /* a client's descriptor may stand anywhere, and the umask is not ours */
        assert_true(lseek(fd, 1, SEEK_SET) == 1);
        (void) umask(0077);
        assert_int_equal(bundle_unpack(fd, d->to, &problems), 0);
        (void) umask(022);
        assert_int_equal(lseek(fd, 0, SEEK_CUR), 1);
        assert_file(d->to, "sand.json", "{}", 0644);
        assert_file(d->to, "run", "#!/bin/sh\n", 0755);
        assert_file(d->to, "lib/\xc3\xa9t\xc3\xa9", "", 0644);
        assert_true(exists(d->to, "empty"));
        assert_int_equal(readlinkat(d->to, "lib/up", target, sizeof(target) - 1), 6);
        assert_string_equal(target, "../run");
        struct stat st;
        assert_int_equal(fstatat(d->to, "lib", &st, 0), 0);
        assert_int_equal(st.st_mode, S_IFDIR | 0755);

        assert_int_equal(bundle_hash(d->from, hash), 0);
        assert_int_equal(bundle_hash(d->to, again), 0);
        assert_string_equal(hash, again);
        assert_int_equal(strspn(hash, "0123456789abcdef"), BUNDLE_HASH_LENGTH);
}

static void test_deterministic(void **state) {
        char hash[BUNDLE_HASH_LENGTH + 1], again[BUNDLE_HASH_LENGTH + 1];
        Directory *d = *state;
        struct timespec times[2] = { { 1, 1 }, { 1, 1 } };

        write_tree(d->from, 0);
        write_tree(d->to, 0077);
        assert_int_equal(utimensat(d->to, "run", times, 0), 0);
        (void) fchownat(d->to, "run", 1, 1, 0); /* where we may */
        assert_int_equal(bundle_hash(d->from, hash), 0);
        assert_non_null(setlocale(LC_ALL, "C.UTF-8"));
        assert_int_equal(bundle_hash(d->to, again), 0);
        assert_non_null(setlocale(LC_ALL, "C"));
        assert_string_equal(hash, again);

        /* what is no part of the bundle */
        assert_int_equal(mkdirat(d->to, ".git", 0755), 0);
        write_file(d->to, ".git/config", "x", 0644);
        assert_int_equal(mkdirat(d->to, "lib/__pycache__", 0755), 0);
        write_file(d->to, "run~", "x", 0644);
        write_file(d->to, ".run.swp", "x", 0644);
        write_file(d->to, "#run#", "x", 0644);
        assert_int_equal(bundle_hash(d->to, again), 0);
        assert_string_equal(hash, again);

        /* and what is */
        write_file(d->to, "run", "#!/bin/sh\n", 0644);
        assert_int_equal(bundle_hash(d->to, again), 0);
        assert_string_not_equal(hash, again);
}

static void assert_problem(const Problems *problems, const char *file, const char *message) {
        for (size_t i = 0; i < problems->n; i++)
                if ((!file || streq(strempty(problems->items[i].file), file)) && strstr(problems->items[i].message, message))
                        return;
        _cleanup_(freep) char *report = problems_to_string(problems);
        fail_msg("no problem of %s: %s in:\n%s", file ?: "(any)", message, report);
}

static void test_pack_refuses(void **state) {
        char hash[BUNDLE_HASH_LENGTH + 1], lengthy[256];
        _cleanup_(problems_done) Problems problems = {};
        Directory *d = *state;
        int fd = -EBADF;

        assert_int_equal(mkdirat(d->from, "a", 0755), 0);
        assert_int_equal(mkfifoat(d->from, "fifo", 0644), 0);
        write_file(d->from, "setuid", "", 04755);
        write_file(d->from, "setgid", "", 02755);
        write_file(d->from, "control\n", "", 0644);
        write_file(d->from, "bytes\xff", "", 0644);
        assert_int_equal(symlinkat("/etc/passwd", d->from, "absolute"), 0);
        assert_int_equal(symlinkat("..", d->from, "out"), 0);
        assert_int_equal(symlinkat("../..", d->from, "a/out"), 0);
        assert_int_equal(symlinkat("b/../../x", d->from, "a/behind"), 0);
        assert_int_equal(symlinkat("..", d->from, "a/good"), 0);
        assert_int_equal(bundle_pack(d->from, &problems, &fd), -EBADMSG);
        assert_int_equal(fd, -EBADF);
        assert_int_equal(problems.n, 9);
        assert_problem(&problems, "fifo", "a device, socket or FIFO");
        assert_problem(&problems, "setuid", "set-user-ID");
        assert_problem(&problems, "setgid", "set-group-ID");
        assert_problem(&problems, "control?", "control characters");
        assert_problem(&problems, "bytes?", "not UTF-8");
        assert_problem(&problems, "absolute", "leave the bundle");
        assert_problem(&problems, "out", "leave the bundle");
        assert_problem(&problems, "a/out", "leave the bundle");
        assert_problem(&problems, "a/behind", "leave the bundle");
        assert_int_equal(bundle_hash(d->from, hash), -EBADMSG);

        /* a sparse file costs no disk, and a gigabyte of it is a bundle's all */
        problems_done(&problems);
        memset(lengthy, 'x', sizeof(lengthy));
        lengthy[255] = '\0';
        write_file(d->to, lengthy, "", 0644);
        assert_int_equal(unlinkat(d->to, lengthy, 0), 0);
        _cleanup_(closep) int large = openat(d->to, "large", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        assert_int_equal(ftruncate(large, BUNDLE_SIZE_MAX + 1), 0);
        assert_int_equal(bundle_pack(d->to, &problems, &fd), -EBADMSG);
        assert_problem(&problems, "large", "larger than 1 GiB");
}

static void test_links(void **state) {
        static const struct {
                const char *path, *target;
                bool inside;
        } rows[] = {
                { "a", "b", true },           { "a", "./b", true },         { "a", "b/c", true },
                { "a", "", false },           { "a", "/b", false },         { "a", "..", false },
                { "a", "../a", false },       { "d/a", "../b", true },      { "d/a", "..", true },
                { "d/a", "../..", false },    { "d/a", "./../b", true },    { "d/a", ".././..", false },
                { "d/e/a", "../../b", true }, { "d/a", "x/../b", false },   { "d/a", "../x/..", false },
                { "a", "..b", true },         { "a", "b..", true },         { "d/a", "..//..//b", false },
        };
        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                if (bundle_link_is_inside(rows[i].path, rows[i].target) != rows[i].inside)
                        fail_msg("%s -> %s", rows[i].path, rows[i].target);
}

/* ---- foreign archives ---- */

typedef struct Entry {
        const char *name;
        mode_t type, perm;
        const char *data; /* content, or a link's target */
        const char *hard_link;
} Entry;

static void archive_entries(const Entry *entries, size_t n, const char *format, const char *filter, int *ret_fd) {
        struct archive *a = archive_write_new();
        int fd = memfd_create("test", MFD_CLOEXEC);

        assert_int_equal(archive_write_set_format_by_name(a, format), ARCHIVE_OK);
        if (filter)
                assert_int_equal(archive_write_add_filter_by_name(a, filter), ARCHIVE_OK);
        assert_int_equal(archive_write_open_fd(a, fd), ARCHIVE_OK);
        for (size_t i = 0; i < n; i++) {
                struct archive_entry *e = archive_entry_new();

                archive_entry_set_pathname(e, entries[i].name);
                archive_entry_set_filetype(e, entries[i].type);
                archive_entry_set_perm(e, entries[i].perm);
                if (entries[i].type == AE_IFLNK)
                        archive_entry_set_symlink(e, entries[i].data);
                if (entries[i].hard_link)
                        archive_entry_set_hardlink(e, entries[i].hard_link);
                archive_entry_set_size(e, entries[i].type == AE_IFREG && entries[i].data ? (int64_t) strlen(entries[i].data) : 0);
                assert_true(archive_write_header(a, e) >= ARCHIVE_WARN);
                if (entries[i].type == AE_IFREG && entries[i].data)
                        (void) archive_write_data(a, entries[i].data, strlen(entries[i].data));
                archive_entry_free(e);
        }
        assert_int_equal(archive_write_free(a), ARCHIVE_OK);
        assert_true(lseek(fd, 0, SEEK_SET) == 0);
        *ret_fd = fd;
}

#define FILE_ENTRY(n, d) { .name = n, .type = AE_IFREG, .perm = 0644, .data = d }
#define LINK_ENTRY(n, t) { .name = n, .type = AE_IFLNK, .perm = 0777, .data = t }
#define DIRECTORY_ENTRY(n) { .name = n, .type = AE_IFDIR, .perm = 0755 }

static void test_unpack_good(void **state) {
        static const Entry entries[] = {
                DIRECTORY_ENTRY("./"), FILE_ENTRY("./a//b/c", "deep"), DIRECTORY_ENTRY("a"), DIRECTORY_ENTRY("a/b"),
                { .name = "run", .type = AE_IFREG, .perm = 0500, .data = "x" }, LINK_ENTRY("a/l", "../run"),
                FILE_ENTRY("\xc3\xa9", "utf8"), FILE_ENTRY(".git/config", "x"), FILE_ENTRY("a/__pycache__/x.pyc", "x"),
                FILE_ENTRY("z~", "x"), FILE_ENTRY("empty", ""),
        };
        static const char *const filters[] = { NULL, "gzip", "xz", "zstd" };
        static const char *const formats[] = { "ustar", "gnutar", "pax" };
        Directory *d = *state;

        for (size_t i = 0; i < ELEMENTSOF(filters) * ELEMENTSOF(formats); i++) {
                _cleanup_(problems_done) Problems problems = {};
                _cleanup_(closep) int fd = -EBADF, to = -EBADF;
                char name[16];

                (void) snprintf(name, sizeof(name), "%zu", i);
                assert_int_equal(mkdirat(d->to, name, 0755), 0);
                to = openat(d->to, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                /* pax in a UTF-8 locale says names in UTF-8; we read them in the C locale, as daemons do */
                assert_non_null(setlocale(LC_ALL, "C.UTF-8"));
                archive_entries(entries, ELEMENTSOF(entries), formats[i % 3], filters[i / 3], &fd);
                assert_non_null(setlocale(LC_ALL, "C"));
                if (bundle_unpack(fd, to, &problems) != 0)
                        fail_msg("%s %s: %s", formats[i % 3], strempty(filters[i / 3]), problems_to_string(&problems));
                assert_file(to, "a/b/c", "deep", 0644);
                assert_file(to, "run", "x", 0755);
                assert_file(to, "\xc3\xa9", "utf8", 0644);
                assert_file(to, "empty", "", 0644);
                assert_true(exists(to, "a/l"));
                assert_false(exists(to, ".git"));
                assert_false(exists(to, "a/__pycache__"));
                assert_false(exists(to, "z~"));
        }
}

static void test_unpack_refuses(void **state) {
        static const struct {
                Entry entries[3];
                const char *file, *message;
        } rows[] = {
                { { FILE_ENTRY("../x", "a") }, "../x", "a path that leaves the bundle" },
                { { FILE_ENTRY("/tmp/x", "a") }, "/tmp/x", "a path that leaves the bundle" },
                { { FILE_ENTRY("a/../../x", "a") }, "a/../../x", "a path that leaves the bundle" },
                { { FILE_ENTRY("a\nb", "a") }, "a?b", "control characters" },
                { { LINK_ENTRY("l", "/etc/passwd") }, "l", "may leave the bundle" },
                { { LINK_ENTRY("l", "..") }, "l", "may leave the bundle" },
                { { LINK_ENTRY("l", "a/../..") }, "l", "may leave the bundle" },
                /* through a link that is there already, inside or not */
                { { LINK_ENTRY("l", "d"), FILE_ENTRY("l/x", "a") }, "l/x", "no directory" },
                { { DIRECTORY_ENTRY("d"), LINK_ENTRY("l", "d"), FILE_ENTRY("l/x", "a") }, "l/x", "no directory" },
                { { LINK_ENTRY("l", "d"), DIRECTORY_ENTRY("l") }, "l", "no directory" },
                { { LINK_ENTRY("l", "d"), FILE_ENTRY("l", "a") }, "l", "a second time" },
                { { FILE_ENTRY("f", "a"), FILE_ENTRY("f", "b") }, "f", "a second time" },
                { { FILE_ENTRY("f", "a"), FILE_ENTRY("./f", "b") }, "f", "a second time" },
                { { FILE_ENTRY("f", "a"), LINK_ENTRY("f", "b") }, "f", "a second time" },
                { { FILE_ENTRY("f", "a"), FILE_ENTRY("f/x", "b") }, "f/x", "no directory" },
                { { FILE_ENTRY("f", "a"), DIRECTORY_ENTRY("f") }, "f", "no directory" },
                { { FILE_ENTRY("f", "a"), { .name = "h", .type = AE_IFREG, .perm = 0644, .hard_link = "f" } }, "h", "a hard link" },
                { { { .name = "h", .type = AE_IFREG, .perm = 0644, .hard_link = "/etc/passwd" } }, "h", "a hard link" },
                { { { .name = "n", .type = AE_IFCHR, .perm = 0644 } }, "n", "a device" },
                { { { .name = "n", .type = AE_IFBLK, .perm = 0644 } }, "n", "a device" },
                { { { .name = "n", .type = AE_IFIFO, .perm = 0644 } }, "n", "a device" },
                { { { .name = "s", .type = AE_IFREG, .perm = 04755, .data = "" } }, "s", "set-user-ID" },
                { { { .name = "s", .type = AE_IFREG, .perm = 02755, .data = "" } }, "s", "set-group-ID" },
        };
        Directory *d = *state;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_(problems_done) Problems problems = {};
                _cleanup_(closep) int fd = -EBADF, to = -EBADF;
                char name[16];
                size_t n = 0;

                (void) snprintf(name, sizeof(name), "%zu", i);
                assert_int_equal(mkdirat(d->to, name, 0755), 0);
                to = openat(d->to, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                while (n < ELEMENTSOF(rows[i].entries) && rows[i].entries[n].name)
                        n++;
                archive_entries(rows[i].entries, n, "pax", NULL, &fd);
                assert_int_equal(bundle_unpack(fd, to, &problems), -EBADMSG);
                assert_int_equal(problems.n, 1);
                assert_problem(&problems, rows[i].file, rows[i].message);
        }
        assert_false(exists(d->to, "x"));
        assert_false(exists(d->from, "x"));
}

static void test_unpack_links_are_not_followed(void **state) {
        static const Entry entries[] = { FILE_ENTRY("l/x", "a"), FILE_ENTRY("f", "a") };
        _cleanup_(problems_done) Problems problems = {};
        _cleanup_(closep) int fd = -EBADF;
        Directory *d = *state;

        /* even if another put them there */
        assert_int_equal(symlinkat("../from", d->to, "l"), 0);
        assert_int_equal(symlinkat("../from/f", d->to, "f"), 0);
        archive_entries(entries, ELEMENTSOF(entries), "ustar", NULL, &fd);
        assert_int_equal(bundle_unpack(fd, d->to, &problems), -EBADMSG);
        assert_int_equal(problems.n, 2);
        assert_false(exists(d->from, "x"));
        assert_false(exists(d->from, "f"));
}

static void test_unpack_limits(void **state) {
        _cleanup_(problems_done) Problems problems = {};
        _cleanup_(freep) Entry *many = calloc(BUNDLE_ENTRIES_MAX + 2, sizeof(Entry));
        _cleanup_(closep) int fd = -EBADF, large = -EBADF;
        Directory *d = *state;
        static const Entry one[] = { FILE_ENTRY("large", "") };
        unsigned char header[512];
        unsigned sum = 0;

        /* a header that promises one byte more than a bundle may have: size in octal at 124, checksum at 148 */
        archive_entries(one, 1, "ustar", NULL, &large);
        assert_int_equal(pread(large, header, sizeof(header), 0), sizeof(header));
        memcpy(header + 124, "10000000001", 12);
        memset(header + 148, ' ', 8);
        for (size_t i = 0; i < sizeof(header); i++)
                sum += header[i];
        (void) snprintf((char *) header + 148, 8, "%06o", sum);
        assert_int_equal(pwrite(large, header, sizeof(header), 0), sizeof(header));
        assert_int_equal(bundle_unpack(large, d->to, &problems), -EBADMSG);
        assert_int_equal(problems.n, 1);
        assert_problem(&problems, "large", "larger than 1 GiB");
        assert_false(exists(d->to, "large"));
        problems_done(&problems);

        /* only the last few are made, the last of them one too many: 65536 directories take a disk its time */
        for (unsigned i = 0; i < BUNDLE_ENTRIES_MAX + 1; i++) {
                static char names[3][16] = { "a", "b", "c/d" };

                many[i] = (Entry) DIRECTORY_ENTRY(i < BUNDLE_ENTRIES_MAX - 2 ? "./" : names[i + 2 - BUNDLE_ENTRIES_MAX]);
        }
        archive_entries(many, BUNDLE_ENTRIES_MAX + 1, "ustar", "gzip", &fd);
        assert_int_equal(bundle_unpack(fd, d->to, &problems), -EBADMSG);
        assert_int_equal(problems.n, 1);
        assert_problem(&problems, "c/d", "more than 65536 files");
        assert_true(exists(d->to, "b"));
}

/* A small archive is no endless work: what is refused or left out is counted too. */
static void test_unpack_limits_of_what_is_not_kept(void **state) {
        static const char *const names[] = { "../x", ".git/x", "./" };
        static const char *const messages[] = { "more problems", "more than 65536 files", "more than 65536 files" };
        Directory *d = *state;

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                _cleanup_(freep) Entry *many = calloc(BUNDLE_ENTRIES_MAX + 1, sizeof(Entry));
                _cleanup_(problems_done) Problems problems = {};
                _cleanup_(closep) int fd = -EBADF;

                for (unsigned j = 0; j < BUNDLE_ENTRIES_MAX + 1; j++)
                        many[j] = (Entry) { .name = names[i], .type = i == 2 ? AE_IFDIR : AE_IFREG, .perm = 0755 };
                archive_entries(many, BUNDLE_ENTRIES_MAX + 1, "ustar", "gzip", &fd);
                assert_int_equal(bundle_unpack(fd, d->to, &problems), -EBADMSG);
                assert_problem(&problems, NULL, messages[i]);
        }
}

static void test_unpack_no_archive(void **state) {
        static const char *const texts[] = { "", "not a tar", "\x1f\x8b\x08", "PK\x03\x04" };
        Directory *d = *state;

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_(problems_done) Problems problems = {};
                _cleanup_(closep) int fd = memfd_create("test", MFD_CLOEXEC);

                assert_int_equal(write(fd, texts[i], strlen(texts[i])), strlen(texts[i]));
                assert_int_equal(bundle_unpack(fd, d->to, &problems), -EBADMSG);
                assert_problem(&problems, NULL, "as a tar archive");
        }
        /* what cannot be read is no problem of the archive */
        _cleanup_(problems_done) Problems problems = {};
        assert_int_equal(bundle_unpack(d->from, d->to, &problems), -EISDIR);
        assert_int_equal(problems.n, 0);
}

static void test_unpack_from_pipe_and_cut(void **state) {
        static const Entry entries[] = { FILE_ENTRY("a", "some text"), FILE_ENTRY("b", "more text") };
        _cleanup_(closep) int fd = -EBADF, cut = -EBADF;
        _cleanup_(problems_done) Problems problems = {};
        Directory *d = *state;
        char buffer[4096];
        int pipe_fd[2];
        ssize_t n;

        archive_entries(entries, ELEMENTSOF(entries), "ustar", NULL, &fd);
        n = pread(fd, buffer, sizeof(buffer), 0);
        assert_true(n > 2000);
        assert_int_equal(pipe2(pipe_fd, O_CLOEXEC), 0);
        assert_int_equal(write(pipe_fd[1], buffer, (size_t) n), n);
        (void) close(pipe_fd[1]);
        assert_int_equal(bundle_unpack(pipe_fd[0], d->to, &problems), 0);
        (void) close(pipe_fd[0]);
        assert_file(d->to, "b", "more text", 0644);

        cut = memfd_create("test", MFD_CLOEXEC);
        assert_int_equal(write(cut, buffer, 512 + 4), 516);
        assert_int_equal(bundle_unpack(cut, d->from, &problems), -EBADMSG);
        assert_problem(&problems, NULL, "as a tar archive");
}

#define DIRECTORY_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        static const struct CMUnitTest tests[] = {
                DIRECTORY_TEST(test_round_trip),
                DIRECTORY_TEST(test_deterministic),
                DIRECTORY_TEST(test_pack_refuses),
                cmocka_unit_test(test_links),
                DIRECTORY_TEST(test_unpack_good),
                DIRECTORY_TEST(test_unpack_refuses),
                DIRECTORY_TEST(test_unpack_links_are_not_followed),
                DIRECTORY_TEST(test_unpack_limits),
                DIRECTORY_TEST(test_unpack_limits_of_what_is_not_kept),
                DIRECTORY_TEST(test_unpack_no_archive),
                DIRECTORY_TEST(test_unpack_from_pipe_and_cut),
        };
        (void) umask(022);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
