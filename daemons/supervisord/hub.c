/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hub.h"

#include <sys/epoll.h>

#include "macro.h"

/* Whoever is answered first in a turn waits for the others of it: this many at most. */
#define TURN_MAX 16

struct HubSource {
        Hub *hub;
        int fd;
        bool wants_room;
        hub_handler_t handler;
        void *userdata;
};

struct Hub {
        int fd;
        sd_event_source *source;
        bool turns;
        unsigned n_turns;     /* since the others had theirs */
        struct epoll_event ready[TURN_MAX];
        int n_ready;
        void (*after)(void *userdata);
        void *userdata;
};

static int on_ready(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Hub *h = userdata;

        if (h->n_turns == HUB_TURNS_MAX) {
                (void) sd_event_source_set_priority(source, SD_EVENT_PRIORITY_NORMAL);
                h->n_turns = 0;
        } else if (++h->n_turns == HUB_TURNS_MAX)
                (void) sd_event_source_set_priority(source, HUB_BEHIND_PRIORITY);

        h->n_ready = epoll_wait(h->fd, h->ready, TURN_MAX, 0);
        h->turns = true;
        for (int i = 0; i < h->n_ready; i++) {
                HubSource *s = h->ready[i].data.ptr;
                if (s)
                        s->handler(h->ready[i].events, s->userdata);
        }
        h->turns = false;
        h->n_ready = 0;
        h->after(h->userdata);
        return 0;
}

int hub_new(sd_event *event, void (*after)(void *userdata), void *userdata, Hub **ret) {
        Hub *h = calloc(1, sizeof(Hub));
        int r;

        if (!h)
                return -ENOMEM;
        h->after = after;
        h->userdata = userdata;
        h->fd = epoll_create1(EPOLL_CLOEXEC);
        r = h->fd < 0 ? -errno : sd_event_add_io(event, &h->source, h->fd, EPOLLIN, on_ready, h);
        if (r < 0) {
                hub_free(h);
                return r;
        }
        *ret = h;
        return 0;
}

Hub *hub_free(Hub *h) {
        if (!h)
                return NULL;
        sd_event_source_disable_unref(h->source);
        safe_close(h->fd);
        free(h);
        return NULL;
}

const bool *hub_turns(const Hub *h) {
        return &h->turns;
}

static int control(HubSource *s, int operation) {
        struct epoll_event e = { .events = EPOLLIN | (s->wants_room ? EPOLLOUT : 0), .data.ptr = s };

        return epoll_ctl(s->hub->fd, operation, s->fd, &e) < 0 ? -errno : 0;
}

int hub_add(Hub *h, int fd, hub_handler_t handler, void *userdata, HubSource **ret) {
        HubSource *s = malloc(sizeof(HubSource));
        int r;

        if (!s)
                return -ENOMEM;
        *s = (HubSource) { .hub = h, .fd = fd, .handler = handler, .userdata = userdata };
        r = control(s, EPOLL_CTL_ADD);
        if (r < 0) {
                free(s);
                return r;
        }
        *ret = s;
        return 0;
}

void hub_want_room(HubSource *s, bool wanted) {
        if (s->wants_room == wanted)
                return;
        s->wants_room = wanted;
        (void) control(s, EPOLL_CTL_MOD);
}

HubSource *hub_remove(HubSource *s) {
        if (!s)
                return NULL;
        for (int i = 0; i < s->hub->n_ready; i++)
                if (s->hub->ready[i].data.ptr == s)
                        s->hub->ready[i].data.ptr = NULL;
        (void) control(s, EPOLL_CTL_DEL);
        free(s);
        return NULL;
}
