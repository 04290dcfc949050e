/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The limits of functions, by control groups. What a machine has been delegated looks like this once one of its
 * functions asks for a limit (before that all processes are in the uppermost, and nothing is paid for):
 *
 *     /                        without processes, as the kernel wants it of a group that hands controllers down
 *     /supervisor              PID 1, and what was there before
 *     /function-NAME@VERSION   worker and instances of one function: the worker is born there, instances inherit it
 *
 * Every function of such a version has a group, so that those without a weight of their own share as equals. Versions
 * that are alive at the same time have their own: new limits do not strike the events of the old one. A worker that
 * takes the place of a dead one finds the group that the instances of that one are still in.
 *
 * Where the host has no cgroup version 2, or a controller is missing in the machine, a warning says once what does not
 * hold: processes are bounded by RLIMIT_NPROC all the same, memory of each process by RLIMIT_DATA, weights by nothing. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "manifest.h"

typedef struct CGroup CGroup;

typedef struct CGroups {
        int fd;               /* of the uppermost; -EBADF: no cgroup version 2 that is ours */
        unsigned controllers; /* that functions' groups have, once `ready` */
        bool ready, warned;
        uint64_t oom_kills;   /* of the whole machine, that were put down to a process */
        CGroup *groups;
} CGroups;

/* `machine`: PID 1 of one; else there are none. */
void cgroups_init(CGroups *c, bool machine);
void cgroups_done(CGroups *c);

/* The group of a function of version `id`, with a reference; NULL: it needs none, or there are none. Failing is
 * for limits that could hold and don't. */
int cgroup_get(CGroups *c, const Manifest *m, const char *id, const FunctionSpec *spec, CGroup **ret);
/* The last one kills what is left in the group, and removes it. */
CGroup *cgroup_unref(CGroup *g);
/* fork(2), with the child in the group `g`, or, if that is NULL, in the parent's. */
pid_t cgroup_fork(const CGroup *g);
/* RLIMIT_DATA of a process of the function, which is more than `memory` only where a group holds the rest. */
uint64_t cgroup_data_limit(const CGroup *g, const FunctionSpec *spec);

/* The function, or the application, has a limit of memory that the kernel kills for. */
bool cgroups_may_kill(const CGroups *c, const Manifest *m, const FunctionSpec *spec);
/* Then the instance `pid` goes before its worker and the supervisor. It cannot see to that itself, as it is not dumpable. */
void cgroup_put_first(pid_t pid);

/* Whether the kernel's killing for want of memory has met the group (NULL: the machine) since it was asked last, at most
 * one answer a process killed. `others`: how many more could yet ask about the ones not put down to anybody. */
bool cgroup_was_oom(CGroups *c, CGroup *g, unsigned others);

/* What the group holds now: UINT64_MAX where that is not known. */
typedef struct CGroupUse {
        uint64_t memory, tasks, cpu_usec;
} CGroupUse;

void cgroup_use(const CGroup *g, CGroupUse *ret);
