/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* NATS, lists of Redis
 * (https://redis.io/docs/latest/develop/reference/protocol-spec/) and HTTP: the little of each that a request takes. */

#include <stdio.h>

#include "peer.h"

static Stream stream;

static void nats_serve(char **address) {
        char head[64];

        nats_open(&stream, address[0]);
        stream_send(&stream, "SUB questions 1\r\nPING\r\n", NULL, 0, "");
        nats_pong(&stream);
        ready();
        for (;;) {
                unsigned number;
                size_t size;
                char *body = nats_message(&stream, &number, &size);

                (void) snprintf(head, sizeof(head), "PUB replies %zu\r\n", size);
                stream_send(&stream, head, body, size, "\r\n");
        }
}

static void nats_open_caller(char **address) {
        nats_open(&stream, address[0]);
        stream_send(&stream, "SUB replies 1\r\n", NULL, 0, "");
}

static void nats_request(const char *body, size_t size) {
        char head[64];
        unsigned number;
        size_t n;

        (void) snprintf(head, sizeof(head), "PUB questions replies %zu\r\n", size);
        stream_send(&stream, head, body, size, "\r\n");
        (void) nats_message(&stream, &number, &n);
        if (n != size)
                die("nats", EBADMSG);
}

const Peer peer_nats = { "nats", "HOST:PORT", nats_serve, nats_open_caller, nats_request };

/* Redis: the request goes to one list, the reply to another. */

static void redis_open(char **address) {
        stream_open(&stream, address[0]);
}

static void redis_push(const char *list, const char *body, size_t size) {
        char head[96];

        (void) snprintf(head, sizeof(head), "*3\r\n$5\r\nRPUSH\r\n$%zu\r\n%s\r\n$%zu\r\n", strlen(list), list, size);
        stream_send(&stream, head, body, size, "\r\n");
        (void) stream_line(&stream);
}

/* "*2", the list's name, the element, each of the latter two behind a line "$SIZE". */
static char *redis_pop(const char *list, size_t *ret_size) {
        char head[96];

        (void) snprintf(head, sizeof(head), "*3\r\n$5\r\nBLPOP\r\n$%zu\r\n%s\r\n$1\r\n0\r\n", strlen(list), list);
        stream_send(&stream, head, NULL, 0, "");
        if (!startswith(stream_line(&stream), "*2"))
                die("redis", EBADMSG);
        (void) stream_line(&stream);
        (void) stream_line(&stream);
        *ret_size = (size_t) parse_number("a size", stream_line(&stream) + 1, 0, 1024 * 1024);
        return stream_bytes(&stream, *ret_size + 2);
}

static void redis_serve(char **address) {
        static char copy[128 * 1024];

        redis_open(address);
        ready();
        for (;;) {
                size_t size;
                char *body = redis_pop("questions", &size);

                memcpy(copy, body, MIN(size, sizeof(copy)));
                redis_push("answers", copy, size);
        }
}

static void redis_request(const char *body, size_t size) {
        size_t n;

        redis_push("questions", body, size);
        (void) redis_pop("answers", &n);
        if (n != size)
                die("redis", EBADMSG);
}

const Peer peer_redis = { "redis", "SOCKET", redis_serve, redis_open, redis_request };

/* HTTP: a POST on a connection that stays. */

static const char *http_path;

static void http_open(char **address) {
        if (!address[1])
                die("http: expected HOST:PORT PATH", EINVAL);
        stream_open(&stream, address[0]);
        http_path = address[1];
}

static void http_request(const char *body, size_t size) {
        char head[512], *line;
        size_t length = 0;

        (void) snprintf(head, sizeof(head), "POST %s HTTP/1.1\r\nHost: localhost\r\n"
                        "Content-Type: application/octet-stream\r\nContent-Length: %zu\r\n\r\n", http_path, size);
        stream_send(&stream, head, body, size, "");
        line = stream_line(&stream);
        if (!startswith(line, "HTTP/1.1 200")) {
                fprintf(stderr, "http: %s\n", line);
                exit(EXIT_FAILURE);
        }
        while (*(line = stream_line(&stream)))
                if (strncasecmp(line, "Content-Length:", 15) == 0)
                        length = strtoul(line + 15, NULL, 10);
        (void) stream_bytes(&stream, length);
}

const Peer peer_http = { "http", "HOST:PORT PATH", NULL, http_open, http_request };
