/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What holds for an application: the merged document with the defaults of what it does not say. */

#include "layers.h"

#define EFFECTIVE_DEFAULT "default"

/* The document, and an object that has for each value's RFC 6901 pointer the name of the file that it came from, or
 * EFFECTIVE_DEFAULT. An array is one value. Both are the caller's. */
int effective_new(const Layers *l, json_object **ret_document, json_object **ret_provenance);
