/* The least that a module can be; @NAME@ becomes its name. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

static PyObject *
answer(PyObject *self, PyObject *unused)
{
    return PyLong_FromLong(42);
}

static PyMethodDef methods[] = {{"answer", answer, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL}};
static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "@NAME@", NULL, 0, methods};

PyMODINIT_FUNC
PyInit_@NAME@(void)
{
    return PyModuleDef_Init(&definition);
}
