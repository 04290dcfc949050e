/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A peer is a queue of waiting calls and at most one connection ("link") that takes new ones; links that
 * were told to go away live on beside it until their last answer.
 *
 * At most once rests on knowing what was written. Calls wait here until the machine has authenticated us. A call that
 * was given to the wire was written if its last byte was: a message cut short is none. Each call keeps what it says
 * until its answer is there, so that what was not written is said again on the next connection.
 *
 * One call alone is sent at once. Where several are under way, those of one turn of the loop leave together. */

#include "peer.h"

#include <fcntl.h>
#include <assert.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "macro.h"
#include "protocol.h"
#include "wire.h"

#define TRIES_MAX 5U
#define RETRY_MIN_USEC (10 * USEC_PER_MSEC)
#define RETRY_MAX_USEC (1 * USEC_PER_SEC)
#define CALLS_MAX 65536U
/* Of a connection that takes nothing more: read besides the answers to its calls. */
#define MESSAGES_OF_THE_DEAD_MAX 16U
#define SERIALS 256U /* a table's size */

#define LOST_EACH_TIME "The application's machine ended the connection each time before it took the event."

typedef struct Link {
        Wire wire;
        Peer *peer;
        sd_event_source *io, *flush;
        bool ready, going_away, lost, gather;
        uint64_t given;     /* bytes given to the wire */
        uint64_t written;   /* when lost: those of them that left the process */
        unsigned n_calls;
        PeerCall *by_serial[SERIALS];
        struct Link *prev, *next;
} Link;

struct PeerMessage {
        unsigned n_ref;
        WireMessage wire;
};

struct PeerCall {
        Peer *peer;
        Link *link;              /* NULL: it waits */
        peer_handler_t handler;
        void *userdata;
        uint64_t expires;
        uint32_t serial;
        uint64_t end;            /* where it ends among the bytes given */
        unsigned tries;
        PeerCall *prev, *next;   /* in peer->waiting or peer->given */
        PeerCall *same_serial;   /* in link->by_serial */

        const char *path, *interface, *member;
        const char *target, *execution, *content_type;
        const char **headers;
        size_t n_headers;        /* pairs */
        uint64_t deadline;
        const void *data;
        size_t size;
        int memfd;               /* in place of the data; -EBADF: none */
        char text[];             /* what the above point to */
};

typedef struct CallList {
        PeerCall *head, *tail;
} CallList;

struct Peer {
        unsigned n_ref; /* the owner's, and one for each loop that runs handlers */
        sd_event *event;
        char *path;
        Link *links, *current;
        CallList waiting, given;
        unsigned n_calls;
        unsigned failures; /* connections in a row that ended before they were ready */
        sd_event_source *retry, *expiry;
};

static void list_append(CallList *l, PeerCall *c) {
        c->prev = l->tail;
        c->next = NULL;
        if (l->tail)
                l->tail->next = c;
        else
                l->head = c;
        l->tail = c;
}

static void list_remove(CallList *l, PeerCall *c) {
        if (c->prev)
                c->prev->next = c->next;
        else
                l->head = c->next;
        if (c->next)
                c->next->prev = c->prev;
        else
                l->tail = c->prev;
        c->prev = c->next = NULL;
}

static Peer *peer_unref(Peer *p) {
        assert(p->n_ref > 0);
        if (--p->n_ref > 0)
                return NULL;

        assert(!p->links && !p->waiting.head && !p->given.head);
        sd_event_source_disable_unref(p->retry);
        sd_event_source_disable_unref(p->expiry);
        sd_event_unref(p->event);
        free(p->path);
        free(p);
        return NULL;
}
DEFINE_POINTER_CLEANUP(Peer *, peer_unref);

static Peer *peer_ref(Peer *p) {
        p->n_ref++;
        return p;
}

static bool peer_is_freed(const Peer *p) {
        return !p->path;
}

static void link_free(Link *l) {
        Peer *p = l->peer;

        assert(l->n_calls == 0);
        if (p->current == l)
                p->current = NULL;
        if (l->prev)
                l->prev->next = l->next;
        else
                p->links = l->next;
        if (l->next)
                l->next->prev = l->prev;

        sd_event_source_disable_unref(l->flush);
        sd_event_source_disable_unref(l->io);
        wire_done(&l->wire);
        free(l);
}

