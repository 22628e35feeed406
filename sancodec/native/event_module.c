/* Beat events under the mixing coder, from Python: sancodec/codec/event_mixing.py. */

#include "event_mixing.h"
#include "functions.h"

/* Prior; groups and channels; starts, gains and kernel ids, which an encoder is given and a decoder finds; coded bytes
   or None, and where there are none the room for them. Returns how many bytes there are, or what events_run refuses
   with. */
PyObject *core_event_mixing(PyObject *module, PyObject *const *arguments, Py_ssize_t n_arguments) {
    Call call;
    (void)module;
    if (!take(&call, arguments, n_arguments, "Hqqq=q=q=B?B=")) return NULL;
    int is_decoder = call.data[6] != NULL;
    if (call.length[0] != N_EVENT_PRIOR || call.length[1] % 2 || call.length[2] % 2 || call.length[4] != call.length[5])
        return refuse(&call, "event_mixing: lengths do not agree");
    EventChunk chunk = {.groups = call.data[1],
                        .n_groups = (size_t)(call.length[1] / 2),
                        .channels = call.data[2],
                        .n_channels = (size_t)(call.length[2] / 2),
                        .starts = call.data[3],
                        .n_starts = (size_t)call.length[3],
                        .gains = call.data[4],
                        .ids = call.data[5],
                        .n_gains = (size_t)call.length[4]};
    int bytes = is_decoder ? 6 : 7, result;
    size_t used = 0;
    Py_BEGIN_ALLOW_THREADS
    result = events_run(call.data[0], &chunk, call.data[bytes], (size_t)call.length[bytes], is_decoder, &used);
    Py_END_ALLOW_THREADS
    if (result == EVENTS_NO_MEMORY) return out_of_memory(&call);
    return finish(&call, result ? result : (int64_t)used);
}
