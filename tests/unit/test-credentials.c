/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Which worker sees which secret, and that each is the old value or the new. */

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <cmocka.h>

#include "../../daemons/supervisord/credentials.h"
#include "macro.h"
#include "payload.h"
#include "protocol.h"

#define RAMFS_MAGIC 0x858458f6
#define UID 1001

static char source[] = "/tmp/test-credentials-XXXXXX";
static bool machine; /* we may do what PID 1 of a machine does */

static int set_up(void **state) {
        if (!mkdtemp(source) || setenv("CREDENTIALS_DIRECTORY", source, 1) < 0)
                return -1;
        /* A /run of our own */
        machine = geteuid() == 0 && unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
                  mount("tmpfs", "/run", "tmpfs", 0, NULL) == 0;
        return 0;
}

static int tear_down(void **state) {
        return rmdir(source);
}

static void put(const char *name, const char *value) {
        _cleanup_(freep) char *path = NULL;
        FILE *f;

        assert_true(asprintf(&path, "%s/%s", source, name) > 0);
        f = fopen(path, "we");
        assert_non_null(f);
        assert_true(fputs(value, f) >= 0);
        assert_int_equal(fclose(f), 0);
}

static void drop(const char *name) {
        _cleanup_(freep) char *path = NULL;

        assert_true(asprintf(&path, "%s/%s", source, name) > 0);
        assert_int_equal(unlink(path), 0);
}

static int set(Credentials *c, const char *name, const void *value, size_t size) {
        _cleanup_(closep) int fd = memfd_new_sealed("secret", value, size);

        assert_true(fd >= 0);
        return credentials_set(c, name, fd);
}

static void assert_value(const CredentialView *v, const char *name, const char *value, size_t size) {
        _cleanup_(freep) char *path = NULL, *found = malloc(size + 1);
        _cleanup_(closep) int fd = -EBADF;

        assert_true(asprintf(&path, "%s/%s", credentials_view_path(v), name) > 0);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(read(fd, found, size + 1), size);
        assert_memory_equal(found, value, size);
}

static bool sees(const CredentialView *v, const char *name) {
        _cleanup_(freep) char *path = NULL;

        assert_true(asprintf(&path, "%s/%s", credentials_view_path(v), name) > 0);
        return access(path, F_OK) == 0;
}

static void test_machine(void **state) {
        static char *const a[] = { (char *) "key", NULL }, *const b[] = { (char *) "key", (char *) "tls", NULL };
        CredentialView *one, *two, *three;
        const char *missing = NULL;
        struct statfs fs;
        struct stat st;
        Credentials c;
        char path[128];

        if (!machine)
                skip();
        put("key", "old");
        assert_int_equal(credentials_init(&c, true), 0);
        assert_int_equal(credentials_view_new(&c, a, UID, &one, &missing), 0);
        assert_value(one, "key", "old", 3);
        assert_int_equal(credentials_view_new(&c, b, UID + 1, &two, &missing), -ENOKEY);
        assert_string_equal(missing, "tls");

        /* a function's own, in memory, and nobody else's */
        assert_int_equal(statfs(credentials_view_path(one), &fs), 0);
        assert_int_equal(fs.f_type, RAMFS_MAGIC);
        assert_int_equal(stat(credentials_view_path(one), &st), 0);
        assert_int_equal(st.st_mode, S_IFDIR | 0500);
        assert_int_equal(st.st_uid, UID);
        (void) snprintf(path, sizeof(path), "%s/key", credentials_view_path(one));
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode, S_IFREG | 0400);
        assert_int_equal(st.st_uid, UID);

        /* what is set reaches who names it, and those that come later; any bytes */
        assert_int_equal(set(&c, "tls", "\0\xff\n", 3), 0);
        assert_false(sees(one, "tls"));
        assert_int_equal(credentials_view_new(&c, b, UID + 1, &two, &missing), 0);
        assert_value(two, "tls", "\0\xff\n", 3);
        assert_value(two, "key", "old", 3);
        assert_int_equal(set(&c, "key", "newer", 5), 0);
        assert_value(one, "key", "newer", 5);
        assert_value(two, "key", "newer", 5);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_uid, UID);
        assert_int_equal(credentials_view_new(&c, a, UID, &three, &missing), 0);
        assert_value(three, "key", "newer", 5);

        credentials_view_free(two);
        assert_int_equal(set(&c, "tls", "x", 1), 0);
        assert_int_equal(credentials_view_new(&c, b, UID + 1, &two, &missing), 0);
        assert_value(two, "tls", "x", 1);
        credentials_done(&c);
        assert_int_equal(access(path, F_OK), -1);
        assert_int_equal(umount("/run/credentials"), 0);
        drop("key");
}

static void test_bounds(void **state) {
        _cleanup_(freep) char *large = calloc(1, SAND_SECRET_SIZE_MAX + 1);
        static char *const a[] = { (char *) "key", NULL };
        const char *missing = NULL;
        CredentialView *v;
        Credentials c;

        if (!machine)
                skip();
        assert_int_equal(credentials_init(&c, true), 0);
        assert_int_equal(set(&c, "../key", "x", 1), -EINVAL);
        assert_int_equal(set(&c, ".new", "x", 1), -EINVAL);
        assert_int_equal(set(&c, "", "x", 1), -EINVAL);
        assert_int_equal(set(&c, "key", large, SAND_SECRET_SIZE_MAX), 0);
        assert_int_equal(credentials_view_new(&c, a, UID, &v, &missing), 0);
        assert_value(v, "key", large, SAND_SECRET_SIZE_MAX);
        /* what is refused leaves what was there */
        assert_int_equal(set(&c, "key", large, SAND_SECRET_SIZE_MAX + 1), -EFBIG);
        assert_value(v, "key", large, SAND_SECRET_SIZE_MAX);
        assert_int_equal(set(&c, "key", "x", 1), 0);
        assert_value(v, "key", "x", 1);
        credentials_done(&c);
        assert_int_equal(umount("/run/credentials"), 0);
}

static void test_developer(void **state) {
        static char *const a[] = { (char *) "key", NULL }, *const b[] = { (char *) "key", (char *) "tls", NULL };
        _cleanup_(freep) char *dir = NULL;
        const char *missing = NULL;
        CredentialView *one, *two;
        Credentials c;

        put("key", "old");
        put("other", "x");
        assert_int_equal(credentials_init(&c, false), 0);
        assert_int_equal(credentials_view_new(&c, a, (uid_t) -1, &one, &missing), 0);
        assert_value(one, "key", "old", 3);
        assert_false(sees(one, "other"));
        assert_int_equal(credentials_view_new(&c, b, (uid_t) -1, &two, &missing), -ENOKEY);
        assert_string_equal(missing, "tls");
        drop("key");
        put("key", "newer");
        assert_value(one, "key", "newer", 5);
        dir = strdup(c.dir);
        credentials_done(&c);
        assert_int_equal(access(dir, F_OK), -1);

        assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
        assert_int_equal(credentials_init(&c, false), 0);
        assert_int_equal(credentials_view_new(&c, a, (uid_t) -1, &one, &missing), -ENOKEY);
        credentials_done(&c);
        drop("key");
        drop("other");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_machine),
                cmocka_unit_test(test_bounds),
                cmocka_unit_test(test_developer),
        };
        return cmocka_run_group_tests(tests, set_up, tear_down);
}
