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
        w->nonblocking = false;
        w->authenticated = w->answered = w->no_fds = false;
        w->serial = 0;
        w->buffer = NULL;
        w->position = w->size = w->capacity = 0;
        w->n_fds = 0;
        w->authenticate = NULL;
        w->queue = w->queue_last = NULL;
        w->n_queue = 0;
        w->queued = 0;
        w->blocked = false;
        w->lost = 0;
        w->gather = NULL;
}

int wire_init_client(Wire *w, int fd, void (*on_queued)(Wire *w)) {
        struct iovec iov = { (void *) auth_lines, sizeof(auth_lines) - 1 }, *p = &iov;
        size_t n = 1;
        int none = -EBADF;

        wire_init(w, fd);
        w->nonblocking = w->authenticated = true;
        w->on_queued = on_queued;
        return wire_send_some(fd, &p, &n, &none, MSG_DONTWAIT);
}

static void release_buffer(Wire *w) {
        free(w->buffer);
        w->buffer = NULL;
        w->position = w->size = w->capacity = 0;
}

void wire_done(Wire *w) {
        assert(w);

        wire_queue_drop(w);
        for (unsigned i = 0; i < w->n_fds; i++)
                (void) safe_close(w->fds[i]);
        w->n_fds = 0;
        release_buffer(w);
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
        bool full = mh->msg_flags & MSG_CTRUNC;

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
                                full = true;
                        } else
                                w->fds[w->n_fds++] = fd;
                }
        }
        return full || (w->answered && w->no_fds && w->n_fds > 0) ? -EBADMSG : 0;
}

