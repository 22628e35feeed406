"""``sancodec decompress --salvage``."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sancodec
from sancodec.codec.decoder import RecordingReader
from sancodec.codec.synthesis import NumpyEngine
from sancodec.datasets.wfdb_record import read_wfdb
from sancodec.datasets.wfdb_writer import WfdbWriter

ECG = Path(__file__).parents[1] / "data" / "100_10s.hea"


def run(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-Werror", "-c", "from sancodec.cli import main; main()", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A WFDB record of 70 s in three chunks, ``long.san`` of it, and ``array.san``."""
    folder = tmp_path_factory.mktemp("salvage")
    ecg = read_wfdb(ECG)
    longer = type(ecg)(ecg.channels, tuple(np.tile(each, 7) for each in ecg.samples), ecg.frame_rate_hz, "array")
    with WfdbWriter(longer, folder, name="long") as writer:
        writer.write(longer.samples)
        writer.finish()
    result = run("compress", "--lossless", "--chunk", "0:00:25", "long.dat", cwd=folder)
    if result.returncode:
        result = run("compress", "--lossless", "long.dat", cwd=folder)
    assert not result.returncode, result.stderr
    (folder / "array.san").write_bytes(
        sancodec.compress(np.stack(longer.samples).astype(np.int16), sampling_rate_hz=360, prdn=5, level=1, chunk_s=25)
    )
    return folder


def chunk_places(path):
    with path.open("rb") as file:
        reader = RecordingReader(file, engine=NumpyEngine())
        return [offset for place in reader.segments for offset in place.chunks], reader.header


def damaged(path, target, *places):
    content = bytearray(path.read_bytes())
    for place in places:
        content[place] ^= 0x5A
    target.write_bytes(content)


def test_a_lost_chunk_is_filled_and_the_wfdb_header_fits(folder, tmp_path):
    places, header = chunk_places(folder / "long.san")
    damaged(folder / "long.san", tmp_path / "bad.san", places[1] + 50, places[1] + 90)
    refused = run("decompress", "bad.san", "-o", "restored", cwd=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.endswith(". --salvage restores what is left\n")
    assert refused.stderr.count("\n") == 1
    result = run("decompress", "--salvage", "bad.san", "-o", "restored", "--json", cwd=tmp_path)
    assert result.returncode == 1
    start, end = header.chunk_frames, 2 * header.chunk_frames
    said = json.loads(result.stdout)
    assert said["repaired"] == []
    (lost,) = said["lost"]
    assert (lost["chunk"], lost["last_chunk"]) == (1, 1)
    assert (lost["start_s"], lost["end_s"]) == (start / 360, end / 360)
    assert result.stderr.count("\n") == 1
    assert "chunk 1, 0:00:" in result.stderr
    assert "lost and filled with missing samples (-32768): its section at byte" in result.stderr
    before, after = (read_wfdb(each / "long.hea") for each in (folder, tmp_path / "restored"))
    for one, other in zip(before.samples, after.samples, strict=True):
        assert (other[start:end] == -32768).all()
        np.testing.assert_array_equal(np.delete(one, slice(start, end)), np.delete(other, slice(start, end)))


def test_repaired_files_end_with_status_0(folder, tmp_path):
    places, _ = chunk_places(folder / "long.san")
    damaged(folder / "long.san", tmp_path / "bad.san", places[1] + 50, places[2] + 1, 40)
    result = run("decompress", "--salvage", "bad.san", "-o", "restored", cwd=tmp_path)
    assert result.returncode == 0
    lines = result.stderr.splitlines()
    assert len(lines) == 3
    assert "section HEADER at byte 12: byte 40 of the file changed" in lines[0]
    assert "chunk 1, 0:00:" in lines[1]
    assert "repaired: its length was damaged" in lines[2]
    for name in ("long.dat", "long.hea"):
        assert (tmp_path / "restored" / name).read_bytes() == (folder / name).read_bytes()


def test_intact_files_are_restored_without_remarks(folder, tmp_path):
    shutil.copy(folder / "long.san", tmp_path)
    result = run("decompress", "--salvage", "long.san", "-o", "restored", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / "restored" / "long.dat").read_bytes() == (folder / "long.dat").read_bytes()


@pytest.mark.parametrize("form", ["npy", "csv", "wfdb"])
def test_cut_arrays_are_filled_with_the_smallest_value(folder, tmp_path, form):
    places, header = chunk_places(folder / "array.san")
    (tmp_path / "cut.san").write_bytes((folder / "array.san").read_bytes()[: places[1] + 100])
    result = run("decompress", "--salvage", "cut.san", "--to", form, cwd=tmp_path)
    assert result.returncode == 1
    assert "chunks 1 to 2, 0:00:25.0 to 0:01:10.0, lost and filled with the smallest value" in result.stderr
    whole = sancodec.decompress((folder / "array.san").read_bytes())
    if form == "npy":
        restored = np.load(tmp_path / "cut.npy")
        assert restored.dtype == np.int16
        np.testing.assert_array_equal(restored[:, : header.chunk_frames], whole[:, : header.chunk_frames])
        assert (restored[:, header.chunk_frames :] == -32768).all()
    elif form == "wfdb":
        restored = read_wfdb(tmp_path / "cut.hea").samples
        np.testing.assert_array_equal(np.stack(restored)[:, : header.chunk_frames], whole[:, : header.chunk_frames])
        assert (np.stack(restored)[:, header.chunk_frames :] == -32768).all()
    else:
        assert len((tmp_path / "cut.csv").read_text().splitlines()) == 1 + whole.shape[1]


def test_other_files_are_refused_without_the_hint(tmp_path):
    (tmp_path / "no.san").write_bytes(b"RIFF" * 20)
    for options in ([], ["--salvage"]):
        result = run("decompress", *options, "no.san", cwd=tmp_path)
        assert result.returncode == 1
        assert "is not a .san file" in result.stderr
        assert "what is left" not in result.stderr
