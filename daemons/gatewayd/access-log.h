/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One entry in the journal for each request, of fields that journalctl can match. Never waits: what the journal does not
 * take is dropped, and how much that was is said when it takes entries again. */

#include "macro.h"

typedef struct AccessLog AccessLog;

int access_log_new(AccessLog **ret);
AccessLog *access_log_free(AccessLog *l);
DEFINE_POINTER_CLEANUP(AccessLog *, access_log_free);

/* Strings may hold any bytes; NULL or "": not known. */
typedef struct Access {
        const char *method, *path; /* without the query */
        const char *app, *function, *execution;
        const char *client, *user_agent;
        const char *token;         /* its id */
        unsigned status;
        uint64_t received, sent;   /* bytes of the bodies */
        uint64_t usec;             /* from the header's end to the answer's */
} Access;

void access_log_write(AccessLog *l, const Access *a);
