/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The parts of sand-worker-python: python.c holds the interpreter and the handler, python-value.c turns
 * payloads into objects and back and exceptions into failures, python-context.c is the module `sand`,
 * python-fork.c what is done around forks. All need the GIL. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>

#include "context.h"

/* Imports what the others need. -1 with an exception set. */
int value_setup(void);
/* The payload as an object: JSON parsed, other types as bytes. NULL with an exception set. */
PyObject *value_decode(const void *data, size_t size, const char *content_type);
/* An object as payload: bytes as they are, everything else as JSON. The buffer is `*ret_owner`'s, which the
 * caller unrefs. -1 with an exception set. */
int value_encode(PyObject *value, PyObject **ret_owner, const char **ret_data, size_t *ret_size,
                 const char **ret_content_type);
/* Whether the Content-Type says, or lets us assume, JSON. */
bool value_is_json(const char *content_type);

/* Text that is UTF-8 whatever the string held; NULL without memory (no exception). Caller frees. */
char *text_of(PyObject *value);
/* The exception that is set, taken: its class, text and (`traceback`) either the text that Python would
 * print, or (`as_json`) what AWS Lambda returns for it. All to be freed, NULL where memory was missing. */
typedef struct ExceptionText {
        char *error, *message, *cause;
} ExceptionText;
void exception_take(ExceptionText *ret, bool as_json);
void exception_text_done(ExceptionText *t);
/* Turns the exception that is set into the event's failure. */
int exception_fail(sand_context *context);

PyMODINIT_FUNC PyInit_sand(void);
/* The second argument of a handler. It ends with the event. */
PyObject *context_object_new(sand_context *context);
void context_object_end(PyObject *object);

/* Before user code is loaded, and after that. -1 with an exception set. */
int fork_setup(void);
int fork_settle(void);
/* Around the worker's forks. */
void fork_before(void);
void fork_parent(void);
void fork_child(void);
