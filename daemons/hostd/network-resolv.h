/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The machines' resolv.conf, made of the host's. Pure. */

#include "macro.h"

typedef struct NetworkResolv {
        char *text;
        char **servers;     /* those that machines will ask */
        bool loopback_only; /* the host's listen on its loopback alone: machines will ask the gateway */
} NetworkResolv;

/* `host` is the text of the host's resolv.conf, `resolved` that of systemd-resolved's own servers; each NULL if
 * there is none. `dns`, if not empty, is asked instead of either's. `gateway` is the host's address for machines. */
int network_resolv(const char *host, const char *resolved, char *const *dns, const char *gateway, NetworkResolv *ret);
void network_resolv_done(NetworkResolv *r);
