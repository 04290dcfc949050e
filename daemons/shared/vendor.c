/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vendor.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "bundle.h"
#include "config.h"
#include "machine-code.h"
#include "path.h"

typedef struct Check {
        Problems *problems;
        bool bad;
        unsigned entries, depth;
        char path[BUNDLE_PATH_MAX + 1 + 256 + 1]; /* of the file at hand, in the bundle */
} Check;

static int read_machine_code(int dir_fd, const char *path, uint64_t resolve, MachineCode *ret) {
        _cleanup_(closep) int fd = open_beneath(dir_fd, path, O_RDONLY, 0, resolve);
        uint8_t head[MACHINE_CODE_HEAD];
        ssize_t n;

        if (fd < 0)
                return fd;
        n = pread(fd, head, sizeof(head), 0);
        return n < 0 ? -errno : machine_code_read(head, (size_t) n, ret);
}

/* What can't be read is not ours to complain of: packing and the look for handlers do. */
static int check_machine(Check *c, int dir_fd, const char *name, uint64_t resolve) {
        MachineCode found, native = machine_code_native();
        char a[64], b[64];

        if (read_machine_code(dir_fd, name, resolve, &found) <= 0 || machine_code_equal(found, native))
                return 0;
        c->bad = true;
        return problems_add(c->problems, c->path, NULL, 0, "found code for %s, expected %s, as this host is",
                            machine_code_to_string(found, a), machine_code_to_string(native, b));
}

/* "_x" and "cpython-311-x86_64-linux-gnu" of "_x.cpython-311-x86_64-linux-gnu.so": the tag of an extension module that
 * no other Python loads (PEP 3149). 0: the name has none. */
static size_t python_tag(const char *name, char tag[static 256]) {
        static const char *const pythons[] = { "cpython-", "pypy", "graalpy" };
        const char *dot = strchr(name, '.'), *end = dot ? strrchr(name, '.') : NULL;

        if (!end || end == dot || !streq(end, ".so") || (size_t) (end - dot) > 255)
                return 0;
        (void) snprintf(tag, 256, "%.*s", (int) (end - dot - 1), dot + 1);
        for (size_t i = 0; i < ELEMENTSOF(pythons); i++)
                if (startswith(tag, pythons[i]))
                        return (size_t) (dot - name);
        return 0;
}

/* Whether the host's Python finds the same module in another file beside. */
static bool has_alternative(int dir_fd, const char *name, size_t stem) {
        static const char *const suffixes[] = { "." PYTHON_ABI ".so", ".abi3.so", ".so", ".py" };

        for (size_t i = 0; i < ELEMENTSOF(suffixes); i++) {
                char path[512];

                (void) snprintf(path, sizeof(path), "%.*s%s", (int) stem, name, suffixes[i]);
                if (faccessat(dir_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) >= 0)
                        return true;
        }
        return false;
}

static int check_file(Check *c, int dir_fd, const char *name) {
        size_t stem = 0;
        char tag[256];

        if (startswith(c->path, VENDOR_PYTHON "/"))
                stem = python_tag(name, tag);
        if (stem == 0 || streq(tag, PYTHON_ABI))
                return check_machine(c, dir_fd, name, RESOLVE_NO_SYMLINKS);
        if (has_alternative(dir_fd, name, stem))
                return 0;
        c->bad = true;
        return problems_add(c->problems, c->path, NULL, 0,
                            "found a Python module for %s, expected one for " PYTHON_ABI ", as this host's Python is", tag);
}

static void closedirp(DIR **d) {
        if (*d)
                (void) closedir(*d);
}

static int check_directory(Check *c, int fd);

static int check_entry(Check *c, int dir_fd, const char *name) {
        struct stat st;
        int fd;

        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return 0;
        if (S_ISREG(st.st_mode))
                return check_file(c, dir_fd, name);
        if (!S_ISDIR(st.st_mode) || c->depth >= BUNDLE_DEPTH_MAX)
                return 0;
        fd = open_beneath(dir_fd, name, O_RDONLY | O_DIRECTORY, 0, RESOLVE_NO_SYMLINKS);
        return fd < 0 ? 0 : check_directory(c, fd);
}

/* Takes `fd`. */
static int check_directory(Check *c, int fd) {
        _cleanup_(closedirp) DIR *d = fdopendir(fd);
        size_t l = strlen(c->path);
        struct dirent *e;
        int r = 0;

        if (!d) {
                r = -errno;
                (void) safe_close(fd);
                return r;
        }
        c->depth++;
        while (r >= 0 && (e = readdir(d)) && c->entries++ < BUNDLE_ENTRIES_MAX) {
                if (streq(e->d_name, ".") || streq(e->d_name, "..") || bundle_leaves_out(e->d_name) ||
                    l + 1 + strlen(e->d_name) >= sizeof(c->path))
                        continue;
                (void) snprintf(c->path + l, sizeof(c->path) - l, "/%s", e->d_name);
                r = check_entry(c, dirfd(d), e->d_name);
                c->path[l] = 0;
        }
        c->depth--;
        return r;
}

/* A program or shared object of the bundle, else NULL. */
static const char *handler_file(const FunctionSpec *f) {
        if (f->runtime == RUNTIME_NATIVE || (f->runtime == RUNTIME_EXEC && strchr(f->handler[0], '/')))
                return f->handler[0];
        return NULL;
}

static int check_handlers(Check *c, int dir_fd, const Manifest *m) {
        int r = 0;

        for (size_t i = 0; i < m->n_functions && r >= 0; i++) {
                const FunctionSpec *f = m->functions + i;
                const char *file = handler_file(f);

                if (!file || startswith(file, VENDOR_DIR "/"))
                        continue;
                (void) snprintf(c->path, sizeof(c->path), "%s", file);
                if (f->runtime == RUNTIME_NATIVE)
                        *strrchr(c->path, ':') = 0; /* the symbol */
                r = check_machine(c, dir_fd, c->path, 0);
        }
        return r;
}

int vendor_check(int dir_fd, const Manifest *m, Problems *problems) {
        Check c = { .problems = problems };
        int fd, r = 0;

        assert(dir_fd >= 0);
        assert(problems);

        if (m)
                r = check_handlers(&c, dir_fd, m);
        fd = r >= 0 ? open_beneath(dir_fd, VENDOR_DIR, O_RDONLY | O_DIRECTORY, 0, 0) : -EBADF;
        if (fd >= 0) {
                strcpy(c.path, VENDOR_DIR);
                r = check_directory(&c, fd);
        }
        return r < 0 ? r : c.bad ? -EBADMSG : 0;
}
