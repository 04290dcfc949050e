/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "error.h"

#include <assert.h>

#include "macro.h"

#define ROW(x, http, exit, asl, retry) \
        { .name = x, .dbus_name = SAND_ERROR_PREFIX x, .http_status = http, \
          .exit_status = exit, .asl_name = asl, .retried = retry }

static const SandErrorInfo table[_SAND_ERROR_MAX] = {
        [SAND_ERROR_USAGE]           = ROW("Usage",            0, 2, NULL, false),
        [SAND_ERROR_BAD_REQUEST]     = ROW("BadRequest",     400, 2, NULL, false),
        [SAND_ERROR_TOO_LARGE]       = ROW("TooLarge",       413, 2, "States.DataLimitExceeded", false),
        [SAND_ERROR_INVALID_BUNDLE]  = ROW("InvalidBundle",  422, 4, NULL, false),
        [SAND_ERROR_DENIED]          = ROW("Denied",         403, 4, "States.Permissions", false),
        [SAND_ERROR_NOT_FOUND]       = ROW("NotFound",       404, 3, "Lambda.ResourceNotFoundException", false),
        [SAND_ERROR_BUSY]            = ROW("Busy",           429, 6, "Lambda.TooManyRequestsException", true),
        [SAND_ERROR_FUNCTION_FAILED] = ROW("FunctionFailed", 500, 1, NULL, true),
        [SAND_ERROR_CRASHED]         = ROW("Crashed",        502, 1, "Lambda.Unknown", true),
        [SAND_ERROR_OUT_OF_MEMORY]   = ROW("OutOfMemory",    502, 1, "Lambda.Unknown", true),
        [SAND_ERROR_LOAD_FAILED]     = ROW("LoadFailed",     502, 1, "Lambda.Unknown", true),
        [SAND_ERROR_UNAVAILABLE]     = ROW("Unavailable",    503, 5, "Lambda.ServiceException", true),
        [SAND_ERROR_TIMEOUT]         = ROW("Timeout",        504, 7, "Lambda.Unknown", true),
};

static const struct {
        const char *name;
        SandError error;
} foreign[] = {
        { "org.freedesktop.DBus.Error.Timeout",       SAND_ERROR_TIMEOUT },
        { "org.freedesktop.DBus.Error.NoReply",       SAND_ERROR_CRASHED },
        { "org.freedesktop.DBus.Error.Disconnected",  SAND_ERROR_UNAVAILABLE },
        { "org.freedesktop.DBus.Error.NoServer",      SAND_ERROR_UNAVAILABLE },
        { "org.freedesktop.DBus.Error.ServiceUnknown", SAND_ERROR_UNAVAILABLE },
        { "org.freedesktop.DBus.Error.AccessDenied",  SAND_ERROR_DENIED },
        { "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired", SAND_ERROR_DENIED },
        { "org.freedesktop.DBus.Error.InvalidArgs",   SAND_ERROR_BAD_REQUEST },
        { "org.freedesktop.DBus.Error.UnknownMethod", SAND_ERROR_NOT_FOUND },
        { "org.freedesktop.DBus.Error.FileNotFound",  SAND_ERROR_NOT_FOUND },
};

const SandErrorInfo *sand_error_info(SandError e) {
        assert(e >= 0 && e < _SAND_ERROR_MAX);
        return table + e;
}

SandError sand_error_from_name(const char *name) {
        const char *x;

        if (!name)
                return _SAND_ERROR_INVALID;
        x = startswith(name, SAND_ERROR_PREFIX) ?: name;
        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                if (streq(x, table[i].name))
                        return (SandError) i;
        for (size_t i = 0; i < ELEMENTSOF(foreign); i++)
                if (streq(name, foreign[i].name))
                        return foreign[i].error;
        return _SAND_ERROR_INVALID;
}

SandError sand_error_from_errno(int r) {
        switch (abs(r)) {
        case EINVAL:
        case EBADMSG:
                return SAND_ERROR_BAD_REQUEST;
        case EMSGSIZE:
        case E2BIG:
        case EFBIG:
                return SAND_ERROR_TOO_LARGE;
        case EACCES:
        case EPERM:
                return SAND_ERROR_DENIED;
        case ENOENT:
                return SAND_ERROR_NOT_FOUND;
        case ENOBUFS:
        case EBUSY:
                return SAND_ERROR_BUSY;
        case ETIMEDOUT:
        case ETIME:
                return SAND_ERROR_TIMEOUT;
        case ECONNRESET:
        case EPIPE:
                return SAND_ERROR_CRASHED;
        default:
                return SAND_ERROR_UNAVAILABLE;
        }
}
