/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "path.h"

#include <fcntl.h>
#include <sys/syscall.h>

#include "macro.h"

int open_beneath(int dir_fd, const char *path, int flags, mode_t mode, uint64_t resolve) {
        struct open_how how = {
                .flags = (uint64_t) (flags | O_CLOEXEC | (flags & O_PATH ? 0 : O_NOCTTY | O_NONBLOCK)),
                .mode = flags & O_CREAT ? mode : 0,
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | resolve,
        };

        /* EAGAIN: something was renamed while the kernel looked whether the path stays below */
        for (unsigned attempt = 0;; attempt++) {
                long fd = syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));
                if (fd >= 0)
                        return (int) fd;
                if (errno != EAGAIN || attempt >= 16)
                        return -errno;
        }
}

bool path_is_inside(const char *path) {
        if (!*path || *path == '/')
                return false;
        while (*path) {
                size_t l = strcspn(path, "/");
                if (l == 2 && path[0] == '.' && path[1] == '.')
                        return false;
                path += l;
                path += strspn(path, "/");
        }
        return true;
}
