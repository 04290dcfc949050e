/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A result can be large, and is its author's: no tree is made of it. It is scanned for the members that are known, and
 * only those are parsed, the small ones within bounds. */

#include "web-answer.h"

#include <assert.h>
#include <gnutls/gnutls.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#include "web-request.h"

#define MEMBER_SIZE_MAX (64U * 1024U) /* of `headers` and `cookies`, as text */
#define DEFAULT_CONTENT_TYPE "application/json"
#define BLANK " \t\r\n"

static int complain(WebAnswer *a, const char *format, ...) _printf_(2, 3);

static int complain(WebAnswer *a, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(a->problem, sizeof(a->problem), format, ap);
        va_end(ap);
        return -EBADMSG;
}

/* ---- headers ---- */

static bool is_token(const char *s) {
        return *s && !s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~")];
}

/* A copy without blanks around it and, as libmicrohttpd takes none, with blanks for tabs; -EINVAL: it holds other
 * control characters, by which it could end its line and begin another. */
static int copy_value(const char *s, size_t n, char **ret) {
        char *copy;

        for (; n > 0 && (*s == ' ' || *s == '\t'); s++)
                n--;
        while (n > 0 && (s[n - 1] == ' ' || s[n - 1] == '\t'))
                n--;
        for (size_t i = 0; i < n; i++)
                if (((unsigned char) s[i] < ' ' && s[i] != '\t') || s[i] == 127)
                        return -EINVAL;
        copy = strndup(s, n);
        if (!copy)
                return -ENOMEM;
        for (char *p = copy; (p = strchr(p, '\t'));)
                *p = ' ';
        *ret = copy;
        return 0;
}

static bool is_ours(const char *name) {
        return strcasecmp(name, "Content-Length") == 0 || strcasecmp(name, "Sand-Execution") == 0 ||
                web_field_is_hop_by_hop(name);
}

static int add_header(WebAnswer *a, const char *name, const char *s, size_t n) {
        _cleanup_(freep) char *value = NULL;
        WebHeader *grown;
        int r;

        if (!is_token(name))
                return complain(a, "the header \"%.64s\" has a name that is no token", name);
        if (is_ours(name))
                return 0;
        r = copy_value(s, n, &value);
        if (r == -EINVAL)
                return complain(a, "the value of the header %.64s holds control characters", name);
        if (r < 0)
                return r;
        if (!*value) /* says nothing, and libmicrohttpd takes none */
                return 0;
        if (strcasecmp(name, "Content-Type") == 0) {
                free(a->content_type);
                a->content_type = TAKE_PTR(value);
                return 0;
        }
        a->header_bytes += strlen(name) + strlen(value) + 4;
        if (a->n_headers >= WEB_ANSWER_HEADERS_MAX || a->header_bytes > WEB_ANSWER_HEADER_BYTES_MAX)
                return complain(a, "it has more than %u headers, or %u bytes of them", WEB_ANSWER_HEADERS_MAX,
                                WEB_ANSWER_HEADER_BYTES_MAX);
        grown = realloc(a->headers, (a->n_headers + 1) * sizeof(WebHeader));
        if (!grown)
                return -ENOMEM;
        a->headers = grown;
        grown[a->n_headers].name = strdup(name);
        if (!grown[a->n_headers].name)
                return -ENOMEM;
        grown[a->n_headers++].value = TAKE_PTR(value);
        return 0;
}

void web_answer_done(WebAnswer *a) {
        for (size_t i = 0; i < a->n_headers; i++) {
                free(a->headers[i].name);
                free(a->headers[i].value);
        }
        free(a->headers);
        free(a->content_type);
        free(a->location);
        (void) json_object_put(a->text);
        gnutls_free(a->decoded);
        *a = (WebAnswer) {};
}

/* ---- payload format 2.0 ---- */

typedef struct Span {
        const char *p;
        size_t n; /* 0: not there */
} Span;

typedef struct Members {
        Span status, headers, cookies, body, base64;
} Members;

