#include "image_mixing.h"

#include <stdlib.h>
#include <string.h>

enum {
    MARGIN = 3,       /* of background, above, left and right of an image */
    COUNT_LIMIT = 30, /* of the adaptive probabilities */
    CHECK_BITS = 8,
    IMAGE_COUNT_BITS = 6,
    PROBABILITY_BITS = 18,
    START_WEIGHT = 10486, /* 0.16 in 2^-16 */
    LEARNING_RATE = 12,
    KNOT_LIMIT = 255,
    LEAST_CHANCE = 16 /* in 2^-16 */
};

typedef struct {
    uint32_t *slots;   /* of each input */
    int32_t *by_node, *by_activity, *by_cell; /* weights */
    uint32_t *node_knots, *hashed_knots;
    int depth, confidence[1 << IMAGE_COUNT_BITS];
} State;

/* What is known of a pixel before it is coded. */
typedef struct {
    uint32_t keys[IMAGE_INPUTS];
    uint32_t shade; /* for the hashed knots */
    int activity, cell;
} Pixel;

static inline uint32_t mix(uint32_t a, uint32_t b) {
    uint32_t h = a * 0x9E3779B1u ^ (b * 0x85EBCA6Bu + 0xC2B2AE35u);
    h ^= h >> 15;
    h *= 0x2C1B3C6Du;
    return h ^ h >> 13;
}

static inline int to_byte(int value) { return value < 0 ? 0 : value > 255 ? 255 : value; }

static int start(State *state, int n_symbols) {
    state->depth = 1;
    while (1 << state->depth < n_symbols) state->depth++;
    size_t n_nodes = (size_t)1 << state->depth, n_depths = (size_t)state->depth + 1;
    size_t n_slots = (size_t)IMAGE_INPUTS << IMAGE_TABLE_BITS;
    size_t n_weights = (n_nodes + n_depths * (IMAGE_ACTIVITIES + IMAGE_CELLS)) * IMAGE_INPUTS;
    size_t n_knots = (n_nodes * IMAGE_ACTIVITIES + IMAGE_HASHED) * IMAGE_KNOTS;
    state->slots = malloc(n_slots * sizeof *state->slots);
    state->by_node = malloc(n_weights * sizeof *state->by_node);
    state->node_knots = malloc(n_knots * sizeof *state->node_knots);
    if (!state->slots || !state->by_node || !state->node_knots) return 0;
    state->by_activity = state->by_node + n_nodes * IMAGE_INPUTS;
    state->by_cell = state->by_activity + n_depths * IMAGE_ACTIVITIES * IMAGE_INPUTS;
    state->hashed_knots = state->node_knots + n_nodes * IMAGE_ACTIVITIES * IMAGE_KNOTS;
    for (size_t i = 0; i < n_slots; i++) state->slots[i] = 1u << 31;
    for (size_t i = 0; i < n_weights; i++) state->by_node[i] = START_WEIGHT;
    for (size_t i = 0; i < n_knots; i++) {
        size_t x = i % IMAGE_KNOTS * 128;
        state->node_knots[i] = (uint32_t)mixing_squash[x < 4095 ? x : 4095] << 16 | 6;
    }
    for (int count = 0; count < 1 << IMAGE_COUNT_BITS; count++)
        state->confidence[count] = 1280 * count / (5 * count + 2);
    return 1;
}

static void stop(State *state) {
    free(state->slots);
    free(state->by_node);
    free(state->node_knots);
}

/* The slot of a context at a node: of two neighbours the one that holds it, else the one met less often, begun anew. */
static inline uint32_t *slot_of(uint32_t *slots, uint32_t key, int node) {
    uint32_t h = key + (uint32_t)node * 0x9E3779B1u;
    h ^= h >> 16;
    h *= 0x7FEB352Du;
    h ^= h >> 15;
    uint32_t place = h >> (32 - IMAGE_TABLE_BITS), check = h & 0xFF;
    uint32_t *first = slots + place, *second = slots + (place ^ 1);
    if ((*first & 0xFF) == check) return first;
    if ((*second & 0xFF) == check) return second;
    if ((*second >> CHECK_BITS & 63) < (*first >> CHECK_BITS & 63)) first = second;
    *first = 1u << 31 | check;
    return first;
}

