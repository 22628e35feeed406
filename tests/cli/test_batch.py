"""``sancodec batch``: trees become mirrors and come back."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from sancodec.batch.places import place_at
from tests.batch.trees import files_in, folders_in
from tests.cli.conftest import COMMAND, DATA, Run, piped
from tests.cli.test_edf import waves
from tests.datasets.edf_files import Signal, annotations, edf_file, ramp
from tests.datasets.test_wfdb_segments import FIXED, SHARED, VARIABLE
from tests.datasets.wfdb_files import put

STATE = Path("sancodec-batch") / "state.jsonl"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``in``: records in two folders, annotations, a list, an array, an empty folder."""
    monkeypatch.chdir(tmp_path)
    place_at.cache_clear()
    source = tmp_path / "in"
    for folder in ("ecg", "ecg/more"):
        (source / folder).mkdir(parents=True, exist_ok=True)
        for suffix in (".dat", ".hea"):
            shutil.copy(DATA / f"100_10s{suffix}", source / folder)
    (source / "empty").mkdir()
    (source / "RECORDS").write_text("ecg/100_10s\n")
    (source / "ecg" / "100_10s.atr").write_bytes(bytes(range(256)))
    walk = np.random.default_rng(1).integers(-30, 30, (2, 2000)).cumsum(axis=1)
    np.save(source / "walk.npy", walk.astype(np.int16))
    return source


def lines_of(target: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (target / STATE).read_text().splitlines()]


def finished_in(target: Path) -> list[str]:
    return [str(line["source"]) for line in lines_of(target) if "source" in line]


def test_a_lossless_tree_comes_back_byte_for_byte(run: Run, tree: Path) -> None:
    np.save(tree / "columns.npy", np.asfortranarray(np.load(tree / "walk.npy")))
    outcome = run("batch", "in", "out", "--lossless", "--rate", "360", "-j", "2")
    assert outcome.status == 0
    assert outcome.err == "sancodec: note: columns.npy: would not come back byte for byte; copied as it is\n"
    assert {"ecg/100_10s.san", "ecg/more/100_10s.san", "walk.san", "columns.npy", "RECORDS"} <= set(
        files_in(Path("out"))
    )
    assert run("batch", "-j1", "--restore", "out", "back").status == 0
    assert files_in(Path("back")) == files_in(tree)
    assert folders_in(Path("back")) == folders_in(tree)
    again = run("batch", "-j1", "--restore", "out", "back", "-q")
    assert (again.status, again.err) == (0, "")


def test_files_of_edf_and_records_of_segments_come_back_byte_for_byte(run: Run, tree: Path) -> None:
    put(tree / "long", VARIABLE)
    put(tree / "same", SHARED)
    notes = annotations(range(10), texts=[(3, "Arousal")])
    (tree / "Night 1.EDF").write_bytes(edf_file([*waves(10), notes], reserved="EDF+C") + b"cut")
    (tree / "night.bdf").write_bytes(edf_file([Signal(ramp(5, 100))], is_bdf=True))
    before = files_in(tree)
    outcome = run("batch", "in", "out", "--lossless", "--rate", "360", "-j", "2", "--delete-originals")
    assert (outcome.status, files_in(tree)) == (0, {})
    containers = {"long/m.san", "same/m.san", "Night 1.san", "night.san"}
    assert {name for name in files_in(Path("out")) if not name.startswith("ecg")} == {
        *containers,
        "walk.san",
        "RECORDS",
    }
    assert run("batch", "-j1", "--restore", "out", "back").status == 0
    assert files_in(Path("back")) == before
    again = run("batch", "-j1", "--restore", "out", "back", "--json")
    assert json.loads(again.out)["done"] == 0


def test_lossy_trees_have_files_of_edf_and_records_of_segments(run: Run, tree: Path) -> None:
    put(tree / "long", VARIABLE)
    put(tree / "same", FIXED)
    (tree / "night.edf").write_bytes(edf_file(waves(10)))
    outcome = run("batch", "-j1", "in", "out", "--prdn", "9", "--exclude", "*.npy")
    assert outcome.status == 0
    assert len(outcome.err.splitlines()) == 1
    assert outcome.err.startswith("sancodec: note: long/m.hea: is copied, its segments are compressed one by one: ")
    assert {"long/a.san", "long/b.san", "long/c.san", "long/m.hea", "same/m.san"} <= set(files_in(Path("out")))
    assert run("compare", tree / "same/m.hea", "out/same/m.san").status == 0
    page = Path("out/sancodec-batch/report.html").read_text()
    assert "night.edf, " in page
    assert "no picture" not in page
    assert run("batch", "-j1", "--restore", "out", "back").status == 0
    assert set(files_in(Path("back"))) == set(files_in(tree)) - {"walk.npy"}