static void link_maybe_close(Link *l) {
        /* A lost one is freed by whoever found that it is. */
        if (l->going_away && !l->lost && l->n_calls == 0)
                link_free(l);
}

static PeerCall **link_slot(Link *l, uint32_t serial) {
        PeerCall **c = l->by_serial + serial % SERIALS;

        while (*c && (*c)->serial != serial)
                c = &(*c)->same_serial;
        return c;
}

/* Takes the call off its link; the link may be gone afterwards. */
static void call_leave_link(PeerCall *c) {
        Link *l = TAKE_PTR(c->link);

        *link_slot(l, c->serial) = c->same_serial;
        l->n_calls--;
        link_maybe_close(l);
}

static void call_unlink(PeerCall *c) {
        if (c->link) {
                list_remove(&c->peer->given, c);
                call_leave_link(c);
        } else
                list_remove(&c->peer->waiting, c);
        c->peer->n_calls--;
}

static void call_free(PeerCall *c) {
        safe_close(c->memfd);
        free(c->headers);
        free(c);
}

/* Nothing of the peer may be used after this by those who hold no reference: the handler may free it. */
static void call_finish(PeerCall *c, const PeerReply *reply) {
        call_unlink(c);
        c->handler(c, reply, c->userdata);
        call_free(c);
}

static void call_fail(PeerCall *c, SandError error, const char *message) {
        PeerReply reply = {
                .error = error,
                .message = message,
                .error_class = sand_error_info(error)->name,
                .cause = "",
                .payload = PAYLOAD_EMPTY,
        };

        call_finish(c, &reply);
}

PeerMessage *peer_message_ref(PeerMessage *m) {
        m->n_ref++;
        return m;
}

PeerMessage *peer_message_unref(PeerMessage *m) {
        if (m && --m->n_ref == 0) {
                wire_message_done(&m->wire);
                free(m);
        }
        return NULL;
}

static void read_usage(WireReader *r, PeerReply *ret) {
        (void) wire_read_align(r, 8);
        (void) wire_read_u64(r, &ret->wall_usec);
        (void) wire_read_u64(r, &ret->cpu_usec);
        (void) wire_read_u64(r, &ret->peak_bytes);
}

static int reply_read_success(const WireMessage *m, PeerReply *ret) {
        WireReader r;

        if (!streq(m->signature, SAND_REPLY_FULL_SIGNATURE))
                return -EBADMSG;
        wire_reader_init(&r, m);
        (void) wire_read_string(&r, &ret->content_type);
        read_usage(&r, ret);
        (void) wire_read_payload_raw(&r, UINT64_MAX, &ret->payload.data, &ret->payload.size, &ret->payload.fd);
        if (wire_read_end(&r) < 0)
                return -EBADMSG;
        ret->error = _SAND_ERROR_INVALID;
        return 0;
}

static void reply_read_error(const WireMessage *m, PeerReply *ret) {
        PeerReply full = *ret;
        WireReader r;

        ret->error = sand_error_from_name(m->error);
        if (ret->error == _SAND_ERROR_INVALID)
                ret->error = SAND_ERROR_UNAVAILABLE;
        ret->message = "";
        ret->error_class = sand_error_info(ret->error)->name;
        ret->cause = "";
        wire_reader_init(&r, m);
        if (*m->signature != 's' || wire_read_string(&r, &ret->message) < 0 ||
            !streq(m->signature, SAND_ERROR_FULL_SIGNATURE))
                return;
        (void) wire_read_string(&r, &full.error_class);
        (void) wire_read_string(&r, &full.cause);
        read_usage(&r, &full);
        if (wire_read_end(&r) < 0)
                return;
        full.error = ret->error;
        full.message = ret->message;
        if (isempty(full.error_class))
                full.error_class = ret->error_class;
        *ret = full;
}

static int peer_connect(Peer *p);
static int peer_retry_later(Peer *p);
static int peer_watch_expiry(Peer *p, uint64_t expires);
static void link_end_soon(Link *l);
static void peer_count_failure(Peer *p, const char *message);

