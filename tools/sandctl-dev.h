/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* An application served from its folder: the unchanged supervisor and gateway as children, with the sockets
 * that systemd would pass them, in a temporary directory. They and it do not outlive this process, not even if it is
 * killed: the kernel tells the children, and a process that does nothing else waits to remove the directory. */

#include <sys/types.h>

#include "manifest.h"

typedef struct Dev {
        char *dir, *name;         /* the bundle, absolute; its application */
        int dir_fd;
        char *tmp;                /* app/NAME.sock, control/NAME.control, catalogue/NAME.json */
        char *app_socket, *control_socket;
        int app_fd, control_fd;   /* listening: whoever connects while no supervisor runs, waits */
        int catalogue_fd;
        pid_t supervisor, gateway; /* 0: not running */
        pid_t keeper;              /* removes `tmp` at the end of file of ... */
        int keeper_fd;
        bool interrupted;          /* the end is not to wait for events that run */
} Dev;

/* Reads and checks the bundle, makes directory and sockets. 0, or the exit status after the complaint. */
int dev_new(const char *dir, Dev **ret, Manifest **ret_manifest);
/* Stops the children (after a few seconds by SIGKILL) and removes the directory. */
Dev *dev_free(Dev *d);
DEFINE_POINTER_CLEANUP(Dev *, dev_free);

int dev_publish(Dev *d, const Manifest *m);
/* `output`: where what functions print goes, -1 for standard error; `log_level`: of the supervisor's own words among it.
 * 0, or the exit status. */
int dev_start_supervisor(Dev *d, int output, const char *log_level);
int dev_start_gateway(Dev *d, int listen_fd);

/* 0, or the exit status, after all problems of the bundle were printed. */
int bundle_check(const char *dir, int dir_fd, Manifest **ret);
/* The same. Not `complete`: the files that it names, and what it brings along, are not looked at. */
int bundle_read(const char *dir, int dir_fd, bool complete, Manifest **ret);
/* Says which packages that it names are not on this host. For developers: it may be meant for another one. */
void packages_warn(const Manifest *m);
