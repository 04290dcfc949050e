/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The small D-Bus peer against sd-bus at the other end of a socketpair, against messages that sd-bus would
 * never send, and its server's side against its client's. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <endian.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "wire.h"

#define HUGE_PAGE (2U * 1024U * 1024U)
#define WAIT_USEC (10 * USEC_PER_SEC)

typedef struct Pair {
        Wire wire;
        sd_bus *bus;
        sd_bus_message *got;   /* the last that the bus's side received */
} Pair;

static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        Pair *p = userdata;

        sd_bus_message_unref(p->got);
        p->got = sd_bus_message_ref(m);
        return sd_bus_message_is_method_call(m, NULL, NULL);
}

static sd_bus *server_new(int fd, bool fds) {
        sd_bus *bus;
        sd_id128_t id;

        assert_return_code(sd_id128_randomize(&id), 0);
        assert_return_code(sd_bus_new(&bus), 0);
        assert_return_code(sd_bus_set_fd(bus, fd, fd), 0);
        assert_return_code(sd_bus_set_server(bus, 1, id), 0);
        assert_return_code(sd_bus_negotiate_fds(bus, fds), 0);
        assert_return_code(sd_bus_start(bus), 0);
        return bus;
}

static int pair_set_up(void **state) {
        Pair *p = calloc(1, sizeof(*p));
        int s[2];

        assert_non_null(p);
        assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), errno);
        wire_init(&p->wire, s[0]);
        p->bus = server_new(s[1], true);
        assert_return_code(sd_bus_add_filter(p->bus, NULL, on_message, p), 0);
        *state = p;
        return 0;
}

static int pair_tear_down(void **state) {
        Pair *p = *state;

        sd_bus_message_unref(p->got);
        sd_bus_close(p->bus);
        sd_bus_unref(p->bus);
        wire_done(&p->wire);
        free(p);
        return 0;
}

/* Until the bus's side has a message. */
static sd_bus_message *receive(Pair *p) {
        uint64_t start = now_usec();

        p->got = sd_bus_message_unref(p->got);
        while (!p->got) {
                int r = sd_bus_process(p->bus, NULL);

                assert_return_code(r, -r);
                if (r == 0)
                        (void) sd_bus_wait(p->bus, WAIT_USEC);
                assert_true(now_usec() - start < WAIT_USEC);
        }
        return p->got;
}

static void flush(Pair *p) {
        assert_return_code(sd_bus_flush(p->bus), 0);
}

static void connect_pair(Pair *p) {
        WireWriter out;

        wire_signal(&p->wire, &out, SAND_INSTANCE_PATH, SAND_INSTANCE_INTERFACE, "Ready", "");
        assert_return_code(wire_send(&p->wire, &out), 0);
        assert_true(sd_bus_message_is_signal(receive(p), SAND_INSTANCE_INTERFACE, "Ready"));
        assert_string_equal(sd_bus_message_get_path(p->got), SAND_INSTANCE_PATH);
}

/* With an event loop, which sleeps: the first message must wake it although it came with the
 * authentication. */
static int on_first(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        return sd_event_exit(userdata, 7);
}

static void test_first_message_wakes(void **state) {
        sd_event *event;
        WireWriter out;
        sd_bus *bus;
        Wire wire;
        int s[2];

        assert_return_code(sd_event_new(&event), 0);
        assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), errno);
        wire_init(&wire, s[0]);
        bus = server_new(s[1], true);
        assert_return_code(sd_bus_attach_event(bus, event, 0), 0);
        assert_return_code(sd_bus_add_filter(bus, NULL, on_first, event), 0);
        wire_signal(&wire, &out, SAND_WORKER_PATH, SAND_WORKER_INTERFACE, "Loaded", "");
        assert_return_code(wire_send(&wire, &out), 0);
        for (uint64_t start = now_usec(); sd_event_get_state(event) != SD_EVENT_FINISHED;) {
                assert_return_code(sd_event_run(event, WAIT_USEC), 0);
                assert_true(now_usec() - start < WAIT_USEC);
        }
        sd_bus_close(bus);
        sd_bus_unref(bus);
        sd_event_unref(event);
        wire_done(&wire);
}

static void test_refused_descriptors(void **state) {
        WireMessage m;
        WireWriter out;
        sd_bus *bus;
        Wire wire;
        int s[2];

        assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), errno);
        wire_init(&wire, s[0]);
        bus = server_new(s[1], false);
        wire_signal(&wire, &out, SAND_WORKER_PATH, SAND_WORKER_INTERFACE, "Loaded", "");
        assert_return_code(wire_send(&wire, &out), 0);
        while (sd_bus_process(bus, NULL) > 0)
                ;
        assert_int_equal(wire_receive(&wire, now_usec() + WAIT_USEC, &m), -EPERM);
        sd_bus_close(bus);
        sd_bus_unref(bus);
        wire_done(&wire);
}

static void test_handle(void **state) {
        static const char bytes[] = "some\0bytes";
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *call = NULL;
        const char *execution, *invocation, *content_type, **headers;
        uint64_t deadline, wall, cpu, peak;
        WirePayload payload;
        const void *data;
        Pair *p = *state;
        WireReader in;
        WireWriter out;
        WireMessage m;
        size_t n;

        connect_pair(p);
        assert_return_code(sd_bus_message_new_method_call(p->bus, &call, NULL, SAND_INSTANCE_PATH,
                                                          SAND_INSTANCE_INTERFACE, "Handle"), 0);
        assert_return_code(sd_bus_message_append(call, "sstsa{ss}", "e", "invocation", UINT64_C(1) << 40, "text/plain",
                                                 2, "caller", "a", "traceparent", "\xc3\xa9"), 0);
        assert_return_code(sd_bus_message_open_container(call, 'v', "ay"), 0);
        assert_return_code(sd_bus_message_append_array(call, 'y', bytes, sizeof(bytes)), 0);
        assert_return_code(sd_bus_message_close_container(call), 0);
        assert_return_code(sd_bus_call_async(p->bus, NULL, call, on_message, p, WAIT_USEC), 0);
        flush(p);

        assert_int_equal(wire_receive(&p->wire, now_usec() + WAIT_USEC, &m), 1);
        assert_true(wire_message_is_call(&m, SAND_INSTANCE_INTERFACE, "Handle", SAND_HANDLE_FULL_SIGNATURE));
        assert_false(wire_message_is_call(&m, SAND_INSTANCE_INTERFACE, "Handle", "s"));
        assert_false(wire_message_is_call(&m, SAND_WORKER_INTERFACE, "Handle", SAND_HANDLE_FULL_SIGNATURE));
        assert_false(m.no_reply);
        wire_reader_init(&in, &m);
        assert_return_code(wire_read_string(&in, &execution), 0);
        assert_return_code(wire_read_string(&in, &invocation), 0);
        assert_return_code(wire_read_u64(&in, &deadline), 0);
        assert_return_code(wire_read_string(&in, &content_type), 0);
        assert_return_code(wire_read_headers(&in, &headers, &n), 0);
        assert_return_code(wire_read_payload(&in, sizeof(bytes), &payload), 0);
        assert_return_code(wire_read_end(&in), 0);
        assert_string_equal(execution, "e");
        assert_string_equal(invocation, "invocation");
        assert_int_equal(deadline, UINT64_C(1) << 40);
        assert_int_equal(n, 2);
        assert_string_equal(headers[0], "caller");
        assert_string_equal(headers[3], "\xc3\xa9");
        assert_int_equal(payload.size, sizeof(bytes));
        assert_memory_equal(payload.data, bytes, sizeof(bytes));
        /* Read in place. */
        assert_true((const uint8_t *) payload.data > m.body && (const uint8_t *) payload.data < m.body + m.body_size);

        wire_reply(&p->wire, &out, &m, SAND_REPLY_FULL_SIGNATURE, 0);
        wire_put_string(&out, "a/b");
        wire_put_usage(&out, 1, 2, 3);
        wire_put_payload(&out, payload.data, payload.size);
        assert_return_code(wire_send(&p->wire, &out), 0);
        (void) receive(p);
        assert_return_code(sd_bus_message_read(p->got, "s(ttt)", &content_type, &wall, &cpu, &peak), 0);
        assert_string_equal(content_type, "a/b");
        assert_true(wall == 1 && cpu == 2 && peak == 3);
        assert_return_code(sd_bus_message_enter_container(p->got, 'v', "ay"), 0);
        assert_return_code(sd_bus_message_read_array(p->got, 'y', &data, &n), 0);
        assert_int_equal(n, sizeof(bytes));
        assert_memory_equal(data, bytes, n);
        free(headers);
        wire_message_done(&m);
}

