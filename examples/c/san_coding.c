/* 5: the CODING section. */

#include <string.h>

#include "san_internal.h"

enum {
    MAX_KERNEL_LENGTH = 8192,
    MAX_BANDS = 1 << 20,
    MAX_LATTICE_SHIFT = 22,
    MAX_SCALE = 95,
    MAX_PHASE = 15,
    MAX_BOUND = 1 << 20,
    MAX_SHIFT = 20,
    MAX_OWN = 64,
    MAX_REFERENCES = 256,
    MAX_SEGMENT_REFERENCES = 1 << 17,
    MAX_LAG = 64,
    MAX_WEIGHTS = 2048,
    MAX_WEIGHT_SUM = 1 << 26,
    MAX_NEAR = 32,
    MAX_FAR = 256,
    MAX_BLOCK_EXPONENT = 16,
    MAX_TABLES = 63,
    MAX_TABLE_SHIFT = 27,
    TOTAL = 4096
};

static int32_t signed_within(Bits *bits, const char *what, int32_t low, int32_t high) {
    int32_t value = san_rice_signed(bits);
    if (value < low || value > high)
        san_refuse(bits->san, SAN_CORRUPT, "%s: %d; %d to %d is allowed", what, (int)value, (int)low, (int)high);
    return value;
}

static void read_profile(Bits *bits, Channel *channel) {
    const Model *model = channel->model;
    channel->set = (int)san_u(bits, 3);
    if (channel->set >= model->n_sets) san_refuse(bits->san, SAN_CORRUPT, "set %d of %d", channel->set, model->n_sets);
    uint8_t *scales = san_take(bits->san, (uint64_t)model->n_bands, 1);
    Rice list = san_list(bits, (uint64_t)model->n_bands);
    int64_t code = 0;
    for (int band = 0; band < model->n_bands; band++) {
        code += san_next_signed(&list);
        if (code < 0 || code > MAX_SCALE) san_refuse(bits->san, SAN_CORRUPT, "a scale code that is not 0 to 95");
        scales[band] = (uint8_t)code;
    }
    int8_t *phases = san_take(bits->san, (uint64_t)model->n_phase_groups * N_COARSE_PHASES, 1);
    channel->scales = scales;
    channel->phases = phases;
    if (!san_u(bits, 1)) return;
    for (int group = 0; group < model->n_phase_groups; group++) {
        list = san_list(bits, N_COARSE_PHASES);
        for (int i = 0; i < N_COARSE_PHASES; i++) {
            int32_t phase = san_next_signed(&list);
            if (phase < -MAX_PHASE || phase > MAX_PHASE)
                san_refuse(bits->san, SAN_CORRUPT, "a phase code of %d", (int)phase);
            *phases++ = (int8_t)phase;
        }
    }
}

static void read_cascade(Bits *bits, const Segment *segment, Channel *channel) {
    San *san = bits->san;
    uint32_t number = san_rice_number(bits);
    if (number >= (uint32_t)san->n_models)
        san_refuse(san, SAN_CORRUPT, "model %u of %d", (unsigned)number, san->n_models);
    channel->model = san->models[number];
    channel->mantissa = (int)san_u(bits, 12);
    if (channel->mantissa < 2048) san_refuse(san, SAN_CORRUPT, "a step mantissa of %d", channel->mantissa);
    channel->exponent = signed_within(bits, "step exponent", -40, 32);
    for (int i = 1; i < 4; i++) channel->corrections[i] = (int)san_u(bits, 6);
    san_read_kernels(bits, channel, segment->kernel_lengths[channel->group]);
    if (segment->coder) read_profile(bits, channel);
}

