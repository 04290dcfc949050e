/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "network.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <nftables/libnftables.h>
#include <stdio.h>
#include <sys/random.h>

#include "app.h"
#include "forwarding.h"
#include "fs.h"
#include "log.h"
#include "netlink.h"
#include "network-resolv.h"
#include "network-rules.h"
#include "protocol.h"
#include "settings.h"

#define PLAN_FILE SAND_NETWORK_DIR "/" SAND_NETWORK_PLAN
#define RESOLV_FILE SAND_NETWORK_DIR "/resolv.conf"
#define RESOLV_SIZE_MAX (64U * 1024U)

/* What a bridge has learned of where machines are stays: the rules see to it that it is true. In 10 ms. */
#define AGEING_TIME (30U * 24U * 60U * 60U * 100U)

/* Where a /16 is looked for that the host has no route to. */
#define CANDIDATE_FIRST 201U
#define CANDIDATE_LAST 254U

typedef struct HostNetwork {
        Settings settings;
        NetworkPlan plan;
        NetworkIdentity gateway;
        NetworkMachine *machines;
        size_t n_machines;
        NetworkResolv resolv;
        Netlink *netlink;
        unsigned index; /* of the bridge; 0: there is none yet */
} HostNetwork;

static void network_done(HostNetwork *n) {
        settings_done(&n->settings);
        network_resolv_done(&n->resolv);
        netlink_free(n->netlink);
        free(n->machines);
}

/* ---- which addresses ---- */

typedef struct Overlap {
        const NetworkPlan *plan;
        unsigned index; /* of the bridge, whose own routes do not count */
        bool found;
} Overlap;

static int on_route(const struct nlmsghdr *h, void *userdata) {
        const struct rtmsg *route = mnl_nlmsg_get_payload(h);
        const struct nlattr *a;
        Overlap *o = userdata;
        uint32_t destination = 0, mask;
        unsigned index = 0;

        mnl_attr_for_each(a, h, sizeof(*route)) {
                if (mnl_attr_get_type(a) == RTA_DST && mnl_attr_get_payload_len(a) == 4)
                        destination = ntohl(mnl_attr_get_u32(a));
                if (mnl_attr_get_type(a) == RTA_OIF)
                        index = mnl_attr_get_u32(a);
        }
        if (h->nlmsg_type != RTM_NEWROUTE || route->rtm_family != AF_INET || route->rtm_dst_len == 0 ||
            (index != 0 && index == o->index))
                return MNL_CB_OK;
        mask = UINT32_MAX << (32 - MIN((unsigned) route->rtm_dst_len, o->plan->length4));
        if ((destination & mask) == (o->plan->prefix4 & mask))
                o->found = true;
        return MNL_CB_OK;
}

/* 1: the host has a route to a part of the network, or into it. */
static int overlaps(HostNetwork *n, const NetworkPlan *plan) {
        Overlap o = { .plan = plan, .index = n->index };
        struct rtmsg *route;
        int r;

        netlink_request(n->netlink, RTM_GETROUTE, 0, sizeof(*route), &route);
        route->rtm_family = AF_INET;
        r = netlink_dump(n->netlink, on_route, &o);
        return r < 0 ? r : o.found;
}

static int find_free4(HostNetwork *n) {
        for (unsigned i = CANDIDATE_FIRST; i <= CANDIDATE_LAST; i++) {
                int r;

                n->plan.prefix4 = 10U << 24 | i << 16;
                n->plan.length4 = 16;
                r = overlaps(n, &n->plan);
                if (r <= 0)
                        return r;
        }
        return log_error_errno(EADDRINUSE, "The host has routes to all of 10.%u.0.0/16 to 10.%u.0.0/16: "
                               "set Network= in hostd.conf.", CANDIDATE_FIRST, CANDIDATE_LAST);
}

/* RFC 4193: fd, 40 random bits, subnet 0. */
static int random6(NetworkPlan *p) {
        p->prefix6 = (struct in6_addr) { .s6_addr = { 0xfd } };
        return getrandom(p->prefix6.s6_addr + 1, 5, 0) == 5 ? 0 : -EIO;
}

