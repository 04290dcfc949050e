/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* fork-rate COUNT [PROCESSES [THREADS]]
 *
 * Prints what fork, exit and wait cost, in nanoseconds: COUNT times in each of PROCESSES processes at once, which
 * have THREADS threads beside the one that forks. For tests/bench/favordynmods. */

#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_nsec(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t) t.tv_sec * 1000000000 + (uint64_t) t.tv_nsec;
}

static void *idle(void *unused) {
        (void) poll(NULL, 0, -1);
        return unused;
}

/* Is ready when it closes its end of `ready`, begins when `go` is closed. */
static int forker(unsigned count, unsigned threads, int ready, int go) {
        char byte;

        for (unsigned i = 0; i < threads; i++) {
                pthread_t thread;

                if (pthread_create(&thread, NULL, idle, NULL) != 0)
                        return EXIT_FAILURE;
        }
        (void) close(ready);
        if (read(go, &byte, 1) != 0)
                return EXIT_FAILURE;
        for (unsigned i = 0; i < count; i++) {
                pid_t pid = fork();

                if (pid == 0)
                        _exit(EXIT_SUCCESS);
                if (pid < 0 || waitpid(pid, NULL, 0) != pid)
                        return EXIT_FAILURE;
        }
        return EXIT_SUCCESS;
}

int main(int argc, char *argv[]) {
        unsigned count, processes, threads;
        int ready[2], go[2], status, failed = 0;
        uint64_t begin;
        char byte;

        if (argc < 2 || argc > 4) {
                fprintf(stderr, "fork-rate COUNT [PROCESSES [THREADS]]\n");
                return EXIT_FAILURE;
        }
        count = (unsigned) strtoul(argv[1], NULL, 10);
        processes = argc > 2 ? (unsigned) strtoul(argv[2], NULL, 10) : 1;
        threads = argc > 3 ? (unsigned) strtoul(argv[3], NULL, 10) : 0;
        if (count == 0 || processes == 0 || pipe(ready) < 0 || pipe(go) < 0)
                return EXIT_FAILURE;

        for (unsigned i = 0; i < processes; i++) {
                pid_t pid = fork();

                if (pid < 0)
                        return EXIT_FAILURE;
                if (pid == 0) {
                        (void) close(go[1]);
                        _exit(forker(count, threads, ready[1], go[0]));
                }
        }
        (void) close(ready[1]);
        if (read(ready[0], &byte, 1) != 0)
                return EXIT_FAILURE;
        begin = now_nsec();
        (void) close(go[1]);
        while (wait(&status) > 0)
                failed |= status;
        if (failed)
                return EXIT_FAILURE;
        printf("%llu\n", (unsigned long long) ((now_nsec() - begin) / count / processes));
        return EXIT_SUCCESS;
}
