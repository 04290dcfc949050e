/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Timers and paths that set functions off: units of systemd, sand-trigger-APP-N.timer and .path, wanted by sand.target, of
 * which each starts an instance of sand-invoke@.service. They are those of the version that the catalogue has. */

#include "operation.h"

/* The units of the manifest, and no others of the application's; NULL: none at all. Notes in the operation which of them are
 * to be stopped, and which to be started: `all`, or those that are new. Sets `changed`. */
int triggers_write(Operation *o, const Manifest *m, bool all);

/* Whether systemd takes the calendar expressions: says all that it does not. */
int step_check_timers(Operation *o);
int step_write_triggers(Operation *o);
int step_remove_triggers(Operation *o);
/* Stops and starts what was noted, when systemd has read it. */
int step_settle_triggers(Operation *o);
