/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Requests to the kernel's rtnetlink, by libmnl: written one behind the other, sent together, answered one by
 * one. For set-up that must be over before anything else: it waits for the answers, which the kernel gives before
 * sending returns. */

#include <libmnl/libmnl.h>

#include "macro.h"

typedef struct Netlink Netlink;


int netlink_new(Netlink **ret);
Netlink *netlink_free(Netlink *n);
DEFINE_POINTER_CLEANUP(Netlink *, netlink_free);

/* Begins a request; `extra` is the size of the structure that follows the header, which is zeroed and put into
 * *ret_extra. Attributes are then put with mnl_attr_put(). Never fails: what does not fit is -E2BIG of
 * netlink_commit(). */
struct nlmsghdr *netlink_request(Netlink *n, uint16_t type, uint16_t flags, size_t extra, void *ret_extra);
/* Sends all requests begun since the last time. The first error is the result; with `ignore` set, a request whose
 * error is this errno (positive) counts as done. */
int netlink_commit(Netlink *n, int ignore);

/* Sends one request of NLM_F_DUMP, and calls back for each message of the answer; a negative result ends it. */
int netlink_dump(Netlink *n, mnl_cb_t callback, void *userdata);

/* Requests that both ends of a machine's link make. A change of a link, which attributes may be put to; `up`: raise it. */
struct nlmsghdr *netlink_change_link(Netlink *n, unsigned index, bool up);
/* In a change of a link, of which raising it is no part: no address is made, and asked for, in its name. */
void netlink_put_no_link_local(struct nlmsghdr *h);
/* Counts at once, without looking for somebody who has it already. */
void netlink_add_address(Netlink *n, unsigned index, uint8_t family, const void *address, unsigned length);
/* Known for ever: nobody is asked. */
void netlink_add_neighbour(Netlink *n, unsigned index, uint8_t family, const void *address, const uint8_t mac[6]);
/* As netlink_commit(), and a kernel without IPv6, or where it is disabled, is fine. */
int netlink_commit_ipv6(Netlink *n);
