/* The runtime of natively loaded numba modules: numba's own C helpers and its NRT, an Environment that needs no numba,
 * and a dispatcher that chooses overloads by exact type as numba's does, without numba.
 *
 * Built once for each numba, Python ABI and compiler, from the C sources in numba's wheel; every module's library links
 * against it. numpy is bound at the first call that needs it: before, no ndarray can have reached us. */
#define NUMBA_EXPORT_FUNC(_rettype) __attribute__((visibility("default"))) _rettype
#define NUMBA_EXPORT_DATA(_vartype) __attribute__((visibility("default"))) _vartype
#define PYCC_COMPILING
#include "_numba_common.h"
#include "_pymodule.h"
#define numba_runtime_build_excinfo_struct numba_runtime_build_excinfo_struct_unused
#define numba_unpickle numba_unpickle_unused
NUMBA_EXPORT_FUNC(PyObject *) numba_unpickle(const char *data, int n, const char *hashed);
#include "_helperlib.c"
#undef numba_runtime_build_excinfo_struct
#undef numba_unpickle
/* Memoised by address, as numba.core.serialize._numba_unpickle does: boxing an array unpickles its type in each call. */
NUMBA_EXPORT_FUNC(PyObject *) numba_unpickle(const char *data, int n, const char *hashed) {
    static PyObject *memo, *loads;
    if (!memo && !(memo = PyDict_New())) return NULL;
    PyObject *key = PyLong_FromVoidPtr((void *)data), *obj;
    if (!key) return NULL;
    if ((obj = PyDict_GetItemWithError(memo, key))) { Py_DECREF(key); Py_INCREF(obj); return obj; }
    if (!loads) {
        PyObject *p = PyImport_ImportModule("_pickle");
        loads = p ? PyObject_GetAttrString(p, "loads") : NULL;
        Py_XDECREF(p);
        if (!loads) { Py_DECREF(key); return NULL; }
    }
    obj = PyObject_CallFunction(loads, "y#", data, (Py_ssize_t)n);
    if (obj) PyDict_SetItem(memo, key, obj);
    Py_DECREF(key);
    return obj;
}
#include "_dynfunc.c"
#include "core/runtime/_nrt_python.c"
#include "core/runtime/nrt.h"
#include "aart.h"
#include <marshal.h>
#if PY_VERSION_HEX >= 0x030C0000
#define Py_BUILD_CORE 1
#include "internal/pycore_pyhash.h"
#undef Py_BUILD_CORE
#endif

NUMBA_EXPORT_DATA(int64_t) _numba_hashsecret_siphash_k0;
NUMBA_EXPORT_DATA(int64_t) _numba_hashsecret_siphash_k1;
NUMBA_EXPORT_DATA(int64_t) _numba_hashsecret_djbx33a_suffix;

/* ---- numpy, only when an argument/result really needs it ---- */
static int np_ready = 0;
static void *do_import_array(void) { import_array(); return (void *)1; }
static int ensure_numpy(void) {
    if (np_ready) return 0;
    if (!do_import_array()) return -1;
    np_ready = 1;
    return 0;
}
/* is numpy's C module already loaded? (an ndarray cannot exist otherwise) */
static int numpy_loaded(void) {
    if (np_ready) return 1;
    PyObject *mods = PyImport_GetModuleDict();
    if (PyDict_GetItemString(mods, "numpy") && (PyDict_GetItemString(mods, "numpy._core._multiarray_umath") ||
        PyDict_GetItemString(mods, "numpy.core._multiarray_umath")))
        return ensure_numpy() == 0 ? 1 : (PyErr_Clear(), 0);
    return 0;
}

/* ---- numba's JIT binds the symbol PyExc_X to the exception object; in a shared object the symbol is the address of the
 * variable that holds it. `emit` renames the functions that take exceptions to these, which follow the variable. ---- */
