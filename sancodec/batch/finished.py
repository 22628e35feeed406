"""What is known of a file that is done: the lines of a batch's state."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

COMPRESS, COPY, RESTORE, VERIFY = "compress", "copy", "restore", "verify"


@dataclass(frozen=True, slots=True)
class Stamp:
    """A file as a folder lists it.

    Parameters
    ----------
    path
        Relative to the tree, with ``/``.
    modified
        Nanoseconds since 1970, or what a store gives for it; compared, never read.
    """

    path: str
    n_bytes: int
    modified: str


@dataclass(frozen=True, slots=True)
class ChannelResult:
    """One channel of a compressed recording; qualities as in `sancodec.codec.quality.ChannelQuality`."""

    name: str
    unit: str
    sampling_rate_hz: float
    promise: str
    prdn: float
    max_error: float
    max_error_adu: int
    worst_frame: int


@dataclass(frozen=True, slots=True)
class RecordResult:
    """What was measured of a compressed recording.

    Parameters
    ----------
    kind
        Name of its `InputKind`.
    stored_bits
        Bits that its samples have at the resolution of their channels.
    beats
        Events stored.
    """

    kind: str
    duration_s: float
    stored_bits: int
    beats: int
    channels: tuple[ChannelResult, ...]

    @property
    def worst(self) -> int:
        """Index of the channel with the largest PRDN."""
        return max(range(len(self.channels)), key=lambda index: self.channels[index].prdn)


@dataclass(frozen=True, slots=True)
class Finished:
    """A file that is done.

    Parameters
    ----------
    source, target
        Where it came from and what it became, relative to the trees.
    action
        ``"compress"`` or ``"copy"``.
    options
        `Settings.digest` of the settings; empty for a copy that they do not concern.
    inputs, digests
        The files read, and the SHA-256 of each.
    n_bytes, sha256
        Of the target.
    record
        Only for a recording.
    """

    source: str
    action: str
    target: str
    options: str
    inputs: tuple[Stamp, ...]
    digests: tuple[str, ...]
    n_bytes: int
    sha256: str
    seconds: float
    record: RecordResult | None = None

    @property
    def input_bytes(self) -> int:
        return sum(each.n_bytes for each in self.inputs)

    @property
    def stored_ratio(self) -> float:
        """Bits of the samples to those of the container; 0 for a copy."""
        return 0.0 if self.record is None else self.record.stored_bits / (8 * self.n_bytes)

    @property
    def file_ratio(self) -> float:
        """Bytes of the inputs to those of the target."""
        return self.input_bytes / self.n_bytes

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Finished:
        """Undo `to_json`; raises KeyError, TypeError or ValueError where it is none."""
        record = value.pop("record")
        if record is not None:
            channels = tuple(ChannelResult(**each) for each in record.pop("channels"))
            record = RecordResult(**record, channels=channels)
        inputs = tuple(Stamp(**each) for each in value.pop("inputs"))
        digests = tuple(value.pop("digests"))
        return cls(**value, inputs=inputs, digests=digests, record=record)
