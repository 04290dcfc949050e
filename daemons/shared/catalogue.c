/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "catalogue.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#include "json-text.h"
#include "protocol.h"
#include "text.h"

#define ENTRY_SIZE_MAX (4U * 1024U * 1024U)
#define ENTRY_FUNCTIONS_MAX 4096U
#define NAMES_MAX 65536U
#define STRINGS_MAX 64U
#define INSTANCES_MAX_DEFAULT 16U
#define DESTINATION_SIZE_MAX (APP_NAME_MAX + 1 + 64)
#define SUFFIX ".json"

/* ".NAME.json.new" */
#define FILE_NAME_MAX (1 + 63 + sizeof(SUFFIX) + sizeof(".new"))

static void function_done(CatalogueFunction *f) {
        free(f->name);
        free(f->content_type);
        free(f->on_success);
        free(f->on_failure);
}

CatalogueEntry *catalogue_entry_free(CatalogueEntry *e) {
        if (!e)
                return NULL;
        for (size_t i = 0; i < e->n_functions; i++)
                function_done(e->functions + i);
        free(e->functions);
        http_triggers_free(e->routes, e->n_routes);
        topic_triggers_free(e->topics, e->n_topics);
        strv_free(e->allow);
        free(e->name);
        free(e->version);
        free(e->hash);
        free(e);
        return NULL;
}

const CatalogueFunction *catalogue_find(const CatalogueEntry *e, const char *function) {
        assert(e);
        assert(function);

        for (size_t i = 0; i < e->n_functions; i++)
                if (streq(e->functions[i].name, function))
                        return e->functions + i;
        return NULL;
}

/* ---- reading ---- */

static int get_string(json_object *object, const char *key, size_t max, char **ret) {
        json_object *value;
        const char *s;
        size_t l;

        if (!json_object_object_get_ex(object, key, &value) || !json_object_is_type(value, json_type_string))
                return -EBADMSG;
        s = json_object_get_string(value);
        l = (size_t) json_object_get_string_len(value);
        if (l == 0 || l > max || strlen(s) != l || !utf8_is_valid(s, l))
                return -EBADMSG;
        *ret = strdup(s);
        return *ret ? 0 : -ENOMEM;
}

static int get_uint(json_object *object, const char *key, uint64_t max, uint64_t *ret) {
        json_object *value;
        uint64_t n;

        if (!json_object_object_get_ex(object, key, &value) || !json_object_is_type(value, json_type_int) ||
            json_object_get_int64(value) < 0)
                return -EBADMSG;
        n = json_object_get_uint64(value);
        if (n > max)
                return -EBADMSG;
        *ret = n;
        return 0;
}

/* What may be absent leaves *ret alone. */
static int get_string_if(json_object *object, const char *key, size_t max, char **ret) {
        return json_object_object_get_ex(object, key, NULL) ? get_string(object, key, max, ret) : 0;
}

static int get_uint_if(json_object *object, const char *key, uint64_t max, uint64_t *ret) {
        return json_object_object_get_ex(object, key, NULL) ? get_uint(object, key, max, ret) : 0;
}

static int read_retry(json_object *function, RetryPolicy *ret) {
        RetryPolicy p = RETRY_POLICY_DEFAULT;
        uint64_t attempts = p.attempts;
        json_object *object, *value;
        int r;

        *ret = p;
        if (!json_object_object_get_ex(function, "retry", &object))
                return 0;
        if (!json_object_is_type(object, json_type_object))
                return -EBADMSG;
        r = get_uint_if(object, "attempts", RETRY_ATTEMPTS_MAX, &attempts);
        if (r >= 0)
                r = get_uint_if(object, "delay_usec", USEC_INFINITY, &p.delay_usec);
        if (r >= 0)
                r = get_uint_if(object, "delay_max_usec", USEC_INFINITY, &p.delay_max_usec);
        if (r >= 0)
                r = get_uint_if(object, "age_max_usec", USEC_INFINITY, &p.age_max_usec);
        if (r < 0)
                return r;
        if (json_object_object_get_ex(object, "backoff", &value))
                p.backoff = json_object_get_double(value);
        if (json_object_object_get_ex(object, "timeouts", &value))
                p.timeouts = json_object_get_boolean(value);
        if (attempts == 0 || !(p.backoff >= 1))
                return -EBADMSG;
        p.attempts = (unsigned) attempts;
        *ret = p;
        return 0;
}

