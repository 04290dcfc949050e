/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* chain SOCKET CALLEE BYTES TIMES RATE COUNT: invokes `start` (bench-functions.c) of the application at SOCKET so many
 * times, RATE a second and one at a time. What is measured is inside: how long `start` waits for CALLEE, which it calls
 * TIMES times with the same bytes.
 *
 * Prints one row. */

#include <stdio.h>

#include "bench-bus.h"
#include "protocol.h"
#include "stat.h"

static sd_bus_message *start_message(sd_bus *bus, const char *event) {
        sd_bus_message *m = NULL;
        int r;

        r = sd_bus_message_new_method_call(bus, &m, NULL, SAND_APP_PATH, SAND_APP_INTERFACE, "Invoke");
        if (r >= 0)
                r = sd_bus_message_append(m, "sstsa{ss}", "start", "", UINT64_C(0), "", 0);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', "ay");
        if (r >= 0)
                r = sd_bus_message_append_array(m, 'y', event, strlen(event));
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        if (r < 0)
                die("Invoke", r);
        return m;
}

/* Nanoseconds, as the function says. */
static uint64_t invoke(sd_bus *bus, const char *event) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = start_message(bus, event), *reply = NULL;
        const void *data = NULL;
        uint64_t value;
        size_t n = 0;
        int r;

        r = sd_bus_call(bus, m, 60 * USEC_PER_SEC, &error, &reply);
        if (r >= 0)
                r = sd_bus_message_skip(reply, "s(ttt)");
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'v', "ay");
        if (r >= 0)
                r = sd_bus_message_read_array(reply, 'y', &data, &n);
        if (r < 0 || n != sizeof(value)) {
                fprintf(stderr, "chain: %s: %s\n", event, error.message ?: strerror(-r));
                exit(EXIT_FAILURE);
        }
        memcpy(&value, data, sizeof(value));
        return value;
}

int main(int argc, char *argv[]) {
        uint64_t rate, count, next;
        Samples inside, whole;
        char event[128];
        sd_bus *bus;

        if (argc != 7) {
                fprintf(stderr, "usage: chain SOCKET CALLEE BYTES TIMES RATE COUNT\n");
                return EXIT_FAILURE;
        }
        (void) snprintf(event, sizeof(event), "%s %llu %llu", argv[2],
                        (unsigned long long) parse_number("BYTES", argv[3], 0, SAND_PAYLOAD_HARD_MAX),
                        (unsigned long long) parse_number("TIMES", argv[4], 1, 64));
        rate = parse_number("RATE", argv[5], 1, 1000000);
        count = parse_number("COUNT", argv[6], 1, 1000000);
        samples_init(&inside, count);
        samples_init(&whole, count);
        bus = bus_connect(argv[1]);

        next = now_nsec();
        for (uint64_t i = 0; i < count; i++) {
                uint64_t begin;

                sleep_until(next);
                next = MAX(next + NSEC_PER_SEC / rate, now_nsec()); /* who is late does not hurry */
                begin = now_nsec();
                samples_add(&inside, invoke(bus, event));
                samples_add(&whole, now_nsec() - begin);
        }

        row_begin(argv[2]);
        row_number("p50", samples_quantile(&inside, 0.5));
        row_number("p99", samples_quantile(&inside, 0.99));
        row_number("whole_p50", samples_quantile(&whole, 0.5));
        row_number("whole_p99", samples_quantile(&whole, 0.99));
        row_end();
        sd_bus_flush_close_unref(bus);
        return EXIT_SUCCESS;
}
