/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a path means. Nothing is decoded: no name that we serve needs %-escapes, so a path that holds one
 * means nothing. */

#include "manifest.h"

typedef enum Route {
        ROUTE_NONE,
        ROUTE_INVOKE,
        ROUTE_HEALTHZ,
        ROUTE_METRICS,
} Route;

typedef struct Target {
        char app[63 + 1];
        char function[64 + 1];
} Target;

/* `path` is without query. For ROUTE_INVOKE *ret_target holds two valid names. */
Route route_parse(const char *path, Target *ret_target);
/* "POST", "GET, HEAD": what Allow: says; NULL for ROUTE_NONE. */
const char *route_methods(Route r);
bool route_allows(Route r, const char *method);
