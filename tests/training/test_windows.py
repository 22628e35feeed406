"""Where windows come from, how they are divided, and what is refused before anything is trained."""

import gzip
import re
import struct
from pathlib import Path

import numpy as np
import pytest

from sancodec.codec.recording import Channel, Recording
from sancodec.datasets.wfdb_record import read_wfdb, write_wfdb
from sancodec.errors import InvalidSignalError
from sancodec.training.windows import WindowOptions, read_windows
from tests.cli.conftest import DATA

NOISE = np.random.default_rng(0).normal(size=(12, 30))


def saved(folder: Path, values: np.ndarray, name: str = "x.npy") -> Path:
    np.save(folder / name, values)
    return folder / name


def recorded(folder: Path, name: str, samples: np.ndarray, *, rate_hz: int = 100, invalid: int | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    channels = tuple(Channel(f"lead {index}", minimum=1 - 2**15, invalid=invalid) for index in range(len(samples)))
    write_wfdb(Recording(channels, tuple(samples.astype(np.int32)), rate_hz), folder, name=name)
    return folder / name


def counts(found):
    return len(found.train), len(found.validation), len(found.test)


def idx(values: np.ndarray, code: int = 8) -> bytes:
    return struct.pack(f">HBB{values.ndim}I", 0, code, values.ndim, *values.shape) + values.tobytes()


def test_a_record_is_cut_into_windows_of_stored_integers_divided_6_2_4():
    found = read_windows(DATA / "100_10s", WindowOptions(length=300))
    assert counts(found) == (6, 2, 4)
    assert found.train.shape == (6, 1, 300)
    assert found.train.dtype == np.float32
    assert (found.sampling_rate_hz, found.source, found.window) == (360.0, "100_10s", (300,))
    stored = read_wfdb(DATA / "100_10s").samples[0][6 * 300 : 7 * 300].astype(float)
    assert np.allclose(found.validation[0, 0], (stored - stored.mean()) / stored.std(ddof=1), atol=1e-6)


def test_header_and_signal_file_name_the_same_record():
    options = WindowOptions(length=300)
    assert len({read_windows(DATA / f"100_10s{suffix}", options).sha256 for suffix in ("", ".hea", ".dat")}) == 1


def test_a_channel_is_chosen_by_index_or_name():
    first, second, named = (
        read_windows(DATA / "100_10s", WindowOptions(length=300, channel=channel)).sha256 for channel in (0, "1", "V5")
    )
    assert first != second == named


@pytest.mark.parametrize("channel", ["V9", 2, -1, "7"])
def test_a_channel_that_is_not_there_is_refused_with_those_that_are(channel):
    with pytest.raises(InvalidSignalError, match=f"has no channel {channel!r}; it has 0 MLII, 1 V5"):
        read_windows(DATA / "100_10s", WindowOptions(length=300, channel=channel))


def test_only_the_first_samples_are_taken():
    found = read_windows(DATA / "100_10s", WindowOptions(length=100, first=599))
    assert counts(found) == (2, 1, 2)


def test_windows_of_an_array_stay_as_they_are(tmp_path):
    found = read_windows(saved(tmp_path, NOISE), WindowOptions(normalisation="none"))
    assert np.array_equal(np.concatenate([found.train, found.validation, found.test])[:, 0], NOISE.astype(np.float32))
    assert found.sampling_rate_hz is None


def test_an_array_of_one_dimension_is_a_signal_to_be_cut(tmp_path):
    assert counts(read_windows(saved(tmp_path, NOISE.reshape(-1)), WindowOptions(length=30))) == (6, 2, 4)


def test_images_of_an_array_have_two_axes(tmp_path):
    found = read_windows(saved(tmp_path, NOISE.reshape(12, 5, 6)))
    assert found.train.shape == (6, 1, 5, 6)
    assert found.window == (5, 6)


def test_a_table_in_the_layout_of_uci_epilepsy_gives_its_columns_x(tmp_path):
    rows = [f"X21.V1.{index},{','.join(map(str, row))},{index % 5}" for index, row in enumerate(NOISE.round(3))]
    header = f",{','.join(f'X{index + 1}' for index in range(30))},y"
    (tmp_path / "data.csv").write_text("\n".join([header, *rows]) + "\n")
    found = read_windows(tmp_path / "data.csv", WindowOptions(normalisation="none"))
    assert np.allclose(found.train[:, 0], NOISE[:6].round(3))
    assert counts(found) == (6, 2, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1 names no columns X1, X2"),
        ("a,b\n1,2\n", "line 1 names no columns X1, X2"),
        (",X1,X2,y\n", "has no windows below line 1"),
        (",X1,X2,y\na,1,2,0\nb,1,0\n", "line 3 has 3 cells; line 1 has 4"),
        (",X1,X2,y\na,1,two,0\n", "line 2 has a cell that is no number"),
        (b",X1\n\xff,1\n", "is no table of text"),
    ],
)
def test_tables_of_another_layout_are_refused(tmp_path, text, message):
    (tmp_path / "data.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InvalidSignalError, match=message):
        read_windows(tmp_path / "data.csv")


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "train-images-idx3-ubyte.gz", "x.idx"])
def test_idx_images_are_read_gzipped_or_not(tmp_path, name):
    images = np.random.default_rng(0).integers(0, 256, (12, 4, 5), np.uint8)
    (tmp_path / name).write_bytes(gzip.compress(idx(images)) if name.endswith(".gz") else idx(images))
    found = read_windows(tmp_path / name, WindowOptions(normalisation="peak"))
    assert np.allclose(found.test[:, 0], images[8:] / images.max())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no IDX file; its first four bytes are"),
        (b"\x89PNG", "is no IDX file; its first four bytes are 89 50 4e 47"),
        (idx(np.zeros(5, np.uint8)), "holds labels"),
        (idx(np.zeros((2, 2, 2, 2), np.uint8)), "holds an array of 4 dimensions"),
        (struct.pack(">HBB2I", 0, 8, 3, 1, 1), "ends within its head"),
        (struct.pack(">HBB3I", 0, 8, 3, 2**31, 2**31, 9), "states the shape .*; 1 to 1073741824 samples are read"),
        (struct.pack(">HBB3I", 0, 8, 3, 0, 2, 9), "states the shape .*; 1 to 1073741824 samples are read"),
        (idx(np.zeros((3, 2, 2), np.uint8))[:-1], "which is 12 bytes, but has 11"),
        (idx(np.zeros((3, 2, 2), np.uint8)) + b"\0", "which is 12 bytes, but has more than 12"),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_that_are_not_whole_are_refused(tmp_path, content, message, suffix):
    path = tmp_path / f"x.idx{suffix}"
    path.write_bytes(gzip.compress(content) if suffix else content)
    with pytest.raises(InvalidSignalError, match=message):
        read_windows(path)


