/* A band's classes, its rounding, and what it tells the bands after it: sancodec/codec/quantiser.py. */

#include "contexts.h"
#include "functions.h"

#include <stdlib.h>

enum { N_EXACT = 24, MAX_BASE = 1 << 28, MAX_WEIGHT = 1 << 16 };

#define MAX_ROUNDED 2147483392.0f /* rounded, it fits in 32 bits */

/* Arguments from `first` on: profile's share, windows of a stream, both parents with their ratios, weights. */
static const char *band_of(Call *call, int first, Parents *parents) {
    const int32_t *base = call->data[first], *weights = call->data[first + 6];
    int64_t n = call->number[first + 1], size = call->length[first];
    if (n < 1 || n > INT32_MAX || size % n) return "a band has no such number of windows";
    if (call->length[first + 6] != 4) return "a band has four weights";
    for (int at = 0; at < 4; at++)
        if (weights[at] < 0 || weights[at] > MAX_WEIGHT) return "a weight is out of range";
    for (int64_t at = 0; at < size; at++)
        if (base[at] < 0 || base[at] > MAX_BASE) return "an expected magnitude is out of range";
    for (int at = first + 2; at < first + 6; at += 2) {
        int64_t ratio = call->number[at + 1];
        if (ratio < 1 || n % ratio || (call->data[at] && call->length[at] != size / ratio))
            return "a parent has another length";
    }
    *parents = (Parents){call->data[first + 2], call->data[first + 4], call->number[first + 3],
                         call->number[first + 5], weights};
    return NULL;
}

/* base, windows, mother, ratio, grandmother, ratio, weights; classes as the result. */
PyObject *core_activity(PyObject *module, PyObject *const *arguments, Py_ssize_t n_arguments) {
    Call call;
    Parents parents;
    (void)module;
    if (!take(&call, arguments, n_arguments, "inB?nB?niB=")) return NULL;
    const char *obstacle = band_of(&call, 0, &parents);
    if (obstacle) return refuse(&call, obstacle);
    int64_t n = call.number[1], size = call.length[0];
    if (call.length[7] != size) return refuse(&call, "activity: lengths do not agree");
    int32_t *expected = malloc((size_t)n * sizeof *expected);
    if (!expected) return out_of_memory(&call);
    const int32_t *base = call.data[0];
    uint8_t *activity = call.data[7];
    Py_BEGIN_ALLOW_THREADS
    for (int64_t row = 0; row < size / n; row++)
        activity_row(base + row * n, n, &parents, row, expected, activity + row * n);
    free(expected);
    Py_END_ALLOW_THREADS
    return finish(&call, 0);
}

typedef struct {
    const float *thresholds; /* (class, magnitude) */
    float inverse;
    uint8_t known[N_CLASSES][MAX_MAGNITUDE + 2]; /* by class and magnitude, larger ones alike */
    float *error;                                /* of the coefficients that are not 0, one after the other */
    int64_t n_used;
    double errors[4], counts[4]; /* by magnitude 0, 1, 2 and more */
} Rounding;

static void know(Rounding *rounding, const int32_t *n_direct) {
    for (int activity = 0; activity < N_CLASSES; activity++)
        for (int magnitude = 0; magnitude <= MAX_MAGNITUDE + 1; magnitude++)
            rounding->known[activity][magnitude] =
                known_of(magnitude > MAX_MAGNITUDE ? INT32_MAX : magnitude, activity, n_direct);
}

static inline void add_error(Rounding *rounding, float error, int32_t magnitude) {
    int kind = magnitude < 3 ? magnitude : 3;
    double by_kind[4] = {0}, *sums = rounding->errors;
    rounding->error[rounding->n_used++] = error;
    rounding->counts[kind]++;
    by_kind[kind] = (double)error; /* the sums of the other kinds take a 0, so that none waits for its store */
    sums[1] += by_kind[1], sums[2] += by_kind[2], sums[3] += by_kind[3];
}

