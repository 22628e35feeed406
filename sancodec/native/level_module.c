/* Python's way to coder 2: sancodec/codec/level_coder.py and trellis.py. */

#include "functions.h"
#include "trellis.h"

/* One channel of the arguments, checked; the arrays stay those of the call. */
static const char *channel_of(const Call *call, int at, int64_t index, MixingChannel *channel) {
    const Item *arrays[7];
    for (int i = 0; i < 7; i++) {
        if (index >= call->length[at + i]) return "levels: there are not as many arrays of each kind";
        arrays[i] = (const Item *)call->data[at + i] + index;
    }
    int64_t n_bands = arrays[0]->length, n_windows = 0;
    const int32_t *strides = arrays[0]->data, *windows = arrays[1]->data;
    if (n_bands < 1 || n_bands > 1 << 15) return "levels: there are no bands, or too many";
    for (int i = 1; i < 4; i++)
        if (arrays[i]->length != n_bands) return "levels: bands of different number";
    for (int64_t band = 0; band < n_bands; band++) {
        if (windows[band] < 1 || strides[band] < 1 || (band && strides[band - 1] % strides[band]))
            return "levels: a band without windows, or a stride that does not divide the one before";
        n_windows += windows[band];
    }
    if (arrays[4]->length != n_bands * N_COARSE_PHASES) return "levels: expected magnitudes of other bands";
    if (arrays[5]->length != n_windows || arrays[6]->length != n_windows) return "levels: windows of different number";
    const int32_t *expected = arrays[4]->data;
    for (int64_t i = 0; i < arrays[4]->length; i++)
        if (expected[i] < 0 || expected[i] >= 1 << 14) return "levels: an expected magnitude out of range";
    const uint8_t *phases = arrays[5]->data;
    for (int64_t window = 0; window < n_windows; window++)
        if (phases[window] >= N_FINE_PHASES) return "levels: there is no such phase";
    *channel = (MixingChannel){(int)n_bands,    strides, windows, arrays[2]->data, arrays[3]->data, expected, phases,
                               NULL, arrays[6]->data};
    return NULL;
}

static const char *statistics_of(const Call *call, int at, int64_t index, int n_bands, MixingStatistics *statistics) {
    const Item *arrays[4];
    for (int i = 0; i < 4; i++) {
        if (index < 0 || index >= call->length[at + i]) return "levels: there are no such statistics";
        arrays[i] = (const Item *)call->data[at + i] + index;
    }
    if (arrays[0]->length != 2 * N_TERMS * n_bands || arrays[1]->length != 2 * N_TAPS * n_bands ||
        arrays[2]->length != PRIOR_SIZE || arrays[3]->length != N_KINDS * N_INPUTS)
        return "levels: statistics of another size";
    const int32_t *terms = arrays[0]->data;
    for (int64_t i = 0; i < arrays[0]->length; i++)
        if (terms[i] < 0 || terms[i] >= 1 << 16) return "levels: a weight of expected magnitudes out of range";
    *statistics = (MixingStatistics){terms, arrays[1]->data, arrays[2]->data, arrays[3]->data};
    return NULL;
}

static int are_alike(const MixingChannel *one, const MixingChannel *other) {
    size_t size = sizeof *one->strides * (size_t)one->n_bands;
    return one->n_bands == other->n_bands && !memcmp(one->strides, other->strides, size) &&
           !memcmp(one->n_windows, other->n_windows, size);
}

/* Whether to decode; bytes; strides, windows, phase groups, "on", expected magnitudes, phases and levels of each
   channel; which channel each is seen beside, or -1; which statistics each has; their terms, taps, priors and mixers;
   and for training counts, mixers, and final taps of all channels, whose statistics are one. Gives the length of what
   was written; -1 where the bytes are no such levels. */