static PyObject **exc_vars[128]; static int n_exc_vars;
static void init_exc(void) {
#define E(x) exc_vars[n_exc_vars++] = &PyExc_##x
    E(BaseException);E(Exception);E(StopIteration);E(GeneratorExit);E(ArithmeticError);E(LookupError);E(AssertionError);
    E(AttributeError);E(BufferError);E(EOFError);E(FloatingPointError);E(OSError);E(ImportError);E(IndexError);E(KeyError);
    E(KeyboardInterrupt);E(MemoryError);E(NameError);E(OverflowError);E(RuntimeError);E(RecursionError);
    E(NotImplementedError);E(SyntaxError);E(ReferenceError);E(SystemError);E(SystemExit);E(TypeError);E(UnboundLocalError);
    E(UnicodeError);E(UnicodeEncodeError);E(UnicodeDecodeError);E(ValueError);E(ZeroDivisionError);
#undef E
}
static PyObject *exc_of(void *p) {
    for (int i = 0; i < n_exc_vars; i++) if ((void *)exc_vars[i] == p) return *exc_vars[i];
    return (PyObject *)p;
}
NUMBA_EXPORT_FUNC(void) aart_PyErr_SetString(void *e, const char *m) { PyErr_SetString(exc_of(e), m); }
NUMBA_EXPORT_FUNC(void) aart_PyErr_SetObject(void *e, PyObject *v) { PyErr_SetObject(exc_of(e), v); }
NUMBA_EXPORT_FUNC(void) aart_PyErr_SetNone(void *e) { PyErr_SetNone(exc_of(e)); }
NUMBA_EXPORT_FUNC(PyObject *) aart_PyErr_Format(void *e, const char *f, ...) {
    va_list v; va_start(v, f); PyErr_FormatV(exc_of(e), f, v); va_end(v); return NULL;
}
NUMBA_EXPORT_FUNC(Py_ssize_t) aart_PyNumber_AsSsize_t(PyObject *o, void *e) { return PyNumber_AsSsize_t(o, e ? exc_of(e) : NULL); }

/* ---- arrays that are lent for the time of a call ----
 * numba gives each array argument a MemInfo of its own, which owns the array: an allocation, two locked instructions and
 * a look for the GIL in each call. Whoever calls us keeps its arguments alive, and has the GIL before and after. So a
 * MemInfo that nobody has taken a reference to meanwhile is only put aside for the next call; one that somebody has
 * (a view is returned) becomes what numba makes of it. */
typedef struct { size_t refct; NRT_dtor_function dtor; void *dtor_info, *data; size_t size; void *external; } lent;
#define SPARE 64
static lent *spare[SPARE]; static int n_spare; /* guarded by the GIL */
NUMBA_EXPORT_FUNC(NRT_MemInfo *) aart_lend(void *data, PyObject *owner) {
    lent *l;
    if (__builtin_expect(n_spare > 0, 1)) {
        l = spare[--n_spare];
        l->dtor_info = owner;
        l->data = data;
    } else if ((l = (lent *)NRT_MemInfo_new(data, 0, pyobject_dtor, owner)) == NULL)
        PyErr_NoMemory();
    return (NRT_MemInfo *)l;
}
NUMBA_EXPORT_FUNC(void) aart_returned(NRT_MemInfo *mi) {
    lent *l = (lent *)mi;
    if (__builtin_expect(__atomic_load_n(&l->refct, __ATOMIC_ACQUIRE) == 1 && n_spare < SPARE, 1)) {
        spare[n_spare++] = l;
        return;
    }
    Py_INCREF((PyObject *)l->dtor_info); /* its own from here on */
    NRT_MemInfo_release(mi);
}
/* nrt.cpp keeps its struct to itself, `emit` counts on where numpy has an array's fields. */
static int laid_out_as_known(void) {
    int data, info;
    lent *l = (lent *)NRT_MemInfo_new(&data, 7, pyobject_dtor, &info);
    if (!l) return 0;
    int same = l->refct == 1 && l->dtor == pyobject_dtor && l->dtor_info == &info && l->data == &data && l->size == 7 && !l->external;
    NRT_Free(l);
    return same;
}
#define AT(field, place) _Static_assert(offsetof(PyArrayObject_fields, field) == (place) * sizeof(void *), #field)
AT(data, 2); AT(nd, 3); AT(dimensions, 4); AT(strides, 5);

