/* Decodes many files in one process, for tests: on standard input a u32 length and as many bytes of each file, on
   standard output a line for each: the status, and the SHA-256 of every channel's samples or what was wrong.

   Usage: decode_many once|steps residual.prior events.prior MODEL.sanm ... With steps, synthesis is done here. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "san.h"

enum { MAX_SAMPLES = 1 << 24, MAX_FILES = 32 };

static struct {
    uint8_t *bytes, sha256[32];
    size_t length;
} models[MAX_FILES];
static size_t n_models;

static const uint8_t *find_model(void *user, const uint8_t sha256[32], size_t *length) {
    (void)user;
    for (size_t i = 0; i < n_models; i++) {
        if (memcmp(models[i].sha256, sha256, 32)) continue;
        *length = models[i].length;
        return models[i].bytes;
    }
    return NULL;
}

static uint8_t *read_file(const char *path, size_t *length) {
    FILE *file = fopen(path, "rb");
    uint8_t *bytes = malloc(1 << 20);
    if (!file || !bytes) exit(3);
    *length = fread(bytes, 1, 1 << 20, file);
    fclose(file);
    return bytes;
}

/* What the channels of one chunk hold goes to where it belongs in the whole. */
static void gather(const SanInfo *info, uint64_t first, uint64_t n, const int32_t *samples, uint8_t **rows) {
    for (uint32_t i = 0; i < info->n_channels; i++)
        for (uint64_t j = 0; j < n * info->channels[i].samples_per_frame; j++, samples++)
            for (int byte = 0; byte < 4; byte++)
                rows[i][4 * (first * info->channels[i].samples_per_frame + j) + (uint64_t)byte] =
                    (uint8_t)((uint32_t)*samples >> 8 * byte);
}

static int32_t weight_of(const SanGroup *group, int32_t i) {
    const uint8_t *at = group->weights + 4 * i;
    return (int32_t)(at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24);
}

/* 10.2, 10.3, in floating point and without what makes it fast: samples, or of a component `values`. */
static void synthesise(const SanCoded *coded, int32_t *samples, int64_t *values) {
    double *sums = calloc(coded->circle, sizeof *sums), *beats = calloc(coded->n_samples, sizeof *beats);
    const int32_t *level = coded->levels;
    for (uint32_t g = 0; g < coded->n_groups; g++) {
        const SanGroup *group = &coded->groups[g];
        for (int32_t kernel = 0; kernel < group->n_kernels; kernel++)
            for (int64_t at = 0; at < coded->circle; at += group->stride, level++) {
                int64_t size = llabs((long long)*level);
                double amplitude = (double)(128 * size - (size ? coded->reconstruction[size < 3 ? size - 1 : 2] : 0));
                for (int32_t i = 0; i < group->length && size; i++) {
                    int64_t n = (at + group->offset + i) % coded->circle;
                    sums[n < 0 ? n + coded->circle : n] +=
                        (*level < 0 ? -amplitude : amplitude) * weight_of(group, kernel * group->length + i);
                }
            }
    }
    for (uint32_t i = 0; i < coded->n_events; i++)
        for (uint32_t j = 0; j < coded->beat_length; j++) {
            int64_t n = (int64_t)coded->starts[i] + j;
            if (n >= 0 && n < coded->n_samples && coded->gains[i])
                beats[n] += (double)coded->gains[i] * coded->beat_kernels[coded->kernels[i] * coded->beat_length + j];
        }
    for (uint32_t n = 0; n < coded->n_samples; n++) {
        double f = floor(floor((sums[n] + 512) / 1024) * coded->scale + 0.5);
        double y = f + beats[n] * (double)coded->beat_scale, value = coded->offset + floor((y + 512) / 1024);
        if (coded->is_component) values[n] = (int64_t)y;
        samples[n] = (int32_t)fmin(fmax(value, coded->minimum), coded->maximum);
    }
    free(sums);
    free(beats);
}

static SanStatus decode_in_steps(San *san, uint32_t chunk, int32_t *samples) {
    SanStatus status = san_chunk_begin(san, chunk);
    for (uint32_t i = 0; i < san_info(san)->n_channels && !status; i += 1 + chunk % 2) { /* the others by itself */
        const SanCoded *coded = san_chunk_coded(san, i);
        if (!coded) continue;
        int64_t *values = malloc(coded->n_samples * sizeof *values);
        synthesise(coded, samples, values);
        status = coded->is_component ? san_chunk_component(san, i, values) : san_chunk_approximate(san, i, samples);
        free(values);
    }
    return status ? status : san_chunk_finish(san, samples);
}

static void decode(San *san, int is_in_steps) {
    const SanInfo *info = san_info(san);
    SanStatus status = SAN_OK;
    uint64_t per_frame = 0;
    for (uint32_t i = 0; i < info->n_channels; i++) per_frame += info->channels[i].samples_per_frame;
    if (info->n_frames > MAX_SAMPLES / per_frame) {
        printf("%d too many samples for this test\n", SAN_MEMORY);
        return;
    }
    uint8_t **rows = calloc(info->n_channels, sizeof *rows);
    int32_t *samples = malloc(info->chunk_samples * sizeof *samples);
    for (uint32_t i = 0; i < info->n_channels; i++)
        rows[i] = calloc((size_t)info->n_frames, 4 * (size_t)info->channels[i].samples_per_frame);
    for (uint32_t chunk = info->n_chunks; chunk-- && !status;) {
        status = is_in_steps ? decode_in_steps(san, chunk, samples) : san_decode_chunk(san, chunk, samples);
        gather(info, chunk * info->chunk_frames, san_chunk_frames(san, chunk), samples, rows);
    }
    printf("%d", status);
    for (uint32_t i = 0; i < info->n_channels; i++) {
        uint8_t digest[32];
        san_sha256(digest, rows[i], info->n_frames * 4 * info->channels[i].samples_per_frame);
        for (int byte = 0; byte < 32 && !status; byte++) printf(byte ? "%02x" : " %02x", digest[byte]);
        free(rows[i]);
    }
    printf(status ? " %s\n" : "\n", san_message(san));
    free(rows);
    free(samples);
}

int main(int n_arguments, char **arguments) {
    uint8_t head[4];
    SanOptions options = {.find_model = find_model, .memory_limit = (size_t)256 << 20};
    uint8_t *residual_prior = read_file(arguments[2], &options.residual_prior_length);
    uint8_t *events_prior = read_file(arguments[3], &options.events_prior_length);
    options.residual_prior = residual_prior;
    options.events_prior = events_prior;
    for (int i = 4; i < n_arguments; i++, n_models++) {
        models[n_models].bytes = read_file(arguments[i], &models[n_models].length);
        san_sha256(models[n_models].sha256, models[n_models].bytes, models[n_models].length);
    }
    while (fread(head, 1, 4, stdin) == 4) {
        size_t length = head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16 | (size_t)head[3] << 24;
        uint8_t *content = malloc(length ? length : 1); /* no byte more, so that a sanitizer sees any beyond */
        San *san = NULL;
        if (!content || fread(content, 1, length, stdin) != length) return 3;
        SanStatus status = san_open(&san, content, length, &options);
        if (status == SAN_OK)
            decode(san, !strcmp(arguments[1], "steps"));
        else
            printf("%d %s\n", status, san_message(san));
        fflush(stdout);
        san_close(san);
        free(content);
    }
    free(residual_prior);
    free(events_prior);
    while (n_models) free(models[--n_models].bytes);
    return 0;
}
