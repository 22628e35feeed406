"""Writing WFDB records piece by piece, and comparing what would be written with files that are there."""

from __future__ import annotations

from pathlib import Path

from sancodec.codec.recording import RecordingDescription
from sancodec.datasets.file_writer import FileComparison, FileWriter
from sancodec.datasets.wfdb_header import find_header
from sancodec.datasets.wfdb_new_record import Ranges
from sancodec.datasets.wfdb_segmented_restore import record_bytes
from sancodec.datasets.wfdb_segmented_source import SegmentedSource
from sancodec.datasets.wfdb_source import WfdbSource
from sancodec.errors import CorruptError, InvalidSignalError


class WfdbWriter(FileWriter):
    """A WFDB record being written; a `FileWriter`.

    Parameters
    ----------
    description
        The recording: one that came from WFDB gets its files back in their formats and under their names, the header
        with every byte except initial values and checksums that no longer fit the samples.  Any other gets
        ``NAME.dat`` in format 16, 24 or 32 (the first that holds ``value_ranges``) and ``NAME.hea``.
    directory
        An existing folder.
    name
        Record name; needed for, and only for, a recording that does not come from WFDB.
    force
        Overwrite existing files.
    value_ranges
        (minimum, maximum) of each channel's samples that are not missing, for a recording that does not come from
        WFDB; the channels' declared ranges by default.

    Raises
    ------
    InvalidSignalError
        If the side files are damaged, the name is missing or not a record name, or no format holds the samples.
    OutputExistsError
        If a file exists and ``force`` is false.
    SancodecError
        If the folder is missing or cannot be written to.
    """

    def __init__(
        self,
        description: RecordingDescription,
        directory: str | Path,
        *,
        name: str | None = None,
        force: bool = False,
        value_ranges: Ranges | None = None,
    ) -> None:
        super().__init__(record_bytes(description, name=name, value_ranges=value_ranges), directory, force=force)


class WfdbComparison(FileComparison):
    """Compares the files of a record that would be restored with the original ones; a `FileComparison`.

    Parameters
    ----------
    source
        The original record, as for ``open_record``, or opened.
    description
        The recording from which the files would be restored; it came from WFDB.

    Raises
    ------
    InvalidSignalError
        If there is no such record, the description did not come from WFDB, or its side files are damaged.
    CorruptError
        If the restored record would have other files.
    """

    def __init__(self, source: str | Path | WfdbSource | SegmentedSource, description: RecordingDescription) -> None:
        if description.source != "wfdb":
            raise InvalidSignalError(f"the recording came from {description.source!r}, not from a WFDB record")
        header_path = find_header(Path(source)) if isinstance(source, (str, Path)) else source.header_path
        content = record_bytes(description)
        if content.file_names[-1] != header_path.name:
            content.close()
            raise CorruptError(f"{header_path}: would be restored as {content.file_names[-1]!r}")
        super().__init__(content, header_path.parent)
