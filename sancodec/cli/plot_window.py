"""The window of a signal that a network is drawn at work on."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sancodec.cli.excerpt import channel_indices
from sancodec.cli.inputs import open_input
from sancodec.cli.times import clock
from sancodec.errors import InvalidSignalError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sancodec.san.model_file import SanModel

_ARRAY_SUFFIX = ".npy"


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Samples as they are stored, of the shape of a network's windows.

    Parameters
    ----------
    name
        Of the signal and its channel or image.
    first_sample
        In the channel.
    sampling_rate_hz
        None where it is not known.
    """

    samples: NDArray[Any]
    name: str
    first_sample: int
    sampling_rate_hz: float | None


def read_window(name: str, model: SanModel, *, channel: str | None, start_s: Fraction | None) -> Window:
    """Read the window from ``start_s`` on, of the channel named or else the first.

    Raises
    ------
    InvalidSignalError
        When there is no such signal, channel or time, the signal ends within the window, or it has missing samples.
    """
    if model.network.n_dims == 2:
        if start_s is not None:
            raise click.UsageError("--start means nothing for images; --channel NUMBER chooses one of several")
        return _image(name, model, channel)
    if Path(name).suffix == _ARRAY_SUFFIX:
        return _of_array(name, model, channel, start_s)
    return _of_record(name, model, channel, start_s)


def _of_record(name: str, model: SanModel, channel: str | None, start_s: Fraction | None) -> Window:
    with open_input(name, sampling_rate_hz=None, header=None, exact=False) as opened:
        source = opened.source
        channels = source.channels
        index = channel_indices([each.name for each in channels], [] if channel is None else [channel])[0]
        width = channels[index].samples_per_frame
        rate_hz = source.frame_rate_hz * width
        if model.sampling_rate_hz is not None and float(rate_hz) != model.sampling_rate_hz:
            click.echo(
                f"sancodec: note: {name} has {float(rate_hz):g} Hz; the network was trained at "
                f"{model.sampling_rate_hz:g} Hz",
                err=True,
            )
        first = _first_sample(name, model, start_s, rate_hz, source.n_frames * width)
        first_frame, last_frame = first // width, -(-(first + model.window[0]) // width)
        skipped = first - first_frame * width
        samples = source.frames(first_frame, last_frame)[index][skipped : skipped + model.window[0]]
    if channels[index].invalid is not None and (samples == channels[index].invalid).any():
        raise InvalidSignalError(f"{name}: samples are missing in that window; choose another with --start")
    return Window(samples, f"{Path(name).name}, channel {channels[index].name or index}", first, float(rate_hz))


def _of_array(name: str, model: SanModel, channel: str | None, start_s: Fraction | None) -> Window:
    array = _load(name)
    if array.ndim not in (1, 2):
        raise InvalidSignalError(f"{name}: has shape {array.shape}; (channel, sample) or (sample,) is needed")
    rows = array.reshape(-1, array.shape[-1])
    index = _number(name, channel, len(rows), "channels")
    rate_hz = None if model.sampling_rate_hz is None else Fraction(str(model.sampling_rate_hz))
    if rate_hz is None and start_s is not None:
        raise InvalidSignalError(f"{name}: --start needs a sampling rate, and the network states none")
    first = _first_sample(name, model, start_s, rate_hz or Fraction(1), rows.shape[1])
    samples = _finite(name, rows[index, first : first + model.window[0]])
    return Window(samples, f"{Path(name).name}, channel {index}", first, model.sampling_rate_hz)


def _image(name: str, model: SanModel, channel: str | None) -> Window:
    if Path(name).suffix != _ARRAY_SUFFIX:
        raise InvalidSignalError(f"{name}: images are read from .npy arrays, (row, column) or (image, row, column)")
    array = _load(name)
    if array.ndim not in (2, 3) or array.shape[-2:] != model.window:
        rows, columns = model.window
        raise InvalidSignalError(f"{name}: has shape {array.shape}; images of {rows} × {columns} are needed")
    images = array.reshape(-1, *model.window)
    index = _number(name, channel, len(images), "images")
    return Window(_finite(name, images[index]), f"{Path(name).name}, image {index}", 0, None)


def _load(name: str) -> NDArray[Any]:
    import numpy as np

    try:
        array = np.load(name, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InvalidSignalError(f"{name}: there is no such file") from None
    except (OSError, ValueError, EOFError) as error:
        raise InvalidSignalError(f"{name}: is no .npy array: {error}") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iuf" or not array.size:
        raise InvalidSignalError(f"{name}: is no .npy array of numbers")
    return array


def _finite(name: str, samples: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    if not np.isfinite(samples).all():
        raise InvalidSignalError(f"{name}: samples are NaN or infinite in that window; choose another")
    return samples


def _number(name: str, channel: str | None, count: int, noun: str) -> int:
    if channel is None:
        return 0
    if not channel.isdecimal() or int(channel) >= count:
        raise InvalidSignalError(f"{name}: --channel {channel!r} is not there; {noun} are numbered 0 to {count - 1}")
    return int(channel)


def _first_sample(name: str, model: SanModel, start_s: Fraction | None, rate_hz: Fraction, n_samples: int) -> int:
    first, length = -(-(start_s or 0) * rate_hz // 1), model.window[0]
    if first + length > n_samples:
        begin = f" from {clock(start_s)} on" if start_s else ""
        raise InvalidSignalError(
            f"{name}: a window of {length} samples{begin} reaches beyond the end at sample {n_samples}"
        )
    return int(first)
