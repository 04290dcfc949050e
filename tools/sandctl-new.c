/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sandctl new: an application to begin with. It makes all of it or nothing, and never writes over a file. */

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>

#include "sandctl.h"
#include "sandctl-text.h"
#include "text.h"

/* In texts, '@' stands for the application's name. A path that ends in '/' is a directory. */
typedef struct Template {
        const char *path, *text;
        bool executable;
} Template;

#define MANIFEST(runtime, handler, comment, more)                                                               \
        { "sand.json",                                                                                          \
          "// What the application consists of. All keys: man sand.json\n"                                      \
          "{\n"                                                                                                 \
          "  \"$schema\": \"/usr/share/sand/sand.schema.json\",\n"                                              \
          "  \"name\": \"@\",\n"                                                                                \
          "  \"functions\": {\n"                                                                                \
          "    // Called by others as \"hello\", over HTTP as /invoke/@/hello.\n"                               \
          "    \"hello\": {\n"                                                                                  \
          "      \"runtime\": \"" runtime "\",\n"                                                               \
          "      \"handler\": " handler ", // " comment "\n"                                                    \
          "      \"timeout\": \"30s\"\n"                                                                        \
          "    }\n"                                                                                             \
          "  }" more "\n"                                                                                        \
          "}\n" }

#define EVENT { "events/" }, { "events/hello.json", "{\"name\": \"Ada\"}\n" }

#define README(build)                                                                                           \
        { "README.md",                                                                                          \
          "# @\n\n" build                                                                                       \
          "    sandctl invoke ./hello --file events/hello.json   # once, from this folder\n"                    \
          "    sandctl run                                       # over HTTP, with each change as you save it\n" \
          "    sandctl deploy                                    # onto this host, as root\n" }

static const Template python_files[] = {
        MANIFEST("python3", "\"hello.handle\"", "handle() in hello.py", ""),
        { "hello.py",
          "# What stands here runs once, when the code is loaded. Each event meets a fresh copy of what it left.\n"
          "\n"
          "\n"
          "def handle(event, context):\n"
          "    \"\"\"Called for each event: JSON that came as Python objects, what is returned goes back as JSON.\"\"\"\n"
          "    name = event.get(\"name\", \"world\")\n"
          "    print(f\"greeting {name}\")  # to the log: sandctl logs @\n"
          "    return {\"message\": f\"Hello, {name}!\"}\n" },
        EVENT,
        { ".gitignore", "__pycache__/\n" },
        README(""),
        {}
};

static const Template native_files[] = {
        MANIFEST("native", "\"hello.so:hello\"", "hello() in hello.c, once it is built",
                 ",\n  // What sandctl build runs here.\n  \"build\": [\"make\"]"),
        { "hello.c",
          "#include <errno.h>\n"
          "#include <sand/function.h>\n"
          "#include <stdio.h>\n"
          "#include <stdlib.h>\n"
          "\n"
          "/* Called for each event, `size` bytes of anything. Here it is JSON, and becomes a part of the answer. */\n"
          "int hello(sand_context *context, const void *event, size_t size) {\n"
          "        char *answer = NULL;\n"
          "        size_t length;\n"
          "        FILE *f = open_memstream(&answer, &length);\n"
          "        int r;\n"
          "\n"
          "        if (!f)\n"
          "                return -ENOMEM;\n"
          "        fputs(\"{\\\"message\\\": \\\"Hello from C!\\\", \\\"event\\\": \", f);\n"
          "        if (size > 0)\n"
          "                fwrite(event, 1, size, f);\n"
          "        else\n"
          "                fputs(\"null\", f);\n"
          "        fputs(\"}\\n\", f);\n"
          "        if (fclose(f) != 0)\n"
          "                return sand_fail(context, \"NoMemory\", \"An event of %zu bytes is too large\", size);\n"
          "        printf(\"greeted with %zu bytes\\n\", size); /* to the log: sandctl logs @ */\n"
          "        r = sand_reply(context, answer, length);\n"
          "        free(answer);\n"
          "        return r;\n"
          "}\n" },
        { "Makefile",
          "CFLAGS ?= -O2 -g -Wall -Wextra\n"
          "\n"
          "hello.so: hello.c\n"
          "\t$(CC) $(CPPFLAGS) $(CFLAGS) -fPIC -shared $$(pkg-config --cflags sand) -o $@ $< $(LDFLAGS) "
          "$$(pkg-config --libs sand)\n"
          "\n"
          ".PHONY: clean\n"
          "clean:\n"
          "\trm -f hello.so\n" },
        EVENT,
        { ".gitignore", "*.so\n*.o\n" },
        README("    sandctl build                                     # needs gcc, make, pkg-config, libsand-dev\n"),
        {}
};

