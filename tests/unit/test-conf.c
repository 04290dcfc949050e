/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Settings: systemd's syntax, precedence and masking; every mistake is logged with file and line. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "conf.h"
#include "log.h"
#include "macro.h"

static struct {
        bool flag;
        unsigned port;
        uint64_t size, span;
        char *name, **list;
        char *other;
} values;

static const ConfSetting settings[] = {
        { "Gateway", "Flag", CONF_BOOL, &values.flag, .expected = "yes or no" },
        { "Gateway", "Port", CONF_UINT, &values.port, 1, 65535, "a number from 1 to 65535" },
        { "Gateway", "BodyMax", CONF_SIZE, &values.size, 1, 1 << 30, "a size up to 1G" },
        { "Gateway", "Timeout", CONF_SPAN, &values.span, .expected = "a time span" },
        { "Gateway", "Name", CONF_STRING, &values.name, .expected = "a name" },
        { "Gateway", "Listen", CONF_STRV, &values.list, .expected = "addresses" },
        { "Log", "Name", CONF_STRING, &values.other, .expected = "a name" },
};

typedef struct Directory {
        char path[64];
        int fd;
} Directory;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path);
}

static void reset(void) {
        free(values.name);
        free(values.other);
        strv_free(values.list);
        memset(&values, 0, sizeof(values));
        values.port = 8080;
}

static int setup(void **state) {
        static const char *const directories[] = {
                "etc", "run", "usr", "usr/lib", "etc/sand", "run/sand", "usr/lib/sand",
                "etc/sand/g.conf.d", "run/sand/g.conf.d", "usr/lib/sand/g.conf.d",
        };
        Directory *d = calloc(1, sizeof(Directory));

        reset();
        strcpy(d->path, "/tmp/test-conf.XXXXXX");
        if (!mkdtemp(d->path))
                return -1;
        d->fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        for (size_t i = 0; i < ELEMENTSOF(directories); i++)
                if (mkdirat(d->fd, directories[i], 0755) < 0)
                        return -1;
        *state = d;
        return 0;
}

static int teardown(void **state) {
        Directory *d = *state;

        reset();
        (void) close(d->fd);
        (void) nftw(d->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        free(d);
        return 0;
}

static void write_file(Directory *d, const char *name, const char *text, size_t size) {
        _cleanup_(closep) int fd = openat(d->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, size), size);
}

