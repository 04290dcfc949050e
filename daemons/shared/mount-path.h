/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Names of directories that applications are given of the host: in sand.json, hostd.conf and on command lines. */

#include <stdbool.h>

#define MOUNT_PATH_MAX 1024U
#define MOUNT_PATH_EXPECTED "an absolute path without \".\", \"..\", \"//\", a / at its end, blanks, control characters or " \
                            "any of \" ' \\ : ; % $ #"

/* What MOUNT_PATH_EXPECTED says, of at most MOUNT_PATH_MAX bytes: such a path needs no quoting in a unit. "/" is none. */
bool mount_path_is_valid(const char *s);
/* Whether `path` is `parent` or below it; both valid, or `parent` "/". */
bool mount_path_within(const char *path, const char *parent);

/* NULL, or what of the host's own a path names or contains or is inside of, and is shown to no application. */
const char *mount_host_reserved(const char *path);
/* NULL, or what of the machine's own a path would hide. */
const char *mount_at_reserved(const char *path);
