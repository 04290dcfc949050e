/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A message is accepted when the server has answered to its inbox, https://docs.nats.io/reference/reference-protocols/nats_api_reference */

#include <stdio.h>

#include "events.h"
#include "peer.h"

#define STREAM "{\"name\":\"events\",\"subjects\":[\"events\"],\"storage\":\"file\",\"retention\":\"limits\",\"discard\":\"old\"," \
               "\"max_consumers\":-1,\"max_msgs\":-1,\"max_bytes\":-1,\"max_age\":0,\"num_replicas\":1}"

static Stream stream;

static void publish(unsigned slot) {
        char head[64];

        (void) snprintf(head, sizeof(head), "PUB events inbox.%u %zu\r\n", slot, body_size);
        stream_send(&stream, head, body, body_size, "\r\n");
}

static void make_stream(void) {
        char head[96];
        unsigned number;
        size_t size;
        char *answer;

        (void) snprintf(head, sizeof(head), "SUB inbox.* 1\r\nPUB $JS.API.STREAM.CREATE.events inbox.0 %zu\r\n", strlen(STREAM));
        stream_send(&stream, head, STREAM, strlen(STREAM), "\r\n");
        answer = nats_message(&stream, &number, &size);
        if (memmem(answer, size, "\"error\"", 7)) {
                fprintf(stderr, "events: jetstream: %.*s\n", (int) size, answer);
                exit(EXIT_FAILURE);
        }
}

void run_jetstream(const char *address) {
        unsigned n = 0;

        nats_open(&stream, address);
        make_stream();
        events_start();
        for (unsigned slot = 0; slot < arg_flight && event_begin(slot); slot++, n++)
                publish(slot);
        while (n > 0) {
                unsigned slot;
                size_t size;
                char *answer = nats_message(&stream, &slot, &size);

                event_end(slot, memmem(answer, size, "\"seq\"", 5) && !memmem(answer, size, "\"error\"", 7));
                if (event_begin(slot))
                        publish(slot);
                else
                        n--;
        }
}
