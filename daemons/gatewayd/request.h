/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One HTTP request: checked, its body collected within bounds, its function invoked, its answer made. */

#include "http.h"

/* The owner's userdata is the Gateway. */
extern const HttpOps request_ops;
