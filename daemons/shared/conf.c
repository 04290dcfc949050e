/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Settings. inih takes the sections and assignments apart; what it does otherwise than systemd (continuation by
 * indentation, comments behind a value, ':' for '=', lines that are cut) is settled line by line before it. */

#include "conf.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>
#include <sys/stat.h>

#include "log.h"
#include "manifest.h"
#include "text.h"

#define WHITESPACE " \t\r\n"
#define FILE_SIZE_MAX (1024 * 1024)
#define HIDDEN_SEMICOLON '\001' /* inih would see a comment; control characters do not get here */

typedef struct Loader {
        const char *path;
        FILE *f;
        unsigned line, next_line; /* of the assignment at hand; of what is read next */
        char *buffer;             /* getline()'s */
        size_t allocated;
        const ConfSetting *settings;
        size_t n_settings;
        const char *section; /* for the search of the nearest name */
        bool bad;
        int error;
} Loader;

/* ---- values ---- */

static int parse_boolean(const char *s, bool *ret) {
        static const char *const yes[] = { "1", "yes", "y", "true", "t", "on" };
        static const char *const no[] = { "0", "no", "n", "false", "f", "off" };

        for (size_t i = 0; i < ELEMENTSOF(yes); i++)
                if (strcasecmp(s, yes[i]) == 0 || strcasecmp(s, no[i]) == 0) {
                        *ret = strcasecmp(s, yes[i]) == 0;
                        return 0;
                }
        return -EINVAL;
}

static int parse_unsigned(const char *s, uint64_t *ret) {
        uint64_t n = 0;

        if (!*s || strlen(s) > 10 || s[strspn(s, "0123456789")])
                return -EINVAL;
        for (; *s; s++)
                n = n * 10 + (uint64_t) (*s - '0');
        if (n > UINT32_MAX)
                return -ERANGE;
        *ret = n;
        return 0;
}

static int append_words(char ***list, const char *value) {
        if (!*value) {
                *list = strv_free(*list);
                return 0;
        }
        while (*value) {
                size_t l = strcspn(value, WHITESPACE);
                int r = strv_consume(list, strndup(value, l));
                if (r < 0)
                        return r;
                value += l;
                value += strspn(value, WHITESPACE);
        }
        return 0;
}

static int set_number(const ConfSetting *s, const char *value) {
        uint64_t n;
        int r;

        r = s->type == CONF_UINT ? parse_unsigned(value, &n)
            : s->type == CONF_SIZE ? parse_size(value, &n)
                                   : parse_time_span(value, &n);
        if (r < 0)
                return -EINVAL;
        if ((s->min > 0 || s->max > 0) && (n < s->min || n > s->max))
                return -EINVAL;
        if (s->type == CONF_UINT)
                *(unsigned *) s->value = (unsigned) n;
        else
                *(uint64_t *) s->value = n;
        return 0;
}

/* -EINVAL: not what the setting expects */
static int set_value(const ConfSetting *s, const char *value) {
        switch (s->type) {
        case CONF_BOOL:
                return parse_boolean(value, s->value);
        case CONF_UINT:
        case CONF_SIZE:
        case CONF_SPAN:
                return set_number(s, value);
        case CONF_STRING:
                return free_and_strdup(s->value, isempty(value) ? NULL : value);
        case CONF_STRV:
                return append_words(s->value, value);
        default:
                assert(false);
                return -EINVAL;
        }
}

/* ---- one assignment ---- */

static void complain(Loader *l, const char *format, ...) _printf_(2, 3);
static void complain(Loader *l, const char *format, ...) {
        char message[1024];
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(message, sizeof(message), format, ap);
        va_end(ap);
        text_make_printable(message);
        log_warning("%s:%u: %s, ignoring", l->path, l->line, message);
        l->bad = true;
}

/* The i-th setting of the loader's section; the others are there as words that nothing is near to. */
static const char *setting_at(const void *words, size_t i) {
        const Loader *l = words;

        if (i >= l->n_settings)
                return NULL;
        return streq(l->settings[i].section, l->section) ? l->settings[i].name : "";
}

static const char *section_at(const void *words, size_t i) {
        const Loader *l = words;

        return i < l->n_settings ? l->settings[i].section : NULL;
}

static void complain_unknown(Loader *l, const char *section, const char *name) {
        const char *nearest;
        bool known = false;

        for (size_t i = 0; i < l->n_settings && !known; i++)
                known = streq(l->settings[i].section, section);
        l->section = section;
        nearest = nearest_word(known ? name : section, known ? setting_at : section_at, l);
        if (!*section)
                complain(l, "found %s= before any section, expected it below a line such as [%s]", name,
                         l->n_settings > 0 ? l->settings[0].section : "Section");
        else if (known)
                complain(l, "found the unknown setting %s= in section [%s]%s%s%s", name, section,
                         nearest ? ", expected perhaps " : "", strempty(nearest), nearest ? "=" : "");
        else
                complain(l, "found %s= in the unknown section [%s]%s%s%s", name, section,
                         nearest ? ", expected perhaps [" : "", strempty(nearest), nearest ? "]" : "");
}

