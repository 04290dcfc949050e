/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Tokens of applications: made, revoked, and gone with their application. What this process knows of a token is its hash
 * (token.h); it is in force, or not any more, when the operation has ended. */

#include "operation.h"

/* An application without tokens has none. */
int tokens_read(const Places *p, const char *app, TokenList *ret);

/* Copies the token. */
int token_create_new(Operations *all, const char *app, const Token *token, operation_done_t done, void *userdata,
                     Operation **ret);
/* The one whose id begins with `id`; its whole id is then that of o->token. */
int token_revoke_new(Operations *all, const char *app, const char *id, operation_done_t done, void *userdata,
                     Operation **ret);

/* A step of an application's removal. */
int step_remove_tokens(Operation *o);
