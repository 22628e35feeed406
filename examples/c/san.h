/* Decodes .san files (docs/format.md) in C99, from memory to memory.

   San *san;
   if (san_open(&san, content, length, &options) == SAN_OK) {
       const SanInfo *info = san_info(san);
       int32_t *samples = malloc(info->chunk_samples * sizeof *samples);
       for (uint32_t chunk = 0; samples && chunk < info->n_chunks; chunk++)
           if (san_decode_chunk(san, chunk, samples) != SAN_OK) break;
   }
   if (san) puts(san_message(san));
   san_close(san);

   Content may come from anyone: nothing of it is trusted, and memory is limited. Different files may be decoded by
   different threads, once one san_open has returned: the first fills tables that all share. */

#ifndef SAN_H
#define SAN_H

#include <stddef.h>
#include <stdint.h>

typedef struct San San;

typedef enum {
    SAN_OK,
    SAN_CORRUPT,     /* the file contradicts the format, a checksum, or its digest */
    SAN_TRUNCATED,   /* it ends too early */
    SAN_UNSUPPORTED, /* of a later version of the format */
    SAN_LIMIT,       /* beyond what docs/format.md, section 14, allows */
    SAN_MODEL,       /* no fault of the file: it needs a model, or a prior, that was not given */
    SAN_MEMORY       /* more memory is needed than there is, or than the options allow */
} SanStatus;

/* What a decoder is given besides the file. All of it must stay as it is until san_close; nothing is copied. */
typedef struct {
    /* Bytes of the model (.sanm) of this SHA-256 and their number, or NULL; only for files that do not carry theirs.
       What it returns is checked. May be NULL. */
    const uint8_t *(*find_model)(void *user, const uint8_t sha256[32], size_t *length);
    void *user;
    /* The files residual.prior and events.prior, for files of coder 2 (mixing) with residuals and with beats; or NULL. */
    const uint8_t *residual_prior, *events_prior;
    size_t residual_prior_length, events_prior_length;
    /* Bytes that the decoder may allocate, without content, models and samples; 0 for 1 GiB. */
    size_t memory_limit;
} SanOptions;

/* What a channel keeps, kinds as in section 3; others than 1 and 2 are for later versions. */
typedef struct {
    uint64_t kind;
    double value;
} SanPromise;

/* physical value = (sample - baseline) / gain, in units */
typedef struct {
    const char *name, *unit; /* UTF-8 */
    double gain;
    int32_t baseline;
    int32_t minimum, maximum; /* that the source's format can hold */
    int has_missing;
    int32_t missing; /* the value that marks a missing sample */
    uint32_t resolution_bits;
    uint32_t samples_per_frame;
    uint32_t n_promises;
    const SanPromise *promises;
} SanChannel;

typedef struct {
    uint64_t rate_numerator, rate_denominator; /* frames per second */
    uint64_t n_frames;
    uint64_t chunk_frames; /* of every chunk but the last */
    uint32_t n_chunks;
    uint32_t n_channels;
    const SanChannel *channels;
    size_t chunk_samples; /* of all channels in the longest chunk: room that san_decode_chunk needs */
    uint32_t n_segments;
    uint32_t level;          /* what the encoder was asked for */
    const char *source;      /* "wfdb", "edf", "array" … */
    uint32_t n_side_files;   /* which are passed over */
    uint32_t n_models;
    const uint8_t *models;   /* SHA-256 of each: 32 bytes, one after the other */
} SanInfo;

/* Read header, models and index, and check that the file is whole but for the contents of its chunks. Options may be
   NULL. *san is NULL only where there is no memory for it; it has to be closed whatever is returned. */
SanStatus san_open(San **san, const void *content, size_t length, const SanOptions *options);

const SanInfo *san_info(const San *san);

/* Frames of a chunk. */
uint64_t san_chunk_frames(const San *san, uint32_t chunk);

/* Decode a chunk: san_chunk_frames * samples_per_frame samples of the first channel, then those of the second … They
   are exactly what the encoder meant, or there are none: on failure they are 0. Chunks may be decoded in any order, and
   after one that failed others can be. */
SanStatus san_decode_chunk(San *san, uint32_t chunk, int32_t *samples);

/* What the encoder found of a channel in a segment. */
typedef struct {
    double prdn; /* percent; may be infinite */
    uint32_t largest_error;
    uint32_t lead_group;
} SanMeasured;

typedef struct {
    uint32_t first_chunk, n_chunks, coder;
    uint32_t n_lead_groups;
    const uint32_t *beat_lengths; /* samples of an event's window in each lead group; 0 where there are no events */
    const SanMeasured *channels;
} SanSegment;

/* Read a segment's CODING section. It stays until the next call of this or of a function for chunks. */
SanStatus san_segment(San *san, uint32_t number, SanSegment *segment);

/* --- A chunk in steps, for who computes section 10 elsewhere, as with decoder.onnx --- */

/* Kernels of a model: 4. */
typedef struct {
    int32_t stride, n_kernels, length, offset;
    const uint8_t *weights; /* i32, little endian: [kernel][position] */
} SanGroup;

/* What section 10 takes for the approximation of a channel in a chunk. */
typedef struct {
    const uint8_t *model_sha256;
    uint32_t n_samples, circle; /* N and P of section 7 */
    uint32_t n_groups;
    const SanGroup *groups;
    const int32_t *levels; /* group after group, [kernel][window], of circle / stride windows: signed magnitudes */
    int32_t reconstruction[3];
    double scale; /* m 2^(e - 3) */
    int32_t offset, minimum, maximum;
    uint32_t n_events;
    const int32_t *starts;
    const uint8_t *gains, *kernels; /* of each event; a gain of 0: none here. NULL without beat kernels or events */
    uint32_t n_beat_kernels, beat_length;
    const int32_t *beat_kernels; /* [kernel][position] */
    int64_t beat_scale;          /* 2^(x + 10); 1 without beat kernels */
    int is_component;            /* of a mixed lead group: Y of section 10.3 is needed, not x^ */
} SanCoded;

/* Check and decode all of a chunk that comes before synthesis. It stays until a function fails, or another chunk. */
SanStatus san_chunk_begin(San *san, uint32_t chunk);

/* Of the chunk that was begun; NULL where a channel has no cascade, and so needs no synthesis. */
const SanCoded *san_chunk_coded(const San *san, uint32_t channel);

/* Starts of the events (section 6.1) of a channel's lead group in the last chunk that was begun or decoded, and their
   number. */
const int32_t *san_chunk_starts(const San *san, uint32_t channel, uint32_t *n);

/* Give the approximation of a channel that has a cascade, x^ of section 10.3: n_samples, from minimum to maximum. */
SanStatus san_chunk_approximate(San *san, uint32_t channel, const int32_t *samples);

/* Give the component that a channel of a mixed lead group carries, Y of section 10.3: n_samples, in 2^-10 stored units. */
SanStatus san_chunk_component(San *san, uint32_t channel, const int64_t *values);

/* Compute approximations and components that were not given, then all that comes behind: mixes, residual layer, lattice,
   missing samples, digest. Samples as of san_decode_chunk, which is no more than the first of these functions and this. */
SanStatus san_chunk_finish(San *san, int32_t *samples);

/* What was wrong, in one line; "" where nothing was. */
const char *san_message(const San *san);

/* The most memory that was allocated at a time, as memory_limit counts it. */
size_t san_peak_memory(const San *san);

void san_close(San *san);

/* By which a file names its models. */
void san_sha256(uint8_t digest[32], const uint8_t *bytes, size_t length);

#endif
