"""The future work of arXiv:1907.06592, measured by φ̄ and by the size of the codec's files.

    python benchmarks/paper/future_work.py
    python benchmarks/paper/future_work.py --quick

φ̄: the protocol of physionet.py (three records, 6/2/4 windows of 1000 samples, 30 epochs), three seeds. Of each seed
that size, and that start of the weights, counts that has the least φ̄ of validation; the figure is φ̄ of test. An idea
helps on a record where its worst seed is better than the best seed of what it is compared with. Beside it stands the
choice by φ̄ of test, which is that of the paper's code.

CR: networks trained on the first 60 s of lead 0 of training records of mitdb, the best of two seeds by φ̄ of
validation, as the beat layer of the whole lead, against the kernels that the codec learns itself.

Finished runs are kept in build/ and not repeated; a change of future_networks.py repeats all.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import environment
import future_networks as networks
import numpy as np
import torch

import sancodec
from sancodec.codec.given_kernels import GivenKernels
from sancodec.datasets.wfdb_record import read_wfdb
from sancodec.training.san_config import TrainingConfig
from sancodec.training.windows import SplitWindows, WindowOptions, read_windows

RESULT = environment.REPOSITORY / "benchmarks" / "results" / "paper_future_work.json"
QUICK = environment.REPOSITORY / "tests" / "data" / "100_10s"
N_EPOCHS, N_SEEDS, N_CODEC_SEEDS = 30, 3, 2
RECORDS = ("mitdb/100", "voiced/voice001", "ctu-uhb-ctgdb/1001")
LONG = {"mitdb/100": (12, 32, 208, 229, 240), "voiced/voice001": (16, 24, 32, 48, 64)}
SHORT = {"mitdb/100": (12, 16, 24, 32), "voiced/voice001": (16, 32, 48, 64)}
OTHERS = (16, 24, 32, 48)
DILATIONS = (0.5, 1.0, 2.0)
CODEC_RECORDS = ("101", "106", "118", "123")
CODEC_SIZES = (128, 229)
CODEC_S = 60
BITS = 11


@dataclass(frozen=True)
class Arm:
    """One way to make and train a network.

    Parameters
    ----------
    ratios
        Size of each kernel by the size that is tried.
    long
        Whether the sizes tried are those good for one kernel.
    """

    name: str
    ratios: tuple[float, ...] = (1.0,)
    kind: str = "plain"
    competing: bool = False
    anneal_from: float | None = None
    scales: tuple[float, ...] = ()
    learned: bool = False
    long: bool = False

    @property
    def initials(self) -> tuple[str, ...]:
        return ("normal",) if len(set(self.ratios)) < len(self.ratios) else ("constant", "normal")

    def sizes(self, record: str) -> tuple[int, ...]:
        return (LONG if self.long else SHORT).get(record, OTHERS)

    def trained(self, windows: SplitWindows, *, size: int, initial: str, seed: int, n_epochs: int) -> networks.Trained:
        drawn = seed if initial == "normal" else None
        if self.scales:
            module: Any = networks.Scaled(size, self.scales, learned=self.learned, seed=drawn)
        else:
            config = TrainingConfig("extrema", tuple(max(1, round(size * ratio)) for ratio in self.ratios))
            kind = networks.ByMagnitude if self.kind == "magnitude" else networks.Plain
            activations = config.activations(windows.window)
            module = kind(config.kernel_sizes, activations, n_dims=1, seed=drawn, competing=self.competing)
        return networks.train(module, windows, seed=seed, n_epochs=n_epochs, anneal_from=self.anneal_from)


ONE = Arm("one kernel", long=True)
ARMS = (
    ONE,
    *(Arm(f"{n} independent", (1.0,) * n) for n in (2, 3, 4)),
    *(Arm(f"{n} competing", (1.0,) * n, competing=True) for n in (2, 3, 4)),
    Arm("2 competing by |s|", (1.0, 1.0), kind="magnitude", competing=True),
    Arm("m, 2m independent", (1.0, 2.0)),
    Arm("m, 2m competing", (1.0, 2.0), competing=True),
    Arm("m/2, m, 2m independent", (0.5, 1.0, 2.0)),
    Arm("m/2, m, 2m competing", (0.5, 1.0, 2.0), competing=True),
    *(Arm(f"annealed from {start:g} m", anneal_from=start, long=True) for start in (0.5, 2.0)),
    *(
        Arm(f"learned scale from {start:g}", scales=(start,), learned=True, long=start == 1)
        for start in (1.0, 2.0, 4.0)
    ),
    Arm("one shape, scales ½ 1 2", scales=DILATIONS),
    Arm("one shape, three learned scales", scales=DILATIONS, learned=True),
)
# What each idea has to beat.
AGAINST = {
    **{f"{n} competing": (ONE.name, f"{n} independent") for n in (2, 3, 4)},
    "2 competing by |s|": ("2 competing",),
    "m, 2m competing": (ONE.name, "m, 2m independent"),
    "m/2, m, 2m competing": (ONE.name, "m/2, m, 2m independent"),
    **{arm.name: (ONE.name,) for arm in ARMS if arm.anneal_from or len(arm.scales) == 1},
    "one shape, scales ½ 1 2": (ONE.name, "m/2, m, 2m competing"),
    "one shape, three learned scales": (ONE.name, "one shape, scales ½ 1 2"),
}
CODEC_ARMS = (
    "one kernel",
    "annealed from 0.5 m",
    "2 independent",
    "2 competing",
    "4 independent",
    "4 competing",
    "one shape, scales ½ 1 2",
)


class Runs:
    """Results by their key, kept in a file as soon as they are there."""

    def __init__(self, folder: Path) -> None:
        source = Path(networks.__file__).read_bytes()
        self.path = folder / f"{hashlib.sha256(source).hexdigest()[:16]}.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.found = {each["key"]: each["value"] for each in map(json.loads, lines)}

    def once(self, key: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if key not in self.found:
            self.found[key] = compute()
            with self.path.open("a") as file:
                file.write(json.dumps({"key": key, "value": self.found[key]}) + "\n")
        value: dict[str, Any] = self.found[key]
        return value


def runs_of(arm: Arm, record: str, windows: SplitWindows, store: Runs) -> Iterator[dict[str, Any]]:
    """φ̄ of every size, start and seed of an arm on a record."""
    for seed in range(N_SEEDS):
        for initial in arm.initials:
            for size in arm.sizes(record):
                settings = {"size": size, "initial": initial, "seed": seed}

                def compute(settings: dict[str, Any] = settings) -> dict[str, Any]:
                    found = arm.trained(windows, n_epochs=N_EPOCHS, **settings)
                    scales = found.module.log_scales.exp().tolist() if arm.scales else None
                    return {
                        **settings,
                        "validation": found.validation.phi,
                        "test": asdict(found.test),
                        "n_activations": found.n_activations,
                        "scales": scales,
                    }

                yield store.once(f"{record} {arm} {settings}", compute)


def measure_phi(data: Path, store: Runs) -> list[dict[str, Any]]:
    """One row per record and arm: of each seed the best run by validation, and by test."""
    rows = []
    for record in RECORDS:
        windows = read_windows(data / record, WindowOptions(first=12_000))
        for arm in ARMS:
            start = time.perf_counter()
            runs = list(runs_of(arm, record, windows, store))
            by_seed = [[run for run in runs if run["seed"] == seed] for seed in range(N_SEEDS)]
            rows.append(
                {
                    "record": record,
                    "arm": arm.name,
                    "by_validation": [min(each, key=lambda run: run["validation"]) for each in by_seed],
                    "by_test": [min(each, key=lambda run: run["test"]["phi"]) for each in by_seed],
                    "mean_phi_by_size": {
                        f"{size} {initial}": float(np.mean([run["test"]["phi"] for run in group]))
                        for size in arm.sizes(record)
                        for initial in arm.initials
                        if (group := [run for run in runs if (run["size"], run["initial"]) == (size, initial)])
                    },
                }
            )
            print(f"{record} {arm.name}: {_spread(rows[-1])}, {time.perf_counter() - start:.0f} s", file=sys.stderr)
    return rows


def verdicts(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Where the worst seed of an idea is better than the best seed of what it is compared with."""
    by_name = {(row["record"], row["arm"]): row for row in rows}
    return [
        {
            "arm": arm,
            "against": other,
            "record": record,
            "by": by,
            "ratio": float(np.mean(_phis(by_name[record, arm], by)) / np.mean(_phis(by_name[record, other], by))),
            "helps": max(_phis(by_name[record, arm], by)) < min(_phis(by_name[record, other], by)),
            "harms": min(_phis(by_name[record, arm], by)) > max(_phis(by_name[record, other], by)),
        }
        for arm, others in AGAINST.items()
        for other in others
        for record in RECORDS
        for by in ("by_validation", "by_test")
    ]


