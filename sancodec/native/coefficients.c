/* Magnitudes to symbols and raw bits, and back: sancodec/codec/class_coder.py. */

#include "contexts.h"
#include "functions.h"

/* A band to be encoded: (chunk, window). */
typedef struct {
    const int32_t *magnitude;
    const uint8_t *activity, *negative;
} Band;

typedef struct {
    const int32_t *n_direct;
    int64_t n_chunks, n_lanes;
    uint8_t first_context;
    uint8_t *contexts, *symbols; /* (step, lane of all chunks) */
    int32_t *excess;             /* results of all chunks, one after the other, and how many of each chunk */
    uint8_t *low, *minus;
    int64_t *counts; /* (chunk, 3) */
} Laned;

static void lay_out(const Item *magnitudes, const Item *classes, const Item *negatives, int64_t n_bands, Laned *to) {
    for (int64_t chunk = 0; chunk < to->n_chunks; chunk++) {
        int32_t *excess = to->excess;
        uint8_t *low = to->low, *minus = to->minus;
        int64_t step = 0;
        for (int64_t number = 0; number < n_bands; number++) {
            int64_t n_windows = magnitudes[number].length / to->n_chunks;
            Band band = {(const int32_t *)magnitudes[number].data + chunk * n_windows,
                         (const uint8_t *)classes[number].data + chunk * n_windows,
                         (const uint8_t *)negatives[number].data + chunk * n_windows};
            for (int64_t window = 0; window < n_windows; step++) {
                int64_t at = (step * to->n_chunks + chunk) * to->n_lanes;
                for (int64_t lane = 0; lane < to->n_lanes && window < n_windows; lane++, window++, at++) {
                    int activity = band.activity[window], shift = class_shift(activity);
                    int32_t magnitude = band.magnitude[window];
                    to->contexts[at] = (uint8_t)(to->first_context + activity);
                    for (int bit = shift - 1; bit >= 0; bit--) *low++ = magnitude >> bit & 1;
                    if (!magnitude) continue;
                    int32_t high = magnitude >> shift, limit = to->n_direct[activity];
                    to->symbols[at] = (uint8_t)(high < limit ? high : ESCAPE_SYMBOL);
                    if (high >= limit) *excess++ = high - limit;
                    *minus++ = band.negative[window] != 0;
                }
            }
        }
        *to->counts++ = excess - to->excess;
        *to->counts++ = low - to->low;
        *to->counts++ = minus - to->minus;
        to->excess = excess, to->low = low, to->minus = minus;
    }
}

/* Bands as lists of magnitudes, classes, signs; symbols that stand for themselves, first context, chunks, lanes.
   Results: contexts and symbols (step, lane of all chunks), filled with what idle lanes have; excesses, low bits and
   signs of all chunks, and how many of each (chunk, 3). */
PyObject *core_class_symbols(PyObject *module, PyObject *const *arguments, Py_ssize_t n_arguments) {
    Call call;
    (void)module;
    if (!take(&call, arguments, n_arguments, "[i[B[BinnnB=B=i=B=B=q=")) return NULL;
    const Item *magnitudes = call.data[0], *classes = call.data[1], *negatives = call.data[2];
    int64_t n_bands = call.length[0], first = call.number[4], n_chunks = call.number[5], n_lanes = call.number[6];
    if (call.length[1] != n_bands || call.length[2] != n_bands || !are_direct(call.data[3], call.length[3]) ||
        first < 0 || first > 255 - N_CLASSES || n_chunks < 1 || n_lanes < 1)
        return refuse(&call, "class_symbols: there are no such bands, contexts or lanes");
    int64_t n_steps = 0, size = 0, n_shifts = 0;
    for (int64_t band = 0; band < n_bands; band++) {
        int64_t length = magnitudes[band].length, n_windows = length / n_chunks;
        if (length % n_chunks || classes[band].length != length || negatives[band].length != length)
            return refuse(&call, "class_symbols: lengths of a band do not agree");
        n_steps += n_windows / n_lanes + (n_windows % n_lanes != 0);
        size += length;
        const uint8_t *activity = classes[band].data;
        const int32_t *magnitude = magnitudes[band].data;
        for (int64_t at = 0; at < length; at++) {
            if (activity[at] >= N_CLASSES || magnitude[at] < 0)
                return refuse(&call, "class_symbols: there is no such class or magnitude");
            n_shifts += class_shift(activity[at]);
        }
    }
    if (call.length[7] % (n_chunks * n_lanes) || call.length[7] / (n_chunks * n_lanes) != n_steps ||
        call.length[8] != call.length[7] || call.length[9] != size || call.length[10] < n_shifts ||
        call.length[11] != size || call.length[12] / 3 != n_chunks)
        return refuse(&call, "class_symbols: lengths of the results do not agree");
    Laned to = {call.data[3],  n_chunks,      n_lanes,       (uint8_t)first, call.data[7],
                call.data[8],  call.data[9],  call.data[10], call.data[11],  call.data[12]};
    Py_BEGIN_ALLOW_THREADS
    lay_out(magnitudes, classes, negatives, n_bands, &to);
    Py_END_ALLOW_THREADS
    return finish(&call, n_shifts);
}

