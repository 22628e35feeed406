"""WFDB headers for recordings that did not come from WFDB."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sancodec.codec.recording import INT32_MIN, Channel, RecordingDescription, SideFile
from sancodec.datasets.wfdb_formats import SAMPLE_FORMATS, SampleFormat
from sancodec.datasets.wfdb_lines import check_file_name
from sancodec.datasets.wfdb_side_files import HEADER_SUFFIX
from sancodec.errors import InvalidSignalError

Ranges = Sequence[tuple[int, int]]  # (minimum, maximum) of each channel's samples


class NewRecord:
    """A recording that did not come from WFDB, described as if it had come with this header."""

    source = "wfdb"

    def __init__(self, description: RecordingDescription, header: SideFile) -> None:
        self.channels = description.channels
        self.frame_rate_hz, self.n_frames = description.frame_rate_hz, description.n_frames
        self.side_files = (header,)


def new_format(description: RecordingDescription, value_ranges: Ranges | None, name: str | None) -> SampleFormat:
    """Choose the first of the formats 16, 24 and 32 that holds all samples.

    Raises
    ------
    InvalidSignalError
        If there is none.
    """
    if value_ranges is None:
        # -2**31 is left to the samples: few of the channels that could hold it do.
        value_ranges = [(max(channel.minimum, INT32_MIN + 1), channel.maximum) for channel in description.channels]
    edges = [_valid_edges(*pair) for pair in zip(description.channels, value_ranges, strict=True)]
    for code in (16, 24, 32):
        row = SAMPLE_FORMATS[code]
        if all(row.minimum <= minimum and maximum <= row.maximum for minimum, maximum in edges):
            return row
    raise InvalidSignalError(f"record {name!r}: samples of {INT32_MIN} mark missing samples and cannot be stored")


def _valid_edges(channel: Channel, value_range: tuple[int, int]) -> tuple[int, int]:
    """The range of valid samples, also where the one given has the value of missing samples as its end."""
    minimum, maximum = value_range
    if channel.invalid is not None and minimum == channel.invalid < maximum:
        minimum += 1
    elif channel.invalid is not None and minimum < channel.invalid == maximum:
        maximum -= 1
    return minimum, maximum


def new_header(description: RecordingDescription, row: SampleFormat, name: str | None) -> SideFile:
    """Return the header of record ``name``; initial values and checksums are to be updated.

    Raises
    ------
    InvalidSignalError
        If the name is missing or not a record name, or there are no samples.
    """
    if name is None or not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise InvalidSignalError(f"record name is {name!r}; letters, digits, '_' and '-' are needed")
    check_file_name(f"{name}{HEADER_SUFFIX}", where="record name", kind="header")
    if description.n_frames == 0:
        raise InvalidSignalError(f"record {name!r}: the recording has no samples")
    rate = repr(float(description.frame_rate_hz)).removesuffix(".0")
    lines = [f"{name} {len(description.channels)} {rate} {description.n_frames}"]
    for channel in description.channels:
        layout = f"{row.code}x{channel.samples_per_frame}".removesuffix("x1")
        gain = repr(float(channel.gain)).removesuffix(".0")
        unit, text = (" ".join(each.replace("\0", " ").split()) for each in (channel.unit, channel.name))
        # Initial value and checksum become those of the samples at the end; 65535 asks for checksums without a sign.
        fields = f"{layout} {gain}({channel.baseline})/{unit.replace(' ', '_') or 'NU'} {channel.resolution_bits} 0"
        lines.append(f"{name}.dat {fields} 0 65535 0 {text}".rstrip())
    return SideFile(f"{name}{HEADER_SUFFIX}", "".join(f"{line}\n" for line in lines).encode())
