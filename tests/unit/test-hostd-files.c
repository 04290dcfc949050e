/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What hostd writes for an application: texts, durable files, the machine's root. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "../../daemons/hostd/fs.h"
#include "../../daemons/hostd/machine-root.h"
#include "../../daemons/hostd/secret.h"
#include "../../daemons/hostd/unit-files.h"

static char directory[] = "/tmp/test-hostd-XXXXXX";
static int dir_fd = -EBADF;

static int set_up(void **state) {
        if (!mkdtemp(directory))
                return -1;
        dir_fd = open(directory, O_RDONLY|O_DIRECTORY|O_CLOEXEC);
        return dir_fd < 0 ? -1 : 0;
}

static int tear_down(void **state) {
        safe_close(dir_fd);
        return fs_remove_tree(AT_FDCWD, directory);
}

static ino_t inode(const char *path) {
        struct stat st;

        assert_int_equal(fstatat(dir_fd, path, &st, AT_SYMLINK_NOFOLLOW), 0);
        return st.st_ino;
}

static void test_write_only_what_differs(void **state) {
        _cleanup_(freep) char *text = NULL;
        ino_t first;

        assert_int_equal(fs_write(dir_fd, "file", "one\n", 0644, (uid_t) -1, (gid_t) -1), 1);
        first = inode("file");
        assert_int_equal(fs_write(dir_fd, "file", "one\n", 0644, (uid_t) -1, (gid_t) -1), 0);
        assert_true(inode("file") == first);
        assert_int_equal(fs_write(dir_fd, "file", "one\n", 0600, (uid_t) -1, (gid_t) -1), 1);
        assert_int_equal(fs_write(dir_fd, "file", "one", 0600, (uid_t) -1, (gid_t) -1), 1);
        assert_int_equal(fs_write(dir_fd, "file", "other", 0600, (uid_t) -1, (gid_t) -1), 1);
        assert_int_equal(fs_read(dir_fd, "file", 100, &text), 0);
        assert_string_equal(text, "other");
        assert_false(fs_exists(dir_fd, "file.new"));
}

static void test_write_replaces_a_link(void **state) {
        _cleanup_(freep) char *text = NULL;

        assert_int_equal(fs_write(dir_fd, "target", "precious", 0600, (uid_t) -1, (gid_t) -1), 1);
        assert_int_equal(symlinkat("target", dir_fd, "link"), 0);
        assert_int_equal(fs_write(dir_fd, "link", "text", 0600, (uid_t) -1, (gid_t) -1), 1);
        assert_int_equal(fs_read(dir_fd, "target", 100, &text), 0);
        assert_string_equal(text, "precious");
        /* what a crash left in the way */
        assert_int_equal(symlinkat("target", dir_fd, "link.new"), 0);
        assert_int_equal(fs_write(dir_fd, "link", "more", 0600, (uid_t) -1, (gid_t) -1), 1);
        free(TAKE_PTR(text));
        assert_int_equal(fs_read(dir_fd, "target", 100, &text), 0);
        assert_string_equal(text, "precious");
}

static void test_read_has_bounds(void **state) {
        char *text = NULL;

        assert_int_equal(fs_read(dir_fd, "absent", 100, &text), -ENOENT);
        assert_int_equal(fs_write(dir_fd, "long", "0123456789", 0600, (uid_t) -1, (gid_t) -1), 1);
        assert_int_equal(fs_read(dir_fd, "long", 9, &text), -EFBIG);
        assert_int_equal(symlinkat("long", dir_fd, "to-long"), 0);
        assert_int_equal(fs_read(dir_fd, "to-long", 100, &text), -ELOOP);
        assert_int_equal(mkfifoat(dir_fd, "fifo", 0600), 0);
        assert_int_equal(fs_read(dir_fd, "fifo", 100, &text), -EBADMSG);
        assert_null(text);
}

static void test_symlink(void **state) {
        _cleanup_(freep) char *target = NULL;

        assert_int_equal(fs_symlink("1-a", dir_fd, "current"), 1);
        assert_int_equal(fs_symlink("1-a", dir_fd, "current"), 0);
        assert_int_equal(fs_symlink("2-b", dir_fd, "current"), 1);
        assert_int_equal(fs_readlink(dir_fd, "current", &target), 0);
        assert_string_equal(target, "2-b");
}

