/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The connection: authentication, framing, header fields, descriptors. wire.h has the guarantees; the
 * format is that of https://dbus.freedesktop.org/doc/dbus-specification.html. */

#include "wire.h"

#include <assert.h>
#include <endian.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define FIXED_HEADER 16U
#define FIRST_CAPACITY (16U * 1024U) /* small messages, and the head of a large one, in one recvmsg() */
#define AUTH_LINE_MAX 256U
#define NATIVE_ORDER (__BYTE_ORDER == __LITTLE_ENDIAN ? 'l' : 'B')

/* All of the client's side of the authentication, as nothing in it depends on the answers. With EXTERNAL
 * and no argument the server takes who we are from the socket. */
static const char auth_lines[] = "\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n";

/* And all of the server's, which waits for nothing either: both ends are ours, and who may hold an end was decided
 * when the socket was passed. The id is one of a server that has no address. */
static const char answer_lines[] = "DATA\r\nOK 5a5d0c0de5a5d0c0de5a5d0c0de5a5d0\r\nAGREE_UNIX_FD\r\n";

/* sd-bus reads 256 bytes while it authenticates, and what of a message is among them wakes nobody: it would
 * lie there until more arrives. A field that the specification leaves free, and wants ignored, makes the
 * first message long enough to have a part beyond. */
#define AUTH_READ_SIZE 256U
static const char padding[] = "                                                                        "
        "                                                                                             ";
_Static_assert(sizeof(auth_lines) + FIXED_HEADER + sizeof(padding) + 64 > AUTH_READ_SIZE,
               "the first message might stay in the authentication's buffer");

enum {
        FIELD_PATH = 1,
        FIELD_INTERFACE,
        FIELD_MEMBER,
        FIELD_ERROR_NAME,
        FIELD_REPLY_SERIAL,
        FIELD_DESTINATION,
        FIELD_SENDER,
        FIELD_SIGNATURE,
        FIELD_UNIX_FDS,
        FIELD_PADDING = 127,
};

/* A message, or the rest of one, that waits for room in the socket. */
struct WireQueued {
        WireQueued *next;
        int fd;            /* goes with the first byte; -EBADF: none, or gone */
        size_t size, done;
        uint8_t data[];
};

enum {
        FLAG_NO_REPLY_EXPECTED = 1,
};

static inline size_t align_to(size_t n, size_t alignment) {
        return (n + alignment - 1) & ~(alignment - 1);
}

void wire_init(Wire *w, int fd) {
        assert(w);
        assert(fd >= 0);

        /* Not zeroed as a whole: what is not touched needs no page. */
        w->fd = fd;
        w->server = w->nonblocking = false;
        w->queue = NULL;
        w->queued = 0;
        w->serial = 0;
        w->authenticated = w->answered = false;
        w->buffer = NULL;
        w->size = w->capacity = 0;
        w->n_fds = 0;
}

void wire_init_server(Wire *w, int fd, void (*on_queued)(Wire *w)) {
        wire_init(w, fd);
        w->on_queued = on_queued;
        w->server = w->nonblocking = true;
}

static void queue_drop_first(Wire *w) {
        WireQueued *q = w->queue;

        w->queue = q->next;
        w->queued -= q->size - q->done;
        (void) safe_close(q->fd);
        free(q);
}

void wire_done(Wire *w) {
        assert(w);

        while (w->queue)
                queue_drop_first(w);

        for (unsigned i = 0; i < w->n_fds; i++)
                (void) safe_close(w->fds[i]);
        w->n_fds = 0;
        free(w->buffer);
        w->buffer = NULL;
        w->size = w->capacity = 0;
        w->fd = safe_close(w->fd);
}

void wire_message_done(WireMessage *m) {
        if (!m)
                return;
        for (unsigned i = 0; i < m->n_fds; i++)
                (void) safe_close(m->fds[i]);
        free(m->fds);
        free(m->buffer);
        *m = (WireMessage) {};
}

bool wire_message_is_call(const WireMessage *m, const char *interface, const char *member, const char *signature) {
        return m->type == WIRE_CALL && m->interface && streq(m->interface, interface) &&
                streq(m->member, member) && streq(m->signature, signature);
}

/* Receiving */

