/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Deployment. It is done when the symlink `current` has moved; before that the old version (or nothing) is what
 * there is, and every failure and every crash leads back to it. Only a version whose workers have loaded in the
 * application's own machine becomes the current one. */

#include "operation.h"

/* Deploys the tar behind `bundle_fd`, which is consumed also on failure, as `name` (NULL: as its manifest says).
 * When done, o->name, o->version and o->unchanged tell. */
int deploy_new(Operations *all, int bundle_fd, const char *name, operation_done_t done, void *userdata,
               Operation **ret);
