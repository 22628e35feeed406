/* Beat phases, and magnitudes by phase: sancodec/codec/contexts.py and quantiser.py. */

#include "functions.h"

enum { N_PHASES = 24, NO_PHASE = N_PHASES, PHASES_PER_KERNEL = 16, MAX_LENGTH = 1 << 30, MAX_COUNTED = 4096 };

static void phases_of_chunk(const int64_t *starts, int64_t n_starts, int64_t n_windows, int64_t stride,
                            int64_t kernel_length, int64_t *phases) {
    int64_t n_passed = 0, phase = 0;
    for (int64_t window = 0; window < n_windows; window++) {
        int64_t centre = window * stride + stride / 2;
        while (n_passed < n_starts && starts[n_passed] <= centre) n_passed++, phase = 0;
        if (n_passed)
            while (phase < N_PHASES && (centre - starts[n_passed - 1]) * PHASES_PER_KERNEL >= (phase + 1) * kernel_length)
                phase++;
        phases[window] = n_passed ? phase : NO_PHASE;
    }
}

/* First samples of the events of all chunks, how many are of each; windows of a chunk, their stride, length of a beat
   kernel; phases (chunk, window) as the result. */
PyObject *core_phases(PyObject *module, PyObject *const *arguments, Py_ssize_t n_arguments) {
    Call call;
    (void)module;
    if (!take(&call, arguments, n_arguments, "qqnnnq=")) return NULL;
    const int64_t *starts = call.data[0], *counts = call.data[1];
    int64_t n_chunks = call.length[1], n_windows = call.number[2], stride = call.number[3], length = call.number[4];
    if (n_windows < 1 || n_windows > MAX_LENGTH || stride < 1 || stride > MAX_LENGTH || length < 1 ||
        length > MAX_LENGTH || call.length[5] % n_windows || call.length[5] / n_windows != n_chunks)
        return refuse(&call, "phases: lengths do not agree");
    int64_t left = call.length[0];
    for (int64_t chunk = 0; chunk < n_chunks; left -= counts[chunk++])
        if (counts[chunk] < 0 || counts[chunk] > left) return refuse(&call, "phases: there are not so many events");
    for (int64_t event = 0; event < call.length[0]; event++)
        if (starts[event] < -(INT64_C(1) << 56) || starts[event] > INT64_C(1) << 56)
            return refuse(&call, "phases: an event is too far away");
    int64_t *phases = call.data[5];
    Py_BEGIN_ALLOW_THREADS
    for (int64_t chunk = 0; chunk < n_chunks; chunk++) {
        phases_of_chunk(starts, counts[chunk], n_windows, stride, length, phases + chunk * n_windows);
        starts += counts[chunk];
    }
    Py_END_ALLOW_THREADS
    return finish(&call, 0);
}

/* Magnitudes and phases of windows; sums of the magnitudes, at most 4096 each, by phase as the result. */
PyObject *core_sums_by_phase(PyObject *module, PyObject *const *arguments, Py_ssize_t n_arguments) {
    Call call;
    (void)module;
    if (!take(&call, arguments, n_arguments, "iqq=")) return NULL;
    const int32_t *magnitude = call.data[0];
    const int64_t *phase = call.data[1];
    int64_t size = call.length[0], sums[N_PHASES + 1] = {0};
    if (call.length[1] != size || call.length[2] != N_PHASES + 1)
        return refuse(&call, "sums_by_phase: lengths do not agree");
    int is_phase = 1;
    Py_BEGIN_ALLOW_THREADS
    for (int64_t at = 0; at < size; at++) {
        if (phase[at] < 0 || phase[at] > NO_PHASE)
            is_phase = 0;
        else
            sums[phase[at]] += magnitude[at] < MAX_COUNTED ? magnitude[at] : MAX_COUNTED;
    }
    memcpy(call.data[2], sums, sizeof sums);
    Py_END_ALLOW_THREADS
    return is_phase ? finish(&call, 0) : refuse(&call, "sums_by_phase: there is no such phase");
}
