/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sandctl: the command line. This file knows the grammar: one table of verbs, one of options; help,
 * completion's raw material and the arguments for another host come from the same tables. */

#include "sandctl.h"

#include <getopt.h>
#include <inttypes.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>

#include "config.h"
#include "log.h"
#include "sandctl-agent.h"
#include "sandctl-text.h"
#include "text.h"

JsonMode arg_json;
bool arg_no_pager, arg_quiet, arg_legend = true, arg_verbose, arg_follow, arg_keep_state, arg_ask_password = true,
        arg_apply, arg_revert, arg_stdin, arg_async, arg_wait, arg_all;
const char *arg_host, *arg_name, *arg_data, *arg_file, *arg_content_type, *arg_listen, *arg_lines,
        *arg_since, *arg_until, *arg_execution, *arg_output, *arg_credentials, *arg_runtime,
        *arg_drop_in, *arg_expires, *arg_delay, *arg_max_age, *arg_idempotency_key, *arg_callback,
        *arg_status, *arg_limit;
uint64_t arg_timeout_usec = USEC_INFINITY;

static bool arg_help;

typedef enum OptionId {
        OPTION_HELP, OPTION_VERSION, OPTION_HOST, OPTION_JSON, OPTION_J, OPTION_NO_PAGER, OPTION_NO_LEGEND,
        OPTION_NO_ASK_PASSWORD, OPTION_QUIET, OPTION_NAME, OPTION_KEEP_STATE, OPTION_DATA, OPTION_FILE, OPTION_CONTENT_TYPE,
        OPTION_TIMEOUT, OPTION_VERBOSE, OPTION_LISTEN, OPTION_FOLLOW, OPTION_LINES, OPTION_SINCE,
        OPTION_UNTIL, OPTION_EXECUTION, OPTION_OUTPUT, OPTION_CREDENTIALS, OPTION_RUNTIME, OPTION_DROP_IN, OPTION_STDIN,
        OPTION_REVERT, OPTION_APPLY, OPTION_EXPIRES, OPTION_ASYNC, OPTION_WAIT, OPTION_DELAY, OPTION_MAX_AGE,
        OPTION_IDEMPOTENCY_KEY, OPTION_CALLBACK, OPTION_STATUS, OPTION_LIMIT, OPTION_ALL,
        _OPTION_MAX,
} OptionId;

typedef struct Option {
        const char *name; /* NULL: a letter only */
        char letter;      /* 0: none */
        const char *metavar; /* NULL: takes no value */
        const char *help;
        const char **string; /* where the value, or */
        bool *flag;          /* where the truth goes; */
        bool value;          /* this truth; neither: option_set() knows */
        bool everywhere;
} Option;

