/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The array `triggers` of a manifest. Timers, paths and events are kinds of later versions. */

#include <stdio.h>

#include "manifest-reader.h"

#define ORIGINS_MAX 64U
#define CORS_NAMES_MAX 32U
#define ORIGIN_SIZE_MAX 256U
#define CORS_NAME_SIZE_MAX 64U
#define TOKEN_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~"

/* ---- cors ---- */

/* "*", or scheme, host and perhaps port as browsers send them: in lower case, without a path. */
static bool origin_is_valid(const char *s) {
        static const char lower[] = "abcdefghijklmnopqrstuvwxyz0123456789";
        const char *host = strstr(s, "://"), *end;
        char allowed[64];

        if (streq(s, "*"))
                return true;
        (void) snprintf(allowed, sizeof(allowed), "%s+-.", lower);
        if (!host || host == s || strspn(s, allowed) != (size_t) (host - s))
                return false;
        host += 3;
        (void) snprintf(allowed, sizeof(allowed), *host == '[' ? "%s:[]" : "%s-._", lower);
        end = host + strspn(host, allowed);
        if (end == host)
                return false;
        if (*end != ':')
                return !*end;
        return end[1] && strlen(end + 1) <= 5 && !end[1 + strspn(end + 1, "0123456789")];
}

static bool token_is_valid(const char *s) {
        return *s && !s[strspn(s, TOKEN_CHARACTERS)];
}

static void read_strings(Reader *rd, const Place *at, json_object *value, const Key *key, void *target,
                         size_t size_max, bool (*is_valid)(const char *s), const char *expected) {
        char ***field = (char ***) ((char *) target + key->offset);
        size_t n;

        if (!json_object_is_type(value, json_type_array)) {
                reader_mismatch(rd, at, value, key->expected);
                return;
        }
        n = json_object_array_length(value);
        if (n == 0 || n > key->max) {
                reader_complain(rd, at, "found %zu strings, expected from 1 to %u", n, (unsigned) key->max);
                return;
        }
        for (size_t i = 0; i < n; i++) {
                json_object *item = json_object_array_get_idx(value, i);
                Place place = { .parent = at, .index = i };
                const char *s = reader_string(rd, &place, item, size_max, expected);

                if (s && !is_valid(s))
                        reader_mismatch(rd, &place, item, expected);
                else if (s && strv_extend(field, s) < 0)
                        rd->error = -ENOMEM;
        }
}

static void read_origins(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        read_strings(rd, at, value, key, target, ORIGIN_SIZE_MAX, origin_is_valid,
                     "\"*\" or an origin such as \"https://example.org\", in lower case and without a path");
}

static void read_tokens(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        read_strings(rd, at, value, key, target, CORS_NAME_SIZE_MAX, token_is_valid,
                     "\"*\" or the name of a method or header");
}

#define CORS(f) offsetof(WebCors, f)

static const Key cors_keys[] = {
        { "origins", read_origins, CORS(origins), .max = ORIGINS_MAX, .expected = "an array of origins", .required = true },
        { "methods", read_tokens, CORS(methods), .max = CORS_NAMES_MAX, .expected = "an array of methods" },
        { "headers", read_tokens, CORS(headers), .max = CORS_NAMES_MAX, .expected = "an array of headers" },
        { "expose_headers", read_tokens, CORS(expose_headers), .max = CORS_NAMES_MAX, .expected = "an array of headers" },
        { "max_age", read_span, CORS(max_age_usec), USEC_PER_SEC, 24 * USEC_PER_HOUR,
          "a time span from \"1s\" to \"24h\", such as \"10min\"" },
        { "credentials", read_boolean, CORS(credentials), .expected = "true or false" },
        {}
};

static void read_cors(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        HttpTrigger *t = target;
        Place credentials = { .parent = at, .key = "credentials" };

        t->cors = calloc(1, sizeof(WebCors));
        if (!t->cors) {
                rd->error = -ENOMEM;
                return;
        }
        read_object(rd, at, value, cors_keys, t->cors);
        if (t->cors->credentials && (strv_contains(t->cors->origins, "*") || strv_contains(t->cors->expose_headers, "*")))
                reader_complain(rd, &credentials, "found true beside \"*\" among the %s, expected them by name: "
                                "browsers take no \"*\" with credentials",
                                strv_contains(t->cors->origins, "*") ? "origins" : "expose_headers");
}

