/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which CPU runs what. A wake-up on another, sleeping CPU costs several times the message that it is for, and
 * the scheduler, which prefers an idle CPU to a busy one, makes one of each hop of a chain of calls: caller,
 * supervisor, callee never run at once, and still spread.
 *
 * So an event follows: as long as no other event computes, the instance that is made to run (it is handed an
 * event, or gets the answer that it waited for) is bound to the supervisor's CPU, and a chain of synchronous calls
 * stays on one. As soon as two events can run at the same time, the second one is free to run anywhere:
 * one CPU never has more than one event bound to it. Three more rules keep this from ever costing throughput:
 *
 *   - Only functions that are known to be short follow (PLACEMENT_SHORT_USEC of CPU time, learned): what
 *     computes for long gains nothing, and may have threads. One that computes for longer than expected is
 *     set free by housekeeping, with the threads and processes that it has made by then.
 *   - What an instance does before and after its event (fork, start, exit) it does on another CPU, unless events come
 *     as fast as instances can be made: then nothing follows, for a process that was moved to another CPU makes the
 *     first one flush its TLB when it ends (20 us of both); forks run anywhere, and exits, 50 us each and in bursts,
 *     wherever nothing else wants to.
 *   - The supervisor itself is bound only while events follow it, to the CPU that it is on. Where it has
 *     to wait for that CPU it lets the scheduler choose a new one.
 *
 * Bound and free are affinities within what the machine may use: the CPUs of AllowedCPUs= are the kernel's to enforce,
 * also when they change, and CPUAffinity= of the unit is kept. A quota is kept by the cgroup wherever its
 * processes run. Measured against the alternatives by tests/bench/local (a chain's latency) and
 * tests/bench/throughput (independent chains). With SAND_PLACEMENT=free in the supervisor's environment nothing
 * is bound. */

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Where a process may run, if not on one CPU. AWAY: not on the supervisor's. */
#define PLACEMENT_FREE (-1)
#define PLACEMENT_AWAY (-2)

/* CPU time of an event, microseconds, up to which a function's instances follow. */
#define PLACEMENT_SHORT_USEC 1000U

typedef struct Placement {
        bool enabled;
        cpu_set_t home;       /* free: the CPUs that the machine may use */
        int cpu;              /* that the supervisor is bound to; -1: it is free */
        int schedstat_fd;     /* how long the supervisor waited for a CPU; or -EBADF */
        uint64_t looked_usec; /* at that */
        uint64_t delay_nsec;
        uint64_t free_until_usec;
} Placement;

#define PLACEMENT_NULL ((Placement) { .cpu = -1, .schedstat_fd = -EBADF })

void placement_init(Placement *p);
void placement_done(Placement *p);
/* The CPU for an instance that runs alone, or PLACEMENT_FREE. `now` is CLOCK_MONOTONIC usec. */
int placement_follow(Placement *p, uint64_t now);
/* Where forks and exits are in nobody's way. */
static inline int placement_aside(const Placement *p) {
        return p->cpu >= 0 ? PLACEMENT_AWAY : PLACEMENT_FREE;
}
/* A process whose exit nobody waits for: beside the supervisor's CPU; or, when the other CPUs are busy with forks
 * (`behind`), wherever nothing else has work to do. */
void placement_retire(const Placement *p, pid_t pid, bool behind);
/* A process that stays, and serves one event after another: it is woken for each, and need not drive out who wakes it
 * and has others to wake. */
void placement_stay(const Placement *p, pid_t pid);
/* Puts a process on a CPU, or where it says. False: it cannot be. */
bool placement_bind(const Placement *p, pid_t pid, int where);
/* Sets a process free with all its threads and the processes below it: they were born bound. */
void placement_free_tree(const Placement *p, pid_t pid);
/* Sets the supervisor free when it was idle or has to wait for its CPU. True: look again. */
bool placement_housekeeping(Placement *p, bool idle, uint64_t now);
