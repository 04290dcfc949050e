/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What /etc/sand/gatewayd.conf sets, section [Gateway]: the bounds of everything a client can grow, and who is let in. */

#include <stdbool.h>
#include <stdint.h>

#include "macro.h"

#define TLS_CERTIFICATE_FILE "/etc/sand/tls/cert.pem"
#define TLS_KEY_FILE "/etc/sand/tls/key.pem"

/* name, type, field, default, least, most, what is expected. Sizes in bytes, times in microseconds. */
#define GATEWAY_SETTINGS(X)                                                                             \
        X("MaxConnections", CONF_UINT, unsigned, connections_max, 8192, 1, 60000,                       \
          "a number from 1 to 60000")                                                                   \
        X("InvocationsPerAppMax", CONF_UINT, unsigned, invocations_per_app_max, 2048, 1, 60000,         \
          "a number from 1 to 60000")                                                                   \
        X("HeaderBytesMax", CONF_SIZE, uint64_t, header_bytes_max, 32 * 1024, 4096, 1024 * 1024,        \
          "a size from 4K to 1M")                                                                       \
        X("BodyBytesMax", CONF_SIZE, uint64_t, body_bytes_max, UINT64_C(64) << 20, 1, UINT64_C(1) << 30, \
          "a size up to 1G")                                                                            \
        X("BodyMemoryMax", CONF_SIZE, uint64_t, body_memory_max, UINT64_C(512) << 20, UINT64_C(1) << 20, \
          UINT64_C(1) << 40, "a size from 1M to 1T")                                                    \
        X("AnswerMemoryMax", CONF_SIZE, uint64_t, answer_memory_max, UINT64_C(512) << 20, UINT64_C(1) << 20, \
          UINT64_C(1) << 40, "a size from 1M to 1T")                                                    \
        X("RateMin", CONF_SIZE, uint64_t, rate_min, 1024, 0, 1024 * 1024, "a size up to 1M")             \
        X("HeaderTimeoutSec", CONF_SPAN, uint64_t, header_timeout, 10 * USEC_PER_SEC, USEC_PER_SEC,     \
          USEC_PER_HOUR, "a time from 1s to 1h")                                                        \
        X("RequestTimeoutSec", CONF_SPAN, uint64_t, request_timeout, 2 * USEC_PER_MINUTE, USEC_PER_SEC, \
          24 * USEC_PER_HOUR, "a time from 1s to 24h")                                                  \
        X("ResponseTimeoutSec", CONF_SPAN, uint64_t, response_timeout, 2 * USEC_PER_MINUTE, USEC_PER_SEC, \
          24 * USEC_PER_HOUR, "a time from 1s to 24h")                                                  \
        X("IdleTimeoutSec", CONF_SPAN, uint64_t, idle_timeout, USEC_PER_MINUTE, USEC_PER_SEC,           \
          24 * USEC_PER_HOUR, "a time from 1s to 24h")                                                  \
        X("InvokeTimeoutMaxSec", CONF_SPAN, uint64_t, invoke_timeout_max, USEC_PER_HOUR, USEC_PER_SEC,  \
          7 * 24 * USEC_PER_HOUR, "a time from 1s to 1week")                                            \
        X("TLSCertificate", CONF_STRING, char *, tls_certificate, NULL, 0, 0, "a path")                 \
        X("TLSKey", CONF_STRING, char *, tls_key, NULL, 0, 0, "a path")                                 \
        X("RequireTokens", CONF_BOOL, bool, require_tokens, false, 0, 0, "yes or no")                   \
        X("TrustForwarded", CONF_BOOL, bool, trust_forwarded, false, 0, 0, "yes or no")                 \
        X("AccessLog", CONF_BOOL, bool, access_log, false, 0, 0, "yes or no")

typedef struct Settings {
#define X(name, conf, type, field, value, least, most, expected) type field;
        GATEWAY_SETTINGS(X)
#undef X
} Settings;

/* Defaults, then the files, or `file` alone if it is not NULL. -EBADMSG: some lines were bad, have been logged and left out. */
int settings_load(const char *file, Settings *ret);
void settings_done(Settings *s);
/* Paths, where nothing is said of them the usual ones. */
const char *settings_tls_certificate(const Settings *s);
const char *settings_tls_key(const Settings *s);
