"""How a channel is cut into chunks, and what a chunk needs to be coded on its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sancodec.codec import contexts
from sancodec.codec.kernels import Model

BRIDGE = 64


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive chunks of one length: all but the last chunk of a file, or the last."""

    first_chunk: int
    n_chunks: int
    length: int
    first_sample: int


def parts_of(n_samples: int, chunk_length: int) -> list[Part]:
    """Full chunks, then the shorter last one if there is a rest."""
    n_full, rest = divmod(n_samples, chunk_length)
    parts = [Part(0, n_full, chunk_length, 0)] if n_full else []
    if rest:
        parts.append(Part(n_full, 1, rest, n_full * chunk_length))
    return parts


def padded_length(model: Model, length: int) -> int:
    """Length of the circle on which a chunk is coded: room for a bridge, a multiple of the model's period."""
    return -(-(length + BRIDGE) // model.period) * model.period


def bridged(signal: NDArray[np.float32], part: Part, model: Model) -> NDArray[np.float32]:
    """Chunks of a part closed to circles by a smooth bridge from end to start; float32 ``(chunk, padded sample)``."""
    span = signal[part.first_sample : part.first_sample + part.n_chunks * part.length]
    circle = np.empty((part.n_chunks, padded_length(model, part.length)), np.float32)
    circle[:, : part.length] = span.reshape(part.n_chunks, part.length)
    start, end = circle[:, :1].copy(), circle[:, part.length - 1 : part.length].copy()
    n_bridge = circle.shape[1] - part.length
    rise = (1 - np.cos(np.pi * (np.arange(n_bridge, dtype=np.float32) + 1) / (n_bridge + 1))) / 2
    circle[:, part.length :] = end + (start - end) * rise.astype(np.float32)
    return circle


def bands_of(groups: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Split ``(chunk, window, kernel)`` per group into contiguous ``(chunk, window)`` per band."""
    return [band for group in groups for band in np.ascontiguousarray(group.transpose(2, 0, 1))]


def events_by_chunk(
    starts: NDArray[np.int64], *, kernel_length: int, n_samples: int, chunk_length: int
) -> Iterator[NDArray[np.int64]]:
    """Indices of the events whose windows reach into each chunk."""
    for first in range(0, n_samples, chunk_length):
        last = min(first + chunk_length, n_samples)
        low = int(np.searchsorted(starts, first - kernel_length, side="right"))
        high = int(np.searchsorted(starts, last, side="left"))
        yield np.arange(low, high)


def base_windows(model: Model, profile: contexts.Profile, phases: list[NDArray[np.int64]]) -> list[NDArray[np.int32]]:
    """The profile's share of the expected magnitude at every window, int32 ``(chunk, window)`` per band."""
    return [row[phase] for row, phase in zip(profile.base(model.contexts), phases, strict=True)]


def events_of_part(part: Part, starts: NDArray[np.int64], *, kernel_length: int) -> Iterator[NDArray[np.int64]]:
    """First samples of the windows that reach into each chunk of a part, relative to the chunk."""
    for first in range(part.first_sample, part.first_sample + part.n_chunks * part.length, part.length):
        low = int(np.searchsorted(starts, first - kernel_length, side="right"))
        high = int(np.searchsorted(starts, first + part.length, side="left"))
        yield starts[low:high] - first


def phases_of_part(
    model: Model, part: Part, starts: NDArray[np.int64], *, kernel_length: int
) -> list[NDArray[np.int64]]:
    """Beat phases at every window, int64 ``(chunk, window)`` per band; bands of one group share an array."""
    circle = padded_length(model, part.length)
    events = list(events_of_part(part, starts, kernel_length=kernel_length))
    return band_phases(model, events, circle, kernel_length=kernel_length)


def band_phases(
    model: Model, event_starts: list[NDArray[np.int64]], circle: int, *, kernel_length: int
) -> list[NDArray[np.int64]]:
    """Beat phases per band, ``(chunk, window)``, for chunks of padded length ``circle``."""
    phases: list[NDArray[np.int64]] = []
    for group in model.groups:
        at_group = contexts.phases_of_windows(
            event_starts, n_windows=circle // group.stride, stride=group.stride, kernel_length=kernel_length
        )
        phases += [at_group] * group.n_kernels
    return phases
