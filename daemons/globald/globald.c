/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sand-globald: the event log of a host, and what goes from one application to another. */

#include <getopt.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include "../shared/log.h"
#include "config.h"
#include "globald.h"
#include "protocol.h"

static const char *arg_catalogue = SAND_CATALOGUE_DIR;
static const char *arg_app_sockets = SAND_APP_SOCKET_DIR;
static const char *arg_state = SAND_GLOBALD_STATE_DIR;
static const char *arg_config = NULL;
static const char *arg_listen_host = NULL;
static const char *arg_listen_machines = NULL;

static void help(void) {
        (void) printf("sand-globald [OPTION...]\n\n"
                      "Keep the host's event log, on the sockets that the service manager passes.\n\n"
                      "  -h --help                  Show this help\n"
                      "     --version               Show the version\n"
                      "     --catalogue=DIR         Read NAME.json there (default: %s)\n"
                      "     --app-sockets=DIR       Connect to NAME.sock there (default: %s)\n"
                      "     --state=DIR             Keep events.db there (default: %s)\n"
                      "     --config=FILE           Read the settings there, and nowhere else\n"
                      "     --listen-host=PATH      Listen here for the host, too\n"
                      "     --listen-machines=PATH  Listen here for machines, too\n"
                      "\nSee sand-globald(8).\n",
                      SAND_CATALOGUE_DIR, SAND_APP_SOCKET_DIR, SAND_GLOBALD_STATE_DIR);
}

static int parse_argv(int argc, char *argv[]) {
        enum { ARG_VERSION = 0x100, ARG_CATALOGUE, ARG_APP_SOCKETS, ARG_STATE, ARG_CONFIG, ARG_HOST, ARG_MACHINES };
        static const struct option options[] = {
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, ARG_VERSION },
                { "catalogue", required_argument, NULL, ARG_CATALOGUE },
                { "app-sockets", required_argument, NULL, ARG_APP_SOCKETS },
                { "state", required_argument, NULL, ARG_STATE },
                { "config", required_argument, NULL, ARG_CONFIG },
                { "listen-host", required_argument, NULL, ARG_HOST },
                { "listen-machines", required_argument, NULL, ARG_MACHINES },
                {},
        };
        int c;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case 'h':
                        help();
                        return 0;
                case ARG_VERSION:
                        (void) printf("sand %s\n", SAND_VERSION);
                        return 0;
                case ARG_CATALOGUE:
                        arg_catalogue = optarg;
                        break;
                case ARG_APP_SOCKETS:
                        arg_app_sockets = optarg;
                        break;
                case ARG_STATE:
                        arg_state = optarg;
                        break;
                case ARG_CONFIG:
                        arg_config = optarg;
                        break;
                case ARG_HOST:
                        arg_listen_host = optarg;
                        break;
                case ARG_MACHINES:
                        arg_listen_machines = optarg;
                        break;
                default:
                        return -EINVAL;
                }
        if (optind < argc) {
                log_error("Unexpected argument \"%s\".", argv[optind]);
                return -EINVAL;
        }
        return 1;
}

static int listen_at(Globald *g, const char *path, bool machines) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        _cleanup_(closep) int fd = -EBADF;
        int r;

        if (!path)
                return 0;
        if (strlen(path) >= sizeof(sa.sun_path)) {
                log_error("The path %s is too long for a socket.", path);
                return -ENAMETOOLONG;
        }
        (void) strcpy(sa.sun_path, path);
        (void) unlink(path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || bind(fd, (struct sockaddr *) &sa, sizeof(sa)) < 0 || listen(fd, 4096) < 0)
                return log_error_errno(errno, "Failed to listen on %s: %m", path);
        r = globald_listen(g, TAKE_FD(fd), machines);
        return r < 0 ? log_error_errno(r, "Failed to serve %s: %m", path) : 0;
}

/* Which of the two sockets it is, its address says. */
static int add_passed(Globald *g, int fd) {
        struct sockaddr_un sa = {};
        socklen_t length = sizeof(sa) - 1;
        int r;

        if (getsockname(fd, (struct sockaddr *) &sa, &length) < 0)
                return log_error_errno(errno, "Failed to look at descriptor %d: %m", fd);
        if (sa.sun_family != AF_UNIX) {
                log_error("Descriptor %d is no unix socket.", fd);
                return -EAFNOSUPPORT;
        }
        r = globald_listen(g, fd, startswith(sa.sun_path, SAND_EVENTS_SOCKET_DIR "/"));
        return r < 0 ? log_error_errno(r, "Failed to serve %s: %m", sa.sun_path) : 0;
}

static int run(int argc, char *argv[]) {
        _cleanup_(globald_freep) Globald *g = NULL;
        int r, n;

        log_setup("sand-globald");
        r = parse_argv(argc, argv);
        if (r <= 0)
                return r;
        n = sd_listen_fds(true);
        if (n < 0)
                return log_error_errno(n, "Failed to take the passed sockets: %m");
        if (n == 0 && !arg_listen_host && !arg_listen_machines) {
                log_error("No socket was passed. Start sand-globald.socket, or use --listen-host=.");
                return -EINVAL;
        }
        r = globald_new(&(GlobaldConfig) { .catalogue_dir = arg_catalogue, .socket_dir = arg_app_sockets,
                                           .state_dir = arg_state, .settings_file = arg_config }, &g);
        if (r >= 0)
                g->exit_on_idle = n > 0 && !arg_listen_host && !arg_listen_machines;
        for (int i = 0; r >= 0 && i < n; i++)
                r = add_passed(g, SD_LISTEN_FDS_START + i);
        if (r >= 0)
                r = listen_at(g, arg_listen_host, false);
        if (r >= 0)
                r = listen_at(g, arg_listen_machines, true);
        if (r < 0)
                return r;
        r = globald_run(g);
        return r < 0 ? log_error_errno(r, "Failed to run the event loop: %m") : 0;
}

int main(int argc, char *argv[]) {
        return run(argc, argv) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