static void test_error_and_refusal(void **state) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *call = NULL;
        const char *message, *error, *cause;
        uint64_t usage[3];
        Pair *p = *state;
        WireWriter out;
        WireMessage m;

        connect_pair(p);
        for (int known = 0; known < 2; known++) {
                call = sd_bus_message_unref(call);
                assert_return_code(sd_bus_message_new_method_call(p->bus, &call, NULL, "/a", "b.c", "D"), 0);
                assert_return_code(sd_bus_call_async(p->bus, NULL, call, on_message, p, WAIT_USEC), 0);
                flush(p);
                assert_int_equal(wire_receive(&p->wire, now_usec() + WAIT_USEC, &m), 1);
                assert_string_equal(m.signature, "");
                if (known) {
                        wire_error(&p->wire, &out, &m, "org.sand.Error.Busy", SAND_ERROR_FULL_SIGNATURE);
                        wire_put_string(&out, "not \xff UTF-8, cut \xc3");
                        wire_put_string(&out, NULL);
                        wire_put_string(&out, "\xf0\x9f\x98\x80 fine \xed\xa0\x80 not");
                        wire_put_usage(&out, 4, 5, UINT64_MAX);
                        assert_return_code(wire_send(&p->wire, &out), 0);
                } else
                        assert_return_code(wire_refuse(&p->wire, &m), 0);
                wire_message_done(&m);
                (void) receive(p);
                assert_true(sd_bus_message_is_method_error(p->got, known ? "org.sand.Error.Busy" :
                                                           SD_BUS_ERROR_UNKNOWN_METHOD));
        }
        assert_return_code(sd_bus_message_read(p->got, "sss(ttt)", &message, &error, &cause, usage, usage + 1, usage + 2), 0);
        assert_string_equal(message, "not ? UTF-8, cut ?");
        assert_string_equal(error, "");
        assert_string_equal(cause, "\xf0\x9f\x98\x80 fine ??? not");
        assert_true(usage[2] == UINT64_MAX);
}

/* Also more than the sockets' buffers hold: both ends write and read at the same time. */
static void *receive_thread(void *userdata) {
        return receive(userdata);
}

static void test_payload_sizes(void **state) {
        static const size_t sizes[] = {
                0, 1, 255, 4096, SAND_MEMFD_THRESHOLD - 1, SAND_MEMFD_THRESHOLD, 5 * 1024 * 1024,
        };
        Pair *p = *state;

        connect_pair(p);
        for (size_t k = 0; k < ELEMENTSOF(sizes); k++) {
                size_t size = sizes[k], n;
                uint8_t *bytes = malloc(size + 1);
                const char *target, *execution, *content_type, *type;
                pthread_t thread;
                const void *data;
                uint64_t deadline;
                WireWriter out;
                int fd;

                assert_non_null(bytes);
                for (size_t i = 0; i < size; i++)
                        bytes[i] = (uint8_t) (i * 13);
                assert_int_equal(pthread_create(&thread, NULL, receive_thread, p), 0);
                wire_call(&p->wire, &out, SAND_APP_PATH, SAND_APP_INTERFACE, "Invoke", SAND_INVOKE_FULL_SIGNATURE,
                          wire_payload_fds(size));
                wire_put_string(&out, "target");
                wire_put_string(&out, "");
                wire_put_u64(&out, 9);
                wire_put_string(&out, "x");
                wire_put_headers(&out, (const char *[]) { "a", "b" }, k % 2);
                wire_put_payload(&out, bytes, size);
                assert_return_code(wire_send(&p->wire, &out), 0);
                assert_int_equal(pthread_join(thread, NULL), 0);

                assert_true(sd_bus_message_is_method_call(p->got, SAND_APP_INTERFACE, "Invoke"));
                assert_return_code(sd_bus_message_read(p->got, "ssts", &target, &execution, &deadline, &content_type), 0);
                assert_return_code(sd_bus_message_skip(p->got, "a{ss}"), 0);
                assert_return_code(sd_bus_message_peek_type(p->got, NULL, &type), 0);
                if (wire_payload_fds(size)) {
                        assert_string_equal(type, "h");
                        assert_return_code(sd_bus_message_read(p->got, "v", "h", &fd), 0);
                        assert_int_equal(wire_memfd_check(fd, &n), 0);
                        data = mmap(NULL, n, PROT_READ, MAP_PRIVATE, fd, 0);
                        assert_true(data != MAP_FAILED);
                } else {
                        assert_return_code(sd_bus_message_enter_container(p->got, 'v', "ay"), 0);
                        assert_return_code(sd_bus_message_read_array(p->got, 'y', &data, &n), 0);
                }
                assert_int_equal(n, size);
                assert_true(size == 0 || memcmp(data, bytes, size) == 0);
                if (wire_payload_fds(size))
                        assert_return_code(munmap((void *) data, n), errno);
                free(bytes);
        }
}

/* Several messages of the bus arrive at once, with descriptors in some of them. */
static void test_many_at_once(void **state) {
        Pair *p = *state;

        connect_pair(p);
        for (uint32_t i = 0; i < 50; i++) {
                _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
                int fd = i % 3 == 0 ? memfd_create("x", MFD_CLOEXEC) : -EBADF;

                assert_return_code(sd_bus_message_new_signal(p->bus, &m, "/a", "b.c", "D"), 0);
                if (fd >= 0) {
                        assert_return_code(ftruncate(fd, i + 1), errno);
                        assert_return_code(sd_bus_message_append(m, "uhh", i, fd, fd), 0);
                } else
                        assert_return_code(sd_bus_message_append(m, "u", i), 0);
                assert_return_code(sd_bus_send(p->bus, m, NULL), 0);
                (void) safe_close(fd);
        }
        flush(p);
        for (uint32_t i = 0; i < 50; i++) {
                struct stat st;
                WireMessage m;
                WireReader in;
                uint32_t v;
                int fd;

                assert_int_equal(wire_receive(&p->wire, now_usec() + WAIT_USEC, &m), 1);
                wire_reader_init(&in, &m);
                assert_return_code(wire_read_u32(&in, &v), 0);
                assert_int_equal(v, i);
                assert_int_equal(m.n_fds, i % 3 == 0 ? 2 : 0);
                if (i % 3 == 0) {
                        assert_return_code(wire_read_fd(&in, &fd), 0);
                        assert_return_code(fstat(fd, &st), errno);
                        assert_int_equal(st.st_size, i + 1);
                        assert_return_code(wire_read_fd(&in, &fd), 0);
                }
                assert_return_code(wire_read_end(&in), 0);
                wire_message_done(&m);
        }
        assert_int_equal(wire_receive(&p->wire, now_usec() + 1000, &(WireMessage) {}), -ETIMEDOUT);
}

