/* Beat events under the mixing coder: positions of every lead group, then kernels and gains of every channel.

   docs/format.md, "Events of coder 2". sancodec/codec/event_mixing.py is the same in Python. */

#ifndef SANCODEC_EVENT_MIXING_H
#define SANCODEC_EVENT_MIXING_H

#include "mixing.h"

enum {
    EVENT_INPUTS = 3,
    NUMBER_NODES = 28,
    CHOICE_NODES = 12,
    GAP_SLOTS = 234, /* of a node */
    GAIN_SLOTS = 282,
    CHOICE_SLOTS = 123,
    N_EVENT_PRIOR = NUMBER_NODES * (GAP_SLOTS + GAIN_SLOTS) + CHOICE_NODES * CHOICE_SLOTS,
    MAX_EVENT_KERNELS = 64,
    MAX_GAIN = 127
};

enum { EVENTS_OK = 0, EVENTS_INVALID = -1, EVENTS_NO_MEMORY = -2, EVENTS_CORRUPT = -3, EVENTS_FULL = -4 };

typedef struct {
    int64_t n_events, n_samples;
} EventGroup;

typedef struct {
    int64_t group, n_kernels;
} EventChannel;

/* Events of a chunk. Starts lie group after group, gains and ids channel after channel. A decoder is given the first
   start of every group. */
typedef struct {
    const EventGroup *groups;
    size_t n_groups;
    const EventChannel *channels;
    size_t n_channels;
    int64_t *starts;
    size_t n_starts;
    int64_t *gains, *ids;
    size_t n_gains;
} EventChunk;

/* Encode or decode; *used is how many bytes were written or read. The prior has for each slot 16 * probability in
   2^-12 + count / 4. */
int events_run(const uint16_t *prior, const EventChunk *chunk, uint8_t *bytes, size_t length, int is_decoder,
               size_t *used);

#endif
