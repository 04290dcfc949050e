/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What strangers say of triggers: a request, from which a route is chosen and an event or variables are made, and what
 * a function answers. The first byte says which; a request is lines, of a route, a path and query, and headers, then
 * the body. What is made is well-formed, and what is read back says no more than it may. */

#include <assert.h>
#include <json-c/json.h>
#include <strings.h>

#include "../../daemons/gatewayd/web-answer.h"
#include "../../daemons/gatewayd/web-request.h"
#include "../../daemons/gatewayd/web-table.h"
#include "text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FIELDS_MAX 16U

static char *next_line(char **rest) {
        char *line = *rest;

        if (!line)
                return NULL;
        *rest = strchr(line, '\n');
        if (*rest)
                *(*rest)++ = 0;
        return line;
}

/* As header-check.c leaves it. */
static bool is_field(const char *name, const char *value) {
        if (!*name || name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")])
                return false;
        for (; *value; value++)
                if ((unsigned char) *value < ' ' && *value != '\t')
                        return false;
        return true;
}

static bool is_ascii(const char *s) {
        for (; *s; s++)
                if (*s <= ' ' || *s > '~')
                        return false;
        return true;
}

static void check_event(const WebRequest *q) {
        _cleanup_(buffer_done) Buffer b = {};
        struct json_tokener *tokener = json_tokener_new();
        json_object *o;

        assert(web_event_build(q, &b) == 0);
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
        o = json_tokener_parse_ex(tokener, b.data, (int) b.size);
        assert(o && json_tokener_get_parse_end(tokener) == b.size);
        assert(json_object_object_get_ex(o, "isBase64Encoded", NULL));
        json_object_put(o);
        json_tokener_free(tokener);
}

static void check_variables(const WebRequest *q) {
        _cleanup_(buffer_done) Buffer b = {};
        char *rest, *line;

        assert(web_cgi_build(q, &b) == 0);
        assert(utf8_is_valid(b.data, b.size) && !memchr(b.data, 0, b.size) && b.data[b.size - 1] == '\n');
        b.data[b.size - 1] = 0;
        rest = b.data;
        while ((line = next_line(&rest)))
                assert(strchr(line, '=') && !startswith(line, "HTTP_PROXY=") && !startswith(line, "="));
}

static void check_request(char *text) {
        static const char *const others[] = { "GET /a/{x}", "ANY /a/b", "POST /{rest+}", "GET /" };
        _cleanup_(web_path_done) WebPath path = {};
        WebField fields[FIELDS_MAX];
        HttpTrigger *triggers;
        const char *expected;
        char *route, *target, *query, *line;
        WebTable *table;
        WebMatch match;
        size_t n = 0, n_triggers = 0;

        route = next_line(&text);
        target = next_line(&text);
        if (!route || !target || *target != '/')
                return;
        query = strchr(target, '?');
        if (query)
                *query++ = 0;
        if (!is_ascii(target) || !is_ascii(strempty(query)) || web_path_parse(target, &path) < 0)
                return;
        while (n < FIELDS_MAX && (line = next_line(&text)) && *line) {
                char *value = strchr(line, ':');

                if (!value)
                        break;
                *value++ = 0;
                if (is_field(line, value)) {
                        fields[n] = (WebField) { line, value, n };
                        n++;
                }
        }

        triggers = calloc(ELEMENTSOF(others) + 1, sizeof(HttpTrigger));
        if (web_route_parse(route, &triggers[0].route, &expected) >= 0)
                n_triggers++;
        for (size_t i = 0; i < ELEMENTSOF(others); i++) {
                assert(web_route_parse(others[i], &triggers[n_triggers].route, &expected) >= 0);
                if (n_triggers > 0 && web_routes_clash(&triggers[0].route, &triggers[n_triggers].route))
                        web_route_done(&triggers[n_triggers].route);
                else
                        n_triggers++;
        }
        assert(web_table_new(triggers, n_triggers, &table) >= 0);
        match = web_table_match(table, &path, WEB_GET);
        web_fields_sort(fields, n);
        if (match.trigger) {
                const WebRequest q = {
                        .app = "a", .route = &match.trigger->route, .path = &path, .raw_path = target,
                        .query = strempty(query), .method = "GET", .protocol = "HTTP/1.1", .remote = "::1", .execution = "0",
                        .fields = fields, .n_fields = n, .body = text, .size = text ? strlen(text) : 0,
                };

                assert(match.methods != 0);
                check_event(&q);
                check_variables(&q);
        }
        web_table_unref(table);
}

static void check_answer(const WebAnswer *a, int r) {
        if (r < 0) {
                assert(r == -EBADMSG && *a->problem);
                return;
        }
        assert(a->location || (a->status >= 200 && a->status <= 599));
        for (size_t i = 0; i < a->n_headers; i++) {
                assert(is_field(a->headers[i].name, "") || strpbrk(a->headers[i].name, "!#$%&'*+.^`|~"));
                assert(!strpbrk(a->headers[i].name, "\r\n: ") && !strpbrk(a->headers[i].value, "\r\n\t"));
                assert(strcasecmp(a->headers[i].name, "Content-Length") != 0);
                assert(strcasecmp(a->headers[i].name, "Transfer-Encoding") != 0);
        }
        assert(!a->content_type || !strpbrk(a->content_type, "\r\n\t"));
        /* all of it may be read */
        for (size_t i = 0; i < a->size; i++)
                *(volatile const char *) ((const char *) a->body + i);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(freep) char *copy = malloc(size + 1);
        WebAnswer a;
        int r;

        if (!copy || size == 0)
                return 0;
        size--;
        memcpy(copy, data + 1, size);
        switch (data[0]) {
        case 'r':
                copy[size] = 0;
                check_request(copy);
                return 0;
        case 'a':
        case 'c':
                /* not terminated, as it comes */
                copy = realloc(copy, MAX(size, (size_t) 1));
                r = data[0] == 'a' ? web_answer_parse(copy, size, "application/json", &a)
                                   : web_cgi_parse(copy, size, "/web/a/", &a);
                check_answer(&a, r);
                web_answer_done(&a);
                return 0;
        default:
                return 0;
        }
}