static void test_end_of_file(void **state) {
        Pair *p = *state;
        WireWriter out;
        WireMessage m;

        connect_pair(p);
        sd_bus_close(p->bus);
        assert_int_equal(wire_receive(&p->wire, USEC_INFINITY, &m), 0);
        wire_signal(&p->wire, &out, "/a", "b.c", "D", "");
        assert_int_equal(wire_send(&p->wire, &out), -EPIPE); /* and no SIGPIPE */
}

/* Messages that were never sd-bus's: made by hand, of both byte orders */

typedef struct Raw {
        uint8_t data[4096];
        size_t size;
        bool big;
} Raw;

static void raw_align(Raw *r, size_t a) {
        while (r->size % a)
                r->data[r->size++] = 0;
}

static void raw_u32(Raw *r, uint32_t v) {
        raw_align(r, 4);
        v = r->big ? htobe32(v) : htole32(v);
        memcpy(r->data + r->size, &v, 4);
        r->size += 4;
}

static void raw_u64(Raw *r, uint64_t v) {
        raw_align(r, 8);
        v = r->big ? htobe64(v) : htole64(v);
        memcpy(r->data + r->size, &v, 8);
        r->size += 8;
}

static void raw_string(Raw *r, const char *s) {
        raw_u32(r, (uint32_t) strlen(s));
        memcpy(r->data + r->size, s, strlen(s) + 1);
        r->size += strlen(s) + 1;
}

static void raw_signature(Raw *r, const char *s) {
        r->data[r->size++] = (uint8_t) strlen(s);
        memcpy(r->data + r->size, s, strlen(s) + 1);
        r->size += strlen(s) + 1;
}

static void raw_field(Raw *r, uint8_t code, const char *type) {
        raw_align(r, 8);
        r->data[r->size++] = code;
        raw_signature(r, type);
}

static void raw_patch(Raw *r, size_t at, uint32_t v) {
        v = r->big ? htobe32(v) : htole32(v);
        memcpy(r->data + at, &v, 4);
}

/* Handle with a field of every kind that nobody knows. */
static void raw_handle(Raw *r, bool big) {
        size_t body;

        *r = (Raw) { .data = { big ? 'B' : 'l', WIRE_CALL, 0, 1 }, .size = 4, .big = big };
        raw_u32(r, 0);
        raw_u32(r, 77);
        raw_u32(r, 0);
        raw_field(r, 200, "a(sv)");
        raw_u32(r, 0); /* patched */
        size_t at = r->size - 4;
        raw_align(r, 8);
        size_t start = r->size;
        raw_string(r, "k");
        raw_signature(r, "a{sat}");
        raw_u32(r, 0);
        raw_align(r, 8);
        raw_patch(r, at, (uint32_t) (r->size - start));
        raw_field(r, 201, "(ynqiuxtdbogs)");
        raw_align(r, 8);
        r->data[r->size++] = 1;
        raw_align(r, 2);
        r->size += 4;
        raw_u32(r, 1);
        raw_u32(r, 2);
        raw_u64(r, 3);
        raw_u64(r, 4);
        raw_u64(r, 5);
        raw_u32(r, 1);
        raw_string(r, "/o");
        raw_signature(r, "s");
        raw_string(r, "last");
        raw_field(r, 1, "o");
        raw_string(r, SAND_INSTANCE_PATH);
        raw_field(r, 2, "s");
        raw_string(r, SAND_INSTANCE_INTERFACE);
        raw_field(r, 3, "s");
        raw_string(r, "Handle");
        raw_field(r, 8, "g");
        raw_signature(r, SAND_HANDLE_FULL_SIGNATURE);
        raw_patch(r, 12, (uint32_t) (r->size - 16));
        raw_align(r, 8);
        body = r->size;
        raw_string(r, "execution");
        raw_string(r, "invocation");
        raw_u64(r, 0x0102030405060708);
        raw_string(r, "text/plain");
        raw_u32(r, 0);
        raw_align(r, 8);
        raw_signature(r, "ay");
        raw_u32(r, 3);
        memcpy(r->data + r->size, "abc", 3);
        r->size += 3;
        raw_patch(r, 4, (uint32_t) (r->size - body));
}

static const char answers[] = "DATA\r\nOK 0123456789abcdef0123456789abcdef\r\nAGREE_UNIX_FD\r\n";

/* What becomes of these bytes: wire_receive()'s result, and the whole body's if it is a Handle. */
static int feed_checked(const void *data, size_t size, size_t chunk, int fd, bool intact) {
        const char *s, **headers = NULL;
        WirePayload payload = {};
        WireMessage m;
        WireReader in;
        uint64_t t;
        Wire wire;
        size_t n;
        int p[2], r;

        assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p), errno);
        wire_init(&wire, p[0]);
        assert_int_equal(send(p[1], answers, strlen(answers), 0), strlen(answers));
        for (size_t i = 0; i < size; i += chunk) {
                union {
                        struct cmsghdr header;
                        uint8_t space[CMSG_SPACE(sizeof(int))];
                } control = {};
                struct iovec iov = { (uint8_t *) data + i, MIN(chunk, size - i) };
                struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };

                if (fd >= 0 && i == 0) {
                        mh.msg_control = &control;
                        mh.msg_controllen = sizeof(control);
                        control.header = (struct cmsghdr) { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
                        memcpy(CMSG_DATA(&control.header), &fd, sizeof(int));
                }
                assert_true(sendmsg(p[1], &mh, 0) > 0);
        }
        (void) close(p[1]);

        r = wire_receive(&wire, USEC_INFINITY, &m);
        if (r > 0) {
                if (wire_message_is_call(&m, SAND_INSTANCE_INTERFACE, "Handle", SAND_HANDLE_FULL_SIGNATURE)) {
                        wire_reader_init(&in, &m);
                        (void) wire_read_string(&in, &s);
                        (void) wire_read_string(&in, &s);
                        (void) wire_read_u64(&in, &t);
                        (void) wire_read_string(&in, &s);
                        (void) wire_read_headers(&in, &headers, &n);
                        (void) wire_read_payload(&in, 1000, &payload);
                        r = wire_read_end(&in);
                        if (r == 0 && intact) {
                                assert_int_equal(t, 0x0102030405060708);
                                assert_int_equal(payload.size, 3);
                                assert_memory_equal(payload.data, "abc", 3);
                        }
                        r = r < 0 ? r : 1;
                        free(headers);
                        wire_payload_done(&payload);
                }
                wire_message_done(&m);
        }
        wire_done(&wire);
        return r;
}

static int feed(const void *data, size_t size, size_t chunk, int fd) {
        return feed_checked(data, size, chunk, fd, true);
}

static void test_byte_orders(void **state) {
        for (int big = 0; big < 2; big++) {
                Raw r;

                raw_handle(&r, big);
                assert_int_equal(feed(r.data, r.size, r.size, -EBADF), 1);
                assert_int_equal(feed(r.data, r.size, 5, -EBADF), 1);
                assert_int_equal(feed(r.data, r.size, 17, -EBADF), 1);
        }
}

/* Every prefix is incomplete, and no changed byte does harm. */
static void test_damage(void **state) {
        Raw r;
        int fd = memfd_create("x", MFD_CLOEXEC);

        raw_handle(&r, false);
        for (size_t i = 0; i < r.size; i++)
                assert_int_equal(feed(r.data, i, i + 1, -EBADF), 0);
        for (size_t i = 0; i < r.size; i++)
                for (int k = 0; k < 3; k++) {
                        uint8_t saved = r.data[i];

                        r.data[i] = k == 0 ? 0xff : k == 1 ? 0 : (uint8_t) (saved ^ 0x41);
                        if (i < 300) /* of the payload and the strings any value is fine */
                                (void) feed_checked(r.data, r.size, r.size, -EBADF, false);
                        r.data[i] = saved;
                }
        /* A descriptor that no message speaks of. */
        assert_int_equal(feed(r.data, r.size, r.size, fd), -EBADMSG);
        (void) close(fd);
}

