/* 19.6 and 20.5: the statistics that mixed streams begin with. They belong to the format, and never change. */

#include <string.h>

#include "event_mixing.h"
#include "residual_mixing.h"
#include "san_internal.h"

static const struct {
    const char *name;
    size_t n_numbers;
    uint8_t sha256[32];
} priors[N_PRIORS] = {
    {"residual.prior", N_PRIOR, {0x5d, 0xcf, 0xff, 0x82, 0xba, 0xf4, 0x46, 0x5c, 0xfa, 0x20, 0x53,
                                 0x32, 0x90, 0x96, 0x73, 0x9b, 0x29, 0x38, 0x1b, 0x39, 0x6c, 0xb5,
                                 0xe2, 0x17, 0x2c, 0xb8, 0xf8, 0x4e, 0xe1, 0x03, 0x4c, 0x8d}},
    {"events.prior", N_EVENT_PRIOR, {0x62, 0xc3, 0xa3, 0x87, 0xd2, 0x5a, 0x43, 0xa7, 0x83, 0x00, 0xbe,
                                     0x8a, 0xd6, 0xab, 0xb3, 0xab, 0x4c, 0x96, 0xca, 0x0d, 0xc8, 0xbb,
                                     0xb3, 0xad, 0x21, 0x0e, 0x3b, 0x5d, 0x92, 0x1d, 0x49, 0xea}},
};

const uint16_t *san_prior(San *san, Prior which) {
    const SanOptions *options = &san->options;
    const uint8_t *given = which == EVENTS_PRIOR ? options->events_prior : options->residual_prior;
    size_t length = which == EVENTS_PRIOR ? options->events_prior_length : options->residual_prior_length;
    size_t n = priors[which].n_numbers;
    if (!san->is_prior_checked[which]) {
        uint8_t digest[32] = {0};
        if (given) san_sha256(digest, given, length);
        if (length != 2 * n || memcmp(digest, priors[which].sha256, sizeof digest))
            san_refuse(san, SAN_MODEL, "it needs the file %s, which belongs to docs/format.md", priors[which].name);
        san->is_prior_checked[which] = 1;
    }
    uint16_t *numbers = san_take(san, n, sizeof *numbers);
    for (size_t i = 0; i < n; i++) numbers[i] = (uint16_t)san_u16(given + 2 * i);
    return numbers;
}
