/* Interleaved rANS: docs/format.md, "Class coder"; sancodec/codec/rans.py. */

#include "functions.h"

#include <stdlib.h>

enum { PROBABILITY_BITS = 12, TOTAL = 1 << PROBABILITY_BITS, LOWER_BOUND = 1 << 16 };
enum { NO_MEMORY = -1, NO_SUCH_SYMBOL = -2, TRUNCATED = -3 };

/* Ends of consecutive ranges of lanes; false where they do not cover n lanes. */
static int covers(const int64_t *lanes, int64_t n_streams, int64_t n) {
    int64_t sum = 0;
    for (int64_t stream = 0; stream < n_streams; stream++) {
        if (lanes[stream] < 0 || lanes[stream] > n - sum) return 0;
        sum += lanes[stream];
    }
    return sum == n;
}

typedef struct {
    const int64_t *frequency, *start; /* by context * n_symbols + symbol */
    int64_t n_contexts, n_symbols;
} Table;

static int64_t encode(const uint8_t *contexts, const uint8_t *symbols, int64_t n_steps, const int64_t *lanes,
                      int64_t n_streams, int64_t n_lanes, uint32_t *states, uint16_t *words, int64_t *counts,
                      const Table *table) {
    /* A stream's words are written from the end of its share of the array, then moved to the others. */
    uint16_t **next = malloc((size_t)(n_streams ? n_streams : 1) * sizeof *next);
    if (!next) return NO_MEMORY;
    int64_t last = 0;
    for (int64_t stream = 0; stream < n_streams; stream++) {
        last += lanes[stream];
        next[stream] = words + last * n_steps;
    }
    int64_t status = 0;
    for (int64_t step = n_steps - 1; step >= 0 && status == 0; step--) {
        int64_t end = n_lanes;
        for (int64_t stream = n_streams - 1; stream >= 0; stream--) {
            uint16_t *word = next[stream];
            int64_t first = end - lanes[stream];
            for (int64_t lane = end - 1; lane >= first; lane--) {
                int64_t context = contexts[step * n_lanes + lane], symbol = symbols[step * n_lanes + lane];
                int64_t at = context * table->n_symbols + symbol;
                int64_t frequency = 0;
                if (context < table->n_contexts && symbol < table->n_symbols) frequency = table->frequency[at];
                if (frequency <= 0 || frequency > TOTAL) {
                    status = NO_SUCH_SYMBOL;
                    goto done;
                }
                uint32_t state = states[lane], f = (uint32_t)frequency;
                if (state >= (uint64_t)f << (32 - PROBABILITY_BITS)) {
                    *--word = (uint16_t)state;
                    state >>= 16;
                }
                states[lane] = ((state / f) << PROBABILITY_BITS) + state % f + (uint32_t)table->start[at];
            }
            next[stream] = word;
            end = first;
        }
    }
    uint16_t *to = words;
    last = 0;
    for (int64_t stream = 0; stream < n_streams; stream++) {
        last += lanes[stream];
        counts[stream] = words + last * n_steps - next[stream];
        memmove(to, next[stream], (size_t)counts[stream] * sizeof *words);
        to += counts[stream];
    }
done:
    free(next);
    return status;
}