/* ---- threading layer for parallel=True: resolved lazily from numba's own pool extension ---- */
static void (*p_parallel_for)(void *, char **, size_t *, size_t *, void *, size_t, size_t, int);
#define FWD(ret, name, params, args) static ret (*p_##name) params; NUMBA_EXPORT_FUNC(ret) name params { return p_##name args; }
NUMBA_EXPORT_FUNC(void) numba_parallel_for(void *fn, char **args, size_t *dims, size_t *steps, void *data, size_t inner, size_t arrays, int nt)
{ p_parallel_for(fn, args, dims, steps, data, inner, arrays, nt); }
FWD(void, do_scheduling_signed, (size_t n, ssize_t *s, ssize_t *e, size_t t, ssize_t *sched, ssize_t d), (n, s, e, t, sched, d))
FWD(void, do_scheduling_unsigned, (size_t n, ssize_t *s, ssize_t *e, size_t t, size_t *sched, ssize_t d), (n, s, e, t, sched, d))
FWD(void *, allocate_sched, (size_t n), (n))
FWD(void, deallocate_sched, (void *p), (p))
FWD(int, get_num_threads, (void), ())
FWD(void, set_num_threads, (int n), (n))
FWD(int, get_thread_id, (void), ())
FWD(size_t, set_parallel_chunksize, (size_t n), (n))
FWD(size_t, get_parallel_chunksize, (void), ())
FWD(size_t, get_sched_size, (size_t t, size_t d, ssize_t *a, ssize_t *b), (t, d, a, b))

static PyObject *bind_threads(PyObject *self, PyObject *args) {
    PyObject *pool; int n;
    if (!PyArg_ParseTuple(args, "Oi", &pool, &n)) return NULL;
#define G(var, attr) do { PyObject *o = PyObject_GetAttrString(pool, attr); if (!o) return NULL; *(void **)&var = PyLong_AsVoidPtr(o); Py_DECREF(o); } while (0)
    G(p_parallel_for, "parallel_for"); G(p_do_scheduling_signed, "do_scheduling_signed"); G(p_do_scheduling_unsigned, "do_scheduling_unsigned");
    G(p_allocate_sched, "allocate_sched"); G(p_deallocate_sched, "deallocate_sched"); G(p_get_num_threads, "get_num_threads");
    G(p_set_num_threads, "set_num_threads"); G(p_get_thread_id, "get_thread_id"); G(p_set_parallel_chunksize, "set_parallel_chunksize");
    G(p_get_parallel_chunksize, "get_parallel_chunksize"); G(p_get_sched_size, "get_sched_size");
    void (*launch)(int); G(launch, "launch_threads");
    launch(n); p_set_num_threads(n);
    Py_RETURN_NONE;
}

/* ---- exact-type fingerprints (mirror of numba/_typeof.cpp for the supported kinds) ---- */
#define FPMAX 256
typedef struct { unsigned char b[FPMAX]; int n; } fpbuf;
#define PUT(c) do { if (w->n >= FPMAX) return -1; w->b[w->n++] = (c); } while (0)
static signed char np2code[32];   /* numpy type_num -> our code */
enum { C_I8=1, C_I16, C_I32, C_I64, C_U8, C_U16, C_U32, C_U64, C_F32, C_F64, C_C64, C_C128, C_BOOL, C_NONE, C_STR, C_BYTES, C_OMIT, C_ARRAY=32, C_TUPLE, C_LIST, C_SET };
static void init_np2code(void) {
    memset(np2code, 0, sizeof np2code);
    np2code[NPY_INT8]=C_I8; np2code[NPY_INT16]=C_I16; np2code[NPY_INT32]=C_I32; np2code[NPY_INT64]=C_I64;
    np2code[NPY_UINT8]=C_U8; np2code[NPY_UINT16]=C_U16; np2code[NPY_UINT32]=C_U32; np2code[NPY_UINT64]=C_U64;
    np2code[NPY_FLOAT32]=C_F32; np2code[NPY_FLOAT64]=C_F64; np2code[NPY_COMPLEX64]=C_C64; np2code[NPY_COMPLEX128]=C_C128;
    np2code[NPY_BOOL]=C_BOOL;
}
/* 0, or -1 for a type that we leave to numba. */
static int fp_of(PyObject *v, fpbuf *w, int depth) {
    PyTypeObject *t = Py_TYPE(v);
    if (t == &PyLong_Type) { PUT(C_I64); return 0; }
    if (t == &PyFloat_Type) { PUT(C_F64); return 0; }
    if (t == &PyBool_Type) { PUT(C_BOOL); return 0; }
    if (v == Py_None) { PUT(C_NONE); return 0; }
    if (t == &PyUnicode_Type) { PUT(C_STR); return 0; }
    if (t == &PyComplex_Type) { PUT(C_C128); return 0; }
    if (t == &PyTuple_Type) {
        Py_ssize_t n = PyTuple_GET_SIZE(v);
        if (n > 255 || depth > 8) return -1;
        PUT(C_TUPLE); PUT((unsigned char)n);
        for (Py_ssize_t i = 0; i < n; i++) if (fp_of(PyTuple_GET_ITEM(v, i), w, depth + 1)) return -1;
        return 0;
    }
    if (t == &PyList_Type) {
        if (PyList_GET_SIZE(v) == 0 || depth > 8) return -1;
        PUT(C_LIST); return fp_of(PyList_GET_ITEM(v, 0), w, depth + 1);
    }
    if (t == &PySet_Type) {
        Py_ssize_t pos = 0; PyObject *it; Py_hash_t h;
        if (depth > 8 || !_PySet_NextEntry(v, &pos, &it, &h)) return -1;
        PUT(C_SET); return fp_of(it, w, depth + 1);
    }
    if (!np_ready && !numpy_loaded()) return -1;
    if (t == &PyArray_Type) {
        PyArrayObject *a = (PyArrayObject *)v;
        int tn = PyArray_TYPE(a), nd = PyArray_NDIM(a);
        int code = (tn >= 0 && tn < 32) ? np2code[tn] : 0;
        if (!code || nd > 32 || !PyArray_ISNOTSWAPPED(a)) return -1;
        int layout = PyArray_IS_C_CONTIGUOUS(a) ? 0 : PyArray_IS_F_CONTIGUOUS(a) ? 1 : 2;
        PUT(C_ARRAY); PUT(code); PUT(nd); PUT(layout | (PyArray_ISWRITEABLE(a) ? 0 : 4));  /* numba's typeof ignores alignment for plain dtypes */
        return 0;
    }
    if (PyArray_CheckScalar(v)) {
        PyArray_Descr *d = PyArray_DescrFromScalar(v);
        if (!d) { PyErr_Clear(); return -1; }
        int tn = d->type_num, code = (tn >= 0 && tn < 32) ? np2code[tn] : 0;
        Py_DECREF(d);
        if (!code) return -1;
        PUT(code); return 0;
    }
    return -1;
}


