/* The native core: the slow parts of sancodec.codec once more, bit for bit.

   The Python code is what they must equal (tests/codec/test_native.py). Every function takes arrays, checks that their
   types and lengths agree, and lets other threads run while it works. Contents may come from hostile files: indices are
   checked where they are used. */

#include "contexts.h"
#include "functions.h"
#include "mixing.h"
#include "residual_mixing.h"

#include <float.h>

#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0
#error "float arithmetic has other rounding here than NumPy's"
#endif

/* Raised with every new function and change of arguments: an older build is not used. */
#define CORE_VERSION 3

#define LIST(name, text) {#name, (PyCFunction)(void (*)(void))core_##name, METH_FASTCALL, text},
static PyMethodDef methods[] = {FUNCTIONS(LIST){NULL, NULL, 0, NULL}};

static int fill(PyObject *module) {
    volatile int64_t minus_three = -3;
    if (minus_three >> 1 != -2) {
        PyErr_SetString(PyExc_ImportError, "right shifts of negative numbers are not arithmetic on this machine");
        return -1;
    }
    class_table();
    mixing_tables();
    residual_tables();
    return PyModule_AddIntConstant(module, "VERSION", CORE_VERSION);
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, (void *)fill}, {0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "sancodec._core", NULL, 0, methods, slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__core(void) { return PyModuleDef_Init(&definition); }
