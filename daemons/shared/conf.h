/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* /etc/sand/X.conf and X.conf.d/ (also below /run/sand and /usr/lib/sand, with systemd's precedence),
 * in systemd's syntax, against a table of settings. An unknown setting or a bad value is logged with file,
 * line, what was found and what is expected, and ignored, as systemd does; -EBADMSG is returned at the end
 * so that a daemon may refuse to start. */

#include <stddef.h>
#include <stdint.h>

typedef enum ConfType { CONF_BOOL, CONF_UINT, CONF_SIZE, CONF_SPAN, CONF_STRING, CONF_STRV } ConfType;

typedef struct ConfSetting {
        const char *section, *name;
        ConfType type;
        void *value;          /* bool *, unsigned *, uint64_t * (size, span in usec), char **, char *** */
        uint64_t min, max;    /* of numbers; both 0: any */
        const char *expected; /* for the message, "a number from 1 to 65536" */
} ConfSetting;

/* `name` is "gatewayd.conf". An empty assignment resets a list. */
int conf_load(const char *name, const ConfSetting *settings, size_t n_settings);
/* The same with a directory before the three, such as that of a test. */
int conf_load_below(const char *root, const char *name, const ConfSetting *settings, size_t n_settings);
/* One file; -ENOENT (not logged) if it is not there. A line has at most 197 bytes, continuations included. */
int conf_load_file(const char *path, const ConfSetting *settings, size_t n_settings);
