/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sand-worker-exec: the function is a program. For each event the instance starts it with the event on
 * standard input, takes the result from standard output, and passes standard error on to the journal, of
 * which the end is kept for the error's cause. The event is over when the program has exited, whatever it
 * left behind; the supervisor sees to that. Its input is a file in memory, so that no order of reading and
 * writing can dead-lock. A request of an HTTP trigger comes as CGI/1.1 has it: the body is the event, the rest are
 * variables of this one run. */

#include <assert.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "bridge.h"
#include "context.h"
#include "macro.h"
#include "zygote.h"

#define TAIL_SIZE (4U * 1024U)
#define CHUNK (64U * 1024U)

typedef struct Program {
        char *path;
        char **argv;
} Program;

/* One run of it. */
typedef struct Run {
        pid_t pid;
        int pidfd;
        int output, errors;    /* our ends of its pipes; -EBADF after end of file */
        uint8_t *result;
        size_t size, capacity;
        char tail[TAIL_SIZE + 1];
        size_t tail_size;
        int failure;           /* -EMSGSIZE, -ENOMEM: the result does not fit, and it was killed */
} Run;

static Program program;
static Bridge bridge;

/* Loading */

/* As a shell does: -EACCES if there is such a file that can't be executed. */
static int check_file(const char *path) {
        struct stat st;

        if (stat(path, &st) < 0)
                return -errno;
        if (S_ISDIR(st.st_mode))
                return -EISDIR;
        return access(path, X_OK) < 0 ? -errno : 0;
}

static int find_program(const char *name, char **ret) {
        _cleanup_(freep) char *path = NULL;
        char *rest, *directory;

        if (strchr(name, '/')) {
                path = strdup(name);
                if (!path)
                        return -ENOMEM;
                *ret = TAKE_PTR(path);
                return check_file(*ret);
        }

        path = strdup(strempty(getenv("PATH")));
        if (!path)
                return -ENOMEM;
        for (directory = strtok_r(path, ":", &rest); directory; directory = strtok_r(NULL, ":", &rest)) {
                _cleanup_(freep) char *candidate = NULL;

                if (asprintf(&candidate, "%s/%s", directory, name) < 0) {
                        candidate = NULL;
                        return -ENOMEM;
                }
                if (check_file(candidate) >= 0) {
                        *ret = TAKE_PTR(candidate);
                        return 0;
                }
        }
        return -ENOENT;
}

static int load(int argc, char *argv[], LoadError *error) {
        int r;

        program.argv = argv + 1;
        r = find_program(argv[1], &program.path);
        if (r == -ENOENT)
                return load_error(error, r, "NotFound", NULL, "There is no %s %s.",
                                  strchr(argv[1], '/') ? "file in the bundle with the name" :
                                  "program on the PATH with the name", argv[1]);
        if (r == -EISDIR)
                return load_error(error, r, "NotExecutable", NULL, "%s is a directory.", argv[1]);
        if (r == -EACCES)
                return load_error(error, r, "NotExecutable", NULL,
                                  "%s is not executable; chmod +x it and deploy again.", argv[1]);
        if (r < 0)
                return load_error(error, r, "LoadError", NULL, "%s: %s", argv[1], strerror(-r));
        return 0;
}

static int start(void) {
        return bridge_start(&bridge);
}

/* Running */

/* What the gateway may set for a program: RFC 3875, 4.1, and what web servers add to it. HTTP_PROXY is a setting of many
 * programs, and no header's. */
static bool is_cgi_variable(const char *assignment) {
        static const char *const names[] = {
                "CONTENT_LENGTH", "CONTENT_TYPE", "GATEWAY_INTERFACE", "HTTPS", "PATH_INFO", "QUERY_STRING",
                "REMOTE_ADDR", "REQUEST_METHOD", "REQUEST_URI", "SCRIPT_NAME", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL",
                "SERVER_SOFTWARE",
        };
        size_t n = strcspn(assignment, "=");

        if (assignment[n] != '=')
                return false;
        if (startswith(assignment, "HTTP_"))
                return !startswith(assignment, "HTTP_PROXY=");
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (n == strlen(names[i]) && memcmp(assignment, names[i], n) == 0)
                        return true;
        return false;
}

/* This process's environment and the variables, one a line in `text`, which is cut into them and must stay. A variable
 * that this request does not have is not there either. */
static int cgi_environment(char *text, char ***ret) {
        size_t n = strv_length(environ) + 1, used = 0;
        char **l, *rest;

        for (const char *p = text; *p; p++)
                n += *p == '\n';
        l = calloc(n + 1, sizeof(char *));
        if (!l)
                return -ENOMEM;
        for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
                if (!is_cgi_variable(line)) {
                        free(l);
                        return -EINVAL;
                }
                l[used++] = line;
        }
        for (char **i = environ; *i; i++)
                if (!is_cgi_variable(*i))
                        l[used++] = *i;
        *ret = l;
        return 0;
}

