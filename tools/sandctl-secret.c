/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Secrets: set, listed, removed. A value comes on standard input or from a prompt and goes into a sealed memfd,
 * never into an argument, the environment or a message of the bus. */

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "log.h"
#include "protocol.h"
#include "sandctl-agent.h"
#include "sandctl-bus.h"
#include "sandctl-show.h"

/* A person may have to find a password. */
#define CALL_TIMEOUT_USEC (5 * USEC_PER_MINUTE)

static int check_secret_name(const char *name) {
        if (credential_name_is_valid(name))
                return 0;
        return fail(SAND_ERROR_USAGE, "\"%s\" is not a secret's name: letters, digits, _, . and -, the first no . or -, "
                                      "at most 64.", name);
}

/* ---- set ---- */

/* systemd's own prompt writes what was typed into the memfd. */
static int ask(const char *app, const char *name, int memfd) {
        _cleanup_(freep) char *message = NULL;
        siginfo_t si = {};
        pid_t pid;

        if (asprintf(&message, "Value of secret %s of %s:", name, app) < 0)
                return -ENOMEM;
        pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGTERM);
                if (dup2(memfd, STDOUT_FILENO) >= 0)
                        (void) execlp("systemd-ask-password", "systemd-ask-password", "--timeout=0", "--echo=no", "-n",
                                      "--emoji=no", message, NULL);
                _exit(fail_errno(-errno, "Failed to ask for the value: %m"));
        }
        while (waitid(P_PID, (id_t) pid, &si, WEXITED) < 0)
                if (errno != EINTR)
                        return -errno;
        return si.si_code == CLD_EXITED && si.si_status == 0 ? 0 : -ECANCELED;
}

static int prompt(const char *app, const char *name, int *ret_fd) {
        _cleanup_(closep) int memfd = memfd_create("secret", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        int r;

        r = memfd < 0 ? -errno : ask(app, name, memfd);
        if (r >= 0)
                r = memfd_seal(memfd);
        if (r >= 0)
                *ret_fd = TAKE_FD(memfd);
        return r;
}

/* `echo` puts a newline behind what it is given, which is seldom meant. */
static void mention_newline(int fd, off_t size) {
        char last = 0;

        if (pread(fd, &last, 1, size - 1) == 1 && last == '\n')
                say("The value ends with a newline, which is part of it. (printf %%s writes none.)");
}

static int read_value(const char *app, const char *name, int *ret_fd) {
        _cleanup_(closep) int fd = -EBADF;
        struct stat st;
        int r;

        if (isatty(STDIN_FILENO))
                r = prompt(app, name, &fd);
        else
                r = memfd_copy_sealed("secret", STDIN_FILENO, SAND_SECRET_SIZE_MAX, &fd);
        if (r == -EFBIG)
                return fail(SAND_ERROR_TOO_LARGE, "The value is too large; expected at most %d bytes.", SAND_SECRET_SIZE_MAX);
        if (r == -ECANCELED)
                return fail(SAND_ERROR_USAGE, "No value was given.");
        if (r < 0)
                return fail_errno(r, "Failed to read the value: %s", strerror(-r));
        if (fstat(fd, &st) < 0)
                return fail_errno(-errno, "Failed to read the value: %m");
        if (st.st_size == 0)
                return fail(SAND_ERROR_BAD_REQUEST, "The value is empty.");
        if (!isatty(STDIN_FILENO))
                mention_newline(fd, st.st_size);
        *ret_fd = TAKE_FD(fd);
        return 0;
}

static int new_call(sd_bus *bus, const char *method, const char *app, const char *name, sd_bus_message **ret) {
        int r;

        r = sd_bus_message_new_method_call(bus, ret, SAND_HOST_NAME, SAND_HOST_PATH, SAND_HOST_INTERFACE, method);
        return r < 0 ? r : sd_bus_message_append(*ret, "ss", app, name);
}

static int set_here(const char *app, const char *name, int value) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = bus_open(&bus);
        if (r != 0)
                return r;
        agent_open();
        r = new_call(bus, "SetSecret", app, name, &m);
        if (r >= 0)
                r = sd_bus_message_append(m, "h", value);
        if (r >= 0)
                r = sd_bus_call(bus, m, CALL_TIMEOUT_USEC, &error, &reply);
        if (r < 0)
                return fail_bus(r, &error, "%s of %s", name, app);
        if (!arg_quiet)
                (void) printf("%s of %s set\n", name, app);
        return EXIT_SUCCESS;
}

static int set(int argc, char **argv) {
        char *remote[] = { (char *) "set", argv[0], argv[1] };
        _cleanup_(closep) int value = -EBADF;
        int r;

        r = check_app_name(argv[0]);
        if (r == 0)
                r = check_secret_name(argv[1]);
        if (r != 0)
                return r;
        (void) prctl(PR_SET_DUMPABLE, 0); /* the value passes through this memory: no core of it */
        r = read_value(argv[0], argv[1], &value);
        if (r != 0)
                return r;
        if (!arg_host)
                return set_here(argv[0], argv[1], value);
        /* The bus passes descriptors, ssh does not. */
        if (lseek(value, 0, SEEK_SET) < 0)
                return fail_errno(-errno, "Failed to rewind the value: %m");
        return remote_run("secret", ELEMENTSOF(remote), remote, value, false);
}

