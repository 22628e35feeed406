"""EDF and BDF files read range by range and restored byte for byte, against bytes made by hand and against edfio."""

import io
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import edfio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sancodec.codec.recording import Channel, Recording
from sancodec.datasets import edf_source
from sancodec.datasets import pieces as pieces_module
from sancodec.datasets.edf_header import parse_header
from sancodec.datasets.edf_restore import EdfComparison, is_bdf, new_edf, restored_edf
from sancodec.datasets.edf_source import EdfSource, open_edf
from sancodec.datasets.file_writer import FileWriter
from sancodec.datasets.pieces import read_all
from sancodec.errors import CorruptError, InvalidSignalError, OutputExistsError
from tests.datasets.edf_files import Signal, annotations, edf_file, ramp
from tests.datasets.wfdb_files import pieces

MIXED = [Signal(ramp(5, 12)), Signal(ramp(5, 4, step=-3), "ECG"), annotations([0, 1, 2, 3, 4]), Signal(ramp(5, 8), "C")]
STATUS = Signal(
    [[-(2**23), 2**23 - 1], [65_536, -1]], "Status", "Boolean", ("-8388608", "8388607"), ("-8388608", "8388607")
)
KINDS = {
    "one signal": edf_file([Signal(ramp(3, 5))]),
    "signals of several rates": edf_file(MIXED, reserved="EDF+C"),
    "annotations first and last": edf_file([annotations([0, 1]), Signal(ramp(2, 3)), annotations([0, 1], n_bytes=40)]),
    "discontinuous": edf_file(
        [Signal(ramp(3, 6)), annotations([0, 7.5, 3600.25], texts=[(1, "Eyes open")])], reserved="EDF+D"
    ),
    "annotations only": edf_file([annotations([0, 1], n_bytes=90, texts=[(0, "W"), (1, "N1")])], duration="0"),
    "zeros inside annotations": edf_file([Signal(ramp(2, 2)), Signal([b"\0\0a\0\0b", b"\0" * 6], "EDF Annotations")]),
    "24 bits": edf_file([STATUS, Signal(ramp(2, 4))], is_bdf=True),
    "24 bits and annotations": edf_file(
        [STATUS, Signal([b"+0\x14\x14\0\0", b"+1\x14\x14\0\0"], "BDF Annotations")], is_bdf=True, reserved="BDF+C"
    ),
    "bytes after the last data record": edf_file([Signal(ramp(3, 5))]) + b"some rest",
    "last data record cut short": edf_file(MIXED)[:-3],
    "-1 data records stated": edf_file([Signal(ramp(3, 5))], n_records="-1"),
    "fewer data records stated": edf_file([Signal(ramp(3, 5))], n_records="1"),
    "more data records stated": edf_file([Signal(ramp(3, 5))], n_records="8"),
    "digital range of one value": edf_file([Signal(ramp(3, 5), digital=("0", "0"))]),
    "digital range upside down": edf_file([Signal(ramp(3, 5), digital=("32767", "-32768"))]),
    "physical range of one value": edf_file([Signal(ramp(3, 5), physical=("1", "1.0"))]),
    "physical range that is no number": edf_file([Signal(ramp(3, 5), physical=("-", "x"))]),
    "samples beyond the digital range": edf_file([Signal(ramp(3, 5), digital=("-10", "10"))]),
    "UTF-8 label": edf_file([Signal(ramp(3, 5), "Brücke µ", "µV")]),
    "Latin-1 label": edf_file([Signal(ramp(3, 5), "Brücke".encode("latin-1"))]),
    "zeros and control characters in the header": edf_file([Signal(ramp(3, 5), b"a\0\x1b[2J\n")]),
    "a signal without samples": edf_file([Signal(np.zeros((3, 0), int)), Signal(ramp(3, 5))]),
    "duration of 0 s": edf_file([Signal(ramp(3, 5))], duration="0"),
    "duration that is no number": edf_file([Signal(ramp(3, 5))], duration="1 s"),
    "decimal comma": edf_file([Signal(ramp(3, 5), physical=("-0,5", "0,5"))], duration="0,25"),
}


