/* Extrema kept apart: sancodec/codec/detection.py. */

#include "functions.h"

/* Positions, increasing; their indices in the order in which they are looked at; least distance; whether each is kept
   as the result. */
PyObject *core_keep_apart(PyObject *module, PyObject *const *arguments, Py_ssize_t n_arguments) {
    Call call;
    (void)module;
    if (!take(&call, arguments, n_arguments, "qqnB=")) return NULL;
    const int64_t *positions = call.data[0], *order = call.data[1];
    int64_t n = call.length[0], distance = call.number[2];
    uint8_t *kept = call.data[3];
    if (call.length[1] != n || call.length[3] != n) return refuse(&call, "keep_apart: lengths do not agree");
    for (int64_t at = 0; at < n; at++)
        if (order[at] < 0 || order[at] >= n || positions[at] < 0 || positions[at] > INT64_C(1) << 60)
            return refuse(&call, "keep_apart: an index or position is out of range");
    Py_BEGIN_ALLOW_THREADS
    for (int64_t at = 0; at < n; at++) kept[at] = 1;
    for (int64_t at = 0; at < n; at++) {
        int64_t centre = order[at];
        if (!kept[centre]) continue;
        for (int64_t left = centre - 1; left >= 0 && positions[centre] - positions[left] < distance; left--)
            kept[left] = 0;
        for (int64_t right = centre + 1; right < n && positions[right] - positions[centre] < distance; right++)
            kept[right] = 0;
    }
    Py_END_ALLOW_THREADS
    return finish(&call, 0);
}
