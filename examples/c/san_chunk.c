/* 6: a chunk, from its payload to samples whose digest is right. */

#include <string.h>

#include "san_internal.h"

uint32_t san_n_windows(const Chunk *chunk, const Channel *channel) {
    uint32_t circle = san_circle(chunk, channel), n = 0;
    for (int i = 0; i < channel->model->n_groups; i++) {
        const SanGroup *group = &channel->model->groups[i];
        n += (uint32_t)group->n_kernels * (circle / (uint32_t)group->stride); /* no more than samples in all */
    }
    return n;
}

static void add_plane(Chunk *chunk, uint32_t channel) {
    chunk->channel_of[chunk->n_planes] = channel;
    chunk->plane_of[channel] = chunk->n_planes;
    chunk->starts[chunk->n_planes++] = chunk->n_plane_samples;
    chunk->n_plane_samples += san_length_of(chunk, &chunk->segment->channels[channel]);
}

static void lay_out(Chunk *chunk) {
    San *san = chunk->san;
    const Segment *segment = chunk->segment;
    uint32_t n = san->info.n_channels;
    chunk->channel_of = san_take(san, n, sizeof *chunk->channel_of);
    chunk->plane_of = san_take(san, n, sizeof *chunk->plane_of);
    chunk->starts = san_take(san, n, sizeof *chunk->starts);
    for (uint32_t i = 0; i < segment->n_residual; i++) add_plane(chunk, segment->order[i]);
    for (uint32_t i = 0; i < n; i++)
        if (!segment->channels[i].layer && !san_is_constant(&segment->channels[i])) add_plane(chunk, i);
    chunk->approximations = san_take(san, chunk->n_plane_samples, sizeof *chunk->approximations);
    chunk->samples = chunk->approximations;
    if (segment->n_residual) chunk->samples = san_take(san, chunk->n_plane_samples, sizeof *chunk->samples);
}

static Bytes read_token_frames(Chunk *chunk, Bytes content) {
    San *san = chunk->san;
    const Segment *segment = chunk->segment;
    uint64_t limit = 0, n_bands = 0, coded = 0;
    for (uint32_t i = 0; i < san->info.n_channels; i++) {
        const Channel *channel = &segment->channels[i];
        if (!channel->model) continue;
        n_bands += (uint64_t)channel->model->n_bands;
        limit += UINT64_C(2) * san_circle(chunk, channel) + (uint64_t)channel->model->n_bands;
    }
    const uint64_t n_frames[3] = {1, segment->n_coded, n_bands};
    uint64_t *bands = san_take(san, n_bands, sizeof *bands);
    int layout = san_left(&content) ? *content.at : 0;
    for (uint64_t i = 0; i < n_bands; i++) bands[i] = 1;
    if (layout == 0) bands[0] = n_bands;
    for (uint32_t i = 0; layout == 1 && i < san->info.n_channels; i++)
        if (segment->channels[i].model) bands[coded++] = (uint64_t)segment->channels[i].model->n_bands;
    return san_read_frames(san, content, n_frames, 3, limit, bands);
}

/* What others need to synthesise a channel. */
static void describe(Chunk *chunk, uint32_t index, const int32_t *levels) {
    const Channel *channel = &chunk->segment->channels[index];
    const ChannelEvents *events = &chunk->events[index];
    SanCoded *coded = &chunk->coded[index];
    int shift = channel->exponent - 3;
    *coded = (SanCoded){.model_sha256 = channel->model->sha256,
                        .n_samples = san_length_of(chunk, channel),
                        .circle = san_circle(chunk, channel),
                        .n_groups = (uint32_t)channel->model->n_groups,
                        .groups = channel->model->groups,
                        .levels = levels,
                        .scale = channel->mantissa,
                        .offset = channel->offset,
                        .minimum = channel->minimum,
                        .maximum = channel->maximum,
                        .n_events = events->gains ? chunk->groups[channel->group].n_starts : 0,
                        .starts = chunk->groups[channel->group].starts,
                        .gains = events->gains,
                        .kernels = events->kernels,
                        .n_beat_kernels = (uint32_t)channel->n_kernels,
                        .beat_length = chunk->segment->kernel_lengths[channel->group],
                        .beat_kernels = channel->kernels,
                        .beat_scale = channel->n_kernels ? INT64_C(1) << (channel->kernel_exponent + 10) : 1,
                        .is_component = channel->is_mixed};
    for (; shift > 0; shift--) coded->scale *= 2;
    for (; shift < 0; shift++) coded->scale /= 2;
    for (int i = 0; i < 3; i++) coded->reconstruction[i] = channel->corrections[i + 1];
}

