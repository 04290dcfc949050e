/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sand-supervisord: PID 1 of an application's machine, or (--run) a developer's foreground process. */

#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <systemd/sd-daemon.h>

#include "config.h"
#include "log.h"
#include "network.h"
#include "protocol.h"
#include "sandbox.h"
#include "supervisor.h"

DEFINE_POINTER_CLEANUP(Supervisor *, supervisor_free);

static const char *arg_app = NULL;
static const char *arg_run = NULL;

static int help(void) {
        printf("sand-supervisord --app NAME\n"
               "sand-supervisord --run DIR\n\n"
               "Runs the functions of an application: as PID 1 of its machine, or for a\n"
               "developer from a folder. Listens on the sockets that it is passed.\n\n"
               "  -h --help        Show this help\n"
               "     --version     Show the version\n"
               "     --app NAME    The application's name\n"
               "     --run DIR     Run the bundle in DIR: no machine, no identities, output on\n"
               "                   standard error, never idle\n\n"
               "See sand-supervisord(8).\n");
        return 0;
}

static int parse_argv(int argc, char *argv[]) {
        enum { ARG_VERSION = 0x100, ARG_APP, ARG_RUN };
        static const struct option options[] = {
                { "help", no_argument, NULL, 'h' },         { "version", no_argument, NULL, ARG_VERSION },
                { "app", required_argument, NULL, ARG_APP }, { "run", required_argument, NULL, ARG_RUN },
                {},
        };
        int c;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case 'h':
                        return help();
                case ARG_VERSION:
                        puts("sand-supervisord " SAND_VERSION);
                        return 0;
                case ARG_APP:
                        arg_app = optarg;
                        break;
                case ARG_RUN:
                        arg_run = optarg;
                        break;
                default:
                        return -EINVAL;
                }
        if (optind < argc)
                return log_error_errno(EINVAL, "Unexpected argument '%s'", argv[optind]);
        if (!arg_app == !arg_run)
                return log_error_errno(EINVAL, "Expected either --app NAME or --run DIR");
        if (arg_app && !app_name_is_valid(arg_app))
                return log_error_errno(EINVAL, "'%s' is no name of an application", arg_app);
        return 1;
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata) {
        Supervisor *s = userdata;

        log_info("Received SIG%s, stopping", si->ssi_signo == (unsigned) SIGRTMIN + 4
                                                     ? "RTMIN+4"
                                                     : strempty(sigabbrev_np((int) si->ssi_signo)));
        if (arg_run && si->ssi_signo == SIGINT)
                return sd_event_exit(s->event, 0);
        supervisor_stop(s);
        return 0;
}

/* machinectl poweroff sends SIGRTMIN+4, machinectl reboot SIGINT, systemctl stop SIGTERM. A developer's Ctrl-C waits for
 * nothing. */
static int add_signals(Supervisor *s) {
        const int signals[] = { SIGTERM, SIGINT, SIGRTMIN + 4 };
        sigset_t mask;

        sigemptyset(&mask);
        for (size_t i = 0; i < ELEMENTSOF(signals); i++)
                sigaddset(&mask, signals[i]);
        if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
                return -errno;
        for (size_t i = 0; i < ELEMENTSOF(signals); i++) {
                int r = sd_event_add_signal(s->event, NULL, signals[i], on_signal, s);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* The developer's application is named by its manifest. */
static int name_of_bundle(char **ret) {
        _cleanup_(manifest_freep) Manifest *m = NULL;
        _cleanup_(freep) char *text = NULL;
        Problems problems = {};
        int fd, r;

        fd = open(arg_run, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return log_error_errno(errno, "Failed to open %s: %m", arg_run);
        r = manifest_load(fd, true, &problems, &m);
        safe_close(fd);
        text = problems_to_string(&problems);
        problems_done(&problems);
        if (r < 0)
                return log_error_errno(r, "%s is no bundle: %m\n%s", arg_run, strempty(text));
        return free_and_strdup(ret, m->name);
}

static int run(int argc, char *argv[]) {
        _cleanup_(supervisor_freep) Supervisor *s = NULL;
        _cleanup_(freep) char *name = NULL, *dir = NULL;
        int fds[] = { SD_LISTEN_FDS_START, SD_LISTEN_FDS_START + 1 }, n_fds, r;

        log_setup("sand-supervisord");
        r = parse_argv(argc, argv);
        if (r <= 0)
                return r;

        n_fds = sd_listen_fds(true);
        if (n_fds < 0)
                return log_error_errno(n_fds, "Failed to take the passed sockets: %m");
        if (n_fds < 1 || n_fds > (int) ELEMENTSOF(fds))
                return log_error_errno(EINVAL, "Expected one or two passed sockets, found %d", n_fds);

        if (arg_app) {
                r = network_configure();
                if (r < 0)
                        return r;
                r = sandbox_confine_supervisor();
                if (r < 0)
                        return log_error_errno(r, "Failed to confine the machine: %m");
                (void) setenv("NOTIFY_SOCKET", SAND_MACHINE_NOTIFY_SOCKET, true);
                name = strdup(arg_app);
        } else {
                /* What an event leaves behind comes back here, as it does to PID 1. */
                if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
                        return log_error_errno(errno, "Failed to become a reaper: %m");
                dir = realpath(arg_run, NULL);
                r = name_of_bundle(&name);
                if (r < 0)
                        return r;
        }

        r = supervisor_new(strempty(name), dir, &s);
        if (r < 0)
                return log_error_errno(r, "Failed to set up the supervisor: %m");
        r = add_signals(s);
        if (r < 0)
                return log_error_errno(r, "Failed to watch for signals: %m");
        r = supervisor_start(s, fds, n_fds);
        if (r < 0)
                return r;
        r = sd_event_loop(s->event);
        if (r < 0)
                return log_error_errno(r, "The event loop failed: %m");
        if (arg_run)
                supervisor_end_output(s);
        return 0;
}

int main(int argc, char *argv[]) {
        int r = run(argc, argv);

        if (arg_run) /* a machine ends with its PID 1 */
                children_end();
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