/* contexts, symbols (step, lane); lanes of each stream; states, words and words of each stream as results. */
PyObject *core_rans_encode(PyObject *module, PyObject *const *arguments, Py_ssize_t n_arguments) {
    Call call;
    (void)module;
    if (!take(&call, arguments, n_arguments, "BBqI=H=q=qqn")) return NULL;
    int64_t n_lanes = call.length[3], size = call.length[0], n_symbols = call.number[8];
    if (!covers(call.data[2], call.length[2], n_lanes) || (n_lanes ? size % n_lanes : size) || call.length[1] != size ||
        call.length[4] != size || call.length[5] != call.length[2] || n_symbols < 1 ||
        call.length[6] % n_symbols || call.length[7] != call.length[6])
        return refuse(&call, "rans_encode: lengths do not agree");
    Table table = {call.data[6], call.data[7], call.length[6] / n_symbols, n_symbols};
    int64_t status;
    Py_BEGIN_ALLOW_THREADS
    status = encode(call.data[0], call.data[1], n_lanes ? size / n_lanes : 0, call.data[2], call.length[2], n_lanes,
                    call.data[3], call.data[4], call.data[5], &table);
    Py_END_ALLOW_THREADS
    if (status == NO_MEMORY) return out_of_memory(&call);
    return status ? refuse(&call, "rans_encode: a symbol has no frequency in its context") : finish(&call, 0);
}

typedef struct {
    const Table *table;
    const uint8_t *slot_symbol; /* (context, slot) */
    const uint16_t *words;
} Source;

/* The next symbol of a lane, or what is wrong; a context must be one of the table's. */
static inline int next_symbol(const Source *from, int64_t context, int64_t *lane, int64_t *position, int64_t end) {
    uint32_t state = (uint32_t)*lane, slot = state & (TOTAL - 1);
    uint8_t symbol = from->slot_symbol[context * TOTAL + slot];
    if (symbol >= from->table->n_symbols) return NO_SUCH_SYMBOL;
    int64_t at = context * from->table->n_symbols + symbol;
    state = (uint32_t)from->table->frequency[at] * (state >> PROBABILITY_BITS) + slot - (uint32_t)from->table->start[at];
    if (state < LOWER_BOUND) {
        if (*position >= end) return TRUNCATED;
        state = state << 16 | from->words[(*position)++];
    }
    *lane = state;
    return symbol;
}

/* The tables in arguments `first` (symbols of slots, frequencies, starts, number of symbols), and whether they agree. */
static int tables_of(const Call *call, int first, Table *table) {
    int64_t n_symbols = call->number[first + 3];
    if (n_symbols < 1 || call->length[first + 1] % n_symbols || call->length[first + 2] != call->length[first + 1])
        return 0;
    *table = (Table){call->data[first + 1], call->data[first + 2], call->length[first + 1] / n_symbols, n_symbols};
    return call->length[first] == table->n_contexts * TOTAL;
}

static int lie_within(const int64_t *next, const int64_t *ends, int64_t n_streams, int64_t n_words) {
    for (int64_t stream = 0; stream < n_streams; stream++)
        if (next[stream] < 0 || ends[stream] > n_words) return 0;
    return 1;
}

static int decode_steps(const Source *from, const uint8_t *contexts, int64_t n_steps, const int64_t *lanes,
                        int64_t n_streams, int64_t n_lanes, int64_t *states, int64_t *next, const int64_t *ends,
                        uint8_t *symbols) {
    for (int64_t step = 0; step < n_steps; step++) {
        int64_t at = step * n_lanes, *state = states;
        for (int64_t stream = 0; stream < n_streams; stream++) {
            for (int64_t last = at + lanes[stream]; at < last; at++, state++) {
                if (contexts[at] >= from->table->n_contexts) return NO_SUCH_SYMBOL;
                int symbol = next_symbol(from, contexts[at], state, &next[stream], ends[stream]);
                if (symbol < 0) return symbol;
                symbols[at] = (uint8_t)symbol;
            }
        }
    }
    return 0;
}

/* contexts (step, lane); lanes of each stream; states; words of all streams, where each reads next and where it ends;
   tables; symbols (step, lane) as the result. Returns 1 where a stream needs more words than it has. */
