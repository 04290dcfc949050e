/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The module `sand`: the context that a handler gets, with the attributes of AWS Lambda's and the calls to
 * other functions, and the exception for calls that fail. */

#include "python-worker.h"

#include <stddef.h>
#include <sys/resource.h>

#include "macro.h"

typedef struct ContextObject {
        PyObject_HEAD
        sand_context *context;  /* NULL once the event is over */
} ContextObject;

static PyObject *function_error;
/* Threads of a handler may call at the same time; the connection takes one call at a time. */
static PyThread_type_lock call_lock;

static sand_context *get(PyObject *self) {
        sand_context *context = ((ContextObject *) self)->context;

        if (!context)
                PyErr_SetString(PyExc_RuntimeError, "the event of this context is over");
        return context;
}

/* Attributes */

static PyObject *string_or_null(const char *s) {
        return PyUnicode_DecodeUTF8(strempty(s), (Py_ssize_t) strlen(strempty(s)), "replace");
}

/* Attributes that are a function of <sand/function.h>: it is the getter's closure. */
typedef const char *(*text_getter_t)(const sand_context *context);

static PyObject *get_text(PyObject *self, void *closure) {
        sand_context *context = get(self);

        return context ? string_or_null(((text_getter_t) closure)(context)) : NULL;
}

static PyObject *get_arn(PyObject *self, void *closure) {
        sand_context *context = get(self);

        return context ? PyUnicode_FromFormat("arn:aws:lambda:local:0:function:%s-%s", sand_app(context),
                                              sand_function_name(context)) : NULL;
}

/* Lambda has a string here. */
static PyObject *get_memory(PyObject *self, void *closure) {
        struct rlimit limit;

        if (getrlimit(RLIMIT_DATA, &limit) < 0)
                return PyErr_SetFromErrno(PyExc_OSError);
        if (limit.rlim_cur == RLIM_INFINITY)
                return PyUnicode_FromString("0");
        return PyUnicode_FromFormat("%llu", (unsigned long long) limit.rlim_cur / (1024 * 1024));
}

static PyObject *get_log_group(PyObject *self, void *closure) {
        sand_context *context = get(self);

        return context ? PyUnicode_FromFormat("sand-app@%s.service", sand_app(context)) : NULL;
}

static PyObject *get_log_stream(PyObject *self, void *closure) {
        sand_context *context = get(self);

        return context ? PyUnicode_FromFormat("%s/%s", sand_app(context), sand_function_name(context)) : NULL;
}

static PyObject *get_none(PyObject *self, void *closure) {
        Py_RETURN_NONE;
}

static PyObject *get_headers(PyObject *self, void *closure) {
        sand_context *context = get(self);
        const char *const *headers;
        PyObject *d;
        size_t n;

        if (!context)
                return NULL;
        d = PyDict_New();
        n = context_headers(context, &headers);
        for (size_t i = 0; d && i < n; i++) {
                PyObject *value = string_or_null(headers[2 * i + 1]);

                if (!value || PyDict_SetItemString(d, headers[2 * i], value) < 0)
                        Py_CLEAR(d);
                Py_XDECREF(value);
        }
        return d;
}

#define TEXT(name, function) { name, get_text, NULL, NULL, (void *) function }

static PyGetSetDef attributes[] = {
        TEXT("app_name", sand_app),
        TEXT("function_name", sand_function_name),
        TEXT("function_version", sand_version),
        TEXT("aws_request_id", sand_invocation_id),
        TEXT("invocation_id", sand_invocation_id),
        TEXT("execution_id", sand_execution_id),
        TEXT("content_type", sand_content_type),
        { "invoked_function_arn", get_arn },
        { "memory_limit_in_mb", get_memory },
        { "log_group_name", get_log_group },
        { "log_stream_name", get_log_stream },
        { "client_context", get_none },
        { "identity", get_none },
        { "headers", get_headers },
        {}
};

static PyObject *remaining_time(PyObject *self, PyObject *unused) {
        sand_context *context = get(self);
        uint64_t left;

        if (!context)
                return NULL;
        left = sand_remaining_usec(context);
        return PyLong_FromUnsignedLongLong(left == UINT64_MAX ? INT32_MAX : left / USEC_PER_MSEC);
}

/* Calls */

