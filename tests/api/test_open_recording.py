import io
import multiprocessing
import os
import struct
import warnings
from fractions import Fraction

import numpy as np
import pytest
from round_trips import BANKS, compressed, recording

import sancodec
from sancodec.api import default_engine, open_recording
from sancodec.codec.container import SectionType
from sancodec.codec.decoder import RecordingReader
from sancodec.codec.recording import Channel
from sancodec.errors import FormatError, InvalidSignalError
from tests.mixed_files import ecg_components, mixed_file


class CountingFile(io.BytesIO):
    """Remembers every range that was read."""

    def __init__(self, content):
        super().__init__(content)
        self.ranges = []

    def read(self, size=-1):
        start = self.tell()
        content = super().read(size)
        if content:
            self.ranges.append((start, start + len(content)))
        return content


def chunk_payloads(content):
    """Where the payloads of the CHUNK sections are: type u8, length u32, payload, CRC u32, behind 12 bytes."""
    position, spans = 12, []
    while position < len(content) - 12:
        kind, length = struct.unpack_from("<BI", content, position)
        if kind == SectionType.CHUNK:
            spans.append((position + 5, position + 5 + length))
        position += 9 + length
    return spans


@pytest.fixture(scope="module", params=[5, 9])
def opened(request, tmp_path_factory, long_ecg):
    path = tmp_path_factory.mktemp("open") / "a.san"
    path.write_bytes(compressed(long_ecg, prdn=5, chunk_s=30, level=request.param))
    with sancodec.open(path, models=BANKS) as record:
        yield record, sancodec.decompress(path.read_bytes(), models=BANKS)


@pytest.mark.parametrize(
    "span",
    [
        *[slice(0, 10), slice(None), slice(10_799, 10_801), slice(5, 28_000, 7), slice(-5, None), slice(9, 9)],
        *[slice(9, 3), slice(5, 0, -1), slice(None, None, -7), slice(-3, 20_000, -11), slice(4, 5, -1)],
    ],
    ids=str,
)
@pytest.mark.parametrize("channel", [0, 1, -1])
def test_a_slice_of_an_open_recording_is_that_of_the_whole(opened, channel, span):
    record, samples = opened
    np.testing.assert_array_equal(record[channel, span], samples[channel, span])


def test_an_open_recording_tells_its_channels_and_length(opened):
    record, samples = opened
    assert len(record.channels) == 2
    assert record.frame_rate_hz == 360
    assert [record.n_samples(channel) for channel in (0, 1)] == [samples.shape[1]] * 2
    assert record.shape == samples.shape
    assert record.names == ("channel 0", "channel 1")
    assert record.duration_s == 80
    assert record.sampling_rate_hz("channel 1") == 360


def test_events_of_an_open_recording_are_its_beats(opened):
    record, _ = opened
    starts, events = record.events(0)
    assert len(starts) == len(events.gains) == len(events.kernel_ids) > 80
    assert np.all(np.diff(starts) > 60)
    assert np.all(events.gains > 0)


@pytest.mark.parametrize("seed", range(4))
def test_events_of_a_mixed_channel_are_those_of_the_component_that_adds_most(seed):
    content = mixed_file(ecg_components(9000), level=5, seed=seed, chunk_s=1.0, n_derived=0)
    reader = RecordingReader(io.BytesIO(content), engine=default_engine())
    record, decoder = open_recording(io.BytesIO(content)), reader.decoder(0)
    groups = [reader.events(channel) for channel in (0, 2)]
    for channel in range(5):
        starts, events = record.events(channel)
        expected, first_kernel = {}, 0
        for carrier, weight in decoder.components(channel):
            kernels = decoder.codings[carrier].kernels
            for index in (0, 1):
                _, chunk = reader.parse(index)
                played = chunk.events.events[carrier]
                for at, kernel, gain in zip(chunk.events.starts[0], played.kernel_ids, played.gains, strict=True):
                    peak = abs(weight) * gain * np.abs(kernels.weights[kernel]).max() * 2.0**kernels.exponent
                    place = int(at) + index * reader.header.chunk_frames
                    if weight and gain and peak > expected.get(place, (0,))[0]:
                        expected[place] = peak, int(kernel) + first_kernel, int(gain)
            first_kernel += kernels.n_kernels
        assert starts.tolist() == sorted(expected)
        found = zip(events.kernel_ids.tolist(), events.gains.tolist(), strict=True)
        assert list(found) == [expected[place][1:] for place in sorted(expected)]
    assert max(len(starts) for starts, _ in groups) > 40


def test_negative_samples_and_channels_mean_what_they_mean_in_numpy(opened):
    record, samples = opened
    assert record[0, -1] == samples[0, -1]
    assert record[-1, 17] == samples[-1, 17]
    assert isinstance(record[0, 3], np.int32)
    np.testing.assert_array_equal(record[1], samples[1])
    np.testing.assert_array_equal(record[0, -400:-10], samples[0, -400:-10])


@pytest.mark.parametrize("channels", [slice(None), slice(None, None, -1), [1, 0], ["channel 1"], [-1, "channel 0"]])
def test_several_channels_of_one_rate_are_one_array(opened, channels):
    record, samples = opened
    rows = [0, 1][channels] if isinstance(channels, slice) else [int(str(each)[-1]) for each in channels]
    got = record[channels, 9_000:12_000]
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, samples[rows, 9_000:12_000])


def test_channels_are_found_by_their_names(opened):
    record, samples = opened
    np.testing.assert_array_equal(record["channel 1", :20], samples[1, :20])
    with pytest.raises(IndexError, match="no channels are named 'V1'; there are 'channel 0', 'channel 1'"):
        record["V1", :20]


