"""What the tests of the public functions compress, and how far the result may be from it."""

from fractions import Fraction

import numpy as np

import sancodec
from sancodec.codec.kernels import Model
from sancodec.codec.recording import Recording
from sancodec.training.lapped import SYM4, SYM8, dyadic_groups, mdct_kernels, split_lowest
from sancodec.training.statistics import neutral_contexts


def neutral(name, groups, **metadata):
    return Model(tuple(groups), neutral_contexts(tuple(groups)), {"name": name, **metadata})


BANKS = (
    neutral("lapped", split_lowest(mdct_kernels(32), stride=32, levels=3, scaling=SYM4), sampling_rate_hz=360),
    neutral("dyadic", dyadic_groups(SYM8, levels=7)),
)


def prdn_of(original, decoded):
    original, error = original.astype(np.float64), decoded.astype(np.float64) - original
    centred = original - original.mean(axis=-1, keepdims=True)
    return 100 * np.sqrt((error**2).sum(axis=-1) / (centred**2).sum(axis=-1))


def compressed(signal, **settings):
    return sancodec.compress(signal, **{"sampling_rate_hz": 360, "models": BANKS, **settings})


def round_trip(signal, **settings):
    return sancodec.decompress(compressed(signal, **settings), models=BANKS)


def sine(n_samples=500, amplitude=100, offset=0):
    return np.rint(amplitude * np.sin(np.arange(n_samples) / 9) + offset)


def recording(samples, channels, rate_hz=360):
    arrays = tuple(np.asarray(each, np.int32) for each in samples)
    return Recording(tuple(channels), arrays, Fraction(rate_hz), "array")