static const Template exec_files[] = {
        MANIFEST("exec", "[\"bin/hello\"]", "any program; arguments may follow", ""),
        { "bin/" },
        { "bin/hello",
          "#!/bin/sh\n"
          "# Runs for each event, which is its standard input; its standard output is the answer. An exit status\n"
          "# that is not 0 is a failure. Here the event is JSON, and becomes a part of the answer.\n"
          "event=$(cat)\n"
          "echo \"greeted with ${#event} characters\" >&2 # to the log: sandctl logs @\n"
          "printf '{\"message\": \"Hello from a program!\", \"event\": %s}\\n' \"${event:-null}\"\n", .executable = true },
        EVENT,
        README(""),
        {}
};

static const Template *const templates[_RUNTIME_MAX] = {
        [RUNTIME_PYTHON3] = python_files,
        [RUNTIME_EXEC] = exec_files,
        [RUNTIME_NATIVE] = native_files,
};

static const char *runtime_at(const void *words, size_t i) {
        return i < _RUNTIME_MAX ? runtime_to_string((Runtime) i) : NULL;
}

static int choose_runtime(Runtime *ret) {
        Runtime r = arg_runtime ? runtime_from_string(arg_runtime) : RUNTIME_PYTHON3;
        const char *meant;

        if (r == _RUNTIME_INVALID) {
                meant = nearest_word(arg_runtime, runtime_at, NULL);
                return fail(SAND_ERROR_USAGE, "--runtime=%s: expected %s%s%s.", arg_runtime,
                            meant ? "perhaps \"" : "python3, native or exec", strempty(meant), meant ? "\"" : "");
        }
        *ret = r;
        return 0;
}

/* The folder's own name; of one that is there already, also where the path ends in "." or a link. */
static int folder_name(const char *path, char **ret) {
        _cleanup_(freep) char *real = realpath(path, NULL), *copy = strdup(real ?: path);
        size_t l;
        char *slash;

        if (!copy)
                return -ENOMEM;
        for (l = strlen(copy); l > 1 && copy[l - 1] == '/'; l--)
                copy[l - 1] = '\0';
        slash = strrchr(copy, '/');
        return free_and_strdup(ret, slash ? slash + 1 : copy);
}

static int choose_name(const char *path, char **ret) {
        _cleanup_(freep) char *name = NULL;
        char meant[APP_NAME_MAX + 1];
        int r;

        r = folder_name(path, &name);
        if (r < 0)
                return fail_errno(r, "Out of memory.");
        if (app_name_is_valid(name)) {
                *ret = TAKE_PTR(name);
                return 0;
        }
        app_name_suggest(name, meant);
        return fail(SAND_ERROR_USAGE, "The folder's name is the application's, and \"%s\" cannot be one: a lower-case "
                                      "letter, then lower-case letters, digits and -, at most %u. Perhaps \"%s\"?",
                    name, APP_NAME_MAX, meant);
}

/* What has been made so far. */
typedef struct Making {
        const char *path; /* the folder */
        int dir_fd;
        bool made_dir;
        const Template *files, *next; /* those before `next` are there */
} Making;

static void making_undo(Making *m) {
        while (m->next > m->files) {
                const char *path = (--m->next)->path;

                (void) unlinkat(m->dir_fd, path, m->next->text ? 0 : AT_REMOVEDIR);
        }
        if (m->made_dir)
                (void) rmdir(m->path);
}

static int directory_is_empty(int fd) {
        DIR *dir = fdopendir(fcntl(fd, F_DUPFD_CLOEXEC, 3));
        const struct dirent *e;
        int r = 1;

        if (!dir)
                return -errno;
        while (r > 0 && (e = readdir(dir)))
                r = streq(e->d_name, ".") || streq(e->d_name, "..");
        (void) closedir(dir);
        return r;
}

