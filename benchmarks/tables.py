"""Write the tables of docs/benchmarks.md and README.md from the JSON of the benchmark scripts, or check them.

    python benchmarks/tables.py
    python benchmarks/tables.py --check

A table stands between ``<!-- table FILE KIND -->`` and ``<!-- end table -->``. FILE is in benchmarks/results. KIND is
one of prdn, max_error, lossless (ratios), over (sancodec over the yardsticks), records (ratios record by record),
processes, in_process (speed), coder_alone, engines, kit_sizes, kit_speeds, random_access, images_lossless,
images_lossy, images_access, long_recording, beats_stream,
beats_detectors, beats_records, paper_phi and environment.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import environment

DOCUMENTS = tuple(environment.REPOSITORY / name for name in ("docs/benchmarks.md", "docs/laboratory.md", "README.md"))
RESULTS = environment.REPOSITORY / "benchmarks" / "results"
MARKED = re.compile(r"(<!-- table (?P<file>\S+) (?P<kind>\S+) -->\n).*?(<!-- end table -->)", re.DOTALL)
NOT_MEASURED = "*Not measured yet.*\n"
DISPLAY = {
    "dwt_zstd": "9/7 DWT + zstd -19",
    "dwt_zstd_joined": "9/7 DWT + zstd -19, one frame if smaller",
    "sz3": "SZ3",
    "sz3 at e": "SZ3 at e",
    "zfp": "ZFP",
    "flac -8": "FLAC -8",
    "flac -8 mono": "FLAC -8, each lead alone",
}

Result = dict[str, Any]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return NOT_MEASURED
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _codec(entry: Result) -> str:
    name: str = DISPLAY.get(entry["codec"], entry["codec"])
    if "level" not in entry:
        return name
    chunk = "whole file" if entry["chunk_s"] is None else f"{entry['chunk_s']:g} s chunks"
    return f"**{name}**, level {entry['level']}, {chunk}"


def _by_codec(
    entries: Sequence[Result], figure: Callable[[Result], str]
) -> tuple[list[float], dict[str, dict[float, str]]]:
    targets = sorted({entry["target"] for entry in entries})
    cells: dict[str, dict[float, str]] = {}
    for entry in entries:
        cells.setdefault(_codec(entry), {})[entry["target"]] = figure(entry)
    return targets, cells


def ratios(result: Result, kind: str) -> str:
    """Mean ratio over the records, in brackets the mean largest error of a lead in stored units."""
    entries = [entry for entry in result["summary"] if entry["kind"] == kind]

    def figure(entry: Result) -> str:
        error = f" ({entry['mean_max_error_adu']:.0f})" if kind == "prdn" else ""
        return f"{entry['mean_ratio']:.2f}{error}"

    targets, cells = _by_codec(entries, figure)
    heads = {"prdn": "PRDN {:g} %", "max_error": "±{:g}", "lossless": "ratio"}
    header = ["codec", *(heads[kind].format(target) for target in targets)]
    return _table(header, [[codec, *(row.get(target, "") for target in targets)] for codec, row in cells.items()])


def over(result: Result) -> str:
    """Geometric mean over the records of sancodec's ratio over that of each yardstick."""
    rows = []
    entries = [entry for entry in result["summary"] if entry["kind"] == "prdn"]
    targets = sorted({entry["target"] for entry in entries})
    for yardstick in sorted({name for entry in entries for name in entry["over"]}):
        ours = [entry for entry in entries if "level" in entry and yardstick in entry["over"]]
        _targets, cells = _by_codec(ours, lambda entry, name=yardstick: f"{entry['over'][name]['geometric_mean']:.3f}")
        rows += [
            [f"{codec} over {DISPLAY[yardstick]}", *(row.get(target, "") for target in targets)]
            for codec, row in cells.items()
        ]
    return _table(["geometric mean over the records", *(f"PRDN {target:g} %" for target in targets)], rows)