static int read_plan(NetworkPlan *ret) {
        _cleanup_(freep) char *text = NULL;
        int r;

        r = fs_read(AT_FDCWD, SAND_NETWORK_FILE, NETWORK_TEXT_MAX, &text);
        return r < 0 ? r : network_plan_parse(text, ret);
}

static int choose4(HostNetwork *n, bool known) {
        const NetworkPlan old = n->plan;
        int r;

        if (n->settings.network4) {
                (void) network_parse4(n->settings.network4, &n->plan);
                r = overlaps(n, &n->plan);
                if (r > 0)
                        log_warning("The host has a route to a part of Network=%s: machines and that part do not reach "
                                    "each other.", n->settings.network4);
        } else {
                r = known ? overlaps(n, &n->plan) : 1;
                if (r > 0)
                        r = find_free4(n);
        }
        if (r >= 0 && known && (old.prefix4 != n->plan.prefix4 || old.length4 != n->plan.length4))
                log_notice("Machines have new addresses; one that runs must be started anew to have its own.");
        return r;
}

/* As it was, unless it is set otherwise or in the host's way. Not while it is there: machines use it. */
static int choose_plan(HostNetwork *n) {
        bool known = read_plan(&n->plan) >= 0;
        int r = 0;

        if (n->index != 0 && known)
                return 0;
        r = choose4(n, known);
        if (r >= 0 && n->settings.network6)
                r = network_parse6(n->settings.network6, &n->plan);
        else if (r >= 0 && !known)
                r = random6(&n->plan);
        return r < 0 ? log_error_errno(r, "Failed to find addresses for machines: %m") : 0;
}

static int write_plan(const NetworkPlan *p) {
        char text[NETWORK_TEXT_MAX];
        int r;

        network_plan_format(p, text, sizeof(text));
        r = fs_write(AT_FDCWD, SAND_NETWORK_FILE, text, 0644, 0, 0);
        if (r >= 0)
                r = fs_mkdir(AT_FDCWD, SAND_NETWORK_DIR, 0755, 0, 0);
        if (r >= 0)
                r = fs_write(AT_FDCWD, PLAN_FILE, text, 0644, 0, 0);
        return r < 0 ? log_error_errno(r, "Failed to write " PLAN_FILE ": %m") : 0;
}

/* ---- which machines ---- */

static int find_machines(HostNetwork *n) {
        _cleanup_(places_done) Places p = PLACES_EMPTY;
        _cleanup_(strv_freep) char **names = NULL;
        int r;

        p.apps_fd = open(SAND_APPS_DIR, O_RDONLY|O_DIRECTORY|O_CLOEXEC);
        if (p.apps_fd < 0)
                return -errno;
        r = app_list(&p, &names);
        if (r < 0)
                return r;
        n->machines = calloc(strv_length(names) + 1, sizeof(NetworkMachine));
        if (!n->machines)
                return -ENOMEM;
        for (char **i = names; *i; i++) {
                NetworkMachine *m = n->machines + n->n_machines;

                if (app_network_number(&p, *i, &m->number) < 0)
                        continue;
                if (m->number > network_machine_last(&n->plan)) {
                        log_warning("%s: the network has no room any more for its address: deploy it again.", *i);
                        continue;
                }
                network_port_name(*i, m->port);
                n->n_machines++;
        }
        return 0;
}

/* ---- name servers ---- */

static char *read_text(const char *path) {
        char *text = NULL;
        char *real = realpath(path, NULL); /* fs_read() follows no link */

        if (real)
                (void) fs_read(AT_FDCWD, real, RESOLV_SIZE_MAX, &text);
        free(real);
        return text;
}

