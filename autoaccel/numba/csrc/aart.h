/* Shared by the runtime and the table of every module. Free of Python.h: a table compiles in 20 ms. */
#pragma once

#define AA_ABI 2

enum { AA_NUMPY = 1, AA_CONSTANTS = 2, AA_THREADS = 4, AA_PREPARED = 7, AA_TUPLE_STYLE = 8 };

typedef struct {
    void **gv;                  /* where the code looks for its environment */
    const unsigned char *pickle;
    int len;
} aa_env;
typedef struct {
    void *code;                 /* PyObject *(PyObject *const *args); or numba's own wrapper, see AA_TUPLE_STYLE */
    const unsigned char *fp;    /* the exact types of all arguments */
    int fplen, flags;
    int index;                  /* in the note's list of overloads */
} aa_overload;
typedef struct {
    const char *name;
    int line, nargs, ndefaults, noverloads;
    const char *const *argnames;
    const aa_overload *overloads;
    const unsigned *conversions; /* for a single explicit signature: for each argument the mask of accepted codes; ~0: the rule of arrays */
} aa_function;
typedef struct {
    int abi, nfunctions;
    const aa_function *functions;
    int nenvs;
    const aa_env *envs;
    const unsigned char *note, *note_end; /* a marshalled value for Python */
} aa_module;
