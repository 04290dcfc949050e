/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a path means. Nothing is decoded: no name that we serve needs %-escapes, so a path that holds one
 * means nothing. What follows the application's name at /web/ is for its triggers (web-table.h). */

#include "manifest.h"

#define EXECUTION_ID_LENGTH 32U

typedef enum Route {
        ROUTE_NONE,
        ROUTE_INVOKE,
        ROUTE_WEB,
        ROUTE_EVENTS,
        ROUTE_EXECUTION,
        ROUTE_HEALTHZ,
        ROUTE_METRICS,
} Route;

typedef struct Target {
        char app[63 + 1];
        char function[64 + 1];
} Target;

/* `path` is without query. For ROUTE_INVOKE *ret_target holds two valid names; for ROUTE_EVENTS the application's; for
 * ROUTE_WEB too, and *ret_rest the rest of the path, from its slash on, "/" if there is none; for ROUTE_EXECUTION *ret_rest is
 * an id. */
bool execution_id_is_valid(const char *s);
Route route_parse(const char *path, Target *ret_target, const char **ret_rest);
/* "POST", "GET, HEAD": what Allow: says; NULL where a path alone does not tell. */
const char *route_methods(Route r);
bool route_allows(Route r, const char *method);
