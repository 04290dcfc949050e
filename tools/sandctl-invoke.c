/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sandctl invoke: one event over the application's socket, the result as it is on standard output. A function
 * in a folder is served by a supervisor that lives as long as the call. */

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <systemd/sd-event.h>
#include <systemd/sd-id128.h>
#include <systemd/sd-journal.h>

#include "log.h"
#include "peer.h"
#include "protocol.h"
#include "sandctl.h"
#include "sandctl-dev.h"
#include "sandctl-events.h"
#include "sandctl-text.h"
#include "text.h"

/* More than any function may take; the supervisor says so in its own words, but not at any size. */
#define EVENT_SIZE_MAX (UINT64_C(1) * 1024 * 1024 * 1024)
/* Without --timeout the function's own limits end the call. A supervisor that hangs is its watchdog's. */
#define CALL_TIMEOUT_USEC (365 * 24 * USEC_PER_HOUR)
/* How long a deadline that travels is given to come back as the supervisor's answer. */
#define GRACE_USEC USEC_PER_SEC
/* The journal has entries a little later than the reply is here. */
#define JOURNAL_SETTLE_USEC (300 * USEC_PER_MSEC)

typedef struct Invoke {
        sd_event *event;
        Peer *peer;
        Dev *dev;
        Target target;
        char *socket_path;
        char *data;
        size_t size;
        char execution[SD_ID128_STRING_MAX];
        uint64_t started_realtime;
        bool interrupted;
} Invoke;

static void invoke_done(Invoke *i) {
        peer_free(i->peer);
        dev_free(i->dev);
        target_done(&i->target);
        free(i->socket_path);
        free(i->data);
        (void) sd_event_unref(i->event);
}

static int read_all(int fd, char **ret, size_t *ret_size) {
        _cleanup_(freep) char *data = NULL;
        size_t size = 0, room = 0;
        ssize_t n;

        do {
                if (size == room) {
                        char *grown = room < EVENT_SIZE_MAX ? realloc(data, room * 2 + 64 * 1024) : NULL;

                        if (!grown)
                                return room < EVENT_SIZE_MAX ? -ENOMEM : -EFBIG;
                        data = grown;
                        room = room * 2 + 64 * 1024;
                }
                n = read(fd, data + size, room - size);
                if (n < 0 && errno != EINTR)
                        return -errno;
                size += n > 0 ? (size_t) n : 0;
        } while (n != 0);
        *ret = TAKE_PTR(data);
        *ret_size = size;
        return 0;
}

/* A pipe or a file is meant to be read. What merely is no terminal, as in a cron job or under a service
 * manager (/dev/null, a socket), is not: reading it could wait for ever. */
static bool stdin_is_input(void) {
        struct stat st;

        return fstat(STDIN_FILENO, &st) >= 0 && (S_ISFIFO(st.st_mode) || S_ISREG(st.st_mode));
}

/* The descriptor to read the event from; -1: there is none to read. */
int event_open(int argc, char **argv, int *ret_fd) {
        const char *file = arg_file;

        *ret_fd = -1;
        if (argc > 0 && !streq(argv[0], "-"))
                return fail(SAND_ERROR_USAGE, "\"%s\": the event is given by --data, by --file, or as - for "
                                              "standard input.", argv[0]);
        if ((argc > 0) + !!arg_file + !!arg_data > 1)
                return fail(SAND_ERROR_USAGE, "Only one of --data, --file and - can be the event.");
        if (arg_data && arg_data[0] == '@') /* as curl has it */
                file = arg_data + 1;
        else if (arg_data)
                return 0;
        if (argc > 0 || (file && streq(file, "-")) || (!file && stdin_is_input()))
                *ret_fd = STDIN_FILENO;
        else if (file) {
                *ret_fd = open(file, O_RDONLY | O_CLOEXEC);
                if (*ret_fd < 0)
                        return fail_errno(-errno, "%s: %m", file);
        }
        return 0;
}

int event_read(int fd, char **ret, size_t *ret_size) {
        int r = 0;

        if (fd >= 0)
                r = read_all(fd, ret, ret_size);
        else {
                *ret = strdup(strempty(arg_data));
                *ret_size = strlen(strempty(arg_data));
                r = *ret ? 0 : -ENOMEM;
        }
        return r < 0 ? fail_errno(r, "Failed to read the event: %s", strerror(-r)) : 0;
}

