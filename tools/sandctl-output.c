/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sandctl-output.h"

#include <assert.h>
#include <ctype.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <systemd/sd-login.h>

#include "log.h"
#include "sandctl.h"
#include "sandctl-text.h"

static pid_t pager_pid;

static bool truth(const char *s) {
        return streq(s, "1") || strcasecmp(s, "true") == 0 || strcasecmp(s, "yes") == 0 ||
               strcasecmp(s, "y") == 0 || strcasecmp(s, "on") == 0 || strcasecmp(s, "t") == 0;
}

static bool colors_wanted(bool terminal) {
        const char *systemd = getenv("SYSTEMD_COLORS"), *term = getenv("TERM");

        if (!isempty(systemd))
                return truth(systemd) || streq(systemd, "16") || streq(systemd, "256") ||
                       streq(systemd, "auto-16") || streq(systemd, "auto-256");
        return terminal && !getenv("NO_COLOR") && (!term || !streq(term, "dumb"));
}

bool colors_enabled(int fd) {
        return colors_wanted((fd == STDOUT_FILENO && pager_pid > 0) || isatty(fd));
}

const char *color_begin(int fd, Color c) {
        static const char *const sequences[] = {
                [COLOR_NONE] = "",
                [COLOR_GREEN] = "\x1b[0;1;32m",
                [COLOR_YELLOW] = "\x1b[0;1;33m",
                [COLOR_RED] = "\x1b[0;1;31m",
                [COLOR_GREY] = "\x1b[0;38;5;245m",
                [COLOR_BOLD] = "\x1b[0;1;39m",
        };

        return colors_enabled(fd) ? sequences[c] : "";
}

const char *color_end(int fd) {
        return colors_enabled(fd) ? "\x1b[0m" : "";
}

unsigned terminal_columns(void) {
        struct winsize ws = {};
        const char *e = getenv("COLUMNS");
        int n = e ? atoi(e) : 0;

        if (n > 0 && n < 10000)
                return (unsigned) n;
        if ((ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) >= 0 || ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) >= 0) &&
            ws.ws_col > 0)
                return ws.ws_col;
        return 80;
}

/* With privileges that the user's session does not have, a pager must not be a way to a shell. */
static bool pager_must_be_secure(void) {
        const char *e = getenv("SYSTEMD_PAGERSECURE");
        uid_t owner;

        if (!isempty(e))
                return truth(e);
        return sd_pid_get_owner_uid(0, &owner) >= 0 && owner != geteuid();
}

_noreturn_ static void pager_exec(int input) {
        const char *options = getenv("SYSTEMD_LESS"), *pager = getenv("SYSTEMD_PAGER");
        bool secure = pager_must_be_secure();

        (void) prctl(PR_SET_PDEATHSIG, SIGTERM);
        (void) dup2(input, STDIN_FILENO);
        (void) setenv("LESS", options ?: "FRSXMK", 1);
        (void) setenv("LESSCHARSET", "utf-8", 0);
        if (secure)
                (void) setenv("LESSSECURE", "1", 1);
        if (!pager)
                pager = getenv("PAGER");
        if (pager && !secure)
                (void) execlp("/bin/sh", "sh", "-c", pager, NULL);
        (void) execlp("less", "less", NULL);
        if (!secure)
                (void) execlp("more", "more", NULL);
        (void) execlp("cat", "cat", NULL);
        _exit(EXIT_FAILURE);
}

void pager_open(void) {
        const char *pager = getenv("SYSTEMD_PAGER") ?: getenv("PAGER");
        int fds[2];

        if (arg_no_pager || pager_pid > 0 || !isatty(STDOUT_FILENO) ||
            (pager && (isempty(pager) || streq(pager, "cat"))))
                return;
        if (pipe2(fds, O_CLOEXEC) < 0)
                return;
        (void) fflush(stdout);
        pager_pid = fork();
        if (pager_pid == 0)
                pager_exec(fds[0]);
        (void) close(fds[0]);
        if (pager_pid > 0)
                (void) dup2(fds[1], STDOUT_FILENO);
        (void) close(fds[1]);
        /* The reader may leave early: that ends the output, it is no failure. */
        (void) signal(SIGPIPE, SIG_IGN);
}

void pager_close(void) {
        (void) fflush(stdout);
        if (pager_pid <= 0)
                return;
        (void) dup2(STDERR_FILENO, STDOUT_FILENO);
        while (waitpid(pager_pid, NULL, 0) < 0 && errno == EINTR)
                ;
        pager_pid = 0;
}

Color state_color(const char *state) {
        if (streq(state, "active") || streq(state, "reloading"))
                return COLOR_GREEN;
        if (streq(state, "failed"))
                return COLOR_RED;
        if (streq(state, "activating") || streq(state, "deactivating"))
                return COLOR_YELLOW;
        return COLOR_NONE;
}

const char *state_dot(const char *state) {
        if (streq(state, "failed"))
                return "\xc3\x97"; /* multiplication sign, as systemctl has it */
        if (streq(state, "inactive"))
                return "\xe2\x97\x8b"; /* white circle */
        return "\xe2\x97\x8f";         /* black circle */
}

typedef struct Row {
        Color color;
        char **cells;
} Row;

struct Table {
        const Column *columns;
        size_t n_columns;
        Row *rows;
        size_t n_rows;
};

