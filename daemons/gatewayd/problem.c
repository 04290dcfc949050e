/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "problem.h"

#include <assert.h>
#include <json-c/json.h>
#include <stdio.h>

#include "macro.h"
#include "text.h"

static const char *const titles[_SAND_ERROR_MAX] = {
        [SAND_ERROR_USAGE]           = "The command line is wrong",
        [SAND_ERROR_BAD_REQUEST]     = "The request is not understood",
        [SAND_ERROR_TOO_LARGE]       = "The payload is too large",
        [SAND_ERROR_INVALID_BUNDLE]  = "The bundle is refused",
        [SAND_ERROR_DENIED]          = "The caller may not do this",
        [SAND_ERROR_NOT_FOUND]       = "There is no such thing",
        [SAND_ERROR_BUSY]            = "Too many events wait",
        [SAND_ERROR_FUNCTION_FAILED] = "The function failed",
        [SAND_ERROR_CRASHED]         = "The function's process died",
        [SAND_ERROR_OUT_OF_MEMORY]   = "The function ran out of memory",
        [SAND_ERROR_LOAD_FAILED]     = "The function could not be loaded",
        [SAND_ERROR_UNAVAILABLE]     = "The application is not available",
        [SAND_ERROR_TIMEOUT]         = "The function took too long",
};

unsigned problem_status(const Problem9457 *p) {
        return p->status ?: sand_error_info(p->kind)->http_status ?: 500;
}

/* What a machine says is valid UTF-8 (wire.h), what is quoted of a client need not be. */
static json_object *text_to_json(const char *s) {
        size_t n = strlen(s), l;
        json_object *o;
        char *copy;

        copy = strdup(s);
        if (!copy)
                return NULL;
        for (size_t i = 0; i < n; i += l) {
                l = utf8_char_length(copy + i, n - i);
                if (l == 0) {
                        copy[i] = '?';
                        l = 1;
                }
        }
        o = json_object_new_string_len(copy, (int) n);
        free(copy);
        return o;
}

static int add(json_object *o, const char *key, json_object *value) {
        if (!value)
                return -ENOMEM;
        if (json_object_object_add_ex(o, key, value, JSON_C_OBJECT_ADD_KEY_IS_NEW |
                                      JSON_C_OBJECT_ADD_CONSTANT_KEY) < 0) {
                json_object_put(value);
                return -ENOMEM;
        }
        return 0;
}

static int add_text(json_object *o, const char *key, const char *value) {
        return value ? add(o, key, text_to_json(value)) : 0;
}

static int fill(json_object *o, const Problem9457 *p) {
        const SandErrorInfo *info = sand_error_info(p->kind);
        char type[64];
        int r;

        (void) snprintf(type, sizeof(type), SAND_ERROR_URN_PREFIX "%s", info->name);
        r = add_text(o, "type", type);
        if (r >= 0)
                r = add_text(o, "title", titles[p->kind]);
        if (r >= 0)
                r = add(o, "status", json_object_new_int((int) problem_status(p)));
        if (r >= 0)
                r = add_text(o, "detail", p->detail);
        if (r >= 0)
                r = add_text(o, "error", p->error ?: info->name);
        if (r >= 0)
                r = add_text(o, "cause", p->cause);
        if (r >= 0)
                r = add_text(o, "execution", p->execution);
        return r;
}

char *problem_to_json(const Problem9457 *p) {
        json_object *o;
        const char *text;
        char *line = NULL;

        assert(p->kind >= 0 && p->kind < _SAND_ERROR_MAX);
        o = json_object_new_object();
        if (!o)
                return NULL;
        if (fill(o, p) >= 0) {
                text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
                if (text && asprintf(&line, "%s\n", text) < 0)
                        line = NULL;
        }
        json_object_put(o);
        return line;
}
