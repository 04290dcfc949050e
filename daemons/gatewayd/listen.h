/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Listening sockets: the service manager's, or our own for a developer; loopback and unix only, as long as
 * there are no tokens and no TLS. */

/* 0 if the descriptor is a listening stream socket that only this host reaches; -EPERM if others do,
 * -ENOTSOCK if it is something else. `ret_name` (caller frees) says what it is. */
int listen_check(int fd, char **ret_name);
/* "127.0.0.1:8080", "[::1]:8080", "/path"; a port of 0 is chosen by the kernel. -EINVAL: none of these;
 * -EPERM: not loopback. */
int listen_open(const char *address);