static const Option options[_OPTION_MAX] = {
        [OPTION_HELP] = { "help", 'h', NULL, "Show this help", .flag = &arg_help, .value = true,
                          .everywhere = true },
        [OPTION_VERSION] = { "version", 0, NULL, "Show the version", .everywhere = true },
        [OPTION_HOST] = { "host", 'H', "[USER@]HOST", "Operate on another host, over ssh",
                          .string = &arg_host, .everywhere = true },
        [OPTION_JSON] = { "json", 0, "pretty|short|off", "Print as JSON", .everywhere = true },
        [OPTION_J] = { NULL, 'j', NULL, "The same as --json=pretty on a terminal, else --json=short",
                       .everywhere = true },
        [OPTION_NO_PAGER] = { "no-pager", 0, NULL, "Do not pipe output into a pager",
                              .flag = &arg_no_pager, .value = true, .everywhere = true },
        [OPTION_NO_LEGEND] = { "no-legend", 0, NULL, "Print neither headers nor totals",
                               .flag = &arg_legend, .value = false, .everywhere = true },
        [OPTION_NO_ASK_PASSWORD] = { "no-ask-password", 0, NULL, "Do not let polkit ask for a password",
                                     .flag = &arg_ask_password, .value = false, .everywhere = true },
        [OPTION_QUIET] = { "quiet", 'q', NULL, "Say nothing but results and errors",
                           .flag = &arg_quiet, .value = true, .everywhere = true },
        [OPTION_NAME] = { "name", 0, "NAME", "Deploy under this name; or what a token is for",
                          .string = &arg_name },
        [OPTION_KEEP_STATE] = { "keep-state", 0, NULL, "Keep what the application wrote to /state, and its secrets",
                                .flag = &arg_keep_state, .value = true },
        [OPTION_DATA] = { "data", 'd', "STRING", "The event, as it stands here", .string = &arg_data },
        [OPTION_FILE] = { "file", 0, "FILE", "The event, read from a file (-: standard input)",
                          .string = &arg_file },
        [OPTION_CONTENT_TYPE] = { "content-type", 't', "TYPE", "What the event is (application/json)",
                                  .string = &arg_content_type },
        [OPTION_TIMEOUT] = { "timeout", 0, "SPAN", "Give up after this time (\"30s\", \"5min\")" },
        [OPTION_VERBOSE] = { "verbose", 'v', NULL, "Show execution, time used, and the function's output",
                             .flag = &arg_verbose, .value = true },
        [OPTION_LISTEN] = { "listen", 0, "ADDRESS:PORT", "Serve HTTP here (127.0.0.1:8080)",
                            .string = &arg_listen },
        [OPTION_FOLLOW] = { "follow", 'f', NULL, "Go on with new entries as they come",
                            .flag = &arg_follow, .value = true },
        [OPTION_LINES] = { "lines", 'n', "N", "The last N entries only (or \"all\")",
                           .string = &arg_lines },
        [OPTION_SINCE] = { "since", 'S', "TIME", "Entries from this time on (\"-1h\", \"today\")",
                           .string = &arg_since },
        [OPTION_UNTIL] = { "until", 'U', "TIME", "Entries up to this time", .string = &arg_until },
        [OPTION_EXECUTION] = { "execution", 0, "ID", "Entries of this execution only",
                               .string = &arg_execution },
        [OPTION_OUTPUT] = { "output", 'o', "FORMAT", "journalctl's format: cat, short-iso, json, ...",
                            .string = &arg_output },
        [OPTION_CREDENTIALS] = { "credentials", 0, "DIR", "Where the functions' secrets are, a file for each",
                                 .string = &arg_credentials },
        [OPTION_RUNTIME] = { "runtime", 0, "python3|native|exec", "What the function is written for (python3)",
                             .string = &arg_runtime },
        [OPTION_DROP_IN] = { "drop-in", 0, "NAME", "The file of overrides (override.json)", .string = &arg_drop_in },
        [OPTION_STDIN] = { "stdin", 0, NULL, "Take the overrides from standard input, without an editor",
                           .flag = &arg_stdin, .value = true },
        [OPTION_REVERT] = { "revert", 0, NULL, "Remove the overrides", .flag = &arg_revert, .value = true },
        [OPTION_APPLY] = { "apply", 0, NULL, "Apply the files as they are, without an editor", .flag = &arg_apply,
                           .value = true },
        [OPTION_EXPIRES] = { "expires", 0, "TIME", "Until when a token is good (\"90d\", \"2027-12-31\")",
                             .string = &arg_expires },
        [OPTION_ASYNC] = { "async", 0, NULL, "Have the event kept and delivered; print its id", .flag = &arg_async, .value = true },
        [OPTION_WAIT] = { "wait", 0, NULL, "Wait for the end of the event with this id", .flag = &arg_wait, .value = true },
        [OPTION_DELAY] = { "delay", 0, "SPAN", "Deliver the event no earlier than in this time", .string = &arg_delay },
        [OPTION_MAX_AGE] = { "max-age", 0, "SPAN", "Try for this long, then it is a dead letter", .string = &arg_max_age },
        [OPTION_IDEMPOTENCY_KEY] = { "idempotency-key", 0, "KEY", "Accept an event with this key once",
                                     .string = &arg_idempotency_key },
        [OPTION_CALLBACK] = { "callback", 0, "URL", "Where the result is posted to", .string = &arg_callback },
        [OPTION_STATUS] = { "status", 0, "STATUS", "Those that are accepted, running, done or dead", .string = &arg_status },
        [OPTION_LIMIT] = { "limit", 0, "N", "The newest N only (100)", .string = &arg_limit },
        [OPTION_ALL] = { "all", 0, NULL, "All dead letters of the host", .flag = &arg_all, .value = true },
};

typedef struct Verb {
        const char *name, *arguments;
        int min, max;        /* arguments; max -1: any number */
        const char *options; /* letters or names of its own options, between spaces */
        int (*run)(int argc, char **argv);
        const char *summary, *help;
        bool raw_tail;       /* what follows the first argument is a command, not options */
        bool remote;         /* on another host, sandctl itself runs there */
} Verb;

