/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The array `triggers` of a manifest: four kinds, of which each has an array of its own in it. */

#include <inttypes.h>
#include <stdio.h>

#include "manifest-reader.h"
#include "mount-path.h"
#include "protocol.h"

#define ORIGINS_MAX 64U
#define CORS_NAMES_MAX 32U
#define ORIGIN_SIZE_MAX 256U
#define CORS_NAME_SIZE_MAX 64U
#define CALENDAR_SIZE_MAX 128U
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

/* ---- their keys ---- */

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

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

/* A string that passes `is_valid`, if there is one. */
static void read_text(Reader *rd, const Place *at, json_object *value, const Key *key, void *target,
                      bool (*is_valid)(const char *s)) {
        const char *s = json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;

        if (!s || (is_valid && !is_valid(s)))
                reader_mismatch(rd, at, value, key->expected);
        else if (free_and_strdup((char **) ((char *) target + key->offset), s) < 0)
                rd->error = -ENOMEM;
}

static void read_target(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        read_text(rd, at, value, key, target, NULL);
}

/* What passes is one word of a line of a unit; whether it is a calendar expression is systemd's to say, which knows the
 * host's time zones. */
static bool calendar_is_valid(const char *s) {
        size_t l = strlen(s);

        return l > 0 && l <= CALENDAR_SIZE_MAX && strchr(LETTERS DIGITS "*", *s) && s[l - 1] != ' ' &&
                !s[strspn(s, LETTERS DIGITS " *,-./:_~+")];
}

static void read_calendar(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        TimerTrigger *t = target;

        reader_source(rd, at, &t->file, &t->line);
        read_text(rd, at, value, key, target, calendar_is_valid);
}

static void read_path(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        read_text(rd, at, value, key, target, mount_path_is_valid);
}

static bool pattern_is_valid(const char *s) {
        size_t l = strlen(s);

        return l > 0 && l <= SAND_TOPIC_SIZE_MAX && !s[strspn(s, SAND_TOPIC_CHARACTERS "*")];
}

static void read_pattern(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        read_text(rd, at, value, key, target, pattern_is_valid);
}

static void read_input(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        const char *s = json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);

        if (!s || free_and_strdup(&((TimerTrigger *) target)->input, s) < 0)
                rd->error = -ENOMEM;
}

#define TARGET_EXPECTED "the name of a function"
#define BOOLEAN_EXPECTED "true or false"

static const Key http_keys[] = {
        { "http", read_route, .expected = WEB_ROUTE_EXPECTED, .required = true },
        { "target", read_target, offsetof(HttpTrigger, target), .expected = TARGET_EXPECTED, .required = true },
        { "async", read_boolean, offsetof(HttpTrigger, async), .expected = BOOLEAN_EXPECTED },
        { "cors", read_cors },
        {}
};

static const Key timer_keys[] = {
        { "timer", read_calendar, offsetof(TimerTrigger, calendar), .required = true,
          .expected = "a calendar expression as in systemd.time(7), such as \"daily\" or \"Mon..Fri 02:30\", of at most 128 bytes" },
        { "target", read_target, offsetof(TimerTrigger, target), .expected = TARGET_EXPECTED, .required = true },
        { "input", read_input },
        { "persistent", read_boolean, offsetof(TimerTrigger, persistent), .expected = BOOLEAN_EXPECTED },
        { "jitter", read_span, offsetof(TimerTrigger, jitter_usec), 0, 24 * USEC_PER_HOUR,
          "a time span from \"0\" to \"24h\", such as \"30s\"" },
        { "overlap", read_boolean, offsetof(TimerTrigger, overlap), .expected = BOOLEAN_EXPECTED },
        {}
};

static const Key path_keys[] = {
        { "path", read_path, offsetof(PathTrigger, path), .expected = MOUNT_PATH_EXPECTED, .required = true },
        { "target", read_target, offsetof(PathTrigger, target), .expected = TARGET_EXPECTED, .required = true },
        {}
};

static const Key topic_keys[] = {
        { "event", read_pattern, offsetof(TopicTrigger, pattern), .required = true,
          .expected = "1 to 128 letters, digits, ., _, - or *, such as \"orders.*\"" },
        { "target", read_target, offsetof(TopicTrigger, target), .expected = TARGET_EXPECTED, .required = true },
        {}
};

/* ---- their kinds ---- */

/* Where a kind is in a Manifest, and what all kinds have in common in one of it. */
typedef struct Kind {
        const Key *keys; /* the first names it */
        size_t items, n, size, target, index;
} Kind;

#define KIND(k, array, count, type)                                                                                  \
        { k, offsetof(Manifest, array), offsetof(Manifest, count), sizeof(type), offsetof(type, target), offsetof(type, index) }

static const Kind kinds[] = {
        KIND(http_keys, triggers, n_triggers, HttpTrigger),
        KIND(timer_keys, timers, n_timers, TimerTrigger),
        KIND(path_keys, paths, n_paths, PathTrigger),
        KIND(topic_keys, topics, n_topics, TopicTrigger),
};

static char **kind_items(const Kind *k, const Manifest *m) {
        return (char **) ((char *) m + k->items);
}

static size_t *kind_count(const Kind *k, const Manifest *m) {
        return (size_t *) ((char *) m + k->n);
}