int event_remote(const char *verb, int argc, char **argv, int fd) {
        _cleanup_(freep) char **words = calloc((size_t) argc + 2, sizeof(char *));
        _cleanup_(closep) int null = -EBADF;

        if (!words)
                return fail_errno(-ENOMEM, "Out of memory.");
        (void) memcpy(words, argv, (size_t) argc * sizeof(char *));
        if (arg_data && arg_data[0] != '@')
                return remote_run(verb, argc, words, null = open("/dev/null", O_RDONLY | O_CLOEXEC), false);
        arg_file = arg_data = NULL;
        if (fd < 0)
                fd = null = open("/dev/null", O_RDONLY | O_CLOEXEC);
        words[argc] = (char *) "-";
        return remote_run(verb, argc + 1, words, fd, false);
}

static bool is_bundle(const char *dir, const char *below) {
        _cleanup_(freep) char *path = NULL;
        bool there = asprintf(&path, "%s/%s%ssand.json", dir, strempty(below), below ? "/" : "") >= 0 &&
                     access(path, F_OK) >= 0;

        errno = ENOENT;
        return there;
}

static int find_socket(Invoke *i) {
        if (asprintf(&i->socket_path, SAND_APP_SOCKET_DIR "/%s.sock", i->target.app) < 0)
                return fail_errno(-ENOMEM, "Out of memory.");
        if (access(i->socket_path, W_OK) >= 0)
                return 0;
        if (errno == EACCES)
                return fail(SAND_ERROR_DENIED, "Access to %s denied: only root and members of the group "
                                               "sand-invoke may invoke functions.", i->socket_path);
        if (errno == ENOENT && is_bundle(i->target.app, NULL))
                return fail(SAND_ERROR_NOT_FOUND, "No application \"%s\" here. A function of the folder is ./%s/%s.",
                            i->target.app, i->target.app, i->target.function);
        if (errno == ENOENT)
                return fail(SAND_ERROR_NOT_FOUND, "No application \"%s\" here. \"sandctl list\" shows those "
                                                  "that there are.", i->target.app);
        return fail_errno(-errno, "%s: %m", i->socket_path);
}

/* From a folder: what the functions print appears as it comes. */
static int start_folder(Invoke *i) {
        _cleanup_(closep) int null = -EBADF;
        int r;

        if (!is_bundle(i->target.dir, NULL) && is_bundle(i->target.dir, i->target.function))
                return fail(SAND_ERROR_USAGE, "%s/%s is an application's folder: name a function of it, as in %s/%s/NAME.",
                            i->target.dir, i->target.function, i->target.dir, i->target.function);
        r = dev_new(i->target.dir, &i->dev, NULL);
        if (r != 0)
                return r;
        i->socket_path = strdup(i->dev->app_socket);
        if (!i->socket_path)
                return fail_errno(-ENOMEM, "Out of memory.");
        if (arg_quiet)
                null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        /* What the supervisor warns of comes back with the answer. */
        return dev_start_supervisor(i->dev, null, arg_verbose ? "notice" : "err");
}

/* A supervisor that ended has no connection to say why. */
static int on_supervisor(sd_event_source *s, const siginfo_t *si, void *userdata) {
        Invoke *i = userdata;

        i->dev->supervisor = 0;
        return sd_event_exit(i->event, fail(SAND_ERROR_CRASHED, "sand-supervisord ended before it answered."));
}

static void print_entry(sd_journal *j) {
        const void *message, *function;
        size_t message_size, function_size;

        if (sd_journal_get_data(j, "MESSAGE", &message, &message_size) < 0)
                return;
        if (sd_journal_get_data(j, "SAND_FUNCTION", &function, &function_size) >= 0)
                (void) fprintf(stderr, "%.*s: ", (int) (function_size - strlen("SAND_FUNCTION=")),
                               (const char *) function + strlen("SAND_FUNCTION="));
        (void) fprintf(stderr, "%.*s\n", (int) (message_size - strlen("MESSAGE=")),
                       (const char *) message + strlen("MESSAGE="));
}

static int match_execution(sd_journal *j, const Invoke *i) {
        _cleanup_(freep) char *execution = NULL, *unit = NULL;
        int r;

        if (asprintf(&execution, "SAND_EXECUTION=%s", i->execution) < 0 ||
            asprintf(&unit, "_SYSTEMD_UNIT=sand-app@%s.service", i->target.app) < 0)
                return -ENOMEM;
        r = sd_journal_add_match(j, execution, 0);
        return r < 0 ? r : sd_journal_add_match(j, unit, 0);
}

