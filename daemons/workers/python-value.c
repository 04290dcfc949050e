/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "python-worker.h"

#include <ctype.h>

#include "macro.h"

#define FRAMES_MAX 50  /* of a stack trace: the innermost */
#define MESSAGE_MAX (8U * 1024U)

static PyObject *json_loads, *json_encode, *json_dumps;

/* An encoder is made once; json.dumps() with options of its own would make one a call. */
int value_setup(void) {
        PyObject *json = PyImport_ImportModule("json"), *class, *options, *none, *encoder;

        if (!json)
                return -1;
        json_loads = PyObject_GetAttrString(json, "loads");
        json_dumps = PyObject_GetAttrString(json, "dumps");
        class = PyObject_GetAttrString(json, "JSONEncoder");
        Py_DECREF(json);
        options = Py_BuildValue("{sOsOs(ss)}", "ensure_ascii", Py_False, "allow_nan", Py_False, "separators", ",", ":");
        none = PyTuple_New(0);
        encoder = class && options && none ? PyObject_Call(class, none, options) : NULL;
        if (encoder)
                json_encode = PyObject_GetAttrString(encoder, "encode");
        Py_XDECREF(class);
        Py_XDECREF(options);
        Py_XDECREF(none);
        Py_XDECREF(encoder);
        return json_loads && json_dumps && json_encode ? 0 : -1;
}

/* curl says application/x-www-form-urlencoded where it is told nothing. */
bool value_is_json(const char *content_type) {
        static const char *const types[] = { "application/json", "text/json", "application/x-www-form-urlencoded" };
        size_t l = strcspn(content_type, ";");

        while (l > 0 && isspace((unsigned char) content_type[l - 1]))
                l--;
        if (l == 0)
                return true;
        for (size_t i = 0; i < ELEMENTSOF(types); i++)
                if (l == strlen(types[i]) && strncasecmp(content_type, types[i], l) == 0)
                        return true;
        return l > 5 && strncasecmp(content_type + l - 5, "+json", 5) == 0;
}

PyObject *value_decode(const void *data, size_t size, const char *content_type) {
        PyObject *text, *value;

        if (!value_is_json(content_type))
                return PyBytes_FromStringAndSize(data, (Py_ssize_t) size);
        if (size == 0)
                return PyDict_New();
        text = PyUnicode_DecodeUTF8(data, (Py_ssize_t) size, NULL);
        if (!text)
                return NULL;
        value = PyObject_CallOneArg(json_loads, text);
        Py_DECREF(text);
        return value;
}

int value_encode(PyObject *value, PyObject **ret_owner, const char **ret_data, size_t *ret_size,
                 const char **ret_content_type) {
        PyObject *text, *owner;
        Py_ssize_t size;
        char *data;

        if (PyObject_CheckBuffer(value)) {
                *ret_content_type = "application/octet-stream";
                owner = PyBytes_Check(value) ? Py_NewRef(value) : PyBytes_FromObject(value);
        } else {
                *ret_content_type = "application/json";
                text = PyObject_CallOneArg(json_encode, value);
                if (!text)
                        return -1;
                owner = PyUnicode_AsUTF8String(text);
                Py_DECREF(text);
        }
        if (!owner || PyBytes_AsStringAndSize(owner, &data, &size) < 0) {
                Py_XDECREF(owner);
                return -1;
        }
        *ret_owner = owner;
        *ret_data = data;
        *ret_size = (size_t) size;
        return 0;
}

char *text_of(PyObject *value) {
        PyObject *string = value ? PyObject_Str(value) : NULL, *bytes = NULL;
        char *text = NULL;

        if (string)
                bytes = PyUnicode_AsEncodedString(string, "utf-8", "backslashreplace");
        if (bytes)
                text = strdup(PyBytes_AS_STRING(bytes));
        Py_XDECREF(string);
        Py_XDECREF(bytes);
        PyErr_Clear();
        return text;
}

/* {"errorMessage": ..., "errorType": ..., "stackTrace": [...]} */
static PyObject *cause_as_json(PyObject *module, const ExceptionText *t, PyObject *traceback) {
        PyObject *frames, *all = NULL, *json = NULL, *message;

        frames = traceback ? PyObject_CallMethod(module, "format_tb", "Oi", traceback, -FRAMES_MAX) : PyList_New(0);
        /* Cut off in the middle of a character, perhaps. */
        message = PyUnicode_DecodeUTF8(strempty(t->message), (Py_ssize_t) strnlen(strempty(t->message), MESSAGE_MAX),
                                       "ignore");
        if (frames && message)
                all = Py_BuildValue("{sOsssO}", "errorMessage", message, "errorType", strempty(t->error),
                                    "stackTrace", frames);
        if (all)
                json = PyObject_CallOneArg(json_dumps, all);
        Py_XDECREF(frames);
        Py_XDECREF(message);
        Py_XDECREF(all);
        return json;
}

static PyObject *cause_as_text(PyObject *module, PyObject *type, PyObject *value, PyObject *traceback) {
        PyObject *lines, *empty, *text = NULL;

        lines = PyObject_CallMethod(module, "format_exception", "OOOi", type, value, traceback ?: Py_None, -FRAMES_MAX);
        empty = PyUnicode_FromString("");
        if (lines && empty)
                text = PyUnicode_Join(empty, lines);
        Py_XDECREF(lines);
        Py_XDECREF(empty);
        return text;
}

void exception_take(ExceptionText *ret, bool as_json) {
        PyObject *type, *value, *traceback, *name, *module, *cause = NULL;
        ExceptionText t = {};

        PyErr_Fetch(&type, &value, &traceback);
        PyErr_NormalizeException(&type, &value, &traceback);

        name = type ? PyObject_GetAttrString(type, "__name__") : NULL;
        t.error = text_of(name);
        t.message = text_of(value);
        PyErr_Clear();
        module = PyImport_ImportModule("traceback");
        if (module)
                cause = as_json ? cause_as_json(module, &t, traceback) : cause_as_text(module, type, value, traceback);
        t.cause = cause ? text_of(cause) : NULL;
        PyErr_Clear();

        Py_XDECREF(cause);
        Py_XDECREF(module);
        Py_XDECREF(name);
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(traceback);
        *ret = t;
}

void exception_text_done(ExceptionText *t) {
        free(t->error);
        free(t->message);
        free(t->cause);
}

int exception_fail(sand_context *context) {
        _cleanup_(exception_text_done) ExceptionText t = {};

        if (PyErr_ExceptionMatches(PyExc_MemoryError)) {
                /* What it held goes with its frames; to describe it may take memory that is not there. */
                PyErr_Clear();
                return context_fail_as(context, "OutOfMemory", "The function ran out of memory (MemoryError).");
        }
        exception_take(&t, true);
        return context_fail(context, t.error ?: "Exception", t.message, t.cause);
}
