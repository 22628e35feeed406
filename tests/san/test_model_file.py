"""The network file: what goes in comes out, and every other sequence of bytes is refused by name."""

import contextlib
import hashlib
import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sancodec.errors import (
    CorruptError,
    FormatError,
    InvalidSignalError,
    LimitExceededError,
    TruncatedError,
    UnsupportedVersionError,
)
from sancodec.san.activations import Activation
from sancodec.san.model_file import MAX_HEADER_BYTES, SanModel, decode_san_model, load_san_model
from sancodec.san.network import SparselyActivatedNetwork
from sancodec.san.normalisation import Normalisation

HEADER = {
    "activations": [{"name": "extrema", "minimum_extrema_distance": 3, "border_tolerance": 1}],
    "kernels": [[3]],
    "metadata": {},
    "normalisation": {"kind": "window", "offset": 0.0, "scale": 1.0},
    "sampling_rate_hz": 360.0,
    "window": [10],
}
COMPETING = {**HEADER, "competing": True}
WEIGHTS = np.array([1, -2, 0.5], "<f4").tobytes()


def model(**changes):
    fields = {
        "network": SparselyActivatedNetwork(
            (np.array([1, -2, 0.5], np.float32), np.array([0.25, 1e-30], np.float32)),
            (
                Activation("extrema", minimum_extrema_distance=3, border_tolerance=1),
                Activation("topk_absolutes", k=4),
            ),
        ),
        "window": (10,),
        "sampling_rate_hz": 360.0,
        "metadata": {"source": "100", "seed": 0, "φ̄": 0.448},
    }
    return SanModel(**{**fields, **changes})


def file_of(header=None, weights=WEIGHTS, *, magic=b"SANN", version=1, reserved=0, text=None, length=None):
    """The bytes of a file with a right digest, whatever its fields."""
    text = json.dumps(HEADER if header is None else header).encode() if text is None else text
    body = struct.pack("<4sHHI", magic, version, reserved, len(text) if length is None else length) + text + weights
    return body + hashlib.sha256(body).digest()


def test_a_model_comes_back_with_the_same_weights_and_the_same_bytes():
    written = model()
    read = decode_san_model(written.content)
    assert read.network.activations == written.network.activations
    for one, other in zip(read.network.kernels, written.network.kernels, strict=True):
        assert one.dtype == np.float32
        assert np.array_equal(one, other)
    assert (read.window, read.sampling_rate_hz, read.metadata) == ((10,), 360.0, written.metadata)
    assert read.normalisation == Normalisation()
    assert read.content == written.content
    assert read.sha256 == written.sha256 == hashlib.sha256(written.content[:-32]).digest()


@pytest.mark.parametrize(
    "activation",
    [
        Activation("identity"),
        Activation("relu"),
        Activation("topk_absolutes", k=9),
        Activation("extrema_pool_indices", pool_size=2),
        Activation("extrema", minimum_extrema_distance=2),
    ],
)
def test_every_activation_and_images_come_back(activation):
    network = SparselyActivatedNetwork((np.arange(6, dtype=np.float32).reshape(2, 3),), (activation,))
    written = SanModel(network, window=(5, 7), normalisation=Normalisation("peak", scale=255.0))
    read = decode_san_model(written.content)
    assert read.network.activations == (activation,)
    assert read.network.kernels[0].shape == (2, 3)
    assert (read.window, read.normalisation.scale, read.sampling_rate_hz) == ((5, 7), 255.0, None)


def test_kernels_that_compete_make_a_file_of_version_2():
    activations = (Activation("extrema", minimum_extrema_distance=2), Activation("extrema", minimum_extrema_distance=3))
    kernels = (np.ones(3, np.float32), np.ones(2, np.float32))
    written = model(network=SparselyActivatedNetwork(kernels, activations, competing=True))
    assert written.content[4:6] == b"\2\0"
    read = decode_san_model(written.content)
    assert read.network.competing
    assert read.content == written.content
    assert not decode_san_model(model().content).network.competing
    assert model().content[4:6] == b"\1\0"