static const Kind *kind_of(json_object *value) {
        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                if (json_object_object_get_ex(value, kinds[i].keys->name, NULL))
                        return kinds + i;
        return NULL;
}

/* One that is bad is empty, or has some of its values. */
static void read_trigger(Reader *rd, const Place *at, json_object *value, Manifest *m) {
        const Kind *kind;
        char *item;

        if (!json_object_is_type(value, json_type_object)) {
                reader_mismatch(rd, at, value, "an object");
                return;
        }
        kind = kind_of(value);
        if (!kind) {
                reader_complain(rd, at, "found a trigger of no kind, expected one of the keys \"http\", \"timer\", \"path\" "
                                "and \"event\"");
                return;
        }
        item = *kind_items(kind, m) + kind->size * (*kind_count(kind, m))++;
        *(size_t *) (item + kind->index) = at->index;
        if (kind->keys == timer_keys)
                ((TimerTrigger *) item)->overlap = true;
        read_object(rd, at, value, kind->keys, item);
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
        for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
                char **items = kind_items(kinds + i, m);

                *items = calloc(n + 1, kinds[i].size);
                if (!*items) {
                        rd->error = -ENOMEM;
                        return;
                }
        }
        for (size_t i = 0; i < n; i++) {
                Place place = { .parent = at, .index = i };
                read_trigger(rd, &place, json_object_array_get_idx(value, i), m);
        }
}

/* ---- what holds between them, functions and mounts ---- */

static void check_target(Reader *rd, const Place *at, const Manifest *m, const char *target) {
        Place place = { .parent = at, .key = "target" };

        if (target && m->n_functions > 0 && !manifest_find(m, target))
                reader_complain(rd, &place, "found \"%.64s\", expected the name of a function", target);
}

/* Against those before it. */
static void check_route(Reader *rd, const Place *triggers, const Manifest *m, const HttpTrigger *t) {
        Place trigger = { .parent = triggers, .index = t->index }, at = { .parent = &trigger, .key = "http" };

        for (const HttpTrigger *other = m->triggers; t->route.key && other < t; other++) {
                if (!other->route.key || !web_routes_clash(&other->route, &t->route))
                        continue;
                reader_complain(rd, &at, "found \"%.256s\", which overlaps with \"%.256s\" at /triggers/%zu/http, expected "
                                "routes of which one is narrower wherever both match", t->route.key, other->route.key, other->index);
                return;
        }
}

static void check_input(Reader *rd, const Place *triggers, const Manifest *m, const TimerTrigger *t) {
        Place trigger = { .parent = triggers, .index = t->index }, at = { .parent = &trigger, .key = "input" };
        const FunctionSpec *f = t->target ? manifest_find(m, t->target) : NULL;

        if (t->input && f && strlen(t->input) > f->payload_max)
                reader_complain(rd, &at, "found %zu bytes, expected no more than the function's payload_max, %" PRIu64,
                                strlen(t->input), f->payload_max);
}

static void resolve_path(Reader *rd, const Place *triggers, const Manifest *m, PathTrigger *t) {
        Place trigger = { .parent = triggers, .index = t->index }, at = { .parent = &trigger, .key = "path" };

        if (!t->path)
                return;
        for (size_t i = 0; i < m->n_mounts; i++) {
                const MountSpec *mount = m->mounts + i;

                if (!mount->at || !mount_path_within(t->path, mount->at))
                        continue;
                if (mount->host && asprintf(&t->host, "%s%s", mount->host, t->path + strlen(mount->at)) < 0) {
                        t->host = NULL;
                        rd->error = -ENOMEM;
                }
                return;
        }
        reader_complain(rd, &at, "found \"%.256s\", expected a path at or below \"at\" of one of the mounts", t->path);
}

void check_triggers(Reader *rd, const Manifest *m) {
        Place document = {}, triggers = { .parent = &document, .key = "triggers" };

        for (const Kind *k = kinds; k < kinds + ELEMENTSOF(kinds); k++)
                for (size_t i = 0; i < *kind_count(k, m); i++) {
                        char *item = *kind_items(k, m) + i * k->size;
                        Place at = { .parent = &triggers, .index = *(size_t *) (item + k->index) };

                        check_target(rd, &at, m, *(char **) (item + k->target));
                }
        for (size_t i = 0; i < m->n_triggers; i++)
                check_route(rd, &triggers, m, m->triggers + i);
        for (size_t i = 0; i < m->n_timers; i++)
                check_input(rd, &triggers, m, m->timers + i);
        for (size_t i = 0; i < m->n_paths; i++)
                resolve_path(rd, &triggers, m, m->paths + i);
}

void topic_triggers_free(TopicTrigger *l, size_t n) {
        for (size_t i = 0; i < n; i++) {
                free(l[i].pattern);
                free(l[i].target);
        }
        free(l);
}

void triggers_done(Manifest *m) {
        http_triggers_free(m->triggers, m->n_triggers);
        for (size_t i = 0; i < m->n_timers; i++) {
                free(m->timers[i].calendar);
                free(m->timers[i].target);
                free(m->timers[i].input);
                free(m->timers[i].file);
        }
        free(m->timers);
        for (size_t i = 0; i < m->n_paths; i++) {
                free(m->paths[i].path);
                free(m->paths[i].host);
                free(m->paths[i].target);
        }
        free(m->paths);
        topic_triggers_free(m->topics, m->n_topics);
}
