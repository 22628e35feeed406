import numpy as np
import pytest
from round_trips import BANKS, compressed

import sancodec


@pytest.fixture(scope="module")
def opened(tmp_path_factory, long_ecg):
    path = tmp_path_factory.mktemp("open") / "a.san"
    path.write_bytes(compressed(long_ecg, prdn=5, chunk_s=30))
    with sancodec.open(path, models=BANKS) as record:
        yield record, sancodec.decompress(path.read_bytes(), models=BANKS)


@pytest.mark.parametrize(
    "span",
    [slice(0, 10), slice(None), slice(10_799, 10_801), slice(5, 28_000, 7), slice(-5, None), slice(9, 9), slice(9, 3)],
    ids=str,
)
@pytest.mark.parametrize("channel", [0, 1, -1])
def test_a_slice_of_an_open_recording_is_that_of_the_whole(opened, channel, span):
    record, samples = opened
    np.testing.assert_array_equal(record[channel, span], samples[channel, span])


def test_an_open_recording_tells_its_channels_and_length(opened):
    record, samples = opened
    assert len(record.channels) == 2
    assert record.frame_rate_hz == 360
    assert [record.n_samples(channel) for channel in (0, 1)] == [samples.shape[1]] * 2
    with pytest.raises(IndexError):
        record[2, 0:5]
    with pytest.raises(IndexError):
        record[0, 5:0:-1]


def test_events_of_an_open_recording_are_its_beats(opened):
    record, _ = opened
    starts, events = record.events(0)
    assert len(starts) == len(events.gains) == len(events.kernel_ids) > 80
    assert np.all(np.diff(starts) > 60)
    assert np.all(events.gains > 0)