static void test_remove_tree_stays_inside(void **state) {
        assert_int_equal(fs_mkdir(dir_fd, "outside", 0755, getuid(), getgid()), 0);
        assert_int_equal(fs_write(dir_fd, "outside/keep", "", 0600, (uid_t) -1, (gid_t) -1), 1);
        assert_int_equal(fs_mkdir(dir_fd, "tree", 0755, getuid(), getgid()), 0);
        assert_int_equal(fs_mkdir(dir_fd, "tree/sub", 0755, getuid(), getgid()), 0);
        assert_int_equal(fs_write(dir_fd, "tree/sub/file", "", 0600, (uid_t) -1, (gid_t) -1), 1);
        assert_int_equal(symlinkat("../../outside", dir_fd, "tree/sub/out"), 0);
        assert_int_equal(fs_remove_tree(dir_fd, "tree"), 0);
        assert_false(fs_exists(dir_fd, "tree"));
        assert_true(fs_exists(dir_fd, "outside/keep"));
        assert_int_equal(fs_remove_tree(dir_fd, "tree"), 0);
        assert_int_equal(symlinkat("outside", dir_fd, "tree"), 0);
        assert_int_equal(fs_remove_tree(dir_fd, "tree"), 0);
        assert_false(fs_exists(dir_fd, "tree"));
        assert_true(fs_exists(dir_fd, "outside/keep"));
}

/* Whether `line` is a line of the text. */
static bool has_line(const char *text, const char *line) {
        size_t n = strlen(line);

        for (const char *s = text; (s = strstr(s, line)); s += n)
                if ((s == text || s[-1] == '\n') && s[n] == '\n')
                        return true;
        return false;
}

static MountSpec mounts[] = {
        { .host = (char *) "/srv/in", .at = (char *) "/mnt/in" },
        { .host = (char *) "/srv/out", .at = (char *) "/mnt/out", .write = true },
};

static void test_nspawn_file(void **state) {
        static const char *const lines[] = {
                "Parameters=/usr/lib/sand/sand-supervisord --app shop", "PrivateUsers=671088640:65536",
                "PrivateUsersOwnership=off", "Boot=no", "Private=yes", "ReadOnly=yes", "BindReadOnly=/usr",
                "BindReadOnly=/var/lib/sand/apps/shop:/run/sand/versions", "Bind=/var/lib/sand/state/shop:/state",
                "BindReadOnly=/etc/localtime", "KillSignal=SIGTERM", "NotifyReady=yes", "BindReadOnly=/run/sand/events",
        };
        _cleanup_(freep) char *text = NULL, *with_network = NULL, *with_mounts = NULL;
        Manifest m = {};

        assert_int_equal(unit_files_nspawn("shop", &m, 671088640, (char *[]) { (char *) "/etc/localtime", NULL }, &text), 0);
        assert_true(has_line(text, UNIT_FILES_MARK));
        for (size_t i = 0; i < ELEMENTSOF(lines); i++)
                assert_true(has_line(text, lines[i]));
        /* nothing of the host may be written to but the state and the manager's socket */
        for (const char *s = strstr(text, "\nBind="); s; s = strstr(s + 1, "\nBind="))
                assert_true(startswith(s, "\nBind=/var/lib/sand/state/shop:") ||
                            startswith(s, "\nBind=/run/systemd/notify:"));
        assert_null(strstr(text, "sand0"));
        assert_null(strstr(text, "/run/sand/network"));
        m.network = NETWORK_NAT;
        assert_int_equal(unit_files_nspawn("shop", &m, 671088640, NULL, &with_network), 0);
        assert_non_null(strstr(with_network, "[Network]\nPrivate=yes\nBridge=sand0\n"));
        assert_true(has_line(with_network, "BindReadOnly=/run/sand/network:/etc/sand"));
        m.mounts = mounts;
        m.n_mounts = ELEMENTSOF(mounts);
        assert_int_equal(unit_files_nspawn("shop", &m, 671088640, NULL, &with_mounts), 0);
        assert_true(has_line(with_mounts, "# /srv/in\nBindReadOnly=/run/sand/mounts/0:/mnt/in"));
        assert_true(has_line(with_mounts, "# /srv/out\nBind=/run/sand/mounts/1:/mnt/out"));
}

