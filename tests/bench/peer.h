/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Request and reply through somebody else's program. A peer has two ends, each a process of its own: one asks and
 * waits, one answers what it is asked. The functions exit with a message when they cannot go on. */

#include "macro.h"
#include "stat.h"

typedef struct Peer {
        const char *name, *usage;
        /* Answers until it is killed; the parent is told by ready() from when on. NULL: nobody is needed. */
        void (*serve)(char **address);
        /* Once, before the first request. */
        void (*open)(char **address);
        /* Asks with `size` bytes and waits until as many have come back. */
        void (*request)(const char *body, size_t size);
} Peer;

void ready(void);

/* Text protocols over a stream: reads lines and counted bytes. */
typedef struct Stream {
        int fd;
        size_t start, end;
        char buffer[256 * 1024];
} Stream;

/* "/PATH" or "IPV4:PORT"; waits a little for a server that is starting. */
void stream_open(Stream *s, const char *address);
void stream_send(Stream *s, const char *head, const char *body, size_t size, const char *tail);
/* Without its end, terminated; valid until the next call. */
char *stream_line(Stream *s);
/* `size` bytes; valid until the next call. */
char *stream_bytes(Stream *s, size_t size);

/* NATS. A connection; until all that was sent has been taken in; the next message, which is valid until the next call,
 * and the number behind the first dot of its subject. */
void nats_open(Stream *s, const char *address);
void nats_pong(Stream *s);
char *nats_message(Stream *s, unsigned *ret_number, size_t *ret_size);

extern const Peer peer_nats, peer_redis, peer_http, peer_dbus, peer_spawn;
