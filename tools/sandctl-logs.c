/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sandctl logs: journalctl with the right matches. _SYSTEMD_UNIT= cannot be forged by a function, the SAND_
 * fields narrow it down. */

#include <stdio.h>
#include <unistd.h>

#include "protocol.h"
#include "sandctl.h"

/* A word for journalctl, where there is a value. */
typedef struct Word {
        const char *prefix, *value;
} Word;

static const char *output_format(void) {
        if (arg_output)
                return arg_output;
        return arg_json == JSON_PRETTY ? "json-pretty" : arg_json == JSON_SHORT ? "json" : NULL;
}

/* Without a function or an execution, what systemd says about the machine's unit belongs to it: that is
 * --unit=, which also matches UNIT= of PID 1's entries. */
static int journalctl_arguments(const char *app, const char *function, char ***l) {
        _cleanup_(freep) char *unit = NULL;
        bool narrow = function || arg_execution;
        int r;

        if (asprintf(&unit, "sand-app@%s.service", app) < 0)
                return -ENOMEM;
        const Word words[] = {
                { "journalctl", "" },
                { "--no-pager", arg_no_pager ? "" : NULL },
                { "--follow", arg_follow ? "" : NULL },
                { "--quiet", arg_quiet ? "" : NULL },
                { "--lines=", arg_lines },
                { "--since=", arg_since },
                { "--until=", arg_until },
                { "--output=", output_format() },
                { "--unit=", narrow ? NULL : unit },
                { "_SYSTEMD_UNIT=", narrow ? unit : NULL },
                { "SAND_FUNCTION=", function },
                { "SAND_EXECUTION=", arg_execution },
        };
        for (size_t i = 0; i < ELEMENTSOF(words); i++) {
                char *word;

                if (!words[i].value)
                        continue;
                r = strv_consume(l, asprintf(&word, "%s%s", words[i].prefix, words[i].value) < 0 ? NULL : word);
                if (r < 0)
                        return r;
        }
        return 0;
}

static bool execution_is_valid(const char *s) {
        return strlen(s) == 32 && s[strspn(s, "0123456789abcdef")] == '\0';
}

/* What was removed has left its log; a name that is misspelt has none. */
static void note_absence(const char *app) {
        char path[256];

        (void) snprintf(path, sizeof(path), SAND_CATALOGUE_DIR "/%s.json", app);
        if (access(path, F_OK) < 0 && errno == ENOENT)
                say("No application \"%s\" is deployed here. This is what is left of its log:", app);
}

int verb_logs(int argc, char **argv) {
        _cleanup_(strv_freep) char **arguments = NULL;
        char *slash = strchr(argv[0], '/');
        const char *function = NULL;
        int r;

        if (slash) {
                *slash = '\0';
                function = slash + 1;
        }
        r = check_app_name(argv[0]);
        if (r != 0)
                return r;
        if (function && !function_name_is_valid(function))
                return fail(SAND_ERROR_USAGE, "\"%s\" is not a function's name; expected APP or APP/FUNCTION.",
                            function);
        if (arg_execution && !execution_is_valid(arg_execution))
                return fail(SAND_ERROR_USAGE, "--execution=%s: expected the 32 hex digits of Sand-Execution.",
                            arg_execution);
        r = journalctl_arguments(argv[0], function, &arguments);
        if (r < 0)
                return fail_errno(r, "Out of memory.");
        note_absence(argv[0]);
        (void) execvp("journalctl", arguments);
        return fail_errno(-errno, "Failed to execute journalctl: %m");
}
