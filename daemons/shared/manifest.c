/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "manifest.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "manifest-reader.h"
#include "path.h"
#include "protocol.h"
#include "text.h"

#define MANIFEST_FILE "sand.json"
#define FUNCTIONS_MAX 256U

#define MIB (UINT64_C(1024) * 1024)
#define GIB (1024 * MIB)

static const struct {
        const char *name, *worker;
} runtimes[_RUNTIME_MAX] = {
        [RUNTIME_PYTHON3] = { "python3", "sand-worker-python" },
        [RUNTIME_EXEC]    = { "exec",    "sand-worker-exec" },
        [RUNTIME_NATIVE]  = { "native",  "sand-worker-native" },
};

const char *runtime_to_string(Runtime r) {
        assert(r >= 0 && r < _RUNTIME_MAX);
        return runtimes[r].name;
}

const char *runtime_worker(Runtime r) {
        assert(r >= 0 && r < _RUNTIME_MAX);
        return runtimes[r].worker;
}

Runtime runtime_from_string(const char *s) {
        for (int i = 0; s && i < _RUNTIME_MAX; i++)
                if (streq(s, runtimes[i].name))
                        return (Runtime) i;
        return _RUNTIME_INVALID;
}

bool app_name_is_valid(const char *s) {
        size_t l = s ? strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") : 0;

        /* systemd takes no machine's name that ends in '-' */
        return l > 0 && l <= APP_NAME_MAX && !s[l] && s[0] >= 'a' && s[0] <= 'z' && s[l - 1] != '-';
}

bool function_name_is_valid(const char *s) {
        static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789-";
        size_t l = s ? strspn(s, letters) : 0;

        return l > 0 && l <= 64 && !s[l] && s[0] != '-' && !(s[0] >= '0' && s[0] <= '9');
}

bool credential_name_is_valid(const char *s) {
        static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
        size_t l = s ? strspn(s, letters) : 0;

        return l > 0 && l <= 64 && !s[l] && s[0] != '.' && s[0] != '-';
}

bool package_name_is_valid(const char *s) {
        size_t l = s ? strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789+.-") : 0;

        return l >= 2 && l <= 128 && !s[l] && !strchr("+.-", s[0]);
}

/* ---- readers of single keys ---- */

static void read_name(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        if (!json_object_is_type(value, json_type_string) || !app_name_is_valid(json_object_get_string(value))) {
                reader_mismatch(rd, at, value, key->expected);
                return;
        }
        if (free_and_strdup((char **) ((char *) target + key->offset), json_object_get_string(value)) < 0)
                rd->error = -ENOMEM;
}

static void read_receipts(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        static const char *const names[] = {
                [RECEIPTS_SAMPLE] = "sample", [RECEIPTS_FAILED] = "failed", [RECEIPTS_ALL] = "all",
        };

        if (json_object_is_type(value, json_type_string))
                for (size_t i = 0; i < ELEMENTSOF(names); i++)
                        if (streq(json_object_get_string(value), names[i])) {
                                ((Manifest *) target)->receipts = (Receipts) i;
                                return;
                        }
        reader_mismatch(rd, at, value, key->expected);
}

static const char *const networks[_NETWORK_MAX] = {
        [NETWORK_NONE] = "none",
        [NETWORK_NAT] = "nat",
};

const char *network_to_string(Network n) {
        assert(n >= 0 && n < _NETWORK_MAX);
        return networks[n];
}

static void read_network(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        if (json_object_is_type(value, json_type_string))
                for (Network i = 0; i < _NETWORK_MAX; i++)
                        if (streq(json_object_get_string(value), networks[i])) {
                                ((Manifest *) target)->network = i;
                                return;
                        }
        reader_mismatch(rd, at, value, key->expected);
}

static void read_schema(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        if (!json_object_is_type(value, json_type_string))
                reader_mismatch(rd, at, value, key->expected);
}

static void read_runtime(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        FunctionSpec *spec = target;

        spec->runtime = _RUNTIME_INVALID;
        if (json_object_is_type(value, json_type_string))
                spec->runtime = runtime_from_string(json_object_get_string(value));
        if (spec->runtime == _RUNTIME_INVALID)
                reader_mismatch(rd, at, value, key->expected);
}

