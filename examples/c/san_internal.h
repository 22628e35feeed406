/* What the parts of the decoder share. Numbers in comments are sections of docs/format.md.

   Whoever finds the file to be wrong calls san_refuse, which does not return: it jumps to the san_attempt of the public
   function that was called, and that frees all memory taken since. */

#ifndef SAN_INTERNAL_H
#define SAN_INTERNAL_H

#ifndef __wasm__
#include <setjmp.h>
#endif
#include <stddef.h>
#include <stdint.h>

#include "coefficient_mixing.h" /* of sancodec/native, as are the other headers without san_ */
#include "san.h"

/* C99 leaves to the compiler what a right shift of a negative number gives; the format needs the floor. */
typedef char right_shifts_are_arithmetic[(-3 >> 1) == -2 ? 1 : -1];

enum {
    MAX_MODELS = 16,
    MAX_SETS = 8,
    MAX_MODEL_GROUPS = 32,
    N_CLASSES = 28,
    N_PRIORS = 2,
    ESCAPE = 16, /* a symbol */
    NO_PHASE = 48
};

/* --- Bytes and bits: san_bytes.c, san_bits.c --- */

typedef struct {
    San *san;
    const uint8_t *at, *end;
} Bytes;

/* 1.4: bits of `head`, then those of `bytes` from bit `skip` on. */
typedef struct {
    San *san;
    const uint8_t *head, *bytes;
    uint64_t n_head, skip, position, end;
} Bits;

/* 1.5: a Rice list that is being read; the three parts of it are read side by side. */
typedef struct {
    Bits quotients, remainders, escapes;
    int parameter;
} Rice;

/* --- Models: san_model.c --- */

/* 9.4: where the symbols of a row of frequencies begin; 16 bits are enough for 4096. */
typedef struct {
    uint16_t start[ESCAPE + 2];
    uint8_t n_direct; /* an escape stands for this and more */
    uint8_t shift;    /* low bits that are raw */
} Row;

typedef struct {
    uint8_t sha256[32];
    int n_groups, n_bands, n_sets, n_phase_groups;
    uint64_t peak_gain; /* 10.2 */
    SanGroup groups[MAX_MODEL_GROUPS];
    const int32_t *strides;        /* [band] */
    const uint8_t *phase_groups;   /* [band] */
    const uint8_t *band_weights;   /* u16 [set][band][4], in the model's bytes */
    const Row *rows;               /* [set][class] */
    const MixingStatistics *mixing; /* [set] */
} Model;

/* --- A segment, from its CODING section: san_coding.c --- */

typedef struct {
    uint32_t channel;
    int is_decoded, first_lag, n_lags;
    const int64_t *weights;
} Reference;

typedef struct {
    int64_t bound, restart;
    int shift, n_own, n_references, near_lags, far_lags;
    const int64_t *own; /* weights */
    const Reference *references;
    uint32_t n_weights; /* in all */
} Layer;

typedef struct {
    const SanChannel *stored;
    int32_t offset, minimum, maximum;
    uint32_t group;
    int has_lattice, is_truncated, lattice_shift;
    int64_t lattice_numerator;
    const Model *model; /* NULL without a cascade */
    int mantissa, exponent;
    int corrections[4]; /* r of 10.1 */
    int n_kernels, kernel_exponent;
    const int32_t *kernels; /* [kernel][position] */
    int set;
    const uint8_t *scales; /* [band] */
    const int8_t *phases;  /* [phase group][N_COARSE_PHASES] */
    const Layer *layer;    /* NULL without a residual layer */
    int is_mixed;          /* a member of a mix */
} Channel;

/* A mixed lead group. */
typedef struct {
    uint32_t n_members, n_components;
    const uint32_t *members, *components; /* channels */
    const int32_t *weights;               /* [member][component], in 2^-13 */
} Mix;

typedef struct {
    uint32_t crc; /* of the payload */
    uint32_t first_chunk, n_chunks;
    int coder;
    uint32_t n_groups, n_coded, n_residual;
    const uint32_t *kernel_lengths; /* [lead group] */
    SanMeasured *measured;          /* [channel] */
    const Channel *channels;
    uint32_t n_mixes;
    const Mix *mixes;
    const uint32_t *order; /* 11.1, 19: residual channels in the order in which they are decoded */
    int block_exponent, n_tables;
    const Row *tables;
} Segment;

/* --- A chunk --- */

typedef struct {
    uint32_t position;
    int32_t difference;
} Exception;

typedef struct {
    uint32_t start, end;
} Run;

/* What the events say of a lead group, and of a channel: san_events.c. */
typedef struct {
    uint32_t n_starts;
    int32_t *starts;
} LeadGroup;

typedef struct {
    uint32_t n_runs, n_exceptions;
    const Run *runs;
    const Exception *exceptions;
    uint8_t *gains, *kernels; /* [event of the lead group]; NULL where the channel has none */
} ChannelEvents;

