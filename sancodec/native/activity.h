/* Neighbours of a coefficient and the magnitude that they lead to expect: what coder and quantiser share. */

#ifndef SANCODEC_ACTIVITY_H
#define SANCODEC_ACTIVITY_H

#include "coefficient_mixing.h"

enum { LEVEL_CLIP = 127 };

/* Levels of a band, or of nothing. */
typedef struct {
    const int32_t *levels;
    int n, stride;
} Band;

/* A band with those that its windows are seen beside. */
typedef struct {
    int band;
    size_t position; /* of its first window */
    Band own, other, parent, grandparent;
} Neighbours;

static inline void meet_band(Neighbours *bands, const MixingChannel *channel) {
    int n = bands->band < channel->n_bands ? channel->n_windows[bands->band] : 0;
    int stride = bands->band < channel->n_bands ? channel->strides[bands->band] : 1;
    bands->own = (Band){channel->levels + bands->position, n, stride};
    bands->other = (Band){channel->other ? channel->other + bands->position : NULL, n, stride};
}

static inline Neighbours first_band(const MixingChannel *channel) {
    Neighbours bands = {0, 0, {NULL, 0, 1}, {NULL, 0, 1}, {NULL, 0, 1}, {NULL, 0, 1}};
    meet_band(&bands, channel);
    return bands;
}

static inline void next_band(Neighbours *bands, const MixingChannel *channel) {
    bands->grandparent = bands->parent;
    bands->parent = bands->own;
    bands->position += (size_t)bands->own.n;
    bands->band++;
    meet_band(bands, channel);
}

static inline int32_t level_at(const Band *band, int window) {
    return band->levels && window >= 0 && window < band->n ? clamp(band->levels[window], LEVEL_CLIP) : 0;
}

/* The window of a coarser band at the time of a window of this one. */
static inline int window_above(const Neighbours *bands, const Band *coarser, int window) {
    return coarser->levels ? window / (coarser->stride / bands->own.stride) : 0;
}

static inline int magnitude_of(int32_t level) {
    int magnitude = level < 0 ? -level : level;
    return magnitude < LEVEL_CLIP ? magnitude : LEVEL_CLIP;
}

static inline const int32_t *terms_of(const MixingStatistics *statistics, const MixingChannel *channel, int band) {
    return statistics->terms + ((size_t)(channel->other != NULL) * channel->n_bands + band) * N_TERMS;
}

static inline const int32_t *taps_of(const MixingStatistics *statistics, const MixingChannel *channel, int band) {
    return statistics->taps + ((size_t)(channel->other != NULL) * channel->n_bands + band) * N_TAPS;
}

/* Expected magnitude in 1/256, but for the share of the band's own windows before. */
static inline int64_t activity_around(const Neighbours *bands, const MixingChannel *channel, const int32_t *terms,
                                      int window) {
    int phase = channel->phases[bands->position + window] >> 1;
    int64_t sum = (int64_t)channel->expected[bands->band * N_COARSE_PHASES + phase] * terms[0] >> 8;
    int above = window_above(bands, &bands->parent, window), far = window_above(bands, &bands->grandparent, window);
    const Band *parent = &bands->parent, *grandparent = &bands->grandparent, *other = &bands->other;
    sum += terms[1] * magnitude_of(level_at(parent, above));
    sum += terms[2] * (magnitude_of(level_at(parent, above - 1)) + magnitude_of(level_at(parent, above + 1)));
    sum += terms[3] * (2 * magnitude_of(level_at(grandparent, far)) + magnitude_of(level_at(grandparent, far - 1)) +
                       magnitude_of(level_at(grandparent, far + 1)));
    sum += terms[6] * magnitude_of(level_at(other, window));
    sum += terms[7] * (magnitude_of(level_at(other, window - 1)) + magnitude_of(level_at(other, window + 1)));
    return sum;
}

/* Low bits of an index that are not modelled. */
static inline int activity_shift(int64_t value) {
    int shift = 0;
    while (value >> (12 + shift)) shift++;
    return shift;
}

/* Class of an expected magnitude: quarter octaves. */
static inline int activity_of(int64_t value) {
    if (value < 8) return value < 1 ? 0 : (int)value;
    int exponent = bit_length(value) - 3;
    int level = 4 * exponent + (int)(value >> exponent);
    return level < N_ACTIVITIES ? level : N_ACTIVITIES - 1;
}

#endif