def kernels_of(trained: networks.Trained, sampling_rate_hz: float) -> GivenKernels:
    """The kernels as they are shown, which is reversed."""
    module = trained.module
    kernels = module.expanded() if isinstance(module, networks.Scaled) else module.kernels
    return GivenKernels(tuple(each.detach().numpy()[::-1].astype(np.float64) for each in kernels), sampling_rate_hz)


def measure_codec(data: Path, store: Runs) -> list[dict[str, Any]]:
    """Bytes of lead 0 with the kernels of each network, and with those that the codec learns."""
    rows = []
    for name in CODEC_RECORDS:
        path = data / "mitdb" / name
        rate_hz, lead = _lead(path)
        windows = read_windows(path, WindowOptions(first=round(CODEC_S * rate_hz)))

        def row(arm: str, size: int | None, compute: Callable[[], dict[str, Any]], name: str = name) -> None:
            rows.append({"record": name, "arm": arm, "size": size, **store.once(f"codec {name} {arm} {size}", compute)})

        def own(lead: np.ndarray = lead, rate_hz: float = rate_hz) -> dict[str, Any]:
            return _ratios(lead, rate_hz, None)

        row("learned by the codec", None, own)
        for arm in ARMS:
            for size in CODEC_SIZES if arm.name in CODEC_ARMS else ():

                def given(
                    arm: Arm = arm,
                    size: int = size,
                    lead: np.ndarray = lead,
                    rate_hz: float = rate_hz,
                    windows: SplitWindows = windows,
                ) -> dict[str, Any]:
                    found = [
                        arm.trained(windows, size=size, initial="normal", seed=seed, n_epochs=N_EPOCHS)
                        for seed in range(N_CODEC_SEEDS)
                    ]
                    best = min(found, key=lambda each: each.validation.phi)
                    return {"phi": best.test.phi, **_ratios(lead, rate_hz, kernels_of(best, rate_hz))}

                row(arm.name, size, given)
        print(f"codec {name}", file=sys.stderr)
    return rows


