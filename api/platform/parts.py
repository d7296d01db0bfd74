"""What the engine has for operators of the installation."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from api.rates import RateLimiter

_AT_ONCE_MAX: Final = 2

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Platform:
    """Does what the commands do, in a thread, a few at once.

    conninfo: of the role that sees all tenants. rates: of operators.
    """

    conninfo: str = field(repr=False)
    rates: RateLimiter
    _free: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE_MAX))

    async def do(self, work: Callable[[str], Found]) -> Found:
        """What the work gives, of the connection string. Raises what it raises."""
        async with self._free:
            return await asyncio.to_thread(work, self.conninfo)
