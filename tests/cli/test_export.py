import subprocess
import sys

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def run(*arguments, cwd):
    command = [sys.executable, "-c", "from sancodec.cli import main; main()", "export", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_a_kit_is_written_and_checked(tmp_path):
    done = run("haar", "-o", "kits/haar", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("kits/haar: SHA256SUMS, ")
    checked = run("--check", "kits/haar", "--device", "cpu", cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.count("kits/haar: ") == 4
    again = run("haar", "-o", "kits/haar", cwd=tmp_path)
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)
    assert "-f replaces it" in again.stderr
    (tmp_path / "kits" / "haar" / "decoder.onnx").write_bytes(b"")
    altered = run("--check", "kits/haar", cwd=tmp_path)
    assert (altered.returncode, altered.stderr.count("\n")) == (1, 1)
    assert "decoder.onnx: its SHA-256" in altered.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["no-such-bank", "-o", "kit"], 1, "no-such-bank"),
        (["haar"], 2, "-o DIR"),
        ([], 2, "-o DIR"),
        (["haar", "--check", "kit"], 2, "--check takes no model"),
        (["--check", "kit", "--rate", "3"], 2, "--check takes no model"),
        (["haar", "-o", "kit", "--device", "cuda"], 2, "--device is for --check"),
        (["haar", "-o", "kit", "--rate", "nan"], 1, "50 to 2500 Hz"),
        (["--check", "nothing"], 1, "it is no kit"),
    ],
)
def test_what_cannot_be_done_is_told_and_leaves_nothing(tmp_path, arguments, status, message):
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == status
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
