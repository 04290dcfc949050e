/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What waits for an answer is a Request: first for the authorization, then for an operation, systemd or a
 * machine. Each gets exactly one answer. */

#include "host.h"
#include "polkit.h"
#include "protocol.h"
#include "token-operation.h"

typedef struct Request Request;
struct Request {
        Host *host;
        Request *next;
        sd_bus_message *call;
        int (*perform)(Request *q); /* once it is authorized; negative: fails the request */
        char *name;                 /* of the application */
        uid_t uid;                  /* of the caller, once it is authorized */
        char *source;               /* of a bundle, as the caller says */
        char *version;              /* Rollback */
        char *file, *text;          /* SetOverride */
        char *secret;
        Token token;                /* to be made */
        char *token_prefix;         /* to be revoked */
        int fd;                     /* the bundle, or a secret's value */
        bool keep_state;
        bool name_is_known;         /* to the caller: it is not told */
        char **names;               /* List */
        Authorization *authorization;
        ManagerRequest *manager_request;
        MachineControl *control;
        sd_bus_message *properties; /* Status */
};

#define REQUEST_NO_APP_NAME                                                                                  \
        "This is no name of an application, expected [a-z][a-z0-9-]{0,62} that does not end in '-'."

/* `call` is referenced; `perform` is called once it is authorized. -ENOBUFS: too many are under way. */
int request_new(Host *h, sd_bus_message *call, int (*perform)(Request *q), Request **ret);
Request *request_free(Request *q);
DEFINE_POINTER_CLEANUP(Request *, request_free);
/* Asks polkit. The request, which is consumed, is answered later. */
int request_authorize(Request *q, const char *action);
/* At once, for what anybody may ask. */
void request_perform(Request *q);
/* After its answer. */
void request_end(Request *q);
/* Answers with an error, and ends it. */
void request_refuse(Request *q, const sd_bus_error *error);
void request_fail(Request *q, int r, SandError e, const char *text);
/* The same for a negative result of what reads an application's files. */
void request_fail_app(Request *q, int r);
/* Keeps a descriptor of the message. */
int request_keep_fd(Request *q, int fd);

/* A method's own result where there is no request: `r` of request_new(), or bad arguments. */
int request_refuse_now(sd_bus_message *m, sd_bus_error *error, int r);
int request_is_bad(sd_bus_error *error, const char *text);
/* The name of an application; what cannot be one is the name of nothing. */
int request_read_name(sd_bus_message *m, const char **ret, sd_bus_error *error);

/* A method that lists what one application has, or, with the empty name, all have; and its answer, an array of `type`. */
typedef int (*request_append_t)(const Places *p, sd_bus_message *reply, const char *name);
typedef int (*request_append_all_t)(const Places *p, sd_bus_message *reply);
int request_list(sd_bus_message *m, Host *h, int (*perform)(Request *q), sd_bus_error *error);
int request_reply_list(Request *q, const char *type, request_append_t append, request_append_all_t append_all);
