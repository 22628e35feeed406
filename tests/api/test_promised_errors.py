import numpy as np
import pytest
from round_trips import compressed, prdn_of, recording, round_trip

import sancodec
from sancodec.codec.recording import Channel
from sancodec.datasets.arrays import open_array
from sancodec.errors import InvalidSignalError


@pytest.mark.parametrize("bound", [1, 3, 10])
def test_no_sample_is_off_by_more_than_the_bound(ecg, bound):
    assert 0 < np.abs(round_trip(ecg, max_error_adu=bound) - ecg).max() <= bound


@pytest.mark.parametrize("settings", [{"lossless": True}, {"preset": "archive"}, {"max_error_adu": 0}])
def test_exact_is_exact(ecg, settings):
    np.testing.assert_array_equal(round_trip(ecg, **settings), ecg)


def test_several_promises_all_hold(ecg):
    decoded = round_trip(ecg, prdn=5, snr_db=30, max_error_adu=6)
    assert np.all(prdn_of(ecg, decoded) <= 100 * 10**-1.5)
    assert np.abs(decoded - ecg).max() <= 6


def test_by_default_leads_keep_a_bound_and_other_channels_a_prdn(ecg):
    leads = recording(ecg, [Channel("MLII", "mV", 200.0, 1024), Channel("RESP", "mV", 200.0, 1024)])
    decoded = round_trip(leads)
    assert np.abs(decoded[0] - ecg[0]).max() <= 4
    assert 1.9 < prdn_of(ecg[1], decoded[1]) <= 2
    in_volts = round_trip(leads, max_error="0.01mV")
    assert np.abs(in_volts - ecg).max() <= 2


def test_volts_mean_nothing_for_arrays(ecg):
    with pytest.raises(InvalidSignalError, match="'channel 0' is in 'adu'"):
        compressed(ecg, max_error="20uV")


def test_a_source_is_read_as_it_is_compressed(ecg, tmp_path):
    np.save(tmp_path / "x.npy", ecg)
    with open_array(tmp_path / "x.npy", sampling_rate_hz=360) as source:
        np.testing.assert_array_equal(sancodec.decompress(sancodec.compress(source, lossless=True)), ecg)