static const Verb verbs[] = {
        { "new", "DIR", 1, 1, " runtime ", verb_new, "Make an application to begin with",
          "Makes the folder DIR with an application of DIR's name: sand.json, the source of one function,\n"
          "\"hello\", an event to try it with, and a README.md that says how. DIR may be there if it is empty;\n"
          "\".\" is the current directory. Nothing is written over, and on failure nothing is left.\n\n"
          "Examples:\n"
          "  sandctl new shop && cd shop && sandctl invoke ./hello --file events/hello.json\n"
          "  sandctl new --runtime=native counter && sandctl build counter" },
        { "build", "[DIR]", 0, 1, " ", verb_build, "Make what a bundle holds beside its sources",
          "Runs the command \"build\" of DIR/sand.json (DIR: the current directory) there, if there is one. Then,\n"
          "if there is a requirements.txt, fills vendor/python by pip, from the folder wheels without any network\n"
          "if that is there. It is filled aside, and takes the old one's place when all of it is there. What has\n"
          "not changed is not installed again. If something fails, the exit status is the command's.\n\n"
          "Examples:\n"
          "  sandctl build thumbnails && sandctl deploy thumbnails\n"
          "  pip download -d wheels -r requirements.txt   # for hosts without a network" },
        { "check", "[DIR]", 0, 1, " ", verb_check, "Check a bundle without deploying it",
          "Reads DIR/sand.json (DIR: the current directory) and looks for everything that it names. Every\n"
          "problem is printed on standard error as FILE:LINE: POINTER: TEXT; the exit status is then 4.\n"
          "Needs neither root nor any service.\n\n"
          "Examples:\n"
          "  sandctl check\n"
          "  sandctl check thumbnails && sandctl deploy thumbnails" },
        { "run", "[DIR]", 0, 1, " listen credentials ", verb_run, "Serve a bundle from its folder, for development",
          "Runs the functions of DIR (default: the current directory) in the foreground, with the same\n"
          "supervisor, workers and HTTP gateway that serve them on a host, but without root, machine or\n"
          "installation. What the functions print appears here. When a file of the bundle changes it is\n"
          "checked and loaded anew, while the code loaded before serves; if that fails, it goes on, and the\n"
          "reason is shown with file and line. Ctrl-C ends it.\n\n"
          "Without --listen the first free port from 8080 on is taken. Only loopback addresses are served.\n"
          "Secrets are the files of the directory --credentials, or else $CREDENTIALS_DIRECTORY.\n\n"
          "Examples:\n"
          "  sandctl run /usr/lib/sand/examples/hello-python\n"
          "  sandctl run . --listen 127.0.0.1:9000\n"
          "  curl -d '{\"name\": \"World\"}' http://127.0.0.1:8080/invoke/hello-python/hello" },
        { "deploy", "[DIR|FILE.tar[.zst|.gz|.xz]|-]", 0, 1, " name ", verb_deploy,
          "Deploy a bundle, or a new version of it",
          "Checks the bundle DIR (default: the current directory), packs it and hands it to sand-hostd. The\n"
          "same content as the running version is \"unchanged\". Of a new version the workers are loaded\n"
          "first: if one fails, the old version goes on and the reason is printed. No event is lost and\n"
          "no connection refused meanwhile. A FILE, or - for standard input, is a tar of a bundle.\n\n"
          "Needs the right to deploy: root, or polkit's consent (org.sand.host1.deploy).\n\n"
          "Examples:\n"
          "  sandctl deploy /usr/lib/sand/examples/thumbnails\n"
          "  sandctl deploy . --name thumbnails-staging\n"
          "  tar c -C build . | sandctl deploy -\n"
          "  sandctl -H root@web1 deploy .", .remote = false },
        { "remove", "APP...", 1, -1, " keep-state ", verb_remove, "Stop and remove applications",
          "Stops each APP's machine, and removes its versions, its units, its tokens, its secrets and what it\n"
          "wrote to /state. With --keep-state the latter three are left for a later deployment.\n\n"
          "Examples:\n"
          "  sandctl remove thumbnails\n"
          "  sandctl remove --keep-state shop billing" },
        { "list", "[PATTERN...]", 0, -1, " ", verb_list, "List applications",
          "Lists the applications deployed on the host: version, state of the machine, functions. An\n"
          "application that is \"inactive\" has no machine running: its next event starts it. A PATTERN is a shell glob for names.\n\n"
          "Examples:\n"
          "  sandctl list\n"
          "  sandctl list 'shop-*' --json=short\n"
          "  sandctl list --no-legend | cut -d' ' -f1" },
        { "show", "APP", 1, 1, " ", verb_show, "Show how an application is configured",
          "Shows what sand-hostd knows of the deployed version of APP: functions, runtimes, limits. The\n"
          "values are those in effect; the last table has the file that each of them is from, \"default\" for\n"
          "what nobody has said. With --json, \"provenance\" has the same.\n\n"
          "Examples:\n"
          "  sandctl show thumbnails\n"
          "  sandctl show thumbnails --json=pretty" },
        { "edit", "APP", 1, 1, " drop-in stdin revert apply ", verb_edit, "Override an application's configuration on this host",
          "Opens an editor on /etc/sand/apps/APP.json.d/override.json, a merge patch (RFC 7396) of the sand.json\n"
          "of every version of APP: what it says counts before the bundle, and null takes a value away. What you\n"
          "save is checked as strictly as a bundle, and the version that serves is loaded with it beside the old\n"
          "one; only then is the file written. If something is wrong nothing changes, and your text is kept.\n"
          "An empty text removes the file. Files *.json written there by hand count at the next deployment or\n"
          "rollback, or at once with --apply.\n\n"
          "The editor is $SYSTEMD_EDITOR, $EDITOR or $VISUAL. Needs root, or polkit's consent\n"
          "(org.sand.host1.override).\n\n"
          "Examples:\n"
          "  sandctl edit shop\n"
          "  echo '{\"idle\": \"1h\"}' | sandctl edit shop --drop-in=50-idle --stdin\n"
          "  sandctl edit shop --drop-in=50-idle --revert" },
        { "status", "[APP...]", 0, -1, " lines ", verb_status, "Show what an application is doing",
          "Shows each APP's machine, per function the queue, the events that run and the counts of served\n"
          "and failed ones, and the newest log lines. Without APP: the host's services and applications.\n"
          "The exit status is 3 if an APP does not exist. It does not start an idle machine.\n\n"
          "Examples:\n"
          "  sandctl status\n"
          "  sandctl status thumbnails -n 50\n"
          "  sandctl status thumbnails -j | jq .supervisor", .remote = true },
        { "versions", "APP", 1, 1, " ", verb_versions, "List the versions of an application that are kept",
          "Lists them, newest first: when each was deployed first, by whom, what it was read from. \"previous\" is\n"
          "where a rollback goes; one that was \"rolled back\" is passed over. How many are kept says KeepVersions=\n"
          "in hostd.conf(5).\n\n"
          "Examples:\n"
          "  sandctl versions shop\n"
          "  sandctl versions shop -j | jq -r '.versions[].version'", .remote = true },
        { "rollback", "APP [VERSION]", 1, 2, " ", verb_rollback, "Go back to an earlier version",
          "Deploys a version that is kept: the newest one older than the current, or VERSION: its number, or the\n"
          "beginning of its name or hash. As when deploying, its workers are loaded first, and no event is lost.\n"
          "Again, it goes one further back. Versions that were rolled back from are passed over, until they are\n"
          "deployed by name. The host's overrides (sandctl edit) stay as they are.\n\n"
          "Needs root, or polkit's consent (org.sand.host1.deploy).\n\n"
          "Examples:\n"
          "  sandctl rollback shop\n"
          "  sandctl rollback shop 3" },
        { "invoke", "TARGET", 1, 2, " data file content-type timeout verbose credentials async wait delay max-age "
          "idempotency-key callback ", verb_invoke,
          "Send one event to a function and print the result",
          "TARGET is APP/FUNCTION; or DIR/FUNCTION, where DIR begins with . or /, which runs the function\n"
          "from that folder with no daemon and no root, and shows what it prints on standard error. The\n"
          "result goes to standard output as it is, nothing added. A failure goes to standard error: the\n"
          "error, its text and its cause.\n\n"
          "The event is --data, or --file, or, with - or when standard input is a pipe or a file,\n"
          "standard input; else it is empty. Its content type is application/json if nothing is said.\n"
          "Python functions see JSON parsed, and other types as bytes.\n\n"
          "With --async the event is on disk when its id is printed, and is delivered at least once, tried again\n"
          "as the application's \"retry\" says, and then a dead letter. invoke --wait ID waits for its end, and\n"
          "prints and exits as if the function had been waited for all along.\n\n"
          "Needs access to the application's socket: root, or membership of the group sand-invoke.\n\n"
          "Examples:\n"
          "  sandctl invoke hello/greet -d '{\"name\": \"World\"}'\n"
          "  sandctl invoke thumbnails/resize -t image/jpeg --file photo.jpg > small.jpg\n"
          "  sandctl invoke ./hello/greet -v < event.json\n"
          "  ID=$(sandctl invoke --async shop/order --file order.json) && sandctl invoke --wait $ID" },
        { "emit", "APP TOPIC [-]", 2, 3, " data file content-type delay max-age idempotency-key ", verb_emit,
          "Send an event to all functions that a topic interests",
          "Every function of APP, and of applications that allow APP, whose trigger's \"event\" matches TOPIC gets\n"
          "the event, as a CloudEvent with the payload as its data. All of it is on disk when the id is printed;\n"
          "each function is tried on its own. The payload is given as with invoke.\n\n"
          "Examples:\n"
          "  sandctl emit shop orders.created -d '{\"order\": 17}'\n"
          "  sandctl emit shop stock.low --file stock.json --idempotency-key 2027-01-31", .remote = false },
        { "execution", "[list|show] [APP[/FUNCTION]|ID]", 0, 2, " status limit ", verb_execution,
          "List and show asynchronous events",
          "execution list [APP[/FUNCTION]]   The newest ones, with what became of them\n"
          "execution show ID                 One of them, with its result\n\n"
          "Of an ID as much of its beginning will do as no other has, 4 digits or more; ids begin with the time.\n"
          "Needs root; with the whole ID, show needs what invoke needs.\n\n"
          "Examples:\n"
          "  sandctl execution list shop --status=running\n"
          "  sandctl execution show 01a21393249f7c\n"
          "  sandctl execution list shop/order --limit=1000 -j | jq -r '.[].id'", .remote = true },
        { "dead-letter", "[list|show|replay|drop] ...", 0, -1, " limit all ", verb_dead_letter,
          "List, show, replay and drop events that failed for good",
          "dead-letter list [APP[/FUNCTION]]                    Those that are there, with their errors\n"
          "dead-letter show ID                                  One of them, with error, cause and payload\n"
          "dead-letter replay ID...|APP[/FUNCTION]|--all        Delivers them again, with all their attempts\n"
          "dead-letter drop ID...|APP[/FUNCTION]|--all          Removes them for good\n\n"
          "An event is a dead letter when its function's \"retry\" allows no further attempt. Of an ID as much of its\n"
          "beginning will do as no other has. What is replayed keeps its id. Needs root.\n\n"
          "Examples:\n"
          "  sandctl dead-letter show 01a21393249f7c\n"
          "  sandctl dead-letter replay shop/order\n"
          "  sandctl dead-letter drop --all", .remote = true },
        { "logs", "APP[/FUNCTION]", 1, 1, " follow lines since until execution output ", verb_logs,
          "Show what an application and its functions logged",
          "Runs journalctl on the application's machine: what its functions print, their receipts, and\n"
          "what the supervisor and systemd say. -o, -n, -S, -U and -f mean what they mean there.\n\n"
          "Examples:\n"
          "  sandctl logs thumbnails -f\n"
          "  sandctl logs thumbnails/resize -n 100 -S -1h\n"
          "  sandctl logs thumbnails --execution 0f3a...  -o verbose", .remote = true },
        { "secret", "[list|set|remove] [APP [NAME]]", 0, -1, " ", verb_secret, "Set, list and remove the secrets of applications",
          "secret [list [APP]]          Names, when each was set, and which functions read it\n"
          "secret set APP NAME          Takes the value from standard input, or asks for it on a terminal\n"
          "secret remove APP NAME...    Removes secrets that no function of the deployed version reads\n\n"
          "A function whose \"credentials\" in sand.json list NAME finds the value, byte for byte, in the file\n"
          "$CREDENTIALS_DIRECTORY/NAME; no other function does. A value that is set anew is there for the next\n"
          "event; nothing is restarted. Set secrets before you deploy what reads them. A value has at most\n"
          "768 KiB, is stored encrypted by systemd-creds, and is never shown again.\n\n"
          "Needs root, or polkit's consent (org.sand.host1.secrets; to list: org.sand.host1.inspect).\n\n"
          "Examples:\n"
          "  sandctl secret set shop api-key\n"
          "  pass show shop/api-key | sandctl secret set shop api-key\n"
          "  sandctl secret set shop tls.key < tls.key\n"
          "  sandctl secret list shop --json=short" },
        { "shell", "APP [COMMAND...]", 1, -1, " ", verb_shell, "Open a shell in an application's machine",
          "Enters the machine of APP as its root (no more than a user's rights on the host), and runs\n"
          "COMMAND or /bin/sh there, in the directory of the current version. An idle machine is started\n"
          "first. Functions see that directory as /app; the shell sees /run/sand/versions/current.\n"
          "Its limits, filters and idle time are not those of a function. Needs root.\n\n"
          "Examples:\n"
          "  sandctl shell thumbnails\n"
          "  sandctl shell thumbnails ls -l /state", .raw_tail = true, .remote = true },
        { "token", "[list|create|revoke] [APP [ID]]", 0, -1, " name expires ", verb_token,
          "Make, list and revoke the tokens of applications",
          "token [list [APP]]       Ids, what each is for, when it was made and when it expires\n"
          "token create APP         Prints a new token, alone on standard output, this once\n"
          "token revoke APP ID...   Ids by their beginnings; what was revoked is refused from then on\n\n"
          "Who calls APP over the gateway's TLS listeners shows a token of APP: \"Authorization: Bearer TOKEN\".\n"
          "Only its hash is stored; its id is the beginning of that. Tokens go with their application.\n\n"
          "Needs root, or polkit's consent (org.sand.host1.tokens; to list: org.sand.host1.inspect).\n\n"
          "Examples:\n"
          "  TOKEN=$(sandctl token create shop --name \"partner A\" --expires 90d)\n"
          "  curl -H \"Authorization: Bearer $TOKEN\" https://sand.example.org:8443/invoke/shop/order\n"
          "  sandctl token list shop --json=short\n"
          "  sandctl token revoke shop 3f9a" },
        { "trigger", "[list|fire] [APP [TRIGGER]]", 0, 3, " ", verb_trigger, "List what sets functions off, and set timers off",
          "trigger list [APP]         Routes, timers, directories and topics of applications, and their functions\n"
          "trigger fire APP TRIGGER   Sends the event of a timer now, such as timer-0, and prints its id\n\n"
          "Timers and directories are units of systemd, sand-trigger-APP-N.timer and .path, which systemctl can\n"
          "stop. fire needs what invoke needs, and sends also if the last event of the timer has not ended.\n\n"
          "Examples:\n"
          "  sandctl trigger list shop\n"
          "  sandctl invoke --wait $(sandctl trigger fire shop timer-0)", .remote = true },
};

