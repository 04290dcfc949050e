/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* An event's bytes on an sd-bus message: the variant of protocol.h, inline or as a sealed memfd.
 * A payload that was read points into its message (or is its own mapping) and is never walked. */

#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-bus.h>

typedef struct Payload {
        sd_bus_message *message; /* kept alive: `data` (inline) or `fd` points into it; may be NULL */
        const void *data;        /* inline bytes; NULL for a memfd */
        size_t size;
        int fd;                  /* sealed memfd, owned by `message` or by whoever filled this; or -EBADF */
} Payload;

#define PAYLOAD_EMPTY ((Payload) { .fd = -EBADF })

/* Reads the variant at the message's position and takes a reference to the message. A memfd is checked
 * for its seals. -EBADMSG: not a payload; -EMSGSIZE: more than `max` bytes; -EPERM: not sealed. */
int payload_read(sd_bus_message *m, uint64_t max, Payload *ret);
int payload_append(sd_bus_message *m, const Payload *p);
/* Appends bytes: inline below SAND_MEMFD_THRESHOLD, as a fresh sealed memfd from there on. */
int payload_append_bytes(sd_bus_message *m, const void *data, size_t size);
void payload_done(Payload *p);

/* A sealed memfd with these bytes, or a negative errno. */
int memfd_new_sealed(const char *name, const void *data, size_t size);
/* 0 if all four seals are on and *ret_size is its size; -EPERM if not; -EBADMSG: no memfd. */
int memfd_check_sealed(int fd, size_t *ret_size);
/* For a reader that needs the bytes: they are mapped (memfd) or pointed to. `*ret_mapping` is what to
 * munmap() with p->size, or NULL. */
int payload_map(const Payload *p, const void **ret, void **ret_mapping);
