"""The counter: one thread that counts closed quarter-hours, and noted ones again, until nothing is left (E14)."""

import logging
import threading
from collections.abc import Callable

from streams.ports import CountStore, Stage

log = logging.getLogger(__name__)


class Counter:
    """Asks the store to count, step by step, and waits when there was nothing.

    wait_s: time between looks. stop_s_max: how long `stop` waits for the step under way. reached: told the stages.
    """

    def __init__(
        self, store: CountStore, *, wait_s: float, stop_s_max: float, reached: Callable[[Stage], None]
    ) -> None:
        self._store = store
        self._wait_s = wait_s
        self._stop_s_max = stop_s_max
        self._reached = reached
        self._stopping = threading.Event()
        self._looked = threading.Condition()
        self._looks = 0
        self._trouble: str | None = None
        self._thread = threading.Thread(target=self._run, name="counter", daemon=True)

    def start(self) -> None:
        """Start the counter's thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread behind the step under way."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(self._stop_s_max)
            if self._thread.is_alive():
                log.error("a count is still waiting for the store; it is given up, uncommitted")

    @property
    def trouble(self) -> str | None:
        """Why quarter-hours can't be counted now; None when they can. Answers stay right, and take longer."""
        return self._trouble

    def wait_until_counted(self, timeout_s: float) -> bool:
        """Wait for a look that began after this call and left nothing to count; whether it came in time."""
        with self._looked:
            # A look that is under way may have missed what the caller committed.
            wanted = self._looks + 2
            return self._looked.wait_for(lambda: self._looks >= wanted, timeout_s)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                run_until_counted(self._store, self._reached, self._stopping)
            except Exception as error:  # noqa: BLE001 - whatever it is, the counter tries again, and tells
                self._trouble = f"counting failed: {error}"
                log.warning("counting failed and is tried again: %s", error)
                self._store.close()
            else:
                self._trouble = None
                with self._looked:
                    self._looks += 1
                    self._looked.notify_all()
            self._stopping.wait(self._wait_s)
        self._store.close()


def run_until_counted(
    store: CountStore, reached: Callable[[Stage], None], stopping: threading.Event | None = None
) -> int:
    """Count until nothing is left, or until told to stop; gives the number of steps."""
    steps = 0
    while (stopping is None or not stopping.is_set()) and store.count_once(
        lambda: reached(Stage.IN_COUNT_BEFORE_COMMIT), lambda: reached(Stage.IN_COUNT_AFTER_COMMIT)
    ):
        steps += 1
    return steps