/* No more calls for this link. */
static void link_mark_lost(Link *l) {
        if (l->lost)
                return;
        l->lost = true;
        l->written = usec_sub(l->given, l->wire.queued);
        if (l->peer->current == l)
                l->peer->current = NULL;
}

/* The connection ended before the call was written: it waits for the next one. */
static void call_wait_again(PeerCall *c) {
        list_remove(&c->peer->given, c);
        call_leave_link(c);
        c->tries++;
        list_append(&c->peer->waiting, c);
        (void) peer_watch_expiry(c->peer, c->expires);
}

static void on_reply(Link *l, PeerMessage *m) {
        PeerCall *c = *link_slot(l, m->wire.reply_serial);
        PeerReply reply = { .error = SAND_ERROR_CRASHED, .payload = PAYLOAD_EMPTY, .message_of = m };

        if (!c)
                return; /* nobody waits for it any more */
        if (m->wire.type == WIRE_ERROR)
                reply_read_error(&m->wire, &reply);
        else if (reply_read_success(&m->wire, &reply) < 0) {
                call_fail(c, SAND_ERROR_CRASHED, "The application's machine sent an answer that does not parse.");
                return;
        }
        call_finish(c, &reply);
}

static bool link_has_room(const Link *l, const PeerCall *c) {
        size_t size = WIRE_HEADER_MAX + (c->memfd >= 0 ? 0 : c->size); /* a memfd goes as it is */

        return l->wire.n_queue < WIRE_QUEUE_MAX && l->wire.queued + size < WIRE_QUEUE_BYTES_MAX;
}

/* Gives a waiting call to the wire. On failure it waits on. */
static int call_give(PeerCall *c, Link *l) {
        WireWriter out;
        uint64_t end;
        int r;

        l->gather = c->peer->n_calls > 1;
        wire_call(&l->wire, &out, c->path, c->interface, c->member, SAND_INVOKE_FULL_SIGNATURE, c->memfd >= 0);
        wire_put_string(&out, c->target);
        wire_put_string(&out, c->execution);
        wire_put_u64(&out, c->deadline);
        wire_put_string(&out, c->content_type);
        wire_put_headers(&out, c->headers, c->n_headers);
        if (c->memfd >= 0)
                wire_put_memfd(&out, c->memfd);
        else
                wire_put_payload(&out, c->data, c->size);
        c->serial = out.serial;
        end = l->given + out.size + out.payload_size;
        r = wire_send(&l->wire, &out);
        if (r < 0)
                return r;

        list_remove(&c->peer->waiting, c);
        list_append(&c->peer->given, c);
        c->link = l;
        c->end = l->given = end;
        c->same_serial = l->by_serial[c->serial % SERIALS];
        l->by_serial[c->serial % SERIALS] = c;
        l->n_calls++;
        return peer_watch_expiry(c->peer, c->expires);
}

/* The connection does not take this call: it waits for the next one, or the call itself is at fault. */
static void call_give_failed(PeerCall *c, Link *l, int error) {
        if (error == -EMSGSIZE || error == -ENOMEM || error == -EMFILE) {
                call_fail(c, SAND_ERROR_UNAVAILABLE, "The event could not be sent to the application's machine.");
                return;
        }
        c->tries++;
        link_end_soon(l);
}

static void peer_flush(Peer *p) {
        _cleanup_(peer_unrefp) Peer *ref = peer_ref(p);

        while (ref->current && ref->current->ready && ref->waiting.head &&
               link_has_room(ref->current, ref->waiting.head)) {
                Link *l = ref->current;
                PeerCall *c = ref->waiting.head;
                int r;

                r = call_give(c, l);
                if (r < 0)
                        call_give_failed(c, l, r);
        }
}

/* Fails the calls of a list that `which` picks. */
static void peer_fail(Peer *p, CallList *list, bool (*which)(const PeerCall *c), SandError error, const char *message) {
        _cleanup_(peer_unrefp) Peer *ref = peer_ref(p);
        bool again = true;

        /* A handler may cancel any other call: begin anew after each. */
        while (again) {
                again = false;
                for (PeerCall *c = list->head; c; c = c->next)
                        if (!which || which(c)) {
                                call_fail(c, error, message);
                                again = true;
                                break;
                        }
        }
}