static inline void slot_learn(uint32_t *slot, int bit) {
    uint32_t count = *slot >> CHECK_BITS & 63;
    int32_t p = (int32_t)(*slot >> (32 - PROBABILITY_BITS)), target = bit ? (1 << PROBABILITY_BITS) - 1 : 0;
    p += (int32_t)(((int64_t)(target - p) * mixing_rate[count]) >> 16);
    if (count < COUNT_LIMIT) count++;
    *slot = (uint32_t)p << (32 - PROBABILITY_BITS) | count << CHECK_BITS | (*slot & 0xFF);
}

static inline int knot_chance(const uint32_t *knots, int share) {
    return (int)(((knots[0] >> 16) * (uint32_t)(128 - share) + (knots[1] >> 16) * (uint32_t)share) >> 7);
}

static inline void knot_learn(uint32_t *knot, int bit) {
    uint32_t count = *knot & 0xFFFF;
    int32_t p = (int32_t)(*knot >> 16);
    p += (int32_t)(((int64_t)((bit ? 65535 : 0) - p) * mixing_rate[count]) >> 16);
    *knot = (uint32_t)p << 16 | (count < KNOT_LIMIT ? count + 1 : count);
}

static inline void learn(int32_t *weights, const int *stretched, int64_t sum, int bit) {
    int64_t error = ((int64_t)bit << 16) - mixing_squash[2048 + clamp(sum >> 16, STRETCH_LIMIT)];
    for (int i = 0; i < IMAGE_INPUTS; i++)
        weights[i] = clamp(weights[i] + ((stretched[i] * error * LEARNING_RATE + (1 << 17)) >> 18), WEIGHT_LIMIT);
}

static int decide(State *state, RangeCoder *coder, int is_decoder, const Pixel *pixel, int node, int level, int bit) {
    uint32_t *slots[IMAGE_INPUTS];
    int stretched[IMAGE_INPUTS];
    int32_t *weights[3] = {state->by_node + (size_t)node * IMAGE_INPUTS,
                           state->by_activity + (size_t)(level * IMAGE_ACTIVITIES + pixel->activity) * IMAGE_INPUTS,
                           state->by_cell + (size_t)(level * IMAGE_CELLS + pixel->cell) * IMAGE_INPUTS};
    int64_t sums[3] = {0, 0, 0};
    for (int i = 0; i < IMAGE_INPUTS; i++) {
        uint32_t *slot = slots[i] = slot_of(state->slots + ((size_t)i << IMAGE_TABLE_BITS), pixel->keys[i], node);
        stretched[i] = (mixing_stretch[*slot >> 20] * state->confidence[*slot >> CHECK_BITS & 63]) >> 8;
        for (int j = 0; j < 3; j++) sums[j] += (int64_t)weights[j][i] * stretched[i];
    }
    int mixed = 2048 + clamp(((sums[0] + sums[1] + sums[2]) * 21845) >> 32, STRETCH_LIMIT);
    int knot = mixed >> 7, share = mixed & 127;
    uint32_t *own = state->node_knots + (size_t)(node * IMAGE_ACTIVITIES + pixel->activity) * IMAGE_KNOTS + knot;
    uint32_t *hashed = state->hashed_knots + (size_t)(mix(pixel->shade, (uint32_t)node) >> 16) * IMAGE_KNOTS + knot;
    int chance = (2 * mixing_squash[mixed] + knot_chance(own, share) + knot_chance(hashed, share)) >> 2;
    chance = chance < LEAST_CHANCE ? LEAST_CHANCE : chance > 65536 - LEAST_CHANCE ? 65536 - LEAST_CHANCE : chance;
    bit = code_bit(coder, is_decoder, bit, (uint32_t)chance);
    for (int j = 0; j < 3; j++) learn(weights[j], stretched, sums[j], bit);
    for (int i = 0; i < IMAGE_INPUTS; i++) slot_learn(slots[i], bit);
    knot_learn(own + (share >= 64), bit);
    knot_learn(hashed + (share >= 64), bit);
    return bit;
}

static int activity_of(int sum) {
    static const int edges[IMAGE_ACTIVITIES - 1] = {4, 10, 20, 40, 80, 160, 320};
    int activity = 0;
    while (activity < IMAGE_ACTIVITIES - 1 && sum >= edges[activity]) activity++;
    return activity;
}

