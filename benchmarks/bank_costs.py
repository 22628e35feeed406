"""What every shipped bank costs in each piece of a channel, behind the codec's own beat layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import records
import sancodec_adapter
from numpy.typing import NDArray

import sancodec
from sancodec.api import shipped_models
from sancodec.codec import coding_section, group_encoder, quantiser
from sancodec.codec.band_rounding import N_EXACT
from sancodec.codec.bits import BitWriter
from sancodec.codec.cascade_encoder import CascadeEncoder
from sancodec.codec.channel import ChannelJob, Choice, EncodedChannel
from sancodec.codec.kernels import Model
from sancodec.codec.quantiser import Step
from sancodec.codec.step_search import search_in_sample

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
BANKS = shipped_models()
PIECE = 2048
STEP_FACTORS = (0.8, 1.0, 1.25)
MAX_DURATION_S = 600
N_POWERS = 12


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A channel at one PRDN.

    Parameters
    ----------
    bits, errors
        Float64 ``(bank, step, piece)``; squared errors in squared steps of the codec's choice.
    profile_bits
        Of each bank.
    power
        Float64 ``(piece, band)``: of the residual behind the beat layer, in squared steps a sample.
    starts
        First sample of each piece in its chunk; int64 ``(piece,)``.
    chosen
        Number of the bank that the codec took.
    cut_bits
        What a cut within a chunk costs.
    """

    set_name: str
    record: str
    prdn: float
    bits: Floats
    errors: Floats
    profile_bits: Floats
    power: Floats
    starts: Integers
    side_bits: float
    chosen: int
    cut_bits: float
    bytes_in_file: int

    def units(self, length: int) -> Integers:
        """First pieces of the units of a length."""
        return np.flatnonzero(self.starts % length == 0)

    def costs(self, length: int, *, price: float = 1.0) -> Floats:
        """Bits of each unit under each bank, ``(bank, unit)``, errors counted as bits along the chosen bank's curve.

        Parameters
        ----------
        price
            Factor on what an error counts.
        """
        bits, errors = self.bits[self.chosen].sum(axis=1), self.errors[self.chosen].sum(axis=1)
        slope = np.polyfit(np.log(errors), np.log(bits), 1)[0]
        cost = self.bits[:, 1] - price * slope * bits[1] / errors[1] * self.errors[:, 1]
        return np.add.reduceat(cost, self.units(length), axis=1)

    def size(self, banks: NDArray[np.integer], length: int, *, is_charged: bool = True) -> float:
        """Bits at the error of the codec's choice, of a bank for each unit; of one bank for all, choices are free."""
        first = self.units(length)
        of_piece = np.repeat(banks, np.diff(np.append(first, len(self.starts))))
        at = np.arange(len(self.starts))
        used = np.unique(banks)
        bits = self.bits[of_piece, :, at].sum(axis=0) + self.side_bits
        if is_charged:
            n_cuts = np.count_nonzero((np.diff(banks) != 0) & (self.starts[first[1:]] > 0))
            bits += n_cuts * self.cut_bits + len(banks) * np.log2(len(used)) + self.profile_bits[used].sum()
        else:
            bits += self.profile_bits[used].min()
        return at_error(bits, self.errors[of_piece, :, at].sum(axis=0), self.errors[self.chosen, 1].sum())


def at_error(bits: Floats, errors: Floats, target: float) -> float:
    """Bits of a policy at a squared error, by a parabola through the logarithms at all steps."""
    return float(np.exp(np.polyfit(np.log(errors / target), np.log(bits), 2)[-1]))


def captured(recording: Any, prdn: float) -> tuple[ChannelJob, Choice, EncodedChannel, int] | None:
    """What the codec decided for a recording of one channel, and the bytes of the file; None if it is constant."""
    found: list[tuple[ChannelJob, Choice, EncodedChannel]] = []
    inner: Callable[..., EncodedChannel] = group_encoder.search

    def watched(job: ChannelJob, choice: Choice, *, prdn: float) -> EncodedChannel:
        encoded = inner(job, choice, prdn=prdn)
        found.append((job, choice, encoded))
        return encoded

    group_encoder.search = watched
    try:
        n_bytes = len(sancodec.compress(recording, prdn=prdn, level=5, threads=1))
    finally:
        group_encoder.search = inner
    return (*found[0], n_bytes) if found else None