static void peer_fail_waiting(Peer *p, bool (*which)(const PeerCall *c), SandError error, const char *message) {
        peer_fail(p, &p->waiting, which, error, message);
}

static bool call_has_no_tries(const PeerCall *c) {
        return c->tries >= TRIES_MAX;
}

static bool call_is_expired(const PeerCall *c) {
        return c->expires <= now_usec();
}

/* What was written is lost with it, the other calls wait again. */
static void link_fail_calls(Link *l) {
        _cleanup_(peer_unrefp) Peer *p = peer_ref(l->peer);
        PeerCall *c = p->given.head;

        while (c)
                if (c->link != l)
                        c = c->next;
                else {
                        if (c->end > l->written)
                                call_wait_again(c);
                        else
                                call_fail(c, SAND_ERROR_CRASHED, "The application's machine ended while it had the event.");
                        if (peer_is_freed(p))
                                return;
                        c = p->given.head; /* a handler may cancel any other call */
                }
}

static void link_ended(Link *l) {
        _cleanup_(peer_unrefp) Peer *p = peer_ref(l->peer);
        bool ready = l->ready, was_current = p->current == l;

        link_mark_lost(l);
        link_fail_calls(l);
        if (peer_is_freed(p))
                return;
        link_free(l);
        if (was_current && !ready)
                peer_count_failure(p, LOST_EACH_TIME);
        else
                peer_fail_waiting(p, call_has_no_tries, SAND_ERROR_UNAVAILABLE, LOST_EACH_TIME);
        if (peer_is_freed(p) || !p->waiting.head)
                return;
        if (p->current)
                peer_flush(p);
        else
                (void) peer_retry_later(p);
}

static void on_message(Link *l, PeerMessage *m) {
        const WireMessage *w = &m->wire;

        if (w->type == WIRE_REPLY || w->type == WIRE_ERROR)
                on_reply(l, m);
        else if (w->type == WIRE_SIGNAL && streq(w->interface, SAND_APP_INTERFACE) && streq(w->member, "GoAway")) {
                l->going_away = true;
                if (l->peer->current == l) {
                        l->peer->current = NULL;
                        if (l->peer->waiting.head) /* for the next connection */
                                (void) peer_retry_later(l->peer);
                }
                link_maybe_close(l);
        } /* Nothing else is said to us; an answer would count as a part of the calls that are queued. */
}

/* One message. 1: look for another one; 0: there is none now; negative: the connection is over. */
static int link_receive(Link *l) {
        PeerMessage *m = calloc(1, sizeof(PeerMessage));
        int r;

        if (!m)
                return -ENOMEM;
        m->n_ref = 1;
        r = wire_receive(&l->wire, USEC_INFINITY, &m->wire);
        if (r > 0)
                on_message(l, m);
        (void) peer_message_unref(m);
        return r > 0 ? 1 : r == -EAGAIN ? 0 : r < 0 ? r : -ECONNRESET;
}

static void link_watch(Link *l) {
        (void) sd_event_source_set_io_events(l->io, EPOLLIN | (l->wire.blocked ? EPOLLOUT : 0U));
}

/* Whether what handlers did has left it. */
static bool peer_has_link(const Peer *p, const Link *link) {
        for (const Link *l = p->links; l; l = l->next)
                if (l == link)
                        return true;
        return false;
}

/* It takes nothing more, but what it has answered before is there to be read. */
static void link_end_of_sending(Link *l) {
        _cleanup_(peer_unrefp) Peer *p = peer_ref(l->peer);
        unsigned most = l->n_calls + MESSAGES_OF_THE_DEAD_MAX;

        link_mark_lost(l);
        while (most-- > 0 && peer_has_link(p, l) && link_receive(l) > 0)
                ;
        if (peer_has_link(p, l))
                link_ended(l);
}

