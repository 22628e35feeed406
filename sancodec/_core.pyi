from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]

VERSION: int

def activity(
    base: Array,
    n_windows: int,
    mother: Array | None,
    mother_ratio: int,
    grandmother: Array | None,
    grandmother_ratio: int,
    weights: Array,
    classes: Array,
    /,
) -> int: ...
def amplitudes(magnitudes: list[Array], negatives: list[Array], offsets: Array, result: Array, /) -> int: ...
def add_reference(samples: Array, length: int, weights: Array, first_lag: int, sums: Array, /) -> int: ...
def quantise_plain(
    absolute: Array,
    inverse: float,
    raised: float,
    magnitude: Array,
    dropped: Array,
    error: Array,
    sums: Array,
    /,
) -> int: ...
def class_symbols(
    magnitudes: list[Array],
    classes: list[Array],
    negatives: list[Array],
    n_direct: Array,
    first_context: int,
    n_chunks: int,
    n_lanes: int,
    contexts: Array,
    symbols: Array,
    excess: Array,
    low: Array,
    minus: Array,
    counts: Array,
    /,
) -> int: ...
def code_levels(
    is_decoder: int,
    content: Array,
    strides: list[Array],
    n_windows: list[Array],
    groups: list[Array],
    is_on: list[Array],
    expected: list[Array],
    phases: list[Array],
    levels: list[Array],
    others: Array,
    kinds: Array,
    terms: list[Array],
    taps: list[Array],
    priors: list[Array],
    mixers: list[Array],
    counts: Array | None,
    used_mixers: Array | None,
    final_taps: Array | None,
    /,
) -> int: ...
def quantise_levels(
    strides: list[Array],
    n_windows: list[Array],
    groups: list[Array],
    is_on: list[Array],
    expected: list[Array],
    phases: list[Array],
    levels: list[Array],
    terms: list[Array],
    taps: list[Array],
    priors: list[Array],
    mixers: list[Array],
    coefficients: Array,
    inverse_step: float,
    multiplier: float,
    costs: Array,
    offsets: Array,
    sums: Array,
    counts: Array | None,
    /,
) -> int: ...
def known(magnitude: Array, classes: Array, n_direct: Array, result: Array, /) -> int: ...
def known_of_symbols(symbols: Array, classes: Array, n_direct: Array, result: Array, /) -> int: ...
def phases(starts: Array, counts: Array, n_windows: int, stride: int, kernel_length: int, result: Array, /) -> int: ...
def quantise(
    base: Array,
    n_windows: int,
    mother: Array | None,
    mother_ratio: int,
    grandmother: Array | None,
    grandmother_ratio: int,
    weights: Array,
    absolute: Array,
    thresholds: Array,
    n_direct: Array,
    inverse: float,
    classes: Array,
    magnitude: Array,
    known: Array,
    dropped: Array,
    error: Array,
    sums: Array,
    /,
) -> int: ...
def rans_encode(
    contexts: Array,
    symbols: Array,
    lanes: Array,
    states: Array,
    words: Array,
    counts: Array,
    frequency: Array,
    start: Array,
    n_symbols: int,
    /,
) -> int: ...
def rans_decode(
    contexts: Array,
    lanes: Array,
    states: Array,
    words: Array,
    next_word: Array,
    word_ends: Array,
    slot_symbol: Array,
    frequency: Array,
    start: Array,
    n_symbols: int,
    symbols: Array,
    /,
) -> int: ...
def rans_decode_band(
    classes: Array,
    is_active: Array,
    n_windows: int,
    n_lanes: int,
    first_context: int,
    states: Array,
    words: Array,
    next_word: Array,
    word_ends: Array,
    slot_symbol: Array,
    frequency: Array,
    start: Array,
    n_symbols: int,
    symbols: Array,
    /,
) -> int: ...
def read_magnitudes(
    symbols: Array,
    classes: Array,
    n_direct: Array,
    excess: Array,
    bits: Array,
    magnitude: Array,
    negative: Array,
    /,
) -> int: ...
def sums_by_phase(magnitude: Array, phases: Array, sums: Array, /) -> int: ...
def bits_to_fields(bits: Array, widths: Array, values: Array, /) -> int: ...
def fields_to_bits(values: Array, widths: Array, bits: Array, /) -> int: ...
def keep_apart(positions: Array, order: Array, distance: int, kept: Array, /) -> int: ...
def residual(
    own: Array,
    shift: int,
    unit: int,
    low: int,
    high: int,
    restart: int,
    length: int,
    approximation: Array,
    sums: Array,
    given: Array,
    is_encoding: bool,
    decoded: Array,
    codes: Array,
    /,
) -> int: ...
def residual_mixing(
    prior: Array,
    channels: Array,
    plane_lengths: Array,
    references: Array,
    weights: Array,
    approximations: Array,
    coded: bytes | None,
    samples: Array,
    written: Array,
    /,
) -> int: ...
def event_mixing(
    prior: Array,
    groups: Array,
    channels: Array,
    starts: Array,
    gains: Array,
    kernels: Array,
    coded: bytes | None,
    written: Array,
    /,
) -> int: ...
def image_symbols(
    values: Array,
    background: int,
    height: int,
    width: int,
    symbols: Array,
    coded: bytes | None,
    written: Array,
    /,
) -> int: ...
def image_rounding(
    pixels: Array,
    levels: Array,
    height: int,
    width: int,
    kernels: Array,
    costs: Array,
    price: int,
    background: int,
    /,
) -> int: ...
def rice_cost(values: Array, parameter: int, /) -> int: ...
def rice_read(bits: Array, start: int, values: Array, /) -> int: ...
def rice_write(values: Array, parameter: int, bits: Array, /) -> int: ...
def synthesise(
    weights: Array, amplitudes: Array, n_kernels: int, stride: int, offset: int, n_signals: int, output: Array, /
) -> int: ...
