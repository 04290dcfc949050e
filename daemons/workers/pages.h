/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a fork costs is memory: page tables to copy, and a fault for each page that the child touches or makes its own.
 * The worker puts large heaps into huge pages, of which 512 small ones cost as much as one. And it learns
 * from an instance which pages it needs, from its first instruction to the end of an event: the next ones fault them in
 * at their beginning, where nobody waits for them, and many in one call (Python: hundreds of pages). The one that is
 * learned from does without: what events don't need any more is not carried along.
 *
 * The one that is learned from reads its own page map after its answer, into memory that only it shares with the
 * worker. The list is a hint from a process that ran user code: it is copied, checked for its form, and says no
 * more than which of the function's own pages its instances touch early. A range that is not mapped is skipped. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGES_RANGES_MAX 1024U
/* 4 KiB pages that a waiting instance may make its own beforehand: 2 MiB. */
#define PAGES_OWN_MAX 512U
/* And map of files and of its worker's memory; they are not its own. */
#define PAGES_SEEN_MAX 4096U

typedef struct PageRange {
        uint64_t start; /* address */
        uint32_t n;     /* pages */
        uint32_t own;   /* 1: written by events; 0: read */
} PageRange;

typedef struct PageShared PageShared;

/* Zeroed at the beginning. */
typedef struct Pages {
        PageShared *shared; /* with the instance that is learned from */
        bool pending;       /* it has not answered yet */
        unsigned n_forks;   /* batches since it was made */
        unsigned n_learned; /* lists so far */
        PageRange *ranges;  /* of the newest; NULL: none yet */
        size_t n;
} Pages;

/* In the worker, once the function is loaded: gives unused memory back, puts what is large into huge pages, makes fewer
 * mappings of the code's. */
void pages_settle(void);

/* In the worker, before a batch of forks and after the first of it. The first takes in a list that has come; true: the
 * next instance is one to learn from. */
bool pages_before_fork(Pages *p);
void pages_after_fork(Pages *p, bool learn);

/* In a new instance: faults the learned pages in. */
void pages_populate(const Pages *p);
/* In an instance to learn from, after its first answer: reports which pages it has. */
void pages_report(const Pages *p);
