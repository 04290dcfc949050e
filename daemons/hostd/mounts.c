/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mounts.h"

#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>

#include "fs.h"
#include "log.h"
#include "mount-path.h"
#include "path.h"
#include "protocol.h"
#include "settings.h"

/* Ids are 0 to this, less one: the last means "none". */
#define IDS 4294967295U

/* ---- what is granted ---- */

static int grant_parse(const char *s, char ret_path[static MOUNT_PATH_MAX + 1], bool *ret_write) {
        size_t l = strcspn(s, ":");

        if (l > MOUNT_PATH_MAX || (s[l] && !streq(s + l, ":ro") && !streq(s + l, ":rw")))
                return -EINVAL;
        memcpy(ret_path, s, l);
        ret_path[l] = '\0';
        *ret_write = streq(s + l, ":rw");
        return mount_path_is_valid(ret_path) || streq(ret_path, "/") ? 0 : -EINVAL;
}

bool mount_grant_is_valid(const char *s) {
        char path[MOUNT_PATH_MAX + 1];
        bool write;

        return grant_parse(s, path, &write) >= 0;
}

bool mount_is_granted(char *const *grants, const char *path, bool write) {
        char granted[MOUNT_PATH_MAX + 1];
        bool may_write;

        for (char *const *g = grants; g && *g; g++)
                if (grant_parse(*g, granted, &may_write) >= 0 && (may_write || !write) && mount_path_within(path, granted))
                        return true;
        return false;
}

/* ---- what is there ---- */

static int open_directory(const char *path) {
        _cleanup_(closep) int root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

        return root_fd < 0 ? -errno : open_beneath(root_fd, path + 1, O_PATH | O_DIRECTORY, 0, RESOLVE_NO_SYMLINKS);
}

/* root's group is nobody's to be in, not for one directory either. */
static bool is_usable(const struct stat *st, bool write) {
        mode_t need = write ? 7 : 5;

        return (st->st_gid != 0 && ((st->st_mode >> 3) & need) == need) || (st->st_mode & need) == need;
}

static const char *name_or_number(const char *name, unsigned id, char buffer[static 16]) {
        if (name)
                return name;
        (void) snprintf(buffer, 16, "%u", id);
        return buffer;
}

static void complain_usable(Problems *p, const char *pointer, const MountSpec *m, const struct stat *st) {
        const struct passwd *pw = getpwuid(st->st_uid);
        const struct group *gr = getgrgid(st->st_gid);
        char user[16], group[16];

        (void) problems_add(p, m->file, pointer, m->line, "found that %s is a directory of %s:%s with mode %04o, expected one that "
                            "its group may %s, other than root: functions are in it; see chgrp(1) and chmod(1)", m->host,
                            name_or_number(pw ? pw->pw_name : NULL, st->st_uid, user),
                            name_or_number(gr ? gr->gr_name : NULL, st->st_gid, group), st->st_mode & 07777,
                            m->write ? "read and write" : "read");
}

static void complain_open(Problems *p, const char *pointer, const MountSpec *m, int r) {
        _cleanup_(freep) char *real = NULL;

        switch (r) {
        case -ENOENT:
                (void) problems_add(p, m->file, pointer, m->line, "found no %s on this host, expected a directory", m->host);
                return;
        case -ENOTDIR:
                (void) problems_add(p, m->file, pointer, m->line, "found that %s is none on this host, expected a directory",
                                    m->host);
                return;
        case -ELOOP:
                real = realpath(m->host, NULL);
                (void) problems_add(p, m->file, pointer, m->line, "found a symbolic link in %s, expected the directory's own "
                                    "path%s%s", m->host, real ? ": " : "", strempty(real));
                return;
        default:
                (void) problems_add(p, m->file, pointer, m->line, "cannot look at %s on this host: %s", m->host, strerror(-r));
        }
}

static void check_granted(Problems *p, const char *pointer, const MountSpec *m, bool may_read) {
        (void) problems_add(p, m->file, pointer, m->line, "found %s, which this host lets applications %s, expected one that the "
                            "section [Mounts] of its /etc/sand/hostd.conf allows, as this line would: AllowMounts=%s%s", m->host,
                            may_read ? "only read" : "not have", m->host, m->write ? ":rw" : "");
}