/* ---- triggers ---- */

static void read_route(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        HttpTrigger *t = target;
        const char *expected = key->expected;
        int r = -EINVAL;

        if (json_object_is_type(value, json_type_string))
                r = web_route_parse(json_object_get_string(value), &t->route, &expected);
        if (r == -EINVAL)
                reader_mismatch(rd, at, value, expected);
        else if (r < 0)
                rd->error = r;
}

static void read_target(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        HttpTrigger *t = target;

        if (!json_object_is_type(value, json_type_string))
                reader_mismatch(rd, at, value, key->expected);
        else if (free_and_strdup(&t->target, json_object_get_string(value)) < 0)
                rd->error = -ENOMEM;
}

static void read_async(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        if (!json_object_is_type(value, json_type_boolean))
                reader_mismatch(rd, at, value, key->expected);
        else if (json_object_get_boolean(value))
                reader_complain(rd, at, "found true, expected false: asynchronous triggers are not served by this version "
                                "of SAND");
}

static const Key trigger_keys[] = {
        { "http", read_route, .expected = WEB_ROUTE_EXPECTED, .required = true },
        { "target", read_target, .expected = "the name of a function", .required = true },
        { "async", read_async, .expected = "true or false" },
        { "cors", read_cors },
        {}
};

static void read_trigger(Reader *rd, const Place *at, json_object *value, HttpTrigger *t) {
        static const char *const later[] = { "timer", "path", "event" };

        for (size_t i = 0; i < ELEMENTSOF(later) && json_object_is_type(value, json_type_object); i++)
                if (json_object_object_get_ex(value, later[i], NULL)) {
                        Place place = { .parent = at, .key = later[i] };

                        reader_complain(rd, &place, "found a trigger of the kind \"%s\", which is not served by this "
                                        "version of SAND, expected \"http\"", later[i]);
                        return;
                }
        read_object(rd, at, value, trigger_keys, t);
}

void read_triggers(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        Manifest *m = target;
        size_t n;

        if (!json_object_is_type(value, json_type_array)) {
                reader_mismatch(rd, at, value, key->expected);
                return;
        }
        n = json_object_array_length(value);
        if (n > WEB_TRIGGERS_MAX) {
                reader_complain(rd, at, "found %zu triggers, expected at most %u", n, WEB_TRIGGERS_MAX);
                return;
        }
        m->triggers = calloc(n + 1, sizeof(HttpTrigger));
        if (!m->triggers) {
                rd->error = -ENOMEM;
                return;
        }
        m->n_triggers = n; /* one that is bad is empty */
        for (size_t i = 0; i < n; i++) {
                Place place = { .parent = at, .index = i };
                read_trigger(rd, &place, json_object_array_get_idx(value, i), m->triggers + i);
        }
}

/* Against the functions and the triggers before it. */
static void check_trigger(Reader *rd, const Place *at, const Manifest *m, size_t i) {
        const HttpTrigger *t = m->triggers + i;
        Place target = { .parent = at, .key = "target" }, http = { .parent = at, .key = "http" };

        if (t->target && m->n_functions > 0 && !manifest_find(m, t->target))
                reader_complain(rd, &target, "found \"%.64s\", expected the name of a function", t->target);
        if (!t->route.key)
                return;
        for (size_t k = 0; k < i; k++) {
                const WebRoute *other = &m->triggers[k].route;

                if (!other->key || !web_routes_clash(other, &t->route))
                        continue;
                reader_complain(rd, &http, "found \"%.256s\", which overlaps with \"%.256s\" at /triggers/%zu/http, expected "
                                "routes of which one is narrower wherever both match", t->route.key, other->key, k);
                return;
        }
}

void check_triggers(Reader *rd, const Manifest *m) {
        Place document = {}, triggers = { .parent = &document, .key = "triggers" };

        for (size_t i = 0; i < m->n_triggers; i++) {
                Place at = { .parent = &triggers, .index = i };
                check_trigger(rd, &at, m, i);
        }
}