def test_a_finished_tree_is_not_done_again(run: Run, tree: Path) -> None:
    run("batch", "-j1", "in", "out", "--rate", "360")
    before = {path: path.stat().st_mtime_ns for path in Path("out").rglob("*.san")}
    outcome = run("batch", "-j1", "in", "out", "--rate", "360")
    assert "0 files done, 5 done before" in outcome.out
    assert {path: path.stat().st_mtime_ns for path in Path("out").rglob("*.san")} == before


def test_a_source_that_was_only_touched_is_not_done_again(run: Run, tree: Path) -> None:
    run("batch", "-j1", "in", "out", "--exclude", "*.npy")
    os.utime(tree / "ecg" / "100_10s.dat", (0, 0))
    assert "0 files done, 4 done before" in run("batch", "-j1", "in", "out", "--exclude", "*.npy").out


def test_a_source_that_changed_is_done_again(run: Run, tree: Path) -> None:
    run("batch", "-j1", "in", "out", "--exclude", "*.npy")
    (tree / "RECORDS").write_text("ecg/100_10z\n")
    header = tree / "ecg" / "100_10s.hea"
    header.write_bytes(header.read_bytes() + b"# comment\n")
    assert "2 files done, 2 done before" in run("batch", "-j1", "in", "out", "--exclude", "*.npy").out
    assert (Path("out") / "RECORDS").read_text() == "ecg/100_10z\n"


def test_an_output_is_known_by_its_digest(run: Run, tree: Path) -> None:
    run("batch", "-j1", "in", "out", "--exclude", "*.npy")
    target = Path("out/ecg/100_10s.san")
    good = target.read_bytes()
    status = target.stat()
    target.write_bytes(good[:-1] + b"x")
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
    Path("out/RECORDS").unlink()
    outcome = run("batch", "-j1", "in", "out", "--exclude", "*.npy")
    assert "2 files done, 2 done before" in outcome.out
    assert outcome.err == (
        "sancodec: note: ecg/100_10s.hea: ecg/100_10s.san is missing or not as it was written; done again\n"
    )
    assert target.read_bytes() == good


def test_other_options_do_recordings_again_and_say_so(run: Run, tree: Path) -> None:
    run("batch", "-j1", "in", "out", "--exclude", "*.npy")
    outcome = run("batch", "-j1", "in", "out", "--exclude", "*.npy", "--preset", "monitor")
    assert outcome.err == "sancodec: note: 2 recordings were compressed with other options; they are done again\n"
    assert "2 files done, 2 done before" in outcome.out
    assert "PRDN" in run("compare", tree / "ecg/100_10s.hea", "out/ecg/100_10s.san").out
    assert json.loads(run("info", "--json", "out/ecg/100_10s.san").out)["channels"][0]["prdn"] > 4


def test_a_name_that_changed_leaves_no_old_output(run: Run, tree: Path) -> None:
    run("batch", "-j1", "in", "out", "--include", "walk.*", "--rate", "360")
    shutil.copy(DATA / "100_10s.hea", tree / "walk.hea")
    shutil.copy(DATA / "100_10s.dat", tree)
    assert run("batch", "-j1", "in", "out", "--include", "walk.*", "--rate", "360").status == 0
    assert set(files_in(Path("out"))) == {"walk.npy.san", "walk.hea.san"}


def test_a_file_of_somebody_else_is_not_replaced(run: Run, tree: Path) -> None:
    Path("out/ecg").mkdir(parents=True)
    Path("out/ecg/100_10s.san").write_bytes(b"mine")
    Path("out/RECORDS").write_text("mine")
    outcome = run("batch", "-j1", "in", "out", "--exclude", "*.npy")
    assert outcome.status == 1
    assert outcome.err.count("exists already and is not of this batch") == 2
    assert Path("out/ecg/100_10s.san").read_bytes() == b"mine"
    assert Path("out/ecg/more/100_10s.san").exists()
    assert run("batch", "-j1", "in", "out", "--exclude", "*.npy", "--force").status == 0
    assert Path("out/RECORDS").read_text() == "ecg/100_10s\n"


