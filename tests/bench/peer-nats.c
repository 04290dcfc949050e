/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The little of NATS that its clients here need, https://docs.nats.io/reference/reference-protocols/nats-protocol */

#include <stdio.h>

#include "peer.h"

void nats_open(Stream *s, const char *address) {
        stream_open(s, address);
        (void) stream_line(s); /* INFO */
        stream_send(s, "CONNECT {\"verbose\":false,\"pedantic\":false}\r\nPING\r\n", NULL, 0, "");
        nats_pong(s);
}

void nats_pong(Stream *s) {
        while (!streq(stream_line(s), "PONG"))
                ;
}

/* "MSG SUBJECT SID [REPLY-TO] SIZE", then the bytes, then an empty line. A line that is none is answered or skipped. */
char *nats_message(Stream *s, unsigned *ret_number, size_t *ret_size) {
        for (;;) {
                char *line = stream_line(s), *dot;

                if (startswith(line, "PING"))
                        stream_send(s, "PONG\r\n", NULL, 0, "");
                if (!startswith(line, "MSG "))
                        continue;
                *ret_size = (size_t) parse_number("a size", strrchr(line, ' ') + 1, 0, 1024 * 1024);
                dot = strchr(line, '.');
                *ret_number = dot ? (unsigned) strtoul(dot + 1, NULL, 10) : 0;
                return stream_bytes(s, *ret_size + 2);
        }
}
