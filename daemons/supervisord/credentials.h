/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The application's secrets, and who sees which. Values are files in memory that is never swapped (a ramfs, for
 * a user namespace may not make a tmpfs without swap), and pass through no buffer of this process, so that none is
 * in its core.
 *
 * A view is the directory that one worker and its instances see: a copy of each secret that the function declares,
 * of mode 0400, its user's. A secret that is set anew is renamed into the views that have it: an instance that
 * opens the file sees the old value or the new.
 *
 * In developer's mode a view consists of links to the files of $CREDENTIALS_DIRECTORY. */

#include <stdbool.h>
#include <sys/types.h>

typedef struct CredentialView CredentialView;

typedef struct Credentials {
        bool machine;
        char *source;  /* $CREDENTIALS_DIRECTORY, where what was not set since the start is; NULL: nothing */
        char *dir;     /* ours, made at first use */
        CredentialView *views;
        unsigned last; /* number of a view */
} Credentials;

int credentials_init(Credentials *c, bool machine);
void credentials_done(Credentials *c);
/* The value is all of `fd`, from its begin. -EINVAL: no name; -EFBIG. */
int credentials_set(Credentials *c, const char *name, int fd);

/* `names` must outlive the view. -ENOKEY: one is not set, *ret_missing says which. */
int credentials_view_new(Credentials *c, char *const *names, uid_t uid, CredentialView **ret, const char **ret_missing);
CredentialView *credentials_view_free(CredentialView *v);
const char *credentials_view_path(const CredentialView *v);
