/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "listen.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include "macro.h"

#define BACKLOG 4096

typedef union Address {
        struct sockaddr sa;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un un;
} Address;

static bool address_is_local(const Address *a) {
        switch (a->sa.sa_family) {
        case AF_UNIX:
                return true;
        case AF_INET:
                return (ntohl(a->v4.sin_addr.s_addr) >> 24) == IN_LOOPBACKNET;
        case AF_INET6:
                return IN6_IS_ADDR_LOOPBACK(&a->v6.sin6_addr) ||
                        (IN6_IS_ADDR_V4MAPPED(&a->v6.sin6_addr) && a->v6.sin6_addr.s6_addr[12] == IN_LOOPBACKNET);
        default:
                return false;
        }
}

static int address_format(const Address *a, socklen_t size, char **ret) {
        char ip[INET6_ADDRSTRLEN];
        int r;

        switch (a->sa.sa_family) {
        case AF_UNIX:
                r = size > offsetof(struct sockaddr_un, sun_path) && a->un.sun_path[0]
                        ? asprintf(ret, "%.*s", (int) sizeof(a->un.sun_path), a->un.sun_path)
                        : asprintf(ret, "a unix socket");
                break;
        case AF_INET:
                (void) inet_ntop(AF_INET, &a->v4.sin_addr, ip, sizeof(ip));
                r = asprintf(ret, "%s:%u", ip, ntohs(a->v4.sin_port));
                break;
        case AF_INET6:
                (void) inet_ntop(AF_INET6, &a->v6.sin6_addr, ip, sizeof(ip));
                r = asprintf(ret, "[%s]:%u", ip, ntohs(a->v6.sin6_port));
                break;
        default:
                r = asprintf(ret, "a socket of address family %d", a->sa.sa_family);
        }
        return r < 0 ? -ENOMEM : 0;
}

int listen_check(int fd, bool *ret_local, char **ret_name) {
        Address a = {};
        socklen_t size = sizeof(a);
        int r;

        r = sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1);
        if (r < 0)
                return r;
        if (r == 0)
                return -ENOTSOCK;
        if (getsockname(fd, &a.sa, &size) < 0)
                return -errno;
        r = address_format(&a, size, ret_name);
        if (r < 0)
                return r;
        *ret_local = address_is_local(&a);
        return a.sa.sa_family == AF_UNIX || a.sa.sa_family == AF_INET || a.sa.sa_family == AF_INET6 ? 0 : -EAFNOSUPPORT;
}

static int parse_port(const char *s, in_port_t *ret) {
        char *end;
        unsigned long n;

        if (*s < '0' || *s > '9')
                return -EINVAL;
        errno = 0;
        n = strtoul(s, &end, 10);
        if (errno != 0 || *end || n > UINT16_MAX)
                return -EINVAL;
        *ret = htons((uint16_t) n);
        return 0;
}

static int parse_inet(const char *s, Address *ret, socklen_t *ret_size) {
        char host[INET6_ADDRSTRLEN + 2];
        const char *colon = strrchr(s, ':');
        size_t n;
        in_port_t port;

        if (!colon || (size_t) (colon - s) >= sizeof(host) || parse_port(colon + 1, &port) < 0)
                return -EINVAL;
        n = (size_t) (colon - s);
        memcpy(host, s, n);
        host[n] = 0;
        if (n > 2 && host[0] == '[' && host[n - 1] == ']') {
                host[n - 1] = 0;
                ret->v6 = (struct sockaddr_in6) { .sin6_family = AF_INET6, .sin6_port = port };
                *ret_size = sizeof(ret->v6);
                return inet_pton(AF_INET6, host + 1, &ret->v6.sin6_addr) == 1 ? 0 : -EINVAL;
        }
        ret->v4 = (struct sockaddr_in) { .sin_family = AF_INET, .sin_port = port };
        *ret_size = sizeof(ret->v4);
        return inet_pton(AF_INET, streq(host, "localhost") ? "127.0.0.1" : host, &ret->v4.sin_addr) == 1 ? 0 : -EINVAL;
}

static int parse_address(const char *s, Address *ret, socklen_t *ret_size) {
        *ret = (Address) {};
        if (*s != '/')
                return parse_inet(s, ret, ret_size);
        if (strlen(s) >= sizeof(ret->un.sun_path))
                return -EINVAL;
        ret->un.sun_family = AF_UNIX;
        memcpy(ret->un.sun_path, s, strlen(s) + 1);
        *ret_size = sizeof(ret->un);
        return 0;
}

int listen_open(const char *address, bool allowed) {
        _cleanup_(closep) int fd = -EBADF;
        socklen_t size;
        Address a;
        int one = 1, r;

        r = parse_address(address, &a, &size);
        if (r < 0)
                return r;
        if (!allowed && !address_is_local(&a))
                return -EPERM;
        fd = socket(a.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        if (a.sa.sa_family != AF_UNIX) {
                /* Accepted sockets inherit TCP_NODELAY. */
                if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0)
                        return -errno;
        }
        if (bind(fd, &a.sa, size) < 0 || listen(fd, BACKLOG) < 0)
                return -errno;
        return TAKE_FD(fd);
}