def put(folder, content, name="x.edf"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


def restore(source, folder, step):
    with FileWriter(restored_edf(source), folder) as writer:
        for piece in pieces(source, step):
            writer.write(piece)
        return writer.finish()


@pytest.mark.parametrize("step", [1, 3, 10_000])
@pytest.mark.parametrize("what", KINDS)
def test_file_comes_back_byte_for_byte(tmp_path, monkeypatch, what, step):
    monkeypatch.setattr(pieces_module, "BLOCK_SAMPLES", 1)
    path = put(tmp_path, KINDS[what], "Odd Näme.EDF")
    out = tmp_path / "out"
    out.mkdir()
    with open_edf(path) as source:
        assert restore(source, out, step) == [out / path.name]
        with EdfComparison(source, source) as comparison:
            for piece in pieces(source, step):
                comparison.write(piece)
            comparison.finish()
    assert (out / path.name).read_bytes() == KINDS[what]


def test_signals_of_several_rates_become_channels_of_common_frames(tmp_path):
    with open_edf(put(tmp_path, KINDS["signals of several rates"])) as source:
        assert [channel.name for channel in source.channels] == ["EEG Fp1", "ECG", "C"]
        assert [channel.samples_per_frame for channel in source.channels] == [3, 1, 2]
        assert (source.n_frames, source.frame_rate_hz, source.source) == (20, Fraction(4), "edf")
        whole = source.frames(0, 20)
        for samples, signal in zip(whole, (MIXED[0], MIXED[1], MIXED[3]), strict=True):
            np.testing.assert_array_equal(samples, signal.samples.reshape(-1))
        for first in range(21):
            for last in range(first, 21):
                for part, samples, channel in zip(source.frames(first, last), whole, source.channels, strict=True):
                    width = channel.samples_per_frame
                    assert part.dtype == np.int32
                    np.testing.assert_array_equal(part, samples[first * width : last * width])
        with pytest.raises(IndexError, match="frames 3 to 21; the recording has frames 0 to 20"):
            source.frames(3, 21)


def test_ranges_become_gain_and_baseline(tmp_path):
    signal = Signal(ramp(2, 3), "Temp rectal", "degC", ("34.4", "40.2"), ("-2048", "2047"))
    with open_edf(put(tmp_path, edf_file([signal], duration="0.5"))) as source:
        (channel,) = source.channels
        physical = (source.frames(0, 6)[0] - channel.baseline) / channel.gain
        assert (channel.name, channel.unit, channel.resolution_bits) == ("Temp rectal", "degC", 16)
        assert (channel.minimum, channel.maximum, channel.invalid) == (-2048, 2047, None)
        assert source.frame_rate_hz == 6
    expected = edfio.read_edf(tmp_path / "x.edf").signals[0].data
    np.testing.assert_allclose(physical, expected, atol=0.5 * 5.8 / 4095 + 1e-9)


@pytest.mark.parametrize("what", [each for each in KINDS if "range" in each and "upside" not in each])
def test_ranges_that_give_no_scale_leave_stored_units(tmp_path, what):
    with open_edf(put(tmp_path, KINDS[what])) as source:
        (channel,) = source.channels
    assert (channel.gain, channel.baseline, channel.unit) == (
        (1.0, 0, "adu") if what != "samples beyond the digital range" else (20 / 6553.5, 0, "uV")
    )
    is_wide = what in ("samples beyond the digital range", "digital range of one value")
    assert (channel.minimum, channel.maximum) == (-32768, 32767) or not is_wide


@pytest.mark.parametrize(
    ("label", "name"),
    [("Brücke µ", "Brücke µ"), ("Brücke".encode("latin-1"), "Brücke"), ("", "signal 0"), (b"Fz\0\0\0", "Fz")],
)
def test_labels_are_utf_8_or_else_latin_1(tmp_path, label, name):
    with open_edf(put(tmp_path, edf_file([Signal(ramp(1, 5), label)]))) as source:
        assert source.channels[0].name == name


def test_trigger_codes_of_24_bits_are_channels_like_others(tmp_path):
    with open_edf(put(tmp_path, KINDS["24 bits"], "x.bdf")) as source:
        assert is_bdf(source)
        assert (source.channels[0].minimum, source.channels[0].maximum) == (-(2**23), 2**23 - 1)
        assert source.channels[0].resolution_bits == 24
        assert source.frames(0, 4)[0].tolist() == [-(2**23), 2**23 - 1, 65_536, -1]


def test_annotations_take_the_bytes_that_they_have(tmp_path):
    with open_edf(put(tmp_path, edf_file([Signal(ramp(2, 1)), annotations([0, 1], n_bytes=200)]))) as source:
        contents = {side_file.name: side_file.content for side_file in source.side_files}
    assert contents["x.edf#annotations"] == b"\4+0\x14\x14\4+1\x14\x14"
    assert list(contents) == ["x.edf#header", "x.edf#annotations"]


REFUSED = {
    "no EDF file": (b"RIFF" * 100, "not an EDF or BDF file"),
    "empty": (b"", "not an EDF or BDF file"),
    "header cut in its first part": (KINDS["one signal"][:200], "ends after 200 bytes, within its header"),
    "header cut in its second part": (KINDS["one signal"][:300], "ends after 300 bytes, within its header of 512"),
    "no signals": (edf_file([], n_signals="0"), "number of signals is '0'"),
    "number of signals": (edf_file([Signal(ramp(1, 1))], n_signals="1.5"), r"number of signals is '1\.5'"),
    "negative number of signals": (edf_file([Signal(ramp(1, 1))], n_signals="-1"), "number of signals is '-1'"),
    "no data records": (KINDS["one signal"][:512], "0 bytes follow the header"),
    "less than a data record": (KINDS["one signal"][:515], "3 bytes follow the header, less than a data record of 10"),
    "number of samples": (KINDS["one signal"].replace(b"5       ", b"5x      "), "'EEG Fp1': number of samples.*'5x'"),
    "no samples": (edf_file([Signal(np.zeros((1, 0), int))]), "no signal has samples"),
    "rates too far apart": (
        edf_file([Signal(np.zeros((1, 65_536), int)), Signal(ramp(1, 1))]),
        "has 65536 samples to each 1 of another; at most 65535",
    ),
    "duration too short": (edf_file([Signal(ramp(1, 5))], duration="1e-40"), "no ratio of numbers below"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_bad_file_is_refused_in_one_line(tmp_path, what):
    content, match = REFUSED[what]
    path = put(tmp_path, content)
    with pytest.raises(InvalidSignalError, match=match) as caught:
        open_edf(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_and_a_folder_are_refused(tmp_path):
    with pytest.raises(InvalidSignalError, match="no such file"):
        open_edf(tmp_path / "x.edf")
    with pytest.raises(InvalidSignalError, match="cannot be read"):
        open_edf(tmp_path)


def test_a_file_that_becomes_shorter_is_an_error(tmp_path):
    path = put(tmp_path, edf_file([Signal(ramp(300, 50, step=1))]))
    with open_edf(path) as source:
        os.truncate(path, 20_000)
        with pytest.raises(InvalidSignalError, match="became shorter while it was read: byte 20000"):
            source.frames(0, source.n_frames)


def test_annotations_beyond_what_a_header_holds_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(edf_source, "MAX_SIDE_FILE_BYTES", 9)
    with pytest.raises(InvalidSignalError, match="10 bytes of annotations would have to be kept; at most 9"):
        open_edf(put(tmp_path, edf_file([Signal(ramp(2, 1)), annotations([0, 1])])))


def edited(source, **changes):
    """A recording of all samples of a source with other side files by kind; None leaves one out."""
    recording = read_all(source)
    contents = {each.name: each for each in recording.side_files}
    name = recording.side_files[0].name.rpartition("#")[0]
    for kind, content in changes.items():
        contents.pop(f"{name}#{kind}", None)
        if content is not None:
            contents[f"{name}#{kind}"] = type(recording.side_files[0])(f"{name}#{kind}", content)
    return Recording(recording.channels, recording.samples, recording.frame_rate_hz, "edf", tuple(contents.values()))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"header": None}, "its header, are needed"),
        ({"header": b"x"}, "side file 'x.edf#header' is damaged: not an EDF"),
        ({"header": KINDS["one signal"][:512]}, "its signals are not those of the recording"),
        ({"something": b""}, "side files"),
        ({"annotations": b"\4+0\x14\x14"}, "side file 'x.edf#annotations' is damaged"),
        ({"annotations": b"\x19" + bytes(25)}, "25 bytes of annotations; 24 fit"),
        ({"annotations": b"\x04+0\x14"}, "4 bytes of annotations"),
        ({"annotations": b"\x00" * 6}, "it has more than the data records hold"),
        ({"annotations": b"\xff"}, "side file 'x.edf#annotations' is damaged"),
    ],
)
def test_side_files_from_anywhere_are_checked(tmp_path, changes, match):
    with open_edf(put(tmp_path, KINDS["signals of several rates"])) as source:
        recording = edited(source, **changes)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(InvalidSignalError, match=match):
        restore(recording, out, 3)
    assert not list(out.iterdir())


