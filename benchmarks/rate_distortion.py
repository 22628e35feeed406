"""Compression ratio at a promised quality: sancodec beside its peers, record by record, in one run.

    python benchmarks/rate_distortion.py --set mitdb
    python benchmarks/rate_distortion.py --set mitdb --chunk 60 --chunk file --level 5 --level 9
    python benchmarks/rate_distortion.py --set ptb-xl --each-lead-alone
    python benchmarks/rate_distortion.py --set mitdb --peers-only --peer dwt_zstd --no-lossless --max-error

Ratios are stored bits (resolution of the header times samples) over coded bits, and nothing is counted that was not
decoded again. Peers code lead by lead and are charged the sum; sancodec is charged its whole container.
"""

from __future__ import annotations

import argparse
import functools
import math
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import environment
import peers
import records
import sancodec_adapter
from peers import Coded
from quality import Target, max_error_adu, prdn
from records import Lead, Record

YARDSTICKS = (peers.DWT_ZSTD.name, peers.DWT_ZSTD_JOINED.name)
SEED = 0


@dataclass(frozen=True, slots=True)
class Plan:
    targets: tuple[Target, ...]
    lossless: bool
    peer_names: tuple[str, ...]
    levels: tuple[int, ...]
    chunks: tuple[float | None, ...]
    each_lead_alone: bool
    sancodec: bool


def _row(record: Record, codec: str, target: Target, coded: Sequence[Coded], **setting: Any) -> dict[str, Any]:
    """One codec, one record, one target: bytes of the record, and what happened to each lead."""
    decoded = [y for one in coded for y in one.decoded]
    n_bytes = sum(one.n_bytes for one in coded)
    per_lead = len(coded) == len(record.leads)
    channels = []
    for index, (lead, y) in enumerate(zip(record.leads, decoded, strict=True)):
        lead_bytes = coded[index].n_bytes if per_lead else None
        channels.append({
            "name": lead.name,
            "bytes": lead_bytes,
            "ratio": lead.stored_bits / (8 * lead_bytes) if lead_bytes else None,
            "prdn": prdn(lead.samples, y),
            "max_error_adu": max_error_adu(lead.samples, y),
        })  # fmt: skip
    return {
        "record": record.name,
        "codec": codec,
        "kind": target.kind,
        "target": target.value,
        **setting,
        "bytes": n_bytes,
        "ratio": record.stored_bits / (8 * n_bytes),
        "bits_per_sample": 8 * n_bytes / sum(len(lead.samples) for lead in record.leads),
        "encode_s": sum(one.encode_s for one in coded),
        "decode_s": sum(one.decode_s for one in coded),
        "channels": channels,
    }


def _sancodec_rows(record: Record, target: Target, plan: Plan) -> list[dict[str, Any]]:
    if not plan.sancodec or not sancodec_adapter.offers(target.kind):
        return []
    rows = []
    for level in plan.levels:
        for chunk_s in plan.chunks:
            groups: list[tuple[str, list[tuple[Lead, ...]]]] = [("sancodec", [record.leads])]
            if plan.each_lead_alone:
                groups.append(("sancodec, each lead alone", [(lead,) for lead in record.leads]))
            for name, leads in groups:
                coded = [sancodec_adapter.code(record, group, target, level=level, chunk_s=chunk_s) for group in leads]
                rows.append(_row(record, name, target, coded, level=level, chunk_s=chunk_s))
    return rows


