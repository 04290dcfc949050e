/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "payload.h"

#include <assert.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "macro.h"
#include "protocol.h"

#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

int memfd_check_sealed(int fd, size_t *ret_size) {
        struct stat st;
        int seals;

        seals = fcntl(fd, F_GET_SEALS);
        if (seals < 0)
                return -EBADMSG; /* not a memfd */
        if ((seals & SEALS) != SEALS)
                return -EPERM;
        if (fstat(fd, &st) < 0)
                return -errno;
        *ret_size = (size_t) st.st_size;
        return 0;
}

int memfd_new_sealed(const char *name, const void *data, size_t size) {
        _cleanup_(closep) int fd = -EBADF;
        size_t done = 0;

        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0)
                return -errno;
        while (done < size) {
                ssize_t n = write(fd, (const char *) data + done, size - done);
                if (n < 0)
                        return -errno;
                done += (size_t) n;
        }
        if (fcntl(fd, F_ADD_SEALS, SEALS) < 0)
                return -errno;
        return TAKE_FD(fd);
}

int payload_read(sd_bus_message *m, uint64_t max, Payload *ret) {
        Payload p = PAYLOAD_EMPTY;
        const char *contents;
        char type;
        int r;

        assert(m);
        assert(ret);

        r = sd_bus_message_peek_type(m, &type, &contents);
        if (r <= 0 || type != SD_BUS_TYPE_VARIANT)
                return -EBADMSG;
        r = sd_bus_message_enter_container(m, SD_BUS_TYPE_VARIANT, contents);
        if (r < 0)
                return -EBADMSG;

        if (streq(contents, "ay")) {
                r = sd_bus_message_read_array(m, 'y', &p.data, &p.size);
                if (r < 0)
                        return -EBADMSG;
        } else if (streq(contents, "h")) {
                r = sd_bus_message_read_basic(m, 'h', &p.fd);
                if (r < 0)
                        return -EBADMSG;
                r = memfd_check_sealed(p.fd, &p.size);
                if (r < 0)
                        return r;
        } else
                return -EBADMSG;

        r = sd_bus_message_exit_container(m);
        if (r < 0)
                return -EBADMSG;
        if (p.size > max)
                return -EMSGSIZE;

        p.message = sd_bus_message_ref(m);
        *ret = p;
        return 0;
}

int payload_append(sd_bus_message *m, const Payload *p) {
        int r;

        if (p->fd >= 0)
                return sd_bus_message_append(m, "v", "h", p->fd);

        r = sd_bus_message_open_container(m, 'v', "ay");
        if (r < 0)
                return r;
        r = sd_bus_message_append_array(m, 'y', p->data, p->size);
        if (r < 0)
                return r;
        return sd_bus_message_close_container(m);
}

int payload_append_bytes(sd_bus_message *m, const void *data, size_t size) {
        _cleanup_(closep) int fd = -EBADF;
        Payload p = { .data = data, .size = size, .fd = -EBADF };

        if (size >= SAND_MEMFD_THRESHOLD) {
                fd = memfd_new_sealed("sand-payload", data, size);
                if (fd < 0)
                        return fd;
                p.fd = fd;
        }
        return payload_append(m, &p);
}

void payload_done(Payload *p) {
        p->message = sd_bus_message_unref(p->message);
        *p = PAYLOAD_EMPTY;
}

int payload_map(const Payload *p, const void **ret, void **ret_mapping) {
        void *mapping;

        *ret_mapping = NULL;
        if (p->fd < 0 || p->size == 0) {
                *ret = p->data ?: "";
                return 0;
        }
        mapping = mmap(NULL, p->size, PROT_READ, MAP_PRIVATE, p->fd, 0);
        if (mapping == MAP_FAILED)
                return -errno;
        *ret = *ret_mapping = mapping;
        return 0;
}
