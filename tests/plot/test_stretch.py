"""The numbers of a stretch are those of the decoder."""

import io
from pathlib import Path

import numpy as np
import pytest

import sancodec
from sancodec.api import default_engine, open_recording
from sancodec.codec.decoder import RecordingReader
from sancodec.datasets.wfdb_record import read_wfdb
from sancodec.plot.stretch import kernel_uses, partial_of, read_stretch, similarity_to
from tests.mixed_files import ecg_components, mixed_file

TESTS = Path(__file__).parents[1]
GOLDEN = sorted((TESTS / "golden" / "decode").glob("*.san"))


def reader_of(content):
    return RecordingReader(io.BytesIO(content), engine=default_engine())


@pytest.fixture(scope="module")
def repeated():
    """The ten-second record eight times in a row, both leads, in four chunks."""
    record = read_wfdb(TESTS / "data" / "100_10s")
    samples = np.tile(np.stack(record.samples), (1, 8))
    return sancodec.compress(
        sancodec.Recording(record.channels, tuple(samples), record.frame_rate_hz), prdn=5.0, chunk_s=10
    )


def assert_rounded_or_clamped(total, stretch):
    """Layers add up to the samples, but for half a stored unit, and where the approximation is at an end."""
    channel, coding = stretch.channel, stretch.chunks[0].coding
    approximation = np.rint((stretch.samples - stretch.corrections) * channel.gain) + channel.baseline
    is_within = (approximation > coding.minimum) & (approximation < coding.maximum)
    assert is_within.mean() > 0.99
    assert np.abs(total - stretch.samples)[is_within].max() <= 0.5 / channel.gain * (1 + 1e-9)


def test_layers_add_up_to_the_physical_samples_within_their_rounding(repeated):
    stretch = read_stretch(reader_of(repeated), 1, first_frame=3000, n_frames=9000)
    record = open_recording(io.BytesIO(repeated))
    np.testing.assert_array_equal(stretch.samples, record.physical(1, 3000, 12_000))
    np.testing.assert_array_equal(stretch.times_s, record.time_s(1, 3000, 12_000))
    total = stretch.beats + stretch.bank + stretch.offsets + stretch.corrections
    assert_rounded_or_clamped(total, stretch)
    assert np.abs(stretch.beats).max() > 0.5
    assert np.abs(stretch.bank).max() > 0.1
    assert stretch.span_s == (3000 / 360, 12_000 / 360)


def test_corrections_fill_what_the_bound_needs():
    record = read_wfdb(TESTS / "data" / "100_10s")
    reader = reader_of(sancodec.compress(record, max_error="20uV"))
    stretch = read_stretch(reader, 0, first_frame=0, n_frames=3600)
    original = (record.samples[0] - stretch.channel.baseline) / stretch.channel.gain
    assert stretch.has_corrections
    assert np.abs(stretch.samples - original).max() <= 0.020 + 1e-9
    assert np.abs(stretch.samples - stretch.corrections - original).max() > 0.020
    total = stretch.beats + stretch.bank + stretch.offsets + stretch.corrections
    assert_rounded_or_clamped(total, stretch)