static int on_io(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        Link *l = userdata;
        _cleanup_(peer_unrefp) Peer *p = peer_ref(l->peer);
        int r = 0;

        if (l->lost)
                r = -ECONNRESET;
        if (r >= 0 && revents & EPOLLOUT) {
                r = wire_flush(&l->wire);
                link_watch(l);
                if (r >= 0)
                        peer_flush(p);
        }
        if (r < 0) {
                link_end_of_sending(l);
                return 0;
        }
        while (r >= 0 && peer_has_link(p, l)) {
                r = link_receive(l);
                if (r == 0 || !peer_has_link(p, l) || !wire_has_message(&l->wire))
                        break;
        }
        if (!peer_has_link(p, l))
                return 0;
        if (r < 0)
                link_ended(l);
        else if (!l->ready && l->wire.answered) {
                l->ready = true;
                p->failures = 0;
                if (p->current == l)
                        peer_flush(p);
        }
        return 0;
}

static int on_flush(sd_event_source *s, void *userdata) {
        Link *l = userdata;

        if (l->lost || wire_flush(&l->wire) < 0)
                link_end_of_sending(l);
        else {
                link_watch(l);
                peer_flush(l->peer);
        }
        return 0;
}

static void on_queued(Wire *w) {
        Link *l = (Link *) (void *) w; /* it begins with it */
        (void) sd_event_source_set_enabled(l->flush, SD_EVENT_ONESHOT);
}

/* From the loop, as its end runs handlers. */
static void link_end_soon(Link *l) {
        link_mark_lost(l);
        (void) sd_event_source_set_enabled(l->flush, SD_EVENT_ONESHOT);
}

static int connect_socket(const char *path) {
        _cleanup_(closep) int fd = -EBADF;
        struct sockaddr_un sa = { .sun_family = AF_UNIX };

        assert(strlen(path) < sizeof(sa.sun_path));
        memcpy(sa.sun_path, path, strlen(path) + 1);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        /* Immediate on a unix socket; EAGAIN when the backlog is full. */
        if (connect(fd, (struct sockaddr *) &sa, sizeof(sa)) < 0)
                return -errno;
        return TAKE_FD(fd);
}

static int link_setup(Link *l, int *fd) {
        sd_event *event = l->peer->event;
        int r;

        r = wire_init_client(&l->wire, TAKE_FD(*fd), on_queued);
        if (r < 0)
                return r;
        l->wire.gather = &l->gather;
        r = sd_event_add_io(event, &l->io, l->wire.fd, EPOLLIN, on_io, l);
        if (r < 0)
                return r;
        r = sd_event_add_defer(event, &l->flush, on_flush, l);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(l->flush, SD_EVENT_OFF);
}

/* A new link, or the reason why there is none. -EAGAIN: try again later; the socket's backlog is full, or
 * whoever accepted closed at once. */
static int peer_connect(Peer *p) {
        _cleanup_(closep) int fd = -EBADF;
        Link *l;
        int r;

        assert(!p->current);
        fd = connect_socket(p->path);
        if (fd < 0)
                return fd;

        l = calloc(1, sizeof(Link));
        if (!l)
                return -ENOMEM;
        l->peer = p;
        l->next = p->links;
        if (l->next)
                l->next->prev = l;
        p->links = l;

        r = link_setup(l, &fd);
        if (r < 0) {
                link_free(l);
                return r == -EPIPE || r == -ECONNRESET || r == -ENOTCONN ? -EAGAIN : r;
        }
        p->current = l;
        return 0;
}

/* A connection ended before it was ready, or could not be made for now: all that wait try once less. */
static void peer_count_failure(Peer *p, const char *message) {
        p->failures++;
        for (PeerCall *c = p->waiting.head; c; c = c->next)
                c->tries++;
        peer_fail_waiting(p, call_has_no_tries, SAND_ERROR_UNAVAILABLE, message);
}

static int on_retry(sd_event_source *s, uint64_t usec, void *userdata) {
        _cleanup_(peer_unrefp) Peer *p = peer_ref(userdata);
        char message[128];
        int r;

        if (p->current || !p->waiting.head)
                return 0;
        r = peer_connect(p);
        if (r >= 0)
                return 0;
        if (r == -EAGAIN) {
                peer_count_failure(p, "The application's socket takes no connection.");
                if (!peer_is_freed(p) && p->waiting.head && !p->current)
                        (void) peer_retry_later(p);
                return 0;
        }
        errno = -r;
        (void) snprintf(message, sizeof(message), "The application's socket cannot be reached: %m");
        peer_fail_waiting(p, NULL, r == -ENOENT ? SAND_ERROR_NOT_FOUND : SAND_ERROR_UNAVAILABLE, message);
        return 0;
}

