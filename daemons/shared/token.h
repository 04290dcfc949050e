/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Tokens: what a client from outside shows to the gateway to call one application.
 *
 * A token is "sand_" (by which scanners for leaked secrets find it) and 43 letters and digits, 256 random bits. Only its
 * SHA-256 is stored. A slow hash as for passwords would gain nothing: nobody tries 2^256 tokens, however fast, and it would
 * be paid for at each request. A token's id is the beginning of its hash, so it can be told from the token
 * (`printf %s "$TOKEN" | sha256sum`) and says nothing of it.
 *
 * SAND_TOKENS_DIR/APP.json, written by hostd by rename, readable by gatewayd beside root:
 * {"tokens":[{"hash":"<64 hex digits>","name":"ci","created_usec":1790000000000000,"expires_usec":0}]}
 * "name" is there if the token has one; "expires_usec" 0: never. Times are of CLOCK_REALTIME. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "macro.h"

#define TOKEN_PREFIX "sand_"
#define TOKEN_LENGTH (sizeof(TOKEN_PREFIX) - 1 + 43)
#define TOKEN_HASH_SIZE 32U
#define TOKEN_ID_LENGTH 12U
#define TOKEN_NAME_MAX 64U
#define TOKENS_PER_APP_MAX 256U
#define TOKENS_FILE_MAX (256U * 1024U)

typedef struct Token {
        uint8_t hash[TOKEN_HASH_SIZE];
        char *name; /* what it is for; NULL: not said */
        uint64_t created_usec, expires_usec;
} Token;

typedef struct TokenList {
        Token *items;
        size_t n;
} TokenList;

/* A new one, from the kernel's random numbers. */
int token_make(char ret[static TOKEN_LENGTH + 1]);
/* Of `size` bytes that a client sent. -EINVAL: they are no token. */
int token_hash(const char *token, size_t size, uint8_t ret[static TOKEN_HASH_SIZE]);
void token_id(const uint8_t hash[static TOKEN_HASH_SIZE], char ret[static TOKEN_ID_LENGTH + 1]);
/* UTF-8 without control characters, 1 to TOKEN_NAME_MAX bytes. */
bool token_name_is_valid(const char *s);

/* Copies `t`. -E2BIG: there are as many as there may be. */
int token_list_add(TokenList *l, const Token *t);
void token_list_remove(TokenList *l, size_t i);
void token_list_done(TokenList *l);
/* -EBADMSG: it is not as above. */
int token_list_parse(const char *text, TokenList *ret);
/* Caller frees. */
int token_list_format(const TokenList *l, char **ret);
