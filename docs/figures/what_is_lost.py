"""Draw the worst second of every preset and fill the tables of docs/what_is_lost.md.

python docs/figures/what_is_lost.py shared/data/mitdb

The folder holds the test records of the MIT-BIH Arrhythmia Database with their annotations. Needs matplotlib and wfdb,
which reads the annotations.
"""

from __future__ import annotations

import argparse
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import wfdb
from numpy.typing import NDArray
from PIL import Image
from wfdb.io.annotation import is_qrs

import sancodec
from sancodec.api import compress_to
from sancodec.codec.promise import PRESETS
from sancodec.datasets.wfdb_record import read_wfdb

RECORDS = ("100", "105", "117", "200", "207", "217", "230", "234")
SOURCE = "MIT-BIH Arrhythmia Database, PhysioNet, ODC-By 1.0"
DOCUMENT = Path(__file__).resolve().parents[1] / "what_is_lost.md"
MARKED = re.compile(r"(<!-- measured (?P<part>\w+) -->\n).*?(<!-- end measured -->)", re.DOTALL)
UV_PER_MV = 1000.0
_FLUTTER_WAVE = "!"
_N_COLOURS = 32

# Around the annotated beat: the PR segment as zero, the ST segment, and where the peak is looked for.
ZERO_S, ST_S, PEAK_S = (-0.08, -0.06), (0.10, 0.12), 0.05


