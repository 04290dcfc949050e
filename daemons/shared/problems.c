/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The list of what is wrong with a bundle. Bounded, and safe to print and to send over D-Bus whatever the
 * bundle contains. */

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "manifest.h"
#include "text.h"

#define PROBLEMS_MAX 100U  /* the last one says that there are more */
#define PROBLEM_TEXT_MAX 1024U

static int copy_printable(const char *s, char **ret) {
        char *copy = NULL;

        if (s) {
                copy = strndup(s, PROBLEM_TEXT_MAX);
                if (!copy)
                        return -ENOMEM;
                text_make_printable(copy);
        }
        *ret = copy;
        return 0;
}

static void problem_done(Problem *p) {
        free(p->file);
        free(p->pointer);
        free(p->message);
        *p = (Problem) {};
}

static int add(Problems *p, const char *file, const char *pointer, unsigned line, unsigned column,
               const char *format, va_list ap) {
        Problem new = { .line = line, .column = column }, *grown;
        bool last = p->n == PROBLEMS_MAX - 1;
        char message[PROBLEM_TEXT_MAX];

        if (p->n >= PROBLEMS_MAX)
                return 0;
        if (last)
                new.line = new.column = 0;
        (void) vsnprintf(message, sizeof(message), format, ap);

        grown = realloc(p->items, (p->n + 1) * sizeof(Problem));
        if (!grown)
                return -ENOMEM;
        p->items = grown;
        if (copy_printable(file, &new.file) < 0 ||
            copy_printable(last ? NULL : pointer, &new.pointer) < 0 ||
            copy_printable(last ? "there are more problems, which are not listed" : message,
                           &new.message) < 0) {
                problem_done(&new);
                return -ENOMEM;
        }
        p->items[p->n++] = new;
        return 0;
}

int problems_add(Problems *p, const char *file, const char *pointer, unsigned line,
                 const char *format, ...) {
        va_list ap;
        int r;

        assert(p);
        assert(format);

        va_start(ap, format);
        r = add(p, file, pointer, line, 0, format, ap);
        va_end(ap);
        return r;
}

int problems_add_at(Problems *p, const char *file, unsigned line, unsigned column, const char *format, ...) {
        va_list ap;
        int r;

        assert(p);
        assert(format);

        va_start(ap, format);
        r = add(p, file, NULL, line, column, format, ap);
        va_end(ap);
        return r;
}

char *problems_to_string(const Problems *p) {
        char *text = NULL;
        size_t size;
        FILE *f;

        assert(p);

        f = open_memstream(&text, &size);
        if (!f)
                return NULL;
        for (size_t i = 0; i < p->n; i++) {
                const Problem *item = p->items + i;

                if (item->file)
                        (void) fputs(item->file, f);
                if (item->line > 0)
                        (void) fprintf(f, ":%u", item->line);
                if (item->column > 0)
                        (void) fprintf(f, ":%u", item->column);
                if (item->file)
                        (void) fputs(": ", f);
                if (!isempty(item->pointer))
                        (void) fprintf(f, "%s: ", item->pointer);
                (void) fprintf(f, "%s\n", item->message);
        }
        if (fclose(f) != 0) {
                free(text);
                return NULL;
        }
        return text;
}

void problems_done(Problems *p) {
        for (size_t i = 0; i < p->n; i++)
                problem_done(p->items + i);
        free(p->items);
        *p = (Problems) {};
}
