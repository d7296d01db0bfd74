"""Latest values of packs as they change, over a socket that is opened again where it broke off."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import httpx

from .sockets import LiveFrame, frames

PATH: Final = "/v1/telemetry/live"


def follow(
    client: httpx.Client,
    *,
    packs: Sequence[str] = (),
    group: str = "all",
    measures: Sequence[str] = (),
    rate_hz: float = 1.0,
    quiet_s_max: float = 60.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[LiveFrame]:
    """Frames of latest values without end: a snapshot of all packs, then those that changed, as columns.

    packs: by external id; without any, those of the group. measures: all if none are named. Between two frames newer
    values replace older ones. There is no cursor: a socket that breaks off is opened again, with another snapshot.
    client: carries the address and the token. Raises StreamRefusedError, StreamLostError; and RefusedError,
    UnansweredError when there is no ticket to be had.
    """
    asked: dict[str, Any] = {"rate_hz": rate_hz}
    asked |= {"packs": list(packs)} if packs else {"group": group}
    asked |= {"measures": list(measures)} if measures else {}
    return frames(client, PATH, lambda _: asked, cursor=None, quiet_s_max=quiet_s_max, sleep=sleep)
