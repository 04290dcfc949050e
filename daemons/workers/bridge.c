/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bridge.h"

#include <assert.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>

int bridge_start(Bridge *b) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        uint8_t random[16];
        char name[2 * sizeof(random) + sizeof("sand/")] = "sand/";
        _cleanup_(closep) int fd = -EBADF;

        assert(b);

        if (getrandom(random, sizeof(random), 0) != (ssize_t) sizeof(random))
                return -EIO;
        for (size_t i = 0; i < sizeof(random); i++)
                (void) sprintf(name + strlen("sand/") + 2 * i, "%02x", random[i]);

        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        /* A name that begins with a zero has no file. */
        memcpy(address.sun_path + 1, name, strlen(name));
        if (bind(fd, (struct sockaddr *) &address,
                 (socklen_t) (offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name))) < 0)
                return -errno;
        if (listen(fd, BRIDGE_CONNECTIONS_MAX) < 0 || setenv(SAND_ENV_BUS, name, 1) < 0)
                return -errno;
        *b = (Bridge) { .fd = TAKE_FD(fd) };
        return 0;
}

size_t bridge_poll(const Bridge *b, struct pollfd *p) {
        for (size_t i = 0; i < b->n; i++)
                p[i] = (struct pollfd) { .fd = b->connections[i].fd, .events = POLLIN };
        if (b->n == BRIDGE_CONNECTIONS_MAX)
                return b->n;
        p[b->n] = (struct pollfd) { .fd = b->fd, .events = POLLIN };
        return b->n + 1;
}

static void drop(Bridge *b, size_t i) {
        (void) safe_close(b->connections[i].fd);
        b->connections[i] = b->connections[--b->n];
}