static void check_mount(Problems *p, size_t i, const MountSpec *m, char *const *grants) {
        _cleanup_(closep) int fd = -EBADF;
        struct stat st;
        char pointer[64];

        (void) snprintf(pointer, sizeof(pointer), "/mounts/%zu/host", i);
        if (!mount_is_granted(grants, m->host, m->write)) {
                check_granted(p, pointer, m, mount_is_granted(grants, m->host, false));
                return;
        }
        fd = open_directory(m->host);
        if (fd < 0)
                complain_open(p, pointer, m, fd);
        else if (fstat(fd, &st) < 0)
                complain_open(p, pointer, m, -errno);
        else if (!is_usable(&st, m->write))
                complain_usable(p, pointer, m, &st);
}

int mounts_check(const Manifest *m, char *const *grants, Problems *problems) {
        for (size_t i = 0; i < m->n_mounts; i++)
                check_mount(problems, i, m->mounts + i, grants);
        return problems->n > 0 ? -EBADMSG : 0;
}

/* ---- a machine's ---- */

void mount_gid_map(gid_t a, gid_t b, char ret[static MOUNT_GID_MAP_MAX]) {
        gid_t low = MIN(a, b), high = MAX(a, b);
        const struct {
                gid_t on_disk, shown, n;
        } extents[] = {
                { 0, 0, low }, { low, high, 1 }, { low + 1, low + 1, high - low - 1 }, { high, low, 1 },
                { high + 1, high + 1, IDS - high - 1 },
        };
        size_t l = 0;

        if (a == b) {
                (void) snprintf(ret, MOUNT_GID_MAP_MAX, "0 0 %u\n", IDS);
                return;
        }
        for (size_t i = 0; i < ELEMENTSOF(extents); i++)
                if (extents[i].n > 0)
                        l += (size_t) snprintf(ret + l, MOUNT_GID_MAP_MAX - l, "%u %u %u\n", extents[i].on_disk, extents[i].shown,
                                               extents[i].n);
}

