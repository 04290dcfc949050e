/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "event-log.h"

static const char hex[] = "0123456789abcdef";

static const char *const state_table[_LOG_STATE_MAX] = {
        [LOG_ACCEPTED] = "accepted",
        [LOG_RUNNING]  = "running",
        [LOG_DONE]     = "done",
        [LOG_DEAD]     = "dead",
};

void log_id_to_string(LogId id, char ret[static LOG_ID_LENGTH + 1]) {
        for (unsigned i = 0; i < LOG_ID_LENGTH; i++) {
                uint64_t half = i < 16 ? id.seq : id.random;
                ret[i] = hex[half >> (60 - 4 * (i % 16)) & 0xf];
        }
        ret[LOG_ID_LENGTH] = '\0';
}

int log_id_from_string(const char *s, LogId *ret) {
        uint64_t halves[2] = {};

        if (!s || strlen(s) != LOG_ID_LENGTH)
                return -EINVAL;
        for (unsigned i = 0; i < LOG_ID_LENGTH; i++) {
                const char *digit = strchr(hex, s[i]);
                if (!digit)
                        return -EINVAL;
                halves[i / 16] = halves[i / 16] << 4 | (uint64_t) (digit - hex);
        }
        *ret = (LogId) { .seq = halves[0], .random = halves[1] };
        return 0;
}

const char *log_state_to_string(LogState s) {
        return s >= 0 && s < _LOG_STATE_MAX ? state_table[s] : NULL;
}

LogState log_state_from_string(const char *s) {
        for (int i = 0; s && i < _LOG_STATE_MAX; i++)
                if (streq(s, state_table[i]))
                        return (LogState) i;
        return _LOG_STATE_INVALID;
}
