/* The decoder of examples/c for one file of one WebAssembly instance, as san.js calls it: `make wasm` in examples/c. */

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <zstd.h>

#include "san.h"
#include "san_internal.h"

#define EXPORT(name) __attribute__((export_name(name)))

/* san.js reads the structures of san.h where they lie. */
#define AT(type, field, offset) _Static_assert(offsetof(type, field) == (offset), #type "." #field)
AT(SanInfo, n_frames, 16);
AT(SanInfo, n_chunks, 32);
AT(SanInfo, channels, 40);
AT(SanInfo, chunk_samples, 44);
AT(SanChannel, gain, 8);
AT(SanChannel, baseline, 16);
AT(SanChannel, samples_per_frame, 40);
AT(SanInfo, models, 68);
AT(SanChannel, promises, 48);
_Static_assert(sizeof(SanChannel) == 56, "SanChannel");
_Static_assert(sizeof(SanPromise) == 16, "SanPromise");
AT(SanMeasured, lead_group, 12);
AT(SanSegment, channels, 20);
AT(SanGroup, n_kernels, 4);
_Static_assert(sizeof(SanGroup) == 20, "SanGroup");
AT(SanCoded, n_samples, 4);
AT(SanCoded, levels, 20);
AT(SanCoded, scale, 40);
AT(SanCoded, offset, 48);
AT(SanCoded, n_events, 60);
AT(SanCoded, kernels, 72);
AT(SanCoded, beat_kernels, 84);
AT(SanCoded, beat_scale, 88);
AT(SanCoded, is_component, 96);

/* --- zstd frames (RFC 8878): their heads here, what is in them by JavaScript --- */

__attribute__((import_module("env"), import_name("zstd_decompress"))) int32_t env_zstd_decompress(uint8_t *content,
                                                                                                  size_t capacity,
                                                                                                  const uint8_t *frame,
                                                                                                  size_t length);

typedef struct {
    unsigned long long content_size;
    size_t length; /* of the frame's head; 0 if it is none that this format allows */
    int has_checksum;
} Head;

static Head head_of(const uint8_t *frame, size_t length) {
    static const uint8_t size_lengths[4] = {0, 2, 4, 8}, id_lengths[4] = {0, 1, 2, 4};
    const Head none = {ZSTD_CONTENTSIZE_ERROR, 0, 0};
    if (length < 5 || san_u32(frame) != ZSTD_MAGICNUMBER || frame[4] & 8) return none;
    int is_single = frame[4] >> 5 & 1, size_length = size_lengths[frame[4] >> 6], id_length = id_lengths[frame[4] & 3];
    if (is_single && !size_length) size_length = 1;
    size_t at = 6 - (size_t)is_single, end = at + (size_t)(id_length + size_length);
    if (end > length) return none;
    for (; id_length; id_length--)
        if (frame[at++]) return none; /* of a dictionary */
    Head head = {size_length ? 0 : ZSTD_CONTENTSIZE_UNKNOWN, end, frame[4] >> 2 & 1};
    for (int i = 0; i < size_length; i++) head.content_size |= (unsigned long long)frame[at++] << 8 * i;
    if (size_length == 2) head.content_size += 256;
    return head;
}

unsigned long long ZSTD_getFrameContentSize(const void *frame, size_t length) {
    return head_of(frame, length).content_size;
}

size_t ZSTD_findFrameCompressedSize(const void *frame, size_t length) {
    const uint8_t *bytes = frame;
    Head head = head_of(frame, length);
    size_t at = head.length;
    if (!at) return SIZE_MAX;
    for (int is_last = 0; !is_last;) {
        if (length - at < 3) return SIZE_MAX;
        uint32_t block = san_u16(bytes + at) | (uint32_t)bytes[at + 2] << 16, kind = block >> 1 & 3;
        size_t size = kind == 1 ? 1 : block >> 3; /* a byte that is repeated */
        at += 3;
        if (kind == 3 || size > length - at) return SIZE_MAX;
        at += size;
        is_last = (int)(block & 1);
    }
    size_t rest = head.has_checksum ? 4 : 0;
    return rest > length - at ? SIZE_MAX : at + rest;
}

size_t ZSTD_decompress(void *content, size_t capacity, const void *frame, size_t length) {
    int32_t size = env_zstd_decompress(content, capacity, frame, length);
    return size < 0 ? SIZE_MAX : (size_t)size;
}

/* --- Messages: that of wasi-libc has floating point numbers and files, which take 40 KiB and imports --- */

typedef struct {
    char *at, *end; /* room for the 0 not counted */
} Text;

static void put(Text *text, char character) {
    if (text->at < text->end) *text->at++ = character;
}