def by_record(result: Result) -> str:
    """Ratio of each record, sancodec and the yardsticks."""
    names = ("sancodec", "dwt_zstd", "dwt_zstd_joined")
    rows = [row for row in result["rows"] if row["kind"] == "prdn" and row["codec"] in names]
    targets = sorted({row["target"] for row in rows})
    cells: dict[tuple[str, str], dict[float, str]] = {}
    for row in rows:
        cells.setdefault((row["record"], _codec(row)), {})[row["target"]] = f"{row['ratio']:.2f}"
    header = ["record", "codec", *(f"PRDN {target:g} %" for target in targets)]
    return _table(header, [[*key, *(row.get(target, "") for target in targets)] for key, row in sorted(cells.items())])


def _spread(spread: dict[str, float], digits: int) -> str:
    return f"{spread['median']:.{digits}f} ({spread['min']:.{digits}f}–{spread['max']:.{digits}f})"


def _peak(mib: float, *, floor_mib: float) -> str:
    """A child's peak starts at that of the process which started it, so below that floor only the floor is known."""
    return f"≤ {floor_mib:.0f}" if mib <= floor_mib * 1.02 else f"{mib:.0f}"


def processes(result: Result) -> str:
    rows = [
        [
            f"{DISPLAY.get(row['codec'], row['codec'])}, {row['action']}",
            _spread(row["wall_s"], 3),
            _peak(row["peak_mib"]["median"], floor_mib=result["peak_mib_floor"]),
            f"{row['output_bytes']:,}" if row["output_bytes"] else "",
        ]
        for row in result["processes"]
    ]
    return _table(["whole process", "seconds, median (min–max)", "peak MiB", "bytes"], rows)


def in_process(result: Result) -> str:
    rows = [
        [
            f"{DISPLAY.get(row['codec'], row['codec'])}, {row['action']}",
            _spread(row["msamples_per_s"], 2),
            f"{row['bytes']:,}",
        ]
        for row in result["in_process"]
    ]
    return _table(["in process", "Msamples/s, median (min–max)", "bytes"], rows)


def engines(result: Result) -> str:
    rows = [
        [
            row["engine"],
            f"{row['records']}",
            f"{row['containers']}",
            *("yes" if row[name] else "NO" for name in ("identical", "decoder_graph_identical")),
            *(f"{result['seconds'][row['engine']][name]:.1f} s" for name in ("compress", "decompress")),
            *(f"{result['seconds']['numpy'][name]:.1f} s" for name in ("compress", "decompress")),
        ]
        for row in result["engines"]
    ]
    return _table(
        [
            "engine against NumPy",
            "records",
            "containers",
            "decoded integers identical",
            "and from the decoder graph",
            "compressing",
            "decompressing",
            "NumPy: compressing",
            "decompressing",
        ],
        rows,
    )


def kit_sizes(result: Result) -> str:
    rows = [
        [
            row["record"],
            f"{row['prdn']:g}",
            f"{row['reference_bytes']}",
            f"{row['graph_bytes']}",
            f"{100 * row['graph_bytes'] / row['reference_bytes'] - 100:+.2f} %",
        ]
        for row in result["sizes"]
    ]
    total = result["total"]
    last = ["all", "", f"{total['reference_bytes']}", f"{total['graph_bytes']}", f"{100 * total['ratio'] - 100:+.2f} %"]
    return _table(["record", "PRDN %", "reference encoder, bytes", "encoder graph, bytes", "difference"], [*rows, last])


def kit_speeds(result: Result) -> str:
    rows = [[row["transform"], row["device"], f"{row['msamples_per_s']:g}"] for row in result["speeds"]]
    return _table([f"bank {result['model']}", "device", "Msamples/s"], rows)


def coder_alone(result: Result) -> str:
    parts = ["encode coefficients", "decode coefficients", "encode residuals", "decode residuals"]
    rows = [
        [
            row["promise"],
            *(f"{row['megasamples_per_s'][part]:.1f}" if part in row["megasamples_per_s"] else "–" for part in parts),
        ]
        for row in result["coder_alone"]
    ]
    return _table(["Msamples/s, one thread", *parts], rows)


