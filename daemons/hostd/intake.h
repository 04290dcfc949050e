/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Takes a stranger's tar: unpacked, checked and hashed by a child that is user sand-unpack, has no capability and
 * no descriptor but the tar and the empty directory. What it leaves then becomes root's and goes to disk. */

#include "task.h"

#define INTAKE_USER "sand-unpack"
#define INTAKE_TIMEOUT_USEC (5 * USEC_PER_MINUTE)

typedef struct IntakeResult {
        char *name;     /* the manifest's */
        char *hash;
        char *problems; /* set when the bundle is refused, then the others are not */
} IntakeResult;

void intake_result_done(IntakeResult *r);

/* `bundle_fd` and `dir_fd` are the caller's; `done` gets what intake_parse() reads. */
int intake_start(sd_event *event, int bundle_fd, int dir_fd,
                 void (*done)(Task *t, int r, const char *report, void *userdata), void *userdata, Task **ret);
/* -EBADMSG: not a report. */
int intake_parse(const char *report, IntakeResult *ret);
