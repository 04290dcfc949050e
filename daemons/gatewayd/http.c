/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Every connection is in one phase, and each phase but WAITING has a time that it may take in all, however
 * steadily bytes drip in. A phase's connections are a list in the order in which they entered it, so the
 * one that is due first is its head, and one coarse timer serves all of them. Bodies and answers are looked at in
 * windows of that time: those that moved on well enough enter their phase anew. Real idleness is
 * libmicrohttpd's own timeout.
 *
 * Who has more than its share of the connections (http-client.h) gets another in place of the one of its own that has
 * been quiet for longest, or none.
 *
 * libmicrohttpd stops looking at a connection that is suspended: the same timer looks whether clients that
 * have waited for a while are still there. */

#include "http.h"

#include <arpa/inet.h>
#include <assert.h>
#include <fcntl.h>
#include <linux/tcp.h> /* the C library's tcp_info is older */
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "log.h"
#include "problem.h"

#define SWEEP_USEC (250 * USEC_PER_MSEC)
#define UNFINISHED_SWEEPS 8U /* every so many, clients that say nothing are looked at, too */
#define ACCEPT_BATCH 16U
#define RUNS_MAX 4U
#define HANDSHAKE_USEC (5 * USEC_PER_MSEC)
/* Replies of machines are dispatched before libmicrohttpd runs, and old connections before new ones. */
#define RUN_PRIORITY 10
#define ACCEPT_PRIORITY 20
/* While we stop, what was connected so long ago and sent nothing is not waited for; and for so long nobody has to make
 * room for another connection, as a request may be on its way. */
#define STOP_GRACE_USEC (1 * USEC_PER_SEC)
#define QUIET_GRACE_USEC (100 * USEC_PER_MSEC)
#define QUIET_TRIES 16U
/* In which a body and an answer must have moved on by the least rate. */
#define WINDOW_USEC (10 * USEC_PER_SEC)
/* What the kernel keeps unsent of an answer that its client does not take. */
#define UNSENT_MAX (128 * 1024)

typedef enum Phase {
        PHASE_FRESH,   /* connected, the first request's header is not complete */
        PHASE_IDLE,    /* between requests, or in a later request's first line */
        PHASE_HEADER,  /* in a later request's header */
        PHASE_BODY,    /* the header is complete, the request is not */
        PHASE_WAITING, /* the answer is being made */
        PHASE_SENDING, /* the answer is being sent */
        PHASE_DOOMED,  /* shut down by us */
        _PHASE_MAX,
} Phase;

/* A connection is in its phase's list and, while it is FRESH or IDLE, in its client's. */
typedef enum List {
        LIST_PHASE,
        LIST_QUIET,
        _LIST_MAX,
} List;

struct HttpConnection {
        Http *http;
        struct MHD_Connection *mhd;
        int fd; /* libmicrohttpd's */
        Phase phase;
        uint64_t since; /* CLOCK_MONOTONIC; when it entered its phase, or when its window began */
        uint64_t begun; /* when it entered its phase */
        uint64_t moved; /* bytes: of the body, or that the client has taken since it connected; at the window's begin */
        uint64_t received; /* of the body */
        uint64_t answer_bytes; /* what an answer holds until it is taken */
        bool suspended;
        HttpClient *client;
        void *request;
        char *query; /* of the request; NULL: none */
        unsigned status; /* of the last answer; 0: there was none */
        TlsCertificate *certificate;
        struct {
                HttpConnection *prev, *next;
        } in[_LIST_MAX];
};

struct Http {
        sd_event *event;
        const Settings *settings;
        Tls *tls; /* NULL: plain */
        const HttpOps *ops;
        void *userdata;

        struct MHD_Daemon *daemon;
        sd_event_source *io, *again, *later, *sweep;
        sd_event_source **listeners;
        size_t n_listeners;
        bool full; /* the listeners are off until a connection ends */

