/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "secret.h"

#include <assert.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "fs.h"
#include "protocol.h"

#define TIMEOUT_USEC (30 * USEC_PER_SEC)
#define NEW ".new-" /* before the name of what is not committed; no secret's name begins with a dot */

typedef struct Path {
        char text[160];
} Path;

static const char *path_of(Path *path, const char *app, const char *prefix, const char *name) {
        int n = snprintf(path->text, sizeof(path->text), "%s/%s%s", app, prefix, name);

        assert(n > 0 && (size_t) n < sizeof(path->text));
        return path->text;
}

int secret_list(int secrets_fd, const char *app, char ***ret) {
        _cleanup_(strv_freep) char **all = NULL;
        size_t n = 0;
        int r;

        r = fs_list(secrets_fd, app, &all);
        if (r == -ENOENT) {
                all = calloc(1, sizeof(char *));
                r = all ? 0 : -ENOMEM;
        }
        if (r < 0)
                return r;
        for (char **i = all; *i; i++)
                if (credential_name_is_valid(*i))
                        all[n++] = *i;
                else
                        free(*i);
        all[n] = NULL;
        *ret = TAKE_PTR(all);
        return 0;
}

int secret_set_usec(int secrets_fd, const char *app, const char *name, uint64_t *ret) {
        struct stat st;
        Path path;

        if (fstatat(secrets_fd, path_of(&path, app, "", name), &st, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        *ret = (uint64_t) st.st_mtim.tv_sec * USEC_PER_SEC + (uint64_t) st.st_mtim.tv_nsec / 1000;
        return 0;
}

static int remove_file(int secrets_fd, const char *app, const char *prefix, const char *name) {
        Path path;
        int r;

        r = fs_unlink(secrets_fd, path_of(&path, app, prefix, name));
        if (r >= 0)
                (void) unlinkat(secrets_fd, app, AT_REMOVEDIR); /* after the last one */
        return r;
}

int secret_remove(int secrets_fd, const char *app, const char *name) {
        return remove_file(secrets_fd, app, "", name);
}

int secret_discard(int secrets_fd, const char *app, const char *name) {
        return remove_file(secrets_fd, app, NEW, name);
}

typedef struct Filter {
        const char *verb, *name;
        int in_fd, out_fd;
} Filter;

/* The host's key, not the TPM: an unsealing would be part of every start of the machine, once for each secret. */
static int filter_main(int report_fd, void *argument) {
        const Filter *f = argument;
        char name[128];
        int r;

        /* The value is in its memory: no core, not even to a program (0 would let that run). */
        if (setrlimit(RLIMIT_CORE, &(struct rlimit) { 1, 1 }) < 0 || dup2(f->in_fd, STDIN_FILENO) < 0 ||
            dup2(f->out_fd, STDOUT_FILENO) < 0)
                return -errno;
        (void) snprintf(name, sizeof(name), "--name=%s", f->name);
        if (streq(f->verb, "encrypt"))
                r = execl("/usr/bin/systemd-creds", "systemd-creds", "encrypt", name, "--with-key=host", "-", "-", NULL);
        else
                r = execl("/usr/bin/systemd-creds", "systemd-creds", "decrypt", name, "-", "-", NULL);
        return r < 0 ? -errno : 0;
}

static int filter_start(sd_event *event, const Filter *f, secret_done_t done, void *userdata, Task **ret) {
        const int fds[] = { f->in_fd, f->out_fd };

        return task_new(event, &(TaskSpec) {
                        .what = "systemd-creds",
                        .main = filter_main,
                        .argument = (void *) f,
                        .fds = fds,
                        .n_fds = ELEMENTSOF(fds),
                        .timeout_usec = TIMEOUT_USEC,
                        .done = done,
                        .userdata = userdata,
                }, ret);
}

int secret_encrypt(sd_event *event, int secrets_fd, const char *app, const char *name, int value_fd, secret_done_t done,
                   void *userdata, Task **ret) {
        _cleanup_(closep) int in_fd = -EBADF, out_fd = -EBADF;
        char proc[64];
        Path path;
        int r;

        r = fs_mkdir(secrets_fd, app, 0700, 0, 0);
        if (r >= 0) /* of a crash */
                r = fs_unlink(secrets_fd, path_of(&path, app, NEW, name));
        if (r < 0)
                return r;
        out_fd = openat(secrets_fd, path.text, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (out_fd < 0)
                return -errno;
        /* The caller has the descriptor too, and with it the offset: ours is our own. */
        (void) snprintf(proc, sizeof(proc), "/proc/self/fd/%d", value_fd);
        in_fd = open(proc, O_RDONLY | O_CLOEXEC);
        if (in_fd < 0)
                return -errno;
        return filter_start(event, &(Filter) { "encrypt", name, in_fd, out_fd }, done, userdata, ret);
}

int secret_commit(int secrets_fd, const char *app, const char *name) {
        _cleanup_(closep) int app_fd = openat(secrets_fd, app, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW), fd = -EBADF;
        char from[NAME_MAX + 1];

        if (app_fd < 0)
                return -errno;
        (void) snprintf(from, sizeof(from), NEW "%s", name);
        fd = openat(app_fd, from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0 || fsync(fd) < 0 || renameat(app_fd, from, app_fd, name) < 0)
                return -errno;
        return fs_sync_dir(app_fd);
}

int secret_decrypt(sd_event *event, int secrets_fd, const char *app, const char *name, int value_fd, secret_done_t done,
                   void *userdata, Task **ret) {
        _cleanup_(closep) int in_fd = -EBADF;
        Path path;

        in_fd = openat(secrets_fd, path_of(&path, app, "", name), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (in_fd < 0)
                return -errno;
        return filter_start(event, &(Filter) { "decrypt", name, in_fd, value_fd }, done, userdata, ret);
}

bool secret_exists(int secrets_fd, const char *app, const char *name) {
        Path path;

        return fs_exists(secrets_fd, path_of(&path, app, "", name));
}

bool secrets_fit(int secrets_fd, const char *app, char *const *names, const char *incoming) {
        uint64_t total = 0;
        struct stat st;
        Path path;

        /* The size of what is encrypted is not written down; base64 bounds it closely enough from above. */
        for (char *const *n = names; n && *n; n++)
                if (fstatat(secrets_fd, path_of(&path, app, incoming && streq(*n, incoming) ? NEW : "", *n), &st,
                            AT_SYMLINK_NOFOLLOW) >= 0)
                        total += (uint64_t) st.st_size / 4 * 3 + strlen(*n);
        return total <= SAND_SECRETS_TOTAL_MAX;
}
