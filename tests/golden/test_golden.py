"""Golden files: what was written is read, what is written stays as it is unless someone means to change it.

docs/policy.md says which of these files may change and when. A missing one fails.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from both_decoders import REFUSALS, decoder, documented
from inputs import CASES
from make import ENCODE, encoded, known_models, machine, sample_digests, section_hashes
from refusals import ACCEPTED, REFUSED

import sancodec
from sancodec import errors
from sancodec.codec.quality import measure

HERE = Path(__file__).parent
# What protects no samples is left to the package and to tests/format/strict_decoder.py.
UNCHECKED_BY_DOCUMENT = {
    "ancillary_within_a_segment",
    "bytes_after_header",
    "promise_not_a_number",
    "source_of_no_type",
    "unknown_source",
}
REGENERATE = (
    "the encoder's choices changed: if that is meant, run `python tests/golden/make.py encode` "
    "and say so in the changelog"
)


def golden(folder: str, name: str) -> tuple[bytes, dict]:
    path = HERE / folder / f"{name}.san"
    return path.read_bytes(), json.loads(path.with_suffix(".json").read_text())


def names(folder: str) -> set[str]:
    return {path.stem for path in (HERE / folder).glob("*.san")}


def test_no_golden_file_is_missing_or_forgotten() -> None:
    assert names("decode") == {*CASES, *ACCEPTED}
    assert names("refuse") == set(REFUSED)
    assert json.loads(ENCODE.read_text())["sections"].keys() == CASES.keys()
    assert sum(path.stat().st_size for path in HERE.rglob("*.san")) < 300_000


@pytest.mark.parametrize("name", sorted({*CASES, *ACCEPTED}))
def test_package_and_document_decode_to_the_stored_samples(name: str) -> None:
    blob, expected = golden("decode", name)
    assert sample_digests(sancodec.decompress_recording(blob).samples) == expected["samples_sha256"]
    for each in (documented, decoder):
        assert sample_digests(each.decode(blob, known_models())[1]) == expected["samples_sha256"]


def assert_promises_kept(name: str, blob: bytes) -> None:
    original, decoded = CASES[name].recording(), sancodec.decompress_recording(blob)
    for channel, before, after, promise in zip(
        original.channels, original.samples, decoded.samples, CASES[name].settings()["promises"], strict=True
    ):
        quality = measure(before, after, gain=channel.gain, baseline=channel.baseline, invalid=channel.invalid)
        assert promise.prdn is None or quality.prdn <= promise.prdn
        assert promise.max_error_adu is None or quality.max_error_adu <= promise.max_error_adu
        if channel.invalid is not None:
            np.testing.assert_array_equal(after == channel.invalid, before == channel.invalid)
    assert decoded.side_files == original.side_files


@pytest.mark.parametrize("name", CASES)
def test_stored_files_keep_what_they_promise(name: str) -> None:
    blob, expected = golden("decode", name)
    promises = CASES[name].settings()["promises"]
    assert expected["promises"] == [[each.prdn, each.max_error_adu] for each in promises]
    assert_promises_kept(name, blob)


@pytest.mark.parametrize("name", CASES)
def test_encoder_writes_the_same_sections(name: str) -> None:
    """Bytes before zstd, whose versions differ.

    The encoder compares sums of floating point numbers, and the last bits of those depend on the BLAS and the vector
    instructions that it finds, so that another machine may choose another step or bank. There the promise must hold
    and the size be about the same. Decoding is integer arithmetic and has no such exception.
    """
    stored = json.loads(ENCODE.read_text())
    blob = encoded(CASES[name])
    if stored["made_on"] == machine():
        assert section_hashes(blob, known_models()) == stored["sections"][name], REGENERATE
    else:
        assert_promises_kept(name, blob)
        assert len(blob) <= 1.05 * golden("decode", name)[1]["n_bytes"] + 64


@pytest.mark.parametrize("name", REFUSED)
def test_damaged_hostile_and_future_files_are_refused(name: str) -> None:
    blob, expected = golden("refuse", name)
    with pytest.raises(getattr(errors, expected["error"])) as caught:
        sancodec.decompress_recording(blob)
    assert type(caught.value).__name__ == expected["error"]
    assert expected["message"] in str(caught.value)
    with pytest.raises(REFUSALS):
        decoder.decode(blob, known_models())


@pytest.mark.parametrize("name", sorted(REFUSED.keys() - UNCHECKED_BY_DOCUMENT))
def test_decoder_of_the_document_refuses_what_may_cost_samples(name: str) -> None:
    with pytest.raises((*REFUSALS, MemoryError)):
        documented.decode(golden("refuse", name)[0], known_models())