@pytest.mark.parametrize("name", ["../x.edf", "a/b.edf", "nul.edf", "", "C:x.edf"])
def test_names_that_are_no_plain_file_names_are_refused(tmp_path, name):
    with open_edf(put(tmp_path, KINDS["one signal"])) as source:
        recording = read_all(source)
    side_files = tuple(type(each)(each.name.replace("x.edf", name), each.content) for each in recording.side_files)
    bad = Recording(recording.channels, recording.samples, recording.frame_rate_hz, "edf", side_files)
    with pytest.raises(InvalidSignalError, match="name"):
        restored_edf(bad)


def test_frames_that_do_not_fill_data_records_are_refused(tmp_path):
    with open_edf(put(tmp_path, KINDS["one signal"])) as source:
        recording = read_all(source)
    short = Recording(
        recording.channels, (recording.samples[0][:14],), recording.frame_rate_hz, "edf", recording.side_files
    )
    with pytest.raises(InvalidSignalError, match="14 frames are in the recording; whole data records of 5 are needed"):
        restored_edf(short)


def test_what_would_be_restored_otherwise_is_noticed(tmp_path):
    with open_edf(put(tmp_path, KINDS["one signal"])) as source:
        samples = source.frames(0, 15)[0]
        samples[1] += 1
        with (
            EdfComparison(source, source) as comparison,
            pytest.raises(CorruptError, match="another byte at offset 514"),
        ):
            comparison.write([samples])