/* What Python does for us, see autoaccel/numba/__init__.py. */
static PyObject *hook_dynexc, *hook_validate, *hook_fallback, *hook_getattr, *hook_threads, *hook_class;
NUMBA_EXPORT_FUNC(PyObject *) numba_runtime_build_excinfo_struct(PyObject *st, PyObject *args) {
    return PyObject_CallFunctionObjArgs(hook_dynexc, st, args, NULL);
}
extern __typeof(Numba_make_generator) numba_make_generator __attribute__((alias("Numba_make_generator"), visibility("default")));

/* ---- dispatcher ---- */
#define MAXARGS 32
/* What an argument of the last calls was, to be recognised without spelling its type out. */
typedef struct {
    PyTypeObject *type;
    PyArray_Descr *descr; /* of arrays */
    int ndim, mask, flags;
} guard;
typedef PyObject *(*vector_style)(PyObject *const *);
typedef struct { vector_style code; guard *guards; } recent;
#define RECENT 2
typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    const aa_function *function; /* NULL: nothing of it is native */
    const aa_module *module;
    PyObject *argnames, *globals, *dict, *weak;
    int off;                     /* all calls go to numba */
    int ready;                   /* flags that are satisfied */
    int latest;                  /* which of the recent ones was hit last */
    recent recent[RECENT];       /* kinds of calls that have gone to the library, all that is asked before it settled */
    unsigned long long checked;  /* overloads whose inputs have been checked, by their place in the function */
} Dispatcher;
typedef PyObject *(*tuple_style)(PyObject *, PyObject *, PyObject *);

static int load_environments(const aa_module *m, PyObject *globals, int only_empty) {
    for (int i = 0; i < m->nenvs; i++) {
        const aa_env *e = &m->envs[i];
        if (*e->gv || (only_empty && e->pickle)) continue;
        PyObject *consts = e->pickle ? numba_unpickle((const char *)e->pickle, e->len, NULL) : PyList_New(0);
        if (!consts) return -1;
        EnvironmentObject *env = env_new_empty(&EnvironmentType);
        if (!env) { Py_DECREF(consts); return -1; }
        env->consts = consts;
        Py_INCREF(globals);
        env->globals = globals;
        *e->gv = env; /* immortal, like the code */
    }
    return 0;
}

static PyObject *slow(Dispatcher *self, PyObject *const *args, Py_ssize_t n, PyObject *kwnames) {
    Py_ssize_t nk = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
    PyObject *t = PyTuple_New(n), *d = PyDict_New(), *r = NULL;
    if (t && d) {
        for (Py_ssize_t i = 0; i < n; i++) { Py_INCREF(args[i]); PyTuple_SET_ITEM(t, i, args[i]); }
        for (Py_ssize_t i = 0; i < nk; i++) if (PyDict_SetItem(d, PyTuple_GET_ITEM(kwnames, i), args[n + i])) goto out;
        r = PyObject_CallFunctionObjArgs(hook_fallback, (PyObject *)self, t, d, NULL);
    }
out:
    Py_XDECREF(t); Py_XDECREF(d);
    return r;
}

