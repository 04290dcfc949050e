/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The versions of an application that are kept: what is known of each, which one a rollback goes to, which may go. A
 * version here is a bundle, without overrides. */

#include "app.h"

/* What stands in N-HASH12.json. Versions of earlier releases have no such file. */
typedef struct VersionRecord {
        uint64_t stored_usec;      /* CLOCK_REALTIME */
        uint64_t deployed_usec;    /* when it served first; 0: never, its deployment did not come to its end */
        uint64_t rolled_back_usec; /* when it was rolled back from; 0: it was not, or it has been deployed again */
        uid_t uid;                 /* of who deployed it; UID_INVALID: not known */
        char *source;              /* what the client says it was read from; may be NULL */
} VersionRecord;

#define UID_INVALID ((uid_t) -1)

int version_record_read(const Places *p, const char *name, const char *bundle, VersionRecord *ret);
/* Of a version that is about to be stored. */
int version_record_new(const Places *p, const char *name, const char *bundle, uid_t uid, const char *source);
int version_record_write(const Places *p, const char *name, const char *bundle, const VersionRecord *record);
void version_record_done(VersionRecord *record);

/* Notes that the version serves, and that the one before it, if it is newer, was rolled back from; either may have
 * overrides. */
int version_note_deployed(const Places *p, const char *name, const char *version, const char *previous);

/* The newest version that is older than the current one, has served, and was not rolled back from. -ENOENT. */
int version_previous(const Places *p, const char *name, char **ret);
/* The one version that has served and is meant by N, or the beginning of N-HASH or, with at least four digits, of HASH. -ENOENT; -ENOTUNIQ. */
int version_find(const Places *p, const char *name, const char *wanted, char **ret);
/* "3-0f3a..., 2-9c41...": for messages, newest first. */
int version_names(const Places *p, const char *name, char **ret);

/* As org.sand.Host1(5) has it: JSON. */
int version_list(const Places *p, const char *name, char **ret);

/* The versions that a machine's State (protocol.h) says are loaded. -ENODATA: it does not say. */
int version_in_use(const char *state, char ***ret);

/* Folders that may go: those of versions that never served, and that are more than `keep`; overrides that are not
 * the current ones. Kept is the current version, the one before it, and what is in use: `in_use`, of a machine's State, or
 * NULL: it is not known, then all that have served stay. */
int version_outdated(const Places *p, const char *name, unsigned keep, char *const *in_use, char ***ret);
