/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "web.h"

#include <strings.h>
#include <time.h>

static bool is_printable_ascii(const char *s) {
        for (; *s; s++)
                if (*s <= ' ' || *s > '~')
                        return false;
        return true;
}

/* A client cannot ask for ANY. */
static WebMethod parse_method(const char *s) {
        WebMethod m = web_method_from_string(s);
        return m == WEB_ANY ? _WEB_METHOD_INVALID : m;
}

/* A preflight is for the route that it asks about, if that has rules; else OPTIONS is a method like any other. */
static const HttpTrigger *match_preflight(const Web *w, const HeaderCheck *h) {
        const HttpTrigger *t;

        if (!h->origin || !h->cors_method)
                return NULL;
        t = web_table_match(w->table, &w->path, parse_method(h->cors_method)).trigger;
        return t && t->cors ? t : NULL;
}

int web_begin(Web *w, WebTable *table, const char *raw_path, const char *query, const char *method, const HeaderCheck *h) {
        WebMethod m = parse_method(method);
        WebMatch match;
        int r;

        web_done(w);
        *w = (Web) { .table = web_table_ref(table), .raw_path = raw_path, .query = query };
        if (!is_printable_ascii(raw_path) || !is_printable_ascii(query))
                return -EINVAL;
        r = web_path_parse(raw_path, &w->path);
        if (r < 0)
                return r;
        if (m == WEB_OPTIONS && (w->trigger = match_preflight(w, h))) {
                w->preflight = true;
                return 0;
        }
        match = web_table_match(table, &w->path, m);
        w->trigger = match.trigger;
        w->methods = match.methods;
        if (!w->trigger)
                return w->methods ? -EOPNOTSUPP : -ENOENT;
        w->as_get = m == WEB_HEAD && w->trigger->route.method == WEB_GET;
        return 0;
}

void web_done(Web *w) {
        web_path_done(&w->path);
        web_table_unref(w->table);
        *w = (Web) {};
}

void web_allow(unsigned methods, char ret[static WEB_ALLOW_MAX]) {
        if (methods & 1U << WEB_GET)
                methods |= 1U << WEB_HEAD;
        *ret = 0;
        for (int i = 0; i < _WEB_METHOD_MAX; i++)
                if (methods & 1U << i) {
                        if (*ret)
                                strcat(ret, ", ");
                        strcat(ret, web_method_to_string((WebMethod) i));
                }
}

/* ---- the headers ---- */

typedef struct Fields {
        WebField *l;
        size_t n, allocated;
        bool bodyless, has_token;
        bool outside; /* what the client says of the way to us is not known by anybody else */
        int error;
} Fields;

static void fields_add(Fields *f, const char *name, const char *value) {
        if (f->n == f->allocated) {
                size_t wanted = MAX(2 * f->allocated, (size_t) 32);
                WebField *grown = realloc(f->l, wanted * sizeof(WebField));

                if (!grown) {
                        f->error = -ENOMEM;
                        return;
                }
                f->l = grown;
                f->allocated = wanted;
        }
        f->l[f->n] = (WebField) { .name = name, .value = value, .position = f->n };
        f->n++;
}

static enum MHD_Result on_field(void *userdata, enum MHD_ValueKind kind, const char *name, size_t name_size,
                                const char *value, size_t value_size) {
        Fields *f = userdata;

        if ((f->has_token && strcasecmp(name, MHD_HTTP_HEADER_AUTHORIZATION) == 0) ||
            (f->outside && (strcasecmp(name, "X-Forwarded-Proto") == 0 || strcasecmp(name, "X-Forwarded-Port") == 0)))
                return MHD_YES;
        if (!f->bodyless || (strcasecmp(name, "Content-Length") != 0 && strcasecmp(name, "Content-Type") != 0))
                fields_add(f, name, strempty(value));
        return MHD_YES;
}

static const char *fields_find(const Fields *f, const char *name) {
        for (size_t i = 0; i < f->n; i++)
                if (strcasecmp(f->l[i].name, name) == 0)
                        return f->l[i].value;
        return NULL;
}

/* As AWS adds them; what a proxy before us says of the way to it stands. */
static void fields_add_forwarded(Fields *f, const WebClient *c) {
        bool https = c->tls || c->https;

        if (!fields_find(f, "X-Forwarded-Port"))
                fields_add(f, "X-Forwarded-Port", web_host_port(strempty(fields_find(f, "Host")), https));
        if (!fields_find(f, "X-Forwarded-Proto"))
                fields_add(f, "X-Forwarded-Proto", https ? "https" : "http");
        if (!c->forwarded) /* else it is there */
                fields_add(f, "X-Forwarded-For", c->address);
}

int web_build(const Web *w, const HttpConnection *c, const WebFacts *facts, Buffer *b) {
        Fields fields = {
                .bodyless = w->bodyless, .has_token = facts->has_token, .outside = facts->client->tls,
        };
        int r;

        (void) http_header_each(c, on_field, &fields);
        if (!facts->cgi)
                fields_add_forwarded(&fields, facts->client);
        web_fields_sort(fields.l, fields.n);

        const WebRequest q = {
                .app = facts->app,
                .route = &w->trigger->route,
                .path = &w->path,
                .raw_path = w->raw_path,
                .query = w->query,
                .method = w->as_get ? "GET" : facts->method,
                .protocol = facts->http_1_1 ? "HTTP/1.1" : "HTTP/1.0",
                .remote = facts->client->address,
                .https = facts->client->tls || facts->client->https,
                .execution = facts->execution,
                .fields = fields.l,
                .n_fields = fields.n,
                .now_usec = now_realtime_usec(),
                .body = facts->body,
                .size = facts->size,
        };
        r = facts->cgi ? web_cgi_build(&q, b) : web_event_build(&q, b);
        free(fields.l);
        return fields.error < 0 ? fields.error : r;
}