def test_a_file_that_exists_stays(tmp_path):
    path = put(tmp_path, KINDS["one signal"])
    with open_edf(path) as source, pytest.raises(OutputExistsError), FileWriter(restored_edf(source), tmp_path):
        pass
    assert path.read_bytes() == KINDS["one signal"]


# Files of another program


def digital(path):
    """Stored integers of all ordinary signals as edfio reads them."""
    read = edfio.read_bdf if path.read_bytes()[:1] == b"\xff" else edfio.read_edf
    return [(signal.label, signal.digital) for signal in read(path).signals]


def assert_read_alike(path):
    with open_edf(path) as source:
        ours = source.frames(0, source.n_frames)
        for (label, theirs), samples, channel in zip(digital(path), ours, source.channels, strict=True):
            assert channel.name == label
            np.testing.assert_array_equal(samples, theirs)


@pytest.mark.parametrize("record_s", [1, 0.5, 2])
@pytest.mark.parametrize("suffix", [".edf", ".bdf"])
def test_files_of_edfio_are_read_as_it_reads_them(tmp_path, suffix, record_s):
    rng = np.random.default_rng(3)
    signal, whole = (edfio.EdfSignal, edfio.Edf) if suffix == ".edf" else (edfio.BdfSignal, edfio.Bdf)
    signals = [
        signal(rng.normal(0, 50, rate * 6), rate, label=label, physical_dimension="uV")
        for label, rate in [("EEG Cz", 100), ("ECG", 250), ("Resp", 4)]
    ]
    notes = [edfio.EdfAnnotation(0.5, None, "Lights off"), edfio.EdfAnnotation(3.25, 1.5, "Spindel µ")]
    path = tmp_path / f"x{suffix}"
    whole(signals, annotations=notes, data_record_duration=record_s).write(path)
    assert_read_alike(path)
    out = tmp_path / "out"
    out.mkdir()
    with open_edf(path) as source:
        assert len(source.side_files) == 2
        restore(source, out, 77)
    assert (out / path.name).read_bytes() == path.read_bytes()


