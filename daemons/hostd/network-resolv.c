/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "network-resolv.h"

#include <arpa/inet.h>
#include <stdio.h>

#define SERVERS_MAX 3U /* libc reads no more */
#define BLANKS " \t\r"

void network_resolv_done(NetworkResolv *r) {
        free(r->text);
        strv_free(r->servers);
        *r = (NetworkResolv) {};
}

/* The value of a line "KEY VALUE", or NULL; cuts the line. */
static char *value_of(char *line, const char *key) {
        char *p = line + strspn(line, BLANKS);
        size_t n = strlen(key);

        if (strncmp(p, key, n) != 0 || !p[n] || !strchr(BLANKS, p[n]))
                return NULL;
        p += n + strspn(p + n, BLANKS);
        for (size_t l = strlen(p); l > 0 && strchr(BLANKS, p[l - 1]); l--)
                p[l - 1] = 0;
        return p;
}

static bool is_loopback(const char *s) {
        struct in6_addr six;
        struct in_addr four;

        if (inet_pton(AF_INET, s, &four) == 1)
                return ntohl(four.s_addr) >> 24 == 127 || four.s_addr == 0;
        return inet_pton(AF_INET6, s, &six) == 1 && (IN6_IS_ADDR_LOOPBACK(&six) || IN6_IS_ADDR_UNSPECIFIED(&six));
}

/* Not one with a link behind '%' either: machines are not on that link. */
static bool is_reachable(const char *s) {
        struct in6_addr six;
        struct in_addr four;

        if (is_loopback(s))
                return false;
        return inet_pton(AF_INET, s, &four) == 1 ||
                (inet_pton(AF_INET6, s, &six) == 1 && !IN6_IS_ADDR_LINKLOCAL(&six));
}

typedef struct Scan {
        char **servers;
        bool loopback, stub; /* some listen there; one is systemd-resolved's */
} Scan;

static int scan_line(char *line, FILE *f, Scan *s) {
        char *value;

        line[strcspn(line, "#;")] = 0;
        value = value_of(line, "nameserver");
        if (value) {
                s->loopback = s->loopback || is_loopback(value);
                s->stub = s->stub || streq(value, "127.0.0.53") || streq(value, "127.0.0.54");
                return is_reachable(value) && strv_length(s->servers) < SERVERS_MAX ? strv_extend(&s->servers, value) : 0;
        }
        value = value_of(line, "search") ?: value_of(line, "domain");
        if (value)
                fprintf(f, "search %s\n", value);
        else if ((value = value_of(line, "options")))
                fprintf(f, "options %s\n", value);
        return 0;
}

/* Of what a resolv.conf says the servers go to the scan, the rest into the stream. */
static int scan(const char *text, FILE *f, Scan *s) {
        _cleanup_(freep) char *copy = strdup(strempty(text));
        char *state = NULL;
        int r = copy ? 0 : -ENOMEM;

        for (char *line = copy ? strtok_r(copy, "\n", &state) : NULL; line && r >= 0; line = strtok_r(NULL, "\n", &state))
                r = scan_line(line, f, s);
        return r;
}

static bool asks_stub(const char *host) {
        _cleanup_(freep) char *text = NULL;
        Scan s = {};
        size_t size;
        FILE *f;

        f = open_memstream(&text, &size);
        if (!f)
                return false;
        (void) scan(host, f, &s);
        (void) fclose(f);
        strv_free(s.servers);
        return s.stub;
}

static int take(char ***l, char *const *from) {
        *l = strv_free(*l);
        for (char *const *i = from; *i; i++) {
                int r = strv_extend(l, *i);
                if (r < 0)
                        return r;
        }
        return 0;
}

int network_resolv(const char *host, const char *resolved, char *const *dns, const char *gateway, NetworkResolv *ret) {
        _cleanup_(network_resolv_done) NetworkResolv result = {};
        _cleanup_(freep) char *others = NULL;
        Scan s = {};
        size_t size;
        FILE *f;
        int r;

        f = open_memstream(&others, &size);
        if (!f)
                return -ENOMEM;
        r = scan(resolved && asks_stub(host) ? resolved : host, f, &s);
        if (fclose(f) != 0 && r >= 0)
                r = -ENOMEM;
        result.servers = s.servers;
        if (r >= 0 && dns && *dns)
                r = take(&result.servers, dns);
        else if (r >= 0 && !result.servers && s.loopback) {
                result.loopback_only = true;
                r = strv_extend(&result.servers, gateway);
        }
        if (r < 0)
                return r;

        f = open_memstream(&result.text, &size);
        if (!f)
                return -ENOMEM;
        fputs("# Written by sand-network.service, of what the host uses; see hostd.conf(5).\n", f);
        for (char **i = result.servers; i && *i; i++)
                fprintf(f, "nameserver %s\n", *i);
        fputs(others, f);
        if (fclose(f) != 0)
                return -ENOMEM;
        *ret = result;
        result = (NetworkResolv) {};
        return 0;
}
