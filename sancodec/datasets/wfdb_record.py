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
``y#original``   only on request, and only if FLAC file ``y`` is not what encoding its samples gives: the file, byte for
                 byte.  It is restored as long as it decodes to the restored samples and those of ``y#trailer``, and no
                 others
================ =======================================================================================================

A multi-segment record has its header and ``x.hea#segments``: the layout header, and of each segment the side files
above, unless a segment before it has them; of each a varint length and the name in UTF-8, a varint length and the
content. Its samples are those of the segments (`wfdb_segments`).

``#`` sets these names apart from file names: a side file without it is restored as a file, as it is.  Without
``y#original``, FLAC files are restored sample for sample, not byte for byte: another encoder wrote them.
"""

from __future__ import annotations

from pathlib import Path

from sancodec.codec.recording import Recording
from sancodec.datasets.pieces import pieces_of, read_all, valid_ranges
from sancodec.datasets.wfdb_segmented_source import open_record
from sancodec.datasets.wfdb_writer import WfdbWriter


def read_wfdb(path: str | Path) -> Recording:
    """Read a WFDB record of one or several segments.

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
    with open_record(path) as source:
        return read_all(source)


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
    value_ranges = None if recording.source == "wfdb" else valid_ranges(recording)
    with WfdbWriter(recording, directory, name=name, force=force, value_ranges=value_ranges) as writer:
        for piece in pieces_of(recording):
            writer.write(piece)
        return writer.finish()
