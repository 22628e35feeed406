/* The residual layer under the mixing coder: adaptive prediction, and coded differences of every sample.

   docs/format.md, "Coder 2". All arithmetic is on integers; sancodec/codec/residual_arithmetic.py is the same in
   Python, and the two are compared by the tests. */

#ifndef SANCODEC_RESIDUAL_MIXING_H
#define SANCODEC_RESIDUAL_MIXING_H

#include "mixing.h"

enum {
    RESIDUAL_NODES = 19,
    RESIDUAL_SLOTS = 352,     /* of a node */
    RESIDUAL_WEIGHT_SETS = 36, /* of a node */
    RESIDUAL_INPUTS = 8,
    MAX_NEAR_LAGS = 32,
    MAX_FAR_LAGS = 256,
    N_PRIOR = RESIDUAL_NODES * (RESIDUAL_SLOTS + RESIDUAL_WEIGHT_SETS * RESIDUAL_INPUTS)
};

enum { RESIDUAL_OK = 0, RESIDUAL_INVALID = -1, RESIDUAL_NO_MEMORY = -2, RESIDUAL_CORRUPT = -3, RESIDUAL_FULL = -4 };

/* What a chunk's differences have taught so far; shared by its channels. */
typedef struct {
    Slot slots[RESIDUAL_NODES][RESIDUAL_SLOTS];
    int32_t weights[RESIDUAL_NODES][RESIDUAL_WEIGHT_SETS][RESIDUAL_INPUTS];
} ResidualState;

/* A channel; its weights are those of its own lags, then those of its references, one after the other. */
typedef struct {
    int64_t length;
    int64_t low, high; /* range of the samples */
    int64_t bound, shift, n_own, n_references;
    int64_t near_lags, far_lags; /* of the adaptive stages; 0 for none */
} ResidualChannel;

typedef struct {
    int64_t plane; /* whose samples; below n_channels those of a channel with a residual layer */
    int64_t is_decoded, first_lag, count;
} ResidualReference;

/* A chunk. Planes lie one after the other: first those of the channels, in decoding order, then those of others that
   are referred to. Values are less the channel's offset. */
typedef struct {
    const ResidualChannel *channels;
    size_t n_channels;
    const int64_t *plane_lengths;
    size_t n_planes;
    const ResidualReference *references;
    size_t n_references;
    const int64_t *weights;
    size_t n_weights;
    const int64_t *approximations; /* 0 where there is no cascade */
    int64_t *samples; /* an encoder's targets become what is decoded; other planes are given */
    size_t n_samples;
} ResidualChunk;

void residual_tables(void); /* to be called once, after mixing_tables */

/* Numbers of the prior: for each slot 16 * probability in 2^-12 + count / 4, then weights in 2^-12. */
void residual_start(ResidualState *state, const uint16_t *prior);

/* Encode or decode all channels; *used is how many bytes were written or read. */
int residual_run(ResidualState *state, const ResidualChunk *chunk, uint8_t *bytes, size_t length, int is_decoder,
                 size_t *used);

#endif
