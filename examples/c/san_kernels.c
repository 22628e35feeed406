/* 5: beat kernels, weight by weight or as coefficients of a wavelet. */

#include "san_internal.h"

enum {
    MAX_KERNELS = 64,
    MAX_WEIGHT = (1 << 16) - 1,
    MAX_AMPLITUDE = (1 << 24) - 1,
    MAX_HALVINGS = 8,
    SHORTEST_LOW_BAND = 8
};

static const int low_scales[MAX_HALVINGS + 1] = {256, 225, 191, 164, 142, 124, 108, 94, 81};
static const int high_scales[MAX_HALVINGS + 1] = {0, 289, 260, 218, 187, 162, 140, 122, 106};

static void check_weight(San *san, int64_t weight) {
    if (weight < -MAX_WEIGHT || weight > MAX_WEIGHT)
        san_refuse(san, SAN_LIMIT, "a weight of a beat kernel beyond 16 bits");
}

static void read_differences(Bits *bits, uint32_t length, int32_t *kernel) {
    Rice list = san_list(bits, length);
    int64_t slope = 0, weight = 0;
    for (uint32_t i = 0; i < length; i++) {
        int32_t difference = san_next_signed(&list);
        if (difference <= -(1 << 18) || difference >= 1 << 18)
            san_refuse(bits->san, SAN_LIMIT, "a second difference of %d in a beat kernel", (int)difference);
        slope += difference;
        weight += slope;
        check_weight(bits->san, weight);
        kernel[i] = (int32_t)weight;
    }
}

static void read_band(Bits *bits, uint32_t width, int64_t unit, int64_t *amplitudes) {
    for (uint32_t i = 0; i < width; i++) amplitudes[i] = 0;
    if (!san_u(bits, 1)) return;
    uint32_t place[2]; /* first position, count - 1 */
    san_rice(bits, place, 2);
    if (place[0] >= width || place[1] >= width - place[0])
        san_refuse(bits->san, SAN_CORRUPT, "coefficients of a beat kernel leave their band of %u samples",
                   (unsigned)width);
    Rice list = san_list(bits, (uint64_t)place[1] + 1);
    for (uint32_t i = place[0]; i <= place[0] + place[1]; i++) {
        amplitudes[i] = san_next_signed(&list) * unit;
        if (amplitudes[i] < -MAX_AMPLITUDE || amplitudes[i] > MAX_AMPLITUDE)
            san_refuse(bits->san, SAN_LIMIT, "a wavelet coefficient of a beat kernel beyond 24 bits");
    }
}

static int64_t scaled(int64_t factor, int64_t sum) { return (factor * sum + 2048) >> 12; }

/* One step for the low band, and one for the high band. */
static void lift(int64_t *low, uint32_t n_low, int64_t *high, uint32_t n_high, int to_low, int to_high) {
    for (uint32_t i = 0; i < n_low; i++)
        low[i] -= scaled(to_low, high[i ? i - 1 : 0] + high[i < n_high ? i : n_high - 1]);
    for (uint32_t i = 0; i < n_high; i++) high[i] -= scaled(to_high, low[i] + low[i + 1 < n_low ? i + 1 : n_low - 1]);
}

static int64_t unit_of(int step, int scale) {
    int unit = (step * scale + 128) >> 8;
    return unit > 1 ? unit : 1;
}

/* `low` and `high` are room for `length` numbers each. */
static void read_wavelet(Bits *bits, uint32_t length, int step, int64_t *low, int64_t *high, int32_t *kernel) {
    uint32_t lengths[MAX_HALVINGS + 1] = {length}; /* of the low band after each halving */
    int n = 0;
    for (; lengths[n] > SHORTEST_LOW_BAND && n < MAX_HALVINGS; n++) lengths[n + 1] = lengths[n] - lengths[n] / 2;
    read_band(bits, lengths[n], unit_of(step, low_scales[n]), low);
    for (; n; n--) {
        uint32_t n_low = lengths[n], n_high = lengths[n - 1] - n_low;
        read_band(bits, n_high, unit_of(step, high_scales[n]), high);
        lift(low, n_low, high, n_high, 1817, 3616);
        lift(low, n_low, high, n_high, -217, -6497);
        for (uint32_t i = n_low; i--;) {
            low[2 * i] = low[i];
            if (i < n_high) low[2 * i + 1] = high[i];
        }
    }
    for (uint32_t i = 0; i < length; i++) {
        check_weight(bits->san, low[i]);
        kernel[i] = (int32_t)low[i];
    }
}

void san_read_kernels(Bits *bits, Channel *channel, uint32_t length) {
    San *san = bits->san;
    uint32_t n = san_rice_number(bits);
    if (n > MAX_KERNELS || (n && !length))
        san_refuse(san, SAN_LIMIT, "%u beat kernels of %u samples", (unsigned)n, (unsigned)length);
    if (!n) return;
    channel->n_kernels = (int)n;
    channel->kernel_exponent = san_rice_signed(bits);
    if (channel->kernel_exponent < -10 || channel->kernel_exponent > 20)
        san_refuse(san, SAN_CORRUPT, "exponent of beat kernels: %d; -10 to 20 is allowed", channel->kernel_exponent);
    int32_t *kernels = san_take(san, (uint64_t)n * length, sizeof *kernels);
    channel->kernels = kernels;
    if (!san_u(bits, 1)) {
        for (uint32_t i = 0; i < n; i++) read_differences(bits, length, kernels + (size_t)i * length);
        return;
    }
    int step = (int)san_u(bits, 12);
    if (!step) san_refuse(san, SAN_CORRUPT, "coefficients of beat kernels have step 0");
    const Block *mark = san->blocks;
    int64_t *low = san_take(san, length, sizeof *low), *high = san_take(san, length, sizeof *high);
    for (uint32_t i = 0; i < n; i++) read_wavelet(bits, length, step, low, high, kernels + (size_t)i * length);
    san_release(san, mark);
}