def random_access(result: Result) -> str:
    """Largest share of the file over all records and starts, and the median and largest time."""
    groups: dict[tuple[str, int], list[Result]] = {}
    for row in result["rows"]:
        groups.setdefault((row["promise"], row["level"]), []).append(row)
    rows = []
    for (promise, level), members in groups.items():
        shares = [share for row in members for share in row["share_read"]]
        times = [ms for row in members for ms in row["ms"]]
        rows.append(
            [
                f"{promise}, level {level}",
                f"{100 * statistics.median(shares):.1f} ({100 * max(shares):.1f})",
                f"{statistics.median(times):.0f} ({max(times):.0f})",
            ]
        )
    return _table(
        [f"{result['excerpt_s']:g} s of a record", "% of the file, median (largest)", "ms, median (largest)"], rows
    )


def images_lossless(result: Result) -> str:
    rows = [
        [
            f"**{row['codec']}**" if row["codec"].startswith("sancodec") else row["codec"],
            f"{row['bits_per_pixel']:.3f}",
            f"{row['encode_s']:.1f}",
            f"{row['decode_s']:.1f}",
        ]
        for row in result["lossless"]
    ]
    return _table([f"lossless, {result['images']:,} images", "bit/pixel", "encode, s", "decode, s"], rows)


def images_lossy(result: Result) -> str:
    """Bytes of an image at each PSNR, and the seconds of search and encoding at the middle one."""
    psnrs = sorted({row["psnr_db"] for row in result["lossy"]})
    rows = []
    for codec in dict.fromkeys(row["codec"] for row in result["lossy"]):
        found = {row["psnr_db"]: row for row in result["lossy"] if row["codec"] == codec}
        sizes = [found[psnr]["bytes_per_image"] for psnr in psnrs]
        seconds = found[psnrs[len(psnrs) // 2]]["search_and_encode_s"]
        name = f"**{codec}**" if codec.startswith("sancodec") else codec
        rows.append([name, *("–" if size is None else f"{size:.1f}" for size in sizes), f"{seconds:.0f}"])
    return _table(["bytes an image", *(f"{psnr:g} dB" for psnr in psnrs), "search and encode, s"], rows)


def images_access(result: Result) -> str:
    rows = [
        [f"{row['chunk_images']:,}", f"{row['bits_per_pixel']:.3f}", f"{row['seconds']:.2f}"]
        for row in result["access"]
    ]
    return _table(["images a chunk", "bit/pixel", "one image, s"], rows)


def long_recording(result: Result) -> str:
    rows = [
        [
            f"{row['promise']}, level {row['level']}",
            f"{row['n_samples'] / 1e6:.0f}",
            f"{row['input_bytes'] / row['output_bytes']:.2f}",
            f"{row['compress_s']:.0f}",
            f"{row['compress_peak_mib']:.0f}",
            f"{row['decompress_s']:.0f}",
            f"{row['decompress_peak_mib']:.0f}",
        ]
        for row in result["rows"]
    ]
    header = ["12 leads, 500 Hz", "Msamples", "ratio", "compress s", "peak MiB", "decompress s", "peak MiB"]
    return _table(header, rows)


def _beat_cells(entry: Result) -> list[str]:
    return [
        f"{entry['sensitivity']:.2f} ({entry['worst_sensitivity']:.2f})",
        f"{entry['ppv']:.2f} ({entry['worst_ppv']:.2f})",
        f"{entry['mean_rr_error_ms']:.1f}",
        f"{entry['mean_sdnn_error_ms']:.2f}",
    ]


_BEAT_HEADINGS = ["sensitivity %, all beats (worst record)", "PPV %", "RR error ms", "SDNN error ms"]


def beats_stream(result: Result) -> str:
    rows = [
        [f"{entry['preset']}, level {entry['level']}", *_beat_cells(entry), f"{entry['median_ms']:.0f}"]
        for entry in result["stream"]
    ]
    return _table(["beats from the stream", *_BEAT_HEADINGS, "ms a record"], rows)


def beats_detectors(result: Result) -> str:
    rows = []
    for entry in result["detectors"]:
        if entry["preset"] == "original":
            original = entry
        lost = [f"{original[name] - entry[name]:+.3f}" for name in ("sensitivity", "ppv")]
        lost = ["", ""] if entry is original else lost
        rows.append([f"{entry['detector']}, {entry['preset']}", *_beat_cells(entry), *lost])
    return _table(["detector on the first lead", *_BEAT_HEADINGS, "points of sensitivity lost", "of PPV"], rows)


def beats_by_record(result: Result) -> str:
    """Missed and extra beats of the stream, record by record, at the level that detectors are run at."""
    presets = list(dict.fromkeys(row["preset"] for row in result["stream_rows"]))
    cells: dict[str, dict[str, str]] = {}
    beats: dict[str, int] = {}
    for row in result["stream_rows"]:
        if row["level"] == result["detected_level"] and row["score"] is not None:
            score = row["score"]
            beats[row["record"]] = score["n_matched"] + score["n_missed"]
            cells.setdefault(row["record"], {})[row["preset"]] = f"{score['n_missed']} / {score['n_extra']}"
    rows = [[name, f"{beats[name]}", *(row.get(preset, "–") for preset in presets)] for name, row in cells.items()]
    return _table(["record", "beats", *(f"{preset}: missed / extra" for preset in presets)], rows)


def paper_phi(result: Result) -> str:
    """φ̄ by record and activation, of the first seed; the ratio to the published code over all seeds."""
    rows = []
    for row in result["rows"]:
        if row["seed"] == 0:
            same = [
                each["ratio"] for each in result["rows"] if all(each[k] == row[k] for k in ("record", "activation"))
            ]
            score, size = row["by_test"]["test"], row["by_test"]["kernel_size"]
            rows.append(
                [
                    row["record"],
                    row["activation"],
                    f"{score['phi']:.3f} / {score['inverse_ratio']:.3f} / {score['normalised_loss']:.3f} ({size})",
                    f"{row['published_phi']:.3f} ({row['published_kernel_size']})",
                    f"{min(same):.3f} to {max(same):.3f}",
                    f"{row['by_validation']['test']['phi']:.3f}",
                ]
            )
    header = ["record", "activation", "φ̄ / CR⁻¹ / L̃ (kernel size)", "published code", "ratio, seeds", "by validation"]
    return _table(header, rows)


def describe_environment(result: Result) -> str:
    setting = result["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in setting["versions"].items() if version)
    commit = (setting["git_commit"] or "none")[:12] + ("" if setting["git_clean"] else " with changes")
    return (
        f"{setting['date'][:10]}, commit {commit}; {setting['cpu_model']}, {setting['cores']} cores; "
        f"Python {setting['python']}, {versions}.\n"
    )


KINDS: dict[str, Callable[[Result], str]] = {
    "prdn": lambda result: ratios(result, "prdn"),
    "max_error": lambda result: ratios(result, "max_error"),
    "lossless": lambda result: ratios(result, "lossless"),
    "over": over,
    "records": by_record,
    "processes": processes,
    "in_process": in_process,
    "coder_alone": coder_alone,
    "engines": engines,
    "kit_sizes": kit_sizes,
    "kit_speeds": kit_speeds,
    "random_access": random_access,
    "images_lossless": images_lossless,
    "images_lossy": images_lossy,
    "images_access": images_access,
    "long_recording": long_recording,
    "beats_stream": beats_stream,
    "beats_detectors": beats_detectors,
    "beats_records": beats_by_record,
    "paper_phi": paper_phi,
    "environment": describe_environment,
}


def fill(document: str, *, results: Path) -> str:
    """Return the document with every marked table written anew.

    Raises
    ------
    ValueError
        A marker names a kind of table that does not exist, or no marker is found.
    """

    def write(match: re.Match[str]) -> str:
        kind, path = match["kind"], results / match["file"]
        if kind not in KINDS:
            raise ValueError(f"table {match['file']} {kind}: the kind must be one of {', '.join(KINDS)}")
        content = KINDS[kind](json.loads(path.read_text())) if path.exists() else NOT_MEASURED
        return f"{match[1]}{content}{match[4]}"

    if not MARKED.search(document):
        raise ValueError("no '<!-- table FILE KIND -->' with its '<!-- end table -->' in the document")
    return MARKED.sub(write, document)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if the document is out of date")
    parser.add_argument("--document", type=Path, action="append")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args(argv)
    status = 0
    for document in arguments.document or DOCUMENTS:
        present = document.read_text(encoding="utf-8")
        filled = fill(present, results=arguments.results)
        if not arguments.check:
            document.write_text(filled, encoding="utf-8")
        elif filled != present:
            print(f"{document} is out of date: run 'python benchmarks/tables.py'", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
