"""Draw the README's picture: a few seconds of the record that the repository carries, decoded at PRDN 5 %.

python docs/figures/tour.py
"""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import sancodec
from sancodec.api import compress_to, default_engine
from sancodec.codec.beats import kernel_geometry
from sancodec.codec.decoder import RecordingReader
from sancodec.datasets.wfdb_record import read_wfdb

REPOSITORY = Path(__file__).resolve().parents[2]
PRDN = 5.0


def main() -> None:
    record = read_wfdb(REPOSITORY / "tests" / "data" / "100_10s")
    file = io.BytesIO()
    summary = compress_to(record, file, prdn=PRDN)
    decoded = sancodec.decompress_recording(file.getvalue())
    starts, _ = RecordingReader(file, engine=default_engine()).events(0)
    before_peak = kernel_geometry(float(record.frame_rate_hz))[1]
    channel = record.channels[0]
    time_s = np.arange(record.n_frames) / float(record.frame_rate_hz)
    before, after = ((r.samples[0] - channel.baseline) / channel.gain for r in (record, decoded))

    figure, (top, middle, bottom) = plt.subplots(
        3, 1, figsize=(9, 5.2), sharex=True, height_ratios=[3, 3, 1.6], layout="constrained"
    )
    top.plot(time_s, before, color="#1f3b57", lw=0.9)
    top.set_title(f"original, {channel.name} (mV)", loc="left", fontsize=9)
    middle.plot(time_s, after, color="#b3432b", lw=0.9)
    middle.set_title(
        f"decoded from {summary.n_bytes} bytes for both leads, PRDN {summary.qualities[0].prdn:.2f} %, "
        f"beat events as ticks",
        loc="left",
        fontsize=9,
    )
    for start in starts:
        middle.axvline((start + before_peak) / float(record.frame_rate_hz), ymax=0.07, color="#1f3b57", lw=1.4)
    bottom.plot(time_s, before - after, color="#555555", lw=0.7)
    bottom.set_title(f"residual, largest {summary.qualities[0].max_error:.3f} mV", loc="left", fontsize=9)
    bottom.set_ylim(-0.25, 0.25)
    bottom.set_xlabel("time (s)", fontsize=9)
    for axis in (top, middle, bottom):
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
        axis.margins(x=0.005)
    figure.savefig(Path(__file__).with_name("tour.png"), dpi=110)


if __name__ == "__main__":
    main()