static void read_coefficients(Chunk *chunk, Bytes content) {
    San *san = chunk->san;
    const Segment *segment = chunk->segment;
    Levels mixed = {.levels = NULL};
    if (segment->coder == 2) mixed = san_levels(chunk, content);
    if (segment->coder == 0 && segment->n_coded) content = read_token_frames(chunk, content);
    for (uint32_t i = 0; i < san->info.n_channels; i++) {
        const Channel *channel = &segment->channels[i];
        if (!channel->model) continue;
        const Block *before = san->blocks;
        int32_t *levels = san_take(san, san_n_windows(chunk, channel), sizeof *levels);
        const Block *behind = san->blocks;
        if (segment->coder == 0)
            san_read_tokens(chunk, channel, &content, &chunk->raw, levels);
        else if (segment->coder == 1)
            san_read_classes(chunk, channel, &content, &chunk->raw, levels);
        else
            san_read_levels(chunk, &mixed, i, levels);
        san_check_amplitudes(chunk, channel, levels);
        if (chunk->coded)
            describe(chunk, i, levels);
        else
            san_synthesise(chunk, i, levels, san_approximation_of(chunk, i));
        san_release(san, chunk->coded ? behind : before);
    }
    if (segment->coder != 2)
        san_finish_bytes(&content);
    else if (!is_read_up(&mixed.coder))
        san_refuse(san, SAN_CORRUPT, "the mixed stream of coefficients is too long or too short");
}

/* What was described of a channel, which has a component where one is to be given. */
static const SanCoded *described(const Chunk *chunk, uint32_t index, int is_component) {
    const SanCoded *coded = index < chunk->san->info.n_channels ? &chunk->coded[index] : NULL;
    if (!coded || !coded->model_sha256 || coded->is_component != is_component)
        san_refuse(chunk->san, SAN_LIMIT, "channel %u has no %s", (unsigned)index,
                   is_component ? "component" : "cascade, or a component");
    return coded;
}

void san_approximate(Chunk *chunk, uint32_t index, const int32_t *samples) {
    const SanCoded *coded = described(chunk, index, 0);
    int64_t *approximation = san_approximation_of(chunk, index);
    for (uint32_t n = 0; n < coded->n_samples; n++) {
        if (samples[n] < coded->minimum || samples[n] > coded->maximum)
            san_refuse(chunk->san, SAN_CORRUPT, "an approximation of %ld; %ld to %ld is allowed", (long)samples[n],
                       (long)coded->minimum, (long)coded->maximum);
        approximation[n] = (int64_t)samples[n] - coded->offset;
    }
    chunk->is_approximated[index] = 1;
}

void san_give_component(Chunk *chunk, uint32_t index, const int64_t *values) {
    const SanCoded *coded = described(chunk, index, 1);
    memcpy(san_approximation_of(chunk, index), values, coded->n_samples * sizeof *values);
    chunk->is_approximated[index] = 1;
}

static void synthesise_others(Chunk *chunk) {
    for (uint32_t i = 0; chunk->coded && i < chunk->san->info.n_channels; i++) {
        const Block *before = chunk->san->blocks;
        if (chunk->coded[i].model_sha256 && !chunk->is_approximated[i])
            san_synthesise(chunk, i, chunk->coded[i].levels, san_approximation_of(chunk, i));
        san_release(chunk->san, before);
    }
}

/* 11.1: the samples of channels without a residual layer. */
static void give_approximations(Chunk *chunk) {
    if (chunk->n_planes == chunk->segment->n_residual) return;
    size_t first = chunk->starts[chunk->segment->n_residual], n = chunk->n_plane_samples - first;
    memcpy(chunk->samples + first, chunk->approximations + first, n * sizeof *chunk->samples);
}

/* 11.4 */
static int32_t from_lattice(const Channel *channel, int64_t multiple, int32_t difference) {
    int64_t t = multiple * channel->lattice_numerator, half = (INT64_C(1) << channel->lattice_shift) >> 1, value;
    if (channel->is_truncated)
        value = t < 0 ? -(-t >> channel->lattice_shift) : t >> channel->lattice_shift;
    else
        value = (t + half) >> channel->lattice_shift;
    value += difference;
    return value < channel->stored->minimum   ? channel->stored->minimum
           : value > channel->stored->maximum ? channel->stored->maximum
                                              : (int32_t)value;
}

