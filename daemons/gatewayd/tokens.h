/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The tokens of all applications: a directory of files as token.h has it, read once and followed by inotify. */

#include <systemd/sd-event.h>

#include "token.h"

typedef struct Tokens Tokens;

int tokens_new(sd_event *event, const char *dir, Tokens **ret);
Tokens *tokens_free(Tokens *t);
DEFINE_POINTER_CLEANUP(Tokens *, tokens_free);

typedef struct TokenMatch {
        char app[63 + 1];
        char id[TOKEN_ID_LENGTH + 1];
} TokenMatch;

/* Of which application a client may ask that shows this. Knows what was published before the call, whether or not the loop
 * ran since. -ENOENT: it is no token that is in force. */
int tokens_find(Tokens *t, const char *token, size_t size, TokenMatch *ret);