/* Channels with samples of their own have a plane each: those of residual channels in decoding order, then others. */
typedef struct {
    San *san;
    uint32_t digest;
    Bits raw;
    Bytes residuals;
    SanCoded *coded;              /* [channel]; NULL where the chunk is synthesised at once */
    uint8_t *is_approximated;     /* [channel] */
    int is_finished;
    const Segment *segment;
    uint32_t number;
    uint64_t n_frames;
    const LeadGroup *groups;      /* [lead group] */
    const ChannelEvents *events;  /* [channel] */
    size_t n_planes, n_plane_samples;
    uint32_t *channel_of;         /* [plane] */
    size_t *plane_of, *starts;    /* [channel]; [plane], of the samples below */
    int64_t *approximations;      /* u of 11.2; until they are mixed, Y of 10.3 of components */
    int64_t *samples;             /* y; the approximations where no channel has a residual layer */
} Chunk;

/* --- A file: san_file.c --- */

typedef struct {
    uint32_t first_chunk, n_chunks;
    uint64_t offset; /* of CODING */
} Place;

typedef struct Block Block;

struct San {
    const uint8_t *content;
    uint64_t length;
    SanOptions options;
    SanInfo info;
    int n_models;
    uint8_t digests[MAX_MODELS][32];
    const Model *models[MAX_MODELS];
    Place *segments;
    uint64_t *chunks; /* offsets */
    int is_prior_checked[N_PRIORS];

    const Segment *segment; /* the one that was needed last */
    Block *before_segment;
    const Block *before_chunk;
    Chunk *chunk; /* that was begun */
    MixingState *states[MAX_MODELS][MAX_SETS]; /* of a chunk */

    Block *blocks; /* memory taken, the latest first */
    size_t memory, peak_memory;
#ifndef __wasm__
    jmp_buf exit;
#endif
    SanStatus status;
    char where[48], message[256];
};

#if defined(__GNUC__)
#define SAN_NO_RETURN __attribute__((noreturn, format(printf, 3, 4)))
#else
#define SAN_NO_RETURN
#endif

/* san_memory.c */
void san_attempt(San *san, void (*work)(San *san, void *task), void *task); /* until it returns or calls san_refuse */
void san_refuse(San *san, SanStatus status, const char *format, ...) SAN_NO_RETURN;
void *san_take(San *san, uint64_t count, size_t size); /* zeros */
void san_release(San *san, const Block *mark);         /* what was taken since san->blocks was that */
void san_charge(San *san, uint64_t bytes);             /* for memory that sancodec/native takes */
void san_give_back(San *san, uint64_t bytes);

/* san_hash.c */
void san_hash_tables(void);
uint32_t san_crc32(uint32_t crc, const uint8_t *bytes, size_t length);

/* san_bytes.c */
static inline uint32_t san_u16(const uint8_t *at) { return at[0] | (uint32_t)at[1] << 8; }
static inline uint32_t san_u32(const uint8_t *at) { return san_u16(at) | san_u16(at + 2) << 16; }
static inline int32_t san_i32(const uint8_t *at) { return (int32_t)san_u32(at); }
Bytes san_bytes(San *san, const uint8_t *at, uint64_t length);
uint64_t san_left(const Bytes *bytes);
const uint8_t *san_array(Bytes *bytes, uint64_t count, size_t size);
uint64_t san_varint(Bytes *bytes);
uint64_t san_number(Bytes *bytes, const char *what, uint64_t low, uint64_t high); /* a varint */
int32_t san_signed(Bytes *bytes, const char *what);                               /* an svarint of 32 bits */
void san_finish_bytes(const Bytes *bytes);
uint64_t san_zstd_size(San *san, Bytes frame, uint64_t limit); /* checked */
void san_unzstd(San *san, Bytes frame, uint8_t *content, uint64_t size);

/* san_bits.c */
Bits san_bits(San *san, const uint8_t *bytes, uint64_t length);
uint32_t san_u(Bits *bits, int width); /* at most 32 */
Bits san_skip(Bits *bits, uint64_t n); /* the place before, for what is read later */
Rice san_list(Bits *bits, uint64_t n);
uint32_t san_next(Rice *list);
int32_t san_next_signed(Rice *list);
void san_rice(Bits *bits, uint32_t *values, uint64_t n);
uint32_t san_rice_number(Bits *bits);
int32_t san_rice_signed(Bits *bits);
void san_finish_bits(const Bits *bits);

/* san_kernels.c, san_mix.c: 5, 10.5 */
void san_read_kernels(Bits *bits, Channel *channel, uint32_t length);
void san_read_mix(Bits *bits, Channel *channels, uint32_t group, Mix *mix);
void san_mix(Chunk *chunk, const Mix *mix); /* components to approximations */