/* p: the pixel among values with a margin; stride: from row to row. */
static void look_around(Pixel *pixel, const uint8_t *p, ptrdiff_t stride, int64_t column, int background) {
    const uint8_t *n = p - stride, *nn = n - stride;
    const int w = p[-1], ww = p[-2], north = n[0], nw = n[-1], ne = n[1];
    const int near[12] = {w, north, nw, ne, ww, nn[0], nn[1], n[2], n[-2], nn[-1], p[-3], nn[-stride]};
    uint32_t is_other = 0, is_bright = 0, coarse = 0;
    for (int i = 0; i < 12; i++) {
        is_other |= (uint32_t)(near[i] != background) << i;
        is_bright |= (uint32_t)(near[i] > 127) << i;
    }
    for (int i = 0; i < 6; i++) coarse |= (uint32_t)(near[i] >> 5) << 3 * i;
    pixel->activity = activity_of(abs(w - nw) + abs(north - nw) + abs(north - ne) + abs(w - ww) + abs(north - nn[0]));
    const uint32_t pairs[IMAGE_INPUTS][2] = {
        {(uint32_t)(w | north << 8), (uint32_t)nw},
        {(uint32_t)(w >> 2 | north >> 2 << 8 | nw >> 2 << 16), (uint32_t)(ne >> 2)},
        {(uint32_t)to_byte(w + north - nw), (uint32_t)pixel->activity},
        {0, 0},
        {(uint32_t)north, (uint32_t)nn[0]},
        {(uint32_t)w, (uint32_t)ww},
        {(uint32_t)to_byte(w + ne - north), (uint32_t)(north >> 4)},
        {(uint32_t)column << 8 | (uint32_t)north, (uint32_t)(ne >> 4)},
        {coarse, (uint32_t)(nn[1] >> 5)},
        {is_other, (uint32_t)(w >> 3)},
        {is_bright, 0},
        {(uint32_t)to_byte(2 * w - ww), (uint32_t)(to_byte(2 * north - nn[0]) >> 2)}};
    for (int i = 0; i < IMAGE_INPUTS; i++) pixel->keys[i] = mix(mix(pairs[i][0], pairs[i][1]), (uint32_t)i);
    pixel->shade = (uint32_t)(w >> 3 | north >> 3 << 5 | ne >> 4 << 10);
}

/* First whether it is the background; if not, its bits, the most significant first. -1: there is no such symbol. */
static int code_symbol(State *state, const ImageForm *form, RangeCoder *coder, int is_decoder, const Pixel *pixel,
                       int symbol) {
    if (decide(state, coder, is_decoder, pixel, 0, 0, symbol == form->background)) return form->background;
    int node = 1;
    for (int level = 1; level <= state->depth; level++)
        node = node << 1 | decide(state, coder, is_decoder, pixel, node, level, symbol >> (state->depth - level) & 1);
    node -= 1 << state->depth;
    return node < form->n_symbols ? node : -1;
}

int64_t code_images(const ImageForm *form, RangeCoder *coder, int is_decoder, uint8_t *symbols) {
    State state = {0};
    int64_t height = form->height, width = form->width, stride = width + 2 * MARGIN;
    uint8_t *values = malloc((size_t)((height + MARGIN) * stride));
    int is_damaged = 0;
    if (!values || !start(&state, form->n_symbols)) {
        free(values);
        stop(&state);
        return IMAGE_NO_MEMORY;
    }
    for (int64_t image = 0; image < form->n_images && !is_damaged; image++) {
        memset(values, form->values[form->background], (size_t)((height + MARGIN) * stride));
        for (int64_t row = 0; row < height && !is_damaged; row++) {
            for (int64_t column = 0; column < width && !is_damaged; column++, symbols++) {
                uint8_t *value = values + (row + MARGIN) * stride + MARGIN + column;
                Pixel pixel;
                look_around(&pixel, value, (ptrdiff_t)stride, column, form->values[form->background]);
                pixel.cell = (int)(row * 16 / height * 16 + column * 16 / width);
                int symbol = code_symbol(&state, form, coder, is_decoder, &pixel, *symbols);
                is_damaged = symbol < 0 || coder->failed;
                if (is_damaged) break;
                *symbols = (uint8_t)symbol;
                *value = form->values[symbol];
            }
        }
    }
    free(values);
    stop(&state);
    if (is_damaged) return IMAGE_DAMAGED;
    if (is_decoder) return is_read_up(coder) ? (int64_t)coder->position : IMAGE_DAMAGED;
    int64_t length = (int64_t)finish_encoding(coder);
    return coder->failed ? IMAGE_DAMAGED : length;
}
