/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sandbox.h"

#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "config.h"
#include "macro.h"
#include "protocol.h"
#include "seccomp-filters.h"

#define NOFILE_MAX 4096
#define TMP_OPTIONS "mode=1777,size=512M,nr_inodes=64k"

static int filter_load(const uint64_t *words, size_t n) {
        struct sock_fprog program = { .len = (unsigned short) n, .filter = (struct sock_filter *) words };

        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return -errno;
        return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0 ? -errno : 0;
}

/* Of the capabilities in its own user namespace PID 1 keeps what making workers takes. */
static int capabilities_keep(uint64_t keep) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[2] = {};

        for (unsigned long c = 0; c <= CAP_LAST_CAP; c++)
                if (!(keep & (UINT64_C(1) << c)) && prctl(PR_CAPBSET_DROP, c, 0, 0, 0) < 0 && errno != EINVAL)
                        return -errno;
        for (int i = 0; i < 2; i++)
                data[i].effective = data[i].permitted = (uint32_t) (keep >> (32 * i));
        return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

int sandbox_confine_supervisor(void) {
        static const uint64_t keep = (UINT64_C(1) << CAP_SYS_ADMIN) | (UINT64_C(1) << CAP_SETUID) |
                                     (UINT64_C(1) << CAP_SETGID) | (UINT64_C(1) << CAP_SETPCAP) |
                                     (UINT64_C(1) << CAP_KILL) | (UINT64_C(1) << CAP_SYS_RESOURCE) |
                                     (UINT64_C(1) << CAP_DAC_OVERRIDE) |
                                     (UINT64_C(1) << CAP_CHOWN) |    /* secrets belong to the function's user */
                                     (UINT64_C(1) << CAP_SYS_NICE); /* placement of instances, who are others */
        int r;

        /* Versions, the journal and the notify socket are the supervisor's alone. What nspawn made below for its
         * binds belongs to the host's root, /run itself to this one. */
        if (chmod("/run", 0700) < 0)
                return -errno;
        r = capabilities_keep(keep);
        if (r < 0)
                return r;
        return filter_load(machine_filter, ELEMENTSOF(machine_filter));
}

static char *own_dir(void) {
        char self[PATH_MAX];
        ssize_t n;

        n = readlink("/proc/self/exe", self, sizeof(self) - 1);
        if (n <= 0)
                return NULL;
        self[n] = 0;
        *strrchr(self, '/') = 0;
        return strdup(self);
}

