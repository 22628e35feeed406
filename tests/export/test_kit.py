import errno
import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import sancodec
from sancodec.codec.models import shipped_model
from sancodec.codec.recording import Recording
from sancodec.datasets.wfdb_source import open_wfdb
from sancodec.errors import InvalidSignalError, KitError, MissingDependencyError, OutputExistsError
from sancodec.export.check import check_kit
from sancodec.export.kit import CHECKSUMS, DECODER, ENCODER, write_kit
from sancodec.export.sessions import SessionMaker
from sancodec.export.vectors import run

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from sancodec.export.graph_encoder import compress_with_graph

RECORD = Path(__file__).parents[1] / "data" / "100_10s.hea"
NAMES = {
    "SHA256SUMS", "codec_spec.json", "decoder.onnx", "encoder.onnx", "events.prior", "model.sanm", "residual.prior",
    "vectors/beats.npz", "vectors/noise.npz",
}  # fmt: skip


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kits") / "sym8"
    write_kit(shipped_model("sym8"), folder, sampling_rate_hz=360)
    return folder


@pytest.fixture
def copy(kit, tmp_path):
    return Path(shutil.copytree(kit, tmp_path / "copy"))


def with_right_checksums(folder):
    lines = (folder / CHECKSUMS).read_text().splitlines()
    names = [line.split("  ")[1] for line in lines]
    sums = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / CHECKSUMS).write_text("".join(sums))


def test_a_kit_has_all_files_small_graphs_and_passes_its_check(kit):
    files = {path.relative_to(kit).as_posix() for path in kit.rglob("*") if path.is_file()}
    assert files == NAMES
    assert max((kit / name).stat().st_size for name in (ENCODER, DECODER)) < 2**20
    described = json.loads((kit / "codec_spec.json").read_text())
    assert described["model_sha256"] == shipped_model("sym8").sha256.hex()
    lines = list(check_kit(kit, device="cpu"))
    assert lines[0] == "8 files have the right checksums"
    assert "run on onnxruntime-cpu" in lines[1]
    assert [line.split(":")[0] for line in lines[2:]] == ["vectors/beats.npz", "vectors/noise.npz"]
    assert all("decoded to the same bits" in line for line in lines[2:])


def test_the_vectors_have_beats_and_levels_of_both_signs(kit):
    with np.load(kit / "vectors" / "beats.npz") as arrays:
        assert len(arrays["encoder.event_start"]) > 8
        assert {0, 1} <= set(arrays["encoder.event_kernel"].ravel().tolist())
        assert arrays["encoder.level_0"].min() < 0 < arrays["encoder.level_0"].max()
        samples, decoded = arrays["encoder.samples"].astype(float), arrays["decoder.samples"]
        error = np.linalg.norm(samples - decoded) / np.linalg.norm(samples - samples.mean())
        assert error < 0.05


def test_the_same_model_gives_the_same_kit(kit, tmp_path):
    write_kit(shipped_model("sym8"), tmp_path / "again", sampling_rate_hz=360)
    for name in NAMES - {"vectors/beats.npz", "vectors/noise.npz", "SHA256SUMS"}:  # archives hold the time
        assert (tmp_path / "again" / name).read_bytes() == (kit / name).read_bytes()


@pytest.mark.parametrize("name", sorted(NAMES - {"SHA256SUMS"}))
def test_an_altered_file_is_named(copy, name):
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(KitError, match=f"{name}: its SHA-256"):
        list(check_kit(copy, device="cpu"))


@pytest.mark.parametrize("name", sorted(NAMES - {"SHA256SUMS"}))
def test_a_missing_file_is_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(KitError, match=name):
        list(check_kit(copy, device="cpu"))


@pytest.mark.parametrize("name", [ENCODER, DECODER])
def test_a_graph_of_another_model_is_refused(copy, tmp_path, name):
    write_kit(shipped_model("haar"), tmp_path / "haar", sampling_rate_hz=360)
    shutil.copy(tmp_path / "haar" / name, copy / name)
    with_right_checksums(copy)
    with pytest.raises(KitError, match=r"of model haar .* and the kit is of sym8"):
        list(check_kit(copy, device="cpu"))


def test_a_graph_that_cannot_be_opened_is_refused_in_one_line(copy):
    (copy / DECODER).write_bytes(b"no graph")
    with_right_checksums(copy)
    with pytest.raises(KitError, match=r"decoder.onnx: onnxruntime cannot open it") as raised:
        list(check_kit(copy, device="cpu"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("decoder.samples", "decoded samples differ"),
        ("decoder.components", "decoded components differ"),
        ("encoder.level_3", "symbols"),
    ],
)
def test_a_vector_that_comes_out_otherwise_is_refused(copy, key, message):
    path = copy / "vectors" / "beats.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays[key] = arrays[key] + 1
    np.savez(path, **arrays)
    with_right_checksums(copy)
    with pytest.raises(KitError, match=message):
        list(check_kit(copy, device="cpu"))


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd"])
def test_names_outside_the_kit_are_refused(copy, name):
    (copy.parent / "outside").write_bytes(b"")
    with (copy / CHECKSUMS).open("a") as file:
        file.write(f"{'0' * 64}  {name}\n")
    with pytest.raises(KitError, match="outside the kit"):
        list(check_kit(copy, device="cpu"))


