/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* HTTP in, calls to applications out. Start at run(). */

#include <getopt.h>
#include <stdio.h>
#include <systemd/sd-daemon.h>

#include "config.h"
#include "gateway.h"
#include "listen.h"
#include "log.h"
#include "protocol.h"

static const char *arg_catalogue = SAND_CATALOGUE_DIR;
static const char *arg_app_sockets = SAND_APP_SOCKET_DIR;
static const char *arg_config = NULL;
static char **arg_listen = NULL;
static char **arg_apps = NULL;
static const char *arg_tokens = SAND_TOKENS_DIR;
static const char *arg_events = SAND_EVENTS_SOCKET;
static bool arg_quiet = false;

static void help(void) {
        (void) printf("sand-gatewayd [OPTION...]\n\n"
                      "Serve applications over HTTP, on the sockets that the service manager passes.\n\n"
                      "  -h --help               Show this help\n"
                      "     --version            Show the version\n"
                      "     --listen=ADDRESS     Listen here, too: 127.0.0.1:PORT, [::1]:PORT or /PATH; other\n"
                      "                          addresses with TLS only\n"
                      "     --catalogue=DIR      Read NAME.json there (default: %s)\n"
                      "     --app-sockets=DIR    Connect to NAME.sock there (default: %s)\n"
                      "     --config=FILE        Read the settings there, and nowhere else\n"
                      "     --app=NAME=PATH      Connect to this socket for NAME\n"
                      "     --tokens=DIR         Read applications' tokens there (default: %s)\n"
                      "     --events=PATH        Connect to the event log there (default: %s)\n"
                      "  -q --quiet              Say warnings and errors only\n"
                      "\nSee sand-gatewayd(8) and gatewayd.conf(5).\n",
                      SAND_CATALOGUE_DIR, SAND_APP_SOCKET_DIR, SAND_TOKENS_DIR, SAND_EVENTS_SOCKET);
}

static int parse_app(const char *s) {
        _cleanup_(freep) char *name = NULL;
        const char *equal = strchr(s, '=');

        name = equal ? strndup(s, (size_t) (equal - s)) : NULL;
        if (!name || !app_name_is_valid(name) || !equal[1]) {
                log_error("--app takes NAME=PATH, not \"%s\".", s);
                return -EINVAL;
        }
        return strv_extend(&arg_apps, s);
}

static int parse_argv(int argc, char *argv[]) {
        enum { ARG_VERSION = 0x100, ARG_LISTEN, ARG_CATALOGUE, ARG_APP_SOCKETS, ARG_APP, ARG_CONFIG, ARG_TOKENS,
               ARG_EVENTS };
        static const struct option options[] = {
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, ARG_VERSION },
                { "listen", required_argument, NULL, ARG_LISTEN },
                { "catalogue", required_argument, NULL, ARG_CATALOGUE },
                { "app-sockets", required_argument, NULL, ARG_APP_SOCKETS },
                { "app", required_argument, NULL, ARG_APP },
                { "config", required_argument, NULL, ARG_CONFIG },
                { "tokens", required_argument, NULL, ARG_TOKENS },
                { "events", required_argument, NULL, ARG_EVENTS },
                { "quiet", no_argument, NULL, 'q' },
                {},
        };
        int c, r = 0;

        while (r >= 0 && (c = getopt_long(argc, argv, "hq", options, NULL)) >= 0)
                switch (c) {
                case 'h':
                        help();
                        return 0;
                case ARG_VERSION:
                        (void) printf("sand %s\n", SAND_VERSION);
                        return 0;
                case ARG_LISTEN:
                        r = strv_extend(&arg_listen, optarg);
                        break;
                case ARG_CATALOGUE:
                        arg_catalogue = optarg;
                        break;
                case ARG_APP_SOCKETS:
                        arg_app_sockets = optarg;
                        break;
                case ARG_CONFIG:
                        arg_config = optarg;
                        break;
                case ARG_APP:
                        r = parse_app(optarg);
                        break;
                case ARG_TOKENS:
                        arg_tokens = optarg;
                        break;
                case ARG_EVENTS:
                        arg_events = optarg;
                        break;
                case 'q':
                        arg_quiet = true;
                        break;
                default:
                        return -EINVAL;
                }
        if (r < 0)
                return r;
        if (optind < argc) {
                log_error("Unexpected argument \"%s\".", argv[optind]);
                return -EINVAL;
        }
        return 1;
}