        HttpClients clients;
        HttpClient *accepted; /* of the connection that libmicrohttpd is given now */
        uint64_t answer_bytes;
        ConnectionList phases[_PHASE_MAX];
        struct pollfd *polled;
        size_t n_polled_allocated;
        unsigned n_sweeps;
        HttpMetrics metrics;

        bool stopping;
        void (*stopped)(void *userdata);
        void *stopped_userdata;
};

static int http_arm_sweep(Http *h);

/* ---- phases ---- */

static void list_remove(ConnectionList *l, List list, HttpConnection *c) {
        HttpConnection *prev = c->in[list].prev, *next = c->in[list].next;

        if (prev)
                prev->in[list].next = next;
        else
                l->head = next;
        if (next)
                next->in[list].prev = prev;
        else
                l->tail = prev;
        c->in[list].prev = c->in[list].next = NULL;
        l->n--;
}

static void list_append(ConnectionList *l, List list, HttpConnection *c) {
        c->in[list].prev = l->tail;
        if (l->tail)
                l->tail->in[list].next = c;
        else
                l->head = c;
        l->tail = c;
        l->n++;
}

static bool phase_is_quiet(Phase p) {
        return p == PHASE_FRESH || p == PHASE_IDLE;
}

static void phase_leave(HttpConnection *c) {
        list_remove(c->http->phases + c->phase, LIST_PHASE, c);
        if (phase_is_quiet(c->phase))
                list_remove(&c->client->quiet, LIST_QUIET, c);
}

static void phase_enter(HttpConnection *c, Phase phase) {
        c->phase = phase;
        c->since = c->begun = now_usec();
        list_append(c->http->phases + phase, LIST_PHASE, c);
        if (phase_is_quiet(phase))
                list_append(&c->client->quiet, LIST_QUIET, c);
}

static void phase_set(HttpConnection *c, Phase phase) {
        if (c->phase == PHASE_DOOMED)
                return;
        phase_leave(c);
        phase_enter(c, phase);
}

/* A window's length: there are four at least, and no rest. */
static uint64_t window(uint64_t whole) {
        return whole / MAX((whole + WINDOW_USEC - 1) / WINDOW_USEC, (uint64_t) 4);
}

static uint64_t phase_time(const Http *h, Phase phase) {
        switch (phase) {
        case PHASE_FRESH:
        case PHASE_HEADER:
                return h->settings->header_timeout;
        case PHASE_IDLE:
                return usec_add(h->settings->idle_timeout, h->settings->header_timeout);
        case PHASE_BODY:
                return window(h->settings->request_timeout);
        case PHASE_SENDING:
                return window(h->settings->response_timeout);
        default:
                return USEC_INFINITY;
        }
}

/* Bytes that the client took since it connected; UINT64_MAX: that is not known. */
static uint64_t bytes_taken(const HttpConnection *c) {
        struct tcp_info info = {};
        socklen_t size = sizeof(info);

        if (getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0 ||
            size < offsetof(struct tcp_info, tcpi_bytes_acked) + sizeof(info.tcpi_bytes_acked))
                return UINT64_MAX;
        return info.tcpi_bytes_acked;
}

/* At the end of a window: begins the next one if enough was moved in this one and there is time left. */
static bool connection_goes_on(HttpConnection *c, uint64_t now) {
        const Settings *s = c->http->settings;
        bool sending = c->phase == PHASE_SENDING;
        uint64_t whole = sending ? s->response_timeout : s->request_timeout;
        uint64_t moved = sending ? bytes_taken(c) : c->received, begun = c->begun;

        if ((c->phase != PHASE_BODY && !sending) || now - begun >= whole)
                return false;
        if (moved != UINT64_MAX && moved - c->moved < s->rate_min * window(whole) / USEC_PER_SEC)
                return false;
        phase_set(c, c->phase);
        c->begun = begun;
        c->moved = moved;
        return true;
}

static void answer_done(HttpConnection *c) {
        c->client->answer_bytes -= c->answer_bytes;
        c->http->answer_bytes -= c->answer_bytes;
        c->answer_bytes = 0;
}

