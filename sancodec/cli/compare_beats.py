"""What a QRS detector makes of two recordings, for ``sancodec compare --beats``."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sancodec.cli.excerpt import channel_indices
from sancodec.cli.terminal import printable, table
from sancodec.cli.times import clock
from sancodec.codec.beat_matching import BeatScore, ReferenceBeats, score_beats
from sancodec.codec.detection import MAX_DETECTION_RATE_HZ, MIN_DETECTION_RATE_HZ
from sancodec.codec.missing import filled, missing_runs
from sancodec.codec.promise import is_ecg_lead
from sancodec.codec.recording import Recording
from sancodec.datasets.wfdb_annotation import import_wfdb, read_reference, reference_beside
from sancodec.errors import InvalidSignalError

LEARNING_S = 300.0
_ORIGINAL = "the original"


def compare_beats(
    before: Recording, after: Recording, *, detector: str, names: Sequence[str], record: str, reference: str | None
) -> dict[str, Any]:
    """Run a detector on channels of both recordings and score it, as one JSON object.

    Parameters
    ----------
    detector
        ``"xqrs"`` or ``"gqrs"``, of the wfdb package.
    names
        Channels by name or index; none for the first ECG lead, or the first channel.
    record
        File name of the original, beside which reference beats may lie.
    reference
        Annotation file with reference beats.

    Raises
    ------
    InvalidSignalError
        When a channel is not there or cannot be searched for beats, or the reference cannot be read.
    MissingDependencyError
        When wfdb is missing.
    """
    chosen = channel_indices([channel.name for channel in before.channels], names) if names else (_default(before),)
    beside = Path(reference) if reference is not None else reference_beside(record)
    first_s = first_counted_s(before.duration_s)
    channels = []
    for index in chosen:
        rate_hz, n_samples = float(before.sampling_rate_hz(index)), len(before.samples[index])
        found = [detect_beats(recording, index, detector=detector) for recording in (before, after)]
        if beside is None:
            truth = ReferenceBeats(found[0], np.ones(len(found[0]), bool))
        else:
            truth = read_reference(
                beside, frame_rate_hz=float(before.frame_rate_hz), sampling_rate_hz=rate_hz, n_samples=n_samples
            )
        scores = [
            score_beats(truth, each, sampling_rate_hz=rate_hz, first_sample=round(first_s * rate_hz)) for each in found
        ]
        channels.append(
            {
                "name": before.channels[index].name,
                "original": score_content(scores[0]),
                "file": score_content(scores[1]),
            }
        )
    return {
        "detector": detector,
        "reference": _ORIGINAL if beside is None else str(beside),
        "first_s": first_s,
        "channels": channels,
    }


def first_counted_s(duration_s: float) -> float:
    """Where counting begins: after the five minutes that EC57 gives detectors to learn, in long recordings."""
    return LEARNING_S if duration_s > 2 * LEARNING_S else 0.0


def detect_beats(recording: Recording, index: int, *, detector: str) -> NDArray[np.int64]:
    """QRS complexes that wfdb's detector finds in a channel; int64 ``(beat,)``, increasing.

    Raises
    ------
    InvalidSignalError
        When the sampling rate or the length is none for a detector.
    MissingDependencyError
        When wfdb is missing.
    """
    processing = import_wfdb().processing
    channel, samples = recording.channels[index], recording.samples[index]
    rate_hz = float(recording.sampling_rate_hz(index))
    if not MIN_DETECTION_RATE_HZ <= rate_hz <= MAX_DETECTION_RATE_HZ or len(samples) < 2 * rate_hz:
        raise InvalidSignalError(
            f"channel {channel.name!r} has {len(samples)} samples at {rate_hz:g} Hz; QRS detection needs 2 s at "
            f"{MIN_DETECTION_RATE_HZ:g} to {MAX_DETECTION_RATE_HZ:g} Hz. Choose another channel with --channel"
        )
    signal = filled(samples, missing_runs(samples, channel.invalid)).astype(np.float64)
    physical = (signal - channel.baseline) / channel.gain
    if not np.ptp(physical):
        return np.zeros(0, np.int64)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # it divides by what may be 0, and prints
        if detector == "gqrs":
            found = processing.gqrs_detect(sig=physical, fs=rate_hz)
        else:
            found = processing.xqrs_detect(sig=physical, fs=rate_hz, verbose=False)
    return np.unique(np.asarray(found, np.int64))


def score_content(score: BeatScore) -> dict[str, Any]:
    """A score as a JSON object."""
    return {
        "matched": score.n_matched,
        "missed": score.n_missed,
        "extra": score.n_extra,
        "sensitivity": score.sensitivity,
        "ppv": score.positive_predictivity,
        "rr_error_ms": score.rr_error_ms,
        "sdnn_ms": score.sdnn_ms,
        "sdnn_error_ms": score.sdnn_error_ms,
    }


def beats_text(content: dict[str, Any]) -> str:
    """What was compared, as a table."""
    beats = content["beats"]
    since = f", from {clock(beats['first_s'])} on" if beats["first_s"] else ""
    rows = [
        [
            f"{channel['name']}, {printable(content[of])}",
            f"{channel[of]['matched']}/{channel[of]['matched'] + channel[of]['missed']}",
            *(_figure(channel[of][name], 2) for name in ("sensitivity", "ppv")),
            *(_figure(channel[of][name], 1) for name in ("rr_error_ms", "sdnn_ms", "sdnn_error_ms")),
        ]
        for channel in beats["channels"]
        for of in ("original", "file")
    ]
    headings = ["channel", "beats found", "sensitivity %", "PPV %", "RR error ms", "SDNN ms", "SDNN error ms"]
    return f"  beats by wfdb's {beats['detector']} against {printable(beats['reference'])}{since}\n" + table(
        headings, rows
    )


def _figure(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _default(recording: Recording) -> int:
    channels = recording.channels
    leads = [index for index, each in enumerate(channels) if is_ecg_lead(each, n_channels=len(channels))]
    return leads[0] if leads else 0
