/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Methods of org.sand.Host1 that have files of their own; `userdata` is the Host. */

#include "request.h"

int method_set_secret(sd_bus_message *m, void *userdata, sd_bus_error *error);
int method_remove_secret(sd_bus_message *m, void *userdata, sd_bus_error *error);
int method_list_secrets(sd_bus_message *m, void *userdata, sd_bus_error *error);
int method_create_token(sd_bus_message *m, void *userdata, sd_bus_error *error);
int method_revoke_token(sd_bus_message *m, void *userdata, sd_bus_error *error);
int method_list_tokens(sd_bus_message *m, void *userdata, sd_bus_error *error);
