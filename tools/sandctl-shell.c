/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sandctl shell: a process of the host's root joins the namespaces of an application's machine. machinectl
 * shell cannot do it, for there is no system bus inside. On a terminal the shell gets a pseudo-terminal of
 * the machine's own, so that job control and tty(1) work. */

#include <fcntl.h>
#include <limits.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>

#include "protocol.h"
#include "sandctl-bus.h"

#define START_TIMEOUT_USEC (60 * USEC_PER_SEC)

/* Its place in machined: the process id of the machine's PID 1. Negative errno; -ENOENT: not running. */
static int machine_leader(sd_bus *bus, const char *app, uint32_t *ret) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *path;
        int r;

        r = sd_bus_call_method(bus, "org.freedesktop.machine1", "/org/freedesktop/machine1",
                               "org.freedesktop.machine1.Manager", "GetMachine", &error, &reply, "s", app);
        if (sd_bus_error_has_name(&error, "org.freedesktop.machine1.NoSuchMachine"))
                return -ENOENT;
        if (r >= 0)
                r = sd_bus_message_read(reply, "o", &path);
        return r < 0 ? r : sd_bus_get_property_trivial(bus, "org.freedesktop.machine1", path,
                                                       "org.freedesktop.machine1.Machine", "Leader", NULL,
                                                       'u', ret);
}

/* The first connection starts the machine, its answer says that it is there. */
static int machine_start(const char *app) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *peer = NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(freep) char *path = NULL;
        int r;

        if (asprintf(&path, SAND_APP_SOCKET_DIR "/%s.sock", app) < 0)
                return fail_errno(-ENOMEM, "Out of memory.");
        if (access(path, F_OK) < 0)
                return fail(SAND_ERROR_NOT_FOUND, "No application \"%s\" here. \"sandctl list\" shows those "
                                                  "that there are.", app);
        say("%s is idle; starting it.", app);
        r = peer_bus_open(path, &peer);
        if (r >= 0)
                r = sd_bus_message_new_method_call(peer, &m, NULL, SAND_APP_PATH, SAND_APP_INTERFACE,
                                                   "Describe");
        if (r >= 0)
                r = sd_bus_call(peer, m, START_TIMEOUT_USEC, &error, &reply);
        return r < 0 ? fail_bus(r, &error, "%s does not start", app) : 0;
}

/* A descriptor of the machine's PID 1 that cannot come to mean another process. */
static int machine_open(const char *app, int *ret_pidfd) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(closep) int fd = -EBADF;
        uint32_t leader = 0, again = 0;
        int r;

        r = bus_open(&bus);
        if (r != 0)
                return r;
        r = machine_leader(bus, app, &leader);
        if (r == -ENOENT) {
                r = machine_start(app);
                if (r != 0)
                        return r;
                r = machine_leader(bus, app, &leader);
        }
        if (r >= 0) {
                fd = pidfd_open((pid_t) leader, 0);
                r = fd < 0 ? -errno : machine_leader(bus, app, &again);
        }
        if (r >= 0 && leader != again)
                r = -ESRCH;
        if (r < 0)
                return fail(SAND_ERROR_UNAVAILABLE, "Failed to find the machine of %s: %s", app, strerror(-r));
        *ret_pidfd = TAKE_FD(fd);
        return 0;
}

static int enter(int pidfd) {
        if (setns(pidfd, CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS |
                         CLONE_NEWNET | CLONE_NEWCGROUP) < 0)
                return -errno;
        if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
                return -errno;
        return 0;
}

/* The directory that functions see as /app. `current` may be a folder of overrides, which has its bundle's name, then '+'. */
static void enter_bundle(void) {
        char path[PATH_MAX] = SAND_MACHINE_VERSIONS_DIR "/";
        size_t l = strlen(path);
        ssize_t n = readlink(SAND_MACHINE_VERSIONS_DIR "/current", path + l, sizeof(path) - l - 1);

        if (n > 0)
                path[l + strcspn(path + l, "+")] = '\0';
        if (n < 0 || chdir(path) < 0)
                (void) chdir("/");
}

