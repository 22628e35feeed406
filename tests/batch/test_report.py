"""Pictures and tables of a batch."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from sancodec.batch.drawing import histogram, traces
from sancodec.batch.finished import COMPRESS, ChannelResult, Finished, RecordResult, Stamp
from sancodec.batch.report import Row, rows_of

CHANNEL = ChannelResult("MLII", "mV", 360.0, "≤ 5 %", 4.9, 0.03, 6, 720)


def finished(name: str, n_bytes: int) -> Finished:
    record = RecordResult("wfdb", 10.0, 80_000, 13, (CHANNEL, CHANNEL))
    return Finished(name, COMPRESS, "x.san", "", (Stamp(name, 12_000, "0"),), ("",), n_bytes, "", 0.5, record)


def test_ratios_count_stored_bits_and_files() -> None:
    rows = rows_of([finished("a.hea", 1_000)], [("b.hea", "is short")])
    assert [(row.stored_ratio, row.file_ratio) for row in rows] == [(10.0, 12.0), (10.0, 12.0), (None, None)]
    assert rows[2] == Row("b.hea", "", "is short", "")


def test_names_of_any_bytes_can_be_written() -> None:
    row = rows_of([finished("\udcff.hea", 1_000)], [])[0]
    assert row.source == "\\udcff.hea"


def test_a_histogram_counts_every_value() -> None:
    values = [1.0, 2.0, 2.0, 10.0, float("inf")]
    root = ElementTree.fromstring(histogram(values, "a < b"))
    counts = [int(title.text.rpartition(": ")[2]) for title in root.iter("title") if title.text]
    assert sum(counts) == 4
    assert max(counts) == 2


@pytest.mark.parametrize("values", [[], [float("inf")], [3.0], [3.0, 3.0]])
def test_a_histogram_of_little_is_drawn(values: list[float]) -> None:
    ElementTree.fromstring(histogram(values, "few"))


def test_traces_have_gaps_where_samples_are_missing() -> None:
    original = np.sin(np.arange(300) / 10)
    original[100:120] = np.nan
    root = ElementTree.fromstring(traces(original, original, start_s=10.0, rate_hz=100.0, unit="mV"))
    paths = [path for path in root.iter("path") if path.get("class") in ("original", "decoded")]
    assert [len(re.findall("M", str(path.get("d")))) for path in paths] == [2, 2]
    assert [len(re.findall("[ML]", str(path.get("d")))) for path in paths] == [280, 280]


def test_traces_of_nothing_say_so() -> None:
    gone = np.full(10, np.nan)
    assert "missing" in traces(gone, gone, start_s=0.0, rate_hz=1.0, unit="mV")