def test_a_failing_file_is_told_and_the_others_go_on(run: Run, tree: Path) -> None:
    np.save(tree / "floats.npy", np.zeros((2, 10)))
    (tree / "ecg" / "100_10s.dat").write_bytes(b"short")
    outcome = run("batch", "-j1", "in", "out", "--rate", "360")
    assert outcome.status == 1
    assert len(outcome.err.splitlines()) == 2
    assert "floats.npy: samples are float64" in outcome.err
    assert "promises 3600 frames" in outcome.err
    assert {"ecg/more/100_10s.san", "walk.san", "RECORDS"} <= set(files_in(Path("out")))
    assert "ecg/100_10s.san" not in files_in(Path("out"))


def test_patterns_and_no_others(run: Run, tree: Path) -> None:
    assert run("batch", "-j1", "in", "out", "--no-others", "--exclude", "more/*", "--exclude", "*.npy").status == 0
    assert set(files_in(Path("out"))) == {"ecg/100_10s.san", "ecg/more/100_10s.san"}
    assert not Path("out/empty").exists()


def test_a_dry_run_writes_nothing(run: Run, tree: Path) -> None:
    outcome = run("batch", "-j1", "in", "out", "--dry-run")
    assert outcome.status == 0
    assert outcome.out.splitlines() == [
        "copy RECORDS -> RECORDS (12 bytes)",
        "copy ecg/100_10s.atr -> ecg/100_10s.atr (256 bytes)",
        "compress ecg/100_10s.hea + ecg/100_10s.dat -> ecg/100_10s.san (11,042 bytes)",
        "compress ecg/more/100_10s.hea + ecg/more/100_10s.dat -> ecg/more/100_10s.san (11,042 bytes)",
        "compress walk.npy -> walk.san (8,128 bytes)",
        "5 tasks, 30,480 bytes: 2 to copy, 3 to compress",
    ]
    assert not Path("out").exists()
    files = json.loads(run("batch", "-j1", "in", "out", "--dry-run", "--json").out)["files"]
    assert files[0] == {"action": "copy", "inputs": ["RECORDS"], "output": "RECORDS", "input_bytes": 12}


def test_the_summary_as_json(run: Run, tree: Path) -> None:
    outcome = run("batch", "-j1", "in", "out", "--exclude", "*.npy", "--json")
    summary = json.loads(outcome.out)
    assert (summary["files"], summary["done"], summary["failed"]) == (4, 4, [])
    assert summary["recording_bytes"] == 2 * 11_042
    assert summary["file_ratio"] == pytest.approx(2 * 11_042 / summary["container_bytes"])
    assert summary["ratio"] == pytest.approx(2 * 7200 * 11 / 8 / summary["container_bytes"])


def test_the_table_holds_every_channel_and_every_failure(run: Run, tree: Path) -> None:
    run("batch", "-j1", "in", "out", "--preset", "monitor")
    with Path("out/sancodec-batch/report.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["source"], row["channel"]) for row in rows[:4]] == [
        (f"ecg/{folder}100_10s.hea", lead) for folder in ("", "more/") for lead in ("MLII", "V5")
    ]
    assert all(4 < float(row["prdn_percent"]) <= 5 for row in rows[:4])
    assert rows[0]["stored_ratio"] == rows[1]["stored_ratio"]
    size = Path("out/ecg/100_10s.san").stat().st_size
    assert float(rows[0]["file_ratio"]) == pytest.approx(11_042 / size)
    assert rows[4]["source"] == "walk.npy"
    assert "--rate" in rows[4]["error"]


