/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "json-span.h"

static void skip_blank(JsonMembers *m) {
        while (m->p < m->end && (*m->p == ' ' || *m->p == '\t' || *m->p == '\n' || *m->p == '\r'))
                m->p++;
}

static bool take(JsonMembers *m, char c) {
        skip_blank(m);
        if (m->p == m->end || *m->p != c)
                return false;
        m->p++;
        return true;
}

/* From its first quote to behind its last. */
static int skip_string(JsonMembers *m) {
        for (m->p++; m->p < m->end; m->p++)
                if (*m->p == '"') {
                        m->p++;
                        return 0;
                } else if (*m->p == '\\')
                        if (++m->p == m->end)
                                break;
        return -EBADMSG;
}

static int skip_value(JsonMembers *m) {
        size_t depth = 0;

        while (m->p < m->end) {
                int r = 0;

                switch (*m->p) {
                case '"':
                        r = skip_string(m);
                        break;
                case '{':
                case '[':
                        depth++;
                        m->p++;
                        break;
                case '}':
                case ']':
                        if (depth == 0)
                                return 0;
                        depth--;
                        m->p++;
                        break;
                case ',':
                        if (depth == 0)
                                return 0;
                        m->p++;
                        break;
                default:
                        m->p++;
                }
                if (r < 0)
                        return r;
        }
        return -EBADMSG; /* the object has no end */
}

int json_members_next(JsonMembers *m, JsonSpan *ret_key, JsonSpan *ret_value) {
        bool first = !m->begun;
        const char *begin;
        int r;

        if (first && !take(m, '{'))
                return -EBADMSG;
        m->begun = true;
        if (take(m, '}')) {
                skip_blank(m);
                return m->p == m->end ? 0 : -EBADMSG;
        }
        if (!first && !take(m, ','))
                return -EBADMSG;
        skip_blank(m);
        if (m->p == m->end || *m->p != '"')
                return -EBADMSG;
        begin = m->p;
        r = skip_string(m);
        if (r < 0)
                return r;
        *ret_key = (JsonSpan) { begin + 1, (size_t) (m->p - begin) - 2 };
        if (!take(m, ':'))
                return -EBADMSG;
        skip_blank(m);
        begin = m->p;
        r = skip_value(m);
        if (r < 0)
                return r;
        *ret_value = (JsonSpan) { begin, (size_t) (m->p - begin) };
        while (ret_value->n > 0 && strchr(" \t\r\n", begin[ret_value->n - 1]))
                ret_value->n--;
        return ret_value->n > 0 ? 1 : -EBADMSG;
}

bool json_span_equals(JsonSpan s, const char *text) {
        return s.n == strlen(text) && memcmp(s.p, text, s.n) == 0;
}

int json_span_string(JsonSpan s, char *ret, size_t size) {
        if (s.n < 2 || s.p[0] != '"' || s.p[s.n - 1] != '"' || s.n - 2 >= size || memchr(s.p, '\\', s.n) || memchr(s.p, 0, s.n))
                return -EBADMSG;
        memcpy(ret, s.p + 1, s.n - 2);
        ret[s.n - 2] = 0;
        return 0;
}

int json_span_number(JsonSpan s, uint64_t *ret) {
        uint64_t n = 0;

        for (size_t i = 0; i < s.n; i++)
                if (s.p[i] < '0' || s.p[i] > '9' || __builtin_mul_overflow(n, 10, &n) ||
                    __builtin_add_overflow(n, (uint64_t) (s.p[i] - '0'), &n))
                        return -EBADMSG;
        if (s.n == 0)
                return -EBADMSG;
        *ret = n;
        return 0;
}
