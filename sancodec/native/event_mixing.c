#include "event_mixing.h"

#include <stdlib.h>

enum {
    SIGN_NODE = 1,
    LENGTH_NODE = 2,
    N_LENGTH_NODES = 10,
    FIRST_BIT_NODE = 12,
    SECOND_BIT_NODE = 18,
    N_BIT_LENGTHS = 6, /* longer numbers share the nodes of bits */
    MAX_LENGTH = 33,
    SIZE_CONTEXTS = 20,
    TREE_LEVELS = 3,
    LEARNING_RATE = 20,
    FIRST_WEIGHT = 7 << 12,
    SLOT_LIMIT = 255
};

typedef struct {
    RangeCoder coder;
    int is_decoder;
    Slot gap[NUMBER_NODES * GAP_SLOTS], gain[NUMBER_NODES * GAIN_SLOTS], choice[CHOICE_NODES * CHOICE_SLOTS];
    int32_t gap_weights[NUMBER_NODES][EVENT_INPUTS], gain_weights[NUMBER_NODES][EVENT_INPUTS];
    int32_t choice_weights[CHOICE_NODES][EVENT_INPUTS];
} EventCoder;

/* What was coded of an event of a lead group, for the channel that follows. */
typedef struct {
    int32_t rhythm;    /* whether it came early or late: -3 to 3 */
    int32_t choice;   /* 0 where the channel before has no gain here, else 1 + its kernel */
    int32_t deviation; /* of that gain from its prediction */
} Beside;

static inline int least(int64_t value, int limit) { return value < limit ? (int)value : limit; }

static inline int sign_of(int64_t value) { return (value > 0) - (value < 0); }

static inline int64_t magnitude(int64_t value) { return value < 0 ? -value : value; }

static inline int length_of(int64_t value) { return value ? least(bit_length(magnitude(value)), 7) : 0; }

static inline int signed_length(int64_t value) { return sign_of(value) * length_of(value); }

/* Two levels an octave of a scale in 2^-8. */
static inline int size_of(int64_t scale) {
    int64_t value = (scale >> 4) + 4;
    int length = bit_length(value);
    return least((4 * (length - 3) + (value >> (length - 3) & 3)) >> 1, SIZE_CONTEXTS - 1);
}

static void start(EventCoder *self, const uint16_t *prior) {
    Slot *const slots[] = {self->gap, self->gain, self->choice};
    const int counts[] = {NUMBER_NODES * GAP_SLOTS, NUMBER_NODES * GAIN_SLOTS, CHOICE_NODES * CHOICE_SLOTS};
    for (int kind = 0; kind < 3; kind++)
        for (int i = 0; i < counts[kind]; i++, prior++)
            slots[kind][i] = (uint32_t)(*prior >> 4) << 20 | 1 << 19 | (uint32_t)(*prior & 15) << 2;
    for (int i = 0; i < EVENT_INPUTS; i++) {
        for (int node = 0; node < NUMBER_NODES; node++)
            self->gap_weights[node][i] = self->gain_weights[node][i] = FIRST_WEIGHT;
        for (int node = 0; node < CHOICE_NODES; node++) self->choice_weights[node][i] = FIRST_WEIGHT;
    }
}

static int code_node(EventCoder *self, Slot *of_node, int32_t *weights, const int *contexts, int bit) {
    Slot *slots[EVENT_INPUTS];
    for (int i = 0; i < EVENT_INPUTS; i++) slots[i] = of_node + contexts[i];
    return code_mixed(&self->coder, self->is_decoder, bit, slots, EVENT_INPUTS, weights, LEARNING_RATE, SLOT_LIMIT);
}

/* A number in three contexts, the first another for its sign. False where a decoder finds one that is too large. */
static int code_number(EventCoder *self, Slot *slots, int n_slots, int32_t (*weights)[EVENT_INPUTS],
                       const int *contexts, int sign_context, int64_t *number) {
    const int of_sign[] = {sign_context, contexts[1], contexts[2]};
    int64_t size = magnitude(*number);
#define NODE(node, c, bit) code_node(self, slots + (node) * n_slots, weights[node], c, bit)
    if (!NODE(0, contexts, size != 0)) {
        *number = 0;
        return 1;
    }
    int is_negative = NODE(SIGN_NODE, of_sign, *number < 0);
    int target = self->is_decoder ? 0 : bit_length(size) - 1, length = 0;
    while (NODE(LENGTH_NODE + least(length, N_LENGTH_NODES - 1), contexts, target > length))
        if (++length > MAX_LENGTH) return 0;
    int64_t result = 1;
    int shared = least(length, N_BIT_LENGTHS);
    for (int left = length - 1; left >= 0; left--) {
        int bit = (int)(size >> left & 1);
        if (left == length - 1)
            bit = NODE(FIRST_BIT_NODE + shared - 1, contexts, bit);
        else if (left == length - 2)
            bit = NODE(SECOND_BIT_NODE + 2 * (shared - 2) + (int)(result & 1), contexts, bit);
        else
            bit = code_bit(&self->coder, self->is_decoder, bit, 32768);
        result = result << 1 | bit;
    }
#undef NODE
    *number = is_negative ? -result : result;
    return 1;
}

