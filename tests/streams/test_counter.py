"""The counter goes on until nothing is left, tells its trouble, and tries again."""

import threading
from collections.abc import Callable

from streams.counter import Counter, run_until_counted
from streams.ports import Stage


class FakeStore:
    """Steps that wait to be counted; fails while `broken`."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.broken = False
        self.closed = threading.Event()
        self.seen: list[str] = []

    def count_once(
        self,
        before_commit: Callable[[], None] = lambda: None,
        after_commit: Callable[[], None] = lambda: None,
    ) -> bool:
        if self.broken:
            raise RuntimeError("the store is away")
        if self.steps == 0:
            return False
        before_commit()
        self.steps -= 1
        after_commit()
        return True

    def close(self) -> None:
        self.closed.set()


def test_everything_is_counted_and_each_stage_told() -> None:
    store, told = FakeStore(3), list[Stage]()
    assert run_until_counted(store, told.append) == 3
    assert told == [Stage.IN_COUNT_BEFORE_COMMIT, Stage.IN_COUNT_AFTER_COMMIT] * 3


def test_stop_is_obeyed_between_two_steps() -> None:
    store, stopping = FakeStore(10), threading.Event()

    def reached(stage: Stage) -> None:
        if store.steps == 6:
            stopping.set()

    run_until_counted(store, reached, stopping)
    assert store.steps == 6


def test_trouble_is_told_and_ends_with_the_next_count() -> None:
    store = FakeStore(2)
    store.broken = True
    counter = Counter(store, wait_s=0.01, stop_s_max=10, reached=lambda _: None)
    counter.start()
    try:
        assert store.closed.wait(10)
        assert "the store is away" in (counter.trouble or "")
        store.broken = False
        assert counter.wait_until_counted(10)
        assert counter.trouble is None
        assert store.steps == 0
    finally:
        counter.stop()
