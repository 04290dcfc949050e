/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The worker's life: clean up what was inherited, load the function, then fork instances until the
 * supervisor closes the channel. And the instance's: serve events until the same.
 *
 * About clone(CLONE_PARENT), by which the supervisor becomes the instance's parent: libc knows nothing of
 * it, so what its fork() would do is done here. The thread's cached id is set by the kernel
 * (CLONE_CHILD_SETTID at the address that libc itself registered), the list of robust locks is registered
 * anew, and the handlers of pthread_atfork() run (atfork.h). Locks inside libc, malloc's above all, would be
 * copied as they are: the worker is single-threaded, so that none is held. Where loading a function started
 * threads that stay across the handlers, that is said in the journal. */

#include "zygote.h"

#include <assert.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <syslog.h>

#include "atfork.h"
#include "config.h"
#include "context.h"
#include "pages.h"
#include "wire.h"

#define BATCH_MAX (WIRE_FDS_MAX / 2)
#define LOAD_FAILED_WAIT_USEC (5 * USEC_PER_SEC)

typedef struct Zygote {
        const WorkerRuntime *runtime;
        ContextSettings settings;
        uint64_t memory;          /* RLIMIT_DATA of an instance; UINT64_MAX: none */
        Wire wire;
        int *tid_address;         /* libc's cache of the thread's id */
        void *robust_list;        /* and its list of robust locks */
        size_t robust_list_size;
        bool threads_checked;
        Pages pages;
        int cpu;                  /* that new instances wait on; negative: any */
} Zygote;

/* What the worker itself has to say goes to its log; there is no more to it without libsystemd. */
static void complain(int priority, const char *format, ...) _printf_(2, 3);
static void complain(int priority, const char *format, ...) {
        char text[1024];
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        (void) dprintf(STDERR_FILENO, "<%d>%s\n", priority, text);
}

int load_error(LoadError *e, int r, const char *error, const char *cause, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&e->message, format, ap) < 0)
                e->message = NULL;
        va_end(ap);
        e->error = strdup(error);
        e->cause = cause ? strdup(cause) : NULL;
        return r;
}

static void load_error_done(LoadError *e) {
        free(e->message);
        free(e->error);
        free(e->cause);
}

/* The instance */

/* Closes the descriptors of the batch, neighbours in one call. What the function's own code opened when
 * it was loaded may lie between them and stays open: it is the function's. */
static void close_batch(const WireMessage *m) {
        for (unsigned i = 0; i < m->n_fds;) {
                unsigned n = 1;

                while (i + n < m->n_fds && m->fds[i + n] == m->fds[i + n - 1] + 1)
                        n++;
                (void) close_range((unsigned) m->fds[i], (unsigned) m->fds[i] + n - 1, 0);
                i += n;
        }
}

static int limit_memory(uint64_t bytes) {
        struct rlimit limit = { .rlim_cur = bytes, .rlim_max = bytes };

        if (bytes == UINT64_MAX)
                return 0;
        return setrlimit(RLIMIT_DATA, &limit) < 0 ? -errno : 0;
}

static int instance_setup(Zygote *z, const WireMessage *fork, int socket, int log) {
        if (z->robust_list)
                (void) syscall(SYS_set_robust_list, z->robust_list, z->robust_list_size);
        if (setsid() < 0 || dup3(socket, SAND_CHANNEL_FD, O_CLOEXEC) < 0 || dup2(log, STDOUT_FILENO) < 0 ||
            dup2(log, STDERR_FILENO) < 0)
                return -errno;
        close_batch(fork);
        return limit_memory(z->memory);
}

/* The last of its preparations: what comes before runs wherever there is room. */
static void bind_to(int cpu) {
        cpu_set_t set;

        if (cpu < 0 || cpu >= CPU_SETSIZE)
                return;
        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
        (void) sched_setaffinity(0, sizeof(set), &set); /* where that fails it is free, and served all the same */
}

