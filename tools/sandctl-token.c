/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Tokens: made, listed, revoked. A token is made here and printed once; sand-hostd is told its hash. */

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "log.h"
#include "protocol.h"
#include "sandctl-agent.h"
#include "sandctl-bus.h"
#include "sandctl-show.h"
#include "sandctl-text.h"
#include "token.h"

/* A person may have to find a password. */
#define CALL_TIMEOUT_USEC (5 * USEC_PER_MINUTE)

/* ---- create ---- */

static bool parse_date(const char *s, uint64_t *ret) {
        static const char *const formats[] = { "%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S" };

        for (size_t i = 0; i < ELEMENTSOF(formats); i++) {
                struct tm tm = { .tm_isdst = -1 };
                const char *end = strptime(s, formats[i], &tm);
                time_t t = end && !*end ? mktime(&tm) : -1;

                if (t > 0) {
                        *ret = (uint64_t) t * USEC_PER_SEC;
                        return true;
                }
        }
        return false;
}

/* A span from now on, or a date of the local time; 0: never. */
static int parse_expires(const char *s, uint64_t *ret) {
        uint64_t now = now_realtime_usec(), span;

        *ret = 0;
        if (!s || streq(s, "never") || streq(s, "infinity"))
                return 0;
        if (!parse_date(s, ret)) {
                if (parse_time_span(s, &span) < 0 || span == 0 || span > INT64_MAX - now)
                        return fail(SAND_ERROR_USAGE, "--expires=%s: expected a time span such as \"90d\", a date such as "
                                                      "\"2027-12-31\" or \"2027-12-31 18:00\", or \"never\".", s);
                *ret = now + span;
        }
        if (*ret <= now)
                return fail(SAND_ERROR_USAGE, "--expires=%s: that has passed.", s);
        return 0;
}

static int new_call(sd_bus *bus, const char *method, const char *app, sd_bus_message **ret) {
        int r;

        r = sd_bus_message_new_method_call(bus, ret, SAND_HOST_NAME, SAND_HOST_PATH, SAND_HOST_INTERFACE, method);
        if (r >= 0)
                r = sd_bus_message_set_allow_interactive_authorization(*ret, true);
        return r < 0 ? r : sd_bus_message_append(*ret, "s", app);
}

static int announce(const char *app, const uint8_t *hash, uint64_t expires_usec) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        const char *id;
        int r;

        r = bus_open(&bus);
        if (r != 0)
                return r;
        agent_open();
        r = new_call(bus, "CreateToken", app, &m);
        if (r >= 0)
                r = sd_bus_message_append_array(m, 'y', hash, TOKEN_HASH_SIZE);
        if (r >= 0)
                r = sd_bus_message_append(m, "st", strempty(arg_name), expires_usec);
        if (r >= 0)
                r = sd_bus_call(bus, m, CALL_TIMEOUT_USEC, &error, &reply);
        if (r >= 0)
                r = sd_bus_message_read(reply, "s", &id);
        if (r < 0)
                return fail_bus(r, &error, "No token for %s", app);
        say("The token %s of %s is shown this once:", id, app);
        return 0;
}

static int create(int argc, char **argv) {
        uint8_t hash[TOKEN_HASH_SIZE];
        char token[TOKEN_LENGTH + 1];
        uint64_t expires_usec;
        int r;

        r = check_app_name(argv[0]);
        if (r == 0 && arg_name && !token_name_is_valid(arg_name))
                r = fail(SAND_ERROR_USAGE, "--name=%s: expected 1 to %u bytes without control characters.", arg_name,
                         TOKEN_NAME_MAX);
        if (r == 0)
                r = parse_expires(arg_expires, &expires_usec);
        if (r != 0)
                return r;
        r = token_make(token);
        if (r >= 0)
                r = token_hash(token, TOKEN_LENGTH, hash);
        if (r < 0)
                return fail_errno(r, "Failed to make a token: %s", strerror(-r));
        r = announce(argv[0], hash, expires_usec);
        if (r == 0)
                (void) puts(token);
        explicit_bzero(token, sizeof(token));
        return r;
}

/* ---- list ---- */

static const Column columns[] = {
        { "APPLICATION", .shrinks = true }, { "ID" }, { "NAME", .shrinks = true }, { "CREATED" }, { "EXPIRES" },
};