/* The rest of the grammar. A script that uses it must learn that it is not there, and no more. */
static const char *const later[] = {
        "host", "peer", "task", NULL,
};

static void complain(int error, const char *format, va_list ap) {
        _cleanup_(freep) char *text = NULL;

        errno = abs(error);
        if (vasprintf(&text, format, ap) >= 0)
                (void) fprintf(stderr, "%s%s%s\n", color_begin(STDERR_FILENO, COLOR_RED), text,
                               color_end(STDERR_FILENO));
}

int noun_run(const char *noun, const NounVerb *verbs, size_t n_verbs, int argc, char **argv) {
        const char *name = argc > 0 ? argv[0] : verbs[0].name;
        int n = MAX(argc - 1, 0);
        char expected[128] = "";

        for (size_t i = 0; i < n_verbs; i++) {
                size_t l = strlen(expected);

                if (streq(name, verbs[i].name)) {
                        if (n >= verbs[i].min && (verbs[i].max < 0 || n <= verbs[i].max))
                                return verbs[i].run(n, argv + (argc > 0));
                        return fail(SAND_ERROR_USAGE, "Too %s arguments: sandctl %s %s %s", n < verbs[i].min ? "few" : "many",
                                    noun, name, verbs[i].arguments);
                }
                (void) snprintf(expected + l, sizeof(expected) - l, "%s%s", i == 0 ? "" : i + 1 < n_verbs ? ", " : " or ",
                                verbs[i].name);
        }
        return fail(SAND_ERROR_USAGE, "Unknown verb \"%s %s\", expected %s.", noun, name, expected);
}