static void test_triggers(void **state) {
        static const TimerTrigger timer = {
                .calendar = (char *) "Mon..Fri 02:30", .target = (char *) "report", .persistent = true, .jitter_usec = 30000000,
                .index = 3,
        };
        static const PathTrigger path = { .path = (char *) "/mnt/in", .target = (char *) "f", .host = (char *) "/srv/in", .index = 0 };
        static const char *const timer_lines[] = {
                UNIT_FILES_MARK, "OnCalendar=Mon..Fri 02:30", "Persistent=yes", "RandomizedDelaySec=30000000us", "AccuracySec=1s",
                "Unit=sand-invoke@shop:report:timer-3.service", "WantedBy=sand.target", "PartOf=sand.target",
        };
        static const char *const path_lines[] = {
                UNIT_FILES_MARK, "PathChanged=/srv/in", "Unit=sand-watch@shop:f:path-0.service",
                "Wants=sand-invoke@shop:f:path-0.service", "WantedBy=sand.target", "PartOf=sand.target",
        };
        _cleanup_(freep) char *text = NULL, *watch = NULL, *name = unit_trigger_name("shop", false, 3);

        assert_string_equal(name, "sand-trigger-shop-3.timer");
        assert_int_equal(unit_files_timer("shop", &timer, &text), 0);
        for (size_t i = 0; i < ELEMENTSOF(timer_lines); i++)
                assert_true(has_line(text, timer_lines[i]));
        assert_int_equal(unit_files_path("shop", &path, &watch), 0);
        for (size_t i = 0; i < ELEMENTSOF(path_lines); i++)
                assert_true(has_line(watch, path_lines[i]));
}

static void test_dropin(void **state) {
        char *resources[] = { (char *) "MemoryMax=1G", (char *) "CPUQuota=150%", NULL };
        char *credentials[] = { (char *) "api-key", (char *) "k", NULL };
        char *evil[] = { (char *) "MemoryMax=1G\nExecStartPre=/bin/false", NULL };
        FunctionSpec functions[] = { { .timeout_usec = 3 * USEC_PER_SEC }, { .timeout_usec = 90 * USEC_PER_SEC } };
        Manifest m = { .functions = functions, .n_functions = 2, .resources = resources };
        _cleanup_(freep) char *text = NULL, *none = NULL, *endless = NULL, *secrets = NULL, *with_network = NULL,
                             *with_mounts = NULL;

        assert_int_equal(unit_files_dropin("shop", &m, 655360, &text), 0);
        assert_true(has_line(text, "[Service]"));
        assert_true(has_line(text, "MemoryMax=1G"));
        assert_true(has_line(text, "CPUQuota=150%"));
        assert_true(has_line(text, "TimeoutStopSec=120000000us"));
        m.resources = evil;
        assert_int_equal(unit_files_dropin("shop", &m, 655360, &none), -EINVAL);
        m.resources = NULL;
        functions[0].timeout_usec = USEC_INFINITY;
        assert_int_equal(unit_files_dropin("shop", &m, 655360, &endless), 0);
        assert_true(has_line(endless, "TimeoutStopSec=900000000us"));
        assert_null(strstr(text, "sand-network"));
        m.network = NETWORK_NAT;
        assert_int_equal(unit_files_dropin("shop", &m, 655360, &with_network), 0);
        assert_non_null(strstr(with_network, "[Unit]\nWants=sand-network.service\nAfter=sand-network.service\n[Service]\n"));
        m.network = NETWORK_NONE;
        assert_null(strstr(endless, "ExecStart"));
        m.mounts = mounts;
        m.n_mounts = ELEMENTSOF(mounts);
        assert_int_equal(unit_files_dropin("shop", &m, 655360, &with_mounts), 0);
        assert_non_null(strstr(with_mounts, "[Unit]\nRequiresMountsFor=/srv/in\nRequiresMountsFor=/srv/out\n[Service]\n"));
        assert_non_null(strstr(with_mounts, "\nExecStart=\nExecStart=/usr/lib/sand/sand-hostd --group=656360 --mount=/srv/in "
                                            "--mount=/srv/out:rw -- systemd-nspawn --quiet "));
        m.n_mounts = 0;
        assert_null(strstr(endless, "SAND_CREDENTIALS"));
        m.credentials = credentials;
        assert_int_equal(unit_files_dropin("shop", &m, 655360, &secrets), 0);
        assert_true(has_line(secrets, "Environment=\"SAND_CREDENTIALS=--load-credential=api-key:api-key --load-credential=k:k\""));
        assert_true(has_line(secrets, "LoadCredentialEncrypted=api-key:/var/lib/sand/secrets/shop/api-key"));
        assert_true(has_line(secrets, "LoadCredentialEncrypted=k:/var/lib/sand/secrets/shop/k"));
}

