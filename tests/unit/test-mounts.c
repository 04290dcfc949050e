/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What an operator grants of the host's directories, what is refused of one that is there, and the ids of a mount. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "../../daemons/hostd/fs.h"
#include "../../daemons/hostd/mounts.h"
#include "mount-path.h"

static void test_paths(void **state) {
        assert_true(mount_path_within("/srv", "/"));
        assert_true(mount_path_within("/srv", "/srv"));
        assert_true(mount_path_within("/srv/a", "/srv"));
        assert_false(mount_path_within("/srva", "/srv"));
        assert_false(mount_path_within("/srv", "/srv/a"));
        assert_null(mount_host_reserved("/srv"));
        assert_null(mount_host_reserved("/var/lib/sandbox"));
        assert_string_equal(mount_host_reserved("/var/lib/sand/apps"), "/var/lib/sand");
        assert_string_equal(mount_host_reserved("/var/lib"), "/var/lib/machines");
        assert_null(mount_at_reserved("/application"));
        assert_string_equal(mount_at_reserved("/app/x"), "/app");
}

static void test_grants(void **state) {
        char *grants[] = { (char *) "/srv/inbox:rw", (char *) "/srv/data", (char *) "/mnt:ro", NULL };
        char *all[] = { (char *) "/", NULL };

        assert_true(mount_is_granted(grants, "/srv/inbox", true));
        assert_true(mount_is_granted(grants, "/srv/inbox/a/b", false));
        assert_true(mount_is_granted(grants, "/srv/data", false));
        assert_false(mount_is_granted(grants, "/srv/data", true));
        assert_false(mount_is_granted(grants, "/srv/data2", false));
        assert_false(mount_is_granted(grants, "/srv", false));
        assert_false(mount_is_granted(grants, "/mnt/a", true));
        assert_false(mount_is_granted(NULL, "/srv/data", false));
        assert_true(mount_is_granted(all, "/srv/data", false));

        for (char **g = grants; *g; g++)
                assert_true(mount_grant_is_valid(*g));
        assert_true(mount_grant_is_valid("/"));
        assert_false(mount_grant_is_valid(""));
        assert_false(mount_grant_is_valid("srv"));
        assert_false(mount_grant_is_valid("/srv/"));
        assert_false(mount_grant_is_valid("/srv/../etc"));
        assert_false(mount_grant_is_valid("/srv:wr"));
        assert_false(mount_grant_is_valid("/srv:"));
}

static char directory[] = "/tmp/test-mounts-XXXXXX";

static int set_up(void **state) {
        return mkdtemp(directory) ? 0 : -1;
}

static int tear_down(void **state) {
        return fs_remove_tree(AT_FDCWD, directory);
}

static char *inside(const char *name) {
        char *s;

        assert_true(asprintf(&s, "%s/%s", directory, name) > 0);
        return s;
}

/* NULL: nothing is wrong. Caller frees. */
static char *verdict(const char *path, bool write, char *const *grants) {
        MountSpec mount = { .host = (char *) path, .at = (char *) "/mnt/x", .write = write, .file = (char *) "sand.json",
                            .line = 7 };
        Manifest m = { .mounts = &mount, .n_mounts = 1 };
        Problems problems = {};
        char *text = NULL;

        if (mounts_check(&m, grants, &problems) < 0) {
                text = problems_to_string(&problems);
                assert_non_null(text);
                assert_non_null(startswith(text, "sand.json:7: /mounts/0/host: found "));
        }
        problems_done(&problems);
        return text;
}

static void assert_verdict(const char *path, bool write, char *const *grants, const char *expected) {
        _cleanup_(freep) char *text = verdict(path, write, grants);

        if (!expected)
                assert_null(text);
        else if (!text || !strstr(text, expected))
                fail_msg("%s: found %s, expected %s", path, text ?: "nothing wrong", expected);
}

static void test_refusals(void **state) {
        char *read_all[] = { (char *) "/", NULL }, *write_all[] = { (char *) "/:rw", NULL };
        _cleanup_(freep) char *dir = inside("dir"), *file = inside("file"), *link = inside("link"), *below = inside("link/sub");
        _cleanup_(freep) char *absent = inside("absent"), *sub = inside("dir/sub"), *line = NULL;

        assert_int_equal(mkdir(dir, 0755), 0);
        assert_int_equal(mkdir(sub, 0755), 0);
        assert_int_equal(chmod(dir, 0755), 0);
        assert_int_equal(fs_write(AT_FDCWD, file, "", 0644, (uid_t) -1, (gid_t) -1), 1);
        assert_int_equal(symlink("dir", link), 0);

        assert_verdict(dir, false, read_all, NULL);
        assert_verdict(file, false, read_all, "is none on this host, expected a directory");
        assert_verdict(absent, false, read_all, "on this host, expected a directory");
        assert_verdict(link, false, read_all, "/dir\n"); /* where it leads */
        assert_verdict(below, false, read_all, "found a symbolic link in ");

        assert_true(asprintf(&line, "AllowMounts=%s:rw\n", dir) > 0);
        assert_verdict(dir, true, read_all, "lets applications only read");
        assert_verdict(dir, true, read_all, line);
        assert_verdict(dir, false, NULL, "lets applications not have");

        assert_verdict(dir, true, write_all, "with mode 0755, expected one that its group may read and write");
        assert_int_equal(chmod(dir, 0775), 0);
        if (getuid() == 0) {
                assert_verdict(dir, true, write_all, "root:root with mode 0775");
                assert_int_equal(chown(dir, 0, 4711), 0);
                assert_verdict(dir, true, write_all, NULL);
                assert_int_equal(chmod(dir, 0710), 0);
                assert_verdict(dir, false, read_all, "root:4711 with mode 0710, expected one that its group may read");
        }
}

static void assert_map(gid_t a, gid_t b, const char *expected) {
        char map[MOUNT_GID_MAP_MAX];

        mount_gid_map(a, b, map);
        assert_string_equal(map, expected);
}

static void test_ids(void **state) {
        assert_map(5, 5, "0 0 4294967295\n");
        assert_map(100, 1001000, "0 0 100\n100 1001000 1\n101 101 1000899\n1001000 100 1\n1001001 1001001 4293966294\n");
        assert_map(1001000, 100, "0 0 100\n100 1001000 1\n101 101 1000899\n1001000 100 1\n1001001 1001001 4293966294\n");
        assert_map(1, 2, "0 0 1\n1 2 1\n2 1 1\n3 3 4294967292\n");
        assert_map(0, 4294967294, "0 4294967294 1\n1 1 4294967293\n4294967294 0 1\n");
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_paths),
                cmocka_unit_test(test_grants),
                cmocka_unit_test(test_refusals),
                cmocka_unit_test(test_ids),
        };

        return cmocka_run_group_tests(tests, set_up, tear_down);
}
