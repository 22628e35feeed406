import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_examples import stacks, symbols_of

from sancodec.codec import native
from sancodec.errors import CorruptError
from sancodec.images.mixing import code_in_python, decode_symbols, encode_symbols

needs_core = pytest.mark.skipif(not hasattr(native.core, "image_symbols"), reason="the native core is not built")
SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))


def decoded_in_python(coded, shape, values, background):
    symbols = np.zeros(shape, np.uint8)
    code_in_python(symbols, values, background, coded)
    return symbols


@needs_core
@pytest.mark.parametrize("name", stacks())
def test_core_and_python_code_the_same_bytes(name):
    symbols, values, background = symbols_of(stacks()[name])
    coded = encode_symbols(symbols, values, background)
    assert coded == code_in_python(symbols.copy(), values, background, None)
    assert np.array_equal(decode_symbols(coded, symbols.shape, values, background), symbols)
    assert np.array_equal(decoded_in_python(coded, symbols.shape, values, background), symbols)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_symbols_come_back(data):
    shape = data.draw(SHAPES)
    n_symbols = data.draw(st.sampled_from([1, 2, 3, 5, 16, 17, 200, 256]))
    values = np.sort(np.random.default_rng(n_symbols).permutation(256)[:n_symbols]).astype(np.uint8)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    symbols = (rng.integers(0, n_symbols, shape) * (rng.random(shape) < 0.7)).astype(np.uint8)
    background = data.draw(st.integers(0, n_symbols - 1))
    coded = encode_symbols(symbols, values, background)
    assert np.array_equal(decode_symbols(coded, shape, values, background), symbols)


@needs_core
def test_noise_that_grows_is_coded():
    symbols = np.random.default_rng(0).integers(0, 256, (4, 50, 50)).astype(np.uint8)
    values = np.arange(256, dtype=np.uint8)
    coded = encode_symbols(symbols, values, 0)
    assert len(coded) < 1.2 * symbols.size
    assert np.array_equal(decode_symbols(coded, symbols.shape, values, 0), symbols)


def outcome(decode, *arguments):
    try:
        return decode(*arguments).tobytes()
    except CorruptError:
        return None


@needs_core
@pytest.mark.parametrize("n_symbols", [1, 3, 200])
def test_any_bytes_are_decoded_alike_or_refused(n_symbols):
    rng = np.random.default_rng(n_symbols)
    values = np.arange(n_symbols, dtype=np.uint8)
    results = []
    for length in (0, 1, 2, 5, 30, 200):
        arguments = (rng.bytes(length), (2, 6, 7), values, 0)
        results.append(outcome(decode_symbols, *arguments))
        assert results[-1] == outcome(decoded_in_python, *arguments)
    assert None in results


@pytest.mark.parametrize("change", [lambda b: b[:-3], lambda b: b + b"\1\2\3", lambda b: b[: len(b) // 2]])
def test_streams_of_another_length_are_refused(change):
    symbols, values, background = symbols_of(stacks()["noisy"])
    coded = encode_symbols(symbols, values, background)
    with pytest.raises(CorruptError, match="out of range, or the stream ends"):
        decode_symbols(change(coded), symbols.shape, values, background)


@needs_core
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (lambda v, s: (v, 3, 2, 2, s, None, s), "background"),
        (lambda v, s: (v, 0, 2, 3, s, None, s), "another size"),
        (lambda v, s: (v, 0, 0, 2, s, None, s), "another size"),
        (lambda v, s: (v, 0, 1 << 40, 1 << 40, s, None, s), "another size"),
        (lambda v, s: (v, 0, 2, 2, s + 3, None, s), "no such symbol"),
        (lambda v, s: (v[:0], 0, 2, 2, s, None, s), "no symbols"),
    ],
)
def test_the_core_refuses_arguments_that_contradict_each_other(arguments, complaint):
    values, symbols = np.array([0, 9, 200], np.uint8), np.zeros(4, np.uint8)
    with pytest.raises(ValueError, match=complaint):
        native.core.image_symbols(*arguments(values, symbols))
