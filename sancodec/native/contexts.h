/* Activity classes: docs/format.md, "Activity classes"; sancodec/codec/contexts.py. */

#ifndef SANCODEC_CONTEXTS_H
#define SANCODEC_CONTEXTS_H

#include <stdint.h>

enum { N_CLASSES = 28, ESCAPE_SYMBOL = 16, MAX_MAGNITUDE = 63, MAX_EXPECTED = (1 << 14) - 1 };

extern uint8_t class_of_expected[MAX_EXPECTED + 1];

void class_table(void); /* to be called once before anything else */

/* The bands before the current one, magnitudes capped; NULL where there is none or it is all zero. */
typedef struct {
    const uint8_t *mother, *grandmother; /* (stream, window / ratio) */
    int64_t mother_ratio, grandmother_ratio;
    const int32_t *weights; /* of the profile, the mother, her neighbours, the grandmother */
} Parents;

/* Classes at all n windows of a stream; expected is room for n numbers. */
void activity_row(const int32_t *base, int64_t n, const Parents *parents, int64_t row, int32_t *expected,
                  uint8_t *activity);

static inline int class_shift(int activity) { return activity < 22 ? 0 : (activity >> 1) - 10; }

/* A magnitude as far as its symbol tells, capped. */
static inline uint8_t known_of(int32_t magnitude, int activity, const int32_t *n_direct) {
    int shift = class_shift(activity);
    int32_t high = magnitude >> shift;
    if (high > n_direct[activity]) high = n_direct[activity];
    return (uint8_t)(high > MAX_MAGNITUDE >> shift ? MAX_MAGNITUDE : high << shift);
}

/* How many symbols of each class stand for themselves. */
static inline int are_direct(const int32_t *n_direct, int64_t length) {
    for (int64_t at = 0; at < length; at++)
        if (n_direct[at] < 0 || n_direct[at] > ESCAPE_SYMBOL) return 0;
    return length == N_CLASSES;
}

#endif