def test_a_file_is_read_by_its_path(tmp_path):
    (tmp_path / "x.sann").write_bytes(model().content)
    assert load_san_model(tmp_path / "x.sann").sha256 == model().sha256
    (tmp_path / "x.sann").write_bytes(b"other")
    with pytest.raises(CorruptError, match=r"x\.sann: this is no network file"):
        load_san_model(tmp_path / "x.sann")
    with pytest.raises(InvalidSignalError, match="cannot be read: No such file"):
        load_san_model(tmp_path / "none.sann")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window": (2,)}, "window of 2 samples is shorter than the kernel of 3 samples"),
        ({"window": (3,)}, "k is 4, but a map has 3 elements"),
        ({"window": (5, 5)}, "has not the 1 dimensions"),
        ({"sampling_rate_hz": 0.0}, "sampling rate is 0.0 Hz"),
    ],
)
def test_a_model_that_contradicts_itself_cannot_be_made(changes, message):
    with pytest.raises(InvalidSignalError, match=message):
        model(**changes)


def test_weights_of_another_type_are_refused():
    network = SparselyActivatedNetwork((np.ones(3),), (Activation("relu"),))
    with pytest.raises(InvalidSignalError, match="kernels of a model file are float32"):
        SanModel(network, window=(10,))


@pytest.mark.parametrize("metadata", [{"x": float("nan")}, {"x": object()}, {"x": b"bytes"}])
def test_metadata_that_are_no_json_are_refused(metadata):
    with pytest.raises(InvalidSignalError, match="cannot be written as JSON"):
        _ = model(metadata=metadata).content


def test_metadata_beyond_the_limit_are_refused():
    with pytest.raises(InvalidSignalError, match="at most 1048576 are allowed"):
        _ = model(metadata={"x": "y" * MAX_HEADER_BYTES}).content


