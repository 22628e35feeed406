/* 9.1 and 9.2, which coders 1 and 2 share: beat phases, and the magnitudes that a channel's profile expects. */

#include "san_internal.h"

enum { MAX_EXPECTED = 16383 };

/* Phases of 18.4, in 1/32 of a beat kernel; half of one is that of 9.1. */
void san_phases(const Chunk *chunk, const Channel *channel, int stride, uint32_t n_windows, uint8_t *phases) {
    const LeadGroup *group = &chunk->groups[channel->group];
    int64_t length = chunk->segment->kernel_lengths[channel->group];
    uint32_t next = 0;
    for (uint32_t window = 0; window < n_windows; window++) {
        int64_t centre = (int64_t)window * stride + stride / 2, phase = NO_PHASE;
        while (next < group->n_starts && group->starts[next] <= centre) next++;
        if (next) phase = (centre - group->starts[next - 1]) * 32 / length;
        phases[window] = (uint8_t)(phase < NO_PHASE ? phase : NO_PHASE);
    }
}

int32_t san_expected(const Channel *channel, int band, int phase) {
    static const uint32_t powers[4] = {65536, 77936, 92682, 110218};
    if (!channel->scales[band]) return 0;
    int group = channel->model->phase_groups[band];
    int quarter = channel->scales[band] - 41 + 2 * channel->phases[group * N_COARSE_PHASES + phase];
    uint32_t power = powers[quarter & 3];
    int exponent = (quarter >> 2) - 8; /* -26 to 13 */
    power = exponent < 0 ? power >> -exponent : power << exponent;
    return power < MAX_EXPECTED ? (int32_t)power : MAX_EXPECTED;
}
