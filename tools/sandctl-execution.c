/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Asynchronous events, and those of them that failed for good. */

#include <inttypes.h>
#include <stdio.h>

#include "sandctl-events.h"
#include "sandctl-text.h"
#include "text.h"

/* sand-globald may have a great many to alter. */
#define ALTER_TIMEOUT_USEC (10 * USEC_PER_MINUTE)

static int add_string(json_object *o, const char *key, const char *value) {
        return json_object_object_add(o, key, json_object_new_string(value)) < 0 ? -ENOMEM : 0;
}

/* APP, APP/ or APP/FUNCTION as "app" and "function". 0, or the exit status. */
static int filter_add(json_object *filter, const char *word) {
        const char *slash = strchr(word, '/'), *function = slash ? slash + 1 : "";
        _cleanup_(freep) char *app = slash ? strndup(word, (size_t) (slash - word)) : strdup(word);
        int r;

        r = app ? check_app_name(app) : fail_errno(-ENOMEM, "Out of memory.");
        if (r != 0)
                return r;
        if (*function && !function_name_is_valid(function))
                return fail(SAND_ERROR_USAGE, "\"%s\" is not a function's name.", function);
        if (add_string(filter, "app", app) < 0 || (*function && add_string(filter, "function", function) < 0))
                return fail_errno(-ENOMEM, "Out of memory.");
        return 0;
}

