/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a worker or an instance does with whatever arrives on its socket, and what the server's side of a wire does. The
 * first byte of the input says which of them it is and which descriptors come along; the rest is what is received, by
 * a client after the authentication. */

#include <sys/mman.h>
#include <sys/socket.h>

#include "context.h"

#define INPUT_MAX 65536U

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Reads each byte, as a function does. */
static int handle(sand_context *context, const void *event, size_t size) {
        const char *const *headers;
        size_t n = context_headers(context, &headers);
        unsigned sum = 0;

        for (size_t i = 0; i < size; i++)
                sum += ((const uint8_t *) event)[i];
        for (size_t i = 0; i < 2 * n; i++)
                sum += (unsigned) strlen(headers[i]);
        sum += (unsigned) strlen(sand_content_type(context)) + (unsigned) strlen(sand_execution_id(context));
        return sum % 3 == 0 ? sand_reply(context, event, size) : sand_fail(context, "Sum", "%u", sum);
}

static void read_fork(const WireMessage *m) {
        WireReader in;
        size_t end;
        int fd;

        wire_reader_init(&in, m);
        if (wire_read_array(&in, 8, &end) < 0)
                return;
        while (in.position < end) {
                (void) wire_read_align(&in, 8);
                (void) wire_read_fd(&in, &fd);
                if (wire_read_fd(&in, &fd) < 0)
                        return;
        }
}

static void read_result(sand_context *context, WireMessage *m) {
        sand_result *result = NULL;
        unsigned sum = 0;
        int r;

        r = context_result(context, m, &result);
        if (r < 0 && r != -EREMOTEIO)
                return;
        for (size_t i = 0; i < sand_result_size(result); i++)
                sum += ((const uint8_t *) sand_result_data(result))[i];
        sum += (unsigned) strlen(sand_result_content_type(result)) + (unsigned) strlen(sand_result_cause(result));
        if (r < 0)
                sum += (unsigned) strlen(sand_result_error(result)) + (unsigned) strlen(sand_result_message(result));
        /* Keeps the sum, and so the reading. */
        __asm__ volatile("" : : "r"(sum));
        sand_result_free(result);
}

static void serve(Wire *wire, sand_context *context) {
        WireMessage m;

        while (wire_receive(wire, USEC_INFINITY, &m) > 0) {
                if (wire_message_is_call(&m, SAND_WORKER_INTERFACE, "Fork", "ia(hh)"))
                        read_fork(&m);
                else if (m.type == WIRE_REPLY || m.type == WIRE_ERROR)
                        read_result(context, &m);
                else
                        (void) context_serve(context, &m, handle);
                wire_message_done(&m);
        }
}

static void on_queued(Wire *w) {
}

/* Two descriptors: `flags` says whether they go along and whether they are sealed. */
static void send_input(int socket, uint8_t flags, const uint8_t *data, size_t size) {
        union {
                struct cmsghdr header;
                uint8_t space[CMSG_SPACE(2 * sizeof(int))];
        } control = {};
        struct iovec iov = { (void *) data, size };
        struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
        int fds[2] = { -EBADF, -EBADF };

        if (flags & 3 && size > 0) {
                fds[0] = wire_memfd_new("payload", 7);
                fds[1] = flags & 4 ? wire_memfd_new("", 0) : memfd_create("unsealed", MFD_CLOEXEC);
                mh.msg_control = &control;
                mh.msg_controllen = sizeof(control);
                control.header = (struct cmsghdr) { CMSG_LEN(sizeof(fds)), SOL_SOCKET, SCM_RIGHTS };
                memcpy(CMSG_DATA(&control.header), fds, sizeof(fds));
                if ((flags & 3) == 1) {
                        mh.msg_controllen = CMSG_SPACE(sizeof(int));
                        control.header.cmsg_len = CMSG_LEN(sizeof(int));
                }
        }
        (void) sendmsg(socket, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
        (void) safe_close(fds[0]);
        (void) safe_close(fds[1]);
}

/* In one piece or two; what is answered is flushed. */
static void serve_as_server(int socket, int other, uint8_t flags, const uint8_t *data, size_t size) {
        static const bool gather = true;
        bool begun = memmem(data, size, "BEGIN\r\n", 7);
        size_t first = flags & 32 ? size / 2 : 0;
        WireMessage m;
        Wire wire;
        int r;

        wire_init_server(&wire, socket, "0123456789abcdef0123456789abcdef", on_queued);
        if (flags & 64)
                wire.gather = &gather;
        if (first > 0)
                (void) send(other, data, first, MSG_DONTWAIT | MSG_NOSIGNAL);
        r = first > 0 ? wire_receive(&wire, USEC_INFINITY, &m) : -EAGAIN;
        if (r == -EAGAIN) {
                send_input(other, flags, data + first, size - first);
                r = wire_receive(&wire, USEC_INFINITY, &m);
        }
        for (; r > 0; r = wire_receive(&wire, USEC_INFINITY, &m)) {
                if (!begun || !wire.answered || (wire.no_fds && m.n_fds > 0))
                        abort(); /* nobody speaks before it has said who it is */
                (void) wire_refuse(&wire, &m);
                wire_message_done(&m);
        }
        (void) wire_flush(&wire);
        wire_done(&wire);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const char answers[] = "DATA\r\nOK 0123456789abcdef0123456789abcdef\r\nAGREE_UNIX_FD\r\n";
        const ContextSettings settings = { .app = "a", .function = "f", .version = "v", .payload_max = 1024 * 1024 };
        sand_context *context;
        Wire wire;
        int s[2];

        if (size < 1 || size > INPUT_MAX || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) < 0)
                return 0;
        if (data[0] & 16) {
                serve_as_server(s[0], s[1], data[0], data + 1, size - 1);
                (void) safe_close(s[1]);
                return 0;
        }
        wire_init(&wire, s[0]);
        if (context_new(&settings, &wire, &context) < 0)
                abort();
        if (!(data[0] & 8))
                (void) send(s[1], answers, strlen(answers), MSG_DONTWAIT | MSG_NOSIGNAL);
        send_input(s[1], data[0], data + 1, size - 1);
        /* Answers fill the buffer at most; then sending fails instead of waiting. */
        (void) shutdown(s[1], SHUT_WR);
        (void) shutdown(s[0], SHUT_WR);
        serve(&wire, context);
        context_free(context);
        wire_done(&wire);
        (void) safe_close(s[1]);
        return 0;
}
