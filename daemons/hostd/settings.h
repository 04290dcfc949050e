/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What /etc/sand/hostd.conf sets. */

#include "macro.h"
#include "network-plan.h"

typedef struct Settings {
        char *network4, *network6; /* prefixes; NULL: sand-network.service finds some */
        char **dns;                /* addresses of name servers; NULL: the host's */
        char **deny;               /* prefixes that machines do not reach */
        char **mounts;             /* what applications may mount, mounts.h */
        unsigned keep_versions;    /* of each application */
} Settings;

/* Defaults, then the files. -EBADMSG: some lines were bad, have been logged and left out. */
int settings_load(Settings *ret);
void settings_done(Settings *s);

/* Leaves out, and logs, what is no prefix or address. -EBADMSG: something was. */
int settings_check(Settings *s);