/* Waits until the socket can be read. */
static int wait_readable(int fd, uint64_t deadline) {
        struct pollfd p = { .fd = fd, .events = POLLIN };

        for (;;) {
                struct timespec ts, *timeout = NULL;
                int n;

                if (deadline != USEC_INFINITY) {
                        uint64_t left = usec_sub(deadline, now_usec());

                        ts = (struct timespec) {
                                .tv_sec = (time_t) (left / USEC_PER_SEC),
                                .tv_nsec = (long) (left % USEC_PER_SEC) * 1000,
                        };
                        timeout = &ts;
                }
                n = ppoll(&p, 1, timeout, NULL);
                if (n > 0)
                        return 0;
                if (n == 0)
                        return -ETIMEDOUT;
                if (errno != EINTR)
                        return -errno;
        }
}

/* Keeps the descriptors that came with a chunk of bytes, in their order; closes all if any is too many. */
static int take_fds(Wire *w, struct msghdr *mh) {
        int r = mh->msg_flags & MSG_CTRUNC ? -EBADMSG : 0;

        for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
                size_t n;

                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                for (size_t i = 0; i < n; i++) {
                        int fd;

                        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
                        if (w->n_fds >= WIRE_FDS_MAX) {
                                (void) safe_close(fd);
                                r = -EBADMSG;
                        } else
                                w->fds[w->n_fds++] = fd;
                }
        }
        return r;
}

/* One recvmsg() to the end of what is there. 1: got something; 0: end of file. */
static int receive_some(Wire *w, uint64_t deadline) {
        union {
                struct cmsghdr header;
                uint8_t space[CMSG_SPACE(sizeof(int) * WIRE_FDS_MAX)];
        } control;
        struct iovec iov = { w->buffer + w->size, w->capacity - w->size };
        struct msghdr mh = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control),
        };
        ssize_t n;
        int r;

        assert(iov.iov_len > 0);

        /* Never asleep in recvmsg(): a peer that takes what we sent last makes our socket writable, and the kernel
         * wakes whoever sleeps in there, for nothing (two context switches a message); poll() looks at what for. */
        if (!w->nonblocking) {
                r = wait_readable(w->fd, deadline);
                if (r < 0)
                        return r;
        }
        for (;;) {
                n = recvmsg(w->fd, &mh, MSG_CMSG_CLOEXEC | (w->nonblocking ? MSG_DONTWAIT : 0));
                if (n >= 0)
                        break;
                if (errno == ECONNRESET)
                        return 0;
                if (errno == EAGAIN && !w->nonblocking) {
                        r = wait_readable(w->fd, deadline);
                        if (r < 0)
                                return r;
                } else if (errno != EINTR)
                        return -errno;
        }
        w->size += (size_t) n;
        r = take_fds(w, &mh);
        if (r < 0)
                return r;
        return n > 0;
}

static void drop_front(Wire *w, size_t n) {
        w->size -= n;
        memmove(w->buffer, w->buffer + n, w->size);
}

/* Reads past the client's lines. */
static int skip_authentication(Wire *w) {
        size_t l = sizeof(auth_lines) - 1;

        if (memcmp(w->buffer, auth_lines, MIN(w->size, l)) != 0)
                return -EBADMSG;
        if (w->size < l)
                return 0;
        w->answered = true;
        drop_front(w, l);
        return 1;
}

/* Reads past the server's answers, of which the last one accepts descriptors. */
static int skip_answers(Wire *w) {
        if (w->server && !w->answered)
                return w->size > 0 ? skip_authentication(w) : 0;
        while (!w->answered) {
                const char *line = (const char *) w->buffer;
                const char *end = w->size > 0 ? memmem(line, w->size, "\r\n", 2) : NULL;
                size_t l;

                if (!end)
                        return w->size > AUTH_LINE_MAX ? -EBADMSG : 0;
                l = (size_t) (end - line);
                if (l == strlen("AGREE_UNIX_FD") && memcmp(line, "AGREE_UNIX_FD", l) == 0)
                        w->answered = true;
                else if ((l >= 8 && memcmp(line, "REJECTED", 8) == 0) || (l >= 5 && memcmp(line, "ERROR", 5) == 0))
                        return -EPERM;
                else if (!(l >= 4 && memcmp(line, "DATA", 4) == 0) && !(l >= 3 && memcmp(line, "OK ", 3) == 0))
                        return -EBADMSG;
                drop_front(w, l + 2);
        }
        return 1;
}

