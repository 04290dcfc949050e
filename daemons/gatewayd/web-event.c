/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
 * and .../lambda/latest/dg/urls-invocation.html. Where the two differ, and where they are silent:
 *
 * rawPath and http.path are percent-encoded as they were sent, as function URLs have them: what is decoded once cannot
 * be told from what was sent so. pathParameters are decoded, as API Gateway has them. What is not there (cookies, query,
 * path parameters, body, stage variables) has no key. A body is text if its type is text/..., application/json, .../xml
 * or .../javascript, as AWS was seen to have it, and if it is UTF-8; else base64. */

#include <ctype.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <strings.h>

#include "json-write.h"
#include "web-request.h"

static bool is_text(const char *content_type) {
        static const char *const types[] = { "application/json", "application/xml", "application/javascript" };
        size_t l = strcspn(strempty(content_type), "; \t");

        if (!content_type)
                return false;
        if (l > 5 && strncasecmp(content_type, "text/", 5) == 0)
                return true;
        for (size_t i = 0; i < ELEMENTSOF(types); i++)
                if (l == strlen(types[i]) && strncasecmp(content_type, types[i], l) == 0)
                        return true;
        return false;
}

/* ---- headers, cookies ---- */

static void put_lower(Buffer *b, const char *name) {
        char *to = buffer_extend(b, strlen(name));

        for (; to && *name; b->size++)
                *to++ = (char) tolower((unsigned char) *name++);
}

/* Neighbours of one name are one member, their values joined by commas. A token needs no escapes. */
static void put_headers(Buffer *b, const WebRequest *q) {
        const char *last = NULL;

        buffer_puts(b, ",\"headers\":{");
        for (size_t i = 0; i < q->n_fields; i++) {
                const WebField *f = q->fields + i;

                if (strcasecmp(f->name, "cookie") == 0 || web_field_is_hop_by_hop(f->name))
                        continue;
                if (last && strcasecmp(last, f->name) == 0)
                        buffer_putc(b, ',');
                else {
                        buffer_puts(b, last ? "\",\"" : "\"");
                        put_lower(b, f->name);
                        buffer_puts(b, "\":\"");
                }
                json_put(b, f->value, strlen(f->value));
                last = f->name;
        }
        buffer_puts(b, last ? "\"}" : "}");
}

static void put_cookies(Buffer *b, const WebRequest *q) {
        bool any = false;

        for (size_t i = 0; i < q->n_fields; i++) {
                const char *s = q->fields[i].value;

                if (strcasecmp(q->fields[i].name, "cookie") != 0)
                        continue;
                while (*(s += strspn(s, "; \t"))) {
                        size_t l = strcspn(s, ";"), trimmed = l;

                        while (s[trimmed - 1] == ' ' || s[trimmed - 1] == '\t')
                                trimmed--;
                        buffer_puts(b, any ? ",\"" : ",\"cookies\":[\"");
                        json_put(b, s, trimmed);
                        buffer_putc(b, '"');
                        any = true;
                        s += l;
                }
        }
        if (any)
                buffer_putc(b, ']');
}

/* ---- the query ---- */

typedef struct Parameter {
        char *name, *value;
} Parameter;

/* In place. What is no encoding stays as it is; so does an encoded NUL, which ends a string. */
static void query_decode(char *s) {
        char *to = s, digits[3] = "";

        for (; *s; s++) {
                *to = *s == '+' ? ' ' : *s;
                if (*s == '%' && isxdigit((unsigned char) s[1]) && isxdigit((unsigned char) s[2])) {
                        memcpy(digits, s + 1, 2);
                        if (!streq(digits, "00")) {
                                *to = (char) strtoul(digits, NULL, 16);
                                s += 2;
                        }
                }
                to++;
        }
        *to = 0;
}

static int compare_parameters(const void *a, const void *b) {
        const Parameter *x = a, *y = b;
        int r = strcmp(x->name, y->name);

        return r != 0 ? r : x->name < y->name ? -1 : x->name > y->name; /* all in one text */
}

static size_t query_split(char *text, Parameter *l) {
        size_t n = 0;
        char *rest;

        for (char *s = strtok_r(text, "&", &rest); s; s = strtok_r(NULL, "&", &rest)) {
                char *value = strchr(s, '=');

                if (value)
                        *value++ = 0;
                l[n].name = s;
                l[n].value = value ?: s + strlen(s);
                query_decode(l[n].name);
                query_decode(l[n].value);
                n += *l[n].name != 0;
        }
        return n;
}

