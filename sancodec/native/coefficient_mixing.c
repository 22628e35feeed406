#include "coefficient_mixing.h"

#include <stdlib.h>
#include <string.h>

#include "activity.h"

enum {
    PREDICTION_LIMIT = LEVEL_CLIP << 8, /* in 1/256 */
    TAP_LIMIT = 1 << 18,
    MAX_EXCESS_BITS = 28,
    MAX_HIGH = 1 << 28,
    MIXER_RATE = 12,
    COUNT_LIMIT = 255,
    MEAN_LIMIT = 32,
    N_LEVEL_CLASSES = 12,
    SIGN = 1 /* the kind */
};

const uint8_t trellis_next[N_STATES][2] = {{0, 1}, {3, 2}, {5, 4}, {6, 7}, {1, 0}, {2, 3}, {4, 5}, {7, 6}};

static const int32_t prediction_edges[N_LEVEL_CLASSES - 1] = {26, 51, 92, 154, 230, 358, 563, 870, 1331, 2048, 3584};
/* How many prior probabilities an input has, and how far they are trusted; of magnitudes and of signs. */
static const int prior_length[2][N_INPUTS] = {{PRIOR_ACTIVITY, PRIOR_PREDICTION, PRIOR_BAND, PRIOR_PHASE}, {48, 9, 1, 24}};
static const Slot prior_count[2][N_INPUTS] = {{30, 10, 6, 3}, {10, 3, 1, 2}};

struct MixingState {
    Slot *slots;
    size_t first[N_KINDS][N_INPUTS];
    int32_t by_group[N_KINDS][2 * N_GROUPS][N_INPUTS];
    int32_t by_activity[N_KINDS][N_ACTIVITIES][N_INPUTS];
};

/* Contexts of an input over its prior probabilities: its own for every band, or for every phase of every band. */
static size_t copies(int kind, int input, int n_bands) {
    int of_bands = kind == SIGN ? input > 0 : input > 1, of_phases = kind == SIGN ? input == 2 : input == 3;
    return (of_bands ? (size_t)n_bands : 1) * (of_phases ? N_FINE_PHASES : 1);
}

static int prior_start(int kind, int input) {
    int start = kind == SIGN ? (N_KINDS - 1) * PRIOR_KIND : (kind ? kind - 1 : 0) * PRIOR_KIND;
    for (int i = 0; i < input; i++) start += prior_length[kind == SIGN][i];
    return start;
}

MixingState *new_mixing_state(const MixingStatistics *statistics, int n_bands) {
    MixingState *state = malloc(sizeof *state);
    if (!state) return NULL;
    size_t total = 0;
    if (n_bands > MAX_OWN_BANDS) n_bands = MAX_OWN_BANDS;
    for (int kind = 0; kind < N_KINDS; kind++)
        for (int input = 0; input < N_INPUTS; input++) {
            state->first[kind][input] = total;
            total += (size_t)prior_length[kind == SIGN][input] * copies(kind, input, n_bands);
        }
    state->slots = malloc(total * sizeof(Slot));
    if (!state->slots) {
        free(state);
        return NULL;
    }
    for (int kind = 0; kind < N_KINDS; kind++)
        for (int input = 0; input < N_INPUTS; input++) {
            const int8_t *prior = statistics->prior + prior_start(kind, input);
            Slot *slots = state->slots + state->first[kind][input];
            size_t length = (size_t)prior_length[kind == SIGN][input];
            size_t all = length * copies(kind, input, n_bands);
            for (size_t i = 0; i < length; i++)
                slots[i] = (Slot)mixing_squash[2048 + 16 * prior[i]] << 16 | prior_count[kind == SIGN][input];
            for (size_t i = length; i < all; i++) slots[i] = slots[i - length];
            int32_t weight = clamp(statistics->mixer[kind * N_INPUTS + input], WEIGHT_LIMIT);
            for (int set = 0; set < 2 * N_GROUPS; set++) state->by_group[kind][set][input] = weight;
            for (int set = 0; set < N_ACTIVITIES; set++) state->by_activity[kind][set][input] = weight;
        }
    return state;
}

void free_mixing_state(MixingState *state) {
    if (state) free(state->slots);
    free(state);
}

typedef struct {
    MixingState *state;
    RangeCoder *coder;
    const MixingTrace *trace;
    int is_decoder;
} Code;

static void keep_trace(const Code *code, int kind, const int *contexts, const int32_t *first, const int32_t *second,
                       int bit) {
    int64_t *mixers = code->trace->mixers + kind * (N_INPUTS + 1);
    mixers[N_INPUTS]++;
    for (int i = 0; i < N_INPUTS; i++) {
        mixers[i] += (first[i] + second[i]) / 2;
        int prior = prior_start(kind, i) + contexts[i] % prior_length[kind == SIGN][i];
        code->trace->counts[2 * prior + bit]++;
    }
}