static uint32_t load_u32(const uint8_t *p, bool swap) {
        uint32_t v;

        memcpy(&v, p, sizeof(v));
        return swap ? __builtin_bswap32(v) : v;
}

/* The size of the message at the buffer's front; 0 as long as that can't be told. */
static int message_size(const Wire *w, size_t *ret) {
        uint32_t body, fields;
        bool swap;

        *ret = 0;
        if (w->size < FIXED_HEADER)
                return 0;
        if (w->buffer[0] != 'l' && w->buffer[0] != 'B')
                return -EBADMSG;
        swap = w->buffer[0] != NATIVE_ORDER;
        body = load_u32(w->buffer + 4, swap);
        fields = load_u32(w->buffer + 12, swap);
        if (fields > WIRE_HEADER_MAX || body > WIRE_MESSAGE_MAX)
                return -EBADMSG;
        *ret = align_to(FIXED_HEADER + fields, 8) + body;
        return *ret > WIRE_MESSAGE_MAX ? -EBADMSG : 0;
}

/* Makes a message of the buffer's front, which holds all of its `total` bytes. What follows them, rarely
 * anything, moves to a buffer of its own. */
static int cut_message(Wire *w, size_t total, WireMessage *m) {
        uint8_t *rest = NULL;
        size_t left = w->size - total;

        if (left > 0) {
                rest = malloc(MAX(left, (size_t) FIRST_CAPACITY));
                if (!rest)
                        return -ENOMEM;
                memcpy(rest, w->buffer + total, left);
        }
        m->buffer = w->buffer;
        if (w->server && w->capacity > 2 * total) { /* it may wait in a queue with the call in it */
                void *smaller = realloc(m->buffer, total);
                if (smaller)
                        m->buffer = smaller;
        }
        w->buffer = rest;
        w->size = left;
        w->capacity = left > 0 ? MAX(left, (size_t) FIRST_CAPACITY) : 0;
        return 0;
}

static int claim_fds(Wire *w, uint32_t n, WireMessage *m) {
        /* All bytes were read and descriptors are left over: they are nobody's. */
        if (n > w->n_fds || (n < w->n_fds && w->size == 0))
                return -EBADMSG;
        if (n == 0)
                return 0;
        m->fds = malloc(n * sizeof(int));
        if (!m->fds)
                return -ENOMEM;
        memcpy(m->fds, w->fds, n * sizeof(int));
        m->n_fds = n;
        w->n_fds -= n;
        memmove(w->fds, w->fds + n, w->n_fds * sizeof(int));
        return 0;
}

/* Takes one header field with its value; unknown ones are read past, as the specification wants. */
static int parse_field(WireReader *r, WireMessage *m, uint32_t *n_fds) {
        const char *signature = "", *s;
        const char **string = NULL;
        uint32_t *number = NULL;
        uint8_t code = 0;

        (void) wire_read_align(r, 8);
        (void) wire_read_byte(r, &code);
        if (wire_read_signature(r, &signature) < 0)
                return -EBADMSG;

        switch (code) {
        case FIELD_PATH:
                string = &m->path;
                break;
        case FIELD_INTERFACE:
                string = &m->interface;
                break;
        case FIELD_MEMBER:
                string = &m->member;
                break;
        case FIELD_ERROR_NAME:
                string = &m->error;
                break;
        case FIELD_REPLY_SERIAL:
                number = &m->reply_serial;
                break;
        case FIELD_UNIX_FDS:
                number = n_fds;
                break;
        case FIELD_SIGNATURE:
                return streq(signature, "g") ? wire_read_signature(r, &m->signature) : -EBADMSG;
        default:
                if (wire_skip(r, &signature) < 0)
                        return -EBADMSG;
                return *signature ? -EBADMSG : 0;
        }

        if (number)
                return streq(signature, "u") ? wire_read_u32(r, number) : -EBADMSG;
        if (!streq(signature, code == FIELD_PATH ? "o" : "s") || wire_read_string(r, &s) < 0)
                return -EBADMSG;
        *string = s;
        return 0;
}

