import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from sancodec.errors import InvalidSignalError
from sancodec.export.batches import Batches


class Doubled:
    """A run that counts its rows, and may be held up at its first."""

    def __init__(self):
        self.rows = []
        self.is_held = threading.Event()
        self.is_held.set()
        self.has_begun = threading.Event()

    def __call__(self, inputs, outputs):
        self.rows.append(len(inputs[0]))
        self.has_begun.set()
        assert self.is_held.wait(30)
        outputs[0][:] = 2 * inputs[0]


def doubled(batches, run, rows):
    output = np.empty_like(rows)
    batches(run, [rows], [output], samples_per_row=rows.shape[1])
    return output


def while_one_runs(batches, run, first, others):
    """Results of a call, and of those that came while it was under way."""
    run.is_held.clear()
    with ThreadPoolExecutor(1 + len(others)) as pool:
        begun = pool.submit(doubled, batches, run, first)
        assert run.has_begun.wait(30)
        waiting = [pool.submit(doubled, batches, run, rows) for rows in others]
        while len(batches._waiting) < len(others):
            pass
        run.is_held.set()
        return [each.result() for each in (begun, *waiting)]


def test_calls_that_wait_run_together():
    run, batches = Doubled(), Batches(max_samples=1000)
    calls = [np.full((n_rows, 10), float(n_rows)) for n_rows in (1, 2, 3, 4)]
    results = while_one_runs(batches, run, calls[0], calls[1:])
    assert run.rows == [1, 9]
    assert all(np.array_equal(result, 2 * rows) for result, rows in zip(results, calls, strict=True))
    assert not batches._waiting


def test_no_run_takes_more_than_a_batch():
    run, batches = Doubled(), Batches(max_samples=45)
    calls = [np.full((n_rows, 10), float(n_rows)) for n_rows in (1, 3, 3, 9)]
    results = while_one_runs(batches, run, calls[0], calls[1:])
    assert sum(run.rows) == 16
    assert max(run.rows) <= 4
    assert all(np.array_equal(result, 2 * rows) for result, rows in zip(results, calls, strict=True))


def test_a_row_longer_than_a_batch_runs_alone():
    run, batches = Doubled(), Batches(max_samples=5)
    rows = np.arange(30.0).reshape(3, 10)
    assert np.array_equal(doubled(batches, run, rows), 2 * rows)
    assert run.rows == [1, 1, 1]


def test_rows_of_other_lengths_are_not_mixed():
    run, batches = Doubled(), Batches(max_samples=1000)
    calls = [np.ones((1, 10)), np.ones((2, 10)), np.ones((2, 20)), np.ones((3, 10))]
    results = while_one_runs(batches, run, calls[0], calls[1:])
    assert run.rows[0] == 1
    assert sorted(run.rows[1:]) == [2, 5]
    assert [result.shape for result in results] == [rows.shape for rows in calls]


def test_an_error_reaches_every_call_that_was_taken_along_and_no_other():
    batches, run = Batches(max_samples=1000), Doubled()

    def failing(inputs, outputs):
        run(inputs, outputs)
        if len(inputs[0]) == 5:
            raise ValueError("no")

    run.is_held.clear()
    with ThreadPoolExecutor(3) as pool:
        begun = pool.submit(doubled, batches, failing, np.ones((1, 10)))
        assert run.has_begun.wait(30)
        waiting = [pool.submit(doubled, batches, failing, np.ones((n_rows, 10))) for n_rows in (2, 3)]
        while len(batches._waiting) < 2:
            pass
        run.is_held.set()
        assert np.array_equal(begun.result(), np.full((1, 10), 2.0))
        for each in waiting:
            with pytest.raises(ValueError, match="no"):
                each.result()
    assert np.array_equal(doubled(batches, failing, np.ones((2, 10))), np.full((2, 10), 2.0))


def test_many_threads_get_what_they_asked_for():
    batches, run = Batches(max_samples=70), Doubled()
    rng = np.random.default_rng(0)
    calls = [rng.normal(size=(int(rng.integers(1, 12)), int(rng.choice([5, 10])))) for _ in range(200)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda rows: doubled(batches, run, rows), calls))
    assert all(np.array_equal(result, 2 * rows) for result, rows in zip(results, calls, strict=True))
    assert sum(run.rows) == sum(map(len, calls))


def test_calls_of_other_runs_are_not_mixed():
    batches, doubled_run = Batches(max_samples=1000), Doubled()

    def halved(inputs, outputs):
        outputs[0][:] = inputs[0] / 2

    doubled_run.is_held.clear()
    with ThreadPoolExecutor(4) as pool:
        begun = pool.submit(doubled, batches, doubled_run, np.ones((1, 10)))
        assert doubled_run.has_begun.wait(30)
        waiting = [pool.submit(doubled, batches, run, np.ones((2, 10))) for run in (halved, doubled_run, halved)]
        while len(batches._waiting) < 3:
            pass
        doubled_run.is_held.set()
        assert [each.result()[0, 0] for each in (begun, *waiting)] == [2.0, 0.5, 2.0, 0.5]


def test_who_is_interrupted_leaves_the_others_to_run_for_themselves():
    batches, run = Batches(max_samples=1000), Doubled()
    interrupted = []

    def interrupting(inputs, outputs):
        run(inputs, outputs)
        if len(inputs[0]) > 1 and not interrupted:
            interrupted.append(threading.get_ident())
            outputs[0][:] = -1
            raise KeyboardInterrupt

    results = while_one_runs(batches, run, np.ones((1, 10)), [])  # warm, nothing waits
    run.has_begun.clear()
    run.is_held.clear()
    found = {}

    def call(number):
        try:
            found[number] = doubled(batches, interrupting, np.full((number, 10), float(number)))
        except KeyboardInterrupt:
            found[number] = None

    threads = [threading.Thread(target=call, args=(number,)) for number in (1, 2, 3, 4)]
    threads[0].start()
    assert run.has_begun.wait(30)
    for thread in threads[1:]:
        thread.start()
    while len(batches._waiting) < 3:
        pass
    run.is_held.set()
    for thread in threads:
        thread.join()
    assert len(results) == 1
    assert sum(each is None for each in found.values()) == 1
    assert all(each is None or np.array_equal(each, np.full((n, 10), 2.0 * n)) for n, each in found.items())
    assert not batches._waiting


def test_arrays_of_unequal_rows_are_refused_before_they_meet_others():
    batches, run = Batches(max_samples=1000), Doubled()
    with pytest.raises(InvalidSignalError, match=r"arrays of \[1, 2\] rows"):
        batches(run, [np.ones((2, 10)), np.ones((1, 10))], [np.ones((2, 10))], samples_per_row=10)
    assert not run.rows
    assert not batches._waiting
