/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* That the host forwards packets, as machines with a network need it. There is no finer switch: an answer comes in by
 * whatever link leads to who gave it, and IPv6 knows but one for all links. So it is switched on for the host, by us
 * only where it was off, and taken back in the end; and between the links that there were then the firewall drops what
 * the host would not have forwarded before (lent4, lent6). What was changed is in a file, so that it can be undone by
 * another process. */

#include "macro.h"

typedef struct Forwarding {
        bool known;       /* the file was there */
        char **lent4, **lent6;
        char **restore;   /* "PATH VALUE" below /proc/sys */
} Forwarding;

/* What was changed; else what will be. */
int forwarding_load(Forwarding *f);
/* Switches it on. */
int forwarding_lend(const Forwarding *f);
int forwarding_take_back(void);
void forwarding_done(Forwarding *f);

/* A link of our own: forwards, believes no advertisement, takes no source that is not behind it. */
int forwarding_prepare_link(const char *name);