/* Each type of message has fields that it can't do without. */
static bool fields_complete(const WireMessage *m) {
        switch (m->type) {
        case WIRE_CALL:
                return m->path && m->member;
        case WIRE_REPLY:
                return m->reply_serial != 0;
        case WIRE_ERROR:
                return m->reply_serial != 0 && m->error;
        case WIRE_SIGNAL:
                return m->path && m->interface && m->member;
        default:
                return true; /* a type of the future is dropped by whoever looks for one of these */
        }
}

static int parse_message(Wire *w, size_t total, WireMessage *m) {
        const uint8_t *p = m->buffer;
        uint32_t n_fds = 0;
        WireReader r;
        int q;

        m->swap = p[0] != NATIVE_ORDER;
        m->type = p[1];
        m->no_reply = p[2] & FLAG_NO_REPLY_EXPECTED;
        m->serial = load_u32(p + 8, m->swap);
        m->signature = "";
        if (m->type == 0 || p[3] != 1 || m->serial == 0)
                return -EBADMSG;

        m->body_size = load_u32(p + 4, m->swap);
        m->body = p + total - m->body_size;
        r = (WireReader) {
                .message = m,
                .data = p,
                .size = FIXED_HEADER + load_u32(p + 12, m->swap),
                .position = FIXED_HEADER,
                .swap = m->swap,
        };
        while (r.position < r.size) {
                q = parse_field(&r, m, &n_fds);
                if (q < 0)
                        return q;
        }
        if (!fields_complete(m) || (m->body_size > 0 && !*m->signature))
                return -EBADMSG;
        return claim_fds(w, n_fds, m);
}

static int grow(Wire *w, size_t capacity) {
        uint8_t *p;

        if (w->capacity >= capacity)
                return 0;
        p = realloc(w->buffer, capacity);
        if (!p)
                return -ENOMEM;
        w->buffer = p;
        w->capacity = capacity;
        return 0;
}

bool wire_has_message(const Wire *w) {
        size_t total;

        if (!w->answered)
                return false;
        return message_size(w, &total) < 0 || (total > 0 && w->size >= total);
}

int wire_prepare(Wire *w) {
        int r = grow(w, FIRST_CAPACITY);

        if (r >= 0)
                memset(w->buffer, 0, 4096);
        return r;
}

int wire_wait_answers(Wire *w, uint64_t deadline) {
        for (;;) {
                int r = skip_answers(w);

                if (r != 0)
                        return MIN(r, 0);
                r = grow(w, FIRST_CAPACITY);
                if (r >= 0)
                        r = receive_some(w, deadline);
                if (r <= 0)
                        return r;
        }
}

int wire_receive(Wire *w, uint64_t deadline, WireMessage *ret) {
        WireMessage m = {};
        size_t total;
        int r;

        assert(w);
        assert(ret);

        for (;;) {
                total = 0;
                r = skip_answers(w);
                if (r > 0)
                        r = message_size(w, &total);
                if (r < 0)
                        return r;
                if (total > 0 && w->size >= total)
                        break;

                r = grow(w, MAX(total, (size_t) FIRST_CAPACITY));
                if (r < 0)
                        return r;
                r = receive_some(w, deadline);
                if (r <= 0)
                        return r;
        }

        r = cut_message(w, total, &m);
        if (r >= 0)
                r = parse_message(w, total, &m);
        if (r < 0) {
                wire_message_done(&m);
                return r;
        }
        *ret = m;
        return 1;
}

/* Sending */

static void field(WireWriter *out, uint8_t code, const char *type) {
        wire_put_align(out, 8);
        wire_put_byte(out, code);
        wire_put_signature(out, type);
}

static void field_string(WireWriter *out, uint8_t code, const char *type, const char *s) {
        field(out, code, type);
        wire_put_string(out, s);
}

static void field_u32(WireWriter *out, uint8_t code, uint32_t v) {
        field(out, code, "u");
        wire_put_u32(out, v);
}

