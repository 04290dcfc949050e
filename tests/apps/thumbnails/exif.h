/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>

/* How a picture is to be turned: EXIF's Orientation, 1 (as it is) to 8, from the content of an APP1 segment.
 * 1 if it says nothing or nothing sensible. Reads no byte beyond `size`. */
unsigned exif_orientation(const unsigned char *app1, size_t size);