static int handle_assignment(void *userdata, const char *section, const char *name, const char *value) {
        _cleanup_(freep) char *copy = strdup(strempty(value));
        Loader *l = userdata;

        if (!copy) {
                l->error = -ENOMEM;
                return 1;
        }
        for (char *p = copy; *p; p++)
                if (*p == HIDDEN_SEMICOLON)
                        *p = ';';
        for (size_t i = 0; i < l->n_settings; i++) {
                const ConfSetting *s = l->settings + i;
                int r;

                if (!streq(s->section, section) || !streq(s->name, name))
                        continue;
                r = set_value(s, copy);
                if (r == -EINVAL)
                        complain(l, "found %s=%.256s, expected %s", name, copy, s->expected);
                else if (r < 0)
                        l->error = r;
                return 1;
        }
        complain_unknown(l, section, name);
        return 1;
}

/* ---- one line ---- */

/* Removes the blanks at both ends, in place. */
static char *strip(char *s) {
        size_t n;

        s += strspn(s, WHITESPACE);
        for (n = strlen(s); n > 0 && strchr(WHITESPACE, s[n - 1]); n--)
                s[n - 1] = '\0';
        return s;
}

/* 1 and a line without the blanks around it, 0 at the end of the file. */
static int read_line(Loader *l, char **ret) {
        ssize_t n;

        n = getline(&l->buffer, &l->allocated, l->f);
        if (n < 0)
                return ferror(l->f) ? -EIO : 0;
        l->next_line++;
        if (strlen(l->buffer) != (size_t) n) /* NUL: what follows it would go unseen */
                l->buffer[0] = HIDDEN_SEMICOLON;
        *ret = strip(l->buffer);
        return 1;
}

/* Appends the next line to one that ended in a backslash; comments between are skipped. */
static int continue_line(Loader *l, char **line) {
        for (size_t n; (n = strlen(*line)) > 0 && (*line)[n - 1] == '\\';) {
                char *more, *joined;
                int r;

                (*line)[n - 1] = '\0';
                do {
                        r = read_line(l, &more);
                        if (r <= 0)
                                return r;
                } while (*more == '#' || *more == ';');
                if (asprintf(&joined, "%s %s", *line, more) < 0)
                        return -ENOMEM;
                free(*line);
                *line = joined;
        }
        return 0;
}

/* What is wrong with a line that is no comment and not empty; NULL: inih reads it as systemd does. */
static const char *line_problem(const char *line, size_t max) {
        size_t equals = strcspn(line, "=");

        for (const char *p = line; *p; p++)
                if ((uint8_t) *p < 0x20 && *p != '\t')
                        return "a control character";
        if (strlen(line) > max)
                return "a line that is too long";
        if (*line == '[')
                return strchr(line, ']') == line + strlen(line) - 1 ? NULL : "a section without ] at its end";
        if (!line[equals] || equals == 0)
                return "no assignment";
        return strcspn(line, ":") < equals ? "a ':' before the '='" : NULL;
}

/* inih's reader: a line that it can be left alone with, an empty one for each that it cannot. */
static char *read_for_inih(char *buffer, int size, void *userdata) {
        _cleanup_(freep) char *line = NULL;
        Loader *l = userdata;
        const char *problem;
        char *read;
        int r;

        l->line = l->next_line + 1;
        r = read_line(l, &read);
        if (r == 0 || l->error < 0)
                return NULL;
        if (r > 0) {
                line = strdup(read);
                r = line ? 0 : -ENOMEM;
        }
        if (r >= 0 && *line != '#' && *line != ';')
                r = continue_line(l, &line);
        if (r < 0) {
                l->error = r;
                return NULL;
        }
        buffer[0] = '\0';
        if (!*line || *line == '#' || *line == ';')
                return buffer;

        problem = line_problem(line, (size_t) size - 2);
        if (problem) {
                complain(l, "found %s, expected [Section], Name=value or a comment, in at most %d bytes", problem,
                         size - 2);
                return buffer;
        }
        for (char *p = line; *p; p++)
                if (*p == ';')
                        *p = HIDDEN_SEMICOLON;
        (void) snprintf(buffer, (size_t) size, "%s\n", line);
        return buffer;
}

/* ---- files ---- */

static int load_stream(FILE *f, const char *path, const ConfSetting *settings, size_t n_settings) {
        Loader l = { .path = path, .f = f, .settings = settings, .n_settings = n_settings };
        int r;

        r = ini_parse_stream(read_for_inih, &l, handle_assignment, &l);
        free(l.buffer);
        if (l.error < 0)
                return log_warning_errno(l.error, "%s: Failed to read: %m", path);
        if (r < 0)
                return log_oom();
        if (r > 0 && !l.bad) /* inih refuses what we let through */
                log_warning("%s: line %d is no assignment, ignoring", path, r);
        return r > 0 || l.bad ? -EBADMSG : 0;
}

