#include "residual_mixing.h"

#include "residual_difference.h"

#include <stdlib.h>
#include <string.h>

enum {
    BEFORE = MAX_FAR_LAGS, /* zeros before the errors of a channel … */
    AROUND = 4,            /* … and behind; how far another channel's errors are looked at */
    N_NEIGHBOURS = 2,
    N_SLOPES = 16,
    MAX_K = 31,
    ERROR_LIMIT = 1 << 24,
    STAGE_WEIGHT_LIMIT = 1 << 26
};

#define MAX_SAMPLE ((int64_t)1 << 33)
#define MAX_BOUND ((int64_t)1 << 20)
#define MAX_WEIGHT_SUM ((int64_t)1 << 26)

static inline int is_within(int64_t value, int64_t limit) { return -limit <= value && value <= limit; }

void residual_start(ResidualState *state, const uint16_t *prior) {
    for (int node = 0; node < RESIDUAL_NODES; node++)
        for (int i = 0; i < RESIDUAL_SLOTS; i++, prior++)
            state->slots[node][i] = (uint32_t)(*prior >> 4) << 20 | 1 << 19 | (uint32_t)(*prior & 15) << 2;
    for (int node = 0; node < RESIDUAL_NODES; node++)
        for (int set = 0; set < RESIDUAL_WEIGHT_SETS; set++)
            for (int i = 0; i < RESIDUAL_INPUTS; i++, prior++) state->weights[node][set][i] = (int16_t)*prior * 16;
}

/* --- Adaptive stages: normalised LMS on errors that went before, or of other channels --- */

typedef struct {
    const int32_t *inputs; /* errors, in 2^-6 */
    int first, count;      /* for sample n: inputs[n + first] and count - 1 more */
    int64_t power;
    int32_t *weights; /* in 2^-20 */
} Span;

typedef struct {
    Span spans[1 + N_NEIGHBOURS];
    int n_spans;
    int32_t weights[MAX_FAR_LAGS + N_NEIGHBOURS * (2 * AROUND + 1)];
    int n_weights;
} Stage;

static void add_span(Stage *stage, const int32_t *inputs, int first, int count) {
    Span *span = &stage->spans[stage->n_spans++];
    *span = (Span){inputs, first, count, 0, stage->weights + stage->n_weights};
    stage->n_weights += count;
    for (int i = 0; i < count; i++) span->power += (int64_t)inputs[first + i] * inputs[first + i];
}

/* What the stage adds to the prediction, in 2^-8. */
static int64_t stage_sum(const Stage *stage, int64_t n) {
    int64_t sum = 0;
    for (int s = 0; s < stage->n_spans; s++) {
        const Span *span = &stage->spans[s];
        const int32_t *input = span->inputs + n + span->first;
        for (int i = 0; i < span->count; i++) sum += (int64_t)span->weights[i] * input[i];
    }
    return sum >> 18;
}

/* Learn from an error in 2^-6; then the powers are those for the sample that follows. */
static void stage_learn(Stage *stage, int64_t n, int64_t error, int64_t least_power) {
    int64_t power = least_power;
    for (int s = 0; s < stage->n_spans; s++) power += stage->spans[s].power;
    int64_t gain = (magnitude_of(error) << 24) / power;
    if (error < 0) gain = -gain;
    for (int s = 0; s < stage->n_spans; s++) {
        const Span *span = &stage->spans[s];
        const int32_t *input = span->inputs + n + span->first;
        for (int i = 0; i < span->count; i++) {
            int64_t weight = span->weights[i] + ((gain * input[i] + 512) >> 10);
            span->weights[i] = (int32_t)limited(weight, STAGE_WEIGHT_LIMIT);
        }
    }
}

static void stage_advance(Stage *stage, int64_t n) {
    for (int s = 0; s < stage->n_spans; s++) {
        Span *span = &stage->spans[s];
        const int32_t *input = span->inputs + n + span->first;
        span->power += (int64_t)input[span->count] * input[span->count] - (int64_t)input[0] * input[0];
    }
}

/* --- Channels --- */

typedef struct {
    const ResidualChannel *channel;
    const int64_t *own;         /* weights */
    const int64_t *sums;        /* of the references */
    const int64_t *approximation;
    int64_t *samples;
    int32_t *errors, *far_errors;               /* in 2^-6, with room before and behind */
    const int32_t *neighbours[N_NEIGHBOURS];    /* their errors; NULL where there are fewer */
} ChannelJob;

