/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sand-trigger APP:FUNCTION[:TRIGGER]: what sand-invoke@.service runs. Tells sand-globald of one event: that a unit of
 * systemd's set this one off, that a timer of an application elapsed; or of each new file in a directory that an application
 * watches. Whatever may have to be said twice has a key, by which it is accepted once.
 *
 * A file is told of when nobody has it open for writing. When whoever does closes it, the directory's watch sets this off
 * again. */

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>

#include "events-client.h"
#include "log.h"
#include "manifest.h"
#include "text.h"
#include "trigger-event.h"

/* The keys of that many go in one message. */
#define FILES_MAX 250000U
/* Events that are on their way at once: sand-globald puts them on disk together. */
#define IN_FLIGHT_MAX 128U
/* sand-globald is started by its socket; what it refuses for longer is a failure that systemd shows. */
#define RETRY_USEC (30 * USEC_PER_SEC)
#define PAUSE_USEC (500 * USEC_PER_MSEC)
#define CALL_TIMEOUT_USEC (90 * USEC_PER_SEC)

typedef struct Trigger {
        TriggerName name;
        EventsClient client;
        char *target;              /* APP/FUNCTION */
        json_object *catalogue;    /* the application's */
        json_object *description;  /* of the trigger, in it */
        uint64_t end;              /* of trying again */
} Trigger;

static void trigger_done(Trigger *t) {
        events_close(&t->client);
        trigger_name_done(&t->name);
        (void) json_object_put(t->catalogue);
        free(t->target);
}

static void json_object_putp(json_object **o) {
        (void) json_object_put(*o);
}

/* Whether it may be otherwise in a moment. */
static bool error_passes(SandError e) {
        return e == SAND_ERROR_UNAVAILABLE || e == SAND_ERROR_CRASHED || e == SAND_ERROR_TIMEOUT || e == SAND_ERROR_BUSY;
}

static bool pause_before_retry(const Trigger *t) {
        if (now_usec() >= t->end)
                return false;
        (void) usleep(PAUSE_USEC);
        return true;
}

/* One call, again while sand-globald is not there. 1 if it was Busy, which is for the caller to judge; -EIO: said. */
static int ask(Trigger *t, const char *member, const PeerRequest *request, bool busy_ends, EventsReply *ret) {
        for (;;) {
                int r = events_call(&t->client, member, request, ret);

                if (r >= 0 && ret->error == _SAND_ERROR_INVALID)
                        return 0;
                if (r >= 0 && ret->error == SAND_ERROR_BUSY && busy_ends)
                        return 1;
                if ((r >= 0 ? error_passes(ret->error) : r == -ENOENT || r == -ECONNREFUSED || r == -EAGAIN) && pause_before_retry(t)) {
                        events_reply_done(ret);
                        continue;
                }
                if (r < 0)
                        (void) log_error_errno(r, "%s: sand-globald cannot be asked: %m", t->target);
                else
                        log_error("%s: %s: %s", t->target, sand_error_info(ret->error)->name, strempty(ret->message));
                events_reply_done(ret);
                return -EIO;
        }
}

