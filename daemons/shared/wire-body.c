/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The values inside a message, read and written. All that is read was sent by somebody: each length is
 * compared with what is there before it is used. */

#include "wire.h"

#include <assert.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
#ifndef MADV_COLLAPSE /* Linux 6.1 */
#define MADV_COLLAPSE 25
#endif

#define PAGE 4096U
#define HUGE_PAGE (2U * 1024U * 1024U)
#define DEPTH_MAX 32U /* of containers in a value that is skipped */

/* The length of the well-formed UTF-8 sequence at `p`, of which `left` bytes are there; 0 if it is none.
 * Ranges are those of the Unicode standard, table 3-7: no surrogates, no overlong forms. */
static size_t utf8_sequence(const uint8_t *p, size_t left) {
        uint8_t low = 0x80, high = 0xbf;
        size_t l;

        if (p[0] < 0x80)
                return 1;
        if (p[0] < 0xc2 || p[0] > 0xf4)
                return 0;
        l = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
        if (left < l)
                return 0;
        if (p[0] == 0xe0)
                low = 0xa0;
        else if (p[0] == 0xed)
                high = 0x9f;
        else if (p[0] == 0xf0)
                low = 0x90;
        else if (p[0] == 0xf4)
                high = 0x8f;
        if (p[1] < low || p[1] > high)
                return 0;
        for (size_t i = 2; i < l; i++)
                if (p[i] < 0x80 || p[i] > 0xbf)
                        return 0;
        return l;
}

static bool utf8_is_valid(const uint8_t *p, size_t size) {
        for (size_t i = 0; i < size;) {
                size_t l = p[i] < 0x80 ? 1 : utf8_sequence(p + i, size - i);
                if (l == 0)
                        return false;
                i += l;
        }
        return true;
}

/* Maps a payload to be read, where its huge pages, if it has any, can be mapped as such. */
static void *map_payload(int fd, size_t size, int flags) {
        size_t reserved = size + HUGE_PAGE, head;
        uint8_t *p, *at;

        if (size < HUGE_PAGE)
                return mmap(NULL, size, PROT_READ, flags, fd, 0);
        p = mmap(NULL, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED)
                return p;
        head = -(uintptr_t) p & (HUGE_PAGE - 1);
        at = mmap(p + head, size, PROT_READ, flags | MAP_FIXED, fd, 0);
        if (at == MAP_FAILED) {
                (void) munmap(p, reserved);
                return at;
        }
        size = (size + PAGE - 1) & ~(size_t) (PAGE - 1);
        if (head > 0)
                (void) munmap(p, head);
        if (head + size < reserved)
                (void) munmap(at + size, reserved - head - size);
        return at;
}

/* Makes the room for a large payload of huge pages: of 4 MiB, each reader then maps and looks at one a page in 20 us, not
 * in 170 to 390, and the last one frees it in 10, not in 190. A kernel that has none to give leaves the room as it is. */
static void prefer_huge_pages(int fd, size_t size) {
        size_t end = size & ~((size_t) HUGE_PAGE - 1);
        uint8_t *p;

        if (end == 0)
                return;
        for (size_t i = 0; i < end; i += HUGE_PAGE) /* where there is nothing, nothing is collapsed */
                if (pwrite(fd, "", 1, (off_t) i) != 1)
                        return;
        if (ftruncate(fd, (off_t) size) < 0)
                return;
        p = map_payload(fd, size, MAP_SHARED);
        if (p == MAP_FAILED)
                return;
        (void) madvise(p, end, MADV_COLLAPSE);
        (void) munmap(p, size);
}

int wire_memfd_new(const void *data, size_t size) {
        _cleanup_(closep) int fd = -EBADF;

        fd = memfd_create("sand-payload", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0)
                return -errno;
        prefer_huge_pages(fd, size);
        for (size_t done = 0; done < size;) {
                ssize_t n = write(fd, (const uint8_t *) data + done, size - done);
                if (n > 0)
                        done += (size_t) n;
                else if (n == 0 || errno != EINTR)
                        return n == 0 ? -EIO : -errno;
        }
        if (fcntl(fd, F_ADD_SEALS, SEALS) < 0)
                return -errno;
        return TAKE_FD(fd);
}

int wire_memfd_check(int fd, size_t *ret_size) {
        struct stat st;
        int seals;

        seals = fcntl(fd, F_GET_SEALS);
        if (seals < 0)
                return -EBADMSG; /* no memfd */
        if ((seals & SEALS) != SEALS)
                return -EPERM;
        if (fstat(fd, &st) < 0)
                return -errno;
        *ret_size = (size_t) st.st_size;
        return 0;
}

