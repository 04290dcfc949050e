/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Verbs that need more of another host than its bus run there, by ssh: sockets, the journal, namespaces and
 * descriptors do not travel. */

#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandctl.h"
#include "sandctl-text.h"

static int command_append(char **command, const char *word) {
        _cleanup_(freep) char *quoted = shell_quote(word);
        char *longer;

        if (!quoted || asprintf(&longer, "%s%s%s", strempty(*command), *command ? " " : "", quoted) < 0)
                return -ENOMEM;
        free(*command);
        *command = longer;
        return 0;
}

/* ssh hands one string to the other side's shell. Options come first: a COMMAND of `shell` ends them. */
static int command_new(const char *verb, int argc, char *const *argv, char **ret) {
        _cleanup_(strv_freep) char **options = NULL;
        _cleanup_(freep) char *command = NULL;
        int r = 0;

        /* What goes through ssh's pipe is shown on the terminal here. */
        if (colors_enabled(STDOUT_FILENO)) {
                r = command_append(&command, "env");
                if (r >= 0)
                        r = command_append(&command, "SYSTEMD_COLORS=1");
        }
        if (r >= 0)
                r = command_append(&command, "sandctl");
        if (r >= 0)
                r = remote_arguments(&options);
        for (char **o = options; r >= 0 && o && *o; o++)
                r = command_append(&command, *o);
        if (r >= 0)
                r = command_append(&command, verb);
        for (int i = 0; i < argc && r >= 0; i++)
                r = command_append(&command, argv[i]);
        if (r >= 0)
                *ret = TAKE_PTR(command);
        return r;
}

int remote_run(const char *verb, int argc, char *const *argv, int input, bool terminal) {
        _cleanup_(freep) char *command = NULL;
        siginfo_t si = {};
        pid_t pid;
        int r;

        r = command_new(verb, argc, argv, &command);
        if (r < 0)
                return fail_errno(r, "Out of memory.");
        (void) fflush(stdout);
        pid = fork();
        if (pid < 0)
                return fail_errno(-errno, "Failed to fork: %m");
        if (pid == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGTERM);
                if (input >= 0)
                        (void) dup2(input, STDIN_FILENO);
                execlp("ssh", "ssh", terminal && isatty(STDIN_FILENO) ? "-xt" : "-xT", "--", arg_host, command, NULL);
                _exit(fail_errno(-errno, "Failed to execute ssh: %m"));
        }
        while (waitid(P_PID, (id_t) pid, &si, WEXITED) < 0)
                if (errno != EINTR)
                        return fail_errno(-errno, "Failed to wait for ssh: %m");
        if (si.si_code != CLD_EXITED || si.si_status == 255)
                return fail(SAND_ERROR_UNAVAILABLE, "ssh to %s failed.", arg_host);
        return si.si_status;
}
