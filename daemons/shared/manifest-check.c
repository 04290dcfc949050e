/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The values of a manifest with a grammar of their own: handlers, environments, systemd's resource
 * properties, content types, packages, commands. What passes here may be written into a unit file, an environment
 * block or an HTTP header as it is. */

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#include "manifest-reader.h"
#include "path.h"
#include "text.h"
#include "vendor.h"

#define HANDLER_ARGUMENTS_MAX 64U
#define HANDLER_ARGUMENT_SIZE_MAX 4096U
#define HANDLER_PATH_MAX 1024U
#define ENVIRONMENT_MAX 128U
#define ENVIRONMENT_SIZE_MAX (32U * 1024U)
#define CONTENT_TYPE_MAX 256U
#define PACKAGES_MAX 64U

#define DIGITS "0123456789"
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

/* [A-Za-z_][A-Za-z0-9_]*; the length, or 0. */
static size_t identifier_length(const char *s) {
        return strspn(s, DIGITS) > 0 ? 0 : strspn(s, LETTERS DIGITS "_");
}

static bool has_control(const char *s) {
        for (; *s; s++)
                if (((uint8_t) *s < 0x20 && *s != '\t') || *s == 0x7F)
                        return true;
        return false;
}

/* ---- environments ---- */

static const char *environment_name_problem(const char *name) {
        size_t l = identifier_length(name);

        if (l == 0 || name[l])
                return "a name of letters, digits and _ that begins with no digit";
        if (startswith(name, "SAND_"))
                return "a name that does not begin with SAND_, which is SAND's own";
        if (startswith(name, "LD_"))
                return "a name that does not begin with LD_, which is the dynamic linker's";
        if (streq(name, "CREDENTIALS_DIRECTORY"))
                return "another name: this one says where a function's secrets are";
        return NULL;
}

static void read_variable(Reader *rd, const Place *at, json_object *value, char ***environment) {
        const char *problem = environment_name_problem(at->key), *s;
        char *assignment;

        if (problem)
                reader_complain(rd, at, "found the variable \"%.64s\", expected %s", at->key, problem);
        if (!json_object_is_type(value, json_type_string)) {
                reader_mismatch(rd, at, value, "a string");
                return;
        }
        s = json_object_get_string(value);
        if (has_control(s)) {
                reader_mismatch(rd, at, value, "a string without control characters (a tab may be in it)");
                return;
        }
        if (problem)
                return;
        if (asprintf(&assignment, "%s=%s", at->key, s) < 0 || strv_consume(environment, assignment) < 0)
                rd->error = -ENOMEM;
}

static bool environment_is_bounded(Reader *rd, const Place *at, char *const *environment) {
        size_t size = 0, n = strv_length(environment);

        for (size_t i = 0; i < n; i++)
                size += strlen(environment[i]) + 1;
        if (n > ENVIRONMENT_MAX)
                reader_complain(rd, at, "found %zu variables, expected at most %u", n, ENVIRONMENT_MAX);
        else if (size > ENVIRONMENT_SIZE_MAX)
                reader_complain(rd, at, "found variables of %zu bytes in all, expected at most %u", size,
                                ENVIRONMENT_SIZE_MAX);
        else
                return true;
        return false;
}

void read_environment(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        char ***field = (char ***) ((char *) target + key->offset);
        _cleanup_(strv_freep) char **environment = NULL;

        if (!json_object_is_type(value, json_type_object)) {
                reader_mismatch(rd, at, value, key->expected);
                return;
        }
        if ((size_t) json_object_object_length(value) > ENVIRONMENT_MAX) {
                reader_complain(rd, at, "found %d variables, expected at most %u",
                                json_object_object_length(value), ENVIRONMENT_MAX);
                return;
        }
        json_object_object_foreach(value, name, member) {
                Place place = { .parent = at, .key = name };
                read_variable(rd, &place, member, &environment);
        }
        if (!environment_is_bounded(rd, at, environment))
                return;
        strv_free(*field);
        *field = TAKE_PTR(environment);
}

static bool environment_has(char *const *environment, const char *assignment) {
        size_t name = strcspn(assignment, "=") + 1;

        for (; environment && *environment; environment++)
                if (strncmp(*environment, assignment, name) == 0)
                        return true;
        return false;
}

