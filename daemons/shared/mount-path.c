/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mount-path.h"

#include "macro.h"

bool mount_path_is_valid(const char *s) {
        static const char refused[] = "\"'\\:;%$#";

        if (*s != '/' || strlen(s) > MOUNT_PATH_MAX)
                return false;
        for (const char *p = s; *p; p++)
                if ((unsigned char) *p <= ' ' || *p == 0x7F || strchr(refused, *p))
                        return false;
        while (*s) { /* at a slash */
                size_t l = strcspn(++s, "/");

                if (l == 0 || l > 255 || (l == 1 && s[0] == '.') || (l == 2 && s[0] == '.' && s[1] == '.'))
                        return false;
                s += l;
        }
        return true;
}

bool mount_path_within(const char *path, const char *parent) {
        const char *rest = streq(parent, "/") ? path : startswith(path, parent);

        return rest && (*rest == '\0' || *rest == '/');
}

/* What /usr, /etc and the rest of a host's own hold is in the machine, as far as it is to be; /run and /tmp are sockets
 * and files of everybody; what SAND has in /var would let an application into the others. */
const char *mount_host_reserved(const char *path) {
        static const char *const reserved[] = {
                "/boot", "/dev", "/etc", "/proc", "/run", "/sys", "/tmp", "/usr", "/var/lib/machines", "/var/lib/sand", "/var/tmp",
        };

        for (size_t i = 0; i < ELEMENTSOF(reserved); i++)
                if (mount_path_within(path, reserved[i]) || mount_path_within(reserved[i], path))
                        return reserved[i];
        return NULL;
}

const char *mount_at_reserved(const char *path) {
        static const char *const reserved[] = {
                "/.sand-app", "/app", "/bin", "/credentials", "/dev", "/etc", "/lib", "/lib64", "/proc", "/root", "/run", "/sbin", "/state",
                "/sys", "/tmp", "/usr", "/var",
        };

        for (size_t i = 0; i < ELEMENTSOF(reserved); i++)
                if (mount_path_within(path, reserved[i]))
                        return reserved[i];
        return NULL;
}
