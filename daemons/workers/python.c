/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sand-worker-python: the function is a callable of a Python module. The module is imported once, in the
 * worker; each event meets the interpreter as it was then. */

#include "python-worker.h"

#include <stdio.h>
#include <sys/stat.h>

#include "macro.h"
#include "zygote.h"

#define BAD_JSON "The event is not valid JSON (%s). To send bytes, say what they are in the Content-Type, for " \
        "example \"application/octet-stream\"."

static PyObject *handler, *asyncio_run;

/* Python's own logging, where the function uses it: each line with its priority, as the journal wants it. */
static const char logging_setup[] =
        "import logging, sys\n"
        "class Handler(logging.StreamHandler):\n"
        "    def format(self, record):\n"
        "        n = record.levelno\n"
        "        p = 2 if n >= 50 else 3 if n >= 40 else 4 if n >= 30 else 6 if n >= 20 else 7\n"
        "        return '\\n'.join('<%d>%s' % (p, line) for line in super().format(record).split('\\n'))\n"
        "if not logging.getLogger().handlers:\n"
        "    logging.getLogger().addHandler(Handler(sys.stderr))\n";

/* What is printed reaches the journal by lines, and never fails for its characters. */
static const char stdio_setup[] =
        "import sys\n"
        "sys.stdout.reconfigure(line_buffering=True, errors='backslashreplace')\n"
        "sys.stderr.reconfigure(line_buffering=True, errors='backslashreplace')\n";

static int run_text(const char *text) {
        PyObject *globals = PyDict_New(), *result = NULL;

        if (globals && PyDict_SetItemString(globals, "__builtins__", PyEval_GetBuiltins()) >= 0)
                result = PyRun_String(text, Py_file_input, globals, globals);
        Py_XDECREF(globals);
        Py_XDECREF(result);
        return result ? 0 : -1;
}

/* Loading */

/* Debian's interpreter with its packages, without anybody's home directory, in UTF-8. */
static PyStatus initialize(char *program) {
        PyPreConfig before;
        PyConfig config;
        PyStatus status;

        PyPreConfig_InitPythonConfig(&before);
        before.utf8_mode = 1;
        before.parse_argv = 0;
        status = Py_PreInitialize(&before);
        if (PyStatus_Exception(status))
                return status;

        PyConfig_InitPythonConfig(&config);
        config.parse_argv = 0;
        config.user_site_directory = 0;
        config.safe_path = 1;
        config.write_bytecode = 0;
        status = PyConfig_SetString(&config, &config.program_name, L"/usr/bin/python3");
        if (!PyStatus_Exception(status))
                status = PyConfig_SetBytesArgv(&config, 1, &program);
        if (!PyStatus_Exception(status))
                status = Py_InitializeFromConfig(&config);
        PyConfig_Clear(&config);
        return status;
}

/* The bundle before all else, then what it brings along. */
static int set_path(void) {
        PyObject *path = PySys_GetObject("path"), *directory;
        char name[4096], vendor[sizeof(name) + 16];
        const char *const first[] = { vendor, name };
        struct stat st;

        if (!path || !getcwd(name, sizeof(name)))
                return -1;
        (void) snprintf(vendor, sizeof(vendor), "%s/vendor/python", name);
        for (size_t i = 0; i < ELEMENTSOF(first); i++) {
                int r;

                if (stat(first[i], &st) < 0)
                        continue;
                directory = PyUnicode_DecodeFSDefault(first[i]);
                r = directory ? PyList_Insert(path, 0, directory) : -1;
                Py_XDECREF(directory);
                if (r < 0)
                        return -1;
        }
        return 0;
}

static int load_exception(LoadError *error) {
        ExceptionText t;

        exception_take(&t, false);
        /* The strings change hands. */
        *error = (LoadError) { .message = t.message, .error = t.error, .cause = t.cause };
        return -ELIBBAD;
}

/* "pkg.module.attribute"; AWS Lambda's "folder/module.attribute" as well. */
static int find_handler(const char *name, LoadError *error) {
        _cleanup_(freep) char *module = strdup(name);
        PyObject *imported;
        char *dot;

        if (!module)
                return -ENOMEM;
        dot = strrchr(module, '.');
        if (!dot || dot == module || !dot[1])
                return load_error(error, -EINVAL, "LoadError", NULL,
                                  "The handler is \"%s\", expected \"MODULE.FUNCTION\".", name);
        *dot = 0;
        for (char *p = module; *p; p++)
                if (*p == '/')
                        *p = '.';

        imported = PyImport_ImportModule(module);
        if (!imported)
                return load_exception(error);
        handler = PyObject_GetAttrString(imported, dot + 1);
        Py_DECREF(imported);
        PyErr_Clear();
        if (!handler || !PyCallable_Check(handler))
                return load_error(error, -ENOENT, "HandlerNotFound", NULL, "Module %s has no function \"%s\".",
                                  module, dot + 1);
        return 0;
}

static bool is_coroutine_function(PyObject *f) {
        PyObject *code = PyFunction_Check(f) ? PyFunction_GET_CODE(f) : NULL;

        return code && ((PyCodeObject *) code)->co_flags & CO_COROUTINE;
}

static int get_asyncio(void) {
        PyObject *asyncio;

        if (asyncio_run)
                return 0;
        asyncio = PyImport_ImportModule("asyncio");
        if (!asyncio)
                return -1;
        asyncio_run = PyObject_GetAttrString(asyncio, "run");
        Py_DECREF(asyncio);
        return asyncio_run ? 0 : -1;
}

