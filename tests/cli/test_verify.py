"""What ``verify`` tells of damaged files: everything that is hit, and when in the recording it is."""

import json
from pathlib import Path

import numpy as np
import pytest

from sancodec.codec.container import ContainerReader, SectionType
from tests.cli.conftest import Run
from tests.cli.test_refusals import assert_one_line


@pytest.fixture
def chunks(run: Run, record: Path) -> list[int]:
    """``many.san``: ten chunks of 30 s; where their payloads begin."""
    rng = np.random.default_rng(0)
    np.save("many.npy", rng.integers(-40, 40, 10 * 10_800 - 3600).cumsum().astype(np.int32))
    assert run("compress", "many.npy", "--rate", "360", "--chunk", "30", "--level", "1").status == 0
    with Path("many.san").open("rb") as file:
        reader, offsets = ContainerReader(file), []
        offset = 12
        while offset < reader.length - 12:
            section, end = reader.section_at(offset)
            if section.kind == SectionType.CHUNK:
                offsets.append(offset + 5)
            offset = end
    assert len(offsets) == 10
    return offsets


def damaged_copy(*offsets: int, length: int | None = None) -> None:
    content = bytearray(Path("many.san").read_bytes()[:length])
    for offset in offsets:
        content[offset + 9] ^= 0x10
    Path("bad.san").write_bytes(content)


def test_one_damaged_chunk_is_one_line(run: Run, chunks: list[int]) -> None:
    damaged_copy(chunks[3])
    assert_one_line(run("verify", "bad.san"), "bad.san: chunk 3, 0:01:30.0 to 0:02:00.0: ", "checksum")


def test_every_damaged_chunk_is_named_with_its_time(run: Run, chunks: list[int]) -> None:
    damaged_copy(chunks[0], chunks[4], chunks[9])
    outcome = run("verify", "bad.san")
    assert outcome.status == 1
    lines = outcome.err.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("sancodec: error: bad.san: chunk 0, 0:00:00.0 to 0:00:30.0: ")
    assert lines[1].startswith("sancodec: error: bad.san: chunk 4, 0:02:00.0 to 0:02:30.0: ")
    assert lines[2].startswith("sancodec: error: bad.san: chunk 9, 0:04:30.0 to 0:04:50.0: ")
    assert lines[3] == "sancodec: error: bad.san: 3 of 10 chunks cannot be decoded; the others are intact"


def test_json_lists_them_all(run: Run, chunks: list[int]) -> None:
    damaged_copy(chunks[4], chunks[5])
    outcome = run("verify", "bad.san", "many.san", "--json")
    assert outcome.status == 1
    bad, good = (json.loads(line) for line in outcome.out.splitlines())
    assert good == {"input": "many.san", "intact": True, "chunks": 10, "damaged": [], "end_error": None}
    assert (bad["intact"], bad["chunks"]) == (False, 10)
    assert [(each["chunk"], each["start_s"], each["end_s"]) for each in bad["damaged"]] == [
        (4, 120.0, 150.0),
        (5, 150.0, 180.0),
    ]
    assert all("checksum" in each["error"] for each in bad["damaged"])


def test_chunks_missing_at_the_end_are_told_together(run: Run, chunks: list[int]) -> None:
    damaged_copy(length=chunks[6] + 3)
    outcome = run("verify", "bad.san")
    lines = outcome.err.splitlines()
    assert outcome.status == 1
    assert "chunks 6 to 9, 0:03:00.0 to 0:04:50.0: " in lines[0]
    assert len(lines) == 1


def test_a_damaged_end_is_told_with_the_chunks_intact(run: Run, chunks: list[int]) -> None:
    damaged_copy(length=Path("many.san").stat().st_size - 1)
    assert_one_line(run("verify", "bad.san"), "its 10 chunks can be decoded")


def test_several_files_are_all_checked(run: Run, chunks: list[int]) -> None:
    damaged_copy(chunks[1])
    outcome = run("verify", "bad.san", "many.san", "none.san")
    assert outcome.status == 1
    assert outcome.out == "many.san: intact, 10 chunks\n"
    assert "none.san: there is no such file" in outcome.err