/* Positions of a lead group, from one gap to the next. */
static int code_starts(EventCoder *self, const EventGroup *group, int64_t *starts, Beside *beside) {
    int64_t last = 0, last_but_one = 0;
    int64_t mean = 256 * (group->n_samples - starts[0]) / group->n_events; /* gap, in 2^-8 */
    if (mean < 256) mean = 256;
    int64_t scale = mean / 24; /* mean absolute deviation from it, in 2^-8 */
    for (int64_t i = 1; i < group->n_events; i++) {
        int size = size_of(scale);
        const int contexts[] = {size, SIZE_CONTEXTS + 10 * (signed_length(last) + 7) + (size >> 1),
                                SIZE_CONTEXTS + 150 + 8 * length_of(last) + length_of(last_but_one)};
        int64_t expected = (mean + 128) >> 8, deviation = self->is_decoder ? 0 : starts[i] - starts[i - 1] - expected;
        if (!code_number(self, self->gap, GAP_SLOTS, self->gap_weights, contexts,
                         3 * (sign_of(last) + 1) + sign_of(last_but_one) + 1, &deviation))
            return EVENTS_CORRUPT;
        int64_t gap = expected + deviation;
        if (gap < 1 || gap >= group->n_samples - starts[i - 1]) return EVENTS_CORRUPT;
        starts[i] = starts[i - 1] + gap;
        beside[i].rhythm = -3;
        for (int step = -2; step <= 3; step++) beside[i].rhythm += 4096 * deviation >= (2 * step - 1) * mean;
        mean += ((256 * gap - mean) * 3) >> 3;
        scale += ((256 * magnitude(deviation) - scale) * 3) >> 4;
        last_but_one = last;
        last = deviation;
    }
    return EVENTS_OK;
}

/* The kernel of an event: the first bits of its number by a tree. */
static int64_t code_kernel(EventCoder *self, int64_t n_kernels, const int *contexts, int64_t id) {
    int n_bits = n_kernels > 1 ? bit_length(n_kernels - 1) : 0;
    int depth = least(n_bits, TREE_LEVELS), first = (1 << depth) - 1 - depth; /* smaller trees lie before */
    int64_t result = 1;
    for (int left = n_bits - 1; left >= 0; left--) {
        int bit = (int)(id >> left & 1);
        if (n_bits - left <= TREE_LEVELS) {
            int node = first + (int)result;
            bit = code_node(self, self->choice + node * CHOICE_SLOTS, self->choice_weights[node], contexts, bit);
        } else {
            bit = code_bit(&self->coder, self->is_decoder, bit, 32768);
        }
        result = result << 1 | bit;
    }
    return result - ((int64_t)1 << n_bits);
}

/* What a channel has of the events of its lead group. */
static int code_gains(EventCoder *self, int64_t n_events, int64_t n_kernels, int is_further, Beside *beside,
                      int64_t *gains, int64_t *ids) {
    int64_t expected[MAX_EVENT_KERNELS], deviations[MAX_EVENT_KERNELS] = {0}; /* by kernel; gains in 2^-8 */
    for (int i = 0; i < MAX_EVENT_KERNELS; i++) expected[i] = -1;
    int64_t before = -1, last = 0, scale = 512;
    int kernel_before = 0, had_gain = 1;
    for (int64_t i = 0; i < n_events; i++) {
        int behind = i + 1 < n_events ? clamp(beside[i + 1].rhythm, 2) : 0;
        int contexts[] = {2 * had_gain + is_further, 16 + 8 * beside[i].choice + kernel_before,
                          88 + 5 * (beside[i].rhythm + 3) + behind + 2};
        had_gain = code_node(self, self->choice, self->choice_weights[0], contexts, gains[i] > 0);
        int64_t deviation = 0;
        if (had_gain) {
            contexts[0] = 2 * kernel_before + is_further;
            int64_t id = code_kernel(self, n_kernels, contexts, ids[i]);
            if (id >= n_kernels) return EVENTS_CORRUPT;
            kernel_before = least(id, 7);
            int novelty = expected[id] >= 0 ? 0 : before >= 0 ? 1 : 2;
            int64_t prediction = novelty == 0 ? expected[id] : novelty == 1 ? before : 32 << 8;
            int64_t whole = (prediction + 128) >> 8, of_kernel = deviations[id];
            deviation = gains[i] - whole;
            const int of_gain[] = {3 * size_of(scale) + novelty,
                                   60 + 3 * (8 * length_of(of_kernel) + length_of(last)) + novelty,
                                   252 + 2 * (signed_length(beside[i].deviation) + 7) + is_further};
            if (!code_number(self, self->gain, GAIN_SLOTS, self->gain_weights, of_gain,
                             3 * (3 * (sign_of(of_kernel) + 1) + sign_of(last) + 1) + novelty, &deviation))
                return EVENTS_CORRUPT;
            if (whole + deviation < 1 || whole + deviation > MAX_GAIN) return EVENTS_CORRUPT;
            gains[i] = whole + deviation;
            ids[i] = id;
            before = 256 * gains[i];
            expected[id] = novelty ? before : expected[id] + ((before - expected[id]) >> 2);
            scale += ((256 * magnitude(deviation) - scale) * 3) >> 4;
            deviations[id] = last = deviation;
        } else {
            gains[i] = ids[i] = 0;
        }
        beside[i].choice = had_gain ? 1 + kernel_before : 0;
        beside[i].deviation = (int32_t)deviation;
    }
    return EVENTS_OK;
}