static void accept_one(Bridge *b) {
        _cleanup_(closep) int fd = -EBADF;
        struct ucred peer;
        socklen_t size = sizeof(peer);

        fd = accept4(b->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
                return;
        /* Abstract names are open to all of the machine; another function is not let in. */
        if (peer.uid != geteuid())
                return;
        b->connections[b->n++] = (BridgeConnection) { .fd = TAKE_FD(fd) };
}

/* Whoever does not take its answer at once has lost it: the instance waits for nobody. */
static void send_answer(int socket, const BridgeAnswer *answer, int memfd) {
        union {
                struct cmsghdr header;
                uint8_t space[CMSG_SPACE(sizeof(int))];
        } control = {};
        struct iovec iov = { (void *) answer, sizeof(*answer) };
        struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };

        if (memfd >= 0) {
                mh.msg_control = &control;
                mh.msg_controllen = sizeof(control);
                control.header = (struct cmsghdr) {
                        .cmsg_len = CMSG_LEN(sizeof(int)),
                        .cmsg_level = SOL_SOCKET,
                        .cmsg_type = SCM_RIGHTS,
                };
                memcpy(CMSG_DATA(&control.header), &memfd, sizeof(int));
        }
        (void) sendmsg(socket, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void set(char *to, size_t size, const char *from) {
        (void) snprintf(to, size, "%s", strempty(from));
}

static void answer_failure(int socket, const char *kind, const char *error, const char *message, const char *cause) {
        BridgeAnswer answer = { .version = BRIDGE_VERSION };

        set(answer.kind, sizeof(answer.kind), kind);
        set(answer.error, sizeof(answer.error), error);
        set(answer.message, sizeof(answer.message), message);
        set(answer.cause, sizeof(answer.cause), cause);
        send_answer(socket, &answer, -EBADF);
}

static void answer_errno(int socket, int r) {
        const char *kind = r == -EMSGSIZE ? "TooLarge" : r == -ENOMEM ? "OutOfMemory" :
                r == -EINVAL || r == -EBADMSG || r == -EPERM ? "BadRequest" : "Unavailable";
        const char *message = r == -EMSGSIZE ? "The payload is larger than the function's payload_max." :
                r == -EBADMSG || r == -EPERM ? "The request is malformed." : strerror(-r);

        answer_failure(socket, kind, kind, message, NULL);
}

/* Takes the packet and the one descriptor that belongs to it. 0: the other side is gone. */
static int receive_request(int socket, BridgeRequest *request, int *ret_memfd) {
        union {
                struct cmsghdr header;
                uint8_t space[CMSG_SPACE(sizeof(int))];
        } control = {};
        struct iovec iov = { request, sizeof(*request) };
        struct msghdr mh = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control),
        };
        struct cmsghdr *c;
        ssize_t n;

        n = recvmsg(socket, &mh, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        if (n <= 0)
                return 0;
        c = CMSG_FIRSTHDR(&mh);
        if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
                memcpy(ret_memfd, CMSG_DATA(c), sizeof(int));
        if (n != (ssize_t) sizeof(*request) || mh.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ||
            request->version != BRIDGE_VERSION || *ret_memfd < 0 ||
            !memchr(request->target, 0, sizeof(request->target)) ||
            !memchr(request->content_type, 0, sizeof(request->content_type)))
                return -EBADMSG;
        return 1;
}

/* 1: its call is on its way; 0: the connection is done with; negative: the supervisor is gone. */
static int serve_request(BridgeConnection *connection, sand_context *context) {
        _cleanup_(closep) int memfd = -EBADF;
        BridgeRequest request;
        size_t size = 0;
        int r;

        /* A second request, or the caller has given up. */
        if (connection->serial != 0)
                return 0;
        r = receive_request(connection->fd, &request, &memfd);
        if (r == 0)
                return 0;
        if (r > 0)
                r = wire_memfd_check(memfd, &size);
        if (r >= 0) {
                const ContextCall call = {
                        .member = request.send == BRIDGE_EMIT ? "Emit" : request.send == BRIDGE_SEND ? "Send" : NULL,
                        .target = request.target,
                        .content_type = request.content_type,
                        .size = size,
                        .memfd = memfd,
                        .timeout_usec = request.timeout_usec,
                };
                r = context_start(context, &call, &connection->serial);
        }
        if (r == -EPIPE || r == -ECONNRESET)
                return r;
        if (r < 0)
                answer_errno(connection->fd, r);
        return r >= 0;
}

int bridge_process(Bridge *b, sand_context *context, const struct pollfd *p) {
        /* Backwards, as a connection that is dropped leaves its place to the last one. */
        size_t n = b->n;

        if (n < BRIDGE_CONNECTIONS_MAX && p[n].revents)
                accept_one(b);
        for (size_t i = n; i > 0; i--) {
                int r;

                if (!p[i - 1].revents)
                        continue;
                r = serve_request(b->connections + i - 1, context);
                if (r < 0)
                        return r;
                if (r == 0)
                        drop(b, i - 1);
        }
        return 0;
}

static void answer_success(int socket, const sand_result *result) {
        BridgeAnswer answer = { .version = BRIDGE_VERSION };
        _cleanup_(closep) int memfd = -EBADF;

        set(answer.content_type, sizeof(answer.content_type), sand_result_content_type(result));
        memfd = wire_memfd_new(sand_result_data(result), sand_result_size(result));
        if (memfd < 0)
                answer_errno(socket, memfd);
        else
                send_answer(socket, &answer, memfd);
}

int bridge_answer(Bridge *b, sand_context *context, WireMessage *reply) {
        sand_result *result = NULL;
        size_t i;
        int r;

        for (i = 0; i < b->n; i++)
                if (b->connections[i].serial == reply->reply_serial)
                        break;
        if (i == b->n) {
                wire_message_done(reply);
                return 0;
        }
        r = context_result(context, reply, &result);
        if (r == -EREMOTEIO)
                answer_failure(b->connections[i].fd, sand_result_kind(result), sand_result_error(result),
                               sand_result_message(result), sand_result_cause(result));
        else if (r < 0)
                answer_errno(b->connections[i].fd, r);
        else
                answer_success(b->connections[i].fd, result);
        sand_result_free(result);
        drop(b, i);
        return 1;
}

void bridge_reset(Bridge *b) {
        while (b->n > 0)
                drop(b, b->n - 1);
}
