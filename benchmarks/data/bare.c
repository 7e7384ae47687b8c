/* The least that a call costs: functions that look at nothing; one lets go of the GIL and takes it again. */
#include <Python.h>

static PyObject *plain(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    Py_RETURN_NONE;
}

static PyObject *nogil(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    Py_BEGIN_ALLOW_THREADS
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"plain", (PyCFunction)(void (*)(void))plain, METH_FASTCALL},
    {"nogil", (PyCFunction)(void (*)(void))nogil, METH_FASTCALL},
    {NULL},
};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "bare", NULL, 0, methods};

PyMODINIT_FUNC PyInit_bare(void) {
    return PyModuleDef_Init(&definition);
}
