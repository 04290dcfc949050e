/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

static int connect_inet(const char *address) {
        struct sockaddr_in sa = { .sin_family = AF_INET };
        const char *colon = strrchr(address, ':');
        char host[64] = "";
        int fd, one = 1;

        if (!colon || (size_t) (colon - address) >= sizeof(host))
                die(address, EINVAL);
        memcpy(host, address, (size_t) (colon - address));
        sa.sin_port = htons((uint16_t) parse_number("the port", colon + 1, 1, UINT16_MAX));
        if (inet_pton(AF_INET, host, &sa.sin_addr) != 1)
                die(address, EINVAL);
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0)
                die("socket", errno);
        if (connect(fd, (struct sockaddr *) &sa, sizeof(sa)) < 0)
                die(address, errno);
        return fd;
}

static int connect_unix(const char *path) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        int fd;

        (void) snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                die("socket", errno);
        if (connect(fd, (struct sockaddr *) &sa, sizeof(sa)) < 0)
                die(path, errno);
        return fd;
}

void stream_open(Stream *s, const char *address) {
        s->start = s->end = 0;
        s->fd = *address == '/' ? connect_unix(address) : connect_inet(address);
}

void stream_send(Stream *s, const char *head, const char *body, size_t size, const char *tail) {
        struct iovec iov[] = {
                { (char *) head, strlen(head) }, { (char *) body, size }, { (char *) tail, strlen(tail) },
        };
        ssize_t whole = (ssize_t) (iov[0].iov_len + size + iov[2].iov_len);

        if (writev(s->fd, iov, ELEMENTSOF(iov)) != whole)
                die("send", errno);
}

static void stream_fill(Stream *s) {
        ssize_t n;

        if (s->start > 0) {
                memmove(s->buffer, s->buffer + s->start, s->end - s->start);
                s->end -= s->start;
                s->start = 0;
        }
        n = recv(s->fd, s->buffer + s->end, sizeof(s->buffer) - s->end, 0);
        if (n <= 0)
                die("the server hung up", n < 0 ? errno : ECONNRESET);
        s->end += (size_t) n;
}

char *stream_line(Stream *s) {
        size_t seen = 0;

        for (;;) {
                char *line = s->buffer + s->start, *end = memchr(line + seen, '\n', s->end - s->start - seen);
                if (!end) {
                        seen = s->end - s->start;
                        stream_fill(s);
                        continue;
                }
                s->start += (size_t) (end - line) + 1;
                *end = 0;
                if (end > line && end[-1] == '\r')
                        end[-1] = 0;
                return line;
        }
}

char *stream_bytes(Stream *s, size_t size) {
        char *bytes;

        if (size > sizeof(s->buffer))
                die("answer", EMSGSIZE);
        while (s->end - s->start < size)
                stream_fill(s);
        bytes = s->buffer + s->start;
        s->start += size;
        return bytes;
}