static const char *skip_blank(const char *p, const char *end) {
        while (p < end && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n'))
                p++;
        return p;
}

/* Each of these returns what is behind the value at `p`, or NULL if it does not end. */
static const char *skip_string(const char *p, const char *end) {
        for (p++; p < end; p++) {
                const char *quote = memchr(p, '"', (size_t) (end - p)), *escape;

                if (!quote)
                        return NULL;
                escape = memchr(p, '\\', (size_t) (quote - p));
                if (!escape)
                        return quote + 1;
                p = escape + 1; /* which is skipped, whatever it is */
        }
        return NULL;
}

static const char *skip_nested(const char *p, const char *end) {
        size_t depth = 0;

        while (p && p < end)
                if (*p == '"')
                        p = skip_string(p, end);
                else {
                        if (*p == '{' || *p == '[')
                                depth++;
                        else if (*p == '}' || *p == ']')
                                depth--;
                        p++;
                        if (depth == 0)
                                return p;
                }
        return NULL;
}

static const char *skip_value(const char *p, const char *end) {
        const char *begin = p;

        if (p == end)
                return NULL;
        if (*p == '"')
                return skip_string(p, end);
        if (*p == '{' || *p == '[')
                return skip_nested(p, end);
        while (p < end && !memchr(BLANK ",:]}", *p, sizeof(BLANK ",:]}") - 1))
                p++;
        return p > begin ? p : NULL;
}

static Span *member_of(Members *m, const char *key, size_t n) {
        const struct {
                const char *name;
                Span *span;
        } known[] = {
                { "\"statusCode\"", &m->status }, { "\"headers\"", &m->headers }, { "\"cookies\"", &m->cookies },
                { "\"body\"", &m->body }, { "\"isBase64Encoded\"", &m->base64 },
        };

        for (size_t i = 0; i < ELEMENTSOF(known); i++)
                if (n == strlen(known[i].name) && memcmp(key, known[i].name, n) == 0)
                        return known[i].span;
        return NULL;
}

/* The members of the object at `p`, which is all that there is up to `end`. */
static bool scan_object(const char *p, const char *end, Members *m) {
        const char *key;
        Span *span;
        size_t n;

        p = skip_blank(p + 1, end);
        if (p < end && *p == '}')
                return skip_blank(p + 1, end) == end;
        for (;;) {
                key = p;
                if (p == end || *p != '"' || !(p = skip_string(p, end)))
                        return false;
                n = (size_t) (p - key);
                p = skip_blank(p, end);
                if (p == end || *p != ':')
                        return false;
                span = member_of(m, key, n);
                key = p = skip_blank(p + 1, end);
                p = skip_value(p, end);
                if (!p)
                        return false;
                if (span)
                        *span = (Span) { key, (size_t) (p - key) };
                p = skip_blank(p, end);
                if (p < end && *p == '}')
                        return skip_blank(p + 1, end) == end;
                if (p == end || *p != ',')
                        return false;
                p = skip_blank(p + 1, end);
        }
}

static bool span_is(Span s, const char *text) {
        return s.n == strlen(text) && memcmp(s.p, text, s.n) == 0;
}

static bool span_is_absent(Span s) {
        return s.n == 0 || span_is(s, "null");
}

/* 200, or "200" as some write it. */
static int parse_status(WebAnswer *a, Span s) {
        unsigned n = 0;

        if (s.n == 5 && s.p[0] == '"' && s.p[4] == '"')
                s = (Span) { s.p + 1, 3 };
        for (size_t i = 0; i < s.n && s.n == 3; i++)
                n = s.p[i] >= '0' && s.p[i] <= '9' ? n * 10 + (unsigned) (s.p[i] - '0') : 1000;
        if (n < 200 || n > 599)
                return complain(a, "its statusCode is %.*s, expected a number from 200 to 599", (int) MIN(s.n, (size_t) 32),
                                s.p);
        a->status = n;
        return 0;
}

static json_object *parse_span(Span s) {
        struct json_tokener *tokener = json_tokener_new_ex(8);
        json_object *o;

        if (!tokener)
                return NULL;
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
        o = json_tokener_parse_ex(tokener, s.p, (int) s.n);
        json_tokener_free(tokener);
        return o;
}

static int add_headers(WebAnswer *a, json_object *headers) {
        json_object_object_foreach(headers, name, value) {
                const char *s = json_object_get_string(value);
                int r;

                if (!value)
                        continue;
                if (json_object_is_type(value, json_type_object) || json_object_is_type(value, json_type_array))
                        return complain(a, "its header %.64s is neither a string, a number nor a boolean", name);
                r = add_header(a, name, s, (size_t) json_object_get_string_len(value) ?: strlen(s));
                if (r < 0)
                        return r;
        }
        return 0;
}

static int add_cookies(WebAnswer *a, json_object *cookies) {
        for (size_t i = 0; i < json_object_array_length(cookies); i++) {
                json_object *value = json_object_array_get_idx(cookies, i);
                int r;

                if (!json_object_is_type(value, json_type_string))
                        return complain(a, "its cookies are no array of strings");
                r = add_header(a, "Set-Cookie", json_object_get_string(value), (size_t) json_object_get_string_len(value));
                if (r < 0)
                        return r;
        }
        return 0;
}

static int parse_member(WebAnswer *a, Span s, const char *name, enum json_type type, const char *expected,
                        int (*add)(WebAnswer *a, json_object *value)) {
        json_object *value;
        int r;

        if (span_is_absent(s))
                return 0;
        if (s.n > MEMBER_SIZE_MAX)
                return complain(a, "its %s are %zu bytes, expected at most %u", name, s.n, MEMBER_SIZE_MAX);
        value = parse_span(s);
        r = json_object_is_type(value, type) ? add(a, value) : complain(a, "its %s are no %s", name, expected);
        (void) json_object_put(value);
        return r;
}

static int parse_text(WebAnswer *a, Span s) {
        if (span_is_absent(s))
                return 0;
        if (*s.p != '"')
                return complain(a, "its body is no string");
        a->body = s.p + 1;
        a->size = s.n - 2;
        if (!memchr(a->body, '\\', a->size))
                return 0;
        a->text = parse_span(s);
        if (!json_object_is_type(a->text, json_type_string))
                return complain(a, "its body is no valid string of JSON");
        a->body = json_object_get_string(a->text);
        a->size = (size_t) json_object_get_string_len(a->text);
        return 0;
}

static int decode_body(WebAnswer *a, Span s) {
        const gnutls_datum_t text = { .data = (void *) a->body, .size = (unsigned) a->size };
        gnutls_datum_t decoded;
        int r;

        if (span_is_absent(s) || span_is(s, "false"))
                return 0;
        if (!span_is(s, "true"))
                return complain(a, "its isBase64Encoded is neither true nor false");
        if (a->size == 0)
                return 0;
        r = gnutls_base64_decode2(&text, &decoded);
        if (r < 0)
                return r == GNUTLS_E_MEMORY_ERROR ? -ENOMEM : complain(a, "its body is not base64");
        a->body = a->decoded = decoded.data;
        a->size = decoded.size;
        return 0;
}

/* What is written into an answer that has another shape, or none, is no mistake: it is the body. */
static int parse_plain(WebAnswer *a, const char *data, size_t size, const char *content_type) {
        a->status = 200;
        a->body = data;
        a->size = size;
        return free_and_strdup(&a->content_type, isempty(content_type) ? NULL : content_type);
}

static bool is_json(const char *content_type) {
        size_t l = strcspn(strempty(content_type), "; \t");

        return content_type && ((l == 16 && strncasecmp(content_type, "application/json", l) == 0) ||
                                (l > 5 && strncasecmp(content_type + l - 5, "+json", 5) == 0));
}

static int parse_members(WebAnswer *a, const Members *m) {
        int r;

        r = parse_status(a, m->status);
        if (r >= 0)
                r = parse_member(a, m->headers, "headers", json_type_object, "object", add_headers);
        if (r >= 0)
                r = parse_member(a, m->cookies, "cookies", json_type_array, "array", add_cookies);
        if (r >= 0)
                r = parse_text(a, m->body);
        if (r >= 0)
                r = decode_body(a, m->base64);
        if (r >= 0 && !a->content_type)
                r = free_and_strdup(&a->content_type, DEFAULT_CONTENT_TYPE);
        return r;
}

int web_answer_parse(const char *data, size_t size, const char *content_type, WebAnswer *ret) {
        const char *end = data + size, *p = skip_blank(data, end);
        Members m = {};

        assert(data);
        *ret = (WebAnswer) {};
        if (!is_json(content_type) || p == end || *p != '{')
                return parse_plain(ret, data, size, content_type);
        if (!scan_object(p, end, &m))
                return complain(ret, "it begins an object of JSON and is none");
        return m.status.n == 0 ? parse_plain(ret, data, size, content_type) : parse_members(ret, &m);
}

/* ---- CGI ---- */

static int cgi_status(WebAnswer *a, const char *s, size_t n) {
        unsigned status = 0;
        size_t i = 0;

        while (i < n && (s[i] == ' ' || s[i] == '\t'))
                i++;
        for (size_t digits = 0; digits < 3 && i < n && s[i] >= '0' && s[i] <= '9'; digits++)
                status = status * 10 + (unsigned) (s[i++] - '0');
        if (status < 200 || status > 599 || (i < n && s[i] != ' ' && s[i] != '\t'))
                return complain(a, "its Status is no number from 200 to 599");
        a->status = status;
        return 0;
}

static int cgi_line(WebAnswer *a, const char *line, size_t n) {
        const char *colon = memchr(line, ':', n), *value;
        char name[128];
        size_t l;

        if (!colon || colon == line || (size_t) (colon - line) >= sizeof(name))
                return complain(a, "a line of its header is no \"Name: value\"");
        memcpy(name, line, (size_t) (colon - line));
        name[colon - line] = 0;
        value = colon + 1;
        l = n - (size_t) (value - line);
        if (strcasecmp(name, "Status") == 0)
                return cgi_status(a, value, l);
        if (strcasecmp(name, "Location") == 0) {
                int r;

                free(TAKE_PTR(a->location));
                r = copy_value(value, l, &a->location);
                return r == -EINVAL ? complain(a, "the value of the header Location holds control characters") : r;
        }
        return add_header(a, name, value, l);
}

/* Up to the empty line; *ret is behind it. Lines end with LF or CR LF. */
static int cgi_header(WebAnswer *a, const char *data, size_t size, size_t *ret) {
        for (size_t at = 0;;) {
                const char *line = data + at, *lf = memchr(line, '\n', MIN(size - at, (size_t) MEMBER_SIZE_MAX));
                size_t n;
                int r;

                if (!lf || at > MEMBER_SIZE_MAX)
                        return complain(a, "its header does not end with an empty line");
                n = (size_t) (lf - line);
                if (n > 0 && line[n - 1] == '\r')
                        n--;
                at += (size_t) (lf - line) + 1;
                if (n == 0) {
                        *ret = at;
                        return 0;
                }
                r = cgi_line(a, line, n);
                if (r < 0)
                        return r;
        }
}

int web_cgi_parse(const char *data, size_t size, const char *local, WebAnswer *ret) {
        WebAnswer *a = ret;
        size_t body;
        int r;

        assert(data);
        *a = (WebAnswer) {};
        r = cgi_header(a, data, size, &body);
        if (r < 0)
                return r;
        a->body = data + body;
        a->size = size - body;
        if (a->location && !*a->location)
                free(TAKE_PTR(a->location));
        if (a->status == 0 && !a->location && !a->content_type && a->n_headers == 0)
                return complain(a, "its header is empty");
        if (a->status == 0 && a->location && startswith(a->location, local))
                return 0;
        if (a->status == 0)
                a->status = a->location ? 302 : 200;
        if (a->location) {
                _cleanup_(freep) char *location = TAKE_PTR(a->location);
                return add_header(a, "Location", location, strlen(location));
        }
        return 0;
}
