"""Chunks of array stores, by numcodecs and by Zarr 2 and 3: what comes back, what is padded, what is refused."""

import json
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import sancodec
from sancodec.ecosystem.array_chunks import ChunkCoding
from sancodec.ecosystem.numcodecs_codec import SanCodec
from sancodec.ecosystem.zarr_codec import SanArrayCodec
from sancodec.errors import CorruptError, FormatError, InvalidSignalError

RATE_HZ = 360
DTYPES = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
DATA = Path(__file__).parents[1] / "data"


def leads(n_samples: int = 3600) -> np.ndarray:
    """Both leads of the ten-second record, int16 ``(channel, sample)``, repeated."""
    from sancodec.datasets.wfdb_record import read_wfdb

    samples = np.stack(read_wfdb(DATA / "100_10s.hea").samples).astype(np.int16)
    return np.tile(samples, (1, -(-n_samples // samples.shape[1])))[:, :n_samples]


def prdn(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x.astype(float), y.astype(float)
    return 100 * float(np.linalg.norm(x - y) / np.linalg.norm(x - x.mean()))


def store_of(path: Path, x: np.ndarray, version: int, **settings: Any) -> Any:
    """An array of chunks of 1000 by 3 samples that holds ``x``, opened again."""
    coded: dict[str, Any] = (
        {"compressors": SanCodec(RATE_HZ, **settings)}
        if version == 2
        else {"serializer": SanArrayCodec(RATE_HZ, **settings), "compressors": None}
    )
    chunks = (1000, 3)[: x.ndim] if settings.get("time_axis") == 0 else (3, 1000)[2 - x.ndim :]
    array = zarr.create_array(
        store=str(path), shape=x.shape, chunks=chunks, dtype=x.dtype, zarr_format=version, **coded
    )
    array[...] = x
    return zarr.open_array(str(path), mode="r+")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("time_axis", [0, 1])
def test_every_integer_dtype_and_layout_comes_back(dtype: str, order: str, time_axis: int) -> None:
    x = np.asarray((leads(400) >> 4) & 127, dtype)
    x = np.asarray(np.moveaxis(x, -1, time_axis), order=order)
    codec = SanCodec(RATE_HZ, time_axis=time_axis, level=1)
    y = codec.decode(codec.encode(x))
    assert y.dtype == x.dtype
    # Zarr reads the elements in the order in which they lie in memory.
    assert np.array_equal(y.reshape(-1, order="A"), x.reshape(-1, order="A"))
    out = np.empty_like(x, order="C")
    assert np.array_equal(codec.decode(codec.encode(x), out=out), x)
    assert np.array_equal(out, x)


@settings(max_examples=25)
@given(
    hnp.arrays(
        st.sampled_from([np.int8, np.uint8, np.int16, np.int32]),
        hnp.array_shapes(min_dims=1, max_dims=2, min_side=1, max_side=40),
        elements=st.integers(0, 3),
    )
)
def test_any_small_chunk_comes_back(x: np.ndarray) -> None:
    coding = ChunkCoding(RATE_HZ, level=1)
    y = coding.decode(coding.encode(x))
    assert y.dtype == x.dtype
    assert np.array_equal(x, y)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("time_axis", [0, -1])
def test_a_zarr_array_comes_back_with_its_padded_chunks(tmp_path: Path, version: int, time_axis: int) -> None:
    x = np.concatenate([leads(2300), leads(2300) // 2])  # 4 channels by 3, 2300 samples by 1000
    x = np.moveaxis(x, -1, time_axis)
    array = store_of(tmp_path / "a.zarr", x, version, time_axis=time_axis)
    assert np.array_equal(array[...], x)
    assert np.array_equal(array[..., 2] if time_axis else array[1999:2001], x[..., 2] if time_axis else x[1999:2001])
    stored = sum(path.stat().st_size for path in (tmp_path / "a.zarr").rglob("*") if path.is_file())
    assert stored < x.nbytes / 2


@pytest.mark.parametrize("version", [2, 3])
def test_a_zarr_array_of_one_dimension_and_one_in_order_f_come_back(tmp_path: Path, version: int) -> None:
    x = leads(2300)
    assert np.array_equal(store_of(tmp_path / "a.zarr", x[0], version)[...], x[0])
    if version == 2:
        array = zarr.create_array(
            store=str(tmp_path / "f.zarr"),
            shape=x.shape,
            chunks=(2, 1000),
            dtype=x.dtype,
            zarr_format=2,
            order="F",
            compressors=SanCodec(RATE_HZ),
        )
        array[...] = x
        assert np.array_equal(zarr.open_array(str(tmp_path / "f.zarr"))[...], x)


@pytest.mark.parametrize("version", [2, 3])
def test_an_array_grows_and_changes_in_place(tmp_path: Path, version: int) -> None:
    x = leads(1500).T
    array = store_of(tmp_path / "a.zarr", x, version, time_axis=0)
    array.resize((2600, 2))
    array[1500:2600] = x[:1100]
    array[700:710] = 0
    expected = np.concatenate([x, x[:1100]])
    expected[700:710] = 0
    assert np.array_equal(array[...], expected)


@pytest.mark.parametrize("version", [2, 3])
def test_chunks_that_were_never_written_have_the_fill_value(tmp_path: Path, version: int) -> None:
    array = store_of(tmp_path / "a.zarr", leads(3000)[:, :0], version)
    array.resize((2, 3000))
    array[:, 1000:2000] = leads(1000)
    assert np.array_equal(array[:, 900:1000], np.zeros((2, 100)))
    assert np.array_equal(array[:, 1000:2000], leads(1000))


def test_padding_weighs_nothing_in_the_error_of_a_chunk() -> None:
    x = np.zeros((2, 20_000), np.int16)
    x[:, :2000] = leads(2000)  # far from 0, which the store fills with
    coding = ChunkCoding(RATE_HZ, prdn=5.0)
    y = coding.decode(coding.encode(x))
    assert np.array_equal(y[:, 2000:], x[:, 2000:])
    assert all(prdn(a, b) <= 5 for a, b in zip(x[:, :2000], y[:, :2000], strict=True))
    assert not np.array_equal(x, y)


@pytest.mark.parametrize(
    ("promise", "kept"),
    [
        ({"max_error_adu": 3}, lambda x, y: np.abs(x.astype(int) - y).max() <= 3),
        ({"prdn": 4.0}, lambda x, y: all(prdn(a, b) <= 4 for a, b in zip(x, y, strict=True))),
        ({"snr_db": 30.0}, lambda x, y: all(prdn(a, b) <= 100 * 10 ** (-30 / 20) for a, b in zip(x, y, strict=True))),
    ],
)
def test_what_is_promised_is_kept_and_pays(promise: dict[str, Any], kept: Any) -> None:
    x = leads()
    coding = ChunkCoding(RATE_HZ, **promise)
    content = coding.encode(x)
    assert kept(x, coding.decode(content))
    assert len(content) < len(ChunkCoding(RATE_HZ).encode(x)) / 1.5


def test_every_chunk_is_a_container() -> None:
    x = leads(2000)
    blob = ChunkCoding(RATE_HZ).encode(x)
    assert np.array_equal(sancodec.decompress(blob), x)


def test_the_entry_points_find_the_codec(tmp_path: Path) -> None:
    from zarr.registry import get_codec_class

    config = {"id": "sancodec", "sampling_rate_hz": 250.0, "prdn": 2.0, "time_axis": 0}
    codec = numcodecs.get_codec(config)
    assert isinstance(codec, SanCodec)
    assert codec.get_config() == config
    assert numcodecs.get_codec(codec.get_config()) == codec
    assert get_codec_class("sancodec") is SanArrayCodec
    store_of(tmp_path / "a.zarr", leads(100), 3, prdn=2.0)
    metadata = json.loads((tmp_path / "a.zarr" / "zarr.json").read_text())
    assert metadata["codecs"] == [
        {"name": "sancodec", "configuration": {"sampling_rate_hz": RATE_HZ, "prdn": 2.0}},
    ]


def test_big_endian_arrays(tmp_path: Path) -> None:
    x = leads(1200).astype(">i2")
    with pytest.raises(InvalidSignalError, match=r"dtype >i2.*store it as <i2"):
        SanCodec(RATE_HZ).encode(x)
    array = store_of(tmp_path / "a.zarr", x.astype("<i2"), 3)
    array[...] = x
    assert np.array_equal(array[...], x)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 9), np.float32), "dtype float32; integers are needed"),
        (np.zeros((2, 9), bool), "dtype bool"),
        (np.zeros((2, 3, 9), np.int16), "3 dimensions"),
        (np.array([[2**40, 0]]), "32 bits"),
    ],
)
def test_arrays_that_are_no_recordings_are_refused(array: np.ndarray, message: str) -> None:
    with pytest.raises(InvalidSignalError, match=message):
        SanCodec(RATE_HZ).encode(array)


def test_zarr_refuses_an_array_of_floats_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidSignalError, match="dtype float64"):
        zarr.create_array(
            store=str(tmp_path / "a.zarr"),
            shape=(9, 9),
            chunks=(9, 9),
            dtype="float64",
            serializer=SanArrayCodec(RATE_HZ),
            compressors=None,
        )
    assert not list(tmp_path.rglob("zarr.json"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sampling_rate_hz": 0}, "sampling rate is 0"),
        ({"level": 11}, "level is 11"),
        ({"time_axis": 2}, "time_axis is 2"),
        ({"lossless": True, "prdn": 2.0}, "take one of them"),
    ],
)
def test_settings_that_are_none_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSignalError, match=message):
        SanCodec(**{"sampling_rate_hz": RATE_HZ, **settings})


