/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "network-plan.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <stdio.h>

/* "ADDRESS/LENGTH" */
static int parse_prefix(int family, const char *s, void *ret_address, unsigned *ret_length) {
        char address[INET6_ADDRSTRLEN];
        const char *slash = strchr(s, '/');
        unsigned long length;
        char *end;

        if (!slash || (size_t) (slash - s) >= sizeof(address) || !isdigit((unsigned char) slash[1]))
                return -EINVAL;
        memcpy(address, s, (size_t) (slash - s));
        address[slash - s] = 0;
        length = strtoul(slash + 1, &end, 10);
        if (*end || length > 128 || inet_pton(family, address, ret_address) != 1)
                return -EINVAL;
        *ret_length = (unsigned) length;
        return 0;
}

int network_parse4(const char *s, NetworkPlan *p) {
        struct in_addr a;
        unsigned length;
        int r;

        r = parse_prefix(AF_INET, s, &a, &length);
        if (r < 0)
                return r;
        if (length < 8 || length > 29 || (ntohl(a.s_addr) & (UINT32_MAX >> length)) != 0)
                return -EINVAL;
        p->prefix4 = ntohl(a.s_addr);
        p->length4 = length;
        return 0;
}

int network_parse6(const char *s, NetworkPlan *p) {
        static const uint8_t zero[8] = {};
        struct in6_addr a;
        unsigned length;
        int r;

        r = parse_prefix(AF_INET6, s, &a, &length);
        if (r < 0)
                return r;
        if (length != 64 || (a.s6_addr[0] & 0xfe) != 0xfc || memcmp(a.s6_addr + 8, zero, sizeof(zero)) != 0)
                return -EINVAL;
        p->prefix6 = a;
        return 0;
}

void network_plan_format(const NetworkPlan *p, char *buf, size_t size) {
        char four[INET_ADDRSTRLEN], six[INET6_ADDRSTRLEN];
        struct in_addr a = { htonl(p->prefix4) };

        assert(size >= NETWORK_TEXT_MAX);
        (void) snprintf(buf, size, "%s/%u %s/64\n", inet_ntop(AF_INET, &a, four, sizeof(four)), p->length4,
                        inet_ntop(AF_INET6, &p->prefix6, six, sizeof(six)));
}

int network_plan_parse(const char *text, NetworkPlan *ret) {
        char four[64], six[64], rest;
        NetworkPlan p = {};

        if (sscanf(text, "%63s %63s %c", four, six, &rest) != 2)
                return -EINVAL;
        if (network_parse4(four, &p) < 0 || network_parse6(six, &p) < 0)
                return -EINVAL;
        *ret = p;
        return 0;
}

unsigned network_machine_last(const NetworkPlan *p) {
        /* Less the broadcast address. */
        return (UINT32_MAX >> p->length4) - 1;
}

int network_number_parse(const char *s, unsigned *ret) {
        unsigned long n;
        char *end;

        if (!isdigit((unsigned char) s[0]))
                return -EINVAL;
        n = strtoul(s, &end, 10);
        if (*end == '\n')
                end++;
        if (*end || n < NETWORK_MACHINE_FIRST || n > UINT32_MAX)
                return -EINVAL;
        *ret = (unsigned) n;
        return 0;
}

int network_identity(const NetworkPlan *p, unsigned number, NetworkIdentity *ret) {
        uint32_t n6 = htonl(number);

        if (number < NETWORK_GATEWAY || number > network_machine_last(p))
                return -ERANGE;
        ret->address4.s_addr = htonl(p->prefix4 + number);
        ret->address6 = p->prefix6;
        memcpy(ret->address6.s6_addr + 12, &n6, sizeof(n6));
        ret->mac[0] = 0x02; /* locally administered */
        ret->mac[1] = 0x53;
        memcpy(ret->mac + 2, &ret->address4.s_addr, 4);
        return 0;
}
