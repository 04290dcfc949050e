/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A small D-Bus peer that knows the messages of protocol.h and no others: the client's side of a connection
 * for workers, instances, sand-call and peer.c, and the supervisor's side of its connections to callers and instances. It needs
 * libc alone, because what a process has mapped is what each fork pays for; and setting a connection up takes
 * no system call, because there is one for each event.
 *
 * What is guaranteed: no length, offset, type or descriptor of a received message is trusted; what a
 * message may make us allocate is bounded by WIRE_MESSAGE_MAX; descriptors that were received are closed
 * with their message. A message that breaks the protocol is -EBADMSG, and the connection is then of no
 * more use. Sending takes one system call a message or, where a loop gathers small ones, less; receiving takes one for
 * all that is there. A large payload is copied by neither: it is sent from where it is and read where it arrived. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "macro.h"
#include "protocol.h"

#define WIRE_HEADER_MAX (128U * 1024U) /* everything of a message but its payload */
#define WIRE_MESSAGE_MAX (SAND_PAYLOAD_HARD_MAX + WIRE_HEADER_MAX)
#define WIRE_FDS_MAX 253U              /* the kernel's SCM_MAX_FD */
#define WIRE_QUEUE_MAX 1024U           /* chunks, each with a descriptor perhaps, that wait for room ... */
#define WIRE_QUEUE_BYTES_MAX (32U * 1024U * 1024U) /* ... and their bytes: large payloads are not among them */
#define WIRE_ID_LENGTH 32U             /* hex digits of a server's id */

typedef enum WireType {
        WIRE_CALL = 1,
        WIRE_REPLY = 2,
        WIRE_ERROR = 3,
        WIRE_SIGNAL = 4,
} WireType;

struct iovec;
typedef struct WireQueued WireQueued;

typedef struct Wire Wire;
struct Wire {
        int fd;              /* owned */
        bool nonblocking;    /* what cannot be sent now is queued, wire_receive() may return -EAGAIN */
        bool authenticated;  /* a client's: our lines went out, with the first message */
        bool answered;       /* the other side's lines were read: what follows are messages */
        bool no_fds;         /* descriptors were not negotiated */
        uint32_t serial;     /* of the last message that was sent */
        uint8_t *buffer;     /* what was received; of it `size` bytes from `position` on are not yet part of a message */
        size_t position, size, capacity;
        int fds[WIRE_FDS_MAX]; /* likewise */
        unsigned n_fds;

        /* A server's. */
        int (*authenticate)(Wire *w); /* wire-sasl.c; 1: done, 0: the rest is to come */
        const char *id;
        uint8_t auth_state, n_auth_lines;
        WireQueued *queue, *queue_last;
        unsigned n_queue;
        size_t queued;       /* bytes in it */
        bool blocked;        /* there is no room in the socket */
        int lost;            /* -ENOBUFS or -ENOMEM: a message could not be queued */
        const bool *gather;  /* while it is true, small messages wait for wire_flush(); NULL: they never do */
        void (*on_queued)(Wire *w);
};

typedef struct WireMessage {
        WireType type;
        bool no_reply;        /* a call that wants no answer */
        bool swap;            /* of the other byte order than ours */
        uint32_t serial, reply_serial;
        const char *path, *interface, *member, *error, *signature; /* signature: "" when there is none */
        const uint8_t *body;
        size_t body_size;
        int *fds;             /* owned; -EBADF where one was taken */
        unsigned n_fds;
        void *buffer;         /* owned: all of the above points into it */
} WireMessage;

/* A payload as received: points into its message, or is a mapping of its own. */
typedef struct WirePayload {
        const void *data;     /* never NULL */
        size_t size;
        void *mapping;        /* what to munmap() */
        int fd;               /* the sealed memfd of the mapping, its message's; -EBADF: none */
} WirePayload;

