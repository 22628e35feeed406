"""The package's decoder and the one written from docs/format.md, asked about the same file."""

from __future__ import annotations

import format_parts as parts
import pytest
from independent_decoder import decode

import sancodec
from sancodec.errors import FormatError

REFUSALS = (ValueError, IndexError)


def accepted(blob: bytes) -> list[list[int]]:
    """Samples of each channel, the same from both decoders."""
    expected = [row.tolist() for row in sancodec.decompress_recording(blob).samples]
    assert [row.tolist() for row in decode(blob)[1]] == expected
    return expected


def refused(blob: bytes, match: str | None = None, error: type[FormatError] = FormatError) -> None:
    """Both decoders refuse a file; ``match`` is for the package's message."""
    with pytest.raises(error, match=match):
        sancodec.decompress_recording(blob)
    with pytest.raises(REFUSALS):
        decode(blob)


def constant_file(**fields: bytes) -> bytes:
    return parts.file_of(*parts.constant_sections(**fields))