/* Reading */

void wire_reader_init(WireReader *r, const WireMessage *m) {
        *r = (WireReader) {
                .message = m,
                .data = m->body,
                .size = m->body_size,
                .swap = m->swap,
        };
}

/* The next `n` bytes after padding, or NULL. */
static const uint8_t *take(WireReader *r, size_t alignment, size_t n) {
        const uint8_t *p;

        if (wire_read_align(r, alignment) < 0)
                return NULL;
        if (r->size - r->position < n) {
                r->error = -EBADMSG;
                return NULL;
        }
        p = r->data + r->position;
        r->position += n;
        return p;
}

int wire_read_align(WireReader *r, size_t alignment) {
        size_t to = (r->position + alignment - 1) & ~(alignment - 1);

        if (r->error < 0)
                return r->error;
        if (to > r->size)
                return r->error = -EBADMSG;
        r->position = to;
        return 0;
}

int wire_read_byte(WireReader *r, uint8_t *ret) {
        const uint8_t *p = take(r, 1, 1);

        if (!p)
                return r->error;
        *ret = *p;
        return 0;
}

int wire_read_u32(WireReader *r, uint32_t *ret) {
        const uint8_t *p = take(r, 4, sizeof(uint32_t));
        uint32_t v;

        if (!p)
                return r->error;
        memcpy(&v, p, sizeof(v));
        *ret = r->swap ? __builtin_bswap32(v) : v;
        return 0;
}

int wire_read_u64(WireReader *r, uint64_t *ret) {
        const uint8_t *p = take(r, 8, sizeof(uint64_t));
        uint64_t v;

        if (!p)
                return r->error;
        memcpy(&v, p, sizeof(v));
        *ret = r->swap ? __builtin_bswap64(v) : v;
        return 0;
}

/* `l` bytes without a zero, then a zero. */
static int read_chars(WireReader *r, size_t l, const char **ret) {
        const uint8_t *p = take(r, 1, l + 1);

        if (!p)
                return r->error;
        if (memchr(p, 0, l + 1) != p + l || !utf8_is_valid(p, l))
                return r->error = -EBADMSG;
        *ret = (const char *) p;
        return 0;
}

int wire_read_string(WireReader *r, const char **ret) {
        uint32_t l = 0;

        if (wire_read_u32(r, &l) < 0)
                return r->error;
        return read_chars(r, l, ret);
}

int wire_read_signature(WireReader *r, const char **ret) {
        uint8_t l = 0;

        if (wire_read_byte(r, &l) < 0)
                return r->error;
        return read_chars(r, l, ret);
}

int wire_read_fd(WireReader *r, int *ret) {
        uint32_t i;

        if (wire_read_u32(r, &i) < 0)
                return r->error;
        if (i >= r->message->n_fds)
                return r->error = -EBADMSG;
        *ret = r->message->fds[i];
        return 0;
}

int wire_read_array(WireReader *r, size_t alignment, size_t *ret_end) {
        uint32_t l;

        if (wire_read_u32(r, &l) < 0 || wire_read_align(r, alignment) < 0)
                return r->error;
        if (r->size - r->position < l)
                return r->error = -EBADMSG;
        *ret_end = r->position + l;
        return 0;
}

int wire_read_headers(WireReader *r, const char ***ret, size_t *ret_n) {
        _cleanup_(freep) const char **list = NULL;
        size_t end, n = 0, allocated = 0;

        if (wire_read_array(r, 8, &end) < 0)
                return r->error;
        while (r->position < end) {
                if (n == allocated) {
                        const char **grown;

                        allocated = allocated > 0 ? allocated * 2 : 8;
                        grown = reallocarray(list, allocated, 2 * sizeof(char *));
                        if (!grown)
                                return r->error = -ENOMEM;
                        list = grown;
                }
                (void) wire_read_align(r, 8);
                (void) wire_read_string(r, list + 2 * n);
                if (wire_read_string(r, list + 2 * n + 1) < 0)
                        return r->error;
                n++;
        }
        if (r->position != end)
                return r->error = -EBADMSG;
        *ret = TAKE_PTR(list);
        *ret_n = n;
        return 0;
}

static int read_memfd(WireReader *r, size_t *ret_size, int *ret_fd) {
        size_t size;
        int fd, q;

        if (wire_read_fd(r, &fd) < 0)
                return r->error;
        q = wire_memfd_check(fd, &size);
        if (q < 0)
                return r->error = q;
        *ret_size = size;
        *ret_fd = fd;
        return 0;
}

