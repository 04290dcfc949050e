/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Makes true what the disk says: finishes or undoes what a crash left half done. A first deployment that had not
 * come to its `current` is removed; a removal goes on; whatever has a `current` gets all that belongs to it. */

#include "operation.h"

/* Looks at all applications: thoroughly if `all_pieces`, else only at those in which something was going on. */
int repair_all(Operations *all, bool all_pieces);
