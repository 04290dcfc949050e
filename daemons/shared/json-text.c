/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "json-text.h"

#include <assert.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>

#include "text.h"

#define NONE UINT32_MAX

/* A value and where it is. Children are in the text's order. */
typedef struct Node {
        uint32_t first_child, next;
        uint32_t line;
        uint32_t key, key_length; /* in the text, between the quotes, as written; key NONE: no key */
        char *unescaped;          /* the key, where it was written with escapes */
        bool object;
} Node;

struct JsonText {
        char *text; /* our copy; comments are blanks in it */
        size_t size;
        Node *nodes; /* the first is the document */
        uint32_t n_nodes;
        json_object *root;
};

typedef struct Scanner {
        JsonText *t;
        const char *file;
        Problems *problems;
        char *p, *end, *line_start;
        unsigned line, depth;
        bool duplicates;
} Scanner;

static int syntax_error(Scanner *s, const char *expected) {
        char found[32];
        unsigned column = 1;
        size_t l;
        int r;

        for (const char *p = s->line_start; p < s->p; p++)
                column += ((uint8_t) *p & 0xC0) != 0x80;

        l = utf8_char_length(s->p, (size_t) (s->end - s->p));
        if (s->p == s->end)
                (void) snprintf(found, sizeof(found), "the end of the file");
        else if (l == 0)
                (void) snprintf(found, sizeof(found), "byte 0x%02x", (uint8_t) *s->p);
        else if (l == 1 && !isprint((uint8_t) *s->p))
                (void) snprintf(found, sizeof(found), *s->p == '\n' ? "the end of the line" : "control character 0x%02x",
                                (uint8_t) *s->p);
        else
                (void) snprintf(found, sizeof(found), "'%.*s'", (int) l, s->p);

        r = problems_add_at(s->problems, s->file, s->line, column, "found %s, expected %s", found, expected);
        return r < 0 ? r : -EBADMSG;
}

static void skip_blank(Scanner *s) {
        for (; s->p < s->end; s->p++)
                if (*s->p == '\n') {
                        s->line++;
                        s->line_start = s->p + 1;
                } else if (s->p + 1 < s->end && s->p[0] == '/' && s->p[1] == '/') {
                        while (s->p < s->end && *s->p != '\n')
                                *s->p++ = ' ';
                        s->p--;
                } else if (*s->p != ' ' && *s->p != '\t' && *s->p != '\r')
                        return;
}

static int scan_escape(Scanner *s) {
        unsigned code = 0;

        s->p++;
        if (s->p == s->end)
                return syntax_error(s, "the rest of a string");
        if (*s->p != 'u') {
                if (!strchr("\"\\/bfnrt", *s->p) || !*s->p)
                        return syntax_error(s, "one of \" \\ / b f n r t u after the backslash");
                s->p++;
                return 0;
        }
        s->p++;
        for (unsigned i = 0; i < 4; i++, s->p++) {
                if (s->p == s->end || !isxdigit((uint8_t) *s->p))
                        return syntax_error(s, "four hexadecimal digits after \\u");
                code = code << 4 | (unsigned) (isdigit((uint8_t) *s->p) ? *s->p - '0' : (*s->p | 32) - 'a' + 10);
        }
        if (code == 0) {
                s->p -= 6;
                return syntax_error(s, "no \\u0000: a string may not contain NUL");
        }
        return 0;
}

/* From the opening quote to behind the closing one. */
static int scan_string(Scanner *s, bool *ret_escapes) {
        *ret_escapes = false;
        s->p++;
        for (;;) {
                size_t l;

                if (s->p == s->end)
                        return syntax_error(s, "the closing quote of a string");
                if (*s->p == '"') {
                        s->p++;
                        return 0;
                }
                if (*s->p == '\\') {
                        int r = scan_escape(s);
                        if (r < 0)
                                return r;
                        *ret_escapes = true;
                        continue;
                }
                if ((uint8_t) *s->p < 0x20)
                        return syntax_error(s, "the closing quote of a string; control characters are written "
                                               "as escapes such as \\n");
                l = utf8_char_length(s->p, (size_t) (s->end - s->p));
                if (l == 0)
                        return syntax_error(s, "UTF-8");
                s->p += l;
        }
}

