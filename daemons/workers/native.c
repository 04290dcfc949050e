/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sand-worker-native: the function is a symbol of a shared object of the bundle. */

#include <dlfcn.h>
#include <stdio.h>

#include "context.h"
#include "macro.h"
#include "zygote.h"

static sand_function function;

/* A path without a slash would be looked for where libraries are, not in the bundle. */
static int open_object(const char *path, void **ret, LoadError *error) {
        _cleanup_(freep) char *local = NULL;
        void *object;

        if (asprintf(&local, "%s%s", strchr(path, '/') ? "" : "./", path) < 0) {
                local = NULL;
                return -ENOMEM;
        }
        object = dlopen(local, RTLD_NOW | RTLD_LOCAL);
        if (!object)
                return load_error(error, -ELIBACC, "LoadError", NULL, "%s", dlerror());
        *ret = object;
        return 0;
}

static int load(int argc, char *argv[], LoadError *error) {
        _cleanup_(freep) char *path = NULL;
        void *object = NULL, *symbol;
        char *colon;
        int r;

        path = strdup(argv[1]);
        if (!path)
                return -ENOMEM;
        colon = strrchr(path, ':');
        if (argc != 2 || !colon || colon == path || !colon[1])
                return load_error(error, -EINVAL, "LoadError", NULL,
                                  "The handler is \"%s\", expected \"FILE.so:SYMBOL\".", argv[1]);
        *colon = 0;

        r = open_object(path, &object, error);
        if (r < 0)
                return r;
        symbol = dlsym(object, colon + 1);
        if (!symbol)
                return load_error(error, -ENOENT, "MissingSymbol", NULL,
                                  "%s exports no function \"%s\".", path, colon + 1);
        function = (sand_function) symbol;
        return context_prepare_export();
}

static int handle(sand_context *context, const void *event, size_t size) {
        int r = context_export(context);

        return r < 0 ? r : function(context, event, size);
}

int main(int argc, char *argv[]) {
        static const WorkerRuntime runtime = {
                .load = load,
                .handle = handle,
        };

        return worker_main(&runtime, argc, argv);
}
