"""Small WFDB records on disk for the tests."""

import filecmp
import io

import numpy as np
import soundfile

from sancodec.datasets.wfdb_writer import WfdbComparison, WfdbWriter


def put(directory, files):
    """Write files given by name."""
    directory.mkdir(exist_ok=True)
    for name, content in files.items():
        (directory / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return directory


def flac(rows, *, bits=16, sampling_rate_hz=44_100):
    """FLAC as this package does not write it: with another sampling rate."""
    file = io.BytesIO()
    subtype = {8: "PCM_S8", 16: "PCM_16", 24: "PCM_24"}[bits]
    soundfile.write(file, np.asarray(rows, np.int32) << (32 - bits), sampling_rate_hz, subtype=subtype, format="FLAC")
    return file.getvalue()


def pieces(source, step):
    """All frames of a source in pieces of ``step`` frames, after an empty one."""
    yield source.frames(0, 0)
    for first in range(0, source.n_frames, step):
        yield source.frames(first, min(first + step, source.n_frames))


def restore(source, directory, step, **settings):
    """Write a record in pieces."""
    directory.mkdir(exist_ok=True)
    with WfdbWriter(source, directory, **settings) as writer:
        for piece in pieces(source, step):
            writer.write(piece)
        return writer.finish()


def assert_same_files(folder, other):
    """Every file of one folder is in the other, byte for byte, and no more."""
    names = sorted(path.name for path in folder.iterdir())
    assert sorted(path.name for path in other.iterdir()) == names
    _, different, missing = filecmp.cmpfiles(folder, other, names, shallow=False)
    assert not different + missing


def compare(original, description, samples_of, step):
    """Run the comparison in pieces; raises what it raises."""
    with WfdbComparison(original, description) as comparison:
        for piece in pieces(samples_of, step):
            comparison.write(piece)
        comparison.finish()
