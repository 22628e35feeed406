"""The yardstick must be decodable and keep its target: ``pytest benchmarks/test_peers.py``."""

import numpy as np
import pytest
from dwt_zstd import LONGEST_RUN, decode, decode_tokens, decode_zigzag, encode, encode_tokens, encode_zigzag
from peers import LEAD_PEERS, RECORD_PEERS, code_lead, code_record
from quality import Target, prdn

BANDS = [
    [],
    [0, 0, 0],
    [1],
    [-1, 0, 0, 7, -32767, 32767],
    [0] * 14 + [1] + [0] * 15 + [-2] + [0] * 16 + [3] + [0] * 5,
    [0] * LONGEST_RUN + [1] + [0] * (LONGEST_RUN + 1) + [-1] + [0] * (LONGEST_RUN + 15) + [2],
    [0] * (3 * LONGEST_RUN) + [5],
    [127, -127, 128, -128, 300, -70_000],
]


def _signal(n_samples: int, *, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    walk = np.cumsum(generator.normal(size=n_samples))
    return np.rint(40 * np.sin(np.arange(n_samples) / 9) + walk + 1000).astype(np.int64)


@pytest.mark.parametrize("band", BANDS)
def test_zigzag_bytes_decode_to_the_same_coefficients(band):
    q = np.array(band, dtype=np.int64)
    decoded, rest = decode_zigzag(encode_zigzag(q) + b"next", length=len(q))
    assert (decoded.tolist(), rest) == (band, b"next")


@pytest.mark.parametrize("band", BANDS[:-1])
def test_tokens_decode_to_the_same_coefficients(band):
    q = np.array(band, dtype=np.int64)
    coded = encode_tokens(q)
    assert coded is not None
    decoded, rest = decode_tokens(coded + b"next", length=len(q))
    assert (decoded.tolist(), rest) == (band, b"next")


def test_a_value_beyond_fifteen_bits_has_no_tokens():
    assert encode_tokens(np.array([1 << 15])) is None


@pytest.mark.parametrize("density", [0.001, 0.05, 0.9])
def test_random_bands_decode_to_the_same_coefficients(density):
    generator = np.random.default_rng(1)
    q = generator.integers(-400, 401, 100_000) * (generator.random(100_000) < density)
    coded = encode_tokens(q)
    assert coded is not None
    np.testing.assert_array_equal(decode_tokens(coded, length=len(q))[0], q)
    np.testing.assert_array_equal(decode_zigzag(encode_zigzag(q), length=len(q))[0], q)


@pytest.mark.parametrize("allow_joined", [False, True])
@pytest.mark.parametrize("n_samples", [1, 2, 17, 178, 1999, 5000])
def test_every_length_keeps_its_target(n_samples, allow_joined):
    x = _signal(n_samples)
    y = decode(encode(x, Target("prdn", 3.0), allow_joined=allow_joined))
    assert prdn(x, y) <= 3.0


def test_a_constant_lead_comes_back_exactly():
    x = np.full(1000, 1023)
    np.testing.assert_array_equal(decode(encode(x, Target("prdn", 5.0))), x)


@pytest.mark.parametrize("peer", LEAD_PEERS, ids=lambda peer: peer.name)
@pytest.mark.parametrize("target", [Target("prdn", 2.0), Target("max_error", 2)], ids=lambda target: target.kind)
def test_every_lossy_peer_keeps_its_target(peer, target):
    x = _signal(5000)
    assert target.error(x, code_lead(peer, x, target).decoded[0]) <= target.value


@pytest.mark.parametrize("n_leads", [1, 2, 12])
@pytest.mark.parametrize("offset", [0, 100_000], ids=["16 bit", "32 bit"])
@pytest.mark.parametrize("peer", RECORD_PEERS, ids=lambda peer: peer.name)
def test_every_lossless_peer_gives_the_record_back(peer, offset, n_leads):
    leads = [_signal(3000, seed=seed) + offset for seed in range(n_leads)]
    code_record(peer, leads, sampling_rate_hz=360)