int environment_merge(Reader *rd, const Place *at, char *const *base, char *const *override, char ***ret) {
        _cleanup_(strv_freep) char **merged = NULL;

        for (char *const *i = base; i && *i; i++)
                if (!environment_has(override, *i) && strv_extend(&merged, *i) < 0)
                        return -ENOMEM;
        for (char *const *i = override; i && *i; i++)
                if (strv_extend(&merged, *i) < 0)
                        return -ENOMEM;
        (void) environment_is_bounded(rd, at, merged);
        *ret = TAKE_PTR(merged);
        return 0;
}

/* ---- credentials ---- */

static void read_credential(Reader *rd, const Place *at, json_object *value, char ***credentials) {
        const char *s = json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;

        if (!credential_name_is_valid(s))
                reader_mismatch(rd, at, value, "a secret's name of 1 to 64 letters, digits, _, . and -, the first no . or -");
        else if (strv_contains(*credentials, s))
                reader_complain(rd, at, "found \"%s\" a second time, expected it once", s);
        else if (strv_extend(credentials, s) < 0)
                rd->error = -ENOMEM;
}

/* An empty array is told from none. */
void read_credentials(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        char ***field = (char ***) ((char *) target + key->offset);
        size_t n = json_object_is_type(value, json_type_array) ? json_object_array_length(value) : SIZE_MAX;

        if (n > CREDENTIALS_MAX) {
                reader_mismatch(rd, at, value, key->expected);
                return;
        }
        strv_free(*field);
        *field = calloc(1, sizeof(char *));
        if (!*field)
                rd->error = -ENOMEM;
        for (size_t i = 0; i < n && *field; i++) {
                Place place = { .parent = at, .index = i };
                read_credential(rd, &place, json_object_array_get_idx(value, i), field);
        }
}

/* ---- systemd's resource properties ---- */

/* What a property may be, beside an integer in a string or as a number. */
typedef enum PropertyKind {
        PROPERTY_BYTES,      /* a size, a percentage up to 100%, "infinity" */
        PROPERTY_LIMIT,      /* the same, above 0: systemd ignores what is not */
        PROPERTY_TASKS,      /* a number, a percentage up to 100%, "infinity" */
        PROPERTY_WEIGHT,     /* 1 to 10000 */
        PROPERTY_CPU_WEIGHT, /* the same, and "idle" */
        PROPERTY_QUOTA,      /* a percentage, also above 100% */
        PROPERTY_PERIOD,     /* a span, 1ms to 1s */
        PROPERTY_SET,        /* numbers and ranges: "0-3,8" */
} PropertyKind;

static const char *const property_expected[] = {
        [PROPERTY_BYTES] = "a size such as \"512M\", a percentage such as \"10%\", or \"infinity\"",
        [PROPERTY_LIMIT] = "a size such as \"512M\" or a percentage such as \"10%\", above 0, or \"infinity\"",
        [PROPERTY_TASKS] = "a number above 0, a percentage such as \"10%\", or \"infinity\"",
        [PROPERTY_WEIGHT] = "a number from 1 to 10000",
        [PROPERTY_CPU_WEIGHT] = "a number from 1 to 10000, or \"idle\"",
        [PROPERTY_QUOTA] = "a percentage of one CPU above 0%, such as \"150%\"",
        [PROPERTY_PERIOD] = "a time span from \"1ms\" to \"1s\"",
        [PROPERTY_SET] = "numbers and ranges such as \"0-3,8\"",
};

typedef struct Property {
        const char *name;
        PropertyKind kind;
} Property;

static const Property properties[] = {
        { "AllowedCPUs",        PROPERTY_SET },
        { "AllowedMemoryNodes", PROPERTY_SET },
        { "CPUQuota",           PROPERTY_QUOTA },
        { "CPUQuotaPeriodSec",  PROPERTY_PERIOD },
        { "CPUWeight",          PROPERTY_CPU_WEIGHT },
        { "IOWeight",           PROPERTY_WEIGHT },
        { "MemoryHigh",         PROPERTY_LIMIT },
        { "MemoryLow",          PROPERTY_BYTES },
        { "MemoryMax",          PROPERTY_LIMIT },
        { "MemoryMin",          PROPERTY_BYTES },
        { "MemorySwapMax",      PROPERTY_BYTES },
        { "TasksMax",           PROPERTY_TASKS },
        {}
};

