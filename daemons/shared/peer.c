/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A peer is a queue of waiting calls and at most one connection ("link") that takes new ones; links that
 * were told to go away live on beside it until their last answer.
 *
 * At most once rests on knowing what was written. Calls wait here, not in sd-bus, until the machine has
 * authenticated us. A call given to sd-bus was written, unless it is among the last N given, where N is
 * what sd-bus still has in its write queue when the connection ends: a message cut short is none. */

#include "peer.h"

#include <assert.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "macro.h"
#include "protocol.h"

#define TRIES_MAX 5U
#define RETRY_MIN_USEC (10 * USEC_PER_MSEC)
#define RETRY_MAX_USEC (1 * USEC_PER_SEC)
#define CALLS_MAX 65536U
/* Messages that one turn of the loop takes from a connection at most. */
#define DRAIN_MAX 64U

#define LOST_EACH_TIME "The application's machine ended the connection each time before it took the event."

typedef struct Link {
        Peer *peer;
        sd_bus *bus;
        sd_bus_slot *filter;
        sd_event_source *drain;
        bool ready, going_away, lost;
        uint64_t given;   /* calls given to sd-bus; they are numbered from 1 */
        uint64_t written; /* when lost: the calls up to this number left the process */
        unsigned n_calls;
        struct Link *prev, *next;
} Link;

struct PeerCall {
        Peer *peer;
        Link *link;              /* NULL: it waits */
        sd_bus_message *message; /* NULL once it is known to be written */
        sd_bus_slot *slot;
        peer_handler_t handler;
        void *userdata;
        uint64_t expires, number;
        unsigned tries;
        PeerCall *prev, *next;   /* in peer->waiting or peer->given */
};

typedef struct CallList {
        PeerCall *head, *tail;
} CallList;

struct Peer {
        unsigned n_ref; /* the owner's, and one for each loop that runs handlers */
        sd_event *event;
        char *path;
        Link *links, *current;
        sd_bus *builder; /* the newest connection, perhaps closed: what messages are made on */
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
        sd_bus_unref(p->builder);
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

        sd_event_source_disable_unref(l->drain);
        sd_bus_slot_unref(l->filter);
        sd_bus_detach_event(l->bus);
        sd_bus_close_unref(l->bus);
        free(l);
}

static void link_maybe_close(Link *l) {
        /* A lost link is freed when sd-bus reports the end, after it failed every call. */
        if (l->going_away && !l->lost && l->n_calls == 0)
                link_free(l);
}

