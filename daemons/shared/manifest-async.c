/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a manifest says of asynchronous events: how often they are tried, where their outcome goes, and which other
 * applications may cause some. */

#include "manifest-reader.h"

#define RETRY(f) offsetof(RetryPolicy, f)
#define DELAY_MAX (24 * USEC_PER_HOUR)
#define AGE_MAX (30 * 24 * USEC_PER_HOUR)
#define BACKOFF_MAX 100

static void read_factor(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        bool number = json_object_is_type(value, json_type_int) || json_object_is_type(value, json_type_double);
        double d = number ? json_object_get_double(value) : 0;

        if (d >= (double) key->min && d <= (double) key->max)
                *(double *) ((char *) target + key->offset) = d;
        else
                reader_mismatch(rd, at, value, key->expected);
}

static const Key retry_keys[] = {
        { "attempts", read_unsigned, RETRY(attempts), 1, RETRY_ATTEMPTS_MAX, "a number of attempts from 1 to 100" },
        { "delay", read_span, RETRY(delay_usec), USEC_PER_MSEC, DELAY_MAX, "a time span from \"1ms\" to \"24h\", such as \"1s\"" },
        { "backoff", read_factor, RETRY(backoff), 1, BACKOFF_MAX, "a number from 1 to 100" },
        { "delay_max", read_span, RETRY(delay_max_usec), USEC_PER_MSEC, DELAY_MAX,
          "a time span from \"1ms\" to \"24h\", such as \"5min\"" },
        { "age_max", read_span, RETRY(age_max_usec), USEC_PER_SEC, AGE_MAX,
          "a time span from \"1s\" to \"30d\", such as \"6h\"" },
        { "timeouts", read_boolean, RETRY(timeouts), .expected = "true or false" },
        {}
};

/* Over what is there. */
void read_retry(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        RetryPolicy *p = (RetryPolicy *) ((char *) target + key->offset);
        Place delay = { .parent = at, .key = "delay" };

        read_object(rd, at, value, retry_keys, p);
        if (json_object_is_type(value, json_type_object) && p->delay_usec > p->delay_max_usec)
                reader_complain(rd, &delay, "found a longer span than delay_max, which is 5min where nothing is said, expected at "
                                "most that");
}

void merge_retry(Reader *rd, const RetryPolicy *base, Manifest *m) {
        static const Key key = {};
        Place document = {}, functions = { .parent = &document, .key = "functions" };
        json_object *all = json_object_object_get(rd->layers->merged, "functions"), *own, *retry;

        for (size_t i = 0; i < m->n_functions; i++) {
                FunctionSpec *f = m->functions + i;
                Place function = { .parent = &functions, .key = f->name }, at = { .parent = &function, .key = "retry" };

                f->retry = *base;
                own = json_object_object_get(all, f->name);
                if (json_object_is_type(own, json_type_object) && json_object_object_get_ex(own, "retry", &retry))
                        read_retry(rd, &at, retry, &key, &f->retry);
        }
}

/* ---- other functions and applications ---- */

static bool destination_is_valid(const char *s) {
        _cleanup_(freep) char *app = NULL;
        const char *slash = strchr(s, '/');

        if (!slash)
                return function_name_is_valid(s);
        app = strndup(s, (size_t) (slash - s));
        return app_name_is_valid(app) && function_name_is_valid(slash + 1);
}

void read_destination(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        const char *s = json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;

        if (!s || !destination_is_valid(s))
                reader_mismatch(rd, at, value, key->expected);
        else if (free_and_strdup((char **) ((char *) target + key->offset), s) < 0)
                rd->error = -ENOMEM;
}

static void check_destination(Reader *rd, const Place *function, const char *key, const Manifest *m, const char *own,
                              const char *destination) {
        Place at = { .parent = function, .key = key };

        if (!destination || strchr(destination, '/'))
                return;
        if (streq(destination, own))
                reader_complain(rd, &at, "found the function itself, expected another one: its outcomes would have no end");
        else if (!manifest_find(m, destination))
                reader_complain(rd, &at, "found \"%.64s\", expected the name of a function, or \"app/function\"", destination);
}

void check_destinations(Reader *rd, const Manifest *m) {
        Place document = {}, functions = { .parent = &document, .key = "functions" };

        for (size_t i = 0; i < m->n_functions; i++) {
                const FunctionSpec *f = m->functions + i;
                Place function = { .parent = &functions, .key = f->name };

                check_destination(rd, &function, "on_success", m, f->name, f->on_success);
                check_destination(rd, &function, "on_failure", m, f->name, f->on_failure);
        }
}

static void read_allowed(Reader *rd, const Place *at, json_object *value, char ***allow) {
        const char *s = json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;

        if (!app_name_is_valid(s))
                reader_mismatch(rd, at, value, "an application's name");
        else if (strv_contains(*allow, s))
                reader_complain(rd, at, "found \"%s\" a second time, expected it once", s);
        else if (strv_extend(allow, s) < 0)
                rd->error = -ENOMEM;
}

void read_allow(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        size_t n = json_object_is_type(value, json_type_array) ? json_object_array_length(value) : SIZE_MAX;

        if (n > ALLOW_MAX) {
                reader_mismatch(rd, at, value, key->expected);
                return;
        }
        for (size_t i = 0; i < n; i++) {
                Place place = { .parent = at, .index = i };
                read_allowed(rd, &place, json_object_array_get_idx(value, i), (char ***) ((char *) target + key->offset));
        }
}
