/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The network that machines share: a bridge of the host, an IPv4 and an IPv6 prefix. All that a machine is on it
 * follows from one number that it keeps from deployment to removal: addresses are the prefix and the number, the
 * link-layer address is made of the IPv4 address. So both ends know each other, and nobody asks (ARP, NDP, DHCP).
 * Pure. */

#include <netinet/in.h>
#include <stdbool.h>

#include "macro.h"

#define NETWORK_BRIDGE "sand0"
#define NETWORK_MACHINE_LINK "host0" /* as nspawn calls it */
#define NETWORK_GATEWAY 1U           /* the host's number; machines have those behind it */
#define NETWORK_MACHINE_FIRST 2U

#define NETWORK_TEXT_MAX 128U

typedef struct NetworkPlan {
        uint32_t prefix4; /* host byte order, no bits behind the prefix */
        unsigned length4; /* 8...29 */
        struct in6_addr prefix6; /* a /64 */
} NetworkPlan;

typedef struct NetworkIdentity {
        struct in_addr address4;
        struct in6_addr address6;
        uint8_t mac[6];
} NetworkIdentity;

/* "10.201.0.0/16"; no bits may be set behind the prefix. -EINVAL. */
int network_parse4(const char *s, NetworkPlan *p);
/* "fd12:3456:789a::/64", within fc00::/7. -EINVAL. */
int network_parse6(const char *s, NetworkPlan *p);

/* The text of the file that holds a plan: "10.201.0.0/16 fd12:3456:789a::/64\n". Needs NETWORK_TEXT_MAX bytes. */
void network_plan_format(const NetworkPlan *p, char *buf, size_t size);
int network_plan_parse(const char *text, NetworkPlan *ret);

/* The last number that a machine can have. */
unsigned network_machine_last(const NetworkPlan *p) __attribute__((pure));
/* A decimal number, a line feed allowed behind it. -EINVAL. */
int network_number_parse(const char *s, unsigned *ret);
/* -ERANGE: the network has no such number. */
int network_identity(const NetworkPlan *p, unsigned number, NetworkIdentity *ret);
