"""Decodes a .san file by docs/decoder.py up to the coefficients, and by decoder.onnx of a kit from there on.

Usage: python decode.py FILE.san -d DECODER.onnx --models DIR -o OUT.npy, with -d for each model that FILE uses. DIR
holds the .sanm files that FILE may need, since statistics of coders 1 and 2 are in them.
"""

import argparse
import hashlib
import importlib.util
import sys
from pathlib import Path

import numpy as np
import onnxruntime

HERE = Path(__file__).resolve().parent
PLACES = HERE / "decoder.py", HERE.parents[1] / "docs" / "decoder.py"
spec = importlib.util.spec_from_file_location("decoder", next(filter(Path.exists, PLACES), PLACES[0]))
decoder = importlib.util.module_from_spec(spec)
spec.loader.exec_module(decoder)


class Segment(decoder.Segment):
    """That of decoder.py, with section 10 of docs/format.md by one graph for each model."""

    sessions: dict[str, onnxruntime.InferenceSession] = {}  # noqa: RUF012 - by SHA-256 of the model

    def __init__(self, payload, header, models):
        for model, digest in zip(models, header.models, strict=True):
            model.sha256 = digest.hex()
        super().__init__(payload, header, models)

    def approximation(self, c, file, raw):
        circle = c.n + 64 + -(c.n + 64) % c.model.strides[0]
        widths = circle // c.model.strides
        if self.coder == 0:
            q = raw.tokens(file, widths)
        elif self.coder == 2:
            q = self.levels(c, file, widths.tolist())
        else:
            q = raw.lanes(file, np.repeat(c.scales > 0, widths), c.model.frequencies[c.set], self.classes(c, widths))
        decoder.demand(c.model.sha256 in self.sessions, f"it needs decoder.onnx of the model {c.model.sha256}")
        output = "components" if c.is_mixed else "samples"
        found = self.sessions[c.model.sha256].run([output], self.inputs(c, q, circle))[0][0]
        return found if c.is_mixed else found.astype(np.int64) - c.offset

    def inputs(self, c, q, circle):
        """One signal: channel c of this chunk, with its coefficients band after band."""
        of_events = np.flatnonzero(c.gains) if c.kernels else np.zeros(0, np.int64)
        events = np.array([c.starts, c.kernel_of, c.gains])[:, of_events] if len(of_events) else np.zeros((3, 0))
        feeds = {
            "n_samples": np.array([c.n], np.int64),
            "reconstruction": c.corrections[None, 1:].astype(np.int32),
            "scale": np.array([c.mantissa * 2.0 ** (c.exponent - 3)]),
            "offset": np.array([c.offset], np.int32),
            "minimum": np.array([c.minimum], np.int32),
            "maximum": np.array([c.maximum], np.int32),
            "event_signal": np.zeros(events.shape[1], np.int64),
            "event_start": events[0].astype(np.int64),
            "event_kernel": events[1].astype(np.int64),
            "event_gain": events[2].astype(np.int32),
            "beat_kernels": np.array(c.kernels if c.kernels else np.zeros((0, 1))).astype(np.int32),
            "beat_scale": np.array([2 ** (c.kernel_exponent + 10) if c.kernels else 1], np.int64),
        }
        for number, (stride, _, weights) in enumerate(c.model.groups):
            levels, q = np.split(q, [len(weights) * circle // stride])
            levels = levels.reshape(len(weights), -1).T.ravel()  # (window, kernel)
            feeds[f"level_index_{number}"] = np.flatnonzero(levels)
            feeds[f"level_{number}"] = levels[levels != 0].astype(np.int32)
        return feeds


def session_of(path):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.get_modelmeta().custom_metadata_map["sha256"], session


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("-d", "--decoder", action="append", default=[], help="decoder.onnx of a model")
    parser.add_argument("--models", type=Path, default=Path(), help="folder of .sanm files")
    parser.add_argument("-o", "--output", type=Path, help="a .npy file: (channel, sample), or channel after channel")
    options, sys.tracebacklimit = parser.parse_args(), 0
    decoder.Segment = Segment
    Segment.sessions = dict(map(session_of, options.decoder))
    models = {hashlib.sha256(each).digest(): each for each in map(Path.read_bytes, options.models.glob("*.sanm"))}
    header, samples = decoder.decode(options.file.read_bytes(), models)
    for c, row in zip(header.channels, samples, strict=True):
        print(f"{c.name}: {len(row)} samples, {row.min()} to {row.max()}, {c.unit}")
    if options.output:
        np.save(options.output, np.stack(samples) if len({*map(len, samples)}) == 1 else np.concatenate(samples))