static void put_number(Text *text, uint64_t value, unsigned base, int n_digits) {
    char digits[20];
    int n = 0;
    for (; value || n < n_digits; value /= base) digits[n++] = "0123456789abcdef"[value % base];
    while (n) put(text, digits[--n]);
}

/* Of what C has: %s, %.*s, and d, u, x of int, long, long long and size_t; of flags only # and, of a width of one digit,
   0. */
int vsnprintf(char *result, size_t room, const char *format, va_list arguments) {
    Text text = {result, room ? result + room - 1 : result};
    for (; *format; format++) {
        int n_long = 0, n_digits = 1, most = INT32_MAX;
        if (*format != '%') {
            put(&text, *format);
            continue;
        }
        for (format++; strchr("#0123456789lz.*", *format); format++) {
            if (*format == '#') put(&text, '0'), put(&text, 'x');
            if (*format >= '1' && *format <= '9') n_digits = *format - '0';
            if (*format == '*') most = va_arg(arguments, int);
            n_long += *format == 'l';
        }
        if (*format == 's') {
            for (const char *at = va_arg(arguments, const char *); most-- > 0 && *at; at++) put(&text, *at);
        } else if (*format == 'd') {
            int64_t value = n_long == 2 ? va_arg(arguments, int64_t) : va_arg(arguments, int32_t);
            if (value < 0) put(&text, '-');
            put_number(&text, value < 0 ? -(uint64_t)value : (uint64_t)value, 10, n_digits);
        } else {
            uint64_t value = n_long == 2 ? va_arg(arguments, uint64_t) : va_arg(arguments, uint32_t);
            put_number(&text, value, *format == 'x' ? 16 : 10, n_digits);
        }
    }
    if (room) *text.at = 0;
    return (int)(text.at - result);
}

int snprintf(char *result, size_t room, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(result, room, format, arguments);
    va_end(arguments);
    return length;
}

/* --- The file --- */

static struct {
    uint8_t sha256[32];
    const uint8_t *content;
    size_t length;
} models[MAX_MODELS];
static int n_models;
static uint8_t wanted[32]; /* the model that was not at hand */
static SanOptions options;
static San *san;

static const uint8_t *find_model(void *user, const uint8_t sha256[32], size_t *length) {
    (void)user;
    for (int i = 0; i < n_models; i++) {
        if (memcmp(models[i].sha256, sha256, 32)) continue;
        *length = models[i].length;
        return models[i].content;
    }
    memcpy(wanted, sha256, 32);
    return NULL;
}

EXPORT("wanted_model") const uint8_t *wanted_model(void) { return wanted; }

EXPORT("sha256") void sha256(uint8_t digest[32], const uint8_t *bytes, size_t length) {
    san_sha256(digest, bytes, length);
}

/* Nothing is copied of what this and the following are given. */
EXPORT("give_model") void give_model(const uint8_t *content, size_t length) {
    if (n_models == MAX_MODELS) return;
    san_sha256(models[n_models].sha256, content, length);
    models[n_models].content = content;
    models[n_models++].length = length;
}

EXPORT("give_residual_prior") void give_residual_prior(const uint8_t *content, size_t length) {
    options.residual_prior = content;
    options.residual_prior_length = length;
}

EXPORT("give_events_prior") void give_events_prior(const uint8_t *content, size_t length) {
    options.events_prior = content;
    options.events_prior_length = length;
}

EXPORT("open") SanStatus open_file(const uint8_t *content, size_t length, size_t memory_limit) {
    san_close(san);
    options.find_model = find_model;
    options.memory_limit = memory_limit;
    return san_open(&san, content, length, &options);
}

EXPORT("message") const char *message(void) { return san ? san_message(san) : "there is no memory"; }

EXPORT("info") const SanInfo *info(void) { return san_info(san); }

EXPORT("decode") SanStatus decode(uint32_t chunk, int32_t *samples) { return san_decode_chunk(san, chunk, samples); }

EXPORT("segment") SanStatus segment(uint32_t number, SanSegment *result) { return san_segment(san, number, result); }

EXPORT("starts") const int32_t *starts(uint32_t channel, uint32_t *n) { return san_chunk_starts(san, channel, n); }

EXPORT("begin") SanStatus begin(uint32_t chunk) { return san_chunk_begin(san, chunk); }

EXPORT("coded") const SanCoded *coded(uint32_t channel) { return san_chunk_coded(san, channel); }

EXPORT("approximate") SanStatus approximate(uint32_t channel, const int32_t *samples) {
    return san_chunk_approximate(san, channel, samples);
}

EXPORT("component") SanStatus component(uint32_t channel, const int64_t *values) {
    return san_chunk_component(san, channel, values);
}

EXPORT("finish") SanStatus finish(int32_t *samples) { return san_chunk_finish(san, samples); }