/* Weights of a layer; the sum of their absolute values goes on. */
static const int64_t *read_weights(Bits *bits, uint32_t n, Layer *layer, int64_t *sum) {
    int64_t *weights = san_take(bits->san, n, sizeof *weights);
    Rice list = san_list(bits, n);
    for (uint32_t i = 0; i < n; i++) {
        weights[i] = san_next_signed(&list);
        *sum += weights[i] < 0 ? -weights[i] : weights[i];
    }
    layer->n_weights += n;
    if (*sum > MAX_WEIGHT_SUM) san_refuse(bits->san, SAN_LIMIT, "weights whose absolute values sum to more than 2^26");
    return weights;
}

static const Layer *read_layer(Bits *bits, int coder) {
    San *san = bits->san;
    Layer *layer = san_take(san, 1, sizeof *layer);
    uint32_t head[5], pair[2] = {0, 0};
    int64_t sum = 0;
    san_rice(bits, head, 5);
    if (head[0] > MAX_BOUND || !head[1] || head[2] > MAX_SHIFT || head[3] > MAX_OWN || head[4] > MAX_REFERENCES)
        san_refuse(san, SAN_LIMIT, "bound, restart, shift, own lags or references of a layer beyond the limits");
    layer->bound = head[0], layer->restart = head[1], layer->shift = (int)head[2];
    layer->n_own = (int)head[3], layer->n_references = (int)head[4];
    layer->own = read_weights(bits, head[3], layer, &sum);
    Reference *references = san_take(san, head[4], sizeof *references);
    layer->references = references;
    for (uint32_t i = 0; i < head[4]; i++) {
        san_rice(bits, pair, 2);
        int32_t first = signed_within(bits, "first lag of a reference", -MAX_LAG, MAX_LAG);
        if (pair[1] < 1 || pair[1] > (uint32_t)(MAX_LAG - first + 1) || pair[1] > MAX_WEIGHTS - layer->n_weights)
            san_refuse(san, SAN_LIMIT, "%u lags of a reference, from %d on", (unsigned)pair[1], (int)first);
        const int64_t *weights = read_weights(bits, pair[1], layer, &sum);
        references[i] = (Reference){pair[0] >> 1, pair[0] & 1, (int)first, (int)pair[1], weights};
    }
    pair[0] = pair[1] = 0;
    if (coder == 2) san_rice(bits, pair, 2);
    if (pair[0] > MAX_NEAR || pair[1] > MAX_FAR)
        san_refuse(san, SAN_LIMIT, "%u near and %u far lags", (unsigned)pair[0], (unsigned)pair[1]);
    layer->near_lags = (int)pair[0], layer->far_lags = (int)pair[1];
    return layer;
}

