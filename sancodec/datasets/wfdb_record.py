"""Reading and writing WFDB records without losing a byte.

A record is a header file and one or more signal files.  What the samples do not tell is kept in side files of the
recording, so that ``write_wfdb`` can restore every file:

================ =======================================================================================================
name             content
================ =======================================================================================================
``x.hea``        the header file, byte for byte
``x.hea#fields`` only if header fields contradict the samples: one ASCII line ``SIGNAL INITIAL_VALUE CHECKSUM`` for each
                 such signal: its index, and the true values for the samples as they were read
``y#prologue``   the bytes of signal file ``y`` before its byte offset
``y#trailer``    what follows the last frame in ``y``: bytes; for FLAC interleaved samples as little-endian int32
``y#bits``       only if bits of ``y`` that its format leaves unused are set: zlib stream of the packed samples of
                 ``y`` with all other bits 0
================ =======================================================================================================

``#`` sets these names apart from file names: a side file without it is restored as a file, as it is.  FLAC files are
restored sample for sample, not byte for byte: another encoder wrote them.
"""

from __future__ import annotations

import re
import secrets
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sancodec.codec.recording import Channel, Recording, SideFile
from sancodec.datasets import wfdb_formats
from sancodec.datasets.wfdb_header import (
    DEFAULT_FRAME_RATE_HZ,
    DEFAULT_GAIN,
    DEFAULT_UNIT,
    SignalGroup,
    SignalLine,
    WfdbHeader,
    check_file_name,
    find_header,
    parse_header,
    read_header,
    updated_content,
)
from sancodec.errors import InvalidSignalError, OutputExistsError, SancodecError


def read_wfdb(path: str | Path) -> Recording:
    """Read a single-segment WFDB record.

    Parameters
    ----------
    path
        The header (``x.hea``), a signal file (``x.dat``; its header is ``x.hea``, or else the only header in the same
        folder that names it), or the record name without a suffix (``x``).

    Returns
    -------
    Recording with source ``"wfdb"``: samples in stored units (adu) in the order of the file, a skew not undone; rates
    in Hz exactly as the header writes them; side files as in the description of this module.

    Raises
    ------
    InvalidSignalError
        If a file is missing or unreadable, the header is not one of a single-segment WFDB record, or a signal file is
        shorter than the header says.
    MissingDependencyError
        If the record has FLAC signal files and ``soundfile`` cannot be loaded.
    """
    try:
        header_path = find_header(Path(path))
        header = read_header(header_path)
    except OSError as error:
        raise InvalidSignalError(f"{path}: cannot be read: {error.strerror}") from error
    stored = [_load(header_path, group) for group in header.groups]
    n_frames = _n_frames(header, stored)
    samples: list[NDArray[np.int32]] = []
    side_files = [SideFile(header_path.name, header.content)]
    for signal_file in stored:
        group_samples, group_side_files = _split(header, signal_file, n_frames)
        samples += group_samples
        side_files += group_side_files
    contradictions = _contradictions(header, samples)
    if contradictions:
        side_files.append(SideFile(f"{header_path.name}#fields", contradictions))
    return Recording(
        channels=tuple(_channel(index, signal) for index, signal in enumerate(header.signals)),
        samples=tuple(samples),
        frame_rate_hz=header.record.frame_rate_hz or DEFAULT_FRAME_RATE_HZ,
        source="wfdb",
        side_files=tuple(side_files),
    )


def write_wfdb(
    recording: Recording, directory: str | Path, *, name: str | None = None, force: bool = False
) -> list[Path]:
    """Write a recording as a WFDB record.

    A recording that was read from WFDB gets its files back in their formats and under their names.  The header keeps
    every byte except initial values and checksums that no longer fit the samples.  Any other recording gets
    ``NAME.dat`` in format 16, 24 or 32 (the first that holds its samples) and ``NAME.hea``.

    Parameters
    ----------
    recording
        What to write.
    directory
        An existing folder.
    name
        Record name; needed for, and only for, a recording that does not come from WFDB.
    force
        Overwrite existing files.

    Returns
    -------
    The paths of the files written, the header last.

    Raises
    ------
    InvalidSignalError
        If the samples do not fit the formats or the side files, the side files are damaged, or the name is missing or
        not a record name.
    OutputExistsError
        If a file exists and ``force`` is false.  Nothing is written then, nor after any other error.
    SancodecError
        If the folder is missing or cannot be written to.
    """
    if recording.source == "wfdb":
        if name is not None:
            raise InvalidSignalError(f"name is {name!r}; a recording that came from WFDB keeps the names in its header")
        files = _restored_files(recording)
    else:
        files = _new_files(recording, name)
    return _publish(files, Path(directory), force=force)


