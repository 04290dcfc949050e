/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Topics of events. Pure. */

#include <stdbool.h>

/* From 1 to SAND_TOPIC_SIZE_MAX of SAND_TOPIC_CHARACTERS. */
bool topic_is_valid(const char *s);
/* '*' in the pattern stands for any characters, none as well. In time proportional to the product of the lengths at most. */
bool topic_matches(const char *pattern, const char *topic);
