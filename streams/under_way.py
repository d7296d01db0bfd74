"""Work of which each piece goes on beside the others."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any


class UnderWay:
    """Tasks by name, each at most once at a time: one that takes long holds no other up."""

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[None]] = {}

    def begin(self, name: Hashable, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin a task, unless the one before of this name is still under way."""
        if name not in self._tasks or self._tasks[name].done():
            self._tasks[name] = asyncio.create_task(work())

    def cancel(self) -> None:
        """Wait for none of them any more."""
        for task in self._tasks.values():
            task.cancel()
