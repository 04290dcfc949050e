/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sandctl-text.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

static int target_fail(const char **ret_message, const char *message) {
        *ret_message = message;
        return -EINVAL;
}

static int target_check(const char *s, const char *slash, const char **ret_message) {
        if (!slash || slash == s || !slash[1])
                return target_fail(ret_message, "expected APP/FUNCTION, or DIR/FUNCTION where DIR begins "
                                                "with . or /");
        if (strchr(slash + 1, '@'))
                return target_fail(ret_message, "invoking a particular VERSION is not served by this "
                                                "version of sandctl");
        if (!function_name_is_valid(slash + 1))
                return target_fail(ret_message, "a function's name is a letter or _, then letters, "
                                                "digits, _ and -, at most 64");
        return 0;
}

int target_parse(const char *s, Target *ret, const char **ret_message) {
        const char *slash = strrchr(s, '/');
        bool folder = s[0] == '.' || s[0] == '/';
        _cleanup_(freep) char *where = NULL, *function = NULL;
        int r;

        /* "/NAME" is the function NAME of the folder "/"; nobody means that. */
        r = target_check(s, slash, ret_message);
        if (r < 0)
                return r;

        where = strndup(s, (size_t) (slash - s));
        function = strdup(slash + 1);
        if (!where || !function)
                return -ENOMEM;
        if (!folder && !app_name_is_valid(where))
                return target_fail(ret_message, "an application's name is a lower-case letter, then lower-"
                                                "case letters, digits and -, at most 63; a folder begins "
                                                "with . or /");

        *ret = (Target) { .function = TAKE_PTR(function) };
        if (folder)
                ret->dir = TAKE_PTR(where);
        else
                ret->app = TAKE_PTR(where);
        return 0;
}

void app_name_suggest(const char *s, char ret[static APP_NAME_MAX + 1]) {
        size_t n = 0;

        for (; *s && n < APP_NAME_MAX; s++) {
                char c = *s >= 'A' && *s <= 'Z' ? (char) (*s | 0x20) : *s;
                bool letter = c >= 'a' && c <= 'z', digit = c >= '0' && c <= '9';

                if (letter || (digit && n > 0))
                        ret[n++] = c;
                else if (n > 0 && ret[n - 1] != '-')
                        ret[n++] = '-';
        }
        while (n > 0 && ret[n - 1] == '-')
                n--;
        ret[n] = '\0';
        if (n == 0)
                strcpy(ret, "app");
}

void target_done(Target *t) {
        free(t->app);
        free(t->dir);
        free(t->function);
        *t = (Target) {};
}

static int port_parse(const char *s, uint16_t *ret) {
        unsigned long port;
        char *end;

        if (!isdigit((unsigned char) s[0]) || strlen(s) > 5)
                return -EINVAL;
        port = strtoul(s, &end, 10);
        if (*end || port > UINT16_MAX)
                return -EINVAL;
        *ret = (uint16_t) port;
        return 0;
}

int listen_address_parse(const char *s, ListenAddress *ret) {
        ListenAddress a = { .family = AF_INET, .host = "127.0.0.1" };
        const char *colon = strrchr(s, ':'), *host = s;
        size_t length;
        struct in_addr v4;
        struct in6_addr v6;

        if (port_parse(colon ? colon + 1 : s, &a.port) < 0)
                return -EINVAL;
        if (colon) {
                length = (size_t) (colon - s);
                if (s[0] == '[' && length >= 2 && colon[-1] == ']') {
                        a.family = AF_INET6;
                        host++;
                        length -= 2;
                }
                if (length == 0 || length >= sizeof(a.host))
                        return -EINVAL;
                memcpy(a.host, host, length);
                a.host[length] = '\0';
        }
        if (streq(a.host, "localhost") && a.family == AF_INET)
                strcpy(a.host, "127.0.0.1");

        if (a.family == AF_INET6) {
                if (inet_pton(AF_INET6, a.host, &v6) != 1)
                        return -EINVAL;
                if (!IN6_IS_ADDR_LOOPBACK(&v6))
                        return -EACCES;
        } else {
                if (inet_pton(AF_INET, a.host, &v4) != 1)
                        return -EINVAL;
                if (ntohl(v4.s_addr) >> 24 != 127)
                        return -EACCES;
        }
        *ret = a;
        return 0;
}