static int prepare(Dispatcher *self, int flags) {
    if ((flags & AA_NUMPY) && ensure_numpy()) return -1;
    if ((flags & AA_CONSTANTS) && load_environments(self->module, self->globals, 0)) return -1;
    if ((flags & AA_THREADS)) {
        PyObject *r = PyObject_CallFunctionObjArgs(hook_threads, (PyObject *)self, NULL);
        if (!r) return -1;
        Py_DECREF(r);
    }
    self->ready |= flags;
    return 0;
}

/* Whether an overload that was not used yet still is what numba would compile now; -1 with an exception. */
static int check(Dispatcher *self, int place) {
    PyObject *r = PyObject_CallFunction(hook_validate, "Oi", (PyObject *)self, place);
    if (!r) return -1;
    int good = r == Py_True;
    Py_DECREF(r);
    if (good) self->checked |= 1ull << place;
    return good;
}

/* An explicit signature takes what can be converted, as numba does when it may not compile: masks hold its own rules. */
static int converts(const aa_function *f, const fpbuf *w, const unsigned char *start, Py_ssize_t n) {
    const unsigned char *wanted = f->overloads->fp;
    Py_ssize_t off = 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        int end = i + 1 < n ? start[i + 1] : w->n, len = end - start[i];
        const unsigned char *g = w->b + start[i], *h = wanted + off;
        if (f->conversions[i] == ~0u) {
            off += 4;
            if (len == 4 && g[0] == C_ARRAY && g[1] == h[1] && g[2] == h[2]
                && ((h[3] & 3) == 2 || (h[3] & 3) == (g[3] & 3)) && !((g[3] & 4) && !(h[3] & 4))) continue;
            return 0;
        }
        off += 1;
        if (len != 1 || g[0] >= 32 || !(f->conversions[i] & (1u << g[0]))) return 0;
    }
    return 1;
}

static inline int recognised(const guard *g, PyObject *const *args, Py_ssize_t n) {
    for (; n > 0; n--, g++, args++) {
        if (Py_TYPE(*args) != g->type) return 0;
        if (g->descr) {
            const PyArrayObject_fields *a = (PyArrayObject_fields *)*args;
            if (a->descr != g->descr || a->nd != g->ndim || (a->flags & g->mask) != g->flags) return 0;
        }
    }
    return 1;
}

/* Have calls with such arguments recognised, where a type alone or with an array's description tells what fp_of tells. */
static void recognise(Dispatcher *self, const aa_overload *hit, PyObject *const *args, Py_ssize_t n) {
    enum { ORDER = NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_F_CONTIGUOUS };
    guard made[MAXARGS];
    for (Py_ssize_t i = 0; i < n; i++) {
        PyTypeObject *t = Py_TYPE(args[i]);
        made[i] = (guard){t};
        /* A class of somebody's may go, and another be in its place. */
        if ((t->tp_flags & Py_TPFLAGS_HEAPTYPE) || t == &PyTuple_Type || t == &PyList_Type || t == &PySet_Type) return;
        if (np_ready && t == &PyArray_Type) {
            PyArrayObject *a = (PyArrayObject *)args[i];
            PyArray_Descr *d = PyArray_DescrFromType(PyArray_TYPE(a));
            if (!d) { PyErr_Clear(); return; }
            Py_DECREF(d); /* numpy's own, if it is the same */
            if (d != PyArray_DESCR(a)) return;
            made[i].descr = d;
            made[i].ndim = PyArray_NDIM(a);
            made[i].mask = NPY_ARRAY_WRITEABLE | (PyArray_IS_C_CONTIGUOUS(a) ? NPY_ARRAY_C_CONTIGUOUS : ORDER);
            made[i].flags = PyArray_FLAGS(a) & made[i].mask;
        }
    }
    recent *r = &self->recent[self->latest = (self->latest + 1) % RECENT];
    if (!r->guards && !(r->guards = PyMem_Malloc((n ? n : 1) * sizeof(guard)))) return;
    memcpy(r->guards, made, n * sizeof(guard));
    r->code = (vector_style)hit->code;
}

