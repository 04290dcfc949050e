/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* An error of the vocabulary as an answer to a call: what a daemon's end of a wire (wire.h) refuses calls with. */

#include <stdint.h>

#include "error.h"
#include "wire.h"

typedef struct Usage {
        uint64_t wall_usec, cpu_usec, peak_bytes;
} Usage;

typedef struct Failure {
        SandError kind;
        const char *message;
        const char *error; /* class; NULL: the kind's name */
        const char *cause; /* may be NULL */
} Failure;

/* Answers any method call with an error of the vocabulary; `usage` may be NULL. */
int wire_reply_failure(Wire *wire, const WireMessage *call, const Failure *failure, const Usage *usage);
