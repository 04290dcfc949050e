/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* libcurl's multi interface in the loop: https://curl.se/libcurl/c/libcurl-multi.html, "multi_socket". Where a name leads is
 * looked at when the socket is made, so that no name and no redirection reaches what is local. */

#include "callback.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../shared/log.h"
#include "config.h"
#include "document.h"

#define SECRET_SIZE_MAX 4096U
#define POSTS_MAX 64U

const RetryPolicy callback_policy = {
        .attempts = 8, .delay_usec = 2 * USEC_PER_SEC, .backoff = 3, .delay_max_usec = 30 * USEC_PER_MINUTE,
        .age_max_usec = 24 * USEC_PER_HOUR, .timeouts = true,
};

typedef struct Post {
        Callbacks *callbacks;
        struct Post *prev, *next;
        CURL *curl;
        struct curl_slist *headers;
        char error[CURL_ERROR_SIZE];
        bool refused;       /* the address is not one to be posted to */
        callback_done_t done;
        void *userdata;
} Post;

struct Callbacks {
        Globald *globald;
        CURLM *multi;
        sd_event_source *timer;
        Post *posts;
        unsigned n;
};

bool callback_is(const char *function) {
        return streq(function, CALLBACK_FUNCTION);
}

json_object *callback_document(const LogEvent *e, const LogFinish *f) {
        LogEvent ended = *e;

        ended.state = f->outcome == LOG_SUCCEEDED ? LOG_DONE : LOG_DEAD;
        ended.finished_usec = f->now;
        ended.error = f->error;
        ended.error_class = f->error_class;
        ended.message = f->message;
        ended.cause = f->cause;
        ended.result_type = f->result_type;
        ended.result = f->result;
        ended.result_size = f->result_size;
        return document_new(&ended, DOCUMENT_RESULT);
}

/* ---- where it goes ---- */

static bool v4_is_local(uint32_t a) { /* host order */
        return a >> 24 == 127 || a >> 24 == 0 || a >> 16 == 0xa9fe || a >> 28 >= 14; /* loopback, this, link-local, multicast */
}

/* The address that a translator or a tunnel makes of this one: NAT64 (RFC 6052), 6to4 (RFC 3056). */
static bool v6_embeds(const struct in6_addr *a, uint32_t *ret) {
        static const uint8_t nat64[12] = { 0x00, 0x64, 0xff, 0x9b };
        size_t at;

        if (IN6_IS_ADDR_V4MAPPED(a) || IN6_IS_ADDR_V4COMPAT(a) || memcmp(a->s6_addr, nat64, sizeof(nat64)) == 0)
                at = 12;
        else if (a->s6_addr[0] == 0x20 && a->s6_addr[1] == 0x02)
                at = 2;
        else
                return false;
        memcpy(ret, a->s6_addr + at, sizeof(*ret));
        *ret = ntohl(*ret);
        return true;
}

static bool address_is_local(const struct sockaddr *sa) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *) (const void *) sa;
        uint32_t v4;

        if (sa->sa_family == AF_INET)
                return v4_is_local(ntohl(((const struct sockaddr_in *) (const void *) sa)->sin_addr.s_addr));
        if (sa->sa_family != AF_INET6)
                return true;
        if (v6_embeds(&in6->sin6_addr, &v4))
                return v4_is_local(v4);
        return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr) || IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr) ||
               IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr) || IN6_IS_ADDR_MULTICAST(&in6->sin6_addr);
}