/* libmicrohttpd sees the end of the connection, and closes it. */
static void connection_doom(HttpConnection *c) {
        if (c->phase == PHASE_DOOMED)
                return;
        phase_set(c, PHASE_DOOMED);
        c->client->n_connections--;
        answer_done(c);
        (void) shutdown(c->fd, SHUT_RDWR);
}

/* The end of a connection on which no answer is under way. */
static void say(int fd, const char *status, SandError kind, const char *detail) {
        const Problem9457 p = { .kind = kind, .status = (unsigned) strtoul(status, NULL, 10), .detail = detail };
        _cleanup_(freep) char *body = problem_to_json(&p), *all = NULL;
        const char *more = kind == SAND_ERROR_BUSY ? "Retry-After: 1\r\n" : "";

        if (body && asprintf(&all, "HTTP/1.1 %s\r\nConnection: close\r\n%sContent-Type: " PROBLEM_CONTENT_TYPE "\r\n"
                             "Content-Length: %zu\r\n\r\n%s", status, more, strlen(body), body) >= 0)
                (void) send(fd, all, strlen(all), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static bool connection_is_plain(const HttpConnection *c) {
        return !MHD_get_connection_info(c->mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
}

static void connection_time_out(HttpConnection *c) {
        c->http->metrics.timed_out++;
        if (c->phase != PHASE_IDLE && c->phase != PHASE_SENDING && connection_is_plain(c))
                say(c->fd, "408 Request Timeout", SAND_ERROR_BAD_REQUEST, "The request did not come in time.");
        connection_doom(c);
}

/* ---- driving libmicrohttpd ---- */

static int http_run_soon(Http *h) {
        return sd_event_source_set_enabled(h->again, SD_EVENT_ONESHOT);
}

/* A timeout of 0 means that there is more to do now; as a timer it would wait for the timer's accuracy. */
static void http_run(Http *h) {
        unsigned long long timeout;

        for (unsigned i = 0; i < RUNS_MAX; i++) {
                (void) MHD_run(h->daemon);
                if (MHD_get_timeout(h->daemon, &timeout) != MHD_YES || timeout > 0)
                        return;
        }
        /* While a handshake waits for its client, libmicrohttpd takes its connection for ready all the time. */
        if (h->tls && h->phases[PHASE_FRESH].n > 0 && sd_event_source_set_time_relative(h->later, HANDSHAKE_USEC) >= 0)
                (void) sd_event_source_set_enabled(h->later, SD_EVENT_ONESHOT);
        else
                (void) http_run_soon(h);
}

static int on_later(sd_event_source *s, uint64_t usec, void *userdata) {
        http_run(userdata);
        return 0;
}

static int on_again(sd_event_source *s, void *userdata) {
        http_run(userdata);
        return 0;
}

static int on_epoll(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        http_run(userdata);
        return 0;
}

/* ---- requests ---- */

static HttpConnection *connection_of(struct MHD_Connection *mhd) {
        const union MHD_ConnectionInfo *info;

        info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
        return info ? info->socket_context : NULL;
}

static enum MHD_Result on_request(void *userdata, struct MHD_Connection *mhd, const char *url, const char *method,
                                  const char *version, const char *data, size_t *size, void **context) {
        Http *h = userdata;
        HttpConnection *c = connection_of(mhd);
        int r;

        if (!c || c->phase == PHASE_DOOMED)
                return MHD_NO;
        if (!c->request) {
                phase_set(c, PHASE_BODY);
                c->moved = c->received = 0;
                c->status = 0;
                c->request = h->ops->begin(c, url, method, version, h->userdata);
                return c->request ? MHD_YES : MHD_NO;
        }
        if (*size > 0) {
                c->received += *size;
                r = h->ops->body(c->request, data, *size);
                *size = 0;
        } else if (c->phase == PHASE_BODY)
                r = h->ops->complete(c->request);
        else
                r = 0; /* it waits, or was answered */
        return r < 0 ? MHD_NO : MHD_YES;
}

/* The request line, before it is cut into arguments, whose text cannot be had back from them. */
static void *on_uri(void *userdata, const char *uri, struct MHD_Connection *mhd) {
        HttpConnection *c = connection_of(mhd);
        const char *query = strchr(uri, '?');

        if (c) {
                if (c->phase == PHASE_IDLE)
                        phase_set(c, PHASE_HEADER);
                free(c->query);
                c->query = query && query[1] ? strdup(query + 1) : NULL;
                if (query && query[1] && !c->query)
                        connection_doom(c);
        }
        return NULL;
}

static void on_completed(void *userdata, struct MHD_Connection *mhd, void **context,
                         enum MHD_RequestTerminationCode code) {
        Http *h = userdata;
        HttpConnection *c = connection_of(mhd);

        if (!c)
                return;
        if (c->request)
                h->ops->free(TAKE_PTR(c->request));
        answer_done(c);
        phase_set(c, PHASE_IDLE);
}

int http_header_each(const HttpConnection *c, MHD_KeyValueIteratorN each, void *userdata) {
        return MHD_get_connection_values_n(c->mhd, MHD_HEADER_KIND, each, userdata);
}

const char *http_query(const HttpConnection *c) {
        return strempty(c->query);
}

static const struct sockaddr *connection_address(const HttpConnection *c) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(c->mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
        return info ? info->client_addr : NULL;
}

bool http_is_tls(const HttpConnection *c) {
        return c->http->tls;
}

bool http_is_unix(const HttpConnection *c) {
        const struct sockaddr *sa = connection_address(c);
        return sa && sa->sa_family == AF_UNIX;
}

void http_remote(const HttpConnection *c, char ret[static INET6_ADDRSTRLEN]) {
        const struct sockaddr *sa = connection_address(c);
        const void *address = NULL;

        if (sa && sa->sa_family == AF_INET)
                address = &((const struct sockaddr_in *) (const void *) sa)->sin_addr;
        else if (sa && sa->sa_family == AF_INET6)
                address = &((const struct sockaddr_in6 *) (const void *) sa)->sin6_addr;
        if (!address || !inet_ntop(sa->sa_family, address, ret, INET6_ADDRSTRLEN))
                strcpy(ret, "127.0.0.1");
}

size_t http_header_size(HttpConnection *c) {
        const union MHD_ConnectionInfo *info;

        info = MHD_get_connection_info(c->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
        return info ? info->header_size : 0;
}

HttpClient *http_client(const HttpConnection *c) {
        return c->client;
}

void http_wait(HttpConnection *c) {
        assert(!c->suspended);
        phase_set(c, PHASE_WAITING);
        c->suspended = true;
        MHD_suspend_connection(c->mhd);
}

void http_hold(HttpConnection *c, uint64_t bytes) {
        uint64_t max = c->http->settings->answer_memory_max;
        Http *h = c->http;

        answer_done(c);
        if (c->phase == PHASE_DOOMED)
                return;
        while (!http_client_may(c->client->answer_bytes, bytes, usec_sub(max, h->answer_bytes))) {
                HttpConnection *slow = h->phases[PHASE_SENDING].head;

                while (slow && c->client->answer_bytes > 0 && slow->client != c->client)
                        slow = slow->in[LIST_PHASE].next;
                if (!slow)
                        break;
                h->metrics.evicted++;
                connection_doom(slow);
        }
        c->answer_bytes = bytes;
        c->client->answer_bytes += bytes;
        h->answer_bytes += bytes;
}

void http_answer(HttpConnection *c, unsigned status, struct MHD_Response *response) {
        Http *h = c->http;

        c->status = status;
        if (status < HTTP_STATUS_MAX)
                h->metrics.answers[status]++;
        if (response && h->stopping)
                (void) MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
        phase_set(c, PHASE_SENDING);
        c->moved = 0;
        if (!response || MHD_queue_response(c->mhd, status, response) != MHD_YES)
                connection_doom(c);
        if (response)
                MHD_destroy_response(response);
        if (c->suspended) {
                c->suspended = false;
                MHD_resume_connection(c->mhd);
                (void) http_run_soon(h);
        }
}

unsigned http_status(const HttpConnection *c) {
        return c->status;
}

/* ---- connections ---- */

static void listeners_set(Http *h, bool on) {
        for (size_t i = 0; i < h->n_listeners; i++)
                (void) sd_event_source_set_enabled(h->listeners[i], on ? SD_EVENT_ON : SD_EVENT_OFF);
}

static void connection_start(Http *h, struct MHD_Connection *mhd, void **context) {
        const union MHD_ConnectionInfo *info;
        HttpConnection *c;

        info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
        c = info && h->accepted ? calloc(1, sizeof(HttpConnection)) : NULL;
        *context = c;
        if (!c)
                return; /* on_request() refuses it */
        c->client = TAKE_PTR(h->accepted);
        c->client->n_connections++;
        c->http = h;
        c->mhd = mhd;
        c->fd = info->connect_fd;
        if (h->tls) {
                info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
                c->certificate = info ? tls_attach(h->tls, info->tls_session) : NULL;
        }
        phase_enter(c, PHASE_FRESH);
        h->metrics.connections++;
        h->metrics.connections_total++;
        (void) http_arm_sweep(h);
}

static void connection_end(Http *h, HttpConnection *c) {
        if (!c)
                return;
        if (c->request)
                h->ops->free(TAKE_PTR(c->request));
        answer_done(c);
        phase_leave(c);
        if (c->phase != PHASE_DOOMED)
                c->client->n_connections--;
        (void) http_client_put(&h->clients, c->client);
        tls_certificate_unref(c->certificate);
        free(c->query);
        free(c);
        h->metrics.connections--;
        if (h->full && !h->stopping) {
                h->full = false;
                listeners_set(h, true);
        }
}

static void on_connection(void *userdata, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode code) {
        if (code == MHD_CONNECTION_NOTIFY_STARTED)
                connection_start(userdata, mhd, context);
        else
                connection_end(userdata, *context);
}

static bool connection_has_input(const HttpConnection *c) {
        int n = 0;
        return ioctl(c->fd, FIONREAD, &n) >= 0 && n > 0;
}

/* Connections that count: the others are gone when libmicrohttpd has run. */
static unsigned http_n_alive(const Http *h) {
        return h->metrics.connections - h->phases[PHASE_DOOMED].n;
}

/* Who connected or was answered longest ago and has asked nothing since makes room for a new connection. */
static bool list_evict(Http *h, const ConnectionList *l, List list) {
        HttpConnection *c = l->head, *next;
        uint64_t now = now_usec();

        for (unsigned i = 0; c && i < QUIET_TRIES && now - c->since >= QUIET_GRACE_USEC; i++, c = next) {
                next = c->in[list].next;
                if (connection_has_input(c))
                        continue;
                h->metrics.evicted++;
                connection_doom(c);
                (void) http_run_soon(h);
                return true;
        }
        return false;
}

static bool http_make_room(Http *h) {
        return list_evict(h, h->phases + PHASE_FRESH, LIST_PHASE) || list_evict(h, h->phases + PHASE_IDLE, LIST_PHASE);
}

/* Out of room or of descriptors: what is not accepted waits in the kernel until a connection ends; the sweep
 * tries again as well. */
static void http_set_full(Http *h) {
        h->full = true;
        listeners_set(h, false);
        (void) http_arm_sweep(h);
}

/* Has this client room for one more, or can it make some? */
static bool client_may_connect(Http *h, const HttpClient *client) {
        uint64_t free = usec_sub(h->settings->connections_max, http_n_alive(h));

        return http_client_may(client->n_connections, 1, free) || list_evict(h, &client->quiet, LIST_QUIET);
}

/* Takes the socket. */
static void http_accept(Http *h, int fd, const struct sockaddr *sa, socklen_t size) {
        HttpClient *client = http_client_get(&h->clients, fd, sa);

        if (client && client_may_connect(h, client)) {
                h->accepted = client;
                (void) MHD_add_connection(h->daemon, fd, sa, size); /* closes it when it fails */
                client = TAKE_PTR(h->accepted);
        } else {
                h->metrics.refused++;
                if (!h->tls) /* who speaks TLS could not read it */
                        say(fd, "503 Service Unavailable", SAND_ERROR_BUSY, "This client has as many connections as others leave it.");
                (void) close(fd);
        }
        (void) http_client_put(&h->clients, client);
}

static int on_accept(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        Http *h = userdata;

        for (unsigned i = 0; i < ACCEPT_BATCH; i++) {
                struct sockaddr_storage address;
                socklen_t size = sizeof(address);
                int client;

                if (http_n_alive(h) >= h->settings->connections_max && !http_make_room(h)) {
                        http_set_full(h);
                        break;
                }
                client = accept4(fd, (struct sockaddr *) &address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
                if (client < 0) {
                        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                                (void) log_warning_errno(errno, "Failed to accept a connection: %m");
                                (void) http_make_room(h);
                                http_set_full(h);
                        }
                        break;
                }
                if (h->tls && !tls_is_ready(h->tls)) {
                        (void) close(client);
                        continue;
                }
                http_accept(h, client, (const struct sockaddr *) &address, size);
        }
        return http_run_soon(h);
}

int http_listen(Http *h, int fd) {
        const int unsent_max = UNSENT_MAX;
        sd_event_source **grown;
        int r;

        /* systemd passes sockets that block; another process may accept what this one was woken for. */
        if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
                return -errno;
        (void) setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent_max, sizeof(unsent_max)); /* those accepted inherit it */
        grown = realloc(h->listeners, (h->n_listeners + 1) * sizeof(sd_event_source *));
        if (!grown)
                return -ENOMEM;
        h->listeners = grown;
        r = sd_event_add_io(h->event, grown + h->n_listeners, fd, EPOLLIN, on_accept, h);
        if (r < 0)
                return r;
        h->n_listeners++;
        r = sd_event_source_set_priority(grown[h->n_listeners - 1], ACCEPT_PRIORITY);
        if (r < 0)
                return r;
        return sd_event_source_set_io_fd_own(grown[h->n_listeners - 1], true);
}

/* ---- the sweep ---- */

static void sweep_phases(Http *h) {
        uint64_t now = now_usec();

        for (Phase p = 0; p < _PHASE_MAX; p++) {
                uint64_t limit = phase_time(h, p);
                HttpConnection *c;

                if (limit == USEC_INFINITY)
                        continue;
                while ((c = h->phases[p].head) && usec_sub(now, c->since) >= limit)
                        if (!connection_goes_on(c, now))
                                connection_time_out(c);
        }
}

/* Looks at the connections of a phase that were in it before the last sweep: most are through sooner, and
 * never cost a look. Their number; h->polled is in the list's order. */
static size_t poll_phase(Http *h, Phase phase) {
        const ConnectionList *l = h->phases + phase;
        uint64_t now = now_usec();
        size_t n = 0;

        if (h->n_polled_allocated < l->n) {
                size_t wanted = MAX((size_t) l->n, 2 * h->n_polled_allocated);
                struct pollfd *grown = realloc(h->polled, wanted * sizeof(struct pollfd));
                if (!grown)
                        return 0;
                h->polled = grown;
                h->n_polled_allocated = wanted;
        }
        for (HttpConnection *c = l->head; c && now - c->since >= SWEEP_USEC; c = c->in[LIST_PHASE].next)
                h->polled[n++] = (struct pollfd) { .fd = c->fd, .events = POLLRDHUP };
        if (n == 0 || poll(h->polled, (nfds_t) n, 0) <= 0)
                return 0;
        return n;
}

static void sweep_hangups(Http *h, Phase phase) {
        size_t n = poll_phase(h, phase);
        HttpConnection *c = h->phases[phase].head, *next;

        for (size_t i = 0; i < n; i++, c = next) {
                next = c->in[LIST_PHASE].next;
                if (h->polled[i].revents == 0)
                        continue;
                if (phase == PHASE_WAITING)
                        h->ops->hangup(c->request);
                else if (!connection_has_input(c))
                        connection_doom(c);
        }
}

/* The end of a connection that came together with the last bytes goes by libmicrohttpd: it waits for
 * another edge. */
static void sweep_unfinished(Http *h) {
        if (++h->n_sweeps % UNFINISHED_SWEEPS != 0)
                return;
        sweep_hangups(h, PHASE_FRESH);
        sweep_hangups(h, PHASE_IDLE);
        sweep_hangups(h, PHASE_HEADER);
        sweep_hangups(h, PHASE_BODY);
}

/* While we stop: a request that is on its way is served, silence is not waited for. */
static void sweep_silent(Http *h) {
        static const Phase phases[] = { PHASE_IDLE, PHASE_FRESH };
        uint64_t now = now_usec();

        for (size_t i = 0; i < ELEMENTSOF(phases); i++)
                for (HttpConnection *c = h->phases[phases[i]].head, *next; c; c = next) {
                        next = c->in[LIST_PHASE].next;
                        if ((c->phase == PHASE_IDLE || now - c->since >= STOP_GRACE_USEC) &&
                            !connection_has_input(c))
                                connection_doom(c);
                }
}

static int on_sweep(sd_event_source *s, uint64_t usec, void *userdata) {
        Http *h = userdata;

        sweep_phases(h);
        sweep_hangups(h, PHASE_WAITING);
        sweep_unfinished(h);
        if (h->stopping)
                sweep_silent(h);
        else if (h->full) {
                h->full = false;
                listeners_set(h, true);
        }
        http_run(h);

        if (h->metrics.connections > 0 || h->full)
                return http_arm_sweep(h);
        if (h->stopping && h->stopped)
                h->stopped(h->stopped_userdata);
        return 0;
}

static int http_arm_sweep(Http *h) {
        if (sd_event_source_get_enabled(h->sweep, NULL) > 0)
                return 0;
        return sd_event_source_set_time_relative(h->sweep, SWEEP_USEC) < 0 ? -EIO
                : sd_event_source_set_enabled(h->sweep, SD_EVENT_ONESHOT);
}

/* ---- life ---- */

static void on_mhd_log(void *userdata, const char *format, va_list ap) {
        char line[512];

        if (log_get_max_level() < LOG_DEBUG)
                return;
        (void) vsnprintf(line, sizeof(line), format, ap);
        line[strcspn(line, "\n")] = 0;
        log_debug("libmicrohttpd: %s", line);
}

/* Paths are compared as they came: a decoded one could hold what its parser never saw. */
static size_t unescape_nothing(void *userdata, struct MHD_Connection *mhd, char *s) {
        return strlen(s);
}

static int start_daemon(Http *h) {
        const struct MHD_OptionItem none[] = { { MHD_OPTION_END, 0, NULL } };
        const struct MHD_OptionItem tls[] = {
                { MHD_OPTION_HTTPS_CERT_CALLBACK, 0, (void *) tls_retrieve },
                { MHD_OPTION_HTTPS_PRIORITIES, 0, (void *) TLS_PRIORITIES },
                { MHD_OPTION_END, 0, NULL },
        };

        h->daemon = MHD_start_daemon(
                MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ERROR_LOG |
                        (h->tls ? MHD_USE_TLS : 0), 0,
                NULL, NULL, on_request, h,
                /* First, as the documentation asks for. */
                MHD_OPTION_EXTERNAL_LOGGER, on_mhd_log, h,
                /* We accept, and count; never have it refuse one of ours. */
                MHD_OPTION_CONNECTION_LIMIT, 65536U,
                MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t) h->settings->header_bytes_max,
                MHD_OPTION_CONNECTION_TIMEOUT, (unsigned) (h->settings->idle_timeout / USEC_PER_SEC),
                MHD_OPTION_STRICT_FOR_CLIENT, 1,
                MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,
                MHD_OPTION_NOTIFY_COMPLETED, on_completed, h,
                MHD_OPTION_NOTIFY_CONNECTION, on_connection, h,
                MHD_OPTION_URI_LOG_CALLBACK, on_uri, h,
                MHD_OPTION_UNESCAPE_CALLBACK, unescape_nothing, NULL,
                MHD_OPTION_ARRAY, h->tls ? tls : none,
                MHD_OPTION_END);
        return h->daemon ? 0 : -EIO;
}

static int attach_daemon(Http *h) {
        const union MHD_DaemonInfo *info;
        int r;

        info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
        if (!info)
                return -EIO;
        r = sd_event_add_io(h->event, &h->io, info->epoll_fd, EPOLLIN, on_epoll, h);
        if (r < 0)
                return r;
        r = sd_event_source_set_priority(h->io, RUN_PRIORITY);
        if (r < 0)
                return r;
        r = sd_event_add_defer(h->event, &h->again, on_again, h);
        if (r < 0)
                return r;
        r = sd_event_source_set_priority(h->again, RUN_PRIORITY);
        if (r < 0)
                return r;
        r = sd_event_add_time_relative(h->event, &h->later, CLOCK_MONOTONIC, HANDSHAKE_USEC, USEC_PER_MSEC, on_later, h);
        if (r >= 0)
                r = sd_event_source_set_enabled(h->later, SD_EVENT_OFF);
        if (r < 0)
                return r;
        r = sd_event_add_time_relative(h->event, &h->sweep, CLOCK_MONOTONIC, SWEEP_USEC, SWEEP_USEC / 5, on_sweep, h);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(h->sweep, SD_EVENT_OFF);
}

int http_new(sd_event *event, const Settings *settings, Tls *tls, const HttpOps *ops, void *userdata, Http **ret) {
        _cleanup_(http_freep) Http *h = NULL;
        int r;

        h = calloc(1, sizeof(Http));
        if (!h)
                return -ENOMEM;
        h->event = sd_event_ref(event);
        h->settings = settings;
        h->tls = tls;
        h->ops = ops;
        h->userdata = userdata;
        r = start_daemon(h);
        if (r < 0)
                return r;
        r = attach_daemon(h);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(h);
        return 0;
}

Http *http_free(Http *h) {
        if (!h)
                return NULL;
        assert(h->phases[PHASE_WAITING].n == 0);
        for (size_t i = 0; i < h->n_listeners; i++)
                sd_event_source_disable_unref(h->listeners[i]);
        free(h->listeners);
        sd_event_source_disable_unref(h->io);
        sd_event_source_disable_unref(h->again);
        sd_event_source_disable_unref(h->later);
        h->stopping = true;
        if (h->daemon)
                MHD_stop_daemon(h->daemon);
        sd_event_source_disable_unref(h->sweep);
        free(h->polled);
        sd_event_unref(h->event);
        free(h);
        return NULL;
}

void http_stop(Http *h, void (*done)(void *userdata), void *userdata) {
        h->stopping = true;
        h->stopped = done;
        h->stopped_userdata = userdata;
        listeners_set(h, false);
        sweep_silent(h);
        for (HttpConnection *c = h->phases[PHASE_WAITING].head, *next; c; c = next) {
                next = c->in[LIST_PHASE].next;
                h->ops->stopping(c->request);
        }
        (void) http_run_soon(h);
        (void) http_arm_sweep(h);
}

bool http_is_stopping(const Http *h) {
        return h->stopping;
}

void http_abandon(Http *h) {
        HttpConnection *c;

        while ((c = h->phases[PHASE_WAITING].head))
                h->ops->hangup(c->request);
        http_run(h);
}

HttpMetrics *http_metrics(Http *h) {
        return &h->metrics;
}

unsigned http_waiting(const Http *h) {
        return h->phases[PHASE_WAITING].n;
}