static void begin(Wire *w, WireWriter *out, WireType type, uint8_t flags) {
        /* The fixed buffer is not zeroed: a page that is not needed is not touched. */
        out->data = out->fixed;
        out->size = 0;
        out->capacity = sizeof(out->fixed);
        out->payload = NULL;
        out->payload_size = 0;
        out->fd = out->memfd = -EBADF;
        out->n_fds = 0;
        out->error = 0;
        out->serial = ++w->serial;
        if (out->serial == 0)
                out->serial = ++w->serial;

        wire_put_u32(out, 0); /* the first four bytes follow below; lengths when they are known */
        wire_put_u32(out, 0);
        wire_put_u32(out, out->serial);
        wire_put_u32(out, 0);
        if (out->error < 0)
                return;
        out->data[0] = NATIVE_ORDER;
        out->data[1] = (uint8_t) type;
        out->data[2] = flags;
        out->data[3] = 1;
        if (!w->authenticated && !w->server)
                field_string(out, FIELD_PADDING, "s", padding);
}

/* The fields that any type may have; then the body. */
static void finish_header(WireWriter *out, const char *signature, unsigned n_fds) {
        uint32_t l;

        if (*signature) {
                field(out, FIELD_SIGNATURE, "g");
                wire_put_signature(out, signature);
        }
        out->n_fds = n_fds;
        if (n_fds > 0)
                field_u32(out, FIELD_UNIX_FDS, n_fds);
        l = (uint32_t) (out->size - FIXED_HEADER);
        wire_put_align(out, 8);
        out->body = out->size;
        if (out->error >= 0)
                memcpy(out->data + 12, &l, sizeof(l));
}

void wire_call(Wire *w, WireWriter *out, const char *path, const char *interface, const char *member,
               const char *signature, unsigned n_fds) {
        begin(w, out, WIRE_CALL, 0);
        field_string(out, FIELD_PATH, "o", path);
        field_string(out, FIELD_INTERFACE, "s", interface);
        field_string(out, FIELD_MEMBER, "s", member);
        finish_header(out, signature, n_fds);
}

void wire_signal(Wire *w, WireWriter *out, const char *path, const char *interface, const char *member,
                 const char *signature) {
        begin(w, out, WIRE_SIGNAL, FLAG_NO_REPLY_EXPECTED);
        field_string(out, FIELD_PATH, "o", path);
        field_string(out, FIELD_INTERFACE, "s", interface);
        field_string(out, FIELD_MEMBER, "s", member);
        finish_header(out, signature, 0);
}

void wire_reply(Wire *w, WireWriter *out, const WireMessage *call, const char *signature, unsigned n_fds) {
        begin(w, out, WIRE_REPLY, FLAG_NO_REPLY_EXPECTED);
        field_u32(out, FIELD_REPLY_SERIAL, call->serial);
        finish_header(out, signature, n_fds);
}

void wire_error(Wire *w, WireWriter *out, const WireMessage *call, const char *name, const char *signature) {
        begin(w, out, WIRE_ERROR, FLAG_NO_REPLY_EXPECTED);
        field_u32(out, FIELD_REPLY_SERIAL, call->serial);
        field_string(out, FIELD_ERROR_NAME, "s", name);
        finish_header(out, signature, 0);
}

void wire_writer_done(WireWriter *out) {
        if (out->data != out->fixed)
                free(out->data);
        out->data = out->fixed;
        out->memfd = safe_close(out->memfd);
}

/* Sends the vector, the descriptor with its first byte; moves both on by what was sent. 0: all of it. */
static int send_some(int socket, struct iovec **iov, size_t *n, int *fd, int flags) {
        union {
                struct cmsghdr header;
                uint8_t space[CMSG_SPACE(sizeof(int))];
        } control = {};

        while (*n > 0) {
                struct msghdr mh = { .msg_iov = *iov, .msg_iovlen = *n };
                ssize_t k;

                if (*fd >= 0) {
                        mh.msg_control = &control;
                        mh.msg_controllen = sizeof(control);
                        control.header = (struct cmsghdr) {
                                .cmsg_len = CMSG_LEN(sizeof(int)),
                                .cmsg_level = SOL_SOCKET,
                                .cmsg_type = SCM_RIGHTS,
                        };
                        memcpy(CMSG_DATA(&control.header), fd, sizeof(int));
                }
                k = sendmsg(socket, &mh, MSG_NOSIGNAL | flags);
                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return -errno;
                *fd = -EBADF;
                while (*n > 0 && (size_t) k >= (*iov)->iov_len) {
                        k -= (ssize_t) (*iov)->iov_len;
                        (*iov)++;
                        (*n)--;
                }
                if (*n > 0) {
                        (*iov)->iov_base = (uint8_t *) (*iov)->iov_base + k;
                        (*iov)->iov_len -= (size_t) k;
                }
        }
        return 0;
}