static const char *property_name_at(const void *words, size_t i) {
        return ((const Property *) words)[i].name;
}

static bool parse_decimal(const char *s, uint64_t max, uint64_t *ret) {
        uint64_t n = 0;

        if (!*s || s[strspn(s, DIGITS)] || strlen(s) > 19)
                return false;
        for (; *s; s++)
                n = n * 10 + (uint64_t) (*s - '0');
        *ret = n;
        return n <= max;
}

/* "10%", "12.5%", "0.25%", from `min` on, to `max` if that is not 0; in hundredths of a percent */
static bool percentage_is_valid(const char *s, uint64_t min, uint64_t max) {
        size_t whole = strspn(s, DIGITS), fraction = 0;
        uint64_t n = strtoul(s, NULL, 10) * 100;
        const char *p = s + whole;

        if (whole == 0 || whole > 6)
                return false;
        if (*p == '.') {
                fraction = strspn(++p, DIGITS);
                if (fraction == 0 || fraction > 2)
                        return false;
                n += strtoul(p, NULL, 10) * (fraction == 1 ? 10 : 1);
                p += fraction;
        }
        return streq(p, "%") && n >= min && (max == 0 || n <= max);
}

/* "0-3,8" or "0-3 8" */
static bool cpu_set_is_valid(const char *s) {
        while (*s) {
                uint64_t range[2];
                unsigned n = 0;

                for (;;) {
                        size_t l = strspn(s, DIGITS);
                        if (l == 0 || l > 4 || n == 2)
                                return false;
                        range[n++] = strtoul(s, NULL, 10);
                        s += l;
                        if (*s != '-')
                                break;
                        s++;
                }
                if ((n == 2 && range[0] > range[1]) || range[n - 1] >= 8192)
                        return false;
                if (!*s)
                        return true;
                if (strspn(s, ", ") != 1)
                        return false;
                s++;
        }
        return false;
}

static bool property_is_valid(PropertyKind kind, const char *s) {
        uint64_t n;

        switch (kind) {
        case PROPERTY_BYTES:
        case PROPERTY_LIMIT:
                return streq(s, "infinity") || percentage_is_valid(s, kind == PROPERTY_LIMIT, 10000) ||
                       (parse_size(s, &n) >= 0 && (n > 0 || kind == PROPERTY_BYTES));
        case PROPERTY_TASKS:
                return streq(s, "infinity") || percentage_is_valid(s, 1, 10000) ||
                       (parse_decimal(s, INT64_MAX, &n) && n > 0);
        case PROPERTY_CPU_WEIGHT:
                if (streq(s, "idle"))
                        return true;
                return parse_decimal(s, 10000, &n) && n > 0;
        case PROPERTY_WEIGHT:
                return parse_decimal(s, 10000, &n) && n > 0;
        case PROPERTY_QUOTA:
                return percentage_is_valid(s, 1, 0);
        case PROPERTY_PERIOD:
                return parse_time_span(s, &n) >= 0 && n >= USEC_PER_MSEC && n <= USEC_PER_SEC;
        case PROPERTY_SET:
                return cpu_set_is_valid(s);
        default:
                return false;
        }
}

static void read_property(Reader *rd, const Place *at, json_object *value, const Property *p, char ***resources) {
        char number[32], *assignment;
        const char *s = NULL;
        uint64_t n;

        if (json_get_integer(value, &n)) {
                (void) snprintf(number, sizeof(number), "%" PRIu64, n);
                s = number;
        } else if (json_object_is_type(value, json_type_string))
                s = json_object_get_string(value);
        /* the grammars know tabs and line ends as blanks; a unit file's line ends at one */
        if (!s || has_control(s) || strlen(s) > 128 || !property_is_valid(p->kind, s)) {
                reader_mismatch(rd, at, value, property_expected[p->kind]);
                return;
        }
        if (asprintf(&assignment, "%s=%s", p->name, s) < 0 || strv_consume(resources, assignment) < 0)
                rd->error = -ENOMEM;
}