static double number_of(uint32_t bits) {
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

static void read_channel(Bits *bits, Segment *segment, Channel *channel, SanMeasured *measured) {
    San *san = bits->san;
    uint32_t prdn = san_u(bits, 32), pair[2];
    if ((prdn & 0x7FFFFFFF) > 0x7F800000 || prdn > 0x80000000) san_refuse(san, SAN_CORRUPT, "a PRDN below 0, or none");
    Rice values = san_list(bits, 3);
    channel->offset = san_next_signed(&values);
    channel->minimum = san_next_signed(&values);
    channel->maximum = san_next_signed(&values);
    san_rice(bits, pair, 2);
    channel->group = pair[1];
    *measured = (SanMeasured){number_of(prdn), pair[0], pair[1]};
    if (channel->minimum > channel->maximum || channel->group >= segment->n_groups)
        san_refuse(san, SAN_CORRUPT, "a range of %d to %d, lead group %u", (int)channel->minimum,
                   (int)channel->maximum, (unsigned)channel->group);
    channel->has_lattice = (int)san_u(bits, 1);
    if (channel->has_lattice) {
        san_rice(bits, pair, 2);
        if (!pair[0] || pair[1] >> 1 > MAX_LATTICE_SHIFT)
            san_refuse(san, SAN_LIMIT, "a lattice step of %u / 2^%u", (unsigned)pair[0], (unsigned)pair[1] >> 1);
        channel->lattice_numerator = pair[0];
        channel->lattice_shift = (int)(pair[1] >> 1);
        channel->is_truncated = (int)(pair[1] & 1);
    }
    if (san_u(bits, 1)) read_cascade(bits, segment, channel);
    if (san_u(bits, 1)) channel->layer = read_layer(bits, segment->coder);
    segment->n_coded += channel->model != NULL;
    segment->n_residual += channel->layer != NULL;
}

static void read_mixes(Bits *bits, Segment *segment, Channel *channels) {
    Mix *mixes = san_take(bits->san, segment->n_groups, sizeof *mixes);
    segment->mixes = mixes;
    for (uint32_t group = 0; group < segment->n_groups; group++)
        if (san_u(bits, 1)) san_read_mix(bits, channels, group, &mixes[segment->n_mixes++]);
    for (const Channel *channel = channels; channel < channels + bits->san->info.n_channels; channel++) {
        int is_inside = channel->stored->minimum <= channel->minimum && channel->maximum <= channel->stored->maximum;
        if (san_is_constant(channel) ? channel->minimum != channel->maximum : !is_inside && !channel->has_lattice)
            san_refuse(bits->san, SAN_CORRUPT, "channel %u: a range of %d to %d is not allowed",
                       (unsigned)(channel - channels), (int)channel->minimum, (int)channel->maximum);
    }
}

static void read_tables(Bits *bits, Segment *segment) {
    uint32_t head[2], frequencies[ESCAPE + 1];
    san_rice(bits, head, 2);
    if (head[0] > MAX_BLOCK_EXPONENT || head[1] > MAX_TABLES)
        san_refuse(bits->san, SAN_LIMIT, "%u tables for blocks of 2^%u", (unsigned)head[1], (unsigned)head[0]);
    segment->block_exponent = (int)head[0];
    segment->n_tables = (int)head[1];
    Row *rows = san_take(bits->san, head[1], sizeof *rows);
    segment->tables = rows;
    for (Row *row = rows; row < rows + head[1]; row++) {
        uint64_t sum = 0;
        row->n_direct = ESCAPE;
        row->shift = (uint8_t)san_u(bits, 5);
        san_rice(bits, frequencies, ESCAPE + 1);
        for (int symbol = 0; symbol <= ESCAPE; symbol++) {
            sum += frequencies[symbol];
            row->start[symbol + 1] = (uint16_t)(sum < TOTAL ? sum : TOTAL);
        }
        if (sum != TOTAL || row->shift > MAX_TABLE_SHIFT)
            san_refuse(bits->san, SAN_CORRUPT, "a residual table with shift %d, or whose sum is not 4096", row->shift);
    }
}

static void check_groups(San *san, const Segment *segment) {
    const Block *mark = san->blocks;
    uint32_t *rates = san_take(san, segment->n_groups, sizeof *rates);
    for (uint32_t i = 0; i < san->info.n_channels; i++) {
        const Channel *channel = &segment->channels[i];
        uint32_t rate = channel->stored->samples_per_frame, *of_group = &rates[channel->group];
        if (*of_group && *of_group != rate)
            san_refuse(san, SAN_CORRUPT, "lead group %u has channels of two rates", (unsigned)channel->group);
        *of_group = rate;
    }
    for (uint32_t group = 0; group < segment->n_groups; group++)
        if (!rates[group]) san_refuse(san, SAN_CORRUPT, "lead group %u has no channels", (unsigned)group);
    san_release(san, mark);
}

static void check_references(San *san, const Segment *segment) {
    uint64_t n_references = 0, n_bands = 0;
    for (uint32_t i = 0; i < san->info.n_channels; i++) {
        const Channel *channel = &segment->channels[i];
        const Layer *layer = channel->layer;
        n_bands += channel->model ? (uint64_t)channel->model->n_bands : 0;
        if (!layer) continue;
        n_references += (uint64_t)layer->n_references;
        for (int j = 0; j < layer->n_references; j++) {
            uint32_t source = layer->references[j].channel;
            const Channel *other = &segment->channels[source < san->info.n_channels ? source : 0];
            if (source >= san->info.n_channels || san_is_constant(other) ||
                other->stored->samples_per_frame != channel->stored->samples_per_frame)
                san_refuse(san, SAN_CORRUPT, "channel %u refers to channel %u, which has no such samples", (unsigned)i,
                           (unsigned)source);
        }
        /* At most 2^56, as frames are at most 2^40. */
        uint64_t length = san->info.chunk_frames * channel->stored->samples_per_frame;
        if (segment->coder != 2 && layer->restart < layer->n_own && (uint64_t)layer->restart < length)
            san_refuse(san, SAN_LIMIT, "channel %u: restart after %d samples, with %d own lags", (unsigned)i,
                       (int)layer->restart, layer->n_own);
    }
    if (n_references > MAX_SEGMENT_REFERENCES || n_bands > MAX_BANDS)
        san_refuse(san, SAN_LIMIT, "too many references or bands in all channels");
}

/* Whether all that a channel needs was decoded in an earlier round. */
static int is_ready(const Segment *segment, const Channel *channel, const uint8_t *is_done) {
    for (int i = 0; i < channel->layer->n_references; i++) {
        const Reference *reference = &channel->layer->references[i];
        if (reference->is_decoded && segment->channels[reference->channel].layer && !is_done[reference->channel])
            return 0;
    }
    return 1;
}

static const uint32_t *order_of(San *san, const Segment *segment) {
    uint32_t *order = san_take(san, segment->n_residual, sizeof *order), n = 0, first = 0;
    const Block *mark = san->blocks;
    uint8_t *is_done = san_take(san, san->info.n_channels, 1);
    while (n < segment->n_residual) {
        for (uint32_t i = 0; i < san->info.n_channels; i++)
            if (segment->channels[i].layer && !is_done[i] && is_ready(segment, &segment->channels[i], is_done))
                order[n++] = i;
        if (n == first) san_refuse(san, SAN_CORRUPT, "channels are predicted from each other");
        while (first < n) is_done[order[first++]] = 1;
    }
    san_release(san, mark);
    return order;
}

const Segment *san_read_coding(San *san, const uint8_t *payload, uint32_t length) {
    Bits bits = san_bits(san, payload, length);
    Segment *segment = san_take(san, 1, sizeof *segment);
    uint32_t head[3];
    segment->crc = san_crc32(0, payload, length);
    san_rice(&bits, head, 3);
    if (head[2] > 2) san_refuse(san, SAN_UNSUPPORTED, "coder: %u; 0 to 2 can be read", (unsigned)head[2]);
    segment->first_chunk = head[0], segment->n_chunks = head[1], segment->coder = (int)head[2];
    segment->n_groups = san_rice_number(&bits);
    if (segment->n_groups < 1 || segment->n_groups > san->info.n_channels)
        san_refuse(san, SAN_LIMIT, "%u lead groups", (unsigned)segment->n_groups);
    uint32_t *lengths = san_take(san, segment->n_groups, sizeof *lengths);
    san_rice(&bits, lengths, segment->n_groups);
    for (uint32_t i = 0; i < segment->n_groups; i++)
        if (lengths[i] > MAX_KERNEL_LENGTH)
            san_refuse(san, SAN_LIMIT, "beat kernels of %u samples", (unsigned)lengths[i]);
    segment->kernel_lengths = lengths;
    Channel *channels = san_take(san, san->info.n_channels, sizeof *channels);
    segment->channels = channels;
    segment->measured = san_take(san, san->info.n_channels, sizeof *segment->measured);
    for (uint32_t i = 0; i < san->info.n_channels; i++) {
        channels[i].stored = &san->info.channels[i];
        read_channel(&bits, segment, &channels[i], &segment->measured[i]);
    }
    read_mixes(&bits, segment, channels);
    if (segment->coder == 1 && segment->n_residual) read_tables(&bits, segment);
    san_finish_bits(&bits);
    check_groups(san, segment);
    check_references(san, segment);
    segment->order = order_of(san, segment);
    return segment;
}
