/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker-harness.h"

#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "payload.h"

#define EXECUTION "0123456789abcdef0123456789abcdef"
#define INVOCATION "fedcba9876543210fedcba9876543210"

static sd_bus *server_new(int fd) {
        sd_bus *bus;
        sd_id128_t id;

        assert_return_code(sd_id128_randomize(&id), 0);
        assert_return_code(sd_bus_new(&bus), 0);
        assert_return_code(sd_bus_set_fd(bus, fd, fd), 0);
        assert_return_code(sd_bus_set_server(bus, 1, id), 0);
        assert_return_code(sd_bus_negotiate_fds(bus, 1), 0);
        assert_return_code(sd_bus_start(bus), 0);
        return bus;
}

/* Takes what was printed, as a supervisor does: nobody is to wait for a reader of the log. */
static void drain(int log, char **text, size_t *size) {
        char chunk[16 * 1024];
        ssize_t n;

        while ((n = recv(log, chunk, sizeof(chunk), MSG_DONTWAIT)) > 0) {
                *text = realloc(*text, *size + (size_t) n + 1);
                assert_non_null(*text);
                memcpy(*text + *size, chunk, (size_t) n);
                *size += (size_t) n;
                (*text)[*size] = 0;
        }
}

/* One step of a loop: processes what there is, else waits. False at the end of the connection. */
static bool step(sd_bus *bus, int log, char **text, size_t *size) {
        struct pollfd p[] = {
                { .fd = sd_bus_get_fd(bus) },
                { .fd = log, .events = POLLIN },
        };
        int r = sd_bus_process(bus, NULL);

        if (r != 0)
                return r > 0;
        r = sd_bus_get_events(bus);
        assert_return_code(r, -r);
        p[0].events = (short) r;
        drain(log, text, size);
        r = poll(p, ELEMENTSOF(p), WAIT_USEC / USEC_PER_MSEC);
        assert_int_not_equal(r, 0); /* a hang */
        if (p[1].revents & POLLHUP && !(p[1].revents & POLLIN))
                (void) poll(p, 1, 1000); /* the log is at its end, the connection will be */
        return true;
}

static uint64_t inode_of(int fd) {
        struct stat st;

        if (fd < 0)
                return 0;
        assert_return_code(fstat(fd, &st), errno);
        return st.st_ino;
}

static char *copy(const char *s) {
        char *c = strdup(s);

        assert_non_null(c);
        return c;
}

static int on_worker_message(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        const char *message, *error, *cause;
        Worker *w = userdata;

        if (sd_bus_message_is_signal(m, SAND_WORKER_INTERFACE, "Loaded"))
                w->signal = copy("Loaded");
        else if (sd_bus_message_is_signal(m, SAND_WORKER_INTERFACE, "LoadFailed")) {
                w->signal = copy("LoadFailed");
                assert_return_code(sd_bus_message_read(m, "sss", &message, &error, &cause), 0);
                w->message = copy(message);
                w->error = copy(error);
                w->cause = copy(cause);
        }
        return 0;
}

static void exec_worker(const char *program, const char *directory, const char *const *handler,
                        const char *const *environment, int channel, int log) {
        char path[4096];
        const char *argv[16] = { path };

        (void) snprintf(path, sizeof(path), "%s/%s", getenv("SAND_WORKER_DIR") ?: ".", program);
        for (size_t i = 0; handler[i] && i + 2 < ELEMENTSOF(argv); i++)
                argv[i + 1] = handler[i];
        if (clearenv() != 0)
                _exit(119);
        for (; environment && *environment; environment++)
                (void) putenv((char *) *environment);
        if (dup2(log, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0 || dup2(channel, SAND_CHANNEL_FD) < 0)
                _exit(120);
        /* dup2() onto itself keeps the flag. */
        if (fcntl(SAND_CHANNEL_FD, F_SETFD, 0) < 0 || chdir(directory) < 0)
                _exit(121);
        (void) execv(path, (char **) argv);
        _exit(122);
}

Worker *worker_start(const char *program, const char *directory, const char *const *handler,
                     const char *const *environment) {
        Worker *w = calloc(1, sizeof(*w));
        int channel[2], log[2];

        assert_non_null(w);
        assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel), errno);
        assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, log), errno);
        w->pid = fork();
        assert_return_code(w->pid, errno);
        if (w->pid == 0)
                exec_worker(program, directory, handler, environment, channel[1], log[1]);
        (void) close(channel[1]);
        (void) close(log[1]);
        w->log = log[0];
        w->bus = server_new(channel[0]);
        assert_return_code(sd_bus_add_filter(w->bus, NULL, on_worker_message, w), 0);
        while (!w->signal)
                if (!step(w->bus, w->log, &w->output, &w->output_size)) {
                        print_error("worker's log: %s\n", w->output);
                        fail_msg("%s ended before it said anything", program);
                }
        return w;
}

