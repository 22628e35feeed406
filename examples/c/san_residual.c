/* 11 and 19: the residual layer. */

#include <inttypes.h>
#include <string.h>

#include "residual_mixing.h"
#include "san_internal.h"

enum { MAX_BYTES_FORM = 24, TOKENS_FORM = 255, BYTE_ESCAPE = 255 };

static const int64_t max_difference = INT64_C(1) << 33;
static int64_t *samples_of(const Chunk *chunk, uint32_t channel) {
    return chunk->samples + chunk->starts[chunk->plane_of[channel]];
}

static int64_t *approximation_of(const Chunk *chunk, uint32_t channel) {
    return chunk->approximations + chunk->starts[chunk->plane_of[channel]];
}

/* --- 11.3: differences under coders 0 and 1, which take the place of the samples until san_predict --- */

static void read_form(San *san, Bytes *content, Bits *raw, int64_t *q, uint32_t length) {
    int form = *san_array(content, 1, 1);
    if (form == TOKENS_FORM) {
        uint64_t run, position = 0;
        int64_t value;
        Tokens tokens = san_tokens(content, raw, 1);
        while (san_next_token(&tokens, &run, &value)) {
            position += run;
            if (position >= length) san_refuse(san, SAN_CORRUPT, "a run leaves its channel");
            q[position++] = value;
        }
        return;
    }
    if (form > MAX_BYTES_FORM) san_refuse(san, SAN_CORRUPT, "residuals of form %d", form);
    const uint8_t *bytes = san_array(content, length, 1);
    uint64_t n_escapes = 0;
    for (uint32_t n = 0; n < length; n++) n_escapes += bytes[n] == BYTE_ESCAPE;
    Rice escapes = san_list(raw, n_escapes);
    for (uint32_t n = 0; n < length; n++) {
        uint64_t high = bytes[n] == BYTE_ESCAPE ? UINT64_C(255) + san_next(&escapes) : bytes[n];
        uint64_t z = high << form | san_u(raw, form);
        if (z >= (UINT64_C(1) << 34) - 1) san_refuse(san, SAN_CORRUPT, "a difference of 2^33 or more");
        q[n] = z & 1 ? -(int64_t)(z >> 1) - 1 : (int64_t)(z >> 1);
    }
}

static void read_zstd(Chunk *chunk, Bytes content, Bits *raw) {
    const Segment *segment = chunk->segment;
    const uint64_t n_frames[2] = {1, segment->n_residual};
    uint64_t limit = 0;
    for (uint32_t i = 0; i < segment->n_residual; i++)
        limit += UINT64_C(2) * san_length_of(chunk, &segment->channels[segment->order[i]]) + 2;
    content = san_read_frames(chunk->san, content, n_frames, 2, limit, NULL);
    for (uint32_t i = 0; i < chunk->san->info.n_channels; i++)
        if (segment->channels[i].layer)
            read_form(chunk->san, &content, raw, samples_of(chunk, i), san_length_of(chunk, &segment->channels[i]));
    san_finish_bytes(&content);
}

static void read_blocks(Chunk *chunk, const uint8_t *classes, Bytes *content, Bits *raw, int64_t *q, uint32_t length) {
    const Segment *segment = chunk->segment;
    uint64_t n_symbols = 0;
    for (uint32_t n = 0; n < length; n++) n_symbols += classes[n >> segment->block_exponent] > 0;
    Lanes lanes = san_lanes(content, n_symbols > 0);
    if (!n_symbols) return;
    san_check_steps(&lanes, n_symbols);
    uint32_t lane = 0;
    for (uint32_t n = 0; n < length; n++) {
        int class = classes[n >> segment->block_exponent];
        if (!class) continue;
        q[n] = san_symbol(&lanes, lane, &segment->tables[class - 1]);
        if (++lane == lanes.n) lane = 0;
    }
    Tail tail = san_tail(&lanes, raw);
    for (uint32_t n = 0; n < length; n++) {
        int class = classes[n >> segment->block_exponent];
        if (class) q[n] = san_value(&tail, &segment->tables[class - 1], (int)q[n], max_difference);
    }
    san_finish_tail(&tail, raw);
}