static int make_folder(Making *m) {
        int r;

        if (mkdir(m->path, 0777) >= 0)
                m->made_dir = true;
        else if (errno != EEXIST)
                return fail_errno(-errno, "%s: %m", m->path);
        m->dir_fd = open(m->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (m->dir_fd < 0 && errno == ENOTDIR)
                return fail(SAND_ERROR_USAGE, "%s: exists and is not a folder; nothing was changed.", m->path);
        if (m->dir_fd < 0)
                return fail_errno(-errno, "%s: %m", m->path);
        r = m->made_dir ? 1 : directory_is_empty(m->dir_fd);
        if (r < 0)
                return fail_errno(r, "%s: %s", m->path, strerror(-r));
        return r > 0 ? 0 : fail(SAND_ERROR_USAGE, "%s: exists and is not empty; nothing was changed.", m->path);
}

static int write_text(int fd, const char *text, const char *name) {
        _cleanup_(freep) char *whole = NULL;
        size_t size;
        FILE *f = open_memstream(&whole, &size);

        if (!f)
                return -ENOMEM;
        for (const char *p = text; *p; p++)
                if (*p == '@' && (p == text || p[-1] != '$')) /* "$@" is make's */
                        (void) fputs(name, f);
                else
                        (void) fputc(*p, f);
        if (fclose(f) != 0)
                return -ENOMEM;
        for (size_t done = 0; done < size;) {
                ssize_t n = write(fd, whole + done, size - done);

                if (n < 0 && errno != EINTR)
                        return -errno;
                done += n > 0 ? (size_t) n : 0;
        }
        return 0;
}

static int make_file(Making *m, const Template *t, const char *name) {
        _cleanup_(closep) int fd = -EBADF;
        int r;

        if (!t->text)
                return mkdirat(m->dir_fd, t->path, 0777) < 0 ? -errno : 0;
        fd = openat(m->dir_fd, t->path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, t->executable ? 0777 : 0666);
        if (fd < 0)
                return -errno;
        r = write_text(fd, t->text, name);
        /* A full disk may say so only here. */
        if (r >= 0 && close(TAKE_FD(fd)) < 0)
                r = -errno;
        if (r < 0)
                (void) unlinkat(m->dir_fd, t->path, 0);
        return r;
}

static int make_all(Making *m, const char *name) {
        int r = make_folder(m);

        for (; r == 0 && m->next->path; m->next++) {
                r = make_file(m, m->next, name);
                if (r < 0)
                        return fail_errno(r, "%s/%s: %s", m->path, m->next->path, strerror(-r));
        }
        return r;
}

static int print_made(const Making *m, const char *name, Runtime runtime) {
        _cleanup_(freep) char *path = shell_quote(m->path);

        if (!path)
                return fail_errno(-ENOMEM, "Out of memory.");
        (void) printf("%s: an application with the function \"hello\" (%s)\n", name, runtime_to_string(runtime));
        for (const Template *t = m->files; t->path; t++)
                if (t->text)
                        (void) printf("  %s/%s\n", m->path, t->path);
        (void) printf("\nNext:\n");
        if (!streq(m->path, "."))
                (void) printf("  cd %s\n", path);
        if (runtime == RUNTIME_NATIVE)
                (void) printf("  sandctl build                                     needs gcc, make, pkg-config, libsand-dev\n");
        (void) printf("  sandctl invoke ./hello --file events/hello.json   runs it once, from the folder\n"
                      "  sandctl run                                       serves it, and loads what you change\n"
                      "  sandctl deploy                                    puts it on this host, as root\n");
        return EXIT_SUCCESS;
}

int verb_new(int argc, char **argv) {
        Making m = { .path = argv[0], .dir_fd = -EBADF };
        _cleanup_(freep) char *name = NULL;
        sigset_t all, before;
        Runtime runtime;
        int r;

        if (arg_host)
                return fail(SAND_ERROR_USAGE, "An application is made where it is written; leave --host out.");
        r = choose_runtime(&runtime);
        if (r == 0)
                r = choose_name(argv[0], &name);
        if (r != 0)
                return r;
        m.files = m.next = templates[runtime];
        (void) sigfillset(&all);
        (void) sigprocmask(SIG_BLOCK, &all, &before); /* Ctrl-C comes before or after */
        r = make_all(&m, name);
        if (r != 0)
                making_undo(&m);
        safe_close(m.dir_fd);
        (void) sigprocmask(SIG_SETMASK, &before, NULL);
        return r != 0 || arg_quiet ? r : print_made(&m, name, runtime);
}
