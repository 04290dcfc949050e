/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "topic.h"

#include <string.h>

#include "protocol.h"

bool topic_is_valid(const char *s) {
        size_t n = strlen(s);

        return n > 0 && n <= SAND_TOPIC_SIZE_MAX && strspn(s, SAND_TOPIC_CHARACTERS) == n;
}

bool topic_matches(const char *pattern, const char *topic) {
        const char *star = NULL, *again = NULL;

        /* On a mismatch the last '*' takes one character more; an earlier one never needs to. */
        while (*topic)
                if (*pattern == '*') {
                        star = ++pattern;
                        again = topic;
                } else if (*pattern == *topic) {
                        pattern++;
                        topic++;
                } else if (star) {
                        pattern = star;
                        topic = ++again;
                } else
                        return false;
        while (*pattern == '*')
                pattern++;
        return !*pattern;
}