/* What is not encrypted here: the names, their files, and how much they are. */
static void test_secrets(void **state) {
        char *names[] = { (char *) "a", (char *) "b", NULL };
        _cleanup_(strv_freep) char **none = NULL, **two = NULL;
        _cleanup_(freep) char *large = malloc(1400 * 1024 + 1);
        uint64_t usec = 0;

        assert_non_null(large);
        assert_int_equal(secret_list(dir_fd, "shop", &none), 0);
        assert_int_equal(strv_length(none), 0);
        assert_int_equal(fs_mkdir(dir_fd, "shop", 0700, getuid(), getgid()), 0);
        assert_int_equal(fs_write(dir_fd, "shop/b", "x", 0600, (uid_t) -1, (gid_t) -1), 1);
        assert_int_equal(fs_write(dir_fd, "shop/a", "x", 0600, (uid_t) -1, (gid_t) -1), 1);
        assert_int_equal(fs_write(dir_fd, "shop/.new-c", "x", 0600, (uid_t) -1, (gid_t) -1), 1);
        assert_int_equal(secret_list(dir_fd, "shop", &two), 0);
        assert_int_equal(strv_length(two), 2);
        assert_string_equal(two[0], "a");
        assert_true(secret_exists(dir_fd, "shop", "a"));
        assert_false(secret_exists(dir_fd, "shop", "c"));
        assert_int_equal(secret_set_usec(dir_fd, "shop", "a", &usec), 0);
        assert_true(usec / USEC_PER_SEC + 60 > (uint64_t) time(NULL));
        assert_int_equal(secret_set_usec(dir_fd, "shop", "c", &usec), -ENOENT);

        assert_int_equal(secret_commit(dir_fd, "shop", "c"), 0);
        assert_true(secret_exists(dir_fd, "shop", "c"));
        assert_false(fs_exists(dir_fd, "shop/.new-c"));
        assert_int_equal(secret_commit(dir_fd, "shop", "c"), -ENOENT);
        assert_true(secret_exists(dir_fd, "shop", "c"));

        /* 1 MiB, in base64 */
        memset(large, 'x', 1400 * 1024);
        large[1390 * 1024] = 0;
        assert_true(secrets_fit(dir_fd, "shop", names, NULL));
        assert_int_equal(fs_write(dir_fd, "shop/.new-a", large, 0600, (uid_t) -1, (gid_t) -1), 1);
        assert_true(secrets_fit(dir_fd, "shop", names, NULL));
        assert_true(secrets_fit(dir_fd, "shop", names, "b"));
        assert_false(secrets_fit(dir_fd, "shop", names, "a"));

        assert_int_equal(secret_discard(dir_fd, "shop", "a"), 1);
        assert_true(secret_exists(dir_fd, "shop", "a"));
        assert_int_equal(secret_remove(dir_fd, "shop", "a"), 1);
        assert_int_equal(secret_remove(dir_fd, "shop", "a"), 0);
        assert_int_equal(secret_remove(dir_fd, "shop", "b"), 1);
        assert_int_equal(secret_remove(dir_fd, "shop", "c"), 1);
        assert_false(fs_exists(dir_fd, "shop"));
        assert_int_equal(secret_remove(dir_fd, "shop", "c"), 0);
}

static void test_passwd(void **state) {
        _cleanup_(freep) char *text = NULL;

        /* a function may be called root */
        assert_int_equal(machine_root_passwd("{\"functions\":{\"root\":1001,\"b\":1002}}", &text), 0);
        assert_true(has_line(text, "root:x:0:0:root:/root:/usr/sbin/nologin"));
        assert_true(has_line(text, "fn-root:x:1001:1000::/tmp:/usr/sbin/nologin"));
        assert_true(has_line(text, "fn-b:x:1002:1000::/tmp:/usr/sbin/nologin"));
}