void worker_drain(Worker *w) {
        drain(w->log, &w->output, &w->output_size);
}

Worker *worker_stop(Worker *w) {
        int status;

        sd_bus_close(w->bus);
        sd_bus_unref(w->bus);
        assert_int_equal(waitpid(w->pid, &status, 0), w->pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), streq(w->signal, "Loaded") ? 0 : 1);
        (void) close(w->log);
        free(w->signal);
        free(w->message);
        free(w->error);
        free(w->cause);
        free(w->output);
        free(w);
        return NULL;
}

static void note_call(Instance *i, sd_bus_message *m) {
        const char *target, *execution, *content_type, *key, *value;
        Payload payload = PAYLOAD_EMPTY;
        const void *data;
        void *mapping;

        assert_return_code(sd_bus_message_read(m, "ssts", &target, &execution, &i->last_deadline, &content_type), 0);
        assert_return_code(sd_bus_message_enter_container(m, 'a', "{ss}"), 0);
        while (sd_bus_message_read(m, "{ss}", &key, &value) > 0)
                if (streq(key, "traceparent"))
                        assert_return_code(free_and_strdup(&i->last_traceparent, value), 0);
        assert_return_code(sd_bus_message_exit_container(m), 0);
        assert_return_code(payload_read(m, SAND_PAYLOAD_HARD_MAX, &payload), 0);
        assert_return_code(payload_map(&payload, &data, &mapping), 0);

        i->calls++;
        assert_return_code(free_and_strdup(&i->last_member, sd_bus_message_get_member(m)), 0);
        assert_return_code(free_and_strdup(&i->last_target, target), 0);
        assert_return_code(free_and_strdup(&i->last_content_type, content_type), 0);
        free(i->last_data);
        i->last_data = malloc(payload.size + 1);
        assert_non_null(i->last_data);
        memcpy(i->last_data, data, payload.size);
        i->last_size = payload.size;
        i->last_memfd = inode_of(payload.fd);
        if (mapping)
                assert_return_code(munmap(mapping, payload.size), errno);
        payload_done(&payload);
}

static void append_answer(Instance *i, sd_bus_message *reply) {
        const Answer *a = &i->answer;
        Payload payload = { .data = a->data ?: "", .size = a->size, .fd = -EBADF };
        _cleanup_(closep) int memfd = -EBADF;

        if (a->size >= SAND_MEMFD_THRESHOLD) {
                memfd = memfd_new_sealed("answer", a->data, a->size);
                assert_return_code(memfd, -memfd);
                payload.fd = memfd;
        }
        i->answer_memfd = inode_of(memfd);
        assert_return_code(payload_append(reply, &payload), 0);
}

