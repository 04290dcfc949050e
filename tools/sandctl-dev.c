/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sandctl-dev.h"

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "catalogue.h"
#include "config.h"
#include "sandctl.h"

#define STOP_TIMEOUT_MSEC 3000

/* The build directory holds all programs beside each other; an installation has them in LIBEXECDIR. */
static int program_path(const char *name, char **ret) {
        char self[PATH_MAX];
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
        char *slash, *path;

        if (n > 0) {
                self[n] = '\0';
                slash = strrchr(self, '/');
                if (asprintf(&path, "%.*s/%s", (int) (slash - self), self, name) < 0)
                        return -ENOMEM;
                if (access(path, X_OK) >= 0) {
                        *ret = path;
                        return 0;
                }
                free(path);
        }
        return asprintf(ret, "%s/%s", LIBEXECDIR, name) < 0 ? -ENOMEM : 0;
}

/* In the child: descriptors 3... are exactly `fds`, whatever they were. */
static int pass_fds(const int *fds, int n) {
        int copies[2];
        char text[16];

        for (int i = 0; i < n; i++) {
                copies[i] = fcntl(fds[i], F_DUPFD, 3 + n);
                if (copies[i] < 0)
                        return -errno;
        }
        for (int i = 0; i < n; i++)
                if (dup2(copies[i], 3 + i) < 0)
                        return -errno;
        if (close_range((unsigned) (3 + n), ~0U, 0) < 0)
                return -errno;
        (void) snprintf(text, sizeof(text), "%d", n);
        if (setenv("LISTEN_FDS", text, 1) < 0)
                return -errno;
        (void) snprintf(text, sizeof(text), "%d", (int) getpid());
        return setenv("LISTEN_PID", text, 1) < 0 ? -errno : 0;
}