def cost_of_pieces(job: ChannelJob, choice: Choice, model: Model, step: float) -> tuple[Floats, Floats, int]:
    """Bits and squared errors of each piece, in stored units, and bits of the profile, under one bank at one step."""
    choice = replace(choice, model=model, step=step)
    encoder = CascadeEncoder(job, choice)
    _, profile, offsets = search_in_sample(job, choice, None)
    quantised, sums = encoder.quantise(step, profile, offsets)
    encoded = encoder.encoded(Step.nearest(step), quantised, sums.offsets())
    encoded = encoder.with_profile(encoded, weight_set=profile.weight_set)
    stored = encoded.coding.profile
    writer = BitWriter()
    coding_section.write_profile(writer, stored)
    table = quantiser.magnitude_bits(model.contexts, stored.weight_set)
    squares = (encoded.decoded - job.channel.samples.astype(np.float64)) ** 2
    bits, errors = [], []
    for part, each in zip(job.parts, encoded.quantised, strict=True):
        n_pieces = -(-part.length // PIECE)
        chunks = np.arange(part.n_chunks)[:, None] * n_pieces
        part_bits = np.zeros(part.n_chunks * n_pieces)
        for band in np.flatnonzero(stored.scale_codes).tolist():
            magnitude = each.magnitudes[band]
            windows = np.minimum(np.arange(magnitude.shape[1]) * model.band_strides[band] // PIECE, n_pieces - 1)
            cost = table[each.classes[band], np.minimum(magnitude, N_EXACT - 1)]
            cost = cost + 2 * np.log2(np.maximum(magnitude / (N_EXACT - 1), 1))
            part_bits += np.bincount((chunks + windows).ravel(), cost.ravel(), len(part_bits))
        bits.append(part_bits)
        span = squares[part.first_sample : part.first_sample + part.n_chunks * part.length]
        starts = np.arange(0, part.length, PIECE)
        errors.append(np.add.reduceat(span.reshape(-1, part.length), starts, axis=1).ravel())
    return np.concatenate(bits), np.concatenate(errors), len(writer)


def band_powers(job: ChannelJob, residual: NDArray[np.float32]) -> tuple[Floats, Integers]:
    """Power of each piece in bands of equal width in log frequency, and where in its chunk a piece starts."""
    edges = np.unique(np.geomspace(1, PIECE // 2 + 1, N_POWERS + 1).astype(int))
    rows, starts = [], []
    for part in job.parts:
        for chunk in range(part.n_chunks):
            first = part.first_sample + chunk * part.length
            for start in range(0, part.length, PIECE):
                piece = residual[first + start : first + min(start + PIECE, part.length)]
                spectrum = np.abs(np.fft.rfft(piece * np.hanning(len(piece)), PIECE)) ** 2
                rows.append(np.add.reduceat(spectrum, edges[:-1]) / len(piece) ** 2)
                starts.append(start)
    return np.array(rows), np.array(starts)


def measure(set_name: str, path: Path, n_channels: int, prdn: float) -> list[Measured]:
    """Channels of a record; those so small that their error does not rise with the step are left out."""
    record = records.read_record(path)
    # Half an hour of a cardiotocogram is one chunk: they are taken whole.
    n_samples = int(MAX_DURATION_S * record.frame_rate_hz) if record.frame_rate_hz > 10 else None
    results = []
    for index in np.linspace(0, len(record.leads) - 1, n_channels).astype(int).tolist():
        lead = replace(record.leads[index], samples=record.leads[index].samples[:n_samples])
        found = captured(sancodec_adapter.recording_of(record, [lead]), prdn)
        if found is None:
            continue
        job, choice, encoded, n_bytes = found
        step = encoded.coding.step.value * 2.0**-job.channel.exponent
        steps = [factor * step for factor in STEP_FACTORS]
        coded = [[cost_of_pieces(job, choice, bank, each) for each in steps] for bank in BANKS]
        bits = np.array([[at_step[0] for at_step in of_bank] for of_bank in coded])  # (bank, step, piece)
        errors = np.array([[at_step[1] for at_step in of_bank] for of_bank in coded]) / step**2
        chosen = BANKS.index(choice.model)
        if not (np.diff(errors.sum(axis=2)) > 0).all():
            continue
        cut_job = replace(job, chunk_length=PIECE)
        cut = [cost_of_pieces(cut_job, choice, choice.model, each) for each in steps]
        of_cut = np.array([[each[0].sum(), each[1].sum() / step**2] for each in cut])
        power, starts = band_powers(job, choice.cascade.residual)
        n_cuts = max(np.count_nonzero(starts), 1)
        extra = at_error(of_cut[:, 0], of_cut[:, 1], errors[chosen, 1].sum()) - bits[chosen, 1].sum()
        profile_bits = np.array([float(of_bank[1][2]) for of_bank in coded])
        results.append(
            Measured(
                set_name, path.stem, prdn, bits, errors, profile_bits, power / step**2, starts,
                choice.cascade.side_bits, chosen, max(extra / n_cuts, 0.0), n_bytes,
            )
        )  # fmt: skip
    return results
