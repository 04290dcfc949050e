/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sandctl build: makes what a bundle is to hold beside what its author writes. The command "build" of sand.json, then
 * vendor/python from requirements.txt, which is filled aside and takes the old one's place when all of it is there. */

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "bundle.h"
#include "config.h"
#include "path.h"
#include "sandctl.h"
#include "sandctl-dev.h"
#include "vendor.h"

#define REQUIREMENTS "requirements.txt"
#define WHEELS "wheels"
/* In vendor/python: what it was made from. */
#define STAMP ".sand-build"
#define STAMP_MAX 256U
#define REQUIREMENTS_MAX (4U * 1024U * 1024U)

typedef struct Build {
        const char *dir;
        int dir_fd;
        bool offline;       /* there is a folder of wheels */
        char *requirements; /* the text; NULL: none */
} Build;

static void build_done(Build *b) {
        safe_close(b->dir_fd);
        free(b->requirements);
}

/* ---- programs ---- */

_noreturn_ static void become(int dir_fd, char *const *argv) {
        (void) signal(SIGINT, SIG_DFL);
        (void) signal(SIGQUIT, SIG_DFL);
        /* What else a user has told pip holds, such as where packages come from. */
        (void) setenv("PIP_USER", "0", 1);
        (void) setenv("PIP_REQUIRE_VIRTUALENV", "0", 1);
        if (fchdir(dir_fd) >= 0)
                (void) execvp(argv[0], argv);
        (void) fail_errno(-errno, "%s: %m", argv[0]);
        _exit(127);
}

/* With our standard streams, in the bundle's folder. Its exit status, as a shell would say it. */
static int run(int dir_fd, char *const *argv) {
        int status = 0;
        pid_t pid;

        /* Ctrl-C is for it; we learn of it by its end, and clean up. */
        (void) signal(SIGINT, SIG_IGN);
        (void) signal(SIGQUIT, SIG_IGN);
        pid = fork();
        if (pid == 0)
                become(dir_fd, argv);
        while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        (void) signal(SIGINT, SIG_DFL);
        (void) signal(SIGQUIT, SIG_DFL);
        if (pid < 0)
                return fail_errno(-errno, "Failed to fork: %m");
        return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int run_command(const Build *b, char *const *argv) {
        int status = run(b->dir_fd, argv);

        if (status > 128 && sigabbrev_np(status - 128))
                (void) fail(SAND_ERROR_FUNCTION_FAILED, "%s: \"%s\" was killed by SIG%s.", b->dir, argv[0],
                            sigabbrev_np(status - 128));
        else if (status != 0)
                (void) fail(SAND_ERROR_FUNCTION_FAILED, "%s: \"%s\" exited with status %d.", b->dir, argv[0], status);
        return status;
}

/* ---- the stamp ---- */

/* Where other files and addresses are named, nobody can tell whether what they lead to is the same. A line that goes
 * on with "--hash=..." names none. */
static bool is_self_contained(const char *requirements) {
        for (const char *line = requirements; line; line = strchr(line, '\n')) {
                size_t l;

                line += strspn(line, "\n \t\r");
                l = strcspn(line, "\n#");
                if (*line == '.' || memchr(line, '/', l) || (*line == '-' && !startswith(line, "--hash")))
                        return false;
                line += l;
        }
        return true;
}

static int hash_text(const char *text, char ret[static BUNDLE_HASH_LENGTH + 1]) {
        uint8_t digest[BUNDLE_HASH_LENGTH / 2];

        if (gnutls_hash_fast(GNUTLS_DIG_SHA256, text, strlen(text), digest) < 0)
                return -EIO;
        for (size_t i = 0; i < sizeof(digest); i++)
                (void) snprintf(ret + 2 * i, 3, "%02x", digest[i]);
        return 0;
}

static int make_stamp(const Build *b, char ret[static STAMP_MAX]) {
        char text[BUNDLE_HASH_LENGTH + 1], wheels[BUNDLE_HASH_LENGTH + 1] = "-";
        int r;

        r = hash_text(b->requirements, text);
        if (r >= 0 && b->offline) {
                _cleanup_(closep) int fd = open_beneath(b->dir_fd, WHEELS, O_RDONLY | O_DIRECTORY, 0, 0);

                r = fd < 0 ? fd : bundle_hash(fd, wheels);
        }
        (void) snprintf(ret, STAMP_MAX, PYTHON_ABI " %s %s\n", text, wheels);
        return r;
}

static int read_text(int dir_fd, const char *path, size_t max, char **ret) {
        _cleanup_(closep) int fd = open_beneath(dir_fd, path, O_RDONLY, 0, 0);
        _cleanup_(freep) char *text = malloc(max + 1);
        size_t size = 0;
        ssize_t n;

        if (fd < 0)
                return fd;
        if (!text)
                return -ENOMEM;
        while ((n = read(fd, text + size, max - size)) > 0)
                size += (size_t) n;
        if (n < 0)
                return -errno;
        if (size == max)
                return -EFBIG;
        text[size] = 0;
        *ret = TAKE_PTR(text);
        return 0;
}

static bool is_up_to_date(const Build *b, const char *stamp) {
        _cleanup_(freep) char *old = NULL;

        return is_self_contained(b->requirements) &&
               read_text(b->dir_fd, VENDOR_PYTHON "/" STAMP, STAMP_MAX, &old) >= 0 && streq(old, stamp);
}

static int write_stamp(const char *dir, const char *stamp) {
        _cleanup_(freep) char *path = NULL;
        FILE *f;

        if (asprintf(&path, "%s/" STAMP, dir) < 0)
                return -ENOMEM;
        f = fopen(path, "wxe");
        if (!f)
                return -errno;
        (void) fputs(stamp, f);
        return fclose(f) != 0 ? -errno : 0;
}

/* ---- vendor/python ---- */

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path);
}

