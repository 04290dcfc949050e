/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A worker forks by clone(), and libc then runs none of the handlers that libraries registered with
 * pthread_atfork(): OpenBLAS, for one, stops its threads in such a handler and would hang in the child
 * without it. So the worker defines the function that registers them, notes them, passes them on to libc
 * (a fork() by user code works as ever), and runs them around its own forks. Needs the linker option
 * --export-dynamic-symbol=__register_atfork. */

void atfork_prepare(void);
void atfork_parent(void);
void atfork_child(void);
