/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "route.h"

#include <assert.h>

static int copy_name(char *to, size_t size, const char *from, size_t n) {
        if (n == 0 || n >= size)
                return -EINVAL;
        memcpy(to, from, n);
        to[n] = 0;
        return 0;
}

static int parse_target(const char *s, Target *ret) {
        const char *slash = strchr(s, '/');
        Target t;

        if (!slash || copy_name(t.app, sizeof(t.app), s, (size_t) (slash - s)) < 0 ||
            copy_name(t.function, sizeof(t.function), slash + 1, strlen(slash + 1)) < 0 ||
            !app_name_is_valid(t.app) || !function_name_is_valid(t.function))
                return -EINVAL;
        *ret = t;
        return 0;
}

/* An application's name, up to a slash or the end. */
static int parse_app(const char *s, Target *ret, const char **ret_rest) {
        size_t n = strcspn(s, "/");
        Target t = {};

        if (copy_name(t.app, sizeof(t.app), s, n) < 0 || !app_name_is_valid(t.app))
                return -EINVAL;
        *ret = t;
        *ret_rest = s + n;
        return 0;
}

bool execution_id_is_valid(const char *s) {
        return strlen(s) == EXECUTION_ID_LENGTH && strspn(s, "0123456789abcdef") == EXECUTION_ID_LENGTH;
}

Route route_parse(const char *path, Target *ret_target, const char **ret_rest) {
        const char *rest, *end;

        assert(path);
        assert(ret_target);

        if (streq(path, "/healthz"))
                return ROUTE_HEALTHZ;
        if (streq(path, "/metrics"))
                return ROUTE_METRICS;
        rest = startswith(path, "/invoke/");
        if (rest && parse_target(rest, ret_target) >= 0)
                return ROUTE_INVOKE;
        rest = startswith(path, "/web/");
        if (rest && parse_app(rest, ret_target, &end) >= 0) {
                *ret_rest = *end ? end : "/";
                return ROUTE_WEB;
        }
        rest = startswith(path, "/events/");
        if (rest && parse_app(rest, ret_target, &end) >= 0 && !*end)
                return ROUTE_EVENTS;
        rest = startswith(path, "/executions/");
        if (rest && execution_id_is_valid(rest)) {
                *ret_rest = rest;
                return ROUTE_EXECUTION;
        }
        return ROUTE_NONE;
}

const char *route_methods(Route r) {
        switch (r) {
        case ROUTE_INVOKE:
        case ROUTE_EVENTS:
                return "POST";
        case ROUTE_EXECUTION:
        case ROUTE_HEALTHZ:
        case ROUTE_METRICS:
                return "GET, HEAD";
        default:
                return NULL;
        }
}

bool route_allows(Route r, const char *method) {
        if (r == ROUTE_INVOKE || r == ROUTE_EVENTS)
                return streq(method, "POST");
        return r != ROUTE_NONE && (streq(method, "GET") || streq(method, "HEAD"));
}
