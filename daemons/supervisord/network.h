/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Gives the machine its place in the host's network, if the application has one: nothing is asked of anybody, all
 * is known from the deployment. Before the machine is confined, for it takes CAP_NET_ADMIN. 1: done; 0: there is
 * no network. */
int network_configure(void);
