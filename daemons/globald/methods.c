/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server.h"

typedef enum Who { ANYONE, HOST, ROOT } Who;

static const struct Method {
        const char *member;
        Who who;
        void (*handle)(Request *q);
} methods[] = {
        { "Send", ANYONE, method_send },
        { "Emit", ANYONE, method_emit },
        { "Invoke", ANYONE, method_invoke },
        { "Execution", HOST, method_execution },
        { "Executions", ROOT, method_executions },
        { "DeadLetters", ROOT, method_dead_letters },
        { "DeadLetter", ROOT, method_dead_letter },
        { "Replay", ROOT, method_replay },
        { "Drop", ROOT, method_drop },
        { "Compare", HOST, method_compare },
        { "State", ROOT, method_state },
};

void methods_handle(Request *q, const char *member) {
        for (size_t i = 0; i < ELEMENTSOF(methods); i++) {
                const struct Method *m = methods + i;

                if (!streq(m->member, member))
                        continue;
                if (m->who != ANYONE && !isempty(q->app))
                        request_refuse(q, SAND_ERROR_DENIED, "This is not for machines.");
                else if (m->who == ROOT && !q->root)
                        request_refuse(q, SAND_ERROR_DENIED, "Only root may do this.");
                else
                        m->handle(q);
                return;
        }
        request_refuse(q, SAND_ERROR_NOT_FOUND, "There is no method \"%.64s\".", member);
}