int fail(SandError e, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        complain(0, format, ap);
        va_end(ap);
        return sand_error_info(e)->exit_status;
}

int fail_errno(int r, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        complain(r, format, ap);
        va_end(ap);
        return sand_error_info(sand_error_from_errno(r))->exit_status;
}

void say(const char *format, ...) {
        va_list ap;

        if (arg_quiet)
                return;
        va_start(ap, format);
        (void) vfprintf(stderr, format, ap);
        va_end(ap);
        (void) fputc('\n', stderr);
}

int check_app_name(const char *name) {
        if (app_name_is_valid(name))
                return 0;
        return fail(SAND_ERROR_USAGE, "\"%s\" is not an application's name: a lower-case letter, then "
                                      "lower-case letters, digits and -, at most 63.", name);
}

static bool verb_has_option(const Verb *verb, const Option *o) {
        char word[32];

        if (o->everywhere)
                return true;
        (void) snprintf(word, sizeof(word), " %s ", o->name);
        return strstr(verb->options, word);
}

static void print_options(const Verb *verb, bool own) {
        for (size_t i = 0; i < _OPTION_MAX; i++) {
                const Option *o = options + i;
                char words[64];

                if (o->everywhere == own || (own && !verb_has_option(verb, o)))
                        continue;
                (void) snprintf(words, sizeof(words), "%c%c%c%s%s%s%s", o->letter ? '-' : ' ',
                                o->letter ?: ' ', o->letter && o->name ? ',' : ' ',
                                o->name ? " --" : "", strempty(o->name),
                                o->metavar ? "=" : "", strempty(o->metavar));
                (void) printf("  %-28s %s%s\n", words, strlen(words) > 28 ? "\n                               "
                                                                           : "", o->help);
        }
}

