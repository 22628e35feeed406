/* Samples of a channel predicted from those before: sancodec/codec/residual.py. */

#include "functions.h"

enum { MAX_LAGS = 64, MAX_SHIFT = 20, MAX_UNIT = (1 << 21) + 1 };

typedef struct {
    const int64_t *own;
    int64_t n_lags, shift, unit, low, high, restart;
    int is_encoding;
} Layer;

/* Sums of hostile weights may wrap; a digest refuses what comes of them. */
static inline int64_t plus(int64_t one, int64_t other) { return (int64_t)((uint64_t)one + (uint64_t)other); }
static inline int64_t times(int64_t one, int64_t other) { return (int64_t)((uint64_t)one * (uint64_t)other); }

/* A difference over an odd unit, rounded. */
static inline int64_t nearest(int64_t difference, int64_t unit) {
    int64_t sum = plus(difference, unit / 2), quotient = sum / unit;
    return quotient - (sum % unit < 0);
}

static void run_chunk(const Layer *layer, const int64_t *approximation, const int64_t *sums, const int64_t *given,
                      int64_t length, int64_t *decoded, int64_t *codes) {
    int64_t before[MAX_LAGS], half = ((int64_t)1 << layer->shift) >> 1;
    for (int64_t first = 0; first < length; first += layer->restart) {
        int64_t last = length - first < layer->restart ? length : first + layer->restart;
        /* Sample first - 1 - lag as the approximation has it; before the chunk its first value. */
        for (int64_t lag = 0; lag < layer->n_lags; lag++)
            before[lag] = approximation[first > lag ? first - 1 - lag : 0];
        for (int64_t at = first; at < last; at++) {
            int64_t value = plus(sums[at], half), inside = at - first;
            if (inside > layer->n_lags) inside = layer->n_lags;
            for (int64_t lag = 0; lag < inside; lag++)
                value = plus(value, times(layer->own[lag], decoded[at - 1 - lag]));
            for (int64_t lag = inside; lag < layer->n_lags; lag++)
                value = plus(value, times(layer->own[lag], before[lag - (at - first)]));
            value >>= layer->shift;
            int64_t code = given[at];
            if (layer->is_encoding) codes[at] = code = nearest(plus(given[at], -value), layer->unit);
            value = plus(value, times(layer->unit, code));
            value = value < layer->low ? layer->low : value > layer->high ? layer->high : value;
            decoded[at] = value;
            if (at == first) /* what came before is moved to where the block begins */
                for (int64_t lag = 0; lag < layer->n_lags; lag++)
                    before[lag] = plus(before[lag], value - approximation[first]);
        }
    }
}

/* Weights of own samples, shift, unit, range, restart, length of a chunk; approximation, sums of the references, codes
   or samples, whether those are samples; decoded samples and, where they were samples, codes as results. */
PyObject *core_residual(PyObject *module, PyObject *const *arguments, Py_ssize_t n_arguments) {
    Call call;
    (void)module;
    if (!take(&call, arguments, n_arguments, "qnnnnnnqqqnq=q=")) return NULL;
    int64_t length = call.number[6], size = call.length[7], limit = INT64_C(1) << 40;
    Layer layer = {call.data[0],   call.length[0], call.number[1], call.number[2],
                   call.number[3], call.number[4], call.number[5], call.number[10] != 0};
    if (layer.n_lags > MAX_LAGS || layer.shift < 0 || layer.shift > MAX_SHIFT || layer.unit < 1 ||
        layer.unit > MAX_UNIT || layer.low < -limit || layer.high > limit || layer.low > layer.high ||
        layer.restart < 1)
        return refuse(&call, "residual: a number is out of range");
    if (length < 1 || size % length || call.length[8] != size || call.length[9] != size || call.length[11] != size ||
        call.length[12] != (layer.is_encoding ? size : 0))
        return refuse(&call, "residual: lengths do not agree");
    const int64_t *approximation = call.data[7], *sums = call.data[8], *given = call.data[9];
    int64_t *decoded = call.data[11], *codes = call.data[12];
    for (int64_t at = 0; at < size; at++)
        if (approximation[at] < -limit || approximation[at] > limit)
            return refuse(&call, "residual: an approximation is out of range");
    Py_BEGIN_ALLOW_THREADS
    for (int64_t at = 0; at < size; at += length)
        run_chunk(&layer, approximation + at, sums + at, given + at, length, decoded + at,
                  layer.is_encoding ? codes + at : codes);
    Py_END_ALLOW_THREADS
    return finish(&call, 0);
}

/* Add weights * samples at lags from `lag` on to the sums of one chunk; beyond its ends its end samples. */
static void add_reference(const int64_t *samples, int64_t length, const int64_t *weights, int64_t n_weights,
                          int64_t first_lag, int64_t *sums) {
    for (int64_t index = 0; index < n_weights; index++) {
        int64_t weight = weights[index], lag = first_lag + index;
        int64_t first = lag > 0 ? lag : 0, last = lag < 0 ? length + lag : length;
        if (!weight) continue;
        first = first < length ? first : length;
        last = last > first ? last : first;
        for (int64_t at = 0; at < first; at++) sums[at] = plus(sums[at], times(weight, samples[0]));
        for (int64_t at = first; at < last; at++) sums[at] = plus(sums[at], times(weight, samples[at - lag]));
        for (int64_t at = last; at < length; at++) sums[at] = plus(sums[at], times(weight, samples[length - 1]));
    }
}

/* Samples of another channel, length of a chunk, weights, their first lag; sums to which they are added. */
PyObject *core_add_reference(PyObject *module, PyObject *const *arguments, Py_ssize_t n_arguments) {
    Call call;
    (void)module;
    if (!take(&call, arguments, n_arguments, "qnqnq=")) return NULL;
    int64_t size = call.length[0], length = call.number[1], first_lag = call.number[3], limit = INT64_C(1) << 40;
    if (length < 1 || size % length || call.length[4] != size || first_lag < -limit || first_lag > limit)
        return refuse(&call, "add_reference: lengths do not agree");
    const int64_t *samples = call.data[0];
    int64_t *sums = call.data[4];
    Py_BEGIN_ALLOW_THREADS
    for (int64_t at = 0; at < size; at += length)
        add_reference(samples + at, length, call.data[2], call.length[2], first_lag, sums + at);
    Py_END_ALLOW_THREADS
    return finish(&call, 0);
}
