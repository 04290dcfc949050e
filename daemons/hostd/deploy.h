/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Deployment. It is done when the symlink `current` has moved; before that the old version (or nothing) is what
 * there is, and every failure and every crash leads back to it. Only a version whose workers have loaded in the
 * application's own machine becomes the current one. */

#include "operation.h"

/* Deploys the tar behind `bundle_fd`, which is consumed also on failure, as `name` (NULL: as its manifest says), for the
 * user `uid`; `source` says where it was read. When done, o->name, o->version and o->unchanged tell. */
int deploy_new(Operations *all, int bundle_fd, const char *name, const char *source, uid_t uid, operation_done_t done,
               void *userdata, Operation **ret);
/* Deploys a version that is kept, with the overrides of now: as version_find() finds it, or with "" the one before. */
int rollback_new(Operations *all, const char *name, const char *version, uid_t uid, operation_done_t done, void *userdata,
                 Operation **ret);
/* Deploys the current version with the overrides of now, among them the file `file` with `text`, which is written if the
 * version is good; "" removes it. NULL: with what is there. */
int override_new(Operations *all, const char *name, const char *file, const char *text, uid_t uid, operation_done_t done,
                 void *userdata, Operation **ret);
