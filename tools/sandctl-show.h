/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What sand-hostd answers to questions; and the table of applications, which list and status print. */

#include "sandctl.h"

/* A method without an argument (`name` NULL) or with an application's name. Negative errno. */
int host_call(sd_bus *bus, const char *method, const char *name, sd_bus_error *error, sd_bus_message **ret);
/* The same for methods whose result is a JSON text. Caller puts the document. */
int host_document(sd_bus *bus, const char *method, const char *name, sd_bus_error *error, json_object **ret);

/* Calls a method that deploys anew, with strings of which the first is the application's name, and prints what came of it,
 * or after `failed` why nothing did. Returns the exit status. */
int host_redeploy(const char *method, const char *const *words, size_t n_words, const char *failed);

/* 0, or the exit status after the complaint. */
int application_table(sd_bus *bus, int n_patterns, char *const *patterns, Table **ret);

/* Where the gateway's socket unit listens, "http://127.0.0.1:8080"; "" if that can't be said. */
void gateway_url(sd_bus *bus, char *buf, size_t size);
/* The table of an application's HTTP triggers, after an empty line; nothing if there are none. Negative errno. */
int print_routes(sd_bus *bus, const char *app, json_object *routes);
