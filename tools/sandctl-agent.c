/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* polkit's agent for a text terminal, as systemctl starts it: without one a person who is logged in by ssh is
 * not asked for a password but refused. It is registered as a fallback, for this process alone; a desktop's
 * agent goes first. */

#include "sandctl-agent.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "macro.h"
#include "sandctl.h"

static pid_t agent_pid;

/* In the child. It talks to the terminal, whatever our output is. */
_noreturn_ static void agent_exec(int notify_fd, pid_t parent) {
        char number[16];
        int fd;

        (void) prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != parent)
                _exit(EXIT_SUCCESS);
        if (!isatty(STDOUT_FILENO) || !isatty(STDERR_FILENO)) {
                fd = open("/dev/tty", O_WRONLY | O_CLOEXEC);
                if (fd < 0)
                        _exit(EXIT_FAILURE);
                (void) dup2(fd, STDOUT_FILENO);
                (void) dup2(fd, STDERR_FILENO);
        }
        (void) fcntl(notify_fd, F_SETFD, 0);
        (void) snprintf(number, sizeof(number), "%d", notify_fd);
        (void) execlp("pkttyagent", "pkttyagent", "--notify-fd", number, "--fallback", NULL);
        _exit(EXIT_FAILURE); /* polkit is not installed: hostd says what follows from that */
}

void agent_open(void) {
        struct pollfd registered = { .events = POLLIN };
        pid_t self = getpid();
        int fds[2];

        if (agent_pid > 0 || !arg_ask_password || arg_host || geteuid() == 0 || !isatty(STDIN_FILENO))
                return;
        if (pipe2(fds, O_CLOEXEC) < 0)
                return;
        (void) fflush(stdout);
        agent_pid = fork();
        if (agent_pid == 0)
                agent_exec(fds[1], self);
        (void) close(fds[1]);
        registered.fd = fds[0];
        /* It closes its end once it is registered, or dead. */
        while (agent_pid > 0 && poll(&registered, 1, -1) < 0 && errno == EINTR)
                ;
        (void) close(fds[0]);
}

void agent_close(void) {
        if (agent_pid <= 0)
                return;
        (void) kill(agent_pid, SIGTERM);
        (void) kill(agent_pid, SIGCONT);
        while (waitpid(agent_pid, NULL, 0) < 0 && errno == EINTR)
                ;
        agent_pid = 0;
}
