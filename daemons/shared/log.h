/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A program's own messages, on stderr: with a `<N>` priority where that is the journal's stream,
 * plain text elsewhere. Library code does not log, it returns a negative errno. */

#include <errno.h>
#include <syslog.h>

#include "macro.h"

/* Only messages of this priority or more urgent are written (LOG_INFO at start; $SAND_LOG_LEVEL,
 * a number or a syslog name, overrides). `name` prefixes messages outside the journal. */
void log_setup(const char *name);
void log_set_max_level(int level);
int log_get_max_level(void) __attribute__((pure));

/* Writes one message. Returns -abs(error), so that callers can `return log_error_errno(r, ...)`;
 * %m stands for `error`. */
int log_full_errno(int level, int error, const char *format, ...) _printf_(3, 4);

#define log_error_errno(error, ...) log_full_errno(LOG_ERR, error, __VA_ARGS__)
#define log_warning_errno(error, ...) log_full_errno(LOG_WARNING, error, __VA_ARGS__)
#define log_info_errno(error, ...) log_full_errno(LOG_INFO, error, __VA_ARGS__)
#define log_debug_errno(error, ...) log_full_errno(LOG_DEBUG, error, __VA_ARGS__)
#define log_error(...) ((void) log_full_errno(LOG_ERR, 0, __VA_ARGS__))
#define log_warning(...) ((void) log_full_errno(LOG_WARNING, 0, __VA_ARGS__))
#define log_notice(...) ((void) log_full_errno(LOG_NOTICE, 0, __VA_ARGS__))
#define log_info(...) ((void) log_full_errno(LOG_INFO, 0, __VA_ARGS__))
#define log_debug(...) ((void) log_full_errno(LOG_DEBUG, 0, __VA_ARGS__))
#define log_oom() log_full_errno(LOG_ERR, ENOMEM, "Out of memory")
