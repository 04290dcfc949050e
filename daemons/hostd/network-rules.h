/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The firewall of the machines' network, as text for libnftables: the tables `inet sand` and `bridge sand`, replaced
 * at once. Pure.
 *
 * What machines send is looked at twice. Where it enters the bridge it must have the link-layer and the IP address
 * that were given to the machine of that port, and goes to no other port. Where it enters the host it may be an
 * answer, a question to a name server, or go out, masqueraded; not to the host itself, to another machine or to what
 * is denied. To machines go answers alone. */

#include "network-plan.h"

typedef struct NetworkMachine {
        unsigned number;
        char port[16]; /* the host's end of its link */
} NetworkMachine;

typedef struct NetworkRules {
        const NetworkPlan *plan;
        const NetworkMachine *machines;
        size_t n_machines;
        char *const *dns;  /* addresses that answer to machines, wherever they are */
        char *const *deny; /* addresses or prefixes that machines do not reach */
        /* Links between which the host did not forward before machines needed it, by family. */
        char *const *lent4, *const *lent6;
} NetworkRules;

int network_rules(const NetworkRules *rules, char **ret);
/* What takes the tables away, if they are there. */
const char *network_rules_none(void) _const_;

/* The name of the link that nspawn makes for --network-bridge= of a machine: at most 15 bytes. */
void network_port_name(const char *machine, char ret[16]);
