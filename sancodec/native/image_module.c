/* Python's way to images: sancodec/images/mixing.py and rounding.py. */

#include "functions.h"
#include "image_levels.h"
#include "image_mixing.h"

enum { MAX_IMAGE_SIDE = 1 << 16 };

/* Whether the sizes are those of so many pixels. */
static int are_sizes(int64_t n_images, int64_t height, int64_t width, int64_t n_pixels) {
    return height >= 1 && width >= 1 && height <= MAX_IMAGE_SIDE && width <= MAX_IMAGE_SIDE && n_images >= 1 &&
           n_images <= n_pixels && n_pixels % (height * width) == 0 && n_pixels / (height * width) == n_images;
}

/* Values of the symbols, background, height, width; symbols, which an encoder's input or the result are; coded bytes
   or None, and where there are none the room for them. Returns how many bytes there are; -1 where they are no such
   images. */
PyObject *core_image_symbols(PyObject *module, PyObject *const *arguments, Py_ssize_t n_arguments) {
    Call call;
    (void)module;
    if (!take(&call, arguments, n_arguments, "BnnnB=B?B=")) return NULL;
    int is_decoder = call.data[5] != NULL;
    int64_t n_symbols = call.length[0], height = call.number[2], width = call.number[3];
    if (n_symbols < 1 || n_symbols > MAX_IMAGE_SYMBOLS || call.number[1] < 0 || call.number[1] >= n_symbols)
        return refuse(&call, "image_symbols: there are no symbols, or too many, or the background is none");
    int64_t n_images = height >= 1 && width >= 1 ? call.length[4] / height / width : 0;
    if (!are_sizes(n_images, height, width, call.length[4]))
        return refuse(&call, "image_symbols: symbols of another size");
    uint8_t *symbols = call.data[4];
    for (int64_t i = 0; i < call.length[4] && !is_decoder; i++)
        if (symbols[i] >= n_symbols) return refuse(&call, "image_symbols: there is no such symbol");
    ImageForm form = {call.data[0], (int)n_symbols, (int)call.number[1], n_images, height, width};
    RangeCoder coder;
    if (is_decoder)
        start_decoding(&coder, call.data[5], (size_t)call.length[5]);
    else
        start_encoding(&coder, call.data[6], (size_t)call.length[6]);
    int64_t result;
    Py_BEGIN_ALLOW_THREADS
    result = code_images(&form, &coder, is_decoder, symbols);
    Py_END_ALLOW_THREADS
    if (result == IMAGE_NO_MEMORY) return out_of_memory(&call);
    return finish(&call, result);
}

/* Pixels, levels, which are changed, height, width, kernels, costs, price, background. Returns how many changed. */
PyObject *core_image_rounding(PyObject *module, PyObject *const *arguments, Py_ssize_t n_arguments) {
    Call call;
    (void)module;
    if (!take(&call, arguments, n_arguments, "BB=nniinn")) return NULL;
    int64_t height = call.number[2], width = call.number[3], n_levels = call.length[4] / IMAGE_TAPS;
    int64_t n_images = height >= 1 && width >= 1 ? call.length[0] / height / width : 0;
    if (!are_sizes(n_images, height, width, call.length[0]) || call.length[0] != call.length[1])
        return refuse(&call, "image_rounding: pixels and levels of other sizes");
    if (n_levels < 1 || n_levels > MAX_IMAGE_LEVELS || call.length[4] != n_levels * IMAGE_TAPS ||
        call.length[5] != n_levels * n_levels * n_levels * n_levels * n_levels || call.number[7] < 0 ||
        call.number[7] >= n_levels)
        return refuse(&call, "image_rounding: kernels or costs of other levels");
    uint8_t *levels = call.data[1];
    for (int64_t i = 0; i < call.length[1]; i++)
        if (levels[i] >= n_levels) return refuse(&call, "image_rounding: there is no such level");
    ImageLevels images = {call.data[0], levels,       n_images,       height,        width,
                          call.data[4], call.data[5], call.number[6], (int)n_levels, (int)call.number[7]};
    int64_t result;
    Py_BEGIN_ALLOW_THREADS
    result = round_levels(&images);
    Py_END_ALLOW_THREADS
    if (result < 0) return out_of_memory(&call);
    return finish(&call, result);
}