int wire_read_payload_raw(WireReader *r, uint64_t max, const void **ret_data, size_t *ret_size, int *ret_fd) {
        const void *data = NULL;
        const char *signature;
        size_t end, size = 0;
        int fd = -EBADF;

        if (wire_read_signature(r, &signature) < 0)
                return r->error;
        if (streq(signature, "h")) {
                if (read_memfd(r, &size, &fd) < 0)
                        return r->error;
        } else if (streq(signature, "ay")) {
                if (wire_read_array(r, 1, &end) < 0)
                        return r->error;
                data = r->data + r->position;
                size = end - r->position;
                r->position = end;
        } else
                return r->error = -EBADMSG;
        if (size > max)
                return r->error = -EMSGSIZE;
        *ret_data = data;
        *ret_size = size;
        *ret_fd = fd;
        return 0;
}

int wire_read_payload(WireReader *r, uint64_t max, WirePayload *ret) {
        WirePayload p = { .data = "", .fd = -EBADF };
        const void *data;
        int fd;

        if (wire_read_payload_raw(r, max, &data, &p.size, &fd) < 0)
                return r->error;
        if (fd < 0)
                p.data = data;
        else if (p.size > 0) {
                p.mapping = map_payload(fd, p.size, MAP_PRIVATE | MAP_POPULATE);
                if (p.mapping == MAP_FAILED)
                        return r->error = -errno;
                p.data = p.mapping;
                p.fd = fd;
        }
        *ret = p;
        return 0;
}

void wire_payload_done(WirePayload *p) {
        if (p->mapping)
                (void) munmap(p->mapping, p->size);
        *p = (WirePayload) { .data = "", .fd = -EBADF };
}

int wire_read_end(const WireReader *r) {
        if (r->error < 0)
                return r->error;
        return r->position == r->size ? 0 : -EBADMSG;
}

/* Skipping: header fields that nobody here knows may be of any type. */

static size_t type_alignment(char type) {
        switch (type) {
        case 'n':
        case 'q':
                return 2;
        case 'b':
        case 'i':
        case 'u':
        case 'h':
        case 's':
        case 'o':
        case 'a':
                return 4;
        case 'x':
        case 't':
        case 'd':
        case '(':
        case '{':
                return 8;
        default:
                return 1;
        }
}

/* Where the complete type at `s` ends; NULL: it is none. */
static const char *type_end(const char *s, unsigned depth) {
        if (!*s || depth == 0)
                return NULL;
        if (*s == 'a')
                return type_end(s + 1, depth - 1);
        if (*s == '(' || *s == '{') {
                char close = *s == '(' ? ')' : '}';

                s++;
                do
                        s = type_end(s, depth - 1);
                while (s && *s && *s != close);
                return s && *s ? s + 1 : NULL;
        }
        return strchr("ybnqiuxtdhsogv", *s) ? s + 1 : NULL;
}

static int skip(WireReader *r, const char **signature, unsigned depth) {
        const char *type = *signature, *after = type_end(type, depth), *s;
        size_t end;

        if (!after)
                return r->error = -EBADMSG;
        *signature = after;

        switch (*type) {
        case 's':
        case 'o':
                return wire_read_string(r, &s);
        case 'g':
                return wire_read_signature(r, &s);
        case 'v':
                if (wire_read_signature(r, &s) < 0 || skip(r, &s, depth - 1) < 0)
                        return r->error;
                return *s ? (r->error = -EBADMSG) : 0;
        case 'a':
                if (wire_read_array(r, type_alignment(type[1]), &end) < 0)
                        return r->error;
                while (r->position < end) {
                        s = type + 1;
                        if (skip(r, &s, depth - 1) < 0)
                                return r->error;
                }
                return r->position == end ? 0 : (r->error = -EBADMSG);
        case '(':
        case '{':
                if (wire_read_align(r, 8) < 0)
                        return r->error;
                for (s = type + 1; s < after - 1;)
                        if (skip(r, &s, depth - 1) < 0)
                                return r->error;
                return 0;
        default: /* the others are as long as they are aligned */
                return take(r, type_alignment(*type), type_alignment(*type)) ? 0 : r->error;
        }
}

int wire_skip(WireReader *r, const char **signature) {
        return r->error < 0 ? r->error : skip(r, signature, DEPTH_MAX);
}

/* Writing */