static void test_malformed(void **state) {
        static const struct {
                size_t at;
                uint8_t value;
        } cases[] = {
                { 0, 'x' },     /* byte order */
                { 1, 0 },       /* type */
                { 3, 2 },       /* version */
                { 7, 0x10 },    /* a body of 256 MiB */
                { 8, 0 },       /* serial 0 */
                { 14, 0x10 },   /* fields of 1 MiB */
                { 17, 200 },    /* a field's signature that runs out */
                { 18, '(' },    /* and one that is none */
        };
        Raw good, r;

        raw_handle(&good, false);
        for (size_t k = 0; k < ELEMENTSOF(cases); k++) {
                r = good;
                r.data[cases[k].at] = cases[k].value;
                if (feed(r.data, r.size, r.size, -EBADF) != -EBADMSG)
                        fail_msg("case %zu was taken", k);
        }
        assert_int_equal(feed("REJECTED EXTERNAL\r\n", 19, 19, -EBADF), -EBADMSG);
}

static void test_memfd_check(void **state) {
        size_t size;
        int fd = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        FILE *f = tmpfile();

        assert_int_equal(wire_memfd_check(fd, &size), -EPERM);
        assert_return_code(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), errno);
        assert_int_equal(wire_memfd_check(fd, &size), -EPERM);
        (void) close(fd);
        assert_int_equal(wire_memfd_check(fileno(f), &size), -EBADMSG);
        (void) fclose(f);
        fd = wire_memfd_new("abc", 3);
        assert_int_equal(wire_memfd_check(fd, &size), 0);
        assert_int_equal(size, 3);
        (void) close(fd);
}

/* The server's side, with a wire at the other end. */

#define ID "0123456789abcdef0123456789abcdef"

typedef struct Wires {
        Wire server, client;
        unsigned n_on_queued;
        bool gather;
} Wires;

static void on_queued(Wire *w) {
        CONTAINER_OF(w, Wires, server)->n_on_queued++;
}

/* Nothing has been said yet. */
static int strangers_set_up(void **state) {
        Wires *w = calloc(1, sizeof(*w));
        const int least = 1;
        int s[2];

        assert_non_null(w);
        assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), errno);
        /* Small enough to be filled soon. */
        assert_return_code(setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &least, sizeof(least)), errno);
        wire_init_server(&w->server, s[0], ID, on_queued);
        wire_init(&w->client, s[1]);
        *state = w;
        return 0;
}

static int wires_tear_down(void **state) {
        Wires *w = *state;

        wire_done(&w->server);
        wire_done(&w->client);
        free(w);
        return 0;
}

static int server_receive(Wires *w, WireMessage *m) {
        return wire_receive(&w->server, USEC_INFINITY, m);
}

static int client_receive(Wires *w, WireMessage *m) {
        return wire_receive(&w->client, now_usec() + WAIT_USEC, m);
}

/* A call with a number and as many bytes. */
static int send_numbered(Wire *w, uint32_t n, const void *bytes, size_t size) {
        WireWriter out;

        wire_call(w, &out, "/a", "b.c", "D", "uv", wire_payload_fds(size));
        wire_put_u32(&out, n);
        wire_put_payload(&out, bytes, size);
        return wire_send(w, &out);
}

static void expect_numbered(const WireMessage *m, uint32_t n, const void *bytes, size_t size) {
        WirePayload payload;
        WireReader in;
        uint32_t v;

        assert_true(wire_message_is_call(m, "b.c", "D", "uv"));
        assert_int_equal(m->n_fds, wire_payload_fds(size));
        wire_reader_init(&in, m);
        assert_return_code(wire_read_u32(&in, &v), 0);
        assert_return_code(wire_read_payload(&in, SAND_PAYLOAD_HARD_MAX, &payload), 0);
        assert_return_code(wire_read_end(&in), 0);
        assert_int_equal(v, n);
        assert_int_equal(payload.size, size);
        assert_true(size == 0 || memcmp(payload.data, bytes, size) == 0);
        wire_payload_done(&payload);
}

/* Each knows the other. */
static int wires_set_up(void **state) {
        WireMessage m;
        Wires *w;

        assert_int_equal(strangers_set_up(state), 0);
        w = *state;
        assert_return_code(send_numbered(&w->client, 0, "hello", 5), 0);
        assert_int_equal(server_receive(w, &m), 1);
        wire_message_done(&m);
        assert_return_code(send_numbered(&w->server, 0, "hello", 5), 0);
        assert_int_equal(client_receive(w, &m), 1);
        wire_message_done(&m);
        w->n_on_queued = 0;
        return 0;
}

static void test_wires_converse(void **state) {
        static uint8_t large[SAND_MEMFD_THRESHOLD];
        static const struct {
                const void *bytes;
                size_t size;
        } rows[] = { { "", 0 }, { "abc", 3 }, { large, 1000 }, { large, sizeof(large) }, { "x", 1 } };
        Wires *w = *state;
        WireMessage m;

        for (size_t i = 0; i < sizeof(large); i++)
                large[i] = (uint8_t) (i * 7);
        assert_int_equal(server_receive(w, &m), -EAGAIN);
        for (uint32_t i = 0; i < ELEMENTSOF(rows); i++) {
                assert_return_code(send_numbered(&w->client, i, rows[i].bytes, rows[i].size), 0);
                assert_int_equal(server_receive(w, &m), 1);
                expect_numbered(&m, i, rows[i].bytes, rows[i].size);
                wire_message_done(&m);
                assert_int_equal(server_receive(w, &m), -EAGAIN);

                assert_return_code(send_numbered(&w->server, i, rows[i].bytes, rows[i].size), 0);
                assert_int_equal(client_receive(w, &m), 1);
                expect_numbered(&m, i, rows[i].bytes, rows[i].size);
                wire_message_done(&m);
        }
        /* The answers to the client's authentication waited for the first message. */
        assert_int_equal(w->n_on_queued, 1);
        assert_int_equal(w->server.queued, 0);
}

/* What the client sends first: its lines and a message. */
static size_t record(uint8_t *bytes, size_t capacity, unsigned n_messages) {
        ssize_t n;
        Wire wire;
        int s[2];

        assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), errno);
        wire_init(&wire, s[0]);
        for (uint32_t i = 0; i < n_messages; i++)
                assert_return_code(send_numbered(&wire, i, "abc", 3), 0);
        n = recv(s[1], bytes, capacity, MSG_DONTWAIT);
        assert_true(n > 0 && (size_t) n < capacity);
        (void) close(s[1]);
        wire_done(&wire);
        return (size_t) n;
}

static const char client_lines[] = "\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n";

/* A prefix of any length is no message; the rest makes it one. */
static void test_messages_in_parts(void **state) {
        uint8_t bytes[2048];
        size_t size = record(bytes, sizeof(bytes), 1);

        for (size_t i = 0; i < size; i++) {
                WireMessage m;
                Wires *w;

                assert_int_equal(strangers_set_up(state), 0);
                w = *state;
                assert_int_equal(send(w->client.fd, bytes, i, 0), i);
                assert_int_equal(server_receive(w, &m), -EAGAIN);
                assert_int_equal(send(w->client.fd, bytes + i, size - i, 0), size - i);
                assert_int_equal(server_receive(w, &m), 1);
                expect_numbered(&m, 0, "abc", 3);
                wire_message_done(&m);
                assert_false(wire_pending(&w->server));
                wires_tear_down(state);
        }
}