PyObject *core_code_levels(PyObject *module, PyObject *const *arguments, Py_ssize_t n_arguments) {
    Call call;
    (void)module;
    if (!take(&call, arguments, n_arguments, "nB=[i[i[B[B[i[B[i=ii[i[i[b[iq=?q=?i=?")) return NULL;
    int64_t n_channels = call.length[8], n_statistics = call.length[11];
    const int32_t *others = call.data[9], *kinds = call.data[10];
    const char *fault = NULL;
    if (call.length[9] != n_channels || call.length[10] != n_channels || n_statistics > n_channels)
        fault = "code_levels: channels of different number";
    MixingChannel *channels = PyMem_Calloc((size_t)n_channels + 1, sizeof *channels);
    MixingStatistics *statistics = PyMem_Calloc((size_t)n_channels + 1, sizeof *statistics);
    MixingState **states = PyMem_Calloc((size_t)n_channels + 1, sizeof *states);
    int is_traced = call.data[15] && call.data[16] && call.data[17];
    int64_t n_taps = 0, result = -1;
    int has_memory = channels && statistics && states;
    for (int64_t i = 0; i < n_channels && !fault && has_memory; i++) {
        fault = channel_of(&call, 2, i, &channels[i]);
        if (!fault) fault = statistics_of(&call, 11, kinds[i], channels[i].n_bands, &statistics[i]);
        if (fault || others[i] == -1) continue;
        if (others[i] < 0 || others[i] >= i || !are_alike(&channels[i], &channels[others[i]]))
            fault = "code_levels: a channel is seen beside one that is not like it";
        else
            channels[i].other = channels[others[i]].levels;
    }
    for (int64_t i = 0; i < n_channels && !fault && has_memory; i++) n_taps += (int64_t)channels[i].n_bands * N_TAPS;
    if (!fault && is_traced && (call.length[15] != 2 * PRIOR_SIZE || call.length[16] != N_KINDS * (N_INPUTS + 1) ||
                                call.length[17] != n_taps || n_statistics != 1))
        fault = "code_levels: arrays for training of another size";
    if (!fault && has_memory) {
        Py_BEGIN_ALLOW_THREADS
        RangeCoder coder;
        int is_decoder = call.number[0] != 0, failed = 0;
        MixingTrace trace = {call.data[15], call.data[16], call.data[17]};
        if (is_decoder)
            start_decoding(&coder, call.data[1], (size_t)call.length[1]);
        else
            start_encoding(&coder, call.data[1], (size_t)call.length[1]);
        for (int64_t i = 0; i < n_channels && !failed && has_memory; i++) {
            MixingState **state = &states[kinds[i]];
            if (!*state) *state = new_mixing_state(&statistics[i], channels[i].n_bands);
            has_memory = *state != NULL;
            if (has_memory)
                failed = code_levels(*state, &coder, is_decoder, &statistics[i], &channels[i], is_traced ? &trace : NULL);
            if (is_traced) trace.taps += (size_t)channels[i].n_bands * N_TAPS;
        }
        if (!failed && is_decoder)
            result = is_read_up(&coder) ? 0 : -1;
        else if (!failed) {
            int64_t length = (int64_t)finish_encoding(&coder);
            result = coder.failed ? -1 : length;
        }
        for (int64_t i = 0; i < n_channels; i++) free_mixing_state(states[i]);
        Py_END_ALLOW_THREADS
    }
    PyMem_Free(channels);
    PyMem_Free(statistics);
    PyMem_Free(states);
    if (fault) return refuse(&call, fault);
    if (!has_memory) return out_of_memory(&call);
    return finish(&call, result);
}

static int are_within(const double *values, int64_t count, double low, double high) {
    for (int64_t i = 0; i < count; i++)
        if (!(values[i] >= low && values[i] <= high)) return 0;
    return 1;
}

/* Strides, windows, phase groups, "on", expected magnitudes, phases and levels, each in a list of one; terms, taps,
   prior and mixer likewise; coefficients; inverse step; what a bit is worth; costs; offsets; and for the squared error,
   errors and counts of four kinds of levels. */
PyObject *core_quantise_levels(PyObject *module, PyObject *const *arguments, Py_ssize_t n_arguments) {
    Call call;
    (void)module;
    if (!take(&call, arguments, n_arguments, "[i[i[B[B[i[B[i=[i[i[b[ifxxddd=q=?")) return NULL;
    MixingChannel channel;
    MixingStatistics statistics;
    const char *fault = channel_of(&call, 0, 0, &channel);
    if (!fault) fault = statistics_of(&call, 7, 0, channel.n_bands, &statistics);
    if (!fault && (call.length[11] != ((const Item *)call.data[6])->length || call.length[16] != 9 ||
                   call.length[14] != 2 * N_ACTIVITIES * COST_LENGTH || call.length[15] != 3 ||
                   (call.data[17] && call.length[17] != (N_KINDS - 1) * N_ACTIVITIES * 4)))
        fault = "quantise_levels: arrays of another size";
    /* The costs of all paths must stay below that of a state that is not reached. */
    if (!fault && !(are_within(&call.real[12], 1, 0, 1e300) && are_within(&call.real[13], 1, 0, 1e6) &&
                    are_within(call.data[14], call.length[14], 0, 1e6) && are_within(call.data[15], 3, 0, 1)))
        fault = "quantise_levels: a step, a cost or an offset out of range";
    if (fault) return refuse(&call, fault);
    double *sums = call.data[16];
    LevelErrors errors = {0};
    int failed;
    Py_BEGIN_ALLOW_THREADS
    failed = quantise_levels(&statistics, &channel, call.data[11], call.real[12], call.real[13], call.data[14],
                             call.data[15], &errors, call.data[17]);
    Py_END_ALLOW_THREADS
    if (failed) return out_of_memory(&call);
    sums[0] = errors.squares;
    for (int kind = 0; kind < 4; kind++) {
        sums[1 + kind] = errors.errors[kind];
        sums[5 + kind] = errors.counts[kind];
    }
    return finish(&call, 0);
}