static uint64_t n_blocks(const Segment *segment, uint32_t length) {
    return (length + (UINT64_C(1) << segment->block_exponent) - 1) >> segment->block_exponent;
}

static void read_classes(Chunk *chunk, Bytes content, Bits *raw) {
    San *san = chunk->san;
    const Segment *segment = chunk->segment;
    uint64_t total = 0, length = san_varint(&content);
    for (uint32_t i = 0; i < segment->n_residual; i++)
        total += n_blocks(segment, san_length_of(chunk, &segment->channels[segment->order[i]]));
    Bytes frame = san_bytes(san, san_array(&content, length, 1), length);
    if (san_zstd_size(san, frame, total) != total) san_refuse(san, SAN_CORRUPT, "classes of too few blocks");
    uint8_t *classes = san_take(san, total, 1);
    san_unzstd(san, frame, classes, total);
    for (uint64_t i = 0; i < total; i++)
        if (classes[i] > segment->n_tables)
            san_refuse(san, SAN_CORRUPT, "class %d of %d", classes[i], segment->n_tables);
    for (uint32_t i = 0; i < san->info.n_channels; i++) {
        if (!segment->channels[i].layer) continue;
        uint32_t n = san_length_of(chunk, &segment->channels[i]);
        read_blocks(chunk, classes, &content, raw, samples_of(chunk, i), n);
        classes += n_blocks(segment, n);
    }
    san_finish_bytes(&content);
}

void san_read_residuals(Chunk *chunk) {
    if (chunk->segment->coder)
        read_classes(chunk, chunk->residuals, &chunk->raw);
    else
        read_zstd(chunk, chunk->residuals, &chunk->raw);
}

/* --- 11.2 --- */

static int64_t clamped(int64_t value, int64_t low, int64_t high) {
    return value < low ? low : value > high ? high : value;
}

static void predict_channel(const Chunk *chunk, uint32_t index, int64_t *sums) {
    const Channel *channel = &chunk->segment->channels[index];
    const Layer *layer = channel->layer;
    const int64_t *u = approximation_of(chunk, index);
    int64_t *y = samples_of(chunk, index), n_samples = san_length_of(chunk, channel);
    int64_t unit = 2 * layer->bound + 1, low = (int64_t)channel->minimum - channel->offset;
    int64_t high = (int64_t)channel->maximum - channel->offset, half = (INT64_C(1) << layer->shift) >> 1, block = 0;
    for (int64_t n = 0; n < n_samples; n++) sums[n] = half;
    for (int i = 0; i < layer->n_references; i++) {
        const Reference *from = &layer->references[i];
        const int64_t *v = from->is_decoded ? samples_of(chunk, from->channel) : approximation_of(chunk, from->channel);
        for (int lag = 0; lag < from->n_lags; lag++)
            for (int64_t n = 0; n < n_samples; n++)
                sums[n] += from->weights[lag] * v[clamped(n - lag - from->first_lag, 0, n_samples - 1)];
    }
    for (int64_t n = 0; n < n_samples; n++) {
        int64_t sum = sums[n];
        if (n - block >= layer->restart) block = n;
        int64_t moved = n > block ? y[block] - u[block] : 0;
        for (int lag = 1; lag <= layer->n_own; lag++) {
            int64_t m = n - lag;
            sum += layer->own[lag - 1] * (m >= block ? y[m] : u[m < 0 ? 0 : m] + moved);
        }
        y[n] = clamped((sum >> layer->shift) + unit * y[n], low, high);
    }
}