void read_resources(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        char ***resources = (char ***) ((char *) target + key->offset);

        if (!json_object_is_type(value, json_type_object)) {
                reader_mismatch(rd, at, value, key->expected);
                return;
        }
        json_object_object_foreach(value, name, member) {
                Place place = { .parent = at, .key = name };
                const Property *p = properties;

                while (p->name && !streq(p->name, name))
                        p++;
                if (p->name) {
                        read_property(rd, &place, member, p, resources);
                        continue;
                }
                const char *meant = nearest_word(name, property_name_at, properties);
                reader_complain(rd, &place, "found an unknown property, expected %s%s%s",
                                meant ? "perhaps \"" : "one of systemd.resource-control(5) such as MemoryMax",
                                strempty(meant), meant ? "\"" : "");
        }
}

/* ---- content types ---- */

void read_content_type(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        static const char token[] = LETTERS DIGITS "!#$%&'*+.^_`|~-";
        const char *s, *p;
        size_t type, subtype;

        s = reader_string(rd, at, value, CONTENT_TYPE_MAX, key->expected);
        if (!s)
                return;
        type = strspn(s, token);
        subtype = s[type] == '/' ? strspn(s + type + 1, token) : 0;
        p = s + type + 1 + subtype;
        if (type == 0 || subtype == 0 || (*p && *p != ';' && *p != ' ')) {
                reader_mismatch(rd, at, value, key->expected);
                return;
        }
        for (; *p; p++)
                if (*p < 0x20 || *p > 0x7E) {
                        reader_mismatch(rd, at, value, key->expected);
                        return;
                }
        if (free_and_strdup((char **) ((char *) target + key->offset), s) < 0)
                rd->error = -ENOMEM;
}

/* ---- packages and commands ---- */

/* Whether it is one, of at most `max` elements. */
static bool is_short_array(Reader *rd, const Place *at, json_object *value, size_t max, const char *expected) {
        if (!json_object_is_type(value, json_type_array))
                reader_mismatch(rd, at, value, expected);
        else if (json_object_array_length(value) > max)
                reader_complain(rd, at, "found an array of %zu elements, expected at most %zu",
                                json_object_array_length(value), max);
        else
                return true;
        return false;
}

static void read_package(Reader *rd, const Place *at, json_object *value, char ***packages) {
        const char *s = json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;

        if (!package_name_is_valid(s)) {
                reader_mismatch(rd, at, value, "a Debian package's name such as \"python3-pil\"");
                return;
        }
        for (char **p = *packages; p && *p; p++)
                if (streq(*p, s)) {
                        reader_complain(rd, at, "found \"%s\" a second time, expected each package once", s);
                        return;
                }
        if (strv_extend(packages, s) < 0)
                rd->error = -ENOMEM;
}

void read_packages(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        char ***packages = (char ***) ((char *) target + key->offset);

        if (!is_short_array(rd, at, value, PACKAGES_MAX, key->expected))
                return;
        for (size_t i = 0; i < json_object_array_length(value); i++)
                read_package(rd, &(Place) { .parent = at, .index = i }, json_object_array_get_idx(value, i), packages);
}

static void read_word(Reader *rd, const Place *at, json_object *value, char ***command) {
        const char *s = json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;

        if (!s || has_control(s))
                reader_mismatch(rd, at, value, "a string without control characters");
        else if (!*command && !*s)
                reader_mismatch(rd, at, value, "a program");
        else if (strlen(s) > HANDLER_ARGUMENT_SIZE_MAX)
                reader_complain(rd, at, "found an argument of %zu bytes, expected at most %u", strlen(s),
                                HANDLER_ARGUMENT_SIZE_MAX);
        else if (strv_extend(command, s) < 0)
                rd->error = -ENOMEM;
}

void read_command(Reader *rd, const Place *at, json_object *value, const Key *key, void *target) {
        char ***command = (char ***) ((char *) target + key->offset);

        if (!is_short_array(rd, at, value, HANDLER_ARGUMENTS_MAX, key->expected))
                return;
        if (json_object_array_length(value) == 0)
                reader_complain(rd, at, "found an empty array, expected a program and its arguments");
        for (size_t i = 0; i < json_object_array_length(value); i++)
                read_word(rd, &(Place) { .parent = at, .index = i }, json_object_array_get_idx(value, i), command);
}