static PyObject *Dispatcher_call(PyObject *object, PyObject *const *args, size_t nf, PyObject *kwnames) {
    Dispatcher *self = (Dispatcher *)object;
    const aa_function *f = self->function;
    Py_ssize_t given = PyVectorcall_NARGS(nf), n;
    PyObject *buffer[MAXARGS];
    PyObject *const *a = args;
    if (__builtin_expect(self->off || !f, 0)) return slow(self, args, given, kwnames);
    n = f->nargs;
    if (!kwnames && given == n)
        for (int k = 0; k < RECENT; k++) {
            const recent *r = &self->recent[(self->latest + k) % RECENT];
            if (r->code && recognised(r->guards, args, n)) {
                if (__builtin_expect(k, 0)) self->latest = (self->latest + k) % RECENT;
                return r->code(args);
            }
        }
    if (kwnames || given != n) { /* keywords and defaults, folded as numba folds them */
        Py_ssize_t nk = kwnames ? PyTuple_GET_SIZE(kwnames) : 0, used = 0;
        if (given > n) return slow(self, args, given, kwnames);
        for (Py_ssize_t i = 0; i < n; i++) {
            PyObject *v = NULL;
            if (i < given) v = args[i];
            else {
                PyObject *name = PyTuple_GET_ITEM(self->argnames, i);
                for (Py_ssize_t k = 0; k < nk; k++)
                    if (PyTuple_GET_ITEM(kwnames, k) == name) { v = args[given + k]; used++; break; }
                if (!v && i < n - f->ndefaults) return slow(self, args, given, kwnames);
            }
            buffer[i] = v; /* NULL: omitted */
        }
        if (used != nk) return slow(self, args, given, kwnames);
        a = buffer;
    }
    fpbuf w;
    unsigned char start[MAXARGS];
    w.n = 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        start[i] = (unsigned char)w.n;
        if (!a[i]) {
            if (w.n >= FPMAX) return slow(self, args, given, kwnames);
            w.b[w.n++] = C_OMIT;
        } else if (fp_of(a[i], &w, 0)) return slow(self, args, given, kwnames);
    }
    const aa_overload *o = f->overloads, *hit = NULL;
    for (int k = 0; k < f->noverloads; k++, o++) {
        if (o->fplen != w.n) continue;
        int same = 0; /* a few bytes: memcmp costs more to call */
        while (same < w.n && o->fp[same] == w.b[same]) same++;
        if (same == w.n) { hit = o; break; }
    }
    if (!hit && f->conversions && f->noverloads == 1 && converts(f, &w, start, n)) hit = f->overloads;
    if (!hit) return slow(self, args, given, kwnames);
    int place = (int)(hit - f->overloads);
    if (__builtin_expect(!(self->checked >> place & 1), 0)) {
        int good = check(self, place);
        if (good < 0) return NULL;
        if (!good) { self->off = 1; return slow(self, args, given, kwnames); }
    }
    if (__builtin_expect(hit->flags & AA_PREPARED & ~self->ready, 0) && prepare(self, hit->flags)) {
        PyErr_Clear(); /* numba says what is missing */
        self->off = 1;
        return slow(self, args, given, kwnames);
    }
    if (__builtin_expect(hit->flags & AA_TUPLE_STYLE, 0)) {
        PyObject *t = PyTuple_New(n);
        if (!t) return NULL;
        for (Py_ssize_t i = 0; i < n; i++) {
            PyObject *v = a[i] ? a[i] : Py_None;
            Py_INCREF(v);
            PyTuple_SET_ITEM(t, i, v);
        }
        PyObject *r = ((tuple_style)hit->code)(NULL, t, NULL);
        Py_DECREF(t);
        return r;
    }
    if (a == args) recognise(self, hit, args, n);
    return ((vector_style)hit->code)(a);
}

