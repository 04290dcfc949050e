/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host-bus-methods.h"

#include "fs.h"
#include "log.h"

static void on_token(Operation *o, void *userdata) {
        Request *q = userdata;
        char id[TOKEN_ID_LENGTH + 1];

        if (o->failed) {
                log_error("%s: token: %s", q->name, strempty(o->error.message));
                request_refuse(q, &o->error);
                return;
        }
        token_id(o->token.hash, id);
        (void) sd_bus_reply_method_return(q->call, "s", id);
        request_end(q);
}

static int perform_create_token(Request *q) {
        Operation *o;
        int r;

        r = token_create_new(&q->host->operations, q->name, &q->token, on_token, q, &o);
        if (r < 0)
                return r;
        operation_start(o);
        return 0;
}

static int perform_revoke_token(Request *q) {
        Operation *o;
        int r;

        r = token_revoke_new(&q->host->operations, q->name, q->token_prefix, on_token, q, &o);
        if (r < 0)
                return r;
        operation_start(o);
        return 0;
}

int method_create_token(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(request_freep) Request *q = NULL;
        const char *name, *label;
        Token token = { .created_usec = now_realtime_usec() };
        const void *hash;
        size_t size;
        int r;

        r = request_read_name(m, &name, error);
        if (r >= 0)
                r = sd_bus_message_read_array(m, 'y', &hash, &size);
        if (r >= 0)
                r = sd_bus_message_read(m, "st", &label, &token.expires_usec);
        if (r < 0)
                return r;
        if (size != TOKEN_HASH_SIZE)
                return request_is_bad(error, "The hash of a token is expected, 32 bytes.");
        if (*label && !token_name_is_valid(label))
                return request_is_bad(error, "The label has more than 64 bytes, or control characters.");
        if (token.expires_usec > INT64_MAX || (token.expires_usec > 0 && token.expires_usec <= token.created_usec))
                return request_is_bad(error, "The time at which the token expires has passed.");
        memcpy(token.hash, hash, size);
        r = request_new(userdata, m, perform_create_token, &q);
        if (r >= 0)
                r = free_and_strdup(&q->name, name);
        if (r < 0)
                return request_refuse_now(m, error, r);
        q->token = token;
        if (*label && free_and_strdup(&q->token.name, label) < 0)
                return -ENOMEM;
        return request_authorize(TAKE_PTR(q), POLKIT_TOKENS);
}

int method_revoke_token(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(request_freep) Request *q = NULL;
        const char *name, *id;
        int r;

        r = request_read_name(m, &name, error);
        if (r >= 0)
                r = sd_bus_message_read(m, "s", &id);
        if (r < 0)
                return r;
        if (!*id || strlen(id) > TOKEN_ID_LENGTH || id[strspn(id, "0123456789abcdef")])
                return request_is_bad(error, "The beginning of a token's id is expected, up to 12 hexadecimal digits.");
        r = request_new(userdata, m, perform_revoke_token, &q);
        if (r >= 0)
                r = free_and_strdup(&q->name, name);
        if (r >= 0)
                r = free_and_strdup(&q->token_prefix, id);
        if (r < 0)
                return request_refuse_now(m, error, r);
        return request_authorize(TAKE_PTR(q), POLKIT_TOKENS);
}

static int append_tokens(const Places *p, sd_bus_message *reply, const char *name) {
        _cleanup_(token_list_done) TokenList l = {};
        int r = tokens_read(p, name, &l);

        for (size_t i = 0; r >= 0 && i < l.n; i++) {
                const Token *t = l.items + i;
                char id[TOKEN_ID_LENGTH + 1];

                token_id(t->hash, id);
                r = sd_bus_message_append(reply, "(ssstt)", name, id, strempty(t->name), t->created_usec, t->expires_usec);
        }
        return r;
}

static int append_tokens_of_all(const Places *p, sd_bus_message *reply) {
        _cleanup_(strv_freep) char **files = NULL;
        int r = fs_list(p->tokens_fd, ".", &files);

        for (char **i = files; r >= 0 && *i; i++) {
                char *dot = strchr(*i, '.');

                if (!dot || !streq(dot, ".json"))
                        continue;
                *dot = 0;
                r = append_tokens(p, reply, *i);
        }
        return r;
}

static int perform_list_tokens(Request *q) {
        return request_reply_list(q, "(ssstt)", append_tokens, append_tokens_of_all);
}

int method_list_tokens(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return request_list(m, userdata, perform_list_tokens, error);
}