void san_predict(Chunk *chunk) {
    const Segment *segment = chunk->segment;
    uint32_t longest = 0;
    for (uint32_t i = 0; i < segment->n_residual; i++) {
        uint32_t length = san_length_of(chunk, &segment->channels[segment->order[i]]);
        if (length > longest) longest = length;
    }
    int64_t *sums = san_take(chunk->san, longest, sizeof *sums);
    for (uint32_t i = 0; i < segment->n_residual; i++) predict_channel(chunk, segment->order[i], sums);
}

/* --- 19, as sancodec/native/residual_mixing.c takes it --- */

static ResidualState *first_state(San *san) {
    ResidualState *state = san_take(san, 1, sizeof *state);
    const Block *mark = san->blocks;
    residual_start(state, san_prior(san, RESIDUAL_PRIOR));
    san_release(san, mark);
    return state;
}

/* Channels, references and weights in decoding order, in arrays of one length each. */
static ResidualChunk described(Chunk *chunk) {
    San *san = chunk->san;
    const Segment *segment = chunk->segment;
    ResidualChunk all = {.n_channels = segment->n_residual, .n_planes = chunk->n_planes};
    for (uint32_t i = 0; i < segment->n_residual; i++) {
        all.n_references += (size_t)segment->channels[segment->order[i]].layer->n_references;
        all.n_weights += segment->channels[segment->order[i]].layer->n_weights;
    }
    ResidualChannel *channels = san_take(san, all.n_channels, sizeof *channels);
    ResidualReference *reference = san_take(san, all.n_references, sizeof *reference);
    int64_t *weight = san_take(san, all.n_weights, sizeof *weight);
    int64_t *lengths = san_take(san, all.n_planes, sizeof *lengths);
    all.channels = channels, all.references = reference, all.weights = weight, all.plane_lengths = lengths;
    for (size_t i = 0; i < all.n_planes; i++)
        lengths[i] = san_length_of(chunk, &segment->channels[chunk->channel_of[i]]);
    for (size_t i = 0; i < all.n_channels; i++) {
        const Channel *channel = &segment->channels[segment->order[i]];
        const Layer *layer = channel->layer;
        channels[i] = (ResidualChannel){.length = lengths[i],
                                        .low = (int64_t)channel->minimum - channel->offset,
                                        .high = (int64_t)channel->maximum - channel->offset,
                                        .bound = layer->bound,
                                        .shift = layer->shift,
                                        .n_own = layer->n_own,
                                        .n_references = layer->n_references,
                                        .near_lags = layer->near_lags,
                                        .far_lags = layer->far_lags};
        for (int lag = 0; lag < layer->n_own; lag++) *weight++ = layer->own[lag];
        for (int j = 0; j < layer->n_references; j++) {
            const Reference *from = &layer->references[j];
            *reference++ = (ResidualReference){(int64_t)chunk->plane_of[from->channel], from->is_decoded,
                                               from->first_lag, from->n_lags};
            for (int lag = 0; lag < from->n_lags; lag++) *weight++ = from->weights[lag];
        }
    }
    all.approximations = chunk->approximations;
    all.samples = chunk->samples;
    all.n_samples = chunk->n_plane_samples;
    return all;
}

void san_read_mixed_residuals(Chunk *chunk) {
    San *san = chunk->san;
    Bytes content = chunk->residuals;
    ResidualState *state = first_state(san);
    ResidualChunk all = described(chunk);
    size_t used;
    /* residual_run takes room for errors and sums, at most this much. */
    uint64_t bytes = UINT64_C(16) * all.n_samples + UINT64_C(8) * all.n_planes + UINT64_C(1024) * (all.n_channels + 5);
    san_charge(san, bytes);
    /* The coder's buffer is that of an encoder, too; a decoder only reads it. */
    int result = residual_run(state, &all, (uint8_t *)(uintptr_t)content.at, (size_t)san_left(&content), 1, &used);
    san_give_back(san, bytes);
    if (result == RESIDUAL_NO_MEMORY) san_refuse(san, SAN_MEMORY, "there is no memory for the residuals");
    if (result) san_refuse(san, SAN_CORRUPT, "the mixed stream of residuals contradicts itself");
}