@dataclass(frozen=True, slots=True)
class Second:
    """The second of a lead with the largest RMS error; microvolts, and seconds from the begin of the record."""

    record: str
    lead: str
    start_s: float
    rms: float
    largest: float
    original: NDArray[np.float64]
    decoded: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Lead:
    """What one preset did to one lead; errors in microvolts, shifts in samples and of the first lead only."""

    record: str
    prdn: float
    largest: float
    rms: float
    median_rms: float
    worst: Second
    st_changes: NDArray[np.float64]
    peak_shifts: NDArray[np.int64] | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one preset did to all records."""

    ratios: tuple[float, ...]
    bytes_per_day: float
    leads: tuple[Lead, ...]

    @property
    def worst(self) -> Second:
        return max((lead.worst for lead in self.leads), key=lambda second: second.rms)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args(argv)
    outcomes = {}
    for preset in PRESETS:
        outcomes[preset] = measure_preset(arguments.folder, preset)
        if outcomes[preset].worst.rms > 0:
            draw(outcomes[preset].worst, preset, Path(__file__).with_name(f"what_is_lost_{preset}.png"))
    parts = {"errors": errors_table(outcomes), "seconds": seconds_table(outcomes), "beats": beats_table(outcomes)}
    text = DOCUMENT.read_text(encoding="utf-8")
    filled = MARKED.sub(lambda match: match[1] + parts[match["part"]] + "\n" + match[3], text)
    DOCUMENT.write_text(filled, encoding="utf-8")


def measure_preset(folder: Path, preset: str) -> Outcome:
    """Compress, decode and measure all records."""
    ratios, leads, bytes_per_day = [], [], []
    for name in RECORDS:
        record = read_wfdb(folder / name)
        file = io.BytesIO()
        n_bytes = compress_to(record, file, preset=preset).n_bytes
        decoded = sancodec.decompress_recording(file.getvalue())
        rate_hz = float(record.frame_rate_hz)
        stored_bits = sum(channel.resolution_bits for channel in record.channels) * record.n_frames
        ratios.append(stored_bits / (8 * n_bytes))
        bytes_per_day.append(n_bytes * 86_400 * rate_hz / record.n_frames)
        beats = beat_samples(folder / name)
        for index, channel in enumerate(record.channels):
            x, y = (UV_PER_MV * (each.samples[index] - channel.baseline) / channel.gain for each in (record, decoded))
            leads.append(measure_lead(x, y, rate_hz, beats, record=name, lead=channel.name, is_first=not index))
    return Outcome(tuple(ratios), float(np.mean(bytes_per_day)), tuple(leads))


def beat_samples(path: Path) -> NDArray[np.int64]:
    """Where the annotators of the database saw beats."""
    annotation = wfdb.rdann(str(path), "atr", return_label_elements=["symbol", "label_store"])
    is_beat = np.array(is_qrs)[annotation.label_store] & (np.array(annotation.symbol) != _FLUTTER_WAVE)
    return np.asarray(annotation.sample[is_beat], np.int64)


def measure_lead(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    rate_hz: float,
    beats: NDArray[np.int64],
    *,
    record: str,
    lead: str,
    is_first: bool,
) -> Lead:
    """Errors of a lead; ``x`` and ``y`` in microvolts, ``(sample,)``."""
    error = y - x
    length = round(rate_hz)
    energy = np.concatenate([[0.0], np.cumsum(error**2)])
    rms = np.sqrt((energy[length:] - energy[:-length]).clip(0) / length)  # of the second from every sample on
    start = int(rms.argmax())
    span = slice(start, start + length)
    worst = Second(record, lead, start / rate_hz, float(rms[start]), float(np.abs(error[span]).max()), x[span], y[span])
    margin = round(0.2 * rate_hz)
    beats = beats[(beats >= margin) & (beats < len(x) - margin)]
    return Lead(
        record,
        float(100 * np.linalg.norm(error) / np.linalg.norm(x - x.mean())),
        float(np.abs(error).max()),
        float(np.sqrt(np.mean(error**2))),
        float(np.median(rms)),
        worst,
        st_levels(y, beats, rate_hz) - st_levels(x, beats, rate_hz),
        peaks(y, beats, rate_hz) - peaks(x, beats, rate_hz) if is_first else None,
    )


def st_levels(signal: NDArray[np.float64], beats: NDArray[np.int64], rate_hz: float) -> NDArray[np.float64]:
    """Mean of the ST segment less that of the PR segment, of every beat."""
    zero, st = (
        signal[beats[:, None] + np.arange(round(first * rate_hz), round(last * rate_hz))].mean(axis=1)
        for first, last in (ZERO_S, ST_S)
    )
    return st - zero


def peaks(signal: NDArray[np.float64], beats: NDArray[np.int64], rate_hz: float) -> NDArray[np.int64]:
    """Sample farthest from the PR segment within 50 ms of every beat."""
    zero = signal[beats[:, None] + np.arange(round(ZERO_S[0] * rate_hz), round(ZERO_S[1] * rate_hz))].mean(axis=1)
    reach = round(PEAK_S * rate_hz)
    around = signal[beats[:, None] + np.arange(-reach, reach + 1)] - zero[:, None]
    return beats - reach + np.abs(around).argmax(axis=1)


def draw(second: Second, preset: str, path: Path) -> None:
    """One second on the grid of ECG paper: 40 ms and 100 µV a square; the error below, on the same scale."""
    time_s = np.arange(len(second.original)) / len(second.original)
    lowest, highest = (f(f(second.original), f(second.decoded)) for f in (min, max))
    error = second.decoded - second.original
    zero = 100 * np.floor((lowest - max(error.max(), 0)) / 100) - 200
    bottom, top = zero + min(error.min(), 0) - 100, highest + 100
    figure, axis = plt.subplots(figsize=(7.2, 4.4), layout="constrained")
    axis.set_xticks(np.arange(0, 1.001, 0.2))
    axis.set_xticks(np.arange(0, 1.001, 0.04), minor=True)
    axis.set_yticks(np.arange(500 * np.ceil(bottom / 500), top, 500))
    axis.set_yticks(np.arange(100 * np.ceil(bottom / 100), top, 100), minor=True)
    axis.grid(which="minor", color="#f3dcd8", lw=0.4)
    axis.grid(which="major", color="#e8b8b0", lw=0.7)
    axis.plot(time_s, second.original, color="#1f3b57", lw=2.4, alpha=0.45, label="original")
    axis.plot(time_s, second.decoded, color="#b3432b", lw=1.0, label="decoded")
    axis.axhline(zero, color="#777777", lw=0.6)
    axis.plot(time_s, zero + error, color="#222222", lw=1.0, label="error, about the grey line")
    axis.set_ylim(bottom, top)
    axis.set_xlim(0, 1)
    minutes, seconds = divmod(second.start_s, 60)
    axis.set_title(
        f"{preset}: record {second.record}, lead {second.lead}, second from {minutes:.0f}:{seconds:04.1f}; "
        f"error RMS {second.rms:.0f} µV, largest {second.largest:.0f} µV",
        loc="left",
        fontsize=9,
        pad=20,
    )
    axis.set_ylabel("µV", fontsize=9)
    axis.set_xlabel(f"s; a small square is 40 ms and 100 µV. {SOURCE}", fontsize=8)
    axis.tick_params(labelsize=8)
    axis.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, borderaxespad=0.2)
    axis.spines[["top", "right"]].set_visible(False)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=100)
    Image.open(drawn).convert("RGB").quantize(_N_COLOURS).save(path, optimize=True)
    plt.close(figure)


def errors_table(outcomes: dict[str, Outcome]) -> str:
    rows = []
    for preset, outcome in outcomes.items():
        prdns = [lead.prdn for lead in outcome.leads]
        rms = [lead.rms for lead in outcome.leads]
        largest = [lead.largest for lead in outcome.leads]
        rows.append(
            f"| {preset} | {np.mean(outcome.ratios):.1f} ({min(outcome.ratios):.1f} to {max(outcome.ratios):.1f}) "
            f"| {outcome.bytes_per_day / 1e6:.1f} | {np.mean(prdns):.1f} ({max(prdns):.1f}) "
            f"| {np.mean(rms):.1f} ({max(rms):.1f}) | {np.mean(largest):.0f} ({max(largest):.0f}) |"
        )
    return "\n".join(
        [
            "| preset | ratio | MB a day | PRDN % | RMS error µV | largest error µV |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
            *rows,
        ]
    )


def seconds_table(outcomes: dict[str, Outcome]) -> str:
    rows = []
    for preset, outcome in outcomes.items():
        worst = outcome.worst
        minutes, seconds = divmod(worst.start_s, 60)
        where = f"{worst.record}, {worst.lead}, {minutes:.0f}:{seconds:04.1f}" if worst.rms else "none"
        rows.append(
            f"| {preset} | {np.median([lead.median_rms for lead in outcome.leads]):.0f} | {worst.rms:.0f} "
            f"| {worst.largest:.0f} | {where} |"
        )
    return "\n".join(
        [
            "| preset | median second: RMS error µV | worst second: RMS error µV | its largest error µV | where |",
            "| --- | ---: | ---: | ---: | --- |",
            *rows,
        ]
    )


def beats_table(outcomes: dict[str, Outcome]) -> str:
    rows = []
    for preset, outcome in outcomes.items():
        changes = np.abs(np.concatenate([lead.st_changes for lead in outcome.leads]))
        shifts = np.abs(np.concatenate([each.peak_shifts for each in outcome.leads if each.peak_shifts is not None]))
        rows.append(
            f"| {preset} | {np.median(changes):.0f} | {np.percentile(changes, 99):.0f} | {changes.max():.0f} "
            f"| {100 * np.mean(changes > 100):.2f} | {100 * np.mean(shifts == 0):.1f} "
            f"| {100 * np.mean(shifts <= 1):.1f} |"
        )
    return "\n".join(
        [
            "| preset | ST level moves by µV, median | 99 % of beats within | at most | % of beats over 100 µV "
            "| % of peaks at the same sample | % within one sample (2.8 ms) |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
            *rows,
        ]
    )


if __name__ == "__main__":
    main()
