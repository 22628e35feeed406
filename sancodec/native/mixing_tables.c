#include "mixing.h"

int16_t mixing_stretch[4096];
uint16_t mixing_squash[4096];
uint16_t mixing_rate[MAX_COUNT + 1];

/* round(65536 / (1 + exp(-k / 4))), k from -32 to 32: what docs/format.md lists. */
static const uint16_t knots[65] = {
    22, 28, 36, 47, 60, 77, 98, 126, 162, 208, 267, 342,
    439, 562, 720, 922, 1179, 1506, 1921, 2446, 3108, 3938, 4971, 6249,
    7812, 9702, 11955, 14595, 17625, 21025, 24743, 28693, 32768, 36843, 40793, 44511,
    47911, 50941, 53581, 55834, 57724, 59287, 60565, 61598, 62428, 63090, 63615, 64030,
    64357, 64614, 64816, 64974, 65097, 65194, 65269, 65328, 65374, 65410, 65438, 65459,
    65476, 65489, 65500, 65508, 65514
};

void mixing_tables(void) {
    for (int x = 0; x < 4096; x++) {
        int knot = x >> 6, share = x & 63;
        mixing_squash[x] = (uint16_t)((knots[knot] * (64 - share) + knots[knot + 1] * share + 32) >> 6);
    }
    /* The stretch of a probability is the smallest one whose squash is not below its middle. */
    int x = 1;
    for (uint32_t p = 0; p < 4096; p++) {
        while (x < 4095 && mixing_squash[x] < p * 16 + 8) x++;
        mixing_stretch[p] = (int16_t)(x - 2048);
    }
    for (uint32_t n = 0; n <= MAX_COUNT; n++) mixing_rate[n] = (uint16_t)((65536 * 2 + n) / (2 * n + 3));
}
