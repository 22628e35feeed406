"""Files of coder 2 that break one *must* of docs/format.md, or only look as if."""

from __future__ import annotations

import numpy as np
import pytest
from both_decoders import accepted, agreed, decoder, refused
from format_parts import CODING, coded_coding, coded_file, file_of, predicted_coding, predicted_file
from test_refusals_in_residuals import SIGNALS, mutated, with_digests

import sancodec
from sancodec.errors import LimitExceededError

FLAT = np.full(5, 7)
CHANNEL = {"per_frame": 1, "minimum": -2047, "maximum": 2047}


@pytest.mark.parametrize("stages", [(33, 0), (0, 257)])
def test_stages_beyond_their_limits(stages: tuple[int, int]) -> None:
    coding = predicted_coding({"stages": stages}, coder=2)
    refused(predicted_file(coding, FLAT, residuals=b"\xff"), "adaptive stages", LimitExceededError)


def test_restart_means_nothing() -> None:
    rows = (1, *[0] * 63)
    coding = predicted_coding({"head": (0, 1, 0, 64, 0), "own": rows}, coder=2)
    parsed = decoder.read_coding(coding, {"channels": [CHANNEL], "n_chunks": 1, "chunk_frames": 99}, [])
    assert parsed.channels[0].layer.restart == 1


def test_bands_that_are_off_take_no_bytes() -> None:
    assert accepted(coded_file(coder=2)) == [[7] * 60]
    refused(coded_file(coder=2, coefficients=b"\0"), "contradicts itself")
    refused(coded_file(coder=2, raw=b"\0"), "raw bits")


def test_bytes_beyond_the_end_of_a_stream_are_zeros_but_few() -> None:
    coding = coded_coding(coder=2, scales=(41, 41))
    refused(coded_file(coder=2, coding=coding, coefficients=b""))
    refused(coded_file(coder=2, coding=coding, coefficients=bytes(200)))


@pytest.mark.parametrize("options", [{"lossless": True}, {"max_error": "2adu"}, {"prdn": 5.0}], ids=str)
def test_both_decoders_agree_on_any_change_to_a_payload(options: dict) -> None:
    signal = SIGNALS[:2, : 700 if "prdn" in options else 200].astype(np.int16)
    blob = sancodec.compress(signal, sampling_rate_hz=100, level=7, embed_models=True, **options)
    sections = decoder.read_sections(blob)
    assert decoder.Bits(next(payload for kind, payload in sections if kind == CODING)).rice(3)[2] == 2
    assert agreed(with_digests(sections))
    rng = np.random.default_rng(3)
    for _ in range(60):
        changed = mutated(sections, rng)
        try:
            altered = with_digests(changed)
        except Exception:
            altered = file_of(*changed)
        agreed(altered)


@pytest.mark.parametrize("options", [{"max_error": "2adu"}, {"prdn": 5.0}], ids=str)
def test_streams_that_are_cut_or_go_on_are_refused(options: dict) -> None:
    blob = sancodec.compress(
        SIGNALS[:1, :200].astype(np.int16), sampling_rate_hz=100, level=7, embed_models=True, **options
    )
    *before, (kind, chunk) = decoder.read_sections(blob)
    assert decoder.Bits(before[-1][1]).rice(3)[2] == 2
    for changed in (chunk[:-1], chunk[:-3], chunk + b"\0", chunk + b"\x80"):
        refused(file_of(*before, (kind, changed)))
