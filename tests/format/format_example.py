"""Writes the file that docs/format.md annotates byte by byte: ``python tests/format/format_example.py`` prints it."""

from __future__ import annotations

import io
from fractions import Fraction

import numpy as np
import zstandard

from sancodec.codec.encoder import encode_recording
from sancodec.codec.kernels import Model
from sancodec.codec.promise import Promise
from sancodec.codec.recording import Channel, Recording
from sancodec.codec.synthesis import NumpyEngine
from sancodec.training.lapped import SYM8, dyadic_groups
from sancodec.training.statistics import neutral_contexts


def example_recording() -> Recording:
    """Five frames: a constant ECG lead with two missing samples, and a constant channel of twice its rate."""
    lead = Channel(
        "II", "mV", gain=200.0, baseline=1024, resolution_bits=11, minimum=-2047, maximum=2047, invalid=-2048
    )
    pressure = Channel("ABP", "mmHg", gain=10.0, resolution_bits=12, minimum=0, maximum=4095, samples_per_frame=2)
    samples = np.array([995, 995, -2048, -2048, 995], np.int32), np.full(10, 800, np.int32)
    return Recording((lead, pressure), samples, Fraction(360), "array")


def example_bytes() -> bytes:
    """The container; constant channels need no model, so HEADER names none."""
    groups = tuple(dyadic_groups(SYM8, levels=2))
    models = (Model(groups, neutral_contexts(groups, 1), {}),)
    file = io.BytesIO()
    encode_recording(
        example_recording(),
        file,
        promises=[Promise(prdn=2.0), Promise(max_error_adu=0)],
        level=1,
        chunk_s=None,
        models=models,
        embed_models=False,
        engine=NumpyEngine(),
    )
    return file.getvalue()


def hex_dump(content: bytes) -> str:
    """Rows of offset and sixteen bytes."""
    return "\n".join(f"{first:04x}  {content[first : first + 16].hex(' ')}" for first in range(0, len(content), 16))


if __name__ == "__main__":
    content = example_bytes()
    length = int.from_bytes(content[0x0D:0x11], "little")
    print(hex_dump(content), hex_dump(zstandard.decompress(content[0x11 : 0x11 + length])), sep="\n\n")