static int help_verb(const Verb *verb) {
        pager_open();
        (void) printf("sandctl %s [OPTIONS...] %s\n\n%s%s.%s\n\n%s\n", verb->name, verb->arguments,
                      color_begin(STDOUT_FILENO, COLOR_BOLD), verb->summary, color_end(STDOUT_FILENO),
                      verb->help);
        if (!streq(verb->options, " ")) {
                (void) printf("\nOptions:\n");
                print_options(verb, true);
        }
        (void) printf("\nOptions of every verb:\n");
        print_options(verb, false);
        (void) printf("\nSee the sandctl(1) man page for details.\n");
        return EXIT_SUCCESS;
}

static int help_all(void) {
        pager_open();
        (void) printf("sandctl [OPTIONS...] VERB ...\n\n"
                      "%sDeploy, run and look after serverless applications.%s\n\nVerbs:\n",
                      color_begin(STDOUT_FILENO, COLOR_BOLD), color_end(STDOUT_FILENO));
        for (size_t i = 0; i < ELEMENTSOF(verbs); i++) {
                char words[64];

                (void) snprintf(words, sizeof(words), "%s %s", verbs[i].name,
                                streq(verbs[i].name, "deploy") ? "[DIR|FILE|-]" : verbs[i].arguments);
                (void) printf("  %-28s %s\n", words, verbs[i].summary);
        }
        (void) printf("\nOptions:\n");
        print_options(NULL, false);
        (void) printf("\nExit status: 0 success, 1 the function failed, 2 usage or bad request, 3 not found,\n"
                      "4 denied or invalid bundle, 5 unavailable, 6 busy, 7 timeout.\n\n"
                      "First steps:\n"
                      "  sandctl new DIR              make an application to begin with\n"
                      "  sandctl run DIR              serve it from its folder; no root, no installation\n"
                      "  sandctl deploy DIR           put it on this host\n"
                      "  sandctl invoke APP/FUNCTION  send it an event\n"
                      "  sandctl VERB --help          more on a verb, with examples\n\n"
                      "See the sandctl(1) and sand.json(5) man pages for details.\n");
        return EXIT_SUCCESS;
}

