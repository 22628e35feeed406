"""Would choosing the bank piece by piece make files smaller, and could a hash make the choice?

    python benchmarks/bank_routing.py
    python benchmarks/bank_routing.py --quick

The codec chooses one bank per channel, by trial. Here every bank codes every channel behind the codec's own beat
layer, at three steps around the codec's own; bits and squared error are counted for each piece of 2048 samples. A
policy gives each unit (a chunk, or pieces within it) a bank; its bits are interpolated to the squared error of the
codec's choice, so that all policies are compared at one PRDN. Bits are code lengths of the class coder. A policy pays
for the beat layer, the profile of each bank that it uses, the number of each unit's bank, and each change of bank
within a chunk, which is a cut: its price is measured by cutting the channel into circles of 2048 samples.

Oracles know what each bank costs in each unit; one pays nothing for its choices, which bounds any router whose
profiles are fitted to whole channels, the other pays and makes the best of it. The hash router puts a unit into a
bucket by the signs of random hyperplanes of its log band powers (Baykal et al., arXiv 2208.04461, section 2.2); a
bucket's bank is the one with the least regret on training records of all sets. The random router draws the bucket.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import environment
import numpy as np
import records
from bank_costs import BANKS, PIECE, Floats, Integers, Measured, measure

RESULTS = environment.REPOSITORY / "benchmarks" / "results"
SUBSETS = [subset for count in range(2, len(BANKS) + 1) for subset in itertools.combinations(range(len(BANKS)), count)]
UNITS = {"chunk": 1 << 40, "8192 samples": 8192, "2048 samples": PIECE}
# Of an error, in what the codec's own choice says a bit is worth.
PRICES = (0.7, 1.0, 1.4)
N_SEEDS = 5
# Hyperplanes and tables, and whether the hash is local.
ROUTERS = {
    "hyperplanes, 16 buckets": (4, 1, True),
    "hyperplanes, 256 buckets": (8, 1, True),
    "hyperplanes, 32 tables of 4096": (12, 32, True),
    "random, 256 buckets": (8, 1, False),
}
# Records of the training split, channels of a record, PRDN.
SETS: dict[str, tuple[int, int, tuple[float, ...]]] = {
    "mitdb": (12, 2, (2.0, 9.0)),
    "ptb-xl": (15, 4, (2.0, 9.0)),
    "ctu-uhb-ctgdb": (12, 2, (2.0, 9.0)),
    "voiced": (9, 1, (2.0, 9.0)),
    "eegmat": (2, 4, (2.0, 5.0, 9.0)),
    "eegmmidb": (4, 4, (2.0, 5.0, 9.0)),
}


def singles(each: Measured, length: int, *, is_charged: bool = True) -> list[float]:
    """Size under each bank alone."""
    n_units = len(each.units(length))
    return [each.size(np.full(n_units, bank), length, is_charged=is_charged) for bank in range(len(BANKS))]


def free_oracle(each: Measured, length: int) -> float:
    """Smallest size that any choice per unit could have."""
    routed = (each.size(each.costs(length, price=price).argmin(axis=0), length, is_charged=False) for price in PRICES)
    return min(*routed, *singles(each, length, is_charged=False))


def paid_oracle(each: Measured, length: int) -> float:
    """Smallest size under charged choices: the cheapest path over the units, for every set of banks."""
    entry = np.where(each.starts[each.units(length)] > 0, each.cut_bits, 0.0)
    sizes = singles(each, length)
    for price, subset in itertools.product(PRICES, SUBSETS):
        path = _path(each.costs(length, price=price)[list(subset)], entry)
        sizes.append(each.size(np.array(subset)[path], length))
    return min(sizes)


def regret(each: Measured, length: int) -> Floats:
    """What each bank costs beyond the best in each unit, ``(unit, bank)``, as a share of the channel."""
    costs = each.costs(length)
    return ((costs - costs.min(axis=0)) / costs.min(axis=0).sum()).T


def _path(costs: Floats, price: Floats) -> Integers:
    """Row of each column on the cheapest path through ``costs``; ``price`` is what entering a column anew costs."""
    total, came_from = costs[:, 0], []
    for column in range(1, costs.shape[1]):
        jump = int(total.argmin())
        stays = total <= total[jump] + price[column]
        came_from.append(np.where(stays, np.arange(len(total)), jump))
        total = np.minimum(total, total[jump] + price[column]) + costs[:, column]
    path = [int(total.argmin())]
    for rows in reversed(came_from):
        path.append(int(rows[path[-1]]))
    return np.array(path[::-1])


class Router:
    """Tables of buckets, each with what every bank cost there beyond the best bank, over training units.

    Parameters
    ----------
    planes, tables
        Hyperplanes of a table, which has ``2**planes`` buckets; tables whose regrets are added.
    is_local
        Whether buckets are those of hyperplanes; or drawn by chance.
    """

    def __init__(
        self, training: list[Measured], length: int, *, planes: int, tables: int, is_local: bool, seed: int
    ) -> None:
        self._generator = np.random.default_rng(seed)
        self._length, self._planes, self._is_local = length, planes, is_local
        features = np.concatenate([self._features(each) for each in training])
        # Whitened: neighbouring bands rise and fall together, and planes would all cut the same way.
        self._mean = features.mean(axis=0)
        variances, axes = np.linalg.eigh(np.cov((features - self._mean).T))
        self._whiten = axes / np.sqrt(variances)
        self._normals = self._generator.normal(size=(tables, features.shape[1], planes))
        self._medians = np.median(self._projected(features), axis=1, keepdims=True)
        regrets = np.concatenate([regret(each, length) for each in training])  # (unit, bank)
        # A bucket without a training unit is left to the bank that is best of all.
        self._regret = np.tile(1e-3 * regrets.mean(axis=0), (tables, 1 << planes, 1))
        for table, buckets in zip(self._regret, self._buckets(features), strict=True):
            np.add.at(table, buckets, regrets)

    def _features(self, each: Measured) -> Floats:
        first = each.units(self._length)
        counts = np.diff(np.append(first, len(each.starts)))[:, None]
        return np.log2(np.add.reduceat(each.power, first) / counts + 1e-4)

    def _projected(self, features: Floats) -> Floats:
        return (features - self._mean) @ self._whiten @ self._normals  # (table, unit, plane)

    def _buckets(self, features: Floats) -> Integers:
        """Bucket of each unit in each table, ``(table, unit)``."""
        if not self._is_local:
            return self._generator.integers(1 << self._planes, size=(len(self._normals), len(features)))
        return (self._projected(features) > self._medians) @ (1 << np.arange(self._planes))

    def banks(self, each: Measured) -> Integers:
        """A bank for each unit of a channel."""
        buckets = self._buckets(self._features(each))
        return sum(table[at] for table, at in zip(self._regret, buckets, strict=True)).argmin(axis=1)


def gains_of(each: Measured, length: int, *, bank_of_set: int, routers: dict[str, list[Router]]) -> dict[str, Floats]:
    """Log of the codec's bits over those of every policy; of routers one for each seed."""
    of_bank = singles(each, length)
    sizes = {
        "bank of the set": [of_bank[bank_of_set]],
        "best bank of the channel": [min(of_bank)],
        "oracle, choices free": [free_oracle(each, length)],
        "oracle, choices paid": [paid_oracle(each, length)],
    }
    for name, by_seed in routers.items():
        sizes[name] = [each.size(router.banks(each), length) for router in by_seed]
    return {name: np.log(of_bank[each.chosen] / np.array(found)) for name, found in sizes.items()}