/* Code a bit by the mean of two mixings of its contexts, one weighted by phase group, one by activity. */
static inline int decide(const Code *code, int kind, const int *contexts, int group, int activity, int bit) {
    MixingState *state = code->state;
    int32_t *first = state->by_group[kind][group], *second = state->by_activity[kind][activity];
    Slot *slots[N_INPUTS];
    int stretched[N_INPUTS];
    int64_t a = 0, b = 0;
    for (int i = 0; i < N_INPUTS; i++) {
        slots[i] = state->slots + state->first[kind][i] + contexts[i];
        stretched[i] = slot_stretch(*slots[i]);
        a += (int64_t)first[i] * stretched[i];
        b += (int64_t)second[i] * stretched[i];
    }
    bit = code_bit(code->coder, code->is_decoder, bit, mixing_squash[2048 + clamp((a + b) >> 17, STRETCH_LIMIT)]);
    if (code->trace) keep_trace(code, kind, contexts, first, second, bit);
    int32_t error_a = (bit << 16) - mixing_squash[2048 + clamp(a >> 16, STRETCH_LIMIT)];
    int32_t error_b = (bit << 16) - mixing_squash[2048 + clamp(b >> 16, STRETCH_LIMIT)];
    for (int i = 0; i < N_INPUTS; i++) {
        int64_t step_a = ((int64_t)stretched[i] * error_a * MIXER_RATE + (1 << 17)) >> 18;
        int64_t step_b = ((int64_t)stretched[i] * error_b * MIXER_RATE + (1 << 17)) >> 18;
        first[i] = clamp(first[i] + step_a, WEIGHT_LIMIT);
        second[i] = clamp(second[i] + step_b, WEIGHT_LIMIT);
        slot_update(slots[i], bit, COUNT_LIMIT);
    }
    return bit;
}

static int code_even(const Code *code, int bit) { return code_bit(code->coder, code->is_decoder, bit, 1 << 15); }

/* What an index exceeds the unary ones by: Exp-Golomb of order 0 in even odds; -1 where it is beyond all bounds. */
static int32_t code_excess(const Code *code, int32_t excess) {
    uint32_t value = (uint32_t)excess + 1, result = 1;
    int wanted = 0, n_bits = 0;
    while (!code->is_decoder && value >> (wanted + 1)) wanted++;
    while (code_even(code, n_bits < wanted))
        if (++n_bits > MAX_EXCESS_BITS) return -1;
    for (int i = n_bits - 1; i >= 0; i--) result = result << 1 | (uint32_t)code_even(code, (int)(value >> i & 1));
    return (int32_t)result - 1;
}

static inline int sign_class(int32_t level) { return level > 0 ? 1 : level < 0 ? 2 : 0; }

static inline int prediction_class(int32_t prediction) {
    int32_t magnitude = prediction < 0 ? -prediction : prediction;
    int level = 0;
    while (level < N_LEVEL_CLASSES - 1 && magnitude >= prediction_edges[level]) level++;
    return level;
}

/* Levels that a prediction is made of, in quarters; the last is left to the caller. */
static inline void taps_input(const Neighbours *bands, int window, int32_t x[N_TAPS]) {
    int above = window_above(bands, &bands->parent, window), far = window_above(bands, &bands->grandparent, window);
    for (int lag = 0; lag < 4; lag++) x[lag] = 4 * level_at(&bands->own, window - 1 - lag);
    for (int i = 0; i < 3; i++) {
        int shift = i == 0 ? 0 : i == 1 ? -1 : 1;
        x[4 + i] = 4 * level_at(&bands->parent, above + shift);
        x[7 + i] = 4 * level_at(&bands->grandparent, far + shift);
        x[10 + i] = 4 * level_at(&bands->other, window + shift);
    }
}

/* What is known of a coefficient before it is coded. */
typedef struct {
    int32_t x[N_TAPS];
    int32_t energy, prediction; /* in 1/16 and 1/256 */
    int band, group, phase, activity, shift, near, odd;
} Place;

static void learn_taps(int32_t *taps, const Place *place, int32_t target) {
    if (!place->energy) return;
    int32_t gain = (target * 256 - place->prediction) * 4096 / (place->energy + 64);
    for (int i = 0; i < N_TAPS; i++)
        taps[i] = clamp(taps[i] + (((int64_t)gain * place->x[i] * 41) >> 14), TAP_LIMIT);
}

static void predict(Place *place, const int32_t *taps) {
    int64_t sum = 0;
    place->energy = 0;
    for (int i = 0; i < N_TAPS; i++) {
        sum += (int64_t)taps[i] * place->x[i];
        place->energy += place->x[i] * place->x[i];
    }
    place->prediction = clamp(sum >> 10, PREDICTION_LIMIT);
}

