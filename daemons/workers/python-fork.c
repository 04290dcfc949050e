/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the worker's forks are to Python, which knows os.fork() only. Most of what Python does in a child of that is for
 * threads that the parent had and the child has not. Two modules of its library do it in Python code, and with that a
 * child writes into a hundred pages, each of which is copied for it: half of what a fresh process cost. Where there is
 * one thread only, nothing has to be done:
 *
 *   threading marks the threads that are gone as ended, and makes the locks anew that they may have held;
 *   logging takes its lock before the fork, and makes it and those of all handlers anew.
 *
 * And random seeds itself anew, which has to be done, but not in Python code: that is another twenty pages.
 *
 * So while the function loads, os.register_at_fork() is ours. It registers these in wrappers, of which the first two do
 * nothing around forks of a worker that has one thread. All other hooks, and these around an os.fork() of the function's
 * own, run as ever. */

#include "python-worker.h"

#include "macro.h"

/* Of the library of Python 3.11. Others have other names, and are not found: they run. */
static const char *const idle_hooks[][2] = {
        { "threading", "_after_fork" },
        { "logging", "_acquireLock" },
        { "logging", "_releaseLock" },
        { "logging", "_after_at_fork_child_reinit_locks" },
};

static PyObject *os, *os_register;
static bool alone; /* while the worker forks */

static bool is_attribute(PyObject *o, const char *name, const char *expected) {
        PyObject *value = PyObject_GetAttrString(o, name);
        bool is = value && PyUnicode_Check(value) && PyUnicode_CompareWithASCIIString(value, expected) == 0;

        Py_XDECREF(value);
        PyErr_Clear();
        return is;
}

static bool is_function(PyObject *o, const char *module, const char *name) {
        return PyFunction_Check(o) && is_attribute(o, "__module__", module) && is_attribute(o, "__qualname__", name);
}

static bool is_idle(PyObject *hook) {
        for (size_t i = 0; i < ELEMENTSOF(idle_hooks); i++)
                if (is_function(hook, idle_hooks[i][0], idle_hooks[i][1]))
                        return true;
        return false;
}

static bool is_seed(PyObject *hook) {
        const PyTypeObject *base = PyMethod_Check(hook) ? Py_TYPE(PyMethod_GET_SELF(hook))->tp_base : NULL;

        return base && streq(base->tp_name, "_random.Random") &&
                is_function(PyMethod_GET_FUNCTION(hook), "random", "Random.seed");
}

static PyObject *run_unless_alone(PyObject *hook, PyObject *unused) {
        if (alone)
                Py_RETURN_NONE;
        return PyObject_CallNoArgs(hook);
}

/* random.Random.seed() without arguments. */
static PyObject *seed(PyObject *generator, PyObject *unused) {
        PyObject *method = PyObject_GetAttrString((PyObject *) Py_TYPE(generator)->tp_base, "seed"), *r;

        r = method ? PyObject_CallOneArg(method, generator) : NULL;
        Py_XDECREF(method);
        if (r && PyObject_SetAttrString(generator, "gauss_next", Py_None) < 0)
                Py_CLEAR(r);
        return r;
}

static PyObject *wrapper_of(PyObject *hook) {
        static PyMethodDef idle = { "run_unless_alone", run_unless_alone, METH_NOARGS, NULL };
        static PyMethodDef seeding = { "seed", seed, METH_NOARGS, NULL };

        return is_idle(hook) ? PyCFunction_New(&idle, hook) :
                is_seed(hook) ? PyCFunction_New(&seeding, PyMethod_GET_SELF(hook)) : NULL;
}

/* All hooks of a registration, or none: what one takes the other gives back. */
static PyObject *wrap(PyObject *hooks) {
        PyObject *wrapped = PyDict_New(), *name, *hook, *w;
        Py_ssize_t i = 0;

        while (wrapped && PyDict_Next(hooks, &i, &name, &hook)) {
                w = wrapper_of(hook);
                if (!w && !PyErr_Occurred()) {
                        Py_DECREF(wrapped);
                        return Py_NewRef(hooks);
                }
                if (!w || PyDict_SetItem(wrapped, name, w) < 0)
                        Py_CLEAR(wrapped);
                Py_XDECREF(w);
        }
        return wrapped;
}

static PyObject *register_at_fork(PyObject *unused, PyObject *args, PyObject *hooks) {
        PyObject *wrapped = hooks ? wrap(hooks) : NULL, *r = NULL;

        if (wrapped || !hooks)
                r = PyObject_Call(os_register, args, wrapped);
        Py_XDECREF(wrapped);
        return r;
}

int fork_setup(void) {
        static PyMethodDef method = {
                "register_at_fork", (PyCFunction) (void *) register_at_fork, METH_VARARGS | METH_KEYWORDS, NULL,
        };
        PyObject *f = PyCFunction_New(&method, NULL);
        int r = -1;

        os = PyImport_ImportModule("os");
        os_register = os ? PyObject_GetAttrString(os, "register_at_fork") : NULL;
        if (f && os_register)
                r = PyObject_SetAttrString(os, "register_at_fork", f);
        Py_XDECREF(f);
        return r;
}

int fork_settle(void) {
        return PyObject_SetAttrString(os, "register_at_fork", os_register);
}

static bool one_thread(void) {
        PyThreadState *first = PyInterpreterState_ThreadHead(PyInterpreterState_Get());

        return !PyThreadState_Next(first);
}

void fork_before(void) {
        alone = one_thread();
        PyOS_BeforeFork();
}

void fork_parent(void) {
        PyOS_AfterFork_Parent();
        alone = false;
}

void fork_child(void) {
        PyOS_AfterFork_Child();
        alone = false;
}
