/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* sandctl's pure logic: what the user typed, and how numbers are shown. No I/O, no globals. */

#include <stddef.h>
#include <stdint.h>

#include "macro.h"
#include "manifest.h"

/* APP/NAME of the host, or DIR/NAME below a folder that begins with `.` or `/`. */
typedef struct Target {
        char *app;      /* application; NULL for a folder's function */
        char *dir;      /* folder; NULL for a deployed application's function */
        char *function;
} Target;

/* -EINVAL: *ret_message (static) says what is wrong and what is expected. */
int target_parse(const char *s, Target *ret, const char **ret_message);
void target_done(Target *t);

/* The application's name that is nearest to what was typed. */
void app_name_suggest(const char *s, char ret[static APP_NAME_MAX + 1]);

/* 127.0.0.1:8080, [::1]:8080, or 8080 alone. Only loopback addresses: -EACCES for others. */
typedef struct ListenAddress {
        int family;
        char host[40];
        uint16_t port;
} ListenAddress;
int listen_address_parse(const char *s, ListenAddress *ret);

/* "5min 20s", "1.5s", "230ms", "infinity"; rounded to what one reads. */
void format_span(char *buf, size_t size, uint64_t usec);
/* "Wed 2026-11-25 16:30:00 CET", of CLOCK_REALTIME. */
void format_time(char *buf, size_t size, uint64_t usec);
/* "12.3M", base 1024. */
void format_bytes(char *buf, size_t size, uint64_t bytes);
/* "2min 3s ago", as systemctl status says it. */
void format_ago(char *buf, size_t size, uint64_t usec);

/* Columns that a UTF-8 text takes on a terminal. */
size_t text_width(const char *s);
/* The first `width` columns of `s`, with an ellipsis where something is cut. Caller frees. */
char *text_ellipsize(const char *s, size_t width);

/* One word for the shell of another host: quoted if it needs it. Caller frees. */
char *shell_quote(const char *s);

/* -EBADMSG: it is no base64. Caller frees; behind the bytes is a 0. */
int base64_decode(const char *s, void **ret, size_t *ret_size);

/* What says which event is meant: 4 to 32 hexadecimal digits. An application may be called so, too; with a slash behind,
 * it is. */
bool event_id_is_valid(const char *s) __attribute__((pure));