def test_only_the_chunks_of_the_stretch_are_decoded(repeated, monkeypatch):
    reader, parsed = reader_of(repeated), []
    plain = reader.parse
    monkeypatch.setattr(reader, "parse", lambda index: parsed.append(index) or plain(index))
    assert reader.header.n_chunks == 4
    read_stretch(reader, 0, first_frame=reader.header.chunk_frames + 1, n_frames=reader.header.chunk_frames)
    assert set(parsed) == {1, 2}


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_partial_reconstructions_of_the_kernels_add_up_to_the_beats(path):
    reader = reader_of(path.read_bytes())
    n_frames = reader.header.n_frames
    for channel in range(len(reader.header.channels)):
        for first, count in [(0, n_frames), (n_frames // 3, max(1, n_frames // 2))]:
            stretch = read_stretch(reader, channel, first_frame=first, n_frames=count)
            partials = [partial_of(use, stretch) for use in kernel_uses(stretch)]
            total = np.sum([np.zeros(len(stretch.times_s)), *partials], axis=0)
            np.testing.assert_allclose(total, stretch.beats, atol=1e-9 * max(1.0, np.abs(stretch.beats).max()))


def test_partial_reconstructions_add_up_across_borders_of_chunks(repeated):
    stretch = read_stretch(reader_of(repeated), 0, first_frame=100, n_frames=20_000)
    uses = kernel_uses(stretch)
    assert uses
    np.testing.assert_allclose(sum(partial_of(use, stretch) for use in uses), stretch.beats, atol=1e-12)


def test_events_are_those_of_the_reader_whose_peaks_are_within(repeated):
    reader = reader_of(repeated)
    starts, events = reader.events(0)
    stretch = read_stretch(reader, 0, first_frame=3500, n_frames=5000)
    for index, use in enumerate(kernel_uses(stretch)):
        peaks = starts[events.kernel_ids == index] + use.peak
        within = peaks[(peaks >= 3500) & (peaks < 8500)]
        np.testing.assert_array_equal(use.starts[use.is_shown] + use.peak, within)
        assert use.n_shown == len(within)


def test_an_event_whose_peak_lies_outside_still_adds_its_tail(repeated):
    reader = reader_of(repeated)
    use = max(kernel_uses(read_stretch(reader, 0, first_frame=0, n_frames=3600)), key=lambda each: each.n_shown)
    after_peak = int(use.starts[1]) + use.peak + 5
    stretch = read_stretch(reader, 0, first_frame=after_peak, n_frames=20)
    uses = kernel_uses(stretch)
    assert sum(each.n_shown for each in uses) == 0
    assert sum(len(each.starts) for each in uses) == 1
    np.testing.assert_allclose(sum(partial_of(each, stretch) for each in uses), stretch.beats, atol=1e-12)


def test_the_similarity_at_an_event_is_about_its_gain(repeated):
    stretch = read_stretch(reader_of(repeated), 0, first_frame=0, n_frames=7200)
    use = max(kernel_uses(stretch), key=lambda each: each.n_shown)
    similarity = similarity_to(use, stretch)
    at_peaks = similarity[use.starts[use.is_shown] + use.peak]
    np.testing.assert_allclose(at_peaks, use.gains[use.is_shown], rtol=0.15)


def test_the_similarity_is_the_plain_projection(repeated):
    stretch = read_stretch(reader_of(repeated), 0, first_frame=400, n_frames=900)
    use = kernel_uses(stretch)[0]
    similarity = similarity_to(use, stretch)
    whole = read_stretch(reader_of(repeated), 0, first_frame=0, n_frames=3600)
    signal = whole.samples - whole.offsets
    for place in (400, 777, 1299):
        window = signal[place - use.peak : place - use.peak + len(use.weights)]
        expected = window @ use.weights / (use.weights @ use.weights)
        assert similarity[place - 400] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("channel", range(5))
def test_kernels_of_a_mixed_channel_are_those_of_its_components_times_their_weights(channel):
    reader = reader_of(mixed_file(ecg_components(9000), level=5, chunk_s=1.0))
    stretch = read_stretch(reader, channel, first_frame=7000, n_frames=1900)
    assert stretch.is_mixed
    uses = kernel_uses(stretch)
    parts = [(k, *each) for k, each in enumerate(reader.decoder(0).components(channel)) if each[1]]
    assert [use.name for use in uses] == [f"component {component}, kernel 0" for component, _, _ in parts]
    for use, (_, carrier, weight) in zip(uses, parts, strict=True):
        kernels = reader.codings[carrier].kernels
        np.testing.assert_allclose(use.weights, weight * kernels.weights[0] * 2.0**kernels.exponent / 200, rtol=1e-12)
        assert use.n_shown > 5
    total = np.sum([np.zeros(len(stretch.times_s)), *(partial_of(use, stretch) for use in uses)], axis=0)
    np.testing.assert_allclose(total, stretch.beats, atol=1e-9)
    shown = stretch.beats + stretch.bank + stretch.offsets
    present = ~np.isnan(stretch.samples)
    assert np.abs(shown - stretch.samples)[present].max() <= 0.5 / 200 * (1 + 1e-9)


def test_missing_samples_are_nan_in_the_signal_and_its_corrections():
    reader = reader_of((TESTS / "golden" / "decode" / "missing_lossless_level_5.san").read_bytes())
    stretch = read_stretch(reader, 0, first_frame=0, n_frames=reader.header.n_frames)
    missing = np.isnan(stretch.samples)
    assert missing.any()
    assert not missing.all()
    np.testing.assert_array_equal(np.isnan(stretch.corrections), missing)
    assert np.isfinite(stretch.beats + stretch.bank + stretch.offsets).all()