int conf_load_file(const char *path, const ConfSetting *settings, size_t n_settings) {
        struct stat st;
        FILE *f;
        int fd, r;

        assert(path);
        assert(settings || n_settings == 0);

        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd < 0 && errno == ENOENT)
                return -ENOENT;
        if (fd < 0)
                return log_warning_errno(errno, "%s: Failed to open: %m", path);
        if (fstat(fd, &st) < 0 || (!S_ISREG(st.st_mode) && !S_ISCHR(st.st_mode)) || st.st_size > FILE_SIZE_MAX) {
                (void) safe_close(fd);
                return log_warning_errno(EBADMSG, "%s: found no regular file of at most 1 MiB, ignoring", path);
        }
        if (S_ISCHR(st.st_mode)) { /* a link to /dev/null */
                (void) safe_close(fd);
                return 0;
        }
        f = fdopen(fd, "r");
        if (!f) {
                (void) safe_close(fd);
                return log_oom();
        }
        r = load_stream(f, path, settings, n_settings);
        (void) fclose(f);
        return r;
}

/* From the one that wins to the one that loses. */
static const char *const directories[] = { "/etc/sand", "/run/sand", "/usr/lib/sand" };

typedef struct DropIn {
        char *path;
        const char *name; /* in path */
} DropIn;

typedef struct DropIns {
        DropIn *items;
        size_t n;
} DropIns;

static void drop_ins_done(DropIns *d) {
        for (size_t i = 0; i < d->n; i++)
                free(d->items[i].path);
        free(d->items);
}

static int drop_ins_add(DropIns *d, const char *directory, const char *name) {
        DropIn *grown;
        char *path;

        for (size_t i = 0; i < d->n; i++)
                if (streq(d->items[i].name, name)) /* a directory before this one has it, if only to mask it */
                        return 0;
        grown = realloc(d->items, (d->n + 1) * sizeof(DropIn));
        if (!grown)
                return -ENOMEM;
        d->items = grown;
        if (asprintf(&path, "%s/%s", directory, name) < 0)
                return -ENOMEM;
        d->items[d->n++] = (DropIn) { path, strrchr(path, '/') + 1 };
        return 0;
}

static int drop_ins_read(DropIns *d, const char *directory) {
        struct dirent *e;
        DIR *dir;
        int r = 0;

        dir = opendir(directory);
        if (!dir)
                return errno == ENOENT || errno == ENOTDIR ? 0
                                                           : log_warning_errno(errno, "%s: Failed to open: %m", directory);
        while (r >= 0 && (e = readdir(dir))) {
                size_t l = strlen(e->d_name);
                if (l > strlen(".conf") && streq(e->d_name + l - strlen(".conf"), ".conf") && e->d_name[0] != '.')
                        r = drop_ins_add(d, directory, e->d_name);
        }
        (void) closedir(dir);
        return r;
}

static int compare_drop_ins(const void *a, const void *b) {
        return strcmp(((const DropIn *) a)->name, ((const DropIn *) b)->name);
}

/* The first file there is hides those of the directories behind it. */
static int load_main(const char *root, const char *name, const ConfSetting *settings, size_t n_settings) {
        for (size_t i = 0; i < ELEMENTSOF(directories); i++) {
                _cleanup_(freep) char *path = NULL;
                int r;

                if (asprintf(&path, "%s%s/%s", root, directories[i], name) < 0) {
                        path = NULL;
                        return -ENOMEM;
                }
                r = conf_load_file(path, settings, n_settings);
                if (r != -ENOENT)
                        return r;
        }
        return 0;
}

static int load_drop_ins(const DropIns *d, const ConfSetting *settings, size_t n_settings) {
        int result = 0;

        for (size_t i = 0; i < d->n; i++) {
                int r = conf_load_file(d->items[i].path, settings, n_settings);
                if (r < 0 && r != -ENOENT && result >= 0)
                        result = r;
        }
        return result;
}

int conf_load_below(const char *root, const char *name, const ConfSetting *settings, size_t n_settings) {
        _cleanup_(drop_ins_done) DropIns drop_ins = {};
        int result, r;

        assert(root);
        assert(name);

        result = load_main(root, name, settings, n_settings);
        for (size_t i = 0; i < ELEMENTSOF(directories); i++) {
                _cleanup_(freep) char *path = NULL;

                if (asprintf(&path, "%s%s/%s.d", root, directories[i], name) < 0) {
                        path = NULL;
                        return -ENOMEM;
                }
                r = drop_ins_read(&drop_ins, path);
                if (r < 0 && result >= 0)
                        result = r;
        }
        if (drop_ins.n > 1)
                qsort(drop_ins.items, drop_ins.n, sizeof(DropIn), compare_drop_ins);
        r = load_drop_ins(&drop_ins, settings, n_settings);
        return result < 0 ? result : r;
}

int conf_load(const char *name, const ConfSetting *settings, size_t n_settings) {
        return conf_load_below("", name, settings, n_settings);
}
