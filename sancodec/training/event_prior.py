"""Fit what the coder of events begins with to files of levels 7 to 9: ``python -m sancodec.training.event_prior``.

The prior is part of the format (docs/format.md, "Events of coder 2"): files of another prior are not readable.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.decoder import RecordingReader
from sancodec.codec.event_mixing import (
    N_CHOICE_NODES,
    N_CHOICE_SLOTS,
    N_GAIN_SLOTS,
    N_GAP_SLOTS,
    N_NUMBER_NODES,
    EventCoder,
    Kind,
    MixedEvents,
    run_oracle,
)
from sancodec.codec.payload import mixed_events
from sancodec.codec.synthesis import NumpyEngine

_HALF_A_BIT = 0.4
_MOST_CONFIDENT = 2  # in steps of four bits met


def fit_event_prior(chunks: Iterable[MixedEvents]) -> NDArray[np.uint16]:
    """Chances and how sure they are, from how often each decision was taken in each context."""
    counts = {
        name: np.zeros((n_nodes * n_slots, 2), np.int64)
        for name, n_nodes, n_slots in (
            ("gap", N_NUMBER_NODES, N_GAP_SLOTS),
            ("gain", N_NUMBER_NODES, N_GAIN_SLOTS),
            ("choice", N_CHOICE_NODES, N_CHOICE_SLOTS),
        )
    }

    class Counting(EventCoder):
        def node(self, kind: Kind, node: int, contexts: Sequence[int], bit: bool | int) -> int:
            name = next(name for name in counts if getattr(self, name) is kind)
            for context in contexts:
                counts[name][node * kind.n_slots + context, int(bit)] += 1
            return super().node(kind, node, contexts, bit)

    for chunk in chunks:
        run_oracle(chunk, None, Counting)
    met = np.concatenate(list(counts.values()))
    total = met.sum(axis=1)
    chance = np.rint(4096 * (met[:, 1] + _HALF_A_BIT) / (total + 2 * _HALF_A_BIT)).astype(int)
    prior: NDArray[np.uint16] = (np.clip(chance, 1, 4095) << 4 | np.minimum(total // 4, _MOST_CONFIDENT)).astype("u2")
    return prior


def chunks_of(path: Path) -> Iterable[MixedEvents]:
    """Events of every chunk of a file."""
    with path.open("rb") as file:
        reader = RecordingReader(file, engine=NumpyEngine())
        for index in range(reader.header.n_chunks):
            segment, streams = reader.parse(index)
            codings = reader.decoder(segment).codings
            lengths = [0] * len(streams.events.starts)
            for coding, channel in zip(codings, reader.header.channels, strict=True):
                lengths[coding.lead_group] = streams.n_frames * channel.samples_per_frame
            yield mixed_events(streams.events, codings, lengths)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("-o", "--output", required=True, type=Path)
    arguments = parser.parse_args()
    prior = fit_event_prior(chunk for path in arguments.files for chunk in chunks_of(path))
    arguments.output.write_bytes(prior.astype("<u2").tobytes())


if __name__ == "__main__":
    main()
