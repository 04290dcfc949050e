/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Bundles into the host and out of it: check, deploy, remove. */

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "bundle.h"
#include "catalogue.h"
#include "log.h"
#include "protocol.h"
#include "sandctl-agent.h"
#include "sandctl-bus.h"
#include "sandctl-show.h"
#include "sandctl-dev.h"
#include "sandctl-text.h"
#include "vendor.h"

/* Loading the workers of a new version takes what their imports take. */
#define DEPLOY_TIMEOUT_USEC (10 * USEC_PER_MINUTE)
#define REMOVE_TIMEOUT_USEC (3 * USEC_PER_MINUTE)

static int print_problems(const Problems *problems, const char *dir) {
        _cleanup_(freep) char *text = problems_to_string(problems);

        if (!text)
                return fail_errno(-ENOMEM, "Out of memory.");
        (void) fputs(text, stderr);
        return fail(SAND_ERROR_INVALID_BUNDLE, "%s: %zu problem%s.", dir, problems->n,
                    problems->n == 1 ? "" : "s");
}

static int open_bundle(const char *dir, int *ret_fd) {
        int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0)
                return fail_errno(-errno, "%s: %m", dir);
        *ret_fd = fd;
        return 0;
}

int bundle_read(const char *dir, int dir_fd, bool complete, Manifest **ret) {
        _cleanup_(problems_done) Problems problems = {};
        _cleanup_(manifest_freep) Manifest *m = NULL;
        int r = manifest_load(dir_fd, complete, &problems, &m);

        /* What goes to another host need not fit this one; that host looks itself. */
        if (complete && !arg_host && (r >= 0 || r == -EBADMSG)) {
                int q = vendor_check(dir_fd, m, &problems);
                r = r < 0 && q >= 0 ? r : q;
        }
        if (r == -EBADMSG)
                return print_problems(&problems, dir);
        if (r == -ENOENT)
                return fail(SAND_ERROR_NOT_FOUND, "%s: no sand.json there; expected a bundle's folder.", dir);
        if (r < 0)
                return fail_errno(r, "Failed to read %s/sand.json: %s", dir, strerror(-r));
        *ret = TAKE_PTR(m);
        return 0;
}

int bundle_check(const char *dir, int dir_fd, Manifest **ret) {
        return bundle_read(dir, dir_fd, true, ret);
}

void packages_warn(const Manifest *m) {
        _cleanup_(strv_freep) char **absent = NULL;
        _cleanup_(freep) char *line = NULL;

        if (packages_absent(DPKG_STATUS, m->packages, &absent) < 0 || !absent)
                return;
        line = packages_apt_line(absent);
        if (line)
                say("%s: packages that it names are not installed on this host: %s", m->name, line);
}

int verb_check(int argc, char **argv) {
        const char *dir = argc > 0 ? argv[0] : ".";
        _cleanup_(manifest_freep) Manifest *m = NULL;
        _cleanup_(closep) int dir_fd = -EBADF;
        int r;

        if (arg_host)
                return fail(SAND_ERROR_USAGE, "A bundle is checked where it is; leave --host out.");
        r = open_bundle(dir, &dir_fd);
        if (r == 0)
                r = bundle_check(dir, dir_fd, &m);
        if (r != 0)
                return r;
        packages_warn(m);
        if (arg_json != JSON_OFF)
                return json_print(m->json) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        if (!arg_quiet)
                (void) printf("%s: %zu function%s, ok\n", m->name, m->n_functions,
                              m->n_functions == 1 ? "" : "s");
        return EXIT_SUCCESS;
}

static int pack_file(const char *path, int *ret_fd) {
        _cleanup_(closep) int opened = -EBADF;
        int fd = STDIN_FILENO, r;

        if (!streq(path, "-")) {
                fd = opened = open(path, O_RDONLY | O_CLOEXEC);
                if (fd < 0)
                        return fail_errno(-errno, "%s: %m", path);
        } else if (isatty(fd))
                return fail(SAND_ERROR_USAGE, "Standard input is a terminal; expected a tar of a bundle.");
        r = memfd_copy_sealed("bundle", fd, BUNDLE_SIZE_MAX, ret_fd);
        if (r >= 0 && lseek(*ret_fd, 0, SEEK_END) == 0)
                return fail(SAND_ERROR_INVALID_BUNDLE, "%s: empty; expected a tar of a bundle.", path);
        return r < 0 ? fail_errno(r, "%s: %s", path, strerror(-r)) : 0;
}

