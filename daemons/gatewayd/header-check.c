/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "header-check.h"

#include <assert.h>
#include <strings.h>

#include "macro.h"

#define LINE_END 2 /* CR and LF */

static bool is_token(const char *s, size_t n) {
        static const char others[] = "!#$%&'*+-.^_`|~";

        for (size_t i = 0; i < n; i++)
                if (!(s[i] >= 'a' && s[i] <= 'z') && !(s[i] >= 'A' && s[i] <= 'Z') &&
                    !(s[i] >= '0' && s[i] <= '9') && (s[i] == 0 || !strchr(others, s[i])))
                        return false;
        return n > 0;
}

static bool is_value(const char *s, size_t n) {
        for (size_t i = 0; i < n; i++)
                if (((unsigned char) s[i] < ' ' && s[i] != '\t') || s[i] == 127)
                        return false;
        return true;
}

/* libmicrohttpd terminates name and value where they were received. A line that it folded into the one
 * before has been copied elsewhere, a bare LF is one byte short, and a NUL in a value hides the rest. */
static bool line_is_in_place(const char *next, const char *name, size_t name_size, const char *value) {
        const char *p = name + name_size + 1;

        if (name != next || value < p)
                return false;
        while (p < value && (*p == ' ' || *p == '\t'))
                p++;
        return p == value;
}

void header_check_begin(HeaderCheck *c, const char *version) {
        assert(version);
        *c = (HeaderCheck) {
                .next = version + strlen(version) + LINE_END,
                .http_1_1 = streq(version, "HTTP/1.1"),
        };
        if (!c->http_1_1 && !streq(version, "HTTP/1.0"))
                c->problem = "The version of HTTP is neither 1.0 nor 1.1.";
}

static bool name_is(const char *name, size_t n, const char *known) {
        return n == strlen(known) && strncasecmp(name, known, n) == 0;
}

static const char *parse_length(HeaderCheck *c, const char *value, size_t size) {
        uint64_t n = 0;

        if (c->n_length++ > 0)
                return "Content-Length is there twice.";
        if (size == 0 || size > 18)
                return "Content-Length is not a number of bytes.";
        for (size_t i = 0; i < size; i++) {
                if (value[i] < '0' || value[i] > '9')
                        return "Content-Length is not a number of bytes.";
                n = n * 10 + (uint64_t) (value[i] - '0');
        }
        c->content_length = n;
        return NULL;
}

static const char *parse_encoding(HeaderCheck *c, const char *value, size_t size) {
        if (c->n_encoding++ > 0)
                return "Transfer-Encoding is there twice.";
        if (!c->http_1_1)
                return "HTTP/1.0 has no Transfer-Encoding.";
        if (!name_is(value, size, "chunked"))
                return "The only Transfer-Encoding served is chunked.";
        c->content_length = UINT64_MAX;
        return NULL;
}

/* One of a list of preferences, such as "wait=10, respond-async; x=y". */
static bool prefers_async(const char *s) {
        while (*(s += strspn(s, ", \t"))) {
                size_t n = strcspn(s, ",; \t=");

                if (name_is(s, n, "respond-async") && s[n] != '=')
                        return true;
                s += strcspn(s, ",");
        }
        return false;
}

static const char *take_value(HeaderCheck *c, const char *name, size_t n, const char *value, size_t size) {
        if (name_is(name, n, "Content-Length"))
                return parse_length(c, value, size);
        if (name_is(name, n, "Transfer-Encoding"))
                return parse_encoding(c, value, size);
        if (name_is(name, n, "Host"))
                return c->n_host++ > 0 ? "Host is there twice." : NULL;
        if (name_is(name, n, "Content-Type"))
                c->content_type = value;
        else if (name_is(name, n, "traceparent"))
                c->traceparent = value;
        else if (name_is(name, n, "Sand-Timeout"))
                c->timeout = value;
        else if (name_is(name, n, "Prefer"))
                c->respond_async = c->respond_async || prefers_async(value);
        else if (name_is(name, n, "Idempotency-Key"))
                c->idempotency_key = value;
        else if (name_is(name, n, "Sand-Delay"))
                c->delay = value;
        else if (name_is(name, n, "Sand-Max-Age"))
                c->max_age = value;
        else if (name_is(name, n, "Sand-Callback"))
                c->callback = value;
        else if (name_is(name, n, "ce-specversion"))
                c->cloud_event = true;
        else if (name_is(name, n, "Expect"))
                c->expect = value;
        else if (name_is(name, n, "Origin"))
                c->origin = value;
        else if (name_is(name, n, "Access-Control-Request-Method"))
                c->cors_method = value;
        else if (name_is(name, n, "Access-Control-Request-Headers"))
                c->cors_headers = value;
        return NULL;
}

void header_check_add(HeaderCheck *c, const char *name, size_t name_size, const char *value,
                      size_t value_size) {
        if (c->problem)
                return;
        if (!line_is_in_place(c->next, name, name_size, value))
                c->problem = "A line of the header is folded, ends without CR LF, or holds a NUL.";
        else if (!is_token(name, name_size))
                c->problem = "The name of a header is not a token.";
        else if (!is_value(value, value_size))
                c->problem = "The value of a header holds control characters.";
        else
                c->problem = take_value(c, name, name_size, value, value_size);
        c->n_lines++;
        c->next = value + value_size + LINE_END;
}

void header_check_end(HeaderCheck *c, const char *end) {
        if (c->problem)
                return;
        if (end != c->next + LINE_END)
                c->problem = "The header does not end with an empty line.";
        else if (c->n_length > 0 && c->n_encoding > 0)
                c->problem = "Content-Length and Transfer-Encoding are both there.";
        else if (c->http_1_1 && c->n_host == 0)
                c->problem = "Host is not there.";
}
