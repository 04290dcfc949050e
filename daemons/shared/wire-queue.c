/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a nonblocking wire has to send and does not send now: because there is no room in the socket, or because more
 * may follow that goes out in the same system call. */

#include "wire.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define SMALL_MAX (8U * 1024U)   /* messages up to this are gathered where they may be ... */
#define CHUNK_SIZE (32U * 1024U) /* ... in chunks of this */
#define LINES_SIZE 128U          /* of the answers to a client's authentication, together */

/* Messages, or the rest of one, that wait to be sent. */
struct WireQueued {
        WireQueued *next;
        int fd;            /* goes with the first byte; -EBADF: none, or gone */
        bool lines;        /* begins with the answers to the client's authentication */
        size_t size, done, capacity;
        uint8_t data[];
};

static void queue_drop_first(Wire *w) {
        WireQueued *q = w->queue;

        w->queue = q->next;
        if (!w->queue)
                w->queue_last = NULL;
        w->n_queue--;
        w->queued -= q->size - q->done;
        (void) safe_close(q->fd);
        free(q);
}

void wire_queue_drop(Wire *w) {
        while (w->queue)
                queue_drop_first(w);
}

/* Room at the queue's end, in its last chunk if no descriptor has to go with the first byte. */
static int queue_room(Wire *w, size_t size, bool with_fd, WireQueued **ret) {
        WireQueued *q = w->queue_last;
        size_t capacity = with_fd ? size : MAX(size, (size_t) (w->gather ? CHUNK_SIZE : LINES_SIZE));

        if (size > WIRE_QUEUE_BYTES_MAX - w->queued)
                return -ENOBUFS;
        if (q && !with_fd && q->fd < 0 && q->capacity - q->size >= size) {
                *ret = q;
                return 0;
        }
        if (w->n_queue >= WIRE_QUEUE_MAX)
                return -ENOBUFS;
        q = malloc(sizeof(WireQueued) + capacity);
        if (!q)
                return -ENOMEM;
        *q = (WireQueued) { .fd = -EBADF, .capacity = capacity };
        *ret = q;
        return 0;
}

/* A message is missing from here on: who waits for an answer would wait for ever. */
static int lose(Wire *w, int r) {
        w->lost = r;
        w->on_queued(w);
        return r;
}

/* Keeps a copy of what is not sent now. */
static int enqueue(Wire *w, const struct iovec *iov, size_t n, int fd) {
        bool had_some = w->queue;
        size_t size = 0;
        WireQueued *q;
        int r, copy = -EBADF;

        for (size_t i = 0; i < n; i++)
                size += iov[i].iov_len;
        r = queue_room(w, size, fd >= 0, &q);
        if (r < 0)
                return lose(w, r);
        if (fd >= 0) {
                copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
                if (copy < 0) {
                        r = -errno;
                        free(q);
                        return lose(w, r);
                }
                q->fd = copy;
        }
        for (size_t i = 0; i < n; i++) {
                memcpy(q->data + q->size, iov[i].iov_base, iov[i].iov_len);
                q->size += iov[i].iov_len;
        }
        if (q != w->queue_last) {
                if (w->queue_last)
                        w->queue_last->next = q;
                else
                        w->queue = q;
                w->queue_last = q;
                w->n_queue++;
        }
        q->lines = false;
        w->queued += size;
        if (!had_some)
                w->on_queued(w);
        return 0;
}

int wire_queue_lines(Wire *w, const char *lines, size_t size) {
        struct iovec iov = { (void *) lines, size };
        int r = enqueue(w, &iov, 1, -EBADF);

        if (r >= 0)
                w->queue->lines = true;
        return r;
}

int wire_flush(Wire *w) {
        if (w->lost < 0)
                return w->lost;
        while (w->queue) {
                WireQueued *q = w->queue;
                struct iovec iov = { q->data + q->done, q->size - q->done }, *p = &iov;
                size_t n = 1, left;
                int fd = q->fd, r;

                r = wire_send_some(w->fd, &p, &n, &fd, MSG_DONTWAIT);
                left = n > 0 ? p->iov_len : 0;
                if (fd < 0)
                        q->fd = safe_close(q->fd);
                w->queued -= q->size - q->done - left;
                q->done = q->size - left;
                if (r == -EAGAIN) {
                        if (!w->blocked) {
                                w->blocked = true;
                                w->on_queued(w);
                        }
                        return 0;
                }
                if (r < 0)
                        return r;
                queue_drop_first(w);
        }
        w->blocked = false;
        return 0;
}

/* Sends the vector; what there is no room for is queued, of which the first part is a chunk that is there already. */
static int send_or_queue(Wire *w, struct iovec *iov, size_t n, int fd, WireQueued *first) {
        int r = wire_send_some(w->fd, &iov, &n, &fd, MSG_DONTWAIT);
        bool had_some;

        if (first && n > 0 && iov->iov_base >= (void *) first->data &&
            (uint8_t *) iov->iov_base < first->data + first->size) { /* not even that */
                w->queued -= first->size - first->done - iov->iov_len;
                first->done = first->size - iov->iov_len;
                iov++;
                n--;
        } else if (first)
                queue_drop_first(w);
        if (r != -EAGAIN)
                return r;
        had_some = w->queue;
        w->blocked = true;
        r = enqueue(w, iov, n, fd);
        if (had_some)
                w->on_queued(w);
        return r;
}

int wire_queue_send(Wire *w, struct iovec *iov, size_t n, size_t size, int fd) {
        WireQueued *q = w->queue;
        struct iovec all[4];
        int r;

        if (w->blocked || (w->gather && *w->gather && fd < 0 && size <= SMALL_MAX))
                return enqueue(w, iov, n, fd);
        /* Our answers to a wire's authentication may have a descriptor with them, to others messages must not that are
         * before its own: sd-bus gives it to whichever comes first. */
        if (q && (q->next || q->fd >= 0 || (fd >= 0 && !q->lines))) {
                r = wire_flush(w);
                if (r < 0)
                        return r;
                if (w->blocked)
                        return enqueue(w, iov, n, fd);
                q = NULL;
        }
        if (!q)
                return send_or_queue(w, iov, n, fd, NULL);
        all[0] = (struct iovec) { q->data + q->done, q->size - q->done };
        memcpy(all + 1, iov, n * sizeof(*iov));
        return send_or_queue(w, all, n + 1, fd, q);
}