PyObject *core_rans_decode(PyObject *module, PyObject *const *arguments, Py_ssize_t n_arguments) {
    Call call;
    Table table;
    (void)module;
    if (!take(&call, arguments, n_arguments, "Bqq=Hq=qBqqnB=")) return NULL;
    int64_t size = call.length[0], n_lanes = call.length[2], n_streams = call.length[1];
    if (!covers(call.data[1], n_streams, n_lanes) || (n_lanes ? size % n_lanes : size) ||
        call.length[4] != n_streams || call.length[5] != n_streams || !tables_of(&call, 6, &table) ||
        call.length[10] != size)
        return refuse(&call, "rans_decode: lengths do not agree");
    if (!lie_within(call.data[4], call.data[5], n_streams, call.length[3]))
        return refuse(&call, "rans_decode: a stream lies outside the words");
    Source from = {&table, call.data[6], call.data[3]};
    int status;
    Py_BEGIN_ALLOW_THREADS
    status = decode_steps(&from, call.data[0], n_lanes ? size / n_lanes : 0, call.data[1], n_streams, n_lanes,
                          call.data[2], call.data[4], call.data[5], call.data[10]);
    Py_END_ALLOW_THREADS
    if (status == NO_SUCH_SYMBOL) return refuse(&call, "rans_decode: there is no such context");
    return finish(&call, status == TRUNCATED);
}

static int decode_band(const Source *from, const uint8_t *activity, const uint8_t *is_active, int64_t n_streams,
                       int64_t n_windows, int64_t n_lanes, int64_t first_context, int64_t *states, int64_t *next,
                       const int64_t *ends, uint8_t *symbols) {
    for (int64_t stream = 0; stream < n_streams; stream++, states += n_lanes) {
        int64_t at = stream * n_windows, position = next[stream], lane = 0;
        if (!is_active[stream]) {
            memset(symbols + at, 0, (size_t)n_windows);
            continue;
        }
        for (int64_t last = at + n_windows; at < last; at++) {
            int64_t context = first_context + activity[at];
            if (context >= from->table->n_contexts) return NO_SUCH_SYMBOL;
            int symbol = next_symbol(from, context, &states[lane], &position, ends[stream]);
            if (symbol < 0) return symbol;
            symbols[at] = (uint8_t)symbol;
            if (++lane == n_lanes) lane = 0;
        }
        next[stream] = position;
    }
    return 0;
}

/* Streams of as many lanes each, window w by lane w mod lanes: classes (stream, window), which streams code the band,
   windows, lanes, first context; states, words, where each stream reads next and where it ends; tables; symbols
   (stream, window) as the result, 0 where a band is off. Returns 1 where a stream needs more words than it has. */
PyObject *core_rans_decode_band(PyObject *module, PyObject *const *arguments, Py_ssize_t n_arguments) {
    Call call;
    Table table;
    (void)module;
    if (!take(&call, arguments, n_arguments, "BBnnnq=Hq=qBqqnB=")) return NULL;
    int64_t size = call.length[0], n_streams = call.length[1], n_windows = call.number[2], n_lanes = call.number[3];
    if (n_windows < 1 || n_lanes < 1 || call.number[4] < 0 || size % n_windows || size / n_windows != n_streams ||
        call.length[5] % n_lanes || call.length[5] / n_lanes != n_streams || call.length[7] != n_streams ||
        call.length[8] != n_streams || !tables_of(&call, 9, &table) || call.length[13] != size)
        return refuse(&call, "rans_decode_band: lengths do not agree");
    if (!lie_within(call.data[7], call.data[8], n_streams, call.length[6]))
        return refuse(&call, "rans_decode_band: a stream lies outside the words");
    Source from = {&table, call.data[9], call.data[6]};
    int status;
    Py_BEGIN_ALLOW_THREADS
    status = decode_band(&from, call.data[0], call.data[1], n_streams, n_windows, n_lanes, call.number[4],
                         call.data[5], call.data[7], call.data[8], call.data[13]);
    Py_END_ALLOW_THREADS
    if (status == NO_SUCH_SYMBOL) return refuse(&call, "rans_decode_band: there is no such context");
    return finish(&call, status == TRUNCATED);
}