static int64_t own_sum(const ChannelJob *job, int64_t n) {
    const int64_t *samples = job->samples;
    int64_t sum = 0, n_own = job->channel->n_own;
    int64_t inside = n < n_own ? n : n_own;
    for (int64_t i = 1; i <= inside; i++) sum += job->own[i - 1] * samples[n - i];
    int64_t before = n ? samples[0] : job->approximation[0];
    for (int64_t i = inside + 1; i <= n_own; i++) sum += job->own[i - 1] * before;
    return sum;
}

/* What the approximation does about a sample, or else what the samples before did; in units. */
static int slope_context(const ChannelJob *job, int has_cascade, int64_t n, int64_t unit) {
    const int64_t *from = has_cascade ? job->approximation : job->samples;
    int64_t first = has_cascade ? n - 2 : n - 1, last = has_cascade ? n + 3 : n - 1, slopes = 0;
    if (first < 1) first = 1;
    if (last > job->channel->length - 1) last = job->channel->length - 1;
    for (int64_t i = first; i <= last; i++) slopes += magnitude_of(from[i] - from[i - 1]);
    int level = level_of((has_cascade ? 4 : 8) * slopes / unit) / 2;
    return level >= N_SLOPES ? N_SLOPES - 1 : level;
}

static int code_channel(DifferenceCoder *self, const ChannelJob *job) {
    const ResidualChannel *channel = job->channel;
    int64_t unit = 2 * channel->bound + 1, shift = channel->shift, floor = 32 * unit, least_power = 4096 * unit * unit;
    /* Means of absolute errors in 2^-8: fast and slow, before the second stage, and before both at each slope. */
    int64_t fast = 256 * unit, slow = fast, nearer = fast, at_slope[N_SLOPES], neighbour_mean = 1024 * unit;
    for (int i = 0; i < N_SLOPES; i++) at_slope[i] = -1;
    int64_t before[2] = {0, 0}; /* differences */
    int has_cascade = 0;
    for (int64_t n = 0; n < channel->length && !has_cascade; n++) has_cascade = job->approximation[n] != 0;
    Stage near = {0}, far = {0};
    if (channel->near_lags) {
        add_span(&near, job->errors, -(int)channel->near_lags, (int)channel->near_lags);
        for (int i = 0; i < N_NEIGHBOURS; i++)
            if (job->neighbours[i]) add_span(&near, job->neighbours[i], -AROUND, 2 * AROUND + 1);
    }
    if (channel->far_lags) add_span(&far, job->far_errors, -(int)channel->far_lags, (int)channel->far_lags);
    for (int64_t n = 0; n < channel->length; n++) {
        int64_t sum = limited(job->sums[n] + own_sum(job, n), (int64_t)1 << (34 + shift));
        int64_t plain = sum * ((int64_t)1 << (shift > 8 ? 0 : 8 - shift));
        if (shift > 8) plain = (sum + ((int64_t)1 << (shift - 9))) >> (shift - 8);
        plain = between(plain, channel->low * 256, channel->high * 256);
        int64_t after_near = plain + stage_sum(&near, n);
        int64_t predicted = between(after_near + stage_sum(&far, n), channel->low * 256, channel->high * 256);
        int64_t whole = (predicted + 128) >> 8;

        int64_t mean = (fast + slow) / (2 * unit);
        int k = mean < 256 ? 0 : bit_length(mean) - 8;
        if (k > MAX_K) k = MAX_K;
        int scale = level_of(mean >> 2) - 4 * k;
        if (scale > 31) scale = 31;
        if (scale < 0) scale = 0;
        int slope = slope_context(job, has_cascade, n, unit);
        if (at_slope[slope] < 0) at_slope[slope] = slow;
        self->experts[0] = (Expert){predicted, (355 << 16) / (fast + floor)};
        self->experts[1] = (Expert){predicted, (355 << 16) / (slow + floor)};
        self->experts[2] = (Expert){plain, (355 << 16) / (at_slope[slope] + floor)};
        self->experts[3] = (Expert){after_near, (355 << 16) / (nearer + floor)};
        int coarse = scale >> 2, beside = 0, beside_sign = 1;
        const int32_t *neighbour = job->neighbours[0];
        if (neighbour) {
            int64_t size =
                magnitude_of(neighbour[n - 1]) + 2 * magnitude_of(neighbour[n]) + magnitude_of(neighbour[n + 1]);
            beside = 9 + ((level_of(size) - level_of(neighbour_mean >> 2)) >> 1);
            beside = beside > 15 ? 15 : beside < 1 ? 1 : beside;
            beside_sign = neighbour[n] > 0 ? 2 : neighbour[n] < 0 ? 0 : 1;
            neighbour_mean += (16 * magnitude_of(neighbour[n]) - neighbour_mean) >> 7;
        }
        int64_t last = magnitude_of(before[0]) >> (k ? k - 1 : 0);
        int64_t last_but_one = magnitude_of(before[1]) >> (k ? k - 1 : 0);
        self->context[0] = FIRST_CONTEXT + scale;
        self->context[1] = PAST_CONTEXT + 8 * (last > 7 ? 7 : (int)last) + (last_but_one > 7 ? 7 : (int)last_but_one);
        self->context[2] = NEIGHBOUR_CONTEXT + 8 * beside + coarse;
        self->context[3] = SLOPE_CONTEXT + 8 * slope + coarse;
        self->sign_context = PAST_CONTEXT + 9 * (before[0] > 0 ? 2 : before[0] < 0 ? 0 : 1) +
                             3 * (before[1] > 0 ? 2 : before[1] < 0 ? 0 : 1) + beside_sign;
        self->sets[0] = k > 3 ? 3 : k;
        self->sets[1] = 4 + scale;

        int64_t difference = 0;
        if (!self->is_decoder) {
            int64_t off = job->samples[n] - whole;
            difference = off < 0 ? -((channel->bound - off) / unit) : (channel->bound + off) / unit;
        }
        difference = code_difference(self, whole, unit, k, difference);
        if (magnitude_of(difference) >= MAX_MAGNITUDE || self->coder->failed) return RESIDUAL_CORRUPT;
        int64_t sample = between(whole + unit * difference, channel->low, channel->high);
        job->samples[n] = sample;
        before[1] = before[0];
        before[0] = difference;

        /* The first sample says where the signal is, not how well it is predicted. */
        int64_t error = n ? 256 * sample - predicted : 0;
        job->errors[n] = n ? (int32_t)limited((256 * sample - plain) >> 2, ERROR_LIMIT) : 0;
        job->far_errors[n] = n ? (int32_t)limited((256 * sample - after_near) >> 2, ERROR_LIMIT) : 0;
        if (n) {
            int64_t limit = (fast + floor) >> 1;
            if (limit > ERROR_LIMIT) limit = ERROR_LIMIT;
            fast += (magnitude_of(error) - fast) >> 4;
            slow += (magnitude_of(error) - slow) >> (n < 32 ? 4 : 7);
            at_slope[slope] += (magnitude_of(256 * sample - plain) - at_slope[slope]) >> 5;
            nearer += (magnitude_of(256 * sample - after_near) - nearer) >> 5;
            if (near.n_spans) stage_learn(&near, n, limited((256 * sample - after_near) >> 2, limit), least_power);
            if (far.n_spans) stage_learn(&far, n, limited(error >> 2, limit), least_power);
        }
        stage_advance(&near, n);
        stage_advance(&far, n);
    }
    return RESIDUAL_OK;
}