void format_span(char *buf, size_t size, uint64_t usec) {
        static const struct {
                uint64_t usec;
                const char *unit;
        } units[] = {
                { 365 * 24 * USEC_PER_HOUR, "y" }, { 24 * USEC_PER_HOUR, "d" }, { USEC_PER_HOUR, "h" },
                { USEC_PER_MINUTE, "min" },        { USEC_PER_SEC, "s" },
        };

        if (usec == USEC_INFINITY) {
                (void) snprintf(buf, size, "infinity");
                return;
        }
        for (size_t i = 0; i < ELEMENTSOF(units) && usec >= 10 * USEC_PER_SEC; i++) {
                uint64_t rest = usec % units[i].usec;

                if (usec < units[i].usec)
                        continue;
                if (i + 1 < ELEMENTSOF(units) && rest >= units[i + 1].usec)
                        (void) snprintf(buf, size, "%" PRIu64 "%s %" PRIu64 "%s", usec / units[i].usec,
                                        units[i].unit, rest / units[i + 1].usec, units[i + 1].unit);
                else
                        (void) snprintf(buf, size, "%" PRIu64 "%s", usec / units[i].usec, units[i].unit);
                return;
        }
        if (usec >= USEC_PER_SEC)
                (void) snprintf(buf, size, "%.4gs", (double) usec / (double) USEC_PER_SEC);
        else if (usec >= USEC_PER_MSEC)
                (void) snprintf(buf, size, "%.3gms", (double) usec / (double) USEC_PER_MSEC);
        else if (usec > 0)
                (void) snprintf(buf, size, "%" PRIu64 "us", usec);
        else
                (void) snprintf(buf, size, "0");
}

void format_ago(char *buf, size_t size, uint64_t usec) {
        char span[32];

        if (usec < USEC_PER_MSEC) { /* or the clocks disagree by a little */
                (void) snprintf(buf, size, "just now");
                return;
        }
        format_span(span, sizeof(span), usec >= USEC_PER_SEC ? usec - usec % USEC_PER_SEC : usec);
        (void) snprintf(buf, size, "%s ago", span);
}

void format_time(char *buf, size_t size, uint64_t usec) {
        time_t seconds = (time_t) (usec / USEC_PER_SEC);
        struct tm tm;

        *buf = 0;
        if (localtime_r(&seconds, &tm))
                (void) strftime(buf, size, "%a %Y-%m-%d %H:%M:%S %Z", &tm);
}

void format_bytes(char *buf, size_t size, uint64_t bytes) {
        static const char units[] = "KMGTPE";
        double value = (double) bytes;
        int i = -1;

        if (bytes == UINT64_MAX) {
                (void) snprintf(buf, size, "infinity");
                return;
        }
        for (; value >= 1024 && i < (int) sizeof(units) - 2; i++)
                value /= 1024;
        if (i < 0)
                (void) snprintf(buf, size, "%" PRIu64 "B", bytes);
        else if (value == (double) (uint64_t) value)
                (void) snprintf(buf, size, "%.0f%c", value, units[i]);
        else
                (void) snprintf(buf, size, "%.1f%c", value, units[i]);
}

size_t text_width(const char *s) {
        size_t n = 0;

        for (; *s; s++)
                n += ((unsigned char) *s & 0xc0) != 0x80;
        return n;
}

char *text_ellipsize(const char *s, size_t width) {
        static const char ellipsis[] = "\xe2\x80\xa6"; /* one column */
        const char *end = s;
        char *t;

        if (text_width(s) <= width || width == 0)
                return strdup(s);
        for (size_t columns = 0; *end; end++) {
                columns += ((unsigned char) *end & 0xc0) != 0x80;
                if (columns == width)
                        break;
        }
        return asprintf(&t, "%.*s%s", (int) (end - s), s, ellipsis) < 0 ? NULL : t;
}

char *shell_quote(const char *s) {
        static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./_-";
        char *t, *p;

        if (*s && s[strspn(s, plain)] == '\0')
                return strdup(s);
        t = p = malloc(strlen(s) * 4 + 3);
        if (!t)
                return NULL;
        *p++ = '\'';
        for (; *s; s++)
                if (*s == '\'')
                        p = stpcpy(p, "'\\''");
                else
                        *p++ = *s;
        *p++ = '\'';
        *p = '\0';
        return t;
}

int base64_decode(const char *s, void **ret, size_t *ret_size) {
        static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        size_t l = strlen(s), padding = l > 0 && s[l - 1] == '=' ? 1 + (l > 1 && s[l - 2] == '=') : 0, n = 0;
        _cleanup_(freep) uint8_t *data = malloc(l / 4 * 3 + 1);
        uint32_t bits = 0;

        if (!data)
                return -ENOMEM;
        if (l % 4 != 0)
                return -EBADMSG;
        for (size_t i = 0; i < l; i++) {
                const char *c = i < l - padding ? strchr(alphabet, s[i]) : alphabet;

                if (!c)
                        return -EBADMSG;
                bits = bits << 6 | (uint32_t) (c - alphabet);
                if (i % 4 == 3) {
                        data[n++] = (uint8_t) (bits >> 16);
                        data[n++] = (uint8_t) (bits >> 8);
                        data[n++] = (uint8_t) bits;
                }
        }
        n -= padding;
        data[n] = 0;
        *ret = TAKE_PTR(data);
        *ret_size = n;
        return 0;
}

bool event_id_is_valid(const char *s) {
        size_t l = strlen(s);

        return l >= 4 && l <= 32 && strspn(s, "0123456789abcdef") == l;
}