def changed(**changes):
    return {**HEADER, **changes}


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        (b"", TruncatedError, "of 0 bytes is too short"),
        (b"SAN", TruncatedError, "of 3 bytes is too short"),
        (b"PK\3\4" + bytes(60), CorruptError, "does not begin with SANN"),
        (file_of(magic=b"SANM"), CorruptError, "does not begin with SANN"),
        (file_of(version=3), UnsupportedVersionError, "has version 3; this release reads 1 and 2"),
        (file_of(version=2), CorruptError, "it needs activations, competing, kernels"),
        (file_of(COMPETING), CorruptError, "it needs activations, kernels, metadata"),
        (file_of({**COMPETING, "competing": 1}, version=2), CorruptError, "competing .* is 1; version 2 needs true"),
        (
            file_of({**COMPETING, "activations": [{"name": "relu"}]}, version=2),
            CorruptError,
            "contradicts itself: kernel 0 has relu; only kernels of extrema can compete",
        ),
        (file_of(reserved=7), CorruptError, "has 7 in its reserved field"),
        (file_of(length=MAX_HEADER_BYTES + 1), LimitExceededError, "at most 1048576 are read"),
        (file_of(length=5000), TruncatedError, "ends within its header of 5000 bytes"),
        (file_of()[:-1], TruncatedError, "has 11 bytes of weights"),
        (file_of(weights=WEIGHTS[:-4]), TruncatedError, "has 8 bytes of weights; its kernels need 12"),
        (file_of(weights=WEIGHTS + b"\0"), CorruptError, "has 13 bytes of weights; its kernels need 12"),
        (file_of()[:-1] + b"\0", CorruptError, "does not match its SHA-256"),
        (file_of(text=b"{"), CorruptError, "is no JSON"),
        (file_of(text=b"\xff\xfe"), CorruptError, "is no JSON"),
        (file_of(text=b"[" * 200_000), CorruptError, "is no JSON"),
        (file_of(text=b'{"window": 1, "window": 2}'), CorruptError, "a name stands twice"),
        (file_of(text=json.dumps(HEADER).replace("360.0", "NaN").encode()), CorruptError, "NaN is no number"),
        (file_of(text=json.dumps(HEADER).replace("360.0", "1e999").encode()), CorruptError, "sampling rate is inf"),
        (file_of(text=b"[]"), CorruptError, "header of the network file is .*; an object is needed"),
        (file_of(changed(extra=1)), CorruptError, "it needs activations, kernels, metadata"),
        (file_of({key: HEADER[key] for key in list(HEADER)[1:]}), CorruptError, "it needs activations"),
        (file_of(changed(kernels=[])), CorruptError, "1 to 1024 shapes are needed"),
        (file_of(changed(kernels=[[3]] * 1025)), CorruptError, "1 to 1024 shapes are needed"),
        (file_of(changed(kernels=[[True]])), CorruptError, "kernel 0 .* a shape of 1 or 2 lengths"),
        (file_of(changed(kernels=[[0]])), CorruptError, "kernel 0 .* a shape of 1 or 2 lengths"),
        (file_of(changed(kernels=[[1, 1, 3]])), CorruptError, "kernel 0 .* a shape of 1 or 2 lengths"),
        (file_of(changed(kernels=[[2**40]])), LimitExceededError, "at most 4194304 samples"),
        (file_of(changed(kernels=[[2**22], [1]])), LimitExceededError, "more than 4194304 weights"),
        (file_of(changed(window=[2**25])), LimitExceededError, "at most 16777216 samples"),
        (file_of(changed(window=[2])), CorruptError, "contradicts itself: window of 2 samples is shorter"),
        (file_of(changed(window="10")), CorruptError, "window of the network file is '10'"),
        (file_of(changed(activations={})), CorruptError, "a list is needed"),
        (file_of(changed(activations=[])), CorruptError, "0 activations for 1 kernels"),
        (file_of(changed(activations=["relu"])), CorruptError, "activation 0 of the network file is 'relu'"),
        (file_of(changed(activations=[{"name": "softmax"}])), CorruptError, "'softmax' is unknown"),
        (file_of(changed(activations=[{"name": 3}])), CorruptError, "name and integers are needed"),
        (file_of(changed(activations=[{"name": "relu", "x": 1}])), CorruptError, r"has parameters \['x'\]"),
        (file_of(changed(activations=[{"name": "topk_absolutes", "k": 2.0}])), CorruptError, "name and integers"),
        (file_of(changed(activations=[{"name": "topk_absolutes", "k": 99}])), CorruptError, "k is 99"),
        (file_of(changed(activations=[{"name": "topk_absolutes"}])), CorruptError, "needs k of 1 or more"),
        (file_of(changed(activations=[{"name": "relu", "border_tolerance": 0}])), CorruptError, "relu, needs {}"),
        (file_of(changed(normalisation={"kind": "window"})), CorruptError, "kind, offset and scale are needed"),
        (file_of(changed(normalisation=None)), CorruptError, "normalisation .* an object is needed"),
        (
            file_of(changed(normalisation={"kind": "odd", "offset": 0, "scale": 1})),
            CorruptError,
            "'odd' is unknown",
        ),
        (
            file_of(changed(normalisation={"kind": "range", "offset": 0, "scale": 10**400})),
            CorruptError,
            "too large for a number",
        ),
        (file_of(changed(sampling_rate_hz="360")), CorruptError, "sampling rate of the network file is '360'"),
        (file_of(changed(sampling_rate_hz=-1)), CorruptError, "sampling rate is -1"),
        (file_of(changed(metadata=[])), CorruptError, "metadata .* an object is needed"),
        (file_of(weights=np.array([1, np.nan, 0], "<f4").tobytes()), CorruptError, "NaN or infinite"),
    ],
)
def test_bytes_that_are_no_model_are_refused_with_the_field(content, kind, message):
    with pytest.raises(kind, match=message):
        decode_san_model(content)


def test_any_single_changed_byte_is_noticed():
    content = model().content
    for index in range(len(content)):
        damaged = bytearray(content)
        damaged[index] ^= 0x20
        with pytest.raises(FormatError):
            decode_san_model(bytes(damaged))


def test_every_shortened_file_is_refused():
    content = model().content
    for length in range(len(content)):
        with pytest.raises(FormatError):
            decode_san_model(content[:length])


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=3), st.data()
)
def test_any_value_of_a_field_gives_a_model_or_a_format_error(value, data):
    field = data.draw(st.sampled_from(sorted(HEADER)))
    with contextlib.suppress(FormatError):
        decode_san_model(file_of(changed(**{field: value})))


@given(st.binary(max_size=200))
def test_any_header_gives_a_model_or_a_format_error(text):
    with pytest.raises(FormatError):
        decode_san_model(file_of(text=text))