static int read_async(json_object *object, CatalogueFunction *f) {
        uint64_t instances = INSTANCES_MAX_DEFAULT;
        int r;

        r = get_uint_if(object, "instances_max", UINT32_MAX, &instances);
        if (r < 0)
                return r;
        f->instances_max = (unsigned) instances;
        r = get_string_if(object, "on_success", DESTINATION_SIZE_MAX, &f->on_success);
        if (r >= 0)
                r = get_string_if(object, "on_failure", DESTINATION_SIZE_MAX, &f->on_failure);
        return r < 0 ? r : read_retry(object, &f->retry);
}

static int read_function(const char *name, json_object *object, CatalogueFunction *f) {
        _cleanup_(freep) char *runtime = NULL;
        int r;

        if (!function_name_is_valid(name) || !json_object_is_type(object, json_type_object))
                return -EBADMSG;
        r = get_string(object, "runtime", 64, &runtime);
        if (r < 0)
                return r;
        f->runtime = runtime_from_string(runtime);
        if (f->runtime == _RUNTIME_INVALID)
                return -EBADMSG;
        r = get_uint(object, "timeout_usec", USEC_INFINITY, &f->timeout_usec);
        if (r < 0)
                return r;
        r = get_uint(object, "payload_max", SAND_PAYLOAD_HARD_MAX, &f->payload_max);
        if (r < 0)
                return r;
        r = get_string_if(object, "content_type", 256, &f->content_type);
        if (r >= 0)
                r = read_async(object, f);
        return r < 0 ? r : free_and_strdup(&f->name, name);
}