static int scan_digits(Scanner *s) {
        if (s->p == s->end || !isdigit((uint8_t) *s->p))
                return syntax_error(s, "a digit");
        while (s->p < s->end && isdigit((uint8_t) *s->p))
                s->p++;
        return 0;
}

static int scan_number(Scanner *s) {
        int r = 0;

        if (*s->p == '-')
                s->p++;
        if (s->p < s->end && *s->p == '0') {
                s->p++;
                if (s->p < s->end && isdigit((uint8_t) *s->p))
                        return syntax_error(s, "no digit after a leading 0");
        } else
                r = scan_digits(s);
        if (r >= 0 && s->p < s->end && *s->p == '.') {
                s->p++;
                r = scan_digits(s);
        }
        if (r >= 0 && s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
                s->p++;
                if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
                        s->p++;
                r = scan_digits(s);
        }
        return r;
}

static int scan_word(Scanner *s) {
        static const char *const words[] = { "true", "false", "null" };
        size_t left = (size_t) (s->end - s->p);

        for (size_t i = 0; i < ELEMENTSOF(words); i++) {
                size_t l = strlen(words[i]);
                if (left >= l && memcmp(s->p, words[i], l) == 0) {
                        s->p += l;
                        return 0;
                }
        }
        return syntax_error(s, "a value: an object, an array, a string in double quotes, a number, "
                               "true, false or null");
}

static int new_node(Scanner *s, uint32_t *ret) {
        JsonText *t = s->t;

        if (t->n_nodes % 64 == 0) {
                Node *grown = realloc(t->nodes, (t->n_nodes + 64) * sizeof(Node));
                if (!grown)
                        return -ENOMEM;
                t->nodes = grown;
        }
        if (t->n_nodes >= JSON_TEXT_VALUES_MAX)
                return syntax_error(s, "no more than 65536 values");
        t->nodes[t->n_nodes] = (Node) { .first_child = NONE, .next = NONE, .key = NONE, .line = s->line };
        *ret = t->n_nodes++;
        return 0;
}

/* json-c undoes the escapes of a key: `raw` includes its quotes. */
static int unescape(const char *raw, size_t size, char **ret) {
        _cleanup_(freep) char *text = strndup(raw, size);
        json_object *o;
        char *copy;

        if (!text)
                return -ENOMEM;
        o = json_tokener_parse(text);
        if (!json_object_is_type(o, json_type_string)) {
                (void) json_object_put(o);
                return -ENOMEM; /* it was scanned: a string it is */
        }
        copy = strdup(json_object_get_string(o));
        (void) json_object_put(o);
        if (!copy)
                return -ENOMEM;
        *ret = copy;
        return 0;
}

static int scan_key(Scanner *s, uint32_t node) {
        char *start = s->p;
        Node *n = s->t->nodes + node;
        bool escapes;
        int r;

        if (s->p == s->end || *s->p != '"')
                return syntax_error(s, "a key in double quotes");
        r = scan_string(s, &escapes);
        if (r < 0)
                return r;
        n->key = (uint32_t) (start + 1 - s->t->text);
        n->key_length = (uint32_t) (s->p - start - 2);
        if (escapes) {
                r = unescape(start, (size_t) (s->p - start), &n->unescaped);
                if (r < 0)
                        return r;
        }
        skip_blank(s);
        if (s->p == s->end || *s->p != ':')
                return syntax_error(s, "':' after a key");
        s->p++;
        skip_blank(s);
        return 0;
}

static const char *node_key(const JsonText *t, const Node *n, size_t *ret_length) {
        *ret_length = n->unescaped ? strlen(n->unescaped) : n->key_length;
        return n->unescaped ?: t->text + n->key;
}

