#include "image_levels.h"

#include <stdlib.h>
#include <string.h>

enum { KERNEL_BITS = 6, SIDE = 2 * IMAGE_REACH + 1 };

typedef struct {
    const ImageLevels *images;
    ptrdiff_t stride;
    uint8_t *levels;   /* of one image, with a margin of background */
    uint8_t *is_inside;
    int32_t *errors;   /* pixel minus reconstruction, in 2^-6 */
} Canvas;

static void load(const Canvas *canvas, const uint8_t *pixels, const uint8_t *levels) {
    const ImageLevels *images = canvas->images;
    int64_t height = images->height, width = images->width;
    memset(canvas->levels, images->background, (size_t)((height + 2 * IMAGE_REACH) * canvas->stride));
    for (int64_t row = 0; row < height; row++)
        memcpy(canvas->levels + (row + IMAGE_REACH) * canvas->stride + IMAGE_REACH, levels + row * width, (size_t)width);
    for (int64_t row = 0; row < height; row++)
        for (int64_t column = 0; column < width; column++) {
            ptrdiff_t at = (row + IMAGE_REACH) * canvas->stride + IMAGE_REACH + column;
            int32_t sum = 0;
            for (int tap = 0; tap < IMAGE_TAPS; tap++) {
                ptrdiff_t from = at + (tap / SIDE - IMAGE_REACH) * canvas->stride + tap % SIDE - IMAGE_REACH;
                sum += images->kernels[canvas->levels[from] * IMAGE_TAPS + tap];
            }
            canvas->errors[at] = ((int32_t)pixels[row * width + column] << KERNEL_BITS) - sum;
        }
}

static int64_t cost_at(const Canvas *canvas, ptrdiff_t at) {
    const uint8_t *here = canvas->levels + at, *north = here - canvas->stride;
    int n = canvas->images->n_levels;
    return canvas->images->costs[(((here[-1] * n + north[0]) * n + north[1]) * n + north[-1]) * n + here[0]];
}

/* Of a pixel and of those that have it in their contexts. */
static int64_t cost_around(const Canvas *canvas, ptrdiff_t at) {
    const ptrdiff_t later[4] = {at + 1, at + canvas->stride - 1, at + canvas->stride, at + canvas->stride + 1};
    int64_t cost = cost_at(canvas, at);
    for (int i = 0; i < 4; i++)
        if (canvas->is_inside[later[i]]) cost += cost_at(canvas, later[i]);
    return cost;
}

/* The growth of the squared error where a pixel takes another level; with is_final the errors take it over. */
static int64_t growth(const Canvas *canvas, ptrdiff_t at, int level, int is_final) {
    const int32_t *before = canvas->images->kernels + canvas->levels[at] * IMAGE_TAPS;
    const int32_t *after = canvas->images->kernels + level * IMAGE_TAPS;
    int64_t sum = 0;
    for (int tap = 0; tap < IMAGE_TAPS; tap++) {
        ptrdiff_t to = at - (tap / SIDE - IMAGE_REACH) * canvas->stride - (tap % SIDE - IMAGE_REACH);
        if (!canvas->is_inside[to]) continue;
        int64_t difference = after[tap] - before[tap];
        sum += difference * (difference - 2 * (int64_t)canvas->errors[to]);
        if (is_final) canvas->errors[to] -= (int32_t)difference;
    }
    return sum;
}

static int visit(const Canvas *canvas, ptrdiff_t at) {
    uint8_t *here = canvas->levels + at, was = *here, best = was;
    const int candidates[5] = {was - 1, was + 1, here[-1], here[-canvas->stride], canvas->images->background};
    int64_t least = 0, before = cost_around(canvas, at);
    for (int i = 0; i < 5; i++) {
        int level = candidates[i];
        if (level < 0 || level >= canvas->images->n_levels || level == was || level == best) continue;
        int64_t change = growth(canvas, at, level, 0);
        *here = (uint8_t)level;
        change += canvas->images->price * (cost_around(canvas, at) - before);
        *here = was;
        if (change < least) {
            least = change;
            best = (uint8_t)level;
        }
    }
    if (best == was) return 0;
    growth(canvas, at, best, 1);
    *here = best;
    return 1;
}

int64_t round_levels(const ImageLevels *images) {
    int64_t height = images->height, width = images->width, n_changed = 0;
    ptrdiff_t stride = (ptrdiff_t)width + 2 * IMAGE_REACH;
    size_t size = (size_t)(height + 2 * IMAGE_REACH) * (size_t)stride;
    Canvas canvas = {images, stride, malloc(size), calloc(size, 1), malloc(size * sizeof(int32_t))};
    if (canvas.levels && canvas.is_inside && canvas.errors) {
        for (int64_t row = 0; row < height; row++)
            memset(canvas.is_inside + (row + IMAGE_REACH) * stride + IMAGE_REACH, 1, (size_t)width);
        for (int64_t image = 0; image < images->n_images; image++) {
            uint8_t *levels = images->levels + image * height * width;
            load(&canvas, images->pixels + image * height * width, levels);
            for (int64_t row = 0; row < height; row++)
                for (int64_t column = 0; column < width; column++)
                    n_changed += visit(&canvas, (row + IMAGE_REACH) * stride + IMAGE_REACH + column);
            for (int64_t row = 0; row < height; row++)
                memcpy(levels + row * width, canvas.levels + (row + IMAGE_REACH) * stride + IMAGE_REACH, (size_t)width);
        }
    } else
        n_changed = -1;
    free(canvas.levels);
    free(canvas.is_inside);
    free(canvas.errors);
    return n_changed;
}