/* san_header.c, san_model.c, san_coding.c, san_events.c, san_chunk.c */
void san_read_header(San *san, const uint8_t *payload, uint32_t length);
const Model *san_read_model(San *san, const uint8_t *content, size_t length, const uint8_t sha256[32]);
const Segment *san_read_coding(San *san, const uint8_t *payload, uint32_t length);
void san_read_events(Chunk *chunk, Bytes content, Bytes mixed);
Chunk *san_begin_chunk(San *san, const Segment *segment, uint32_t number, Bytes payload, int is_in_steps);
void san_approximate(Chunk *chunk, uint32_t index, const int32_t *samples);
void san_give_component(Chunk *chunk, uint32_t index, const int64_t *values);
void san_finish_chunk(Chunk *chunk, int32_t *samples);

/* san_prior.c: 19.6 and 20.5, as numbers */
typedef enum { RESIDUAL_PRIOR, EVENTS_PRIOR } Prior;
const uint16_t *san_prior(San *san, Prior which);

static inline uint32_t san_length_of(const Chunk *chunk, const Channel *channel) {
    return (uint32_t)(chunk->n_frames * channel->stored->samples_per_frame); /* at most 2^28 */
}

static inline int san_is_constant(const Channel *channel) {
    return !channel->model && !channel->layer && !channel->is_mixed;
}

/* An approximation, less the offset, within the channel's range. */
static inline int64_t san_within(const Channel *channel, int64_t value) {
    int64_t low = (int64_t)channel->minimum - channel->offset, high = (int64_t)channel->maximum - channel->offset;
    return value < low ? low : value > high ? high : value;
}

static inline int64_t *san_approximation_of(const Chunk *chunk, uint32_t index) {
    return chunk->approximations + chunk->starts[chunk->plane_of[index]];
}

/* 7: samples on the circle of a channel with a cascade, and windows of all its bands. */
static inline uint32_t san_circle(const Chunk *chunk, const Channel *channel) {
    uint32_t period = (uint32_t)channel->model->groups[0].stride;
    return (san_length_of(chunk, channel) + 64 + period - 1) / period * period;
}

uint32_t san_n_windows(const Chunk *chunk, const Channel *channel);

/* san_profile.c: 9.1, 9.2 */
void san_phases(const Chunk *chunk, const Channel *channel, int stride, uint32_t n_windows, uint8_t *phases);
int32_t san_expected(const Channel *channel, int band, int phase);

/* san_tokens.c, coder 0: 8 */
typedef struct {
    San *san;
    const uint8_t *at;
    Rice large_runs, large;
    Bits runs, small, signs;
} Tokens;

Bytes san_read_frames(San *san, Bytes content, const uint64_t *n_frames, int n_layouts, uint64_t limit,
                      const uint64_t *n_bands);
Tokens san_tokens(Bytes *tokens, Bits *raw, uint32_t n_bands);
int san_next_token(Tokens *tokens, uint64_t *run, int64_t *value); /* 0 at the end of a band */
void san_read_tokens(Chunk *chunk, const Channel *channel, Bytes *tokens, Bits *raw, int32_t *levels);

/* san_classes.c, coder 1: 9 */
typedef struct {
    San *san;
    uint32_t n, n_words, next;
    uint32_t *states;
    const uint8_t *words;
    uint64_t n_escapes, n_low; /* escapes met so far, and low bits */
} Lanes;

typedef struct {
    Rice excesses;
    Bits low, signs;
} Tail;

Lanes san_lanes(Bytes *content, int is_used);
int san_symbol(Lanes *lanes, uint32_t lane, const Row *row);
Tail san_tail(Lanes *lanes, const Bits *raw);
int64_t san_value(Tail *tail, const Row *row, int symbol, int64_t limit);
void san_finish_tail(const Tail *tail, Bits *raw);
void san_check_steps(const Lanes *lanes, uint64_t n_symbols);
void san_read_classes(Chunk *chunk, const Channel *channel, Bytes *content, Bits *raw, int32_t *levels);

/* san_levels.c, coder 2: 18.4 */
typedef struct {
    RangeCoder coder;
    const int32_t **levels; /* [channel] of those decoded so far, or NULL */
} Levels;

Levels san_levels(Chunk *chunk, Bytes content);
void san_free_states(San *san);
void san_read_levels(Chunk *chunk, Levels *all, uint32_t index, int32_t *levels);

/* san_synthesis.c: 10.1 to 10.3; an approximation, less the channel's offset, or Y of a component */
void san_check_amplitudes(const Chunk *chunk, const Channel *channel, const int32_t *levels);
void san_synthesise(Chunk *chunk, uint32_t index, const int32_t *levels, int64_t *result);

/* san_residual.c: 11, 19 */
void san_read_residuals(Chunk *chunk);       /* coders 0 and 1: differences, into the samples */
void san_predict(Chunk *chunk);              /* and then the samples */
void san_read_mixed_residuals(Chunk *chunk); /* coder 2 */

#endif
