/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The variables of RFC 3875. What is literal at a route's beginning names the program (SCRIPT_NAME), what follows is
 * its PATH_INFO: /git/{rest+} for /web/APP/git/a/b is SCRIPT_NAME=/web/APP/git and PATH_INFO=/a/b. */

#include <ctype.h>
#include <stdio.h>
#include <strings.h>

#include "config.h"
#include "text.h"
#include "web-request.h"

/* Text for D-Bus, and one line: bytes that are not UTF-8 as a whole are taken for ISO 8859-1. */
static void put_text(Buffer *b, const char *s, size_t n) {
        if (utf8_is_valid(s, n))
                buffer_put(b, s, n);
        else
                for (size_t i = 0; i < n; i++)
                        buffer_put_latin1(b, (unsigned char) s[i]);
}

static void put_variable_n(Buffer *b, const char *name, const char *value, size_t n) {
        buffer_puts(b, name);
        buffer_putc(b, '=');
        put_text(b, value, n);
        buffer_putc(b, '\n');
}

static void put_variable(Buffer *b, const char *name, const char *value) {
        put_variable_n(b, name, value, strlen(value));
}

/* ---- headers ---- */

/* Two names that differ in '-' and '_' would be one variable: what has another character than '-' is left out, as
 * web servers do. A client that could set HTTP_PROXY would choose the program's proxy (httpoxy). The body that the
 * program reads is no longer encoded for transfer. */
static bool is_variable(const char *name) {
        static const char *const never[] = { "Content-Length", "Content-Type", "Proxy" };

        for (size_t i = 0; i < ELEMENTSOF(never); i++)
                if (strcasecmp(name, never[i]) == 0)
                        return false;
        for (const char *p = name; *p; p++)
                if (!isalnum((unsigned char) *p) && *p != '-')
                        return false;
        return !web_field_is_hop_by_hop(name);
}

static void put_header_name(Buffer *b, const char *name) {
        char *to = buffer_extend(b, strlen(name) + 6);

        if (!to)
                return;
        memcpy(to, "HTTP_", 5);
        for (to += 5; *name; name++)
                *to++ = *name == '-' ? '_' : (char) toupper((unsigned char) *name);
        *to++ = '=';
        b->size = (size_t) (to - b->data);
}

static void put_headers(Buffer *b, const WebRequest *q) {
        const char *last = NULL;

        for (size_t i = 0; i < q->n_fields; i++) {
                const WebField *f = q->fields + i;

                if (!is_variable(f->name))
                        continue;
                if (last && strcasecmp(last, f->name) == 0)
                        buffer_puts(b, strcasecmp(last, "Cookie") == 0 ? "; " : ", ");
                else {
                        if (last)
                                buffer_putc(b, '\n');
                        put_header_name(b, f->name);
                }
                put_text(b, f->value, strlen(f->value));
                last = f->name;
        }
        if (last)
                buffer_putc(b, '\n');
}

/* ---- the rest ---- */

static void put_paths(Buffer *b, const WebRequest *q) {
        const WebPath *p = q->path;
        size_t i = 0, program;

        while (i < q->route->n_segments && q->route->segments[i].kind == WEB_LITERAL)
                i++;
        program = i < q->route->n_segments ? p->starts[i] - 1 : p->size;
        buffer_puts(b, "SCRIPT_NAME=/web/");
        buffer_puts(b, q->app);
        buffer_put(b, p->decoded, program);
        buffer_putc(b, '\n');
        put_variable_n(b, "PATH_INFO", p->decoded + program, p->size - program);
        buffer_puts(b, "REQUEST_URI=/web/");
        buffer_puts(b, q->app);
        buffer_puts(b, q->raw_path);
        if (*q->query) {
                buffer_putc(b, '?');
                buffer_puts(b, q->query);
        }
        buffer_putc(b, '\n');
}

/* Where the client says that it is: behind a proxy that is not where we listen. */
static void put_server(Buffer *b, const WebRequest *q) {
        const char *host = strempty(web_field(q, "Host"));

        if (*host)
                put_variable_n(b, "SERVER_NAME", host, web_host_length(host));
        else
                put_variable(b, "SERVER_NAME", "localhost");
        put_variable(b, "SERVER_PORT", web_host_port(host, q->https));
        if (q->https)
                put_variable(b, "HTTPS", "on");
        put_variable(b, "SERVER_PROTOCOL", q->protocol);
        put_variable(b, "SERVER_SOFTWARE", "sand/" SAND_VERSION);
}

int web_cgi_build(const WebRequest *q, Buffer *b) {
        const char *content_type = web_field(q, "Content-Type");
        char number[24];

        (void) buffer_extend(b, 2048);
        put_variable(b, "GATEWAY_INTERFACE", "CGI/1.1");
        put_variable(b, "REQUEST_METHOD", q->method);
        put_variable(b, "QUERY_STRING", q->query);
        put_paths(b, q);
        put_server(b, q);
        put_variable(b, "REMOTE_ADDR", q->remote);
        if (q->size > 0 || web_field(q, "Content-Length")) {
                (void) snprintf(number, sizeof(number), "%zu", q->size);
                put_variable(b, "CONTENT_LENGTH", number);
        }
        if (content_type)
                put_variable(b, "CONTENT_TYPE", content_type);
        put_headers(b, q);
        return b->error;
}
