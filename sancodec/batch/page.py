"""The page about a batch: one file that loads nothing."""

from __future__ import annotations

import math
from html import escape
from pathlib import Path
from string import Template

import numpy as np

from sancodec.api import open_recording
from sancodec.batch.drawing import histogram, traces
from sancodec.batch.finished import Finished
from sancodec.batch.places import place_at
from sancodec.batch.run import Tally
from sancodec.batch.tasks import Job
from sancodec.datasets.kinds import kind_of
from sancodec.errors import SancodecError
from sancodec.new_files import new_file

_N_WORST = 10
_SECONDS_AROUND = 1.0
_MAX_ROWS = 5000
_HEADINGS = (
    "source",
    "kind",
    "duration s",
    "channels",
    "input bytes",
    "container bytes",
    "CR of stored bits",
    "CR of input files",
    "largest PRDN %",
    "of channel",
    "largest error adu",
    "s",
)
_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>sancodec batch: $title</title>
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<style>
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0; width: 29rem; }
figcaption { font-size: .85rem; overflow-wrap: anywhere; }
svg { width: 100%; } svg text { font: 11px system-ui, sans-serif; fill: currentColor; }
rect { fill: #3b78b5; } path { fill: none; } .axis { stroke: currentColor; }
.original { stroke: #999; stroke-width: 2.5; } .decoded { stroke: #d0461f; }
table { border-collapse: collapse; font-size: .85rem; } td, th { padding: .15rem .6rem; text-align: right; }
td:first-child, th:first-child { text-align: left; overflow-wrap: anywhere; min-width: 12rem; }
th { cursor: pointer; vertical-align: bottom; }
tbody tr:nth-child(odd) { background: color-mix(in srgb, currentColor 7%, transparent); }
</style></head><body>
<h1>sancodec batch: $title</h1>
<p>$summary</p>
$failures
<h2>Distributions</h2><div class="pictures"><figure>$ratios</figure><figure>$errors</figure></div>
<h2>Recordings that lost most</h2><p>$worst_text</p><div class="pictures">$worst</div>
<h2>Recordings</h2><p>$table_text</p>
<table><thead><tr>$headings</tr></thead><tbody>
$rows
</tbody></table>
<script>
document.querySelectorAll("th").forEach((head, column) => head.addEventListener("click", () => {
  const body = document.querySelector("tbody"), sign = head.dataset.sign = head.dataset.sign === "1" ? "-1" : "1";
  const value = row => row.children[column].dataset.value ?? row.children[column].textContent;
  const compare = (a, b) => isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
  [...body.rows].sort((a, b) => sign * compare(value(a), value(b))).forEach(row => body.append(row));
}));
</script></body></html>
""")


def plain_text(text: str) -> str:
    """Names of any bytes as text that can be written."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def write_page(path: Path, records: list[Finished], tally: Tally, job: Job) -> None:
    """Write the page about all recordings that are done.

    Raises
    ------
    SancodecError
        When it cannot be written.
    """
    by_loss = sorted(records, key=lambda each: (-_prdn(each), each.source))
    lossy = [each for each in by_loss if _prdn(each) > 0]
    listed = by_loss[:_MAX_ROWS]
    content = _PAGE.substitute(
        title=_escaped(job.source),
        summary=_summary(records, tally),
        failures=_failures(tally),
        ratios=histogram([each.stored_ratio for each in records], "recordings by CR of stored bits"),
        errors=histogram([_prdn(each) for each in records], "recordings by largest PRDN in %"),
        worst_text=(
            f"The {len(lossy[:_N_WORST])} with the largest PRDN of a channel, around the second that lost most; grey "
            "is the original."
            if lossy
            else "None lost anything: every sample is exact."
        ),
        worst="\n".join(_picture(each, job) for each in lossy[:_N_WORST]),
        table_text=(
            f"{len(records)} recordings."
            if len(listed) == len(records)
            else f"The {len(listed)} of {len(records)} recordings that lost most; report.csv has all."
        ),
        headings="".join(f"<th>{heading}</th>" for heading in _HEADINGS),
        rows="\n".join(_row(each) for each in listed),
    )
    with new_file(path, force=True) as file:
        file.write(content.encode())


def _prdn(finished: Finished) -> float:
    assert finished.record is not None
    return finished.record.channels[finished.record.worst].prdn


def _escaped(text: str) -> str:
    return escape(plain_text(text))


def _summary(records: list[Finished], tally: Tally) -> str:
    read, written = sum(each.input_bytes for each in records), sum(each.n_bytes for each in records)
    bits = sum(each.record.stored_bits for each in records if each.record is not None)
    if not written:
        return "No recording is compressed yet."
    return (
        f"{len(records)} recordings, {read:,} bytes of input files in {written:,} bytes of containers: "
        f"{bits / (8 * written):.2f}:1 of stored bits, {read / written:.2f}:1 of the input files. "
        f"This run: {tally.n_new} files done, {tally.n_kept} done before, {len(tally.failures)} failed, "
        f"{tally.elapsed_s:.1f} s, {tally.mb_per_s:.2f} MB/s."
    )


def _failures(tally: Tally) -> str:
    if not tally.failures:
        return ""
    items = "".join(f"<li>{_escaped(path)}: {_escaped(reason)}</li>" for path, reason in tally.failures)
    return f"<h2>Failed</h2><ul>{items}</ul>"


def _picture(finished: Finished, job: Job) -> str:
    record = finished.record
    assert record is not None
    channel = record.channels[record.worst]
    try:
        drawing = _drawing(finished, job)
    except (SancodecError, OSError, IndexError) as error:
        drawing = f"<p>no picture: {_escaped(str(error))}</p>"
    caption = f"{finished.source}, {channel.name}: PRDN {channel.prdn:.4g} %, largest error {channel.max_error_adu} adu"
    return f"<figure>{drawing}<figcaption>{_escaped(caption)}</figcaption></figure>"


def _drawing(finished: Finished, job: Job) -> str:
    record = finished.record
    assert record is not None
    index = record.worst
    rate_hz = job.settings.sampling_rate_hz
    source, target = place_at(job.source), place_at(job.target)
    with (
        source.local([each.path for each in finished.inputs]) as inputs,
        target.local([finished.target]) as outputs,
    ):
        path = inputs / finished.source
        kind = kind_of(path)
        if kind is None or not path.exists():
            raise SancodecError("the original is gone")
        with (
            kind.open(path, sampling_rate_hz=rate_hz if kind.takes_rate else None, exact=False) as original,
            open_recording(outputs / finished.target, models=job.settings.banks) as decoded,
        ):
            channel = original.channels[index]
            step = round(float(original.frame_rate_hz) * _SECONDS_AROUND)
            first = max(0, record.channels[index].worst_frame - step)
            last = min(original.n_frames, record.channels[index].worst_frame + 2 * step)
            width = channel.samples_per_frame
            x = original.frames(first, last)[index]
            y = decoded[index, first * width : last * width]
            physical = [
                np.where(samples == channel.invalid, math.nan, (samples - float(channel.baseline)) / channel.gain)
                for samples in (x, y)
            ]
            return traces(
                physical[0],
                physical[1],
                start_s=float(first / original.frame_rate_hz),
                rate_hz=float(original.frame_rate_hz * width),
                unit=plain_text(channel.unit),
            )


def _row(finished: Finished) -> str:
    record = finished.record
    assert record is not None
    worst = record.channels[record.worst]
    cells: list[str | float | int] = [
        finished.source,
        record.kind,
        record.duration_s,
        len(record.channels),
        finished.input_bytes,
        finished.n_bytes,
        finished.stored_ratio,
        finished.file_ratio,
        worst.prdn,
        worst.name,
        max(channel.max_error_adu for channel in record.channels),
        finished.seconds,
    ]
    return f"<tr>{''.join(_cell(cell) for cell in cells)}</tr>"


def _cell(value: str | float | int) -> str:
    if isinstance(value, str):
        return f"<td>{_escaped(value)}</td>"
    text = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
    return f'<td data-value="{value}">{text}</td>'
