"""Room on the data directory's file system: how much there is, for how long it lasts, and whether it is enough."""

import asyncio
import logging
import shutil
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from api.settings import Settings
from domain.errors import DiskLowError

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
_KEEP_EVERY_S: Final = 60.0
_KEPT_MAX: Final = 360
FORECAST_S_MIN: Final = 600.0
"""A pace is taken over 10 minutes at least; the kept looks reach back 6 hours."""

_DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class Look:
    """Free bytes at a moment of the monotonic clock."""

    at_s: float
    free_bytes: int


def free_bytes(folder: Path) -> int:
    """Bytes that ordinary accounts may still write on the folder's file system; the folder need not exist yet."""
    existing = next(part for part in (folder, *folder.parents) if part.exists())
    return shutil.disk_usage(existing).free


def mark_of(settings: Settings) -> int:
    """The free bytes below which readings are refused; 0 for an outside database, of which our disk tells nothing."""
    return settings.disk_low_bytes if settings.database_url is None else 0


def days_until(mark_bytes: int, first: Look, last: Look) -> float | None:
    """Days from the last look until free space is down to the mark, if it goes on as between the two looks.

    None when free space doesn't shrink, or the looks are less than FORECAST_S_MIN apart.

    >>> days_until(0, Look(0, 3_600_000), Look(3_600, 2_400_000))
    0.08333333333333333
    """
    passed_s = last.at_s - first.at_s
    shrunk_bytes = first.free_bytes - last.free_bytes
    if passed_s < FORECAST_S_MIN or shrunk_bytes <= 0:
        return None
    return max(0, last.free_bytes - mark_bytes) / (shrunk_bytes / passed_s) / _DAY_S


class DiskGuard:
    """Looks at the disk each second, and refuses readings while free space is below a mark.

    folder: whose file system. low_bytes: the mark; 0 refuses nothing. measure: free bytes of a folder.
    Answers come from the last look, so that no request waits for a disk.
    """

    def __init__(
        self,
        folder: Path,
        low_bytes: int,
        retry_after_s: int,
        *,
        measure: Callable[[Path], int] = free_bytes,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.low_bytes = low_bytes
        self._folder = folder
        self._retry_after_s = retry_after_s
        self._measure = measure
        self._monotonic_s = monotonic_s
        self._last = Look(monotonic_s(), measure(folder))
        self._kept = deque([self._last], _KEPT_MAX)

    @property
    def free_bytes(self) -> int:
        """Free bytes at the last look."""
        return self._last.free_bytes

    @property
    def is_low(self) -> bool:
        """Whether readings are refused."""
        return self._last.free_bytes < self.low_bytes

    @property
    def days_until_full(self) -> float | None:
        """Days until the mark, by the last hours; None when it isn't filling up, or that can't be told yet.

        The slower counts of the pace of all kept looks and that of their later half: what an import wrote that is
        over by then isn't to come again.
        """
        early, middle = self._kept[0], self._kept[len(self._kept) // 2]
        found = [days_until(self.low_bytes, since, self._last) for since in (early, middle)]
        return None if None in found else max(days for days in found if days is not None)

    @property
    def trouble(self) -> str | None:
        """Why readings are refused, or None."""
        if not self.is_low:
            return None
        return (
            f"the data directory's disk has {self.free_bytes} bytes left, less than the {self.low_bytes} of "
            "BPM_DISK_LOW_BYTES; make room, and readings are accepted again"
        )

    def require_room(self) -> None:
        """Raises DiskLowError while free space is below the mark."""
        trouble = self.trouble
        if trouble is not None:
            raise DiskLowError(trouble, limit=self.low_bytes, retry_after_s=self._retry_after_s)

    def look(self) -> None:
        """Look at the disk."""
        was_low = self.is_low
        self._last = Look(self._monotonic_s(), self._measure(self._folder))
        if self._last.at_s - self._kept[-1].at_s >= _KEEP_EVERY_S:
            self._kept.append(self._last)
        if self.is_low and not was_low:
            log.error("%s", self.trouble)
        elif was_low and not self.is_low:
            log.warning("there are %d bytes left again; readings are accepted", self.free_bytes)

    async def run(self) -> None:
        """Look each second, until cancelled. A disk that doesn't answer keeps the last look."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await asyncio.to_thread(self.look)
            except OSError as error:
                log.warning("the data directory's disk can't be looked at: %s", error)