static int read_functions(json_object *object, CatalogueEntry *e) {
        json_object *functions;
        size_t n;

        if (!json_object_object_get_ex(object, "functions", &functions) ||
            !json_object_is_type(functions, json_type_object))
                return -EBADMSG;
        n = (size_t) json_object_object_length(functions);
        if (n > ENTRY_FUNCTIONS_MAX)
                return -EBADMSG;
        e->functions = calloc(n + 1, sizeof(CatalogueFunction));
        if (!e->functions)
                return -ENOMEM;
        json_object_object_foreach(functions, name, value) {
                int r = read_function(name, value, e->functions + e->n_functions++);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int get_strings(json_object *object, const char *key, char ***ret) {
        json_object *array;
        size_t n;

        if (!json_object_object_get_ex(object, key, &array))
                return 0;
        if (!json_object_is_type(array, json_type_array))
                return -EBADMSG;
        n = json_object_array_length(array);
        if (n > STRINGS_MAX)
                return -EBADMSG;
        for (size_t i = 0; i < n; i++) {
                json_object *s = json_object_array_get_idx(array, i);
                if (!json_object_is_type(s, json_type_string))
                        return -EBADMSG;
                if (strv_extend(ret, json_object_get_string(s)) < 0)
                        return -ENOMEM;
        }
        return 0;
}

static int read_cors(json_object *object, WebCors **ret) {
        _cleanup_(web_cors_freep) WebCors *c = calloc(1, sizeof(WebCors));
        int r;

        if (!c)
                return -ENOMEM;
        if (!json_object_is_type(object, json_type_object))
                return -EBADMSG;
        r = get_strings(object, "origins", &c->origins);
        if (r >= 0)
                r = get_strings(object, "methods", &c->methods);
        if (r >= 0)
                r = get_strings(object, "headers", &c->headers);
        if (r >= 0)
                r = get_strings(object, "expose_headers", &c->expose_headers);
        if (r >= 0 && json_object_object_get_ex(object, "max_age_usec", NULL))
                r = get_uint(object, "max_age_usec", USEC_INFINITY, &c->max_age_usec);
        if (r < 0)
                return r;
        c->credentials = json_object_get_boolean(json_object_object_get(object, "credentials"));
        *ret = TAKE_PTR(c);
        return 0;
}

static int read_route(const CatalogueEntry *e, json_object *object, HttpTrigger *t) {
        _cleanup_(freep) char *key = NULL;
        const char *expected;
        json_object *cors;
        int r;

        if (!json_object_is_type(object, json_type_object))
                return -EBADMSG;
        r = get_string(object, "target", 64, &t->target);
        if (r < 0)
                return r;
        if (!catalogue_find(e, t->target))
                return -EBADMSG;
        r = get_string(object, "http", WEB_ROUTE_SIZE_MAX, &key);
        if (r < 0)
                return r;
        r = web_route_parse(key, &t->route, &expected);
        if (r < 0)
                return r == -EINVAL ? -EBADMSG : r;
        t->async = json_object_get_boolean(json_object_object_get(object, "async"));
        return json_object_object_get_ex(object, "cors", &cors) ? read_cors(cors, &t->cors) : 0;
}

static int read_routes(json_object *object, CatalogueEntry *e) {
        json_object *routes;
        size_t n;

        if (!json_object_object_get_ex(object, "routes", &routes))
                return 0;
        if (!json_object_is_type(routes, json_type_array))
                return -EBADMSG;
        n = json_object_array_length(routes);
        if (n > WEB_TRIGGERS_MAX)
                return -EBADMSG;
        e->routes = calloc(n + 1, sizeof(HttpTrigger));
        if (!e->routes)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                int r = read_route(e, json_object_array_get_idx(routes, i), e->routes + e->n_routes++);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_topic(const CatalogueEntry *e, json_object *object, TopicTrigger *t) {
        int r;

        if (!json_object_is_type(object, json_type_object))
                return -EBADMSG;
        r = get_string(object, "event", SAND_TOPIC_SIZE_MAX, &t->pattern);
        if (r >= 0)
                r = get_string(object, "target", 64, &t->target);
        return r >= 0 && !catalogue_find(e, t->target) ? -EBADMSG : r;
}

static int read_topics(json_object *object, CatalogueEntry *e) {
        json_object *topics;
        size_t n;

        if (!json_object_object_get_ex(object, "topics", &topics))
                return 0;
        if (!json_object_is_type(topics, json_type_array))
                return -EBADMSG;
        n = json_object_array_length(topics);
        if (n > WEB_TRIGGERS_MAX)
                return -EBADMSG;
        e->topics = calloc(n + 1, sizeof(TopicTrigger));
        if (!e->topics)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                int r = read_topic(e, json_object_array_get_idx(topics, i), e->topics + e->n_topics++);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_entry(const char *name, json_object *object, CatalogueEntry **ret) {
        _cleanup_(catalogue_entry_freep) CatalogueEntry *e = calloc(1, sizeof(CatalogueEntry));
        uint64_t uid_base;
        int r;

        if (!e)
                return -ENOMEM;
        if (!json_object_is_type(object, json_type_object))
                return -EBADMSG;
        r = get_string(object, "name", 63, &e->name);
        if (r < 0)
                return r;
        if (!streq(e->name, name))
                return -EBADMSG;
        r = get_string(object, "version", 256, &e->version);
        if (r < 0)
                return r;
        r = get_string(object, "hash", 256, &e->hash);
        if (r < 0)
                return r;
        r = get_uint(object, "uid_base", UINT32_MAX, &uid_base);
        if (r < 0)
                return r;
        e->uid_base = (uint32_t) uid_base;
        r = read_functions(object, e);
        if (r >= 0)
                r = read_routes(object, e);
        if (r >= 0)
                r = read_topics(object, e);
        if (r >= 0)
                r = get_strings(object, "allow", &e->allow);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(e);
        return 0;
}

static int read_file(int dir_fd, const char *file, char **ret, size_t *ret_size) {
        _cleanup_(freep) char *text = NULL;
        _cleanup_(closep) int fd = -EBADF;
        struct stat st;
        size_t size = 0;

        fd = openat(dir_fd, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        if (fd < 0)
                return errno == ELOOP ? -EBADMSG : -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || st.st_size > ENTRY_SIZE_MAX)
                return -EBADMSG;
        /* published files never change: what is shorter or longer is none of ours */
        text = malloc((size_t) st.st_size + 1);
        if (!text)
                return -ENOMEM;
        while (size < (size_t) st.st_size) {
                ssize_t n = read(fd, text + size, (size_t) st.st_size - size);
                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n == 0)
                        return -EBADMSG;
                size += n > 0 ? (size_t) n : 0;
        }
        text[size] = '\0';
        *ret = TAKE_PTR(text);
        *ret_size = size;
        return 0;
}

static json_object *parse_text(const char *text, size_t size) {
        struct json_tokener *tokener = json_tokener_new_ex(JSON_TEXT_DEPTH_MAX + 2);
        json_object *object;

        if (!tokener)
                return NULL;
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
        object = json_tokener_parse_ex(tokener, text, (int) size + 1);
        json_tokener_free(tokener);
        return object;
}

static int file_name(const char *name, const char *prefix, const char *suffix, char ret[static FILE_NAME_MAX]) {
        if (!app_name_is_valid(name))
                return -EINVAL;
        (void) snprintf(ret, FILE_NAME_MAX, "%s%s" SUFFIX "%s", prefix, name, suffix);
        return 0;
}

int catalogue_read(int dir_fd, const char *name, CatalogueEntry **ret) {
        _cleanup_(freep) char *text = NULL;
        char file[FILE_NAME_MAX];
        json_object *object;
        size_t size;
        int r;

        assert(dir_fd >= 0);
        assert(name);
        assert(ret);

        if (file_name(name, "", "", file) < 0)
                return -ENOENT; /* no application can have this name */
        r = read_file(dir_fd, file, &text, &size);
        if (r < 0)
                return r;
        object = parse_text(text, size);
        r = object ? read_entry(name, object, ret) : -EBADMSG;
        (void) json_object_put(object);
        return r;
}

static int compare_names(const void *a, const void *b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

static void closedirp(DIR **d) {
        if (*d)
                (void) closedir(*d);
}

static char *name_of_file(const char *file) {
        size_t l = strlen(file), suffix = strlen(SUFFIX);
        char *name;

        if (l <= suffix || !streq(file + l - suffix, SUFFIX))
                return NULL;
        name = strndup(file, l - suffix);
        if (name && app_name_is_valid(name))
                return name;
        free(name);
        return NULL;
}

int catalogue_list(int dir_fd, char ***ret) {
        _cleanup_(closedirp) DIR *d = NULL;
        _cleanup_(strv_freep) char **names = NULL;
        size_t n = 0, allocated = 0;
        int fd;

        assert(dir_fd >= 0);
        assert(ret);

        /* a descriptor of its own: the position of dir_fd is the caller's */
        fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        d = fdopendir(fd);
        if (!d) {
                int r = -errno;
                (void) safe_close(fd);
                return r;
        }
        for (;;) {
                struct dirent *entry;
                char *name;

                errno = 0;
                entry = readdir(d);
                if (!entry)
                        break;
                if (n + 2 > allocated) {
                        size_t more = MAX(allocated * 2, (size_t) 16);
                        char **grown = realloc(names, more * sizeof(char *));
                        if (!grown)
                                return -ENOMEM;
                        names = grown;
                        allocated = more;
                        names[n] = NULL;
                }
                name = name_of_file(entry->d_name);
                if (!name)
                        continue;
                names[n++] = name;
                names[n] = NULL;
                if (n >= NAMES_MAX)
                        return -E2BIG;
        }
        if (errno > 0)
                return -errno;
        if (n > 1)
                qsort(names, n, sizeof(char *), compare_names);
        if (!names) {
                names = calloc(1, sizeof(char *));
                if (!names)
                        return -ENOMEM;
        }
        *ret = TAKE_PTR(names);
        return 0;
}

/* ---- writing ---- */

/* Adds a value that is then the object's, also when this fails. */
static int add(json_object *object, const char *key, json_object *value) {
        if (!value)
                return -ENOMEM;
        if (json_object_object_add(object, key, value) < 0) {
                (void) json_object_put(value);
                return -ENOMEM;
        }
        return 0;
}

static int add_string(json_object *object, const char *key, const char *value) {
        return add(object, key, json_object_new_string(value));
}

static int add_uint(json_object *object, const char *key, uint64_t value) {
        return add(object, key, json_object_new_uint64(value));
}

int catalogue_add_retry(json_object *object, const RetryPolicy *p) {
        json_object *retry = json_object_new_object();

        if (add(object, "retry", retry) < 0 ||
            add_uint(retry, "attempts", p->attempts) < 0 ||
            add_uint(retry, "delay_usec", p->delay_usec) < 0 ||
            add(retry, "backoff", json_object_new_double(p->backoff)) < 0 ||
            add_uint(retry, "delay_max_usec", p->delay_max_usec) < 0 ||
            add_uint(retry, "age_max_usec", p->age_max_usec) < 0)
                return -ENOMEM;
        return add(retry, "timeouts", json_object_new_boolean(p->timeouts));
}

/* With the application's name, as it is deployed, where there is none. */
static int add_destination(json_object *object, const char *key, const char *name, const char *destination) {
        char whole[DESTINATION_SIZE_MAX + 1];

        if (!destination)
                return 0;
        if (strchr(destination, '/'))
                return add_string(object, key, destination);
        (void) snprintf(whole, sizeof(whole), "%s/%s", name, destination);
        return add_string(object, key, whole);
}

static int add_function(json_object *functions, const char *name, const FunctionSpec *f) {
        json_object *object = json_object_new_object();

        if (add(functions, f->name, object) < 0 ||
            add_string(object, "runtime", runtime_to_string(f->runtime)) < 0 ||
            add_uint(object, "timeout_usec", f->timeout_usec) < 0 ||
            add_uint(object, "payload_max", f->payload_max) < 0 ||
            add_uint(object, "queue_max", f->queue_max) < 0 ||
            add_uint(object, "instances_max", f->max) < 0 ||
            catalogue_add_retry(object, &f->retry) < 0 ||
            add_destination(object, "on_success", name, f->on_success) < 0 ||
            add_destination(object, "on_failure", name, f->on_failure) < 0)
                return -ENOMEM;
        return f->content_type ? add_string(object, "content_type", f->content_type) : 0;
}

/* NULL is no list. */
static int add_strings(json_object *object, const char *key, char *const *l) {
        json_object *array;
        int r;

        if (!l)
                return 0;
        array = json_object_new_array();
        r = add(object, key, array);
        for (; r >= 0 && *l; l++) {
                json_object *s = json_object_new_string(*l);
                if (!s || json_object_array_add(array, s) < 0) {
                        (void) json_object_put(s);
                        r = -ENOMEM;
                }
        }
        return r;
}

static int add_cors(json_object *route, const WebCors *c) {
        json_object *object = json_object_new_object();

        if (add(route, "cors", object) < 0 ||
            add_strings(object, "origins", c->origins) < 0 ||
            add_strings(object, "methods", c->methods) < 0 ||
            add_strings(object, "headers", c->headers) < 0 ||
            add_strings(object, "expose_headers", c->expose_headers) < 0 ||
            (c->max_age_usec > 0 && add_uint(object, "max_age_usec", c->max_age_usec) < 0))
                return -ENOMEM;
        return add(object, "credentials", json_object_new_boolean(c->credentials));
}

int catalogue_add_routes(json_object *object, const Manifest *m) {
        json_object *routes = json_object_new_array();
        int r = add(object, "routes", routes);

        for (size_t i = 0; r >= 0 && i < m->n_triggers; i++) {
                const HttpTrigger *t = m->triggers + i;
                json_object *route = json_object_new_object();

                if (!route || json_object_array_add(routes, route) < 0) {
                        (void) json_object_put(route);
                        return -ENOMEM;
                }
                r = add_string(route, "http", t->route.key);
                if (r >= 0)
                        r = add_string(route, "target", t->target);
                if (r >= 0 && t->cors)
                        r = add_cors(route, t->cors);
                if (r >= 0 && t->async)
                        r = add(route, "async", json_object_new_boolean(true));
        }
        return r;
}

static int add_topics(json_object *object, const Manifest *m) {
        json_object *topics = json_object_new_array();
        int r = add(object, "topics", topics);

        for (size_t i = 0; r >= 0 && i < m->n_topics; i++) {
                json_object *topic = json_object_new_object();

                if (!topic || json_object_array_add(topics, topic) < 0) {
                        (void) json_object_put(topic);
                        return -ENOMEM;
                }
                r = add_string(topic, "event", m->topics[i].pattern);
                if (r >= 0)
                        r = add_string(topic, "target", m->topics[i].target);
        }
        return r;
}

static int add_timer(json_object *triggers, const TimerTrigger *t) {
        json_object *object = json_object_new_object(), *input;
        const char *text = t->input ?: "{}";
        char name[32];

        (void) snprintf(name, sizeof(name), "timer-%zu", t->index);
        if (add(triggers, name, object) < 0 ||
            add_string(object, "target", t->target) < 0 ||
            add(object, "overlap", json_object_new_boolean(t->overlap)) < 0)
                return -ENOMEM;
        input = parse_text(text, strlen(text)); /* null is NULL, and a value */
        if (!input && !streq(text, "null"))
                return -ENOMEM;
        if (json_object_object_add(object, "input", input) < 0) {
                (void) json_object_put(input);
                return -ENOMEM;
        }
        return 0;
}

static int add_path(json_object *triggers, const PathTrigger *t) {
        json_object *object = json_object_new_object();
        char name[32];

        (void) snprintf(name, sizeof(name), "path-%zu", t->index);
        if (add(triggers, name, object) < 0 ||
            add_string(object, "target", t->target) < 0 ||
            add_string(object, "path", t->path) < 0)
                return -ENOMEM;
        return add_string(object, "host", t->host);
}

static int add_unit_triggers(json_object *object, const Manifest *m) {
        json_object *triggers = json_object_new_object();
        int r = add(object, "triggers", triggers);

        for (size_t i = 0; r >= 0 && i < m->n_timers; i++)
                r = add_timer(triggers, m->timers + i);
        for (size_t i = 0; r >= 0 && i < m->n_paths; i++)
                r = add_path(triggers, m->paths + i);
        return r;
}

static int build_entry(json_object *object, const Manifest *m, const char *name, const char *version,
                       const char *hash, uint32_t uid_base) {
        json_object *functions = json_object_new_object();

        if (add(object, "functions", functions) < 0 ||
            add_string(object, "name", name) < 0 ||
            add_string(object, "version", version) < 0 ||
            add_string(object, "hash", hash) < 0 ||
            add_uint(object, "uid_base", uid_base) < 0)
                return -ENOMEM;
        for (size_t i = 0; i < m->n_functions; i++)
                if (add_function(functions, name, m->functions + i) < 0)
                        return -ENOMEM;
        if ((m->n_triggers > 0 && catalogue_add_routes(object, m) < 0) ||
            (m->n_topics > 0 && add_topics(object, m) < 0) ||
            (m->n_timers + m->n_paths > 0 && add_unit_triggers(object, m) < 0))
                return -ENOMEM;
        return add_strings(object, "allow", m->allow);
}

static int write_all(int fd, const char *text, size_t size) {
        while (size > 0) {
                ssize_t n = write(fd, text, size);
                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n > 0) {
                        text += n;
                        size -= (size_t) n;
                }
        }
        return 0;
}

/* The new file, complete and on disk, or nothing. */
static int write_new(int dir_fd, const char *file, const char *text) {
        _cleanup_(closep) int fd = -EBADF;
        int r;

        if (unlinkat(dir_fd, file, 0) < 0 && errno != ENOENT) /* left over from a crash */
                return -errno;
        fd = openat(dir_fd, file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (fd < 0)
                return -errno;
        r = fchmod(fd, 0644) < 0 ? -errno : 0; /* whatever the umask */
        if (r >= 0)
                r = write_all(fd, text, strlen(text));
        if (r >= 0 && fsync(fd) < 0)
                r = -errno;
        if (r < 0)
                (void) unlinkat(dir_fd, file, 0);
        return r;
}

/* fsync() refuses what is open with O_PATH. */
static int sync_directory(int dir_fd) {
        _cleanup_(closep) int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0 || fsync(fd) < 0)
                return -errno;
        return 0;
}

int catalogue_publish(int dir_fd, const Manifest *m, const char *name, const char *version,
                      const char *hash, uint32_t uid_base) {
        char file[FILE_NAME_MAX], new_file[FILE_NAME_MAX];
        json_object *object;
        const char *text;
        int r;

        assert(dir_fd >= 0);
        assert(m);
        assert(version);
        assert(hash);

        if (!name || file_name(name, "", "", file) < 0 || file_name(name, ".", ".new", new_file) < 0)
                return -EINVAL;
        object = json_object_new_object();
        if (!object)
                return -ENOMEM;
        r = build_entry(object, m, name, version, hash, uid_base);
        text = r < 0 ? NULL
                     : json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
        r = text ? write_new(dir_fd, new_file, text) : -ENOMEM;
        (void) json_object_put(object);
        if (r < 0)
                return r;
        if (renameat(dir_fd, new_file, dir_fd, file) < 0) {
                r = -errno;
                (void) unlinkat(dir_fd, new_file, 0);
                return r;
        }
        return sync_directory(dir_fd);
}

int catalogue_withdraw(int dir_fd, const char *name) {
        char file[FILE_NAME_MAX];

        assert(dir_fd >= 0);
        assert(name);

        if (file_name(name, "", "", file) < 0)
                return -ENOENT;
        if (unlinkat(dir_fd, file, 0) < 0)
                return -errno;
        return sync_directory(dir_fd);
}
