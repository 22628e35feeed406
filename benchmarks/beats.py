"""Beats: what QRS detectors find before and after compression, and what the event stream alone tells.

    python benchmarks/beats.py

Counted as ANSI/AAMI EC57 says, against the reference annotations of the MIT-BIH records, from the sixth minute on.
Detectors run on the first lead; the stream is that of both leads.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import environment
import records

import sancodec
from sancodec.cli.compare_beats import detect_beats, first_counted_s
from sancodec.codec.beat_matching import BeatScore, ReferenceBeats, score_beats
from sancodec.codec.recording import Recording
from sancodec.datasets.wfdb_annotation import read_reference
from sancodec.datasets.wfdb_record import read_wfdb
from sancodec.errors import InvalidSignalError

RESULTS = environment.REPOSITORY / "benchmarks" / "results"
PRESETS = ("archive", "clinical", "monitor", "trend")
DETECTED_PRESETS = ("clinical", "monitor", "trend")
DETECTORS = ("xqrs", "gqrs")
LEVELS = (3, 5, 9)
DETECTED_LEVEL = 5
LEAD = 0


def stream_row(blob: bytes, reference: ReferenceBeats, rate_hz: float, first_sample: int) -> dict[str, Any]:
    """Score of the beats that the events of all leads tell of, and what reading them takes."""
    begin = time.perf_counter()
    with sancodec.open(io.BytesIO(blob)) as record:
        try:
            beats = record.beats()
        except InvalidSignalError:  # an archive that is smaller without beats
            return {"score": None, "ms": None}
    ms = 1000 * (time.perf_counter() - begin)
    score = score_beats(reference, beats, sampling_rate_hz=rate_hz, first_sample=first_sample)
    return {"score": asdict(score), "ms": ms}


def summary(rows: Sequence[dict[str, Any]], keys: Sequence[str]) -> list[dict[str, Any]]:
    """All beats together, and means over the records, of the rows that agree in ``keys``."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    result = []
    for values, members in groups.items():
        scores = [BeatScore(**row["score"]) for row in members if row["score"] is not None]
        entry: dict[str, Any] = {**dict(zip(keys, values, strict=True)), "n_records": len(scores)}
        if scores:
            matched, missed, extra = (
                sum(getattr(score, name) for score in scores) for name in ("n_matched", "n_missed", "n_extra")
            )
            entry |= {
                "sensitivity": 100 * matched / (matched + missed),
                "ppv": 100 * matched / (matched + extra),
                "worst_sensitivity": min(score.sensitivity or 0.0 for score in scores),
                "worst_ppv": min(score.positive_predictivity or 0.0 for score in scores),
                "mean_rr_error_ms": statistics.mean(score.rr_error_ms or 0.0 for score in scores),
                "mean_sdnn_error_ms": statistics.mean(abs(score.sdnn_error_ms or 0.0) for score in scores),
            }
            if "ms" in members[0]:
                entry["median_ms"] = statistics.median(row["ms"] for row in members if row["ms"] is not None)
        result.append(entry)
    return result


def detector_row(recording: Recording, detector: str, reference: ReferenceBeats, first_sample: int) -> dict[str, Any]:
    rate_hz = float(recording.sampling_rate_hz(LEAD))
    beats = detect_beats(recording, LEAD, detector=detector)
    return {"score": asdict(score_beats(reference, beats, sampling_rate_hz=rate_hz, first_sample=first_sample))}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=["train", "test"], default="test")
    parser.add_argument("--output", type=Path, default=RESULTS / "beats.json")
    arguments = parser.parse_args(argv)
    stream: list[dict[str, Any]] = []
    detected: list[dict[str, Any]] = []
    for path in records.record_paths(records.DATA, set_name="mitdb", split=arguments.split):
        recording = read_wfdb(path)
        rate_hz = float(recording.sampling_rate_hz(LEAD))
        first_sample = round(first_counted_s(recording.duration_s) * rate_hz)
        reference = read_reference(
            path.with_name(path.name + ".atr"),
            frame_rate_hz=rate_hz,
            sampling_rate_hz=rate_hz,
            n_samples=len(recording.samples[LEAD]),
        )
        decoded = {"original": recording}
        for level in LEVELS:
            for preset in PRESETS:
                blob = sancodec.compress(recording, preset=preset, level=level)
                stream.append({"record": path.name, "preset": preset, "level": level})
                stream[-1] |= stream_row(blob, reference, rate_hz, first_sample)
                if level == DETECTED_LEVEL and preset in DETECTED_PRESETS:
                    decoded[preset] = sancodec.decompress_recording(blob)
        for detector in DETECTORS:
            for preset, each in decoded.items():
                detected.append({"record": path.name, "preset": preset, "detector": detector})
                detected[-1] |= detector_row(each, detector, reference, first_sample)
        print(path.name, flush=True)
    content = {
        "benchmark": "beats",
        "split": arguments.split,
        "detected_level": DETECTED_LEVEL,
        "environment": environment.describe(("sancodec", "numpy", "wfdb")),
        "stream": summary(stream, ("preset", "level")),
        "detectors": summary(detected, ("detector", "preset")),
        "stream_rows": stream,
        "detector_rows": detected,
    }
    environment.write_json(arguments.output, content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