static void answer_call(Instance *i, sd_bus_message *m) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const Answer *a = &i->answer;

        if (a->delay_usec > 0)
                (void) usleep((useconds_t) a->delay_usec);
        if (a->error) {
                sd_bus_error e = SD_BUS_ERROR_MAKE_CONST(a->error, "the text");
                assert_return_code(sd_bus_message_new_method_error(m, &reply, &e), 0);
                assert_return_code(sd_bus_message_append(reply, "ss(ttt)", "ItsClass", "its cause",
                                                         UINT64_C(1), UINT64_C(2), UINT64_C(3)), 0);
        } else {
                assert_return_code(sd_bus_message_new_method_return(m, &reply), 0);
                if (!streq(i->last_member, "Invoke"))
                        assert_return_code(sd_bus_message_append(reply, "s", EXECUTION), 0);
                else {
                        assert_return_code(sd_bus_message_append(reply, "s(ttt)", a->content_type ?: "",
                                                                 UINT64_C(1), UINT64_C(2), UINT64_C(3)), 0);
                        append_answer(i, reply);
                }
        }
        assert_return_code(sd_bus_send(NULL, reply, NULL), 0);
}

static int on_instance_message(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        Instance *i = userdata;

        if (sd_bus_message_is_signal(m, SAND_INSTANCE_INTERFACE, "Ready"))
                i->ready = true;
        else if (sd_bus_message_is_method_call(m, SAND_APP_INTERFACE, "Invoke") ||
                 sd_bus_message_is_method_call(m, SAND_APP_INTERFACE, "Send") ||
                 sd_bus_message_is_method_call(m, SAND_APP_INTERFACE, "Emit")) {
                assert_string_equal(sd_bus_message_get_signature(m, 1), SAND_INVOKE_FULL_SIGNATURE);
                note_call(i, m);
                answer_call(i, m);
                return 1;
        }
        return 0;
}

Instance *instance_fork(Worker *w) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        Instance *i = calloc(1, sizeof(*i));
        int channel[2], log[2];
        const void *pids;
        size_t size;

        assert_non_null(i);
        assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel), errno);
        assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, log), errno);
        assert_return_code(sd_bus_message_new_method_call(w->bus, &m, NULL, SAND_WORKER_PATH,
                                                          SAND_WORKER_INTERFACE, "Fork"), 0);
        assert_return_code(sd_bus_message_append(m, "ia(hh)", -1, 1, channel[1], log[1]), 0);
        assert_return_code(sd_bus_call(w->bus, m, WAIT_USEC, &error, &reply), 0);
        assert_return_code(sd_bus_message_read_array(reply, 'i', &pids, &size), 0);
        assert_int_equal(size, sizeof(int32_t));
        memcpy(&i->pid, pids, sizeof(int32_t));
        assert_true(i->pid > 0);
        (void) close(channel[1]);
        (void) close(log[1]);
        i->log = log[0];
        i->bus = server_new(channel[0]);
        assert_return_code(sd_bus_add_filter(i->bus, NULL, on_instance_message, i), 0);
        while (!i->ready)
                if (!step(i->bus, i->log, &i->output, &i->output_size)) {
                        print_error("instance's log: %s\n", i->output);
                        fail_msg("the instance ended before it was ready");
                }
        return i;
}

Instance *instance_stop(Instance *i, int *ret_status) {
        int status;

        sd_bus_close(i->bus);
        sd_bus_unref(i->bus);
        assert_int_equal(waitpid(i->pid, &status, 0), i->pid);
        if (ret_status)
                *ret_status = status;
        else {
                assert_true(WIFEXITED(status));
                assert_int_equal(WEXITSTATUS(status), 0);
        }
        (void) close(i->log);
        free(i->last_member);
        free(i->last_target);
        free(i->last_content_type);
        free(i->last_traceparent);
        free(i->last_data);
        free(i->output);
        free(i);
        return NULL;
}

static void read_failure(sd_bus_message *m, Outcome *o) {
        const char *message, *error, *cause;

        o->failed = true;
        o->name = copy(sd_bus_message_get_error(m)->name);
        assert_string_equal(sd_bus_message_get_signature(m, 1), SAND_ERROR_FULL_SIGNATURE);
        assert_return_code(sd_bus_message_read(m, "sss(ttt)", &message, &error, &cause,
                                               &o->wall, &o->cpu, &o->peak), 0);
        o->message = copy(message);
        o->error = copy(error);
        o->cause = copy(cause);
}

