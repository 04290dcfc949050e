/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "journal.h"

#include <assert.h>
#include <endian.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "macro.h"

int journal_open(const char *socket_path, Journal *ret) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        _cleanup_(closep) int fd = -EBADF;

        if (strlen(socket_path) >= sizeof(sa.sun_path))
                return -ENAMETOOLONG;
        strcpy(sa.sun_path, socket_path);

        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        if (connect(fd, (struct sockaddr *) &sa, sizeof(sa)) < 0)
                return -errno;
        *ret = (Journal) { .fd = TAKE_FD(fd) };
        return 0;
}

void journal_done(Journal *j) {
        j->fd = safe_close(j->fd);
}

int journal_send(Journal *j, const JournalField *fields, size_t n) {
        struct iovec iov[JOURNAL_FIELDS_MAX * 5];
        uint64_t lengths[JOURNAL_FIELDS_MAX];
        size_t k = 0;

        assert(n <= JOURNAL_FIELDS_MAX);
        if (j->fd < 0)
                return -ENOTCONN;

        for (size_t i = 0; i < n; i++) {
                const JournalField *f = fields + i;
                if (!f->name || !f->value)
                        continue;
                size_t size = f->size == SIZE_MAX ? strlen(f->value) : f->size;
                iov[k++] = (struct iovec) { (char *) f->name, strlen(f->name) };
                if (memchr(f->value, '\n', size)) { /* a value with line breaks has its length before it */
                        lengths[i] = htole64(size);
                        iov[k++] = (struct iovec) { (char *) "\n", 1 };
                        iov[k++] = (struct iovec) { &lengths[i], sizeof(uint64_t) };
                } else
                        iov[k++] = (struct iovec) { (char *) "=", 1 };
                iov[k++] = (struct iovec) { (char *) f->value, size };
                iov[k++] = (struct iovec) { (char *) "\n", 1 };
        }

        struct msghdr mh = { .msg_iov = iov, .msg_iovlen = k };
        if (sendmsg(j->fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
                return 0;
        int r = -errno;
        j->dropped++;
        return r == -ENOBUFS || r == -ECONNREFUSED ? -EAGAIN : r;
}
