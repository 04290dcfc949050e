/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Structured entries for the journal that never block: what the journal does not take at once is
 * dropped and counted. sd_journal_sendv() waits for room, and knows one socket path only.
 *
 * Format: systemd's native journal protocol, https://systemd.io/JOURNAL_NATIVE_PROTOCOL */

#include <stddef.h>
#include <stdint.h>

#define JOURNAL_FIELDS_MAX 24

typedef struct Journal {
        int fd;           /* -EBADF: no journal */
        uint64_t dropped; /* entries since the start */
} Journal;

#define JOURNAL_NULL ((Journal) { .fd = -EBADF })

typedef struct JournalField {
        const char *name; /* "SAND_APP"; NULL: left out */
        const char *value;
        size_t size; /* of the value; SIZE_MAX: terminated by NUL */
} JournalField;

#define JOURNAL_FIELD(n, v) ((JournalField) { .name = (n), .value = (v), .size = SIZE_MAX })

/* Connects to the journal's datagram socket. */
int journal_open(const char *socket_path, Journal *ret);
/* One entry of at most JOURNAL_FIELDS_MAX fields. -EAGAIN: dropped. Values may hold any bytes. */
int journal_send(Journal *j, const JournalField *fields, size_t n);
void journal_done(Journal *j);