/* What the instances need is imported here, once; what is not used is not imported. */
static int finish_setup(void) {
        PyObject *modules = PyImport_GetModuleDict(), *gc, *r;

        if (is_coroutine_function(handler) && get_asyncio() < 0)
                return -1;
        if (PyDict_GetItemString(modules, "logging") && run_text(logging_setup) < 0)
                return -1;
        if (fork_settle() < 0)
                return -1;
        /* The collector would write into every object that it looks at, and so copy its page. */
        gc = PyImport_ImportModule("gc");
        r = gc ? PyObject_CallMethod(gc, "collect", NULL) : NULL;
        Py_XDECREF(r);
        r = r ? PyObject_CallMethod(gc, "freeze", NULL) : NULL;
        Py_XDECREF(r);
        Py_XDECREF(gc);
        return r ? 0 : -1;
}

static int load(int argc, char *argv[], LoadError *error) {
        PyObject *module;
        PyStatus status;
        int r;

        if (argc != 2)
                return load_error(error, -EINVAL, "LoadError", NULL,
                                  "The handler has %d parts, expected one string \"MODULE.FUNCTION\".", argc - 1);
        if (PyImport_AppendInittab("sand", PyInit_sand) < 0)
                return -ENOMEM;
        status = initialize(argv[0]);
        if (PyStatus_Exception(status))
                return load_error(error, -ELIBACC, "LoadError", NULL, "Failed to start Python: %s",
                                  strempty(status.err_msg));
        module = PyImport_ImportModule("sand");
        Py_XDECREF(module); /* sys.modules has it */
        if (!module || run_text(stdio_setup) < 0 || fork_setup() < 0 || set_path() < 0 || value_setup() < 0)
                return load_exception(error);
        r = find_handler(argv[1], error);
        if (r < 0)
                return r;
        return finish_setup() < 0 ? load_exception(error) : 0;
}

/* In the instance */

/* random seeds itself anew after a fork; numpy's global generator does not. */
static int start(void) {
        PyObject *numpy = PyDict_GetItemString(PyImport_GetModuleDict(), "numpy.random"), *r;

        if (!numpy)
                return 0;
        r = PyObject_CallMethod(numpy, "seed", NULL);
        Py_XDECREF(r);
        PyErr_Clear();
        return 0;
}

static PyObject *decode_event(sand_context *context, const void *event, size_t size) {
        _cleanup_(exception_text_done) ExceptionText t = {};
        _cleanup_(freep) char *message = NULL;
        PyObject *value = value_decode(event, size, sand_content_type(context));

        if (value || PyErr_ExceptionMatches(PyExc_MemoryError))
                return value;
        exception_take(&t, true);
        if (asprintf(&message, BAD_JSON, strempty(t.message)) < 0)
                message = NULL;
        (void) context_fail_as(context, "BadRequest", message);
        return NULL;
}

/* Takes `result`. */
static PyObject *await_result(PyObject *result) {
        PyObject *value;

        if (!result || !PyCoro_CheckExact(result))
                return result;
        value = get_asyncio() < 0 ? NULL : PyObject_CallOneArg(asyncio_run, result);
        Py_DECREF(result);
        return value;
}

static int reply(sand_context *context, PyObject *result) {
        _cleanup_(exception_text_done) ExceptionText t = {};
        _cleanup_(freep) char *message = NULL;
        const char *data, *content_type;
        PyObject *owner;
        size_t size;
        int r;

        if (value_encode(result, &owner, &data, &size, &content_type) < 0) {
                if (PyErr_ExceptionMatches(PyExc_MemoryError))
                        return exception_fail(context);
                exception_take(&t, true);
                if (asprintf(&message, "Unable to marshal response: %s", strempty(t.message)) < 0)
                        message = NULL;
                return context_fail(context, "Runtime.MarshalError", message, t.cause);
        }
        r = sand_reply_content_type(context, content_type);
        if (r >= 0)
                r = sand_reply(context, data, size);
        Py_DECREF(owner);
        return r;
}

static void flush_stdio(void) {
        static const char *const names[] = { "stdout", "stderr" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                PyObject *file = PySys_GetObject(names[i]), *r;

                r = file && file != Py_None ? PyObject_CallMethod(file, "flush", NULL) : NULL;
                Py_XDECREF(r);
                PyErr_Clear();
        }
}

static int handle(sand_context *context, const void *event, size_t size) {
        PyObject *value, *object = NULL, *result = NULL;
        int r;

        value = decode_event(context, event, size);
        if (!value)
                return PyErr_Occurred() ? exception_fail(context) : -ECANCELED;
        object = context_object_new(context);
        if (object)
                result = await_result(PyObject_CallFunctionObjArgs(handler, value, object, NULL));
        r = result ? reply(context, result) : exception_fail(context);

        flush_stdio();
        if (object)
                context_object_end(object);
        Py_XDECREF(value);
        Py_XDECREF(object);
        Py_XDECREF(result);
        return r;
}

int main(int argc, char *argv[]) {
        static const WorkerRuntime runtime = {
                .load = load,
                .start = start,
                .handle = handle,
                .before_fork = fork_before,
                .after_fork_parent = fork_parent,
                .after_fork_child = fork_child,
        };

        return worker_main(&runtime, argc, argv);
}
