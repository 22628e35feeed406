/* 6.1 to 6.4, 20: the events of a chunk: beats of lead groups and channels, missing runs, exceptions of lattices. */

#include "event_mixing.h"
#include "san_internal.h"

enum { MAX_OVERLAP = 16 };

static uint32_t count_of(Bits *bits, const char *what, uint32_t most) {
    uint32_t n = san_rice_number(bits);
    if (n > most) san_refuse(bits->san, SAN_LIMIT, "%u %s; there is room for %u", (unsigned)n, what, (unsigned)most);
    return n;
}

/* 6.1, of a group whose kernels and samples in this chunk are so long. With coder 2 only the first start is here. */
static void read_starts(Bits *bits, LeadGroup *group, int32_t kernel_length, int32_t length, int is_mixed) {
    uint32_t n = count_of(bits, "events", (uint32_t)(length + kernel_length)), head[2] = {0, 0};
    if (!n) return;
    if (n / MAX_OVERLAP > (uint32_t)((length + kernel_length) / kernel_length) + 1) /* before memory is taken */
        san_refuse(bits->san, SAN_LIMIT, "%u events, a sample in the windows of more than 16", (unsigned)n);
    san_rice(bits, head, is_mixed ? 1 : 2);
    Rice gaps = san_list(bits, is_mixed ? 0 : n - 1);
    group->starts = san_take(bits->san, n, sizeof *group->starts);
    group->n_starts = n;
    int64_t start = (int64_t)head[0] - kernel_length;
    for (uint32_t i = 0; i < n; i++) {
        if (i && !is_mixed) start += (int64_t)head[1] + san_next_signed(&gaps);
        if (start <= -kernel_length || start >= length)
            san_refuse(bits->san, SAN_CORRUPT, "an event starts outside the chunk");
        group->starts[i] = (int32_t)start;
    }
}

static void check_starts(San *san, const LeadGroup *group, int64_t kernel_length) {
    for (uint32_t i = 1; i < group->n_starts; i++) {
        if (group->starts[i] <= group->starts[i - 1]) san_refuse(san, SAN_CORRUPT, "starts of events do not increase");
        if (i >= MAX_OVERLAP && group->starts[i] - (int64_t)group->starts[i - MAX_OVERLAP] < kernel_length)
            san_refuse(san, SAN_LIMIT, "a sample in the windows of more than 16 events");
    }
}

/* 6.4, of a channel with n events and n_kernels kernels. */
static void read_gains(Bits *bits, ChannelEvents *events, uint32_t n, int n_kernels) {
    int are_differences = (int)san_u(bits, 1);
    int64_t first = san_rice_number(bits), gain = first;
    Rice list = san_list(bits, are_differences ? n - 1 : n);
    uint8_t *gains = san_take(bits->san, n, 1), *kernels = san_take(bits->san, n, 1);
    uint32_t n_used = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (are_differences)
            gain += i ? san_next_signed(&list) : 0;
        else
            gain = first + san_next_signed(&list);
        if (gain < 0 || gain > MAX_GAIN) san_refuse(bits->san, SAN_CORRUPT, "a gain that is not 0 to 127");
        gains[i] = (uint8_t)gain;
        n_used += gain > 0;
    }
    if (n_kernels > 1) {
        list = san_list(bits, n_used);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t kernel = gains[i] ? san_next(&list) : 0;
            if (kernel >= (uint32_t)n_kernels)
                san_refuse(bits->san, SAN_CORRUPT, "kernel %u of %d", (unsigned)kernel, n_kernels);
            kernels[i] = (uint8_t)kernel;
        }
    }
    events->gains = gains;
    events->kernels = kernels;
}

static void read_runs(Bits *bits, ChannelEvents *events, const SanChannel *stored, uint32_t length) {
    uint32_t n = san_u(bits, 1) ? count_of(bits, "missing runs", length) : 0;
    Rice gaps = san_list(bits, n), lengths = san_list(bits, n);
    if (n && !stored->has_missing) san_refuse(bits->san, SAN_CORRUPT, "missing runs without a missing value");
    Run *runs = san_take(bits->san, n, sizeof *runs);
    uint64_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t start = at + san_next(&gaps), run = san_next(&lengths);
        at = start + run;
        if (!run || at > length) san_refuse(bits->san, SAN_CORRUPT, "a missing run is empty or leaves the chunk");
        runs[i] = (Run){(uint32_t)start, (uint32_t)at};
    }
    events->n_runs = n;
    events->runs = runs;
}

static void read_exceptions(Bits *bits, ChannelEvents *events, uint32_t length) {
    uint32_t n = san_u(bits, 1) ? count_of(bits, "exceptions", length) : 0;
    Rice gaps = san_list(bits, n), differences = san_list(bits, n);
    Exception *exceptions = san_take(bits->san, n, sizeof *exceptions);
    uint64_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        at += san_next(&gaps);
        if (at >= length) san_refuse(bits->san, SAN_CORRUPT, "an exception beyond the chunk");
        exceptions[i] = (Exception){(uint32_t)at++, san_next_signed(&differences)};
    }
    events->n_exceptions = n;
    events->exceptions = exceptions;
}

/* 20, as sancodec/native/event_mixing.c takes it: starts group after group, gains and kernels channel after channel. */
typedef struct {
    EventGroup *groups;
    EventChannel *channels;
    EventChunk all;
} Mixed;

