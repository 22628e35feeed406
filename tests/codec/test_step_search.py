import math

import pytest

from sancodec.codec.step_search import Bracket
from sancodec.codec.trial import MIN_STEP


def search(ratio_of, step, n_rounds=24):
    """Steps tried until the ratio lies in 0.995 … 1 or the bracket is narrow."""
    bracket, tried = Bracket(), []
    for _ in range(n_rounds):
        ratio = ratio_of(step)
        tried.append((step, ratio))
        if 0.995 <= ratio <= 1 or bracket.is_narrow:
            break
        step = bracket.next_step(step, ratio)
    return tried


@pytest.mark.parametrize("slope", [0.3, 0.7, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("first", [0.01, 0.5, 3.0, 40.0, 1000.0])
def test_a_power_law_is_met_in_few_rounds(slope, first):
    tried = search(lambda step: (step / 7.0) ** slope, first)
    assert 0.995 <= tried[-1][1] <= 1
    assert len(tried) <= 9


def test_an_error_that_levels_off_is_met():
    tried = search(lambda step: math.tanh(step / 50) * 3, 1.0)
    assert 0.995 <= tried[-1][1] <= 1
    assert len(tried) <= 12


def test_an_error_that_vanishes_below_a_step_ends_in_a_narrow_bracket():
    tried = search(lambda step: 0.0 if step < 5 else 1.5, 0.1)
    good = max(step for step, ratio in tried if ratio <= 1)
    assert good < 5
    assert 5 / good < 1.01


def test_an_error_that_jumps_over_the_target_is_bracketed():
    tried = search(lambda step: 0.9 if step < 5 else 1.1, 60.0)
    good = max(step for step, ratio in tried if ratio <= 1)
    bad = min(step for step, ratio in tried if ratio > 1)
    assert good < 5 <= bad
    assert bad / good < 1.2


def test_proposals_lie_within_the_bracket():
    bracket = Bracket()
    bracket.next_step(1.0, 0.7)
    step = bracket.next_step(10.0, 4.0)
    assert 1.0 < step < 10.0
    for ratio in (0.999, 1.001, 0.9, 1.2, 0.6):
        low, high = (step, 10.0) if ratio <= 1 else (1.0, step)
        step = bracket.next_step(step, ratio)
        assert low <= step <= high or 1.0 < step < 10.0


def test_a_step_never_falls_below_the_smallest():
    bracket, step = Bracket(), 1.0
    for _ in range(20):
        step = bracket.next_step(step, 1e6)
    assert step == MIN_STEP


def test_a_bracket_is_narrow_only_with_both_ends():
    bracket = Bracket()
    assert not bracket.is_narrow
    bracket.next_step(1.0, 0.9)
    assert not bracket.is_narrow
    bracket.next_step(1.001, 1.1)
    assert bracket.is_narrow
