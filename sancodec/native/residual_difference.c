#include "residual_difference.h"

enum {
    MAX_UNARY = 24,
    UNARY_NODE = 2,
    LAST_UNARY_NODE = 11,
    FIRST_BIT_NODE = 12,
    SECOND_BIT_NODE = 15,
    LEARNING_RATE = 2,
    SLOT_LIMIT = 255
};

static int16_t softplus[4096];    /* by 2048 + x: ln(1 + e^x), both in 1/256 */
static int16_t log_of_rise[2048]; /* by x: ln(e^x - 1), both in 1/256 */

void residual_tables(void) {
    int64_t sum = 0;
    for (int x = 0; x < 4096; x++) {
        softplus[x] = (int16_t)(sum >> 16);
        sum += mixing_squash[x];
    }
    for (int x = 0; x < 2048; x++) {
        int32_t p = mixing_squash[2048 + x];
        int32_t falling = ((65536 - p) * 4096) / p; /* e^-x in 2^-12 */
        log_of_rise[x] = (int16_t)-mixing_stretch[falling > 4095 ? 4095 : falling];
    }
}

/* Where a place lies in an expert's distribution, in 1/256 scales. */
static inline int place_of(const Expert *expert, int64_t at) {
    return (int)limited((limited(at - expert->middle, (int64_t)1 << 40) * expert->inverse) >> 16, STRETCH_LIMIT);
}

static inline int width_of(const Expert *expert, int64_t width) {
    return (int)limited((limited(width, (int64_t)1 << 40) * expert->inverse) >> 16, STRETCH_LIMIT);
}

static int code_node(DifferenceCoder *self, int node, const int *said, int bit) {
    Slot *slots[N_CONTEXTS];
    int stretched[RESIDUAL_INPUTS];
    int64_t sums[2] = {0, 0};
    for (int i = 0; i < N_CONTEXTS; i++) {
        slots[i] = &self->state->slots[node][self->context[i]];
        if (i == 1 && node == 1) slots[i] = &self->state->slots[node][self->sign_context];
        stretched[i] = slot_stretch(*slots[i]);
    }
    for (int i = 0; i < N_EXPERTS; i++) stretched[N_CONTEXTS + i] = said[i];
    int places[2];
    for (int set = 0; set < 2; set++) {
        const int32_t *weights = self->state->weights[node][self->sets[set]];
        for (int i = 0; i < RESIDUAL_INPUTS; i++) sums[set] += (int64_t)weights[i] * stretched[i];
        places[set] = clamp(sums[set] >> 16, STRETCH_LIMIT);
    }
    bit = code_bit(self->coder, self->is_decoder, bit, mixing_squash[2048 + ((places[0] + places[1]) >> 1)]);
    for (int set = 0; set < 2; set++) {
        int32_t *weights = self->state->weights[node][self->sets[set]];
        int32_t error = ((int32_t)bit << 16) - (int32_t)mixing_squash[2048 + places[set]];
        for (int i = 0; i < RESIDUAL_INPUTS; i++) {
            int64_t weight = weights[i] + (((int64_t)stretched[i] * error * LEARNING_RATE + (1 << 17)) >> 18);
            weights[i] = clamp(weight, WEIGHT_LIMIT);
        }
    }
    for (int i = 0; i < N_CONTEXTS; i++) slot_update(slots[i], bit, SLOT_LIMIT);
    return bit;
}

static inline int code_raw(DifferenceCoder *self, int bit) {
    return code_bit(self->coder, self->is_decoder, bit, 32768);
}

/* An Elias gamma code of 1 and more; 0 where a decoder finds one beyond n_bits. */
static int64_t code_gamma(DifferenceCoder *self, int64_t value, int n_bits) {
    int length = self->is_decoder ? 0 : bit_length(value) - 1;
    int count = 0;
    while (code_raw(self, count < length))
        if (++count > n_bits) return 0;
    int64_t result = 1;
    for (int i = count - 1; i >= 0; i--) result = result << 1 | code_raw(self, (int)(value >> i & 1));
    return result;
}

int64_t code_difference(DifferenceCoder *self, int64_t prediction, int64_t unit, int k, int64_t difference) {
    const Expert *experts = self->experts;
    int64_t middle = prediction * 256, half = unit * 128;
    int low[N_EXPERTS], high[N_EXPERTS], said[N_EXPERTS];
    for (int i = 0; i < N_EXPERTS; i++) {
        low[i] = place_of(&experts[i], middle - half);
        high[i] = place_of(&experts[i], middle + half);
        said[i] = mixing_stretch[(mixing_squash[2048 + high[i]] - mixing_squash[2048 + low[i]]) >> 4];
    }
    if (code_node(self, 0, said, difference == 0)) return 0;
    for (int i = 0; i < N_EXPERTS; i++)
        said[i] = clamp(softplus[2048 + high[i]] - softplus[2048 - low[i]], STRETCH_LIMIT);
    int is_negative = code_node(self, 1, said, difference < 0);
    int sign = is_negative ? -1 : 1;
    int64_t rest = magnitude_of(difference) - 1, step = (unit * 256) << k, edge = half, count = 0;
    int rise[N_EXPERTS], place[N_EXPERTS];
    for (int i = 0; i < N_EXPERTS; i++) {
        rise[i] = log_of_rise[width_of(&experts[i], step)];
        place[i] = is_negative ? -low[i] : high[i];
    }
    for (;; count++) {
        if (count == MAX_UNARY) {
            int64_t excess = code_gamma(self, (rest >> k) - MAX_UNARY + 1, 34 - k);
            if (!excess || excess > MAX_MAGNITUDE >> k) return MAX_MAGNITUDE;
            count += excess - 1;
            edge += step * (excess - 1);
            break;
        }
        for (int i = 0; i < N_EXPERTS; i++) said[i] = clamp(softplus[2048 - place[i]] - rise[i], STRETCH_LIMIT);
        int node = UNARY_NODE + (int)count;
        if (!code_node(self, node > LAST_UNARY_NODE ? LAST_UNARY_NODE : node, said, count < rest >> k)) break;
        edge += step;
        for (int i = 0; i < N_EXPERTS; i++) place[i] = sign * place_of(&experts[i], middle + sign * edge);
    }
    int64_t result = count;
    for (int level = 0; level < k; level++) {
        int bit = (int)(rest >> (k - 1 - level) & 1);
        step >>= 1;
        if (level < 2) {
            for (int i = 0; i < N_EXPERTS; i++) {
                int behind = sign * place_of(&experts[i], middle + sign * (edge + 2 * step));
                int before = sign * place_of(&experts[i], middle + sign * edge);
                said[i] = clamp(width_of(&experts[i], step) + softplus[2048 + before] - softplus[2048 + behind],
                                STRETCH_LIMIT);
            }
            int node = level == 0 ? FIRST_BIT_NODE + (count > 2 ? 2 : (int)count)
                                  : SECOND_BIT_NODE + (count > 0 ? 2 : 0) + (int)(result & 1);
            bit = code_node(self, node, said, bit);
        } else {
            bit = code_raw(self, bit);
        }
        result = result << 1 | bit;
        if (bit) edge += step;
    }
    return sign * (result + 1);
}
