/* 4: models. Weights and statistics are read where they lie; only what is used for every coefficient is copied. */

#include <string.h>

#include "san_internal.h"

enum {
    MAX_STRIDE = 4096,
    MAX_KERNELS = 1024,
    MAX_LENGTH = 8192,
    MAX_METADATA = 65536,
    MAX_WORK = 4096,
    MAX_WEIGHT = 4096,
    TOTAL = 4096
};

static void read_group(Bytes *fields, Model *model, SanGroup *group) {
    const uint8_t *at = san_array(fields, 1, 12);
    *group = (SanGroup){(int)san_u16(at), (int)san_u16(at + 2), 0, san_i32(at + 8), NULL};
    uint32_t length = san_u32(at + 4);
    if (group->stride < 1 || group->stride > MAX_STRIDE || group->n_kernels < 1 || group->n_kernels > MAX_KERNELS ||
        length < 1 || length > MAX_LENGTH || group->offset < -MAX_LENGTH || group->offset > MAX_LENGTH)
        san_refuse(fields->san, SAN_LIMIT, "kernels of a stride, number, length or offset beyond the limits");
    group->length = (int)length;
    if (group > model->groups && group[-1].stride % group->stride)
        san_refuse(fields->san, SAN_CORRUPT, "a stride of %d does not divide %d, the one before", group->stride,
                   group[-1].stride);
    group->weights = san_array(fields, (uint64_t)group->n_kernels * length, 4);
    model->n_bands += group->n_kernels;
}

/* 10.2: what a group adds to the peak gain. */
static uint64_t gain_of(const SanGroup *group) {
    uint64_t largest = 0;
    for (int phase = 0; phase < group->stride && phase < group->length; phase++) {
        uint64_t sum = 0;
        for (int kernel = 0; kernel < group->n_kernels; kernel++)
            for (int i = phase; i < group->length; i += group->stride) {
                int64_t weight = san_i32(group->weights + 4 * ((size_t)kernel * (size_t)group->length + (size_t)i));
                sum += (uint64_t)(weight < 0 ? -weight : weight);
            }
        if (sum > largest) largest = sum;
    }
    return largest;
}

static void check_work(San *san, const Model *model) {
    int period = model->groups[0].stride, density = 0, work = 0;
    for (int i = 0; i < model->n_groups; i++) {
        const SanGroup *group = &model->groups[i];
        density += group->n_kernels * (period / group->stride);
        work += group->n_kernels * ((group->length + group->stride - 1) / group->stride);
    }
    if (density > period || work > MAX_WORK)
        san_refuse(san, SAN_LIMIT, "%d coefficients for %d samples, %d products a sample", density, period, work);
}

static void read_rows(Bytes *fields, Model *model) {
    uint64_t n = (uint64_t)model->n_sets * N_CLASSES;
    const uint8_t *at = san_array(fields, n, 2 * (ESCAPE + 1));
    Row *rows = san_take(fields->san, n, sizeof *rows);
    for (uint64_t i = 0; i < n; i++) {
        uint32_t sum = 0, frequency = 1;
        int activity = (int)(i % N_CLASSES);
        rows[i].shift = (uint8_t)(activity < 22 ? 0 : activity / 2 - 10);
        rows[i].n_direct = ESCAPE;
        for (int symbol = 0; symbol <= ESCAPE; symbol++, at += 2) {
            frequency = san_u16(at);
            if (symbol < ESCAPE && !frequency && rows[i].n_direct == ESCAPE) rows[i].n_direct = (uint8_t)symbol;
            if (symbol < ESCAPE && frequency && rows[i].n_direct < ESCAPE)
                san_refuse(fields->san, SAN_CORRUPT, "a frequency that is not 0 behind one that is");
            sum += frequency;
            rows[i].start[symbol + 1] = (uint16_t)(sum < TOTAL ? sum : TOTAL);
        }
        if (sum != TOTAL || !frequency)
            san_refuse(fields->san, SAN_CORRUPT, "frequencies that do not sum to 4096, or none of the escape");
    }
    model->rows = rows;
}

