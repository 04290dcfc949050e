/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How sandctl looks: systemd's tables, colours, pager and JSON. */

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "macro.h"

typedef enum JsonMode { JSON_OFF, JSON_SHORT, JSON_PRETTY } JsonMode;

typedef enum Color { COLOR_NONE, COLOR_GREEN, COLOR_YELLOW, COLOR_RED, COLOR_GREY, COLOR_BOLD } Color;

/* Escape sequences for standard output or error; "" where colours are off ($NO_COLOR,
 * $SYSTEMD_COLORS, $TERM, no terminal). `color_end()` goes with any of them. */
const char *color_begin(int fd, Color c);
const char *color_end(int fd);
bool colors_enabled(int fd);
unsigned terminal_columns(void);

/* From here on standard output goes through $SYSTEMD_PAGER, $PAGER or less, if it is a terminal, until
 * pager_close(), which waits for the reader. */
void pager_open(void);
void pager_close(void);

/* The dot of systemctl status, and its colour, for a unit's active state. */
Color state_color(const char *active_state);
const char *state_dot(const char *active_state);

/* Rows of text; each column may be narrowed to the terminal, numbers are aligned to the right. */
typedef struct Table Table;
typedef struct Column {
        const char *title; /* upper case; in lower case it is the key in JSON */
        bool number;       /* aligned right; a JSON number, where the text is digits alone */
        bool shrinks;      /* gives way when the terminal is too narrow */
} Column;

/* `columns` must outlive the table. */
int table_new(const Column *columns, size_t n_columns, Table **ret);
Table *table_free(Table *t);
DEFINE_POINTER_CLEANUP(Table *, table_free);
/* The cells of one row, `n_columns` strings, copied. */
int table_add(Table *t, Color color_of_first, const char *const *cells);
size_t table_rows(const Table *t);
/* As text, each line after `indent` spaces, or as a JSON array of objects. */
int table_print(const Table *t, unsigned indent, bool header);
int table_print_json(const Table *t);

/* One document on standard output in the user's --json mode (JSON_OFF: pretty). */
int json_print(json_object *o);
