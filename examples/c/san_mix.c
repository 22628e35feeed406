/* 5, 10.5: channels that are weighted sums of components. */

#include <string.h>

#include "san_internal.h"

enum { MAX_MIX_SHIFT = 12, MAX_MIX_WEIGHTS = 1 << 20, WEIGHT_BITS = MAX_MIX_SHIFT + 1, BLOCK = 256 };

/* Twice the factors by their codes. */
static const int twice_factors[4] = {2, -2, 1, -1};

static int is_varying(const Channel *channel) { return channel->minimum < channel->maximum; }

static void find_members(San *san, Channel *channels, uint32_t group, Mix *mix) {
    uint32_t *numbers = san_take(san, san->info.n_channels, sizeof *numbers), *others = numbers;
    mix->members = numbers;
    for (uint32_t i = 0; i < san->info.n_channels; i++) {
        if (channels[i].group != group) continue;
        if (channels[i].layer || channels[i].has_lattice || (channels[i].model && !is_varying(&channels[i])))
            san_refuse(san, SAN_CORRUPT,
                       "channel %u of a mix: constant with a component, or with a residual layer or a lattice",
                       (unsigned)i);
        channels[i].is_mixed = is_varying(&channels[i]);
        if (channels[i].is_mixed) *others++ = i;
        mix->n_components += channels[i].model != NULL;
    }
    mix->n_members = (uint32_t)(others - numbers);
    if (!mix->n_components) san_refuse(san, SAN_CORRUPT, "lead group %u is mixed of no component", (unsigned)group);
    uint32_t *components = san_take(san, mix->n_components, sizeof *components);
    mix->components = components;
    for (uint32_t i = 0; i < mix->n_members; i++)
        if (channels[numbers[i]].model) *components++ = numbers[i];
}

/* A rule's members and twice its factors; n is 0 for a member that has weights of its own. */
typedef struct {
    int n;
    uint32_t members[2];
    int factors[2];
} Rule;

static void read_rules(Bits *bits, uint32_t n, Rule *rules) {
    for (uint32_t i = 0; i < n; i++) {
        if (!san_u(bits, 1)) continue;
        Rule *rule = &rules[i];
        rule->n = 2;
        san_rice(bits, rule->members, 2);
        if (rule->members[0] >= rule->members[1] || rule->members[1] >= i || rules[rule->members[0]].n ||
            rules[rule->members[1]].n)
            san_refuse(bits->san, SAN_CORRUPT, "member %u of a mix is derived from members %u and %u", (unsigned)i,
                       (unsigned)rule->members[0], (unsigned)rule->members[1]);
        for (int j = 0; j < 2; j++) rule->factors[j] = twice_factors[san_u(bits, 2)];
    }
}

void san_read_mix(Bits *bits, Channel *channels, uint32_t group, Mix *mix) {
    San *san = bits->san;
    find_members(san, channels, group, mix);
    uint64_t n_weights = (uint64_t)mix->n_members * mix->n_components;
    if (n_weights > MAX_MIX_WEIGHTS)
        san_refuse(san, SAN_LIMIT, "%u channels of %u components", (unsigned)mix->n_members,
                   (unsigned)mix->n_components);
    int32_t *weights = san_take(san, n_weights, sizeof *weights);
    mix->weights = weights;
    const Block *mark = san->blocks;
    uint8_t *shifts = san_take(san, mix->n_components, 1);
    for (uint32_t k = 0; k < mix->n_components; k++) {
        shifts[k] = (uint8_t)san_u(bits, 4);
        if (shifts[k] > MAX_MIX_SHIFT) san_refuse(san, SAN_LIMIT, "weights of a component in 2^-%d", shifts[k]);
    }
    Rule *rules = san_take(san, mix->n_members, sizeof *rules);
    read_rules(bits, mix->n_members, rules);
    uint32_t n_direct = 0;
    for (uint32_t i = 0; i < mix->n_members; i++) n_direct += !rules[i].n;
    for (uint32_t k = 0; k < mix->n_components; k++) {
        Rice list = san_list(bits, n_direct);
        for (uint32_t i = 0; i < mix->n_members; i++) {
            if (rules[i].n) continue;
            int32_t weight = san_next_signed(&list), most = 1 << shifts[k];
            if (weight < -most || weight > most)
                san_refuse(san, SAN_LIMIT, "a weight of %d / %d of a component", (int)weight, (int)most);
            weights[(size_t)i * mix->n_components + k] = weight * (1 << (WEIGHT_BITS - shifts[k]));
        }
    }
    for (uint32_t i = 0; i < mix->n_members; i++)
        for (int j = 0; j < rules[i].n; j++)
            for (uint32_t k = 0; k < mix->n_components; k++)
                weights[(size_t)i * mix->n_components + k] +=
                    weights[(size_t)rules[i].members[j] * mix->n_components + k] * rules[i].factors[j] / 2;
    san_release(san, mark);
}

/* 10.5: the products and their sums stay below 2^52. */
static void check_sums(const Chunk *chunk, const Mix *mix, uint32_t length) {
    uint64_t largest = 0, weight_sum = 0;
    for (uint32_t k = 0; k < mix->n_components; k++) {
        const int64_t *component = san_approximation_of(chunk, mix->components[k]);
        for (uint32_t n = 0; n < length; n++) {
            uint64_t magnitude = component[n] < 0 ? -(uint64_t)component[n] : (uint64_t)component[n];
            if (magnitude > largest) largest = magnitude;
        }
    }
    for (uint32_t i = 0; i < mix->n_members; i++) {
        uint64_t sum = 0;
        for (uint32_t k = 0; k < mix->n_components; k++) {
            int32_t weight = mix->weights[(size_t)i * mix->n_components + k];
            sum += (uint64_t)(weight < 0 ? -weight : weight);
        }
        if (sum > weight_sum) weight_sum = sum;
    }
    if (weight_sum && largest > ((UINT64_C(1) << 52) - 1) / weight_sum)
        san_refuse(chunk->san, SAN_CORRUPT, "a component lies beyond the exact range of its weights");
}

void san_mix(Chunk *chunk, const Mix *mix) {
    San *san = chunk->san;
    uint32_t length = san_length_of(chunk, &chunk->segment->channels[mix->members[0]]);
    check_sums(chunk, mix, length);
    const Block *mark = san->blocks;
    int64_t *components = san_take(san, (uint64_t)mix->n_components * BLOCK, sizeof *components);
    for (uint32_t first = 0; first < length; first += BLOCK) {
        uint32_t n = length - first < BLOCK ? length - first : BLOCK;
        for (uint32_t k = 0; k < mix->n_components; k++)
            memcpy(components + (size_t)k * BLOCK, san_approximation_of(chunk, mix->components[k]) + first,
                   n * sizeof *components);
        for (uint32_t i = 0; i < mix->n_members; i++) {
            const Channel *channel = &chunk->segment->channels[mix->members[i]];
            int64_t sums[BLOCK] = {0}, *result = san_approximation_of(chunk, mix->members[i]) + first;
            for (uint32_t k = 0; k < mix->n_components; k++) {
                int64_t weight = mix->weights[(size_t)i * mix->n_components + k];
                for (uint32_t j = 0; weight && j < n; j++) sums[j] += weight * components[(size_t)k * BLOCK + j];
            }
            for (uint32_t j = 0; j < n; j++)
                result[j] = san_within(channel, (sums[j] + (INT64_C(1) << (WEIGHT_BITS + 9))) >> (WEIGHT_BITS + 10));
        }
    }
    san_release(san, mark);
}