static void test_byte_by_byte(void **state) {
        uint8_t bytes[2048];
        size_t size = record(bytes, sizeof(bytes), 3);
        Wires *w = *state;
        uint32_t n = 0;
        WireMessage m;

        for (size_t i = 0; i < size; i++) {
                int r;

                assert_int_equal(send(w->client.fd, bytes + i, 1, 0), 1);
                r = server_receive(w, &m);
                assert_true(r == 1 || r == -EAGAIN);
                if (r == 1) {
                        expect_numbered(&m, n++, "abc", 3);
                        wire_message_done(&m);
                }
        }
        assert_int_equal(n, 3);
}

static void test_several_at_once(void **state) {
        uint8_t bytes[2048];
        size_t size = record(bytes, sizeof(bytes), 3);
        Wires *w = *state;
        WireMessage m;

        /* Without a part of the last one. */
        assert_int_equal(send(w->client.fd, bytes, size - 1, 0), size - 1);
        assert_false(wire_has_message(&w->server));
        for (uint32_t i = 0; i < 2; i++) {
                assert_int_equal(server_receive(w, &m), 1);
                expect_numbered(&m, i, "abc", 3);
                wire_message_done(&m);
                assert_true(wire_pending(&w->server));
                assert_true(wire_has_message(&w->server) == (i == 0)); /* a part is none */
        }
        assert_int_equal(server_receive(w, &m), -EAGAIN);
        assert_int_equal(send(w->client.fd, bytes + size - 1, 1, 0), 1);
        assert_int_equal(server_receive(w, &m), 1);
        expect_numbered(&m, 2, "abc", 3);
        wire_message_done(&m);
        assert_false(wire_pending(&w->server));
}

static unsigned count_fds(void) {
        unsigned n = 0;

        for (int fd = 0; fd < 1024; fd++)
                n += fcntl(fd, F_GETFD) >= 0;
        return n;
}

/* Sends until `n` messages wait for room; returns how many were sent in all. */
static uint32_t fill(Wires *w, const void *bytes, size_t size, unsigned n) {
        uint32_t sent = 0;

        while (w->server.queued == 0 && sent < 100000)
                assert_return_code(send_numbered(&w->server, sent++, bytes, size), 0);
        assert_int_equal(w->n_on_queued, 1);
        for (; n > 1; n--) {
                size_t before = w->server.queued;

                assert_return_code(send_numbered(&w->server, sent++, bytes, size), 0);
                assert_true(w->server.queued > before + size * !wire_payload_fds(size));
        }
        assert_int_equal(w->n_on_queued, 1);
        return sent;
}

/* What is queued comes in order, as the reader makes room for it, in parts. */
static void test_queue(void **state) {
        static uint8_t bytes[3000];
        Wires *w = *state;
        unsigned parts = 0;
        WireMessage m;
        uint32_t sent;

        memset(bytes, 'q', sizeof(bytes));
        sent = fill(w, bytes, sizeof(bytes), 40);
        assert_return_code(wire_flush(&w->server), 0); /* there is no room: nothing happens */
        assert_true(w->server.queued > 39 * sizeof(bytes));
        for (uint32_t i = 0; i < sent; i++) {
                size_t before = w->server.queued;

                assert_int_equal(client_receive(w, &m), 1);
                expect_numbered(&m, i, bytes, sizeof(bytes));
                wire_message_done(&m);
                assert_return_code(wire_flush(&w->server), 0);
                assert_true(w->server.queued <= before);
                parts += w->server.queued < before && w->server.queued % sizeof(bytes) != 0;
        }
        assert_true(parts > 5);
        assert_int_equal(w->server.queued, 0);
        assert_null(w->server.queue);
        assert_return_code(wire_flush(&w->server), 0);

        /* Then it sends at once again, and says so anew. */
        assert_return_code(send_numbered(&w->server, 7, "abc", 3), 0);
        assert_int_equal(w->server.queued, 0);
        assert_int_equal(client_receive(w, &m), 1);
        expect_numbered(&m, 7, "abc", 3);
        wire_message_done(&m);
        w->n_on_queued = 0;
        (void) fill(w, bytes, sizeof(bytes), 2);
}

/* Each descriptor goes with its own message, and the queue's copies are closed. */
static void test_queued_descriptors(void **state) {
        static uint8_t large[SAND_MEMFD_THRESHOLD];
        unsigned n_fds = count_fds();
        Wires *w = *state;
        WireMessage m;
        uint32_t sent;

        sent = fill(w, "abc", 3, 1);
        for (uint32_t i = 0; i < 20; i++) {
                large[0] = (uint8_t) i;
                assert_return_code(i % 2 ? send_numbered(&w->server, sent + i, large, sizeof(large))
                                         : send_numbered(&w->server, sent + i, "abc", 3), 0);
        }
        assert_int_equal(count_fds(), n_fds + 10);
        for (uint32_t i = 0; i < sent + 20; i++) {
                assert_return_code(wire_flush(&w->server), 0);
                assert_int_equal(client_receive(w, &m), 1);
                if (i >= sent && (i - sent) % 2) {
                        large[0] = (uint8_t) (i - sent);
                        expect_numbered(&m, i, large, sizeof(large));
                } else
                        expect_numbered(&m, i, "abc", 3);
                wire_message_done(&m);
        }
        assert_int_equal(count_fds(), n_fds);
}

/* A borrowed descriptor may be closed once the message is queued; and what is never sent is closed, too. */
static void test_queue_is_dropped(void **state) {
        unsigned n_fds = count_fds();
        Wires *w = *state;
        WireWriter out;
        int fd;

        (void) fill(w, "abc", 3, 3);
        fd = wire_memfd_new("x", 1);
        wire_call(&w->server, &out, "/a", "b.c", "D", "v", 1);
        wire_put_memfd(&out, fd);
        assert_return_code(wire_send(&w->server, &out), 0);
        (void) close(fd);
        assert_int_equal(count_fds(), n_fds + 1);
        wire_done(&w->server);
        assert_int_equal(w->server.queued, 0);
        assert_int_equal(count_fds(), n_fds - 1);
}

static void test_queue_is_bounded(void **state) {
        static uint8_t bytes[SAND_MEMFD_THRESHOLD - 1];
        size_t max = WIRE_QUEUE_BYTES_MAX, before;
        Wires *w = *state;
        WireMessage m;
        uint32_t sent;
        int r = 0;

        sent = fill(w, bytes, sizeof(bytes), 1);
        for (; sent < 1000; sent++) {
                before = w->server.queued;
                r = send_numbered(&w->server, sent, bytes, sizeof(bytes));
                if (r < 0)
                        break;
        }
        assert_int_equal(r, -ENOBUFS);
        assert_int_equal(w->server.queued, before);
        assert_true(w->server.queued <= max && w->server.queued + sizeof(bytes) + 200 > max);
        assert_int_equal(w->n_on_queued, 2); /* that there is a queue, and that it is full */
        /* One that waits for an answer which is lost would wait for ever: this is the connection's end. */
        assert_int_equal(wire_flush(&w->server), -ENOBUFS);
        wire_done(&w->server);
        for (uint32_t i = 0; (r = client_receive(w, &m)) == 1; i++) {
                assert_true(i < sent);
                expect_numbered(&m, i, bytes, sizeof(bytes));
                wire_message_done(&m);
        }
        assert_int_equal(r, 0);
}

/* Small ones are bounded, too: each may hold a descriptor. */
static void test_queue_is_short(void **state) {
        Wires *w = *state;
        uint32_t n = 1;
        int r = 0;

        (void) fill(w, "abc", 3, 1);
        for (; n < 10000; n++) {
                r = send_numbered(&w->server, n, "abc", 3);
                if (r < 0)
                        break;
        }
        assert_int_equal(r, -ENOBUFS);
        assert_int_equal(n, WIRE_QUEUE_MAX);
}