static int timer_arm(Peer *p, sd_event_source **s, uint64_t at, sd_event_time_handler_t handler) {
        int r;

        if (!*s)
                return sd_event_add_time(p->event, s, CLOCK_MONOTONIC, at, USEC_PER_MSEC, handler, p);
        r = sd_event_source_set_time(*s, at);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(*s, SD_EVENT_ONESHOT);
}

static bool timer_is_armed(sd_event_source *s) {
        return s && sd_event_source_get_enabled(s, NULL) > 0;
}

static int peer_retry_later(Peer *p) {
        unsigned doublings = p->failures > 0 ? MIN(p->failures - 1, 10U) : 0;
        uint64_t delay = 0;

        if (timer_is_armed(p->retry))
                return 0;
        if (p->failures > 0)
                delay = MIN(RETRY_MIN_USEC << doublings, RETRY_MAX_USEC);
        return timer_arm(p, &p->retry, now_usec() + delay, on_retry);
}

static int on_expiry(sd_event_source *s, uint64_t usec, void *userdata);

static int peer_watch_expiry(Peer *p, uint64_t expires) {
        uint64_t armed;

        if (timer_is_armed(p->expiry) && sd_event_source_get_time(p->expiry, &armed) >= 0 &&
            armed <= expires)
                return 0;
        return timer_arm(p, &p->expiry, expires, on_expiry);
}

static int on_expiry(sd_event_source *s, uint64_t usec, void *userdata) {
        _cleanup_(peer_unrefp) Peer *p = peer_ref(userdata);
        uint64_t next = USEC_INFINITY;

        peer_fail(p, &p->waiting, call_is_expired, SAND_ERROR_UNAVAILABLE,
                  "The application's machine did not start in time.");
        peer_fail(p, &p->given, call_is_expired, SAND_ERROR_TIMEOUT, "The application's machine did not answer in time.");
        for (PeerCall *c = p->waiting.head; c; c = c->next)
                next = MIN(next, c->expires);
        for (PeerCall *c = p->given.head; c; c = c->next)
                next = MIN(next, c->expires);
        if (next != USEC_INFINITY)
                (void) peer_watch_expiry(p, next);
        return 0;
}

int peer_new(sd_event *event, const char *socket_path, Peer **ret) {
        Peer *p;

        assert(event);
        assert(socket_path);
        assert(ret);

        if (isempty(socket_path) || strlen(socket_path) >= sizeof(((struct sockaddr_un *) 0)->sun_path))
                return -EINVAL;
        p = calloc(1, sizeof(Peer));
        if (!p)
                return -ENOMEM;
        p->n_ref = 1;
        p->event = sd_event_ref(event);
        p->path = strdup(socket_path);
        if (!p->path) {
                peer_unref(p);
                return -ENOMEM;
        }
        *ret = p;
        return 0;
}

Peer *peer_free(Peer *p) {
        if (!p)
                return NULL;

        free(p->path);
        p->path = NULL; /* no new calls, whatever a handler does */
        while (p->given.head)
                call_fail(p->given.head, SAND_ERROR_UNAVAILABLE, "The connection to the application was given up.");
        while (p->waiting.head)
                call_fail(p->waiting.head, SAND_ERROR_UNAVAILABLE, "The connection to the application was given up.");
        while (p->links)
                link_free(p->links);
        /* A loop above us may hold the peer for a moment longer; no timer may. */
        p->retry = sd_event_source_disable_unref(p->retry);
        p->expiry = sd_event_source_disable_unref(p->expiry);
        return peer_unref(p);
}

static const char *take_text(char **room, const char *s) {
        char *copy = *room;

        *room = stpcpy(copy, strempty(s)) + 1;
        return copy;
}

static size_t text_size(const char *s) {
        return strlen(strempty(s)) + 1;
}

