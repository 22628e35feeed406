/* A difference from a prediction as binary decisions, by four experts and what was met in the same contexts. */

#ifndef SANCODEC_RESIDUAL_DIFFERENCE_H
#define SANCODEC_RESIDUAL_DIFFERENCE_H

#include "residual_mixing.h"

enum {
    N_EXPERTS = 4,
    N_CONTEXTS = 4,
    FIRST_CONTEXT = 0, /* where the slots of each context begin */
    PAST_CONTEXT = 32,
    NEIGHBOUR_CONTEXT = 96,
    SLOPE_CONTEXT = 224
};

#define MAX_MAGNITUDE ((int64_t)1 << 33)

static inline int64_t limited(int64_t value, int64_t limit) {
    return value > limit ? limit : value < -limit ? -limit : value;
}

static inline int64_t between(int64_t value, int64_t low, int64_t high) {
    return value > high ? high : value < low ? low : value;
}

static inline int64_t magnitude_of(int64_t value) { return value < 0 ? -value : value; }

/* Four levels an octave, of 0 and more. */
static inline int level_of(int64_t value) {
    int length = bit_length(value + 4);
    return 4 * (length - 3) + (int)((value + 4) >> (length - 3) & 3);
}

/* A prediction with the scale of its errors: a logistic distribution. */
typedef struct {
    int64_t middle;  /* in 2^-8 */
    int64_t inverse; /* 2^24 / scale */
} Expert;

typedef struct {
    RangeCoder *coder;
    ResidualState *state;
    int is_decoder;
    Expert experts[N_EXPERTS];
    int context[N_CONTEXTS]; /* slots of every node but that of the sign */
    int sign_context;
    int sets[2];
} DifferenceCoder;

/* Code a difference from the prediction, in units; k low bits of its magnitude are not part of the unary code. Returns
   it, or MAX_MAGNITUDE where a decoder finds one that large. */
int64_t code_difference(DifferenceCoder *self, int64_t prediction, int64_t unit, int k, int64_t difference);

#endif
