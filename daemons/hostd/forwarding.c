/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "forwarding.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>

#include "fs.h"
#include "log.h"
#include "network-plan.h"
#include "protocol.h"

#define FILE_PATH SAND_RUN_DIR "/forwarding"
#define FILE_SIZE_MAX (1024U * 1024U)

#define FORWARD4 "net/ipv4/ip_forward"
#define FORWARD6 "net/ipv6/conf/all/forwarding"

void forwarding_done(Forwarding *f) {
        strv_free(f->lent4);
        strv_free(f->lent6);
        strv_free(f->restore);
        *f = (Forwarding) {};
}

static int sysctl_read(const char *path, long *ret) {
        char text[32], full[PATH_MAX];
        int fd;
        ssize_t n;

        (void) snprintf(full, sizeof(full), "/proc/sys/%s", path);
        fd = open(full, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        n = read(fd, text, sizeof(text) - 1);
        safe_close(fd);
        if (n < 0)
                return -EIO;
        text[n] = 0;
        *ret = strtol(text, NULL, 10);
        return 0;
}

static int sysctl_write(const char *path, const char *value) {
        char full[PATH_MAX];
        ssize_t n;
        int fd, r;

        (void) snprintf(full, sizeof(full), "/proc/sys/%s", path);
        fd = open(full, O_WRONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        n = write(fd, value, strlen(value));
        r = n < 0 ? -errno : 0;
        safe_close(fd);
        return r;
}

/* Links of the host that are no machine's; those whose names would need quoting in a rule are nobody's. */
static int list_links(char ***ret) {
        _cleanup_(strv_freep) char **all = NULL;
        size_t n = 0;
        int r;

        r = fs_list(AT_FDCWD, "/proc/sys/net/ipv4/conf", &all);
        if (r < 0)
                return r;
        for (char **i = all; *i; i++)
                if (streq(*i, "all") || streq(*i, "default") || streq(*i, "lo") || streq(*i, NETWORK_BRIDGE) ||
                    startswith(*i, "vb-") || strpbrk(*i, "\"\\*"))
                        free(*i);
                else
                        all[n++] = *i;
        all[n] = NULL;
        *ret = TAKE_PTR(all);
        return 0;
}

static int note(Forwarding *f, const char *path, long value) {
        char *line;

        return asprintf(&line, "%s %ld", path, value) < 0 ? -ENOMEM : strv_consume(&f->restore, line);
}

/* A host that forwards does not listen to routers any more, unless it is told to all the same. */
static int note_advertisements(Forwarding *f) {
        _cleanup_(strv_freep) char **all = NULL;
        int r;

        r = fs_list(AT_FDCWD, "/proc/sys/net/ipv6/conf", &all);
        for (char **i = all; r >= 0 && i && *i; i++) {
                char path[PATH_MAX];
                long value;

                (void) snprintf(path, sizeof(path), "net/ipv6/conf/%s/accept_ra", *i);
                if (!streq(*i, NETWORK_BRIDGE) && sysctl_read(path, &value) >= 0 && value == 1)
                        r = note(f, path, value);
        }
        return r;
}

static int look(Forwarding *f) {
        long value;
        int r = 0;

        if (sysctl_read(FORWARD4, &value) >= 0 && value == 0) {
                r = note(f, FORWARD4, value);
                if (r >= 0)
                        r = list_links(&f->lent4);
        }
        if (r >= 0 && sysctl_read(FORWARD6, &value) >= 0 && value == 0) {
                r = note_advertisements(f); /* first: what depends on it is dropped by the switch */
                if (r >= 0)
                        r = note(f, FORWARD6, value);
                if (r >= 0)
                        r = list_links(&f->lent6);
        }
        return r;
}

static int parse_line(Forwarding *f, const char *line) {
        const char *value;

        if ((value = startswith(line, "lent4 ")))
                return strv_extend(&f->lent4, value);
        if ((value = startswith(line, "lent6 ")))
                return strv_extend(&f->lent6, value);
        return startswith(line, "net/") ? strv_extend(&f->restore, line) : 0;
}

static int read_file(Forwarding *f) {
        _cleanup_(freep) char *text = NULL;
        char *state = NULL;
        int r;

        r = fs_read(AT_FDCWD, FILE_PATH, FILE_SIZE_MAX, &text);
        if (r < 0)
                return r;
        f->known = true;
        for (char *line = strtok_r(text, "\n", &state); line && r >= 0; line = strtok_r(NULL, "\n", &state))
                r = parse_line(f, line);
        return r;
}

int forwarding_load(Forwarding *f) {
        int r = read_file(f);
        return r == -ENOENT ? look(f) : r;
}

static int write_file(const Forwarding *f) {
        _cleanup_(freep) char *text = NULL;
        size_t size;
        FILE *s;

        s = open_memstream(&text, &size);
        if (!s)
                return -ENOMEM;
        for (char **i = f->lent4; i && *i; i++)
                fprintf(s, "lent4 %s\n", *i);
        for (char **i = f->lent6; i && *i; i++)
                fprintf(s, "lent6 %s\n", *i);
        for (char **i = f->restore; i && *i; i++)
                fprintf(s, "%s\n", *i);
        if (fclose(s) != 0)
                return -ENOMEM;
        return fs_write(AT_FDCWD, FILE_PATH, text, 0600, 0, 0);
}

int forwarding_lend(const Forwarding *f) {
        int r;

        if (f->known)
                return 0;
        r = write_file(f);
        for (char **i = f->restore; r >= 0 && i && *i; i++) {
                _cleanup_(freep) char *path = strndup(*i, strcspn(*i, " "));
                size_t n = path ? strlen(path) : 0;

                if (!path)
                        return -ENOMEM;
                r = sysctl_write(path, n > 9 && streq(path + n - 9, "accept_ra") ? "2" : "1");
                if (r == -ENOENT) /* a link that is gone again */
                        r = 0;
        }
        return r;
}

/* In the opposite order; a link may be gone. */
int forwarding_take_back(void) {
        _cleanup_(forwarding_done) Forwarding f = {};
        int r, result = 0;

        r = read_file(&f);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        for (size_t i = strv_length(f.restore); i > 0; i--) {
                char *value = strchr(f.restore[i - 1], ' ');

                if (!value)
                        continue;
                *value++ = 0;
                r = sysctl_write(f.restore[i - 1], value);
                if (r < 0 && r != -ENOENT && result >= 0)
                        result = log_error_errno(r, "Failed to set %s back to %s: %m", f.restore[i - 1], value);
        }
        r = fs_unlink(AT_FDCWD, FILE_PATH);
        return result < 0 ? result : MIN(r, 0);
}

int forwarding_prepare_link(const char *name) {
        static const struct {
                const char *format, *value;
        } settings[] = {
                { "net/ipv4/conf/%s/forwarding", "1" },
                { "net/ipv4/conf/%s/rp_filter", "1" },
                { "net/ipv4/conf/%s/route_localnet", "0" },
                { "net/ipv4/conf/%s/send_redirects", "0" },
                { "net/ipv6/conf/%s/accept_ra", "0" },
        };

        for (size_t i = 0; i < ELEMENTSOF(settings); i++) {
                char path[128];
                int r;

                (void) snprintf(path, sizeof(path), settings[i].format, name);
                r = sysctl_write(path, settings[i].value);
                if (r < 0 && r != -ENOENT) /* without IPv6 */
                        return r;
        }
        return 0;
}