/* --- Chunks --- */

static int is_valid(const ResidualChunk *chunk) {
    size_t n_samples = 0, n_references = 0, n_weights = 0;
    if (chunk->n_channels > chunk->n_planes) return 0;
    for (size_t i = 0; i < chunk->n_planes; i++) {
        int64_t length = chunk->plane_lengths[i];
        if (length < 1 || (uint64_t)length > chunk->n_samples - n_samples) return 0;
        n_samples += (size_t)length;
    }
    for (size_t i = 0; i < n_samples; i++)
        if (!is_within(chunk->approximations[i], MAX_SAMPLE) || !is_within(chunk->samples[i], MAX_SAMPLE)) return 0;
    for (size_t c = 0; c < chunk->n_channels; c++) {
        const ResidualChannel *channel = &chunk->channels[c];
        if (channel->length != chunk->plane_lengths[c] || channel->low > channel->high || channel->low < -MAX_SAMPLE ||
            channel->high > MAX_SAMPLE || channel->bound < 0 || channel->bound > MAX_BOUND || channel->shift < 0 ||
            channel->shift > 20 || channel->n_own < 0 || channel->n_own > 64 || channel->n_references < 0 ||
            (uint64_t)channel->n_references > chunk->n_references - n_references ||
            (uint64_t)channel->n_own > chunk->n_weights - n_weights || channel->near_lags < 0 ||
            channel->near_lags > MAX_NEAR_LAGS || channel->far_lags < 0 || channel->far_lags > MAX_FAR_LAGS)
            return 0;
        size_t first_weight = n_weights;
        n_weights += (size_t)channel->n_own;
        for (int64_t i = 0; i < channel->n_references; i++) {
            const ResidualReference *each = &chunk->references[n_references++];
            if (each->plane < 0 || (uint64_t)each->plane >= chunk->n_planes || each->first_lag < -64 ||
                each->first_lag > 64 || each->count < 1 || each->count > 129 ||
                chunk->plane_lengths[each->plane] != channel->length ||
                (uint64_t)each->count > chunk->n_weights - n_weights)
                return 0;
            if (each->is_decoded && (uint64_t)each->plane < chunk->n_channels && (uint64_t)each->plane >= c) return 0;
            n_weights += (size_t)each->count;
        }
        int64_t sum = 0;
        for (size_t i = first_weight; i < n_weights; i++) {
            if (!is_within(chunk->weights[i], MAX_WEIGHT_SUM)) return 0;
            sum += magnitude_of(chunk->weights[i]);
        }
        if (sum > MAX_WEIGHT_SUM) return 0;
    }
    return 1;
}