static Mixed described(const Chunk *chunk, const uint32_t *lengths) {
    San *san = chunk->san;
    const Segment *segment = chunk->segment;
    Mixed mixed = {.groups = san_take(san, segment->n_groups, sizeof *mixed.groups),
                   .channels = san_take(san, san->info.n_channels, sizeof *mixed.channels)};
    EventChunk *all = &mixed.all;
    for (uint32_t i = 0; i < segment->n_groups; i++) {
        mixed.groups[i] = (EventGroup){chunk->groups[i].n_starts, lengths[i]};
        all->n_starts += chunk->groups[i].n_starts;
    }
    for (uint32_t i = 0; i < san->info.n_channels; i++) {
        const Channel *channel = &segment->channels[i];
        if (!channel->n_kernels) continue;
        mixed.channels[all->n_channels++] = (EventChannel){channel->group, channel->n_kernels};
        all->n_gains += chunk->groups[channel->group].n_starts;
    }
    all->groups = mixed.groups, all->n_groups = segment->n_groups, all->channels = mixed.channels;
    all->starts = san_take(san, all->n_starts, sizeof *all->starts);
    all->gains = san_take(san, all->n_gains, sizeof *all->gains);
    all->ids = san_take(san, all->n_gains, sizeof *all->ids);
    int64_t *start = all->starts;
    for (uint32_t i = 0; i < segment->n_groups; start += chunk->groups[i++].n_starts)
        if (chunk->groups[i].n_starts) *start = chunk->groups[i].starts[0];
    return mixed;
}

static void read_mixed(Chunk *chunk, Bytes content, LeadGroup *groups, ChannelEvents *events, const uint32_t *lengths) {
    San *san = chunk->san;
    const Segment *segment = chunk->segment;
    uint32_t n_starts = 0;
    for (uint32_t i = 0; i < segment->n_groups; i++) n_starts |= groups[i].n_starts;
    if (!n_starts) { /* there is nothing to be decided */
        san_finish_bytes(&content);
        return;
    }
    /* What lasts is taken first. */
    for (uint32_t i = 0; i < san->info.n_channels; i++) {
        uint32_t n = segment->channels[i].n_kernels ? groups[segment->channels[i].group].n_starts : 0;
        if (!n) continue;
        events[i].gains = san_take(san, n, 1);
        events[i].kernels = san_take(san, n, 1);
    }
    const Block *mark = san->blocks;
    const uint16_t *prior = san_prior(san, EVENTS_PRIOR);
    EventChunk all = described(chunk, lengths).all;
    size_t used;
    /* events_run takes slots and weights, and less than this for each start and group. */
    uint64_t bytes = UINT64_C(4) * N_EVENT_PRIOR + 4096 + UINT64_C(16) * (all.n_starts + all.n_groups);
    san_charge(san, bytes);
    int result = events_run(prior, &all, (uint8_t *)(uintptr_t)content.at, (size_t)san_left(&content), 1, &used);
    san_give_back(san, bytes);
    if (result == EVENTS_NO_MEMORY) san_refuse(san, SAN_MEMORY, "there is no memory for the events");
    if (result) san_refuse(san, SAN_CORRUPT, "the mixed stream of events contradicts itself");
    for (uint32_t i = 0; i < segment->n_groups; i++)
        for (uint32_t j = 0; j < groups[i].n_starts; j++) groups[i].starts[j] = (int32_t)*all.starts++;
    for (uint32_t i = 0; i < san->info.n_channels; i++)
        for (uint32_t j = 0; events[i].gains && j < groups[segment->channels[i].group].n_starts; j++) {
            events[i].gains[j] = (uint8_t)*all.gains++;
            events[i].kernels[j] = (uint8_t)*all.ids++;
        }
    san_release(san, mark);
}

void san_read_events(Chunk *chunk, Bytes content, Bytes mixed) {
    San *san = chunk->san;
    const Segment *segment = chunk->segment;
    int is_mixed = segment->coder == 2;
    Bits bits = san_bits(san, content.at, san_left(&content));
    LeadGroup *groups = san_take(san, segment->n_groups, sizeof *groups);
    ChannelEvents *events = san_take(san, san->info.n_channels, sizeof *events);
    uint32_t *lengths = san_take(san, segment->n_groups, sizeof *lengths);
    chunk->groups = groups;
    chunk->events = events;
    for (uint32_t i = 0; i < san->info.n_channels; i++)
        lengths[segment->channels[i].group] = san_length_of(chunk, &segment->channels[i]);
    for (uint32_t i = 0; i < segment->n_groups; i++)
        if (segment->kernel_lengths[i])
            read_starts(&bits, &groups[i], (int32_t)segment->kernel_lengths[i], (int32_t)lengths[i], is_mixed);
    for (uint32_t i = 0; i < san->info.n_channels; i++) {
        const Channel *channel = &segment->channels[i];
        uint32_t n_starts = groups[channel->group].n_starts, length = san_length_of(chunk, channel);
        read_runs(&bits, &events[i], channel->stored, length);
        if (channel->has_lattice) read_exceptions(&bits, &events[i], length);
        if (channel->n_kernels && n_starts && !is_mixed) read_gains(&bits, &events[i], n_starts, channel->n_kernels);
    }
    san_finish_bits(&bits);
    if (is_mixed) read_mixed(chunk, mixed, groups, events, lengths);
    for (uint32_t i = 0; i < segment->n_groups; i++) check_starts(san, &groups[i], segment->kernel_lengths[i]);
}