/* Keeps a copy of what could not be sent. */
static int enqueue(Wire *w, const struct iovec *iov, size_t n, int fd) {
        WireQueued **end = &w->queue, *q;
        unsigned n_queued = 0;
        size_t size = 0;

        for (; *end; end = &(*end)->next)
                n_queued++;
        if (n_queued >= WIRE_QUEUE_MAX)
                return -ENOBUFS;
        for (size_t i = 0; i < n; i++)
                size += iov[i].iov_len;
        if (size > WIRE_QUEUE_BYTES_MAX - w->queued)
                return -ENOBUFS;
        q = malloc(sizeof(WireQueued) + size);
        if (!q)
                return -ENOMEM;
        *q = (WireQueued) { .fd = -EBADF };
        if (fd >= 0) {
                q->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
                if (q->fd < 0) {
                        free(q);
                        return -errno;
                }
        }
        for (size_t i = 0; i < n; i++) {
                memcpy(q->data + q->size, iov[i].iov_base, iov[i].iov_len);
                q->size += iov[i].iov_len;
        }
        *end = q;
        if (w->queued == 0)
                w->on_queued(w);
        w->queued += size;
        return 0;
}

static int send_or_queue(Wire *w, struct iovec *iov, size_t n, int fd) {
        int r = w->queue ? -EAGAIN : 0;

        while (r >= 0 || r == -EAGAIN) {
                struct pollfd p = { .fd = w->fd, .events = POLLOUT };

                if (r == -EAGAIN && w->nonblocking)
                        return enqueue(w, iov, n, fd);
                if (r == -EAGAIN)
                        (void) poll(&p, 1, -1);
                r = send_some(w->fd, &iov, &n, &fd, w->nonblocking ? MSG_DONTWAIT : 0);
                if (r == 0)
                        return 0;
        }
        return r;
}

int wire_flush(Wire *w) {
        while (w->queue) {
                WireQueued *q = w->queue;
                struct iovec iov = { q->data + q->done, q->size - q->done }, *p = &iov;
                size_t n = 1, left;
                int fd = q->fd, r;

                r = send_some(w->fd, &p, &n, &fd, MSG_DONTWAIT);
                left = n > 0 ? p->iov_len : 0;
                if (fd < 0)
                        q->fd = safe_close(q->fd);
                w->queued -= q->size - q->done - left;
                q->done = q->size - left;
                if (r == -EAGAIN)
                        return 0;
                if (r < 0)
                        return r;
                queue_drop_first(w);
        }
        return 0;
}

int wire_send(Wire *w, WireWriter *out) {
        int fd = out->memfd >= 0 ? out->memfd : out->fd, r = out->error;

        if (r >= 0 && (out->n_fds > 0) != (fd >= 0))
                r = -EINVAL;
        if (r >= 0) {
                uint32_t body = (uint32_t) (out->size - out->body + out->payload_size);
                struct iovec iov[3];
                size_t n = 0;

                memcpy(out->data + 4, &body, sizeof(body));
                if (!w->authenticated)
                        iov[n++] = w->server ? (struct iovec) { (void *) answer_lines, sizeof(answer_lines) - 1 }
                                             : (struct iovec) { (void *) auth_lines, sizeof(auth_lines) - 1 };
                iov[n++] = (struct iovec) { out->data, out->size };
                if (out->payload_size > 0)
                        iov[n++] = (struct iovec) { (void *) out->payload, out->payload_size };
                r = send_or_queue(w, iov, n, fd);
                w->authenticated |= r >= 0;
        }
        wire_writer_done(out);
        return r;
}

int wire_refuse(Wire *w, const WireMessage *m) {
        WireWriter out;

        if (m->type != WIRE_CALL || m->no_reply)
                return 0;
        wire_error(w, &out, m, "org.freedesktop.DBus.Error.UnknownMethod", "s");
        wire_put_string(&out, "No such method here, or not with these arguments.");
        return wire_send(w, &out);
}