static bool is_word(json_object *value, const char *word) {
        return json_object_is_type(value, json_type_string) && streq(json_object_get_string(value), word);
}

static void read_tasks_max(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        uint64_t n;

        if (is_word(value, "infinity"))
                n = UINT64_MAX;
        else if (!json_get_integer(value, &n) || n < key->min || n > key->max) {
                reader_mismatch(rd, at, value, key->expected);
                return;
        }
        *(uint64_t *) ((char *) target + key->offset) = n;
}

static void read_memory_max(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        if (is_word(value, "infinity"))
                *(uint64_t *) ((char *) target + key->offset) = UINT64_MAX;
        else
                read_size(rd, at, value, key, target);
}

static void read_cpu_weight(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        unsigned *weight = (unsigned *) ((char *) target + key->offset);

        if (is_word(value, "idle"))
                *weight = CPU_WEIGHT_IDLE;
        else
                read_unsigned(rd, at, value, key, target);
}

/* ---- a function ---- */

#define FIELD(f) offsetof(FunctionSpec, f)
#define UNSERVED(n) { .name = n, .read = read_unserved }
#define DESTINATION_EXPECTED "the name of a function, or \"app/function\""
#define CREDENTIALS_EXPECTED "an array of at most 64 names of secrets"

static const Key instances_keys[] = {
        { "warm", read_unsigned, FIELD(warm), 0, 4096, "a number of instances from 0 to 4096" },
        { "max", read_unsigned, FIELD(max), 1, 4096, "a number of instances from 1 to 4096" },
        { "events", read_unsigned, FIELD(events), 0, 1000000000, "a number of events from 0 (no limit) to 1000000000" },
        {}
};

static const Key queue_keys[] = {
        { "max", read_unsigned, FIELD(queue_max), 1, 1000000, "a number of events from 1 to 1000000" },
        { "bytes", read_size, FIELD(queue_bytes), 1, 4 * GIB, "a size from \"1\" to \"4G\", such as \"64M\"" },
        {}
};

static const Key function_resources_keys[] = {
        { "CPUWeight", read_cpu_weight, FIELD(cpu_weight), 1, CPU_WEIGHT_MAX, "a number from 1 to 10000, or \"idle\"" },
        { "MemoryMax", read_memory_max, FIELD(memory_max), MIB, 1024 * GIB,
          "a size from \"1M\" to \"1T\", such as \"256M\", or \"infinity\"" },
        { "TasksMax", read_tasks_max, FIELD(tasks_max), 1, 4194304, "a number of tasks from 1 to 4194304, or \"infinity\"" },
        UNSERVED("AllowedCPUs"),
        UNSERVED("AllowedMemoryNodes"),
        UNSERVED("CPUQuota"),
        UNSERVED("CPUQuotaPeriodSec"),
        UNSERVED("IOWeight"),
        UNSERVED("MemoryHigh"),
        UNSERVED("MemoryLow"),
        UNSERVED("MemoryMin"),
        UNSERVED("MemorySwapMax"),
        {}
};

static const Key function_keys[] = {
        { "runtime", read_runtime, .expected = "\"python3\", \"exec\" or \"native\"", .required = true },
        { "handler", read_nothing, .expected = "\"module.function\" (python3), \"path.so:symbol\" (native) or "
                                               "[\"program\", ...] (exec)", .required = true },
        { "timeout", read_span, FIELD(timeout_usec), USEC_PER_MSEC, 24 * USEC_PER_HOUR,
          "a time span from \"1ms\" to \"24h\", such as \"30s\"" },
        { "payload_max", read_size, FIELD(payload_max), 1, SAND_PAYLOAD_HARD_MAX,
          "a size from \"1\" to \"64M\", such as \"16M\"" },
        { "content_type", read_content_type, FIELD(content_type), .expected = "a media type such as \"image/jpeg\"" },
        { "instances", read_members, .keys = instances_keys },
        { "queue", read_members, .keys = queue_keys },
        { "memory", read_size, FIELD(memory), MIB, 1024 * GIB, "a size from \"1M\" to \"1T\", such as \"128M\"" },
        { "resources", read_members, .keys = function_resources_keys },
        { "environment", read_environment, FIELD(environment), .expected = "an object of variables" },
        { "credentials", read_credentials, FIELD(credentials), .expected = CREDENTIALS_EXPECTED },
        { "retry", read_nothing }, /* merge_retry() */
        { "on_success", read_destination, FIELD(on_success), .expected = DESTINATION_EXPECTED },
        { "on_failure", read_destination, FIELD(on_failure), .expected = DESTINATION_EXPECTED },
        {}
};