int table_new(const Column *columns, size_t n_columns, Table **ret) {
        Table *t = calloc(1, sizeof(Table));

        if (!t)
                return -ENOMEM;
        t->columns = columns;
        t->n_columns = n_columns;
        *ret = t;
        return 0;
}

Table *table_free(Table *t) {
        if (t) {
                for (size_t i = 0; i < t->n_rows; i++)
                        strv_free(t->rows[i].cells);
                free(t->rows);
                free(t);
        }
        return NULL;
}

int table_add(Table *t, Color color, const char *const *cells) {
        _cleanup_(strv_freep) char **copy = calloc(t->n_columns + 1, sizeof(char *));
        Row *rows;

        for (size_t i = 0; copy && i < t->n_columns; i++) {
                copy[i] = strdup(strempty(cells[i]));
                if (!copy[i])
                        return -ENOMEM;
        }
        rows = copy ? reallocarray(t->rows, t->n_rows + 1, sizeof(Row)) : NULL;
        if (!rows)
                return -ENOMEM;
        t->rows = rows;
        t->rows[t->n_rows++] = (Row) { color, TAKE_PTR(copy) };
        return 0;
}

size_t table_rows(const Table *t) {
        return t->n_rows;
}

static void table_measure(const Table *t, unsigned indent, bool header, size_t *widths) {
        size_t total = indent, room = terminal_columns();

        for (size_t c = 0; c < t->n_columns; c++) {
                widths[c] = header ? text_width(t->columns[c].title) : 0;
                for (size_t i = 0; i < t->n_rows; i++)
                        widths[c] = MAX(widths[c], text_width(t->rows[i].cells[c]));
                total += widths[c] + (c > 0);
        }
        /* To a file or a pipe goes everything: scripts read it. */
        if (!isatty(STDOUT_FILENO) && pager_pid <= 0)
                return;
        for (size_t c = t->n_columns; c-- > 0 && total > room;)
                if (t->columns[c].shrinks && widths[c] > 8) {
                        size_t less = MIN(widths[c] - 8, total - room);
                        widths[c] -= less;
                        total -= less;
                }
}

static int print_cell(const Table *t, size_t c, const char *text, size_t width) {
        _cleanup_(freep) char *cut = text_ellipsize(text, width);
        size_t pad;

        if (!cut)
                return -ENOMEM;
        pad = width - MIN(width, text_width(cut));
        if (c > 0)
                (void) putchar(' ');
        if (t->columns[c].number)
                (void) printf("%*s%s", (int) pad, "", cut);
        else
                (void) printf("%s%*s", cut, c + 1 < t->n_columns ? (int) pad : 0, "");
        return 0;
}

int table_print(const Table *t, unsigned indent, bool header) {
        size_t widths[16];
        int r = 0;

        assert(t->n_columns <= ELEMENTSOF(widths));
        table_measure(t, indent, header, widths);
        if (header) {
                (void) printf("%*s%s", (int) indent, "", colors_enabled(STDOUT_FILENO) ? "\x1b[4m" : "");
                for (size_t c = 0; c < t->n_columns && r >= 0; c++)
                        r = print_cell(t, c, t->columns[c].title, widths[c]);
                (void) printf("%s\n", color_end(STDOUT_FILENO));
        }
        for (size_t i = 0; i < t->n_rows && r >= 0; i++) {
                (void) printf("%*s%s", (int) indent, "", color_begin(STDOUT_FILENO, t->rows[i].color));
                for (size_t c = 0; c < t->n_columns && r >= 0; c++) {
                        r = print_cell(t, c, t->rows[i].cells[c], widths[c]);
                        if (c == 0 && t->rows[i].color != COLOR_NONE)
                                (void) fputs(color_end(STDOUT_FILENO), stdout);
                }
                (void) putchar('\n');
        }
        return r;
}

static json_object *cell_to_json(const Column *column, const char *cell) {
        if (column->number && *cell && cell[strspn(cell, "0123456789")] == '\0')
                return json_object_new_int64(strtoll(cell, NULL, 10));
        return json_object_new_string(cell);
}

static void json_key(const char *title, char key[static 32]) {
        size_t i = 0;

        for (; title[i] && i < 31; i++)
                key[i] = title[i] == ' ' ? '_' : (char) tolower((unsigned char) title[i]);
        key[i] = '\0';
}

int table_print_json(const Table *t) {
        json_object *rows = json_object_new_array();
        int r;

        for (size_t i = 0; i < t->n_rows; i++) {
                json_object *row = json_object_new_object();

                for (size_t c = 0; c < t->n_columns; c++) {
                        char key[32];

                        json_key(t->columns[c].title, key);
                        (void) json_object_object_add(row, key,
                                                      cell_to_json(t->columns + c, t->rows[i].cells[c]));
                }
                (void) json_object_array_add(rows, row);
        }
        r = json_print(rows);
        (void) json_object_put(rows);
        return r;
}

int json_print(json_object *o) {
        int flags = JSON_C_TO_STRING_NOSLASHESCAPE;
        const char *text;

        if (arg_json != JSON_SHORT)
                flags |= JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED;
        text = json_object_to_json_string_ext(o, flags);
        if (!text)
                return -ENOMEM;
        (void) printf("%s\n", text);
        return 0;
}
