/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "intake.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "bundle.h"
#include "fs.h"
#include "log.h"
#include "manifest.h"
#include "vendor.h"

/* A report is "ok NAME HASH\n" or "refused\nPROBLEMS". */
#define OK "ok "
#define REFUSED "refused\n"

typedef struct Intake {
        int bundle_fd, dir_fd;
} Intake;

void intake_result_done(IntakeResult *r) {
        free(r->name);
        free(r->hash);
        free(r->problems);
        *r = (IntakeResult) {};
}

int intake_parse(const char *report, IntakeResult *ret) {
        _cleanup_(intake_result_done) IntakeResult r = {};
        const char *s = startswith(report, REFUSED), *space;

        if (s) {
                r.problems = strdup(*s ? s : "The bundle is not valid.");
                if (!r.problems)
                        return -ENOMEM;
        } else {
                s = startswith(report, OK);
                space = s ? strchr(s, ' ') : NULL;
                if (!space || strcspn(space + 1, "\n") != BUNDLE_HASH_LENGTH)
                        return -EBADMSG;
                r.name = strndup(s, (size_t) (space - s));
                r.hash = strndup(space + 1, BUNDLE_HASH_LENGTH);
                if (!r.name || !r.hash)
                        return -ENOMEM;
                /* The child is not believed. */
                if (!app_name_is_valid(r.name) || strspn(r.hash, "0123456789abcdef") != BUNDLE_HASH_LENGTH)
                        return -EBADMSG;
        }
        *ret = r;
        r = (IntakeResult) {};
        return 0;
}

static int limit(int resource, rlim_t value) {
        return setrlimit(resource, &(struct rlimit) { value, value }) < 0 ? -errno : 0;
}

static int drop_privileges(uid_t uid, gid_t gid) {
        int r;

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 ||
            setresuid(uid, uid, uid) < 0)
                return -errno;
        /* A change of identity clears it. */
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
                return -errno;
        r = limit(RLIMIT_CORE, 0);
        if (r >= 0)
                r = limit(RLIMIT_CPU, INTAKE_TIMEOUT_USEC / USEC_PER_SEC);
        if (r >= 0)
                r = limit(RLIMIT_FSIZE, BUNDLE_SIZE_MAX);
        return r;
}

static void problemsp(Problems *p) {
        problems_done(p);
}

/* Everything that is wrong with it, in one go. */
static int check(const Intake *in, Problems *problems, Manifest **ret) {
        int r, q;

        r = manifest_load(in->dir_fd, true, problems, ret);
        if (r < 0 && r != -EBADMSG)
                return r;
        q = vendor_check(in->dir_fd, *ret, problems);
        if (q < 0 && q != -EBADMSG)
                return q;
        if (*ret) {
                int p = packages_check(*ret, problems);
                q = p < 0 ? p : q;
        }
        return r < 0 ? r : q;
}

/* As sand-unpack. The result is in the report; what is returned went wrong on our side. */
static int examine(int report_fd, const Intake *in) {
        _cleanup_(problemsp) Problems problems = {};
        _cleanup_(manifest_freep) Manifest *m = NULL;
        _cleanup_(freep) char *text = NULL;
        char hash[BUNDLE_HASH_LENGTH + 1];
        int r;

        (void) lseek(in->bundle_fd, 0, SEEK_SET);
        r = bundle_unpack(in->bundle_fd, in->dir_fd, &problems);
        if (r >= 0)
                r = check(in, &problems, &m);
        if (r == -EBADMSG) {
                text = problems_to_string(&problems);
                return dprintf(report_fd, REFUSED "%s", strempty(text)) < 0 ? -EIO : 0;
        }
        if (r >= 0)
                r = bundle_hash(in->dir_fd, hash);
        if (r < 0)
                return r;
        return dprintf(report_fd, OK "%s %s\n", m->name, hash) < 0 ? -EIO : 0;
}

static int wait_for(pid_t pid) {
        siginfo_t si = {};

        while (waitid(P_PID, (id_t) pid, &si, WEXITED) < 0)
                if (errno != EINTR)
                        return -errno;
        if (si.si_code != CLD_EXITED)
                return log_error_errno(EPIPE, "The bundle's reader was killed by signal %i.", si.si_status);
        return -si.si_status;
}

static int intake_main(int report_fd, void *argument) {
        const Intake *in = argument;
        const struct passwd *user;
        pid_t pid;
        int r;

        errno = 0;
        user = getpwnam(INTAKE_USER);
        if (!user)
                return log_error_errno(errno ?: ESRCH, "There is no user " INTAKE_USER "; see systemd-sysusers(8).");
        if (fchown(in->dir_fd, user->pw_uid, user->pw_gid) < 0)
                return log_error_errno(errno, "Failed to hand over the directory for the bundle: %m");

        pid = fork();
        if (pid < 0)
                return log_error_errno(errno, "Failed to fork: %m");
        if (pid == 0) {
                r = drop_privileges(user->pw_uid, user->pw_gid);
                if (r < 0)
                        log_error_errno(r, "Failed to become " INTAKE_USER ": %m");
                else
                        r = examine(report_fd, in);
                _exit(r < 0 ? MIN(-r, 255) : 0);
        }
        r = wait_for(pid);
        if (r < 0)
                return r;
        r = fs_adopt_tree(in->dir_fd);
        if (r >= 0 && fchmod(in->dir_fd, 0755) < 0)
                r = -errno;
        if (r >= 0 && syncfs(in->dir_fd) < 0)
                r = -errno;
        return r < 0 ? log_error_errno(r, "Failed to take over the unpacked bundle: %m") : 0;
}

int intake_start(sd_event *event, int bundle_fd, int dir_fd,
                 void (*done)(Task *t, int r, const char *report, void *userdata), void *userdata, Task **ret) {
        Intake in = { .bundle_fd = bundle_fd, .dir_fd = dir_fd };
        const int fds[] = { bundle_fd, dir_fd };

        return task_new(event, &(TaskSpec) {
                        .what = "reading a bundle",
                        .main = intake_main,
                        .argument = &in,
                        .fds = fds,
                        .n_fds = ELEMENTSOF(fds),
                        .timeout_usec = INTAKE_TIMEOUT_USEC,
                        .done = done,
                        .userdata = userdata,
                }, ret);
}
