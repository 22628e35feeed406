/* Arguments of a Python call as C arrays, without NumPy's headers: any contiguous buffer of the right type will do. */

#ifndef SANCODEC_CALL_H
#define SANCODEC_CALL_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

enum { MAX_ARGUMENTS = 24 };

/* An array of a list. */
typedef struct {
    void *data;
    int64_t length;
} Item;

typedef struct {
    void *data[MAX_ARGUMENTS];     /* of a list its items; NULL where None was given */
    int64_t length[MAX_ARGUMENTS]; /* in elements */
    int64_t number[MAX_ARGUMENTS];
    double real[MAX_ARGUMENTS];
    Py_buffer *views[MAX_ARGUMENTS];
    Py_ssize_t n_views[MAX_ARGUMENTS];
    char is_list[MAX_ARGUMENTS];
    Py_buffer single[MAX_ARGUMENTS]; /* the views of arguments that are no lists */
} Call;

static inline void release(Call *call) {
    for (int at = 0; at < MAX_ARGUMENTS; at++) {
        while (call->n_views[at]) PyBuffer_Release(&call->views[at][--call->n_views[at]]);
        if (call->is_list[at]) {
            PyMem_Free(call->views[at]);
            PyMem_Free(call->data[at]);
        }
    }
}

/* Ends a call whose arguments contradict each other. */
static inline PyObject *refuse(Call *call, const char *message) {
    release(call);
    PyErr_SetString(PyExc_ValueError, message);
    return NULL;
}

static inline PyObject *out_of_memory(Call *call) {
    release(call);
    return PyErr_NoMemory();
}

static inline PyObject *finish(Call *call, int64_t result) {
    release(call);
    return PyLong_FromLongLong(result);
}

/* Whether a buffer holds elements of a type: the letters are those of Python's module struct, in standard sizes. */
static inline int holds(const Py_buffer *view, char type) {
    static const char sizes[] = "b1B1H2i4I4q8f4d8";
    const char *format = view->format ? view->format : "B";
    if (*format == '@' || *format == '=') format++;
    if (!*format || format[1]) return 0;
    if (view->itemsize != strchr(sizes, type)[1] - '0' || (uintptr_t)view->buf % (size_t)view->itemsize) return 0;
    const char *kind = strchr("fd", type) ? "fd" : strchr("biq", type) ? "bhilq" : "?BHILQ";
    return strchr(kind, *format) != NULL;
}

/* The next view of an argument. */
static inline int take_buffer(Call *call, PyObject *object, int at, char type, int is_written, Item *item) {
    Py_buffer *view = &call->views[at][call->n_views[at]];
    if (PyObject_GetBuffer(object, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (is_written ? PyBUF_WRITABLE : 0))) return 0;
    call->n_views[at]++;
    if (!holds(view, type)) {
        PyErr_Format(PyExc_ValueError, "argument %d is not an array of type %c", at + 1, type);
        return 0;
    }
    *item = (Item){view->buf, view->len / view->itemsize};
    return 1;
}

static inline int take_array(Call *call, PyObject *object, int at, char type, int is_written) {
    Item item;
    call->views[at] = &call->single[at];
    if (!take_buffer(call, object, at, type, is_written, &item)) return 0;
    call->data[at] = item.data;
    call->length[at] = item.length;
    return 1;
}

static inline int take_list(Call *call, PyObject *object, int at, char type, int is_written) {
    Py_ssize_t count = PySequence_Size(object);
    if (count < 0) return 0;
    size_t room = count ? (size_t)count : 1;
    call->is_list[at] = 1;
    call->views[at] = PyMem_Calloc(room, sizeof(Py_buffer));
    call->data[at] = PyMem_Calloc(room, sizeof(Item));
    if (!call->views[at] || !call->data[at]) {
        PyErr_NoMemory();
        return 0;
    }
    call->length[at] = count;
    for (Py_ssize_t index = 0; index < count; index++) {
        PyObject *element = PySequence_GetItem(object, index);
        int ok = element && take_buffer(call, element, at, type, is_written, (Item *)call->data[at] + index);
        Py_XDECREF(element); /* the view holds what it needs */
        if (!ok) return 0;
    }
    return 1;
}

/* Take the arguments apart. A letter of struct is an array, after [ a list of them; = follows where it is written to,
   ? where it may be None; n is an integer, x a real number. False, with an exception set, where they are something
   else; then nothing is to be released. */
static inline int take(Call *call, PyObject *const *arguments, Py_ssize_t n_arguments, const char *types) {
    memset(call, 0, sizeof *call);
    int at = 0;
    for (const char *type = types; *type; at++) {
        int is_list = *type == '[', is_written = 0, is_optional = 0;
        type += is_list;
        char letter = *type++;
        if (*type == '=') is_written = 1, type++;
        if (*type == '?') is_optional = 1, type++;
        if (at >= n_arguments || at >= MAX_ARGUMENTS) return refuse(call, "wrong number of arguments") != NULL;
        PyObject *object = arguments[at];
        int ok = 1;
        if (letter == 'n')
            ok = (call->number[at] = PyLong_AsLongLong(object)) != -1 || !PyErr_Occurred();
        else if (letter == 'x')
            ok = (call->real[at] = PyFloat_AsDouble(object)) != -1 || !PyErr_Occurred();
        else if (is_list)
            ok = take_list(call, object, at, letter, is_written);
        else if (!is_optional || object != Py_None)
            ok = take_array(call, object, at, letter, is_written);
        if (!ok) {
            release(call);
            return 0;
        }
    }
    return at == n_arguments || refuse(call, "wrong number of arguments") != NULL;
}

#endif
