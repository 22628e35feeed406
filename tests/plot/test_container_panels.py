import io
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import sancodec
from sancodec.api import default_engine
from sancodec.codec.decoder import RecordingReader
from sancodec.plot.container_panels import container_picture, first_varying_channel
from sancodec.plot.interactive import write_interactive
from sancodec.plot.panels import MAX_POINTS, Curve, Heat, Stems, kernel_colour
from sancodec.plot.static import write_static
from sancodec.plot.stretch import read_stretch
from tests.mixed_files import mixed_file

GOLDEN = sorted((Path(__file__).parents[1] / "golden" / "decode").glob("*.san"))


def reader_of(content):
    return RecordingReader(io.BytesIO(content), engine=default_engine())


def panel(picture, words):
    (found,) = [each for each in picture.panels if words in each.title]
    return found


def test_panels_show_the_layers_of_the_decoder(container, record_picture):
    stretch = read_stretch(reader_of(container), 0, first_frame=360, n_frames=1800)
    shown = {
        "beats": panel(record_picture, "partial reconstruction of the beat kernel"),
        "bank": panel(record_picture, "partial reconstruction of bank"),
        "corrections": panel(record_picture, "corrections: the residual layer"),
        "samples": panel(record_picture, "decoded signal = offset of −0.31 mV + beats + bank + corrections"),
    }
    for name, each in shown.items():
        (curve,) = each.marks
        np.testing.assert_array_equal(curve.x, stretch.times_s)
        np.testing.assert_allclose(curve.y, getattr(stretch, name), atol=1e-12)
        assert each.y.unit == "mV"
        assert each.x.text == "time (s)"


@pytest.mark.parametrize("channel", [0, 1])
def test_panels_of_a_mixed_channel_show_weighted_sums_of_components(channel, tmp_path):
    reader = reader_of(mixed_file(level=5, seed=3))
    stretch = read_stretch(reader, channel, first_frame=500, n_frames=2000)
    picture = container_picture(reader, channel=channel, first_frame=500, n_frames=2000, title="mixed.san")
    for name, words in {
        "bank": "partial reconstruction of bank",
        "samples": "decoded signal = offset of",
    }.items():
        (curve,) = panel(picture, words).marks
        np.testing.assert_allclose(curve.y, getattr(stretch, name), atol=1e-12)
    of_bank = [each.title for each in picture.panels if each.title.startswith("coefficients of bank")]
    assert len(of_bank) == len(stretch.models)
    assert all(", weighted sums of those of all components: " in title for title in of_bank)
    write_static(picture, tmp_path / "mixed.svg", form="svg")
    assert (tmp_path / "mixed.svg").stat().st_size > 10_000


def test_all_panels_over_time_share_one_axis_and_span(record_picture):
    shared = [each for each in record_picture.panels if each.is_shared]
    assert len(shared) == 6
    assert {each.x_range for each in shared} == {(1.0, 6.0)}
    assert not any(each.is_shared for each in record_picture.rows[0].panels)


def test_the_layers_that_add_up_have_one_scale(record_picture):
    words = ["partial reconstruction of the beat kernel", "partial reconstruction of bank", "decoded signal ="]
    spans = [np.diff(panel(record_picture, each).y_range)[0] for each in words]
    assert spans == pytest.approx([spans[0]] * 3)


def test_events_stand_at_the_peaks_of_their_beats(container, record_picture):
    events = panel(record_picture, "activation map")
    (stems,) = [mark for mark in events.marks if isinstance(mark, Stems)]
    assert stems.colour == kernel_colour(0)
    assert "6 events" in events.title
    assert len(stems.x) == 6
    stretch = read_stretch(reader_of(container), 0, first_frame=360, n_frames=1800)
    for time_s in stems.x:
        near = np.abs(stretch.times_s - time_s) < 0.2
        highest = stretch.times_s[near][stretch.samples[near].argmax()]
        assert highest == pytest.approx(time_s, abs=0.012)