/* What the functions of this execution printed, of all functions that it set off. */
static int show_journal(const Invoke *i) {
        _cleanup_(sd_journal_closep) sd_journal *j = NULL;
        uint64_t end = now_usec() + JOURNAL_SETTLE_USEC;
        int r;

        r = sd_journal_open(&j, SD_JOURNAL_LOCAL_ONLY);
        if (r >= 0)
                r = match_execution(j, i);
        if (r >= 0)
                r = sd_journal_seek_realtime_usec(j, i->started_realtime);
        while (r >= 0) {
                while ((r = sd_journal_next(j)) > 0)
                        print_entry(j);
                if (r < 0 || now_usec() >= end)
                        break;
                r = sd_journal_wait(j, usec_sub(end, now_usec()));
        }
        return r;
}

static void show_execution(const Invoke *i, const PeerReply *reply) {
        char wall[32], cpu[32], peak[32];
        int r = i->target.app ? show_journal(i) : 0;

        if (r < 0)
                say("The functions' output is not shown, the journal cannot be read: %s", strerror(-r));
        format_span(wall, sizeof(wall), reply->wall_usec);
        format_span(cpu, sizeof(cpu), reply->cpu_usec);
        format_bytes(peak, sizeof(peak), reply->peak_bytes);
        (void) fprintf(stderr, "%sexecution %s, %s wall, %s CPU, %s memory at most%s\n",
                       color_begin(STDERR_FILENO, COLOR_GREY), i->execution, wall, cpu, peak,
                       color_end(STDERR_FILENO));
}

static int write_all(const char *data, size_t size) {
        for (size_t done = 0; done < size;) {
                ssize_t n = write(STDOUT_FILENO, data + done, size - done);

                if (n < 0 && errno != EINTR)
                        return -errno;
                done += n > 0 ? (size_t) n : 0;
        }
        return 0;
}

int print_bytes(const void *data, size_t size) {
        int r;

        r = write_all(data, size);
        /* The prompt belongs on a line of its own; in a file there are no bytes but the result's. */
        if (r >= 0 && isatty(STDOUT_FILENO) && size > 0 && ((const char *) data)[size - 1] != '\n')
                r = write_all("\n", 1);
        return r < 0 ? fail_errno(r, "Failed to write the result: %s", strerror(-r)) : EXIT_SUCCESS;
}

static int print_result(const PeerReply *reply) {
        const void *data;
        void *mapping = NULL;
        int r;

        r = payload_map(&reply->payload, &data, &mapping);
        if (r < 0)
                return fail_errno(r, "Failed to read the result: %s", strerror(-r));
        r = print_bytes(data, reply->payload.size);
        if (mapping)
                (void) munmap(mapping, reply->payload.size);
        return r;
}

/* Of a Python function the cause is AWS Lambda's JSON; its frames are what one reads. Caller frees. */
static char *cause_to_text(const char *cause) {
        json_object *o = cause[0] == '{' ? json_tokener_parse(cause) : NULL, *frames;
        _cleanup_(freep) char *text = NULL;
        size_t size;
        FILE *f;

        if (!json_object_object_get_ex(o, "stackTrace", &frames) || !json_object_is_type(frames, json_type_array)) {
                (void) json_object_put(o);
                return strdup(cause);
        }
        f = open_memstream(&text, &size);
        for (size_t i = 0; f && i < json_object_array_length(frames); i++)
                (void) fputs(strempty(json_object_get_string(json_object_array_get_idx(frames, i))), f);
        (void) json_object_put(o);
        return f && fclose(f) == 0 ? TAKE_PTR(text) : NULL;
}

/* As compilers write it where the place in the bundle is known, else with the vocabulary's name. */
int print_error(SandError e, const char *class, const char *message, const char *cause, const char *bundle) {
        const char *name = sand_error_info(e)->name;
        _cleanup_(freep) char *text = cause_to_text(strempty(cause));
        bool own = !isempty(class) && !streq(class, name);
        size_t n = text ? strlen(text) : 0;
        char place[256];

        if (n > 0 && own && traceback_place(text, bundle, place, sizeof(place)))
                (void) fail(e, "%s: %s: %s", place, class, strempty(message));
        else
                (void) fail(e, "%s%s%s: %s", name, own ? ": " : "", own ? class : "", strempty(message));
        if (n > 0)
                (void) fprintf(stderr, "%s%s", text, text[n - 1] == '\n' ? "" : "\n");
        return sand_error_info(e)->exit_status;
}

