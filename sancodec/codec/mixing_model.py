"""What a model ships for coder 2: where its adaptive state begins (docs/format.md, "Statistics, for coder 2")."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.mixing import SQUASH

N_KINDS, N_INPUTS, N_TERMS, N_TAPS = 8, 4, 8, 14
N_ACTIVITIES, N_FINE_PHASES = 64, 49
SIGN_KIND = 1
# Prior probabilities of an input: of magnitudes and of signs.
PRIOR_LENGTHS = ((2 * N_ACTIVITIES, 2 * 16 * 24, 2 * 32, 2 * 8), (48, 9, 1, 24))
_KIND_LENGTH = sum(PRIOR_LENGTHS[0])
PRIOR_SIZE = (N_KINDS - 1) * _KIND_LENGTH + sum(PRIOR_LENGTHS[1])
MAX_TERM = (1 << 16) - 1
N_COSTS = 24
MAX_UNARY = 20
_MIXER_START = 0.3
_NO_EVIDENCE = 0.02
_PRIOR_COUNT = 100


def prior_start(kind: int, input_index: int) -> int:
    """Where the prior probabilities of an input of a kind of decision begin."""
    if kind == SIGN_KIND:
        return (N_KINDS - 1) * _KIND_LENGTH + sum(PRIOR_LENGTHS[1][:input_index])
    return max(kind - 1, 0) * _KIND_LENGTH + sum(PRIOR_LENGTHS[0][:input_index])


def activity_middle(activity: int) -> int:
    """The smallest expected magnitude of an activity, in 1/256."""
    return activity if activity < 8 else (4 + activity % 4) << (activity // 4 - 1)


def activity_shift(expected: int) -> int:
    """Low bits of an index that are not modelled where this magnitude is expected, in 1/256."""
    return max(0, expected.bit_length() - 12)


@dataclass(frozen=True, eq=False)
class MixingModel:
    """Starting points for every kind of signal that a model was trained for.

    Parameters
    ----------
    terms
        int32, shape ``(set, 2, band, N_TERMS)``, in 1/256: weights of the expected magnitude, without and with another
        channel at hand.
    taps
        int32, shape ``(set, 2, band, N_TAPS)``, in 2**-16: weights of the prediction.
    prior
        int8, shape ``(set, PRIOR_SIZE)``: stretched probabilities in 1/16.
    mixer
        int32, shape ``(set, N_KINDS, N_INPUTS)``, in 2**-16.
    """

    terms: NDArray[np.int32]
    taps: NDArray[np.int32]
    prior: NDArray[np.int8]
    mixer: NDArray[np.int32]

    @property
    def n_sets(self) -> int:
        return int(self.terms.shape[0])

    def content(self) -> bytes:
        """The bytes of every set, one after the other; weights are cut to 16 bits."""
        parts = []
        for terms, taps, prior, mixer in zip(self.terms, self.taps, self.prior, self.mixer, strict=True):
            parts += [terms.astype("<u2"), (taps >> 4).astype("<i2"), prior, (mixer >> 4).astype("<i2")]
        return b"".join(part.tobytes() for part in parts)


def content_length(n_sets: int, n_bands: int) -> int:
    """Bytes of ``MixingModel.content``."""
    return n_sets * (4 * n_bands * (N_TERMS + N_TAPS) + PRIOR_SIZE + 2 * N_KINDS * N_INPUTS)


def from_content(content: bytes, n_sets: int, n_bands: int) -> MixingModel:
    """Inverse of ``MixingModel.content``, for bytes of the right length."""
    position = 0

    def take(kind: str, *shape: int) -> NDArray[np.generic]:
        nonlocal position
        count = int(np.prod(shape))
        row = np.frombuffer(content, kind, count, position).reshape(shape)
        position += row.nbytes
        return row

    sets = [
        (
            take("<u2", 2, n_bands, N_TERMS).astype(np.int32),
            take("<i2", 2, n_bands, N_TAPS).astype(np.int32) << 4,
            take("i1", PRIOR_SIZE).astype(np.int8),
            take("<i2", N_KINDS, N_INPUTS).astype(np.int32) << 4,
        )
        for _ in range(n_sets)
    ]
    terms, taps, prior, mixer = (np.stack(rows) for rows in zip(*sets, strict=True))
    return MixingModel(terms, taps, prior, mixer)


def neutral_mixing(n_bands: int, n_sets: int = 1) -> MixingModel:
    """A start before any data: the profile alone, geometric magnitudes of the activity's mean, signs of even odds."""
    terms = np.zeros((n_sets, 2, n_bands, N_TERMS), np.int32)
    terms[..., 0] = 256
    prior = np.zeros(PRIOR_SIZE, np.int8)
    chances = [_continuation(activity) for activity in range(N_ACTIVITIES)]
    for kind in range(N_KINDS):
        if kind == SIGN_KIND:
            continue
        for input_index, (length, per_activity) in enumerate(zip(PRIOR_LENGTHS[0], (2, 8, 4, 0), strict=True)):
            at = prior_start(kind, input_index)
            for index in range(length):
                # The first three inputs know the activity; of the last, the middle of each nearness.
                activity = (index // per_activity * (per_activity // 2)) % N_ACTIVITIES if per_activity else 4 * index
                prior[at + index] = stretched(chances[min(activity, N_ACTIVITIES - 1)])
    mixer = np.full((n_sets, N_KINDS, N_INPUTS), round(_MIXER_START * 65536) & ~15, np.int32)
    return MixingModel(
        terms, np.zeros((n_sets, 2, n_bands, N_TAPS), np.int32), np.repeat(prior[None], n_sets, axis=0), mixer
    )


def _continuation(activity: int) -> float:
    """Chance that an index goes on by one: levels are about twice the index."""
    expected = activity_middle(activity)
    mean = expected / 512 / (1 << activity_shift(expected)) + _NO_EVIDENCE
    return mean / (1 + mean)


def stretched(probability: float) -> int:
    """A probability as the prior stores it."""
    return int(np.clip(np.rint(16 * np.log(probability / (1 - probability))), -127, 127))


@lru_cache(maxsize=32)
def index_costs(mixing: MixingModel, weight_set: int) -> NDArray[np.float64]:
    """Bits of indices 0…23 by the prior alone, sign included; shape ``(quantiser, activity, index)``.

    The encoder weighs with them; no decoder needs them.
    """
    return _costs_of(_prior_chances(mixing, weight_set))


def fitted_costs(mixing: MixingModel, weight_set: int, counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """The same where each decision has been taken so often: int64 ``(kind, activity, quantiser, no and yes)``."""
    prior = _prior_chances(mixing, weight_set)
    return _costs_of((counts[..., 1] + _PRIOR_COUNT * prior) / (counts.sum(axis=-1) + _PRIOR_COUNT))


def _prior_chances(mixing: MixingModel, weight_set: int) -> NDArray[np.float64]:
    """Of a yes, by kind but that of the sign, activity and quantiser."""
    ones = np.array([SQUASH[2048 + 16 * int(value)] for value in range(-128, 128)]) / 65536
    chance: NDArray[np.float64] = ones[mixing.prior[weight_set].astype(np.int64) + 128]
    kinds = [kind for kind in range(N_KINDS) if kind != SIGN_KIND]
    return np.stack([chance[prior_start(kind, 0) :][: PRIOR_LENGTHS[0][0]].reshape(N_ACTIVITIES, 2) for kind in kinds])


def _costs_of(chances: NDArray[np.float64]) -> NDArray[np.float64]:
    more, done = -np.log2(chances), -np.log2(1 - chances)
    n_kinds = len(chances)
    costs = np.zeros((2, N_ACTIVITIES, N_COSTS))
    for activity in range(N_ACTIVITIES):
        shift = activity_shift(activity_middle(activity))
        for index in range(N_COSTS):
            high = index >> shift
            steps = [min(step, n_kinds - 1) for step in range(min(high, MAX_UNARY))]
            bits = more[steps, activity].sum(axis=0) + shift + (index > 0)
            if high < MAX_UNARY:
                bits = bits + done[min(high, n_kinds - 1), activity]
            else:
                bits = bits + 2 * (high - MAX_UNARY + 1).bit_length() - 1
            costs[:, activity, index] = bits
    costs.flags.writeable = False
    return costs