REAL = (
    *(f"edf-samples/{name}.edf" for name in ("SC4001EC-Hypnogram", "mne_test", "short_psg", "test_generator")),
    *(f"edf-samples/{name}.bdf" for name in ("SC4001EC-Hypnogram", "mne_test", "short_psg", "test_subsecond")),
    *(f"edf-samples/{name}.edf" for name in ("test_subsecond", "test_utf8")),
    "edf-samples/test_generator_datarec_generator_2.bdf",
    "eegmat/Subject00_1.edf",
    "eegmmidb/S001R03.edf",
    "wfdb-sample/test_edfann.edf",
    "wfdb-sample/test_generator_2.edf",
)


@pytest.mark.parametrize("name", REAL)
def test_real_files_are_read_alike_and_come_back_byte_for_byte(shared_data, tmp_path, name):
    path = shared_data / name
    if "Hypnogram" not in name and "edfann" not in name:
        assert_read_alike(path)
    with open_edf(path) as source:
        restore(source, tmp_path, 50_000)
    assert (tmp_path / path.name).read_bytes() == path.read_bytes()


# New files


def written(recording, ranges, *, is_bdf=False):
    content = new_edf(recording, file_name="n.edf", is_bdf=is_bdf, value_ranges=ranges)
    blocks = [block for piece in pieces(recording, 7) for _, block in content.piece(piece)]
    return b"".join([*blocks, *(block for _, block in content.end())])


def recording_of(widths, n_frames, rate, **fields):
    channels = tuple(Channel(f"c{index}", samples_per_frame=width, **fields) for index, width in enumerate(widths))
    samples = tuple(np.arange(n_frames * width, dtype=np.int32) - 5 for width in widths)
    return Recording(channels, samples, Fraction(rate))


@pytest.mark.parametrize("is_bdf", [False, True])
@pytest.mark.parametrize(
    ("widths", "n_frames", "rate", "n_records", "n_padded"),
    [
        ((1, 1), 720, "360", 2, 0),
        ((4, 2), 1000, "250", 4, 0),
        ((1,), 61, "128", 1, 67),
        ((1,), 100, "200", 1, 0),
        ((3,), 7, "1/30", 7, 0),
        ((1,), 30, "1000/3", 1, 970),
        ((1,), 10, "0.0166666666667", 10, 0),
        ((256, 1), 9, "1", 9, 0),
    ],
)
def test_new_files_are_read_by_edfio(tmp_path, widths, n_frames, rate, n_records, n_padded, is_bdf):
    recording = recording_of(widths, n_frames, rate, gain=204.8, baseline=-3, unit="µV")
    path = tmp_path / "n.edf"
    path.write_bytes(
        written(
            recording, [(-5, 4 * n_frames * 300)] * len(widths) if is_bdf else [(-5, 9)] * len(widths), is_bdf=is_bdf
        )
    )
    read = (edfio.read_bdf if is_bdf else edfio.read_edf)(path)
    assert read.num_data_records == n_records
    for signal, samples, channel in zip(read.signals, recording.samples, recording.channels, strict=True):
        width = channel.samples_per_frame
        assert len(signal.digital) == len(samples) + n_padded * width
        np.testing.assert_array_equal(signal.digital[: len(samples)], samples)
        assert (signal.digital[len(samples) :] == samples[-1]).all()
        assert signal.physical_dimension == "uV"
        assert signal.sampling_frequency == pytest.approx(float(recording.frame_rate_hz) * width, rel=1e-5)
        expected = (signal.digital + 3) / 204.8
        np.testing.assert_allclose(signal.data, expected, rtol=1e-5, atol=1e-9)


def test_a_new_signal_is_not_labelled_as_annotations():
    recording = Recording((Channel("EDF Annotations"),), (np.array([1, 2], np.int32),), Fraction(2))
    content = written(recording, [(1, 2)])
    assert parse_header(content[:512]).ordinary == (0,)
    assert content[512:] == b"\1\0\2\0"


def test_missing_samples_become_the_lowest_value():
    recording = Recording(
        (Channel("a", minimum=-5, maximum=9, invalid=-6),), (np.array([1, -6, 9], np.int32),), Fraction(3)
    )
    header = parse_header(written(recording, [(1, 9)])[:512])
    assert header.frame_rate_hz == 3
    assert written(recording, [(1, 9)])[512:] == np.array([1, header.signals[0].digital_range[0], 9], "<i2").tobytes()
    assert header.signals[0].digital_range == (-32767, 32767)