/* Room for `n` more bytes after padding, which is zeroed; NULL after a failure. */
static uint8_t *room(WireWriter *out, size_t alignment, size_t n) {
        size_t at = (out->size + alignment - 1) & ~(alignment - 1);
        uint8_t *grown;

        if (out->error < 0)
                return NULL;
        if (n > WIRE_HEADER_MAX || at + n > WIRE_HEADER_MAX) {
                out->error = -EMSGSIZE;
                return NULL;
        }
        if (at + n > out->capacity) {
                size_t capacity = MAX(at + n, out->capacity * 2);

                grown = realloc(out->data == out->fixed ? NULL : out->data, capacity);
                if (!grown) {
                        out->error = -ENOMEM;
                        return NULL;
                }
                if (out->data == out->fixed)
                        memcpy(grown, out->fixed, out->size);
                out->data = grown;
                out->capacity = capacity;
        }
        memset(out->data + out->size, 0, at - out->size);
        out->size = at + n;
        return out->data + at;
}

void wire_put_align(WireWriter *out, size_t alignment) {
        (void) room(out, alignment, 0);
}

void wire_put_byte(WireWriter *out, uint8_t v) {
        uint8_t *p = room(out, 1, 1);

        if (p)
                *p = v;
}

void wire_put_u32(WireWriter *out, uint32_t v) {
        uint8_t *p = room(out, 4, sizeof(v));

        if (p)
                memcpy(p, &v, sizeof(v));
}

void wire_put_u64(WireWriter *out, uint64_t v) {
        uint8_t *p = room(out, 8, sizeof(v));

        if (p)
                memcpy(p, &v, sizeof(v));
}

void wire_put_signature(WireWriter *out, const char *s) {
        size_t l = strlen(s);
        uint8_t *p = room(out, 1, l + 2);

        assert(l <= UINT8_MAX);
        if (!p)
                return;
        *p = (uint8_t) l;
        memcpy(p + 1, s, l + 1);
}

void wire_put_string(WireWriter *out, const char *s) {
        size_t l = strlen(strempty(s));
        uint8_t *p;

        wire_put_u32(out, (uint32_t) l);
        p = room(out, 1, l + 1);
        if (!p)
                return;
        memcpy(p, strempty(s), l + 1);
        /* The other side would refuse the whole message for one bad byte of an error's text. */
        for (size_t i = 0; i < l;) {
                size_t k = p[i] < 0x80 ? 1 : utf8_sequence(p + i, l - i);
                if (k == 0)
                        p[i] = '?';
                i += MAX(k, (size_t) 1);
        }
}

void wire_put_usage(WireWriter *out, uint64_t wall, uint64_t cpu, uint64_t peak) {
        wire_put_align(out, 8);
        wire_put_u64(out, wall);
        wire_put_u64(out, cpu);
        wire_put_u64(out, peak);
}

/* An array's length is known at its end: it does not count the padding before the first element. */
static size_t array_begin(WireWriter *out, size_t alignment, size_t *ret_length_at) {
        wire_put_u32(out, 0);
        *ret_length_at = out->size - sizeof(uint32_t);
        wire_put_align(out, alignment);
        return out->size;
}

static void array_end(WireWriter *out, size_t length_at, size_t start) {
        uint32_t l = (uint32_t) (out->size - start);

        if (out->error >= 0)
                memcpy(out->data + length_at, &l, sizeof(l));
}

void wire_put_headers(WireWriter *out, const char *const *headers, size_t n) {
        size_t length_at, start = array_begin(out, 8, &length_at);

        for (size_t i = 0; i < n; i++) {
                wire_put_align(out, 8);
                wire_put_string(out, headers[2 * i]);
                wire_put_string(out, headers[2 * i + 1]);
        }
        array_end(out, length_at, start);
}

void wire_put_int_array(WireWriter *out, const int32_t *v, size_t n) {
        size_t length_at, start = array_begin(out, 4, &length_at);

        for (size_t i = 0; i < n; i++)
                wire_put_u32(out, (uint32_t) v[i]);
        array_end(out, length_at, start);
}

void wire_put_payload(WireWriter *out, const void *data, size_t size) {
        if (out->error >= 0 && size > SAND_PAYLOAD_HARD_MAX)
                out->error = -EMSGSIZE;
        if (out->error < 0)
                return;
        if (wire_payload_fds(size) > 0) {
                out->memfd = wire_memfd_new(data, size);
                if (out->memfd < 0)
                        out->error = out->memfd;
                wire_put_signature(out, "h");
                wire_put_u32(out, 0);
                return;
        }
        wire_put_signature(out, "ay");
        wire_put_u32(out, (uint32_t) size);
        out->payload = data;
        out->payload_size = size;
}

void wire_put_memfd(WireWriter *out, int fd) {
        out->fd = fd;
        wire_put_signature(out, "h");
        wire_put_u32(out, 0);
}