/* Runs a load and returns what was logged, to be freed. */
static char *load_logged(Directory *d, const char *name, bool file, int expected) {
        _cleanup_(freep) char *path = NULL;
        char *log = calloc(1, 65536);
        int saved, in, r;
        ssize_t n;

        in = openat(d->fd, "log", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
        assert_true(dup2(in, STDERR_FILENO) >= 0);
        assert_true(asprintf(&path, "%s/%s", d->path, name) > 0);
        r = file ? conf_load_file(path, settings, ELEMENTSOF(settings))
                 : conf_load_below(d->path, name, settings, ELEMENTSOF(settings));
        assert_true(dup2(saved, STDERR_FILENO) >= 0);
        (void) close(saved);
        n = pread(in, log, 65535, 0);
        (void) close(in);
        assert_true(n >= 0);
        if (r != expected)
                fail_msg("%s: %d, expected %d; %s", name, r, expected, log);
        return log;
}

static char *load_text(Directory *d, const char *text, int expected) {
        write_file(d, "x.conf", text, strlen(text));
        return load_logged(d, "x.conf", true, expected);
}

static void test_values(void **state) {
        _cleanup_(freep) char *log = load_text(*state,
                "# a comment = x\n; another = y\n\n[Gateway]\nFlag=yes\n  Port = 80  \nBodyMax=16M\nTimeout=1min 30s\n"
                "Name=a b; c # d\nListen=one two\nListen=\t three\n[Log]\nName=a:b=c\n", 0);

        assert_string_equal(log, "");
        assert_true(values.flag);
        assert_int_equal(values.port, 80);
        assert_int_equal(values.size, 16 << 20);
        assert_int_equal(values.span, 90 * USEC_PER_SEC);
        assert_string_equal(values.name, "a b; c # d");
        assert_int_equal(strv_length(values.list), 3);
        assert_string_equal(values.list[0], "one");
        assert_string_equal(values.list[1], "two");
        assert_string_equal(values.list[2], "three");
        assert_string_equal(values.other, "a:b=c");
}

static void test_reset_and_continuation(void **state) {
        _cleanup_(freep) char *log = load_text(*state,
                "[Gateway]\nListen=one\nListen=\nListen=two \\\n# between\n  three\\\nfour\nName=x\nName=\nPort=\\\n  90", 0);

        assert_string_equal(log, "");
        assert_int_equal(strv_length(values.list), 3);
        assert_string_equal(values.list[0], "two");
        assert_string_equal(values.list[1], "three");
        assert_string_equal(values.list[2], "four");
        assert_null(values.name);
        assert_int_equal(values.port, 90);
}

/* Each line is one mistake, is named by its number, and changes nothing. */
static void test_mistakes(void **state) {
        static const struct {
                const char *text, *log;
        } rows[] = {
                { "[Gateway]\nPort=0\n", ":2: found Port=0, expected a number from 1 to 65535" },
                { "[Gateway]\n\nPort=65536\n", ":3: found Port=65536" },
                { "[Gateway]\nPort=-1\n", "found Port=-1" },
                { "[Gateway]\nPort=1x\n", "found Port=1x" },
                { "[Gateway]\nPort=\n", "found Port=, expected" },
                { "[Gateway]\nPort=4294967297\n", "found Port=4294967297" },
                { "[Gateway]\nPort=99999999999999999999\n", "found Port=9999" },
                { "[Gateway]\nFlag=maybe\n", "found Flag=maybe, expected yes or no" },
                { "[Gateway]\nBodyMax=2G\n", "found BodyMax=2G, expected a size up to 1G" },
                { "[Gateway]\nTimeout=soon\n", "found Timeout=soon, expected a time span" },
                { "[Gateway]\nProt=80\n", ":2: found the unknown setting Prot= in section [Gateway], expected perhaps Port=" },
                { "[Gateway]\nZebraZebra=80\n", ":2: found the unknown setting ZebraZebra= in section [Gateway], ignoring" },
                { "[Log]\nPort=80\n", "found the unknown setting Port= in section [Log]" },
                { "[Gatway]\nPort=80\n", ":2: found Port= in the unknown section [Gatway], expected perhaps [Gateway]" },
                { "Port=80\n", ":1: found Port= before any section" },
                { "[Gateway\nName=x\n", ":1: found a section without ]" },
                { "[Gateway]\nPort\n", ":2: found no assignment" },
                { "[Gateway]\n=80\n", ":2: found no assignment" },
                { "[Gateway]\nPort:80\n", ":2: found no assignment" },
                { "[Gateway]\nPort:x=80\n", ":2: found a ':' before the '='" },
                { "[Gateway]\nName=a\\\nb\n\nPort=x\n", ":5: found Port=x" }, /* after a continuation */
                { "[Gateway]\nPort=x\\\ny\n", ":2: found Port=x y" },
                { "[Gateway]\nName=\033[2J\n", ":2: found a control character" },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_(freep) char *log = load_text(*state, rows[i].text, -EBADMSG);

                if (!strstr(log, rows[i].log))
                        fail_msg("%s: logged %s", rows[i].text, log);
                assert_int_equal(values.port, 8080);
                assert_false(values.flag);
                assert_int_equal(values.size, 0);
        }
}

static void test_good_beside_bad(void **state) {
        _cleanup_(freep) char *log = load_text(*state, "[Gateway]\nPort=x\nFlag=on\nNmae=x\nName=y\n", -EBADMSG);

        assert_non_null(strstr(log, ":2: found Port=x"));
        assert_non_null(strstr(log, ":4: found the unknown setting Nmae="));
        assert_true(values.flag);
        assert_string_equal(values.name, "y");
}

static void test_long_line_and_nul(void **state) {
        static const char nul[] = "[Gateway]\nName=a\0b\nFlag=yes\n";
        _cleanup_(freep) char *log = NULL, *nul_log = NULL;
        char text[1024] = "[Gateway]\nName=";
        Directory *d = *state;

        memset(text + strlen(text), 'x', 500);
        strcat(text, "\nFlag=yes\n");
        log = load_text(d, text, -EBADMSG);
        assert_non_null(strstr(log, ":2: found a line that is too long"));
        assert_null(values.name);
        assert_true(values.flag);

        reset();
        write_file(d, "x.conf", nul, sizeof(nul) - 1);
        nul_log = load_logged(d, "x.conf", true, -EBADMSG);
        assert_non_null(strstr(nul_log, ":2: found a control character"));
        assert_null(values.name);
        assert_true(values.flag);
}

static void test_longest_line(void **state) {
        _cleanup_(freep) char *log = NULL;
        char text[512] = "[Gateway]\nName=";

        memset(text + strlen(text), 'x', 197 - strlen("Name="));
        log = load_text(*state, text, 0);
        assert_string_equal(log, "");
        assert_int_equal(strlen(values.name), 197 - strlen("Name="));
}

#define CONF(d, path, text) write_file(d, path, text, strlen(text))

static void test_precedence(void **state) {
        _cleanup_(freep) char *log = NULL;
        Directory *d = *state;

        CONF(d, "usr/lib/sand/g.conf", "[Gateway]\nPort=1\nName=lib\n");
        CONF(d, "run/sand/g.conf", "[Gateway]\nPort=2\n");
        CONF(d, "etc/sand/g.conf", "[Gateway]\nPort=3\n");
        log = load_logged(d, "g.conf", false, 0);
        assert_int_equal(values.port, 3);
        assert_null(values.name); /* the file in /etc hides the others as a whole */

        /* drop-ins win over it, in the order of their names wherever they are */
        reset();
        CONF(d, "usr/lib/sand/g.conf.d/50-b.conf", "[Gateway]\nPort=50\nListen=b\n");
        CONF(d, "etc/sand/g.conf.d/10-a.conf", "[Gateway]\nPort=10\nListen=a\n");
        CONF(d, "run/sand/g.conf.d/60-c.conf", "[Gateway]\nListen=c\n");
        CONF(d, "run/sand/g.conf.d/70-no", "[Gateway]\nPort=70\n");
        CONF(d, "run/sand/g.conf.d/.80.conf", "[Gateway]\nPort=80\n");
        free(log);
        log = load_logged(d, "g.conf", false, 0);
        assert_int_equal(values.port, 50);
        assert_int_equal(strv_length(values.list), 3);
        assert_string_equal(values.list[0], "a");
        assert_string_equal(values.list[1], "b");
        assert_string_equal(values.list[2], "c");

        /* the same name in a stronger directory masks */
        reset();
        CONF(d, "etc/sand/g.conf.d/50-b.conf", "[Gateway]\nListen=B\n");
        assert_int_equal(symlinkat("/dev/null", d->fd, "etc/sand/g.conf.d/60-c.conf"), 0);
        free(log);
        log = load_logged(d, "g.conf", false, 0);
        assert_int_equal(values.port, 10);
        assert_int_equal(strv_length(values.list), 2);
        assert_string_equal(values.list[1], "B");

        /* a masked main file hides those behind it too */
        reset();
        assert_int_equal(unlinkat(d->fd, "etc/sand/g.conf", 0), 0);
        assert_int_equal(symlinkat("/dev/null", d->fd, "etc/sand/g.conf"), 0);
        assert_int_equal(unlinkat(d->fd, "etc/sand/g.conf.d/10-a.conf", 0), 0);
        free(log);
        log = load_logged(d, "g.conf", false, 0);
        assert_int_equal(values.port, 8080);
        assert_string_equal(log, "");
}

static void test_nothing_there(void **state) {
        _cleanup_(freep) char *none = load_logged(*state, "other.conf", false, 0);
        _cleanup_(freep) char *file = load_logged(*state, "etc/sand/none.conf", true, -ENOENT);
        _cleanup_(freep) char *directory = load_logged(*state, "etc/sand", true, -EBADMSG);

        assert_string_equal(none, "");
        assert_string_equal(file, "");
        assert_non_null(strstr(directory, "found no regular file"));
}

static void test_bad_drop_in(void **state) {
        _cleanup_(freep) char *log = NULL;
        Directory *d = *state;

        CONF(d, "etc/sand/g.conf.d/1.conf", "[Gateway]\nPort=x\n");
        CONF(d, "etc/sand/g.conf.d/2.conf", "[Gateway]\nFlag=yes\n");
        log = load_logged(d, "g.conf", false, -EBADMSG);
        assert_non_null(strstr(log, "/etc/sand/g.conf.d/1.conf:2: found Port=x"));
        assert_true(values.flag);
}

#define CONF_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        static const struct CMUnitTest tests[] = {
                CONF_TEST(test_values),       CONF_TEST(test_reset_and_continuation), CONF_TEST(test_mistakes),
                CONF_TEST(test_good_beside_bad), CONF_TEST(test_long_line_and_nul),   CONF_TEST(test_longest_line),
                CONF_TEST(test_precedence),   CONF_TEST(test_nothing_there),          CONF_TEST(test_bad_drop_in),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