@pytest.mark.parametrize("key", [(2, slice(0, 5)), (-3, 0), (0, 28_800), (0, -28_801), ([], slice(None)), (1.5, 0)])
def test_what_is_not_there_is_refused(opened, key):
    record, _ = opened
    with pytest.raises((IndexError, TypeError)):
        record[key]


def test_reading_by_time_takes_frames_from_start_up_to_end(opened):
    record, samples = opened
    np.testing.assert_array_equal(record.read(29.9, 30.1), samples[:, 10_764:10_836])
    np.testing.assert_array_equal(record.read(), samples)
    np.testing.assert_array_equal(record.read(79.5, channels=1), samples[1, 28_620:])
    np.testing.assert_array_equal(record.read(0.001, 0.002, channels=["channel 1"]), samples[1:, 1:1])
    for span in [(-1, 3), (3, 2), (0, 80.1), (float("nan"), 3)]:
        with pytest.raises(IndexError, match="the recording has 0 s to 80"):
            record.read(*span)


@pytest.fixture(scope="module")
def uneven():
    """A pressure with missing samples, and an ECG of four samples per frame."""
    rng = np.random.default_rng(3)
    pressure = np.cumsum(rng.integers(-2, 3, 900))
    pressure[100:130] = -32768
    ecg = np.cumsum(rng.integers(-3, 4, 3600))
    channels = [
        Channel("ABP", "mmHg", 20.0, -1000, invalid=-32768, minimum=-32767),
        Channel("II", "mV", 200.0, 5, samples_per_frame=4),
    ]
    content = sancodec.compress(recording([pressure, ecg], channels, 90), lossless=True, models=BANKS)
    return content, pressure.astype(np.int32), ecg.astype(np.int32)


def test_channels_of_different_rates_come_as_a_list(uneven):
    content, pressure, ecg = uneven
    with sancodec.open(io.BytesIO(content), models=BANKS) as record:
        first, second = record[:, 10:2000]
        np.testing.assert_array_equal(first, pressure[10:2000])
        np.testing.assert_array_equal(second, ecg[10:2000])
        first, second = record.read(1, 2.5)
        np.testing.assert_array_equal(first, pressure[90:225])
        np.testing.assert_array_equal(second, ecg[360:900])
        assert record.n_samples("II") == 3600
        assert record.sampling_rate_hz("II") == Fraction(360)
        with pytest.raises(InvalidSignalError, match="different sampling rates"):
            _ = record.shape


def test_physical_values_are_in_units_and_missing_ones_are_nan(uneven):
    content, pressure, ecg = uneven
    with sancodec.open(io.BytesIO(content), models=BANKS) as record:
        got = record.physical("ABP", 90, 140)
        assert np.flatnonzero(np.isnan(got)).tolist() == list(range(10, 40))
        np.testing.assert_array_equal(got[:10], (pressure[90:100] + 1000) / 20)
        np.testing.assert_array_equal(record.physical("II"), (ecg - 5) / 200)
        np.testing.assert_allclose(record.time_s("II", -4), [9.98888889, 9.99166667, 9.99444444, 9.99722222])
        assert len(record.time_s("ABP")) == 900


def test_only_the_chunks_that_are_needed_are_read(long_ecg):
    content = compressed(long_ecg, prdn=5, chunk_s=30)
    chunks = chunk_payloads(content)
    assert len(chunks) == 3
    file = CountingFile(content)
    with sancodec.open(file, models=BANKS) as record:
        for span, needed in [
            (slice(0, 5), {0}),
            (slice(10_800, 10_801), {1}),
            (slice(10_799, 10_801), {0, 1}),
            (slice(-1, None), {2}),
            (slice(5, 5), set()),
        ]:
            file.ranges = []
            record[1, span]
            touched = {
                index
                for index, (first, last) in enumerate(chunks)
                for start, stop in file.ranges
                if start < last and stop > first
            }
            assert touched == needed, span
    assert not file.closed


def test_a_damaged_chunk_costs_only_itself(long_ecg):
    content = bytearray(compressed(long_ecg, prdn=5, chunk_s=30))
    whole = sancodec.decompress(bytes(content), models=BANKS)
    content[chunk_payloads(content)[1][0] + 5] ^= 1
    with sancodec.open(io.BytesIO(content), models=BANKS) as record:
        np.testing.assert_array_equal(record[:, :10_800], whole[:, :10_800])
        np.testing.assert_array_equal(record[:, 21_600:], whole[:, 21_600:])
        with pytest.raises(FormatError, match="chunk 1"):
            record[0, 10_700:10_900]


@pytest.mark.parametrize(
    ("file", "words"), [(io.StringIO("x"), "opened as text"), (object(), "neither a path"), (3, "neither a path")]
)
def test_what_is_no_binary_file_is_refused(file, words):
    with pytest.raises(InvalidSignalError, match=words):
        sancodec.open(file)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("level", [1, 5, 9])
def test_a_forked_process_reads_what_its_parent_has_opened(level):
    samples = np.cumsum(np.random.default_rng(0).integers(-9, 10, (2, 20_000)), axis=1)
    opened = sancodec.open(io.BytesIO(sancodec.compress(samples, sampling_rate_hz=360, level=level, chunk_s=25.0)))
    before = opened[0, 0:20_000]
    script_end, child_end = multiprocessing.Pipe()

    def read():
        child_end.send(bool(np.array_equal(opened[0, 0:20_000], before)))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of forking with threads, which is what is tested
        child = multiprocessing.get_context("fork").Process(target=read)
        child.start()
    try:
        assert script_end.poll(60), "the child hangs"
        assert script_end.recv()
    finally:
        child.kill()
        child.join()