def test_a_damaged_gzip_file_is_refused(tmp_path):
    content = bytearray(gzip.compress(idx(np.zeros((3, 2, 2), np.uint8))))
    (tmp_path / "cut.idx.gz").write_bytes(content[:-9])
    (tmp_path / "not.idx.gz").write_bytes(b"plain")
    for name in ("cut", "not"):
        with pytest.raises(InvalidSignalError, match=r"\.idx\.gz: is damaged"):
            read_windows(tmp_path / f"{name}.idx.gz")


def test_records_of_a_folder_are_divided_between_records(tmp_path):
    for index in range(6):
        recorded(tmp_path, f"r{index}", np.random.default_rng(index).integers(-9, 9, (1, 100)))
    found = read_windows(tmp_path, WindowOptions(length=20))
    assert counts(found) == (15, 5, 10)
    alone = tmp_path / "alone"
    recorded(alone, "r3", np.random.default_rng(3).integers(-9, 9, (1, 100)))
    only = read_windows(alone, WindowOptions(length=20))
    assert np.array_equal(np.concatenate([only.train, only.validation, only.test]), found.validation)


def test_the_record_of_an_unusable_window_is_named(tmp_path):
    for index in range(3):
        samples = np.random.default_rng(index).integers(-9, 9, (1, 100))
        samples[0, 40:60] = samples[0, 40:60] if index != 1 else 3
        recorded(tmp_path, f"r{index}", samples)
    message = "1 of 15 windows cannot be used; the first, window 2 of record r1 counted from 0, has zero variance"
    with pytest.raises(InvalidSignalError, match=message):
        read_windows(tmp_path, WindowOptions(length=20))


