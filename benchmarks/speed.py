"""Time and memory of sancodec beside its peers on one record, in one run.

    python benchmarks/speed.py
    python benchmarks/speed.py --record ../shared/data/mitdb/207 --prdn 2 --repetitions 9

Whole processes (start-up, reading and writing included): wall time and peak resident memory of each child. In process:
seconds and million samples per second of encoding and decoding alone. All commands take turns, in reversed order every
other round (A B, B A), so that a drift of the machine meets all of them alike. Output goes to a temporary folder.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import environment

DEFAULT_RECORD = environment.REPOSITORY.parent / "shared" / "data" / "mitdb" / "100"
SEED = 0


@dataclass(frozen=True, slots=True)
class Command:
    """A whole process to time. ``output`` is the file whose size is its result, ``stdout`` where its output goes."""

    codec: str
    action: str
    arguments: tuple[str, ...]
    output: Path | None = None
    lossless: bool = True
    stdout: Path = Path(os.devnull)


@dataclass(frozen=True, slots=True)
class Action:
    """A call to time in this process."""

    codec: str
    action: str
    call: Callable[[], object]
    n_samples: int
    n_bytes: int | None = None
    lossless: bool = True


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def _in_turns(n_items: int, repetitions: int) -> Iterable[Sequence[int]]:
    for repetition in range(repetitions):
        order = range(n_items)
        yield order if repetition % 2 == 0 else order[::-1]


def run_process(arguments: Sequence[str], *, stdout: Path = Path(os.devnull)) -> tuple[float, float, int]:
    """Run one child; return its wall seconds, its peak resident memory in MiB and its exit status."""
    with stdout.open("wb") as sink:
        start = time.perf_counter()
        process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.DEVNULL)
        _pid, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    kib = usage.ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return wall_s, kib / 1024, process.returncode


def _python(code: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code, *arguments)


_LZMA_ENCODE = (
    "import lzma, pathlib, sys; "
    "pathlib.Path(sys.argv[2]).write_bytes(lzma.compress(pathlib.Path(sys.argv[1]).read_bytes(), preset=9))"
)
_LZMA_DECODE = (
    "import lzma, pathlib, sys; "
    "pathlib.Path(sys.argv[2]).write_bytes(lzma.decompress(pathlib.Path(sys.argv[1]).read_bytes()))"
)


def process_commands(record: Path, folder: Path, *, prdn: float, levels: Sequence[int]) -> list[Command]:
    """List every whole process that can be timed here; a program that is not installed is left out."""
    import sancodec_adapter

    source = record.with_suffix(".dat")
    commands = [Command("python", "start-up", _python("pass"))]
    sancodec = sancodec_adapter.command()
    if sancodec:
        commands.append(Command("sancodec", "start-up (--help)", (*sancodec, "--help")))
        for level in levels:
            name = f"sancodec level {level}"
            output = folder / f"level{level}.san"
            restored = folder / f"level{level}"
            compress = sancodec_adapter.compress_arguments(source, output, prdn=prdn, level=level)
            commands.append(Command(name, "encode", (*sancodec, *compress), output, lossless=False))
            decompress = sancodec_adapter.decompress_arguments(output, restored)
            commands.append(Command(name, "decode", (*sancodec, *decompress), lossless=False))
    for name, options in (("xz", ("-9", "--threads=1")), ("zstd", ("-19", "-q"))):
        program = shutil.which(name)
        if program is None:
            continue
        codec = f"{name} {options[0]}"
        packed, restored = folder / f"record.{name}", folder / f"record.{name}.dat"
        # through the standard output, since xz has no output option
        pack = (program, *options, "-c", str(source))
        commands.append(Command(codec, "encode", pack, packed, stdout=packed))
        commands.append(Command(codec, "decode", (program, "-d", "-c", str(packed)), stdout=restored))
    packed, restored = folder / "record.lzma", folder / "record.lzma.dat"
    commands.append(Command("python lzma preset 9", "encode", _python(_LZMA_ENCODE, str(source), str(packed)), packed))
    commands.append(Command("python lzma preset 9", "decode", _python(_LZMA_DECODE, str(packed), str(restored))))
    flac = shutil.which("flac")
    if flac:
        packed, restored = folder / "record.flac", folder / "record.flac.raw"
        raw_format = ("--force-raw-format", "--endian=little", "--sign=signed")
        n_channels, rate_hz = (folder / "interleaved.txt").read_text().split()
        shape = (f"--channels={n_channels}", "--bps=16", f"--sample-rate={rate_hz}")
        interleaved = str(folder / "interleaved.raw")
        encode = (flac, "-8", "-s", "-f", "--no-padding", *raw_format, *shape, "-o", str(packed), interleaved)
        commands.append(Command("flac -8", "encode", encode, packed))
        decode = (flac, "-d", "-s", "-f", *raw_format, "-o", str(restored), str(packed))
        commands.append(Command("flac -8", "decode", decode))
    return commands


_WRITE_INTERLEAVED = """
import pathlib, sys
import wfdb
record = wfdb.rdrecord(sys.argv[1], physical=False, ignore_skew=True)
folder = pathlib.Path(sys.argv[2])
(folder / "interleaved.raw").write_bytes(record.d_signal[:, :8].astype("<i2").tobytes())
(folder / "interleaved.txt").write_text(f"{min(record.n_sig, 8)} {round(record.fs)}")
"""


def time_processes(commands: Sequence[Command], *, repetitions: int) -> list[dict[str, Any]]:
    """Time all commands in turns after one round that is not counted; those that fail are left out and named."""
    working = []
    for command in commands:
        status = run_process(command.arguments, stdout=command.stdout)[2]
        if status == 0:
            working.append(command)
        else:
            print(f"left out: {command.codec} {command.action} (exit status {status})", file=sys.stderr)
    wall_s: list[list[float]] = [[] for _ in working]
    peak_mib: list[list[float]] = [[] for _ in working]
    for order in _in_turns(len(working), repetitions):
        for index in order:
            seconds, mib, status = run_process(working[index].arguments, stdout=working[index].stdout)
            if status:
                raise RuntimeError(f"{working[index].codec} {working[index].action} failed: exit status {status}")
            wall_s[index].append(seconds)
            peak_mib[index].append(mib)
    return [
        {
            "codec": command.codec,
            "action": command.action,
            "lossless": command.lossless,
            "wall_s": _spread(wall_s[index]),
            "peak_mib": _spread(peak_mib[index]),
            "output_bytes": command.output.stat().st_size if command.output else None,
        }
        for index, command in enumerate(working)
    ]


def in_process_actions(record: Path, *, prdn: float, levels: Sequence[int], chunk_s: float) -> list[Action]:
    """List encoding and decoding calls of every codec; the peers' search for the step is part of encoding."""
    import peers
    import records
    import sancodec_adapter
    from quality import Target

    loaded = records.read_record(record)
    leads = [lead.samples for lead in loaded.leads]
    n_samples = sum(map(len, leads))
    target = Target("prdn", prdn)
    actions: list[Action] = []

    def add_lead_peer(peer: peers.LeadPeer) -> None:
        blobs = [peer.encode(x, target) for x in leads]
        n_bytes = sum(map(len, blobs))
        encode, decode = peer.encode, peer.decode
        actions.append(
            Action(peer.name, "encode", lambda: [encode(x, target) for x in leads], n_samples, n_bytes, lossless=False)
        )
        actions.append(
            Action(
                peer.name,
                "decode",
                lambda: [decode(blob, len(x)) for blob, x in zip(blobs, leads, strict=True)],
                n_samples,
                n_bytes,
                lossless=False,
            )
        )

    def add_record_peer(peer: peers.RecordPeer) -> None:
        rate_hz = max(1, round(loaded.frame_rate_hz))
        blobs = peer.encode(leads, rate_hz)
        n_bytes = sum(map(len, blobs))
        lengths = [len(x) for x in leads]
        actions.append(Action(peer.name, "encode", lambda: peer.encode(leads, rate_hz), n_samples, n_bytes))
        actions.append(Action(peer.name, "decode", lambda: peer.decode(blobs, lengths), n_samples, n_bytes))

    def add_sancodec(level: int) -> None:
        compress, decompress = sancodec_adapter.calls(loaded, loaded.leads, target, level=level, chunk_s=chunk_s)
        blob = compress()
        name = f"sancodec level {level}"
        actions.append(Action(name, "encode", compress, n_samples, len(blob), lossless=False))
        actions.append(Action(name, "decode", lambda: decompress(blob), n_samples, len(blob), lossless=False))

    if sancodec_adapter.offers("prdn"):
        for level in levels:
            add_sancodec(level)
    for lead_peer in peers.LEAD_PEERS:
        add_lead_peer(lead_peer)
    for record_peer in peers.RECORD_PEERS:
        add_record_peer(record_peer)
    return actions