@pytest.fixture(scope="module")
def padded_chunk() -> bytes:
    return ChunkCoding(RATE_HZ).encode(np.pad(leads(300), ((0, 0), (0, 50))))


@pytest.mark.parametrize("part", range(20))
def test_damaged_chunks_are_refused(padded_chunk: bytes, part: int) -> None:
    content = bytearray(padded_chunk)
    content[len(content) * part // 20] ^= 1 << part % 8
    with pytest.raises(FormatError):
        ChunkCoding(RATE_HZ).decode(bytes(content))
    with pytest.raises(FormatError):
        ChunkCoding(RATE_HZ).decode(padded_chunk[: len(padded_chunk) * part // 20])


@pytest.mark.parametrize(
    "layout",
    [
        b"{",
        b"[]",
        b'{"padding": 5}',
        b'{"padding": -1, "padding_value": 0}',
        b'{"padding": 1.5, "padding_value": 0}',
        b'{"padding": 1, "padding_value": 70000}',
        b'{"padding": 99999999999, "padding_value": 0}',
        b'{"order": "C"}',
        b'{"other": 1}',
        b"\xff",
    ],
)
def test_a_layout_that_is_none_is_refused(layout: bytes) -> None:
    from dataclasses import replace

    from sancodec.codec.recording import SideFile
    from sancodec.datasets.arrays import recording_of

    recording = replace(recording_of(leads(300), sampling_rate_hz=360), side_files=(SideFile("chunk.json", layout),))
    with pytest.raises(FormatError, match=r"chunk.json|at most"):
        ChunkCoding(RATE_HZ).decode(sancodec.compress(recording, lossless=True))


def test_a_chunk_of_another_shape_is_refused_by_zarr(tmp_path: Path) -> None:
    array = store_of(tmp_path / "a.zarr", leads(1000), 3)
    next(path for path in (tmp_path / "a.zarr" / "c").rglob("*") if path.is_file()).write_bytes(
        ChunkCoding(RATE_HZ).encode(leads(900))
    )
    with pytest.raises(CorruptError, match=r"shape \(2, 900\)"):
        array[...]