/* Takes over `fd`, a connected stream socket of AF_UNIX; blocking or not, calls here block. */
void wire_init(Wire *w, int fd);
/* The other side, for a loop: it never blocks, and says when there is something to be flushed: when the socket has
 * room if it is `blocked`, else at the end of what the loop does now. Whoever holds the other end may use it: EXTERNAL and
 * ANONYMOUS are both taken, and no identity is looked at. What answers the client's lines goes out at once where the
 * client waits for it, else with the first message or wire_flush(). `id` is borrowed, of WIRE_ID_LENGTH. */
void wire_init_server(Wire *w, int fd, const char *id, void (*on_queued)(Wire *w));
/* A client for a loop likewise. Its lines go out now: 0 or -errno. What is sent before they are answered (`answered`)
 * may be read by nobody. */
int wire_init_client(Wire *w, int fd, void (*on_queued)(Wire *w));
void wire_done(Wire *w);

/* Waits for one message. `deadline` is CLOCK_MONOTONIC usec, USEC_INFINITY for none.
 * 1 and *ret; 0 at end of file; -ETIMEDOUT; -EBADMSG; -EPERM: the server refused our authentication;
 * -ENOMEM; -EAGAIN: a nonblocking one has no whole message yet. */
int wire_receive(Wire *w, uint64_t deadline, WireMessage *ret);
/* Whether a part of a further message has already been read, so that poll() may not tell. */
static inline bool wire_pending(const Wire *w) {
        return w->size > 0;
}
/* Whether wire_receive() has a result, be it an error, without another look at the socket. */
bool wire_has_message(const Wire *w);
/* Waits until the server has taken our authentication, without reading messages: from then on it writes
 * nothing unasked, and what we sent reaches it even if we close. 0, or as wire_receive(). */
int wire_wait_answers(Wire *w, uint64_t deadline);
/* Allocates and touches what the first message will need. */
int wire_prepare(Wire *w);
void wire_message_done(WireMessage *m);

/* A call of this interface and member with this signature? */
bool wire_message_is_call(const WireMessage *m, const char *interface, const char *member, const char *signature);

/* Bodies (wire-body.c). Reads a body from its start. Each read checks bounds and alignment; the first failure sticks, and all
 * that follow fail too, so that checking the last result is enough. Which types come is known from the
 * signature, which the caller has compared. */
typedef struct WireReader {
        const WireMessage *message;
        const uint8_t *data;
        size_t size, position;
        bool swap;
        int error;
} WireReader;

void wire_reader_init(WireReader *r, const WireMessage *m);
int wire_read_byte(WireReader *r, uint8_t *ret);
int wire_read_u32(WireReader *r, uint32_t *ret);
int wire_read_u64(WireReader *r, uint64_t *ret);
int wire_read_string(WireReader *r, const char **ret);    /* valid UTF-8; points into the message */
int wire_read_signature(WireReader *r, const char **ret);
int wire_read_fd(WireReader *r, int *ret);                /* stays the message's */
int wire_read_payload(WireReader *r, uint64_t max, WirePayload *ret); /* also -EMSGSIZE, -EPERM: not sealed */
/* Headers a{ss}: keys and values in turn, `*ret_n` pairs. Caller frees the array. */
int wire_read_headers(WireReader *r, const char ***ret, size_t *ret_n);
/* Begins an array; *ret_end is the position at which it ends. */
int wire_read_array(WireReader *r, size_t alignment, size_t *ret_end);
int wire_read_align(WireReader *r, size_t alignment);
/* Reads past one value of the type at *signature, which moves to behind that type. */
int wire_skip(WireReader *r, const char **signature);
int wire_read_end(const WireReader *r);                   /* all was read, and read well */
void wire_payload_done(WirePayload *p);
/* The same without a mapping, for who passes it on: *ret_data, or a checked memfd that stays the message's, and
 * then *ret_data is NULL. */
int wire_read_payload_raw(WireReader *r, uint64_t max, const void **ret_data, size_t *ret_size, int *ret_fd);