def summarised(training: list[Measured], tested: list[Measured]) -> list[dict[str, Any]]:
    """Geometric-mean gain in percent of each policy over the codec's choice, per set, PRDN and unit."""
    rows = []
    for unit_name, length in UNITS.items():
        routers = {
            name: [
                Router(training, length, planes=planes, tables=tables, is_local=is_local, seed=seed)
                for seed in range(N_SEEDS)
            ]
            for name, (planes, tables, is_local) in ROUTERS.items()
        }
        for set_name, (_, _, all_prdn) in SETS.items():
            for prdn in all_prdn:
                group = [each for each in tested if (each.set_name, each.prdn) == (set_name, prdn)]
                of_set = [each for each in training if (each.set_name, each.prdn) == (set_name, prdn)]
                bank_of_set = int(sum(regret(each, length).sum(axis=0) for each in of_set).argmin())
                gains = [gains_of(each, length, bank_of_set=bank_of_set, routers=routers) for each in group]
                percent = {name: 100 * np.expm1(np.mean([each[name] for each in gains], axis=0)) for name in gains[0]}
                counted = sum(each.size(np.full(len(each.starts), each.chosen), 1) for each in group)
                rows.append(
                    {
                        "set": set_name,
                        "prdn": prdn,
                        "unit": unit_name,
                        "channels": len(group),
                        "units_per_channel": float(np.mean([len(each.units(length)) for each in group])),
                        "cut_bits": float(np.mean([each.cut_bits for each in group])),
                        "counted_bits_over_file": counted / sum(8 * each.bytes_in_file for each in group),
                        "banks_of_the_codec": sorted({BANKS[each.chosen].name for each in group}),
                        "gain_percent": {name: float(values.mean()) for name, values in percent.items()},
                        "deviation_percent": {name: float(values.std()) for name, values in percent.items()},
                    }
                )
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=records.DATA, help="folder of the sets")
    parser.add_argument("--quick", action="store_true", help="one channel of each split; no file is written")
    parser.add_argument("--output", type=Path, default=RESULTS / "bank_routing.json")
    arguments = parser.parse_args(argv)
    start = time.perf_counter()
    measured: dict[str, list[Measured]] = {"train": [], "test": []}
    for set_name, (n_training, n_channels, all_prdn) in SETS.items():
        for split, found in measured.items():
            paths = records.record_paths(arguments.data, set_name=set_name, split=split)
            if split == "train":
                paths = [paths[i] for i in np.linspace(0, len(paths) - 1, n_training).astype(int)]
            for path, prdn in itertools.product(paths[:1] if arguments.quick else paths, all_prdn):
                found += measure(set_name, path, 1 if arguments.quick else n_channels, prdn)
        print(f"{set_name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    rows = summarised(measured["train"], measured["test"])
    for row in rows:
        gains = ", ".join(f"{policy}: {gain:+.2f}" for policy, gain in row["gain_percent"].items())
        print(f"{row['set']}, PRDN {row['prdn']:g}, {row['unit']}: {gains}")
    if not arguments.quick:
        content = {
            "benchmark": "bank_routing",
            "environment": environment.describe(("sancodec", "numpy", "wfdb")),
            "seeds": list(range(N_SEEDS)),
            "banks": [bank.name for bank in BANKS],
            "training_records": sorted({f"{each.set_name}/{each.record}" for each in measured["train"]}),
            "seconds": time.perf_counter() - start,
            "bank_routing": rows,
        }
        environment.write_json(arguments.output, content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
