/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What /etc/sand/globald.conf sets, sections [Events] and [Callback]. */

#include <stdbool.h>
#include <stdint.h>

#include "macro.h"

#define USEC_PER_DAY (24 * USEC_PER_HOUR)

/* section, name, type, field, default, least, most, what is expected. Sizes in bytes, times in microseconds. */
#define GLOBALD_SETTINGS(X)                                                                                      \
        X("Events", "ResultRetention", CONF_SPAN, uint64_t, result_retention, USEC_PER_DAY, USEC_PER_SEC,        \
          366 * USEC_PER_DAY, "a time from 1s to 366d")                                                          \
        X("Events", "DeadLetterRetention", CONF_SPAN, uint64_t, dead_retention, 14 * USEC_PER_DAY, USEC_PER_MINUTE, \
          3660 * USEC_PER_DAY, "a time from 1min to 3660d")                                                      \
        X("Events", "IdempotencyWindow", CONF_SPAN, uint64_t, idempotency_window, USEC_PER_DAY, USEC_PER_SEC,     \
          366 * USEC_PER_DAY, "a time from 1s to 366d")                                                          \
        X("Events", "BytesMax", CONF_SIZE, uint64_t, bytes_max, 0, 0, UINT64_C(1) << 44, "a size up to 16T")      \
        X("Events", "AcceptMemoryMax", CONF_SIZE, uint64_t, accept_memory_max, UINT64_C(128) << 20, UINT64_C(1) << 20, \
          UINT64_C(1) << 40, "a size from 1M to 1T")                                                             \
        X("Events", "InFlightMemoryMax", CONF_SIZE, uint64_t, in_flight_memory_max, UINT64_C(64) << 20,           \
          UINT64_C(1) << 20, UINT64_C(1) << 40, "a size from 1M to 1T")                                          \
        X("Events", "EventsInFlightMax", CONF_UINT, unsigned, in_flight_max, 4096, 1, 60000,                      \
          "a number from 1 to 60000")                                                                            \
        X("Callback", "SecretFile", CONF_STRING, char *, callback_secret_file, NULL, 0, 0, "a path")              \
        X("Callback", "AllowLocal", CONF_BOOL, bool, callback_allow_local, false, 0, 0, "yes or no")              \
        X("Callback", "TimeoutSec", CONF_SPAN, uint64_t, callback_timeout, 30 * USEC_PER_SEC, USEC_PER_SEC,        \
          USEC_PER_HOUR, "a time from 1s to 1h")

typedef struct Settings {
#define X(section, name, conf, type, field, value, least, most, expected) type field;
        GLOBALD_SETTINGS(X)
#undef X
} Settings;

/* Defaults, then the files, or `file` alone if it is not NULL. -EBADMSG: some lines were bad, have been logged and left out. */
int settings_load(const char *file, Settings *ret);
void settings_done(Settings *s);