static int on_outcome(sd_bus_message *m, void *userdata, sd_bus_error *e) {
        Payload payload = PAYLOAD_EMPTY;
        const char *content_type;
        Outcome *o = userdata;
        const void *data;
        void *mapping;

        o->data = copy("");
        if (sd_bus_message_has_signature(m, SAND_ERROR_FULL_SIGNATURE)) {
                read_failure(m, o);
                return 0;
        }
        if (sd_bus_message_is_method_error(m, NULL)) {
                o->lost = true;
                return 0;
        }
        assert_string_equal(sd_bus_message_get_signature(m, 1), SAND_REPLY_FULL_SIGNATURE);
        assert_return_code(sd_bus_message_read(m, "s(ttt)", &content_type, &o->wall, &o->cpu, &o->peak), 0);
        assert_return_code(payload_read(m, SAND_PAYLOAD_HARD_MAX, &payload), 0);
        assert_return_code(payload_map(&payload, &data, &mapping), 0);
        o->content_type = copy(content_type);
        o->memfd = payload.fd >= 0;
        o->inode = inode_of(payload.fd);
        o->size = payload.size;
        free(o->data);
        o->data = malloc(o->size + 1);
        assert_non_null(o->data);
        memcpy(o->data, data, o->size);
        ((char *) o->data)[o->size] = 0;
        if (mapping)
                assert_return_code(munmap(mapping, o->size), errno);
        payload_done(&payload);
        return 0;
}

void instance_handle(Instance *i, const Event *event, Outcome *ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        _cleanup_(closep) int memfd = -EBADF;
        Payload payload = { .data = event->data ?: "", .size = event->size, .fd = -EBADF };

        *ret = (Outcome) {};
        assert_return_code(sd_bus_message_new_method_call(i->bus, &m, NULL, SAND_INSTANCE_PATH,
                                                          SAND_INSTANCE_INTERFACE, "Handle"), 0);
        assert_return_code(sd_bus_message_append(m, "ssts", EXECUTION, INVOCATION, event->deadline,
                                                 event->content_type ?: ""), 0);
        assert_return_code(sd_bus_message_open_container(m, 'a', "{ss}"), 0);
        for (size_t k = 0; event->headers && event->headers[k]; k += 2)
                assert_return_code(sd_bus_message_append(m, "{ss}", event->headers[k], event->headers[k + 1]), 0);
        assert_return_code(sd_bus_message_close_container(m), 0);
        if (event->memfd) {
                memfd = memfd_new_sealed("event", payload.data, payload.size);
                assert_return_code(memfd, -memfd);
                payload.fd = memfd;
                ret->event_inode = inode_of(memfd);
        }
        assert_return_code(payload_append(m, &payload), 0);
        assert_return_code(sd_bus_call_async(i->bus, NULL, m, on_outcome, ret, WAIT_USEC), 0);
        while (!ret->data)
                (void) step(i->bus, i->log, &i->output, &i->output_size);
        drain(i->log, &i->output, &i->output_size);
}

void outcome_done(Outcome *o) {
        free(o->name);
        free(o->message);
        free(o->error);
        free(o->cause);
        free(o->content_type);
        free(o->data);
        *o = (Outcome) {};
}

static char scratch[] = "/tmp/sand-test-XXXXXX";

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path);
}

static void scratch_remove(void) {
        (void) nftw(scratch, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *scratch_directory(void) {
        static bool made;

        if (!made) {
                assert_non_null(mkdtemp(scratch));
                assert_return_code(chmod(scratch, 0755), errno);
                assert_return_code(atexit(scratch_remove), errno);
                made = true;
        }
        return scratch;
}

void scratch_file(const char *name, const char *content, mode_t mode) {
        char path[4096];
        FILE *f;

        (void) snprintf(path, sizeof(path), "%s/%s", scratch_directory(), name);
        f = fopen(path, "w");
        assert_non_null(f);
        assert_true(fputs(content, f) >= 0);
        assert_int_equal(fclose(f), 0);
        assert_return_code(chmod(path, mode), errno);
}