/* In the machine, in the process that becomes the shell. */
_noreturn_ static void shell_exec(const char *app, char *const *command, int terminal) {
        const char *term = getenv("TERM");
        char *shell[] = { (char *) "/bin/sh", NULL };
        char term_word[64], app_word[96], prompt_word[96];
        char *environment[] = {
                (char *) "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                (char *) "HOME=/tmp", (char *) "LANG=C.UTF-8", (char *) "SHELL=/bin/sh",
                prompt_word, app_word, term_word, NULL,
        };
        sigset_t none;

        (void) snprintf(term_word, sizeof(term_word), "TERM=%.50s", term ?: "dumb");
        (void) snprintf(prompt_word, sizeof(prompt_word), "PS1=%s:$PWD# ", app);
        (void) snprintf(app_word, sizeof(app_word), "SAND_APP=%s", app);
        if (terminal >= 0 &&
            (setsid() < 0 || ioctl(terminal, TIOCSCTTY, 0) < 0 || dup2(terminal, STDIN_FILENO) < 0 ||
             dup2(terminal, STDOUT_FILENO) < 0 || dup2(terminal, STDERR_FILENO) < 0))
                _exit(126);
        enter_bundle();
        (void) close_range(3, ~0U, 0);
        (void) sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
        if (!command[0])
                command = shell;
        environ = environment;
        (void) execvp(command[0], command);
        (void) fprintf(stderr, "Failed to execute %s: %s\n", command[0], strerror(errno));
        _exit(errno == ENOENT ? 127 : 126);
}

static int send_fd(int socket, int fd) {
        union {
                struct cmsghdr header;
                char room[CMSG_SPACE(sizeof(int))];
        } control = {};
        struct iovec iov = { (char *) "t", 1 };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
                            .msg_controllen = sizeof(control) };

        control.header = (struct cmsghdr) { .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
                                            .cmsg_len = CMSG_LEN(sizeof(int)) };
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(int));
        return sendmsg(socket, &m, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int receive_fd(int socket, int *ret) {
        union {
                struct cmsghdr header;
                char room[CMSG_SPACE(sizeof(int))];
        } control = {};
        char byte;
        struct iovec iov = { &byte, 1 };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
                            .msg_controllen = sizeof(control) };
        ssize_t n = recvmsg(socket, &m, MSG_CMSG_CLOEXEC);

        if (n < 0)
                return -errno;
        if (n == 0 || control.header.cmsg_type != SCM_RIGHTS || control.header.cmsg_len != CMSG_LEN(sizeof(int)))
                return -EIO;
        memcpy(ret, CMSG_DATA(&control.header), sizeof(int));
        return 0;
}

/* The machine's own pseudo-terminal: the shell's end here, the master to the other side of `socket`. */
static int open_terminal(int socket, int *ret) {
        _cleanup_(closep) int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), slave = -EBADF;
        struct winsize ws;
        int r;

        if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
                return -errno;
        slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (slave < 0)
                return -errno;
        if (ioctl(STDIN_FILENO, TIOCGWINSZ, &ws) >= 0)
                (void) ioctl(slave, TIOCSWINSZ, &ws);
        r = send_fd(socket, master);
        if (r >= 0)
                *ret = TAKE_FD(slave);
        return r;
}