/* ---- handlers ---- */

typedef enum FileKind { FILE_REGULAR, FILE_EXECUTABLE } FileKind;

/* 0, or a negative errno: -ENOENT, -EXDEV (it leaves the bundle), -EISDIR (no regular file), -EACCES (not to be
 * executed), ... */
static int check_file(const Reader *rd, const char *path, FileKind kind) {
        _cleanup_(closep) int fd = -EBADF;
        struct stat st;

        fd = open_beneath(rd->dir_fd, path, O_PATH, 0, 0);
        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EISDIR;
        return kind == FILE_EXECUTABLE && !(st.st_mode & S_IXUSR) ? -EACCES : 0;
}

static void complain_file(Reader *rd, const Place *at, int r, const char *path) {
        switch (r) {
        case -ENOENT:
        case -ENOTDIR:
                reader_complain(rd, at, "found no file %s in the bundle, expected the handler's code there", path);
                return;
        case -EXDEV:
                reader_complain(rd, at, "found that %s is a link out of the bundle, expected a file of the bundle", path);
                return;
        case -EISDIR:
                reader_complain(rd, at, "found that %s is no regular file, expected one", path);
                return;
        case -EACCES:
                reader_complain(rd, at, "found that %s may not be executed, expected that it may: chmod +x %s", path, path);
                return;
        default:
                reader_complain(rd, at, "cannot look at %s: %s", path, strerror(-r));
        }
}

/* "package.module.function": package/module.py or package/module/__init__.py. */
static void check_python_file(Reader *rd, const Place *at, const char *handler) {
        char path[HANDLER_PATH_MAX + sizeof("/__init__.py")];
        size_t l = (size_t) (strrchr(handler, '.') - handler);
        int r;

        memcpy(path, handler, l);
        path[l] = '\0';
        for (char *p = path; (p = strchr(p, '.'));)
                *p = '/';
        memcpy(path + l, "/__init__.py", sizeof("/__init__.py"));
        r = check_file(rd, path, FILE_REGULAR);
        if (r == 0)
                return;
        memcpy(path + l, ".py", sizeof(".py"));
        if (r == -ENOENT || r == -ENOTDIR)
                r = check_file(rd, path, FILE_REGULAR);
        if (r < 0)
                complain_file(rd, at, r, path);
}

static bool python_handler_is_valid(const char *s) {
        unsigned parts = 0;

        for (;; parts++) {
                size_t l = identifier_length(s);
                if (l == 0)
                        return false;
                s += l;
                if (!*s)
                        return parts > 0;
                if (*s++ != '.')
                        return false;
        }
}

static bool read_python_handler(Reader *rd, const Place *at, json_object *value, const char *s) {
        if (!python_handler_is_valid(s)) {
                reader_mismatch(rd, at, value, "\"module.function\"");
                return false;
        }
        if (rd->dir_fd >= 0)
                check_python_file(rd, at, s);
        return true;
}

static bool read_native_handler(Reader *rd, const Place *at, json_object *value, const char *s) {
        _cleanup_(freep) char *path = NULL;
        const char *colon = strrchr(s, ':');
        size_t l = colon ? (size_t) (colon - s) : 0, symbol = colon ? identifier_length(colon + 1) : 0;
        int r;

        if (symbol == 0 || colon[1 + symbol] || l <= strlen(".so") || strncmp(colon - 3, ".so", 3) != 0 ||
            has_control(s)) {
                reader_mismatch(rd, at, value, "\"path.so:symbol\"");
                return false;
        }
        path = strndup(s, l);
        if (!path) {
                rd->error = -ENOMEM;
                return false;
        }
        if (!path_is_inside(path)) {
                reader_mismatch(rd, at, value, "a path within the bundle, without a leading / and without ..");
                return false;
        }
        r = rd->dir_fd >= 0 ? check_file(rd, path, FILE_REGULAR) : 0;
        if (r < 0)
                complain_file(rd, at, r, path);
        return true;
}

/* A program without a slash is found on PATH. A file of the bundle with that name, where PATH has none, is
 * most likely what was meant. */