/* Half of the coefficients are 0, and which ones cannot be foretold: no step depends on a branch. `used` is room for n
   numbers. */
static void quantise_row(const float *absolute, int64_t n, const uint8_t *activity, Rounding *rounding,
                         int32_t *magnitude, uint8_t *known, float *scaled, int32_t *used) {
    int64_t n_used = 0;
    for (int64_t window = 0; window < n; window++) {
        float wanted = absolute[window] * rounding->inverse;
        const float *threshold = rounding->thresholds + activity[window] * N_EXACT;
        float bounded = wanted > 0 ? wanted : 0;
        int32_t value = (int32_t)((bounded < MAX_ROUNDED ? bounded : MAX_ROUNDED) + 0.5f);
        int32_t at = value < N_EXACT ? value : N_EXACT;
        value -= wanted < threshold[at - (at > 0)];
        value &= -(int32_t)(wanted >= threshold[0]);
        value &= ~(value >> 31);
        magnitude[window] = value;
        known[window] = rounding->known[activity[window]][value <= MAX_MAGNITUDE ? value : MAX_MAGNITUDE + 1];
        scaled[window] = wanted;
        used[n_used] = (int32_t)window;
        n_used += value > 0;
    }
    for (int64_t index = 0; index < n_used; index++) {
        int32_t window = used[index], value = magnitude[window];
        add_error(rounding, scaled[window] - (float)value, value);
        scaled[window] = 0;
    }
}

/* A band as for `activity`; coefficients; thresholds, symbols that stand for themselves, 1 / step. Results: classes,
   magnitudes, what the next bands know of them, scaled coefficients where the magnitude is 0, errors where it is not,
   sums of those and how many, by magnitude. Returns how many magnitudes are not 0. */
PyObject *core_quantise(PyObject *module, PyObject *const *arguments, Py_ssize_t n_arguments) {
    Call call;
    Parents parents;
    (void)module;
    if (!take(&call, arguments, n_arguments, "inB?nB?niffixB=i=B=f=f=d=")) return NULL;
    const char *obstacle = band_of(&call, 0, &parents);
    if (obstacle) return refuse(&call, obstacle);
    int64_t n = call.number[1], size = call.length[0];
    if (call.length[7] != size || call.length[8] != N_CLASSES * N_EXACT || !are_direct(call.data[9], call.length[9]) ||
        call.length[11] != size || call.length[12] != size || call.length[13] != size || call.length[14] != size ||
        call.length[15] != size || call.length[16] != 8)
        return refuse(&call, "quantise: lengths do not agree");
    /* For the expected magnitudes of a stream, then for the places of those that are not 0. */
    int32_t *expected = malloc((size_t)n * sizeof *expected);
    if (!expected) return out_of_memory(&call);
    Rounding rounding = {.thresholds = call.data[8], .inverse = (float)call.real[10], .error = call.data[15]};
    know(&rounding, call.data[9]);
    const int32_t *base = call.data[0];
    const float *absolute = call.data[7];
    uint8_t *activity = call.data[11], *known = call.data[13];
    int32_t *magnitude = call.data[12];
    float *scaled = call.data[14];
    Py_BEGIN_ALLOW_THREADS
    for (int64_t row = 0, at = 0; row < size / n; row++, at += n) {
        activity_row(base + at, n, &parents, row, expected, activity + at);
        quantise_row(absolute + at, n, activity + at, &rounding, magnitude + at, known + at, scaled + at,
                     expected);
    }
    free(expected);
    memcpy(call.data[16], rounding.errors, sizeof rounding.errors);
    memcpy((double *)call.data[16] + 4, rounding.counts, sizeof rounding.counts);
    Py_END_ALLOW_THREADS
    return finish(&call, rounding.n_used);
}

/* Coefficients, 1 / step, what is added before rounding down. Results: magnitudes, scaled coefficients where the
   magnitude is 0, errors where it is not, sums of those and how many, by magnitude. Returns how many are not 0. */