@pytest.mark.parametrize("scale", [{"baseline": -(10**9)}, {"gain": 1e-320}])
def test_a_scale_beyond_eight_characters_leaves_stored_units(scale):
    recording = recording_of((1,), 4, 4, unit="V", **scale)
    (signal,) = parse_header(written(recording, [(-5, 0)])[:512]).signals
    assert (signal.unit, signal.scale) == ("adu", (1.0, 0))


@pytest.mark.parametrize(
    ("is_bdf", "ranges", "match"),
    [
        (False, (0, 32768), "samples 0…32768 do not fit EDF.*use --to bdf"),
        (True, (-(2**23) - 1, 0), "do not fit BDF.*use --to wfdb"),
    ],
)
def test_samples_that_do_not_fit_are_refused(is_bdf, ranges, match):
    with pytest.raises(InvalidSignalError, match=match):
        written(recording_of((1,), 4, 4), [ranges], is_bdf=is_bdf)


# Properties


@settings(max_examples=200)
@given(st.binary(max_size=700), st.integers(0, 760))
def test_any_header_is_read_or_refused(noise, position):
    content = bytearray(edf_file(MIXED[:2]))
    content[position : position + len(noise)] = noise
    try:
        source = EdfSource(io.BytesIO(content), Path("x.edf"))
    except InvalidSignalError:
        return
    restored = restored_edf(source)
    blocks = [block for piece in pieces(source, 1000) for _, block in restored.piece(piece)]
    assert b"".join([*blocks, *(block for _, block in restored.end())]) == content


FIELDS = st.text(st.characters(min_codepoint=32, max_codepoint=0x17F), max_size=8)
NUMBERS = st.one_of(FIELDS, st.integers(-40_000, 40_000).map(str), st.floats(-1e4, 1e4).map(lambda x: f"{x:.3g}"))


@settings(max_examples=150)
@given(
    st.lists(st.tuples(FIELDS, FIELDS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.integers(0, 9)), min_size=1, max_size=4),
    st.integers(1, 4),
    NUMBERS,
    st.booleans(),
    st.binary(max_size=5),
)
def test_any_fields_come_back(rows, n_records, duration, is_bdf, rest):
    signals = [
        Signal(ramp(n_records, n_samples), label, unit, (low, high), (first, last))
        for label, unit, low, high, first, last, n_samples in rows
    ]
    content = edf_file(signals, duration=duration, is_bdf=is_bdf) + rest
    try:
        source = EdfSource(io.BytesIO(content), Path("x.edf"))
    except InvalidSignalError as error:
        is_expected = not any(row[-1] for row in rows) or "no ratio of numbers" in str(error)
        if not is_expected:
            raise
        return
    restored = restored_edf(source)
    blocks = [block for piece in pieces(source, 3) for _, block in restored.piece(piece)]
    assert b"".join([*blocks, *(block for _, block in restored.end())]) == content


MEMORY = """
import resource, sys
from pathlib import Path
from sancodec.datasets.edf_restore import restored_edf
from sancodec.datasets.edf_source import open_edf
with open_edf(Path(sys.argv[1])) as source:
    content = restored_edf(source)
    for first in range(0, source.n_frames, 20_000):
        for piece in content.piece(source.frames(first, min(first + 20_000, source.n_frames))):
            pass
    list(content.end())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_length(tmp_path):
    used = []
    for n_records in (100, 5000):
        head = edf_file([Signal(np.zeros((1, 256), int)) for _ in range(16)], n_records=str(n_records))
        path = tmp_path / f"{n_records}.edf"
        with path.open("wb") as file:
            file.write(head)
            file.truncate(256 * 17 + n_records * 256 * 16 * 2)
        result = subprocess.run([sys.executable, "-c", MEMORY, path], capture_output=True, text=True, check=True)
        used.append(int(result.stdout) // (1 if sys.platform != "darwin" else 1024))
    assert used[1] - used[0] < 20_000  # KiB; the samples of the longer file take 40 MB, as int32 80