def test_two_records_are_divided_window_by_window(tmp_path):
    for index in range(2):
        recorded(tmp_path, f"r{index}", np.random.default_rng(index).integers(-9, 9, (1, 120)))
    assert counts(read_windows(tmp_path, WindowOptions(length=20))) == (6, 2, 4)


def test_a_folder_without_records_is_refused(tmp_path):
    with pytest.raises(InvalidSignalError, match="there is no WFDB record"):
        read_windows(tmp_path)
    recorded(tmp_path, "r0", np.arange(100)[None])
    with pytest.raises(
        InvalidSignalError, match=r"no WFDB record \(\.hea\) in this folder besides those left out \(r0\)"
    ):
        read_windows(tmp_path, WindowOptions(exclude=("r0",)))


def test_records_of_different_rates_are_refused(tmp_path):
    for index, rate_hz in enumerate((100, 100, 250)):
        recorded(tmp_path, f"r{index}", np.arange(100)[None], rate_hz=rate_hz)
    with pytest.raises(InvalidSignalError, match="different sampling rates: r0 100 Hz, r2 250 Hz"):
        read_windows(tmp_path, WindowOptions(length=20))


def test_a_record_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InvalidSignalError, match="none"):
        read_windows(tmp_path / "none")


def test_a_record_shorter_than_a_window_is_refused():
    with pytest.raises(
        InvalidSignalError, match="3600 samples are less than one window of 4000; give a smaller --window"
    ):
        read_windows(DATA / "100_10s", WindowOptions(length=4000))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_nan_or_infinite_are_refused(tmp_path, value):
    windows = NOISE.copy()
    windows[4, 7] = value
    message = "1 of 12 windows cannot be used; the first, window 4 counted from 0, has samples that are NaN, infinite"
    with pytest.raises(InvalidSignalError, match=message):
        read_windows(saved(tmp_path, windows))


def test_missing_samples_of_a_record_are_refused(tmp_path):
    samples = np.random.default_rng(0).integers(-9, 9, (1, 120))
    samples[0, 50:60] = -(2**15)
    path = recorded(tmp_path, "r0", samples, invalid=-(2**15))
    with pytest.raises(
        InvalidSignalError, match="window 2 counted from 0, has samples that are NaN, infinite or missing"
    ):
        read_windows(path, WindowOptions(length=20))


@pytest.mark.parametrize("normalisation", ["window", "none"])
def test_constant_windows_are_refused(tmp_path, normalisation):
    windows = NOISE.copy()
    windows[[3, 9]] = 5.0
    message = re.escape("2 of 12 windows cannot be used; the first, window 3 counted from 0, has zero variance")
    with pytest.raises(InvalidSignalError, match=message):
        read_windows(saved(tmp_path, windows), WindowOptions(normalisation=normalisation))


def test_unusable_windows_are_left_out_on_request(tmp_path):
    windows = NOISE.copy()
    windows[3], windows[9, 2] = 5.0, np.nan
    found = read_windows(saved(tmp_path, windows), WindowOptions(skip_unusable=True, normalisation="none"))
    kept = np.concatenate([found.train, found.validation, found.test])[:, 0]
    assert np.array_equal(kept, np.delete(NOISE, [3, 9], axis=0).astype(np.float32))


