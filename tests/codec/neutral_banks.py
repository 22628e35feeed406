"""Banks with statistics that were fitted to nothing, so that no test depends on what ships."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sancodec.codec.kernels import KernelGroup, Model
from sancodec.training.lapped import SYM4, SYM8, dyadic_groups, mdct_kernels, split_lowest
from sancodec.training.statistics import neutral_contexts


def neutral_model(name: str, groups: Sequence[KernelGroup], *, n_sets: int = 2, **metadata: object) -> Model:
    """The first weight set knows the profile alone, the others look at the parents as well."""
    contexts = neutral_contexts(tuple(groups), n_sets)
    weights = contexts.band_weights.copy()
    weights[1:] = [128, 64, 32, 16]
    return Model(tuple(groups), replace(contexts, band_weights=weights), {"name": name, **metadata})


def random_group(stride: int, n_kernels: int, length: int, offset: int) -> KernelGroup:
    rng = np.random.default_rng([stride, n_kernels, length])
    return KernelGroup(stride, offset, rng.integers(-(1 << 15), 1 << 15, (n_kernels, length)).astype(np.int32))


LAPPED = neutral_model(
    "lapped", split_lowest(mdct_kernels(32), stride=32, levels=3, scaling=SYM4), sampling_rate_hz=360
)
DYADIC = neutral_model("dyadic", dyadic_groups(SYM8, levels=7))
SMALL = neutral_model("small", [random_group(8, 2, 20, -6), random_group(4, 1, 9, 3)])
BANKS = (LAPPED, DYADIC)
