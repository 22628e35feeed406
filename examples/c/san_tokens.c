/* 8: coder 0. Tokens come from zstd frames, the bits that they stand for from the raw bits. */

#include <inttypes.h>
#include <string.h>

#include "san_internal.h"

enum { LARGE = 15 };

/* The contents of all frames, joined: n_frames[layout] of them. Where n_bands is given, each must hold the tokens of as
   many bands as it says there, the last of which ends with the frame. */
Bytes san_read_frames(San *san, Bytes content, const uint64_t *n_frames, int n_layouts, uint64_t limit,
                      const uint64_t *n_bands) {
    int layout = *san_array(&content, 1, 1);
    if (layout >= n_layouts) san_refuse(san, SAN_CORRUPT, "layout %d of zstd frames", layout);
    uint64_t total = 0, position = 0;
    Bytes from = content;
    for (uint64_t i = 0; i < n_frames[layout]; i++) {
        uint64_t length = san_varint(&from);
        Bytes frame = san_bytes(san, san_array(&from, length, 1), length);
        total += san_zstd_size(san, frame, limit - total);
    }
    san_finish_bytes(&from);
    uint8_t *joined = san_take(san, total, 1);
    from = content;
    for (uint64_t i = 0; i < n_frames[layout]; i++) {
        uint64_t length = san_varint(&from), n_ends = 0;
        Bytes frame = san_bytes(san, san_array(&from, length, 1), length);
        uint64_t size = san_zstd_size(san, frame, limit - position);
        san_unzstd(san, frame, joined + position, size);
        for (uint64_t j = position; j < position + size; j++) n_ends += !joined[j];
        position += size;
        if (n_bands && (n_ends != n_bands[i] || joined[position - 1]))
            san_refuse(san, SAN_CORRUPT, "tokens of %" PRIu64 " bands in a zstd frame", n_ends);
    }
    return san_bytes(san, joined, total);
}

static int is_run(uint8_t token) { return token && !(token & 15); }

/* Find out where each kind of raw bits begins, for the tokens of the next bands; then they can be read side by side. */
Tokens san_tokens(Bytes *tokens, Bits *raw, uint32_t n_bands) {
    San *san = tokens->san;
    uint64_t n_large_runs = 0, n_run_bits = 0, n_large = 0, n_small_bits = 0, n_values = 0;
    Tokens found = {.san = san, .at = tokens->at};
    while (n_bands) {
        uint8_t token = *san_array(tokens, 1, 1);
        int size = token & 15, high = token >> 4;
        if (!token) {
            n_bands--;
        } else if (is_run(token)) {
            if (tokens->at == tokens->end || !(*tokens->at & 15))
                san_refuse(san, SAN_CORRUPT, "a long run that no coefficient follows");
            n_large_runs += high == LARGE;
            n_run_bits += high == LARGE ? 0 : (uint64_t)high - 1;
        } else {
            if (high == LARGE) san_refuse(san, SAN_CORRUPT, "a reserved token");
            n_large += size == LARGE;
            n_small_bits += size == LARGE ? 0 : (uint64_t)size - 1;
            n_values++;
        }
    }
    found.large_runs = san_list(raw, n_large_runs);
    found.runs = san_skip(raw, n_run_bits);
    found.large = san_list(raw, n_large);
    found.small = san_skip(raw, n_small_bits);
    found.signs = san_skip(raw, n_values);
    return found;
}

static int64_t sized(San *san, int size, Rice *large, Bits *small) {
    if (size < LARGE) return INT64_C(1) << (size - 1) | san_u(small, size - 1);
    int64_t value = (int64_t)san_next(large) + (1 << 14);
    if (value > INT32_MAX) san_refuse(san, SAN_CORRUPT, "a number of 2^31 or more");
    return value;
}

int san_next_token(Tokens *tokens, uint64_t *run, int64_t *value) {
    uint8_t token = *tokens->at++;
    *run = 0;
    if (!token) return 0;
    if (is_run(token)) {
        *run = 14 + (uint64_t)sized(tokens->san, token >> 4, &tokens->large_runs, &tokens->runs);
        token = *tokens->at++;
    }
    *run += token >> 4;
    *value = sized(tokens->san, token & 15, &tokens->large, &tokens->small);
    if (san_u(&tokens->signs, 1)) *value = -*value;
    return 1;
}

void san_read_tokens(Chunk *chunk, const Channel *channel, Bytes *content, Bits *raw, int32_t *levels) {
    const Model *model = channel->model;
    uint32_t circle = san_circle(chunk, channel);
    Tokens tokens = san_tokens(content, raw, (uint32_t)model->n_bands);
    for (int band = 0; band < model->n_bands; band++) {
        uint64_t width = circle / (uint32_t)model->strides[band], position = 0, run;
        int64_t value;
        while (san_next_token(&tokens, &run, &value)) {
            position += run;
            if (position >= width) san_refuse(chunk->san, SAN_CORRUPT, "a run leaves its band");
            levels[position++] = (int32_t)value;
        }
        levels += width;
    }
}
