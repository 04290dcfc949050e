/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What sand-network.service does: the network that machines with one share. Done again, it puts right what has
 * changed: machines that came, name servers. */

int network_up(void);
/* Takes all of it away. Machines that run have no network until it is up again. */
int network_down(void);
