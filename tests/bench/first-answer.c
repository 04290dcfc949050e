/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* first-answer SOCKET            connect, wait for one byte
 * first-answer SOCKET FUNCTION   connect, send one event, wait for its answer
 *
 * first-answer --serve           be the service: answer the first connection of a passed socket
 *
 * Prints how long that took, in microseconds. For tests/bench/cold. */

#include <stdio.h>
#include <sys/socket.h>

#include "bench-bus.h"
#include "macro.h"
#include "protocol.h"

static int wait_for_byte(const char *path) {
        char byte;

        return read(connect_to_socket(path), &byte, 1) == 1 ? 0 : -EIO;
}

static int invoke(const char *path, const char *function) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus *bus = bus_connect(path);
        int r;

        r = sd_bus_call_method(bus, NULL, SAND_APP_PATH, SAND_APP_INTERFACE, "Invoke", &error, NULL, "sstsa{ss}v",
                                       function, "", UINT64_C(0), "", 0, "ay", 0);
        if (r < 0 && error.message)
                fprintf(stderr, "first-answer: %s\n", error.message);
        return r;
}

static int serve(void) {
        int fd = accept(3, NULL, NULL);
        char byte = 'x';

        if (fd < 0 || write(fd, &byte, 1) != 1)
                return EXIT_FAILURE;
        return read(fd, &byte, 1) >= 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char *argv[]) {
        uint64_t start = now_usec();
        int r;

        if (argc == 2 && streq(argv[1], "--serve"))
                return serve();

        if (argc < 2 || argc > 3) {
                fprintf(stderr, "usage: first-answer SOCKET [FUNCTION]\n");
                return EXIT_FAILURE;
        }
        r = argc == 2 ? wait_for_byte(argv[1]) : invoke(argv[1], argv[2]);
        if (r < 0) {
                fprintf(stderr, "first-answer: %s: %s\n", argv[1], strerror(-r));
                return EXIT_FAILURE;
        }
        /* And when that began, to be held against systemd's own times. */
        printf("%llu %llu\n", (unsigned long long) (now_usec() - start), (unsigned long long) start);
        return EXIT_SUCCESS;
}