static void function_done(FunctionSpec *f) {
        free(f->name);
        strv_free(f->handler);
        free(f->content_type);
        strv_free(f->environment);
        strv_free(f->credentials);
        free(f->on_success);
        free(f->on_failure);
        *f = (FunctionSpec) {};
}

/* What holds between the keys of one function. */
static void read_function(Reader *rd, const Place *at, json_object *value, FunctionSpec *spec) {
        Place instances = { .parent = at, .key = "instances" }, handler_at = { .parent = at, .key = "handler" };
        json_object *handler;

        read_object(rd, at, value, function_keys, spec);
        if (spec->warm > spec->max)
                reader_complain(rd, &instances, "found %u warm instances, expected no more than max, %u",
                                spec->warm, spec->max);
        if (spec->runtime != _RUNTIME_INVALID && json_object_object_get_ex(value, "handler", &handler))
                read_handler(rd, &handler_at, handler, spec);
}

static void read_functions(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        Manifest *m = target;
        size_t n;

        if (!json_object_is_type(value, json_type_object)) {
                reader_mismatch(rd, at, value, key->expected);
                return;
        }
        n = (size_t) json_object_object_length(value);
        if (n == 0 || n > FUNCTIONS_MAX) {
                reader_complain(rd, at, "found %zu functions, expected from 1 to %u", n, FUNCTIONS_MAX);
                return;
        }
        m->functions = calloc(n, sizeof(FunctionSpec));
        if (!m->functions) {
                rd->error = -ENOMEM;
                return;
        }
        json_object_object_foreach(value, name, member) {
                Place place = { .parent = at, .key = name };
                FunctionSpec *spec = m->functions + m->n_functions++;

                *spec = (FunctionSpec) {
                        .name = strdup(name), .runtime = _RUNTIME_INVALID,
                        .timeout_usec = 30 * USEC_PER_SEC, .payload_max = 16 * MIB,
                        .warm = 0, .max = 16, .events = 1, .queue_max = 1000, .queue_bytes = 64 * MIB,
                        .memory = 128 * MIB, .tasks_max = TASKS_MAX_DEFAULT, .memory_max = UINT64_MAX,
                };
                if (!spec->name)
                        rd->error = -ENOMEM;
                if (!function_name_is_valid(name))
                        reader_complain(rd, &place, "found a function named \"%.64s\", expected 1 to 64 letters, "
                                        "digits, _ or -, the first a letter or _", name);
                read_function(rd, &place, member, spec);
        }
}

/* ---- the application ---- */

/* What is read of the document, and is no part of a Manifest. */
typedef struct Document {
        Manifest manifest; /* first: readers take either */
        char **environment, **credentials;
        RetryPolicy retry;
} Document;

#define APP_FIELD(f) offsetof(Document, f)

static const Key document_keys[] = {
        { "$schema", read_schema, .expected = "a string" },
        { "name", read_name, APP_FIELD(manifest.name), .required = true,
          .expected = "1 to 63 lower-case letters, digits or -, the first a letter, the last no -" },
        { "functions", read_functions, .expected = "an object of functions", .required = true },
        { "environment", read_environment, APP_FIELD(environment), .expected = "an object of variables" },
        { "credentials", read_credentials, APP_FIELD(credentials), .expected = CREDENTIALS_EXPECTED },
        { "resources", read_resources, APP_FIELD(manifest.resources), .expected = "an object of properties" },
        { "network", read_network, .expected = "\"none\" or \"nat\"" },
        { "idle", read_span, APP_FIELD(manifest.idle_usec), 10 * USEC_PER_MSEC, USEC_INFINITY,
          "a time span of at least \"10ms\", such as \"5min\", or \"infinity\"" },
        { "receipts", read_receipts, .expected = "\"sample\", \"failed\" or \"all\"" },
        { "triggers", read_triggers, .expected = "an array of triggers" },
        { "mounts", read_mounts, .expected = "an array of mounts" },
        { "packages", read_packages, APP_FIELD(manifest.packages), .expected = "an array of Debian packages' names" },
        { "build", read_command, APP_FIELD(manifest.build), .expected = "an array of a program and its arguments" },
        { "retry", read_retry, APP_FIELD(retry), .expected = "an object" },
        { "allow", read_allow, APP_FIELD(manifest.allow), .expected = "an array of at most 64 applications' names" },
        UNSERVED("workflows"),
        {}
};