static void test_root_of_others_is_not_touched(void **state) {
        const char *uids = "{\"functions\":{}}";

        assert_int_equal(machine_root_check(dir_fd, "none"), 0);
        assert_int_equal(fs_mkdir(dir_fd, "foreign", 0755, getuid(), getgid()), 0);
        assert_int_equal(machine_root_check(dir_fd, "foreign"), -EEXIST);
        assert_int_equal(machine_root_make(dir_fd, "foreign", 671088640, uids, NULL, false), -EEXIST);
        assert_int_equal(fs_write(dir_fd, "image.raw", "", 0600, (uid_t) -1, (gid_t) -1), 1);
        assert_int_equal(machine_root_check(dir_fd, "image"), -EEXIST);
        /* a mark with another's name is no mark */
        assert_int_equal(fs_write(dir_fd, "foreign/.sand-app", "other\n", 0600, (uid_t) -1, (gid_t) -1), 1);
        assert_int_equal(machine_root_check(dir_fd, "foreign"), -EEXIST);
}

static void test_root(void **state) {
        static const char *const there[] = {
                "usr", "proc", "sys", "dev", "run", "tmp", "app", "state", "bin", "lib64", "etc/passwd", "etc/group",
                "etc/hosts", "etc/nsswitch.conf", "etc/machine-id", "etc/ld.so.cache",
                "etc/alternatives",
        };
        _cleanup_(freep) char *id = NULL, *again = NULL;
        const char *uids = "{\"functions\":{\"a\":1001}}";
        char *etc[] = { (char *) "/etc/ld.so.cache", (char *) "/etc/alternatives", NULL };
        char path[64];
        struct stat st;

        if (getuid() != 0)
                skip();
        assert_int_equal(machine_root_make(dir_fd, "shop", 671088640, uids, etc, false), 0);
        for (size_t i = 0; i < ELEMENTSOF(there); i++) {
                (void) snprintf(path, sizeof(path), "shop/%s", there[i]);
                assert_int_equal(fstatat(dir_fd, path, &st, AT_SYMLINK_NOFOLLOW), 0);
                assert_int_equal(st.st_uid, 671088640);
        }
        assert_int_equal(fs_read(dir_fd, "shop/etc/machine-id", 100, &id), 0);
        assert_int_equal(strlen(id), 33);

        /* what was damaged is repaired, what is kept is kept */
        assert_int_equal(fs_unlink(dir_fd, "shop/bin"), 1);
        assert_int_equal(fchmodat(dir_fd, "shop/etc", 0700, 0), 0);
        assert_int_equal(machine_root_make(dir_fd, "shop", 671088640, uids, NULL, true), 0);
        assert_int_equal(fstatat(dir_fd, "shop/etc", &st, 0), 0);
        assert_int_equal(st.st_mode & 07777, 0755);
        assert_true(fs_exists(dir_fd, "shop/bin"));
        assert_int_equal(fs_read(dir_fd, "shop/etc/machine-id", 100, &again), 0);
        assert_string_equal(id, again);
        /* and the network that it has got now */
        assert_int_equal(readlinkat(dir_fd, "shop/etc/resolv.conf", path, sizeof(path)), strlen("sand/resolv.conf"));
        assert_int_equal(machine_root_make(dir_fd, "shop", 671088640, uids, NULL, false), 0);
        assert_int_equal(fstatat(dir_fd, "shop/etc/resolv.conf", &st, AT_SYMLINK_NOFOLLOW), 0);
        assert_true(S_ISREG(st.st_mode));
        assert_int_equal(machine_root_check(dir_fd, "shop"), 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_write_only_what_differs),
                cmocka_unit_test(test_write_replaces_a_link),
                cmocka_unit_test(test_read_has_bounds),
                cmocka_unit_test(test_symlink),
                cmocka_unit_test(test_remove_tree_stays_inside),
                cmocka_unit_test(test_nspawn_file),
                cmocka_unit_test(test_dropin),
                cmocka_unit_test(test_triggers),
                cmocka_unit_test(test_secrets),
                cmocka_unit_test(test_passwd),
                cmocka_unit_test(test_root_of_others_is_not_touched),
                cmocka_unit_test(test_root),
        };
        return cmocka_run_group_tests(tests, set_up, tear_down);
}