def test_parquet_holds_the_same_rows(run: Run, tree: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    run("batch", "-j1", "in", "out", "--preset", "monitor")
    table = parquet.read_table("out/sancodec-batch/report.parquet").to_pydict()
    with Path("out/sancodec-batch/report.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert table["source"] == [row["source"] for row in rows]
    assert table["prdn_percent"][0] == float(rows[0]["prdn_percent"])


def test_the_page_loads_nothing_and_escapes_names(run: Run, tree: Path) -> None:
    shutil.copytree(tree / "ecg", tree / "<b>&")
    run("batch", "-j1", "in", "out", "--exclude", "*.npy")
    page = Path("out/sancodec-batch/report.html").read_text()
    assert "<b>" not in page
    assert "&lt;b&gt;&amp;/more/100_10s.hea" in page
    assert page.count("<figure>") == 2 + 4
    assert "no picture" not in page
    assert not any(word in page for word in ("http:", "https:", "src=", "@import", "url("))


def test_an_exact_tree_has_no_worst(run: Run, tree: Path) -> None:
    run("batch", "-j1", "in", "out", "--lossless", "--exclude", "*.npy")
    assert "every sample is exact" in Path("out/sancodec-batch/report.html").read_text()


def test_originals_go_only_when_everything_is_verified(run: Run, tree: Path) -> None:
    before = files_in(tree)
    refused = run("batch", "-j1", "in", "out", "--delete-originals")  # the array has no rate
    assert refused.status == 1
    assert "originals are kept, all of them" in refused.err
    assert files_in(tree) == before
    assert run("batch", "-j1", "in", "out", "--delete-originals", "--rate", "360", "--lossless").status == 0
    assert files_in(tree) == {}
    run("batch", "-j1", "--restore", "out", "back")
    assert files_in(Path("back")) == before


def test_originals_stay_without_the_flag_and_when_an_output_is_wrong(
    run: Run, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sancodec.batch import trees
    from sancodec.batch.run import Run as BatchRun

    before = files_in(tree)
    assert run("batch", "-j1", "in", "out", "--rate", "360").status == 0
    assert files_in(tree) == before
    go = BatchRun.go

    def spoil_then_go(self: BatchRun, executor: object) -> object:
        if self._journal is None:  # the check before originals are removed
            Path("out/walk.san").write_bytes(b"spoilt")
        return go(self, executor)  # type: ignore[arg-type]

    monkeypatch.setattr(trees.Run, "go", spoil_then_go)
    outcome = run("batch", "-j1", "in", "out", "--rate", "360", "--delete-originals")
    assert outcome.status == 1
    assert "walk.npy: walk.san: is not as it was written" in outcome.err
    assert files_in(tree) == before


def test_files_that_are_not_copied_are_not_removed(run: Run, tree: Path) -> None:
    run("batch", "-j1", "in", "out", "--no-others", "--rate", "360", "--delete-originals")
    assert set(files_in(tree)) == {"RECORDS", "ecg/100_10s.atr"}


def test_a_signal_file_of_a_recording_that_was_left_out_is_not_removed(run: Run, tree: Path) -> None:
    shutil.copy(tree / "ecg/100_10s.hea", tree / "ecg/other.hea")
    outcome = run("batch", "-j1", "in", "out", "--exclude", "other.hea", "--exclude", "*.npy", "--delete-originals")
    assert outcome.status == 0
    assert "ecg/100_10s.dat: belongs to a recording that was left out; kept" in outcome.err
    assert set(files_in(tree)) == {"ecg/other.hea", "ecg/100_10s.dat", "walk.npy"}


def test_restoring_refuses_to_replace_other_content(run: Run, tree: Path) -> None:
    run("batch", "-j1", "in", "out", "--lossless", "--exclude", "*.npy")
    Path("back/ecg").mkdir(parents=True)
    Path("back/ecg/100_10s.dat").write_bytes(b"mine")
    outcome = run("batch", "-j1", "--restore", "out", "back")
    assert outcome.status == 1
    assert "ecg/100_10s.dat: exists already with other content" in outcome.err
    assert Path("back/ecg/100_10s.dat").read_bytes() == b"mine"
    assert Path("back/ecg/more/100_10s.dat").exists()
    assert run("batch", "-j1", "--restore", "out", "back", "--force").status == 0
    assert (tree / "ecg/100_10s.dat").read_bytes() == Path("back/ecg/100_10s.dat").read_bytes()


def test_restoring_goes_on_without_damaged_containers(run: Run, tree: Path) -> None:
    run("batch", "-j1", "in", "out", "--lossless", "--exclude", "*.npy")
    content = bytearray(Path("out/ecg/100_10s.san").read_bytes())
    content[len(content) // 2] ^= 255
    Path("out/ecg/100_10s.san").write_bytes(content)
    outcome = run("batch", "-j1", "--restore", "out", "back")
    assert outcome.status == 1
    assert len(outcome.err.splitlines()) == 1
    assert not Path("back/ecg/100_10s.dat").exists()
    assert Path("back/ecg/more/100_10s.dat").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (("in", "in"), 1, "is the source itself"),
        (("in", "in/out"), 1, "lies inside the source"),
        (("in/ecg", "in"), 1, "lies inside the target"),
        (("absent", "out"), 1, "absent: does not exist; a folder is needed"),
        (("in/RECORDS", "out"), 1, "is a file; sancodec compress takes single files"),
        (("in", "in/RECORDS"), 1, "is a file"),
        (("in", "out", "--scheduler", "10.0.0.1"), 1, "is no scheduler; dask://HOST:PORT is needed"),
        (("in", "out", "--scheduler", "dask://h:1", "-j", "2"), 2, "--workers is for this machine"),
        (("in", "out", "--restore", "--delete-originals"), 2, "are for compressing"),
        (("in", "nosuch://x/y"), 1, "nosuch://x/y: Protocol not known: nosuch"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    run: Run, tree: Path, arguments: tuple[str, ...], status: int, text: str
) -> None:
    if any("nosuch" in argument for argument in arguments):
        pytest.importorskip("fsspec")
    outcome = run("batch", *arguments)
    assert outcome.status == status
    assert text in outcome.err
    assert status == 2 or len(outcome.err.splitlines()) == 1
    assert not Path("out").exists()


def many(tree: Path, count: int, n_samples: int) -> None:
    """Arrays of some tenths of a second of work each."""
    rng = np.random.default_rng(0)
    for index in range(count):
        samples = rng.integers(-30, 30, (2, n_samples)).cumsum(axis=1).astype(np.int32)
        np.save(tree / f"array{index:02d}.npy", samples)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_after_a_kill_only_files_in_flight_are_done_again(tree: Path, number: signal.Signals) -> None:
    many(tree, 8, 15_000)
    arguments = ["batch", "in", "out", "--rate", "360", "--level", "1", "--max-error", "4adu", "-j", "2"]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*COMMAND, *arguments], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        while len(finished_in(Path("out")) if (Path("out") / STATE).exists() else []) < 3:
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.01)
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    done = set(finished_in(Path("out")))
    assert 3 <= len(done) < 13
    if number != signal.SIGKILL:
        word = "interrupted" if number == signal.SIGINT else "terminated"
        assert errors.decode().splitlines()[-1] == f"sancodec: {word}"
        assert "the same command goes on from there" in errors.decode()
        assert not list(Path("out").rglob("*.tmp"))
    again = piped(*arguments, "--json")
    assert again.returncode == 0, again.stderr
    summary = json.loads(again.stdout)
    assert summary["done_before"] == len(done)
    assert summary["done"] == 13 - len(done)
    assert not list(Path("out").rglob("*.tmp"))
    assert piped("batch", "--restore", "out", "back").returncode == 0
    assert set(files_in(Path("back"))) == set(files_in(tree))


@pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")
def test_a_worker_that_dies_costs_no_file(tree: Path) -> None:
    many(tree, 6, 15_000)
    arguments = ["batch", "in", "out", "--rate", "360", "--level", "1", "--max-error", "4adu", "-j", "2", "--json"]
    with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while len(finished_in(Path("out")) if (Path("out") / STATE).exists() else []) < 2:
            assert process.poll() is None, "it ended before a worker was killed"
            time.sleep(0.01)
        children = subprocess.run(
            ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(process.pid)], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        workers = [int(line.split()[0]) for line in children if "spawn_main" in line]
        os.kill(workers[0], signal.SIGKILL)
        out, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, b"")
    summary = json.loads(out)
    assert summary["done"] == summary["files"] == 11
    assert len(finished_in(Path("out"))) == len(set(finished_in(Path("out")))) == 11


def test_a_terminal_gets_one_bar_and_errors_on_lines_of_their_own(tree: Path) -> None:
    pty = pytest.importorskip("pty", reason="terminals are those of POSIX")
    many(tree, 2, 30_000)
    np.save(tree / "floats.npy", np.zeros(100_000))
    controller, terminal = pty.openpty()
    arguments = ["batch", "-j1", "in", "out", "--rate", "360", "--level", "1", "--max-error", "4adu"]
    with subprocess.Popen([*COMMAND, *arguments], stderr=terminal, stdout=subprocess.DEVNULL) as process:
        os.close(terminal)
        shown = ""
        with suppress(OSError):  # the other end is closed
            while content := os.read(controller, 1 << 16):
                shown += content.decode()
    os.close(controller)
    assert process.returncode == 1
    assert re.search(r"compressing \d/8 files, \d+\.\d MB/s, \d+\.\d:1 \[#*-*\] +\d+ %  \d+:\d\d", shown)
    assert re.search(r"(^|[\r\n ])sancodec: error: [^\r]*floats\.npy: samples are float64[^\r]*\r\n", shown)
    assert shown.endswith(" \r")
