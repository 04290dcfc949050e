/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* edit: what an operator overrides of an application. The text is edited aside; sand-hostd writes it when the version
 * with it has loaded. */

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "json-text.h"
#include "log.h"
#include "protocol.h"
#include "sandctl-agent.h"
#include "sandctl-bus.h"
#include "sandctl-show.h"

#define DROP_IN_DEFAULT "override.json"

static int drop_in_name(char **ret) {
        const char *name = arg_drop_in ?: DROP_IN_DEFAULT;
        _cleanup_(freep) char *file = NULL;

        if (asprintf(&file, "%s%s", name, override_file_is_valid(name) ? "" : OVERRIDE_SUFFIX) < 0)
                return fail_errno(-ENOMEM, "Out of memory.");
        if (!override_name_is_valid(file))
                return fail(SAND_ERROR_USAGE, "--drop-in=%s: expected letters, digits, _, . and -, the first no . or -.", name);
        *ret = TAKE_PTR(file);
        return 0;
}

/* All that a descriptor has to give, as text. */
static int read_text(int fd, const char *what, char **ret) {
        _cleanup_(freep) char *text = calloc(1, JSON_TEXT_SIZE_MAX + 2);
        size_t size = 0;
        ssize_t n = 1;

        while (text && n != 0 && size <= JSON_TEXT_SIZE_MAX) {
                n = read(fd, text + size, JSON_TEXT_SIZE_MAX + 1 - size);
                if (n < 0 && errno != EINTR)
                        return fail_errno(-errno, "Failed to read %s: %m", what);
                size += n > 0 ? (size_t) n : 0;
        }
        if (!text)
                return fail_errno(-ENOMEM, "Out of memory.");
        if (size > JSON_TEXT_SIZE_MAX || strlen(text) != size)
                return fail(SAND_ERROR_BAD_REQUEST, "%s: expected at most 1 MiB of JSON.", what);
        *ret = TAKE_PTR(text);
        return 0;
}

/* Whether the text says nothing: blanks and comments. */
static bool is_blank(const char *s) {
        for (s += strspn(s, " \t\r\n"); startswith(s, "//"); s += strspn(s, " \t\r\n"))
                s += strcspn(s, "\n");
        return !*s;
}

/* ---- what is offered to the editor ---- */

static void write_commented(FILE *f, const char *text) {
        while (*text) {
                size_t l = strcspn(text, "\n");

                (void) fprintf(f, "// %.*s\n", (int) l, text);
                text += l;
                text += *text == '\n';
        }
}

static int template(const char *app, char **ret) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        json_object *o = NULL;
        char *text = NULL;
        size_t size;
        FILE *f;
        int r;

        r = bus_open(&bus);
        if (r != 0)
                return r;
        agent_open();
        r = host_document(bus, "Describe", app, &error, &o);
        if (r < 0)
                return fail_bus(r, &error, "Failed to read how %s is configured", app);
        f = open_memstream(&text, &size);
        if (f) {
                (void) fprintf(f, "// Overrides for %s on this host, a merge patch (RFC 7396): what is written here counts instead of\n"
                                  "// what the bundle's sand.json says, in every version. null takes a value away; an array takes the\n"
                                  "// place of the whole array. Lines with // are comments; see sand.json(5).\n"
                                  "{\n}\n\n// What holds now:\n//\n", app);
                write_commented(f, json_object_to_json_string_ext(json_object_object_get(o, "manifest"), JSON_C_TO_STRING_PRETTY |
                                                                  JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE));
        }
        (void) json_object_put(o);
        if (!f || fclose(f) != 0) {
                free(text);
                return fail_errno(-ENOMEM, "Out of memory.");
        }
        *ret = text;
        return 0;
}

static int read_present(const char *app, const char *file, char **ret) {
        _cleanup_(freep) char *path = NULL;
        _cleanup_(closep) int fd = -EBADF;

        if (asprintf(&path, SAND_OVERRIDES_DIR "/%s" OVERRIDES_SUFFIX "/%s", app, file) < 0)
                return fail_errno(-ENOMEM, "Out of memory.");
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT)
                return template(app, ret);
        return fd < 0 ? fail_errno(-errno, "%s: %m", path) : read_text(fd, path, ret);
}

/* ---- the editor ---- */