/* A worker program stands beside this one: in a build directory, or installed. */
static int open_worker(const char *dir, const char *name) {
        char path[PATH_MAX];
        int fd;

        (void) snprintf(path, sizeof(path), "%s/%s", dir, name);
        fd = open(path, O_PATH | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

int sandbox_init(Sandbox *s, bool machine) {
        _cleanup_(freep) char *dir = own_dir();

        s->machine = machine;
        for (Runtime i = 0; i < _RUNTIME_MAX; i++) { /* an absent one is an error at first use */
                s->worker_fds[i] = dir ? open_worker(dir, runtime_worker(i)) : -ENOENT;
                if (s->worker_fds[i] < 0)
                        s->worker_fds[i] = open_worker(LIBEXECDIR, runtime_worker(i));
        }
        if (!machine)
                s->program_dir = TAKE_PTR(dir);
        return 0;
}

void sandbox_done(Sandbox *s) {
        for (Runtime i = 0; i < _RUNTIME_MAX; i++)
                s->worker_fds[i] = safe_close(s->worker_fds[i]);
        json_object_put(s->uids);
        s->uids = NULL;
        free(s->program_dir);
        s->program_dir = NULL;
}

int sandbox_load_uids(Sandbox *s, const char *versions_dir) {
        char path[PATH_MAX];
        json_object *o, *uids;

        (void) snprintf(path, sizeof(path), "%s/uids.json", versions_dir);
        o = json_object_from_file(path);
        if (!o)
                return errno == ENOENT ? -ENOENT : -EBADMSG;
        if (!json_object_object_get_ex(o, "functions", &uids) || !json_object_is_type(uids, json_type_object)) {
                json_object_put(o);
                return -EBADMSG;
        }
        json_object_put(s->uids);
        s->uids = json_object_get(uids);
        json_object_put(o);
        return 0;
}

static int limit(int resource, rlim_t value) {
        struct rlimit rl = { value, value };
        return setrlimit(resource, &rl) < 0 ? -errno : 0;
}

/* What the machine may have at most is nobody's to raise in here. */
static int limit_further(int resource, rlim_t value) {
        struct rlimit rl;

        if (getrlimit(resource, &rl) < 0)
                return -errno;
        return limit(resource, MIN(rl.rlim_max, value));
}

static int bind_read_only(const char *source, const char *target, unsigned long flags) {
        if (mount(source, target, NULL, MS_BIND, NULL) < 0)
                return -errno;
        return mount(NULL, target, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | flags, NULL) < 0 ? -errno : 0;
}

/* The worker's own view: its version on /app, its secrets, a /tmp that no other function shares. */
static int make_view(const char *bundle, const char *credentials) {
        int r;

        if (unshare(CLONE_NEWNS) < 0)
                return -errno;
        if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
                return -errno;
        r = bind_read_only(bundle, "/app", MS_NOSUID | MS_NODEV);
        if (r >= 0 && credentials)
                r = bind_read_only(credentials, SAND_MACHINE_CREDENTIALS_DIR, MS_NOSUID | MS_NODEV | MS_NOEXEC);
        if (r < 0)
                return r;
        if (mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, TMP_OPTIONS) < 0)
                return -errno;
        /* POSIX shared memory: counted with /tmp, and seen by this function alone. */
        if (mount("/tmp", "/dev/shm", NULL, MS_BIND, NULL) < 0 && errno != ENOENT)
                return -errno;
        /* Message queues would be written to by all functions, outside of every limit: there are none. */
        if (mount("tmpfs", "/dev/mqueue", "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV, "mode=555,size=4k") < 0 &&
            errno != ENOENT)
                return -errno;
        return 0;
}

static int become(uid_t uid) {
        static const gid_t groups[] = { SAND_APP_GID };

        for (unsigned long c = 0; c <= CAP_LAST_CAP; c++)
                if (prctl(PR_CAPBSET_DROP, c, 0, 0, 0) < 0 && errno != EINVAL)
                        return -errno;
        if (setgroups(ELEMENTSOF(groups), groups) < 0 || setresgid(SAND_APP_GID, SAND_APP_GID, SAND_APP_GID) < 0 ||
            setresuid(uid, uid, uid) < 0)
                return -errno;
        return 0;
}

int sandbox_uid(const Sandbox *s, const char *name, uid_t *ret) {
        json_object *o;
        int64_t uid;

        if (!s->uids || !json_object_object_get_ex(s->uids, name, &o))
                return -ESRCH;
        uid = json_object_get_int64(o);
        if (uid < SAND_FUNCTION_UID_FIRST || uid > SAND_FUNCTION_UID_LAST)
                return -ERANGE;
        *ret = (uid_t) uid;
        return 0;
}

static int arrange_descriptors(int channel_fd, int log_fd) {
        int null_fd;

        /* Copies above what they are moved to, so that none overwrites another. */
        channel_fd = fcntl(channel_fd, F_DUPFD_CLOEXEC, 64);
        log_fd = fcntl(log_fd, F_DUPFD_CLOEXEC, 64);
        null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (channel_fd < 0 || log_fd < 0 || null_fd < 0)
                return -errno;
        if (dup2(null_fd, STDIN_FILENO) < 0 || dup2(log_fd, STDOUT_FILENO) < 0 || dup2(log_fd, STDERR_FILENO) < 0 ||
            dup2(channel_fd, SAND_CHANNEL_FD) < 0)
                return -errno;
        return close_range(SAND_CHANNEL_FD + 1, UINT_MAX, CLOSE_RANGE_CLOEXEC) < 0 ? -errno : 0;
}

static void signals_default(void) {
        sigset_t mask;

        for (int i = 1; i < _NSIG; i++)
                (void) signal(i, SIG_DFL);
        sigemptyset(&mask);
        (void) sigprocmask(SIG_SETMASK, &mask, NULL);
}

int sandbox_exec_worker(const Sandbox *s, const FunctionSpec *spec, const char *bundle, const char *credentials,
                        char *const *environment, int channel_fd, int log_fd) {
        int worker_fd = s->worker_fds[spec->runtime], r;
        size_t n = strv_length(spec->handler);
        uid_t uid = 0;

        if (worker_fd < 0)
                return worker_fd;
        char **argv = calloc(n + 2, sizeof(char *));
        if (!argv)
                return -ENOMEM;
        argv[0] = (char *) runtime_worker(spec->runtime);
        memcpy(argv + 1, spec->handler, n * sizeof(char *));

        signals_default();
        (void) setsid();
        /* The kernel writes no core for 1, as for 0, and does not run a program for it either, which 0 lets it. */
        r = limit(RLIMIT_CORE, 1);
        if (r >= 0)
                r = limit(RLIMIT_NOFILE, NOFILE_MAX);
        if (r >= 0 && s->machine) {
                r = sandbox_uid(s, spec->name, &uid);
                if (r >= 0)
                        r = make_view(bundle, credentials);
                if (r >= 0) /* counted per uid, and each function has its own */
                        r = limit_further(RLIMIT_NPROC, spec->tasks_max);
        }
        if (r < 0)
                return r;
        if (chdir(s->machine ? "/app" : bundle) < 0)
                return -errno;
        r = arrange_descriptors(channel_fd, log_fd);
        if (r >= 0 && s->machine)
                r = become(uid);
        if (r >= 0)
                r = filter_load(function_filter, ELEMENTSOF(function_filter));
        if (r < 0)
                return r;
        (void) syscall(SYS_execveat, worker_fd, "", argv, environment, AT_EMPTY_PATH);
        return -errno;
}
