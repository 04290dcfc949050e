/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "network.h"

#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>

#include "log.h"
#include "netlink.h"
#include "network-plan.h"
#include "protocol.h"

static int read_file(const char *path, char *buf, size_t size) {
        _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n;

        if (fd < 0)
                return -errno;
        n = read(fd, buf, size - 1);
        if (n < 0)
                return -errno;
        buf[n] = 0;
        return 0;
}

static int read_identity(NetworkIdentity *ret, NetworkIdentity *ret_gateway) {
        char text[NETWORK_TEXT_MAX];
        NetworkPlan plan;
        unsigned number;
        int r;

        r = read_file(SAND_MACHINE_NETWORK_DIR "/" SAND_NETWORK_PLAN, text, sizeof(text));
        if (r < 0)
                return r;
        r = network_plan_parse(text, &plan);
        if (r >= 0)
                r = read_file(SAND_MACHINE_VERSIONS_DIR "/" SAND_NETWORK_NUMBER, text, sizeof(text));
        if (r >= 0)
                r = network_number_parse(text, &number);
        if (r >= 0)
                r = network_identity(&plan, NETWORK_GATEWAY, ret_gateway);
        return r < 0 ? r : network_identity(&plan, number, ret);
}

/* The way over the gateway to everywhere. */
static void add_route(Netlink *n, unsigned index, uint8_t family, const void *gateway) {
        struct nlmsghdr *h;
        struct rtmsg *route;

        h = netlink_request(n, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*route), &route);
        route->rtm_family = family;
        route->rtm_table = RT_TABLE_MAIN;
        route->rtm_protocol = RTPROT_STATIC;
        route->rtm_scope = RT_SCOPE_UNIVERSE;
        route->rtm_type = RTN_UNICAST;
        route->rtm_flags = RTNH_F_ONLINK;
        mnl_attr_put(h, RTA_GATEWAY, family == AF_INET ? 4 : 16, gateway);
        mnl_attr_put_u32(h, RTA_OIF, index);
}

/* What the host would say by router advertisements is known, too. */
static void ignore_advertisements(void) {
        _cleanup_(closep) int fd = open("/proc/sys/net/ipv6/conf/" NETWORK_MACHINE_LINK "/accept_ra", O_WRONLY | O_CLOEXEC);

        if (fd >= 0)
                (void) !write(fd, "0", 1);
}

static int configure(const NetworkIdentity *me, const NetworkIdentity *gateway) {
        _cleanup_(netlink_freep) Netlink *n = NULL;
        unsigned index, lo;
        struct nlmsghdr *h;
        int r;

        index = if_nametoindex(NETWORK_MACHINE_LINK);
        lo = if_nametoindex("lo");
        if (index == 0 || lo == 0)
                return -errno;
        r = netlink_new(&n);
        if (r < 0)
                return r;
        ignore_advertisements();
        (void) netlink_change_link(n, lo, true);
        h = netlink_change_link(n, index, false);
        mnl_attr_put(h, IFLA_ADDRESS, sizeof(me->mac), me->mac);
        netlink_put_no_link_local(h);
        (void) netlink_change_link(n, index, true);
        netlink_add_address(n, index, AF_INET, &me->address4, 32);
        netlink_add_neighbour(n, index, AF_INET, &gateway->address4, gateway->mac);
        add_route(n, index, AF_INET, &gateway->address4);
        r = netlink_commit(n, 0);
        if (r < 0)
                return r;
        netlink_add_address(n, index, AF_INET6, &me->address6, 128);
        netlink_add_neighbour(n, index, AF_INET6, &gateway->address6, gateway->mac);
        add_route(n, index, AF_INET6, &gateway->address6);
        return netlink_commit_ipv6(n);
}

int network_configure(void) {
        NetworkIdentity me, gateway;
        int r;

        r = read_identity(&me, &gateway);
        if (r == -ENOENT)
                return 0;
        if (r >= 0)
                r = configure(&me, &gateway);
        return r < 0 ? log_error_errno(r, "Failed to set up " NETWORK_MACHINE_LINK ": %m") : 1;
}
