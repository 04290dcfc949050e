/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What an event to be accepted needs to know of its function. */

#include "server.h"

/* Of what a machine gives us: whose it is. Of the host it may be anything. */
#define HEADER_CALLER "caller"

/* `app/function`, or `function` of the application `own` (""; then it is wrong). 0, or -EINVAL: not such a name. */
int target_parse(const char *s, const char *own, char ret_app[static APP_NAME_MAX + 1], const char **ret_function);
/* Finds it in the catalogue and asks whether `caller` ("": the host) may call it. _SAND_ERROR_INVALID: all is well; else why not,
 * with a message that the caller frees. */
SandError target_find(Globald *g, const char *caller, const char *app, const char *function,
                      const CatalogueFunction **ret, char **ret_message);