static bool means_own_file(const Reader *rd, const char *program) {
        static const char *const path[] = { "/usr/local/bin", "/usr/bin" }; /* a machine's /usr is the host's */
        char vendor[sizeof(VENDOR_BIN) + 1 + HANDLER_PATH_MAX];

        (void) snprintf(vendor, sizeof(vendor), VENDOR_BIN "/%s", program);
        if (check_file(rd, program, FILE_REGULAR) < 0 || check_file(rd, vendor, FILE_EXECUTABLE) >= 0)
                return false;
        for (size_t i = 0; i < ELEMENTSOF(path); i++) {
                _cleanup_(freep) char *p = NULL;
                if (asprintf(&p, "%s/%s", path[i], program) < 0) {
                        p = NULL;
                        return false;
                }
                if (access(p, X_OK) >= 0)
                        return false;
        }
        return true;
}

static void read_program(Reader *rd, const Place *at, json_object *value, const char *s) {
        int r;

        if (!strchr(s, '/')) {
                if (streq(s, ".") || streq(s, ".."))
                        reader_mismatch(rd, at, value, "a program");
                else if (rd->dir_fd >= 0 && means_own_file(rd, s))
                        reader_complain(rd, at, "found \"%s\", which is looked for on PATH and is not there, "
                                        "expected \"./%s\" for the bundle's file", s, s);
                return;
        }
        if (!path_is_inside(s)) {
                reader_mismatch(rd, at, value, "a path within the bundle, without a leading / and without .., "
                                "or a program's name without / to be found on PATH");
                return;
        }
        r = rd->dir_fd >= 0 ? check_file(rd, s, FILE_EXECUTABLE) : 0;
        if (r < 0)
                complain_file(rd, at, r, s);
}

static const char exec_expected[] = "a program, or an array of a program and its arguments";

static void read_argument(Reader *rd, const Place *at, json_object *value, size_t i, FunctionSpec *spec) {
        const char *s;

        if (!json_object_is_type(value, json_type_string) || has_control(json_object_get_string(value))) {
                reader_mismatch(rd, at, value, "a string without control characters");
                return;
        }
        s = json_object_get_string(value);
        if (i == 0) {
                s = reader_string(rd, at, value, HANDLER_PATH_MAX, "a program");
                if (!s)
                        return;
                read_program(rd, at, value, s);
        } else if (strlen(s) > HANDLER_ARGUMENT_SIZE_MAX) {
                reader_complain(rd, at, "found an argument of %zu bytes, expected at most %u", strlen(s),
                                HANDLER_ARGUMENT_SIZE_MAX);
                return;
        }
        if (strv_extend(&spec->handler, s) < 0)
                rd->error = -ENOMEM;
}

static void read_exec_handler(Reader *rd, const Place *at, json_object *value, FunctionSpec *spec) {
        size_t n;

        if (json_object_is_type(value, json_type_string)) {
                read_argument(rd, at, value, 0, spec);
                return;
        }
        if (!json_object_is_type(value, json_type_array)) {
                reader_mismatch(rd, at, value, exec_expected);
                return;
        }
        n = json_object_array_length(value);
        if (n == 0 || n > HANDLER_ARGUMENTS_MAX) {
                reader_complain(rd, at, "found an array of %zu elements, expected a program and at most %u arguments",
                                n, HANDLER_ARGUMENTS_MAX - 1);
                return;
        }
        for (size_t i = 0; i < n; i++) {
                Place place = { .parent = at, .index = i };
                read_argument(rd, &place, json_object_array_get_idx(value, i), i, spec);
        }
}

void read_handler(Reader *rd, const Place *at, json_object *value, FunctionSpec *spec) {
        const char *s;
        bool good;

        if (spec->runtime == RUNTIME_EXEC) {
                read_exec_handler(rd, at, value, spec);
                return;
        }
        s = reader_string(rd, at, value, HANDLER_PATH_MAX,
                          spec->runtime == RUNTIME_NATIVE ? "\"path.so:symbol\"" : "\"module.function\"");
        if (!s)
                return;
        good = spec->runtime == RUNTIME_NATIVE ? read_native_handler(rd, at, value, s)
                                               : read_python_handler(rd, at, value, s);
        if (good && strv_extend(&spec->handler, s) < 0)
                rd->error = -ENOMEM;
}
