#include "trellis.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "activity.h"

static const double unreached = 1e300;
/* Coefficients beyond it are taken for it: twice the largest index that can be coded. */
static const double max_scaled = 1 << 29;

/* Survivors of the trellis at one window. */
typedef struct {
    double cost[N_STATES];
    int32_t own[N_STATES][2]; /* the two levels before */
} Survivors;

/* Bits of an index beyond the table: Exp-Golomb. */
static double bits_of(const double *costs, int32_t index) {
    if (index < COST_LENGTH) return costs[index];
    return costs[COST_LENGTH - 1] + 2 * floor(log2((double)(index - COST_LENGTH + 2))) + 1;
}

static void extend(const Survivors *before, Survivors *after, int state, int32_t index, double error, double bits,
                   uint8_t *from, int32_t *indices) {
    int next = trellis_next[state][index & 1];
    double cost = before->cost[state] + error * error + bits;
    if (cost >= after->cost[next]) return;
    after->cost[next] = cost;
    after->own[next][0] = index ? 2 * index - (state & 1) : 0;
    after->own[next][1] = before->own[state][0];
    from[next] = (uint8_t)state;
    indices[next] = index;
}

/* `extend` where all that is near is 0, and so is what follows: states trade places. */
static void rest(const Survivors *before, Survivors *after, double error, const double bits[2], uint8_t *from,
                 int32_t *indices) {
    for (int state = 0; state < N_STATES; state++) {
        int next = trellis_next[state][0];
        after->cost[next] = before->cost[state] + error * error + bits[state & 1];
        after->own[next][0] = after->own[next][1] = 0;
        from[next] = (uint8_t)state;
        indices[next] = 0;
    }
}

/* Which decisions about the indices of a band are taken at which activity. parities are those of the states. */
static void count_decisions(const MixingChannel *channel, const Neighbours *bands, const int32_t *terms,
                            const uint8_t *parities, int64_t *counts) {
    const int32_t *levels = channel->levels + bands->position;
    for (int window = 0; window < bands->own.n; window++) {
        int64_t value = activity_around(bands, channel, terms, window) +
                        terms[4] * magnitude_of(level_at(&bands->own, window - 1)) +
                        terms[5] * magnitude_of(level_at(&bands->own, window - 2));
        int activity = activity_of(value), odd = parities[(size_t)window * N_STATES];
        int32_t level = levels[window] < 0 ? -levels[window] : levels[window];
        int32_t high = ((level + odd) / 2) >> activity_shift(value), step = 0;
        for (int is_above = 1; is_above && step < MAX_UNARY; step++) {
            int kind = step < N_KINDS - 2 ? step : N_KINDS - 2;
            is_above = high > step;
            counts[(((size_t)kind * N_ACTIVITIES + activity) * 2 + odd) * 2 + is_above]++;
        }
    }
}

static void quantise_band(const MixingStatistics *statistics, const MixingChannel *channel, const Neighbours *bands,
                          const float *coefficients, double inverse_step, double multiplier, const double *costs,
                          const double *offsets, uint8_t *from, int32_t *indices, LevelErrors *errors,
                          int64_t *counts) {
    int n = bands->own.n;
    const int32_t *terms = terms_of(statistics, channel, bands->band);
    int32_t *levels = channel->levels + bands->position;
    Survivors survivors = {{0}, {{0}}}, next;
    for (int state = 1; state < N_STATES; state++) survivors.cost[state] = unreached;
    int n_quiet = 0; /* windows that are 0 in every state, up to this one */
    for (int window = 0; window < n; window++) {
        double u = fmin(fabs((double)coefficients[window]) * inverse_step, max_scaled);
        int64_t around = activity_around(bands, channel, terms, window);
        uint8_t *came = from + (size_t)window * N_STATES;
        int32_t *index = indices + (size_t)window * N_STATES;
        n_quiet = u <= 0.5 ? n_quiet + 1 : 0;
        if (n_quiet > 2) { /* the two levels before are 0 in every state */
            const double *even = costs + (size_t)activity_of(around) * COST_LENGTH;
            const double bits[2] = {multiplier * even[0], multiplier * even[N_ACTIVITIES * COST_LENGTH]};
            rest(&survivors, &next, u, bits, came, index);
            survivors = next;
            continue;
        }
        for (int state = 0; state < N_STATES; state++) next.cost[state] = unreached;
        for (int state = 0; state < N_STATES; state++) {
            if (survivors.cost[state] >= unreached) continue;
            int odd = state & 1;
            int64_t activity = around + terms[4] * magnitude_of(survivors.own[state][0]) +
                               terms[5] * magnitude_of(survivors.own[state][1]);
            const double *bits = costs + ((size_t)odd * N_ACTIVITIES + activity_of(activity)) * COST_LENGTH;
            extend(&survivors, &next, state, 0, u, multiplier * bits[0], came, index);
            if (u <= (odd ? 0.5 : 1)) continue; /* any other level is further away */
            int32_t nearest = (int32_t)((u + odd) / 2);
            for (int32_t k = nearest ? nearest : 1; k <= nearest + 1; k++) {
                int32_t level = 2 * k - odd;
                double error = u - (level - offsets[(level < 3 ? level : 3) - 1]);
                extend(&survivors, &next, state, k, error, multiplier * bits_of(bits, k), came, index);
            }
        }
        survivors = next;
    }
    int state = 0;
    for (int other = 1; other < N_STATES; other++)
        if (survivors.cost[other] < survivors.cost[state]) state = other;
    for (int window = n - 1; window >= 0; window--) {
        int32_t index = indices[(size_t)window * N_STATES + state];
        state = from[(size_t)window * N_STATES + state];
        from[(size_t)window * N_STATES] = (uint8_t)(state & 1);
        int32_t level = index ? 2 * index - (state & 1) : 0;
        double error = fabs((double)coefficients[window]) * inverse_step - level;
        int kind = level < 3 ? level : 3;
        errors->squares += error * error;
        errors->errors[kind] += error;
        errors->counts[kind] += 1;
        levels[window] = coefficients[window] < 0 ? -level : level;
    }
    if (counts) count_decisions(channel, bands, terms, from, counts);
}

int quantise_levels(const MixingStatistics *statistics, const MixingChannel *channel, const float *coefficients,
                    double inverse_step, double multiplier, const double *costs, const double *offsets,
                    LevelErrors *errors, int64_t *counts) {
    int most = 1;
    for (int band = 0; band < channel->n_bands; band++)
        if (channel->n_windows[band] > most) most = channel->n_windows[band];
    uint8_t *from = malloc((size_t)most * N_STATES);
    int32_t *indices = malloc((size_t)most * N_STATES * sizeof *indices);
    int failed = !from || !indices;
    Neighbours bands = first_band(channel);
    for (; bands.band < channel->n_bands && !failed; next_band(&bands, channel)) {
        const float *of_band = coefficients + bands.position;
        if (channel->is_on[bands.band]) {
            quantise_band(statistics, channel, &bands, of_band, inverse_step, multiplier, costs, offsets, from, indices,
                          errors, counts);
            continue;
        }
        memset(channel->levels + bands.position, 0, sizeof *channel->levels * (size_t)bands.own.n);
        for (int window = 0; window < bands.own.n; window++) {
            double error = (double)of_band[window] * inverse_step;
            errors->squares += error * error;
        }
    }
    free(from);
    free(indices);
    return failed;
}
