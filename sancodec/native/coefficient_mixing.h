/* Levels of the cascade's coefficients under coder 2: contexts, prediction, trellis (docs/format.md, "Coder 2"). */

#ifndef SANCODEC_COEFFICIENT_MIXING_H
#define SANCODEC_COEFFICIENT_MIXING_H

#include "mixing.h"

enum {
    N_KINDS = 8,  /* of decisions: zero, sign, and whether an index is above 1, 2, 3, 4, 5, more */
    N_INPUTS = 4, /* contexts of a decision */
    N_TAPS = 14,  /* of the prediction */
    N_TERMS = 8,  /* of the expected magnitude */
    N_FINE_PHASES = 49,
    N_COARSE_PHASES = 25,
    N_ACTIVITIES = 64,
    MAX_OWN_BANDS = 64, /* finer ones share the contexts of the last */
    N_GROUPS = 16,
    N_STATES = 8,
    MAX_UNARY = 20 /* decisions about an index */
};

/* Prior probabilities: of each kind but the sign by input, then those of the sign. */
enum {
    PRIOR_ACTIVITY = 2 * N_ACTIVITIES,
    PRIOR_PREDICTION = 2 * 16 * 24,
    PRIOR_BAND = 2 * 32,
    PRIOR_PHASE = 2 * 8,
    PRIOR_KIND = PRIOR_ACTIVITY + PRIOR_PREDICTION + PRIOR_BAND + PRIOR_PHASE,
    PRIOR_SIGN = 48 + 9 + 1 + 24,
    PRIOR_SIZE = (N_KINDS - 1) * PRIOR_KIND + PRIOR_SIGN
};

/* By state and parity of an index; odd states quantise to odd multiples of the step. */
extern const uint8_t trellis_next[N_STATES][2];

/* What a model says of one kind of signal. */
typedef struct {
    const int32_t *terms; /* [2][band][N_TERMS], in 1/256: without and with another channel */
    const int32_t *taps;  /* [2][band][N_TAPS], in 2^-16 */
    const int8_t *prior;  /* [PRIOR_SIZE], stretched probabilities in 1/16 */
    const int32_t *mixer; /* [N_KINDS][N_INPUTS], in 2^-16 */
} MixingStatistics;

/* One channel of one chunk. Arrays over windows hold band after band. */
typedef struct {
    int n_bands;
    const int32_t *strides;
    const int32_t *n_windows;
    const uint8_t *groups;   /* phase group of each band */
    const uint8_t *is_on;
    const int32_t *expected; /* [band][N_COARSE_PHASES], in 1/256 */
    const uint8_t *phases;   /* fine phases of windows, below N_FINE_PHASES */
    const int32_t *other;    /* levels of another channel at the same windows, or NULL */
    int32_t *levels;         /* coded or decoded */
} MixingChannel;

/* What training takes from a run; sums go on from what is there. */
typedef struct {
    int64_t *counts; /* [PRIOR_SIZE][2]: zeros and ones met */
    int64_t *mixers; /* [N_KINDS][N_INPUTS + 1]: weights when used, and how often */
    int32_t *taps;   /* [band][N_TAPS] at the end of each band */
} MixingTrace;

/* What adapts while channels of one model and kind are coded. */
typedef struct MixingState MixingState;

MixingState *new_mixing_state(const MixingStatistics *statistics, int n_bands);
void free_mixing_state(MixingState *state);

/* Code one channel; 0 if all is well. ``trace`` may be NULL. */
int code_levels(MixingState *state, RangeCoder *coder, int is_decoder, const MixingStatistics *statistics,
                const MixingChannel *channel, const MixingTrace *trace);

#endif
