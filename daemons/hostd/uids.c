/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "uids.h"

#include <ctype.h>
#include <stdio.h>

#include "protocol.h"

int uid_ranges_add(UidRanges *l, uint32_t start, uint64_t size) {
        UidRange *grown = reallocarray(l->items, l->n + 1, sizeof(UidRange));

        if (!grown)
                return -ENOMEM;
        l->items = grown;
        l->items[l->n++] = (UidRange) { start, size };
        return 0;
}

void uid_ranges_done(UidRanges *l) {
        free(l->items);
        *l = (UidRanges) {};
}

/* Digits only, so that "-1" and " 1" are none; leaves *s behind them. */
static int parse_number(const char **s, uint64_t max, uint64_t *ret) {
        uint64_t v = 0;

        if (!isdigit((unsigned char) **s))
                return -EINVAL;
        for (; isdigit((unsigned char) **s); (*s)++) {
                v = v * 10 + (uint64_t) (**s - '0');
                if (v > max)
                        return -ERANGE;
        }
        *ret = v;
        return 0;
}

static int add_subid_line(UidRanges *l, const char *line) {
        const char *s = strchr(line, ':');
        uint64_t start, size;

        if (line[0] == '#' || !s++)
                return 0;
        if (parse_number(&s, UINT32_MAX, &start) < 0 || *s++ != ':' ||
            parse_number(&s, UINT32_MAX, &size) < 0 || *s)
                return 0;
        return uid_ranges_add(l, (uint32_t) start, size);
}

int uid_ranges_add_subids(UidRanges *l, const char *text) {
        _cleanup_(freep) char *copy = strdup(text);
        char *state = NULL;

        if (!copy)
                return -ENOMEM;
        for (char *line = strtok_r(copy, "\n", &state); line; line = strtok_r(NULL, "\n", &state)) {
                int r = add_subid_line(l, line);
                if (r < 0)
                        return r;
        }
        return 0;
}

static bool overlaps(const UidRange *r, uint32_t base) {
        return r->size > 0 && r->start < (uint64_t) base + UID_RANGE_SIZE && base < r->start + r->size;
}

int uid_ranges_find_free(const UidRanges *l, uint32_t *ret_base) {
        for (uint32_t base = UID_RANGE_FIRST; base <= UID_RANGE_LAST; base += UID_RANGE_SIZE) {
                bool taken = false;

                for (size_t i = 0; i < l->n && !taken; i++)
                        taken = overlaps(l->items + i, base);
                if (!taken) {
                        *ret_base = base;
                        return 0;
                }
        }
        return -ENOSPC;
}

bool uid_base_is_valid(uint32_t base) {
        return base >= UID_RANGE_FIRST && base <= UID_RANGE_LAST && base % UID_RANGE_SIZE == 0;
}

int uid_base_parse(const char *s, uint32_t *ret) {
        uint64_t v;
        int r = parse_number(&s, UINT32_MAX, &v);

        if (r < 0)
                return r;
        if (*s == '\n')
                s++;
        if (*s || !uid_base_is_valid((uint32_t) v))
                return -EINVAL;
        *ret = (uint32_t) v;
        return 0;
}

static void json_object_putp(json_object **o) {
        if (*o)
                json_object_put(*o);
}

static int parse_uids(const char *text, json_object **ret, json_object **ret_functions) {
        _cleanup_(json_object_putp) json_object *o = json_tokener_parse(text);
        json_object *functions;

        if (!json_object_is_type(o, json_type_object) ||
            !json_object_object_get_ex(o, "functions", &functions) ||
            !json_object_is_type(functions, json_type_object))
                return -EBADMSG;
        json_object_object_foreach(functions, name, value) {
                int64_t uid = json_object_get_int64(value);
                if (!function_name_is_valid(name) || !json_object_is_type(value, json_type_int) ||
                    uid < SAND_FUNCTION_UID_FIRST || uid > SAND_FUNCTION_UID_LAST)
                        return -EBADMSG;
        }
        *ret = TAKE_PTR(o);
        *ret_functions = functions;
        return 0;
}

static int new_uids(json_object **ret, json_object **ret_functions) {
        _cleanup_(json_object_putp) json_object *o = json_object_new_object();
        json_object *functions = json_object_new_object();

        if (!o || !functions || json_object_object_add(o, "functions", functions) < 0) {
                json_object_put(functions);
                return -ENOMEM;
        }
        *ret = TAKE_PTR(o);
        *ret_functions = functions;
        return 0;
}

int function_uids_update(const char *old, const Manifest *m, char **ret) {
        _cleanup_(json_object_putp) json_object *o = NULL;
        int64_t next = SAND_FUNCTION_UID_FIRST;
        json_object *functions;
        int r;

        r = old ? parse_uids(old, &o, &functions) : new_uids(&o, &functions);
        if (r < 0)
                return r;
        json_object_object_foreach(functions, known, value) {
                (void) known;
                next = MAX(next, json_object_get_int64(value) + 1);
        }
        for (size_t i = 0; i < m->n_functions; i++) {
                if (json_object_object_get_ex(functions, m->functions[i].name, NULL))
                        continue;
                if (next > SAND_FUNCTION_UID_LAST)
                        return -ENOSPC;
                json_object *uid = json_object_new_int64(next++);
                if (!uid || json_object_object_add(functions, m->functions[i].name, uid) < 0) {
                        json_object_put(uid);
                        return -ENOMEM;
                }
        }
        if (asprintf(ret, "%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN)) < 0)
                return -ENOMEM;
        return 0;
}

int function_uids_foreach(const char *text, int (*callback)(const char *name, unsigned uid, void *userdata),
                          void *userdata) {
        _cleanup_(json_object_putp) json_object *o = NULL;
        json_object *functions;
        int r;

        r = parse_uids(text, &o, &functions);
        if (r < 0)
                return r;
        json_object_object_foreach(functions, name, value) {
                r = callback(name, (unsigned) json_object_get_int64(value), userdata);
                if (r < 0)
                        return r;
        }
        return 0;
}