static void merge_environments(Reader *rd, Document *d) {
        Place document = {}, functions = { .parent = &document, .key = "functions" };

        for (size_t i = 0; i < d->manifest.n_functions; i++) {
                FunctionSpec *f = d->manifest.functions + i;
                Place function = { .parent = &functions, .key = f->name },
                      at = { .parent = &function, .key = "environment" };
                char **merged;

                if (!f->name || environment_merge(rd, &at, d->environment, f->environment, &merged) < 0) {
                        rd->error = -ENOMEM;
                        return;
                }
                strv_free(f->environment);
                f->environment = merged;
        }
}

/* A function's own list takes the place of the application's, also when it is empty. */
static void merge_credentials(Reader *rd, Document *d) {
        Place document = {}, at = { .parent = &document, .key = "credentials" };
        Manifest *m = &d->manifest;
        size_t n;

        for (size_t i = 0; i < m->n_functions; i++) {
                FunctionSpec *f = m->functions + i;

                for (char **c = f->credentials ? NULL : d->credentials; c && *c; c++)
                        if (strv_extend(&f->credentials, *c) < 0)
                                rd->error = -ENOMEM;
                for (char **c = f->credentials; c && *c; c++)
                        if (!strv_contains(m->credentials, *c) && strv_extend(&m->credentials, *c) < 0)
                                rd->error = -ENOMEM;
        }
        n = strv_length(m->credentials);
        if (n > CREDENTIALS_MAX)
                reader_complain(rd, &at, "found %zu secrets of all functions together, expected at most %u", n,
                                CREDENTIALS_MAX);
}

static void manifest_done(Manifest *m) {
        for (size_t i = 0; i < m->n_functions; i++)
                function_done(m->functions + i);
        free(m->functions);
        free(m->name);
        strv_free(m->resources);
        strv_free(m->credentials);
        triggers_done(m);
        strv_free(m->allow);
        mounts_free(m->mounts, m->n_mounts);
        strv_free(m->packages);
        strv_free(m->build);
        (void) json_object_put(m->json);
        *m = (Manifest) {};
}

Manifest *manifest_free(Manifest *m) {
        if (m)
                manifest_done(m);
        free(m);
        return NULL;
}

const char *manifest_resource(const Manifest *m, const char *property) {
        size_t l = strlen(property);

        for (char **line = m->resources; line && *line; line++)
                if (strncmp(*line, property, l) == 0 && (*line)[l] == '=')
                        return *line + l + 1;
        return NULL;
}

/* A limit that the application's own comes before would never be met. */
static void check_resources(Reader *rd, const Manifest *m) {
        Place document = {}, functions = { .parent = &document, .key = "functions" };
        const char *text = manifest_resource(m, "MemoryMax");
        uint64_t max;

        if (!text || parse_size(text, &max) < 0)
                return;
        for (size_t i = 0; i < m->n_functions; i++) {
                const FunctionSpec *f = m->functions + i;
                Place function = { .parent = &functions, .key = f->name },
                      resources = { .parent = &function, .key = "resources" },
                      at = { .parent = &resources, .key = "MemoryMax" };

                if (f->memory_max != UINT64_MAX && f->memory_max > max)
                        reader_complain(rd, &at, "found %" PRIu64 " bytes, expected no more than the application's "
                                        "MemoryMax, %s", f->memory_max, text);
        }
}

