"""The layers of a channel are those that the decoder adds up."""

import io
from pathlib import Path

import numpy as np
import pytest

import sancodec
from sancodec.api import default_engine
from sancodec.codec.beats import render
from sancodec.codec.decoder import RecordingReader
from sancodec.codec.kernels import WEIGHT_FRACTION_BITS
from sancodec.codec.layers import layers_of
from sancodec.codec.transform import synthesise
from sancodec.datasets.wfdb_record import read_wfdb
from sancodec.errors import FormatError
from tests.mixed_files import ecg_components, mixed_file

TESTS = Path(__file__).parents[1]
GOLDEN = sorted((TESTS / "golden" / "decode").glob("*.san"))


def reader_of(content):
    return RecordingReader(io.BytesIO(content), engine=default_engine())


def test_there_are_golden_files():
    assert len(GOLDEN) > 20


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_layers_add_up_to_what_the_decoder_gives(path):
    reader = reader_of(path.read_bytes())
    n_chunks = reader.header.n_chunks
    decoded = dict(reader.chunks(0, n_chunks))
    for channel, description in enumerate(reader.header.channels):
        for index, layers in enumerate(layers_of(reader, channel, 0, n_chunks)):
            coding, samples = layers.coding, decoded[index][channel]
            np.testing.assert_array_equal(layers.samples, samples)
            present = ~layers.is_missing
            assert (samples[layers.is_missing] == description.invalid).all()
            scale = 1.0 if coding.lattice is None or coding.is_constant else coding.lattice.step
            # Section 10.3 of docs/format.md: rounded half up, and clamped.
            total = (layers.beats + layers.bank + layers.offset) / scale
            clamped = np.clip(np.floor(total + 0.5), coding.minimum, coding.maximum)
            np.testing.assert_array_equal(layers.approximation, clamped * scale)
            rest = layers.approximation + layers.corrections - samples
            np.testing.assert_array_equal(rest[present], 0)
            assert np.isnan(layers.corrections[layers.is_missing]).all()
            if coding.residual is None and coding.lattice is None:
                np.testing.assert_array_equal(layers.corrections[present], 0)


@pytest.mark.parametrize("seed", range(3))
def test_layers_of_a_mixed_channel_are_weighted_sums_of_those_of_components(seed):
    reader = reader_of(mixed_file(ecg_components(9000), level=5, seed=seed, chunk_s=1.0, n_derived=seed))
    decoder, decoded = reader.decoder(0), dict(reader.chunks(0, 2))
    n_beats = 0
    for channel in range(5):
        weights = dict(decoder.components(channel))
        assert list(weights) == [0, 2]
        for index, layers in enumerate(layers_of(reader, channel, 0, 2)):
            present = ~layers.is_missing
            np.testing.assert_array_equal(layers.samples, decoded[index][channel])
            total = np.floor(layers.beats + layers.bank + layers.offset + 0.5)
            clamped = np.clip(total, layers.coding.minimum, layers.coding.maximum)
            np.testing.assert_array_equal(layers.approximation, clamped)
            np.testing.assert_array_equal(layers.corrections[present], 0)
            assert [each.component for each in layers.waves] == [k for k, w in enumerate(weights.values()) if w]
            played = np.zeros(len(layers.samples))
            for each in layers.waves:
                starts = each.starts - layers.first_sample
                drawn = render(starts, each.events, each.kernels, n_samples=len(played))
                played += each.weight * 2.0**each.kernels.exponent * drawn
                n_beats += len(starts)
            np.testing.assert_array_equal(layers.beats, played)
            bands = [np.concatenate(rows) for rows in layers.coefficients.values()]
            assert any(rows.any() for rows in bands) == layers.bank.any()
    assert n_beats > 50


def test_coefficients_of_a_mixed_channel_are_those_whose_synthesis_is_its_bank():
    reader = reader_of(mixed_file(level=5, seed=3))
    (layers,) = layers_of(reader, 1, 0, 1)
    total = np.zeros(len(layers.samples))
    for model, rows in layers.coefficients.items():
        first, maps = 0, []
        for group in model.groups:
            maps.append(np.stack(rows[first : first + group.n_kernels], axis=1)[None])
            first += group.n_kernels
        total += synthesise(model, maps)[0, : len(total)] * 2.0**-WEIGHT_FRACTION_BITS
    assert layers.bank.any()
    np.testing.assert_allclose(layers.bank, total, atol=0.01)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_approximations_are_those_that_residual_layers_refer_to(path):
    reader = reader_of(path.read_bytes())
    for index in range(reader.header.n_chunks):
        segment, chunk = reader.parse(index)
        approximations, _ = reader.decoder(segment)._approximations([chunk])
        for (_, channel), expected in approximations.items():
            (layers,) = layers_of(reader, channel, index, index + 1)
            scale = 1.0 if layers.coding.lattice is None else layers.coding.lattice.step
            np.testing.assert_array_equal(layers.approximation, expected * scale)


@pytest.mark.parametrize("level", [1, 5, 9])
def test_coefficients_and_events_are_sparse_and_in_the_units_of_the_channel(level):
    record = read_wfdb(TESTS / "data" / "100_10s")
    reader = reader_of(sancodec.compress(record, prdn=5.0, level=level))
    (layers,) = layers_of(reader, 0, 0, 1)
    ((model, coefficients),) = layers.coefficients.items()
    assert model is layers.coding.model
    assert [len(row) for row in coefficients] == [
        len(coefficients[-1]) * min(model.band_strides) // stride for stride in model.band_strides
    ]
    # Kernels have unit energy and are orthogonal: what they add has the energy of the coefficients, those aside that
    # reach beyond the end.
    energy = sum(float(row @ row) for row in coefficients)
    assert energy == pytest.approx(float(layers.bank @ layers.bank), rel=0.1)
    active = sum(np.count_nonzero(row) for row in coefficients)
    assert 0 < active < 0.3 * sum(map(len, coefficients))
    starts, events = reader.events(0)
    assert len(layers.waves) == (level > 1)
    for waves in layers.waves:
        np.testing.assert_array_equal(waves.starts, starts)
        np.testing.assert_array_equal(waves.events.gains, events.gains)


def test_a_damaged_chunk_is_named():
    content = bytearray((TESTS / "golden" / "decode" / "chunks_error_level_5.san").read_bytes())
    reader = reader_of(bytes(content))
    second = reader.segments[0].chunks[1]
    content[second + 20] ^= 1
    damaged = reader_of(bytes(content))
    assert len(list(layers_of(damaged, 0, 0, 1))) == 1
    with pytest.raises(FormatError, match="chunk 1"):
        list(layers_of(damaged, 0, 0, 2))
