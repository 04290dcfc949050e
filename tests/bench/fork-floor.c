/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* fork-floor OBJECT [SECONDS]: fork, _exit and wait in a loop, on each CPU that we may use one, by a process that is what
 * sand-worker-native is once it has loaded OBJECT: linked with the same libraries, nothing more. No fresh process
 * for each event can be had for less. HEAP_MIB in the environment is heard by load-functions.so.
 *
 * Prints one row: forks a second on all CPUs together, the mean microseconds of one, resident MiB. */

#include <dlfcn.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "atfork.h"
#include "macro.h"
#include "stat.h"
#include "wire.h"

#define SPARE_CPUS 64U

static uint64_t loop(uint64_t seconds) {
        uint64_t end = now_nsec() + seconds * NSEC_PER_SEC, n = 0;

        for (; now_nsec() < end; n++) {
                pid_t pid = fork();
                if (pid < 0)
                        die("fork", errno);
                if (pid == 0)
                        _exit(EXIT_SUCCESS);
                if (waitpid(pid, NULL, 0) < 0)
                        die("waitpid", errno);
        }
        return n;
}

static double resident_mib(void) {
        unsigned long size, resident;
        FILE *f = fopen("/proc/self/statm", "re");

        if (!f || fscanf(f, "%lu %lu", &size, &resident) != 2)
                die("/proc/self/statm", errno);
        (void) fclose(f);
        return (double) resident * (double) sysconf(_SC_PAGESIZE) / (1024 * 1024);
}

/* One process a CPU; each leaves its count. Their number. */
static unsigned start_all(const cpu_set_t *cpus, uint64_t seconds, uint64_t *counts) {
        unsigned n = 0;

        for (int cpu = 0; cpu < CPU_SETSIZE && n < SPARE_CPUS; cpu++) {
                if (!CPU_ISSET(cpu, cpus))
                        continue;
                switch (fork()) {
                case -1:
                        die("fork", errno);
                case 0:
                        pin(cpu);
                        counts[n] = loop(seconds);
                        _exit(EXIT_SUCCESS);
                }
                n++;
        }
        return n;
}

int main(int argc, char *argv[]) {
        uint64_t *counts, seconds = 3, total = 0;
        cpu_set_t cpus;
        unsigned n;
        Wire wire;

        if (argc < 2 || argc > 3) {
                fprintf(stderr, "usage: fork-floor OBJECT [SECONDS]\n");
                return EXIT_FAILURE;
        }
        if (argc == 3)
                seconds = parse_number("SECONDS", argv[2], 1, 3600);
        if (!dlopen(argv[1], RTLD_NOW | RTLD_LOCAL)) {
                fprintf(stderr, "fork-floor: %s\n", dlerror());
                return EXIT_FAILURE;
        }
        wire_init(&wire, STDIN_FILENO); /* so that libsand is needed, and loaded */
        counts = mmap(NULL, SPARE_CPUS * sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (counts == MAP_FAILED || sched_getaffinity(0, sizeof(cpus), &cpus) < 0)
                die("start", errno);
        n = start_all(&cpus, seconds, counts);
        while (wait(NULL) > 0)
                ;
        for (unsigned i = 0; i < n; i++)
                total += counts[i];
        row_begin("fork + _exit + wait");
        row_number("per_second", (double) total / (double) seconds);
        row_number("mean", (double) n * (double) seconds * 1e6 / (double) total);
        row_number("resident_mib", resident_mib());
        row_end();
        return EXIT_SUCCESS;
}