static int is_valid(const EventChunk *chunk, int is_decoder) {
    size_t n_starts = 0, n_gains = 0;
    for (size_t i = 0; i < chunk->n_groups; i++) {
        const EventGroup *group = &chunk->groups[i];
        if (group->n_events < 0 || (uint64_t)group->n_events > chunk->n_starts - n_starts ||
            group->n_samples < 0 || group->n_samples > (int64_t)1 << 33)
            return 0;
        if (group->n_events &&
            (chunk->starts[n_starts] < -((int64_t)1 << 33) || chunk->starts[n_starts] >= group->n_samples))
            return 0;
        n_starts += (size_t)group->n_events;
    }
    for (size_t i = 0; i < chunk->n_channels; i++) {
        const EventChannel *channel = &chunk->channels[i];
        if (channel->group < 0 || (uint64_t)channel->group >= chunk->n_groups || channel->n_kernels < 1 ||
            channel->n_kernels > MAX_EVENT_KERNELS ||
            (uint64_t)chunk->groups[channel->group].n_events > chunk->n_gains - n_gains)
            return 0;
        size_t last = n_gains + (size_t)chunk->groups[channel->group].n_events;
        for (; n_gains < last; n_gains++)
            if (!is_decoder && (chunk->gains[n_gains] < 0 || chunk->gains[n_gains] > MAX_GAIN ||
                                chunk->ids[n_gains] < 0 || chunk->ids[n_gains] >= channel->n_kernels))
                return 0;
    }
    return n_starts == chunk->n_starts && n_gains == chunk->n_gains;
}

static int code_events(EventCoder *self, const EventChunk *chunk, Beside *beside, int *is_met) {
    size_t at = 0;
    int result = EVENTS_OK;
    for (size_t i = 0; i < chunk->n_groups && result == EVENTS_OK; i++) {
        if (chunk->groups[i].n_events) result = code_starts(self, &chunk->groups[i], chunk->starts + at, beside + at);
        at += (size_t)chunk->groups[i].n_events;
    }
    int64_t *gains = chunk->gains, *ids = chunk->ids;
    for (size_t i = 0; i < chunk->n_channels && result == EVENTS_OK; i++) {
        size_t group = (size_t)chunk->channels[i].group, first = 0;
        for (size_t before = 0; before < group; before++) first += (size_t)chunk->groups[before].n_events;
        int64_t n_events = chunk->groups[group].n_events;
        result = code_gains(self, n_events, chunk->channels[i].n_kernels, is_met[group], beside + first, gains, ids);
        is_met[group] = 1;
        gains += n_events;
        ids += n_events;
    }
    return result;
}

int events_run(const uint16_t *prior, const EventChunk *chunk, uint8_t *bytes, size_t length, int is_decoder,
               size_t *used) {
    if (!is_valid(chunk, is_decoder)) return EVENTS_INVALID;
    EventCoder *self = malloc(sizeof *self);
    Beside *beside = calloc(chunk->n_starts + 1, sizeof *beside);
    int *is_met = calloc(chunk->n_groups + 1, sizeof *is_met);
    int result = EVENTS_NO_MEMORY;
    if (self && beside && is_met) {
        start(self, prior);
        self->is_decoder = is_decoder;
        if (is_decoder)
            start_decoding(&self->coder, bytes, length);
        else
            start_encoding(&self->coder, bytes, length);
        result = code_events(self, chunk, beside, is_met);
        if (result == EVENTS_OK) {
            *used = is_decoder ? length : finish_encoding(&self->coder);
            if (is_decoder && !is_read_up(&self->coder)) result = EVENTS_CORRUPT;
            if (!is_decoder && self->coder.failed) result = EVENTS_FULL;
        }
    }
    free(self);
    free(beside);
    free(is_met);
    return result;
}