static void put_query(Buffer *b, const WebRequest *q) {
        _cleanup_(freep) Parameter *l = NULL;
        _cleanup_(freep) char *text = NULL;
        size_t n = 1;

        if (!*q->query)
                return;
        for (const char *s = q->query; *s; s++)
                n += *s == '&';
        text = strdup(q->query);
        l = calloc(n, sizeof(Parameter));
        if (!text || !l) {
                b->error = -ENOMEM;
                return;
        }
        n = query_split(text, l);
        if (n == 0)
                return;
        qsort(l, n, sizeof(Parameter), compare_parameters);
        buffer_puts(b, ",\"queryStringParameters\":{");
        for (size_t i = 0; i < n; i++) {
                if (i > 0 && streq(l[i - 1].name, l[i].name))
                        buffer_putc(b, ',');
                else {
                        buffer_puts(b, i > 0 ? "\",\"" : "\"");
                        json_put(b, l[i].name, strlen(l[i].name));
                        buffer_puts(b, "\":\"");
                }
                json_put(b, l[i].value, strlen(l[i].value));
        }
        buffer_puts(b, "\"}");
}

/* ---- the rest ---- */

static void put_path_parameters(Buffer *b, const WebRequest *q) {
        bool any = false;

        for (size_t i = 0; i < q->route->n_segments; i++) {
                const WebSegment *s = q->route->segments + i;
                size_t end = s->kind == WEB_REST ? q->path->size : q->path->ends[i];

                if (s->kind == WEB_LITERAL)
                        continue;
                buffer_puts(b, any ? ",\"" : ",\"pathParameters\":{\"");
                buffer_puts(b, s->text);
                buffer_puts(b, "\":\"");
                json_put(b, q->path->decoded + q->path->starts[i], end - q->path->starts[i]);
                buffer_putc(b, '"');
                any = true;
        }
        if (any)
                buffer_putc(b, '}');
}

/* "domainName", without the port, and "domainPrefix", its first label. */
static void put_domain(Buffer *b, const char *host) {
        size_t l = web_host_length(host);

        buffer_puts(b, ",\"domainName\":\"");
        json_put(b, host, l);
        buffer_puts(b, "\",\"domainPrefix\":\"");
        json_put(b, host, MIN(l, strcspn(host, ".")));
        buffer_putc(b, '"');
}

static void put_time(Buffer *b, uint64_t usec) {
        static const char months[][4] = {
                "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        };
        time_t seconds = (time_t) (usec / USEC_PER_SEC);
        struct tm tm = {};
        char text[96];

        (void) gmtime_r(&seconds, &tm);
        (void) snprintf(text, sizeof(text), ",\"time\":\"%02d/%s/%d:%02d:%02d:%02d +0000\",\"timeEpoch\":%llu", tm.tm_mday,
                        months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec,
                        (unsigned long long) (usec / USEC_PER_MSEC));
        buffer_puts(b, text);
}

static void put_context(Buffer *b, const WebRequest *q) {
        buffer_puts(b, ",\"requestContext\":{");
        json_put_member(b, "accountId", "anonymous");
        json_put_member(b, "apiId", q->app);
        put_domain(b, strempty(web_field(q, "Host")));
        buffer_puts(b, ",\"http\":{");
        json_put_member(b, "method", q->method);
        json_put_member(b, "path", q->raw_path);
        json_put_member(b, "protocol", q->protocol);
        json_put_member(b, "sourceIp", q->remote);
        json_put_member(b, "userAgent", strempty(web_field(q, "User-Agent")));
        buffer_putc(b, '}');
        json_put_member(b, "requestId", q->execution);
        json_put_member(b, "routeKey", q->route->key);
        json_put_member(b, "stage", "$default");
        put_time(b, q->now_usec);
        buffer_putc(b, '}');
}

static bool put_text(Buffer *b, const WebRequest *q) {
        size_t begin = b->size;

        buffer_puts(b, ",\"body\":\"");
        if (json_put_utf8(b, q->body, q->size) < 0) {
                b->size = begin;
                return false;
        }
        buffer_puts(b, "\",\"isBase64Encoded\":false");
        return true;
}

static void put_body(Buffer *b, const WebRequest *q) {
        const gnutls_datum_t body = { .data = (void *) q->body, .size = (unsigned) q->size };
        gnutls_datum_t text;

        if (q->size == 0)
                buffer_puts(b, ",\"isBase64Encoded\":false");
        else if (!is_text(web_field(q, "Content-Type")) || !put_text(b, q)) {
                if (gnutls_base64_encode2(&body, &text) < 0) {
                        b->error = -ENOMEM;
                        return;
                }
                buffer_puts(b, ",\"body\":\"");
                buffer_put(b, text.data, text.size);
                buffer_puts(b, "\",\"isBase64Encoded\":true");
                gnutls_free(text.data);
        }
}

int web_event_build(const WebRequest *q, Buffer *b) {
        /* Mostly enough at once. */
        (void) buffer_extend(b, 2048 + q->size + q->size / 2);
        buffer_puts(b, "{\"version\":\"2.0\"");
        json_put_member(b, "routeKey", q->route->key);
        json_put_member(b, "rawPath", q->raw_path);
        json_put_member(b, "rawQueryString", q->query);
        put_cookies(b, q);
        put_headers(b, q);
        put_query(b, q);
        put_context(b, q);
        put_path_parameters(b, q);
        put_body(b, q);
        buffer_putc(b, '}');
        return b->error;
}
