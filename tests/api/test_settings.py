from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from round_trips import BANKS, compressed, recording, sine

import sancodec
from sancodec.codec.recording import Channel
from sancodec.errors import InvalidSignalError, SancodecError


@pytest.mark.parametrize("dtype", ["float32", "float64", "bool", "complex64", "U3", "O"])
def test_anything_but_integers_is_refused(dtype):
    with pytest.raises(InvalidSignalError, match="integers of shape"):
        compressed(np.ones(100).astype(dtype))


@pytest.mark.parametrize("shape", [(), (2, 3, 4)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(InvalidSignalError, match="dimensions"):
        compressed(np.zeros(shape, np.int16))


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 5)])
def test_an_empty_array_is_refused(shape):
    with pytest.raises(InvalidSignalError, match="nothing to compress"):
        compressed(np.zeros(shape, np.int16))


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1, 2**62])
def test_values_beyond_32_bits_are_refused(value):
    with pytest.raises(InvalidSignalError, match=f"{value}.*fit in 32 bits|{value}…0"):
        compressed(np.array([0, value]))
    with pytest.raises(InvalidSignalError, match="fit in 32 bits"):
        compressed(np.array([0, 2**63], np.uint64))


@pytest.mark.parametrize("rate_hz", [float("nan"), float("inf"), 0, -360.0, Fraction(0), Fraction(-1, 2)])
def test_a_sampling_rate_that_is_no_number_above_0_is_refused(rate_hz):
    with pytest.raises(InvalidSignalError, match="sampling rate"):
        compressed(np.arange(10), sampling_rate_hz=rate_hz)


def test_an_array_without_its_sampling_rate_is_refused():
    with pytest.raises(InvalidSignalError, match="sampling_rate_hz is missing"):
        sancodec.compress(np.arange(10))


@pytest.mark.parametrize("prdn", [0, -1.0, float("nan"), float("inf"), 0.9e-6, 1.1e6, 1e-170, 1e160])
def test_a_prdn_outside_1e_minus_6_to_1e6_percent_is_refused(prdn):
    with pytest.raises(InvalidSignalError, match="PRDN"):
        compressed(np.arange(10), prdn=prdn)


@pytest.mark.parametrize("level", [0, 10, -1])
def test_a_level_outside_1_to_9_is_refused(level):
    with pytest.raises(InvalidSignalError, match="level"):
        compressed(np.arange(10), level=level)


@pytest.mark.parametrize("chunk_s", [0, -1.0, float("nan"), float("inf")])
def test_a_chunk_length_that_is_no_number_above_0_is_refused(chunk_s):
    with pytest.raises(InvalidSignalError, match="chunk length"):
        compressed(np.arange(10), chunk_s=chunk_s)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"sampling_rate_hz": 1e-20}, id="rate 1e-20"),
        pytest.param({"sampling_rate_hz": 1e25}, id="rate 1e25"),
    ],
)
def test_settings_out_of_any_range_are_refused_or_met(settings):
    try:
        content = compressed(sine().astype(np.int16), **settings)
    except SancodecError:
        return
    assert len(sancodec.decompress(content, models=BANKS)) == 500


@pytest.mark.parametrize(
    "change",
    [
        {"baseline": 2**40},
        {"invalid": 2**40},
        {"invalid": 0},
        {"invalid": -(2**15)},
        {"max_difference": 2**40},
        {"name": "\ud800"},
        {"minimum": -5, "maximum": 5},
    ],
    ids=str,
)
def test_a_channel_that_a_reader_would_refuse_is_refused_by_the_writer(change):
    with pytest.raises(InvalidSignalError, match="channel '"):
        sancodec.compress(recording([sine()], [replace(Channel("a"), **change)]), models=BANKS)


def test_more_channels_than_a_reader_takes_are_refused():
    with pytest.raises(InvalidSignalError, match="4097 channels"):
        compressed(np.zeros((4097, 2), np.int16))


def test_an_empty_choice_of_models_is_refused():
    with pytest.raises(InvalidSignalError, match="model"):
        compressed(np.arange(10), models=())
