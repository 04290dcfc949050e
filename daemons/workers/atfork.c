/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "atfork.h"

#include <dlfcn.h>

#include "macro.h"

#define HANDLERS_MAX 128U

typedef void (*fork_handler_t)(void);
typedef int (*register_atfork_t)(fork_handler_t prepare, fork_handler_t parent, fork_handler_t child, void *dso);

static struct {
        fork_handler_t prepare, parent, child;
} handlers[HANDLERS_MAX];
static size_t n_handlers;

/* libc's pthread_atfork() is a stub in each library that calls this. */
int __register_atfork(fork_handler_t prepare, fork_handler_t parent, fork_handler_t child, void *dso);
int __register_atfork(fork_handler_t prepare, fork_handler_t parent, fork_handler_t child, void *dso) {
        static register_atfork_t next;

        if (!next)
                next = (register_atfork_t) dlsym(RTLD_NEXT, "__register_atfork");
        if (!next || n_handlers >= HANDLERS_MAX)
                return ENOMEM;
        handlers[n_handlers].prepare = prepare;
        handlers[n_handlers].parent = parent;
        handlers[n_handlers].child = child;
        n_handlers++;
        return next(prepare, parent, child, dso);
}

/* The library of a handler may have been unloaded since. */
static void run(fork_handler_t handler) {
        Dl_info info;

        if (handler && dladdr((void *) handler, &info))
                handler();
}

void atfork_prepare(void) {
        for (size_t i = n_handlers; i > 0; i--)
                run(handlers[i - 1].prepare);
}

void atfork_parent(void) {
        for (size_t i = 0; i < n_handlers; i++)
                run(handlers[i].parent);
}

void atfork_child(void) {
        for (size_t i = 0; i < n_handlers; i++)
                run(handlers[i].child);
}
