/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Which versions there are, which one a rollback goes to, which may go. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "../../daemons/hostd/fs.h"
#include "../../daemons/hostd/version.h"

static char directory[] = "/tmp/test-versions-XXXXXX";
static Places places = PLACES_EMPTY;

/* Version N of the application "a"; its hash begins with N, too. */
static const char *name_of(unsigned n) {
        static char names[4][32];
        char *s = names[n % 4];

        (void) snprintf(s, 32, "%u-%u%0*u", n, n, n < 10 ? 11 : 10, 0U);
        return s;
}

static void make(unsigned n, bool served) {
        VersionRecord record = { .stored_usec = n, .deployed_usec = served ? n : 0, .uid = getuid(), .source = (char *) "here" };
        char path[128];

        (void) snprintf(path, sizeof(path), "a/%s", name_of(n));
        assert_int_equal(mkdirat(places.apps_fd, path, 0755), 0);
        (void) snprintf(path, sizeof(path), "a/%s.sha256", name_of(n));
        assert_true(fs_write(places.apps_fd, path, "x", 0644, (uid_t) -1, (gid_t) -1) >= 0);
        assert_int_equal(version_record_write(&places, "a", name_of(n), &record), 0);
}

static void set_current(const char *version) {
        assert_true(fs_symlink(version, places.apps_fd, "a/current") >= 0);
}

static void deploy(unsigned n) {
        _cleanup_(freep) char *before = NULL;

        (void) app_current(&places, "a", &before);
        set_current(name_of(n));
        assert_int_equal(version_note_deployed(&places, "a", name_of(n), before), 0);
}

static int set_up(void **state) {
        if (!mkdtemp(directory))
                return -1;
        places.apps_fd = open(directory, O_RDONLY|O_DIRECTORY|O_CLOEXEC);
        return places.apps_fd < 0 || getuid() != 0 ? -1 : 0;
}

static int tear_down(void **state) {
        safe_close(places.apps_fd);
        return fs_remove_tree(AT_FDCWD, directory);
}

static int begin(void **state) {
        assert_int_equal(fs_remove_tree(places.apps_fd, "a"), 0);
        return mkdirat(places.apps_fd, "a", 0755);
}

static void previous_is(unsigned n) {
        _cleanup_(freep) char *found = NULL;
        int r = version_previous(&places, "a", &found);

        if (n == 0)
                assert_int_equal(r, -ENOENT);
        else {
                assert_int_equal(r, 0);
                assert_string_equal(found, name_of(n));
        }
}

static void test_names(void **state) {
        uint64_t n = 0;

        assert_true(version_is_valid("12-0123456789ab", &n));
        assert_int_equal(n, 12);
        assert_true(version_is_valid("1-0123456789ab+89abcdef", NULL));
        assert_int_equal(version_bundle_length("1-0123456789ab+89abcdef"), 14);
        assert_int_equal(version_bundle_length("1-0123456789ab"), 14);
        assert_false(version_is_valid("1-0123456789ab+89abcde", NULL));
        assert_false(version_is_valid("1-0123456789ab+89abcdef0", NULL));
        assert_false(version_is_valid("1-0123456789ab+", NULL));
        assert_false(version_is_valid("1-0123456789a+89abcdef", NULL));
        assert_false(version_is_valid("1-0123456789abc", NULL));
        assert_false(version_is_valid("0-0123456789ab", NULL));
        assert_false(version_is_valid("1-0123456789ab.json", NULL));
        assert_false(version_is_valid("../0123456789ab", NULL));
}

static void test_back_and_on(void **state) {
        for (unsigned n = 1; n <= 3; n++) {
                make(n, true);
                deploy(n);
        }
        previous_is(2);
        deploy(2); /* back from 3 */
        previous_is(1);
        deploy(1);
        previous_is(0);
        make(4, true);
        deploy(4);
        previous_is(1); /* 2 and 3 were rolled back from */
        deploy(2); /* by name: it counts again */
        make(5, true);
        deploy(5);
        previous_is(2);
}

static void test_what_never_served_is_none(void **state) {
        _cleanup_(strv_freep) char **outdated = NULL;
        _cleanup_(freep) char *found = NULL, *text = NULL;

        make(1, true);
        make(2, false);
        make(3, true);
        deploy(3);
        previous_is(1);
        assert_int_equal(version_find(&places, "a", "2", &found), -ENOENT);
        assert_int_equal(version_list(&places, "a", &text), 0);
        assert_null(strstr(text, name_of(2)));
        assert_int_equal(version_outdated(&places, "a", 5, NULL, &outdated), 0);
        assert_int_equal(strv_length(outdated), 1);
        assert_string_equal(outdated[0], name_of(2));
}