static void on_reply(PeerCall *call, const PeerReply *reply, void *userdata) {
        Invoke *i = userdata;
        int status;

        if (i->interrupted)
                return;
        if (arg_verbose)
                show_execution(i, reply);
        if (reply->error == _SAND_ERROR_INVALID)
                status = print_result(reply);
        else
                status = print_error(reply->error, reply->error_class, reply->message, reply->cause,
                                     i->dev ? i->dev->dir : "/app");
        (void) sd_event_exit(i->event, status);
}

static int send_event(Invoke *i) {
        static const char *const headers[] = { "caller", "sandctl", NULL };
        bool bounded = arg_timeout_usec != USEC_INFINITY;
        PeerRequest request = {
                .target = i->target.function,
                .execution = i->execution,
                .content_type = arg_content_type ?: "application/json",
                .headers = headers,
                .deadline = bounded ? usec_add(now_usec(), arg_timeout_usec) : 0,
                .timeout_usec = bounded ? usec_add(arg_timeout_usec, GRACE_USEC) : CALL_TIMEOUT_USEC,
                .data = i->data,
                .size = i->size,
        };
        PeerCall *call;
        sd_id128_t id;
        int r;

        r = sd_id128_randomize(&id);
        if (r < 0)
                return r;
        (void) sd_id128_to_string(id, i->execution);
        r = peer_new(i->event, i->socket_path, &i->peer);
        return r < 0 ? r : peer_invoke(i->peer, &request, on_reply, i, &call);
}

static int on_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata) {
        Invoke *i = userdata;

        i->interrupted = true;
        if (i->dev)
                i->dev->interrupted = true;
        return sd_event_exit(i->event, 128 + (int) si->ssi_signo);
}

static int invoke_loop(Invoke *i) {
        static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
        int r;

        r = sd_event_default(&i->event);
        if (r >= 0 && i->dev)
                r = sd_event_add_child(i->event, NULL, i->dev->supervisor, WEXITED, on_supervisor, i);
        for (size_t k = 0; k < ELEMENTSOF(signals) && r >= 0; k++)
                r = sd_event_add_signal(i->event, NULL, signals[k], on_signal, i);
        if (r >= 0)
                r = send_event(i);
        if (r == -ENOENT || r == -ECONNREFUSED)
                return fail(SAND_ERROR_UNAVAILABLE, "Nothing listens on %s.", i->socket_path);
        if (r >= 0)
                r = sd_event_loop(i->event);
        return r < 0 ? fail_errno(r, "Failed to invoke %s: %s", i->target.function, strerror(-r)) : r;
}

static void block_signals(void) {
        sigset_t signals;

        (void) sigemptyset(&signals);
        (void) sigaddset(&signals, SIGCHLD);
        (void) sigaddset(&signals, SIGINT);
        (void) sigaddset(&signals, SIGTERM);
        (void) sigaddset(&signals, SIGHUP);
        (void) sigprocmask(SIG_BLOCK, &signals, NULL);
}

int verb_invoke(int argc, char **argv) {
        _cleanup_(invoke_done) Invoke i = {};
        const char *message = NULL;
        int fd, r;

        r = check_async_options();
        if (r != 0)
                return r;
        if (arg_wait && argc > 1)
                return fail(SAND_ERROR_USAGE, "Too many arguments: sandctl invoke --wait ID");
        if (arg_wait)
                return arg_host ? remote_run("invoke", argc, argv, -1, false) : invoke_wait(argv[0]);
        r = target_parse(argv[0], &i.target, &message);
        if (r < 0)
                return fail(SAND_ERROR_USAGE, "\"%s\": %s.", argv[0], message ?: "out of memory");
        if (arg_async && i.target.dir)
                return fail(SAND_ERROR_USAGE, "--async is for deployed applications: the functions of a folder have no log that "
                                              "keeps events.");
        r = event_open(argc - 1, argv + 1, &fd);
        if (r != 0)
                return r;
        if (arg_host && i.target.dir)
                return fail(SAND_ERROR_USAGE, "A folder's function runs where it is; leave --host out.");
        if (arg_host)
                return event_remote("invoke", 1, argv, fd);
        /* What is not there is said before standard input is waited for. */
        r = i.target.app && !arg_async ? find_socket(&i) : 0;
        if (r == 0)
                r = event_read(fd, &i.data, &i.size);
        if (fd > STDERR_FILENO)
                (void) close(fd);
        if (r != 0)
                return r;
        if (arg_async)
                return invoke_async(i.target.app, i.target.function, i.data, i.size);
        i.started_realtime = now_realtime_usec();
        block_signals();
        r = i.target.dir ? start_folder(&i) : 0;
        return r != 0 ? r : invoke_loop(&i);
}
