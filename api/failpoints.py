"""Ends the process where a fault test wants it to."""

import os
import signal
from collections.abc import Callable

from api.settings import Environment, Settings
from domain.errors import SettingsRefusedError
from streams.ports import Stage


def failpoint(settings: Settings) -> Callable[[Stage], None]:
    """What ends the process at a named stage, for fault tests; nothing by default.

    Raises SettingsRefusedError in production, or when the setting can't be read.
    """
    if settings.failpoint is None:
        return lambda _: None
    if settings.env is not Environment.DEVELOPMENT:
        raise SettingsRefusedError("failpoints are refused in production", field="BPM_FAILPOINT")
    name, _, count = settings.failpoint.partition(":")
    if name not in set(Stage) or not count.isdigit():
        raise SettingsRefusedError(f"expected STAGE:N, with one of {', '.join(Stage)}", field="BPM_FAILPOINT")
    wanted, left = Stage(name), [int(count)]

    def reached(stage: Stage) -> None:
        if stage is wanted:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return reached
