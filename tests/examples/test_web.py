"""The page of examples/web in headless Chromium, against the package.

Needs node, chromium, `npm ci` in examples/web, and the train or dev extra for `sancodec export`, or kits in the folder
SANCODEC_KITS. With SANCODEC_FIGURES=1 the test of the half-hour record replaces docs/figures/web.png.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sancodec

ROOT = Path(__file__).parents[2]
WEB = ROOT / "examples" / "web"
GOLDEN = ROOT / "tests" / "golden"
RECORD = ROOT / "tests" / "data" / "100_10s.dat"
COMMAND = [sys.executable, "-c", "from sancodec.cli import main; main()"]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NEEDED = {
    "there is no node": shutil.which("node"),
    "there is no chromium": CHROMIUM,
    "npm ci was not run in examples/web": (WEB / "node_modules" / "playwright-core").is_dir(),
}
pytestmark = [pytest.mark.skipif(not there, reason=reason) for reason, there in NEEDED.items()]

# One of every coder, of every promise, with missing samples, of several rates, with a bank of its own.
FILES = [
    "ecg_prdn_level_1",
    "ecg_error_and_prdn_level_5",
    "ecg_prdn_level_9",
    "ecg_lossless_level_5",
    "leads_lossless_level_9",
    "missing_prdn_level_5",
    "missing_lossless_level_1",
    "rates_mixed_level_3",
    "rates_mixed_level_9",
    "embedded_prdn_level_1",
    "lattice_lossless_level_9",
    "segments_prdn_level_5",
    "chunks_error_level_9",
    "constant",
    "one_sample",
]


class Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """A page that is closed leaves what it asked for."""


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Address and folder of the page, put together and served."""
    folder = tmp_path_factory.mktemp("web")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    kits = os.environ.get("SANCODEC_KITS", str(folder / "kits"))
    built = subprocess.run(
        ["node", WEB / "build.mjs", kits, folder / "dist"],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    print(built.stdout)
    with Server(("127.0.0.1", 0), partial(QuietHandler, directory=folder / "dist")) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", folder / "dist"
        server.shutdown()
        thread.join()


def driven(*tasks: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """What the page shows, for each file of each task of examples/web/test/drive.mjs."""
    given = json.dumps({"chromium": CHROMIUM, "tasks": tasks}, default=str)
    found = subprocess.run(
        ["node", WEB / "test" / "drive.mjs"], input=given, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    assert not found.stderr
    return json.loads(found.stdout)


def digests(path: Path) -> list[str]:
    samples = sancodec.decompress_recording(path.read_bytes()).samples
    return [hashlib.sha256(np.ascontiguousarray(row, "<i4").tobytes()).hexdigest() for row in samples]


def compressed(path: Path, *options: str, record: Path = RECORD) -> Path:
    rate = ["--rate", "360"] if record.suffix == ".npy" else []
    run_cli("compress", str(record), "-q", "-o", str(path), *rate, *options)
    return path


def run_cli(*arguments: str) -> str:
    return subprocess.check_output([*COMMAND, *arguments], text=True)


def assert_one_line(result: dict[str, Any], name: str) -> None:
    assert result["isErrorShown"], name
    assert name in result["error"]
    assert "\n" not in result["error"]
    assert len(result["error"]) < 300


def test_golden_files_give_the_samples_of_the_package(site):
    paths = [GOLDEN / "decode" / f"{name}.san" for name in FILES]
    (results,) = driven({"url": site[0], "files": paths})
    for path, result in zip(paths, results, strict=True):
        assert (path.stem, result["state"], result["error"]) == (path.stem, "done", None)
        assert (path.stem, result["digests"]) == (path.stem, digests(path))


def test_files_come_by_drop_picker_and_address(site, tmp_path):
    exact = compressed(tmp_path / "exact.san", "--lossless", "--level", "9")
    paths = [exact, *(compressed(tmp_path / f"prdn_{level}.san", "--prdn", "5", "--level", level) for level in "159")]
    shutil.copy(exact, site[1] / "exact.san")
    tasks = [{"url": site[0], "drop": exact}, {"url": f"{site[0]}?file=exact.san"}, {"url": site[0], "files": paths}]
    (dropped,), (addressed,), picked = driven(*tasks)
    assert dropped["digests"] == addressed["digests"] == digests(exact)
    assert [each["digests"] for each in picked] == [digests(path) for path in paths]
    assert dropped["channels"][:4] == ["MLII", "exact", "0", "0"]
    assert picked[2]["channels"][:2] == ["MLII", "PRDN ≤ 5 %"]
    assert picked[2]["figures"]["beats"].startswith("13 ")
    assert picked[2]["figures"]["digests verified"] == "1 of 1 chunk"
    assert picked[2]["nKernels"] > 0


def test_what_every_reader_refuses_is_refused_in_one_line(site):
    paths = sorted((GOLDEN / "refuse").glob("*.san"))
    (results,) = driven({"url": site[0], "files": paths})
    for path, result in zip(paths, results, strict=True):
        assert result["digests"] == [], path.stem
        assert_one_line(result, path.name)


def test_a_damaged_chunk_leaves_the_others(site, tmp_path):
    blob = bytearray((GOLDEN / "decode" / "segments_lossless_level_5.san").read_bytes())
    blob[len(blob) // 2] ^= 1
    path = tmp_path / "damaged.san"
    path.write_bytes(blob)
    ((result,),) = driven({"url": site[0], "files": [path]})
    assert result["state"] == "done"
    assert result["error"].startswith("damaged.san is damaged: 0:")
    assert_one_line(result, path.name)
    assert result["digests"] == []
    verified, n_chunks = (int(word) for word in result["figures"]["digests verified"].split() if word.isdigit())
    assert verified == n_chunks - 1


def test_a_bank_that_is_not_at_hand_is_named(site):
    named, carried = (GOLDEN / "decode" / f"{name}.san" for name in ("ecg_prdn_level_5", "embedded_prdn_level_1"))
    (results,) = driven({"url": site[0], "files": [named, carried], "banks": []})
    for path, result in zip([named, carried], results, strict=True):
        assert result["state"] == "failed"
        assert_one_line(result, path.name)
        assert any(
            model["sha256"] in result["error"] for model in json.loads(run_cli("info", "--json", str(path)))["models"]
        )


def test_missing_things_are_told_in_one_line(site):
    task = {"url": f"{site[0]}?file=absent.san"}
    (absent,), (old,) = driven(task, {**task, "noWebAssembly": True})
    assert_one_line(absent, "absent.san")
    assert "404" in absent["error"]
    assert_one_line(old, "WebAssembly")


def test_mouse_keys_and_fingers_move_the_view(site, tmp_path):
    path = compressed(tmp_path / "long.san", record=long_record(tmp_path))
    ((result,),) = driven({"url": site[0], "files": [path], "gestures": True})
    for gesture, expected in {
        "dragged by half": (5, 15),
        "double click": (7.5, 12.5),
        "Home": (0, 5),
        "0": (0, 40),
        "pinch to half": (2.5, 7.5),
        "click into the strip": (17.5, 22.5),
    }.items():
        assert result["gestures"][gesture] == pytest.approx(expected, abs=0.2), gesture


def long_record(folder: Path) -> Path:
    """The record that the repository carries, four times."""
    samples = np.tile(sancodec.decompress(compressed(folder / "once.san").read_bytes()), 4)
    np.save(folder / "long.npy", samples.astype(np.int16))
    return folder / "long.npy"


def test_half_an_hour_is_shown_within_seconds(site, tmp_path, shared_data):
    path = compressed(site[1] / "100.san", record=shared_data / "mitdb" / "100.dat")
    picture = ROOT / "docs" / "figures" / "web.png" if os.environ.get("SANCODEC_FIGURES") else tmp_path / "web.png"
    narrow = {"viewport": {"width": 390, "height": 844}, "colorScheme": "dark", "screenshot": tmp_path / "narrow.png"}
    task = {"url": f"{site[0]}?file=100.san"}
    (first,), (second,), (wide,), _ = driven(
        task, task, {**task, "screenshot": picture, "frames": True}, {**task, **narrow}
    )
    times = [each["times"] for each in (first, second, wide)]
    print(json.dumps([times, wide["figures"], wide["frames"]], indent=1))
    assert wide["digests"] == digests(path)
    assert min(each["firstPicture"] for each in times) < 3000
    assert picture.stat().st_size > 20_000
    for gesture, measured in wide["frames"].items():
        assert measured["drawMs"][0] < 16, gesture
