/* Every function of the module: F(name, what it does). Its C name is core_ and its name. */

#ifndef SANCODEC_FUNCTIONS_H
#define SANCODEC_FUNCTIONS_H

#include "call.h"

#define FUNCTIONS(F)                                                       \
    F(activity, "codec/contexts.py: BandParents.classes")                  \
    F(add_reference, "codec/residual.py: reference_sums")                  \
    F(amplitudes, "codec/quantiser.py: amplitudes_of")                     \
    F(bits_to_fields, "codec/bits.py")                                     \
    F(class_symbols, "codec/class_coder.py: _symbols_of")                  \
    F(code_levels, "codec/level_arithmetic.py")                            \
    F(event_mixing, "codec/event_mixing.py")                               \
    F(fields_to_bits, "codec/bits.py")                                     \
    F(image_rounding, "images/rounding.py")                                \
    F(image_symbols, "images/mixing.py")                                   \
    F(keep_apart, "codec/detection.py: extrema")                           \
    F(known, "codec/contexts.py: known_magnitude")                         \
    F(known_of_symbols, "codec/class_coder.py: symbol_magnitude")          \
    F(phases, "codec/contexts.py: phases_of_windows")                      \
    F(quantise, "codec/quantiser.py: quantise")                            \
    F(quantise_levels, "codec/trellis.py")                                 \
    F(quantise_plain, "codec/quantiser.py: quantise_plain")                \
    F(rans_decode, "codec/rans.py: StreamDecoder.decode")                  \
    F(rans_decode_band, "codec/class_coder.py: _decode_together")          \
    F(rans_encode, "codec/rans.py: encode_streams")                        \
    F(read_magnitudes, "codec/class_coder.py: _read_magnitudes")           \
    F(residual, "codec/residual.py: _run")                                 \
    F(residual_mixing, "codec/residual_arithmetic.py")                     \
    F(rice_cost, "codec/bits.py: BitWriter.rice")                          \
    F(rice_read, "codec/bits.py: BitReader.rice")                          \
    F(rice_write, "codec/bits.py: BitWriter.rice")                         \
    F(sums_by_phase, "codec/quantiser.py: profile_of")                     \
    F(synthesise, "codec/transform.py")

#define DECLARE(name, text) PyObject *core_##name(PyObject *, PyObject *const *, Py_ssize_t);
FUNCTIONS(DECLARE)
#undef DECLARE

#endif
