"""Levels as a trellis allows them, of channels of every kind."""

from dataclasses import replace

import numpy as np
from neutral_banks import neutral_model, random_group

from sancodec.codec.contexts import MAX_PHASE_CODE, MAX_SCALE_CODE, N_PHASES, Profile
from sancodec.codec.level_arithmetic import TRELLIS
from sancodec.codec.level_coder import LevelUnit
from sancodec.codec.mixing_model import N_FINE_PHASES, content_length, from_content

# More bands than have contexts of their own, and one window of most of them in a period.
MANY_BANDS = neutral_model("many bands", [random_group(256, 120, 8, 0), random_group(128, 10, 8, 0)])


def with_any_statistics(model, rng):
    """The model with statistics of whatever a model file can hold."""
    n_sets = model.contexts.n_weight_sets
    mixing = from_content(rng.bytes(content_length(n_sets, model.n_bands)), n_sets, model.n_bands)
    return replace(model, contexts=replace(model.contexts, mixing=mixing), metadata_bytes=None)


def any_profile(model, rng, *, off=0.2, max_scale=MAX_SCALE_CODE):
    scales = np.where(rng.random(model.n_bands) < off, 0, rng.integers(1, max_scale + 1, model.n_bands))
    shape = model.contexts.n_phase_groups, N_PHASES + 1
    phase_codes = rng.integers(-MAX_PHASE_CODE, MAX_PHASE_CODE + 1, shape)
    return Profile(int(rng.integers(0, model.contexts.n_weight_sets)), scales, phase_codes)


def levels_of(indices, negative):
    """Levels of a band with these indices, from the first state of the trellis on."""
    state, levels = 0, []
    for index in indices.tolist():
        levels.append(2 * index - (state & 1) if index else 0)
        state = TRELLIS[state][index & 1]
    return np.where(negative, -1, 1) * np.array(levels, np.int64)


def any_unit(model, rng, *, n_periods=2, density=0.4, peak=4, profile=None):
    """A channel with indices up to about ``peak`` where they are not 0."""
    profile = any_profile(model, rng) if profile is None else profile
    n_windows = [n_periods * model.period // stride for stride in model.band_strides]
    bands = []
    for count, scale in zip(n_windows, profile.scale_codes.tolist(), strict=True):
        used = (rng.random(count) < density) & (scale > 0)
        indices = np.where(used, rng.integers(1, peak + 1, count), 0)
        bands.append(levels_of(indices, rng.random(count) < 0.5))
    levels = np.concatenate(bands).astype(np.int32)
    return LevelUnit(model, profile, rng.integers(0, N_FINE_PHASES, len(levels)).astype(np.uint8), levels)


def blank(units):
    """The same channels, their levels not yet known."""
    return [replace(unit, levels=np.full_like(unit.levels, 77)) for unit in units]