def test_the_heat_map_has_the_coefficients_at_their_times(container, record_picture):
    coefficients = panel(record_picture, "coefficients of bank")
    (heat,) = coefficients.marks
    stretch = read_stretch(reader_of(container), 0, first_frame=360, n_frames=1800)
    (chunk,) = stretch.chunks
    (model,) = stretch.models
    assert heat.values.shape == (model.n_bands, len(heat.x_edges) - 1)
    assert heat.meaning.text == "|coefficient| (mV)"
    centres = (heat.x_edges[1:] + heat.x_edges[:-1]) / 2
    for band, (row, stride) in enumerate(zip(chunk.coefficients[model], model.band_strides, strict=True)):
        windows = np.abs(row[(centres * 360 // stride).astype(int)]) / stretch.channel.gain
        np.testing.assert_allclose(np.nan_to_num(heat.values[band]), windows)
    assert np.nanmin(heat.values) > 0
    places = [place for place, _ in coefficients.y_ticks]
    assert (min(places), max(places)) == (0, model.n_bands - 1)


def test_the_count_of_coefficients_is_that_of_the_windows_that_reach_into_the_stretch(container):
    reader = reader_of(container)
    picture = container_picture(reader, channel=0, first_frame=0, n_frames=3600, title="")
    stretch = read_stretch(reader, 0, first_frame=0, n_frames=3600)
    (model,) = stretch.models
    rows = stretch.chunks[0].coefficients[model]
    windows = [row[: -(-3600 // stride)] for row, stride in zip(rows, model.band_strides, strict=True)]
    active = sum(np.count_nonzero(row) for row in windows)
    assert f"{active:,} of {sum(map(len, windows)):,} are not 0" in panel(picture, "coefficients").title


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_every_channel_of_every_golden_file_can_be_pictured(path):
    reader = reader_of(path.read_bytes())
    n_frames = reader.header.n_frames
    for channel, description in enumerate(reader.header.channels):
        for first, count in [(0, n_frames), (n_frames - 1, 1)]:
            picture = container_picture(reader, channel=channel, first_frame=first, n_frames=count, title="")
            (last,) = picture.rows[-1].panels
            (curve,) = last.marks
            n_samples = count * description.samples_per_frame
            assert len(curve.x) == n_samples or (n_samples > MAX_POINTS >= len(curve.x))
            for each in picture.panels:
                for mark in each.marks:
                    assert isinstance(mark, Curve | Stems | Heat)
                assert each.y_range is None or each.y_range[0] < each.y_range[1]
                assert each.x_range is None or each.x_range[0] < each.x_range[1]


def test_a_constant_channel_shows_its_value_alone():
    samples = np.stack([np.full(3000, 7), (100 * np.sin(np.arange(3000) / 9)).astype(int)]).astype(np.int16)
    reader = reader_of(sancodec.compress(samples, sampling_rate_hz=250, lossless=True))
    assert first_varying_channel(reader) == 1
    picture = container_picture(reader, channel=0, first_frame=0, n_frames=100, title="")
    (only,) = picture.panels
    assert only.title == "decoded signal: constant"
    np.testing.assert_array_equal(only.marks[0].y, 7)


def test_a_recording_of_constant_channels_shows_the_first():
    reader = reader_of(sancodec.compress(np.full((2, 500), 3, np.int16), sampling_rate_hz=250, lossless=True))
    assert first_varying_channel(reader) == 0


def test_long_stretches_are_thinned(container):
    samples = np.random.default_rng(0).integers(-500, 500, 60_000).astype(np.int16)
    reader = reader_of(sancodec.compress(samples, sampling_rate_hz=1000, prdn=9.0, level=1))
    picture = container_picture(reader, channel=0, first_frame=0, n_frames=60_000, title="")
    (curve,) = picture.rows[-1].panels[0].marks
    assert len(curve.x) <= MAX_POINTS
    whole = read_stretch(reader, 0, first_frame=0, n_frames=60_000)
    assert (curve.y.min(), curve.y.max()) == (whole.samples.min(), whole.samples.max())


@pytest.mark.parametrize(
    ("gain", "unit"), [(5e-324, "adu"), (1e-31, "adu"), (1e-30, "mV"), (-1e30, "mV"), (1e300, "adu")]
)
def test_gains_beyond_reason_give_stored_units(gain, unit):
    channel = sancodec.Channel("x", unit="mV", gain=gain)
    samples = (500 * np.sin(np.arange(3000) / 9)).astype(np.int32)
    recording = sancodec.Recording((channel,), (samples,), Fraction(250))
    reader = reader_of(sancodec.compress(recording, prdn=5.0, level=1))
    picture = container_picture(reader, channel=0, first_frame=0, n_frames=3000, title="")
    assert picture.rows[-1].panels[0].y.text == f"x ({unit})"
    file = io.BytesIO()
    write_static(picture, file, form="svg")
    write_interactive(picture, file)