def _lead(path: Path) -> tuple[float, np.ndarray]:
    recording = read_wfdb(path)
    return float(recording.sampling_rate_hz(0)), recording.samples[0]


def _ratios(lead: np.ndarray, rate_hz: float, kernels: GivenKernels | None) -> dict[str, Any]:
    found = {}
    for prdn in (5.0, 9.0):
        blob = sancodec.compress(
            lead, sampling_rate_hz=round(rate_hz), level=5, prdn=prdn, beat_kernels=kernels, threads=1
        )
        found[f"ratio_prdn_{prdn:g}"] = lead.size * BITS / 8 / len(blob)
    return found


def _phis(row: dict[str, Any], by: str = "by_validation") -> list[float]:
    return [run["test"]["phi"] for run in row[by]]


def _spread(row: dict[str, Any], by: str = "by_validation") -> str:
    phis = _phis(row, by)
    return f"{np.mean(phis):.3f} ({min(phis):.3f}–{max(phis):.3f})"


def phi_table(rows: Sequence[dict[str, Any]], by: str) -> str:
    """Markdown: mean φ̄ over the seeds, least and largest."""
    lines = [f"| {by} | " + " | ".join(RECORDS) + " |", "|---|" + "---|" * len(RECORDS)]
    by_name = {(row["record"], row["arm"]): row for row in rows}
    lines += [
        f"| {arm.name} | " + " | ".join(_spread(by_name[record, arm.name], by) for record in RECORDS) + " |"
        for arm in ARMS
    ]
    return "\n".join(lines)


