/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "machine-root.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <systemd/sd-id128.h>

#include "fs.h"
#include "macro.h"
#include "protocol.h"
#include "uids.h"

/* In the root of a machine that is ours: the application's name. Belongs to the host's root. */
#define MARK ".sand-app"

static const struct {
        const char *path;
        mode_t mode;
} directories[] = {
        { "app", 0755 }, { "credentials", 0755 }, { "dev", 0755 }, { "etc", 0755 }, { "etc/sand", 0755 }, { "proc", 0555 },
        { "root", 0700 }, { "run", 0755 }, { "state", 0755 }, { "sys", 0555 }, { "tmp", 01777 }, { "usr", 0755 }, { "var", 0755 },
        { "var/lib", 0755 }, { "var/tmp", 0755 },
};

static const struct {
        const char *path, *target;
} links[] = {
        { "bin", "usr/bin" }, { "lib", "usr/lib" }, { "lib64", "usr/lib64" }, { "sbin", "usr/sbin" },
        { "var/run", "/run" },
        { "etc/os-release", "../usr/lib/os-release" },
        { "etc/mtab", "../proc/self/mounts" },
};

int machine_root_check(int machines_fd, const char *name) {
        _cleanup_(freep) char *image = NULL, *mark = NULL, *text = NULL;
        int r;

        if (asprintf(&image, "%s.raw", name) < 0 || asprintf(&mark, "%s/" MARK, name) < 0)
                return -ENOMEM;
        if (fs_exists(machines_fd, image))
                return -EEXIST;
        if (!fs_exists(machines_fd, name))
                return 0;
        r = fs_read(machines_fd, mark, 256, &text);
        if (r < 0)
                return -EEXIST;
        text[strcspn(text, "\n")] = 0;
        return streq(text, name) ? 1 : -EEXIST;
}

static int append_user(const char *name, unsigned uid, void *userdata) {
        return fprintf(userdata, "fn-%s:x:%u:%u::/tmp:/usr/sbin/nologin\n", name, uid, SAND_APP_GID) < 0 ? -ENOMEM : 0;
}

int machine_root_passwd(const char *uids, char **ret) {
        _cleanup_(freep) char *text = NULL;
        size_t size;
        int r;

        FILE *f = open_memstream(&text, &size);
        if (!f)
                return -ENOMEM;
        fputs("root:x:0:0:root:/root:/usr/sbin/nologin\n", f);
        r = function_uids_foreach(uids, append_user, f);
        fputs("nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n", f);
        if (fclose(f) != 0)
                return -ENOMEM;
        if (r < 0)
                return r;
        *ret = TAKE_PTR(text);
        return 0;
}

static int write_etc(int fd, const char *name, uid_t base, const char *file, const char *text) {
        char path[64];

        (void) snprintf(path, sizeof(path), "etc/%s", file);
        return fs_write(fd, path, text, 0644, base, base);
}

/* Kept from the first deployment on, for what takes it as the identity of an installation. */
static int write_machine_id(int fd, const char *name, uid_t base) {
        char text[SD_ID128_STRING_MAX + 1];
        sd_id128_t id;
        int r;

        if (fs_exists(fd, "etc/machine-id"))
                return 0;
        r = sd_id128_randomize(&id);
        if (r < 0)
                return r;
        sd_id128_to_string(id, text);
        strcat(text, "\n");
        return write_etc(fd, name, base, "machine-id", text);
}

static int write_generated(int fd, const char *name, uid_t base, const char *uids) {
        _cleanup_(freep) char *passwd = NULL, *group = NULL, *hosts = NULL, *hostname = NULL;
        int r;

        r = machine_root_passwd(uids, &passwd);
        if (r < 0)
                return r;
        if (asprintf(&group, "root:x:0:\ntty:x:5:\napp:x:%u:\nnogroup:x:65534:\n", SAND_APP_GID) < 0 ||
            asprintf(&hosts, "127.0.0.1 localhost %1$s\n::1 localhost %1$s\n", name) < 0 ||
            asprintf(&hostname, "%s\n", name) < 0)
                return -ENOMEM;

        const struct {
                const char *file, *text;
        } files[] = {
                { "group", group },
                { "hostname", hostname },
                { "hosts", hosts },
                { "nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n"
                                   "services: files\nprotocols: files\n" },
                { "passwd", passwd },
        };
        for (size_t i = 0; i < ELEMENTSOF(files); i++) {
                r = write_etc(fd, name, base, files[i].file, files[i].text);
                if (r < 0)
                        return r;
        }
        return write_machine_id(fd, name, base);
}