def _peer_rows(record: Record, target: Target, plan: Plan) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of the peers, and the refusals of those that cannot keep the target on this record."""
    rows: list[dict[str, Any]] = []
    refusals: list[dict[str, Any]] = []
    leads = [lead.samples for lead in record.leads]
    lead_peers = peers.BOUND_PEERS if target.kind == "max_error" else peers.LEAD_PEERS
    for peer in peers.RECORD_PEERS if target.kind == "lossless" else lead_peers:
        if peer.name not in plan.peer_names:
            continue
        try:
            if isinstance(peer, peers.RecordPeer):
                coded = [peers.code_record(peer, leads, sampling_rate_hz=max(1, round(record.frame_rate_hz)))]
            else:
                coded = [peers.code_lead(peer, x, target) for x in leads]
        except ValueError as error:
            place = {"record": record.name, "codec": peer.name, "kind": target.kind, "target": target.value}
            refusals.append(place | {"reason": str(error)})
        else:
            rows.append(_row(record, peer.name, target, coded))
    return rows, refusals


def measure_record(path: Path, plan: Plan) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the description of one record, its rows and the refusals of the peers; a failure of sancodec is raised."""
    record = records.read_record(path)
    rows: list[dict[str, Any]] = []
    refusals: list[dict[str, Any]] = []
    for target in (*plan.targets, *((Target("lossless"),) if plan.lossless else ())):
        peer_rows, peer_refusals = _peer_rows(record, target, plan)
        rows += [*peer_rows, *_sancodec_rows(record, target, plan)]
        refusals += peer_refusals
    description = {
        "name": record.name,
        "sampling_rate_hz": float(record.frame_rate_hz),
        "stored_bits": record.stored_bits,
        "leads": [
            {
                "name": lead.name,
                "n_samples": len(lead.samples),
                "resolution_bits": lead.resolution_bits,
                "n_missing": lead.n_missing,
            }
            for lead in record.leads
        ],
    }
    return description, rows, refusals


