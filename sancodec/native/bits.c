/* Strings of bits, one in a byte each: sancodec/codec/bits.py. */

#include "functions.h"

enum { MAX_WIDTH = 63, PARAMETER_BITS = 5, MAX_PARAMETER = 30, MAX_QUOTIENT = 24, ESCAPE_BITS = 32 };

/* Sum of the widths, or -1 where one is out of range. */
static int64_t total_of(const int64_t *widths, int64_t n) {
    int64_t total = 0;
    for (int64_t at = 0; at < n; at++) {
        if (widths[at] < 0 || widths[at] > MAX_WIDTH) return -1;
        total += widths[at];
    }
    return total;
}

static uint8_t *put(uint8_t *bits, int64_t value, int64_t width) {
    while (width-- > 0) *bits++ = (uint8_t)(value >> width & 1);
    return bits;
}

static int64_t get(const uint8_t *bits, int64_t width) {
    int64_t value = 0;
    while (width-- > 0) value = value << 1 | (*bits++ & 1);
    return value;
}

/* Values, their widths; bits as the result. */
PyObject *core_fields_to_bits(PyObject *module, PyObject *const *arguments, Py_ssize_t n_arguments) {
    Call call;
    (void)module;
    if (!take(&call, arguments, n_arguments, "qqB=")) return NULL;
    const int64_t *values = call.data[0], *widths = call.data[1];
    if (call.length[1] != call.length[0] || total_of(widths, call.length[1]) != call.length[2])
        return refuse(&call, "fields_to_bits: lengths do not agree");
    uint8_t *bits = call.data[2];
    Py_BEGIN_ALLOW_THREADS
    for (int64_t at = 0; at < call.length[0]; at++) bits = put(bits, values[at], widths[at]);
    Py_END_ALLOW_THREADS
    return finish(&call, 0);
}

/* Bits, widths of the values; values as the result. */
PyObject *core_bits_to_fields(PyObject *module, PyObject *const *arguments, Py_ssize_t n_arguments) {
    Call call;
    (void)module;
    if (!take(&call, arguments, n_arguments, "Bqq=")) return NULL;
    const int64_t *widths = call.data[1];
    if (call.length[2] != call.length[1] || total_of(widths, call.length[1]) != call.length[0])
        return refuse(&call, "bits_to_fields: lengths do not agree");
    const uint8_t *bits = call.data[0];
    int64_t *values = call.data[2];
    Py_BEGIN_ALLOW_THREADS
    for (int64_t at = 0; at < call.length[1]; bits += widths[at++]) values[at] = get(bits, widths[at]);
    Py_END_ALLOW_THREADS
    return finish(&call, 0);
}

static int are_rice_values(const int64_t *values, int64_t n) {
    for (int64_t at = 0; at < n; at++)
        if (values[at] < 0) return 0;
    return 1;
}

/* Unsigned numbers, of which 32 bits are written, a Rice parameter; how many bits the list takes with it. */
PyObject *core_rice_cost(PyObject *module, PyObject *const *arguments, Py_ssize_t n_arguments) {
    Call call;
    (void)module;
    if (!take(&call, arguments, n_arguments, "qn")) return NULL;
    const int64_t *values = call.data[0];
    int64_t n = call.length[0], parameter = call.number[1], cost = 0;
    if (parameter < 0 || parameter > MAX_PARAMETER || !are_rice_values(values, n))
        return refuse(&call, "rice_cost: a number or the parameter is out of range");
    Py_BEGIN_ALLOW_THREADS
    for (int64_t at = 0; at < n; at++) {
        int64_t quotient = values[at] >> parameter;
        cost += quotient < MAX_QUOTIENT ? quotient + 1 + parameter : MAX_QUOTIENT + 1 + ESCAPE_BITS;
    }
    Py_END_ALLOW_THREADS
    return finish(&call, PARAMETER_BITS + cost);
}