/* A call with a copy of all that it says. */
static int call_new(const PeerRequest *q, PeerCall **ret) {
        const void *data = q->payload ? q->payload->data : q->data;
        size_t data_size = q->payload ? q->payload->size : q->size;
        bool passed = q->payload && q->payload->fd >= 0, large = passed || data_size >= SAND_MEMFD_THRESHOLD;
        size_t size = text_size(q->path) + text_size(q->interface) + text_size(q->member) + text_size(q->target) +
                      text_size(q->execution) + text_size(q->content_type) + (large ? 0 : data_size);
        size_t n = 0;
        PeerCall *c;
        char *room;

        for (; q->headers && q->headers[n]; n++)
                size += text_size(q->headers[n]);
        c = malloc(sizeof(PeerCall) + size);
        if (!c)
                return -ENOMEM;
        *c = (PeerCall) {
                .deadline = q->deadline,
                .n_headers = n / 2,
                .headers = n > 0 ? calloc(n, sizeof(char *)) : NULL,
                .data = c->text,
                .size = data_size,
                .memfd = -EBADF,
        };
        if (passed)
                c->memfd = fcntl(q->payload->fd, F_DUPFD_CLOEXEC, 3);
        else if (large)
                c->memfd = wire_memfd_new(data, data_size);
        if ((n > 0 && !c->headers) || (large && c->memfd < 0)) {
                int r = !large || c->memfd >= 0 ? -ENOMEM : passed ? -errno : c->memfd;
                call_free(c);
                return r;
        }
        room = large || data_size == 0 ? c->text : mempcpy(c->text, data, data_size);
        c->path = q->path ? take_text(&room, q->path) : SAND_APP_PATH;
        c->interface = q->interface ? take_text(&room, q->interface) : SAND_APP_INTERFACE;
        c->member = q->member ? take_text(&room, q->member) : "Invoke";
        c->target = take_text(&room, q->target);
        c->execution = take_text(&room, q->execution);
        c->content_type = take_text(&room, q->content_type);
        for (size_t i = 0; i < n; i++)
                c->headers[i] = take_text(&room, q->headers[i]);
        *ret = c;
        return 0;
}

/* 1 if a connection was tried in vain and another try is due. */
static int peer_ready_for_calls(Peer *p) {
        int r;

        if (peer_is_freed(p))
                return -ESHUTDOWN;
        if (p->n_calls >= CALLS_MAX)
                return -ENOBUFS;
        if (p->current || timer_is_armed(p->retry))
                return 0;
        r = peer_connect(p);
        if (r == -EAGAIN) {
                p->failures++;
                r = peer_retry_later(p);
                return r < 0 ? r : 1;
        }
        return r;
}

int peer_invoke(Peer *p, const PeerRequest *request, peer_handler_t handler, void *userdata, PeerCall **ret) {
        unsigned tries;
        PeerCall *c;
        int r;

        assert(p);
        assert(request && request->target && request->timeout_usec > 0);
        assert(handler);

        r = peer_ready_for_calls(p);
        if (r < 0)
                return r;
        tries = (unsigned) r;
        r = call_new(request, &c);
        if (r < 0)
                return r;
        c->peer = p;
        c->tries = tries;
        c->handler = handler;
        c->userdata = userdata;
        c->expires = usec_add(now_usec(), request->timeout_usec);
        list_append(&p->waiting, c);
        p->n_calls++;

        r = 0;
        if (p->current && p->current->ready && p->waiting.head == c && link_has_room(p->current, c)) {
                r = call_give(c, p->current);
                if (r < 0 && r != -EMSGSIZE && r != -ENOMEM && r != -EMFILE) {
                        c->tries++;
                        link_end_soon(p->current);
                        r = 0;
                }
        }
        if (r >= 0 && !c->link)
                r = peer_watch_expiry(p, c->expires);
        if (r < 0) {
                call_unlink(c);
                call_free(c);
                return r;
        }
        if (ret)
                *ret = c;
        return 0;
}

void peer_call_cancel(PeerCall *c) {
        assert(c);
        call_unlink(c);
        call_free(c);
}

unsigned peer_in_flight(const Peer *p) {
        return p->n_calls;
}
