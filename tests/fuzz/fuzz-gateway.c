/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The gateway's checks of a request: the input is a path, a newline, and a header from its version on, laid
 * out in memory as libmicrohttpd does it. What passes must be unambiguous. */

#include <assert.h>
#include <strings.h>

#include "../../daemons/gatewayd/header-check.h"
#include "macro.h"
#include "../../daemons/gatewayd/route.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The end of the line that begins at `s`; its CR LF, or LF, becomes NULs. */
static char *cut_line(char *s, char *end, char **ret_next) {
        char *lf = memchr(s, '\n', (size_t) (end - s));

        if (!lf)
                return NULL;
        *ret_next = lf + 1;
        *lf = 0;
        if (lf > s && lf[-1] == '\r')
                *--lf = 0;
        return lf;
}

static void check_header(char *s, char *end) {
        unsigned n_lengths = 0, n_hosts = 0, n_encodings = 0;
        HeaderCheck c;
        char *next;

        if (!cut_line(s, end, &next))
                return;
        header_check_begin(&c, s);
        for (;;) {
                char *colon, *value;

                s = next;
                if (s >= end || !cut_line(s, end, &next) || !*s)
                        break;
                colon = strchr(s, ':');
                if (!colon)
                        return;
                *colon = 0;
                value = colon + 1 + strspn(colon + 1, " \t");
                header_check_add(&c, s, strlen(s), value, strlen(value));
                n_lengths += strcasecmp(s, "content-length") == 0;
                n_encodings += strcasecmp(s, "transfer-encoding") == 0;
                n_hosts += strcasecmp(s, "host") == 0;
        }
        header_check_end(&c, next);
        if (c.problem)
                return;
        assert(n_lengths + n_encodings <= 1);
        assert(n_hosts <= 1);
        assert(n_encodings == (c.content_length == UINT64_MAX));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(freep) char *copy = malloc(size + 1);
        const char *rest;
        char *header;
        Target t;

        if (!copy)
                return 0;
        memcpy(copy, data, size);
        copy[size] = 0;
        header = memchr(copy, '\n', size);
        if (header)
                *header++ = 0;
        switch (route_parse(copy, &t, &rest)) {
        case ROUTE_INVOKE:
                assert(app_name_is_valid(t.app));
                assert(function_name_is_valid(t.function));
                break;
        case ROUTE_WEB:
                assert(app_name_is_valid(t.app));
                assert(*rest == '/');
                break;
        default:
                break;
        }
        if (header)
                check_header(header, copy + size);
        return 0;
}
