"""Time that a test moves by hand, also for an engine that runs in a thread of its own."""

import asyncio
import threading


class HandTimer:
    """Stands still until it is moved; whoever waits goes on once its time has come."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self._now_s = now_s
        self._guard = threading.Lock()
        self._waiting: dict[asyncio.Event, tuple[float, asyncio.AbstractEventLoop]] = {}

    def now_s(self) -> float:
        return self._now_s

    async def sleep(self, seconds: float) -> None:
        come = asyncio.Event()
        with self._guard:
            self._waiting[come] = self._now_s + seconds, asyncio.get_running_loop()
        try:
            await come.wait()
        finally:
            with self._guard:
                self._waiting.pop(come, None)

    def move(self, seconds: float) -> None:
        """Let so much time pass."""
        with self._guard:
            self._now_s += seconds
            due = [(come, loop) for come, (due_s, loop) in self._waiting.items() if due_s <= self._now_s]
        for come, loop in due:
            loop.call_soon_threadsafe(come.set)

    @property
    def waiting(self) -> int:
        """How many wait for a time that hasn't come."""
        with self._guard:
            return sum(due_s > self._now_s for due_s, _ in self._waiting.values())
