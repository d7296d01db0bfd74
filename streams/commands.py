"""Work that is asked of the writer's thread between two groups."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from domain.errors import BpmError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Command:
    """Work that is given the time in milliseconds, with who waits for it on the event loop."""

    work: Callable[[int], None]
    answer: "asyncio.Future[None]"
    loop: asyncio.AbstractEventLoop

    def settle(self, error: BpmError | None) -> None:
        """Say that it is done, or why it couldn't be."""

        def settle() -> None:
            if self.answer.cancelled():
                return
            if error is None:
                self.answer.set_result(None)
            else:
                self.answer.set_exception(error)

        try:
            self.loop.call_soon_threadsafe(settle)
        except RuntimeError:
            log.info("the event loop has ended before a command was answered")
