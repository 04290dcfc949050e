/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Removal of applications, of what is left of failed ones, and of outdated trees. The application is withdrawn
 * from the catalogue first, so nobody starts its machine again; its folder goes last, so that a crash in
 * between leaves the note that says how to go on. */

#include "operation.h"

/* NotFound when there is none. */
int remove_new(Operations *all, const char *name, bool keep_state, operation_done_t done, void *userdata,
               Operation **ret);

/* What a first deployment that failed goes on with; the application is locked. */
extern const OperationStep remove_steps_of_failed[];
/* What a repair goes on with, for a folder that has no current version or was being removed. */
extern const OperationStep remove_steps_of_broken[];

/* Moves a path out of the way, at once, and deletes the tree in a child. */
int remove_tree_later(Operation *o, const char *path);
/* Deletes what earlier runs left in the folder of all applications. */
int remove_garbage(Operations *all);

int step_remove_outdated(Operation *o);
int step_remove_incoming(Operation *o);
