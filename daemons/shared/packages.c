/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Which Debian packages are installed, by dpkg's own database: stanzas of "Key: value" between empty lines. Nothing
 * is started for it, so whoever may read that file can ask, with no more rights. */

#include <assert.h>
#include <stdio.h>

#include "vendor.h"

typedef struct Stanza {
        char package[160], architecture[64];
        bool installed;
} Stanza;

static void fclosep(FILE **f) {
        if (*f)
                (void) fclose(*f);
}

static void copy_value(char *to, size_t size, const char *value) {
        (void) snprintf(to, size, "%.*s", (int) strcspn(value, "\n"), value);
}

/* "WANTED ERROR STATE": whatever is wanted of it, it is there; its triggers may be due. */
static bool is_installed(const char *status) {
        const char *state = strrchr(status, ' ');

        return state && (startswith(state, " installed") || startswith(state, " triggers-"));
}

/* 1 and the next stanza, 0 at the end. */
static int read_stanza(FILE *f, char **line, size_t *size, Stanza *ret) {
        *ret = (Stanza) {};
        while (getline(line, size, f) >= 0) {
                const char *value;

                if (**line == '\n') {
                        if (*ret->package)
                                return 1;
                } else if ((value = startswith(*line, "Package: ")))
                        copy_value(ret->package, sizeof(ret->package), value);
                else if ((value = startswith(*line, "Architecture: ")))
                        copy_value(ret->architecture, sizeof(ret->architecture), value);
                else if ((value = startswith(*line, "Status: ")))
                        ret->installed = is_installed(value);
        }
        return ferror(f) ? -EIO : *ret->package != 0;
}

/* Marks the names that are there: of architecture "all" or the host's, which is that of dpkg itself. */
static int mark_present(FILE *f, char *const *names, bool *present) {
        _cleanup_(freep) char *line = NULL;
        char native[64] = "";
        size_t size = 0;
        Stanza s;
        int r;

        while ((r = read_stanza(f, &line, &size, &s)) > 0)
                if (streq(s.package, "dpkg"))
                        strcpy(native, s.architecture);
        rewind(f);
        while (r >= 0 && (r = read_stanza(f, &line, &size, &s)) > 0) {
                if (!s.installed || (!streq(s.architecture, "all") && !streq(s.architecture, native)))
                        continue;
                for (size_t i = 0; names[i]; i++)
                        present[i] = present[i] || streq(names[i], s.package);
        }
        return r;
}

int packages_absent(const char *status, char *const *names, char ***ret) {
        _cleanup_(strv_freep) char **absent = NULL;
        _cleanup_(freep) bool *present = NULL;
        _cleanup_(fclosep) FILE *f = NULL;
        int r;

        assert(status);
        assert(ret);

        if (strv_length(names) > 0) {
                present = calloc(strv_length(names), sizeof(bool));
                if (!present)
                        return -ENOMEM;
                f = fopen(status, "re");
                if (!f)
                        return -errno;
                r = mark_present(f, names, present);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; names && names[i]; i++)
                if (!present[i] && strv_extend(&absent, names[i]) < 0)
                        return -ENOMEM;
        *ret = TAKE_PTR(absent);
        return 0;
}

char *packages_apt_line(char *const *names) {
        char *text = NULL;
        size_t size;
        FILE *f;

        f = open_memstream(&text, &size);
        if (!f)
                return NULL;
        (void) fputs("apt install", f);
        for (; *names; names++)
                (void) fprintf(f, " %s", *names);
        if (fclose(f) != 0) {
                free(text);
                return NULL;
        }
        return text;
}

int packages_check(const Manifest *m, Problems *problems) {
        _cleanup_(strv_freep) char **absent = NULL;
        _cleanup_(freep) char *line = NULL;
        int r;

        assert(m);
        assert(problems);

        r = packages_absent(DPKG_STATUS, m->packages, &absent);
        if (r < 0 && r != -ENOENT)
                return r;
        if (r >= 0 && !absent)
                return 0;
        line = packages_apt_line(r < 0 ? m->packages : absent);
        if (!line)
                return -ENOMEM;
        r = problems_add(problems, "sand.json", "/packages", 0, "found packages that are not installed on this host, "
                         "expected them there: %s", line);
        return r < 0 ? r : -EBADMSG;
}
