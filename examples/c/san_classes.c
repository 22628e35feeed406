/* 9: coder 1. Symbols by static rANS in lanes that take turns, rows of frequencies by activity class. */

#include <inttypes.h>

#include "san_internal.h"

enum { MAX_LANES = 4096, LOWER_BOUND = 1 << 16, MAX_STEPS = 1 << 17, MAX_KNOWN = 63, MAX_EXPECTED = 16383 };
#define MAX_EXCESS (1u << 30)

Lanes san_lanes(Bytes *content, int is_used) {
    San *san = content->san;
    Lanes lanes = {.san = san};
    lanes.n = (uint32_t)san_number(content, "lanes", 0, MAX_LANES);
    uint64_t n_words = san_varint(content);
    if (!lanes.n != !is_used || (n_words && !lanes.n))
        san_refuse(san, SAN_CORRUPT, "%u lanes and %" PRIu64 " words", (unsigned)lanes.n, n_words);
    const uint8_t *states = san_array(content, lanes.n, 4);
    lanes.words = san_array(content, n_words, 2);
    lanes.n_words = (uint32_t)n_words; /* the payload has at most 2^30 bytes */
    lanes.states = san_take(san, lanes.n, sizeof *lanes.states);
    for (uint32_t i = 0; i < lanes.n; i++) {
        lanes.states[i] = san_u32(states + 4 * i);
        if (lanes.states[i] < LOWER_BOUND) san_refuse(san, SAN_CORRUPT, "a lane begins below 2^16");
    }
    return lanes;
}

void san_check_steps(const Lanes *lanes, uint64_t n_symbols) {
    if (n_symbols > (uint64_t)lanes->n * MAX_STEPS)
        san_refuse(lanes->san, SAN_LIMIT, "%" PRIu64 " symbols for %u lanes", n_symbols, (unsigned)lanes->n);
}

int san_symbol(Lanes *lanes, uint32_t lane, const Row *row) {
    uint32_t state = lanes->states[lane], slot = state & 4095;
    int symbol = 0;
    while (slot >= row->start[symbol + 1]) symbol++;
    state = (uint32_t)(row->start[symbol + 1] - row->start[symbol]) * (state >> 12) + slot - row->start[symbol];
    if (state < LOWER_BOUND) {
        if (lanes->next == lanes->n_words) san_refuse(lanes->san, SAN_TRUNCATED, "a stream has too few words");
        state = state << 16 | san_u16(lanes->words + 2 * (size_t)lanes->next++);
    }
    lanes->states[lane] = state;
    lanes->n_escapes += symbol == ESCAPE;
    lanes->n_low += row->shift;
    return symbol;
}

/* 9.5: the tail bits, once all symbols are known. */
Tail san_tail(Lanes *lanes, const Bits *raw) {
    San *san = lanes->san;
    if (lanes->next != lanes->n_words) san_refuse(san, SAN_CORRUPT, "words are left of a stream");
    uint8_t *head = san_take(san, lanes->n, 2);
    for (uint32_t i = 0; i < lanes->n; i++) {
        uint32_t rest = lanes->states[i] - LOWER_BOUND;
        if (rest >= LOWER_BOUND) san_refuse(san, SAN_CORRUPT, "a lane does not end where an encoder begins");
        head[2 * i] = (uint8_t)(rest >> 8);
        head[2 * i + 1] = (uint8_t)rest;
    }
    Bits bits = *raw;
    bits.head = head;
    bits.n_head = UINT64_C(16) * lanes->n;
    bits.skip = raw->position;
    bits.position = 0;
    bits.end = bits.n_head + raw->end - raw->position;
    Tail tail;
    tail.excesses = san_list(&bits, lanes->n_escapes);
    tail.low = san_skip(&bits, lanes->n_low);
    tail.signs = bits;
    return tail;
}

int64_t san_value(Tail *tail, const Row *row, int symbol, int64_t limit) {
    San *san = tail->signs.san;
    int64_t value = symbol;
    if (symbol == ESCAPE) {
        uint32_t excess = san_next(&tail->excesses);
        if (excess > MAX_EXCESS) san_refuse(san, SAN_CORRUPT, "an escape of %u", (unsigned)excess);
        value = (int64_t)row->n_direct + excess;
    }
    value = value << row->shift | san_u(&tail->low, row->shift);
    if (value >= limit) san_refuse(san, SAN_CORRUPT, "a magnitude of %" PRId64, value);
    return value && san_u(&tail->signs, 1) ? -value : value;
}