static int find_servers(HostNetwork *n) {
        _cleanup_(freep) char *host = read_text("/etc/resolv.conf");
        _cleanup_(freep) char *resolved = read_text("/run/systemd/resolve/resolv.conf");
        char gateway[INET_ADDRSTRLEN];
        int r;

        (void) inet_ntop(AF_INET, &n->gateway.address4, gateway, sizeof(gateway));
        r = network_resolv(host, resolved, n->settings.dns, gateway, &n->resolv);
        if (r < 0)
                return r;
        if (n->resolv.loopback_only)
                log_notice("The host's name servers listen on its loopback interface, where machines do not reach them. "
                           "They will ask %s: let the host's resolver listen there too, or set DNS= in hostd.conf.", gateway);
        else if (!n->resolv.servers)
                log_notice("The host has no name server, so machines have none; DNS= in hostd.conf sets one.");
        return fs_write(AT_FDCWD, RESOLV_FILE, n->resolv.text, 0644, 0, 0);
}

/* ---- the firewall ---- */

static int run_nft(const char *commands) {
        struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT);
        const char *message;
        int r = 0;

        if (!nft)
                return log_oom();
        (void) nft_ctx_buffer_error(nft);
        (void) nft_ctx_buffer_output(nft);
        if (nft_run_cmd_from_buffer(nft, commands) != 0) {
                message = nft_ctx_get_error_buffer(nft);
                r = log_error_errno(EIO, "The kernel does not take the firewall's rules: %.*s",
                                    (int) strcspn(strempty(message), "\n"), strempty(message));
        }
        nft_ctx_free(nft);
        return r;
}

static int set_rules(HostNetwork *n, const Forwarding *f) {
        _cleanup_(freep) char *text = NULL;
        int r;

        r = network_rules(&(NetworkRules) {
                        .plan = &n->plan, .machines = n->machines, .n_machines = n->n_machines,
                        .dns = n->resolv.servers, .deny = n->settings.deny, .lent4 = f->lent4, .lent6 = f->lent6,
                }, &text);
        return r < 0 ? log_error_errno(r, "Failed to write the firewall's rules: %m") : run_nft(text);
}

/* ---- the bridge ---- */

static int make_bridge(HostNetwork *n) {
        struct nlattr *info, *data;
        struct ifinfomsg *link;
        struct nlmsghdr *h;
        int r;

        if (n->index == 0) {
                h = netlink_request(n->netlink, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(*link), &link);
                mnl_attr_put_strz(h, IFLA_IFNAME, NETWORK_BRIDGE);
                mnl_attr_put(h, IFLA_ADDRESS, sizeof(n->gateway.mac), n->gateway.mac);
                info = mnl_attr_nest_start(h, IFLA_LINKINFO);
                mnl_attr_put_strz(h, IFLA_INFO_KIND, "bridge");
                data = mnl_attr_nest_start(h, IFLA_INFO_DATA);
                mnl_attr_put_u32(h, IFLA_BR_AGEING_TIME, AGEING_TIME);
                mnl_attr_put_u8(h, IFLA_BR_MCAST_SNOOPING, 0);
                mnl_attr_nest_end(h, data);
                mnl_attr_nest_end(h, info);
                r = netlink_commit(n->netlink, 0);
                if (r < 0)
                        return r;
                n->index = if_nametoindex(NETWORK_BRIDGE);
                if (n->index == 0)
                        return -errno;
        }
        netlink_put_no_link_local(netlink_change_link(n->netlink, n->index, false));
        return netlink_commit_ipv6(n->netlink);
}

static int raise_bridge(HostNetwork *n) {
        int r;

        (void) netlink_change_link(n->netlink, n->index, true);
        netlink_add_address(n->netlink, n->index, AF_INET, &n->gateway.address4, n->plan.length4);
        r = netlink_commit(n->netlink, 0);
        if (r < 0)
                return r;
        netlink_add_address(n->netlink, n->index, AF_INET6, &n->gateway.address6, 64);
        return netlink_commit_ipv6(n->netlink);
}