static int wait_status(pid_t pid) {
        int status;

        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return EXIT_FAILURE;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* The process between: it has entered all namespaces, its child is in that of processes as well. */
_noreturn_ static void enter_and_run(const char *app, char *const *command, int pidfd, int socket) {
        _cleanup_(closep) int terminal = -EBADF;
        pid_t pid;
        int r;

        r = enter(pidfd);
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL); /* a change of credentials would have cleared it */
        if (r >= 0 && socket >= 0)
                r = open_terminal(socket, &terminal);
        if (r < 0) {
                (void) fail_errno(r, "Failed to enter the machine of %s: %s", app, strerror(-r));
                _exit(125);
        }
        pid = fork();
        if (pid < 0)
                _exit(125);
        if (pid == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGHUP);
                shell_exec(app, command, terminal);
        }
        terminal = safe_close(terminal);
        safe_close(socket);
        _exit(wait_status(pid));
}

static int copy(int from, int to) {
        char buffer[4096];
        ssize_t n = read(from, buffer, sizeof(buffer));

        if (n <= 0)
                return n < 0 && errno == EINTR ? 1 : 0;
        for (ssize_t done = 0, w; done < n; done += w) {
                w = write(to, buffer + done, (size_t) (n - done));
                if (w < 0)
                        return 0;
        }
        return 1;
}

/* Until the shell's side hangs up. */
static void forward(int master, int winch) {
        struct pollfd p[] = {
                { .fd = STDIN_FILENO, .events = POLLIN }, { .fd = master, .events = POLLIN },
                { .fd = winch, .events = POLLIN },
        };
        struct signalfd_siginfo si;
        struct winsize ws;

        for (;;) {
                if (poll(p, ELEMENTSOF(p), -1) < 0 && errno != EINTR)
                        return;
                if (p[1].revents && !copy(master, STDOUT_FILENO))
                        return;
                if (p[0].revents && !copy(STDIN_FILENO, master))
                        p[0].fd = -1;
                if (p[2].revents && read(winch, &si, sizeof(si)) > 0 &&
                    ioctl(STDIN_FILENO, TIOCGWINSZ, &ws) >= 0)
                        (void) ioctl(master, TIOCSWINSZ, &ws);
        }
}

static int run_on_terminal(const char *app, char *const *command, int pidfd) {
        _cleanup_(closep) int ours = -EBADF, theirs = -EBADF, master = -EBADF, winch = -EBADF;
        struct termios saved, raw;
        sigset_t mask;
        int pair[2], r, status;
        pid_t pid;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                return fail_errno(-errno, "Failed to make a socket pair: %m");
        ours = pair[0];
        theirs = pair[1];
        pid = fork();
        if (pid < 0)
                return fail_errno(-errno, "Failed to fork: %m");
        if (pid == 0)
                enter_and_run(app, command, pidfd, theirs);
        theirs = safe_close(theirs);
        r = receive_fd(ours, &master);
        if (r < 0)
                return wait_status(pid);

        (void) sigemptyset(&mask);
        (void) sigaddset(&mask, SIGWINCH);
        (void) sigprocmask(SIG_BLOCK, &mask, NULL);
        winch = signalfd(-1, &mask, SFD_CLOEXEC);
        if (tcgetattr(STDIN_FILENO, &saved) < 0)
                return fail_errno(-errno, "Failed to read the terminal's settings: %m");
        raw = saved;
        cfmakeraw(&raw);
        (void) tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
        forward(master, winch);
        (void) tcsetattr(STDIN_FILENO, TCSADRAIN, &saved);
        status = wait_status(pid);
        return status;
}

int verb_shell(int argc, char **argv) {
        _cleanup_(closep) int pidfd = -EBADF;
        pid_t pid;
        int r;

        r = check_app_name(argv[0]);
        if (r != 0)
                return r;
        if (geteuid() != 0)
                return fail(SAND_ERROR_DENIED, "Only root can enter a machine.");
        r = machine_open(argv[0], &pidfd);
        if (r != 0)
                return r;
        if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO))
                return run_on_terminal(argv[0], argv + 1, pidfd);
        pid = fork();
        if (pid < 0)
                return fail_errno(-errno, "Failed to fork: %m");
        if (pid == 0)
                enter_and_run(argv[0], argv + 1, pidfd, -1);
        return wait_status(pid);
}
