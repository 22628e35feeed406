import json
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Run
from tests.san.test_beat_kernels import a_beat, a_model


def test_a_network_gives_the_kernels_of_the_beats(run: Run, record: Path) -> None:
    Path("beats.sann").write_bytes(a_model(a_beat()[::-1]).content)
    found = run("compress", record, "--model", "beats.sann", "--prdn", "9", "--json")
    assert found.status == 0
    assert {channel["kernels"] for channel in json.loads(found.out)["channels"]} <= {0, 1}
    Path("beats.sann").unlink()
    assert run("decompress", "100_10s.san", "-o", "restored").status == 0


def test_a_bank_and_a_network_go_together(run: Run, record: Path) -> None:
    Path("beats.sann").write_bytes(a_model(a_beat()[::-1]).content)
    found = run("compress", record, "--model", "sym8", "--model", "beats.sann", "--json")
    assert found.status == 0
    assert {channel["bank"] for channel in json.loads(found.out)["channels"]} <= {"sym8", "prediction"}


def test_networks_that_cannot_be_used_are_told_in_one_line(run: Run, record: Path) -> None:
    content = a_model(a_beat()).content
    Path("damaged.sann").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    Path("images.sann").write_bytes(a_model(np.ones((3, 3))).content)
    Path("good.sann").write_bytes(content)
    for name, expected in (("damaged", "does not match its SHA-256"), ("images", "has no beats")):
        found = run("compress", record, "--model", f"{name}.sann")
        assert found.status == 1
        assert found.err.startswith(f"sancodec: error: {name}.sann: ")
        assert expected in found.err
        assert found.err.count("\n") == 1
    assert run("compress", record, "--model", "good.sann", "--model", "images.sann").status == 2
    run("compress", record, "-o", "100.san")
    for command in (
        ("decompress", "100.san"),
        ("verify", "100.san"),
        ("compare", record, "100.san"),
        ("info", "100.san"),
    ):
        found = run(*command, "--model", "good.sann")
        assert found.status == 2
        assert "--model good.sann: networks are for compressing" in found.err
    assert not Path("100_10s.san").exists()


def test_a_model_that_is_none_is_named(run: Run, record: Path) -> None:
    run("compress", record, "-o", "100.san")
    Path("none.sanm").write_bytes(b"nothing of the kind")
    for command in (("compress", record), ("decompress", "100.san", "100.san"), ("verify", "100.san")):
        found = run(*command, "--model", "none.sanm")
        assert found.status == 1
        assert found.err.startswith("sancodec: error: none.sanm: model: ")
        assert found.err.count("\n") == 1


def test_a_network_becomes_a_graph(run: Run, record: Path) -> None:
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    model = a_model(a_beat())
    Path("beats.sann").write_bytes(model.content)
    found = run("export", "beats.sann", "-o", "beats.onnx")
    assert (found.status, found.out) == (0, "")
    session = onnxruntime.InferenceSession("beats.onnx", providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map["sha256"] == model.network.sha256.hex()
    signals = np.random.default_rng(0).normal(size=(2, 1, 500)).astype(np.float32)
    expected = model.network.decompose(signals).reconstruction
    np.testing.assert_allclose(session.run(["reconstruction"], {"signals": signals})[0], expected, rtol=1e-4, atol=1e-3)
    assert "exists already" in run("export", "beats.sann", "-o", "beats.onnx").err
    assert run("export", "beats.sann", "-o", "beats.onnx", "-f").status == 0
    assert run("export", "beats.sann", "-o", ".").status == 2
    assert run("export", "beats.sann", "-o", "other.onnx", "--rate", "360").status == 2
    assert not Path("other.onnx").exists()
