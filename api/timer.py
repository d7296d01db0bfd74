"""Time as it passes, for whatever looks again and again or remembers for a while."""

import asyncio
import time
from typing import Protocol


class Timer(Protocol):
    """A clock that only goes forward, and waits by it."""

    def now_s(self) -> float:
        """Seconds since a moment that means nothing."""

    async def sleep(self, seconds: float) -> None:
        """Return once so much has passed."""


class MonotonicTimer:
    """The machine's."""

    def now_s(self) -> float:
        """Seconds since a moment that means nothing."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return once so much has passed."""
        await asyncio.sleep(seconds)


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


def monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000