/* Takes the call off its link; the link may be gone afterwards. */
static void call_leave_link(PeerCall *c) {
        Link *l = TAKE_PTR(c->link);

        c->slot = sd_bus_slot_unref(c->slot);
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
        sd_bus_message_unref(c->message);
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

static int reply_read_success(sd_bus_message *m, PeerReply *ret) {
        int r;

        r = sd_bus_message_read(m, "s(ttt)", &ret->content_type, &ret->wall_usec, &ret->cpu_usec,
                                &ret->peak_bytes);
        if (r < 0)
                return r;
        r = payload_read(m, UINT64_MAX, &ret->payload);
        if (r < 0)
                return r;
        ret->error = _SAND_ERROR_INVALID;
        return 0;
}

static void reply_read_error(sd_bus_message *m, PeerReply *ret) {
        const sd_bus_error *e = sd_bus_message_get_error(m);

        ret->error = sand_error_from_name(e->name);
        if (ret->error == _SAND_ERROR_INVALID)
                ret->error = SAND_ERROR_UNAVAILABLE;
        ret->message = strempty(e->message);
        ret->error_class = sand_error_info(ret->error)->name;
        ret->cause = "";
        if (!sd_bus_message_has_signature(m, SAND_ERROR_FULL_SIGNATURE))
                return;
        (void) sd_bus_message_rewind(m, true);
        (void) sd_bus_message_read(m, SAND_ERROR_FULL_SIGNATURE, &ret->message, &ret->error_class,
                                   &ret->cause, &ret->wall_usec, &ret->cpu_usec, &ret->peak_bytes);
        if (isempty(ret->error_class))
                ret->error_class = sand_error_info(ret->error)->name;
}

static int peer_connect(Peer *p);
static int peer_retry_later(Peer *p);
static int peer_watch_expiry(Peer *p, uint64_t expires);
static void peer_count_failure(Peer *p, const char *message);

/* No more calls for this link. What sd-bus had not written yet is noted while that can be asked. */
static void link_mark_lost(Link *l) {
        uint64_t queued = 0;

        if (l->lost)
                return;
        l->lost = true;
        (void) sd_bus_get_n_queued_write(l->bus, &queued);
        l->written = usec_sub(l->given, queued);
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

/* sd-bus takes one message a turn of the loop. Where more calls are out, more answers are likely to be there. */
static int on_drain(sd_event_source *s, void *userdata) {
        sd_bus *bus = sd_bus_ref(((Link *) userdata)->bus); /* the link may end by what it is told */

        for (unsigned i = 0; i < DRAIN_MAX; i++)
                if (sd_bus_process(bus, NULL) <= 0)
                        break;
        sd_bus_unref(bus);
        return 0;
}

static void link_drain_soon(Link *l) {
        if (l->n_calls > 1)
                (void) sd_event_source_set_enabled(l->drain, SD_EVENT_ONESHOT);
}

static int on_reply(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        PeerCall *c = userdata;
        Link *l = c->link;
        PeerReply reply = { .error = SAND_ERROR_CRASHED, .payload = PAYLOAD_EMPTY };

        link_drain_soon(l);
        if (!sd_bus_message_is_method_error(m, NULL)) {
                if (reply_read_success(m, &reply) < 0) {
                        call_fail(c, SAND_ERROR_CRASHED, "The application's machine sent an answer that does not parse.");
                        return 0;
                }
                call_finish(c, &reply);
                payload_done(&reply.payload);
                return 0;
        }

        if (sd_bus_is_open(l->bus) <= 0) {
                link_mark_lost(l);
                if (c->message && c->number > l->written)
                        call_wait_again(c);
                else
                        call_fail(c, SAND_ERROR_CRASHED,
                                  "The application's machine ended while it had the event.");
                return 0;
        }
        /* sd-bus says NoReply for its own timeout, too. */
        if (sd_bus_message_is_method_error(m, SD_BUS_ERROR_NO_REPLY) && now_usec() >= c->expires) {
                call_fail(c, SAND_ERROR_TIMEOUT, "The application's machine did not answer in time.");
                return 0;
        }
        reply_read_error(m, &reply);
        call_finish(c, &reply);
        return 0;
}

/* Appends the arguments of Invoke from one message to another. sd_bus_message_copy() of the payload would
 * walk it byte by byte. */
static int message_copy_invoke(sd_bus_message *to, sd_bus_message *from) {
        Payload payload = PAYLOAD_EMPTY;
        int r;

        r = sd_bus_message_rewind(from, true);
        if (r < 0)
                return r;
        for (size_t i = 0; i < strlen(SAND_INVOKE_SIGNATURE) + 1; i++) {
                r = sd_bus_message_copy(to, from, false);
                if (r < 0)
                        return r;
        }
        r = payload_read(from, UINT64_MAX, &payload);
        if (r < 0)
                return r;
        r = payload_append(to, &payload);
        payload_done(&payload);
        return r;
}

/* A sealed message keeps the serial number of the connection that it was made for. */
static int message_renew(sd_bus *bus, sd_bus_message **m) {
        sd_bus_message *copy = NULL;
        int r;

        r = sd_bus_message_new_method_call(bus, &copy, NULL, SAND_APP_PATH, SAND_APP_INTERFACE, "Invoke");
        if (r < 0)
                return r;
        r = message_copy_invoke(copy, *m);
        if (r < 0) {
                sd_bus_message_unref(copy);
                return r;
        }
        sd_bus_message_unref(*m);
        *m = copy;
        return 0;
}

/* Gives a waiting call to sd-bus. On failure it waits on. */
static int call_give(PeerCall *c, Link *l) {
        uint64_t now = now_usec(), queued = 0;
        int r;

        if (c->number > 0) {
                r = message_renew(l->bus, &c->message);
                if (r < 0)
                        return r;
        }
        c->number = l->given + 1;
        r = sd_bus_call_async(l->bus, &c->slot, c->message, on_reply, c,
                              MAX(usec_sub(c->expires, now), USEC_PER_MSEC));
        if (r < 0)
                return r;

        list_remove(&c->peer->waiting, c);
        list_append(&c->peer->given, c);
        c->link = l;
        l->given++;
        l->n_calls++;
        (void) sd_bus_get_n_queued_write(l->bus, &queued);
        if (queued == 0)
                c->message = sd_bus_message_unref(c->message);
        return 0;
}

/* The connection does not take this call: it waits for the next one, or the call itself is at fault. */
static int call_give_failed(PeerCall *c, Link *l, int error) {
        if (sd_bus_is_open(l->bus) > 0) {
                call_fail(c, SAND_ERROR_UNAVAILABLE,
                          error == -EOPNOTSUPP ? "The application's machine takes no descriptors."
                                               : "The event could not be sent to the application's machine.");
                return 0;
        }
        c->tries++;
        link_mark_lost(l);
        return peer_retry_later(l->peer);
}

static void peer_flush(Peer *p) {
        _cleanup_(peer_unrefp) Peer *ref = peer_ref(p);

        while (ref->current && ref->current->ready && ref->waiting.head) {
                Link *l = ref->current;
                PeerCall *c = ref->waiting.head;
                int r;

                r = call_give(c, l);
                if (r < 0)
                        (void) call_give_failed(c, l, r);
        }
}

/* Fails the waiting calls that `which` picks. */
static void peer_fail_waiting(Peer *p, bool (*which)(const PeerCall *c), SandError error, const char *message) {
        _cleanup_(peer_unrefp) Peer *ref = peer_ref(p);
        bool again = true;

        /* A handler may cancel any other call: begin anew after each. */
        while (again) {
                again = false;
                for (PeerCall *c = ref->waiting.head; c; c = c->next)
                        if (!which || which(c)) {
                                call_fail(c, error, message);
                                again = true;
                                break;
                        }
        }
}

static bool call_has_no_tries(const PeerCall *c) {
        return c->tries >= TRIES_MAX;
}

static bool call_is_expired(const PeerCall *c) {
        return c->expires <= now_usec();
}

static void link_ended(Link *l) {
        _cleanup_(peer_unrefp) Peer *p = peer_ref(l->peer);
        bool ready = l->ready, was_current = p->current == l;

        link_mark_lost(l);
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

static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        Link *l = userdata;
        Peer *p = l->peer;

        if (sd_bus_message_is_signal(m, "org.freedesktop.DBus.Local", "Connected")) {
                l->ready = true;
                p->failures = 0;
                peer_flush(p);
                return 1;
        }
        if (sd_bus_message_is_signal(m, "org.freedesktop.DBus.Local", "Disconnected")) {
                link_ended(l);
                return 1;
        }
        if (sd_bus_message_is_signal(m, SAND_APP_INTERFACE, "GoAway")) {
                l->going_away = true;
                if (p->current == l)
                        p->current = NULL;
                link_maybe_close(l);
                return 1;
        }
        return 0;
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
        int r;

        r = sd_bus_new(&l->bus);
        if (r < 0)
                return r;
        r = sd_bus_set_fd(l->bus, *fd, *fd);
        if (r < 0)
                return r;
        TAKE_FD(*fd);
        r = sd_bus_set_anonymous(l->bus, true);
        if (r < 0)
                return r;
        r = sd_bus_negotiate_fds(l->bus, true);
        if (r < 0)
                return r;
        r = sd_bus_set_connected_signal(l->bus, true);
        if (r < 0)
                return r;
        r = sd_bus_add_filter(l->bus, &l->filter, on_message, l);
        if (r < 0)
                return r;
        r = sd_bus_start(l->bus);
        if (r < 0)
                return r;
        r = sd_bus_attach_event(l->bus, l->peer->event, SD_EVENT_PRIORITY_NORMAL);
        if (r < 0)
                return r;
        r = sd_event_add_defer(l->peer->event, &l->drain, on_drain, l);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(l->drain, SD_EVENT_OFF);
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
        if (l->bus) {
                sd_bus_unref(p->builder);
                p->builder = sd_bus_ref(l->bus);
        }
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

/* Calls that wait have no timer of sd-bus's. */
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

        peer_fail_waiting(p, call_is_expired, SAND_ERROR_UNAVAILABLE,
                          "The application's machine did not start in time.");
        for (PeerCall *c = p->waiting.head; c; c = c->next)
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

static int append_headers(sd_bus_message *m, const char *const *headers) {
        int r;

        r = sd_bus_message_open_container(m, 'a', "{ss}");
        if (r < 0)
                return r;
        for (size_t i = 0; headers && headers[i]; i += 2) {
                r = sd_bus_message_append(m, "{ss}", headers[i], headers[i + 1]);
                if (r < 0)
                        return r;
        }
        return sd_bus_message_close_container(m);
}

static int request_to_message(Peer *p, const PeerRequest *q, sd_bus_message **ret) {
        sd_bus_message *m = NULL;
        int r;

        r = sd_bus_message_new_method_call(p->builder, &m, NULL, SAND_APP_PATH, SAND_APP_INTERFACE, "Invoke");
        if (r < 0)
                return r;
        r = sd_bus_message_append(m, SAND_INVOKE_SIGNATURE, q->target, strempty(q->execution), q->deadline,
                                  strempty(q->content_type));
        if (r >= 0)
                r = append_headers(m, q->headers);
        if (r >= 0)
                r = payload_append_bytes(m, q->data, q->size);
        if (r < 0) {
                sd_bus_message_unref(m);
                return r;
        }
        *ret = m;
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
        if (r == -EAGAIN && p->builder) {
                p->failures++;
                r = peer_retry_later(p);
                return r < 0 ? r : 1;
        }
        return r;
}

int peer_invoke(Peer *p, const PeerRequest *request, peer_handler_t handler, void *userdata, PeerCall **ret) {
        PeerCall *c;
        int r;

        assert(p);
        assert(request && request->target && request->timeout_usec > 0);
        assert(handler);

        r = peer_ready_for_calls(p);
        if (r < 0)
                return r;
        c = calloc(1, sizeof(PeerCall));
        if (!c)
                return -ENOMEM;
        c->peer = p;
        c->tries = (unsigned) r;
        c->handler = handler;
        c->userdata = userdata;
        c->expires = usec_add(now_usec(), request->timeout_usec);
        r = request_to_message(p, request, &c->message);
        if (r < 0) {
                call_free(c);
                return r;
        }
        list_append(&p->waiting, c);
        p->n_calls++;

        if (p->current && p->current->ready && p->waiting.head == c) {
                r = call_give(c, p->current);
                if (r < 0 && sd_bus_is_open(p->current->bus) <= 0) {
                        c->tries++;
                        link_mark_lost(p->current);
                        r = peer_retry_later(p);
                }
        } else
                r = 0;
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
