/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "log.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/uio.h>

static struct {
        const char *name;
        int max_level;
        bool journal; /* stderr is a stream socket: systemd reads a `<N>` prefix there */
} log_state = { .max_level = LOG_INFO };

static int level_from_string(const char *s) {
        static const char *const names[] = {
                "emerg", "alert", "crit", "err", "warning", "notice", "info", "debug",
        };

        if (isdigit((unsigned char) s[0]) && !s[1] && s[0] <= '7')
                return s[0] - '0';
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (streq(s, names[i]))
                        return (int) i;
        return -EINVAL;
}

void log_setup(const char *name) {
        struct stat st;
        const char *level = getenv("SAND_LOG_LEVEL");

        log_state.name = name;
        log_state.journal = fstat(STDERR_FILENO, &st) >= 0 && S_ISSOCK(st.st_mode);
        if (level && level_from_string(level) >= 0)
                log_state.max_level = level_from_string(level);
}

void log_set_max_level(int level) {
        log_state.max_level = level;
}

int log_get_max_level(void) {
        return log_state.max_level;
}

int log_full_errno(int level, int error, const char *format, ...) {
        char line[2048], prefix[64] = "";
        int saved = errno, n;
        va_list ap;

        error = abs(error);
        if (level > log_state.max_level)
                return -error;

        errno = error;
        va_start(ap, format);
        n = vsnprintf(line, sizeof(line), format, ap);
        va_end(ap);
        if (n >= (int) sizeof(line))
                n = sizeof(line) - 1;

        if (log_state.journal)
                (void) snprintf(prefix, sizeof(prefix), "<%d>", level);
        else if (log_state.name)
                (void) snprintf(prefix, sizeof(prefix), "%s: ", log_state.name);

        struct iovec iov[] = {
                { prefix, strlen(prefix) },
                { line, n > 0 ? (size_t) n : 0 },
                { (char *) "\n", 1 },
        };
        ssize_t ignored _unused_ = writev(STDERR_FILENO, iov, ELEMENTSOF(iov));

        errno = saved;
        return -error;
}
