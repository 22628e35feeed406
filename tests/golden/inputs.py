"""What the golden files are made from: ten seconds of an ECG, and signals of integer arithmetic alone.

No sine and no random generator takes part, so that every machine and every NumPy has the same samples.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.models import shipped_model, shipped_names
from sancodec.codec.promise import Promise
from sancodec.codec.recording import Channel, Recording
from sancodec.datasets.wfdb_record import read_wfdb

RECORD = Path(__file__).parents[1] / "data" / "100_10s"
EXACT = Promise(max_error_adu=0)
WIDE = Channel("wide", minimum=-(2**31), maximum=2**31 - 1)
GAPPY = Channel("gappy", "mV", 200.0, minimum=-2047, maximum=2047, invalid=-2048)

Rows = NDArray[np.int64]


def noise(n_samples: int, *, seed: int = 1, bits: int = 3) -> Rows:
    """Numbers of some bits from a linear congruential generator, about 0."""
    state, result = seed * 2_654_435_761 + 1 & 0xFFFFFFFF, []
    for _ in range(n_samples):
        state = state * 1_664_525 + 1_013_904_223 & 0xFFFFFFFF
        result.append((state >> 32 - bits) - (1 << bits - 1))
    return np.array(result, np.int64)


def wave(n_samples: int, *, period: int = 90, height: int = 300, phase: int = 0) -> Rows:
    """Parabolas, up and down in turns: a sine of sorts."""
    at = (np.arange(n_samples) + phase) % (2 * period)
    half = at % period
    return 4 * height * half * (period - half) // period**2 * np.where(at < period, 1, -1)


def beats(n_samples: int, *, interval: int = 290, height: int = 700, seed: int = 1) -> Rows:
    """Spikes with a bump behind each, at uneven intervals."""
    result = wave(n_samples, period=2000, height=40) + noise(n_samples, seed=seed)
    jitter, start = noise(n_samples // interval + 1, seed=7, bits=5), 60
    for extra in jitter.tolist():
        for offset, width, top in ((0, 12, height), (12, 9, -height // 4), (60, 70, height // 5)):
            first = start + offset
            bump = wave(width, period=width, height=top)[: max(n_samples - first, 0)]
            result[first : first + len(bump)] += bump
        start += interval + extra
    return result


def of(*rows: Rows, channels: tuple[Channel, ...] | None = None, source: str = "array", rate: int = 360) -> Recording:
    if channels is None:
        channels = tuple(Channel(f"c{index}", minimum=-(2**15), maximum=2**15 - 1) for index in range(len(rows)))
    return Recording(channels, tuple(row.astype(np.int32) for row in rows), Fraction(rate), source)


def ecg() -> Recording:
    return read_wfdb(RECORD)


def leads() -> Recording:
    """Four channels that tell of each other."""
    base = beats(4000)
    others = [np.roll(base, shift) // part + noise(4000, seed=shift + 20, bits=1) for shift, part in ((1, 1), (-2, 2))]
    return of(base, *others, others[0] - others[1])


def limb_leads() -> Recording:
    """Six leads of two electrodes' differences, and a precordial one."""
    first, second = beats(4000), np.roll(beats(4000, height=500, seed=3), 2)
    other = beats(4000, height=-300, seed=5) + first // 3
    derived = second - first, -(first + second) >> 1, first - (second >> 1), second - (first >> 1)
    return of(first, second, *derived, other)


def gaps() -> Recording:
    """Missing samples at both ends and within, a channel without any sample, and constants."""
    first = beats(3000)
    first[:40] = first[1200:1500] = first[1502] = first[-1] = -2048
    channels = (GAPPY, GAPPY, Channel("constant", minimum=-9, maximum=9), GAPPY)
    return of(
        first, np.full(3000, -2048), np.full(3000, -7), np.where(np.arange(3000) < 9, -2048, 5), channels=channels
    )


def rates() -> Recording:
    """Channels of one, three and two samples per frame."""
    counts = 1, 3, 1, 2, 3
    channels = tuple(
        Channel(f"r{count}", samples_per_frame=count, minimum=-(2**15), maximum=2**15 - 1) for count in counts
    )
    return of(*(beats(1500 * count, seed=index) for index, count in enumerate(counts)), channels=channels)


def long() -> Recording:
    """Five chunks of 8192 frames, the last one short; the second half is quieter."""
    row = wave(4 * 8192 + 99, period=700, height=900) + noise(4 * 8192 + 99, bits=2)
    row[2 * 8192 :] //= 9
    return of(row)


def wide() -> Recording:
    """All 32 bits."""
    count = np.arange(400)
    jumps = np.where(count % 2, 2**31 - 1, -(2**31))
    jumps[100:300] = noise(200, bits=32)
    return of(jumps, wave(400, period=70, height=2**30), channels=(WIDE, WIDE))