static int ask_with(const char *method, json_object *document, const char *failed, json_object **ret) {
        const char *text = json_object_to_json_string_ext(document, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
        PeerRequest request = { .data = text, .size = text ? strlen(text) : 0, .timeout_usec = ALTER_TIMEOUT_USEC };

        return text ? events_ask(method, &request, failed, ret) : fail_errno(-ENOMEM, "Out of memory.");
}

/* ---- lists ---- */

static const Column columns[] = {
        { "ID" }, { "FUNCTION", .shrinks = true }, { "STATUS" }, { "ATTEMPTS", .number = true }, { "ACCEPTED" },
        { "ERROR", .shrinks = true },
};

static uint64_t number(json_object *o, const char *key) {
        return json_object_get_uint64(json_object_object_get(o, key));
}

static void format_error(char *buf, size_t size, json_object *o) {
        const char *error = document_string(o, "error"), *class = document_string(o, "error_class");
        const char *message = document_string(o, "message");
        bool own = class && error && !streq(class, error);

        (void) snprintf(buf, size, "%s%s%s", strempty(own ? class : error), message && *message ? ": " : "", strempty(message));
        for (char *p = buf; *p; p++)
                if (*p == '\n')
                        *p = ' ';
}

static Color status_color(const char *status) {
        return streq(status, "dead") ? COLOR_RED : streq(status, "running") ? COLOR_GREEN : COLOR_NONE;
}

static int table_add_event(Table *table, json_object *o) {
        const char *status = strempty(document_string(o, "status")), *id = strempty(document_string(o, "id"));
        char function[160], attempts[24], ago[80], error[512] = "";

        (void) snprintf(function, sizeof(function), "%s/%s", strempty(document_string(o, "app")),
                        strempty(document_string(o, "function")));
        (void) snprintf(attempts, sizeof(attempts), "%" PRIu64, number(o, "attempts"));
        format_ago(ago, sizeof(ago), usec_sub(now_realtime_usec(), number(o, "accepted_usec")));
        format_error(error, sizeof(error), o);
        return table_add(table, status_color(status), (const char *[]) { id, function, status, attempts, ago, error });
}

static int print_events(json_object *events, const char *what) {
        _cleanup_(table_freep) Table *table = NULL;
        size_t n = json_object_array_length(events);
        int r;

        r = table_new(columns, ELEMENTSOF(columns), &table);
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = table_add_event(table, json_object_array_get_idx(events, i));
        if (r < 0)
                return fail_errno(-ENOMEM, "Out of memory.");
        pager_open();
        r = table_print(table, 0, arg_legend && n > 0);
        if (arg_legend && !arg_quiet)
                (void) printf("%s%zu %s%s listed.\n", n > 0 ? "\n" : "", n, what, n == 1 ? "" : "s");
        return r < 0 ? fail_errno(r, "Out of memory.") : EXIT_SUCCESS;
}

static int add_limit(json_object *filter) {
        char *end;
        unsigned long long n;

        if (!arg_limit)
                return 0;
        errno = 0;
        n = strtoull(arg_limit, &end, 10);
        if (errno != 0 || *end || arg_limit[0] < '0' || arg_limit[0] > '9' || n == 0 || n > 10000)
                return fail(SAND_ERROR_USAGE, "--limit=%s: expected a number from 1 to 10000.", arg_limit);
        (void) json_object_object_add(filter, "limit", json_object_new_uint64(n));
        return 0;
}

static int add_status(json_object *filter) {
        static const char *const names[] = { "accepted", "running", "done", "dead" };

        if (!arg_status)
                return 0;
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (streq(arg_status, names[i]))
                        return add_string(filter, "status", names[i]) < 0 ? fail_errno(-ENOMEM, "Out of memory.") : 0;
        return fail(SAND_ERROR_USAGE, "--status=%s: expected accepted, running, done or dead.", arg_status);
}

static int list(const char *method, const char *what, int argc, char **argv) {
        json_object *filter = json_object_new_object(), *events = NULL;
        char failed[64];
        int r;

        (void) snprintf(failed, sizeof(failed), "Failed to list %ss", what);
        r = argc > 0 ? filter_add(filter, argv[0]) : 0;
        if (r == 0)
                r = add_status(filter);
        if (r == 0)
                r = add_limit(filter);
        if (r == 0)
                r = ask_with(method, filter, failed, &events);
        (void) json_object_put(filter);
        if (r == 0 && !json_object_is_type(events, json_type_array))
                r = fail(SAND_ERROR_UNAVAILABLE, "%s: sand-globald's answer is no list.", failed);
        if (r == 0 && arg_json != JSON_OFF)
                r = json_print(events) < 0 ? fail_errno(-ENOMEM, "Out of memory.") : EXIT_SUCCESS;
        else if (r == 0)
                r = print_events(events, what);
        (void) json_object_put(events);
        return r;
}

static int list_executions(int argc, char **argv) {
        return list("Executions", "execution", argc, argv);
}

static int list_dead_letters(int argc, char **argv) {
        return list("DeadLetters", "dead letter", argc, argv);
}

/* ---- show ---- */

static void print_property(const char *name, const char *value) {
        if (!isempty(value))
                (void) printf("%12s: %s\n", name, value);
}

static void print_time(const char *name, uint64_t usec) {
        char when[64], ago[80], both[160];

        if (usec == 0)
                return;
        format_time(when, sizeof(when), usec);
        format_ago(ago, sizeof(ago), usec_sub(now_realtime_usec(), usec));
        (void) snprintf(both, sizeof(both), "%s%s%s", when, usec <= now_realtime_usec() ? "; " : "",
                        usec <= now_realtime_usec() ? ago : "");
        print_property(name, both);
}

/* Text that came from elsewhere, below the properties. */
static void print_text(const char *title, const char *text) {
        if (!isempty(text))
                (void) printf("\n%s%s:%s\n%s%s", color_begin(STDOUT_FILENO, COLOR_BOLD), title, color_end(STDOUT_FILENO), text,
                              text[strlen(text) - 1] == '\n' ? "" : "\n");
}

/* A payload or result: JSON for readers, text as it is, other bytes by their number. */
static int print_body(json_object *o, const char *title, const char *key) {
        const char *base64;
        _cleanup_(freep) void *data = NULL;
        char base64_key[32], bytes[64];
        json_object *value;
        size_t size;
        int r;

        if (json_object_object_get_ex(o, key, &value))
                print_text(title, json_object_to_json_string_ext(value, JSON_C_TO_STRING_NOSLASHESCAPE | JSON_C_TO_STRING_PRETTY |
                                                                                JSON_C_TO_STRING_SPACED));
        (void) snprintf(base64_key, sizeof(base64_key), "%s_base64", key);
        base64 = document_string(o, base64_key);
        if (!base64)
                return 0;
        r = base64_decode(base64, &data, &size);
        if (r < 0)
                return r;
        if (size > 0 && strlen(data) == size && utf8_is_valid(data, size) && !strchr(data, '\x1b'))
                print_text(title, data);
        else {
                (void) snprintf(bytes, sizeof(bytes), "%zu bytes; --json shows them, in base64", size);
                print_text(title, bytes);
        }
        return 0;
}

static int print_event(json_object *o) {
        char function[160], attempts[24], error[512];
        json_object *headers;
        int r;

        (void) snprintf(function, sizeof(function), "%s/%s", strempty(document_string(o, "app")),
                        strempty(document_string(o, "function")));
        (void) snprintf(attempts, sizeof(attempts), "%" PRIu64, number(o, "attempts"));
        pager_open();
        print_property("ID", document_string(o, "id"));
        print_property("Function", function);
        print_property("Status", document_string(o, "status"));
        print_property("Attempts", attempts);
        print_time("Accepted", number(o, "accepted_usec"));
        print_time("Next attempt", number(o, "next_usec"));
        print_time("Ended", number(o, "finished_usec"));
        print_property("Execution", document_string(o, "execution"));
        print_property("Source", document_string(o, "source"));
        format_error(error, sizeof(error), o);
        print_property("Error", error);
        print_property("Result type", document_string(o, "content_type"));
        print_property("Payload type", document_string(o, "payload_content_type"));
        if (json_object_object_get_ex(o, "headers", &headers) && json_object_is_type(headers, json_type_object)) {
                json_object_object_foreach(headers, key, value)
                        (void) printf("%12s: %s: %s\n", "Header", key, strempty(json_object_get_string(value)));
        }
        print_text("Cause", document_string(o, "cause"));
        r = print_body(o, "Payload", "payload");
        if (r >= 0)
                r = print_body(o, "Result", "result");
        return r < 0 ? fail_errno(r, "Failed to read sand-globald's answer: %s", strerror(-r)) : EXIT_SUCCESS;
}

int check_event_id(const char *id) {
        if (event_id_is_valid(id))
                return 0;
        return fail(SAND_ERROR_USAGE, "\"%s\" is not the id of an event: 32 hexadecimal digits, or the first 4 or more of them.", id);
}

static int show(const char *method, const char *id) {
        PeerRequest request = { .target = id };
        json_object *o = NULL;
        char failed[64];
        int r;

        r = check_event_id(id);
        if (r != 0)
                return r;
        (void) snprintf(failed, sizeof(failed), "Failed to show %s", id);
        r = events_ask(method, &request, failed, &o);
        if (r == 0 && arg_json != JSON_OFF)
                r = json_print(o) < 0 ? fail_errno(-ENOMEM, "Out of memory.") : EXIT_SUCCESS;
        else if (r == 0)
                r = print_event(o);
        (void) json_object_put(o);
        return r;
}

static int show_execution(int argc, char **argv) {
        return show("Execution", argv[0]);
}

static int show_dead_letter(int argc, char **argv) {
        return show("DeadLetter", argv[0]);
}

/* ---- replay and drop ---- */

/* sand-globald alters only what is named in full. 0, or the exit status. */
static int id_add(json_object *ids, const char *id) {
        PeerRequest request = { .target = id };
        json_object *o = NULL, *whole = NULL;
        char failed[64];
        int r;

        r = check_event_id(id);
        if (r == 0 && strlen(id) < 32) {
                (void) snprintf(failed, sizeof(failed), "Failed to find %s", id);
                r = events_ask("DeadLetter", &request, failed, &o);
                whole = json_object_get(json_object_object_get(o, "id"));
                (void) json_object_put(o);
        } else if (r == 0)
                whole = json_object_new_string(id);
        if (r == 0 && (!whole || json_object_array_add(ids, whole) < 0))
                r = fail_errno(-ENOMEM, "Out of memory.");
        return r;
}

/* ID..., one APP or APP/FUNCTION, or --all: never more than was said. */
static int selection_add(json_object *selection, int argc, char **argv) {
        json_object *ids;

        if (arg_all && argc > 0)
                return fail(SAND_ERROR_USAGE, "--all is all dead letters there are; leave \"%s\" or --all out.", argv[0]);
        if (arg_all)
                return json_object_object_add(selection, "all", json_object_new_boolean(true)) < 0 ?
                               fail_errno(-ENOMEM, "Out of memory.") : 0;
        if (argc == 0)
                return fail(SAND_ERROR_USAGE, "Which dead letters? Expected ID..., APP, APP/FUNCTION or --all.");
        if (argc == 1 && !event_id_is_valid(argv[0]))
                return filter_add(selection, argv[0]);
        ids = json_object_new_array();
        (void) json_object_object_add(selection, "ids", ids);
        for (int i = 0; i < argc; i++) {
                int r = id_add(ids, argv[i]);
                if (r != 0)
                        return r;
        }
        return 0;
}

static int alter(const char *method, const char *failed, const char *done, int argc, char **argv) {
        json_object *selection = json_object_new_object(), *o = NULL;
        uint64_t n;
        int r;

        r = selection_add(selection, argc, argv);
        if (r == 0)
                r = ask_with(method, selection, failed, &o);
        (void) json_object_put(selection);
        if (r == 0 && arg_json != JSON_OFF)
                r = json_print(o) < 0 ? fail_errno(-ENOMEM, "Out of memory.") : EXIT_SUCCESS;
        else if (r == 0 && !arg_quiet) {
                n = number(o, "events");
                (void) printf("%" PRIu64 " dead letter%s %s\n", n, n == 1 ? "" : "s", done);
        }
        (void) json_object_put(o);
        return r;
}

static int replay(int argc, char **argv) {
        return alter("Replay", "Not replayed", "replayed", argc, argv);
}

static int drop(int argc, char **argv) {
        return alter("Drop", "Not dropped", "dropped", argc, argv);
}

int verb_execution(int argc, char **argv) {
        static const NounVerb verbs[] = {
                { "list", "[APP[/FUNCTION]]", 0, 1, list_executions },
                { "show", "ID", 1, 1, show_execution },
        };

        if ((arg_status || arg_limit) && argc > 0 && !streq(argv[0], "list"))
                return fail(SAND_ERROR_USAGE, "--status= and --limit= are options of \"sandctl execution list\".");
        return noun_run("execution", verbs, ELEMENTSOF(verbs), argc, argv);
}

int verb_dead_letter(int argc, char **argv) {
        static const NounVerb verbs[] = {
                { "list", "[APP[/FUNCTION]]", 0, 1, list_dead_letters },
                { "show", "ID", 1, 1, show_dead_letter },
                { "replay", "ID...|APP[/FUNCTION]|--all", 0, -1, replay },
                { "drop", "ID...|APP[/FUNCTION]|--all", 0, -1, drop },
        };

        if (arg_limit && argc > 0 && !streq(argv[0], "list"))
                return fail(SAND_ERROR_USAGE, "--limit= is an option of \"sandctl dead-letter list\".");
        if (arg_all && (argc == 0 || (!streq(argv[0], "replay") && !streq(argv[0], "drop"))))
                return fail(SAND_ERROR_USAGE, "--all is an option of \"sandctl dead-letter replay\" and \"drop\".");
        return noun_run("dead-letter", verbs, ELEMENTSOF(verbs), argc, argv);
}
