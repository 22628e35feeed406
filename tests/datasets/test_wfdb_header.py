from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sancodec.datasets.wfdb_formats import SAMPLE_FORMATS
from sancodec.datasets.wfdb_header import SignalGroup, parse_header, updated_content
from sancodec.errors import InvalidSignalError


def parse(text):
    return parse_header(text if isinstance(text, bytes) else text.encode(), where="folder/x.hea")


def test_record_line_with_every_field():
    record = parse("rec_1-a 1 62.4725/999.56(-12.5) 14400 17:27:45.25 15/08/1994\nx.dat 16\n").record
    assert (record.name, record.n_signals, record.n_frames) == ("rec_1-a", 1, 14400)
    assert record.frame_rate_hz == Fraction("62.4725")
    assert (record.counter_rate_hz, record.base_counter) == (999.56, -12.5)
    assert (record.base_time, record.base_date) == ("17:27:45.25", "15/08/1994")


def test_record_line_with_the_least_fields():
    record = parse("x 1\nx.dat 16\n").record
    assert (record.frame_rate_hz, record.n_frames, record.base_time, record.base_date) == (None, None, None, None)


def test_zero_samples_per_signal_mean_an_unknown_length():
    assert parse("x 1 360 0\nx.dat 16\n").record.n_frames is None


def test_signal_line_with_every_field():
    content = b"x 1\nx.dat 212x4:3+24 -1.5e-3(1024)/mmHg 11 1000 995 -22131 0  ABP, left arm \r\n"
    signal = parse(content).signals[0]
    assert (signal.file_name, signal.format_code) == ("x.dat", 212)
    assert (signal.samples_per_frame, signal.skew, signal.byte_offset) == (4, 3, 24)
    assert (signal.gain, signal.baseline, signal.unit) == (-0.0015, 1024, "mmHg")
    assert (signal.adc_resolution_bits, signal.adc_zero) == (11, 1000)
    assert (signal.initial_value, signal.checksum, signal.block_size) == (995, -22131, 0)
    assert signal.description == "ABP, left arm"
    assert content[slice(*signal.initial_value_span)] == b"995"
    assert content[slice(*signal.checksum_span)] == b"-22131"


def test_signal_line_with_the_least_fields():
    signal = parse("x 1\nx.dat 16\n").signals[0]
    assert (signal.samples_per_frame, signal.skew, signal.byte_offset) == (None, None, None)
    assert (signal.gain, signal.baseline, signal.unit, signal.description) == (None, None, None, None)
    assert (signal.initial_value_span, signal.checksum_span) == (None, None)


def test_initial_value_defaults_to_the_adc_zero():
    assert parse("x 1\nx.dat 8 200 12 1024\n").signals[0].initial_value_or_default == 1024


def test_gain_baseline_and_unit_are_optional_each():
    texts = ["200", "200/mV", "200(5)", "200(5)/mV", "0"]
    signals = parse(
        f"x {len(texts)}\n" + "".join(f"{index}.dat 16 {text}\n" for index, text in enumerate(texts))
    ).signals
    assert [(signal.gain, signal.baseline, signal.unit) for signal in signals] == [
        (200, None, None),
        (200, None, "mV"),
        (200, 5, None),
        (200, 5, "mV"),
        (0, None, None),
    ]


def test_comments_and_blank_lines_may_stand_anywhere():
    header = parse("#wfdb 10.6\n\n # one\nx 2\n#two\nx.dat 16\n\t\nx.dat 16\n# three\n")
    assert len(header.signals) == 2


def test_names_are_read_as_utf_8_or_else_as_latin_1():
    header = parse(
        "x 2\nx.dat 16 1/µV 0 0 0 0 0 Brücke\n".encode() + "x.dat 16 1/µV 0 0 0 0 0 Brücke\n".encode("latin-1")
    )
    assert [(signal.unit, signal.description) for signal in header.signals] == [("µV", "Brücke")] * 2


def test_signals_of_one_file_form_a_group():
    header = parse("x 3\na.dat 16x4+24\na.dat 16+24\nb.dat 212\n")
    assert header.groups == (
        SignalGroup("a.dat", SAMPLE_FORMATS[16], 24, 0, 2, (4, 1)),
        SignalGroup("b.dat", SAMPLE_FORMATS[212], 0, 2, 3, (1,)),
    )


@pytest.mark.parametrize(
    ("old", "checksum", "new"),
    [
        ("-5", 65531, "-5"),
        ("65531", 65531, "65531"),
        ("065531", 65531, "065531"),
        ("-5", 40000, "-25536"),
        ("65531", 40000, "40000"),
        ("17", 40000, "-25536"),
        ("17", 18, "18"),
    ],
)
def test_checksum_is_updated_in_the_style_of_the_line(old, checksum, new):
    header = parse(f"x 1 360\r\nx.dat\t16  200 11 0 995 {old}   0 MLII \r\n# end")
    expected = f"x 1 360\r\nx.dat\t16  200 11 0 -7 {new}   0 MLII \r\n# end"
    assert updated_content(header, {0: (-7, checksum)}).decode() == expected