/* Who the client is not known to be yet is told nothing. */
static void test_strangers_are_told_nothing(void **state) {
        Wires *w = *state;

        assert_int_equal(send_numbered(&w->server, 1, "abc", 3), -ENOTCONN);
        assert_int_equal(w->server.queued, 0);
}

/* A first message that cannot be sent has not authenticated anybody: the second one does. */
static void test_first_message_fails(void **state) {
        int fd = wire_memfd_new("x", 1);
        Wires *w = *state;
        Wire *ends[] = { &w->client, &w->server };

        (void) close(fd);
        for (unsigned i = 0; i < ELEMENTSOF(ends); i++) {
                WireWriter out;
                WireMessage m;

                wire_call(ends[i], &out, "/a", "b.c", "D", "v", 1);
                wire_put_memfd(&out, fd);
                assert_int_equal(wire_send(ends[i], &out), -EBADF);
                assert_return_code(send_numbered(ends[i], i, "abc", 3), 0);
                assert_int_equal(i == 0 ? server_receive(w, &m) : client_receive(w, &m), 1);
                expect_numbered(&m, i, "abc", 3);
                wire_message_done(&m);
        }
}

static void test_peer_leaves(void **state) {
        WireMessage m;
        Wires *w = *state;

        assert_return_code(send_numbered(&w->client, 1, "abc", 3), 0);
        (void) fill(w, "abc", 3, 2);
        wire_done(&w->client);
        /* What is queued is lost, what it said is not. */
        assert_int_equal(wire_flush(&w->server), -EPIPE);
        assert_int_equal(server_receive(w, &m), 1);
        expect_numbered(&m, 1, "abc", 3);
        wire_message_done(&m);
        assert_int_equal(server_receive(w, &m), 0);
        assert_int_equal(server_receive(w, &m), 0);
}

/* In the middle of a message, or of the authentication. */
static void test_peer_leaves_early(void **state) {
        uint8_t bytes[2048];
        size_t size = record(bytes, sizeof(bytes), 1);
        const size_t cuts[] = { 0, 1, sizeof(client_lines) - 2, sizeof(client_lines) - 1, sizeof(client_lines) + 10, size - 1 };

        for (size_t i = 0; i < ELEMENTSOF(cuts); i++) {
                WireMessage m;
                Wires *w;

                assert_int_equal(strangers_set_up(state), 0);
                w = *state;
                assert_int_equal(send(w->client.fd, bytes, cuts[i], 0), cuts[i]);
                (void) shutdown(w->client.fd, SHUT_WR);
                assert_int_equal(server_receive(w, &m), 0);
                wires_tear_down(state);
        }
}

/* The authentication. */

#define LINES(text) text, sizeof(text) - 1
#define OK "OK " ID "\r\n"
#define REJECTED "REJECTED EXTERNAL ANONYMOUS\r\n"

static const struct Dialogue {
        const char *said;
        size_t size;
        const char *answers;
        bool begun, fds;
        int error; /* at the end of it, told at the first byte that is wrong */
} dialogues[] = {
        { LINES("\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n"), "DATA\r\n" OK "AGREE_UNIX_FD\r\n", true, true },
        { LINES("\0AUTH EXTERNAL 30\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n"), OK "AGREE_UNIX_FD\r\n", true, true },
        { LINES("\0AUTH EXTERNAL 31303030\r\nBEGIN\r\n"), OK, true },
        { LINES("\0AUTH EXTERNAL\r\nDATA 30\r\nBEGIN\r\n"), "DATA\r\n" OK, true },
        { LINES("\0AUTH ANONYMOUS\r\nBEGIN\r\n"), OK, true },
        { LINES("\0AUTH ANONYMOUS 73642D627573\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n"), OK "AGREE_UNIX_FD\r\n", true, true },
        { LINES("\0AUTH\r\nAUTH DBUS_COOKIE_SHA1 30\r\nAUTH EXTERNAL 30\r\nBEGIN\r\n"), REJECTED REJECTED OK, true },
        { LINES("\0AUTH EXTERNAL\r\nCANCEL\r\nAUTH EXTERNAL\r\nERROR\r\n"), "DATA\r\n" REJECTED "DATA\r\n" REJECTED },
        { LINES("\0AUTH EXTERNAL 30\r\nNEGOTIATE_UNIX_FD\r\nCANCEL\r\nAUTH EXTERNAL 30\r\nBEGIN\r\n"),
          OK "AGREE_UNIX_FD\r\n" REJECTED OK, true },
        { LINES("\0AUTH EXTERNAL 3\r\nAUTH EXTERNAL 3g\r\nAUTH EXTERNAL\r\nDATA \0\0\r\n"), REJECTED REJECTED "DATA\r\n" REJECTED },
        { LINES("\0\r\nHELLO\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nAUTHENTICATE\r\nauth EXTERNAL\r\nCANCEL\r\n"),
          "ERROR\r\nERROR\r\nERROR\r\nERROR\r\nERROR\r\nERROR\r\nERROR\r\n" },
        { LINES("\0AUTH EXTERNAL 30\r\nAUTH EXTERNAL 30\r\nDATA\r\n"), OK "ERROR\r\nERROR\r\n" },
        { LINES("\0AUTH EXTERNAL 30\r\nBEGIN"), OK },
        { LINES("\0AUTH EXTERNAL 30\rBEGIN\n\r\n"), REJECTED },
        { LINES("\0BEGIN\r\n"), "", .error = -EBADMSG },
        { LINES("\0AUTH EXTERNAL\r\nBEGIN\r\n"), "DATA\r\n", .error = -EBADMSG },
        { LINES("A"), "", .error = -EBADMSG },
};

/* Appends to the text what the server has sent. */
static void read_answers(Wires *w, char *text, size_t size) {
        size_t n = strlen(text);
        ssize_t k;

        while ((k = recv(w->client.fd, text + n, size - 1 - n, MSG_DONTWAIT)) > 0)
                n += (size_t) k;
}

/* In one piece, and in pieces of each size. */
static void test_dialogues(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(dialogues); i++)
                for (size_t chunk = 1; chunk <= dialogues[i].size; chunk++) {
                        const struct Dialogue *d = dialogues + i;
                        int expected = d->error ?: -EAGAIN, r = -EAGAIN;
                        char answers[512] = "";
                        WireMessage m;
                        Wires *w;

                        assert_int_equal(strangers_set_up(state), 0);
                        w = *state;
                        for (size_t at = 0; at < d->size; at += chunk) {
                                size_t n = MIN(chunk, d->size - at);

                                assert_int_equal(r, -EAGAIN);
                                assert_false(w->server.answered);
                                assert_int_equal(send(w->client.fd, d->said + at, n, 0), n);
                                r = server_receive(w, &m);
                                /* Whoever waits for an answer has it; who has begun need not. */
                                if (r == -EAGAIN && !w->server.answered)
                                        assert_int_equal(w->server.queued, 0);
                                read_answers(w, answers, sizeof(answers));
                        }
                        if (r != expected || w->server.answered != d->begun)
                                fail_msg("dialogue %zu in pieces of %zu: %d", i, chunk, r);
                        if (d->begun)
                                assert_int_equal(w->server.no_fds, !d->fds);
                        (void) wire_flush(&w->server);
                        read_answers(w, answers, sizeof(answers));
                        assert_string_equal(answers, d->answers);
                        assert_true(d->error || w->server.size > 0 || !w->server.buffer); /* nothing is kept of it */
                        wires_tear_down(state);
                }
}