def test_records_without_usable_windows_do_not_count(tmp_path):
    for index in range(3):
        recorded(tmp_path, f"r{index}", np.random.default_rng(index).integers(-9, 9, (1, 60)) * (index > 0))
    with pytest.raises(InvalidSignalError, match="records with usable windows: 2; training, validation, test need one"):
        read_windows(tmp_path, WindowOptions(length=20, skip_unusable=True))


@pytest.mark.parametrize("n_windows", [1, 2])
def test_too_few_windows_for_three_parts_are_refused(tmp_path, n_windows):
    with pytest.raises(InvalidSignalError, match=f"{n_windows} windows; training, validation, test need one each"):
        read_windows(saved(tmp_path, NOISE[:n_windows]))


def test_three_windows_are_one_for_each_part(tmp_path):
    assert counts(read_windows(saved(tmp_path, NOISE[:3]), WindowOptions(split=(100, 1, 1)))) == (1, 1, 1)


def test_a_window_length_for_windows_that_are_there_is_refused(tmp_path):
    with pytest.raises(
        InvalidSignalError, match="its windows are of 30 samples; a window length of 10 is for recordings"
    ):
        read_windows(saved(tmp_path, NOISE), WindowOptions(length=10))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (NOISE.astype(complex), "is complex128 of shape"),
        (NOISE.reshape(2, 2, 3, 30), r"of shape \(2, 2, 3, 30\); real numbers"),
        (np.zeros((0, 30)), r"of shape \(0, 30\)"),
        (np.array([["a"]]), "real numbers of shape"),
    ],
)
def test_arrays_that_are_no_windows_are_refused(tmp_path, values, message):
    with pytest.raises(InvalidSignalError, match=message):
        read_windows(saved(tmp_path, values))


def test_pickled_archived_and_broken_arrays_are_refused(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{}, []], object), allow_pickle=True)
    with (tmp_path / "archive.npy").open("wb") as file:
        np.savez(file, a=NOISE)
    (tmp_path / "text.npy").write_text("text")
    for name, message in (("objects", "cannot be read"), ("archive", "several arrays"), ("text", "cannot be read")):
        with pytest.raises(InvalidSignalError, match=rf"{name}\.npy: .*{message}"):
            read_windows(tmp_path / f"{name}.npy")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"length": 1}, "window length is 1 samples"),
        ({"first": 0}, "the first 0 samples"),
        ({"split": (6, 2)}, "split is 6/2; three shares above 0"),
        ({"split": (6, 0, 4)}, "split is 6/0/4; three shares above 0"),
        ({"split": (6, float("nan"), 4)}, "split is 6/nan/4"),
        ({"normalisation": "odd"}, "normalisation 'odd' is unknown"),
    ],
)
def test_options_out_of_range_are_refused(fields, message):
    with pytest.raises(InvalidSignalError, match=message):
        WindowOptions(**fields)


def test_other_samples_have_another_digest(tmp_path):
    one = read_windows(saved(tmp_path, NOISE)).sha256
    changed = NOISE.copy()
    changed[0, 0] += 0.01
    assert read_windows(saved(tmp_path, changed)).sha256 != one
    assert read_windows(saved(tmp_path, NOISE)).sha256 == one
    assert read_windows(saved(tmp_path, NOISE), WindowOptions(split=(7, 2, 3))).sha256 != one


def test_mnist_is_read(shared_data):
    found = read_windows(shared_data / "mnist" / "t10k-images-idx3-ubyte.gz", WindowOptions(first=60))
    assert found.train.shape == (30, 1, 28, 28)


def test_uci_epilepsy_is_read(shared_data):
    found = read_windows(shared_data / "uci-epilepsy" / "data.csv", WindowOptions(first=60, normalisation="range"))
    assert found.train.shape == (30, 1, 178)