/* In the child of a vfork(), which shares our memory and stack: system calls only. It leads a process
 * group, to be killed as one, and dies with the instance. */
static int become(const Program *p, char *const *environment, int input, int output, int errors) {
        if (setpgid(0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || dup2(input, STDIN_FILENO) < 0 ||
            dup2(output, STDOUT_FILENO) < 0 || dup2(errors, STDERR_FILENO) < 0)
                return -errno;
        (void) execve(p->path, p->argv, environment);
        return -errno;
}

static __attribute__((noinline)) int spawn(const Program *p, char *const *environment, int input, int output,
                                           int errors, pid_t *ret) {
        volatile int failure = 0;
        pid_t pid;

        pid = vfork();
        if (pid < 0)
                return -errno;
        if (pid == 0) {
                failure = become(p, environment, input, output, errors);
                _exit(127);
        }
        if (failure < 0) {
                (void) waitpid(pid, NULL, 0);
                return failure;
        }
        *ret = pid;
        return 0;
}

static int nonblocking_pipe(int ret[2]) {
        if (pipe2(ret, O_CLOEXEC) < 0)
                return -errno;
        return fcntl(ret[0], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

static void closep2(int (*fds)[2]) {
        (void) safe_close((*fds)[0]);
        (void) safe_close((*fds)[1]);
}

static int run_start(Run *run, char *const *environment, const void *event, size_t size) {
        _cleanup_(closep2) int output[2] = { -EBADF, -EBADF }, errors[2] = { -EBADF, -EBADF };
        _cleanup_(closep) int input = -EBADF;
        int r;

        input = wire_memfd_new(event, size);
        if (input < 0)
                return input;
        if (lseek(input, 0, SEEK_SET) < 0)
                return -errno;
        r = nonblocking_pipe(output);
        if (r >= 0)
                r = nonblocking_pipe(errors);
        if (r >= 0)
                r = spawn(&program, environment, input, output[1], errors[1], &run->pid);
        if (r < 0)
                return r;
        run->pidfd = (int) syscall(SYS_pidfd_open, run->pid, 0);
        if (run->pidfd < 0)
                return -errno;
        run->output = TAKE_FD(output[0]);
        run->errors = TAKE_FD(errors[0]);
        return 0;
}

static void run_kill(Run *run) {
        if (run->pid > 0)
                (void) kill(-run->pid, SIGKILL);
}

static void run_done(Run *run) {
        run_kill(run);
        if (run->pid > 0)
                (void) waitpid(run->pid, NULL, 0);
        (void) safe_close(run->pidfd);
        (void) safe_close(run->output);
        (void) safe_close(run->errors);
        free(run->result);
}

/* Room for a chunk more, as far as `max` and one byte, by which a result that is too large shows. */
static int result_grow(Run *run, uint64_t max) {
        size_t capacity = MAX(run->capacity * 2, (size_t) CHUNK);
        uint8_t *grown;

        if (run->size < run->capacity)
                return 0;
        if (run->size > max)
                return -EMSGSIZE;
        capacity = MIN(capacity, (size_t) max + 1);
        grown = realloc(run->result, capacity);
        if (!grown)
                return -ENOMEM;
        run->result = grown;
        run->capacity = capacity;
        return 0;
}

/* Reads all that is there. */
static void read_output(Run *run, uint64_t max) {
        while (run->output >= 0) {
                ssize_t n;
                int r;

                r = result_grow(run, max);
                if (r < 0) {
                        run->failure = r;
                        run_kill(run);
                        run->output = safe_close(run->output);
                        return;
                }
                n = read(run->output, run->result + run->size, run->capacity - run->size);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN)
                        return;
                if (n <= 0)
                        run->output = safe_close(run->output);
                else
                        run->size += (size_t) n;
        }
}

static void keep_tail(Run *run, const char *data, size_t size) {
        size_t keep;

        if (size > TAIL_SIZE) {
                data += size - TAIL_SIZE;
                size = TAIL_SIZE;
        }
        keep = MIN(run->tail_size, TAIL_SIZE - size);
        memmove(run->tail, run->tail + run->tail_size - keep, keep);
        memcpy(run->tail + keep, data, size);
        run->tail_size = keep + size;
        run->tail[run->tail_size] = 0;
}

static void pass_on(const char *data, size_t size) {
        while (size > 0) {
                ssize_t n = write(STDERR_FILENO, data, size);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return;
                data += n;
                size -= (size_t) n;
        }
}

static void read_errors(Run *run) {
        char buffer[4096];

        while (run->errors >= 0) {
                ssize_t n = read(run->errors, buffer, sizeof(buffer));

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN)
                        return;
                if (n <= 0) {
                        run->errors = safe_close(run->errors);
                        return;
                }
                keep_tail(run, buffer, (size_t) n);
                pass_on(buffer, (size_t) n);
        }
}

/* Something from the supervisor while the program runs: an answer for sand-call. */
static int read_wire(sand_context *context) {
        Wire *wire = context_wire(context);
        WireMessage m;
        int r;

        do {
                r = wire_receive(wire, USEC_INFINITY, &m);
                if (r <= 0)
                        return r < 0 ? r : -EPIPE;
                if (m.type == WIRE_REPLY || m.type == WIRE_ERROR)
                        (void) bridge_answer(&bridge, context, &m);
                else {
                        r = wire_refuse(wire, &m);
                        wire_message_done(&m);
                        if (r < 0)
                                return r;
                }
        } while (wire_pending(wire));
        return 0;
}

/* Until the program has exited; what it wrote is read then. */
static int run_loop(Run *run, sand_context *context) {
        uint64_t max = context_payload_max(context);
        struct pollfd p[4 + BRIDGE_POLL_MAX];
        int r;

        for (;;) {
                size_t n;

                p[0] = (struct pollfd) { .fd = run->pidfd, .events = POLLIN };
                p[1] = (struct pollfd) { .fd = run->output, .events = POLLIN };
                p[2] = (struct pollfd) { .fd = run->errors, .events = POLLIN };
                p[3] = (struct pollfd) { .fd = context_wire(context)->fd, .events = POLLIN };
                n = bridge_poll(&bridge, p + 4);
                if (poll(p, 4 + n, -1) < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }
                if (p[1].revents || p[0].revents)
                        read_output(run, max);
                if (p[2].revents || p[0].revents)
                        read_errors(run);
                if (p[0].revents)
                        return 0;
                /* The bridge first: an answer drops a connection, and its place in `p` with it. */
                r = bridge_process(&bridge, context, p + 4);
                if (r >= 0 && p[3].revents)
                        r = read_wire(context);
                if (r < 0)
                        return r;
        }
}

static int conclude(Run *run, sand_context *context, int status) {
        char text[128];

        if (run->failure == -EMSGSIZE) {
                (void) snprintf(text, sizeof(text), "The result is larger than the function's payload_max, "
                                "%llu bytes; the program was killed.",
                                (unsigned long long) context_payload_max(context));
                return context_fail_as(context, "TooLarge", text);
        }
        if (run->failure < 0)
                return run->failure;
        if (WIFSIGNALED(status)) {
                (void) snprintf(text, sizeof(text), "killed by signal %s (%s)%s", sigabbrev_np(WTERMSIG(status)) ?: "?",
                                strsignal(WTERMSIG(status)), WCOREDUMP(status) ? ", core dumped" : "");
                return context_fail(context, "Signal", text, run->tail);
        }
        if (WEXITSTATUS(status) != 0) {
                (void) snprintf(text, sizeof(text), "exited with status %d", WEXITSTATUS(status));
                return context_fail(context, "ExitStatus", text, run->tail);
        }
        return sand_reply(context, run->result ?: (const void *) "", run->size);
}

static int handle(sand_context *context, const void *event, size_t size) {
        _cleanup_(run_done) Run run = { .pidfd = -EBADF, .output = -EBADF, .errors = -EBADF };
        _cleanup_(freep) char *variables = NULL, **environment = NULL;
        const char *cgi = sand_header(context, SAND_HEADER_CGI);
        char text[256];
        int r, status;

        r = context_export(context);
        if (r >= 0 && cgi) {
                variables = strdup(cgi);
                r = variables ? cgi_environment(variables, &environment) : -ENOMEM;
        }
        if (r == -EINVAL)
                return context_fail_as(context, "BadRequest", "The variables of CGI are none.");
        if (r < 0)
                return r;
        r = run_start(&run, environment ?: environ, event, size);
        if (r == -ENOMEM)
                return r;
        if (r < 0) {
                (void) snprintf(text, sizeof(text), "Failed to execute %.128s: %s%s", program.path, strerror(-r),
                                r == -ENOEXEC ? " (no \"#!\" line?)" :
                                r == -ENOENT ? " (its interpreter is missing?)" : "");
                return context_fail(context, "ExecFailed", text, NULL);
        }
        r = run_loop(&run, context);
        bridge_reset(&bridge);
        if (r < 0)
                return r;
        /* Before it is reaped its group can't be another's: its children that share it go with it. */
        run_kill(&run);
        r = waitpid(run.pid, &status, 0) < 0 ? -errno : 0;
        run.pid = 0;
        if (r < 0)
                return r;
        return conclude(&run, context, status);
}

int main(int argc, char *argv[]) {
        static const WorkerRuntime runtime = {
                .load = load,
                .start = start,
                .handle = handle,
        };

        return worker_main(&runtime, argc, argv);
}
