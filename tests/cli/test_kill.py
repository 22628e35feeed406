"""Commands that are killed: an output is the old one, the finished one, or not there."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND, Run, piped
from tests.cli.kill_many import SIGNALS, Case, kill_at, moments, prepare
from tests.cli.test_refusals import names_in

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Case]]:
    folder = tmp_path_factory.mktemp("kill")
    return folder, prepare(folder, seconds=300)


@pytest.mark.parametrize("has_old", [False, True])
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("case", range(3))
def test_no_output_is_partial(cases: tuple[Path, list[Case]], case: int, number: signal.Signals, has_old: bool) -> None:
    folder, all_cases = cases
    for delay_s in moments(all_cases[case], 4):
        kill_at(folder, all_cases[case], number, delay_s, has_old=has_old)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_told_in_one_line(record: Path, number: signal.Signals, status: int) -> None:
    with subprocess.Popen(
        [*COMMAND, "compress", "-", "--rate", "360", "-o", "x.san"], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        process.stdin.write(bytes(1 << 20))  # more than a pipe holds: when it is written, the command reads
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == status
    assert errors.decode().split() == ["sancodec:", "interrupted" if status == 130 else "terminated"]
    assert names_in(Path()) == ["100_10s.dat", "100_10s.hea"]


def test_what_a_killed_run_left_is_removed_by_the_next(run: Run, record: Path) -> None:
    Path(".100_10s.san.0123abcd.tmp").write_bytes(b"left")
    Path(".other.san.0123abcd.tmp").write_bytes(b"of another")
    Path(".100_10s.san.mine.tmp").write_bytes(b"of the user")
    assert run("compress", record).status == 0
    assert names_in(Path()) == [
        ".100_10s.san.mine.tmp",
        ".other.san.0123abcd.tmp",
        "100_10s.dat",
        "100_10s.hea",
        "100_10s.san",
    ]


def test_what_a_living_run_writes_is_not_removed(run: Run, record: Path) -> None:
    import fcntl

    with Path(".100_10s.san.0123abcd.tmp").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert run("compress", record).status == 0
        assert Path(".100_10s.san.0123abcd.tmp").exists()


def test_a_failing_run_removes_nothing_of_others(record: Path) -> None:
    Path(".100_10s.san.0123abcd.tmp").write_bytes(b"left")
    record.with_suffix(".dat").write_bytes(b"short")
    assert piped("compress", record).returncode == 1
    assert Path(".100_10s.san.0123abcd.tmp").exists()
