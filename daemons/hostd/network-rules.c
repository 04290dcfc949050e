/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "network-rules.h"

#include <arpa/inet.h>
#include <stdio.h>

/* A table is made, if only to be deleted: to delete one that is absent is an error. */
#define NONE                                    \
        "table inet sand\n"                     \
        "delete table inet sand\n"              \
        "table bridge sand\n"                   \
        "delete table bridge sand\n"

const char *network_rules_none(void) {
        return NONE;
}

static uint64_t rotate(uint64_t x, int n) {
        return x << n | x >> (64 - n);
}

static void sip_round(uint64_t v[4]) {
        v[0] += v[1], v[1] = rotate(v[1], 13) ^ v[0], v[0] = rotate(v[0], 32);
        v[2] += v[3], v[3] = rotate(v[3], 16) ^ v[2];
        v[0] += v[3], v[3] = rotate(v[3], 21) ^ v[0];
        v[2] += v[1], v[1] = rotate(v[1], 17) ^ v[2], v[2] = rotate(v[2], 32);
}

static uint64_t little_endian(const uint8_t *p, size_t n) {
        uint64_t x = 0;

        for (size_t i = 0; i < n; i++)
                x |= (uint64_t) p[i] << (8 * i);
        return x;
}

/* SipHash-2-4 of Aumasson and Bernstein. */
static uint64_t siphash24(const uint8_t *p, size_t n, const uint8_t key[16]) {
        uint64_t k0 = little_endian(key, 8), k1 = little_endian(key + 8, 8), last = (uint64_t) n << 56;
        uint64_t v[4] = { k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261,
                          k1 ^ 0x7465646279746573 };

        for (; n >= 8; p += 8, n -= 8) {
                uint64_t m = little_endian(p, 8);
                v[3] ^= m;
                sip_round(v);
                sip_round(v);
                v[0] ^= m;
        }
        last |= little_endian(p, n);
        v[3] ^= last;
        sip_round(v);
        sip_round(v);
        v[0] ^= last;
        v[2] ^= 0xff;
        for (int i = 0; i < 4; i++)
                sip_round(v);
        return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* A name that is too long is cut and gets 24 bits of a hash at its end, so that each machine has its own: since
 * version 250 of systemd, nspawn.c, shorten_ifname(). */
void network_port_name(const char *machine, char ret[16]) {
        static const uint8_t key[16] = { 0xe1, 0x90, 0xa4, 0x04, 0xa8, 0xef, 0x4b, 0x51,
                                         0x8c, 0xcc, 0xc3, 0x3a, 0x9f, 0x11, 0xfc, 0xa2 };
        static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        char name[128] = {};
        uint64_t hash;

        (void) snprintf(name, sizeof(name), "vb-%s", machine);
        memcpy(ret, name, 15);
        ret[15] = 0;
        if (strlen(name) < 16)
                return;
        hash = siphash24((const uint8_t *) name, strlen(name), key);
        for (int i = 0; i < 4; i++)
                ret[11 + i] = letters[hash >> (18 - 6 * i) & 63];
}

static void print_set(FILE *f, const char *rule, char *const *l, bool six, const char *verdict) {
        bool any = false;

        for (char *const *i = l; i && *i; i++)
                if ((strchr(*i, ':') != NULL) == six) {
                        if (any)
                                fprintf(f, ", %s", *i);
                        else
                                fprintf(f, "                %s { %s", rule, *i);
                        any = true;
                }
        if (any)
                fprintf(f, " } %s\n", verdict);
}

/* Not from a link to itself: that is what a bridge of the host does, where br_netfilter lets us see it. */
static void print_lent(FILE *f, const char *family, char *const *l) {
        if (strv_length(l) < 2)
                return;
        for (char *const *i = l; *i; i++) {
                const char *separator = "";

                fprintf(f, "                meta nfproto %s iifname \"%s\" oifname { ", family, *i);
                for (char *const *j = l; *j; j++)
                        if (i != j) {
                                fprintf(f, "%s\"%s\"", separator, *j);
                                separator = ", ";
                        }
                fputs(" } drop\n", f);
        }
}

static void print_inet(FILE *f, const NetworkRules *rules) {
        char four[INET_ADDRSTRLEN], six[INET6_ADDRSTRLEN];
        struct in_addr net4 = { htonl(rules->plan->prefix4) };
        unsigned length4 = rules->plan->length4;

        (void) inet_ntop(AF_INET, &net4, four, sizeof(four));
        (void) inet_ntop(AF_INET6, &rules->plan->prefix6, six, sizeof(six));
        fprintf(f,
                "table inet sand {\n"
                /* An error of ICMP comes while a connecting socket is still busy, which would wait and try again. */
                "        chain refuse {\n"
                "                meta l4proto tcp reject with tcp reset\n"
                "                reject\n"
                "        }\n"
                "        chain from_machines {\n"
                /* Before destinations are translated: to a published port of a container, even of the loopback. */
                "                type filter hook prerouting priority mangle\n"
                "                iifname != \"" NETWORK_BRIDGE "\" accept\n"
                "                ct state established,related accept\n"
                "                ip saddr != %s/%u drop\n"
                "                ip6 saddr != %s/64 drop\n", four, length4, six);
        print_set(f, "meta l4proto { tcp, udp } th dport 53 ip daddr", rules->dns, false, "accept");
        print_set(f, "meta l4proto { tcp, udp } th dport 53 ip6 daddr", rules->dns, true, "accept");
        print_set(f, "ip daddr", rules->deny, false, "goto refuse");
        print_set(f, "ip6 daddr", rules->deny, true, "goto refuse");
        fprintf(f,
                "                ip daddr { 0.0.0.0/8, 127.0.0.0/8 } drop\n"
                "                ip6 daddr { ::1, fe80::/10 } drop\n"
                "                fib daddr type { broadcast, multicast, anycast } drop\n"
                "                fib daddr type local goto refuse\n"
                "                ip daddr %1$s/%2$u goto refuse\n"
                "                ip6 daddr %3$s/64 goto refuse\n"
                "        }\n"
                "        chain to_machines {\n"
                "                type filter hook forward priority filter\n"
                "                oifname \"" NETWORK_BRIDGE "\" ct state established,related accept\n"
                "                oifname \"" NETWORK_BRIDGE "\" drop\n", four, length4, six);
        print_lent(f, "ipv4", rules->lent4);
        print_lent(f, "ipv6", rules->lent6);
        fprintf(f,
                "        }\n"
                "        chain translate {\n"
                "                type nat hook postrouting priority srcnat\n"
                "                ip saddr %s/%u oifname != \"" NETWORK_BRIDGE "\" masquerade\n"
                "                ip6 saddr %s/64 oifname != \"" NETWORK_BRIDGE "\" masquerade\n"
                "        }\n"
                "}\n", four, length4, six);
}

static void print_machine(FILE *f, const NetworkMachine *m, const NetworkIdentity *id, int family) {
        char address[INET6_ADDRSTRLEN];

        fprintf(f, "\"%s\" . %02x:%02x:%02x:%02x:%02x:%02x . %s, ", m->port, id->mac[0], id->mac[1], id->mac[2],
                id->mac[3], id->mac[4], id->mac[5],
                inet_ntop(family, family == AF_INET ? (const void *) &id->address4 : &id->address6, address,
                          sizeof(address)));
}

static void print_machines(FILE *f, const NetworkRules *rules, const char *set, const char *type, int family) {
        NetworkIdentity id;

        fprintf(f, "        set %s {\n                type ifname . ether_addr . %s\n", set, type);
        if (rules->n_machines > 0)
                fputs("                elements = { ", f);
        for (size_t i = 0; i < rules->n_machines; i++)
                if (network_identity(rules->plan, rules->machines[i].number, &id) >= 0)
                        print_machine(f, rules->machines + i, &id, family);
        fputs(rules->n_machines > 0 ? "}\n        }\n" : "        }\n", f);
}

/* Nobody needs ARP or NDP, and so nobody can lie by it. What comes to the host's address of this bridge from a port
 * that is not known comes from nobody. */
static int print_bridge(FILE *f, const NetworkRules *rules) {
        NetworkIdentity gateway;
        int r;

        r = network_identity(rules->plan, NETWORK_GATEWAY, &gateway);
        if (r < 0)
                return r;
        fputs("table bridge sand {\n", f);
        print_machines(f, rules, "machines4", "ipv4_addr", AF_INET);
        print_machines(f, rules, "machines6", "ipv6_addr", AF_INET6);
        fputs("        set ports {\n                type ifname\n", f);
        if (rules->n_machines > 0)
                fputs("                elements = { ", f);
        for (size_t i = 0; i < rules->n_machines; i++)
                fprintf(f, "\"%s\", ", rules->machines[i].port);
        fputs(rules->n_machines > 0 ? "}\n        }\n" : "        }\n", f);
        fprintf(f,
                "        chain from_machines {\n"
                "                type filter hook prerouting priority dstnat\n"
                "                ether type ip iifname . ether saddr . ip saddr @machines4 accept\n"
                "                ether type ip6 iifname . ether saddr . ip6 saddr @machines6 accept\n"
                "                ether daddr %02x:%02x:%02x:%02x:%02x:%02x drop\n"
                "                iifname @ports drop\n"
                "        }\n"
                "        chain between_machines {\n"
                "                type filter hook forward priority filter\n"
                "                iifname @ports drop\n"
                "                oifname @ports drop\n"
                "        }\n"
                "}\n",
                gateway.mac[0], gateway.mac[1], gateway.mac[2], gateway.mac[3], gateway.mac[4], gateway.mac[5]);
        return 0;
}

int network_rules(const NetworkRules *rules, char **ret) {
        _cleanup_(freep) char *text = NULL;
        size_t size;
        FILE *f;
        int r;

        f = open_memstream(&text, &size);
        if (!f)
                return -ENOMEM;
        fputs(NONE, f);
        print_inet(f, rules);
        r = print_bridge(f, rules);
        if (fclose(f) != 0)
                return -ENOMEM;
        if (r < 0)
                return r;
        *ret = TAKE_PTR(text);
        return 0;
}
