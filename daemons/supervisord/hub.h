/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The descriptors that messages come from, callers' and instances', in one source of the loop. sd-event asks the kernel
 * anew before each source that it serves; here one question is for as many as are ready, and what they have to say is
 * one turn: all are served once, in the kernel's order, which puts who was served behind the others. What callers
 * are answered meanwhile goes out at the turn's end, so that they wake once, and the events that came are handed out
 * after that. */

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

/* Of what can wait while there are messages: output, ended processes, housekeeping. Messages that never stop coming do
 * not make it wait for ever: after so many turns the hub is one of these, once, and the loop serves them in the order in which
 * they became ready. */
#define HUB_BEHIND_PRIORITY (SD_EVENT_PRIORITY_NORMAL + 10)
#define HUB_TURNS_MAX 32U

typedef struct Hub Hub;
typedef struct HubSource HubSource;

typedef void (*hub_handler_t)(uint32_t revents, void *userdata);

/* `after` is called at the end of each turn. */
int hub_new(sd_event *event, void (*after)(void *userdata), void *userdata, Hub **ret);
Hub *hub_free(Hub *h);
/* While a turn lasts this is true. */
const bool *hub_turns(const Hub *h);

/* Watches `fd`, borrowed, for EPOLLIN. Any source may be removed at any time, also within a turn. */
int hub_add(Hub *h, int fd, hub_handler_t handler, void *userdata, HubSource **ret);
/* And for room to write, or not. */
void hub_want_room(HubSource *s, bool wanted);
HubSource *hub_remove(HubSource *s);