static int instance_serve(Zygote *z, bool learn) {
        _cleanup_(context_freep) sand_context *context = NULL;
        WireWriter out;
        Wire wire;
        int r;

        wire_init(&wire, SAND_CHANNEL_FD);
        r = context_new(&z->settings, &wire, &context);
        if (r >= 0)
                r = wire_prepare(&wire);
        if (r < 0)
                return r;
        (void) now_usec(); /* the kernel's page of the clocks is no memory that could be learned */
        bind_to(z->cpu);
        wire_signal(&wire, &out, SAND_INSTANCE_PATH, SAND_INSTANCE_INTERFACE, "Ready", "");
        r = wire_send(&wire, &out);
        if (r < 0)
                return r;

        for (;;) {
                WireMessage m;

                r = wire_receive(&wire, USEC_INFINITY, &m);
                if (r <= 0)
                        return r;
                r = context_serve(context, &m, z->runtime->handle);
                wire_message_done(&m);
                if (r < 0)
                        return r;
                if (learn)
                        pages_report(&z->pages);
                learn = false;
        }
}

static _noreturn_ void instance_main(Zygote *z, const WireMessage *fork, int socket, int log, bool learn) {
        int r;

        if (!learn)
                pages_populate(&z->pages);
        r = instance_setup(z, fork, socket, log);
        if (r >= 0) {
                atfork_child();
                if (z->runtime->after_fork_child)
                        z->runtime->after_fork_child();
                if (z->runtime->start)
                        r = z->runtime->start();
        }
        if (r >= 0)
                r = instance_serve(z, learn);
        if (r < 0 && r != -EPIPE && r != -ECONNRESET)
                complain(LOG_ERR, "Instance of %s failed: %s", strempty(z->settings.function), strerror(-r));
        (void) fflush(NULL);
        _exit(r < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* The worker */

static int fork_instance(Zygote *z, const WireMessage *m, int socket, int log, bool learn) {
        /* Not clone3(): the filter cannot see its flags, so to functions the kernel has none. */
        unsigned long flags = CLONE_PARENT | (z->tid_address ? CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID : 0);
        long pid;

#if defined(__x86_64__)
        pid = syscall(SYS_clone, flags, NULL, NULL, z->tid_address, 0UL);
#else
        pid = syscall(SYS_clone, flags, NULL, NULL, 0UL, z->tid_address);
#endif
        if (pid == 0)
                instance_main(z, m, socket, log, learn);
        return pid < 0 ? -errno : (int) pid;
}

static void check_threads(Zygote *z) {
        struct stat st;

        /* A directory has a link a subdirectory, and two of its own. */
        if (z->threads_checked || stat("/proc/self/task", &st) < 0)
                return;
        z->threads_checked = true;
        if (st.st_nlink > 3)
                complain(LOG_WARNING, "Loading function %s started %lu threads. Instances are forks and don't "
                         "have them; a lock that one of them holds stays locked there.",
                         strempty(z->settings.function), (unsigned long) st.st_nlink - 3);
}

static size_t fork_batch(Zygote *z, const WireMessage *m, const int (*pairs)[2], size_t n, int32_t *pids) {
        bool learn = pages_before_fork(&z->pages);

        /* What is in a buffer now would be printed by every instance. */
        (void) fflush(NULL);
        if (z->runtime->before_fork)
                z->runtime->before_fork();
        atfork_prepare();
        check_threads(z);
        for (size_t i = 0; i < n; i++) { /* between two forks we write to the stack only: each page costs a copy */
                pids[i] = fork_instance(z, m, pairs[i][0], pairs[i][1], learn && i == 0);
                if (i == 0)
                        pages_after_fork(&z->pages, learn);
        }
        atfork_parent();
        if (z->runtime->after_fork_parent)
                z->runtime->after_fork_parent();
        return n;
}

static int read_fork(const WireMessage *m, int *ret_cpu, int (*pairs)[2], size_t *ret_n) {
        WireReader in;
        size_t end, n = 0;
        uint32_t cpu = 0;

        wire_reader_init(&in, m);
        (void) wire_read_u32(&in, &cpu);
        if (wire_read_array(&in, 8, &end) < 0)
                return in.error;
        while (in.position < end) {
                if (n >= BATCH_MAX)
                        return -EBADMSG;
                (void) wire_read_align(&in, 8);
                (void) wire_read_fd(&in, &pairs[n][0]);
                if (wire_read_fd(&in, &pairs[n][1]) < 0)
                        return in.error;
                n++;
        }
        *ret_cpu = (int) cpu;
        *ret_n = n;
        return in.position == end ? wire_read_end(&in) : -EBADMSG;
}

static int serve_fork(Zygote *z, const WireMessage *m) {
        int pairs[BATCH_MAX][2];
        int32_t pids[BATCH_MAX];
        WireWriter out;
        size_t n = 0;
        int r;

        r = read_fork(m, &z->cpu, pairs, &n);
        if (r < 0)
                return r;
        n = fork_batch(z, m, pairs, n, pids);
        if (m->no_reply)
                return 0;
        wire_reply(&z->wire, &out, m, "ai", 0);
        wire_put_int_array(&out, pids, n);
        return wire_send(&z->wire, &out);
}

static int serve(Zygote *z) {
        for (;;) {
                WireMessage m;
                int r;

                r = wire_receive(&z->wire, USEC_INFINITY, &m);
                if (r <= 0)
                        return r;
                if (wire_message_is_call(&m, SAND_WORKER_INTERFACE, "Fork", "ia(hh)"))
                        r = serve_fork(z, &m);
                else
                        r = wire_refuse(&z->wire, &m);
                wire_message_done(&m);
                if (r < 0)
                        return r;
        }
}

/* Start */

static int parse_u64(const char *name, uint64_t fallback, uint64_t *ret) {
        const char *s = getenv(name);
        char *end;

        *ret = fallback;
        if (!s)
                return 0;
        errno = 0;
        *ret = strtoull(s, &end, 10);
        if (errno != 0 || end == s || *end || *s == '-') {
                complain(LOG_ERR, "$%s is \"%s\", expected a number of bytes.", name, s);
                return -EINVAL;
        }
        return 0;
}

/* Takes what is for the worker out of the environment, so that user code finds what is for it only. */
static int read_environment(Zygote *z) {
        static const char *const scrubbed[] = {
                SAND_ENV_CONTENT_TYPE, SAND_ENV_PAYLOAD_MAX, SAND_ENV_MEMORY, SAND_ENV_BUS, "SAND_LOG_LEVEL",
                "LD_BIND_NOW", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID", "NOTIFY_SOCKET",
                "WATCHDOG_USEC", "WATCHDOG_PID", "FDSTORE", "JOURNAL_STREAM", "INVOCATION_ID",
        };
        const char *content_type = getenv(SAND_ENV_CONTENT_TYPE);

        z->settings.app = getenv(SAND_ENV_APP);
        z->settings.function = getenv(SAND_ENV_FUNCTION);
        z->settings.version = getenv(SAND_ENV_VERSION);
        if (!isempty(content_type)) {
                z->settings.content_type = strdup(content_type);
                if (!z->settings.content_type)
                        return -ENOMEM;
        }
        if (parse_u64(SAND_ENV_PAYLOAD_MAX, SAND_PAYLOAD_HARD_MAX, &z->settings.payload_max) < 0 ||
            parse_u64(SAND_ENV_MEMORY, UINT64_MAX, &z->memory) < 0)
                return -EINVAL;
        z->settings.payload_max = MIN(z->settings.payload_max, SAND_PAYLOAD_HARD_MAX);
        for (size_t i = 0; i < ELEMENTSOF(scrubbed); i++)
                if (unsetenv(scrubbed[i]) < 0)
                        return -errno;
        return 0;
}

/* Strings that user code may replace by setenv() must not be the ones that the context hands out. */
static int keep_settings(ContextSettings *s) {
        const char **strings[] = { &s->app, &s->function, &s->version };

        for (size_t i = 0; i < ELEMENTSOF(strings); i++) {
                *strings[i] = strdup(strempty(*strings[i]));
                if (!*strings[i])
                        return -ENOMEM;
        }
        return 0;
}

/* Descriptors 0 to 3 and no others, signals as a fresh program expects them, not dumpable. */
static int clean_up(void) {
        struct sigaction action = { .sa_handler = SIG_DFL };
        sigset_t none;
        int fd;

        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (fd < 0 || dup2(fd, STDIN_FILENO) < 0)
                return -errno;
        for (int i = STDOUT_FILENO; i <= STDERR_FILENO; i++)
                if (fcntl(i, F_GETFD) < 0 && dup2(fd, i) < 0)
                        return -errno;
        if (close_range(SAND_CHANNEL_FD + 1, UINT_MAX, 0) < 0)
                return -errno;
        if (fcntl(SAND_CHANNEL_FD, F_SETFD, FD_CLOEXEC) < 0)
                return -errno;

        for (int i = 1; i < NSIG; i++)
                if (i != SIGKILL && i != SIGSTOP)
                        (void) sigaction(i, &action, NULL); /* libc keeps two for itself: -EINVAL */
        if (sigemptyset(&none) < 0 || sigprocmask(SIG_SETMASK, &none, NULL) < 0)
                return -errno;
        return prctl(PR_SET_DUMPABLE, 0) < 0 ? -errno : 0;
}

static void find_thread_state(Zygote *z) {
        void *list = NULL;
        size_t size = 0;

        /* Without CONFIG_CHECKPOINT_RESTORE in the kernel the cached id stays that of the worker; what
         * uses it (recursive and error-checking locks) works with any id that is the same throughout. */
        if (prctl(PR_GET_TID_ADDRESS, &z->tid_address) < 0)
                z->tid_address = NULL;
        if (syscall(SYS_get_robust_list, 0, &list, &size) >= 0) {
                z->robust_list = list;
                z->robust_list_size = size;
        }
}

static int report_load(Zygote *z, int error, const LoadError *e) {
        WireWriter out;
        int r;

        if (error >= 0) {
                wire_signal(&z->wire, &out, SAND_WORKER_PATH, SAND_WORKER_INTERFACE, "Loaded", "");
                return wire_send(&z->wire, &out);
        }

        wire_signal(&z->wire, &out, SAND_WORKER_PATH, SAND_WORKER_INTERFACE, "LoadFailed", "sss");
        wire_put_string(&out, e->message ?: strerror(-error));
        wire_put_string(&out, e->error ?: "LoadError");
        wire_put_string(&out, e->cause);
        r = wire_send(&z->wire, &out);
        if (r < 0)
                return r;
        /* If we closed now, the server would fail to write its answers, and give up before it reads. */
        (void) wire_wait_answers(&z->wire, usec_add(now_usec(), LOAD_FAILED_WAIT_USEC));
        return error;
}

static int worker_run(Zygote *z, int argc, char *argv[]) {
        LoadError e = {};
        int r, q;

        r = clean_up();
        if (r >= 0)
                r = read_environment(z);
        if (r >= 0)
                r = keep_settings(&z->settings);
        if (r < 0) {
                complain(LOG_ERR, "Failed to start: %s", strerror(-r));
                return r;
        }
        wire_init(&z->wire, SAND_CHANNEL_FD);

        r = z->runtime->load(argc, argv, &e);
        (void) fflush(NULL);
        q = report_load(z, r, &e);
        load_error_done(&e);
        if (r < 0)
                return r;
        if (q >= 0) {
                find_thread_state(z);
                pages_settle();
                q = serve(z);
        }
        if (q < 0 && q != -EPIPE && q != -ECONNRESET)
                complain(LOG_ERR, "Worker of %s failed: %s", z->settings.function, strerror(-q));
        return q;
}

static bool is_socket(int fd) {
        struct stat st;

        return fstat(fd, &st) >= 0 && S_ISSOCK(st.st_mode);
}

int worker_main(const WorkerRuntime *runtime, int argc, char *argv[]) {
        static Zygote z;

        assert(runtime);

        if (argc == 2 && streq(argv[1], "--version") && !is_socket(SAND_CHANNEL_FD)) {
                puts("sand " SAND_VERSION);
                return EXIT_SUCCESS;
        }
        if (argc < 2 || !is_socket(SAND_CHANNEL_FD)) {
                fprintf(stderr, "%s is started by sand-supervisord, with a function's handler as its arguments "
                        "and a socket as descriptor %d.\n", program_invocation_short_name, SAND_CHANNEL_FD);
                return 2;
        }

        z.runtime = runtime;
        /* No handlers of exit(): they are the function's, and meant for a process that served events. */
        _exit(worker_run(&z, argc, argv) < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}