enum { DAMAGED = -1 };

static int64_t read_magnitudes(const uint8_t *symbol, const uint8_t *activity, int64_t size, const int32_t *n_direct,
                               const int64_t *excess, int64_t n_excess, const uint8_t *bits, int64_t end,
                               int32_t *magnitude, uint8_t *negative) {
    int64_t n_escaped = 0, position = 0;
    for (int64_t at = 0; at < size; at++) {
        int shift = class_shift(activity[at]);
        int64_t value = symbol[at];
        if (value == ESCAPE_SYMBOL) {
            if (n_escaped == n_excess) return DAMAGED;
            value = n_direct[activity[at]] + excess[n_escaped++];
        }
        if (shift > end - position) return DAMAGED;
        for (int bit = 0; bit < shift; bit++) value = value << 1 | (bits[position++] & 1);
        if (value > INT32_MAX) return DAMAGED;
        magnitude[at] = (int32_t)value;
    }
    for (int64_t at = 0; at < size; at++) {
        negative[at] = 0;
        if (!magnitude[at]) continue;
        if (position == end) return DAMAGED;
        negative[at] = bits[position++] & 1;
    }
    return position;
}

/* Symbols, classes, symbols that stand for themselves, excesses of the escaped, bits; magnitudes and signs as results.
   Returns how many bits were read, or -1 where they are too few or a magnitude is not below 2**31. */
PyObject *core_read_magnitudes(PyObject *module, PyObject *const *arguments, Py_ssize_t n_arguments) {
    Call call;
    (void)module;
    if (!take(&call, arguments, n_arguments, "BBiqBi=B=")) return NULL;
    int64_t size = call.length[0], n_excess = call.length[3];
    const uint8_t *activity = call.data[1];
    const int64_t *excess = call.data[3];
    if (call.length[1] != size || !are_direct(call.data[2], call.length[2]) || call.length[5] != size ||
        call.length[6] != size)
        return refuse(&call, "read_magnitudes: lengths do not agree");
    for (int64_t at = 0; at < size; at++)
        if (activity[at] >= N_CLASSES) return refuse(&call, "read_magnitudes: there is no such class");
    for (int64_t at = 0; at < n_excess; at++)
        if (excess[at] < 0 || excess[at] > INT32_MAX) return refuse(&call, "read_magnitudes: an excess is out of range");
    int64_t position;
    Py_BEGIN_ALLOW_THREADS
    position = read_magnitudes(call.data[0], activity, size, call.data[2], excess, n_excess, call.data[4],
                               call.length[4], call.data[5], call.data[6]);
    Py_END_ALLOW_THREADS
    return finish(&call, position);
}

enum { BLOCK = 64 };

static void interleave(const Item *magnitudes, const Item *negatives, int64_t n_kernels, int64_t size,
                       const double *offsets, double *amplitudes) {
    for (int64_t first = 0; first < size; first += BLOCK) {
        int64_t last = first + BLOCK < size ? first + BLOCK : size;
        for (int64_t kernel = 0; kernel < n_kernels; kernel++) {
            const int32_t *magnitude = magnitudes[kernel].data;
            const uint8_t *negative = negatives[kernel].data;
            for (int64_t at = first; at < last; at++) {
                int32_t value = magnitude[at];
                double amplitude = value ? 128.0 * value - offsets[value < 3 ? value : 3] : 0.0;
                amplitudes[at * n_kernels + kernel] = value && negative[at] ? -amplitude : amplitude;
            }
        }
    }
}

/* Magnitudes and signs of a group's kernels, as lists; offsets of magnitudes 0 to 3; (window, kernel) as the result. */
PyObject *core_amplitudes(PyObject *module, PyObject *const *arguments, Py_ssize_t n_arguments) {
    Call call;
    (void)module;
    if (!take(&call, arguments, n_arguments, "[i[Bdd=")) return NULL;
    const Item *magnitudes = call.data[0], *negatives = call.data[1];
    int64_t n_kernels = call.length[0], size = n_kernels ? magnitudes[0].length : 0;
    for (int64_t kernel = 0; kernel < n_kernels && kernel < call.length[1]; kernel++) {
        if (magnitudes[kernel].length != size || negatives[kernel].length != size)
            return refuse(&call, "amplitudes: lengths of the kernels do not agree");
        const int32_t *magnitude = magnitudes[kernel].data;
        int32_t least = 0;
        for (int64_t at = 0; at < size; at++) least = magnitude[at] < least ? magnitude[at] : least;
        if (least < 0) return refuse(&call, "amplitudes: a magnitude is negative");
    }
    if (call.length[1] != n_kernels || call.length[2] != 4 || (n_kernels && call.length[3] / n_kernels != size) ||
        call.length[3] != size * n_kernels)
        return refuse(&call, "amplitudes: lengths do not agree");
    Py_BEGIN_ALLOW_THREADS
    interleave(magnitudes, negatives, n_kernels, size, call.data[2], call.data[3]);
    Py_END_ALLOW_THREADS
    return finish(&call, 0);
}