static PyObject *Dispatcher_get(PyObject *self, PyObject *obj, PyObject *type) {
    (void)type;
    if (!obj || obj == Py_None) { Py_INCREF(self); return self; }
    return PyMethod_New(self, obj);
}
static PyObject *Dispatcher_getattro(PyObject *o, PyObject *name) {
    PyObject *r = PyObject_GenericGetAttr(o, name);
    if (r || !PyErr_ExceptionMatches(PyExc_AttributeError)) return r;
    PyErr_Clear();
    return PyObject_CallFunctionObjArgs(hook_getattr, o, name, NULL); /* numba's dispatcher knows */
}
static PyObject *Dispatcher_repr(PyObject *o) {
    PyObject *f = PyObject_GetAttrString(o, "py_func"), *r = NULL;
    if (f) r = PyUnicode_FromFormat("CPUDispatcher(%R)", f);
    Py_XDECREF(f);
    return r;
}
static PyObject *Dispatcher_class(PyObject *o, void *c) {
    (void)c;
    return PyObject_CallFunctionObjArgs(hook_class, o, NULL);
}
static PyObject *Dispatcher_reduce(PyObject *o, PyObject *protocol) {
    PyObject *name = PyUnicode_FromString("__reduce_ex__");
    PyObject *how = name ? PyObject_CallFunctionObjArgs(hook_getattr, o, name, NULL) : NULL, *r = NULL;
    if (how) r = PyObject_CallOneArg(how, protocol);
    Py_XDECREF(name); Py_XDECREF(how);
    return r;
}
static void Dispatcher_dealloc(Dispatcher *s) {
    PyObject_GC_UnTrack(s);
    if (s->weak) PyObject_ClearWeakRefs((PyObject *)s);
    Py_XDECREF(s->argnames); Py_XDECREF(s->globals); Py_XDECREF(s->dict);
    for (int k = 0; k < RECENT; k++) PyMem_Free(s->recent[k].guards);
    Py_TYPE(s)->tp_free((PyObject *)s);
}
static int Dispatcher_traverse(Dispatcher *s, visitproc visit, void *arg) { Py_VISIT(s->globals); Py_VISIT(s->dict); return 0; }
static int Dispatcher_clear(Dispatcher *s) { Py_CLEAR(s->globals); Py_CLEAR(s->dict); return 0; }
/* Indices (in the module's note) of the overloads that this process has used. */
static PyObject *Dispatcher_used(Dispatcher *s, void *c) {
    (void)c;
    PyObject *l = PyList_New(0);
    for (int i = 0; l && s->function && i < s->function->noverloads; i++) if (s->checked >> i & 1) {
        PyObject *u = PyLong_FromLong(s->function->overloads[i].index);
        if (!u || PyList_Append(l, u)) { Py_XDECREF(u); Py_CLEAR(l); break; }
        Py_DECREF(u);
    }
    return l;
}
static PyObject *Dispatcher_count(Dispatcher *s, void *c) { (void)c; return PyLong_FromLong(s->function ? s->function->noverloads : 0); }
static PyGetSetDef Dispatcher_getset[] = {
    {"_used", (getter)Dispatcher_used}, {"_native", (getter)Dispatcher_count}, {"__class__", Dispatcher_class},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict}, {NULL}};
static PyMemberDef Dispatcher_members[] = {{"_off", T_INT, offsetof(Dispatcher, off), 0}, {NULL}};
static PyMethodDef Dispatcher_methods[] = {{"__reduce_ex__", Dispatcher_reduce, METH_O}, {NULL}};
static PyTypeObject DispatcherType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "autoaccel.numba.CPUDispatcher", .tp_basicsize = sizeof(Dispatcher), .tp_dealloc = (destructor)Dispatcher_dealloc,
    .tp_call = PyVectorcall_Call, .tp_vectorcall_offset = offsetof(Dispatcher, vectorcall), .tp_repr = Dispatcher_repr,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL,
    .tp_traverse = (traverseproc)Dispatcher_traverse, .tp_clear = (inquiry)Dispatcher_clear,
    .tp_dictoffset = offsetof(Dispatcher, dict), .tp_weaklistoffset = offsetof(Dispatcher, weak),
    .tp_getset = Dispatcher_getset, .tp_members = Dispatcher_members, .tp_methods = Dispatcher_methods,
    .tp_descr_get = Dispatcher_get, .tp_getattro = Dispatcher_getattro, .tp_setattro = PyObject_GenericSetAttr,
};