static void add_reference(int64_t *sums, const int64_t *source, int64_t length, int64_t first_lag, int64_t count,
                          const int64_t *weights) {
    for (int64_t j = 0; j < count; j++) {
        if (!weights[j]) continue;
        for (int64_t n = 0; n < length; n++) sums[n] += weights[j] * source[between(n - first_lag - j, 0, length - 1)];
    }
}

static int run_channels(DifferenceCoder *self, const ResidualChunk *chunk, const size_t *starts, int32_t *errors,
                        int32_t *far_errors, int64_t *sums) {
    const int64_t *weights = chunk->weights;
    const ResidualReference *reference = chunk->references;
    for (size_t c = 0; c < chunk->n_channels; c++) {
        const ResidualChannel *channel = &chunk->channels[c];
        ChannelJob job = {channel, weights, sums, chunk->approximations + starts[c], chunk->samples + starts[c],
                          errors + starts[c] + (c + 1) * BEFORE, far_errors + BEFORE, {NULL, NULL}};
        memset(sums, 0, (size_t)channel->length * sizeof *sums);
        memset(far_errors, 0, (BEFORE + (size_t)channel->length) * sizeof *far_errors);
        weights += channel->n_own;
        int n_neighbours = 0;
        for (int64_t i = 0; i < channel->n_references; i++, reference++) {
            size_t plane = (size_t)reference->plane;
            const int64_t *source = (reference->is_decoded ? chunk->samples : chunk->approximations) + starts[plane];
            add_reference(sums, source, channel->length, reference->first_lag, reference->count, weights);
            weights += reference->count;
            if (!reference->is_decoded || plane >= chunk->n_channels || n_neighbours == N_NEIGHBOURS) continue;
            job.neighbours[n_neighbours++] = errors + starts[plane] + (plane + 1) * BEFORE;
        }
        for (size_t before = c; before-- && !n_neighbours;)
            if (chunk->channels[before].length == channel->length)
                job.neighbours[n_neighbours++] = errors + starts[before] + (before + 1) * BEFORE;
        int result = code_channel(self, &job);
        if (result) return result;
    }
    return RESIDUAL_OK;
}

int residual_run(ResidualState *state, const ResidualChunk *chunk, uint8_t *bytes, size_t length, int is_decoder,
                 size_t *used) {
    if (!is_valid(chunk)) return RESIDUAL_INVALID;
    RangeCoder coder;
    if (is_decoder)
        start_decoding(&coder, bytes, length);
    else
        start_encoding(&coder, bytes, length);
    size_t n_samples = 0, longest = 0;
    size_t *starts = malloc((chunk->n_planes + 1) * sizeof *starts);
    if (!starts) return RESIDUAL_NO_MEMORY;
    for (size_t i = 0; i < chunk->n_planes; i++) {
        starts[i] = n_samples;
        n_samples += (size_t)chunk->plane_lengths[i];
        if (longest < (size_t)chunk->plane_lengths[i]) longest = (size_t)chunk->plane_lengths[i];
    }
    int32_t *errors = calloc(n_samples + (chunk->n_channels + 2) * BEFORE, sizeof *errors);
    int32_t *far_errors = calloc(longest + 2 * BEFORE, sizeof *far_errors);
    int64_t *sums = calloc(longest + 1, sizeof *sums);
    int result = RESIDUAL_NO_MEMORY;
    if (errors && far_errors && sums) {
        DifferenceCoder self = {.coder = &coder, .state = state, .is_decoder = is_decoder};
        result = run_channels(&self, chunk, starts, errors, far_errors, sums);
    }
    free(starts);
    free(errors);
    free(far_errors);
    free(sums);
    if (!is_decoder) {
        if (result == RESIDUAL_OK) *used = finish_encoding(&coder);
        if (coder.failed) return RESIDUAL_FULL;
    } else if (result == RESIDUAL_OK) {
        *used = length;
        if (!is_read_up(&coder)) return RESIDUAL_CORRUPT;
    }
    return result;
}