static int parse_json_mode(const char *value) {
        static const char *const names[] = {
                [JSON_OFF] = "off", [JSON_SHORT] = "short", [JSON_PRETTY] = "pretty",
        };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (streq(value, names[i])) {
                        arg_json = (JsonMode) i;
                        return 0;
                }
        return fail(SAND_ERROR_USAGE, "--json=%s: expected pretty, short or off.", value);
}

/* 0, or the exit status of the complaint. */
static int option_set(OptionId id, const char *value) {
        const Option *o = options + id;

        if (id == OPTION_HOST && (isempty(value) || value[0] == '-')) /* ssh would take it for an option */
                return fail(SAND_ERROR_USAGE, "--host=%s: expected [USER@]HOST.", value);
        if (o->string)
                *o->string = value;
        else if (o->flag)
                *o->flag = o->value;
        else if (id == OPTION_J)
                arg_json = isatty(STDOUT_FILENO) ? JSON_PRETTY : JSON_SHORT;
        else if (id == OPTION_JSON)
                return parse_json_mode(value);
        else if (id == OPTION_TIMEOUT &&
                 (parse_time_span(value, &arg_timeout_usec) < 0 || arg_timeout_usec == 0))
                return fail(SAND_ERROR_USAGE, "--timeout=%s: expected a time span such as \"30s\" or "
                                              "\"5min\".", value);
        return 0;
}

static const Verb *verb_find(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
                if (streq(name, verbs[i].name))
                        return verbs + i;
        return NULL;
}

static const char *verb_name_at(const void *words, size_t i) {
        return i < ELEMENTSOF(verbs) ? ((const Verb *) words)[i].name : NULL;
}

static int verb_unknown(const char *name) {
        const char *similar;

        for (size_t i = 0; later[i]; i++)
                if (streq(name, later[i]))
                        return fail(SAND_ERROR_USAGE, "%s: not served by this version of sandctl.", name);
        similar = nearest_word(name, verb_name_at, verbs);
        if (similar)
                return fail(SAND_ERROR_USAGE, "Unknown verb \"%s\". Did you mean \"%s\"?", name, similar);
        return fail(SAND_ERROR_USAGE, "Unknown verb \"%s\". \"sandctl --help\" lists them.", name);
}

/* What the command line holds, before it is known which verb may have what. */
typedef struct CommandLine {
        char **words;          /* verb and arguments; the strings are argv's */
        int n_words;
        bool given[_OPTION_MAX];
} CommandLine;

static void getopt_tables(char letters[static 3 * _OPTION_MAX + 3], struct option *longs) {
        char *p = stpcpy(letters, "-:"); /* words in their order; a missing value is told apart */
        size_t n = 0;

        for (size_t i = 0; i < _OPTION_MAX; i++) {
                const Option *o = options + i;

                if (o->name)
                        longs[n++] = (struct option) { o->name, o->metavar ? required_argument : no_argument,
                                                       NULL, 256 + (int) i };
                if (o->letter) {
                        *p++ = o->letter;
                        if (o->metavar)
                                *p++ = ':';
                }
        }
        *p = '\0';
        longs[n] = (struct option) {};
}

static OptionId option_from_getopt(int c) {
        if (c >= 256)
                return (OptionId) (c - 256);
        for (size_t i = 0; i < _OPTION_MAX; i++)
                if (options[i].letter == c)
                        return (OptionId) i;
        return _OPTION_MAX;
}

/* After `shell APP` all is the command's. */
static bool tail_begins(const CommandLine *l) {
        const Verb *verb = l->n_words == 2 ? verb_find(l->words[0]) : NULL;

        return verb && verb->raw_tail;
}

