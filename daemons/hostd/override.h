/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What an operator overrides of an application: SAND_OVERRIDES_DIR/NAME.json.d, files that people and hostd write. */

#include <stdbool.h>

#define OVERRIDES_MAX 64U

bool overrides_exist(const char *name);

/* Copies the overrides of `name` into the directory `to_fd`, as they would be with `text` in the file `file` (NULL: as they
 * are; text "": without that file). The number of files, or -E2BIG (too many or too large), -EISDIR (one is no regular
 * file, which *ret_file, then the caller's, names), ... */
int overrides_collect(const char *name, const char *file, const char *text, int to_fd, char **ret_file);

/* Writes one, or with "" removes it. What was there is in *ret_old, which is the caller's; NULL: nothing. */
int override_write(const char *name, const char *file, const char *text, char **ret_old);