static curl_socket_t on_open_socket(void *userdata, curlsocktype purpose, struct curl_sockaddr *address) {
        Post *p = userdata;

        if (!p->callbacks->globald->settings.callback_allow_local && address_is_local(&address->addr)) {
                p->refused = true;
                return CURL_SOCKET_BAD;
        }
        return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* ---- the signature ---- */

/* "Sand-Signature: t=SECONDS,v1=HEX": HMAC-SHA256 of "SECONDS.BODY" with what is in the file. */
static int sign(const char *file, const LogEvent *e, char *ret, size_t size) {
        _cleanup_(closep) int fd = open(file, O_RDONLY | O_CLOEXEC);
        uint8_t secret[SECRET_SIZE_MAX], mac[32];
        gnutls_hmac_hd_t hmac;
        char seconds[32];
        size_t used;
        ssize_t n;

        if (fd < 0)
                return -errno;
        n = read(fd, secret, sizeof(secret));
        if (n < 0)
                return -errno;
        while (n > 0 && (secret[n - 1] == '\n' || secret[n - 1] == '\r'))
                n--;
        if (n == 0)
                return -ENODATA;
        (void) snprintf(seconds, sizeof(seconds), "%llu", (unsigned long long) (now_realtime_usec() / USEC_PER_SEC));
        if (gnutls_hmac_init(&hmac, GNUTLS_MAC_SHA256, secret, (size_t) n) < 0)
                return -ENOMEM;
        (void) gnutls_hmac(hmac, seconds, strlen(seconds));
        (void) gnutls_hmac(hmac, ".", 1);
        (void) gnutls_hmac(hmac, e->data, e->size);
        gnutls_hmac_deinit(hmac, mac);
        explicit_bzero(secret, sizeof(secret));
        used = (size_t) snprintf(ret, size, "Sand-Signature: t=%s,v1=", seconds);
        for (size_t i = 0; i < sizeof(mac); i++)
                used += (size_t) snprintf(ret + used, size - used, "%02x", mac[i]);
        return 0;
}

/* ---- one request ---- */

static void post_free(Post *p) {
        Callbacks *c = p->callbacks;

        if (p->prev)
                p->prev->next = p->next;
        else
                c->posts = p->next;
        if (p->next)
                p->next->prev = p->prev;
        c->n--;
        (void) curl_multi_remove_handle(c->multi, p->curl);
        curl_easy_cleanup(p->curl);
        curl_slist_free_all(p->headers);
        free(p);
}

static size_t on_answer(char *data, size_t size, size_t n, void *userdata) {
        return size * n; /* nobody reads it */
}

static void post_done(Post *p, CURLcode result) {
        callback_done_t done = p->done;
        void *userdata = p->userdata;
        char message[CURL_ERROR_SIZE + 64];
        SandError error = _SAND_ERROR_INVALID;
        long status = 0;

        (void) curl_easy_getinfo(p->curl, CURLINFO_RESPONSE_CODE, &status);
        if (p->refused) {
                error = SAND_ERROR_DENIED;
                (void) strcpy(message, "The callback's address is local: [Callback] AllowLocal= in globald.conf lets it through.");
        } else if (result != CURLE_OK) {
                error = SAND_ERROR_CRASHED; /* one attempt, to be tried again */
                (void) snprintf(message, sizeof(message), "The callback failed: %s",
                                *p->error ? p->error : curl_easy_strerror(result));
        } else if (status / 100 != 2) {
                error = status / 100 == 4 && status != 408 && status != 429 ? SAND_ERROR_BAD_REQUEST : SAND_ERROR_CRASHED;
                (void) snprintf(message, sizeof(message), "The callback was answered with %ld.", status);
        } else
                *message = 0;
        post_free(p);
        done(error, message, userdata);
}

static int post_setup(Post *p, const LogEvent *e) {
        const Settings *s = &p->callbacks->globald->settings;
        char text[256], id[LOG_ID_LENGTH + 1];
        struct curl_slist *l;
        int r;

        log_id_to_string(e->id, id);
        p->headers = curl_slist_append(NULL, "Content-Type: application/json");
        (void) snprintf(text, sizeof(text), "Sand-Execution: %s", e->execution);
        l = curl_slist_append(p->headers, text);
        if (!l)
                return -ENOMEM;
        if (!isempty(s->callback_secret_file)) {
                r = sign(s->callback_secret_file, e, text, sizeof(text));
                if (r < 0)
                        return r;
                if (!curl_slist_append(p->headers, text))
                        return -ENOMEM;
        }
        (void) curl_easy_setopt(p->curl, CURLOPT_PRIVATE, p);
        (void) curl_easy_setopt(p->curl, CURLOPT_URL, e->callback);
        (void) curl_easy_setopt(p->curl, CURLOPT_PROTOCOLS_STR, "http,https");
        (void) curl_easy_setopt(p->curl, CURLOPT_PROXY, "");
        (void) curl_easy_setopt(p->curl, CURLOPT_NOSIGNAL, 1L);
        (void) curl_easy_setopt(p->curl, CURLOPT_POST, 1L);
        (void) curl_easy_setopt(p->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) e->size);
        (void) curl_easy_setopt(p->curl, CURLOPT_POSTFIELDS, e->data);
        (void) curl_easy_setopt(p->curl, CURLOPT_HTTPHEADER, p->headers);
        (void) curl_easy_setopt(p->curl, CURLOPT_USERAGENT, "sand-globald/" SAND_VERSION);
        (void) curl_easy_setopt(p->curl, CURLOPT_TIMEOUT_MS, (long) (s->callback_timeout / USEC_PER_MSEC));
        (void) curl_easy_setopt(p->curl, CURLOPT_ERRORBUFFER, p->error);
        (void) curl_easy_setopt(p->curl, CURLOPT_WRITEFUNCTION, on_answer);
        (void) curl_easy_setopt(p->curl, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
        (void) curl_easy_setopt(p->curl, CURLOPT_OPENSOCKETDATA, p);
        return curl_multi_add_handle(p->callbacks->multi, p->curl) == CURLM_OK ? 0 : -ENOMEM;
}

void callback_post(Globald *g, const LogEvent *e, callback_done_t done, void *userdata) {
        Callbacks *c = g->callbacks;
        Post *p;
        int r;

        if (isempty(e->callback)) {
                done(SAND_ERROR_BAD_REQUEST, "The event has no URL to be posted to.", userdata);
                return;
        }
        p = c->n < POSTS_MAX ? calloc(1, sizeof(Post)) : NULL;
        if (!p) {
                done(SAND_ERROR_BUSY, "Too many callbacks are under way.", userdata);
                return;
        }
        *p = (Post) { .callbacks = c, .next = c->posts, .done = done, .userdata = userdata, .curl = curl_easy_init() };
        if (p->next)
                p->next->prev = p;
        c->posts = p;
        c->n++;
        r = p->curl ? post_setup(p, e) : -ENOMEM;
        if (r >= 0)
                return;
        errno = -r;
        (void) log_error_errno(r, "Failed to post a callback%s: %m",
                               isempty(g->settings.callback_secret_file) ? "" : ", or to read [Callback] SecretFile=");
        post_free(p);
        done(SAND_ERROR_CRASHED, "The callback could not be made; the journal of sand-globald says why.", userdata);
}

/* ---- libcurl in the loop ---- */

static void take_messages(Callbacks *c) {
        CURLMsg *m;
        int left;

        while ((m = curl_multi_info_read(c->multi, &left)))
                if (m->msg == CURLMSG_DONE) {
                        CURLcode result = m->data.result;
                        Post *p = NULL;

                        (void) curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **) &p);
                        post_done(p, result);
                }
}

