/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The vocabulary is one: every name leads back to its error, and the codes are DESIGN.md's table. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "error.h"
#include "macro.h"

static void test_names(void **state) {
        for (SandError e = 0; e < _SAND_ERROR_MAX; e++) {
                const SandErrorInfo *info = sand_error_info(e);
                char name[128];

                (void) snprintf(name, sizeof(name), SAND_ERROR_PREFIX "%s", info->name);
                assert_string_equal(info->dbus_name, name);
                assert_int_equal(sand_error_from_name(info->name), e);
                assert_int_equal(sand_error_from_name(info->dbus_name), e);
        }
        assert_int_equal(sand_error_from_name("Bus"), _SAND_ERROR_INVALID);
        assert_int_equal(sand_error_from_name("busy"), _SAND_ERROR_INVALID);
        assert_int_equal(sand_error_from_name(""), _SAND_ERROR_INVALID);
        assert_int_equal(sand_error_from_name(SAND_ERROR_PREFIX), _SAND_ERROR_INVALID);
        assert_int_equal(sand_error_from_name(NULL), _SAND_ERROR_INVALID);
        assert_int_equal(sand_error_from_name("org.freedesktop.DBus.Error.Nothing"), _SAND_ERROR_INVALID);
}

static void test_codes(void **state) {
        static const struct {
                const char *name;
                unsigned http;
                int exit;
                bool retried;
        } rows[] = {
                { "Usage", 0, 2, false },          { "BadRequest", 400, 2, false },   { "TooLarge", 413, 2, false },
                { "InvalidBundle", 422, 4, false }, { "Denied", 403, 4, false },      { "NotFound", 404, 3, false },
                { "Busy", 429, 6, true },          { "FunctionFailed", 500, 1, true }, { "Crashed", 502, 1, true },
                { "OutOfMemory", 502, 1, true },   { "LoadFailed", 502, 1, true },    { "Unavailable", 503, 5, true },
        };
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                SandError e = sand_error_from_name(rows[i].name);

                assert_int_not_equal(e, _SAND_ERROR_INVALID);
                assert_int_equal(sand_error_info(e)->http_status, rows[i].http);
                assert_int_equal(sand_error_info(e)->exit_status, rows[i].exit);
                assert_int_equal(sand_error_info(e)->retried, rows[i].retried);
        }
        assert_int_equal(sand_error_info(SAND_ERROR_TIMEOUT)->http_status, 504);
        assert_int_equal(sand_error_info(SAND_ERROR_TIMEOUT)->exit_status, 7);
        assert_string_equal(sand_error_info(SAND_ERROR_BUSY)->asl_name, "Lambda.TooManyRequestsException");
        assert_null(sand_error_info(SAND_ERROR_FUNCTION_FAILED)->asl_name);
}

static void test_foreign(void **state) {
        static const struct {
                const char *name;
                SandError error;
        } rows[] = {
                { "org.freedesktop.DBus.Error.Timeout", SAND_ERROR_TIMEOUT },
                { "org.freedesktop.DBus.Error.NoReply", SAND_ERROR_CRASHED },
                { "org.freedesktop.DBus.Error.Disconnected", SAND_ERROR_UNAVAILABLE },
                { "org.freedesktop.DBus.Error.AccessDenied", SAND_ERROR_DENIED },
        };
        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                assert_int_equal(sand_error_from_name(rows[i].name), rows[i].error);
}

static void test_errno(void **state) {
        static const struct {
                int r;
                SandError error;
        } rows[] = {
                { -EBADMSG, SAND_ERROR_BAD_REQUEST }, { -EMSGSIZE, SAND_ERROR_TOO_LARGE }, { -EPERM, SAND_ERROR_DENIED },
                { -ENOENT, SAND_ERROR_NOT_FOUND },    { -ENOBUFS, SAND_ERROR_BUSY },       { -ETIMEDOUT, SAND_ERROR_TIMEOUT },
                { -EPIPE, SAND_ERROR_CRASHED },       { -ENOMEM, SAND_ERROR_UNAVAILABLE }, { ENOENT, SAND_ERROR_NOT_FOUND },
        };
        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                assert_int_equal(sand_error_from_errno(rows[i].r), rows[i].error);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_names), cmocka_unit_test(test_codes),
                cmocka_unit_test(test_foreign), cmocka_unit_test(test_errno),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
