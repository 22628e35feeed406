/* The residual layer under the mixing coder, from Python: sancodec/codec/residual_mixing.py. */

#include "functions.h"
#include "residual_mixing.h"

#define N_FIELDS(type) ((int64_t)(sizeof(type) / sizeof(int64_t)))

/* Prior; channels, lengths of the planes, references, weights, approximations; samples, which an encoder's targets or
   the result are; coded bytes or None, and where there are none the room for them. Returns how many bytes there are, or
   what residual_run refuses with. */
PyObject *core_residual_mixing(PyObject *module, PyObject *const *arguments, Py_ssize_t n_arguments) {
    Call call;
    (void)module;
    if (!take(&call, arguments, n_arguments, "HqqqqqB?q=B=")) return NULL;
    int is_decoder = call.data[6] != NULL;
    if (call.length[0] != N_PRIOR || call.length[1] % N_FIELDS(ResidualChannel) ||
        call.length[3] % N_FIELDS(ResidualReference) || call.length[5] != call.length[7])
        return refuse(&call, "residual_mixing: lengths do not agree");
    ResidualState *state = PyMem_Malloc(sizeof *state);
    if (!state) return out_of_memory(&call);
    ResidualChunk chunk = {.channels = call.data[1],
                           .n_channels = (size_t)(call.length[1] / N_FIELDS(ResidualChannel)),
                           .plane_lengths = call.data[2],
                           .n_planes = (size_t)call.length[2],
                           .references = call.data[3],
                           .n_references = (size_t)(call.length[3] / N_FIELDS(ResidualReference)),
                           .weights = call.data[4],
                           .n_weights = (size_t)call.length[4],
                           .approximations = call.data[5],
                           .samples = call.data[7],
                           .n_samples = (size_t)call.length[7]};
    uint8_t *bytes = is_decoder ? call.data[6] : call.data[8];
    size_t length = (size_t)call.length[is_decoder ? 6 : 8], used = 0;
    int result;
    Py_BEGIN_ALLOW_THREADS
    residual_start(state, call.data[0]);
    result = residual_run(state, &chunk, bytes, length, is_decoder, &used);
    Py_END_ALLOW_THREADS
    PyMem_Free(state);
    if (result == RESIDUAL_NO_MEMORY) return out_of_memory(&call);
    return finish(&call, result ? result : (int64_t)used);
}