static int add_socket(Gateway *g, int fd) {
        _cleanup_(closep) int owned = fd;
        _cleanup_(freep) char *name = NULL;
        bool local;
        int r;

        r = listen_check(fd, &local, &name);
        if (r == -EAFNOSUPPORT) {
                log_error("%s is not served: it is neither of IP nor a unix socket.", name);
                return 0;
        }
        if (r == -ENOTSOCK) {
                log_error("File descriptor %d is no listening stream socket.", fd);
                return r;
        }
        if (r < 0)
                return log_error_errno(r, "Failed to look at file descriptor %d: %m", fd);
        r = local ? gateway_listen(g, TAKE_FD(owned)) : gateway_listen_outside(g, TAKE_FD(owned));
        if (r < 0)
                return log_error_errno(r, "Failed to listen on %s: %m", name);
        if (local || gateway_has_certificate(g))
                log_info("Listening on %s%s.", name, local ? "" : ", with TLS, for who has a token");
        else
                log_error("%s is not served: there is no certificate for it.", name);
        return 0;
}

static int open_socket(Gateway *g, const char *address) {
        int fd;

        fd = listen_open(address, false);
        if (fd == -EPERM && gateway_open_outside(g) >= 0 && gateway_has_certificate(g))
                fd = listen_open(address, true);
        if (fd == -EINVAL) {
                log_error("--listen takes 127.0.0.1:PORT, [::1]:PORT or /PATH, not \"%s\".", address);
                return fd;
        }
        if (fd == -EPERM) {
                log_error("Refusing to listen on %s: without a certificate, only loopback addresses and unix "
                          "sockets are served.", address);
                return fd;
        }
        if (fd < 0)
                return log_error_errno(fd, "Failed to listen on %s: %m", address);
        return add_socket(g, fd);
}

static int add_sockets(Gateway *g, int n_passed) {
        int r;

        for (int i = 0; i < n_passed; i++) {
                r = add_socket(g, SD_LISTEN_FDS_START + i);
                if (r < 0)
                        return r;
        }
        for (char **a = arg_listen; a && *a; a++) {
                r = open_socket(g, *a);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int run(int argc, char *argv[]) {
        _cleanup_(gateway_freep) Gateway *g = NULL;
        int r, n_passed;

        log_setup("sand-gatewayd");
        r = parse_argv(argc, argv);
        if (r <= 0)
                return r;
        if (arg_quiet)
                log_set_max_level(MIN(log_get_max_level(), LOG_WARNING));

        n_passed = sd_listen_fds(true);
        if (n_passed < 0)
                return log_error_errno(n_passed, "Failed to take the passed sockets: %m");
        if (n_passed == 0 && !arg_listen) {
                log_error("No socket was passed. Start sand-gatewayd.socket, or use --listen=.");
                return -EINVAL;
        }
        const GatewayConfig config = {
                .catalogue_dir = arg_catalogue,
                .socket_dir = arg_app_sockets,
                .sockets = arg_apps,
                .settings_file = arg_config,
                .tokens_dir = arg_tokens,
                .events_socket = arg_events,
        };
        r = gateway_new(&config, &g);
        if (r < 0)
                return r;
        r = add_sockets(g, n_passed);
        if (r < 0)
                return r;
        r = gateway_run(g);
        if (r < 0)
                return log_error_errno(r, "Failed to run the event loop: %m");
        return 0;
}

int main(int argc, char *argv[]) {
        int r = run(argc, argv);

        strv_free(arg_listen);
        strv_free(arg_apps);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