static int write_map(pid_t pid, const char *which, const char *text) {
        _cleanup_(closep) int fd = -EBADF;
        char path[64];

        (void) snprintf(path, sizeof(path), "/proc/%d/%s", pid, which);
        fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

static int open_namespace(pid_t pid, const char *gid_map) {
        char path[64], uid_map[32];
        int fd, r;

        (void) snprintf(uid_map, sizeof(uid_map), "0 0 %u\n", IDS);
        r = write_map(pid, "uid_map", uid_map);
        if (r >= 0)
                r = write_map(pid, "gid_map", gid_map);
        if (r < 0)
                return r;
        (void) snprintf(path, sizeof(path), "/proc/%d/ns/user", pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

/* A user namespace is what the kernel is told a mount's ids by. It takes a process to make one, which lives as long as
 * its end of the pipe is open. */
static int make_namespace(const char *gid_map) {
        _cleanup_(closep) int ours = -EBADF, its = -EBADF;
        int pair[2], r;
        char c = 0;
        pid_t pid;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                return -errno;
        ours = pair[0], its = pair[1];
        pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0) {
                ours = safe_close(ours);
                if (unshare(CLONE_NEWUSER) < 0 || write(its, &c, 1) != 1)
                        _exit(EXIT_FAILURE);
                (void) !read(its, &c, 1);
                _exit(EXIT_SUCCESS);
        }
        its = safe_close(its);
        r = read(ours, &c, 1) == 1 ? open_namespace(pid, gid_map) : -EPERM;
        ours = safe_close(ours);
        (void) waitpid(pid, NULL, 0);
        return r;
}

/* A detached copy of the mount with its ids changed, or a negative errno. */
static int clone_mount(int fd, bool write, gid_t group) {
        _cleanup_(closep) int tree_fd = -EBADF, user_fd = -EBADF;
        struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV };
        char map[MOUNT_GID_MAP_MAX];
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        mount_gid_map(st.st_gid != 0 ? st.st_gid : group, group, map);
        user_fd = make_namespace(map);
        if (user_fd < 0)
                return user_fd;
        tree_fd = open_tree(fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
        if (tree_fd < 0)
                return -errno;
        attr.userns_fd = (uint64_t) user_fd;
        if (!write)
                attr.attr_set |= MOUNT_ATTR_RDONLY;
        if (mount_setattr(tree_fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0)
                return errno == EINVAL ? -EOPNOTSUPP : -errno;
        return TAKE_FD(tree_fd);
}

/* For the journal, and for who deploys or looks at the unit. */
static _printf_(1, 2) int refuse(const char *format, ...) {
        _cleanup_(freep) char *text = NULL;
        va_list ap;
        int n;

        va_start(ap, format);
        n = vasprintf(&text, format, ap);
        va_end(ap);
        if (n < 0) {
                text = NULL;
                return log_oom();
        }
        log_error("%s", text);
        (void) sd_notifyf(false, "STATUS=%s", text);
        return -EINVAL;
}

static int refuse_errno(const char *path, int r) {
        switch (r) {
        case -ENOENT:
                return refuse("%s, which the application mounts, is not there; is its disk mounted?", path);
        case -ENOTDIR:
                return refuse("%s, which the application mounts, is no directory.", path);
        case -ELOOP:
                return refuse("%s, which the application mounts, has become a symbolic link, or is below one.", path);
        case -EOPNOTSUPP:
                return refuse("%s, which the application mounts, or what is mounted below it, is on a file system whose ids the kernel "
                              "cannot map.", path);
        default:
                return refuse("%s cannot be mounted for the application: %s", path, strerror(-r));
        }
}

static int make_mount(const char *mount, char *const *grants, gid_t group, int *ret_fd) {
        _cleanup_(closep) int fd = -EBADF;
        char path[MOUNT_PATH_MAX + 1];
        bool write;
        int r;

        if (grant_parse(mount, path, &write) < 0)
                return refuse("--mount=: found '%s', expected PATH or PATH:rw", mount);
        if (!mount_is_granted(grants, path, write))
                return refuse("%s, which the application mounts%s, is not allowed by AllowMounts= in hostd.conf (any more).", path,
                              write ? " to write to it" : "");
        fd = open_directory(path);
        r = fd < 0 ? fd : clone_mount(fd, write, group);
        if (r < 0)
                return refuse_errno(path, r);
        *ret_fd = r;
        return 0;
}

/* Here alone: nothing of it is seen by the host, and nothing is left when the machine is gone. */
static int make_place(void) {
        int r = fs_mkdir(AT_FDCWD, SAND_MOUNTS_DIR, 0700, 0, 0);

        if (r < 0)
                return r;
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ||
            mount("tmpfs", SAND_MOUNTS_DIR, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=700,size=64k") < 0)
                return -errno;
        return 0;
}

static int attach(int fd, size_t i) {
        char path[sizeof(SAND_MOUNTS_DIR) + 24];

        (void) snprintf(path, sizeof(path), SAND_MOUNTS_DIR "/%zu", i);
        if (mkdir(path, 0700) < 0 || move_mount(fd, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0)
                return -errno;
        return 0;
}

int mounts_enter(char *const *mounts, gid_t group, char *const *command) {
        _cleanup_(settings_done) Settings settings = {};
        int r;

        r = settings_load(&settings);
        if (r < 0 && r != -EBADMSG)
                return refuse("hostd.conf cannot be read: %s", strerror(-r));
        r = make_place();
        if (r < 0)
                return refuse("There is no place for the application's mounts: %s", strerror(-r));
        for (size_t i = 0; mounts[i]; i++) {
                _cleanup_(closep) int fd = -EBADF;

                r = make_mount(mounts[i], settings.mounts, group, &fd);
                if (r < 0)
                        return r;
                r = attach(fd, i);
                if (r < 0)
                        return refuse_errno(mounts[i], r);
        }
        (void) execvp(command[0], command);
        return refuse("%s cannot be started: %m", command[0]);
}
