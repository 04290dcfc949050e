/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "web-cors.h"

#include <stdio.h>
#include <strings.h>

#include "buffer.h"

static bool add(struct MHD_Response *r, const char *name, const char *value) {
        return MHD_add_response_header(r, name, value) == MHD_YES;
}

static bool allows(const WebOrigin *o) {
        return o->origin && (strv_contains(o->cors->origins, "*") || strv_contains(o->cors->origins, o->origin));
}

bool web_cors_owns(const WebOrigin *o, const char *name) {
        return o->cors && strncasecmp(name, "Access-Control-", strlen("Access-Control-")) == 0;
}

/* "a, b"; with a "*", that or what was asked for: with credentials a browser takes no "*". */
static bool add_list(struct MHD_Response *r, const char *name, char *const *l, const WebOrigin *o, const char *asked) {
        _cleanup_(buffer_done) Buffer b = {};

        if (strv_contains(l, "*"))
                return o->cors->credentials ? !asked || add(r, name, asked) : add(r, name, "*");
        for (char *const *i = l; i && *i; i++) {
                buffer_puts(&b, i == l ? "" : ", ");
                buffer_puts(&b, *i);
        }
        if (b.size == 0)
                return true;
        buffer_putc(&b, 0);
        return b.error == 0 && add(r, name, b.data);
}

bool web_cors_add(const WebOrigin *o, struct MHD_Response *r) {
        bool any;

        if (!o->cors)
                return true;
        any = strv_contains(o->cors->origins, "*");
        if (!any && !add(r, MHD_HTTP_HEADER_VARY, "Origin"))
                return false;
        if (!allows(o))
                return true;
        return add(r, "Access-Control-Allow-Origin", any ? "*" : o->origin) &&
                (!o->cors->credentials || add(r, "Access-Control-Allow-Credentials", "true")) &&
                add_list(r, "Access-Control-Expose-Headers", o->cors->expose_headers, o, NULL);
}

bool web_cors_add_preflight(const WebOrigin *o, const char *method, const char *headers, struct MHD_Response *r) {
        char seconds[24];

        if (!allows(o))
                return true;
        /* A trigger that lists no methods allows those that it has a route for, of which this is one. */
        if (!(o->cors->methods ? add_list(r, "Access-Control-Allow-Methods", o->cors->methods, o, method)
                               : add(r, "Access-Control-Allow-Methods", method)) ||
            !add_list(r, "Access-Control-Allow-Headers", o->cors->headers, o, headers))
                return false;
        if (o->cors->max_age_usec == 0)
                return true;
        (void) snprintf(seconds, sizeof(seconds), "%llu", (unsigned long long) (o->cors->max_age_usec / USEC_PER_SEC));
        return add(r, "Access-Control-Max-Age", seconds);
}
