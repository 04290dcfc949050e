/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Secrets on disk: /var/lib/sand/secrets/APP/NAME, what systemd-creds makes of the value with the host's key, as
 * LoadCredentialEncrypted= reads it. An application need not be deployed to have some. A value is never in this
 * process's memory nor in an argument: it goes from one descriptor to another, through a child. */

#include "manifest.h"
#include "task.h"

typedef void (*secret_done_t)(Task *t, int r, const char *report, void *userdata);

/* Names, sorted; caller frees. An application without secrets has none. */
int secret_list(int secrets_fd, const char *app, char ***ret);
/* When it was set, microseconds of CLOCK_REALTIME. -ENOENT: it is not. */
int secret_set_usec(int secrets_fd, const char *app, const char *name, uint64_t *ret);
/* 1: removed; 0: there was none. */
int secret_remove(int secrets_fd, const char *app, const char *name);

/* Encrypts what is in `value_fd` to a file beside; secret_commit() then puts it into the secret's place. */
int secret_encrypt(sd_event *event, int secrets_fd, const char *app, const char *name, int value_fd, secret_done_t done,
                   void *userdata, Task **ret);
int secret_commit(int secrets_fd, const char *app, const char *name);
/* What was encrypted and is not to be committed. */
int secret_discard(int secrets_fd, const char *app, const char *name);
/* Decrypts into `value_fd`. */
int secret_decrypt(sd_event *event, int secrets_fd, const char *app, const char *name, int value_fd, secret_done_t done,
                   void *userdata, Task **ret);

bool secret_exists(int secrets_fd, const char *app, const char *name);
/* Whether systemd loads them for one service. `incoming` (may be NULL): as if that one were committed. */
bool secrets_fit(int secrets_fd, const char *app, char *const *names, const char *incoming);
