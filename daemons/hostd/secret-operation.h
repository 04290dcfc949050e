/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is done with secrets: set, removed, handed to a machine that runs. A machine that starts is given them by
 * systemd, as the drop-in of its service says. */

#include "operation.h"

/* `value_fd`, a sealed memfd, is consumed also on failure. */
int secret_set_new(Operations *all, const char *app, const char *secret, int value_fd, operation_done_t done,
                   void *userdata, Operation **ret);
/* One that the deployed version uses stays. */
int secret_remove_new(Operations *all, const char *app, const char *secret, operation_done_t done, void *userdata,
                      Operation **ret);

/* Steps of a deployment: refuses a manifest whose secrets are not set; hands a machine that may have started before
 * all that the manifest names. */
int step_check_secrets(Operation *o);
int step_push_secrets(Operation *o);