def time_in_process(actions: Sequence[Action], *, repetitions: int) -> list[dict[str, Any]]:
    seconds: list[list[float]] = [[] for _ in actions]
    for order in _in_turns(len(actions), repetitions):
        for index in order:
            start = time.perf_counter()
            actions[index].call()
            seconds[index].append(time.perf_counter() - start)
    return [
        {
            "codec": action.codec,
            "action": action.action,
            "lossless": action.lossless,
            "seconds": _spread(seconds[index]),
            "msamples_per_s": _spread([action.n_samples / 1e6 / value for value in seconds[index]]),
            "bytes": action.n_bytes,
        }
        for index, action in enumerate(actions)
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", type=Path, default=DEFAULT_RECORD, help="WFDB record (default: %(default)s)")
    parser.add_argument("--prdn", type=float, default=5.0, help="target of the lossy codecs (default: %(default)s)")
    parser.add_argument("--level", type=int, action="append", help="of sancodec (repeatable; default 1 and 5)")
    parser.add_argument("--chunk", type=float, default=60.0, help="seconds, in process (default: %(default)s)")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--output", type=Path, default=environment.REPOSITORY / "benchmarks" / "results" / "speed.json")
    arguments = parser.parse_args(argv)
    levels = arguments.level or [1, 5]
    record = arguments.record.with_suffix("")

    # A child's peak starts at the peak of the process that started it, so numpy is imported only after these rounds.
    with tempfile.TemporaryDirectory(prefix="sancodec-speed-") as temporary:
        folder = Path(temporary)
        subprocess.run(_python(_WRITE_INTERLEAVED, str(record), str(folder)), check=True)
        commands = process_commands(record, folder, prdn=arguments.prdn, levels=levels)
        floor_mib = run_process(("true",))[1]
        processes = time_processes(commands, repetitions=arguments.repetitions)
    actions = in_process_actions(record, prdn=arguments.prdn, levels=levels, chunk_s=arguments.chunk)
    in_process = time_in_process(actions, repetitions=arguments.repetitions)

    import peers

    content = {
        "benchmark": "speed",
        "record": record.name,
        "record_bytes": record.with_suffix(".dat").stat().st_size,
        "n_samples": actions[0].n_samples,
        "prdn": arguments.prdn,
        "repetitions": arguments.repetitions,
        "seed": SEED,
        "environment": environment.describe(("sancodec", *peers.PEER_PACKAGES)),
        "peak_mib_floor": floor_mib,
        "processes": processes,
        "in_process": in_process,
    }
    environment.write_json(arguments.output, content)
    for row in processes:
        name = f"{row['codec']:<22} {row['action']:<18}"
        wall, peak = row["wall_s"]["median"], row["peak_mib"]["median"]
        print(f"{name} {wall:8.3f} s  {peak:7.1f} MiB  {row['output_bytes'] or ''}")
    for row in in_process:
        name = f"{row['codec']:<22} {row['action']:<18}"
        seconds, rate = row["seconds"]["median"], row["msamples_per_s"]["median"]
        print(f"{name} {seconds:8.3f} s  {rate:7.2f} Msamples/s  {row['bytes']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