@dataclass(frozen=True, slots=True)
class _StoredGroup:
    """A signal file as it was read: its bytes, or for FLAC its samples of shape (n_samples, n_channels)."""

    group: SignalGroup
    data: bytes
    decoded: NDArray[np.int32] | None
    n_frames: int


def _load(header_path: Path, group: SignalGroup) -> _StoredGroup:
    path = header_path.parent / group.file_name
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InvalidSignalError(
            f"{path}: no such signal file, but {header_path.name!r} names it; put it beside the header"
        ) from None
    except OSError as error:
        raise InvalidSignalError(f"{path}: cannot be read: {error.strerror}") from error
    if not data:
        raise InvalidSignalError(f"{path}: the signal file is empty; get it again from its source")
    if group.format.is_flac:
        try:
            decoded = wfdb_formats.decode_flac(data, code=group.format.code, n_channels=group.stop - group.start)
        except InvalidSignalError as error:
            raise InvalidSignalError(f"{path}: {error}") from error
        return _StoredGroup(group, b"", decoded, len(decoded) // group.samples_per_frame[0])
    n_samples = wfdb_formats.n_samples_in(group.format.code, max(0, len(data) - group.byte_offset))
    return _StoredGroup(group, data, None, n_samples // sum(group.samples_per_frame))


def _n_frames(header: WfdbHeader, stored: list[_StoredGroup]) -> int:
    shortest = min(stored, key=lambda signal_file: signal_file.n_frames)
    promised = header.record.n_frames
    if promised is not None and shortest.n_frames < promised:
        raise InvalidSignalError(
            f"{shortest.group.file_name}: the header of record {header.record.name!r} promises {promised} frames, but "
            f"the file holds {shortest.n_frames}; get the whole file from its source"
        )
    if shortest.n_frames == 0:
        raise InvalidSignalError(f"{shortest.group.file_name}: the file is too short to hold a frame of samples")
    return shortest.n_frames if promised is None else promised


def _split(header: WfdbHeader, stored: _StoredGroup, n_frames: int) -> tuple[list[NDArray[np.int32]], list[SideFile]]:
    """Split a signal file into the samples of its channels and the side files of what is left."""
    group, data = stored.group, stored.data
    if stored.decoded is not None:
        n_samples = n_frames * group.samples_per_frame[0]
        rest = stored.decoded[n_samples:].astype("<i4").tobytes()
        samples = [np.ascontiguousarray(channel[:n_samples]) for channel in stored.decoded.T]
        return samples, [SideFile(f"{group.file_name}#trailer", rest)] if rest else []
    code = group.format.code
    n_samples = n_frames * sum(group.samples_per_frame)
    start, stop = group.byte_offset, group.byte_offset + wfdb_formats.n_bytes_of(code, n_samples)
    packed = memoryview(data)[start:stop]
    flat = wfdb_formats.unpack_samples(packed, code=code, n_samples=n_samples)
    side_files = [SideFile(f"{group.file_name}#prologue", data[:start])] if start else []
    if wfdb_formats.has_unused_bits(code, n_samples):
        used = np.frombuffer(wfdb_formats.pack_samples(flat, code=code), np.uint8)
        unused = np.frombuffer(packed, np.uint8) ^ used
        if unused.any():
            side_files.append(SideFile(f"{group.file_name}#bits", zlib.compress(unused.tobytes())))
    if stop < len(data):
        side_files.append(SideFile(f"{group.file_name}#trailer", data[stop:]))
    edges = np.cumsum(group.samples_per_frame)[:-1]
    samples = [
        np.ascontiguousarray(channel).reshape(-1) for channel in np.split(flat.reshape(n_frames, -1), edges, axis=1)
    ]
    if code == 8:
        signals = header.signals[group.start : group.stop]
        samples = [
            wfdb_formats.add_up_differences(differences, initial_value=signal.initial_value_or_default)
            for differences, signal in zip(samples, signals, strict=True)
        ]
    return samples, side_files


def _channel(index: int, signal: SignalLine) -> Channel:
    sample_format = signal.format
    resolution_bits = signal.adc_resolution_bits
    return Channel(
        name=signal.description or f"signal {index}",
        unit=signal.unit or DEFAULT_UNIT,
        gain=signal.gain or DEFAULT_GAIN,
        baseline=signal.adc_zero_or_default if signal.baseline is None else signal.baseline,
        resolution_bits=resolution_bits if resolution_bits and resolution_bits > 0 else sample_format.bits,
        minimum=sample_format.minimum,
        maximum=sample_format.maximum,
        invalid=sample_format.invalid,
        samples_per_frame=1 if signal.samples_per_frame is None else signal.samples_per_frame,
        max_difference=127 if sample_format.code == 8 else None,
    )


def _contradictions(header: WfdbHeader, samples: list[NDArray[np.int32]]) -> bytes:
    lines = []
    for index, (signal, values) in enumerate(zip(header.signals, samples, strict=True)):
        initial_value, checksum = _initial_value(signal, values), wfdb_formats.checksum(values)
        wrong_checksum = signal.checksum is not None and (signal.checksum - checksum) % 65536 != 0
        if signal.initial_value not in (None, initial_value) or wrong_checksum:
            lines.append(f"{index} {initial_value} {checksum}\n")
    return "".join(lines).encode()


def _parse_contradictions(content: bytes, header_name: str) -> dict[int, tuple[int, int]]:
    if not re.fullmatch(rb"(\d{1,9} -?\d{1,10} \d{1,5}\n)*", content):
        raise InvalidSignalError(f"side file '{header_name}#fields' is damaged; lines of three numbers are needed")
    rows = [[int(number) for number in line.split()] for line in content.splitlines()]
    return {index: (initial_value, checksum) for index, initial_value, checksum in rows}


def _initial_value(signal: SignalLine, samples: NDArray[np.int32]) -> int:
    """Return the initial value that the header should have: the first sample.

    The differences of format 8 start from the initial value, so there it stays unless the first one would be too large.
    """
    first, start = int(samples[0]), signal.initial_value_or_default
    is_near = -128 <= (first - start + 2**31) % 2**32 - 2**31 <= 127
    return start if signal.format_code == 8 and (is_near or signal.initial_value is None) else first


def _restored_files(recording: Recording) -> dict[str, bytes]:
    side_files = {side_file.name: side_file.content for side_file in recording.side_files}
    header_names = [name for name in side_files if name.endswith(".hea")]
    if len(header_names) != 1 or len(side_files) != len(recording.side_files):
        raise InvalidSignalError(f"side files {list(side_files)}: exactly one header and no name twice are needed")
    header_name = header_names[0]
    check_file_name(header_name, where="side files")
    header = parse_header(side_files.pop(header_name), where=header_name)
    layout = [samples_per_frame for group in header.groups for samples_per_frame in group.samples_per_frame]
    if layout != [channel.samples_per_frame for channel in recording.channels]:
        raise InvalidSignalError(f"{header_name}: its signals and samples per frame are not those of the recording")
    if recording.n_frames == 0 or recording.n_frames != (header.record.n_frames or recording.n_frames):
        raise InvalidSignalError(
            f"{header_name}: {header.record.n_frames} frames are in the header, {recording.n_frames} in the recording"
        )
    originals = _parse_contradictions(side_files.pop(f"{header_name}#fields", b""), header_name)
    fields: dict[int, tuple[int | None, int | None]] = {}
    for index, (signal, values) in enumerate(zip(header.signals, recording.samples, strict=True)):
        new, old = (_initial_value(signal, values), wfdb_formats.checksum(values)), originals.get(index, (None, None))
        # A field that was wrong in the original header stays wrong as long as the samples are the original ones.
        fields[index] = (None if new[0] == old[0] else new[0], None if new[1] == old[1] else new[1])
    files = {group.file_name: _restored_signal_file(header, group, recording, side_files) for group in header.groups}
    for name in [name for name in side_files if "#" not in name]:
        check_file_name(name, where="side files")
        if name in files:
            raise InvalidSignalError(f"side file {name!r} has the name of a signal file")
        files[name] = side_files[name]
    return {**files, header_name: updated_content(header, fields)}


def _restored_signal_file(
    header: WfdbHeader, group: SignalGroup, recording: Recording, side_files: dict[str, bytes]
) -> bytes:
    name, code = group.file_name, group.format.code
    channels = list(recording.samples[group.start : group.stop])
    prologue, bits, trailer = (side_files.get(f"{name}#{part}", b"") for part in ("prologue", "bits", "trailer"))
    if group.format.is_flac:
        if len(trailer) % (4 * len(channels)):
            raise InvalidSignalError(f"side file '{name}#trailer' is damaged; it ends within a row of samples")
        rest = np.frombuffer(trailer, "<i4").astype(np.int32).reshape(-1, len(channels))
        return wfdb_formats.encode_flac(np.concatenate([np.stack(channels, axis=1), rest]), code=code)
    if len(prologue) != group.byte_offset:
        raise InvalidSignalError(
            f"side file '{name}#prologue' must have {group.byte_offset} bytes, not {len(prologue)}"
        )
    if code == 8:
        channels = [
            wfdb_formats.take_differences(values, initial_value=_initial_value(signal, values))
            for values, signal in zip(channels, header.signals[group.start : group.stop], strict=True)
        ]
    packed = _packed(channels, group.samples_per_frame, code, name)
    if bits:
        decompressor = zlib.decompressobj()
        try:
            unused = decompressor.decompress(bits, len(packed))
        except zlib.error as error:
            raise InvalidSignalError(f"side file '{name}#bits' is damaged: {error}") from error
        if len(unused) != len(packed) or not decompressor.eof:
            raise InvalidSignalError(f"side file '{name}#bits' is damaged; it must unpack to {len(packed)} bytes")
        packed = (np.frombuffer(packed, np.uint8) | np.frombuffer(unused, np.uint8)).tobytes()
    return b"".join((prologue, packed, trailer))


def _packed(channels: list[NDArray[np.int32]], samples_per_frame: tuple[int, ...], code: int, file_name: str) -> bytes:
    columns = [values.reshape(-1, width) for values, width in zip(channels, samples_per_frame, strict=True)]
    try:
        return wfdb_formats.pack_samples(np.concatenate(columns, axis=1).reshape(-1), code=code)
    except InvalidSignalError as error:
        raise InvalidSignalError(f"signal file {file_name!r}: {error}") from error


def _new_files(recording: Recording, name: str | None) -> dict[str, bytes]:
    """Return the files of a record for a recording that did not come from WFDB."""
    if name is None or not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise InvalidSignalError(f"record name is {name!r}; letters, digits, '_' and '-' are needed")
    if recording.n_frames == 0:
        raise InvalidSignalError(f"record {name!r}: the recording has no samples")
    pairs = list(zip(recording.channels, recording.samples, strict=True))
    rows = [wfdb_formats.SAMPLE_FORMATS[code] for code in (16, 24, 32)]
    row = next((row for row in rows if all(row.holds(values, channel.invalid) for channel, values in pairs)), None)
    if row is None:
        raise InvalidSignalError(f"record {name!r}: samples of {-(2**31)} mark missing samples and cannot be stored")
    stored = [
        values if channel.invalid is None else np.where(values == channel.invalid, np.int32(row.lowest), values)
        for channel, values in pairs
    ]
    rate = repr(float(recording.frame_rate_hz)).removesuffix(".0")
    lines = [f"{name} {len(pairs)} {rate} {recording.n_frames}"]
    for (channel, _), values in zip(pairs, stored, strict=True):
        layout = f"{row.code}x{channel.samples_per_frame}".removesuffix("x1")
        gain = repr(float(channel.gain)).removesuffix(".0")
        unit, description = "_".join(channel.unit.split()) or "NU", " ".join(channel.name.split())
        samples = f"{values[0]} {wfdb_formats.checksum(values)}"
        fields = f"{layout} {gain}({channel.baseline})/{unit} {channel.resolution_bits} 0 {samples} 0 {description}"
        lines.append(f"{name}.dat {fields}".rstrip())
    widths = tuple(channel.samples_per_frame for channel in recording.channels)
    return {
        f"{name}.dat": _packed(stored, widths, row.code, f"{name}.dat"),
        f"{name}.hea": "".join(f"{line}\n" for line in lines).encode(),
    }


def _publish(files: dict[str, bytes], directory: Path, *, force: bool) -> list[Path]:
    """Write all files under temporary names, then rename them; after an error the folder is as it was."""
    targets = {directory / name: content for name, content in files.items()}
    token = secrets.token_hex(4)
    part, backup = f".{token}.part", f".{token}.old"
    created, moved = list[Path](), list[Path]()
    try:
        for target, content in targets.items():
            _refuse_existing(target, force=force)
            created.append(target.with_name(target.name + part))
            with created[-1].open("xb") as file:
                file.write(content)
        for target in targets:
            _refuse_existing(target, force=force)
            if target.exists():
                target.replace(target.with_name(target.name + backup))
                moved.append(target)
            target.with_name(target.name + part).replace(target)
            created.append(target)
    except BaseException as error:
        for path in created:
            path.unlink(missing_ok=True)
        for target in moved:
            target.with_name(target.name + backup).replace(target)
        if isinstance(error, OSError):
            raise SancodecError(f"{error.filename or directory}: cannot be written: {error.strerror}") from error
        raise
    for target in moved:
        target.with_name(target.name + backup).unlink()
    return list(targets)


def _refuse_existing(target: Path, *, force: bool) -> None:
    if target.is_dir() or (not force and (target.exists() or target.is_symlink())):
        raise OutputExistsError(f"{target}: exists already; choose another folder or overwrite it explicitly")