static int read_document(Reader *rd, Manifest **ret) {
        Document d = { .manifest = { .idle_usec = 5 * USEC_PER_MINUTE, .receipts = RECEIPTS_SAMPLE },
                       .retry = RETRY_POLICY_DEFAULT };
        Place document = {};
        Manifest *m = NULL;

        read_object(rd, &document, rd->layers->merged, document_keys, &d);
        merge_environments(rd, &d);
        merge_credentials(rd, &d);
        merge_retry(rd, &d.retry, &d.manifest);
        check_destinations(rd, &d.manifest);
        check_triggers(rd, &d.manifest);
        check_mounts(rd, &d.manifest);
        check_resources(rd, &d.manifest);
        strv_free(d.environment);
        strv_free(d.credentials);

        if (rd->error >= 0 && !rd->bad) {
                m = malloc(sizeof(Manifest));
                if (!m)
                        rd->error = -ENOMEM;
        }
        if (!m) {
                manifest_done(&d.manifest);
                return rd->error < 0 ? rd->error : -EBADMSG;
        }
        *m = d.manifest;
        m->json = json_object_get(rd->layers->merged);
        *ret = m;
        return 0;
}

int manifest_from_layers(const Layers *l, int files_fd, Problems *problems, Manifest **ret) {
        assert(l);
        assert(problems);
        assert(ret);

        return read_document(&(Reader) { .layers = l, .problems = problems, .dir_fd = files_fd }, ret);
}

int manifest_parse(const char *file, const char *text, size_t size, Problems *problems, Manifest **ret) {
        _cleanup_(layers_done) Layers l = {};
        int r;

        assert(file);
        assert(text || size == 0);

        r = layers_add(&l, file, text, size, problems);
        return r < 0 ? r : manifest_from_layers(&l, -EBADF, problems, ret);
}

/* All of a file that is not larger than a manifest may be, and one byte more if it is. */
static int read_text(int fd, char **ret, size_t *ret_size) {
        _cleanup_(freep) char *text = malloc(JSON_TEXT_SIZE_MAX + 1);
        size_t size = 0;

        if (!text)
                return -ENOMEM;
        while (size <= JSON_TEXT_SIZE_MAX) {
                ssize_t n = read(fd, text + size, JSON_TEXT_SIZE_MAX + 1 - size);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                size += (size_t) n;
        }
        *ret = TAKE_PTR(text);
        *ret_size = size;
        return 0;
}

static int open_manifest(int dir_fd, Problems *problems) {
        _cleanup_(closep) int fd = -EBADF;
        struct stat st;
        int r;

        fd = open_beneath(dir_fd, MANIFEST_FILE, O_RDONLY, 0, 0);
        if (fd == -ENOENT)
                r = problems_add(problems, MANIFEST_FILE, NULL, 0, "found no such file, expected it at the top "
                                 "of the bundle");
        else if (fd == -EXDEV)
                r = problems_add(problems, MANIFEST_FILE, NULL, 0, "found a link out of the bundle, expected a file");
        else if (fd == -ELOOP)
                r = problems_add(problems, MANIFEST_FILE, NULL, 0, "found a link to itself, expected a file");
        else if (fd < 0)
                return fd;
        else if (fstat(fd, &st) < 0)
                return -errno;
        else if (!S_ISREG(st.st_mode))
                r = problems_add(problems, MANIFEST_FILE, NULL, 0, "found no regular file, expected one");
        else
                return TAKE_FD(fd);
        return r < 0 ? r : -EBADMSG;
}

static int add_file(Layers *l, int fd, const char *file, Problems *problems) {
        _cleanup_(freep) char *text = NULL;
        size_t size;
        int r;

        r = read_text(fd, &text, &size);
        return r < 0 ? r : layers_add(l, file, text, size, problems);
}

/* What an operator cannot change: the name comes with the deployment, and a bundle has been built when it gets here. */
static int check_override(const Layer *l, Problems *problems) {
        static const char *const fixed[] = { "name", "build" };
        int result = 0;

        for (size_t i = 0; i < ELEMENTSOF(fixed); i++) {
                char pointer[16];
                int r;

                if (!json_object_object_get_ex(json_text_root(l->text), fixed[i], NULL))
                        continue;
                (void) snprintf(pointer, sizeof(pointer), "/%s", fixed[i]);
                r = problems_add(problems, l->file, pointer, json_text_line(l->text, pointer),
                                 "found \"%s\", which an override cannot change, expected no such key", fixed[i]);
                result = r < 0 ? r : -EBADMSG;
        }
        return result;
}

