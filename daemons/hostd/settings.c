/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "settings.h"

#include <arpa/inet.h>

#include "conf.h"
#include "log.h"
#include "mount-path.h"
#include "mounts.h"

/* Where clouds keep what a machine's host may know, and credentials; all that is link-local is denied anyway. */
static const char *const deny_default[] = { "169.254.0.0/16", "fd00:ec2::254" };

void settings_done(Settings *s) {
        free(s->network4);
        free(s->network6);
        strv_free(s->dns);
        strv_free(s->deny);
        strv_free(s->mounts);
        *s = (Settings) {};
}

/* "ADDRESS" or "ADDRESS/LENGTH", of either family. */
static bool is_prefix(const char *s) {
        _cleanup_(freep) char *address = strndup(s, strcspn(s, "/"));
        const char *slash = strchr(s, '/');
        struct in6_addr buf;
        unsigned max = 32;

        if (!address)
                return false;
        if (inet_pton(AF_INET, address, &buf) != 1) {
                max = 128;
                if (inet_pton(AF_INET6, address, &buf) != 1)
                        return false;
        }
        return !slash || (slash[1] && strspn(slash + 1, "0123456789") == strlen(slash + 1) && strlen(slash + 1) <= 3 &&
                          strtoul(slash + 1, NULL, 10) <= max);
}

static bool is_address(const char *s) {
        return is_prefix(s) && !strchr(s, '/');
}

static void keep(char **l, bool (*valid)(const char *s), const char *name, const char *expected, int *result) {
        size_t n = 0;

        for (char **i = l; i && *i; i++)
                if (valid(*i))
                        l[n++] = *i;
                else {
                        log_warning("hostd.conf: %s=: found '%s', expected %s, ignoring", name, *i, expected);
                        free(*i);
                        *result = -EBADMSG;
                }
        if (l)
                l[n] = NULL;
}

static void keep_network(char **s, int (*parse)(const char *s, NetworkPlan *p), const char *name, const char *expected,
                         int *result) {
        NetworkPlan p;

        if (!*s || !**s)
                (void) free_and_strdup(s, NULL);
        else if (parse(*s, &p) < 0) {
                log_warning("hostd.conf: %s=: found '%s', expected %s, ignoring", name, *s, expected);
                (void) free_and_strdup(s, NULL);
                *result = -EBADMSG;
        }
}

int settings_check(Settings *s) {
        int result = 0;

        keep_network(&s->network4, network_parse4, "Network", "a prefix such as 10.201.0.0/16, from /8 to /29", &result);
        keep_network(&s->network6, network_parse6, "Network6", "a /64 within fc00::/7", &result);
        keep(s->dns, is_address, "DNS", "addresses", &result);
        keep(s->deny, is_prefix, "Deny", "addresses or prefixes", &result);
        keep(s->mounts, mount_grant_is_valid, "AllowMounts", "PATH or PATH:rw, PATH being " MOUNT_PATH_EXPECTED, &result);
        return result;
}

int settings_load(Settings *ret) {
        _cleanup_(settings_done) Settings s = { .keep_versions = 5 };
        const ConfSetting table[] = {
                { "Network", "Network", CONF_STRING, &s.network4, .expected = "a prefix such as 10.201.0.0/16" },
                { "Network", "Network6", CONF_STRING, &s.network6, .expected = "a /64 within fc00::/7" },
                { "Network", "DNS", CONF_STRV, &s.dns, .expected = "addresses" },
                { "Mounts", "AllowMounts", CONF_STRV, &s.mounts, .expected = "paths" },
                { "Network", "Deny", CONF_STRV, &s.deny, .expected = "addresses or prefixes" },
                { "Applications", "KeepVersions", CONF_UINT, &s.keep_versions, 2, 1000, "a number from 2 to 1000" },
        };
        int r, k;

        for (size_t i = 0; i < ELEMENTSOF(deny_default); i++)
                if (strv_extend(&s.deny, deny_default[i]) < 0)
                        return -ENOMEM;
        r = conf_load("hostd.conf", table, ELEMENTSOF(table));
        if (r < 0 && r != -EBADMSG)
                return r;
        k = settings_check(&s);
        *ret = s;
        s = (Settings) {};
        return r < 0 ? r : k;
}
