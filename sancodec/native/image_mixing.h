/* Symbols of images, coded pixel by pixel in contexts of those before (docs/format.md, "Images by mixing").

   The same in Python: sancodec/images/mixing.py. */

#ifndef SANCODEC_IMAGE_MIXING_H
#define SANCODEC_IMAGE_MIXING_H

#include "mixing.h"

enum {
    IMAGE_INPUTS = 12,
    IMAGE_TABLE_BITS = 18,
    IMAGE_KNOTS = 33,
    IMAGE_ACTIVITIES = 8,
    IMAGE_CELLS = 256,
    IMAGE_HASHED = 1 << 16,
    MAX_IMAGE_SYMBOLS = 256
};

enum { IMAGE_NO_MEMORY = -2, IMAGE_DAMAGED = -1 };

typedef struct {
    const uint8_t *values; /* of the symbols, rising */
    int n_symbols, background;
    int64_t n_images, height, width;
} ImageForm;

/* Code the symbols of images one after the other; how many bytes there are, or what is wrong. */
int64_t code_images(const ImageForm *form, RangeCoder *coder, int is_decoder, uint8_t *symbols);

#endif