static int is_override(const struct dirent *e) {
        return override_file_is_valid(e->d_name);
}

static int compare_names(const struct dirent **a, const struct dirent **b) {
        return strcmp((*a)->d_name, (*b)->d_name); /* whatever the locale */
}

bool override_file_is_valid(const char *s) {
        size_t l = strlen(s), suffix = strlen(OVERRIDE_SUFFIX);

        return l > suffix && s[0] != '.' && streq(s + l - suffix, OVERRIDE_SUFFIX);
}

bool override_name_is_valid(const char *s) {
        return credential_name_is_valid(s) && override_file_is_valid(s);
}

int overrides_list(int dir_fd, char ***ret) {
        _cleanup_(strv_freep) char **l = NULL;
        struct dirent **entries;
        int n, r = 0;

        n = scandirat(dir_fd, ".", &entries, is_override, compare_names);
        if (n < 0)
                return -errno;
        for (int i = 0; i < n; i++) {
                if (r >= 0)
                        r = strv_extend(&l, entries[i]->d_name);
                free(entries[i]);
        }
        free(entries);
        if (r >= 0)
                *ret = TAKE_PTR(l);
        return r;
}

static int add_override(Layers *l, int dir_fd, const char *folder, const char *file, Problems *problems) {
        _cleanup_(freep) char *path = NULL;
        _cleanup_(closep) int fd = -EBADF;
        int r;

        if (asprintf(&path, "%s/%s", folder, file) < 0)
                return -ENOMEM;
        fd = open_beneath(dir_fd, file, O_RDONLY, 0, 0);
        if (fd < 0)
                return fd;
        r = add_file(l, fd, path, problems);
        return r < 0 ? r : check_override(l->items + l->n - 1, problems);
}

int manifest_layers(int dir_fd, int overrides_fd, const char *app, Problems *problems, Layers *ret) {
        _cleanup_(strv_freep) char **files = NULL;
        _cleanup_(layers_done) Layers l = {};
        _cleanup_(freep) char *folder = NULL;
        _cleanup_(closep) int fd = -EBADF;
        int r, result = 0;

        assert(dir_fd >= 0);
        assert(problems);
        assert(ret);

        fd = open_manifest(dir_fd, problems);
        if (fd < 0)
                return fd;
        r = add_file(&l, fd, MANIFEST_FILE, problems);
        if (r >= 0 && overrides_fd >= 0) {
                r = overrides_list(overrides_fd, &files);
                if (r >= 0 && asprintf(&folder, SAND_OVERRIDES_DIR "/%s" OVERRIDES_SUFFIX, app) < 0)
                        r = -ENOMEM;
        }
        for (char **f = files; (r >= 0 || r == -EBADMSG) && f && *f; f++) {
                r = add_override(&l, overrides_fd, folder, *f, problems);
                result = r < 0 ? r : result;
        }
        if (r < 0 || result < 0)
                return r < 0 ? r : result;
        *ret = l;
        l = (Layers) {};
        return 0;
}

int manifest_load(int dir_fd, bool check_files, Problems *problems, Manifest **ret) {
        return manifest_load_overridden(dir_fd, -EBADF, NULL, check_files, problems, ret);
}

int manifest_load_overridden(int dir_fd, int overrides_fd, const char *app, bool check_files, Problems *problems,
                             Manifest **ret) {
        _cleanup_(layers_done) Layers l = {};
        int r;

        r = manifest_layers(dir_fd, overrides_fd, app, problems, &l);
        return r < 0 ? r : manifest_from_layers(&l, check_files ? dir_fd : -EBADF, problems, ret);
}

const FunctionSpec *manifest_find(const Manifest *m, const char *name) {
        assert(m);
        assert(name);

        for (size_t i = 0; i < m->n_functions; i++)
                if (streq(m->functions[i].name, name))
                        return m->functions + i;
        return NULL;
}