/* What an earlier release deployed has no record. */
static void test_without_a_record(void **state) {
        VersionRecord record;
        char path[128];

        make(1, true);
        make(2, true);
        deploy(2);
        (void) snprintf(path, sizeof(path), "a/%s.json", name_of(1));
        assert_int_equal(fs_unlink(places.apps_fd, path), 1);
        previous_is(1);
        assert_int_equal(version_record_read(&places, "a", name_of(1), &record), 0);
        assert_true(record.uid == UID_INVALID && record.deployed_usec > 0);
        version_record_done(&record);
}

static void found_is(const char *wanted, unsigned n) {
        _cleanup_(freep) char *found = NULL;

        assert_int_equal(version_find(&places, "a", wanted, &found), 0);
        assert_string_equal(found, name_of(n));
}

static void test_find(void **state) {
        _cleanup_(freep) char *found = NULL, *names = NULL;

        for (unsigned n = 1; n <= 11; n++)
                make(n, true);
        deploy(11);
        found_is("1", 1);
        found_is("11", 11);
        found_is("2-", 2);
        found_is("3-3", 3);
        found_is("5000", 5);
        assert_int_equal(version_find(&places, "a", "500", &found), -ENOENT);
        found_is(name_of(4), 4);
        found_is("7-700000000000+89abcdef", 7);
        assert_int_equal(version_find(&places, "a", "1-1000000000001", &found), -ENOENT);
        assert_int_equal(version_find(&places, "a", "10000", &found), -ENOTUNIQ); /* hashes of 1 and 10 */
        assert_int_equal(version_find(&places, "a", "12", &found), -ENOENT);
        assert_int_equal(version_find(&places, "a", "", &found), -ENOENT);
        assert_int_equal(version_find(&places, "a", "+89abcdef", &found), -ENOENT);
        assert_int_equal(version_find(&places, "a", "..", &found), -ENOENT);
        assert_int_equal(version_names(&places, "a", &names), 0);
        assert_true(startswith(names, "11-110000000000 (current), 10-"));
}

static void outdated_are(unsigned keep, char *const *in_use, const char *expected) {
        _cleanup_(strv_freep) char **outdated = NULL;
        char numbers[64] = "";

        assert_int_equal(version_outdated(&places, "a", keep, in_use, &outdated), 0);
        for (char **i = outdated; i && *i; i++) {
                size_t l = strlen(numbers);
                (void) snprintf(numbers + l, sizeof(numbers) - l, "%.*s ", (int) (strchr(*i, '+') ? strlen(*i) : strcspn(*i, "-")), *i);
        }
        assert_string_equal(numbers, expected);
}

static void test_outdated(void **state) {
        char *none[] = { NULL }, *second[] = { (char *) "2-200000000000+12345678", NULL };

        for (unsigned n = 1; n <= 6; n++) {
                make(n, true);
                deploy(n);
        }
        outdated_are(2, none, "4 3 2 1 ");
        outdated_are(5, none, "1 ");
        outdated_are(2, second, "4 3 1 ");
        outdated_are(2, NULL, ""); /* it is not known what is in use */
        deploy(2); /* far back: it, and the one before it, are kept */
        outdated_are(2, none, "4 3 ");
        /* Overrides that are not the current ones go. */
        assert_int_equal(mkdirat(places.apps_fd, "a/2-200000000000+12345678", 0755), 0);
        assert_int_equal(mkdirat(places.apps_fd, "a/2-200000000000+00000000", 0755), 0);
        set_current("2-200000000000+12345678");
        outdated_are(6, none, "2-200000000000+00000000 ");
}

static void test_in_use(void **state) {
        _cleanup_(strv_freep) char **l = NULL;

        assert_int_equal(version_in_use("{\"versions\":[\"a\",\"b\"]}", &l), 0);
        assert_int_equal(strv_length(l), 2);
        l = strv_free(l);
        assert_int_equal(version_in_use("{\"versions\":[]}", &l), 0);
        assert_non_null(l);
        l = strv_free(l);
        /* a supervisor that was started before the upgrade */
        assert_int_equal(version_in_use("{\"version\":\"a\"}", &l), -ENODATA);
        assert_int_equal(version_in_use("", &l), -ENODATA);
        assert_null(l);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_names),
                cmocka_unit_test_setup(test_back_and_on, begin),
                cmocka_unit_test_setup(test_what_never_served_is_none, begin),
                cmocka_unit_test_setup(test_without_a_record, begin),
                cmocka_unit_test_setup(test_find, begin),
                cmocka_unit_test_setup(test_outdated, begin),
                cmocka_unit_test(test_in_use),
        };

        return cmocka_run_group_tests(tests, set_up, tear_down);
}
