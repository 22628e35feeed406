"""The kernels of a trained network as shapes of beats for the codec."""

from __future__ import annotations

import numpy as np

from sancodec.codec.given_kernels import GivenKernels
from sancodec.errors import InvalidSignalError
from sancodec.san.model_file import SanModel


def beat_kernels(model: SanModel) -> GivenKernels:
    """What an event of each kernel adds to the signal: the kernel reversed (``sancodec.san.network``).

    Raises
    ------
    InvalidSignalError
        When the network is one of images, has no sampling rate, or a kernel that is 0 everywhere or of one sample.
    """
    if model.network.n_dims != 1:
        raise InvalidSignalError("a network of images has no beats; take one that was trained on signals")
    if model.sampling_rate_hz is None:
        raise InvalidSignalError("the network has no sampling rate; train it on a record, or with --rate")
    shapes = tuple(kernel[::-1].astype(np.float64) for kernel in model.network.kernels)
    return GivenKernels(shapes, model.sampling_rate_hz)