static int on_socket_event(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Callbacks *c = userdata;
        int running, action = (revents & (EPOLLIN | EPOLLHUP) ? CURL_CSELECT_IN : 0) | (revents & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                              (revents & EPOLLERR ? CURL_CSELECT_ERR : 0);

        (void) curl_multi_socket_action(c->multi, fd, action, &running);
        take_messages(c);
        return 0;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *userdata, void *of_socket) {
        sd_event_source *source = of_socket;
        uint32_t events = (what & CURL_POLL_IN ? EPOLLIN : 0U) | (what & CURL_POLL_OUT ? EPOLLOUT : 0U);
        Callbacks *c = userdata;

        if (what == CURL_POLL_REMOVE) {
                sd_event_source_disable_unref(source);
                return 0;
        }
        if (source)
                return sd_event_source_set_io_events(source, events) < 0 ? -1 : 0;
        if (sd_event_add_io(c->globald->event, &source, fd, events, on_socket_event, c) < 0)
                return -1;
        (void) curl_multi_assign(c->multi, fd, source);
        return 0;
}

static int on_timer_event(sd_event_source *source, uint64_t usec, void *userdata) {
        Callbacks *c = userdata;
        int running;

        (void) curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
        take_messages(c);
        return 0;
}

static int on_timer(CURLM *multi, long milliseconds, void *userdata) {
        Callbacks *c = userdata;

        if (milliseconds < 0)
                return sd_event_source_set_enabled(c->timer, SD_EVENT_OFF) < 0 ? -1 : 0;
        (void) sd_event_source_set_time_relative(c->timer, (uint64_t) milliseconds * USEC_PER_MSEC);
        return sd_event_source_set_enabled(c->timer, SD_EVENT_ONESHOT) < 0 ? -1 : 0;
}

int callbacks_new(Globald *g, Callbacks **ret) {
        Callbacks *c;
        int r;

        if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
                return -ENOMEM;
        c = calloc(1, sizeof(Callbacks));
        if (!c)
                return -ENOMEM;
        c->globald = g;
        c->multi = curl_multi_init();
        r = c->multi ? sd_event_add_time_relative(g->event, &c->timer, CLOCK_MONOTONIC, 0, USEC_PER_MSEC, on_timer_event, c)
                     : -ENOMEM;
        if (r >= 0)
                r = sd_event_source_set_enabled(c->timer, SD_EVENT_OFF);
        if (r < 0) {
                callbacks_free(c);
                return r;
        }
        (void) curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
        (void) curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
        (void) curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_timer);
        (void) curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
        *ret = c;
        return 0;
}

Callbacks *callbacks_free(Callbacks *c) {
        if (!c)
                return NULL;
        while (c->posts)
                post_free(c->posts);
        if (c->multi)
                (void) curl_multi_cleanup(c->multi);
        sd_event_source_disable_unref(c->timer);
        free(c);
        return NULL;
}