def test_checksum_style_comes_from_the_other_lines_where_a_line_does_not_tell():
    header = parse("x 2\nx.dat 16 200 11 0 0 17\nx.dat 16 200 11 0 0 65535\n")
    assert updated_content(header, {0: (0, 40000)}) == b"x 2\nx.dat 16 200 11 0 0 40000\nx.dat 16 200 11 0 0 65535\n"


def test_fields_that_the_header_lacks_stay_out():
    header = parse("x 2\nx.dat 16\nx.dat 16 200 11 0 9\n")
    assert updated_content(header, {0: (1, 2), 1: (3, 4)}) == b"x 2\nx.dat 16\nx.dat 16 200 11 0 3\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "header is empty"),
        (" \n\r\n", "header is empty"),
        ("# only\n", "comments only"),
        (b"\x7fELF\0\0", "binary data"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "line 1: not a WFDB header"),
        ("ENVI\nsamples = 3\n", "line 1: not a WFDB header"),
        ("Dear reader,\n", "line 1: not a WFDB header"),
        ("the 3 kings\n", "sampling frequency is 'kings'"),
        (
            "x/3 2 360\n",
            "'x' is a multi-segment record .3 segments., which has no signal files of its own; give its header itself",
        ),
        ("x 0 360\n", "0 signals"),
        ("x 2 360\nx.dat 16\n", "promises 2 signals, but 1 signal lines follow"),
        ("x 999999999 360\nx.dat 16\n", "promises 999999999 signals"),
        ("x 1 0\nx.dat 16\n", "sampling frequency is '0'; a number above 0"),
        ("x 1 -5\nx.dat 16\n", "sampling frequency is '-5'"),
        ("x 1 nan\nx.dat 16\n", "sampling frequency is 'nan'"),
        ("x 1 1e999999999\nx.dat 16\n", "sampling frequency is '1e999999999'"),
        ("x 1 360 -1\nx.dat 16\n", "number of samples per signal is -1"),
        ("x 1 360 many\nx.dat 16\n", "number of samples per signal is 'many'; a whole number"),
        ("x 1\nx.dat 17\n", "line 2: format of signal file 'x.dat' is '17'; known formats are 8, 16,"),
        ("x 1\nx.dat\n", "format of signal file 'x.dat' is ''"),
        ("x 1\n~ 0 200\n", "layout header of a multi-segment record"),
        ("x 1\nx.dat 16 nan\n", "gain is 'nan'; a finite number"),
        ("x 1\nx.dat 16 -inf/mV\n", "gain is '-inf'; a finite number"),
        ("x 1\nx.dat 16 200(a)/mV\n", "baseline is 'a'; a whole number"),
        ("x 1\nx.dat 16 200 ECG\n", "ADC resolution is 'ECG'; a whole number"),
        ("x 1\nx.dat 16x0\n", "samples per frame in file 'x.dat' must be 1 to 65535"),
        ("x 2\nx.dat 16\nx.dat 212\n", "differ in format or byte offset"),
        ("x 2\nx.dat 16\nx.dat 16+8\n", "differ in format or byte offset"),
        ("x 3\nx.dat 16\ny.dat 16\nx.dat 16\n", "lines of signal file 'x.dat' must follow each other"),
        ("x 1\nX.HEA 16\n", "names itself as a signal file"),
        ("x 1\nx.dat 516+4\n", "FLAC signal file 'x.dat' has a byte offset"),
        ("x 1\n../x.dat 16\n", "'../x.dat' is not a plain file name"),
        ("x 1\n/etc/passwd 16\n", "'/etc/passwd' is not a plain file name"),
        ("x 1\n..\\x.dat 16\n", "is not a plain file name"),
        ("x 1\nC:x.dat 16\n", "'C:x.dat' is not a plain file name"),
        ("x 1\n.. 16\n", "'..' is not a plain file name"),
        ("x 1\n- 16\n", "'-' is not a plain file name"),
        ("x 1\nx\x1b[2J.dat 16\n", "is not a plain file name"),
    ],
)
def test_header_that_cannot_be_read_is_refused_in_one_line(content, message):
    with pytest.raises(InvalidSignalError, match=message) as caught:
        parse(content)
    assert str(caught.value).startswith("folder/x.hea")
    assert "\n" not in str(caught.value)


LINES = [b"x 2 360 100", b"x.dat 212x2:3+4 200(5)/mV 11 0 5 -6 0 I", b"#", b"8", b"x/2", b"-1", b"9" * 30, b"\xff"]


@given(content=st.one_of(st.binary(max_size=80), st.lists(st.sampled_from(LINES)).map(b"\n".join)))
def test_any_bytes_are_a_header_or_an_invalid_signal(content):
    try:
        header = parse(content)
    except InvalidSignalError:
        return
    assert updated_content(header, {}) == content