static int pack_dir(const char *path, int *ret_fd) {
        _cleanup_(problems_done) Problems problems = {};
        _cleanup_(manifest_freep) Manifest *m = NULL;
        _cleanup_(closep) int dir_fd = -EBADF;
        int r;

        r = open_bundle(path, &dir_fd);
        if (r == 0)
                r = bundle_check(path, dir_fd, &m);
        if (r != 0)
                return r;
        r = bundle_pack(dir_fd, &problems, ret_fd);
        if (r == -EBADMSG)
                return print_problems(&problems, path);
        return r < 0 ? fail_errno(r, "Failed to pack %s: %s", path, strerror(-r)) : 0;
}

static int pack(const char *path, int *ret_fd) {
        struct stat st;

        if (streq(path, "-"))
                return pack_file(path, ret_fd);
        if (stat(path, &st) < 0)
                return fail_errno(-errno, "%s: %m", path);
        return S_ISDIR(st.st_mode) ? pack_dir(path, ret_fd) : pack_file(path, ret_fd);
}

static void print_deployed(sd_bus *bus, const char *name, const char *version, const char *outcome) {
        _cleanup_(catalogue_entry_freep) CatalogueEntry *entry = NULL;
        _cleanup_(closep) int dir_fd = -EBADF;
        char url[128];

        (void) printf("%s %s %s", name, version, outcome);
        /* From what all may read: to ask hostd would be another question to whoever is not root. */
        dir_fd = open(SAND_CATALOGUE_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir_fd < 0 || catalogue_read(dir_fd, name, &entry) < 0) {
                (void) putchar('\n');
                return;
        }
        (void) printf(" (%zu function%s)\n", entry->n_functions, entry->n_functions == 1 ? "" : "s");
        gateway_url(bus, url, sizeof(url));
        for (size_t i = 0; i < entry->n_functions; i++)
                (void) printf("  %s/invoke/%s/%s\n", url, name, entry->functions[i].name);
        for (size_t i = 0; i < entry->n_routes; i++) {
                const WebRoute *route = &entry->routes[i].route;
                (void) printf("  %s %s/web/%s%s\n", web_method_to_string(route->method), url, name, strchr(route->key, '/'));
        }
}

/* `name` is NULL where the reply has it. */
static int print_outcome(sd_bus *bus, sd_bus_message *reply, const char *name) {
        bool urls = !name;
        const char *version, *outcome;
        int r = name ? sd_bus_message_read(reply, "ss", &version, &outcome)
                     : sd_bus_message_read(reply, "sss", &name, &version, &outcome);

        if (r < 0)
                return fail_errno(r, "sand-hostd answered in a way that this sandctl does not know: %s",
                                  strerror(-r));
        if (arg_json != JSON_OFF) {
                json_object *o = json_object_new_object();

                (void) json_object_object_add(o, "name", json_object_new_string(name));
                (void) json_object_object_add(o, "version", json_object_new_string(version));
                (void) json_object_object_add(o, "outcome", json_object_new_string(outcome));
                r = json_print(o);
                (void) json_object_put(o);
        } else if (arg_quiet)
                (void) printf("%s\n", version);
        else if (!urls)
                (void) printf("%s %s %s\n", name, version, outcome);
        else
                print_deployed(bus, name, version, outcome);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* What is wrong with the bundle or its code begins a line with the file, as compilers have it. */
static int fail_deploy(int r, const sd_bus_error *error, const char *failed) {
        SandError e = sd_bus_error_is_set(error) ? sand_error_from_name(error->name) : _SAND_ERROR_INVALID;
        size_t n = strlen(strempty(error->message));

        if ((e != SAND_ERROR_LOAD_FAILED && e != SAND_ERROR_INVALID_BUNDLE) || n == 0)
                return fail_bus(r, error, "%s", failed);
        (void) fprintf(stderr, "%s%s", error->message, error->message[n - 1] == '\n' ? "" : "\n");
        return fail(e, "%s.", failed);
}

int host_redeploy(const char *method, const char *const *words, size_t n_words, const char *failed) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = bus_open(&bus);
        if (r != 0)
                return r;
        agent_open();
        r = sd_bus_message_new_method_call(bus, &m, SAND_HOST_NAME, SAND_HOST_PATH, SAND_HOST_INTERFACE, method);
        for (size_t i = 0; r >= 0 && i < n_words; i++)
                r = sd_bus_message_append(m, "s", words[i]);
        if (r >= 0)
                r = sd_bus_call(bus, m, DEPLOY_TIMEOUT_USEC, &error, &reply);
        return r < 0 ? fail_deploy(r, &error, failed) : print_outcome(bus, reply, words[0]);
}

