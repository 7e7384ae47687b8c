/* A C extension without any helper: a function, a table of functions, a module, and the one symbol that CPython looks
   for when it has opened the library, PyInit_sample. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

static PyObject *add_two(PyObject *module, PyObject *args) {
    int a, b;
    if (!PyArg_ParseTuple(args, "ii", &a, &b)) {
        PyErr_SetString(PyExc_ValueError, "add_two() takes two integers of 32 bits");
        return NULL;
    }
    long long acc = 0;
    for (int i = 0; i < 1000; i++)
        acc += (long long)a + b;
    return PyLong_FromLongLong(acc);
}

static PyMethodDef methods[] = {
    {"add_two", add_two, METH_VARARGS, "add_two(a, b)\n--\n\n1000 times a + b."},
    {NULL, NULL, 0, NULL},
};

/* Multi-phase initialisation (PEP 489): PyInit_sample only describes the module, the import system makes it. So every
   interpreter can have its own. There is no state here, hence nothing to do in a Py_mod_exec slot. */
static PyModuleDef_Slot slots[] = {
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "sample",
    .m_doc = "The loop in C.",
    .m_size = 0,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit_sample(void) {
    return PyModuleDef_Init(&definition);
}
