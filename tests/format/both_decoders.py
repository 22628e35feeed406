"""The package's decoder and those written from docs/format.md alone, asked about the same file.

``decoder`` checks every must of the document, as the package does; ``documented``, docs/decoder.py, only decodes.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import format_parts as parts
import numpy as np
import pytest
import strict_decoder as decoder
import zstandard

import sancodec
from sancodec.errors import FormatError

DOCUMENTED = Path(__file__).parents[2] / "docs" / "decoder.py"
REFUSALS = (ValueError, IndexError, zstandard.ZstdError)


def _load() -> ModuleType:
    """docs/decoder.py as a module: it is no part of a package."""
    specification = importlib.util.spec_from_file_location("san_decoder", DOCUMENTED)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["san_decoder"] = module
    specification.loader.exec_module(module)
    return module


documented = _load()


def accepted(blob: bytes) -> list[list[int]]:
    """Samples of each channel, the same from all decoders."""
    expected = [row.tolist() for row in sancodec.decompress_recording(blob).samples]
    for each in (decoder, documented):
        assert [row.tolist() for row in each.decode(blob, {})[1]] == expected
    return expected


def refused(blob: bytes, match: str | None = None, error: type[FormatError] = FormatError) -> None:
    """The package and the strict decoder refuse a file; ``match`` is for the package's message."""
    with pytest.raises(error, match=match):
        sancodec.decompress_recording(blob)
    with pytest.raises(REFUSALS):
        decoder.decode(blob, {})


def agreed(blob: bytes) -> bool:
    """Whether both accept a file, with the same samples; both may refuse it."""
    try:
        expected = sancodec.decompress_recording(blob).samples
    except FormatError:
        with pytest.raises(REFUSALS):
            decoder.decode(blob, {})
        return False
    for each in (decoder, documented):
        for row, found in zip(expected, each.decode(blob, {})[1], strict=True):
            np.testing.assert_array_equal(found, row)
    return True


def constant_file(**fields: bytes) -> bytes:
    return parts.file_of(*parts.constant_sections(**fields))