void san_finish_tail(const Tail *tail, Bits *raw) {
    Bits rest = tail->signs;
    if (rest.position >= rest.n_head) {
        raw->position += rest.position - rest.n_head;
        return;
    }
    while (rest.position < rest.n_head)
        if (san_u(&rest, 1)) san_refuse(rest.san, SAN_CORRUPT, "bits are left in the states of the lanes");
}

/* While symbols are decoded, a level is 32 times its class plus its symbol; 0 is right where a band is off. */
static int32_t known(const Row *rows, int32_t packed) {
    const Row *row = &rows[packed >> 5];
    int32_t symbol = packed & 31, magnitude = (symbol == ESCAPE ? row->n_direct : symbol) << row->shift;
    return magnitude < MAX_KNOWN ? magnitude : MAX_KNOWN;
}

/* 9.3: `middle` times the known magnitude of a coarser band's window, `aside` times those beside it on the circle. */
static int32_t around(const Row *rows, const int32_t *levels, uint32_t width, uint32_t window, int32_t middle,
                      int32_t aside) {
    int32_t before = known(rows, levels[window ? window - 1 : width - 1]);
    int32_t behind = known(rows, levels[window + 1 < width ? window + 1 : 0]);
    return middle * known(rows, levels[window]) + aside * (before + behind);
}

static int class_of(int32_t expected) {
    if (expected > MAX_EXPECTED) expected = MAX_EXPECTED;
    int exponent = bit_length(expected > 1 ? expected : 1) - 1;
    int activity = 2 * exponent + (expected * expected >= 2 << 2 * exponent);
    return activity < N_CLASSES ? activity : N_CLASSES - 1;
}

typedef struct {
    int32_t *levels; /* NULL where there is none */
    uint32_t width;
} Band;

static void read_band(const Channel *channel, int band, Lanes *lanes, const uint8_t *phases, const Band *bands) {
    const Model *model = channel->model;
    const Row *rows = model->rows + channel->set * N_CLASSES;
    const uint8_t *weights = model->band_weights + 8 * ((size_t)channel->set * (size_t)model->n_bands + (size_t)band);
    int32_t g[4], base[N_COARSE_PHASES];
    const Band *own = &bands[0], *parent = &bands[1], *grandparent = &bands[2];
    uint32_t lane = 0;
    for (int i = 0; i < 4; i++) g[i] = (int32_t)san_u16(weights + 2 * i);
    for (int phase = 0; phase < N_COARSE_PHASES; phase++) base[phase] = san_expected(channel, band, phase) * g[0] >> 8;
    for (uint32_t window = 0; window < own->width; window++) {
        int32_t expected = base[phases[window] >> 1];
        if (parent->levels)
            expected += around(rows, parent->levels, parent->width, window / (own->width / parent->width), g[1], g[2]);
        if (grandparent->levels)
            expected += around(rows, grandparent->levels, grandparent->width,
                               window / (own->width / grandparent->width), 2 * g[3], g[3]);
        int activity = class_of(expected);
        own->levels[window] = activity << 5 | san_symbol(lanes, lane, &rows[activity]);
        if (++lane == lanes->n) lane = 0;
    }
}

void san_read_classes(Chunk *chunk, const Channel *channel, Bytes *content, Bits *raw, int32_t *levels) {
    San *san = chunk->san;
    const Model *model = channel->model;
    const Row *rows = model->rows + channel->set * N_CLASSES;
    uint32_t circle = san_circle(chunk, channel);
    int is_used = 0;
    for (int band = 0; band < model->n_bands; band++) is_used |= channel->scales[band];
    Lanes lanes = san_lanes(content, is_used);
    uint8_t *phases = san_take(san, circle, 1);
    Band bands[3] = {{NULL, 0}, {NULL, 0}, {NULL, 0}};
    int32_t *next = levels;
    for (int band = 0; band < model->n_bands; band++) {
        int stride = model->strides[band];
        bands[2] = bands[1];
        bands[1] = bands[0];
        bands[0] = (Band){next, circle / (uint32_t)stride};
        next += bands[0].width;
        if (!channel->scales[band]) continue;
        san_check_steps(&lanes, bands[0].width);
        san_phases(chunk, channel, stride, bands[0].width, phases);
        read_band(channel, band, &lanes, phases, bands);
    }
    if (!is_used) return;
    Tail tail = san_tail(&lanes, raw);
    for (int band = 0; band < model->n_bands; band++) {
        uint32_t width = circle / (uint32_t)model->strides[band];
        for (uint32_t window = 0; window < width && channel->scales[band]; window++) {
            int symbol = levels[window] & 31;
            levels[window] = (int32_t)san_value(&tail, &rows[levels[window] >> 5], symbol, INT64_C(1) << 31);
        }
        levels += width;
    }
    san_finish_tail(&tail, raw);
}