/* A variable may hold a command with arguments, so a shell takes it apart. */
static const char *editor(void) {
        static const char *const variables[] = { "SYSTEMD_EDITOR", "EDITOR", "VISUAL" };

        for (size_t i = 0; i < ELEMENTSOF(variables); i++)
                if (!isempty(getenv(variables[i])))
                        return getenv(variables[i]);
        return "$(command -v editor || command -v nano || command -v vim || command -v vi)";
}

static int run_editor(const char *path) {
        _cleanup_(freep) char *command = NULL;
        siginfo_t si = {};
        pid_t pid;

        if (asprintf(&command, "exec %s \"$1\"", editor()) < 0)
                return fail_errno(-ENOMEM, "Out of memory.");
        agent_close(); /* the terminal is the editor's */
        pid = fork();
        if (pid < 0)
                return fail_errno(-errno, "Failed to fork: %m");
        if (pid == 0) {
                execl("/bin/sh", "sh", "-c", command, "sh", path, NULL);
                _exit(127);
        }
        while (waitid(P_PID, (id_t) pid, &si, WEXITED) < 0)
                if (errno != EINTR)
                        return fail_errno(-errno, "Failed to wait for the editor: %m");
        if (si.si_code != CLD_EXITED || si.si_status != 0)
                return fail(SAND_ERROR_USAGE, "The editor failed; set $EDITOR to another. Nothing is changed.");
        return 0;
}

/* A file that only the caller may write to, with JSON's name for the editor's sake. */
static int write_temporary(const char *app, const char *text, char **ret_path) {
        const char *directory = getenv("TMPDIR");
        _cleanup_(closep) int fd = -EBADF;
        _cleanup_(freep) char *path = NULL;
        size_t size = strlen(text);

        if (asprintf(&path, "%s/sandctl-%s-XXXXXX.json", isempty(directory) ? "/tmp" : directory, app) < 0)
                return fail_errno(-ENOMEM, "Out of memory.");
        fd = mkstemps(path, (int) strlen(".json"));
        if (fd < 0 || write(fd, text, size) != (ssize_t) size)
                return fail_errno(-errno, "Failed to write %s: %m", path);
        *ret_path = TAKE_PTR(path);
        return 0;
}

static int read_edited(const char *path, char **ret) {
        _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);

        return fd < 0 ? fail_errno(-errno, "%s: %m", path) : read_text(fd, path, ret);
}

/* ---- the verb ---- */

static int set_override(const char *app, const char *file, const char *text) {
        return host_redeploy("SetOverride", (const char *[]) { app, file, is_blank(text) ? "" : text }, 3, "Not changed");
}

static int edit_here(const char *app, const char *file) {
        _cleanup_(freep) char *before = NULL, *after = NULL, *path = NULL;
        int r;

        r = read_present(app, file, &before);
        if (r == 0)
                r = write_temporary(app, before, &path);
        if (r != 0)
                return r;
        r = run_editor(path);
        if (r == 0)
                r = read_edited(path, &after);
        if (r == 0 && streq(before, after))
                say("%s/%s" OVERRIDES_SUFFIX "/%s: left as it was.", SAND_OVERRIDES_DIR, app, file);
        else if (r == 0) {
                r = set_override(app, file, after);
                if (r != 0) {
                        say("What you wrote is in %s; when it is put right: sandctl edit %s --drop-in=%s --stdin < %s", path, app, file, path);
                        return r;
                }
        }
        (void) unlink(path);
        return r;
}

int verb_edit(int argc, char **argv) {
        _cleanup_(freep) char *file = NULL, *text = NULL;
        int r;

        r = check_app_name(argv[0]);
        if (r == 0)
                r = drop_in_name(&file);
        if (r != 0)
                return r;
        if (arg_apply + arg_revert + arg_stdin > 1)
                return fail(SAND_ERROR_USAGE, "--apply, --revert and --stdin exclude each other.");
        if (arg_host)
                return remote_run("edit", argc, argv, -1, !arg_stdin);
        if (arg_apply)
                return host_redeploy("Reload", (const char *[]) { argv[0] }, 1, "Not changed");
        if (arg_revert)
                return set_override(argv[0], file, "");
        if (arg_stdin) {
                r = read_text(STDIN_FILENO, "standard input", &text);
                return r == 0 ? set_override(argv[0], file, text) : r;
        }
        if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
                return fail(SAND_ERROR_USAGE, "An editor needs a terminal; --stdin takes the text from standard input.");
        return edit_here(argv[0], file);
}
