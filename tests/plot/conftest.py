import io
from pathlib import Path

import numpy as np
import pytest

import sancodec
from sancodec.api import default_engine
from sancodec.codec.decoder import RecordingReader
from sancodec.datasets.wfdb_record import read_wfdb
from sancodec.plot.container_panels import container_picture
from sancodec.plot.network_panels import network_picture
from sancodec.plot.panels import Axis
from sancodec.san.activations import Activation
from sancodec.san.network import SparselyActivatedNetwork

RECORD = Path(__file__).parents[1] / "data" / "100_10s"


@pytest.fixture(scope="session")
def container():
    """The ten-second record, no sample off by more than 20 µV."""
    return sancodec.compress(read_wfdb(RECORD), max_error="20uV")


@pytest.fixture
def record_picture(container):
    reader = RecordingReader(io.BytesIO(container), engine=default_engine())
    return container_picture(reader, channel=0, first_frame=360, n_frames=1800, title="100_10s.san")


@pytest.fixture(scope="session")
def network():
    """A wave and a slope, active at extrema."""
    position = np.arange(41)
    wave = np.exp(-(((position - 20) / 5) ** 2))
    slope = np.linspace(-0.2, 0.2, 15)
    activations = [Activation("extrema", minimum_extrema_distance=distance) for distance in (41, 15)]
    return SparselyActivatedNetwork((wave / np.linalg.norm(wave), slope), tuple(activations))


@pytest.fixture(scope="session")
def window():
    samples = read_wfdb(RECORD).samples[0][:1000].astype(np.float64)
    return (samples - samples.mean()) / samples.std()


@pytest.fixture
def signal_picture(network, window):
    return network_picture(network, window, title="two kernels", sampling_rate_hz=360.0, quantity=Axis("signal"))


@pytest.fixture
def image_picture():
    row, column = np.mgrid[-2:3, -2:3]
    kernels = (np.exp(-(row**2 + column**2) / 4), row * 0.1)
    network = SparselyActivatedNetwork(kernels, (Activation("extrema", minimum_extrema_distance=3),) * 2)
    image = np.random.default_rng(0).normal(size=(20, 30))
    return network_picture(network, image, title="two images", quantity=Axis("brightness"))
