/* 18.4: coder 2. What sancodec/native/coefficient_mixing.c decodes, laid out for it and checked. */

#include "san_internal.h"

/* What new_mixing_state allocates: slots, most of them for each of the first 64 bands, and weights. */
static uint64_t state_bytes(int n_bands) {
    uint64_t bands = (uint64_t)(n_bands < MAX_OWN_BANDS ? n_bands : MAX_OWN_BANDS), phases = bands * N_FINE_PHASES;
    uint64_t of_kind = PRIOR_ACTIVITY + PRIOR_PREDICTION + PRIOR_BAND * bands + PRIOR_PHASE * phases;
    return sizeof(Slot) * ((N_KINDS - 1) * of_kind + 48 + 33 * bands + phases) + 16384;
}

static MixingState *state_of(San *san, const Channel *channel) {
    int model = 0;
    while (san->models[model] != channel->model) model++;
    MixingState **state = &san->states[model][channel->set];
    if (!*state) {
        san_charge(san, state_bytes(channel->model->n_bands));
        *state = new_mixing_state(&channel->model->mixing[channel->set], channel->model->n_bands);
        if (!*state) {
            san_give_back(san, state_bytes(channel->model->n_bands));
            san_refuse(san, SAN_MEMORY, "there is no memory for the mixing coder");
        }
    }
    return *state;
}

void san_free_states(San *san) {
    for (int model = 0; model < san->n_models; model++)
        for (int set = 0; set < MAX_SETS; set++) {
            if (!san->states[model][set]) continue;
            free_mixing_state(san->states[model][set]);
            san_give_back(san, state_bytes(san->models[model]->n_bands));
            san->states[model][set] = NULL;
        }
}

Levels san_levels(Chunk *chunk, Bytes content) {
    Levels all = {.levels = san_take(chunk->san, chunk->san->info.n_channels, sizeof *all.levels)};
    start_decoding(&all.coder, content.at, (size_t)san_left(&content));
    return all;
}

/* The levels of the last channel before this one that has the same model and as many windows. */
static const int32_t *other_of(const Chunk *chunk, const Levels *all, uint32_t index) {
    const Channel *channels = chunk->segment->channels, *own = &channels[index];
    while (index--)
        if (all->levels[index] && channels[index].model == own->model &&
            san_circle(chunk, &channels[index]) == san_circle(chunk, own))
            return all->levels[index];
    return NULL;
}

void san_read_levels(Chunk *chunk, Levels *all, uint32_t index, int32_t *levels) {
    San *san = chunk->san;
    const Channel *channel = &chunk->segment->channels[index];
    const Model *model = channel->model;
    uint32_t circle = san_circle(chunk, channel);
    size_t n_bands = (size_t)model->n_bands;
    int32_t *n_windows = san_take(san, n_bands, sizeof *n_windows);
    int32_t *expected = san_take(san, n_bands * N_COARSE_PHASES, sizeof *expected);
    uint8_t *phases = san_take(san, san_n_windows(chunk, channel), 1), *next = phases;
    for (int band = 0; band < model->n_bands; band++) {
        n_windows[band] = (int32_t)circle / model->strides[band];
        for (int phase = 0; phase < N_COARSE_PHASES; phase++)
            expected[band * N_COARSE_PHASES + phase] = san_expected(channel, band, phase);
        san_phases(chunk, channel, model->strides[band], (uint32_t)n_windows[band], next);
        next += n_windows[band];
    }
    const MixingChannel mixed = {.n_bands = model->n_bands,
                                 .strides = model->strides,
                                 .n_windows = n_windows,
                                 .groups = model->phase_groups,
                                 .is_on = channel->scales,
                                 .expected = expected,
                                 .phases = phases,
                                 .other = other_of(chunk, all, index),
                                 .levels = levels};
    if (code_levels(state_of(san, channel), &all->coder, 1, &model->mixing[channel->set], &mixed, NULL))
        san_refuse(san, SAN_CORRUPT, "the mixed stream of coefficients contradicts itself");
    all->levels[index] = levels;
}