static void test_authentication_is_bounded(void **state) {
        static const char line[] = "NONSENSE\r\n";
        char bytes[1024];
        WireMessage m;
        Wires *w = *state;

        assert_int_equal(send(w->client.fd, "", 1, 0), 1);
        for (unsigned i = 0; i < 16; i++) {
                assert_int_equal(send(w->client.fd, line, strlen(line), 0), strlen(line));
                assert_int_equal(server_receive(w, &m), -EAGAIN);
        }
        assert_int_equal(send(w->client.fd, line, strlen(line), 0), strlen(line));
        assert_int_equal(server_receive(w, &m), -EBADMSG);

        for (size_t size = 512; size <= 513; size++) { /* with the end */
                wires_tear_down(state);
                assert_int_equal(strangers_set_up(state), 0);
                w = *state;
                memset(bytes, 'a', size);
                bytes[0] = 0;
                memcpy(bytes + size - 1, "\r\n", 2);
                assert_int_equal(send(w->client.fd, bytes, size + 1, 0), size + 1);
                assert_int_equal(server_receive(w, &m), size == 512 ? -EAGAIN : -EBADMSG);
        }
}

static void send_with_fd(int socket, const void *data, size_t size, int fd) {
        struct iovec iov = { (void *) data, size }, *p = &iov;
        size_t n = 1;

        assert_int_equal(wire_send_some(socket, &p, &n, &fd, 0), 0);
}

/* They come with a message, after both sides have agreed. */
static void test_descriptors_are_negotiated(void **state) {
        static const char agreed[] = "\0AUTH EXTERNAL 30\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n",
                          not_agreed[] = "\0AUTH EXTERNAL 30\r\nBEGIN\r\n";
        static const struct {
                const char *said;
                size_t size, before; /* of it without the descriptor */
                int result;
        } rows[] = {
                { LINES(agreed), 0, -EAGAIN },
                { agreed, sizeof(agreed) - 3, 0, -EBADMSG },
                { agreed, 1, 0, -EBADMSG },
                { LINES(not_agreed), 0, -EBADMSG },
                { not_agreed, sizeof(not_agreed), sizeof(not_agreed) - 1, -EBADMSG },
        };
        unsigned n_fds = count_fds();

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                int fd = wire_memfd_new("x", 1);
                WireMessage m;
                Wires *w;

                assert_int_equal(strangers_set_up(state), 0);
                w = *state;
                if (rows[i].before > 0) {
                        assert_int_equal(send(w->client.fd, rows[i].said, rows[i].before, 0), rows[i].before);
                        assert_int_equal(server_receive(w, &m), -EAGAIN);
                }
                send_with_fd(w->client.fd, rows[i].said + rows[i].before, rows[i].size - rows[i].before, fd);
                (void) close(fd);
                assert_int_equal(server_receive(w, &m), rows[i].result);
                wires_tear_down(state);
                assert_int_equal(count_fds(), n_fds);
        }
}

static void test_descriptors_are_not_sent_unasked(void **state) {
        static const char lines[] = "\0AUTH EXTERNAL 30\r\nBEGIN\r\n";
        static const uint8_t large[SAND_MEMFD_THRESHOLD];
        Wires *w = *state;
        WireMessage m;

        assert_int_equal(send(w->client.fd, lines, sizeof(lines) - 1, 0), sizeof(lines) - 1);
        assert_int_equal(server_receive(w, &m), -EAGAIN);
        assert_int_equal(send_numbered(&w->server, 1, large, sizeof(large)), -EOPNOTSUPP);
        assert_return_code(send_numbered(&w->server, 1, "abc", 3), 0);
}

/* Gathering. */

static bool can_read(Wires *w) {
        uint8_t byte;
        return recv(w->client.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

/* All at once, in their order, however large, and with which descriptor. */
static void test_messages_are_gathered(void **state) {
        static uint8_t bytes[SAND_MEMFD_THRESHOLD];
        static const size_t sizes[] = { 3, 1000, 7000, 3, 9000, 3, sizeof(bytes), 3, 60000, 3, 3 };
        const int room = 1024 * 1024;
        Wires *w = *state;
        WireMessage m;

        assert_return_code(setsockopt(w->server.fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)), errno);
        memset(bytes, 'g', sizeof(bytes));
        w->server.gather = &w->gather;
        assert_return_code(send_numbered(&w->server, 7, "abc", 3), 0); /* not yet */
        assert_int_equal(client_receive(w, &m), 1);
        wire_message_done(&m);

        w->gather = true;
        for (unsigned round = 0; round < 3; round++) {
                for (uint32_t i = 0; i < 3; i++)
                        assert_return_code(send_numbered(&w->server, i, bytes, sizes[i]), 0);
                assert_false(can_read(w));
                assert_int_equal(w->n_on_queued, round + 1);
                assert_return_code(wire_flush(&w->server), 0);
                assert_int_equal(w->server.queued, 0);
                for (uint32_t i = 0; i < 3; i++) {
                        assert_int_equal(client_receive(w, &m), 1);
                        expect_numbered(&m, i, bytes, sizes[i]);
                        wire_message_done(&m);
                }
        }
        for (uint32_t i = 0; i < ELEMENTSOF(sizes); i++) {
                assert_return_code(send_numbered(&w->server, i, bytes, sizes[i]), 0);
                assert_true((w->server.queued > 0) == (sizes[i] < 8000));
        }
        for (uint32_t i = 0; i < ELEMENTSOF(sizes); i++) {
                assert_return_code(wire_flush(&w->server), 0);
                assert_int_equal(client_receive(w, &m), 1);
                expect_numbered(&m, i, bytes, sizes[i]);
                wire_message_done(&m);
        }
        assert_false(can_read(w));
        assert_int_equal(w->server.queued, 0);
        assert_false(w->server.blocked);
}

/* sd-bus as the client. */

typedef struct Client {
        Wire server;
        sd_bus *bus;
        sd_bus_message *replies[64];
        unsigned n_replies;
        bool gather;
} Client;

static void on_client_queued(Wire *w) {
}

static int on_client_reply(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        Client *c = userdata;

        assert_true(c->n_replies < ELEMENTSOF(c->replies));
        c->replies[c->n_replies++] = sd_bus_message_ref(m);
        return 1;
}

static void client_start(Client *c, bool anonymous, bool fds) {
        int s[2];

        *c = (Client) {};
        assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), errno);
        wire_init_server(&c->server, s[0], ID, on_client_queued);
        c->server.gather = &c->gather;
        assert_return_code(sd_bus_new(&c->bus), 0);
        assert_return_code(sd_bus_set_fd(c->bus, s[1], s[1]), 0);
        assert_return_code(sd_bus_set_anonymous(c->bus, anonymous), 0);
        assert_return_code(sd_bus_negotiate_fds(c->bus, fds), 0);
        assert_return_code(sd_bus_start(c->bus), 0);
}

static void client_settle(Client *c) {
        while (sd_bus_process(c->bus, NULL) > 0)
                ;
}

static void client_done(Client *c) {
        for (unsigned i = 0; i < c->n_replies; i++)
                sd_bus_message_unref(c->replies[i]);
        sd_bus_close(c->bus);
        sd_bus_unref(c->bus);
        wire_done(&c->server);
}

static void client_call(Client *c, uint32_t n, int fd) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;

        assert_return_code(sd_bus_message_new_method_call(c->bus, &m, NULL, "/a", "b.c", "D"), 0);
        assert_return_code(sd_bus_message_append(m, "u", n), 0);
        if (fd >= 0)
                assert_return_code(sd_bus_message_append(m, "h", fd), 0);
        assert_return_code(sd_bus_call_async(c->bus, NULL, m, on_client_reply, c, WAIT_USEC), 0);
}