static int parse_words(int argc, char **argv, CommandLine *l) {
        char letters[3 * _OPTION_MAX + 3];
        struct option longs[_OPTION_MAX + 1];
        int c, r;

        getopt_tables(letters, longs);
        opterr = 0;
        while (!tail_begins(l) && (c = getopt_long(argc, argv, letters, longs, NULL)) >= 0) {
                OptionId id;

                if (c == 1) {
                        l->words[l->n_words++] = optarg;
                        continue;
                }
                if (c == ':')
                        return fail(SAND_ERROR_USAGE, "Option \"%s\" needs a value.", argv[optind - 1]);
                id = c == '?' ? _OPTION_MAX : option_from_getopt(c);
                if (id == _OPTION_MAX) {
                        if (optopt && optopt < 256)
                                return fail(SAND_ERROR_USAGE, "Unknown option \"-%c\".", optopt);
                        return fail(SAND_ERROR_USAGE, "%s option \"%s\".",
                                    optopt ? "No value is taken by" : "Unknown or ambiguous", argv[optind - 1]);
                }
                l->given[id] = true;
                r = option_set(id, optarg);
                if (r > 0)
                        return r;
        }
        for (int i = optind; i < argc; i++)
                l->words[l->n_words++] = argv[i];
        return 0;
}

static int check_arguments(const Verb *verb, const CommandLine *l) {
        int n = l->n_words - 1;

        for (size_t i = 0; i < _OPTION_MAX; i++)
                if (l->given[i] && !verb_has_option(verb, options + i))
                        return fail(SAND_ERROR_USAGE, "\"sandctl %s\" takes no option --%s; see \"sandctl %s "
                                                      "--help\".", verb->name, options[i].name, verb->name);
        if (n < verb->min)
                return fail(SAND_ERROR_USAGE, "Too few arguments: sandctl %s %s", verb->name,
                            verb->arguments);
        if (verb->max >= 0 && n > verb->max)
                return fail(SAND_ERROR_USAGE, "Too many arguments: sandctl %s %s", verb->name,
                            verb->arguments);
        return 0;
}

int remote_arguments(char ***l) {
        int r = 0;

        for (size_t i = 0; i < _OPTION_MAX && r >= 0; i++) {
                const Option *o = options + i;
                char *word = NULL;

                if (i == OPTION_HOST || i == OPTION_J)
                        continue;
                if (o->string && *o->string) {
                        if (asprintf(&word, "--%s=%s", o->name, *o->string) < 0)
                                return -ENOMEM;
                        r = strv_consume(l, word);
                } else if (o->flag && *o->flag == o->value)
                        r = strv_consume(l, asprintf(&word, "--%s", o->name) < 0 ? NULL : word);
        }
        if (r >= 0 && arg_json != JSON_OFF)
                r = strv_extend(l, arg_json == JSON_SHORT ? "--json=short" : "--json=pretty");
        if (r >= 0 && arg_timeout_usec != USEC_INFINITY) {
                char *word;

                r = strv_consume(l, asprintf(&word, "--timeout=%" PRIu64 "us", arg_timeout_usec) < 0 ? NULL
                                                                                                      : word);
        }
        return r;
}

static int dispatch(const CommandLine *l) {
        const Verb *verb;
        int r;

        if (l->given[OPTION_VERSION]) {
                (void) printf("sandctl %s\n", SAND_VERSION);
                return EXIT_SUCCESS;
        }
        if (l->n_words == 0) {
                if (arg_help)
                        return help_all();
                return fail(SAND_ERROR_USAGE, "A verb is missing. \"sandctl --help\" lists them.");
        }
        if (streq(l->words[0], "help")) {
                verb = l->n_words > 1 ? verb_find(l->words[1]) : NULL;
                return verb ? help_verb(verb) : l->n_words > 1 ? verb_unknown(l->words[1]) : help_all();
        }
        verb = verb_find(l->words[0]);
        if (!verb)
                return verb_unknown(l->words[0]);
        if (arg_help)
                return help_verb(verb);
        r = check_arguments(verb, l);
        if (r > 0)
                return r;
        if (arg_host && verb->remote)
                return remote_run(verb->name, l->n_words - 1, l->words + 1, -1, verb->raw_tail);
        return verb->run(l->n_words - 1, l->words + 1);
}

int main(int argc, char **argv) {
        _cleanup_(freep) char **words = calloc((size_t) argc + 1, sizeof(char *));
        CommandLine l = { .words = words };
        int status;

        (void) setlocale(LC_ALL, "");
        log_setup("sandctl");
        if (!words)
                return fail_errno(-ENOMEM, "Out of memory.");
        status = parse_words(argc, argv, &l);
        if (status == 0)
                status = dispatch(&l);
        agent_close();
        pager_close();
        if (status == 0 && (fflush(stdout) != 0 || ferror(stdout)))
                status = fail_errno(-EIO, "Failed to write to standard output.");
        return status;
}
