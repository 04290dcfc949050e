/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "token-operation.h"

#include <stdio.h>

#include "fs.h"
#include "log.h"

/* "NAME.json" */
typedef struct FileName {
        char text[128];
} FileName;

static const char *file_of(FileName *f, const char *app) {
        (void) snprintf(f->text, sizeof(f->text), "%s.json", app);
        return f->text;
}

int tokens_read(const Places *p, const char *app, TokenList *ret) {
        _cleanup_(freep) char *text = NULL;
        FileName file;
        int r;

        r = fs_read(p->tokens_fd, file_of(&file, app), TOKENS_FILE_MAX, &text);
        if (r == -ENOENT) {
                *ret = (TokenList) {};
                return 0;
        }
        return r < 0 ? r : token_list_parse(text, ret);
}

/* The directory's group, the gateway's, is the file's. */
static int tokens_write(const Places *p, const char *app, const TokenList *l) {
        _cleanup_(freep) char *text = NULL;
        FileName file;
        int r;

        if (l->n == 0)
                return fs_unlink(p->tokens_fd, file_of(&file, app));
        r = token_list_format(l, &text);
        return r < 0 ? r : fs_write(p->tokens_fd, file_of(&file, app), text, 0640, -1, -1);
}

static int step_find_application(Operation *o) {
        _cleanup_(freep) char *version = NULL;

        if (app_current(&o->all->places, o->name, &version) < 0)
                return operation_error(o, SAND_ERROR_NOT_FOUND, "There is no application '%s'.", o->name);
        return 0;
}

static int step_create(Operation *o) {
        _cleanup_(token_list_done) TokenList l = {};
        char id[TOKEN_ID_LENGTH + 1];
        int r;

        r = tokens_read(&o->all->places, o->name, &l);
        if (r < 0)
                return operation_error_errno(o, r, "read the tokens");
        for (size_t i = 0; i < l.n; i++)
                if (memcmp(l.items[i].hash, o->token.hash, TOKEN_HASH_SIZE) == 0)
                        return operation_error(o, SAND_ERROR_BAD_REQUEST, "This token is there already.");
        r = token_list_add(&l, &o->token);
        if (r == -E2BIG)
                return operation_error(o, SAND_ERROR_BUSY, "%s has %u tokens, and may not have more. Revoke some.", o->name,
                                       TOKENS_PER_APP_MAX);
        if (r >= 0)
                r = tokens_write(&o->all->places, o->name, &l);
        if (r < 0)
                return operation_error_errno(o, r, "store the token");
        token_id(o->token.hash, id);
        log_info("%s: token %s is made.", o->name, id);
        return 0;
}

static int step_revoke(Operation *o) {
        _cleanup_(token_list_done) TokenList l = {};
        char id[TOKEN_ID_LENGTH + 1];
        size_t found = SIZE_MAX;
        int r;

        r = tokens_read(&o->all->places, o->name, &l);
        if (r < 0)
                return operation_error_errno(o, r, "read the tokens");
        for (size_t i = 0; i < l.n; i++) {
                token_id(l.items[i].hash, id);
                if (!startswith(id, o->token_prefix))
                        continue;
                if (found != SIZE_MAX)
                        return operation_error(o, SAND_ERROR_BAD_REQUEST, "Several tokens of %s begin with %s.", o->name,
                                               o->token_prefix);
                found = i;
        }
        if (found == SIZE_MAX)
                return operation_error(o, SAND_ERROR_NOT_FOUND, "%s has no token %s.", o->name, o->token_prefix);
        memcpy(o->token.hash, l.items[found].hash, TOKEN_HASH_SIZE);
        token_list_remove(&l, found);
        r = tokens_write(&o->all->places, o->name, &l);
        if (r < 0)
                return operation_error_errno(o, r, "remove the token");
        token_id(o->token.hash, id);
        log_info("%s: token %s is revoked.", o->name, id);
        return 0;
}

static const OperationStep create_steps[] = { step_lock, step_find_application, step_create, NULL };
static const OperationStep revoke_steps[] = { step_lock, step_revoke, NULL };

int token_create_new(Operations *all, const char *app, const Token *token, operation_done_t done, void *userdata,
                     Operation **ret) {
        _cleanup_(operation_freep) Operation *o = NULL;
        int r;

        r = operation_new(all, app, create_steps, NULL, done, userdata, &o);
        if (r < 0)
                return r;
        o->token = *token;
        o->token.name = NULL;
        r = free_and_strdup(&o->token.name, token->name);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(o);
        return 0;
}

int token_revoke_new(Operations *all, const char *app, const char *id, operation_done_t done, void *userdata,
                     Operation **ret) {
        _cleanup_(operation_freep) Operation *o = NULL;
        int r;

        r = operation_new(all, app, revoke_steps, NULL, done, userdata, &o);
        if (r >= 0)
                r = free_and_strdup(&o->token_prefix, id);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(o);
        return 0;
}

int step_remove_tokens(Operation *o) {
        FileName file;
        int r;

        if (!o->remove_secrets)
                return 0;
        r = fs_unlink(o->all->places.tokens_fd, file_of(&file, o->name));
        return r < 0 ? operation_error_errno(o, r, "remove the tokens") : 0;
}