/* One recvmsg() to the end of what is there. 1: got something; 0: end of file. */
static int receive_some(Wire *w, uint64_t deadline) {
        union {
                struct cmsghdr header;
                uint8_t space[CMSG_SPACE(sizeof(int) * WIRE_FDS_MAX)];
        } control;
        size_t end = w->position + w->size;
        struct iovec iov = { w->buffer + end, w->capacity - end };
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

/* The bytes that were received and are not yet part of a message. */
static const uint8_t *unread(const Wire *w) {
        return w->buffer ? w->buffer + w->position : NULL;
}

static void drop_front(Wire *w, size_t n) {
        w->position += n;
        w->size -= n;
}

/* Reads past the server's answers, of which the last one accepts descriptors. */
static int skip_answers(Wire *w) {
        while (!w->answered) {
                const char *line = (const char *) unread(w);
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

/* 1: messages follow; 0: more lines have to. */
static int pass_authentication(Wire *w) {
        if (w->answered)
                return 1;
        return w->authenticate ? w->authenticate(w) : skip_answers(w);
}

static uint32_t load_u32(const uint8_t *p, bool swap) {
        uint32_t v;

        memcpy(&v, p, sizeof(v));
        return swap ? __builtin_bswap32(v) : v;
}

/* The size of the message at the buffer's front; 0 as long as that can't be told. */
static int message_size(const Wire *w, size_t *ret) {
        const uint8_t *p = unread(w);
        uint32_t body, fields;
        bool swap;

        *ret = 0;
        if (w->size < FIXED_HEADER)
                return 0;
        if (p[0] != 'l' && p[0] != 'B')
                return -EBADMSG;
        swap = p[0] != NATIVE_ORDER;
        body = load_u32(p + 4, swap);
        fields = load_u32(p + 12, swap);
        if (fields > WIRE_HEADER_MAX || body > WIRE_MESSAGE_MAX)
                return -EBADMSG;
        *ret = align_to(FIXED_HEADER + fields, 8) + body;
        return *ret > WIRE_MESSAGE_MAX ? -EBADMSG : 0;
}

/* Makes a message of the unread bytes' front, which is all of its `total` bytes. The last one takes the buffer over,
 * as each large one is; the others are copied out of it. */
static int cut_message(Wire *w, size_t total, WireMessage *m) {
        if (w->size > total) {
                m->buffer = malloc(total);
                if (!m->buffer)
                        return -ENOMEM;
                memcpy(m->buffer, unread(w), total);
                drop_front(w, total);
                return 0;
        }
        if (w->position > 0)
                memmove(w->buffer, unread(w), total);
        m->buffer = TAKE_PTR(w->buffer);
        if (w->authenticate && w->capacity > 2 * total) { /* it may wait in a queue with the call in it */
                void *smaller = realloc(m->buffer, total);
                if (smaller)
                        m->buffer = smaller;
        }
        release_buffer(w);
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

/* Room for `wanted` unread bytes, so that those that are missing can be received. */
static int make_room(Wire *w, size_t wanted) {
        uint8_t *p;

        if (w->position > 0) { /* the beginning of one message at most is left */
                memmove(w->buffer, unread(w), w->size);
                w->position = 0;
        }
        if (w->capacity >= wanted)
                return 0;
        p = realloc(w->buffer, MAX(wanted, (size_t) FIRST_CAPACITY));
        if (!p)
                return -ENOMEM;
        w->buffer = p;
        w->capacity = MAX(wanted, (size_t) FIRST_CAPACITY);
        return 0;
}

bool wire_has_message(const Wire *w) {
        size_t total;

        if (!w->answered)
                return false;
        return message_size(w, &total) < 0 || (total > 0 && w->size >= total);
}

int wire_prepare(Wire *w) {
        int r = make_room(w, 1);

        if (r >= 0)
                memset(w->buffer, 0, 4096);
        return r;
}

int wire_wait_answers(Wire *w, uint64_t deadline) {
        for (;;) {
                int r = pass_authentication(w);

                if (r != 0)
                        return MIN(r, 0);
                r = make_room(w, w->size + 1);
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
                r = pass_authentication(w);
                if (r > 0)
                        r = message_size(w, &total);
                if (r < 0)
                        return r;
                if (total > 0 && w->size >= total)
                        break;

                r = make_room(w, MAX(total, w->size + 1));
                if (r >= 0)
                        r = receive_some(w, deadline);
                if (r == -EAGAIN && w->size == 0)
                        release_buffer(w);
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
        if (!w->authenticated && !w->authenticate)
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

int wire_send_some(int socket, struct iovec **iov, size_t *n, int *fd, int flags) {
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

static int send_blocking(Wire *w, struct iovec *iov, size_t n, int fd) {
        for (;;) {
                struct pollfd p = { .fd = w->fd, .events = POLLOUT };
                int r = wire_send_some(w->fd, &iov, &n, &fd, 0);

                if (r != -EAGAIN)
                        return r;
                (void) poll(&p, 1, -1);
        }
}

int wire_send(Wire *w, WireWriter *out) {
        int fd = out->memfd >= 0 ? out->memfd : out->fd, r = out->error;

        if (r >= 0 && (out->n_fds > 0) != (fd >= 0))
                r = -EINVAL;
        if (r >= 0 && w->authenticate && !w->answered)
                r = -ENOTCONN;
        if (r >= 0 && w->no_fds && fd >= 0)
                r = -EOPNOTSUPP;
        if (r >= 0) {
                uint32_t body = (uint32_t) (out->size - out->body + out->payload_size);
                struct iovec iov[3];
                size_t n = 0;

                memcpy(out->data + 4, &body, sizeof(body));
                if (!w->authenticated && !w->authenticate)
                        iov[n++] = (struct iovec) { (void *) auth_lines, sizeof(auth_lines) - 1 };
                iov[n++] = (struct iovec) { out->data, out->size };
                if (out->payload_size > 0)
                        iov[n++] = (struct iovec) { (void *) out->payload, out->payload_size };
                r = w->nonblocking ? wire_queue_send(w, iov, n, out->size + out->payload_size, fd)
                                   : send_blocking(w, iov, n, fd);
                w->authenticated |= r >= 0;
        }
        wire_writer_done(out);
        return r;
}

int wire_refuse_as(Wire *w, const WireMessage *m, const char *name, const char *text) {
        WireWriter out;

        if (m->type != WIRE_CALL || m->no_reply)
                return 0;
        wire_error(w, &out, m, name, "s");
        wire_put_string(&out, text);
        return wire_send(w, &out);
}

int wire_refuse(Wire *w, const WireMessage *m) {
        return wire_refuse_as(w, m, "org.freedesktop.DBus.Error.UnknownMethod",
                              "No such method here, or not with these arguments.");
}
