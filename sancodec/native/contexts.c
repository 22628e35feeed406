#include "contexts.h"

#include "functions.h"

#include <stdlib.h>

uint8_t class_of_expected[MAX_EXPECTED + 1];

void class_table(void) {
    for (int32_t expected = 0; expected <= MAX_EXPECTED; expected++) {
        int exponent = 0;
        while (expected >> (exponent + 1)) exponent++;
        int activity = 2 * exponent + (expected * expected >= 2 << (2 * exponent));
        class_of_expected[expected] = (uint8_t)(activity < N_CLASSES ? activity : N_CLASSES - 1);
    }
}

/* Add own * magnitude + beside * (both neighbours, circular) of n windows to ratio windows each. */
static void add_parent(const uint8_t *magnitude, int64_t n, int64_t ratio, int32_t own, int32_t beside,
                       int32_t *expected) {
    for (int64_t window = 0; window < n; window++) {
        int32_t left = magnitude[window ? window - 1 : n - 1], right = magnitude[window + 1 < n ? window + 1 : 0];
        int32_t term = own * magnitude[window] + beside * (left + right);
        for (int64_t index = 0; index < ratio; index++) expected[window * ratio + index] += term;
    }
}

static void add_equal(const uint8_t *magnitude, int64_t n, int32_t own, int32_t beside, int32_t *expected) {
    if (n < 2) {
        add_parent(magnitude, n, 1, own, beside, expected);
        return;
    }
    expected[0] += own * magnitude[0] + beside * (magnitude[n - 1] + magnitude[1]);
    for (int64_t window = 1; window < n - 1; window++)
        expected[window] += own * magnitude[window] + beside * (magnitude[window - 1] + magnitude[window + 1]);
    expected[n - 1] += own * magnitude[n - 1] + beside * (magnitude[n - 2] + magnitude[0]);
}

static void add(const uint8_t *magnitudes, int64_t row, int64_t n, int64_t ratio, int32_t own, int32_t beside,
                int32_t *expected) {
    if (ratio == 1)
        add_equal(magnitudes + row * n, n, own, beside, expected);
    else
        add_parent(magnitudes + row * (n / ratio), n / ratio, ratio, own, beside, expected);
}

void activity_row(const int32_t *base, int64_t n, const Parents *parents, int64_t row, int32_t *expected,
                  uint8_t *activity) {
    const int32_t *weights = parents->weights;
    memcpy(expected, base, (size_t)n * sizeof *expected);
    if (parents->mother) add(parents->mother, row, n, parents->mother_ratio, weights[1], weights[2], expected);
    if (parents->grandmother)
        add(parents->grandmother, row, n, parents->grandmother_ratio, 2 * weights[3], weights[3], expected);
    for (int64_t window = 0; window < n; window++) {
        int32_t value = expected[window];
        value = value < 0 ? 0 : value > MAX_EXPECTED ? MAX_EXPECTED : value;
        activity[window] = class_of_expected[value];
    }
}