static int compare_keys(const void *a, const void *b, void *userdata) {
        const JsonText *t = userdata;
        const Node *x = t->nodes + *(const uint32_t *) a, *y = t->nodes + *(const uint32_t *) b;
        size_t lx, ly;
        const char *kx = node_key(t, x, &lx), *ky = node_key(t, y, &ly);
        int c = memcmp(kx, ky, MIN(lx, ly));

        /* equal keys stay in the text's order: the later one is the one to complain about */
        return c ?: lx < ly ? -1 : lx > ly ? 1 : x < y ? -1 : x > y;
}

static int check_duplicates(Scanner *s, uint32_t object) {
        _cleanup_(freep) uint32_t *children = NULL;
        JsonText *t = s->t;
        uint32_t n = 0;

        for (uint32_t i = t->nodes[object].first_child; i != NONE; i = t->nodes[i].next)
                n++;
        if (n < 2)
                return 0;
        children = malloc(n * sizeof(uint32_t));
        if (!children)
                return -ENOMEM;
        n = 0;
        for (uint32_t i = t->nodes[object].first_child; i != NONE; i = t->nodes[i].next)
                children[n++] = i;
        qsort_r(children, n, sizeof(uint32_t), compare_keys, t);

        for (uint32_t i = 1; i < n; i++) {
                const Node *a = t->nodes + children[i - 1], *b = t->nodes + children[i];
                size_t la, lb;
                const char *ka = node_key(t, a, &la), *kb = node_key(t, b, &lb);

                if (la != lb || memcmp(ka, kb, la) != 0)
                        continue;
                s->duplicates = true;
                if (problems_add(s->problems, s->file, NULL, b->line,
                                 "found the key \"%.*s\" a second time, expected it once: it is on line %u already",
                                 (int) MIN(lb, (size_t) 64), kb, a->line) < 0)
                        return -ENOMEM;
        }
        return 0;
}

static int scan_value(Scanner *s, uint32_t node);

/* The members of an object or the elements of an array, from behind the opening bracket. */
static int scan_members(Scanner *s, uint32_t parent, char close) {
        bool object = close == '}';
        uint32_t previous = NONE, child;
        int r;

        skip_blank(s);
        if (s->p < s->end && *s->p == close) {
                s->p++;
                return 0;
        }
        for (;;) {
                r = new_node(s, &child);
                if (r < 0)
                        return r;
                if (previous == NONE)
                        s->t->nodes[parent].first_child = child;
                else
                        s->t->nodes[previous].next = child;
                previous = child;

                r = object ? scan_key(s, child) : 0;
                if (r < 0)
                        return r;
                r = scan_value(s, child);
                if (r < 0)
                        return r;

                skip_blank(s);
                if (s->p < s->end && *s->p == close) {
                        s->p++;
                        return object ? check_duplicates(s, parent) : 0;
                }
                if (s->p == s->end || *s->p != ',')
                        return syntax_error(s, object ? "',' or '}'" : "',' or ']'");
                s->p++;
                skip_blank(s);
        }
}

static int scan_value(Scanner *s, uint32_t node) {
        bool escapes;
        int r;

        if (s->p == s->end)
                return scan_word(s);
        switch (*s->p) {
        case '{':
        case '[':
                if (s->depth >= JSON_TEXT_DEPTH_MAX)
                        return syntax_error(s, "no more than 32 levels of objects and arrays");
                s->t->nodes[node].object = *s->p == '{';
                s->depth++;
                r = scan_members(s, node, *s->p++ == '{' ? '}' : ']');
                s->depth--;
                return r;
        case '"':
                return scan_string(s, &escapes);
        case '-':
        case '0' ... '9':
                return scan_number(s);
        default:
                return scan_word(s);
        }
}

static int scan_document(Scanner *s) {
        uint32_t root;
        int r;

        skip_blank(s);
        r = new_node(s, &root);
        if (r < 0)
                return r;
        r = scan_value(s, root);
        if (r < 0)
                return r;
        skip_blank(s);
        if (s->p < s->end)
                return syntax_error(s, "nothing after the document");
        return s->duplicates ? -EBADMSG : 0;
}

