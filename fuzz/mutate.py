#!/usr/bin/env python
"""Damage containers at random and check that no damage is silent, slow, large, or an unexpected error.

python fuzz/mutate.py --count 100000 --seed 1
python fuzz/mutate.py --count 100000 --of mixed     of the containers with that in their names
python fuzz/mutate.py --every-byte     all 255 changes of every byte of the smallest containers
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from check import decode_outcome, header_outcome, salvage_outcome
from corpus import ECG, all_seeds, tiny
from mutations import BYTE_MUTATIONS, Mutated, mutated, sections_of

MEMORY_LIMIT = 512 << 20


def main() -> None:
    """Print counts by kind and outcome; exit with status 1 when there were failures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--of", default="", help="part of the names of the containers to damage")
    parser.add_argument("--keep", type=Path, help="folder for the containers that fail")
    parser.add_argument("--every-byte", action="store_true")
    options = parser.parse_args()
    if options.every_byte:
        every_byte()
        return
    seeds = [(seed, sections_of(seed.content)) for seed in all_seeds() if options.of in seed.name]
    limit_memory()
    outcomes: dict[str, Counter[str]] = {}
    n_failed = 0
    slowest = 0.0
    for number in range(options.count):
        rng = random.Random(f"{options.seed} {number}")
        seed, sections = rng.choice(seeds)
        damaged = mutated(seed.content, sections, rng)
        start = time.process_time()
        for what, check in (("decode", decode_outcome), ("salvage", salvage_outcome)):
            try:
                outcome = check(damaged, seed.recording)
            except Exception as error:
                outcome = f"FAILED: {type(error).__name__}"
                n_failed += 1
                print(f"--count {number + 1} --seed {options.seed}: {seed.name}: {damaged.kind}: {what}")
                traceback.print_exc(limit=-3, file=sys.stdout)
                sys.stdout.flush()
                if options.keep is not None:
                    (options.keep / f"{options.seed}-{number}-{what}.san").write_bytes(damaged.content)
            outcomes.setdefault(f"{what}: {damaged.kind}", Counter())[outcome] += 1
        slowest = max(slowest, time.process_time() - start)
        kind, change = rng.choice(BYTE_MUTATIONS[:-1])
        outcome = header_outcome(change(ECG.read_bytes(), rng))
        outcomes.setdefault(f"WFDB header: {kind}", Counter())[outcome] += 1
    for kind, counts in sorted(outcomes.items()):
        print(f"{kind}: " + ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"{options.count} mutations, {n_failed} failures, slowest {slowest:.2f} s, peak memory {peak} MiB")
    sys.exit(1 if n_failed else 0)


def every_byte() -> None:
    """Change every byte of the smallest containers to every other value; any wrong sample ends this with an error."""
    for seed in tiny():
        counts: Counter[str] = Counter()
        for place in range(len(seed.content)):
            for change in range(1, 256):
                content = bytearray(seed.content)
                content[place] ^= change
                counts[decode_outcome(Mutated("byte", bytes(content)), seed.recording)] += 1
        print(f"{seed.name}, {len(seed.content)} bytes: {', '.join(f'{n} {what}' for what, n in counts.most_common())}")


def limit_memory() -> None:
    """Allow what the process has now, and a little more."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY_LIMIT, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main()