/* ---- list ---- */

static const Column columns[] = {
        { "APPLICATION", .shrinks = true }, { "NAME", .shrinks = true }, { "SET" }, { "FUNCTIONS", .shrinks = true },
};

typedef struct Listing {
        Table *table;
        json_object *json;
} Listing;

static void listing_done(Listing *l) {
        table_free(l->table);
        (void) json_object_put(l->json);
}

static int listing_add(Listing *l, const char *app, const char *name, uint64_t usec, char *const *functions) {
        json_object *row = json_object_new_object(), *array = json_object_new_array();
        time_t seconds = (time_t) (usec / USEC_PER_SEC);
        char when[64] = "", used[512] = "";
        struct tm tm;
        int r;

        (void) json_object_object_add(row, "application", json_object_new_string(app));
        (void) json_object_object_add(row, "name", json_object_new_string(name));
        (void) json_object_object_add(row, "set_usec", json_object_new_uint64(usec));
        (void) json_object_object_add(row, "functions", array);
        for (char *const *f = functions; f && *f; f++) {
                size_t n = strlen(used);

                (void) snprintf(used + n, sizeof(used) - n, "%s%s", n > 0 ? " " : "", *f);
                (void) json_object_array_add(array, json_object_new_string(*f));
        }
        (void) json_object_array_add(l->json, row);
        if (localtime_r(&seconds, &tm))
                (void) strftime(when, sizeof(when), "%a %Y-%m-%d %H:%M:%S %Z", &tm);
        r = table_add(l->table, COLOR_NONE, (const char *[]) { app, name, when, functions ? used : "-" });
        return r;
}

static int read_secrets(sd_bus_message *m, Listing *l) {
        const char *app, *name;
        uint64_t usec;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "(sstas)");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'r', "sstas")) > 0) {
                _cleanup_(strv_freep) char **functions = NULL;

                r = sd_bus_message_read(m, "sst", &app, &name, &usec);
                if (r >= 0)
                        r = sd_bus_message_read_strv(m, &functions);
                if (r >= 0)
                        r = listing_add(l, app, name, usec, functions);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r;
}

static int list(int argc, char **argv) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(listing_done) Listing l = { .json = json_object_new_array() };
        size_t n;
        int r;

        r = argc > 0 ? check_app_name(argv[0]) : 0;
        if (r == 0)
                r = bus_open(&bus);
        if (r != 0)
                return r;
        agent_open();
        r = host_call(bus, "ListSecrets", argc > 0 ? argv[0] : "", &error, &reply);
        if (r < 0)
                return fail_bus(r, &error, "Failed to list secrets");
        r = table_new(columns, ELEMENTSOF(columns), &l.table);
        if (r >= 0)
                r = read_secrets(reply, &l);
        if (r < 0)
                return fail_errno(r, "Failed to read sand-hostd's list: %s", strerror(-r));
        if (arg_json != JSON_OFF)
                return json_print(l.json) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        pager_open();
        n = table_rows(l.table);
        r = table_print(l.table, 0, arg_legend && n > 0);
        if (arg_legend && !arg_quiet)
                (void) printf("%s%zu secret%s listed.\n", n > 0 ? "\n" : "", n, n == 1 ? "" : "s");
        return r < 0 ? fail_errno(r, "Out of memory.") : EXIT_SUCCESS;
}

/* ---- remove ---- */

static int remove_one(sd_bus *bus, const char *app, const char *name) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = new_call(bus, "RemoveSecret", app, name, &m);
        if (r >= 0)
                r = sd_bus_call(bus, m, CALL_TIMEOUT_USEC, &error, &reply);
        if (r < 0)
                return fail_bus(r, &error, "%s of %s not removed", name, app);
        if (!arg_quiet)
                (void) printf("%s of %s removed\n", name, app);
        return EXIT_SUCCESS;
}

static int remove_all(int argc, char **argv) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        int r, status = 0;

        r = check_app_name(argv[0]);
        for (int i = 1; i < argc && r == 0; i++)
                r = check_secret_name(argv[i]);
        if (r == 0)
                r = bus_open(&bus);
        if (r != 0)
                return r;
        agent_open();
        for (int i = 1; i < argc; i++) {
                r = remove_one(bus, argv[0], argv[i]);
                status = status ?: r;
        }
        return status;
}

static const NounVerb verbs[] = {
        { "list", "[APP]", 0, 1, list },
        { "set", "APP NAME", 2, 2, set },
        { "remove", "APP NAME...", 2, -1, remove_all },
};

int verb_secret(int argc, char **argv) {
        return noun_run("secret", verbs, ELEMENTSOF(verbs), argc, argv);
}
