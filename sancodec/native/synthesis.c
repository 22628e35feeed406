/* Sums of kernels: sancodec/codec/transform.py. Coefficients are sparse, and integers below 2^53 add exactly. */

#include "functions.h"

typedef struct {
    const double *weights; /* (kernel, position) */
    int64_t n_kernels, length, stride, offset;
} Group;

static void add_kernel(const double *weights, int64_t length, double amplitude, double *circle, int64_t size, int64_t at) {
    while (length) {
        int64_t now = size - at < length ? size - at : length;
        for (int64_t i = 0; i < now; i++) circle[at + i] += amplitude * weights[i];
        weights += now;
        length -= now;
        at = 0;
    }
}

static void add_group(const Group *group, const double *amplitudes, int64_t n_windows, double *circle, int64_t size) {
    for (int64_t window = 0; window < n_windows; window++) {
        int64_t at = (window * group->stride + group->offset) % size;
        if (at < 0) at += size;
        for (int64_t kernel = 0; kernel < group->n_kernels; kernel++) {
            double amplitude = *amplitudes++;
            if (amplitude != 0)
                add_kernel(group->weights + kernel * group->length, group->length, amplitude, circle, size, at);
        }
    }
}

/* Weights (kernel, position) and amplitudes (signal, window, kernel) of a group; kernels, stride, offset, signals; what
   is added to, (signal, position on the circle). */
PyObject *core_synthesise(PyObject *module, PyObject *const *arguments, Py_ssize_t n_arguments) {
    Call call;
    (void)module;
    if (!take(&call, arguments, n_arguments, "ddnnnnd=")) return NULL;
    int64_t n_kernels = call.number[2], stride = call.number[3], offset = call.number[4], n_signals = call.number[5];
    int64_t limit = INT64_C(1) << 30;
    if (n_kernels < 1 || stride < 1 || stride > limit || offset > limit || offset < -limit || n_signals < 1 ||
        call.length[0] % n_kernels || call.length[1] % n_kernels || (call.length[1] / n_kernels) % n_signals ||
        call.length[6] % n_signals)
        return refuse(&call, "synthesise: lengths do not agree");
    Group group = {call.data[0], n_kernels, call.length[0] / n_kernels, stride, offset};
    int64_t n_windows = call.length[1] / n_kernels / n_signals, size = call.length[6] / n_signals;
    if (n_windows > limit || n_windows * stride != size) return refuse(&call, "synthesise: windows do not fill the circle");
    const double *amplitudes = call.data[1];
    double *circles = call.data[6];
    Py_BEGIN_ALLOW_THREADS
    for (int64_t signal = 0; signal < n_signals; signal++)
        add_group(&group, amplitudes + signal * n_windows * n_kernels, n_windows, circles + signal * size, size);
    Py_END_ALLOW_THREADS
    return finish(&call, 0);
}
