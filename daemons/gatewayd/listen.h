/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Listening sockets: the service manager's, or our own for a developer. Those that only this host reaches are local:
 * loopback addresses, also as IPv6 writes those of IPv4, and unix sockets. All others are outside, [::] and 0.0.0.0 too. */

#include <stdbool.h>

/* `ret_name` (caller frees) says what it is. -ENOTSOCK: it is no listening stream socket; -EAFNOSUPPORT: of no family that
 * we serve. */
int listen_check(int fd, bool *ret_local, char **ret_name);
/* "127.0.0.1:8080", "[::1]:8080", "/path"; a port of 0 is chosen by the kernel. -EINVAL: none of these;
 * -EPERM: it is outside, and that is not `allowed`. */
int listen_open(const char *address, bool allowed);