static int listing_add(Table *table, json_object *json, const char *app, const char *id, const char *name,
                       uint64_t created_usec, uint64_t expires_usec) {
        bool expired = expires_usec > 0 && expires_usec <= now_realtime_usec();
        json_object *row = json_object_new_object();
        char created[64], expires[80] = "never";

        (void) json_object_object_add(row, "application", json_object_new_string(app));
        (void) json_object_object_add(row, "id", json_object_new_string(id));
        (void) json_object_object_add(row, "name", *name ? json_object_new_string(name) : NULL);
        (void) json_object_object_add(row, "created_usec", json_object_new_uint64(created_usec));
        (void) json_object_object_add(row, "expires_usec", expires_usec > 0 ? json_object_new_uint64(expires_usec) : NULL);
        (void) json_object_object_add(row, "expired", json_object_new_boolean(expired));
        (void) json_object_array_add(json, row);
        format_time(created, sizeof(created), created_usec);
        if (expires_usec > 0)
                format_time(expires, sizeof(expires), expires_usec);
        if (expired)
                (void) strcpy(expires, "expired");
        return table_add(table, COLOR_NONE, (const char *[]) { app, id, *name ? name : "-", created, expires });
}

static int read_tokens(sd_bus_message *m, Table *table, json_object *json) {
        const char *app, *id, *name;
        uint64_t created, expires;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "(ssstt)");
        while (r >= 0 && (r = sd_bus_message_read(m, "(ssstt)", &app, &id, &name, &created, &expires)) > 0)
                r = listing_add(table, json, app, id, name, created, expires);
        return r;
}

static int list(int argc, char **argv) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(table_freep) Table *table = NULL;
        json_object *json;
        size_t n;
        int r;

        r = argc > 0 ? check_app_name(argv[0]) : 0;
        if (r == 0)
                r = bus_open(&bus);
        if (r != 0)
                return r;
        agent_open();
        r = host_call(bus, "ListTokens", argc > 0 ? argv[0] : "", &error, &reply);
        if (r < 0)
                return fail_bus(r, &error, "Failed to list tokens");
        json = json_object_new_array();
        r = table_new(columns, ELEMENTSOF(columns), &table);
        if (r >= 0)
                r = read_tokens(reply, table, json);
        if (r < 0)
                r = fail_errno(r, "Failed to read sand-hostd's list: %s", strerror(-r));
        else if (arg_json != JSON_OFF)
                r = json_print(json) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        else {
                pager_open();
                n = table_rows(table);
                r = table_print(table, 0, arg_legend && n > 0) < 0 ? fail_errno(-ENOMEM, "Out of memory.") : EXIT_SUCCESS;
                if (arg_legend && !arg_quiet)
                        (void) printf("%s%zu token%s listed.\n", n > 0 ? "\n" : "", n, n == 1 ? "" : "s");
        }
        (void) json_object_put(json);
        return r;
}

/* ---- revoke ---- */

static int revoke_one(sd_bus *bus, const char *app, const char *prefix) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        const char *id;
        int r;

        r = new_call(bus, "RevokeToken", app, &m);
        if (r >= 0)
                r = sd_bus_message_append(m, "s", prefix);
        if (r >= 0)
                r = sd_bus_call(bus, m, CALL_TIMEOUT_USEC, &error, &reply);
        if (r >= 0)
                r = sd_bus_message_read(reply, "s", &id);
        if (r < 0)
                return fail_bus(r, &error, "Token %s of %s not revoked", prefix, app);
        if (!arg_quiet)
                (void) printf("Token %s of %s revoked\n", id, app);
        return EXIT_SUCCESS;
}

static int revoke_all(int argc, char **argv) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        int r, status = 0;

        r = check_app_name(argv[0]);
        for (int i = 1; i < argc && r == 0; i++)
                if (startswith(argv[i], TOKEN_PREFIX))
                        r = fail(SAND_ERROR_USAGE, "A token's id is expected, not the token; \"sandctl token list %s\" shows it.",
                                 argv[0]);
        if (r == 0)
                r = bus_open(&bus);
        if (r != 0)
                return r;
        agent_open();
        for (int i = 1; i < argc; i++) {
                r = revoke_one(bus, argv[0], argv[i]);
                status = status ?: r;
        }
        return status;
}

static const NounVerb verbs[] = {
        { "list", "[APP]", 0, 1, list },
        { "create", "APP", 1, 1, create },
        { "revoke", "APP ID...", 2, -1, revoke_all },
};

int verb_token(int argc, char **argv) {
        if ((arg_name || arg_expires) && (argc == 0 || !streq(argv[0], "create")))
                return fail(SAND_ERROR_USAGE, "--name= and --expires= are options of \"sandctl token create\".");
        return noun_run("token", verbs, ELEMENTSOF(verbs), argc, argv);
}