/* Numbers and parameter as for rice_cost; bits, as many as that says, as the result. */
PyObject *core_rice_write(PyObject *module, PyObject *const *arguments, Py_ssize_t n_arguments) {
    Call call;
    (void)module;
    if (!take(&call, arguments, n_arguments, "qnB=")) return NULL;
    const int64_t *values = call.data[0];
    int64_t n = call.length[0], parameter = call.number[1], n_unary = 0, n_escaped = 0;
    if (parameter < 0 || parameter > MAX_PARAMETER || !are_rice_values(values, n))
        return refuse(&call, "rice_write: a number or the parameter is out of range");
    for (int64_t at = 0; at < n; at++) {
        int64_t quotient = values[at] >> parameter;
        n_escaped += quotient >= MAX_QUOTIENT;
        n_unary += (quotient < MAX_QUOTIENT ? quotient : MAX_QUOTIENT) + 1;
    }
    if (call.length[2] != PARAMETER_BITS + n_unary + (n - n_escaped) * parameter + n_escaped * ESCAPE_BITS)
        return refuse(&call, "rice_write: there is not the right room");
    uint8_t *unary = put(call.data[2], parameter, PARAMETER_BITS), *rest = unary + n_unary;
    uint8_t *escaped = rest + (n - n_escaped) * parameter;
    Py_BEGIN_ALLOW_THREADS
    for (int64_t at = 0; at < n; at++) {
        int64_t quotient = values[at] >> parameter;
        int is_escaped = quotient >= MAX_QUOTIENT;
        for (int64_t one = is_escaped ? MAX_QUOTIENT : quotient; one > 0; one--) *unary++ = 1;
        *unary++ = 0;
        if (is_escaped)
            escaped = put(escaped, values[at], ESCAPE_BITS);
        else
            rest = put(rest, values[at], parameter);
    }
    Py_END_ALLOW_THREADS
    return finish(&call, 0);
}

static int64_t rice_read(const uint8_t *bits, int64_t position, int64_t end, int64_t *values, int64_t n) {
    if (end - position < PARAMETER_BITS) return -1;
    int64_t parameter = get(bits + position, PARAMETER_BITS), n_escaped = 0;
    if (parameter > MAX_PARAMETER) return -1;
    position += PARAMETER_BITS;
    for (int64_t at = 0; at < n; at++) {
        int64_t quotient = 0;
        while (position < end && bits[position] && quotient <= MAX_QUOTIENT) position++, quotient++;
        if (position == end || quotient > MAX_QUOTIENT) return -1;
        position++;
        values[at] = quotient;
        n_escaped += quotient == MAX_QUOTIENT;
    }
    if (end - position < (n - n_escaped) * parameter + n_escaped * ESCAPE_BITS) return -1;
    int64_t escaped = position + (n - n_escaped) * parameter;
    for (int64_t at = 0; at < n; at++) {
        if (values[at] == MAX_QUOTIENT) {
            values[at] = get(bits + escaped, ESCAPE_BITS);
            escaped += ESCAPE_BITS;
        } else {
            values[at] = values[at] << parameter | get(bits + position, parameter);
            position += parameter;
            if (values[at] >> ESCAPE_BITS) return -1;
        }
    }
    return escaped;
}

/* Bits, where the list begins; numbers as the result. Returns where the list ends, or -1 where it is damaged. */
PyObject *core_rice_read(PyObject *module, PyObject *const *arguments, Py_ssize_t n_arguments) {
    Call call;
    (void)module;
    if (!take(&call, arguments, n_arguments, "Bnq=")) return NULL;
    if (call.number[1] < 0 || call.number[1] > call.length[0])
        return refuse(&call, "rice_read: the list begins outside the bits");
    int64_t position;
    Py_BEGIN_ALLOW_THREADS
    position = rice_read(call.data[0], call.number[1], call.length[0], call.data[2], call.length[2]);
    Py_END_ALLOW_THREADS
    return finish(&call, position);
}
