/* Which level each pixel takes, weighed against what it costs (sancodec/images/rounding.py). Only encoders need it. */

#ifndef SANCODEC_IMAGE_LEVELS_H
#define SANCODEC_IMAGE_LEVELS_H

#include <stddef.h>
#include <stdint.h>

enum { IMAGE_REACH = 2, IMAGE_TAPS = 25, MAX_IMAGE_LEVELS = 16 };

typedef struct {
    const uint8_t *pixels;
    uint8_t *levels; /* of each pixel: what it is, and what it becomes */
    int64_t n_images, height, width;
    const int32_t *kernels; /* [level][tap] in 2^-6 */
    const int32_t *costs;   /* [W][N][NE][NW][level] in 2^-8 bits */
    int64_t price;          /* of 2^-8 bits in squared 2^-6 */
    int n_levels, background;
} ImageLevels;

/* Visit every pixel once; how many changed, or -1 without memory. */
int64_t round_levels(const ImageLevels *images);

#endif
