"""Rows shared among threads: all of them, each once, whoever comes late or fails."""

import threading
from collections import Counter

import pytest
import torch

from rpudriver.keyed import threads

LONG = 1e9  # nanoseconds: worth a thread


@pytest.mark.parametrize("rows", [1, 2, 7, 100])
@pytest.mark.parametrize("cost", [0.0, LONG])
def test_every_row_is_worked_on_once(rows: int, cost: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    seen: Counter[int] = Counter()
    lock = threading.Lock()

    def work(first: int, last: int) -> None:
        with lock:
            seen.update(range(first, last))

    threads.share(rows, work, cost)
    assert seen == Counter(range(rows))


def test_short_work_stays_on_the_callers_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    names = set()
    threads.share(100, lambda first, last: names.add(threading.get_ident()), threads.WORTH_A_THREAD / 2)
    assert names == {threading.get_ident()}


def test_a_thread_that_is_late_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The only helper is held up by other work until the test is over."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    release = threading.Event()
    held_up = threads._pool(1).submit(release.wait, 60)
    done = []
    try:
        threads.share(8, lambda first, last: done.append((first, last)), LONG)
        assert not held_up.done()
    finally:
        release.set()
    assert held_up.result()
    assert sorted(row for first, last in done for row in range(first, last)) == list(range(8))


def test_what_goes_wrong_in_a_thread_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    meet = threading.Barrier(2)

    def work(first: int, last: int) -> None:
        meet.wait(60)  # so that each thread has a block
        if threading.current_thread() is not threading.main_thread():
            raise ValueError("of the helper")

    monkeypatch.setattr(threads, "BLOCKS", 1)
    with pytest.raises(ValueError, match="of the helper"):
        threads.share(2, work, LONG)
