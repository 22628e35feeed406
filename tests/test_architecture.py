import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "sancodec"
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 400
# What each part may import; `api` sits above codec, datasets and export, and below the command line
# and the codecs of other libraries.
ALLOWED = {
    "errors": set(),
    "codec": {"errors"},
    "export": {"errors", "codec"},
    "san": {"errors", "codec"},
    "plot": {"errors", "codec", "san"},
    "images": {"errors", "codec"},
    "datasets": {"errors", "codec", "images", "new_files"},
    "training": {"errors", "codec", "datasets", "san"},
    "api": {"errors", "codec", "export", "datasets"},
    "ecosystem": {"errors", "codec", "datasets", "api"},
    "new_files": {"errors"},
    "batch": {"errors", "codec", "datasets", "api", "new_files"},
    "__init__": {"errors", "codec", "api", "images"},
    "__main__": {"cli"},
    "cli": {
        "errors",
        "codec",
        "export",
        "datasets",
        "images",
        "san",
        "plot",
        "api",
        "batch",
        "new_files",
        "training",
        "__init__",
    },
}
# Only the commands that train or make a choice of models may reach training.
TRAINING_COMMANDS = {"train.py", "train_san.py", "select.py", "san_options.py", "export.py"}
HEAVY = ["torch", "onnx", "onnxruntime", "matplotlib", "plotly", "pandas", "dask", "scipy", "wfdb", "pywt", "soundfile"]
HEAVY += ["zarr", "numcodecs", "mne", "PIL"]
HEAVY += ["distributed", "fsspec", "s3fs", "pyarrow"]


def part_of(path):
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports_of(path):
    """Absolute names of all modules that a file imports, wherever in it, those for type checkers included."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where they point"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return names


def parts_imported(path):
    parts = set()
    for name in imports_of(path):
        head, _, rest = name.partition(".")
        if head == "sancodec":
            part = rest.split(".")[0]
            parts.add(part if part in ALLOWED else "__init__" if part else "")
    return parts - {"", part_of(path)}


def test_every_file_belongs_to_a_known_part():
    assert FILES
    assert {part_of(path) for path in FILES} <= set(ALLOWED)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    part = part_of(path)
    # `from sancodec.codec import rans` names the part twice; the package itself is only a namespace then.
    beyond = parts_imported(path) - ALLOWED[part] - {"__init__"}
    assert not beyond, f"{part} must not import {', '.join(sorted(beyond))}"


def test_only_the_command_line_takes_names_from_the_package_itself():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "sancodec":
                outside = {alias.name for alias in node.names} - set(ALLOWED)
                assert not outside or part_of(path) == "cli", f"{path} imports {outside} from the package"


def test_training_is_reached_only_by_the_commands_that_train():
    reaching = {path for path in FILES if "training" in parts_imported(path)}
    assert {path.name for path in reaching} <= TRAINING_COMMANDS
    assert all(part_of(path) == "cli" for path in reaching)


def test_nothing_imports_the_command_line():
    reaching = {path.name for path in FILES if "cli" in parts_imported(path)}
    assert reaching <= {"__main__.py"}


def test_the_container_knows_no_mathematics():
    assert not {name.split(".")[0] for name in imports_of(PACKAGE / "codec" / "container.py")} & {"numpy", "scipy"}


def test_a_change_of_imports_would_be_noticed(tmp_path):
    source = "def f():\n    from sancodec.cli import main\n    import sancodec.training.train\n"
    path = PACKAGE / "codec" / "bits.py"
    (tmp_path / "bits.py").write_text(source)
    assert imports_of(tmp_path / "bits.py") == {"sancodec.cli", "sancodec.cli.main", "sancodec.training.train"}
    assert parts_imported(path) <= ALLOWED["codec"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_are_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def modules_after(script):
    """Top-level modules that a fresh interpreter has loaded after a script, and those of sancodec in full."""
    lines = f"{script}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    result = subprocess.run([sys.executable, "-Werror", "-c", lines], capture_output=True, text=True, check=True)
    names = json.loads(result.stderr.splitlines()[-1])
    return {name.split(".")[0] for name in names} | {name for name in names if name.startswith("sancodec")}


def test_compressing_and_decompressing_load_nothing_heavy():
    loaded = modules_after(
        "import numpy as np, sancodec\n"
        "x = (500 * np.sin(np.arange(3600) / 20)).astype(np.int16)\n"
        "y = sancodec.decompress(sancodec.compress(x, sampling_rate_hz=360, prdn=5.0))\n"
        "assert y.shape == x.shape"
    )
    assert not loaded & set(HEAVY)
    assert "numpy" in loaded
    assert not {name for name in loaded if name.startswith(("sancodec.cli", "sancodec.training"))}


def test_importing_the_package_loads_nothing_of_it():
    loaded = modules_after("import sancodec")
    assert not loaded & {*HEAVY, "numpy", "zstandard", "click"}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], [], ["compress", "--help"], ["batch", "--help"], ["plot", "--help"]]
)
def test_help_loads_neither_numpy_nor_the_codec(arguments):
    loaded = modules_after(
        "import sys, sancodec.cli\n"
        f"sys.argv = ['sancodec', *{arguments!r}]\n"
        "try:\n    sancodec.cli.main()\nexcept SystemExit:\n    pass"
    )
    assert "click" in loaded
    assert not loaded & {*HEAVY, "numpy", "zstandard"}
    # The table of presets is shared with the codec and needs nothing but the standard library.
    codec = {name for name in loaded if name.startswith(("sancodec.codec.", "sancodec.api"))}
    assert codec <= {"sancodec.codec.promise"}


def test_every_name_of_the_package_can_be_had():
    import sancodec

    for name in sancodec.__all__:
        assert getattr(sancodec, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = sancodec.no_such_name