static int send_one(Trigger *t, json_object *event, const char *const *headers, bool busy_ends) {
        const char *text = json_object_to_json_string_ext(event, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
        PeerRequest request = { .target = t->target, .headers = headers, .data = text, .size = text ? strlen(text) : 0 };
        EventsReply reply;
        int r;

        if (!text)
                return log_error_errno(-ENOMEM, "%s: %m", t->target);
        r = ask(t, "Send", &request, busy_ends, &reply);
        if (r == 1)
                log_info("Skipped for %s: its last event of %s has not ended.", t->target, strempty(t->name.source));
        else if (r == 0)
                log_debug("Sent to %s.", t->target);
        if (r >= 0)
                events_reply_done(&reply);
        return MIN(r, 0);
}

/* ---- any unit ---- */

static int send_unit(Trigger *t) {
        _cleanup_(json_object_putp) json_object *event = trigger_unit_event(getenv);
        const char *unit = trigger_unit(getenv), *id = trigger_invocation_id(getenv);
        const char *headers[9] = { "caller", "systemd" };
        size_t n = 2;

        if (!event)
                return log_error_errno(-ENOMEM, "%s: %m", t->target);
        if (unit) {
                headers[n++] = SAND_OPTION_PREFIX "source";
                headers[n++] = unit;
        }
        if (id) {
                headers[n++] = SAND_OPTION_PREFIX "idempotency-key";
                headers[n++] = id;
        }
        return send_one(t, event, headers, false);
}

/* ---- a timer ---- */

/* Services start sooner after their timer than that, unless a timer was missed; then it is now. */
#define SCHEDULED_RECENT_USEC (500 * USEC_PER_MSEC)

static int send_timer(Trigger *t) {
        json_object *input = json_object_object_get(t->description, "input"), *overlap;
        bool skip = json_object_object_get_ex(t->description, "overlap", &overlap) && !json_object_get_boolean(overlap);
        uint64_t scheduled = trigger_scheduled_usec(getenv), now = now_realtime_usec();
        /* systemd 252 says what it said at the service's first start until it is reloaded. */
        _cleanup_(json_object_putp) json_object *event =
                trigger_timer_event(input, scheduled > 0 && usec_sub(now, scheduled) < SCHEDULED_RECENT_USEC ? scheduled : now,
                                    t->name.source);
        const char *headers[11] = { "caller", "systemd", SAND_OPTION_PREFIX "source", t->name.source };
        const char *id = trigger_invocation_id(getenv);
        size_t n = 4;

        if (!event)
                return log_error_errno(-ENOMEM, "%s: %m", t->target);
        if (id) { /* one start of the service is one event */
                headers[n++] = SAND_OPTION_PREFIX "idempotency-key";
                headers[n++] = id;
        }
        if (skip) {
                headers[n++] = SAND_OPTION_PREFIX "overlap";
                headers[n++] = "skip";
        }
        return send_one(t, event, headers, skip);
}

/* ---- a directory ---- */

typedef struct File {
        char *name, *key;
        struct timespec modified;
        off_t size;
        bool open;     /* somebody writes to it */
        bool is_new, sent;
} File;

typedef struct Watch {
        Trigger *trigger;
        const char *machine, *host;
        File *files;      /* by key */
        size_t n, allocated;
        size_t n_open;
        unsigned in_flight;
        size_t n_sent, n_failed;
        bool refused;     /* trying again does not help */
} Watch;

static void watch_done(Watch *w) {
        for (size_t i = 0; i < w->n; i++) {
                free(w->files[i].name);
                free(w->files[i].key);
        }
        free(w->files);
}

static void closedirp(DIR **d) {
        if (*d)
                (void) closedir(*d);
}

/* Files systems that know no leases cannot say; then what is there counts as complete. */
static bool open_for_writing(int fd) {
        if (fcntl(fd, F_SETLEASE, F_RDLCK) < 0)
                return errno == EAGAIN;
        (void) fcntl(fd, F_SETLEASE, F_UNLCK);
        return false;
}

static int watch_add(Watch *w, const char *name, const struct stat *st, bool open) {
        char key[TRIGGER_KEY_SIZE];
        File f = { .modified = st->st_mtim, .size = st->st_size, .open = open };

        if (w->n >= FILES_MAX)
                return -E2BIG;
        if (w->n == w->allocated) {
                size_t more = MAX(w->allocated * 2, (size_t) 64);
                File *grown = reallocarray(w->files, more, sizeof(File));

                if (!grown)
                        return -ENOMEM;
                w->files = grown;
                w->allocated = more;
        }
        trigger_file_key(name, st, key);
        f.name = strdup(name);
        f.key = strdup(key);
        w->files[w->n++] = f;
        w->n_open += open;
        return f.name && f.key ? 0 : -ENOMEM;
}

static int watch_look(Watch *w, int dir_fd, const char *name) {
        _cleanup_(closep) int fd = -EBADF;
        struct stat st;

        if (name[0] == '.') /* what editors and rsync have not finished */
                return 0;
        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
                return 0;
        if (!utf8_is_valid(name, strlen(name))) {
                log_warning("%s: a file whose name is not UTF-8 is left out.", w->host);
                return 0;
        }
        fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        if (fd < 0) {
                if (errno != ENOENT)
                        (void) log_warning_errno(errno, "%s/%s is left out: %m", w->host, name);
                return 0;
        }
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
                return 0;
        /* Size and time are those after the last writer: they are looked at again when there is none. */
        if (open_for_writing(fd))
                return watch_add(w, name, &st, true);
        return fstat(fd, &st) < 0 ? 0 : watch_add(w, name, &st, false);
}

static int compare_files(const void *a, const void *b) {
        return strcmp(((const File *) a)->key, ((const File *) b)->key);
}

/* No link on the way is followed: the application may write there, and this program may read everything. openat2() would
 * do that at once, and is not there for a service with RestrictSUIDSGID=. */
static int open_directory(const char *path) {
        _cleanup_(closep) int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        _cleanup_(freep) char *words = strdup(path);
        char *state = NULL;

        if (!words)
                return -ENOMEM;
        for (char *word = strtok_r(words, "/", &state); word && fd >= 0; word = strtok_r(NULL, "/", &state)) {
                int below = openat(fd, word, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                struct stat st;

                if (below < 0 && errno == ENOTDIR && fstatat(fd, word, &st, AT_SYMLINK_NOFOLLOW) >= 0)
                        errno = S_ISLNK(st.st_mode) ? ELOOP : ENOTDIR;
                closep(&fd);
                fd = below;
        }
        if (fd >= 0) {
                int readable = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

                closep(&fd);
                fd = readable;
        }
        return fd < 0 ? -errno : TAKE_FD(fd);
}

static int watch_list(Watch *w) {
        _cleanup_(closedirp) DIR *d = NULL;
        struct dirent *entry;
        int fd, r = 0;

        fd = open_directory(w->host);
        if (fd < 0)
                return fd;
        d = fdopendir(fd);
        if (!d) {
                r = -errno;
                (void) safe_close(fd);
                return r;
        }
        while (r >= 0) {
                errno = 0;
                entry = readdir(d);
                if (!entry) {
                        r = -errno;
                        break;
                }
                r = watch_look(w, dirfd(d), entry->d_name);
        }
        if (r >= 0 && w->n > 1)
                qsort(w->files, w->n, sizeof(File), compare_files);
        return r;
}

static int write_key(FILE *f, const char *key) {
        json_object *o = json_object_new_string(key);
        const char *text = o ? json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE) : NULL;
        int r = text && fputs(text, f) >= 0 ? 0 : -ENOMEM;

        (void) json_object_put(o);
        return r;
}

/* All keys, those of files that are being written to as well: that an older state of them was told of is not to be
 * forgotten, for they may be closed unchanged. */
static int watch_keys(const Watch *w, char **ret, size_t *ret_size) {
        _cleanup_(freep) char *text = NULL;
        FILE *f = open_memstream(&text, ret_size);
        int r = f && fputc('[', f) >= 0 ? 0 : -ENOMEM;

        for (size_t i = 0; r >= 0 && i < w->n; i++) {
                if (i > 0)
                        (void) fputc(',', f);
                r = write_key(f, w->files[i].key);
        }
        if (r >= 0 && fputc(']', f) < 0)
                r = -ENOMEM;
        if (f && fclose(f) != 0)
                r = -ENOMEM;
        if (r >= 0)
                *ret = TAKE_PTR(text);
        return r;
}

static int mark_new(Watch *w, const EventsReply *reply) {
        _cleanup_(json_object_putp) json_object *keys = events_document(reply);

        if (!json_object_is_type(keys, json_type_array)) {
                log_error("%s: sand-globald's answer is no list of keys.", w->host);
                return -EIO;
        }
        for (size_t i = 0; i < json_object_array_length(keys); i++) {
                const char *key = json_object_get_string(json_object_array_get_idx(keys, i));
                File wanted = { .key = (char *) strempty(key) };
                File *found = w->n > 0 ? bsearch(&wanted, w->files, w->n, sizeof(File), compare_files) : NULL;

                if (found)
                        found->is_new = !found->open;
        }
        return 0;
}

static int watch_compare(Watch *w) {
        _cleanup_(freep) char *text = NULL, *target = NULL;
        const TriggerName *name = &w->trigger->name;
        PeerRequest request = {};
        EventsReply reply;
        int r;

        r = asprintf(&target, "%s//%s", name->app, name->source) < 0 ? -ENOMEM : watch_keys(w, &text, &request.size);
        if (r < 0)
                return log_error_errno(r, "%s: %m", w->host);
        request.target = target;
        request.data = text;
        r = ask(w->trigger, "Compare", &request, false, &reply);
        if (r < 0)
                return r;
        r = mark_new(w, &reply);
        events_reply_done(&reply);
        return r;
}

typedef struct FileCall {
        Watch *watch;
        File *file;
} FileCall;

static void on_sent(PeerCall *call, const PeerReply *reply, void *userdata) {
        FileCall *c = userdata;
        Watch *w = c->watch;

        w->in_flight--;
        if (reply->error == _SAND_ERROR_INVALID) {
                c->file->sent = true;
                w->n_sent++;
        } else {
                w->n_failed++;
                w->refused = w->refused || !error_passes(reply->error);
                if (w->n_failed == 1) /* the others' reason is the same */
                        log_warning("%s/%s is not sent to %s: %s: %s", w->host, c->file->name, w->trigger->target,
                                    sand_error_info(reply->error)->name, strempty(reply->message));
        }
        free(c);
}

static int send_file(Watch *w, File *f) {
        const Trigger *t = w->trigger;
        struct stat st = { .st_mtim = f->modified, .st_size = f->size };
        _cleanup_(json_object_putp) json_object *event = trigger_file_event(w->machine, w->host, f->name, &st);
        const char *text = event ? json_object_to_json_string_ext(event, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)
                                 : NULL;
        const char *const headers[] = {
                "caller", "systemd", SAND_OPTION_PREFIX "source", t->name.source, SAND_OPTION_PREFIX "idempotency-key", f->key,
                SAND_OPTION_PREFIX "key-keep", "1", NULL,
        };
        PeerRequest request = {
                .path = SAND_EVENTS_PATH, .interface = SAND_EVENTS_INTERFACE, .member = "Send", .target = t->target,
                .content_type = "application/json", .headers = headers, .timeout_usec = CALL_TIMEOUT_USEC,
                .data = text, .size = text ? strlen(text) : 0,
        };
        _cleanup_(freep) FileCall *c = malloc(sizeof(FileCall));
        PeerCall *call;
        int r;

        if (!c || !text)
                return -ENOMEM;
        *c = (FileCall) { w, f };
        r = peer_invoke(t->client.peer, &request, on_sent, c, &call);
        if (r < 0)
                return r;
        w->in_flight++;
        (void) TAKE_PTR(c);
        return 0;
}

static int run_until(Watch *w, unsigned in_flight) {
        int r = 0;

        while (r >= 0 && w->in_flight > in_flight)
                r = sd_event_run(w->trigger->client.event, UINT64_MAX);
        return r;
}

/* One round over what is new and not sent yet; ends early when sand-globald goes away. */
static int watch_send(Watch *w) {
        int r = 0, end;

        w->n_failed = 0;
        for (size_t i = 0; i < w->n && r >= 0 && w->n_failed == 0; i++)
                if (w->files[i].is_new && !w->files[i].sent) {
                        r = run_until(w, IN_FLIGHT_MAX - 1);
                        if (r >= 0)
                                r = send_file(w, w->files + i);
                }
        end = run_until(w, 0);
        return r < 0 ? r : end;
}

static bool connection_passes(int r) {
        return r == -ENOENT || r == -ECONNREFUSED || r == -EAGAIN;
}

static int send_files(Trigger *t) {
        _cleanup_(watch_done) Watch w = {
                .trigger = t,
                .machine = json_object_get_string(json_object_object_get(t->description, "path")),
                .host = json_object_get_string(json_object_object_get(t->description, "host")),
        };
        int r;

        if (!w.machine || !w.host) {
                log_error("%s: the catalogue's entry of %s is none of a directory.", t->name.app, t->name.trigger);
                return -EBADMSG;
        }
        r = watch_list(&w);
        if (r == -E2BIG) {
                log_error("%s has more than %u files: move those away that are done with.", w.host, FILES_MAX);
                return r;
        }
        if (r < 0)
                return log_error_errno(r, "Failed to look into %s: %s", w.host,
                                       r == -ELOOP ? "there is a symbolic link in its path" : strerror(-r));
        r = watch_compare(&w);
        if (r < 0)
                return r;
        do
                r = watch_send(&w);
        while ((connection_passes(r) || (r >= 0 && w.n_failed > 0 && !w.refused)) && pause_before_retry(t));
        if (w.n_sent > 0 || w.n_open > 0)
                log_info("%s: %zu new file%s sent to %s, %zu still being written to.", w.host, w.n_sent, w.n_sent == 1 ? "" : "s",
                         t->target, w.n_open);
        if (r < 0)
                return log_error_errno(r, "Not all files of %s are sent to %s: %m", w.host, t->target);
        if (w.n_failed > 0)
                log_error("Not all files of %s are sent to %s.", w.host, t->target);
        return w.n_failed > 0 ? -EIO : 0;
}

/* ---- */

static int read_description(Trigger *t, const char *dir) {
        _cleanup_(freep) char *path = NULL;
        json_object *triggers;

        if (asprintf(&path, "%s/%s.json", dir, t->name.app) < 0)
                return log_error_errno(-ENOMEM, "%s: %m", t->target);
        t->catalogue = json_object_from_file(path);
        if (!t->catalogue) {
                log_error("There is no application %s: %s cannot be read.", t->name.app, path);
                return -ENOENT;
        }
        triggers = json_object_object_get(t->catalogue, "triggers");
        t->description = json_object_object_get(triggers, t->name.trigger);
        if (t->description)
                return 0;
        log_error("The deployed version of %s has no trigger %s.", t->name.app, t->name.trigger);
        return -ENOENT;
}

static int run(Trigger *t, const char *word, const char *catalogue) {
        int r;

        r = trigger_name_parse(word, &t->name);
        if (r == -EINVAL) {
                log_error("\"%s\": expected APP:FUNCTION, as in sand-invoke@APP:FUNCTION.service.", word);
                return r;
        }
        if (r >= 0 && asprintf(&t->target, "%s/%s", t->name.app, t->name.function) < 0)
                r = -ENOMEM;
        if (r >= 0)
                r = events_open(&t->client);
        if (r < 0)
                return log_error_errno(r, "%s: %m", word);
        t->end = usec_add(now_usec(), RETRY_USEC);
        if (!t->name.trigger)
                return send_unit(t);
        r = read_description(t, catalogue);
        if (r < 0)
                return r;
        return t->name.path ? send_files(t) : send_timer(t);
}

int main(int argc, char **argv) {
        _cleanup_(trigger_done) Trigger t = {};

        log_setup("sand-trigger");
        if (argc < 2 || argc > 3) {
                log_error("usage: sand-trigger APP:FUNCTION[:TRIGGER] [CATALOGUE]");
                return 2;
        }
        (void) signal(SIGIO, SIG_IGN); /* somebody wants to write to a file whose lease we have for a moment */
        return run(&t, argv[1], argc > 2 ? argv[2] : SAND_CATALOGUE_DIR) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
