/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sand-hostd: deploys applications on this host. Started by the bus, exits when idle. */

#include <getopt.h>
#include <stdio.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#include "config.h"
#include "host.h"
#include "log.h"
#include "manifest.h"
#include "mounts.h"
#include "network.h"
#include "oneshot.h"

static const char *arg_reload = NULL;
static const char *arg_failed = NULL;
static const char *arg_network = NULL;
static char **arg_mounts = NULL;
static gid_t arg_group = 0;

static int help(void) {
        printf("sand-hostd\n"
               "sand-hostd --reload NAME\n"
               "sand-hostd --failed NAME\n"
               "sand-hostd --network up|down\n"
               "sand-hostd --group=GID --mount=PATH[:rw]... -- COMMAND...\n\n"
               "Deploys, removes and lists the applications of this host, as org.sand.Host1 on\n"
               "the system bus. Use sandctl(1) to talk to it.\n\n"
               "  -h --help          Show this help\n"
               "     --version       Show the version\n"
               "     --reload NAME   Have NAME take what its operator overrides now, and wait for\n"
               "                     it; what `systemctl reload sand-app@NAME` does\n"
               "     --failed NAME   Clean up behind a machine that failed, and wait the longer the\n"
               "                     more often it did; run by sand-app@.service\n"
               "     --network up    Make or update the network that machines share\n"
               "     --network down  Remove it; both are run by sand-network.service\n"
               "     --mount=PATH[:rw]\n"
               "                     Mount PATH for the machine that COMMAND starts; run by\n"
               "                     sand-app@.service\n"
               "     --group=GID     For functions of this group\n\n"
               "See sand-hostd(8).\n");
        return 0;
}

static int parse_argv(int argc, char *argv[]) {
        enum { ARG_VERSION = 0x100, ARG_RELOAD, ARG_FAILED, ARG_NETWORK, ARG_MOUNT, ARG_GROUP };
        static const struct option options[] = {
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, ARG_VERSION },
                { "reload", required_argument, NULL, ARG_RELOAD },
                { "failed", required_argument, NULL, ARG_FAILED },
                { "network", required_argument, NULL, ARG_NETWORK },
                { "mount", required_argument, NULL, ARG_MOUNT },
                { "group", required_argument, NULL, ARG_GROUP },
                {},
        };
        int c;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case 'h':
                        return help();
                case ARG_VERSION:
                        puts("sand-hostd " SAND_VERSION);
                        return 0;
                case ARG_RELOAD:
                        arg_reload = optarg;
                        break;
                case ARG_FAILED:
                        arg_failed = optarg;
                        break;
                case ARG_NETWORK:
                        arg_network = optarg;
                        break;
                case ARG_MOUNT:
                        if (strv_extend(&arg_mounts, optarg) < 0)
                                return log_oom();
                        break;
                case ARG_GROUP:
                        arg_group = (gid_t) strtoul(optarg, NULL, 10);
                        break;
                default:
                        return -EINVAL;
                }
        if (arg_mounts && (optind >= argc || arg_group == 0))
                return log_error_errno(EINVAL, "--mount= needs a --group= other than root's, and a command");
        if (!arg_mounts && optind < argc)
                return log_error_errno(EINVAL, "Unexpected argument '%s'", argv[optind]);
        if (!!arg_reload + !!arg_failed + !!arg_network + !!arg_mounts > 1)
                return log_error_errno(EINVAL, "--reload, --failed, --network and --mount exclude each other");
        if (arg_network && !streq(arg_network, "up") && !streq(arg_network, "down"))
                return log_error_errno(EINVAL, "--network: found '%s', expected up or down", arg_network);
        if ((arg_reload && !app_name_is_valid(arg_reload)) || (arg_failed && !app_name_is_valid(arg_failed)))
                return log_error_errno(EINVAL, "'%s' is no name of an application", arg_reload ?: arg_failed);
        return 1;
}

static int run(int argc, char *argv[]) {
        _cleanup_(host_freep) Host *h = NULL;
        int r;

        log_setup("sand-hostd");
        r = parse_argv(argc, argv);
        if (r <= 0)
                return r;
        if (arg_reload)
                return oneshot_reload(arg_reload);
        if (arg_failed)
                return oneshot_failed(arg_failed);
        if (arg_mounts)
                return mounts_enter(arg_mounts, arg_group, argv + optind);

        umask(0022);
        if (arg_network)
                return streq(arg_network, "up") ? network_up() : network_down();
        r = host_new(&h);
        if (r < 0)
                return r;
        r = host_start(h);
        if (r < 0)
                return r;
        (void) sd_notify(false, "READY=1\nSTATUS=Ready");
        return host_run(h);
}

int main(int argc, char *argv[]) {
        return run(argc, argv) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