def test_no_kit_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(KitError, match="it is no kit"):
            list(check_kit(folder))


def test_cuda_where_there_is_none_is_refused_in_one_line(kit):
    try:
        SessionMaker(device="cuda")
    except MissingDependencyError:
        with pytest.raises(MissingDependencyError, match=r"device 'cuda' does not work here: .*; install"):
            list(check_kit(kit, device="cuda"))
    else:
        pytest.skip("CUDA works here")


@pytest.mark.parametrize("name", [".", "vectors/..", "../copy", "../link"])
def test_a_kit_is_replaced_where_that_is_asked_for(copy, monkeypatch, name):
    (copy.parent / "link").symlink_to(copy)
    monkeypatch.chdir(copy)
    with pytest.raises(OutputExistsError, match="-f replaces it"):
        write_kit(shipped_model("haar"), Path(name), sampling_rate_hz=250)
    write_kit(shipped_model("haar"), Path(name), sampling_rate_hz=250, force=True)
    assert json.loads((copy / "codec_spec.json").read_text())["model"] == "haar"
    assert sorted(os.listdir(copy.parent)) == ["copy", "link"]
    assert len(list(check_kit(copy, device="cpu"))) == 4


@pytest.mark.parametrize("name", ["notes.txt", "vectors/mine.txt"])
def test_a_folder_with_anything_else_in_it_is_left_alone(copy, name):
    (copy / name).write_text("years")
    with pytest.raises(OutputExistsError, match=f"'{name}' in it is not part of one"):
        write_kit(shipped_model("haar"), copy, sampling_rate_hz=250, force=True)
    assert (copy / name).read_text() == "years"
    assert len(list(check_kit(copy, device="cpu"))) == 4


@pytest.mark.parametrize("is_folder", [False, True])
def test_what_is_no_kit_is_left_alone(tmp_path, is_folder):
    target = tmp_path / "mine"
    target.mkdir() if is_folder else target.write_text("years")
    with pytest.raises(OutputExistsError, match="is no kit"):
        write_kit(shipped_model("haar"), target, sampling_rate_hz=250, force=True)
    assert os.listdir(tmp_path) == ["mine"]


def test_the_old_kit_stays_when_the_new_one_cannot_be_written(copy, monkeypatch):
    def no_space(self, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", no_space)
    with pytest.raises(KitError, match="cannot be written"):
        write_kit(shipped_model("haar"), copy, sampling_rate_hz=250, force=True)
    monkeypatch.undo()
    assert os.listdir(copy.parent) == ["copy"]
    assert len(list(check_kit(copy, device="cpu"))) == 4


def test_a_folder_below_a_file_is_refused_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KitError, match="it cannot be written"):
        write_kit(shipped_model("haar"), tmp_path / "file" / "kit", sampling_rate_hz=250)


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), 1.0, 1e6])
def test_rates_at_which_no_beats_are_looked_for_are_refused(tmp_path, rate):
    with pytest.raises(InvalidSignalError, match="beats are looked for at 50 to 2500 Hz"):
        write_kit(shipped_model("haar"), tmp_path / "kit", sampling_rate_hz=rate)


def test_a_vector_without_an_input_is_refused(copy):
    path = copy / "vectors" / "noise.npz"
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files if name != "decoder.scale"}
    np.savez(path, **arrays)
    with_right_checksums(copy)
    with pytest.raises(KitError, match="it cannot be used"):
        list(check_kit(copy, device="cpu"))


@pytest.fixture(scope="module")
def recording():
    with open_wfdb(RECORD) as source:
        return Recording(source.channels, source.frames(0, source.n_frames), source.frame_rate_hz)


@pytest.mark.parametrize(("prdn", "chunk_frames"), [(3.0, None), (8.0, None), (8.0, 1500)])
def test_files_of_the_encoder_graph_keep_the_promise_and_are_small(kit, recording, prdn, chunk_frames):
    session = SessionMaker(device="cpu")((kit / ENCODER).read_bytes())
    model = shipped_model("sym8")
    content = compress_with_graph(
        recording, lambda feeds: run(session, feeds), model, prdn=prdn, chunk_frames=chunk_frames
    )
    decoded = sancodec.decompress_recording(content)
    for channel, before, after in zip(recording.channels, recording.samples, decoded.samples, strict=True):
        error = 100 * np.linalg.norm((before - after).astype(float)) / np.linalg.norm(before - before.mean())
        assert 0.98 * prdn < error <= prdn, channel.name
    reference = sancodec.compress(recording, prdn=prdn, level=5, models=(model,), chunk_s=None)
    assert len(content) < len(reference) * (1.03 if chunk_frames is None else 1.35)


def test_recordings_that_the_graph_does_not_take_are_refused(recording):
    flat = Recording(
        recording.channels, tuple(np.zeros_like(each) for each in recording.samples), recording.frame_rate_hz
    )
    with pytest.raises(InvalidSignalError, match="constant"):
        compress_with_graph(flat, lambda feeds: feeds, shipped_model("sym8"), prdn=5.0)