static int write_resolv(int fd, const char *name, uid_t base, bool network) {
        int r;

        if (!network)
                return write_etc(fd, name, base, "resolv.conf", "# This machine has no network.\n");
        r = fs_symlink("sand/resolv.conf", fd, "etc/resolv.conf");
        if (r < 0)
                return r;
        return fchownat(fd, "etc/resolv.conf", base, base, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int make_parents(int fd, const char *inside, uid_t base) {
        int r = 0;

        for (const char *slash = strchr(inside, '/'); r >= 0 && slash; slash = strchr(slash + 1, '/')) {
                _cleanup_(freep) char *parent = strndup(inside, (size_t) (slash - inside));
                if (!parent)
                        return -ENOMEM;
                r = fs_mkdir(fd, parent, 0755, base, base);
        }
        return r;
}

/* nspawn makes no mount point in a root that is read-only. */
static int make_mount_point(int fd, const char *path, uid_t base) {
        const char *inside = startswith(path, "/");
        struct stat st;
        int r;

        assert(inside);
        if (stat(path, &st) < 0)
                return -errno;
        r = make_parents(fd, inside, base);
        if (r < 0)
                return r;
        if (S_ISDIR(st.st_mode))
                return fs_mkdir(fd, inside, 0755, base, base);
        return fs_write(fd, inside, "", 0644, base, base);
}

static int make_skeleton(int fd, uid_t base) {
        int r;

        for (size_t i = 0; i < ELEMENTSOF(directories); i++) {
                r = fs_mkdir(fd, directories[i].path, directories[i].mode, base, base);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < ELEMENTSOF(links); i++) {
                r = fs_symlink(links[i].target, fd, links[i].path);
                if (r < 0)
                        return r;
                if (fchownat(fd, links[i].path, base, base, AT_SYMLINK_NOFOLLOW) < 0)
                        return -errno;
        }
        return 0;
}

/* The mark comes first: what has none is not ours, and what a crash left half made must stay ours. So the
 * directory is made under another name and moved into place with its mark in it. */
static int make_root(int machines_fd, const char *name, uid_t base) {
        _cleanup_(freep) char *temporary = NULL, *mark = NULL, *text = NULL;
        int r;

        if (asprintf(&temporary, ".#sand-%s", name) < 0 || asprintf(&mark, "%s/" MARK, temporary) < 0 ||
            asprintf(&text, "%s\n", name) < 0)
                return -ENOMEM;
        r = fs_mkdir(machines_fd, temporary, 0755, base, base);
        if (r < 0)
                return r;
        r = fs_write(machines_fd, mark, text, 0444, 0, 0);
        if (r < 0)
                return r;
        if (renameat2(machines_fd, temporary, machines_fd, name, RENAME_NOREPLACE) < 0)
                return -errno;
        return fs_sync_dir(machines_fd);
}

int machine_root_make(int machines_fd, const char *name, uint32_t uid_base, const char *uids,
                      char *const *etc, bool network) {
        _cleanup_(closep) int fd = -EBADF;
        int r;

        r = machine_root_check(machines_fd, name);
        if (r < 0)
                return r;
        if (r == 0) {
                r = make_root(machines_fd, name, uid_base);
                if (r < 0)
                        return r;
        }
        fd = openat(machines_fd, name, O_RDONLY|O_DIRECTORY|O_NOFOLLOW|O_CLOEXEC);
        if (fd < 0)
                return -errno;
        if (fchown(fd, uid_base, uid_base) < 0)
                return -errno;
        r = make_skeleton(fd, uid_base);
        if (r < 0)
                return r;
        r = write_generated(fd, name, uid_base, uids);
        if (r >= 0)
                r = write_resolv(fd, name, uid_base, network);
        if (r < 0)
                return r;
        for (char *const *e = etc; e && *e; e++) {
                r = make_mount_point(fd, *e, uid_base);
                if (r < 0)
                        return r;
        }
        return 0;
}

int machine_root_add_directory(int machines_fd, const char *name, uint32_t uid_base, const char *path) {
        const char *inside = startswith(path, "/");
        _cleanup_(closep) int fd = -EBADF;
        int r;

        assert(inside);
        fd = openat(machines_fd, name, O_RDONLY|O_DIRECTORY|O_NOFOLLOW|O_CLOEXEC);
        if (fd < 0)
                return -errno;
        r = make_parents(fd, inside, uid_base);
        return r < 0 ? r : fs_mkdir(fd, inside, 0755, uid_base, uid_base);
}
