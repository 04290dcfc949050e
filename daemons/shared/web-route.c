/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "web-route.h"

#include <assert.h>

#include "text.h"

#define NAME_MAX_LENGTH 64U
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define NAME_CHARACTERS LETTERS "0123456789_-."
/* RFC 3986, 3.3: pchar, without the percent-encoded ones */
#define PATH_CHARACTERS LETTERS "0123456789-._~!$&'()*+,;=:@"

static const char *const methods[_WEB_METHOD_MAX] = {
        [WEB_ANY] = "ANY",         [WEB_DELETE] = "DELETE", [WEB_GET] = "GET",   [WEB_HEAD] = "HEAD",
        [WEB_OPTIONS] = "OPTIONS", [WEB_PATCH] = "PATCH",   [WEB_POST] = "POST", [WEB_PUT] = "PUT",
};

const char *web_method_to_string(WebMethod m) {
        assert(m >= 0 && m < _WEB_METHOD_MAX);
        return methods[m];
}

WebMethod web_method_from_string(const char *s) {
        for (int i = 0; i < _WEB_METHOD_MAX; i++)
                if (streq(s, methods[i]))
                        return (WebMethod) i;
        return _WEB_METHOD_INVALID;
}

static int digit(char c) {
        if (c >= '0' && c <= '9')
                return c - '0';
        c |= 0x20;
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

ssize_t web_path_decode(const char *s, size_t n, char *to) {
        size_t length = 0;

        for (size_t i = 0; i < n; i++) {
                char c = s[i];

                if (c == '%') {
                        if (n - i < 3 || digit(s[i + 1]) < 0 || digit(s[i + 2]) < 0)
                                return -EINVAL;
                        c = (char) (digit(s[i + 1]) << 4 | digit(s[i + 2]));
                        i += 2;
                }
                if ((unsigned char) c < ' ' || c == 127)
                        return -EINVAL;
                to[length++] = c;
        }
        to[length] = 0;
        return utf8_is_valid(to, length) ? (ssize_t) length : -EINVAL;
}

/* ---- parsing ---- */

static const char *parse_variable(const char *s, size_t n, WebSegment *segment) {
        size_t length;

        if (s[n - 1] != '}')
                return "a variable that is a whole segment, such as {id}";
        s++;
        n -= 2;
        segment->kind = n > 0 && s[n - 1] == '+' ? WEB_REST : WEB_NAME;
        length = segment->kind == WEB_REST ? n - 1 : n;
        if (length == 0 || length > NAME_MAX_LENGTH || strspn(s, NAME_CHARACTERS) != length ||
            !(strchr(LETTERS "_", *s)))
                return "a variable's name of 1 to 64 letters, digits, _, - or ., the first a letter or _";
        segment->text = strndup(s, length);
        return NULL;
}

static const char *parse_literal(const char *s, size_t n, WebSegment *segment) {
        segment->kind = WEB_LITERAL;
        for (size_t i = 0; i < n; i++) {
                if (s[i] == '{' || s[i] == '}')
                        return "a variable that is a whole segment, such as {id}";
                if (s[i] != '%' && !strchr(PATH_CHARACTERS, s[i]))
                        return "the characters that a URL's path may hold, others as %XX";
        }
        segment->text = malloc(n + 1);
        if (segment->text && web_path_decode(s, n, segment->text) < 0)
                return "% before two hexadecimal digits, and UTF-8 without control characters";
        if (segment->text && (streq(segment->text, ".") || streq(segment->text, "..")))
                return "no segment . or .., which clients take out of a path";
        return NULL;
}

static bool has_variable(const WebRoute *route, const char *name) {
        for (size_t i = 0; i < route->n_segments; i++)
                if (route->segments[i].kind != WEB_LITERAL && streq(route->segments[i].text, name))
                        return true;
        return false;
}

/* `s` is behind the slash. */
static const char *parse_segment(WebRoute *route, const char *s, size_t n, bool last) {
        WebSegment segment = {};
        const char *expected;

        if (n == 0 && !last)
                return "no empty segment within the path";
        expected = n > 0 && *s == '{' ? parse_variable(s, n, &segment) : parse_literal(s, n, &segment);
        if (!expected && segment.kind == WEB_REST && !last)
                expected = "a variable with + as the last segment only";
        if (!expected && segment.kind != WEB_LITERAL && segment.text && has_variable(route, segment.text))
                expected = "variables of different names";
        if (expected)
                free(segment.text);
        else
                route->segments[route->n_segments++] = segment;
        return expected;
}

static const char *parse_path(WebRoute *route, const char *path) {
        size_t n = 0;

        for (const char *p = path; *p; p++)
                n += *p == '/';
        if (n > WEB_SEGMENTS_MAX)
                return "a path of at most 32 segments";
        route->segments = calloc(n, sizeof(WebSegment));
        for (const char *p = path; route->segments && p;) {
                const char *next = strchr(p + 1, '/'), *expected;

                expected = parse_segment(route, p + 1, next ? (size_t) (next - p - 1) : strlen(p + 1), !next);
                if (expected)
                        return expected;
                p = next;
        }
        return NULL;
}

static bool is_complete(const WebRoute *route) {
        if (!route->key || !route->segments)
                return false;
        for (size_t i = 0; i < route->n_segments; i++)
                if (!route->segments[i].text)
                        return false;
        return true;
}

int web_route_parse(const char *s, WebRoute *ret, const char **ret_expected) {
        _cleanup_(web_route_done) WebRoute route = { .method = _WEB_METHOD_INVALID };
        const char *path = strchr(s, '/'), *expected = NULL;
        char method[16] = "";

        if (path && path - s >= 2 && (size_t) (path - s) <= sizeof(method) && path[-1] == ' ') {
                memcpy(method, s, (size_t) (path - s) - 1);
                route.method = web_method_from_string(method);
        }
        if (route.method == _WEB_METHOD_INVALID)
                expected = WEB_ROUTE_EXPECTED;
        else if (strlen(s) > WEB_ROUTE_SIZE_MAX)
                expected = "a route of at most 1024 bytes";
        else
                expected = parse_path(&route, path);
        if (expected) {
                *ret_expected = expected;
                return -EINVAL;
        }
        route.key = strdup(s);
        if (!is_complete(&route))
                return -ENOMEM;
        *ret = route;
        route = (WebRoute) {};
        return 0;
}

void web_route_done(WebRoute *r) {
        for (size_t i = 0; i < r->n_segments; i++)
                free(r->segments[i].text);
        free(r->segments);
        free(r->key);
        *r = (WebRoute) {};
}

/* ---- comparing ---- */

typedef struct Relation {
        bool overlap; /* there is a path that both match */
        bool a_in_b, b_in_a;
} Relation;

/* What `rest` from segment i on matches: not the empty segment behind a last slash. */
static bool rest_matches(const WebRoute *other, size_t i) {
        if (i >= other->n_segments)
                return false;
        return i + 1 < other->n_segments || other->segments[i].kind != WEB_LITERAL || *other->segments[i].text;
}

static Relation compare_paths(const WebRoute *a, const WebRoute *b) {
        Relation r = { true, true, true };

        for (size_t i = 0; i < a->n_segments && i < b->n_segments; i++) {
                const WebSegment *x = a->segments + i, *y = b->segments + i;

                if (x->kind == WEB_REST || y->kind == WEB_REST) {
                        r.overlap = rest_matches(x->kind == WEB_REST ? b : a, i);
                        r.a_in_b &= y->kind == WEB_REST;
                        r.b_in_a &= x->kind == WEB_REST;
                        return r;
                }
                if (x->kind == WEB_LITERAL && y->kind == WEB_LITERAL)
                        r.overlap = streq(x->text, y->text);
                else if (x->kind == WEB_LITERAL || y->kind == WEB_LITERAL) {
                        r.overlap = *(x->kind == WEB_LITERAL ? x : y)->text;
                        r.a_in_b &= x->kind == WEB_LITERAL;
                        r.b_in_a &= y->kind == WEB_LITERAL;
                }
                if (!r.overlap)
                        return r;
        }
        r.overlap = a->n_segments == b->n_segments;
        return r;
}

static bool methods_overlap(WebMethod a, WebMethod b) {
        return a == b || a == WEB_ANY || b == WEB_ANY || (a == WEB_GET && b == WEB_HEAD) ||
                (a == WEB_HEAD && b == WEB_GET);
}

bool web_routes_clash(const WebRoute *a, const WebRoute *b) {
        Relation r;

        if (!methods_overlap(a->method, b->method))
                return false;
        r = compare_paths(a, b);
        if (!r.overlap)
                return false;
        return r.a_in_b == r.b_in_a && (!r.a_in_b || a->method == b->method);
}

/* ---- triggers ---- */

WebCors *web_cors_free(WebCors *c) {
        if (!c)
                return NULL;
        strv_free(c->origins);
        strv_free(c->methods);
        strv_free(c->headers);
        strv_free(c->expose_headers);
        free(c);
        return NULL;
}

void http_triggers_free(HttpTrigger *l, size_t n) {
        for (size_t i = 0; l && i < n; i++) {
                web_route_done(&l[i].route);
                free(l[i].target);
                web_cors_free(l[i].cors);
        }
        free(l);
}