/* attach(table or None, qualified name, first line, globals): a dispatcher; native as far as the table goes. */
static PyObject *attach(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *capsule, *globals;
    const char *name;
    int line;
    if (!PyArg_ParseTuple(args, "OsiO!", &capsule, &name, &line, &PyDict_Type, &globals)) return NULL;
    Dispatcher *d = (Dispatcher *)PyType_GenericAlloc(&DispatcherType, 0);
    if (!d) return NULL;
    d->vectorcall = Dispatcher_call;
    Py_INCREF(globals);
    d->globals = globals;
    if (capsule == Py_None) return (PyObject *)d;
    aa_module *m = PyCapsule_GetPointer(capsule, "autoaccel.numba.table");
    if (!m) { Py_DECREF(d); return NULL; }
    for (int i = 0; i < m->nfunctions; i++) {
        const aa_function *f = &m->functions[i];
        if (f->line != line || strcmp(f->name, name) || f->nargs > MAXARGS || f->noverloads > 64) continue;
        d->argnames = PyTuple_New(f->nargs);
        if (!d->argnames || load_environments(m, globals, 1)) { Py_DECREF(d); return NULL; }
        for (int k = 0; k < f->nargs; k++) {
            PyObject *word = PyUnicode_InternFromString(f->argnames[k]);
            if (!word) { Py_DECREF(d); return NULL; }
            PyTuple_SET_ITEM(d->argnames, k, word);
        }
        d->function = f;
        d->module = m;
        break;
    }
    return (PyObject *)d;
}

/* What a module's library has as its init: it gives the table and the note to Python. */
static int fill(PyObject *module) {
    struct PyModuleDef *definition = PyModule_GetDef(module);
    const aa_module *m = definition ? ((const aa_module **)definition)[sizeof(struct PyModuleDef) / sizeof(void *)] : NULL;
    if (!m) return -1;
    PyObject *capsule = PyCapsule_New((void *)m, "autoaccel.numba.table", NULL);
    if (!capsule || PyModule_AddObject(module, "table", capsule)) { Py_XDECREF(capsule); return -1; }
    PyObject *note = PyMarshal_ReadObjectFromString((const char *)m->note, (Py_ssize_t)(m->note_end - m->note));
    if (!note || PyModule_AddObject(module, "note", note)) { Py_XDECREF(note); return -1; }
    return 0;
}
NUMBA_EXPORT_FUNC(PyObject *) autoaccel_numba_module(const char *name, const aa_module *m) {
    static PyModuleDef_Slot slots[] = {{Py_mod_exec, fill}, {0, NULL}};
    if (m->abi != AA_ABI) { PyErr_SetString(PyExc_ImportError, "made for another runtime"); return NULL; }
    struct { struct PyModuleDef definition; const aa_module *m; } *made = calloc(1, sizeof *made);
    if (!made) return PyErr_NoMemory();
    made->definition = (struct PyModuleDef){PyModuleDef_HEAD_INIT, name, NULL, 0, NULL, slots};
    made->m = m;
    return PyModuleDef_Init(&made->definition);
}

/* Types, hooks and numba's memory are the process's: another interpreter than the main one leaves them alone. */
static int in_main_interpreter(void) {
    if (PyInterpreterState_Get() == PyInterpreterState_Main()) return 1;
    PyErr_SetString(PyExc_ImportError, "numba's functions are native in the main interpreter only");
    return 0;
}
static PyObject *set_hooks(PyObject *self, PyObject *args) {
    (void)self;
    /* Not told by the init alone: CPython copies what the main interpreter has imported. */
    if (!in_main_interpreter()) return NULL;
    if (!PyArg_ParseTuple(args, "OOOOOO", &hook_dynexc, &hook_validate, &hook_fallback, &hook_getattr, &hook_threads, &hook_class)) return NULL;
    Py_INCREF(hook_dynexc); Py_INCREF(hook_validate); Py_INCREF(hook_fallback);
    Py_INCREF(hook_getattr); Py_INCREF(hook_threads); Py_INCREF(hook_class);
    Py_RETURN_NONE;
}
static PyMethodDef methods[] = {{"attach", attach, METH_VARARGS}, {"bind_threads", bind_threads, METH_VARARGS}, {"set_hooks", set_hooks, METH_VARARGS}, {NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "aart", NULL, -1, methods};
__attribute__((visibility("default"))) PyObject *PyInit_aart(void) {
    if (!in_main_interpreter()) return NULL;
    PyObject *m = PyModule_Create(&definition);
    if (!m) return NULL;
    _numba_hashsecret_siphash_k0 = _Py_HashSecret.siphash.k0;
    _numba_hashsecret_siphash_k1 = _Py_HashSecret.siphash.k1;
    _numba_hashsecret_djbx33a_suffix = _Py_HashSecret.djbx33a.suffix;
    init_exc();
    init_np2code();
    if (init_dynfunc_module(m)) return NULL;
    NRT_MemSys_init();
    if (!laid_out_as_known()) { PyErr_SetString(PyExc_ImportError, "numba's MemInfo is not what it was"); return NULL; }
    if (init_nrt_python_module(m) || PyType_Ready(&DispatcherType) < 0) return NULL;
    return m;
}