/* The index of a level under the quantiser of a state, and its sign; 0 if all is well. */
static inline int code_index(const Code *code, const Place *place, int32_t *index, int *is_negative) {
    int level_class = prediction_class(place->prediction), is_down = place->prediction < 0, odd = place->odd;
    int band = place->band, set = place->activity / 2 + N_ACTIVITIES / 2 * odd, group = 2 * place->group + odd;
    int contexts[N_INPUTS] = {2 * place->activity + odd, (level_class * 16 + place->activity / 4) * 2 + odd,
                              (band * 32 + place->activity / 2) * 2 + odd,
                              ((band * N_FINE_PHASES + place->phase) * 8 + place->near) * 2 + odd};
    int32_t wanted = *index >> place->shift, high = decide(code, 0, contexts, group, set, wanted > 0);
    if (high) {
        int own = sign_class(place->x[0]) * 3 + sign_class(place->x[1]);
        int sign[N_INPUTS] = {(level_class * 2 + is_down) * 2 + odd, band * 9 + own, band * N_FINE_PHASES + place->phase,
                              band * 24 + level_class * 2 + is_down};
        *is_negative = decide(code, SIGN, sign, group, set, *is_negative);
        if (*is_negative == is_down) contexts[1] += N_LEVEL_CLASSES * 16 * 2;
        while (high < MAX_UNARY && decide(code, 1 + (high < 6 ? high : 6), contexts, group, set, wanted > high)) high++;
        if (high == MAX_UNARY) {
            int32_t excess = code_excess(code, wanted - high);
            if (excess < 0 || excess > MAX_HIGH >> place->shift) return -1;
            high += excess;
        }
    }
    int32_t result = high;
    for (int i = place->shift - 1; i >= 0; i--) result = result << 1 | code_even(code, *index >> i & 1);
    if (result && !high) *is_negative = code_even(code, *is_negative);
    *index = result;
    return 0;
}

static int code_band(const Code *code, const MixingStatistics *statistics, const MixingChannel *channel,
                     const Neighbours *bands) {
    const uint8_t *phases = channel->phases + bands->position;
    const int32_t *terms = terms_of(statistics, channel, bands->band);
    int32_t *levels = channel->levels + bands->position;
    int32_t taps[N_TAPS], means[N_FINE_PHASES] = {0}; /* in 2^-16 and in 1/256 */
    uint8_t met[N_FINE_PHASES] = {0};
    Place place = {.band = bands->band < MAX_OWN_BANDS ? bands->band : MAX_OWN_BANDS - 1,
                   .group = channel->groups[bands->band] % N_GROUPS};
    memcpy(taps, taps_of(statistics, channel, bands->band), sizeof taps);
    int state = 0;
    for (int window = 0; window < bands->own.n; window++) {
        int32_t *x = place.x;
        place.phase = phases[window];
        place.odd = state & 1;
        taps_input(bands, window, x);
        x[N_TAPS - 1] = means[place.phase] >> 6;
        predict(&place, taps);
        int32_t before[2] = {magnitude_of(x[0] / 4), magnitude_of(x[1] / 4)};
        int64_t activity = activity_around(bands, channel, terms, window) + terms[4] * before[0] + terms[5] * before[1];
        place.activity = activity_of(activity);
        place.shift = activity_shift(activity);
        int near = 2 * before[0] + before[1] + 2 * magnitude_of(x[4] / 4) + magnitude_of(x[5] / 4) +
                   magnitude_of(x[6] / 4) + magnitude_of(x[7] / 4);
        place.near = near <= 1 ? near : near <= 3 ? 2 : near <= 6 ? 3 : near <= 12 ? 4 : near <= 22 ? 5 : near <= 44 ? 6 : 7;
        int is_negative = 0;
        int32_t index = 0;
        if (!code->is_decoder) {
            is_negative = levels[window] < 0;
            index = (int32_t)(((is_negative ? -(int64_t)levels[window] : levels[window]) + place.odd) >> 1);
        }
        if (code_index(code, &place, &index, &is_negative) || code->coder->failed) return -1;
        if (code->is_decoder) {
            int32_t level = index ? 2 * index - place.odd : 0;
            levels[window] = is_negative ? -level : level;
        }
        state = trellis_next[state][index & 1];
        int32_t target = clamp(levels[window], LEVEL_CLIP);
        learn_taps(taps, &place, target);
        int32_t *mean = &means[place.phase];
        *mean += (int32_t)(((int64_t)(target * 256 - *mean) * mixing_rate[met[place.phase]]) >> 16);
        if (met[place.phase] < MEAN_LIMIT) met[place.phase]++;
    }
    if (code->trace) memcpy(code->trace->taps + (size_t)bands->band * N_TAPS, taps, sizeof taps);
    return 0;
}

int code_levels(MixingState *state, RangeCoder *coder, int is_decoder, const MixingStatistics *statistics,
                const MixingChannel *channel, const MixingTrace *trace) {
    const Code code = {state, coder, trace, is_decoder};
    for (Neighbours bands = first_band(channel); bands.band < channel->n_bands; next_band(&bands, channel)) {
        if (channel->is_on[bands.band]) {
            if (code_band(&code, statistics, channel, &bands)) return -1;
        } else if (is_decoder)
            memset(channel->levels + bands.position, 0, sizeof *channel->levels * (size_t)bands.own.n);
    }
    return 0;
}
