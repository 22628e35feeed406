/* 1.1 to 1.3: numbers in bytes, and zstd frames. */

#include <inttypes.h>
#include <zstd.h>

#include "san_internal.h"

enum { MAX_ZSTD_RATIO = 1 << 15 };

Bytes san_bytes(San *san, const uint8_t *at, uint64_t length) { return (Bytes){san, at, at + (size_t)length}; }

uint64_t san_left(const Bytes *bytes) { return (uint64_t)(bytes->end - bytes->at); }

const uint8_t *san_array(Bytes *bytes, uint64_t count, size_t size) {
    const uint8_t *at = bytes->at;
    if (count > san_left(bytes) / size)
        san_refuse(bytes->san, SAN_TRUNCATED, "%" PRIu64 " times %zu bytes are promised, %" PRIu64 " are left", count,
                   size, san_left(bytes));
    bytes->at += (size_t)count * size;
    return at;
}

uint64_t san_varint(Bytes *bytes) {
    uint64_t value = 0;
    for (int shift = 0; shift < 63; shift += 7) {
        uint8_t byte = *san_array(bytes, 1, 1);
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) return value;
    }
    san_refuse(bytes->san, SAN_CORRUPT, "a number of more than 9 bytes");
}

uint64_t san_number(Bytes *bytes, const char *what, uint64_t low, uint64_t high) {
    uint64_t value = san_varint(bytes);
    if (value < low || value > high)
        san_refuse(bytes->san, SAN_LIMIT, "%s: %" PRIu64 "; %" PRIu64 " to %" PRIu64 " is allowed", what, value, low,
                   high);
    return value;
}

int32_t san_signed(Bytes *bytes, const char *what) {
    uint64_t value = san_number(bytes, what, 0, UINT32_MAX);
    return (int32_t)(value & 1 ? -(int64_t)(value >> 1) - 1 : (int64_t)(value >> 1));
}

void san_finish_bytes(const Bytes *bytes) {
    if (san_left(bytes))
        san_refuse(bytes->san, SAN_CORRUPT, "%" PRIu64 " bytes follow the last field", san_left(bytes));
}

uint64_t san_zstd_size(San *san, Bytes frame, uint64_t limit) {
    uint64_t length = san_left(&frame);
    /* The library would take skippable frames, and several in a row. */
    if (length < 4 || san_u32(frame.at) != ZSTD_MAGICNUMBER) san_refuse(san, SAN_CORRUPT, "there is no zstd frame");
    unsigned long long size = ZSTD_getFrameContentSize(frame.at, (size_t)length);
    if (size == 0 || size == ZSTD_CONTENTSIZE_UNKNOWN || size == ZSTD_CONTENTSIZE_ERROR)
        san_refuse(san, SAN_CORRUPT, "a zstd frame states no size, or 0");
    if (size > limit)
        san_refuse(san, SAN_LIMIT, "a zstd frame of %llu bytes; %" PRIu64 " are allowed", size, limit);
    if (size > length * MAX_ZSTD_RATIO || ZSTD_findFrameCompressedSize(frame.at, (size_t)length) != length)
        san_refuse(san, SAN_CORRUPT, "a zstd frame is damaged, or bytes follow it");
    return size;
}

void san_unzstd(San *san, Bytes frame, uint8_t *content, uint64_t size) {
    if (ZSTD_decompress(content, (size_t)size, frame.at, (size_t)san_left(&frame)) != size)
        san_refuse(san, SAN_CORRUPT, "a zstd frame is damaged");
}
