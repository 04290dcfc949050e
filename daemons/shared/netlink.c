/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "netlink.h"

#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

/* Room for one request whatever its attributes are; all of ours are far smaller. */
#define REQUEST_ROOM 512U
#define BUFFER_SIZE (64U * 1024U)
#define ANSWER_SIZE (32U * 1024U)

struct Netlink {
        struct mnl_socket *socket;
        uint32_t sequence; /* of the last request */
        unsigned n;        /* requests that were begun and not sent */
        bool full;
        struct nlmsghdr *last;
        char buffer[BUFFER_SIZE];
};

int netlink_new(Netlink **ret) {
        _cleanup_(netlink_freep) Netlink *n = malloc(sizeof(Netlink));

        if (!n)
                return -ENOMEM;
        memset(n, 0, offsetof(Netlink, buffer));
        n->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
        if (!n->socket || mnl_socket_bind(n->socket, 0, MNL_SOCKET_AUTOPID) < 0)
                return -errno;
        *ret = TAKE_PTR(n);
        return 0;
}

Netlink *netlink_free(Netlink *n) {
        if (n && n->socket)
                (void) mnl_socket_close(n->socket);
        free(n);
        return NULL;
}

/* Where the next request goes: requests grow by their attributes until the next one is begun. */
static char *behind_last(const Netlink *n) {
        return n->last ? (char *) n->last + MNL_ALIGN(n->last->nlmsg_len) : (char *) n->buffer;
}

struct nlmsghdr *netlink_request(Netlink *n, uint16_t type, uint16_t flags, size_t extra, void *ret_extra) {
        char *p = behind_last(n);

        if (p + REQUEST_ROOM > n->buffer + sizeof(n->buffer)) {
                n->full = true; /* and the last one is lost, which netlink_commit() says */
                p = (char *) n->last;
        }
        n->last = mnl_nlmsg_put_header(p);
        n->last->nlmsg_type = type;
        n->last->nlmsg_flags = (uint16_t) (NLM_F_REQUEST | NLM_F_ACK | flags);
        n->last->nlmsg_seq = ++n->sequence;
        n->n++;
        *(void **) ret_extra = mnl_nlmsg_put_extra_header(n->last, extra);
        return n->last;
}

/* Answers come in the order of the requests. */
static int read_answers(Netlink *n, unsigned wanted, int ignore) {
        char answer[ANSWER_SIZE];
        int result = 0;

        while (wanted > 0) {
                ssize_t size = mnl_socket_recvfrom(n->socket, answer, sizeof(answer));
                int left = (int) size;

                if (size < 0)
                        return -errno;
                for (struct nlmsghdr *h = (struct nlmsghdr *) answer; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
                        const struct nlmsgerr *e = mnl_nlmsg_get_payload(h);

                        if (h->nlmsg_type != NLMSG_ERROR || wanted == 0)
                                continue;
                        wanted--;
                        if (e->error < 0 && e->error != -ignore && result >= 0)
                                result = e->error;
                }
        }
        return result;
}

int netlink_commit(Netlink *n, int ignore) {
        size_t size = (size_t) (behind_last(n) - n->buffer);
        unsigned wanted = n->n;
        bool full = n->full;

        n->last = NULL;
        n->n = 0;
        n->full = false;
        if (full)
                return -E2BIG;
        if (wanted == 0)
                return 0;
        if (mnl_socket_sendto(n->socket, n->buffer, size) < 0)
                return -errno;
        return read_answers(n, wanted, ignore);
}

int netlink_dump(Netlink *n, mnl_cb_t callback, void *userdata) {
        char answer[ANSWER_SIZE];
        uint32_t sequence = n->last->nlmsg_seq;
        size_t size = n->last->nlmsg_len;
        int r = 1;

        n->last->nlmsg_flags |= NLM_F_DUMP;
        n->last->nlmsg_flags &= (uint16_t) ~NLM_F_ACK;
        n->last = NULL;
        n->n = 0;
        if (mnl_socket_sendto(n->socket, n->buffer, size) < 0)
                return -errno;
        while (r > 0) {
                ssize_t k = mnl_socket_recvfrom(n->socket, answer, sizeof(answer));
                if (k < 0)
                        return -errno;
                r = mnl_cb_run(answer, (size_t) k, sequence, mnl_socket_get_portid(n->socket), callback, userdata);
                if (r < 0)
                        return -errno;
        }
        return 0;
}

struct nlmsghdr *netlink_change_link(Netlink *n, unsigned index, bool up) {
        struct ifinfomsg *link;
        struct nlmsghdr *h;

        h = netlink_request(n, RTM_NEWLINK, 0, sizeof(*link), &link);
        link->ifi_index = (int) index;
        link->ifi_flags = link->ifi_change = up ? IFF_UP : 0;
        return h;
}

void netlink_put_no_link_local(struct nlmsghdr *h) {
        struct nlattr *families = mnl_attr_nest_start(h, IFLA_AF_SPEC), *family = mnl_attr_nest_start(h, AF_INET6);

        mnl_attr_put_u8(h, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
        mnl_attr_nest_end(h, family);
        mnl_attr_nest_end(h, families);
}

void netlink_add_address(Netlink *n, unsigned index, uint8_t family, const void *address, unsigned length) {
        size_t size = family == AF_INET ? 4 : 16;
        struct ifaddrmsg *a;
        struct nlmsghdr *h;

        h = netlink_request(n, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*a), &a);
        a->ifa_family = family;
        a->ifa_prefixlen = (uint8_t) length;
        a->ifa_flags = IFA_F_PERMANENT | IFA_F_NODAD;
        a->ifa_index = index;
        mnl_attr_put(h, IFA_LOCAL, size, address);
        mnl_attr_put(h, IFA_ADDRESS, size, address);
}

void netlink_add_neighbour(Netlink *n, unsigned index, uint8_t family, const void *address, const uint8_t mac[6]) {
        struct ndmsg *neighbour;
        struct nlmsghdr *h;

        h = netlink_request(n, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*neighbour), &neighbour);
        neighbour->ndm_family = family;
        neighbour->ndm_ifindex = (int) index;
        neighbour->ndm_state = NUD_PERMANENT;
        mnl_attr_put(h, NDA_DST, family == AF_INET ? 4 : 16, address);
        mnl_attr_put(h, NDA_LLADDR, 6, mac);
}

int netlink_commit_ipv6(Netlink *n) {
        int r = netlink_commit(n, EOPNOTSUPP);
        return r == -EACCES || r == -EAFNOSUPPORT ? 0 : r;
}