/* Each of the ways that sd-bus has; many calls at a time and as many answers, descriptors with their own. */
static void test_sd_bus_is_served(void **state) {
        for (unsigned way = 0; way < 8; way++) {
                bool fds = way & 2;
                uint32_t n = 0;
                Client c;

                client_start(&c, way & 1, fds);
                c.gather = way & 4;
                client_settle(&c);
                assert_int_equal(wire_receive(&c.server, USEC_INFINITY, &(WireMessage) {}), -EAGAIN);
                assert_true(c.server.answered);
                assert_int_equal(c.server.no_fds, !fds);
                assert_return_code(wire_flush(&c.server), 0);
                client_settle(&c);
                assert_int_equal(sd_bus_is_ready(c.bus), 1);

                for (uint32_t i = 0; i < ELEMENTSOF(c.replies); i++) {
                        int fd = fds && i % 3 == 0 ? wire_memfd_new("abcd", i % 4) : -EBADF;
                        client_call(&c, i, fd);
                        (void) safe_close(fd);
                }
                assert_return_code(sd_bus_flush(c.bus), 0);
                for (;;) {
                        WireMessage m;
                        WireWriter out;
                        WireReader in;
                        uint32_t v;
                        int r = wire_receive(&c.server, USEC_INFINITY, &m);

                        if (r == -EAGAIN)
                                break;
                        assert_int_equal(r, 1);
                        assert_string_equal(m.member, "D");
                        wire_reader_init(&in, &m);
                        assert_return_code(wire_read_u32(&in, &v), 0);
                        assert_int_equal(v, n++);
                        assert_int_equal(m.n_fds, fds && v % 3 == 0);
                        wire_reply(&c.server, &out, &m, m.n_fds > 0 ? "uv" : "u", m.n_fds);
                        wire_put_u32(&out, v);
                        if (m.n_fds > 0)
                                wire_put_memfd(&out, m.fds[0]);
                        assert_return_code(wire_send(&c.server, &out), 0);
                        wire_message_done(&m);
                }
                assert_int_equal(n, ELEMENTSOF(c.replies));
                assert_return_code(wire_flush(&c.server), 0);
                client_settle(&c);
                assert_int_equal(c.n_replies, n);
                for (uint32_t i = 0; i < n; i++) {
                        uint32_t v;
                        size_t size;
                        int fd;

                        assert_false(sd_bus_message_is_method_error(c.replies[i], NULL));
                        assert_return_code(sd_bus_message_read(c.replies[i], "u", &v), 0);
                        assert_int_equal(v, i);
                        if (!fds || i % 3 != 0)
                                continue;
                        assert_return_code(sd_bus_message_read(c.replies[i], "v", "h", &fd), 0);
                        assert_int_equal(wire_memfd_check(fd, &size), 0);
                        assert_int_equal(size, i % 4);
                }
                client_done(&c);
        }
}

/* KiB of the mapping at `at` that are in huge pages. */
static unsigned long huge_of(const void *at) {
        FILE *f = fopen("/proc/self/smaps", "re");
        unsigned long kib = 0, start, end;
        bool inside = false;
        char line[512];

        assert_non_null(f);
        while (fgets(line, sizeof(line), f)) {
                if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
                        inside = start <= (uintptr_t) at && (uintptr_t) at < end;
                if (inside)
                        (void) sscanf(line, "ShmemPmdMapped: %lu", &kib);
        }
        (void) fclose(f);
        return kib;
}

static bool huge_pages_are_denied(void) {
        FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "re");
        char text[128] = "";
        bool denied = !f || !fgets(text, sizeof(text), f) || strstr(text, "[deny]");

        if (f)
                (void) fclose(f);
        return denied;
}

/* What is large is in huge pages, whole, sealed, and mapped as such; its end is not. */
static void test_large_memfd(void **state) {
        static const size_t sizes[] = { HUGE_PAGE - 1, HUGE_PAGE, 2 * HUGE_PAGE + 12345 };
        static const uint8_t body[8] = { 1, 'h' };

        for (size_t k = 0; k < ELEMENTSOF(sizes); k++) {
                _cleanup_(freep) uint8_t *data = malloc(sizes[k]);
                WirePayload payload = {};
                WireMessage m = { .body = body, .body_size = sizeof(body), .n_fds = 1 };
                WireReader in;
                size_t size;
                int fd;

                assert_non_null(data);
                for (size_t i = 0; i < sizes[k]; i++)
                        data[i] = (uint8_t) (i * 31 + i / 4096);
                fd = wire_memfd_new(data, sizes[k]);
                assert_return_code(fd, -fd);
                assert_int_equal(wire_memfd_check(fd, &size), 0);
                assert_int_equal(size, sizes[k]);

                m.fds = &fd;
                wire_reader_init(&in, &m);
                assert_int_equal(wire_read_payload(&in, SAND_PAYLOAD_HARD_MAX, &payload), 0);
                assert_int_equal(payload.size, sizes[k]);
                assert_memory_equal(payload.data, data, sizes[k]);
                if (sizes[k] >= HUGE_PAGE)
                        assert_int_equal((uintptr_t) payload.data % HUGE_PAGE, 0);
                if (!huge_pages_are_denied())
                        assert_int_equal(huge_of(payload.data), sizes[k] / HUGE_PAGE * (HUGE_PAGE / 1024));
                wire_payload_done(&payload);
                assert_int_equal(huge_of(payload.data), 0);
                (void) close(fd);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_first_message_wakes),
                cmocka_unit_test(test_refused_descriptors),
                cmocka_unit_test_setup_teardown(test_handle, pair_set_up, pair_tear_down),
                cmocka_unit_test_setup_teardown(test_error_and_refusal, pair_set_up, pair_tear_down),
                cmocka_unit_test_setup_teardown(test_payload_sizes, pair_set_up, pair_tear_down),
                cmocka_unit_test_setup_teardown(test_many_at_once, pair_set_up, pair_tear_down),
                cmocka_unit_test_setup_teardown(test_end_of_file, pair_set_up, pair_tear_down),
                cmocka_unit_test(test_byte_orders),
                cmocka_unit_test(test_damage),
                cmocka_unit_test(test_malformed),
                cmocka_unit_test(test_memfd_check),
                cmocka_unit_test_setup_teardown(test_wires_converse, strangers_set_up, wires_tear_down),
                cmocka_unit_test_setup_teardown(test_byte_by_byte, strangers_set_up, wires_tear_down),
                cmocka_unit_test_setup_teardown(test_several_at_once, strangers_set_up, wires_tear_down),
                cmocka_unit_test_setup_teardown(test_queue, wires_set_up, wires_tear_down),
                cmocka_unit_test_setup_teardown(test_queued_descriptors, wires_set_up, wires_tear_down),
                cmocka_unit_test_setup_teardown(test_queue_is_dropped, wires_set_up, wires_tear_down),
                cmocka_unit_test_setup_teardown(test_queue_is_bounded, wires_set_up, wires_tear_down),
                cmocka_unit_test_setup_teardown(test_queue_is_short, wires_set_up, wires_tear_down),
                cmocka_unit_test_setup_teardown(test_strangers_are_told_nothing, strangers_set_up, wires_tear_down),
                cmocka_unit_test_setup_teardown(test_first_message_fails, strangers_set_up, wires_tear_down),
                cmocka_unit_test_setup_teardown(test_peer_leaves, wires_set_up, wires_tear_down),
                cmocka_unit_test(test_dialogues),
                cmocka_unit_test_setup_teardown(test_authentication_is_bounded, strangers_set_up, wires_tear_down),
                cmocka_unit_test(test_descriptors_are_negotiated),
                cmocka_unit_test_setup_teardown(test_descriptors_are_not_sent_unasked, strangers_set_up, wires_tear_down),
                cmocka_unit_test_setup_teardown(test_messages_are_gathered, wires_set_up, wires_tear_down),
                cmocka_unit_test(test_sd_bus_is_served),
                cmocka_unit_test(test_messages_in_parts),
                cmocka_unit_test(test_peer_leaves_early),
                cmocka_unit_test(test_large_memfd),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