static void finish_channel(const Chunk *chunk, uint32_t index, int32_t *result) {
    const Channel *channel = &chunk->segment->channels[index];
    const ChannelEvents *events = &chunk->events[index];
    uint32_t length = san_length_of(chunk, channel), exception = 0;
    int is_constant = san_is_constant(channel);
    const int64_t *samples = is_constant ? NULL : chunk->samples + chunk->starts[chunk->plane_of[index]];
    for (uint32_t n = 0; n < length; n++) {
        int64_t value = is_constant ? channel->minimum : channel->offset + samples[n];
        result[n] = (int32_t)value;
        if (is_constant || !channel->has_lattice) continue;
        int is_off = exception < events->n_exceptions && events->exceptions[exception].position == n;
        result[n] = from_lattice(channel, value, is_off ? events->exceptions[exception++].difference : 0);
    }
    for (uint32_t i = 0; i < events->n_runs; i++)
        for (uint32_t n = events->runs[i].start; n < events->runs[i].end; n++) result[n] = channel->stored->missing;
}

static uint32_t crc_of_number(uint32_t crc, uint32_t number) {
    uint8_t bytes[4];
    for (int i = 0; i < 4; i++) bytes[i] = (uint8_t)(number >> 8 * i);
    return san_crc32(crc, bytes, sizeof bytes);
}

Chunk *san_begin_chunk(San *san, const Segment *segment, uint32_t number, Bytes payload, int is_in_steps) {
    Chunk *chunk = san_take(san, 1, sizeof *chunk);
    *chunk = (Chunk){.san = san, .segment = segment, .number = number, .n_frames = san_chunk_frames(san, number)};
    chunk->digest = san_u32(san_array(&payload, 1, 4));
    uint64_t n_events = san_varint(&payload), n_raw = san_varint(&payload);
    uint64_t n_coefficients = segment->n_residual ? san_varint(&payload) : 0;
    Bytes events = san_bytes(san, san_array(&payload, n_events, 1), n_events);
    Bytes raw = san_bytes(san, san_array(&payload, n_raw, 1), n_raw);
    if (!segment->n_residual) n_coefficients = san_left(&payload);
    Bytes coefficients = san_bytes(san, san_array(&payload, n_coefficients, 1), n_coefficients);
    chunk->residuals = payload;
    san_read_events(chunk, events, raw);
    chunk->raw = san_bits(san, raw.at, segment->coder == 2 ? 0 : n_raw); /* 20: those of coder 2 are events */
    if (chunk->raw.end && !(segment->n_coded || segment->n_residual))
        san_refuse(san, SAN_CORRUPT, "it has raw bits, of which nothing is to be read");
    lay_out(chunk);
    if (is_in_steps || segment->coder == 2) { /* whose levels stay anyway: first those of all, then synthesis */
        chunk->coded = san_take(san, san->info.n_channels, sizeof *chunk->coded);
        chunk->is_approximated = san_take(san, san->info.n_channels, 1);
    }
    read_coefficients(chunk, coefficients);
    return chunk;
}

void san_finish_chunk(Chunk *chunk, int32_t *samples) {
    San *san = chunk->san;
    const Segment *segment = chunk->segment;
    synthesise_others(chunk);
    for (uint32_t i = 0; i < segment->n_mixes; i++) san_mix(chunk, &segment->mixes[i]);
    if (segment->n_residual) {
        give_approximations(chunk);
        if (segment->coder == 2) {
            san_read_mixed_residuals(chunk);
        } else {
            san_read_residuals(chunk);
            san_predict(chunk);
        }
    }
    san_finish_bits(&chunk->raw);
    uint32_t crc = crc_of_number(crc_of_number(0, chunk->number), segment->crc);
    for (uint32_t i = 0; i < san->info.n_channels; i++) {
        uint32_t length = san_length_of(chunk, &segment->channels[i]);
        finish_channel(chunk, i, samples);
        for (uint32_t n = 0; n < length; n++) crc = crc_of_number(crc, (uint32_t)samples[n]);
        samples += length;
    }
    if (crc != chunk->digest) san_refuse(san, SAN_CORRUPT, "the samples do not match their digest");
}
