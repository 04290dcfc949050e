/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The one vocabulary of errors. An error keeps its name from the instance to the HTTP client:
 * `org.sand.Error.X` on D-Bus, `X` in the journal, `urn:sand:error:X` over HTTP. */

#include <stdbool.h>

#define SAND_ERROR_PREFIX "org.sand.Error."
#define SAND_ERROR_URN_PREFIX "urn:sand:error:"

typedef enum SandError {
        SAND_ERROR_USAGE,           /* the command line is wrong; sandctl only */
        SAND_ERROR_BAD_REQUEST,     /* the payload does not parse as what it says that it is */
        SAND_ERROR_TOO_LARGE,       /* the payload or the result passes payload_max */
        SAND_ERROR_INVALID_BUNDLE,  /* refused at deploy time */
        SAND_ERROR_DENIED,          /* the caller may not */
        SAND_ERROR_NOT_FOUND,       /* no such application, function, version */
        SAND_ERROR_BUSY,            /* the function's queue is full; try later */
        SAND_ERROR_FUNCTION_FAILED, /* the function returned an error of its own */
        SAND_ERROR_CRASHED,         /* the instance or machine died while it had the event */
        SAND_ERROR_OUT_OF_MEMORY,   /* the instance passed its memory limit */
        SAND_ERROR_LOAD_FAILED,     /* the worker could not load the function's code */
        SAND_ERROR_UNAVAILABLE,     /* the machine stops, or does not start */
        SAND_ERROR_TIMEOUT,         /* the deadline passed, in the queue or while it ran */
        _SAND_ERROR_MAX,
        _SAND_ERROR_INVALID = -1,
} SandError;

typedef struct SandErrorInfo {
        const char *name;      /* "Busy" */
        const char *dbus_name; /* "org.sand.Error.Busy" */
        unsigned http_status;  /* 429; 0: never sent over HTTP */
        int exit_status;       /* of sandctl */
        const char *asl_name;  /* what a workflow's Retry and Catch match; NULL: the exception's class */
        bool retried;          /* an asynchronous event is tried again */
} SandErrorInfo;

/* Never NULL for a value of the enumeration. */
const SandErrorInfo *sand_error_info(SandError e);

/* Takes "Busy" or "org.sand.Error.Busy"; any other name of a D-Bus error gives
 * SAND_ERROR_UNAVAILABLE for what sd-bus says when a peer is gone before it took the call,
 * SAND_ERROR_TIMEOUT for its timeouts, else _SAND_ERROR_INVALID. */
SandError sand_error_from_name(const char *name);

/* The error that stands for a negative errno of our own code. */
SandError sand_error_from_errno(int r);