/* Owns the folder's name; the folder goes with it. */
static void remove_treep(char **path) {
        if (*path)
                (void) nftw(*path, remove_entry, 8, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
        free(*path);
}

/* What was there before is at `path` then, if something was. */
static int exchange(const Build *b, const char *path) {
        _cleanup_(freep) char *target = NULL, *aside = NULL;

        if (mkdirat(b->dir_fd, VENDOR_DIR, 0777) < 0 && errno != EEXIST)
                return -errno;
        if (asprintf(&target, "%s/" VENDOR_PYTHON, b->dir) < 0 || asprintf(&aside, "%s~", path) < 0)
                return -ENOMEM;
        if (renameat2(AT_FDCWD, path, AT_FDCWD, target, RENAME_NOREPLACE) >= 0 ||
            (errno == EEXIST && renameat2(AT_FDCWD, path, AT_FDCWD, target, RENAME_EXCHANGE) >= 0))
                return 0;
        if (errno != EINVAL)
                return -errno;
        /* A file system that can do neither. */
        if (rename(target, aside) < 0 && errno != ENOENT)
                return -errno;
        if (rename(path, target) < 0) {
                int r = -errno;
                (void) rename(aside, target);
                return r;
        }
        return rename(aside, path) < 0 && errno != ENOENT ? -errno : 0;
}

/* -I: of the bundle's modules, and of what is in the user's home, nothing is Python's own business. */
static int pip_install(const Build *b, const char *target) {
        const char *argv[24] = {
                PYTHON_PROGRAM, "-I", "-m", "pip", "install", "--disable-pip-version-check", "--no-input",
                "--no-compile", "--no-warn-script-location", "--target", target, "--requirement", REQUIREMENTS,
        };
        size_t n = 13;

        if (geteuid() == 0)
                argv[n++] = "--root-user-action=ignore";
        if (arg_quiet)
                argv[n++] = "--quiet";
        if (b->offline) {
                argv[n++] = "--no-index";
                argv[n++] = "--find-links";
                argv[n++] = WHEELS;
        }
        argv[n] = NULL;
        return run(b->dir_fd, (char *const *) argv);
}

static bool pip_is_there(const Build *b) {
        static const char *const argv[] = {
                PYTHON_PROGRAM, "-I", "-c",
                "import importlib.util, sys; sys.exit(importlib.util.find_spec('pip') is None)", NULL,
        };

        return access(PYTHON_PROGRAM, X_OK) >= 0 && run(b->dir_fd, (char *const *) argv) == 0;
}

static int fill_vendor(const Build *b) {
        _cleanup_(remove_treep) char *path = NULL;
        char stamp[STAMP_MAX];
        int r;

        r = make_stamp(b, stamp);
        if (r < 0)
                return fail_errno(r, "%s: failed to read " REQUIREMENTS " or " WHEELS ": %s", b->dir, strerror(-r));
        if (is_up_to_date(b, stamp)) {
                say("%s: " VENDOR_PYTHON " is up to date", b->dir);
                return 0;
        }
        if (!pip_is_there(b))
                return fail(SAND_ERROR_UNAVAILABLE, "%s has " REQUIREMENTS ", which pip of " PYTHON_PROGRAM
                                                    " installs; it is not there: apt install python3-pip", b->dir);
        /* A name that is no part of a bundle, and that "sandctl run" does not look at. */
        if (asprintf(&path, "%s/.#sand-build-XXXXXX", b->dir) < 0) {
                path = NULL;
                return fail_errno(-ENOMEM, "Out of memory.");
        }
        if (!mkdtemp(path)) {
                r = -errno;
                free(TAKE_PTR(path));
                return fail_errno(r, "%s: failed to make a folder: %s", b->dir, strerror(-r));
        }
        r = pip_install(b, strrchr(path, '/') + 1);
        if (r != 0)
                return fail(SAND_ERROR_FUNCTION_FAILED, "%s: pip did not install what " REQUIREMENTS " names%s; "
                            VENDOR_PYTHON " is as it was.", b->dir, b->offline ? " from " WHEELS : "");
        if (chmod(path, 0755) < 0)
                r = -errno;
        if (r >= 0)
                r = write_stamp(path, stamp);
        if (r >= 0)
                r = exchange(b, path);
        if (r < 0)
                return fail_errno(r, "%s: failed to put " VENDOR_PYTHON " in its place: %s", b->dir, strerror(-r));
        say("%s: " VENDOR_PYTHON " is filled", b->dir);
        return 0;
}

static int nothing_to_do(const Build *b) {
        say("%s: nothing to build: sand.json has no \"build\", and there is no " REQUIREMENTS "%s", b->dir,
            b->offline ? " that would say what of " WHEELS " to install" : "");
        return 0;
}

int verb_build(int argc, char **argv) {
        _cleanup_(build_done) Build b = { .dir = argc > 0 ? argv[0] : ".", .dir_fd = -EBADF };
        _cleanup_(manifest_freep) Manifest *m = NULL;
        struct stat st;
        int r;

        if (arg_host)
                return fail(SAND_ERROR_USAGE, "A bundle is built where it is; leave --host out.");
        b.dir_fd = open(b.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (b.dir_fd < 0)
                return fail_errno(-errno, "%s: %m", b.dir);
        r = bundle_read(b.dir, b.dir_fd, false, &m); /* its files may be yet to be made */
        if (r == 0 && m->build)
                r = run_command(&b, m->build);
        if (r != 0)
                return r;
        r = read_text(b.dir_fd, REQUIREMENTS, REQUIREMENTS_MAX, &b.requirements);
        if (r < 0 && r != -ENOENT)
                return fail_errno(r, "%s/" REQUIREMENTS ": %s", b.dir, strerror(-r));
        b.offline = fstatat(b.dir_fd, WHEELS, &st, 0) >= 0 && S_ISDIR(st.st_mode);
        if (b.requirements)
                return fill_vendor(&b);
        return m->build ? 0 : nothing_to_do(&b);
}
