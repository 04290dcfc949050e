/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "access-log.h"

#include <inttypes.h>
#include <stdio.h>

#include "journal.h"
#include "log.h"
#include "text.h"

#define JOURNAL_SOCKET "/run/systemd/journal/socket"
/* Of what a client chooses. */
#define TEXT_MAX 1024

struct AccessLog {
        Journal journal;
        uint64_t dropped; /* of which it was said */
};

int access_log_new(AccessLog **ret) {
        _cleanup_(access_log_freep) AccessLog *l = calloc(1, sizeof(AccessLog));
        int r;

        if (!l)
                return -ENOMEM;
        l->journal = JOURNAL_NULL;
        r = journal_open(JOURNAL_SOCKET, &l->journal);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(l);
        return 0;
}

AccessLog *access_log_free(AccessLog *l) {
        if (!l)
                return NULL;
        journal_done(&l->journal);
        free(l);
        return NULL;
}

typedef struct Number {
        char text[24];
} Number;

static JournalField number(const char *name, uint64_t value, Number *n) {
        (void) snprintf(n->text, sizeof(n->text), "%" PRIu64, value);
        return JOURNAL_FIELD(name, n->text);
}

static JournalField text(const char *name, const char *value) {
        return JOURNAL_FIELD(isempty(value) ? NULL : name, value);
}

void access_log_write(AccessLog *l, const Access *a) {
        char method[32], path[TEXT_MAX], agent[TEXT_MAX], message[TEXT_MAX + 128];
        Number status, received, sent, usec;

        (void) snprintf(method, sizeof(method), "%s", a->method);
        text_make_printable(method);
        (void) snprintf(path, sizeof(path), "%s", a->path);
        text_make_printable(path);
        (void) snprintf(agent, sizeof(agent), "%s", strempty(a->user_agent));
        text_make_printable(agent);
        (void) snprintf(message, sizeof(message), "%s %s %u %" PRIu64 ".%03ums", method, path, a->status, a->usec / 1000,
                        (unsigned) (a->usec % 1000));
        const JournalField fields[] = {
                JOURNAL_FIELD("MESSAGE", message),
                JOURNAL_FIELD("PRIORITY", "6"),
                JOURNAL_FIELD("SYSLOG_IDENTIFIER", "sand-gatewayd"),
                JOURNAL_FIELD("HTTP_METHOD", method),
                JOURNAL_FIELD("HTTP_PATH", path),
                number("HTTP_STATUS", a->status, &status),
                number("HTTP_REQUEST_BYTES", a->received, &received),
                number("HTTP_RESPONSE_BYTES", a->sent, &sent),
                number("HTTP_DURATION_USEC", a->usec, &usec),
                JOURNAL_FIELD("HTTP_CLIENT", a->client),
                text("HTTP_USER_AGENT", agent),
                text("SAND_APP", a->app),
                text("SAND_FUNCTION", a->function),
                JOURNAL_FIELD("SAND_EXECUTION", a->execution),
                text("SAND_TOKEN", a->token),
        };

        if (journal_send(&l->journal, fields, ELEMENTSOF(fields)) < 0 || l->journal.dropped == l->dropped)
                return;
        log_warning("%" PRIu64 " entries of the access log were dropped: the journal did not take them in time.",
                    l->journal.dropped - l->dropped);
        l->dropped = l->journal.dropped;
}
