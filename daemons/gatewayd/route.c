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

static int parse_web(const char *s, Target *ret, const char **ret_rest) {
        size_t n = strcspn(s, "/");
        Target t = {};

        if (copy_name(t.app, sizeof(t.app), s, n) < 0 || !app_name_is_valid(t.app))
                return -EINVAL;
        *ret = t;
        *ret_rest = s[n] ? s + n : "/";
        return 0;
}

Route route_parse(const char *path, Target *ret_target, const char **ret_rest) {
        const char *rest;

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
        if (rest && parse_web(rest, ret_target, ret_rest) >= 0)
                return ROUTE_WEB;
        return ROUTE_NONE;
}

const char *route_methods(Route r) {
        switch (r) {
        case ROUTE_INVOKE:
                return "POST";
        case ROUTE_HEALTHZ:
        case ROUTE_METRICS:
                return "GET, HEAD";
        default:
                return NULL;
        }
}

bool route_allows(Route r, const char *method) {
        if (r == ROUTE_INVOKE)
                return streq(method, "POST");
        return r != ROUTE_NONE && (streq(method, "GET") || streq(method, "HEAD"));
}
