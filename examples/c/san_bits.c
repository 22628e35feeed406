/* 1.4 and 1.5: bit strings and Rice lists. */

#include <inttypes.h>

#include "san_internal.h"

enum { MAX_QUOTIENT = 24, MAX_PARAMETER = 30 };

Bits san_bits(San *san, const uint8_t *bytes, uint64_t length) {
    return (Bits){.san = san, .bytes = bytes, .end = 8 * length};
}

static void need(const Bits *bits, uint64_t n) {
    if (n > bits->end - bits->position)
        san_refuse(bits->san, SAN_TRUNCATED, "%" PRIu64 " more bits are needed, %" PRIu64 " are left", n,
                   bits->end - bits->position);
}

static inline uint32_t take_bit(Bits *bits) {
    const uint8_t *from = bits->head;
    uint64_t at = bits->position++;
    if (at >= bits->n_head) {
        from = bits->bytes;
        at += bits->skip - bits->n_head;
    }
    return from[at >> 3] >> (7 - (at & 7)) & 1u;
}

uint32_t san_u(Bits *bits, int width) {
    uint32_t value = 0;
    need(bits, (uint64_t)width);
    while (width-- > 0) value = value << 1 | take_bit(bits);
    return value;
}

Bits san_skip(Bits *bits, uint64_t n) {
    Bits before = *bits;
    need(bits, n);
    bits->position += n;
    return before;
}

Rice san_list(Bits *bits, uint64_t n) {
    uint64_t n_escapes = 0;
    Rice list = {*bits, *bits, *bits, 0};
    if (!n) return list;
    list.parameter = (int)san_u(bits, 5);
    if (list.parameter > MAX_PARAMETER) san_refuse(bits->san, SAN_CORRUPT, "a Rice parameter of 31");
    need(bits, n); /* each number takes a bit at least, so that n is no reason to read on for long */
    list.quotients = *bits;
    for (uint64_t i = 0; i < n; i++) {
        int quotient = 0;
        while (need(bits, 1), take_bit(bits))
            if (++quotient > MAX_QUOTIENT) san_refuse(bits->san, SAN_CORRUPT, "a Rice quotient above 24");
        n_escapes += quotient == MAX_QUOTIENT;
    }
    list.remainders = san_skip(bits, (n - n_escapes) * (uint64_t)list.parameter);
    list.escapes = san_skip(bits, n_escapes * 32);
    return list;
}

uint32_t san_next(Rice *list) {
    uint64_t value = 0;
    while (take_bit(&list->quotients)) value++;
    if (value == MAX_QUOTIENT) return san_u(&list->escapes, 32);
    value = value << list->parameter | san_u(&list->remainders, list->parameter);
    if (value >> 32) san_refuse(list->quotients.san, SAN_CORRUPT, "a Rice-coded number of 2^32 or more");
    return (uint32_t)value;
}

int32_t san_next_signed(Rice *list) {
    uint32_t value = san_next(list);
    return value & 1 ? -(int32_t)(value >> 1) - 1 : (int32_t)(value >> 1);
}

void san_rice(Bits *bits, uint32_t *values, uint64_t n) {
    Rice list = san_list(bits, n);
    for (uint64_t i = 0; i < n; i++) values[i] = san_next(&list);
}

uint32_t san_rice_number(Bits *bits) {
    Rice list = san_list(bits, 1);
    return san_next(&list);
}

int32_t san_rice_signed(Bits *bits) {
    Rice list = san_list(bits, 1);
    return san_next_signed(&list);
}

void san_finish_bits(const Bits *bits) {
    Bits rest = *bits;
    int is_more = rest.end - rest.position > 7;
    while (!is_more && rest.position < rest.end) is_more = (int)take_bit(&rest);
    if (is_more)
        san_refuse(bits->san, SAN_CORRUPT, "%" PRIu64 " bits follow the last field", bits->end - bits->position);
}
