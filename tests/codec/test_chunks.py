import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from neutral_banks import DYADIC, LAPPED, SMALL

from sancodec.codec.chunks import (
    BRIDGE,
    Part,
    band_phases,
    bands_of,
    base_windows,
    bridged,
    events_by_chunk,
    padded_length,
    parts_of,
    phases_of_part,
)
from sancodec.codec.contexts import N_PHASES, NO_PHASE, Profile


@given(st.integers(1, 1000), st.integers(1, 300))
def test_parts_cover_every_sample_once(n_samples, chunk_length):
    parts = parts_of(n_samples, chunk_length)
    covered = [
        part.first_sample + index * part.length + sample
        for part in parts
        for index in range(part.n_chunks)
        for sample in range(part.length)
    ]
    assert covered == list(range(n_samples))
    assert sum(part.n_chunks for part in parts) == -(-n_samples // chunk_length)
    assert parts[-1].first_chunk + parts[-1].n_chunks == -(-n_samples // chunk_length)


@pytest.mark.parametrize("length", [1, 191, 192, 193, 8192, 21600])
def test_a_circle_has_room_for_a_bridge_and_is_a_multiple_of_the_period(length):
    for model in (LAPPED, DYADIC, SMALL):
        circle = padded_length(model, length)
        assert circle % model.period == 0
        assert length + BRIDGE <= circle < length + BRIDGE + model.period


@pytest.mark.parametrize(("length", "n_chunks"), [(1, 3), (2, 2), (100, 2), (500, 1)])
def test_a_bridge_leads_smoothly_from_the_end_to_the_start(length, n_chunks):
    signal = np.random.default_rng(length).normal(0, 1, 5 + n_chunks * length).astype(np.float32)
    circles = bridged(signal, Part(0, n_chunks, length, 5), SMALL)
    for chunk, circle in enumerate(circles):
        samples = signal[5 + chunk * length : 5 + (chunk + 1) * length]
        np.testing.assert_array_equal(circle[:length], samples)
        bridge = circle[length:]
        start, end = samples[0], samples[-1]
        ends = sorted([start, end])
        assert np.all((bridge >= ends[0] - 1e-5) & (bridge <= ends[1] + 1e-5))
        assert abs(bridge[0] - end) <= abs(start - end) / 10 + 1e-5
        assert abs(bridge[-1] - start) <= abs(start - end) / 10 + 1e-5
        assert np.all(np.diff(bridge) * np.sign(start - end) >= -1e-5)


def test_bands_are_the_kernels_of_the_groups_in_order():
    rng = np.random.default_rng(0)
    groups = [rng.normal(size=(3, 24 // group.stride, group.n_kernels)) for group in SMALL.groups]
    bands = bands_of(groups)
    assert len(bands) == SMALL.n_bands
    np.testing.assert_array_equal(bands[1], groups[0][:, :, 1])
    np.testing.assert_array_equal(bands[2], groups[1][:, :, 0])
    assert all(band.flags.c_contiguous for band in bands)


@given(st.sets(st.integers(-19, 199)), st.integers(1, 90))
def test_an_event_belongs_to_every_chunk_its_window_reaches(positions, chunk_length):
    starts = np.array(sorted(positions), np.int64)
    found = list(events_by_chunk(starts, kernel_length=20, n_samples=200, chunk_length=chunk_length))
    assert len(found) == -(-200 // chunk_length)
    for chunk, members in enumerate(found):
        first, last = chunk * chunk_length, min((chunk + 1) * chunk_length, 200)
        expected = [index for index, start in enumerate(starts) if start < last and start + 20 > first]
        assert members.tolist() == expected


def phase_by_hand(centre, starts, kernel_length):
    before = [start for start in starts if start <= centre]
    phase = (centre - before[-1]) * 16 // kernel_length if before else N_PHASES
    return min(phase, NO_PHASE)


@given(
    st.lists(st.sets(st.integers(-19, 150)), min_size=1, max_size=4),
    st.integers(1, 20),
)
def test_phases_count_from_the_last_event_before_the_centre_of_a_window(events, kernel_length):
    starts = [np.array(sorted(each), np.int64)[np.array(sorted(each)) > -kernel_length] if each else
              np.zeros(0, np.int64) for each in events]  # fmt: skip
    phases = band_phases(SMALL, starts, 160, kernel_length=kernel_length)
    for band, stride in enumerate(SMALL.band_strides):
        for chunk, of_chunk in enumerate(starts):
            expected = [
                phase_by_hand(window * stride + stride // 2, of_chunk.tolist(), kernel_length)
                for window in range(160 // stride)
            ]
            assert phases[band][chunk].tolist() == expected


def test_phases_of_a_part_are_those_of_its_chunks_alone():
    starts = np.array([-3, 40, 99, 130, 290, 301])
    part = Part(1, 2, 100, 100)
    together = phases_of_part(SMALL, part, starts, kernel_length=20)
    alone = band_phases(SMALL, [np.array([-1, 30]), np.array([90])], padded_length(SMALL, 100), kernel_length=20)
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one, other)


def test_base_windows_look_the_profile_up_by_phase():
    n_rows = SMALL.contexts.n_phase_groups
    phase_codes = np.tile(np.arange(N_PHASES + 1) % 7, (n_rows, 1))
    profile = Profile(0, np.array([41, 45, 0]), phase_codes)
    phases = [np.array([[0, 1, NO_PHASE]])] * 3
    base = base_windows(SMALL, profile, phases)
    # Code 41 is a magnitude of 1, four more double it; each phase code is half a power of 2.
    assert base[0].tolist() == [[256, 362, 256 * 2 ** (24 % 7 / 2) // 1]]
    assert base[1].tolist() == [[512, 724, 512 * 2 ** (24 % 7 / 2) // 1]]
    assert base[2].tolist() == [[0, 0, 0]]
