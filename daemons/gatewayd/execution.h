/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the event log knows of an execution (protocol.h), as clients are told it. */

#include "buffer.h"
#include "route.h"

/* Appends JSON and a newline; *ret_target is whose it is. -EBADMSG: it is no such document; -ENOMEM. */
int execution_to_json(const char *document, size_t size, Buffer *b, Target *ret_target);