static int build_tree(Scanner *s) {
        JsonText *t = s->t;
        struct json_tokener *tokener;
        enum json_tokener_error error;
        int r;

        tokener = json_tokener_new_ex(JSON_TEXT_DEPTH_MAX + 1);
        if (!tokener)
                return -ENOMEM;
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
        /* with the NUL: a number at the very end is complete only then */
        t->root = json_tokener_parse_ex(tokener, t->text, (int) t->size + 1);
        error = json_tokener_get_error(tokener);
        json_tokener_free(tokener);
        if (error == json_tokener_success)
                return 0;
        r = problems_add(s->problems, s->file, NULL, 0, "not JSON: %s", json_tokener_error_desc(error));
        return r < 0 ? r : -EBADMSG;
}

int json_text_parse(const char *file, const char *text, size_t size, Problems *problems, JsonText **ret) {
        _cleanup_(json_text_freep) JsonText *t = NULL;
        Scanner s;
        int r;

        assert(file);
        assert(text || size == 0);
        assert(problems);
        assert(ret);

        if (size > JSON_TEXT_SIZE_MAX) {
                r = problems_add(problems, file, NULL, 0, "found %zu bytes, expected at most %u", size,
                                 JSON_TEXT_SIZE_MAX);
                return r < 0 ? r : -EBADMSG;
        }
        t = calloc(1, sizeof(JsonText));
        if (!t)
                return -ENOMEM;
        t->text = malloc(size + 1);
        if (!t->text)
                return -ENOMEM;
        if (size > 0)
                memcpy(t->text, text, size);
        t->text[size] = '\0';
        t->size = size;

        s = (Scanner) { .t = t, .file = file, .problems = problems, .p = t->text, .end = t->text + size,
                        .line_start = t->text, .line = 1 };
        r = scan_document(&s);
        if (r < 0)
                return r;
        r = build_tree(&s);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(t);
        return 0;
}

JsonText *json_text_free(JsonText *t) {
        if (!t)
                return NULL;
        (void) json_object_put(t->root);
        for (uint32_t i = 0; i < t->n_nodes; i++)
                free(t->nodes[i].unescaped);
        free(t->nodes);
        free(t->text);
        free(t);
        return NULL;
}

json_object *json_text_root(const JsonText *t) {
        return t->root;
}

/* Whether the pointer's first token (up to '/' or its end) is `key`: "~0" is '~', "~1" is '/'. */
static bool token_is(const char *token, const char *key, size_t length) {
        size_t i = 0;

        for (; *token && *token != '/'; token++, i++) {
                char c = *token;
                if (c == '~' && (token[1] == '0' || token[1] == '1'))
                        c = *++token == '0' ? '~' : '/';
                if (i >= length || key[i] != c)
                        return false;
        }
        return i == length;
}

static uint32_t find_child(const JsonText *t, const Node *parent, const char *token) {
        unsigned long index = strtoul(token, NULL, 10), n = 0;

        for (uint32_t i = parent->first_child; i != NONE; i = t->nodes[i].next, n++) {
                size_t l;
                const char *key;

                if (!parent->object) {
                        if (n == index)
                                return i;
                        continue;
                }
                key = node_key(t, t->nodes + i, &l);
                if (token_is(token, key, l))
                        return i;
        }
        return NONE;
}

/* The value at a pointer, or the nearest that is above it. */
static const Node *find(const JsonText *t, const char *pointer, bool *ret_there) {
        const Node *node = t->nodes;

        while (*pointer == '/') {
                uint32_t child = find_child(t, node, ++pointer);
                if (child == NONE)
                        break;
                node = t->nodes + child;
                pointer += strcspn(pointer, "/");
        }
        *ret_there = !*pointer;
        return node;
}

unsigned json_text_line(const JsonText *t, const char *pointer) {
        bool there;

        return find(t, pointer, &there)->line;
}

bool json_text_has(const JsonText *t, const char *pointer) {
        bool there;

        (void) find(t, pointer, &there);
        return there;
}
