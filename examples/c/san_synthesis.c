/* 10.1 to 10.3: from levels to the approximation of a channel, or to a component. Integers of 64 bits hold all sums. */

#include "san_internal.h"

static const uint64_t max_bank_sum = (UINT64_C(1) << 50) - 1;
static const int64_t max_sum = INT64_C(1) << 52;

static int64_t amplitude_of(const Channel *channel, int32_t level) {
    int64_t magnitude = level < 0 ? -(int64_t)level : level;
    int64_t amplitude = 128 * magnitude - channel->corrections[magnitude < 3 ? magnitude : 3];
    return level < 0 ? -amplitude : amplitude;
}

void san_check_amplitudes(const Chunk *chunk, const Channel *channel, const int32_t *levels) {
    uint64_t largest = 0;
    uint32_t n = san_n_windows(chunk, channel);
    for (uint32_t i = 0; i < n; i++) {
        int64_t amplitude = amplitude_of(channel, levels[i]);
        uint64_t magnitude = (uint64_t)(amplitude < 0 ? -amplitude : amplitude);
        if (magnitude > largest) largest = magnitude;
    }
    if (channel->model->peak_gain && largest > max_bank_sum / channel->model->peak_gain)
        san_refuse(chunk->san, SAN_CORRUPT, "an amplitude is too large for exact synthesis");
}

static void add_kernel(int64_t *circle, uint32_t size, uint32_t at, const uint8_t *weights, int length,
                       int64_t amplitude) {
    while (length) {
        int now = size - at < (uint32_t)length ? (int)(size - at) : length;
        for (int i = 0; i < now; i++) circle[at + (uint32_t)i] += amplitude * san_i32(weights + 4 * i);
        weights += 4 * now;
        length -= now;
        at = 0;
    }
}

/* 10.2 */
static void add_group(const Channel *channel, const SanGroup *group, const int32_t *levels, int64_t *circle,
                      uint32_t size) {
    uint32_t width = size / (uint32_t)group->stride;
    for (int kernel = 0; kernel < group->n_kernels; kernel++, levels += width) {
        const uint8_t *weights = group->weights + 4 * (size_t)kernel * (size_t)group->length;
        for (uint32_t window = 0; window < width; window++) {
            if (!levels[window]) continue;
            int64_t at = ((int64_t)group->stride * window + group->offset) % (int64_t)size;
            add_kernel(circle, size, (uint32_t)(at < 0 ? at + size : at), weights, group->length,
                       amplitude_of(channel, levels[window]));
        }
    }
}

/* F of 10.3, without floating point. */
static int64_t scaled(San *san, const Channel *channel, int64_t sum) {
    int64_t product = ((sum + 512) >> 10) * channel->mantissa;
    int shift = channel->exponent - 3;
    if (shift < 0) return (product + (INT64_C(1) << (-shift - 1))) >> -shift;
    int64_t most = max_sum >> shift;
    if (product >= most || product <= -most) san_refuse(san, SAN_CORRUPT, "a sample lies beyond the exact range");
    return product * (INT64_C(1) << shift);
}

static void add_beats(const Chunk *chunk, const Channel *channel, const ChannelEvents *events, int64_t *sums,
                      uint32_t length) {
    const LeadGroup *group = &chunk->groups[channel->group];
    int64_t kernel_length = chunk->segment->kernel_lengths[channel->group];
    for (uint32_t i = 0; i < group->n_starts; i++) {
        int64_t start = group->starts[i], unit = events->gains[i] * (INT64_C(1) << (channel->kernel_exponent + 10));
        const int32_t *kernel = channel->kernels + events->kernels[i] * kernel_length;
        int64_t last = start + kernel_length < length ? start + kernel_length : length;
        for (int64_t n = start > 0 ? start : 0; unit && n < last; n++) sums[n] += unit * kernel[n - start];
    }
}

void san_synthesise(Chunk *chunk, uint32_t index, const int32_t *levels, int64_t *result) {
    San *san = chunk->san;
    const Channel *channel = &chunk->segment->channels[index];
    const Model *model = channel->model;
    uint32_t length = san_length_of(chunk, channel), size = san_circle(chunk, channel);
    int64_t *circle = san_take(san, size, sizeof *circle);
    for (int i = 0; i < model->n_groups; i++) {
        add_group(channel, &model->groups[i], levels, circle, size);
        levels += (size_t)model->groups[i].n_kernels * (size / (uint32_t)model->groups[i].stride);
    }
    for (uint32_t n = 0; n < length; n++) circle[n] = scaled(san, channel, circle[n]);
    if (chunk->events[index].gains) add_beats(chunk, channel, &chunk->events[index], circle, length);
    for (uint32_t n = 0; n < length; n++)
        result[n] = channel->is_mixed ? circle[n] : san_within(channel, (circle[n] + 512) >> 10);
}
