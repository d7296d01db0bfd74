"""Streams of credentials that can be revoked: looked after while they last."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable

from api.live.frames import Frame


async def while_valid(
    frames: AsyncGenerator[Frame], require_valid: Callable[[], Awaitable[None]], look_s: float
) -> AsyncGenerator[Frame]:
    """The frames, until `require_valid`, asked every `look_s` also while there is none, raises UnauthenticatedError."""
    now_s = asyncio.get_running_loop().time
    due_s = now_s() + look_s
    async with contextlib.aclosing(frames):
        while True:
            coming = asyncio.ensure_future(anext(frames))
            try:
                while not coming.done() or now_s() >= due_s:
                    await asyncio.wait({coming}, timeout=max(due_s - now_s(), 0))
                    if now_s() >= due_s:
                        await require_valid()
                        due_s = now_s() + look_s
            except BaseException:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)
                raise
            yield coming.result()