/* Builds one message and sends it. Failures stick and come out of wire_send(). Strings that are not UTF-8
 * are sent with '?' for each byte that is not. */
typedef struct WireWriter {
        uint8_t *data;
        size_t size, capacity;
        size_t body;          /* where the body begins */
        uint32_t serial;
        const void *payload;  /* sent after `data` */
        size_t payload_size;
        int fd;               /* to pass along, borrowed, or -EBADF */
        int memfd;            /* to pass along, owned, or -EBADF */
        unsigned n_fds;       /* as the header says: 0 or 1 */
        int error;
        uint8_t fixed[2048];  /* `data`, until that does not suffice */
} WireWriter;

void wire_call(Wire *w, WireWriter *out, const char *path, const char *interface, const char *member,
               const char *signature, unsigned n_fds);
void wire_signal(Wire *w, WireWriter *out, const char *path, const char *interface, const char *member,
                 const char *signature);
void wire_reply(Wire *w, WireWriter *out, const WireMessage *call, const char *signature, unsigned n_fds);
void wire_error(Wire *w, WireWriter *out, const WireMessage *call, const char *name, const char *signature);

void wire_put_align(WireWriter *out, size_t alignment);
void wire_put_byte(WireWriter *out, uint8_t v);
void wire_put_signature(WireWriter *out, const char *s);
void wire_put_u32(WireWriter *out, uint32_t v);
void wire_put_u64(WireWriter *out, uint64_t v);
void wire_put_string(WireWriter *out, const char *s);     /* NULL is "" */
void wire_put_usage(WireWriter *out, uint64_t wall, uint64_t cpu, uint64_t peak);
void wire_put_headers(WireWriter *out, const char *const *headers, size_t n); /* n pairs */
/* A fixed-size array of int32, `ai`. */
void wire_put_int_array(WireWriter *out, const int32_t *v, size_t n);
/* The last of a message; the bytes must stay until wire_send(). The message must have been begun with
 * n_fds = wire_payload_fds(size), or 1 for wire_put_memfd(). */
void wire_put_payload(WireWriter *out, const void *data, size_t size);
void wire_put_memfd(WireWriter *out, int fd);
static inline unsigned wire_payload_fds(size_t size) {
        return size >= SAND_MEMFD_THRESHOLD ? 1 : 0;
}

/* Sends the message, after our authentication if this is the connection's first, and frees the writer.
 * 0, or what failed while it was built, or -EPIPE and the like; -ENOBUFS: more is queued than a peer
 * that reads would ever leave unread; -ENOTCONN: a server whose client has not authenticated yet. */
int wire_send(Wire *w, WireWriter *out);
/* Sends what is queued; while `blocked`, call it when the socket is writable. 0, also when a part is
 * left; -EPIPE and the like; -ENOBUFS, -ENOMEM: a message was lost. */
int wire_flush(Wire *w);
void wire_writer_done(WireWriter *out);

/* Answers a call with an error of D-Bus itself, if it wants an answer; everything else is dropped. */
int wire_refuse_as(Wire *w, const WireMessage *m, const char *name, const char *text);
/* The same for a call that nobody here knows. */
int wire_refuse(Wire *w, const WireMessage *m);

/* A sealed memfd with these bytes, and the check that one is: all four seals. */
int wire_memfd_new(const void *data, size_t size);
int wire_memfd_check(int fd, size_t *ret_size);

/* Between the files of wire. Sends the vector, the descriptor with its first byte, and moves both on by what was sent; 0:
 * all of it, -EAGAIN. */
int wire_send_some(int socket, struct iovec **iov, size_t *n, int *fd, int flags);
/* wire-queue.c: a nonblocking wire's message, of `size` bytes; what answers its client's authentication; the end. */
int wire_queue_send(Wire *w, struct iovec *iov, size_t n, size_t size, int fd);
int wire_queue_lines(Wire *w, const char *lines, size_t size);
void wire_queue_drop(Wire *w);
