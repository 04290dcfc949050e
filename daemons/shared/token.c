/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "token.h"

#include <assert.h>
#include <gnutls/crypto.h>
#include <json-c/json.h>
#include <sys/random.h>

#include "text.h"

static const char alphabet[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
#define ALPHABET_SIZE (sizeof(alphabet) - 1)

int token_make(char ret[static TOKEN_LENGTH + 1]) {
        uint8_t random[128];
        size_t n = strlen(TOKEN_PREFIX);

        memcpy(ret, TOKEN_PREFIX, n);
        while (n < TOKEN_LENGTH) {
                if (getrandom(random, sizeof(random), 0) != (ssize_t) sizeof(random))
                        return -EIO;
                /* Numbers beyond the last multiple of 62 would make some letters likelier than others. */
                for (size_t i = 0; i < sizeof(random) && n < TOKEN_LENGTH; i++)
                        if (random[i] < 256 / ALPHABET_SIZE * ALPHABET_SIZE)
                                ret[n++] = alphabet[random[i] % ALPHABET_SIZE];
        }
        ret[n] = 0;
        explicit_bzero(random, sizeof(random));
        return 0;
}

int token_hash(const char *token, size_t size, uint8_t ret[static TOKEN_HASH_SIZE]) {
        if (size != TOKEN_LENGTH || memcmp(token, TOKEN_PREFIX, strlen(TOKEN_PREFIX)) != 0)
                return -EINVAL;
        for (size_t i = strlen(TOKEN_PREFIX); i < size; i++)
                if (!token[i] || !strchr(alphabet, token[i]))
                        return -EINVAL;
        return gnutls_hash_fast(GNUTLS_DIG_SHA256, token, size, ret) < 0 ? -EIO : 0;
}

static void put_hex(const uint8_t *bytes, size_t n, char *to) {
        static const char digits[] = "0123456789abcdef";

        for (size_t i = 0; i < n; i++) {
                *to++ = digits[bytes[i] >> 4];
                *to++ = digits[bytes[i] & 15];
        }
        *to = 0;
}

void token_id(const uint8_t hash[static TOKEN_HASH_SIZE], char ret[static TOKEN_ID_LENGTH + 1]) {
        put_hex(hash, TOKEN_ID_LENGTH / 2, ret);
}

bool token_name_is_valid(const char *s) {
        size_t n = strlen(s);

        if (n == 0 || n > TOKEN_NAME_MAX || !utf8_is_valid(s, n))
                return false;
        for (; *s; s++)
                if ((unsigned char) *s < ' ' || *s == 127)
                        return false;
        return true;
}

int token_list_add(TokenList *l, const Token *t) {
        Token *grown;
        char *name = NULL;

        if (l->n >= TOKENS_PER_APP_MAX)
                return -E2BIG;
        grown = realloc(l->items, (l->n + 1) * sizeof(Token));
        if (!grown)
                return -ENOMEM;
        l->items = grown;
        if (free_and_strdup(&name, t->name) < 0)
                return -ENOMEM;
        l->items[l->n] = *t;
        l->items[l->n++].name = name;
        return 0;
}

void token_list_remove(TokenList *l, size_t i) {
        assert(i < l->n);

        free(l->items[i].name);
        l->n--;
        memmove(l->items + i, l->items + i + 1, (l->n - i) * sizeof(Token));
}

void token_list_done(TokenList *l) {
        while (l->n > 0)
                token_list_remove(l, l->n - 1);
        free(l->items);
        *l = (TokenList) {};
}

/* ---- reading ---- */

static int hex_value(char c) {
        return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int parse_hash(json_object *o, uint8_t ret[static TOKEN_HASH_SIZE]) {
        const char *s = json_object_is_type(o, json_type_string) ? json_object_get_string(o) : "";

        if (strlen(s) != 2 * TOKEN_HASH_SIZE)
                return -EBADMSG;
        for (size_t i = 0; i < TOKEN_HASH_SIZE; i++) {
                int high = hex_value(s[2 * i]), low = hex_value(s[2 * i + 1]);

                if (high < 0 || low < 0)
                        return -EBADMSG;
                ret[i] = (uint8_t) (high << 4 | low);
        }
        return 0;
}

static int parse_time(json_object *o, uint64_t *ret) {
        if (!json_object_is_type(o, json_type_int) || json_object_get_int64(o) < 0)
                return -EBADMSG;
        *ret = (uint64_t) json_object_get_int64(o);
        return 0;
}

static int parse_token(json_object *o, TokenList *l) {
        json_object *name = json_object_object_get(o, "name");
        Token t = {};
        int r;

        if (!json_object_is_type(o, json_type_object))
                return -EBADMSG;
        r = parse_hash(json_object_object_get(o, "hash"), t.hash);
        if (r >= 0)
                r = parse_time(json_object_object_get(o, "created_usec"), &t.created_usec);
        if (r >= 0)
                r = parse_time(json_object_object_get(o, "expires_usec"), &t.expires_usec);
        if (r >= 0 && name) {
                t.name = json_object_is_type(name, json_type_string) ? (char *) json_object_get_string(name) : NULL;
                r = t.name && token_name_is_valid(t.name) ? 0 : -EBADMSG;
        }
        return r < 0 ? r : token_list_add(l, &t);
}

static int parse_tokens(json_object *o, TokenList *l) {
        json_object *array;
        int r = 0;

        if (!json_object_is_type(o, json_type_object) || !json_object_object_get_ex(o, "tokens", &array) ||
            !json_object_is_type(array, json_type_array))
                return -EBADMSG;
        for (size_t i = 0; r >= 0 && i < json_object_array_length(array); i++)
                r = parse_token(json_object_array_get_idx(array, i), l);
        return r == -E2BIG ? -EBADMSG : r;
}

int token_list_parse(const char *text, TokenList *ret) {
        struct json_tokener *tokener = json_tokener_new_ex(8);
        TokenList l = {};
        json_object *o;
        int r;

        if (!tokener)
                return -ENOMEM;
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
        o = json_tokener_parse_ex(tokener, text, (int) strlen(text) + 1);
        json_tokener_free(tokener);
        r = parse_tokens(o, &l);
        (void) json_object_put(o);
        if (r < 0) {
                token_list_done(&l);
                return r;
        }
        *ret = l;
        return 0;
}

/* ---- writing ---- */

/* Takes the value, also when this fails. */
static int add(json_object *o, const char *key, json_object *value) {
        if (value && json_object_object_add(o, key, value) >= 0)
                return 0;
        (void) json_object_put(value);
        return -ENOMEM;
}

static int add_token(json_object *array, const Token *t) {
        json_object *o = json_object_new_object();
        char hash[2 * TOKEN_HASH_SIZE + 1];

        if (!o || json_object_array_add(array, o) < 0) {
                (void) json_object_put(o);
                return -ENOMEM;
        }
        put_hex(t->hash, TOKEN_HASH_SIZE, hash);
        if (add(o, "hash", json_object_new_string(hash)) < 0 ||
            (t->name && add(o, "name", json_object_new_string(t->name)) < 0) ||
            add(o, "created_usec", json_object_new_uint64(t->created_usec)) < 0)
                return -ENOMEM;
        return add(o, "expires_usec", json_object_new_uint64(t->expires_usec));
}

int token_list_format(const TokenList *l, char **ret) {
        json_object *o = json_object_new_object(), *array = json_object_new_array();
        const char *text;
        int r;

        if (!o) {
                (void) json_object_put(array);
                return -ENOMEM;
        }
        r = add(o, "tokens", array);
        for (size_t i = 0; r >= 0 && i < l->n; i++)
                r = add_token(array, l->items + i);
        text = r < 0 ? NULL : json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
        *ret = text ? strdup(text) : NULL;
        (void) json_object_put(o);
        return *ret ? 0 : -ENOMEM;
}