def lattice() -> Recording:
    """Multiples of 12.2 rounded, but for a few."""
    row = (beats(4000) * 122 + 5) // 10
    row[[500, 2000]] += 3
    return of(row)


def odd_212() -> Recording:
    """Five samples in format 212, whose last four bits are padding and not zero."""
    samples = [100, -50, 2047, -2047, 7]
    packed = bytearray()
    for first, second in ((100, -50), (2047, -2047)):
        low, high = first & 0xFFF, second & 0xFFF
        packed += bytes([low & 255, low >> 8 | high >> 8 << 4, high & 255])
    packed += bytes([7, 0xA0])
    checksum = sum(samples)
    header = f"odd 1 360 5\nodd.dat 212 200 12 0 100 {checksum} 0 MLII\n# a comment\n"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "odd.dat").write_bytes(bytes(packed))
        (Path(folder) / "odd.hea").write_text(header)
        return read_wfdb(Path(folder) / "odd")


@dataclass(frozen=True)
class Case:
    """One golden file: an input, what is promised, and how it is encoded."""

    recording: Callable[[], Recording]
    promises: tuple[Promise, ...]
    level: int
    models: tuple[str, ...] = tuple(shipped_names())
    options: dict[str, Any] = field(default_factory=dict)

    def settings(self) -> dict[str, Any]:
        """Arguments of ``encode_recording``."""
        recording = self.recording()
        promises = self.promises * (len(recording.channels) if len(self.promises) == 1 else 1)
        return {
            "promises": promises,
            "level": self.level,
            "chunk_s": None,
            "models": tuple(shipped_model(name) for name in self.models),
            "embed_models": False,
            **self.options,
        }


def prdn(value: float) -> tuple[Promise]:
    return (Promise(prdn=value),)


def error(bound: int, value: float | None = None) -> tuple[Promise]:
    return (Promise(prdn=value, max_error_adu=bound),)


MIXED = (EXACT, Promise(max_error_adu=2), Promise(prdn=3.0), Promise(prdn=2.0, max_error_adu=9), EXACT)
SEGMENTS = {"chunk_s": 1.0, "segment_samples": 11_000}
EMBEDDED = {"embed_models": True}
CASES = {
    **{f"ecg_prdn_level_{level}": Case(ecg, prdn(2.0), level) for level in (1, 3, 5, 9)},
    **{f"ecg_prdn_9_level_{level}": Case(ecg, prdn(9.0), level) for level in (5, 9)},
    **{f"ecg_error_level_{level}": Case(ecg, error(2), level) for level in (1, 3, 5, 9)},
    **{f"ecg_error_and_prdn_level_{level}": Case(ecg, error(12, 1.5), level) for level in (1, 3, 5, 9)},
    **{f"ecg_lossless_level_{level}": Case(ecg, (EXACT,), level) for level in (1, 3, 5, 9)},
    **{f"leads_lossless_level_{level}": Case(leads, (EXACT,), level) for level in (1, 3, 5, 9)},
    **{f"limb_leads_prdn_level_{level}": Case(limb_leads, prdn(5.0), level) for level in (3, 5, 9)},
    **{f"missing_prdn_level_{level}": Case(gaps, prdn(3.0), level) for level in (1, 5, 9)},
    **{f"missing_lossless_level_{level}": Case(gaps, (EXACT,), level) for level in (1, 5, 9)},
    **{f"rates_mixed_level_{level}": Case(rates, MIXED, level) for level in (1, 3, 5, 9)},
    **{f"segments_prdn_level_{level}": Case(long, prdn(5.0), level, options=SEGMENTS) for level in (1, 5, 9)},
    **{f"segments_lossless_level_{level}": Case(long, (EXACT,), level, options=SEGMENTS) for level in (5, 9)},
    **{f"chunks_error_level_{level}": Case(long, error(20), level, options={"chunk_s": 1.0}) for level in (5, 9)},
    "embedded_prdn_level_1": Case(leads, prdn(4.0), 1, ("haar",), EMBEDDED),
    **{f"embedded_error_level_{level}": Case(leads, error(3), level, ("haar",), EMBEDDED) for level in (5, 9)},
    **{f"wide_lossless_level_{level}": Case(wide, (EXACT,), level) for level in (1, 5, 9)},
    "wide_prdn_level_3": Case(wide, prdn(1.0), 3),
    **{f"lattice_lossless_level_{level}": Case(lattice, (EXACT,), level) for level in (1, 5, 9)},
    **{f"odd_212_lossless_level_{level}": Case(odd_212, (EXACT,), level) for level in (1, 5, 9)},
    "one_sample": Case(lambda: of(np.array([-1]), np.array([7]), source="array:i2:2"), (EXACT,), 5),
    "two_samples_prdn": Case(lambda: of(np.array([-1, 50]), source="array:i2:1"), prdn(1.0), 3),
    "constant": Case(lambda: of(np.full(70, 3), np.full(70, -(2**15)), source="array:i2:2"), (EXACT,), 1),
}
