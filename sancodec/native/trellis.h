/* Dependent quantisation by the Viterbi algorithm: levels that cost least in distortion and bits. Encoder only. */

#ifndef SANCODEC_TRELLIS_H
#define SANCODEC_TRELLIS_H

#include "coefficient_mixing.h"

enum { COST_LENGTH = 24 };

/* Errors by level 0, 1, 2 and 3 or more, in steps. */
typedef struct {
    double squares, errors[4], counts[4];
} LevelErrors;

/* Quantise the bands that are on into ``channel->levels``; 0 if all is well.

   coefficients: as the windows of the channel; inverse_step; multiplier: what a bit is worth, in squared steps;
   costs: [2][N_ACTIVITIES][COST_LENGTH], bits of an index under either quantiser, sign included;
   offsets: how far levels 1, 2 and 3 or more are reconstructed below themselves, in steps;
   counts: [N_KINDS - 1][N_ACTIVITIES][2][2], how often each decision but that of the sign is taken under either
   quantiser, no and yes; more is added to what is there, or NULL. */
int quantise_levels(const MixingStatistics *statistics, const MixingChannel *channel, const float *coefficients,
                    double inverse_step, double multiplier, const double *costs, const double *offsets,
                    LevelErrors *errors, int64_t *counts);

#endif
