/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "web-table.h"

#include <assert.h>

/* What the routes that begin alike have in common. The most specific child comes first: since no two routes of a
 * table clash, the first match found is the narrowest. */
typedef struct Node {
        char *text; /* the literal that led here; borrowed */
        struct Node **literals; /* sorted */
        size_t n_literals;
        struct Node *name;
        const HttpTrigger *ends[_WEB_METHOD_MAX], *rests[_WEB_METHOD_MAX]; /* by method */
} Node;

struct WebTable {
        unsigned n_ref;
        HttpTrigger *triggers;
        size_t n_triggers;
        Node root;
};

/* ---- paths ---- */

static int path_add(WebPath *p, const char *s, size_t n) {
        size_t i = p->n_segments++;
        char *to = p->decoded + p->size;
        ssize_t length;

        length = web_path_decode(s, n, to);
        if (length < 0 || streq(to, ".") || streq(to, ".."))
                return -EINVAL;
        p->size += (size_t) length;
        if (i <= WEB_SEGMENTS_MAX) {
                p->starts[i] = p->size - (size_t) length;
                p->ends[i] = p->size;
        }
        return 0;
}

int web_path_parse(const char *path, WebPath *ret) {
        _cleanup_(web_path_done) WebPath p = {};
        int r;

        assert(*path == '/');
        p.decoded = malloc(strlen(path) + 1);
        if (!p.decoded)
                return -ENOMEM;
        for (const char *s = path; s;) {
                const char *next = strchr(s + 1, '/');

                p.decoded[p.size++] = '/';
                r = path_add(&p, s + 1, next ? (size_t) (next - s - 1) : strlen(s + 1));
                if (r < 0)
                        return r;
                s = next;
        }
        *ret = p;
        p = (WebPath) {};
        return 0;
}

void web_path_done(WebPath *p) {
        free(p->decoded);
        *p = (WebPath) {};
}

/* ---- the tree ---- */

static void node_done(Node *n);

static void node_free(Node *n) {
        if (n)
                node_done(n);
        free(n);
}

/* No deeper than a route has segments. */
static void node_done(Node *n) {
        for (size_t i = 0; i < n->n_literals; i++)
                node_free(n->literals[i]);
        free(n->literals);
        node_free(n->name);
}

static int compare(const Node *n, const char *s, size_t size) {
        int r = strncmp(n->text, s, size);
        return r != 0 ? r : n->text[size] != 0;
}

/* Where the literal is (1), or where it would be (0). */
static int node_position(const Node *n, const char *s, size_t size, size_t *ret) {
        size_t low = 0, high = n->n_literals;

        while (low < high) {
                size_t middle = (low + high) / 2;
                int c = compare(n->literals[middle], s, size);

                if (c == 0) {
                        *ret = middle;
                        return 1;
                }
                if (c < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        *ret = low;
        return 0;
}

static Node *node_add_literal(Node *n, char *text) {
        Node *child, **grown;
        size_t i;

        if (node_position(n, text, strlen(text), &i) > 0)
                return n->literals[i];
        grown = realloc(n->literals, (n->n_literals + 1) * sizeof(Node *));
        if (!grown)
                return NULL;
        n->literals = grown;
        child = calloc(1, sizeof(Node));
        if (!child)
                return NULL;
        child->text = text;
        memmove(grown + i + 1, grown + i, (n->n_literals - i) * sizeof(Node *));
        grown[i] = child;
        n->n_literals++;
        return child;
}

static int table_add(WebTable *t, const HttpTrigger *trigger) {
        const WebRoute *route = &trigger->route;
        Node *n = &t->root;

        for (size_t i = 0; i < route->n_segments; i++) {
                const WebSegment *s = route->segments + i;

                if (s->kind == WEB_REST) {
                        n->rests[route->method] = trigger;
                        return 0;
                }
                if (s->kind == WEB_LITERAL)
                        n = node_add_literal(n, s->text);
                else {
                        if (!n->name)
                                n->name = calloc(1, sizeof(Node));
                        n = n->name;
                }
                if (!n)
                        return -ENOMEM;
        }
        n->ends[route->method] = trigger;
        return 0;
}

int web_table_new(HttpTrigger *triggers, size_t n, WebTable **ret) {
        WebTable *t = calloc(1, sizeof(WebTable));
        int r = 0;

        if (!t) {
                http_triggers_free(triggers, n);
                return -ENOMEM;
        }
        *t = (WebTable) { .n_ref = 1, .triggers = triggers, .n_triggers = n };
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = table_add(t, triggers + i);
        if (r < 0) {
                web_table_unref(t);
                return r;
        }
        *ret = t;
        return 0;
}

WebTable *web_table_ref(WebTable *t) {
        t->n_ref++;
        return t;
}

WebTable *web_table_unref(WebTable *t) {
        if (!t || --t->n_ref > 0)
                return NULL;
        node_done(&t->root);
        http_triggers_free(t->triggers, t->n_triggers);
        free(t);
        return NULL;
}

/* ---- matching ---- */

typedef struct Search {
        const WebPath *path;
        WebMethod method;
        unsigned methods;
} Search;

/* Of the routes that end here, the one for the method. */
static const HttpTrigger *choose(Search *s, const HttpTrigger *const routes[static _WEB_METHOD_MAX]) {
        for (int i = 0; i < _WEB_METHOD_MAX; i++)
                if (routes[i])
                        s->methods |= 1U << i;
        if (s->method != _WEB_METHOD_INVALID && routes[s->method])
                return routes[s->method];
        if (s->method == WEB_HEAD && routes[WEB_GET])
                return routes[WEB_GET];
        return routes[WEB_ANY];
}

/* Each node is looked at once at most: only one way leads to it. */
static const HttpTrigger *search(Search *s, const Node *n, size_t i) {
        const WebPath *p = s->path;
        const HttpTrigger *found = NULL;
        const char *text;
        size_t size, k;

        if (i == p->n_segments)
                return choose(s, n->ends);
        if (i > WEB_SEGMENTS_MAX)
                return NULL;
        text = p->decoded + p->starts[i];
        size = p->ends[i] - p->starts[i];
        if (node_position(n, text, size, &k) > 0)
                found = search(s, n->literals[k], i + 1);
        if (!found && n->name && size > 0)
                found = search(s, n->name, i + 1);
        if (!found && p->starts[i] < p->size)
                found = choose(s, n->rests);
        return found;
}

WebMatch web_table_match(const WebTable *t, const WebPath *p, WebMethod method) {
        Search s = { .path = p, .method = method };
        WebMatch match = { .trigger = search(&s, &t->root, 0) };

        match.methods = s.methods;
        return match;
}