static int child_setup(pid_t parent, int death_signal, const int *fds, int n_fds, int output,
                       const char *log_level) {
        static const char *const not_ours[] = {
                "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDNAMES",
        };
        int null;

        /* A process group of its own: the terminal's Ctrl-C is sandctl's, which ends it in order. */
        if (setpgid(0, 0) < 0 || prctl(PR_SET_PDEATHSIG, death_signal) < 0)
                return -errno;
        if (getppid() != parent)
                return -ESRCH;
        null = open("/dev/null", O_RDONLY);
        if (null < 0 || dup2(null, STDIN_FILENO) < 0 ||
            dup2(output >= 0 ? output : STDERR_FILENO, STDERR_FILENO) < 0 ||
            dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
                return -errno;
        for (size_t i = 0; i < ELEMENTSOF(not_ours); i++)
                (void) unsetenv(not_ours[i]);
        if (setenv("SAND_LOG_LEVEL", log_level, 0) < 0)
                return -errno;
        return pass_fds(fds, n_fds);
}

static int spawn(const char *program, char *const *argv, int death_signal, const int *fds, int n_fds,
                 int output, const char *log_level, pid_t *ret) {
        _cleanup_(freep) char *path = NULL;
        pid_t parent = getpid(), pid;
        sigset_t none;
        int r;

        r = program_path(program, &path);
        if (r < 0)
                return fail_errno(r, "Out of memory.");
        if (access(path, X_OK) < 0)
                return fail(SAND_ERROR_UNAVAILABLE, "%s: %m", path);
        pid = fork();
        if (pid < 0)
                return fail_errno(-errno, "Failed to fork: %m");
        if (pid == 0) {
                r = child_setup(parent, death_signal, fds, n_fds, output, log_level);
                if (r >= 0) {
                        (void) sigemptyset(&none);
                        (void) sigprocmask(SIG_SETMASK, &none, NULL);
                        (void) execv(path, argv);
                        r = -errno;
                }
                (void) fail_errno(r, "Failed to start %s: %s", path, strerror(-r));
                _exit(EXIT_FAILURE);
        }
        *ret = pid;
        return 0;
}

int dev_start_supervisor(Dev *d, int output, const char *log_level) {
        const int fds[] = { d->app_fd, d->control_fd };
        char *argv[] = { (char *) "sand-supervisord", (char *) "--run", d->dir, NULL };

        return spawn("sand-supervisord", argv, SIGINT, fds, 2, output, log_level, &d->supervisor);
}

int dev_start_gateway(Dev *d, int listen_fd) {
        _cleanup_(freep) char *catalogue = NULL, *sockets = NULL;

        if (asprintf(&catalogue, "%s/catalogue", d->tmp) < 0 || asprintf(&sockets, "%s/app", d->tmp) < 0)
                return fail_errno(-ENOMEM, "Out of memory.");
        /* What the host's gateway asks of its clients, tokens perhaps, is not asked here. */
        char *argv[] = {
                (char *) "sand-gatewayd", (char *) "--catalogue", catalogue, (char *) "--app-sockets", sockets,
                (char *) "--config", (char *) "/dev/null", (char *) "--quiet", NULL,
        };
        return spawn("sand-gatewayd", argv, SIGTERM, &listen_fd, 1, -1, "notice", &d->gateway);
}

/* Ends and reaps one child. It may have been reaped already: then waitid() says so. */
static void stop(pid_t *pid, int sig) {
        _cleanup_(closep) int fd = -EBADF;
        siginfo_t si;

        if (*pid <= 0)
                return;
        fd = pidfd_open(*pid, 0);
        if (fd >= 0) {
                struct pollfd p = { .fd = fd, .events = POLLIN };

                (void) pidfd_send_signal(fd, sig, NULL, 0);
                if (poll(&p, 1, STOP_TIMEOUT_MSEC) == 0)
                        (void) pidfd_send_signal(fd, SIGKILL, NULL, 0);
                (void) waitid(P_PIDFD, (id_t) fd, &si, WEXITED);
        }
        *pid = 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        (void) remove(path);
        return 0;
}

static int keep(const char *tmp, int fd) {
        sigset_t all;
        char c;

        /* What ends the others does not end it, and it holds nothing that is theirs. */
        (void) sigfillset(&all);
        (void) sigprocmask(SIG_SETMASK, &all, NULL);
        (void) setsid();
        (void) dup2(fd, STDIN_FILENO);
        (void) close_range(STDIN_FILENO + 1, ~0U, 0);
        while (read(STDIN_FILENO, &c, 1) < 0 && errno == EINTR)
                ;
        (void) nftw(tmp, remove_entry, 8, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
        return EXIT_SUCCESS;
}

static int start_keeper(Dev *d) {
        int fds[2], r;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        d->keeper = fork();
        if (d->keeper == 0) {
                (void) close(fds[1]);
                _exit(keep(d->tmp, fds[0]));
        }
        r = d->keeper < 0 ? -errno : 0;
        if (r < 0)
                (void) rmdir(d->tmp);
        (void) close(fds[0]);
        d->keeper_fd = fds[1];
        return r;
}

Dev *dev_free(Dev *d) {
        if (!d)
                return NULL;
        stop(&d->gateway, SIGTERM);
        stop(&d->supervisor, d->interrupted ? SIGINT : SIGTERM);
        safe_close(d->app_fd);
        safe_close(d->control_fd);
        safe_close(d->catalogue_fd);
        safe_close(d->dir_fd);
        safe_close(d->keeper_fd);
        if (d->keeper > 0)
                (void) waitpid(d->keeper, NULL, 0);
        free(d->dir);
        free(d->name);
        free(d->tmp);
        free(d->app_socket);
        free(d->control_socket);
        free(d);
        return NULL;
}

static int listen_unix(const char *path, int *ret_fd) {
        _cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        struct sockaddr_un sa = { .sun_family = AF_UNIX };

        if (fd < 0)
                return -errno;
        if (strlen(path) >= sizeof(sa.sun_path))
                return -ENAMETOOLONG;
        strcpy(sa.sun_path, path);
        if (bind(fd, (struct sockaddr *) &sa, sizeof(sa)) < 0 || listen(fd, SOMAXCONN) < 0)
                return -errno;
        *ret_fd = TAKE_FD(fd);
        return 0;
}

/* mkdtemp() makes it 0700: nobody else reaches the sockets. */
static int make_places(Dev *d) {
        _cleanup_(freep) char *template = NULL;
        static const char *const names[] = { "app", "control", "catalogue" };
        int r;

        if (asprintf(&template, "%s/sand-run-XXXXXX", getenv("TMPDIR") ?: "/tmp") < 0)
                return -ENOMEM;
        if (!mkdtemp(template))
                return -errno;
        d->tmp = TAKE_PTR(template);
        r = start_keeper(d);
        if (r < 0)
                return r;
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                _cleanup_(freep) char *path = NULL;

                if (asprintf(&path, "%s/%s", d->tmp, names[i]) < 0)
                        return -ENOMEM;
                if (mkdir(path, 0700) < 0)
                        return -errno;
                if (i == 2)
                        d->catalogue_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        }
        if (d->catalogue_fd < 0)
                return -errno;
        if (asprintf(&d->app_socket, "%s/app/%s.sock", d->tmp, d->name) < 0 ||
            asprintf(&d->control_socket, "%s/control/%s.control", d->tmp, d->name) < 0)
                return -ENOMEM;
        r = listen_unix(d->app_socket, &d->app_fd);
        return r < 0 ? r : listen_unix(d->control_socket, &d->control_fd);
}

int dev_publish(Dev *d, const Manifest *m) {
        return catalogue_publish(d->catalogue_fd, m, d->name, "dev", "dev", 0);
}

/* As a deployment does. The supervisor finds the directory in its environment. */
static int check_credentials(const Manifest *m) {
        const char *dir;

        if (arg_credentials && setenv("CREDENTIALS_DIRECTORY", arg_credentials, 1) < 0)
                return fail_errno(-errno, "Out of memory.");
        dir = getenv("CREDENTIALS_DIRECTORY");
        for (char **c = m->credentials; c && *c; c++) {
                _cleanup_(freep) char *path = NULL;

                if (!dir)
                        return fail(SAND_ERROR_INVALID_BUNDLE, "The functions read the secret \"%s\"; say by --credentials=DIR where a "
                                    "file of that name is.", *c);
                if (asprintf(&path, "%s/%s", dir, *c) < 0)
                        return fail_errno(-ENOMEM, "Out of memory.");
                if (access(path, R_OK) < 0)
                        return fail(SAND_ERROR_INVALID_BUNDLE, "The functions read the secret \"%s\"; %s: %m", *c, path);
        }
        return 0;
}

/* From the folder functions have the developer's own directories, and nothing is mounted. */
static void mounts_warn(const Manifest *m) {
        for (size_t i = 0; i < m->n_mounts; i++)
                if (access(m->mounts[i].at, R_OK | X_OK | (m->mounts[i].write ? W_OK : 0)) < 0)
                        say("%s: functions find no %s here, where %s is once it is deployed: %m", m->name, m->mounts[i].at,
                            m->mounts[i].host);
}

int dev_new(const char *dir, Dev **ret, Manifest **ret_manifest) {
        _cleanup_(manifest_freep) Manifest *m = NULL;
        _cleanup_(dev_freep) Dev *d = calloc(1, sizeof(Dev));
        int r;

        if (!d)
                return fail_errno(-ENOMEM, "Out of memory.");
        d->dir_fd = d->app_fd = d->control_fd = d->catalogue_fd = d->keeper_fd = -EBADF;
        d->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (d->dir_fd < 0)
                return fail_errno(-errno, "%s: %m", dir);
        r = bundle_check(dir, d->dir_fd, &m);
        if (r != 0)
                return r;
        r = check_credentials(m);
        if (r != 0)
                return r;
        packages_warn(m);
        mounts_warn(m);
        d->dir = realpath(dir, NULL);
        d->name = strdup(m->name);
        if (!d->dir || !d->name)
                return fail_errno(-ENOMEM, "Out of memory.");
        r = make_places(d);
        if (r >= 0)
                r = dev_publish(d, m);
        if (r < 0)
                return fail_errno(r, "Failed to make the application's sockets: %s", strerror(-r));
        *ret = TAKE_PTR(d);
        if (ret_manifest)
                *ret_manifest = TAKE_PTR(m);
        return 0;
}