def summarise(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over the records for each codec, setting and target, and the ratios to the yardsticks record by record."""
    yardsticks = {
        (row["codec"], row["kind"], row["target"], row["record"]): row["ratio"]
        for row in rows
        if row["codec"] in YARDSTICKS
    }
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        key = (row["kind"], row["target"], row["codec"], row.get("level"), row.get("chunk_s"))
        groups.setdefault(key, []).append(row)
    summary = []
    for (kind, target, codec, level, chunk_s), group in groups.items():
        over = {}
        for name in YARDSTICKS:
            by_record = {
                row["record"]: row["ratio"] / yardsticks[name, kind, target, row["record"]]
                for row in group
                if (name, kind, target, row["record"]) in yardsticks
            }
            if by_record:
                over[name] = {
                    "geometric_mean": statistics.geometric_mean(by_record.values()),
                    "by_record": by_record,
                }
        lead_ratios = [channel["ratio"] for row in group for channel in row["channels"] if channel["ratio"]]
        entry: dict[str, Any] = {"kind": kind, "target": target, "codec": codec}
        if level is not None:
            entry |= {"level": level, "chunk_s": chunk_s}
        entry |= {
            "n_records": len(group),
            "mean_ratio": statistics.fmean(row["ratio"] for row in group),
            "geometric_mean_ratio": statistics.geometric_mean(row["ratio"] for row in group),
            "mean_lead_ratio": statistics.fmean(lead_ratios) if lead_ratios else None,
            "largest_prdn": max(channel["prdn"] for row in group for channel in row["channels"]),
            "mean_max_error_adu": statistics.fmean(
                channel["max_error_adu"] for row in group for channel in row["channels"]
            ),
            "largest_max_error_adu": max(channel["max_error_adu"] for row in group for channel in row["channels"]),
            "encode_s": sum(row["encode_s"] for row in group),
            "decode_s": sum(row["decode_s"] for row in group),
            "over": over,
        }
        summary.append(entry)
    return summary


def _chunk(text: str) -> float | None:
    if text == "file":
        return None
    seconds = float(text)
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(text)
    return seconds


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    names = [peer.name for peer in (*peers.BOUND_PEERS, *peers.RECORD_PEERS)]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=records.DATA, help="folder of the sets (default: %(default)s)")
    parser.add_argument("--set", dest="set_name", default="mitdb", choices=(*records.WFDB_SETS, *records.EDF_SETS))
    parser.add_argument("--split", default="test", choices=("test", "train", "all"))
    parser.add_argument("--record", action="append", help="only this record (repeatable)")
    parser.add_argument("--prdn", type=float, nargs="*", default=[1, 2, 3, 5, 9], help="PRDN in percent")
    parser.add_argument("--max-error", type=int, nargs="*", default=[1, 2, 4], help="error bounds in stored units")
    parser.add_argument("--no-lossless", action="store_true", help="leave the lossless codecs out")
    parser.add_argument("--level", type=int, action="append", help="of sancodec (repeatable; default 5)")
    parser.add_argument(
        "--chunk", type=_chunk, action="append", help="seconds, or 'file' (repeatable; default 60)", metavar="S|file"
    )
    parser.add_argument("--each-lead-alone", action="store_true", help="sancodec also with one container per lead")
    parser.add_argument("--peer", action="append", choices=names, help="only this peer (repeatable)")
    parser.add_argument("--peers-only", action="store_true", help="without sancodec")
    parser.add_argument("--jobs", type=int, default=2, help="records measured at a time (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="JSON (default: benchmarks/results/rate_distortion_<set>.json)")
    arguments = parser.parse_args(argv)
    arguments.peer = arguments.peer or names
    arguments.level = arguments.level or [5]
    arguments.chunk = arguments.chunk or [60.0]
    if arguments.output is None:
        results = environment.REPOSITORY / "benchmarks" / "results"
        arguments.output = results / f"rate_distortion_{arguments.set_name}.json"
    return arguments


def _print_summary(summary: Sequence[dict[str, Any]]) -> None:
    for entry in summary:
        setting = ""
        if "level" in entry:
            chunk = "whole file" if entry["chunk_s"] is None else f"{entry['chunk_s']:g} s"
            setting = f" level {entry['level']}, {chunk}"
        over = "".join(f"  over {name} {each['geometric_mean']:.3f}" for name, each in entry["over"].items())
        print(
            f"{entry['kind']:>9} {entry['target']:<4g} {entry['codec'] + setting:<40} ratio {entry['mean_ratio']:7.2f}"
            f"{over}  encode {entry['encode_s']:.1f} s  decode {entry['decode_s']:.1f} s"
        )


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _arguments(argv)
    paths = records.record_paths(arguments.data, set_name=arguments.set_name, split=arguments.split)
    if arguments.record:
        paths = [path for path in paths if path.stem in arguments.record]
    if not paths:
        print(f"no record of {arguments.set_name} ({arguments.split}) is named {arguments.record}", file=sys.stderr)
        return 1
    kinds = [Target("prdn", value) for value in arguments.prdn]
    kinds += [Target("max_error", value) for value in arguments.max_error]
    plan = Plan(
        targets=tuple(kinds),
        lossless=not arguments.no_lossless,
        peer_names=tuple(arguments.peer),
        levels=tuple(arguments.level),
        chunks=tuple(arguments.chunk),
        each_lead_alone=arguments.each_lead_alone,
        sancodec=not arguments.peers_only,
    )
    descriptions, rows, refusals = [], [], []
    with ProcessPoolExecutor(max_workers=arguments.jobs) as pool:
        for description, record_rows, record_refusals in pool.map(functools.partial(measure_record, plan=plan), paths):
            print(f"measured {description['name']}", file=sys.stderr, flush=True)
            descriptions.append(description)
            rows += record_rows
            refusals += record_refusals
            for refusal in record_refusals:
                print("left out: {record} {codec} {kind} {target:g}: {reason}".format(**refusal), file=sys.stderr)
    summary = summarise(rows)
    content = {
        "benchmark": "rate_distortion",
        "set": arguments.set_name,
        "split": arguments.split,
        "seed": SEED,
        "environment": environment.describe(("sancodec", *peers.PEER_PACKAGES)),
        "plan": asdict(plan),
        "records": descriptions,
        "summary": summary,
        "refusals": refusals,
        "rows": rows,
    }
    environment.write_json(arguments.output, content)
    _print_summary(summary)
    return 0


if __name__ == "__main__":
    sys.exit(main())