static int append_option(sd_bus_message *m, const char *name, const char *value) {
        return value ? sd_bus_message_append(m, "{sv}", name, "s", value) : 0;
}

static int append_options(sd_bus_message *m, const char *source) {
        int r = sd_bus_message_open_container(m, 'a', "{sv}");

        if (r >= 0)
                r = append_option(m, "name", arg_name);
        if (r >= 0)
                r = append_option(m, "source", source);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int deploy_here(const char *path, int bundle) {
        _cleanup_(freep) char *source = streq(path, "-") ? strdup("standard input") : realpath(path, NULL);
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = bus_open(&bus);
        if (r != 0)
                return r;
        agent_open();
        r = sd_bus_message_new_method_call(bus, &m, SAND_HOST_NAME, SAND_HOST_PATH, SAND_HOST_INTERFACE,
                                           "Deploy");
        if (r >= 0)
                r = sd_bus_message_append(m, "h", bundle);
        if (r >= 0)
                r = append_options(m, source);
        if (r >= 0)
                r = sd_bus_call(bus, m, DEPLOY_TIMEOUT_USEC, &error, &reply);
        if (r < 0)
                return fail_deploy(r, &error, "Not deployed");
        return print_outcome(bus, reply, NULL);
}

int verb_deploy(int argc, char **argv) {
        const char *path = argc > 0 ? argv[0] : ".";
        _cleanup_(closep) int bundle = -EBADF;
        char *dash[] = { (char *) "-" };
        int r;

        r = arg_name ? check_app_name(arg_name) : 0;
        if (r == 0)
                r = pack(path, &bundle);
        if (r != 0)
                return r;
        if (lseek(bundle, 0, SEEK_SET) < 0)
                return fail_errno(-errno, "Failed to rewind the bundle: %m");
        /* The bus passes descriptors, ssh does not. */
        return arg_host ? remote_run("deploy", 1, dash, bundle, false) : deploy_here(path, bundle);
}

/* They are the host's, and would surprise who deploys the name again. */
static void mention_overrides(const char *name) {
        char path[sizeof(SAND_OVERRIDES_DIR) + APP_NAME_MAX + sizeof(OVERRIDES_SUFFIX) + 1];

        (void) snprintf(path, sizeof(path), SAND_OVERRIDES_DIR "/%s" OVERRIDES_SUFFIX, name);
        if (!arg_host && access(path, F_OK) >= 0)
                say("What was overridden stays in %s.", path);
}

static int remove_one(sd_bus *bus, const char *name) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = sd_bus_message_new_method_call(bus, &m, SAND_HOST_NAME, SAND_HOST_PATH, SAND_HOST_INTERFACE,
                                           "Remove");
        if (r >= 0)
                r = sd_bus_message_append(m, "sa{sv}", name, 1, "keep-state", "b", arg_keep_state);
        if (r >= 0)
                r = sd_bus_call(bus, m, REMOVE_TIMEOUT_USEC, &error, &reply);
        if (r < 0)
                return fail_bus(r, &error, "%s not removed", name);
        if (!arg_quiet)
                (void) printf("%s removed%s\n", name, arg_keep_state ? ", its state kept" : "");
        mention_overrides(name);
        return EXIT_SUCCESS;
}

int verb_remove(int argc, char **argv) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        int r = 0, status = 0;

        for (int i = 0; i < argc && r == 0; i++)
                r = check_app_name(argv[i]);
        if (r == 0)
                r = bus_open(&bus);
        if (r != 0)
                return r;
        agent_open();
        for (int i = 0; i < argc; i++) {
                r = remove_one(bus, argv[i]);
                status = status ?: r;
        }
        return status;
}
