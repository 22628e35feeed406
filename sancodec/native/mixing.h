/* Binary decisions by logistic mixing of adaptive probabilities, and the range coder that codes them.

   docs/format.md, "Coder 2". All arithmetic is on integers; sancodec/codec/mixing.py is the same in Python, and the
   two are compared by the tests. Right shifts of negative numbers are arithmetic (checked in module.c). */

#ifndef SANCODEC_MIXING_H
#define SANCODEC_MIXING_H

#include <stddef.h>
#include <stdint.h>

enum {
    MAX_INPUTS = 8,
    STRETCH_LIMIT = 2047,
    COUNT_BITS = 10,
    MAX_COUNT = 1023,
    WEIGHT_LIMIT = 1 << 20,
    SPARE_BYTES = 4 /* that a decoder may read beyond the end, as zeros */
};

extern int16_t mixing_stretch[4096];      /* by probability in 2^-12: 256 * ln(p / (1 - p)) */
extern uint16_t mixing_squash[4096];      /* by 2048 + stretch: probability in 2^-16, 1 to 65535 */
extern uint16_t mixing_rate[MAX_COUNT + 1]; /* 65536 / (n + 1.5) */

void mixing_tables(void); /* to be called once before anything else */

/* Bits of a number of 1 and more. */
static inline int bit_length(int64_t value) {
#if defined(__GNUC__)
    return 64 - __builtin_clzll((unsigned long long)value);
#else
    int length = 0;
    for (; value; value >>= 1) length++;
    return length;
#endif
}

/* A range coder of 32 bits; the most significant byte goes out as soon as it is settled. */
typedef struct {
    uint32_t low, high, code;
    uint8_t *bytes; /* an encoder's output or a decoder's input */
    size_t length;  /* of the buffer */
    size_t position;
    int failed; /* output full, or input at an end */
} RangeCoder;

static inline void start_encoding(RangeCoder *coder, uint8_t *bytes, size_t length) {
    *coder = (RangeCoder){0, 0xFFFFFFFFu, 0, bytes, length, 0, 0};
}

static inline void take_byte(RangeCoder *coder) {
    uint32_t byte = 0;
    if (coder->position < coder->length)
        byte = coder->bytes[coder->position];
    else if (coder->position >= coder->length + SPARE_BYTES)
        coder->failed = 1;
    coder->position++;
    coder->code = coder->code << 8 | byte;
}

static inline void start_decoding(RangeCoder *coder, const uint8_t *bytes, size_t length) {
    *coder = (RangeCoder){0, 0xFFFFFFFFu, 0, (uint8_t *)bytes, length, 0, 0};
    for (int i = 0; i < 4; i++) take_byte(coder);
}

static inline void give_byte(RangeCoder *coder, uint8_t byte) {
    if (coder->position < coder->length)
        coder->bytes[coder->position] = byte;
    else
        coder->failed = 1;
    coder->position++;
}

/* Code a bit whose probability of being 1 is p / 65536; returns it. */
static inline int code_bit(RangeCoder *coder, int is_decoder, int bit, uint32_t p) {
    uint32_t middle = coder->low + (uint32_t)(((uint64_t)(coder->high - coder->low) * p) >> 16);
    if (is_decoder) bit = coder->code <= middle;
    if (bit)
        coder->high = middle;
    else
        coder->low = middle + 1;
    while (((coder->low ^ coder->high) & 0xFF000000u) == 0) {
        if (is_decoder)
            take_byte(coder);
        else
            give_byte(coder, (uint8_t)(coder->low >> 24));
        coder->low <<= 8;
        coder->high = coder->high << 8 | 0xFF;
    }
    return bit;
}

/* The byte that settles what follows as zeros, and nothing where zeros are right already; then the length. */
static inline size_t finish_encoding(RangeCoder *coder) {
    if (coder->low != 0) give_byte(coder, (uint8_t)((coder->low >> 24) + 1));
    return coder->position;
}

/* Whether a decoder read just what an encoder wrote. */
static inline int is_read_up(const RangeCoder *coder) {
    return !coder->failed && coder->position - SPARE_BYTES + (coder->low != 0) == coder->length;
}

/* An adaptive probability of a 1: 22 bits, and in the low 10 how often it was met. */
typedef uint32_t Slot;

static inline int slot_stretch(Slot slot) { return mixing_stretch[slot >> 20]; }

static inline void slot_update(Slot *slot, int bit, uint32_t limit) {
    uint32_t count = *slot & MAX_COUNT;
    int32_t p = (int32_t)(*slot >> COUNT_BITS);
    int32_t target = bit ? (1 << 22) - 1 : 0;
    p += (int32_t)(((int64_t)(target - p) * mixing_rate[count]) >> 16);
    *slot = (uint32_t)p << COUNT_BITS | (count < limit ? count + 1 : count);
}

static inline int clamp(int64_t value, int limit) {
    return value > limit ? limit : value < -limit ? -limit : (int)value;
}

/* Code a bit in the contexts of n slots, mixed by n weights in 2^-16; all of them learn. */
static inline int code_mixed(RangeCoder *coder, int is_decoder, int bit, Slot *const *slots, int n, int32_t *weights,
                             int rate, uint32_t limit) {
    int stretched[MAX_INPUTS];
    int64_t sum = 0;
    for (int i = 0; i < n; i++) {
        stretched[i] = slot_stretch(*slots[i]);
        sum += (int64_t)weights[i] * stretched[i];
    }
    uint32_t p = mixing_squash[2048 + clamp(sum >> 16, STRETCH_LIMIT)];
    bit = code_bit(coder, is_decoder, bit, p);
    int32_t error = ((int32_t)bit << 16) - (int32_t)p;
    for (int i = 0; i < n; i++) {
        int64_t weight = weights[i] + (((int64_t)stretched[i] * error * rate + (1 << 17)) >> 18);
        weights[i] = clamp(weight, WEIGHT_LIMIT);
        slot_update(slots[i], bit, limit);
    }
    return bit;
}

#endif