static void raise_function_error(const char *target, const char *kind, const char *error, const char *message,
                                 const char *cause) {
        const struct {
                const char *name, *value;
        } members[] = {
                { "kind", kind }, { "error", error }, { "message", message }, { "cause", cause }, { "target", target },
        };
        PyObject *text, *exception = NULL;

        text = streq(kind, error) ? PyUnicode_FromFormat("%s: %s: %s", target, kind, message) :
                PyUnicode_FromFormat("%s: %s: %s: %s", target, kind, error, message);
        if (text)
                exception = PyObject_CallOneArg(function_error, text);
        for (size_t i = 0; exception && i < ELEMENTSOF(members); i++) {
                PyObject *value = string_or_null(members[i].value);

                if (!value || PyObject_SetAttrString(exception, members[i].name, value) < 0)
                        Py_CLEAR(exception);
                Py_XDECREF(value);
        }
        if (exception)
                PyErr_SetObject(function_error, exception);
        Py_XDECREF(text);
        Py_XDECREF(exception);
}

static void raise_call_error(int r, const char *target, const sand_result *result) {
        if (result)
                raise_function_error(target, sand_result_kind(result), sand_result_error(result),
                                     sand_result_message(result), sand_result_cause(result));
        else if (r == -ENOMEM)
                (void) PyErr_NoMemory();
        else if (r == -EMSGSIZE)
                raise_function_error(target, "TooLarge", "TooLarge",
                                     "the payload is larger than this function's payload_max", "");
        else if (r == -EINVAL)
                raise_function_error(target, "BadRequest", "BadRequest", "there is no target", "");
        else
                raise_function_error(target, "Unavailable", "Unavailable", strerror(-r), "");
}

typedef struct Call {
        const char *target, *content_type, *data;
        size_t size;
        uint64_t timeout_usec;
        const char *member; /* "Send", "Emit"; NULL: a call */
        char *id;           /* what they answered; to be freed */
} Call;

static int run_call(PyObject *self, Call *call, sand_result **ret) {
        sand_context *context;
        int r;

        Py_BEGIN_ALLOW_THREADS
        (void) PyThread_acquire_lock(call_lock, WAIT_LOCK);
        /* The event may have ended while a thread waited for its turn. */
        context = ((ContextObject *) self)->context;
        if (!context)
                r = -EPIPE;
        else if (call->member)
                r = context_send(context, call->member, call->target, call->content_type, call->data, call->size, &call->id);
        else
                r = context_call(context, call->target, call->content_type, call->data, call->size,
                                 call->timeout_usec, ret);
        PyThread_release_lock(call_lock);
        Py_END_ALLOW_THREADS
        return r;
}

static int parse_timeout(PyObject *o, uint64_t *ret) {
        double seconds;

        if (!o || o == Py_None)
                return 0;
        seconds = PyFloat_AsDouble(o);
        if (seconds == -1 && PyErr_Occurred())
                return -1;
        if (!(seconds > 0)) {
                PyErr_SetString(PyExc_ValueError, "timeout is a number of seconds greater than 0, or None");
                return -1;
        }
        *ret = seconds < 1e12 ? (uint64_t) (seconds * (double) USEC_PER_SEC) : UINT64_MAX;
        return 0;
}

/* An omitted payload is an empty one, which reads as {}; None is null. */
static int encode_payload(PyObject *payload, Call *call, PyObject **ret_owner) {
        if (payload)
                return value_encode(payload, ret_owner, &call->data, &call->size, &call->content_type);
        call->data = "";
        call->content_type = "application/json";
        return 0;
}

static PyObject *decode_result(const sand_result *result) {
        if (value_is_json(sand_result_content_type(result)) && sand_result_size(result) == 0)
                Py_RETURN_NONE;
        return value_decode(sand_result_data(result), sand_result_size(result), sand_result_content_type(result));
}

static PyObject *context_object_call(PyObject *self, PyObject *args, PyObject *named) {
        static char *names[] = { "target", "payload", "timeout", NULL };
        PyObject *payload = NULL, *timeout = NULL, *owner = NULL, *value = NULL;
        Call call = { .timeout_usec = UINT64_MAX };
        sand_result *result = NULL;
        int r;

        if (!PyArg_ParseTupleAndKeywords(args, named, "s|OO:call", names, &call.target, &payload, &timeout) ||
            !get(self) || parse_timeout(timeout, &call.timeout_usec) < 0 ||
            encode_payload(payload, &call, &owner) < 0)
                return NULL;
        r = run_call(self, &call, &result);
        if (r < 0)
                raise_call_error(r, call.target, result);
        else
                value = decode_result(result);
        Py_XDECREF(owner);
        sand_result_free(result);
        return value;
}