/* Where each is; and one that runs while the bridge is made anew is put to it. */
static int add_machine(HostNetwork *n, const NetworkMachine *m) {
        NetworkIdentity id;
        unsigned index;
        int r;

        r = network_identity(&n->plan, m->number, &id);
        if (r < 0)
                return r;
        netlink_add_neighbour(n->netlink, n->index, AF_INET, &id.address4, id.mac);
        r = netlink_commit(n->netlink, 0);
        if (r < 0)
                return r;
        netlink_add_neighbour(n->netlink, n->index, AF_INET6, &id.address6, id.mac);
        r = netlink_commit_ipv6(n->netlink);
        index = if_nametoindex(m->port);
        if (r < 0 || index == 0)
                return r;
        mnl_attr_put_u32(netlink_change_link(n->netlink, index, true), IFLA_MASTER, n->index);
        return netlink_commit(n->netlink, ENODEV);
}

static int furnish_bridge(HostNetwork *n) {
        int r;

        r = make_bridge(n);
        if (r >= 0)
                r = forwarding_prepare_link(NETWORK_BRIDGE);
        if (r >= 0)
                r = raise_bridge(n);
        for (size_t i = 0; r >= 0 && i < n->n_machines; i++)
                r = add_machine(n, n->machines + i);
        return r < 0 ? log_error_errno(r, "Failed to make the bridge " NETWORK_BRIDGE ": %m") : 0;
}

/* ---- all of it ---- */

static int prepare(HostNetwork *n) {
        int r;

        r = netlink_new(&n->netlink);
        if (r < 0)
                return log_error_errno(r, "Failed to open a netlink socket: %m");
        n->index = if_nametoindex(NETWORK_BRIDGE);
        r = settings_load(&n->settings);
        if (r < 0 && r != -EBADMSG)
                return log_error_errno(r, "Failed to read hostd.conf: %m");
        r = choose_plan(n);
        if (r >= 0)
                r = write_plan(&n->plan);
        if (r >= 0)
                r = network_identity(&n->plan, NETWORK_GATEWAY, &n->gateway);
        return r;
}

int network_up(void) {
        _cleanup_(forwarding_done) Forwarding forwarding = {};
        _cleanup_(network_done) HostNetwork n = {};
        char text[NETWORK_TEXT_MAX];
        int r;

        r = prepare(&n);
        if (r < 0)
                return r;
        r = find_machines(&n);
        if (r < 0)
                return log_error_errno(r, "Failed to read which machines there are: %m");
        r = find_servers(&n);
        if (r < 0)
                return log_error_errno(r, "Failed to write " RESOLV_FILE ": %m");
        r = forwarding_load(&forwarding);
        if (r < 0)
                return log_error_errno(r, "Failed to read what the host forwards: %m");
        /* The rules before what they rule. */
        r = set_rules(&n, &forwarding);
        if (r >= 0)
                r = furnish_bridge(&n);
        if (r < 0)
                return r;
        r = forwarding_lend(&forwarding);
        if (r < 0)
                return log_error_errno(r, "Failed to let the host forward: %m");
        network_plan_format(&n.plan, text, sizeof(text));
        log_info("The machines' network is %.*s, machines in it: %zu.", (int) strcspn(text, "\n"), text, n.n_machines);
        return 0;
}

int network_down(void) {
        _cleanup_(netlink_freep) Netlink *n = NULL;
        unsigned index = if_nametoindex(NETWORK_BRIDGE);
        struct ifinfomsg *link;
        int r, k;

        r = netlink_new(&n);
        if (r >= 0 && index != 0) {
                netlink_request(n, RTM_DELLINK, 0, sizeof(*link), &link);
                link->ifi_index = (int) index;
                r = netlink_commit(n, ENODEV);
        }
        if (r < 0)
                log_error_errno(r, "Failed to remove the bridge " NETWORK_BRIDGE ": %m");
        k = forwarding_take_back();
        r = r < 0 ? r : k;
        k = run_nft(network_rules_none());
        r = r < 0 ? r : k;
        (void) fs_unlink(AT_FDCWD, PLAN_FILE);
        (void) fs_unlink(AT_FDCWD, RESOLV_FILE);
        return r;
}
