/* 3: HEADER. */

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "san_internal.h"

enum { MAX_CHANNELS = 4096, MAX_PROMISES = 16, MAX_SIDE_FILES = 1024 };

static const uint64_t max_header_bytes = UINT64_C(1) << 26, max_frames = UINT64_C(1) << 40;
static const uint64_t max_chunks = UINT64_C(1) << 24, max_chunk_samples = UINT64_C(1) << 28;
static const uint64_t max_term = (UINT64_C(1) << 62) - 1;

/* Bytes of the character at a place, or 0 where it is none of UTF-8 (RFC 3629). */
static size_t character(const uint8_t *at, uint64_t left) {
    static const uint32_t least[4] = {0, 0x80, 0x800, 0x10000};
    size_t n = at[0] < 0x80 ? 1 : at[0] >> 5 == 6 ? 2 : at[0] >> 4 == 14 ? 3 : at[0] >> 3 == 30 ? 4 : 0;
    uint32_t code = n == 1 ? at[0] : at[0] & 0x7Fu >> n;
    if (!n || n > left) return 0;
    for (size_t i = 1; i < n; i++) {
        if (at[i] >> 6 != 2) return 0;
        code = code << 6 | (at[i] & 0x3Fu);
    }
    return code < least[n - 1] || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF) ? 0 : n;
}

static Bytes read_text(Bytes *fields) {
    uint64_t length = san_number(fields, "length of a text", 0, max_header_bytes);
    Bytes text = san_bytes(fields->san, san_array(fields, length, 1), length);
    for (const uint8_t *at = text.at; at < text.end;) {
        size_t n = character(at, (uint64_t)(text.end - at));
        if (!n) san_refuse(fields->san, SAN_CORRUPT, "a text is not UTF-8");
        at += n;
    }
    return text;
}

static const char *copy_of(Bytes text) {
    char *copy = san_take(text.san, san_left(&text) + 1, 1);
    memcpy(copy, text.at, (size_t)san_left(&text));
    return copy;
}

static void check_source(Bytes text) {
    uint64_t n = san_left(&text);
    const uint8_t *at = text.at;
    int is_known = (n == 4 && !memcmp(at, "wfdb", 4)) || (n == 3 && !memcmp(at, "edf", 3)) ||
                   (n == 5 && !memcmp(at, "array", 5));
    if (n == 10 && !memcmp(at, "array:", 6) && at[8] == ':')
        is_known = (at[6] == 'i' || at[6] == 'u') && memchr("1248", at[7], 4) && (at[9] == '1' || at[9] == '2');
    if (!is_known)
        san_refuse(text.san, SAN_UNSUPPORTED, "an unknown source, '%.*s'", n < 40 ? (int)n : 40, (const char *)at);
}

static double read_real(Bytes *fields) {
    const uint8_t *at = san_array(fields, 1, 8);
    uint64_t bits = san_u32(at) | (uint64_t)san_u32(at + 4) << 32;
    double value;
    memcpy(&value, &bits, sizeof value);
    if (!isfinite(value)) san_refuse(fields->san, SAN_CORRUPT, "a gain or promise that is not finite");
    return value;
}

static void read_channel(Bytes *fields, SanChannel *channel) {
    San *san = fields->san;
    channel->name = copy_of(read_text(fields));
    channel->unit = copy_of(read_text(fields));
    channel->gain = read_real(fields);
    if (channel->gain == 0) san_refuse(san, SAN_CORRUPT, "a gain of 0");
    channel->baseline = san_signed(fields, "baseline");
    channel->resolution_bits = (uint32_t)san_number(fields, "resolution", 1, 32);
    channel->samples_per_frame = (uint32_t)san_number(fields, "samples per frame", 1, 65535);
    channel->minimum = san_signed(fields, "minimum");
    channel->maximum = san_signed(fields, "maximum");
    if (channel->minimum > channel->maximum) san_refuse(san, SAN_CORRUPT, "a minimum above the maximum");
    channel->has_missing = (int)san_number(fields, "whether a missing value follows", 0, 1);
    if (channel->has_missing) {
        channel->missing = san_signed(fields, "missing value");
        if (channel->minimum <= channel->missing && channel->missing <= channel->maximum)
            san_refuse(san, SAN_CORRUPT, "a missing value that is a sample as well");
    }
    san_number(fields, "largest difference", 0, UINT64_C(1) << 32);
    channel->n_promises = (uint32_t)san_number(fields, "number of promises", 0, MAX_PROMISES);
    SanPromise *promises = san_take(san, channel->n_promises, sizeof *promises);
    channel->promises = promises;
    for (uint32_t i = 0; i < channel->n_promises; i++) {
        promises[i].kind = san_number(fields, "kind of a promise", 0, UINT64_C(1) << 32);
        promises[i].value = read_real(fields);
    }
}

static void read_fields(San *san, Bytes *fields) {
    SanInfo *info = &san->info;
    Bytes source = read_text(fields);
    check_source(source);
    info->source = copy_of(source);
    info->rate_numerator = san_number(fields, "frame rate", 1, max_term);
    info->rate_denominator = san_number(fields, "frame rate", 1, max_term);
    info->n_frames = san_number(fields, "frames", 1, max_frames);
    info->chunk_frames = san_number(fields, "frames of a chunk", 1, max_frames);
    uint64_t n_chunks = (info->n_frames - 1) / info->chunk_frames + 1;
    if (n_chunks > max_chunks) san_refuse(san, SAN_LIMIT, "%" PRIu64 " chunks", n_chunks);
    info->n_chunks = (uint32_t)n_chunks;
    info->level = (uint32_t)san_number(fields, "level", 1, 9);
    info->n_models = (uint32_t)san_number(fields, "number of models", 0, MAX_MODELS);
    info->models = san->digests[0];
    san->n_models = (int)info->n_models;
    for (int i = 0; i < san->n_models; i++) memcpy(san->digests[i], san_array(fields, 1, 32), 32);
    info->n_channels = (uint32_t)san_number(fields, "number of channels", 1, MAX_CHANNELS);
    SanChannel *channels = san_take(san, info->n_channels, sizeof *channels);
    uint64_t per_frame = 0, frames = info->chunk_frames < info->n_frames ? info->chunk_frames : info->n_frames;
    for (uint32_t i = 0; i < info->n_channels; i++) {
        read_channel(fields, &channels[i]);
        per_frame += channels[i].samples_per_frame;
    }
    if (frames > max_chunk_samples / per_frame)
        san_refuse(san, SAN_LIMIT, "%" PRIu64 " frames of %" PRIu64 " samples in a chunk", frames, per_frame);
    info->channels = channels;
    info->chunk_samples = (size_t)(frames * per_frame);
    info->n_side_files = (uint32_t)san_number(fields, "number of side files", 0, MAX_SIDE_FILES);
    for (uint32_t i = 0; i < info->n_side_files; i++) {
        read_text(fields);
        san_array(fields, san_number(fields, "length of a side file", 0, max_header_bytes), 1);
    }
    san_finish_bytes(fields);
}

void san_read_header(San *san, const uint8_t *payload, uint32_t length) {
    Bytes frame = san_bytes(san, payload, length);
    uint64_t size = san_zstd_size(san, frame, max_header_bytes);
    uint8_t *content = san_take(san, size, 1);
    san_unzstd(san, frame, content, size);
    Bytes fields = san_bytes(san, content, size);
    read_fields(san, &fields);
}