static PyObject *send_or_emit(PyObject *self, const char *member, const char *target, PyObject *payload) {
        Call call = { .member = member, .target = target };
        PyObject *owner = NULL, *id;
        sand_context *context;
        int r;

        context = get(self);
        if (!context || encode_payload(payload, &call, &owner) < 0)
                return NULL;
        r = run_call(self, &call, NULL);
        Py_XDECREF(owner);
        if (r == -EREMOTEIO) {
                raise_function_error(call.target, "Refused", "Refused", sand_last_error(context), "");
                return NULL;
        }
        if (r < 0) {
                raise_call_error(r, call.target, NULL);
                return NULL;
        }
        id = string_or_null(call.id);
        free(call.id);
        return id;
}

static PyObject *context_object_send(PyObject *self, PyObject *args, PyObject *named) {
        static char *names[] = { "target", "payload", NULL };
        PyObject *payload = NULL;
        const char *target;

        if (!PyArg_ParseTupleAndKeywords(args, named, "s|O:send", names, &target, &payload))
                return NULL;
        return send_or_emit(self, "Send", target, payload);
}

static PyObject *context_object_emit(PyObject *self, PyObject *args, PyObject *named) {
        static char *names[] = { "topic", "payload", NULL };
        PyObject *payload = NULL;
        const char *topic;

        if (!PyArg_ParseTupleAndKeywords(args, named, "s|O:emit", names, &topic, &payload))
                return NULL;
        return send_or_emit(self, "Emit", topic, payload);
}

static PyMethodDef methods[] = {
        { "get_remaining_time_in_millis", remaining_time, METH_NOARGS,
          "Milliseconds until the event's deadline, at which the process is killed." },
        { "call", (PyCFunction) (void *) context_object_call, METH_VARARGS | METH_KEYWORDS,
          "call(target, payload={}, timeout=None)\n\nCalls another function of the application, or \"app/function\", "
          "and returns its result. bytes travel as they are, everything else as JSON. `timeout` is in seconds. Raises "
          "sand.FunctionError." },
        { "send", (PyCFunction) (void *) context_object_send, METH_VARARGS | METH_KEYWORDS,
          "send(target, payload={})\n\nSends an event to another function of the application, or \"app/function\", and "
          "returns its id once it is on disk (under sandctl run: in memory). Raises sand.FunctionError if it is refused." },
        { "emit", (PyCFunction) (void *) context_object_emit, METH_VARARGS | METH_KEYWORDS,
          "emit(topic, payload={})\n\nSends an event to every function whose trigger matches the topic and returns its "
          "id once it is on disk. Raises sand.FunctionError if it is refused." },
        {}
};

static void context_object_free(PyObject *self) {
        PyTypeObject *type = Py_TYPE(self);

        PyObject_Free(self);
        Py_DECREF(type);
}

static PyType_Slot slots[] = {
        { Py_tp_dealloc, context_object_free },
        { Py_tp_getset, attributes },
        { Py_tp_methods, methods },
        { Py_tp_doc, "What a handler knows about its event, and what it can do beside returning." },
        {}
};

static PyType_Spec spec = {
        .name = "sand.Context",
        .basicsize = sizeof(ContextObject),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
        .slots = slots,
};

static PyTypeObject *context_type;

PyObject *context_object_new(sand_context *context) {
        ContextObject *o = PyObject_New(ContextObject, context_type);

        if (o)
                o->context = context;
        return (PyObject *) o;
}

void context_object_end(PyObject *object) {
        /* Not in the middle of another thread's call. */
        Py_BEGIN_ALLOW_THREADS
        (void) PyThread_acquire_lock(call_lock, WAIT_LOCK);
        Py_END_ALLOW_THREADS
        ((ContextObject *) object)->context = NULL;
        PyThread_release_lock(call_lock);
}

PyMODINIT_FUNC PyInit_sand(void) {
        static struct PyModuleDef definition = {
                PyModuleDef_HEAD_INIT,
                .m_name = "sand",
                .m_doc = "Functions of the SAND serverless platform.",
                .m_size = -1,
        };
        PyObject *module = PyModule_Create(&definition);

        if (!module)
                return NULL;
        call_lock = PyThread_allocate_lock();
        context_type = (PyTypeObject *) PyType_FromSpec(&spec);
        function_error = PyErr_NewExceptionWithDoc("sand.FunctionError",
                "A call of another function failed. `kind` is the platform's name for it (\"FunctionFailed\", "
                "\"Busy\", \"Timeout\", ...), `error` the function's own, `message` and `cause` say more.", NULL, NULL);
        if (!call_lock || !context_type || !function_error ||
            PyModule_AddObjectRef(module, "Context", (PyObject *) context_type) < 0 ||
            PyModule_AddObjectRef(module, "FunctionError", function_error) < 0)
                Py_CLEAR(module);
        return module;
}
