"""A stop that is asked for before there is anything to stop."""

import logging
import signal
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

log = logging.getLogger(__name__)


class StopAsked:
    """Notes SIGINT and SIGTERM from `listen` on, until something else takes care of them.

    Each interrupts what runs by a KeyboardInterrupt, which whatever runs may drop: a callback of C code, or a library
    that tries something as it is imported. So whoever begins something looks here first. As the first process of a
    container, Python would not even notice SIGTERM otherwise.
    """

    def __init__(self) -> None:
        self.by: signal.Signals | None = None
        """By which signal it was asked for; None while it wasn't."""

    def listen(self) -> None:
        """Note the signals from now on."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def _note(self, number: int, _: FrameType | None) -> NoReturn:
        self.by = signal.Signals(number)
        raise KeyboardInterrupt


def heeding(work: Callable[[StopAsked], int]) -> int:
    """What work gives; 0 when a stop was asked for, however it ended for that."""
    stop = StopAsked()
    stop.listen()
    try:
        return work(stop)
    except KeyboardInterrupt:
        if stop.by is None:
            raise
    except Exception as error:
        if stop.by is None:
            raise
        # Whatever was interrupted may have made another error of it.
        log.warning("stopped by %s as it began: %s", stop.by.name, type(error).__name__, exc_info=error)
    return 0
