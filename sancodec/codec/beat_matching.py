"""Detected beats against reference beats, as ANSI/AAMI EC57 compares them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MATCH_WINDOW_S = 0.15


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceBeats:
    """What is taken for the truth.

    Parameters
    ----------
    positions
        int64 ``(beat,)``, increasing, in samples.
    is_normal
        bool ``(beat,)``; intervals between normal beats are NN intervals.
    uncounted
        First and last sample of episodes of ventricular flutter and fibrillation, where no detection is wrong.
    """

    positions: NDArray[np.int64]
    is_normal: NDArray[np.bool_]
    uncounted: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class BeatScore:
    """Counts, and errors of intervals.

    Parameters
    ----------
    rr_error_ms
        Root mean square error of the intervals between successive reference beats whose detections also follow each
        other; None without such intervals.
    sdnn_ms, reference_sdnn_ms
        Standard deviation of those that are NN intervals, as detected and in the reference; None of fewer than two.
    """

    n_matched: int
    n_missed: int
    n_extra: int
    rr_error_ms: float | None
    sdnn_ms: float | None
    reference_sdnn_ms: float | None

    @property
    def sensitivity(self) -> float | None:
        """Share of the reference beats that are found, in percent; None where there are none."""
        return _percent(self.n_matched, self.n_missed)

    @property
    def positive_predictivity(self) -> float | None:
        """Share of the detections that are beats, in percent; None where there are none."""
        return _percent(self.n_matched, self.n_extra)

    @property
    def sdnn_error_ms(self) -> float | None:
        """How much larger SDNN is as detected."""
        if self.sdnn_ms is None or self.reference_sdnn_ms is None:
            return None
        return self.sdnn_ms - self.reference_sdnn_ms


def _percent(part: int, rest: int) -> float | None:
    return 100 * part / (part + rest) if part + rest else None


def match_beats(
    reference: NDArray[np.int64], found: NDArray[np.int64], *, sampling_rate_hz: float
) -> NDArray[np.int64]:
    """Pairs of a reference beat and a detection, at most 150 ms apart, each in one pair at most.

    The earlier one of the next two beats is paired with the other if no later beat of the other kind is as near to it.

    Returns
    -------
    int64 ``(pair, 2)``: indices of the reference beat and of the detection, both increasing.
    """
    window = round(MATCH_WINDOW_S * sampling_rate_hz)
    beats = (reference.tolist(), found.tolist())
    at = [0, 0]
    pairs = []
    while at[0] < len(beats[0]) and at[1] < len(beats[1]):
        earlier = int(beats[1][at[1]] < beats[0][at[0]])
        later = 1 - earlier
        first, second = beats[earlier][at[earlier]], beats[later][at[later]]
        following = beats[earlier][at[earlier] + 1] if at[earlier] + 1 < len(beats[earlier]) else None
        if second - first <= window and (following is None or second - first < abs(following - second)):
            pairs.append(tuple(at))
            at[later] += 1
        at[earlier] += 1
    return np.array(pairs, np.int64).reshape(-1, 2)


def score_beats(
    reference: ReferenceBeats, found: NDArray[np.int64], *, sampling_rate_hz: float, first_sample: int = 0
) -> BeatScore:
    """Count and measure; what lies before ``first_sample`` counts nowhere.

    Parameters
    ----------
    found
        Detected beats, int64 ``(beat,)``, increasing, in samples of the reference.
    """
    pairs = match_beats(reference.positions, found, sampling_rate_hz=sampling_rate_hz)
    is_extra = found >= first_sample
    is_extra[pairs[:, 1]] = False
    pairs = pairs[reference.positions[pairs[:, 0]] >= first_sample]
    for first, last in reference.uncounted:
        is_extra &= (found < first) | (found > last)
    n_reference = int((reference.positions >= first_sample).sum())
    follows = (np.diff(pairs, axis=0) == 1).all(axis=1)
    to_ms = 1000 / sampling_rate_hz
    rr = np.diff(reference.positions[pairs[:, 0]])[follows] * to_ms
    rr_found = np.diff(found[pairs[:, 1]])[follows] * to_ms
    normal = reference.is_normal[pairs[:, 0]]
    is_nn = (normal[1:] & normal[:-1])[follows]
    return BeatScore(
        len(pairs),
        n_reference - len(pairs),
        int(is_extra.sum()),
        float(np.sqrt(np.mean((rr_found - rr) ** 2))) if len(rr) else None,
        *(float(np.std(each[is_nn], ddof=1)) if is_nn.sum() > 1 else None for each in (rr_found, rr)),
    )
