"""``sancodec compare``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from sancodec.cli import images, options
from sancodec.cli.files import SAN_SUFFIX, open_container
from sancodec.cli.inputs import read_recording
from sancodec.cli.terminal import printable, quality_cells, quantity, table, write_json
from sancodec.errors import InvalidSignalError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sancodec.codec.recording import Recording

_BANDS_HZ = ((0.05, 0.5), (0.5, 5.0), (5.0, 15.0), (15.0, 40.0), (40.0, 150.0))


@click.command("compare")
@click.argument("original")
@click.argument("file")
@click.option(
    "--rate", "rate_hz", type=click.FloatRange(min=0, min_open=True), metavar="HZ", help="Sampling rate of .npy files."
)
@click.option("--beats", "with_beats", is_flag=True, help="Run a QRS detector on both (needs the beats extra).")
@click.option("--reference", metavar="ANN", help="Reference beats for --beats; the record's .atr by default.")
@click.option(
    "--detector",
    type=click.Choice(["xqrs", "gqrs"]),
    default="xqrs",
    show_default=True,
    help="Which of wfdb's detectors --beats runs.",
)
@click.option(
    "--channel",
    "channels",
    multiple=True,
    metavar="NAME|N",
    help="Channel for --beats; the first ECG lead by default. May be repeated.",
)
@options.model
@options.engine
@options.common
def command(
    original: str,
    file: str,
    rate_hz: float | None,
    with_beats: bool,
    reference: str | None,
    detector: str,
    channels: tuple[str, ...],
    model_names: tuple[str, ...],
    transform: options.Transform,
    quiet: bool,
    as_json: bool,
) -> None:
    """Tell what was lost between ORIGINAL and FILE, a .san file or a restored record.

    PRDN, PRD, RMSE, largest error and SNR of each channel; the SNR in frequency bands; and how many of the waves
    found in the original are found in FILE within 150 ms. Of images PSNR and largest error.

    --beats runs a QRS detector on both and scores it by the reference beats of an annotation file, as ANSI/AAMI EC57
    does, from the sixth minute on where the recording is longer than ten minutes; without reference beats, by those
    detected in the original.

    \b
    sancodec compare 100.hea 100.san
    sancodec compare --beats 100.hea 100.san --reference 100.atr
    """
    if not with_beats and (reference is not None or channels):
        raise click.UsageError("--reference and --channel are for --beats")
    if with_beats:
        from sancodec.datasets.wfdb_annotation import import_wfdb

        import_wfdb()  # before anything is decoded
    if images.is_image_input(original, has_rate=rate_hz is not None):
        images.compare_images(original, file, quiet=quiet, as_json=as_json)
        return
    before = read_recording(original, sampling_rate_hz=rate_hz)
    if file.endswith(SAN_SUFFIX):
        from sancodec.codec.decoder import RecordingReader

        with open_container(file) as container:
            reader = RecordingReader(
                container, engine=transform.engine(quiet=quiet), models=options.models_of(model_names)
            )
            after = reader.read()
    else:
        after = read_recording(file, sampling_rate_hz=rate_hz)
    content = {"original": original, "file": file, **compare(before, after)}
    if with_beats:
        from sancodec.cli.compare_beats import compare_beats

        content["beats"] = compare_beats(
            before, after, detector=detector, names=channels, record=original, reference=reference
        )
    if as_json:
        write_json(content)
    elif not quiet:
        click.echo(_text(content))


def compare(before: Recording, after: Recording) -> dict[str, Any]:
    """What ``compare`` tells, as one JSON object.

    Raises
    ------
    InvalidSignalError
        When the recordings have different shapes.
    """
    import numpy as np

    from sancodec.codec.quality import measure

    shapes = [tuple(len(samples) for samples in recording.samples) for recording in (before, after)]
    if shapes[0] != shapes[1]:
        raise InvalidSignalError(
            f"the recordings have {shapes[0]} and {shapes[1]} samples per channel; they must be the same"
        )
    channels = []
    for index, (channel, x, y) in enumerate(zip(before.channels, before.samples, after.samples, strict=True)):
        # What was lost as a whole is counted, not measured.
        lost = np.zeros(len(x), bool) if channel.invalid is None else (y == channel.invalid) & (x != channel.invalid)
        if channel.invalid is not None:
            x = np.where(lost, np.int32(channel.invalid), x)
        quality = measure(x, y, gain=channel.gain, baseline=channel.baseline, invalid=channel.invalid)
        rate_hz = float(before.sampling_rate_hz(index))
        channels.append(
            {
                "name": channel.name,
                "unit": channel.unit,
                **asdict(quality),
                "band_snr_db": _band_snr(x, y, rate_hz, channel.invalid),
                "beats": _beats(x, y, rate_hz, channel.invalid),
                "missing": int(lost.sum()),
            }
        )
    return {"channels": channels}


def _band_snr(x: NDArray[np.int32], y: NDArray[np.int32], rate_hz: float, invalid: int | None) -> dict[str, float]:
    """SNR in dB per frequency band, of averaged periodograms of up to 8 s."""
    import numpy as np

    size = min(len(x), max(16, round(8 * rate_hz)))
    n_windows = len(x) // size
    signal = np.where(x == invalid, 0, x)[: n_windows * size].astype(np.float64).reshape(n_windows, size)
    error = (
        np.where(x == invalid, 0, y.astype(np.int64) - x)[: n_windows * size]
        .astype(np.float64)
        .reshape(n_windows, size)
    )
    window = np.hanning(size + 2)[1:-1]
    centred = signal - signal.mean(axis=1, keepdims=True)
    power = [(np.abs(np.fft.rfft(part * window, axis=1)) ** 2).mean(axis=0) for part in (centred, error)]
    frequency = np.fft.rfftfreq(size, 1 / rate_hz)
    result = {}
    for low, high in _BANDS_HZ:
        inside = (frequency >= low) & (frequency < high)
        if inside.any() and low < rate_hz / 2:
            of_signal, of_error = power[0][inside].sum(), power[1][inside].sum()
            ratio = 10 * float(np.log10(of_signal / of_error)) if of_error > 0 and of_signal > 0 else float("inf")
            result[f"{low:g}-{high:g} Hz"] = ratio
    return result


def _beats(x: NDArray[np.int32], y: NDArray[np.int32], rate_hz: float, invalid: int | None) -> dict[str, int]:
    """Waves that the encoder's detector finds in both signals."""
    from sancodec.codec.beat_matching import match_beats
    from sancodec.codec.detection import MAX_DETECTION_RATE_HZ, MIN_DETECTION_RATE_HZ, detect_events
    from sancodec.codec.missing import filled, missing_runs

    if not MIN_DETECTION_RATE_HZ <= rate_hz <= MAX_DETECTION_RATE_HZ or len(x) < 2 * rate_hz:
        return {"original": 0, "file": 0, "matched": 0}
    found = []
    for samples in (x, y):
        signal = filled(samples, missing_runs(samples, invalid))
        found.append(detect_events((signal - signal.mean())[None], sampling_rate_hz=rate_hz)[0])
    matched = len(match_beats(found[0], found[1], sampling_rate_hz=rate_hz))
    return {"original": len(found[0]), "file": len(found[1]), "matched": matched}


def _text(content: dict[str, Any]) -> str:
    rows = [
        [
            *quality_cells(channel),
            f"{channel['beats']['matched']}/{channel['beats']['original']}",
        ]
        for channel in content["channels"]
    ]
    headings = ["channel", "PRDN %", "PRD %", "RMSE", "max error", "adu", "SNR dB", "waves found"]
    text = f"{content['original']} and {content['file']}\n" + table(headings, rows)
    bands = list(content["channels"][0]["band_snr_db"])
    if bands:
        snr_rows = [
            [channel["name"], *(quantity(channel["band_snr_db"].get(band, float("inf"))) for band in bands)]
            for channel in content["channels"]
        ]
        text += "\n" + table(["SNR in dB", *bands], snr_rows)
    for channel in content["channels"]:
        if channel["missing"]:
            text += (
                f"\n  {printable(channel['name'])}: {channel['missing']:,} samples are missing in {content['file']}; "
                "they count nowhere above"
            )
    if "beats" in content:
        from sancodec.cli.compare_beats import beats_text

        text += "\n" + beats_text(content)
    return text
