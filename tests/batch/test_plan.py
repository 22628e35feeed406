"""What becomes of which file."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from sancodec.batch.finished import COMPRESS, COPY, Finished, Stamp
from sancodec.batch.journal import State
from sancodec.batch.places import LocalPlace, check_apart, is_url, local_path
from sancodec.batch.plan import Plan, Selection, files_of_others, listing_of, plan_compression, plan_restoring
from sancodec.errors import InvalidSignalError, SancodecError
from tests.datasets.edf_files import Signal, edf_file, ramp
from tests.datasets.test_wfdb_segments import VARIABLE
from tests.datasets.wfdb_files import put


def plan(root: Path, selection: Selection | None = None, *, has_others: bool = True, exact: bool = True) -> Plan:
    place = LocalPlace(root)
    listing = listing_of(place, is_mirror=False)
    return plan_compression(place, listing, State(), selection or Selection(), has_others=has_others, exact=exact)


def targets(of: Plan) -> dict[str, tuple[str, str]]:
    return {task.source: (task.action, task.target) for task in of.tasks}


def test_records_become_containers_and_others_are_copied(tree: Path) -> None:
    assert targets(plan(tree)) == {
        "RECORDS": (COPY, "RECORDS"),
        "ecg/100_10s.atr": (COPY, "ecg/100_10s.atr"),
        "ecg/100_10s.hea": (COMPRESS, "ecg/100_10s.san"),
        "ecg/more/100_10s.hea": (COMPRESS, "ecg/more/100_10s.san"),
        "walk.npy": (COMPRESS, "walk.san"),
    }
    assert plan(tree).folders == ["ecg", "ecg/more", "empty"]


def test_a_record_brings_its_signal_files(tree: Path) -> None:
    tasks = {task.source: task for task in plan(tree).tasks}
    assert [each.path for each in tasks["ecg/100_10s.hea"].inputs] == ["ecg/100_10s.hea", "ecg/100_10s.dat"]
    assert tasks["ecg/100_10s.hea"].n_bytes == 11_042


def test_large_inputs_come_first(tree: Path) -> None:
    sizes = [task.n_bytes for task in plan(tree).tasks]
    assert sizes == sorted(sizes, reverse=True)


def test_without_others_recordings_alone_are_taken(tree: Path) -> None:
    of = plan(tree, has_others=False)
    assert {action for action, _ in targets(of).values()} == {COMPRESS}
    assert of.folders == []


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(include=("*.npy",)), {"walk.npy"}),
        (Selection(include=("ecg/*",), exclude=("*.atr",)), {"ecg/100_10s.hea", "ecg/more/100_10s.hea"}),
        (Selection(exclude=("ecg/*",)), {"RECORDS", "walk.npy"}),
        (Selection(include=("100_10s.hea",), exclude=("ecg/more/*",)), {"ecg/100_10s.hea"}),
    ],
)
def test_patterns_choose_files(tree: Path, selection: Selection, expected: set[str]) -> None:
    assert set(targets(plan(tree, selection))) == expected


def test_inputs_of_one_name_keep_their_suffix_and_it_is_said(tree: Path) -> None:
    np.save(tree / "ecg" / "100_10s.npy", np.zeros(10, np.int16))
    of = plan(tree)
    assert targets(of)["ecg/100_10s.hea"] == (COMPRESS, "ecg/100_10s.hea.san")
    assert targets(of)["ecg/100_10s.npy"] == (COMPRESS, "ecg/100_10s.npy.san")
    assert of.notes == [
        "ecg/100_10s.hea and ecg/100_10s.npy have one name, ecg/100_10s.san; written as ecg/100_10s.hea.san and "
        "ecg/100_10s.npy.san"
    ]


def test_a_container_that_is_copied_keeps_its_name(tree: Path) -> None:
    (tree / "walk.san").write_bytes(b"of the user")
    (tree / "walk.npy.san").write_bytes(b"of the user")
    assert targets(plan(tree))["walk.npy"] == (COMPRESS, "walk.npy.san.san")
    assert targets(plan(tree))["walk.san"] == (COPY, "walk.san")


def test_a_name_that_would_come_back_as_another_is_kept_whole(tree: Path) -> None:
    for name in ("UPPER.NPY", "twice.npy.npy"):
        (tree / name).write_bytes((tree / "walk.npy").read_bytes())
    assert targets(plan(tree))["UPPER.NPY"] == (COMPRESS, "UPPER.NPY.san")
    assert targets(plan(tree))["twice.npy.npy"] == (COMPRESS, "twice.npy.npy.san")


@pytest.mark.parametrize(
    "header", [b"m/2 0 360 10\na 5\nb 5\n", b"none 0 360 10\n", b"layout 1 360 10\n~ 0 200 11 1024 0 0 0 MLII\n"]
)
def test_headers_without_samples_are_copied(tree: Path, header: bytes) -> None:
    (tree / "m.hea").write_bytes(b"# a comment\n" + header)
    assert targets(plan(tree))["m.hea"] == (COPY, "m.hea")


def test_segments_belong_to_the_record_of_them_all(tree: Path) -> None:
    put(tree / "long", VARIABLE)
    (tree / "long" / "a.atr").write_bytes(b"annotations")
    of = plan(tree)
    of_folder = {source: task for source, task in targets(of).items() if source.startswith("long/")}
    assert of_folder == {"long/m.hea": (COMPRESS, "long/m.san"), "long/a.atr": (COPY, "long/a.atr")}
    (alone,) = plan(tree, Selection(include=("m.hea",))).tasks
    assert alone in of.tasks
    files = [each.path for each in alone.inputs]
    assert files[0] == "long/m.hea"
    assert sorted(files) == sorted(f"long/{name}" for name in VARIABLE)
    without = plan(tree, Selection(include=("long/*",), exclude=("m.hea", "*.atr")))
    assert targets(without) == {
        **{f"long/{name}.hea": (COMPRESS, f"long/{name}.san") for name in "abc"},
        "long/m_layout.hea": (COPY, "long/m_layout.hea"),
    }


def test_originals_of_segments_belong_to_no_other_recording(tree: Path) -> None:
    put(tree / "long", VARIABLE)
    place = LocalPlace(tree)
    listing = listing_of(place, is_mirror=False)
    whole, one = Selection(include=("long/*",)), Selection(include=("long/a.hea",))
    planned = [plan_compression(place, listing, State(), each, has_others=False, exact=True) for each in (whole, one)]
    kept = [
        {path for path in files_of_others(place, listing, each, exact=True) if path.startswith("long/")}
        for each in planned
    ]
    assert kept == [set(), {f"long/{name}" for name in VARIABLE}]


@pytest.mark.parametrize(
    ("missing", "exact", "why"),
    [
        ("b.hea", True, "no such segment, but 'm.hea' names it"),
        ("b.dat", True, "long/b.dat is missing"),
        (None, False, "the gain or baseline of V differs between segments"),
    ],
)
def test_segments_that_are_no_one_recording_are_taken_one_by_one(
    tree: Path, missing: str | None, exact: bool, why: str
) -> None:
    put(tree / "long", VARIABLE)
    if missing is not None:
        (tree / "long" / missing).unlink()
    of = plan(tree, exact=exact)
    assert of.failures == []
    assert len(of.notes) == 1
    assert of.notes[0].startswith("long/m.hea: is copied, its segments are compressed one by one: ")
    assert why in of.notes[0]
    assert targets(of)["long/m.hea"] == (COPY, "long/m.hea")
    assert targets(of)["long/a.hea"] == (COMPRESS, "long/a.san")


def test_files_of_edf_and_bdf_are_recordings_in_any_case(tree: Path) -> None:
    for name in ("a.edf", "B.EDF", "c.Bdf", "walk.edf"):
        (tree / name).write_bytes(edf_file([Signal(ramp(2, 4))]))
    found = targets(plan(tree, Selection(exclude=("ecg/*", "RECORDS"))))
    assert found == {
        "a.edf": (COMPRESS, "a.san"),
        "B.EDF": (COMPRESS, "B.san"),
        "c.Bdf": (COMPRESS, "c.san"),
        "walk.edf": (COMPRESS, "walk.edf.san"),
        "walk.npy": (COMPRESS, "walk.npy.san"),
    }


@pytest.mark.parametrize("header", [b"bad 2 360 10\nbad.dat 212\n", b"bad " + b"9" * 5000, b"bad/2 1 360\nx 0\n"])
def test_a_damaged_header_is_a_failure_and_the_rest_is_planned(tree: Path, header: bytes) -> None:
    (tree / "bad.hea").write_bytes(header)
    of = plan(tree)
    assert [path for path, _ in of.failures] == ["bad.hea"]
    assert "bad.hea" not in targets(of)
    assert len(of.tasks) == 5


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_to_a_folder_above_is_not_followed(tree: Path) -> None:
    (tree / "ecg" / "loop").symlink_to("..")
    of = plan(tree)
    assert of.notes == ["ecg/loop: is a link to a folder above it; not followed"]
    assert len(of.tasks) == 5


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_to_files_and_other_folders_are_followed(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "text").write_text("text")
    (tree / "link").symlink_to(tmp_path / "elsewhere")
    (tree / "list").symlink_to("RECORDS")
    assert {"link/text", "list"} <= set(targets(plan(tree)))


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_what_cannot_be_read_is_a_failure(tree: Path) -> None:
    (tree / "broken").symlink_to("nowhere")
    os.mkfifo(tree / "pipe")
    of = plan(tree)
    assert of.failures == [("broken", "cannot be read: No such file or directory")]
    assert of.notes == ["pipe: is neither a file nor a folder; left out"]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("a", "a"),
        ("a", "a/b"),
        ("a/b", "a"),
        ("a", "a/../a/c/d"),
        ("s3://x/a", "s3://x/a/b"),
        ("s3://x/a/", "s3://x/a"),
    ],
)
def test_trees_in_each_other_are_refused(source: str, target: str) -> None:
    with pytest.raises(InvalidSignalError, match=r"inside|itself"):
        check_apart(source, target)


@pytest.mark.parametrize(
    ("source", "target"), [("a", "ab"), ("a/b", "a/c"), ("s3://x/a", "s3://x/ab"), ("a", "s3://a")]
)
def test_trees_beside_each_other_are_not(source: str, target: str) -> None:
    check_apart(source, target)


def test_a_tree_reached_by_a_link_is_known(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "other").symlink_to(tree)
    with pytest.raises(InvalidSignalError, match="inside"):
        check_apart(str(tree), str(tmp_path / "other" / "x"))


def test_a_mirror_is_not_compressed_again(tree: Path) -> None:
    (tree / "sancodec-batch").mkdir()
    (tree / "sancodec-batch" / "state.jsonl").touch()
    with pytest.raises(InvalidSignalError, match="--restore"):
        plan(tree)


def test_a_tree_that_cannot_be_listed_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SancodecError, match="cannot be read"):
        plan(tmp_path / "absent")


def test_temporary_files_of_killed_runs_are_no_inputs(tree: Path) -> None:
    (tree / ".x.san.0123abcd.tmp").write_bytes(b"left")
    assert ".x.san.0123abcd.tmp" not in targets(plan(tree))


def test_restoring_tells_copies_from_containers_by_the_state(tmp_path: Path) -> None:
    for name in ("a.san", "copied.san", "text"):
        (tmp_path / name).write_bytes(b"x")
    state = State()
    state.finished["copied.san"] = Finished(
        "copied.san", COPY, "copied.san", "", (Stamp("copied.san", 1, "0"),), ("",), 1, "", 0.0
    )
    of = plan_restoring(listing_of(LocalPlace(tmp_path), is_mirror=True), state, Selection())
    assert {task.source: task.action for task in of.tasks} == {"a.san": "restore", "copied.san": COPY, "text": COPY}


def test_file_urls_are_paths_and_others_are_not() -> None:
    assert not is_url("file:///a/b%20c")
    assert local_path("file:///a/b%20c") == Path("/a/b c")
    assert is_url("s3://bucket/a")
    assert not is_url("C:/a")