def codec_table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: CR by record at PRDN 5 / 9 %, and the geometric mean of the ratio to the codec's own kernels."""
    lines = [
        "| kernels | " + " | ".join(CODEC_RECORDS) + " | to the codec's own |",
        "|---|" + "---|" * (len(CODEC_RECORDS) + 1),
    ]
    own = {row["record"]: row for row in rows if row["size"] is None}
    for arm, size in dict.fromkeys((row["arm"], row["size"]) for row in rows):
        mine = {row["record"]: row for row in rows if (row["arm"], row["size"]) == (arm, size)}
        names = ("ratio_prdn_5", "ratio_prdn_9")
        cells = [" / ".join(f"{mine[record][name]:.1f}" for name in names) for record in CODEC_RECORDS]
        shares = [
            np.exp(np.mean([np.log(mine[record][name] / own[record][name]) for record in CODEC_RECORDS]))
            for name in names
        ]
        title = arm if size is None else f"{arm}, {size}"
        lines.append(f"| {title} | " + " | ".join(cells) + f" | {shares[0]:.3f} / {shares[1]:.3f} |")
    return "\n".join(lines)


def run_quickly() -> None:
    """Every arm once on the record of the tests, and the codec with its kernels: shows that all of it runs."""
    windows = read_windows(QUICK, WindowOptions(length=300))
    rate_hz, lead = _lead(QUICK)
    for arm in ARMS:
        found = arm.trained(windows, size=24, initial="normal", seed=0, n_epochs=3)
        ratio = _ratios(lead, rate_hz, kernels_of(found, rate_hz))["ratio_prdn_9"]
        print(f"{arm.name}: φ̄ {found.test.phi:.3f}, CR {ratio:.1f}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=environment.REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--state", type=Path, default=environment.REPOSITORY / "build" / "paper_future_work")
    parser.add_argument("--output", type=Path, default=RESULT)
    parser.add_argument("--quick", action="store_true", help="every arm once, on the record of the tests")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.quick:
        run_quickly()
        return 0
    start = time.perf_counter()
    store = Runs(options.state)
    rows = measure_phi(options.data, store)
    codec = measure_codec(options.data, store)
    compared = verdicts(rows)
    for by in ("by_validation", "by_test"):
        print(phi_table(rows, by), end="\n\n")
    print(codec_table(codec))
    for each in compared:
        if each["helps"] or each["harms"]:
            print(
                f"{each['arm']} {'helps' if each['helps'] else 'harms'} against {each['against']} on {each['record']}, "
                f"{each['by'].replace('_', ' ')}: φ̄ {each['ratio']:.3f} of it"
            )
    content = {
        "environment": environment.describe(["numpy", "torch"]),
        "protocol": {"n_epochs": N_EPOCHS, "seeds": N_SEEDS, "tolerance": networks.TOLERANCE, "codec_s": CODEC_S},
        "wall_s_of_what_was_not_finished_before": time.perf_counter() - start,
        "phi": rows,
        "verdicts": compared,
        "codec": codec,
    }
    environment.write_json(options.output, content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