PyObject *core_quantise_plain(PyObject *module, PyObject *const *arguments, Py_ssize_t n_arguments) {
    Call call;
    (void)module;
    if (!take(&call, arguments, n_arguments, "fxxi=f=f=d=")) return NULL;
    int64_t size = call.length[0];
    if (call.length[3] != size || call.length[4] != size || call.length[5] != size || call.length[6] != 8)
        return refuse(&call, "quantise_plain: lengths do not agree");
    if (!(call.real[2] >= 0 && call.real[2] < 1)) return refuse(&call, "quantise_plain: what is added is out of range");
    const float *absolute = call.data[0];
    float inverse = (float)call.real[1], raised = (float)call.real[2], *scaled = call.data[4];
    int32_t *magnitude = call.data[3];
    Rounding rounding = {.inverse = inverse, .error = call.data[5]};
    Py_BEGIN_ALLOW_THREADS
    for (int64_t at = 0; at < size; at++) {
        float wanted = absolute[at] * inverse, bounded = wanted > 0 ? wanted : 0;
        int32_t value = (int32_t)((bounded < MAX_ROUNDED ? bounded : MAX_ROUNDED) + raised);
        magnitude[at] = value;
        scaled[at] = value ? 0 : wanted;
        if (value) add_error(&rounding, wanted - (float)value, value);
    }
    memcpy(call.data[6], rounding.errors, sizeof rounding.errors);
    memcpy((double *)call.data[6] + 4, rounding.counts, sizeof rounding.counts);
    Py_END_ALLOW_THREADS
    return finish(&call, rounding.n_used);
}

/* Magnitudes, classes, symbols that stand for themselves; what the next bands know of them as the result. */
PyObject *core_known(PyObject *module, PyObject *const *arguments, Py_ssize_t n_arguments) {
    Call call;
    (void)module;
    if (!take(&call, arguments, n_arguments, "iBiB=")) return NULL;
    int64_t size = call.length[0];
    if (call.length[1] != size || !are_direct(call.data[2], call.length[2]) || call.length[3] != size)
        return refuse(&call, "known: lengths do not agree");
    const int32_t *magnitude = call.data[0];
    const uint8_t *activity = call.data[1];
    uint8_t *known = call.data[3];
    int is_class = 1;
    Py_BEGIN_ALLOW_THREADS
    for (int64_t at = 0; at < size; at++) {
        is_class &= activity[at] < N_CLASSES && magnitude[at] >= 0;
        known[at] = is_class ? known_of(magnitude[at], activity[at], call.data[2]) : 0;
    }
    Py_END_ALLOW_THREADS
    return is_class ? finish(&call, 0) : refuse(&call, "known: there is no such class or magnitude");
}

/* The same from symbols. */
PyObject *core_known_of_symbols(PyObject *module, PyObject *const *arguments, Py_ssize_t n_arguments) {
    Call call;
    (void)module;
    if (!take(&call, arguments, n_arguments, "BBiB=")) return NULL;
    int64_t size = call.length[0];
    if (call.length[1] != size || !are_direct(call.data[2], call.length[2]) || call.length[3] != size)
        return refuse(&call, "known_of_symbols: lengths do not agree");
    const uint8_t *symbol = call.data[0], *activity = call.data[1];
    const int32_t *n_direct = call.data[2];
    uint8_t *known = call.data[3];
    int is_class = 1;
    Py_BEGIN_ALLOW_THREADS
    for (int64_t at = 0; at < size; at++) {
        is_class &= activity[at] < N_CLASSES;
        int kind = is_class ? activity[at] : 0, shift = class_shift(kind);
        int32_t high = symbol[at] == ESCAPE_SYMBOL ? n_direct[kind] : symbol[at];
        known[at] = (uint8_t)(high > MAX_MAGNITUDE >> shift ? MAX_MAGNITUDE : high << shift);
    }
    Py_END_ALLOW_THREADS
    return is_class ? finish(&call, 0) : refuse(&call, "known_of_symbols: there is no such class");
}