static int32_t *widened(San *san, const uint8_t *at, size_t n, int is_signed) {
    int32_t *numbers = san_take(san, n, sizeof *numbers);
    for (size_t i = 0; i < n; i++)
        numbers[i] = is_signed ? (int16_t)san_u16(at + 2 * i) * 16 : (int32_t)san_u16(at + 2 * i);
    return numbers;
}

/* Statistics of coder 2. */
static void read_mixing(Bytes *fields, Model *model) {
    size_t n_bands = (size_t)model->n_bands, n_terms = 2 * n_bands * N_TERMS, n_taps = 2 * n_bands * N_TAPS;
    MixingStatistics *mixing = san_take(fields->san, (uint64_t)model->n_sets, sizeof *mixing);
    for (int set = 0; set < model->n_sets; set++) {
        mixing[set].terms = widened(fields->san, san_array(fields, n_terms, 2), n_terms, 0);
        mixing[set].taps = widened(fields->san, san_array(fields, n_taps, 2), n_taps, 1);
        mixing[set].prior = (const int8_t *)san_array(fields, PRIOR_SIZE, 1);
        mixing[set].mixer = widened(fields->san, san_array(fields, N_KINDS * N_INPUTS, 2), N_KINDS * N_INPUTS, 1);
    }
    model->mixing = mixing;
}

const Model *san_read_model(San *san, const uint8_t *content, size_t length, const uint8_t sha256[32]) {
    Model *model = san_take(san, 1, sizeof *model);
    Bytes fields = san_bytes(san, content, length);
    const uint8_t *head = san_array(&fields, 1, 12);
    memcpy(model->sha256, sha256, sizeof model->sha256);
    if (memcmp(head, "SANM", 4)) san_refuse(san, SAN_CORRUPT, "it is no model: it does not begin with SANM");
    if (san_u16(head + 4) != 1)
        san_refuse(san, SAN_UNSUPPORTED, "version %u of the model; 1 can be read", (unsigned)san_u16(head + 4));
    uint32_t n_groups = san_u16(head + 6), metadata = san_u32(head + 8);
    if (n_groups < 1 || n_groups > MAX_MODEL_GROUPS || metadata > MAX_METADATA)
        san_refuse(san, SAN_LIMIT, "%u groups and %u bytes of metadata", (unsigned)n_groups, (unsigned)metadata);
    san_array(&fields, metadata, 1); /* JSON that nothing here depends on */
    model->n_groups = (int)n_groups;
    for (int i = 0; i < model->n_groups; i++) {
        read_group(&fields, model, &model->groups[i]);
        model->peak_gain += gain_of(&model->groups[i]);
    }
    check_work(san, model);
    int32_t *strides = san_take(san, (uint64_t)model->n_bands, sizeof *strides);
    for (int i = 0, band = 0; i < model->n_groups; i++)
        for (int kernel = 0; kernel < model->groups[i].n_kernels; kernel++) strides[band++] = model->groups[i].stride;
    model->strides = strides;
    model->n_sets = *san_array(&fields, 1, 1);
    if (model->n_sets < 1 || model->n_sets > MAX_SETS)
        san_refuse(san, SAN_LIMIT, "%d sets of statistics", model->n_sets);
    uint64_t n_weights = (uint64_t)model->n_sets * (uint64_t)model->n_bands * 4;
    model->band_weights = san_array(&fields, n_weights, 2);
    for (uint64_t i = 0; i < n_weights; i++)
        if (san_u16(model->band_weights + 2 * i) > MAX_WEIGHT) san_refuse(san, SAN_LIMIT, "a band weight above 4096");
    model->phase_groups = san_array(&fields, (uint64_t)model->n_bands, 1);
    for (int band = 0; band < model->n_bands; band++) {
        int group = model->phase_groups[band];
        if (group >= N_GROUPS) san_refuse(san, SAN_LIMIT, "phase group %d", group);
        if (group >= model->n_phase_groups) model->n_phase_groups = group + 1;
    }
    read_rows(&fields, model);
    read_mixing(&fields, model);
    san_finish_bytes(&fields);
    return model;
}
